//! From the start of a process to a verified attestation document, and what else can be started, for scale.
//!
//! A launch is timed from before `exec` to the moment when this process has verified a document: fetched over the
//! guest's socket, signature, chain up to the platform's root, nonce, and PCR0 to PCR2 against the image. The security module
//! runs already, as it does for every guest but the first; what the first one costs is a row of its own.

use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use casemate_attestation::platform::parse_root;
use casemate_attestation::verify::{Established, Evidence, Expectations, verify};
use kvm_ioctls::Kvm;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::guest::{Guest, Starting, command};
use crate::http::{Client, request};
use crate::kms::{base64, unbase64};
use crate::measure::{Samples, time};
use crate::process::Process;
use crate::report::{Row, Target, Unit};
use crate::stamps::{STAGES, Stamps, now};
use crate::workshop::Workshop;

const GROUP: &str = "launch";
/// As much private memory as a guest has by default.
const GUEST_MEMORY: usize = 64 << 20;

/// Launches one after the other: sealed, floor, process, sandbox, nothing.
pub fn measure(workshop: &Workshop, quick: bool, progress: &dyn Fn(f64)) -> Result<Vec<Row>> {
    let rounds = if quick { 10 } else { 60 };
    let verifier = Verifier::new(workshop)?;
    let mut stages: [Samples; STAGES.len()] = Default::default();
    let [mut total, mut fetched, mut verified] = <[Samples; 3]>::default();
    let [mut first, mut floor, mut process, mut sandbox, mut nothing] = <[Samples; 5]>::default();
    let bwrap = sandboxed().stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    for round in 0..rounds {
        let (stamps, [document, end]) = launch(workshop, &verifier)?;
        let mut before = stamps[0];
        for (stage, stamp) in stages.iter_mut().zip(stamps.iter().skip(1)) {
            stage.push(since(before, *stamp));
            before = *stamp;
        }
        fetched.push(since(before, document));
        verified.push(since(document, end));
        total.push(since(stamps[0], end));
        if round % 4 == 0 {
            workshop.end_all()?;
            let (stamps, [_, end]) = launch(workshop, &verifier)?;
            first.push(since(stamps[0], end));
        }
        floor.push(kvm_floor()?);
        process.push(signer_process(workshop)?);
        if bwrap {
            sandbox.push(time(|| run(&mut sandboxed()))?);
        }
        nothing.push(time(|| run(&mut Command::new("/bin/true")))?);
        progress(f64::from(round + 1) / f64::from(rounds));
    }
    let mut rows = vec![
        Row::times(GROUP, "exec to first verified attestation", &total)
            .target(Target::AtMost(5e6))
            .note("signature, chain, nonce and PCR0-2 verified by the measuring process; stretch 2 ms"),
    ];
    for (name, samples) in STAGES.iter().zip(&stages) {
        rows.push(Row::times(GROUP, format!("  stage: {name}"), samples));
    }
    rows.push(Row::times(GROUP, "  stage: document fetched", &fetched));
    rows.push(Row::times(GROUP, "  stage: document verified", &verified));
    rows.push(
        Row::times(GROUP, "the same, of the first guest", &first)
            .note("it starts the security module that the others find running"),
    );
    rows.push(Row::times(GROUP, "KVM floor (VM, slot, virtual CPU)", &floor));
    rows.push(Row::times(GROUP, "signer as a process, to first answer", &process));
    if bwrap {
        rows.push(Row::times(GROUP, "bwrap /bin/true", &sandbox));
    }
    rows.push(Row::times(GROUP, "/bin/true", &nothing));
    if let Some(first) = rows.first_mut() {
        first.reference = Some(("KVM floor".into(), floor.median()));
    }
    debug_assert!(rows.iter().all(|row| row.unit == Unit::Ns));
    Ok(rows)
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn since(start: u64, end: u64) -> f64 {
    end.saturating_sub(start) as f64
}

/// Launches a signer and ends it. The moments: before exec, then each stage; and when the document was there, and verified.
fn launch(workshop: &Workshop, verifier: &Verifier<'_>) -> Result<([u64; STAGES.len() + 1], [u64; 2])> {
    let stamps = Stamps::new(&workshop.file(""))?;
    let mut command = command(workshop, &workshop.signer);
    command.env("CASEMATE_TIMINGS", stamps.path());

    let start = now();
    let guest = Starting::spawn(workshop, command)?.announced()?;
    let document = verifier.fetch(&guest)?;
    let fetched = now();
    std::hint::black_box(verifier.verify(&document)?);
    let end = now();

    let mut moments = [start; STAGES.len() + 1];
    moments[1..].copy_from_slice(&stamps.read()?);
    Ok((moments, [fetched, end]))
}

/// Knows the platform's root and the signer's image, and wants a nonce back.
pub struct Verifier<'a> {
    workshop: &'a Workshop,
    roots: [Vec<u8>; 1],
    nonce: [u8; 8],
}

