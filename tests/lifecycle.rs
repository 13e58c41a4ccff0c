//! A guest's life as its user sees it: launched, listed, ended in every way there is, and nothing left behind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;

use casemate_tests::{
    Image, Lab, Running, backend, can_seal, casemate, has_kvm, is_root, not_covered, wait_until,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// 48 zero bytes.
fn zero_pcr() -> String {
    "0".repeat(96)
}

/// Starts a guest in the background, as nitro-cli does, and returns what was printed.
#[track_caller]
fn run_enclave(lab: &Lab, image: Image, arguments: &[&str]) -> Value {
    let (path, backend) = (image.path(), format!("--backend={}", backend()));
    let mut all = vec!["run-enclave", "--eif-path", path.to_str().unwrap(), &backend];
    all.extend(arguments);
    lab.json(&all)
}

#[track_caller]
fn assert_empty(lab: &Lab) {
    assert_eq!(lab.json(&["describe"]), json!([]));
    assert_eq!(lab.guest_folders(), Vec::<std::path::PathBuf>::new(), "folders are left behind");
}

#[test]
fn signals_end_a_guest_cleanly() {
    let lab = Lab::new();
    for (signal, code, why) in [(Signal::INT, 130, "interrupted"), (Signal::TERM, 143, "terminated")] {
        let guest = lab.launch(Image::Secret, &["--name=signalled"]);
        assert_eq!(guest.ask("PING"), "PONG");
        guest.signal(signal);
        let (socket, folder) = (guest.socket(), guest.folder().to_owned());
        let (status, said) = guest.wait();
        assert_eq!(status.code(), Some(code), "{said}");
        let last = said.trim_end().lines().last().unwrap_or_default();
        assert!(last.starts_with("casemate: signalled: ") && last.contains(why), "{said}");
        assert!(last.contains(&format!("process {} of user", std::process::id())), "who did it: {said}");
        assert!(!socket.exists() && !folder.join("guest.json").exists(), "sockets and records go at once");
        assert_empty(&lab);
    }
}

#[test]
fn what_a_killed_vmm_leaves_is_removed_by_the_next_command() {
    let lab = Lab::new();
    let guest = lab.launch(Image::Secret, &[]);
    assert_eq!(guest.ask("PING"), "PONG");
    guest.signal(Signal::KILL);
    assert_eq!(guest.wait().0.signal(), Some(libc::SIGKILL));
    assert_eq!(lab.guest_folders().len(), 1);
    assert_empty(&lab);
}

#[test]
fn a_guests_end_is_told_in_one_line_and_an_exit_code() {
    let lab = Lab::new();
    for (command, code, why) in
        [("EXIT", 7, "7"), ("PANIC", 101, "exit code 101"), ("CRASH", 70, "exception")]
    {
        let guest = lab.launch(Image::Secret, &["--name=ending"]);
        assert_eq!(guest.ask("PING"), "PONG");
        guest.tell(command);
        let (status, said) = guest.wait();
        assert_eq!(status.code(), Some(code), "{command}: {said}");
        let last = said.trim_end().lines().last().unwrap_or_default();
        assert!(last.starts_with("casemate: ending: ") && last.contains(why), "{command}: {said}");
        assert!(!said.contains("asked to"), "a panic's message is a secret: {said}");
        assert_empty(&lab);
    }
    // A guest whose main function returns.
    let (status, _) = lab.launch(Image::Hello, &[]).wait();
    assert_eq!(status.code(), Some(0));
    assert_empty(&lab);
}

#[test]
fn guests_in_the_background_have_nitro_clis_shapes() {
    let lab = Lab::new();
    let info =
        run_enclave(&lab, Image::Secret, &["--cpu-count", "1", "--memory", "32", "--enclave-cid", "77"]);
    let keys: Vec<&str> = info.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected =
        ["EnclaveName", "EnclaveID", "ProcessID", "EnclaveCID", "NumberOfCPUs", "CPUIDs", "MemoryMiB"]
            .to_vec();
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    expected.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!(
        (&info["EnclaveCID"], &info["MemoryMiB"], &info["NumberOfCPUs"]),
        (&json!(77), &json!(32), &json!(1))
    );

    let list = lab.json(&["describe-enclaves", "--metadata"]);
    let [described] = list.as_array().unwrap().as_slice() else { panic!("{list}") };
    for field in expected {
        assert_eq!(described[field], info[field], "{field}");
    }
    assert_eq!((&described["State"], &described["Flags"]), (&json!("RUNNING"), &json!("NONE")));
    let image = lab.json(&["describe-eif", "--eif-path", Image::Secret.path().to_str().unwrap()]);
    if has_kvm() {
        assert_eq!(described["Measurements"], image["Measurements"]);
    }
    assert_eq!(described["Metadata"]["BuildTool"], "casemate");

    let id = info["EnclaveID"].as_str().unwrap();
    let ended = lab.json(&["terminate-enclave", "--enclave-id", id]);
    assert_eq!(ended, json!({"EnclaveName": info["EnclaveName"], "EnclaveID": id, "Terminated": true}));
    assert_empty(&lab);
    lab.fails(&["terminate", "--enclave-id", id], "no guest is running");
}

#[test]
fn several_guests_live_side_by_side() {
    let lab = Lab::new();
    let infos: Vec<Value> = (0..3).map(|_| run_enclave(&lab, Image::Secret, &[])).collect();
    let names: Vec<&str> = infos.iter().map(|info| info["EnclaveName"].as_str().unwrap()).collect();
    assert_eq!(names, ["test-secret", "test-secret_1", "test-secret_2"]);
    let cids: std::collections::BTreeSet<u64> =
        infos.iter().map(|i| i["EnclaveCID"].as_u64().unwrap()).collect();
    assert_eq!(cids.len(), 3);
    lab.fails(&["attest"], "3 guests are running");
    let cid = cids.first().unwrap().to_string();
    let path = Image::Secret.path();
    lab.fails(
        &["run", "--image", path.to_str().unwrap(), "--enclave-cid", &cid],
        "belongs to the running guest",
    );
    lab.ok(&["terminate", "--enclave-name", "test-secret_1"]);
    let left = lab.json(&["describe"]);
    assert_eq!(left.as_array().unwrap().len(), 2);
    let ended = lab.json(&["terminate", "--all"]);
    assert!(ended.as_array().unwrap().iter().all(|info| info["Terminated"] == true), "{ended}");
    assert_eq!(ended.as_array().unwrap().len(), 2);
    assert_empty(&lab);
}

#[test]
fn eight_launches_at_once() {
    let lab = Lab::new();
    Image::Secret.path();
    // They also make the platform key at the same time.
    let guests: Vec<Running> = std::thread::scope(|scope| {
        let launches: Vec<_> = (0..8).map(|_| scope.spawn(|| lab.launch(Image::Secret, &[]))).collect();
        launches.into_iter().map(|launch| launch.join().unwrap()).collect()
    });
    let list = lab.json(&["describe"]);
    assert_eq!(list.as_array().unwrap().len(), 8);
    for guest in &guests {
        assert_eq!(guest.ask("CHECK"), "3");
    }
    let roots: std::collections::BTreeSet<Vec<u8>> =
        guests.iter().map(|guest| fs::read(guest.folder().join("root.pem")).unwrap()).collect();
    assert_eq!(roots.len(), 1, "one platform has one root");
    lab.ok(&["terminate", "--all"]);
    for guest in guests {
        assert_eq!(guest.wait().0.code(), Some(143));
    }
    assert_empty(&lab);
}

#[test]
fn what_cannot_be_launched_is_refused_in_one_line() {
    let lab = Lab::new();
    let good = fs::read(Image::Hello.path()).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let backend = format!("--backend={}", backend());
    for (name, bytes, reason) in [
        ("empty.eif", &[][..], "EIF"),
        ("text.eif", b"this is no image".as_slice(), "EIF"),
        ("short.eif", &good[..good.len() - 1000], "EIF"),
        ("flipped.eif", &flipped, "CRC"),
    ] {
        let path = lab.write(name, bytes);
        lab.fails(&["run", "--image", &path, &backend], reason);
        let background = lab.casemate(&["run-enclave", "--eif-path", &path, &backend]);
        assert_eq!(background.code, 1, "{background:?}");
        assert!(background.stderr.contains(reason), "{background:?}");
    }
    let path = Image::Hello.path();
    let image = path.to_str().unwrap();
    for memory in ["0", "1", "4", "18446744073709551615"] {
        lab.fails(&["run", "--image", image, "--memory", memory, &backend], "of memory");
    }
    lab.fails(&["run", "--image", image, "--name", "../x", &backend], "cannot be a guest's name");
    lab.fails(&["run", "--image", image, "--enclave-cid", "2", &backend], "reserved");
    assert_empty(&lab);
}

#[test]
fn a_sealed_guest_is_silent() {
    let lab = Lab::new();
    let (status, printed) = lab.launch(Image::Hello, &[]).wait_stdout();
    assert_eq!((status.code(), printed.as_str()), (Some(0), ""));
    let guest = lab.launch(Image::Secret, &[]);
    assert!(!guest.folder().join("console.sock").exists());
    lab.fails(&["console", "--enclave-name", guest.name()], "debug");
}

#[test]
fn debug_mode_has_a_console_and_zero_pcrs() {
    if !can_seal("debug mode of a guest on KVM") {
        return;
    }
    let lab = Lab::new();
    let (status, printed) = lab.launch(Image::Hello, &["--attach-console"]).wait_stdout();
    assert_eq!(status.code(), Some(0));
    assert!(printed.contains("Hello from a sealed guest"), "{printed}");

    let guest = lab.launch(Image::Secret, &["--debug-mode", "--name=talks"]);
    assert_eq!(guest.ask("PING"), "PONG");
    let list = lab.json(&["describe"]);
    assert_eq!(list[0]["Flags"], "DEBUG_MODE");
    for pcr in ["PCR0", "PCR1", "PCR2"] {
        assert_eq!(list[0]["Measurements"][pcr], zero_pcr());
    }
    let mut console: Child = lab
        .command(casemate())
        .args(["console", "--enclave-name", "talks"])
        .stdout(fs::File::create(lab.path("console.txt")).unwrap())
        .spawn()
        .unwrap();
    wait_until("the console shows the log", || {
        String::from_utf8_lossy(&lab.read("console.txt")).contains("listening on port 9000")
    });
    guest.tell("PANIC");
    let (status, _) = guest.wait();
    assert_eq!(status.code(), Some(101));
    wait_until("the console ends with the guest", || console.try_wait().unwrap().is_some());
    let log = String::from_utf8(lab.read("console.txt")).unwrap();
    assert!(log.contains("asked to"), "debug mode shows a panic's message: {log}");
}

#[test]
fn the_process_backend_says_that_it_seals_nothing() {
    let lab = Lab::new();
    let guest = lab.launch(Image::Secret, &["--backend=process"]);
    assert_eq!(guest.ask("CHECK"), "3");
    let list = lab.json(&["describe"]);
    assert_eq!(list[0]["Backend"], "process");
    for pcr in ["PCR0", "PCR1", "PCR2"] {
        assert_eq!(list[0]["Measurements"][pcr], zero_pcr());
    }
    guest.signal(Signal::TERM);
    let (status, said) = guest.wait();
    assert_eq!(status.code(), Some(143), "{said}");
    assert!(said.to_lowercase().contains("process backend"), "no warning: {said}");
    assert_empty(&lab);
}

#[test]
fn members_of_the_kvm_group_need_no_root() {
    if !can_seal("launching as an ordinary user") {
        return;
    }
    if !is_root() {
        not_covered("launching as another user: this is not root (every other test just ran without root)");
        return;
    }
    for (in_kvm, uid) in [(true, 45_453), (false, 45_452)] {
        let lab = Lab::for_user(uid, in_kvm);
        // Where that user can read them.
        fs::copy(casemate(), lab.path("casemate")).unwrap();
        fs::copy(Image::Secret.path(), lab.path("app.eif")).unwrap();
        let mut command = lab.command(&lab.path("casemate"));
        command.args(["run", "--json", "--image", "app.eif"]);
        if !in_kvm {
            let output = command.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("/dev/kvm") && said.trim_end().lines().count() == 1, "{said}");
            assert_eq!(lab.guest_folders().len(), 0, "nothing is left behind");
            continue;
        }
        let guest = Running::launched_by(&mut command, lab.runtime());
        assert_eq!(guest.ask("CHECK"), "3");
        let status = |field| casemate_attacks::process::status(&guest.pid().to_string(), field).unwrap();
        assert!(status("Uid").starts_with(&uid.to_string()), "{}", status("Uid"));
        assert_eq!((status("Seccomp"), status("NoNewPrivs")), ("2".to_owned(), "1".to_owned()));
        assert_eq!(status("CapEff"), "0000000000000000");
        guest.signal(Signal::INT);
        assert!(guest.ends_with(130).contains("interrupted"));
    }
}

