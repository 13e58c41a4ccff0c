//! Tests of who gets which processor, on a machine that is made up: four cores of two threads, 0 and 4, 1 and 5, ….
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use super::*;

struct Fake {
    usable: &'static str,
    isolated: &'static str,
    offline: Option<u32>,
}

const MACHINE: Fake = Fake { usable: "0-7", isolated: "", offline: None };

impl Topology for Fake {
    fn usable(&self) -> io::Result<CpuList> {
        Ok(list(self.usable))
    }

    fn core_of(&self, cpu: u32) -> io::Result<CpuList> {
        match self.offline {
            Some(offline) if offline == cpu => Err(io::ErrorKind::NotFound.into()),
            _ => Ok([cpu % 4, cpu % 4 + 4].into_iter().collect()),
        }
    }

    fn isolated(&self) -> CpuList {
        list(self.isolated)
    }
}

fn list(text: &str) -> CpuList {
    CpuList::read(text).unwrap()
}

fn neighbour(name: &str, cpus: &str) -> Neighbour {
    Neighbour { name: name.to_owned(), pid: 0, cpus: list(cpus) }
}

fn refusal(wanted: &str, neighbours: &[Neighbour], machine: &Fake) -> String {
    Placement::find(&list(wanted), neighbours, machine).unwrap_err().to_string()
}

#[test]
fn lists_are_read_as_the_kernel_writes_them() {
    for text in ["0", "0-3", "1,3-4,7", "1023"] {
        assert_eq!(text.parse::<CpuList>().unwrap().to_string(), text);
    }
    assert_eq!("3,1,2,2".parse::<CpuList>().unwrap().to_string(), "1-3");
    assert_eq!(CpuList::read("0-1\n"), Some([0, 1].into_iter().collect()));
    assert_eq!(CpuList::read("\n"), Some(CpuList::default()));
    for bad in ["", " ", "a", "1,", ",1", "2-1", "1-", "-1", "1--2", "1024", "0-4294967295", "0x1", "1 2"] {
        assert!(bad.parse::<CpuList>().is_err(), "{bad}");
    }
}

#[test]
fn without_wishes_nothing_is_placed() {
    let unplaced = Placement::find(&CpuList::default(), &[neighbour("a", "")], &MACHINE).unwrap();
    assert_eq!(unplaced, Placement::default());
    assert_eq!(unplaced.describe(&MACHINE), "shared");
}

#[test]
fn a_core_is_had_with_all_its_threads() {
    let placement =
        Placement::find(&list("1"), &[neighbour("a", ""), neighbour("b", "2")], &MACHINE).unwrap();
    assert_eq!(placement.own, list("1"));
    assert_eq!(placement.cores, list("1,5"));
    assert_eq!(placement.rest, Some(list("0,3-4,7")));
    assert_eq!(placement.describe(&MACHINE), "own");
    let isolated = |isolated| placement.describe(&Fake { isolated, ..MACHINE });
    assert_eq!(isolated("1"), "own", "the other thread is not isolated");
    assert_eq!(isolated("1,5"), "isolated");
}

#[test]
fn a_core_belongs_to_one_guest() {
    let owner = [neighbour("owner", "1")];
    for wanted in ["1", "5", "0,5"] {
        assert!(refusal(wanted, &owner, &MACHINE).contains("the guest `owner` has to itself"), "{wanted}");
    }
    assert!(Placement::find(&list("0,2"), &owner, &MACHINE).is_ok());
    // Even if its processor has gone meanwhile.
    let machine = Fake { offline: Some(1), usable: "0,2-7", ..MACHINE };
    assert!(refusal("1", &owner, &machine).contains("has to itself"));
}

#[test]
fn those_that_do_not_mind_keep_off_the_cores_of_others() {
    let neighbours = [neighbour("a", "0"), neighbour("b", "6")];
    let placement = Placement::find(&CpuList::default(), &neighbours, &MACHINE).unwrap();
    assert!(placement.own.is_empty());
    assert_eq!(placement.rest, Some(list("1,3,5,7")));
    let all = [neighbour("a", "0-1"), neighbour("b", "6,7")];
    assert!(refusal("", &all, &MACHINE).contains("every core belongs to a guest"));
}

#[test]
fn nobody_is_left_without_a_core() {
    assert!(refusal("0-3", &[neighbour("a", "")], &MACHINE).contains("a would have none"));
    let alone = Placement::find(&list("0-3"), &[], &MACHINE).unwrap();
    assert_eq!(alone.rest, Some(list("0-7")), "the VMM's other thread shares with its own guest");
}

#[test]
fn only_processors_that_there_are_can_be_had() {
    let machine = Fake { usable: "0-3", ..MACHINE };
    assert_eq!(
        refusal("4", &[], &machine),
        "there is no processor 4 for guests of this user: choose among 0-3"
    );
    let machine = Fake { offline: Some(2), ..MACHINE };
    assert!(refusal("2", &[], &machine).contains("share a core with processor 2"));
}

#[test]
fn this_machine_is_understood() {
    let usable = Machine.usable().unwrap();
    assert!(!usable.is_empty());
    for cpu in usable.numbers() {
        assert!(Machine.core_of(cpu).unwrap().0.contains(&cpu));
    }
    assert!(Machine.core_of(9999).is_err());
}

#[test]
fn every_thread_of_a_process_is_moved() {
    let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let first = Machine.usable().unwrap().numbers().next().unwrap();
    let only: CpuList = [first].into_iter().collect();
    move_process(child.id(), &only).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    assert_eq!(allowed.trim(), only.to_string());
    assert!(move_process(child.id(), &only).is_ok(), "one that is gone needs no move");
}
