//! What a guest can and cannot do to itself, on KVM.

use std::sync::{Arc, Mutex};

use casemate::backend::{Fault, Kind};
use casemate::image::Image;
use casemate::machine::{Config, Error, Machine};
use casemate::vcpu::{Devices, End, GuestEvents, NsmDevice};
use casemate_attestation::recall;
use vmm_sys_util::eventfd::EventFd;

mod common;

struct NoNsm;
impl NsmDevice for NoNsm {
    fn handle(&mut self, request: &[u8]) -> Vec<u8> {
        request.iter().rev().copied().collect()
    }
}

#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);
impl GuestEvents for Events {
    fn kick(&mut self) {
        self.0.lock().expect("lock").push("kick".into());
    }
    fn ready(&mut self) {
        self.0.lock().expect("lock").push("ready".into());
    }
    fn log(&mut self, text: &[u8]) {
        self.0.lock().expect("lock").push(format!("log {}", String::from_utf8_lossy(text)));
    }
    fn ended(&mut self, _: &End) {
        self.0.lock().expect("lock").push("ended".into());
    }
}

fn image(code: &[u8]) -> Vec<u8> {
    let elf = common::elf(code, b"the data", 8192);
    casemate_attestation::eif::Builder::guest(&elf, "").build().expect("EIF")
}

fn run(code: &[u8]) -> (End, Vec<String>) {
    run_on(Kind::Kvm, code)
}

fn run_on(backend: Kind, code: &[u8]) -> (End, Vec<String>) {
    let config =
        Config { memory: 16 << 20, debug: false, cid: 16, backend, anonymous_memory: false, volume: false };
    let machine = Machine::new(config).expect("this test needs a working /dev/kvm");

    let image = Arc::new(Image::from_bytes(&image(code)).expect("image"));
    let measurement = image.measure(recall::measure_anew).expect("measure");
    let machine = machine
        .load(&image, &EventFd::new(0).expect("eventfd"))
        .expect("load")
        .measured(&measurement)
        .expect("the same image")
        .seal()
        .expect("seal");
    let events = Events::default();
    let devices = Devices {
        nsm: Box::new(NoNsm),
        wake: EventFd::new(libc::EFD_NONBLOCK).expect("eventfd"),
        stop: Arc::default(),
        events: Box::new(events.clone()),
    };
    let end = machine.start(devices, || Ok(())).expect("start").wait().expect("run");
    let events = events.0.lock().expect("lock").clone();
    (end, events)
}

#[test]
fn a_measurement_counts_for_its_own_image_alone() {
    let sealed = |code| Arc::new(Image::from_bytes(&image(code)).expect("image"));
    let (one, same_bytes) = (sealed(exit_7()), sealed(exit_7()));
    let config = Config {
        memory: 16 << 20,
        debug: false,
        cid: 16,
        backend: Kind::Kvm,
        anonymous_memory: false,
        volume: false,
    };
    let machine = Machine::new(config).expect("this test needs a working /dev/kvm");
    let machine = machine.load(&one, &EventFd::new(0).expect("eventfd")).expect("load");
    let other = same_bytes.measure(recall::measure_anew).expect("measure");
    assert!(matches!(machine.measured(&other), Err(Error::OtherImage)));
}

#[test]
fn a_damaged_image_is_not_measured() {
    let mut bytes = image(exit_7());
    let data = bytes.windows(8).position(|window| window == b"the data").expect("the guest's data");
    bytes[data] ^= 1;
    let image = Arc::new(Image::from_bytes(&bytes).expect("headers"));
    let error = image.measure(recall::measure_anew).expect_err("the check sum is wrong").to_string();
    assert!(error.contains("damaged"), "{error}");
}