impl<'a> Verifier<'a> {
    /// Launches a guest, which makes the platform key and fills caches, and takes the root from it.
    pub fn new(workshop: &'a Workshop) -> Result<Self> {
        let guest = Guest::launch(workshop, &workshop.signer)?;
        let path = guest.socket().with_file_name("root.pem");
        let pem = std::fs::read(&path).map_err(Error::file("read", &path))?;
        let root =
            parse_root(&pem).map_err(|error| Error::answer("the platform's root", error.to_string()))?;
        Ok(Self { workshop, roots: [root], nonce: now().to_le_bytes() })
    }

    /// Fetches a document on a new connection.
    pub fn fetch(&self, guest: &Guest) -> Result<Vec<u8>> {
        let body = json!({ "nonce": base64(&self.nonce) }).to_string();
        let mut client = Client::open(&guest.socket(), casemate_abi::port::SIGNER)?;
        let answer: Value =
            serde_json::from_slice(client.exchange(&request("POST", "/attestation", None, &body))?)
                .map_err(|error| Error::answer("the guest's JSON", error.to_string()))?;
        unbase64(answer.get("document").and_then(Value::as_str).unwrap_or_default())
    }

    /// Checks signature, chain, nonce and PCR0 to PCR2.
    pub fn verify(&self, document: &[u8]) -> Result<Established> {
        let evidence = Evidence { document, posture: None };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(verify(
            evidence,
            Expectations {
                roots: &self.roots,
                policy: &self.workshop.policy,
                nonce: Some(&self.nonce),
                now: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            },
        )?)
    }

    /// Both.
    pub fn attest(&self, guest: &Guest) -> Result<()> {
        std::hint::black_box(self.verify(&self.fetch(guest)?)?);
        Ok(())
    }
}

/// The least that any guest on KVM needs: a VM, one slot of memory, a virtual CPU.
fn kvm_floor() -> Result<f64> {
    let failed = |error: kvm_ioctls::Error| Error::io("make a bare VM")(error.into());
    // SAFETY: the kernel chooses the address, so nothing that exists is replaced.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            GUEST_MEMORY,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(Error::io("map memory")(std::io::Error::last_os_error()));
    }
    let start = now();
    let kvm = Kvm::new().map_err(failed)?;
    let vm = kvm.create_vm().map_err(failed)?;
    let region = kvm_bindings::kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: GUEST_MEMORY as u64,
        userspace_addr: memory as u64,
    };
    // SAFETY: the region is mapped until after the VM is gone.
    unsafe { vm.set_user_memory_region(region) }.map_err(failed)?;
    let cpu = vm.create_vcpu(0).map_err(failed)?;
    let end = now();
    debug_assert!(cpu.as_raw_fd() >= 0);
    drop((cpu, vm, kvm));
    // SAFETY: mapped above, and nothing refers to it any more.
    unsafe { libc::munmap(memory, GUEST_MEMORY) };
    Ok(since(start, end))
}

/// Starts the signer as a process and asks it for a sign of life.
fn signer_process(workshop: &Workshop) -> Result<f64> {
    let start = now();
    let process = Process::start(&workshop.signer_process, &[], workshop.file("process.sock"))?;
    let mut client = Client::open(process.socket(), casemate_abi::port::SIGNER)?;
    client.exchange(&request("GET", "/health", None, ""))?;
    Ok(since(start, now()))
}

/// `/bin/true` in namespaces of its own.
fn sandboxed() -> Command {
    let mut command = Command::new("bwrap");
    command
        .args(["--unshare-all", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "/bin/true"])
        .stderr(Stdio::null());
    command
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(Error::io("run a program for comparison"))?;
    if !status.success() {
        return Err(Error::answer("a program for comparison", status.to_string()));
    }
    Ok(())
}
