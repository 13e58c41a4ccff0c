//! Whatever a guest stores to the doorbell: it is served, ignored or ended, and nothing else happens.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// A guest that is a list of exits.
struct Script(std::vec::IntoIter<Exit>);

impl Cpu for Script {
    fn run(&mut self) -> std::io::Result<Exit> {
        self.0.next().ok_or_else(|| std::io::Error::other("the script is over"))
    }
}

/// What reached the devices.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Kick,
    Ready,
    Log(Vec<u8>),
    Request(Vec<u8>),
    Ended(End),
}

#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<Event>>>);

impl Journal {
    fn note(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl GuestEvents for Journal {
    fn kick(&mut self) {
        self.note(Event::Kick);
    }

    fn ready(&mut self) {
        self.note(Event::Ready);
    }

    fn log(&mut self, text: &[u8]) {
        self.note(Event::Log(text.to_vec()));
    }

    fn ended(&mut self, end: &End) {
        self.note(Event::Ended(end.clone()));
    }
}

/// A security module with too much to say.
struct Chatty(Journal);

impl NsmDevice for Chatty {
    fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        self.0.note(Event::Request(request.to_vec()));
        vec![0x55; request.len() * 5]
    }
}

/// Runs a guest that exits like this; the mailbox begins with "request", the log with "text".
fn run(exits: Vec<Exit>) -> (std::io::Result<End>, Vec<Event>, SharedMemory) {
    let memory = SharedMemory::new().unwrap();
    memory.write(shared::NSM_REQUEST, b"request").unwrap();
    memory.write(shared::LOG, b"text").unwrap();
    let journal = Journal::default();
    // Always something to do, or a guest that idles would take its time.
    let wake = EventFd::new(libc::EFD_SEMAPHORE).unwrap();
    wake.write(1 << 40).unwrap();
    let nsm = Box::new(Chatty(journal.clone()));
    let stop = Arc::new(AtomicBool::new(false));
    let events = Box::new(journal.clone());
    let vcpu = Vcpu::new(Devices { nsm, wake, stop, events }).unwrap();
    let end = vcpu.run(&mut Script(exits.into_iter()), &memory);
    let events = std::mem::take(&mut *journal.0.lock().unwrap());
    (end, events, memory)
}

fn ring(doorbell: Doorbell, argument: u64) -> Exit {
    Exit::Doorbell(doorbell.value(argument))
}

#[test]
fn lengths_beyond_the_mailbox_are_cut_and_the_response_fits() {
    let longest = shared::NSM_REQUEST_MAX + shared::NSM_TAG_LEN;
    let most = [longest, longest + 1, IDLE_FOREVER];
    for (len, taken) in [(0, 0), (7, 7)].into_iter().chain(most.map(|len| (len, longest))) {
        let (end, events, memory) = run(vec![ring(Doorbell::Nsm, len), ring(Doorbell::Exit, 0)]);
        assert_eq!(end.unwrap(), End::Exit(0));
        let mut request = vec![0; taken as usize];
        memory.read(shared::NSM_REQUEST, &mut request).unwrap();
        assert_eq!(events, [Event::Request(request), Event::Ended(End::Exit(0))]);
        let (mut response_len, mut beyond) = ([0; 8], [0xff; 4]);
        memory.read(shared::NSM_RESPONSE_LEN, &mut response_len).unwrap();
        let response_len = u64::from_le_bytes(response_len);
        assert_eq!(response_len, (taken * 5).min(shared::NSM_RESPONSE_MAX + shared::NSM_TAG_LEN));
        memory.read(shared::NSM_RESPONSE + response_len, &mut beyond[..1]).unwrap();
        assert_eq!(beyond[0], 0);
    }
    let (_, events, _) = run(vec![ring(Doorbell::Log, IDLE_FOREVER), ring(Doorbell::Exit, 0)]);
    assert!(matches!(&events[0], Event::Log(text) if text.len() as u64 == shared::LOG_MAX));
}

#[test]
fn a_guest_ends_by_exit_fault_or_nonsense() {
    for (exit, end) in [
        (ring(Doorbell::Exit, 0), End::Exit(0)),
        (ring(Doorbell::Exit, 255), End::Exit(255)),
        (ring(Doorbell::Exit, 256), End::Exit(255)),
        (Exit::Fault(Fault::BadAccess(0x1234)), End::Fault(Fault::BadAccess(0x1234))),
        (Exit::Doorbell(0xff), End::BadDoorbell(0xff)),
    ] {
        let (ended, events, _) = run(vec![Exit::Interrupted, exit]);
        assert_eq!(ended.unwrap(), end);
        assert_eq!(events, [Event::Ended(end)]);
    }
    // A processor that fails is the host's trouble, not the guest's.
    assert!(matches!(run(vec![Exit::Interrupted]).0, Ok(End::Failed(_))));
}

#[test]
fn sleep_ends_in_time_whatever_the_guest_asks_for() {
    let idle = Idle::new(EventFd::new(0).unwrap()).unwrap();
    let begin = std::time::Instant::now();
    for microseconds in [0, 1, 1000, 1001] {
        idle.wait(microseconds).unwrap();
    }
    let slept = begin.elapsed().as_micros();
    assert!((3_500..1_000_000).contains(&slept), "{slept} µs");
    idle.wake.write(1).unwrap();
    idle.wait(IDLE_FOREVER).unwrap();
    idle.wake.write(1).unwrap();
    idle.wait(IDLE_FOREVER - 1).unwrap();
}

proptest! {
    /// Any stores in any order: each is served in its turn, and the first that means an end is the end.
    #[test]
    fn any_sequence_of_stores_is_served_in_order(
        stores in prop::collection::vec((0..9_u64, prop_oneof![
            select(vec![0, 1, 7, 0xfff, 0x1000, 0x1001, 0x1020, 0x1021, 0x3000, u64::MAX >> 8]), any::<u64>()]), 0..12),
    ) {
        let mut expected = Vec::new();
        let mut end = None;
        let values: Vec<_> = stores.iter().map(|(kind, argument)| argument << 8 | kind).collect();
        for value in &values {
            let (argument, limit) = (value >> 8, 0x1000);
            let frame = shared::NSM_REQUEST_MAX + shared::NSM_TAG_LEN;
            match value & 0xff {
                0 | 1 => expected.push((0, 0)),
                2 => expected.push((2, argument.min(frame))),
                3 => {}
                4 => expected.push((4, 0)),
                5 => expected.push((5, argument.min(limit))),
                6 => end = Some(End::Exit(argument.min(255) as u8)),
                _ => end = Some(End::BadDoorbell(*value)),
            }
            if end.is_some() {
                break;
            }
        }
        let (ended, events, _) = run(values.into_iter().map(Exit::Doorbell).collect());
        // The script ends before the guest does: the processor fails.
        let end = end.unwrap_or(End::Failed("the script is over".to_owned()));
        prop_assert_eq!(ended.unwrap(), end.clone());
        let seen: Vec<_> = events.iter().filter_map(|event| Some(match event {
            Event::Kick => (0, 0),
            Event::Request(request) => (2, request.len() as u64),
            Event::Ready => (4, 0),
            Event::Log(text) => (5, text.len() as u64),
            Event::Ended(_) => return None,
        })).collect();
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(events.last(), Some(&Event::Ended(end)));
    }
}