guest!(exit_7, "ring 0x706");
guest!(ready_then_log, "ring 4", "ring 0x505", "ring 6");
guest!(read_unmapped, "mov rax, 0x20000000", "mov rax, [rax]", "ring 6");
guest!(read_page_tables, "mov rax, 0x8000000", "mov rax, [rax]", "ring 6");
guest!(write_code, "lea rax, [rip]", "mov byte ptr [rax], 0x90", "ring 6");
guest!(write_boot_page, "mov rax, 0x0fff0000", "mov byte ptr [rax], 1", "ring 6");
guest!(run_data, "mov rax, 0x40200000", "mov word ptr [rax], 0xfeeb", "jmp rax");
guest!(run_stack, "sub rsp, 64", "mov word ptr [rsp], 0xfeeb", "jmp rsp");
guest!(stack_overflow, "2: push rax", "jmp 2b");
guest!(above_stack, "mov rax, [rsp + 8]", "ring 6");
guest!(halt, "hlt", "ring 6");
guest!(port_out, "mov al, 1", "out 0x80, al", "ring 6");
guest!(system_call, "syscall", "ring 6");
guest!(int_80, "int 0x80", "ring 6");
guest!(read_msr, "mov ecx, 0x10", "rdmsr", "ring 6");
guest!(load_cr3, "mov rax, cr3", "ring 6");
guest!(
    hypercall,
    // KVM answers a hypercall from CPL 3 itself, with -KVM_EPERM, and does nothing. Exit code 0 if so.
    "xor eax, eax",
    "vmmcall",
    "cmp rax, -1",
    "je 2f",
    "ring 0x106",
    "2: ring 6",
);
guest!(undefined, "ud2", "ring 6");
guest!(divide_by_zero, "xor ecx, ecx", "xor edx, edx", "div ecx", "ring 6");
guest!(bad_doorbell, "ring 0xff");
guest!(small_doorbell, "mov rdi, 0x3ffff000", "mov byte ptr [rdi], 6", "ring 6");
guest!(doorbell_elsewhere, "mov rdi, 0x3ffff008", "mov rax, 6", "mov [rdi], rax", "ring 6");
guest!(read_doorbell, "mov rdi, 0x3ffff000", "mov rax, [rdi]", "ring 6");
guest!(
    check_data_and_bss,
    // Exit code 1 if .data is not as linked, 2 if .bss is not zero, else 0.
    "mov rax, 0x40200000",
    "mov rbx, 0x6174616420656874",
    "cmp [rax], rbx",
    "je 2f",
    "ring 0x106",
    "2: cmp qword ptr [rax + 4096], 0",
    "je 3f",
    "ring 0x206",
    "3: ring 6",
);
guest!(
    vector_registers,
    // Full-width vector registers and FS base must work at CPL 3.
    "vpxor ymm0, ymm0, ymm0",
    "mov rax, 0x40200000",
    "wrfsbase rax",
    "mov rbx, fs:[0]",
    "rdtsc",
    "rdrand rax",
    "xor eax, eax",
    "cpuid",
    "ring 0x2a06",
);
guest!(
    nsm_echo,
    // The mailbox: "abc" comes back reversed from the test's NSM; the exit code is its first byte.
    "mov rax, 0x30001000",
    "mov dword ptr [rax], 0x636261",
    "ring 0x302",
    "mov rbx, 0x30003000",
    "movzx rax, byte ptr [rbx]",
    "shl rax, 8",
    "or rax, 6",
    "mov rdi, 0x3ffff000",
    "mov [rdi], rax",
);
guest!(idle_with_timeout, "mov rdi, 0x3ffff000", "mov rax, 0x7d003", "mov [rdi], rax", "ring 0x306");

#[test]
fn a_guest_ends_with_its_exit_code() {
    assert_eq!(run(exit_7()), (End::Exit(7), vec!["ended".into()]));
    assert_eq!(run(check_data_and_bss()).0, End::Exit(0));
    assert_eq!(run(vector_registers()).0, End::Exit(0x2a));
    assert_eq!(run(idle_with_timeout()).0, End::Exit(3));
    assert_eq!(run(hypercall()).0, End::Exit(0));
    assert_eq!(run(nsm_echo()).0, End::Exit(b'c'));
    let (end, events) = run(ready_then_log());
    assert_eq!((end, events.len()), (End::Exit(0), 3));
}

#[test]
fn whatever_a_guest_may_not_do_ends_it() {
    let forbidden: [(&str, &[u8]); 16] = [
        ("read unmapped memory", read_unmapped()),
        ("read its page tables", read_page_tables()),
        ("write its code", write_code()),
        ("write the boot page", write_boot_page()),
        ("execute data", run_data()),
        ("execute its stack", run_stack()),
        ("overflow its stack", stack_overflow()),
        ("read above its stack", above_stack()),
        ("halt", halt()),
        ("use a port", port_out()),
        ("make a system call", system_call()),
        ("raise an interrupt", int_80()),
        ("read an MSR", read_msr()),
        ("read a control register", load_cr3()),
        ("run an undefined instruction", undefined()),
        ("divide by zero", divide_by_zero()),
    ];
    for (what, code) in forbidden {
        let (end, events) = run(code);
        assert!(matches!(end, End::Fault(_)), "a guest could {what}: {end:?}");
        assert_eq!(events, ["ended"]);
    }
}

#[test]
fn only_an_eight_byte_store_rings_the_doorbell() {
    assert_eq!(run(bad_doorbell()).0, End::BadDoorbell(0xff));
    for code in [small_doorbell(), doorbell_elsewhere(), read_doorbell()] {
        let end = run(code).0;
        assert!(matches!(end, End::Fault(Fault::BadAccess(_))), "{end:?}");
    }
}