/// Where each thread of a guest's VMM may run, by name.
fn affinities(guest: &Running) -> Vec<(String, String)> {
    let threads = fs::read_dir(format!("/proc/{}/task", guest.pid())).unwrap();
    let affinity = |task: std::path::PathBuf| {
        let status = fs::read_to_string(task.join("status")).unwrap();
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        (field("Name:"), field("Cpus_allowed_list:"))
    };
    threads.map(|task| affinity(task.unwrap().path())).collect()
}

#[test]
fn a_guest_can_have_a_core_to_itself() {
    let cores = fs::read_to_string("/sys/devices/system/cpu/cpu1/topology/thread_siblings_list");
    let online = fs::read_to_string("/sys/devices/system/cpu/online").unwrap();
    if cores.is_err() || cores.unwrap().trim() != "1" || online.trim() != "0-1" {
        return not_covered("cores of a guest's own: this test is written for two cores of one thread");
    }
    let lab = Lab::new();
    let everywhere = lab.launch(Image::Secret, &["--name=everywhere"]);
    let owner = lab.launch(Image::Secret, &["--name=owner", "--cpus=1"]);
    let vcpu = |guest: &Running| {
        // A guest is announced before its virtual CPU starts.
        assert_eq!(guest.ask("PING"), "PONG");
        affinities(guest).into_iter().find_map(|(name, cpus)| (name == "vcpu").then_some(cpus)).unwrap()
    };
    assert_eq!(vcpu(&owner), "1");
    let on_the_other = |guest: &Running| affinities(guest).iter().all(|(_, cpus)| cpus == "0");
    assert!(on_the_other(&everywhere), "one that runs already is moved away: {:?}", affinities(&everywhere));
    let later = lab.launch(Image::Secret, &["--name=later"]);
    assert!(on_the_other(&later), "one that comes later keeps away: {:?}", affinities(&later));
    for guest in [&everywhere, &later] {
        assert_eq!(guest.ask("PING"), "PONG");
    }

    let image = Image::Secret.path();
    let backend = format!("--backend={}", backend());
    let refused = |cpus: &str, why: &str| {
        lab.fails(&["run", "--eif-path", image.to_str().unwrap(), &backend, cpus], why);
    };
    refused("--cpus=1", "processor 1 is on a core that the guest `owner` has to itself");
    refused("--cpu-ids=1", "processor 1 is on a core that the guest `owner` has to itself");
    // The security module has to run somewhere too.
    let module = if has_kvm() { ", module" } else { "" };
    refused("--cpus=0", &format!("everywhere, later{module} would have none"));
    refused("--cpus=7", "there is no processor 7");

    let described = lab.json(&["describe"]);
    let ids = |name: &str| {
        let guests = described.as_array().unwrap();
        guests.iter().find(|guest| guest["EnclaveName"] == name).unwrap()["CPUIDs"].clone()
    };
    assert_eq!((ids("owner"), ids("later")), (json!([1]), json!([])));
    let posture = |guest: &Running| {
        let encoded = fs::read(guest.folder().join("posture.cbor")).unwrap();
        casemate_attestation::posture::Posture::parse(&encoded).unwrap()
    };
    let own = if has_kvm() { "own" } else { "shared" };
    assert_eq!(posture(&owner).get("cores").unwrap().to_string(), own);
    assert_eq!(posture(&later).get("cores").unwrap().to_string(), "shared");
    for fact in [
        "core_scheduling",
        "mitigation.store_bypass",
        "mitigation.indirect_branch",
        "mitigation.l1d_flush",
        "memory_merge",
        "memory_locked",
        "scrub_on_exit",
    ] {
        assert!(posture(&owner).get(fact).is_some(), "{fact}");
    }

    assert_eq!(owner.ends_by_terminate(), 143);
    // The core is free again.
    let next = lab.launch(Image::Secret, &["--name=next", "--cpus=1"]);
    assert_eq!(vcpu(&next), "1");
}