#[test]
fn the_process_backend_runs_the_same_image_and_stops_the_same_faults() {
    let run = |code| run_on(Kind::Process, code);
    assert_eq!(run(exit_7()), (End::Exit(7), vec!["ended".into()]));
    assert_eq!(run(check_data_and_bss()).0, End::Exit(0));
    assert_eq!(run(idle_with_timeout()).0, End::Exit(3));
    assert_eq!(run(nsm_echo()).0, End::Exit(b'c'));
    let forbidden: [(&str, &[u8]); 8] = [
        ("read unmapped memory", read_unmapped()),
        ("write its code", write_code()),
        ("write the boot page", write_boot_page()),
        ("execute data", run_data()),
        ("halt", halt()),
        ("make a system call", system_call()),
        ("run an undefined instruction", undefined()),
        ("store less than 8 bytes to the doorbell", small_doorbell()),
    ];
    for (what, code) in forbidden {
        let (end, _) = run(code);
        assert!(matches!(end, End::Fault(_)), "a guest could {what}: {end:?}");
    }
}

guest!(
    leave_secrets_and_exit,
    // A pattern made at run time, in data, heap and stack; word 1 of the shared region says how far the heap reaches.
    "mov rbx, 0x1122334455667788",
    "mov rcx, 0x5a5a5a5a5a5a5a5a",
    "xor rbx, rcx",
    "mov rax, 0x40200100",
    "mov [rax], rbx",
    "mov rax, 0x40280000",
    "mov [rax], rbx",
    "push rbx",
    "mov rax, 0x30000008",
    "mov rcx, 0x40290000",
    "mov [rax], rcx",
    "ring 4",
    "ring 0x906",
);
guest!(
    leave_secrets_and_crash,
    "mov rbx, 0x1122334455667788",
    "mov rcx, 0x5a5a5a5a5a5a5a5a",
    "xor rbx, rcx",
    "mov rax, 0x40200100",
    "mov [rax], rbx",
    "mov rax, 0x40280000",
    "mov [rax], rbx",
    "push rbx",
    "ring 4",
    "hlt",
);

/// Private memory of a size that nothing else in this process has.
const TELLTALE_SIZE: u64 = (16 << 20) + 5 * 4096;

/// How often the pattern lies in this process's private guest memory (ordinary memory, so that it can be looked at).
fn patterns_in_guest_memory() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
    let ranges = maps.lines().filter_map(|line| line.split_whitespace().next()?.split_once('-'));
    let range = ranges
        .filter_map(|(from, to)| {
            Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
        })
        .find(|(from, to)| to - from == TELLTALE_SIZE)
        .expect("the guest's memory is not mapped: this test sees nothing");
    let mut bytes = vec![0; TELLTALE_SIZE as usize];
    let memory = std::fs::File::open("/proc/self/mem").expect("mem");
    std::os::unix::fs::FileExt::read_exact_at(&memory, &mut bytes, range.0).expect("read");
    let words = bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
    words.filter(|word| word ^ 0x5a5a_5a5a_5a5a_5a5a == 0x1122_3344_5566_7788).count()
}

struct Watch(Arc<Mutex<Vec<usize>>>);
impl GuestEvents for Watch {
    fn kick(&mut self) {}
    fn log(&mut self, _: &[u8]) {}
    fn ready(&mut self) {
        self.0.lock().expect("lock").push(patterns_in_guest_memory());
    }
    fn ended(&mut self, _: &End) {
        self.0.lock().expect("lock").push(patterns_in_guest_memory());
    }
}

#[test]
fn memory_is_zeroed_when_the_guest_ends_and_when_it_crashes() {
    for code in [leave_secrets_and_exit(), leave_secrets_and_crash()] {
        let config = Config {
            memory: TELLTALE_SIZE,
            debug: false,
            cid: 16,
            backend: Kind::Kvm,
            anonymous_memory: true,
            volume: false,
        };
        let kick = EventFd::new(0).expect("eventfd");
        let machine = Machine::new(config).expect("this test needs a working /dev/kvm");
        let image = Arc::new(Image::from_bytes(&image(code)).expect("image"));
        let measurement = image.measure(recall::measure_anew).expect("measure");
        let machine = machine.load(&image, &kick).expect("load");
        let machine = machine.measured(&measurement).expect("the same image").seal().expect("seal");
        let seen = Arc::default();
        let devices = Devices {
            nsm: Box::new(NoNsm),
            wake: EventFd::new(libc::EFD_NONBLOCK).expect("eventfd"),
            stop: Arc::default(),
            events: Box::new(Watch(Arc::clone(&seen))),
        };
        machine.start(devices, || Ok(())).expect("start").wait().expect("run");
        let seen = seen.lock().expect("lock");
        assert_eq!(*seen, [3, 0], "patterns while running, and after the end");
    }
}
