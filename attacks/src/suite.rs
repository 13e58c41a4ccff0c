//! `casemate selftest`: every attack, one after the other, on one signer that goes on working.

use std::io::{BufRead as _, BufReader, Error, Read as _, Result, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use casemate_attestation::nsm::session::HELLO_LEN;
use x509_cert::der::Decode as _;

use crate::process::{Haul, Map};
use crate::table::{Outcome, Row};
use crate::target::{Place, SECRET_LEN, Target};
use crate::{descriptors, host, keys, memory, process, vmm};

/// What closes the ways that lead through tracing the VMM.
const NO_TRACING: &str = "yama_ptrace_scope 3 (demand it of the posture)";
/// What closes the ways that lead through the kernel.
const LOCKDOWN: &str = "lockdown=confidentiality (demand it of the posture)";

const NOTHING: &str = "no byte of the key";
const REFUSED: &str = "refused";

/// Makes every attack on a signer that is launched in `place`, and says each row as soon as it is known.
pub fn run(place: &Place, say: &mut dyn FnMut(&Row)) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut add = |row: Row| {
        say(&row);
        rows.push(row);
    };
    let mut secret = [0; SECRET_LEN];
    aws_lc_rs::rand::fill(&mut secret).map_err(|_| Error::other("no random bytes"))?;
    let mut target = place.launch("target", &[])?;
    let key = target.import(&secret)?;
    target.works(&key)?;
    let scene = Scene { place, target: &target, key: &key, secret, holder: Holder::start(&secret)? };
    for (attack, expected, make) in ATTACKS {
        let outcome = match make(&scene).and_then(|outcome| scene.target.works(&key).map(|()| outcome)) {
            Ok(outcome) => outcome,
            Err(error) => Outcome::Broken(error.to_string()),
        };
        add(Row { attack, expected, outcome });
    }
    drop(scene);
    add(Row {
        attack: "a crash that dumps core",
        expected: "no core",
        outcome: or_broken(core_dump(&mut target)),
    });
    drop(target);
    for (attack, expected, make) in ON_VOLUMES {
        add(Row { attack, expected, outcome: or_broken(make(place)) });
    }
    Ok(rows)
}

fn or_broken(outcome: Result<Outcome>) -> Outcome {
    outcome.unwrap_or_else(|error| Outcome::Broken(error.to_string()))
}

struct Scene<'a> {
    place: &'a Place,
    target: &'a Target<'a>,
    key: &'a str,
    secret: [u8; SECRET_LEN],
    holder: Holder,
}

type Attack = (&'static str, &'static str, fn(&Scene<'_>) -> Result<Outcome>);

const ATTACKS: [Attack; 20] = [
    ("read the VMM's memory: /proc/PID/mem", NOTHING, |scene| scene.searched(memory::proc_mem)),
    ("read the VMM's memory: process_vm_readv", NOTHING, |scene| scene.searched(memory::process_vm_readv)),
    ("read what the VMM maps: /proc/PID/map_files", NOTHING, map_files),
    ("dump the VMM's core with gdb", NOTHING, gcore),
    ("read the memory of every other process", NOTHING, every_process),
    ("copy each descriptor of the VMM (pidfd_getfd), then map, read, reopen it", NOTHING, |scene| {
        scene.searched(descriptors::all)
    }),
    ("take the guest's memory out of the io_uring that holds it", REFUSED, ring),
    (
        "read or set registers on a copy of the virtual CPU (KVM_GET_*, KVM_SET_*, KVM_RUN)",
        REFUSED,
        stolen_cpu,
    ),
    ("write the guest's code and page tables through /proc/PID/mem", REFUSED, write_code),
    ("write, or cut, a copy of the sealed files", REFUSED, write_sealed_files),
    (
        "find the attestation key in the memory of the guest's VMM, and of the security module's",
        "no place that fits its public key",
        attestation_key,
    ),
    ("open a session in the security module without the platform key", REFUSED, stranger),
    ("attach to the VMM with ptrace, seccomp suspended", REFUSED, tracing),
    ("have KVM leave the guest's registers in the VMM's kvm_run page", REFUSED, kvm_run),
    ("find the guest in swap or among merged pages", "nothing swapped, nothing merged", swap),
    ("read all memory: /dev/mem, /dev/kmem, /proc/kcore", REFUSED, all_memory),
    ("load a program for kernel probes (bpf)", REFUSED, probes),
    ("open the console of a guest in production mode", REFUSED, console),
    ("pass off an old attestation document as an answer to a new nonce", REFUSED, replay),
    ("pass off a document of a guest in debug mode as the signer's", REFUSED, debug_document),
];

impl Scene<'_> {
    fn pid(&self) -> i32 {
        self.target.pid()
    }

    /// Looks for the key in the guest, and in the process that holds it openly.
    fn searched(&self, look: fn(&[u8], i32) -> Result<Haul>) -> Result<Outcome> {
        let control = look(&self.secret, self.holder.pid())?;
        Ok(judged(&look(&self.secret, self.pid())?, &control))
    }

    fn file(&self, name: &str) -> Result<OwnedFd> {
        let all = process::descriptors(self.pid())?;
        let found = all.iter().find(|(_, path)| path.to_string_lossy().contains(name));
        let (number, _) = found.ok_or_else(|| Error::other(format!("the VMM has no {name}")))?;
        descriptors::steal(self.pid(), *number)
    }

    fn sealed_maps(&self) -> Result<Vec<Map>> {
        let mut maps = process::maps(self.pid())?;
        maps.retain(|map| map.name.contains("casemate-image") || map.name.contains("casemate-tables"));
        if maps.is_empty() { Err(Error::other("no sealed file is mapped")) } else { Ok(maps) }
    }
}

fn judged(haul: &Haul, control: &Haul) -> Outcome {
    if control.found.is_empty() {
        return Outcome::Broken("the control: the same search finds nothing where the key lies open".into());
    }
    match haul.found.first() {
        Some(place) => Outcome::Broken(format!("the key is in {place}")),
        None if haul.bytes < 4096 => Outcome::Broken(format!("only {} bytes were read", haul.bytes)),
        None => Outcome::Held(format!(
            "nothing in {} KiB; the control finds a process's key {} times",
            haul.bytes >> 10,
            control.found.len()
        )),
    }
}

/// The attack was refused, or everything is lost.
fn refusal<T>(result: Result<T>) -> Outcome {
    match result {
        Ok(_) => Outcome::Broken("it succeeded".into()),
        Err(error) => Outcome::Held(first_line(&error)),
    }
}

/// The attack was refused, or it is one that this host allows.
fn limit<T>(result: Result<T>, succeeded: impl FnOnce(T) -> String, closed_by: &'static str) -> Outcome {
    match result {
        Ok(value) => Outcome::Limit(succeeded(value), closed_by),
        Err(error) => Outcome::Held(first_line(&error)),
    }
}

fn first_line(error: &Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// What the holder maps of the secret are memfds, which this way leads to as well.
fn map_files(scene: &Scene<'_>) -> Result<Outcome> {
    let control = memory::proc_mem(&scene.secret, scene.holder.pid())?;
    Ok(judged(&memory::map_files(&scene.secret, scene.pid())?, &control))
}

fn gcore(scene: &Scene<'_>) -> Result<Outcome> {
    if Command::new("gdb").arg("--version").output().is_err() {
        return Ok(Outcome::NotMade("gdb is not installed (Debian: apt install gdb)".into()));
    }
    let dump = |pid| memory::gcore(&scene.secret, pid, &scene.place.file("core-by-gdb"));
    let control = dump(scene.holder.pid())?;
    Ok(judged(&dump(scene.pid())?, &control))
}

fn every_process(scene: &Scene<'_>) -> Result<Outcome> {
    let ours = i32::try_from(std::process::id()).unwrap_or(0);
    let (mut haul, mut control, mut count) = (Haul::default(), Haul::default(), 0);
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that has ended meanwhile, or a thread of the kernel's.
        let Ok(found) = memory::proc_mem(&scene.secret, pid) else { continue };
        match pid {
            pid if pid == ours => {}
            pid if pid == scene.holder.pid() => control.add(found),
            _ => {
                count += 1;
                haul.add(found);
            }
        }
    }
    Ok(match judged(&haul, &control) {
        Outcome::Held(text) => Outcome::Held(format!("{count} processes: {text}")),
        other => other,
    })
}

fn ring(scene: &Scene<'_>) -> Result<Outcome> {
    let Ok(ring) = scene.file("io_uring") else {
        return Ok(Outcome::Limit("this kernel has no io_uring".into(), "file_reference io_uring"));
    };
    let control = process::descriptors(scene.holder.pid())?;
    let control = control.iter().find(|(_, path)| path.to_string_lossy().contains("io_uring"));
    let control = control.ok_or_else(|| Error::other("the control has no io_uring"))?;
    descriptors::take_from_ring(&descriptors::steal(scene.holder.pid(), control.0)?).map_err(|error| {
        Error::other(format!("the control: a ring without restrictions gave nothing: {error}"))
    })?;
    // Unregister buffers, files, the eventfd; enable the rings again (IORING_* of linux/io_uring.h).
    for operation in [1, 3, 5, 12] {
        if descriptors::register(&ring, operation).is_ok() {
            return Ok(Outcome::Broken(format!("io_uring_register({operation}) was allowed")));
        }
    }
    Ok(refusal(descriptors::take_from_ring(&ring)))
}

fn stolen_cpu(scene: &Scene<'_>) -> Result<Outcome> {
    let cpu = scene.file("kvm-vcpu")?;
    let requests = [
        ("KVM_RUN", 0xae80),
        ("KVM_GET_REGS", 0x8090_ae81),
        ("KVM_SET_REGS", 0x4090_ae82),
        ("KVM_GET_SREGS", 0x8138_ae83),
        ("KVM_SET_SREGS", 0x4138_ae84),
        ("KVM_TRANSLATE", 0xc018_ae85),
        ("KVM_GET_FPU", 0x81a0_ae8c),
        ("KVM_GET_XSAVE", 0x9000_aea4),
        ("KVM_SET_GUEST_DEBUG", 0x4048_ae9b),
    ];
    let mut refused = String::new();
    for (name, request) in requests {
        match descriptors::kvm(&cpu, request) {
            Ok(()) => return Ok(Outcome::Broken(format!("{name} succeeded"))),
            Err(error) => refused = first_line(&error),
        }
    }
    Ok(Outcome::Held(format!("{} requests: {refused}", requests.len())))
}

fn write_code(scene: &Scene<'_>) -> Result<Outcome> {
    let own = process::maps(scene.holder.pid())?;
    let text = own.iter().find(|map| map.permissions == "r-xp" && map.name.starts_with('/'));
    let text = text.ok_or_else(|| Error::other("the control maps no code"))?;
    memory::write(scene.holder.pid(), text)
        .map_err(|error| Error::other(format!("the control: a process's code cannot be written: {error}")))?;
    let mut last = Outcome::NotMade("nothing is mapped".into());
    for map in scene.sealed_maps()? {
        last = refusal(memory::write(scene.pid(), &map));
        if matches!(last, Outcome::Broken(_)) {
            return Ok(last);
        }
    }
    Ok(last)
}

fn write_sealed_files(scene: &Scene<'_>) -> Result<Outcome> {
    let mut last = Outcome::NotMade("there is no file".into());
    for name in ["casemate-image", "casemate-tables"] {
        let file = scene.file(name)?;
        for result in
            [rustix::io::pwrite(&file, b"x", 4096).map(drop), rustix::fs::ftruncate(&file, 0).map(drop)]
        {
            last = refusal(result.map_err(Error::from));
            if matches!(last, Outcome::Broken(_)) {
                return Ok(last);
            }
        }
    }
    Ok(last)
}

fn attestation_key(scene: &Scene<'_>) -> Result<Outcome> {
    let document = scene.place.file("key.cbor");
    scene.attest("x", &document)?;
    let document = casemate_attestation::document::parse(&std::fs::read(document)?).map_err(Error::other)?;
    let certificate = x509_cert::Certificate::from_der(&document.certificate).map_err(Error::other)?;
    let public = certificate.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    if keys::find(scene.holder.pid(), &scene.holder.public)?.1 == 0 {
        return Ok(Outcome::Broken("the control: a key that lies open is not found".into()));
    }
    let (mut tried, mut found) = (0, 0);
    for pid in [scene.pid(), scene.place.module_pid()?] {
        let searched = keys::find(pid, public)?;
        if searched.0 == 0 {
            return Ok(Outcome::Broken(format!("nothing was searched in process {pid}")));
        }
        (tried, found) = (tried + searched.0, found + searched.1);
    }
    Ok(match found {
        0 => Outcome::Held(format!("{tried} places tried; the control's key is found")),
        found => Outcome::Broken(format!("it lies in {found} places")),
    })
}

/// Whoever gets at the module's socket hears its hello, and may say anything.
fn stranger(scene: &Scene<'_>) -> Result<Outcome> {
    let mut stream = UnixStream::connect(scene.place.file("run/module/vsock.sock"))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    // `casemate_abi::port::MODULE`.
    stream.write_all(b"CONNECT 8002\n")?;
    let mut line = String::new();
    let mut answers = BufReader::new(stream.try_clone()?);
    answers.read_line(&mut line)?;
    let mut hello = [0; HELLO_LEN];
    answers.read_exact(&mut hello)?;
    // Everything that an opening has, but for a tag that only the platform key leads to.
    stream.write_all(&512_u32.to_le_bytes())?;
    stream.write_all(&[0xa5; 512])?;
    let mut answer = Vec::new();
    answers.read_to_end(&mut answer)?;
    Ok(match answer.len() {
        0 => Outcome::Held("the module closes the connection without a word".into()),
        length => Outcome::Broken(format!("it answers, {length} bytes")),
    })
}

fn tracing(scene: &Scene<'_>) -> Result<Outcome> {
    let attached = |()| "attached: root can have the VMM make any system call, with KVM's too".to_owned();
    Ok(limit(vmm::trace(scene.pid()), attached, NO_TRACING))
}

fn kvm_run(scene: &Scene<'_>) -> Result<Outcome> {
    let registers = vmm::registers_through_kvm_run(scene.pid(), || scene.target.works(scene.key));
    let seen = |rip| format!("registers at each exit are readable (RIP {rip:#x}); memory is not");
    Ok(limit(registers, seen, NO_TRACING))
}

fn swap(scene: &Scene<'_>) -> Result<Outcome> {
    Ok(match host::swapped_and_merged(scene.pid())? {
        (0, 0, false) => Outcome::Held("0 KiB swapped, 0 KiB merged, and merging was allowed nowhere".into()),
        (swapped, merged, allowed) => {
            Outcome::Broken(format!("{swapped} KiB swapped, {merged} KiB merged, merging allowed: {allowed}"))
        }
    })
}

fn all_memory(_: &Scene<'_>) -> Result<Outcome> {
    let paths = ["/dev/mem", "/dev/kmem", "/proc/kcore"];
    let open: Vec<&str> = paths.into_iter().filter(|path| host::open(path).is_ok()).collect();
    Ok(if open.is_empty() {
        Outcome::Held("none can be opened here".into())
    } else {
        Outcome::Limit(format!("{} can be opened", open.join(", ")), LOCKDOWN)
    })
}

fn probes(_: &Scene<'_>) -> Result<Outcome> {
    Ok(limit(host::load_kprobe_program(), |()| "it was loaded".to_owned(), LOCKDOWN))
}

fn console(scene: &Scene<'_>) -> Result<Outcome> {
    Ok(refusal(scene.place.casemate(&["console", "--enclave-name", "target"])))
}

impl Scene<'_> {
    fn attest(&self, nonce: &str, out: &Path) -> Result<()> {
        let (out, root) = (out.display().to_string(), self.place.file("root.pem").display().to_string());
        self.place
            .casemate(&["attest", "--guest", "target", "--nonce", nonce, "--out", &out, "--root-out", &root])
            .map(drop)
    }

    /// `casemate verify`, as a relying party does it.
    fn verify(&self, document: &Path, arguments: &[&str]) -> Result<String> {
        let (document, root) =
            (document.display().to_string(), self.place.file("root.pem").display().to_string());
        let mut all = vec!["verify", document.as_str(), "--root", root.as_str()];
        all.extend(arguments);
        self.place.casemate(&all)
    }
}

fn replay(scene: &Scene<'_>) -> Result<Outcome> {
    let document = scene.place.file("old.cbor");
    scene.attest("old", &document)?;
    scene.verify(&document, &["--nonce", "old"])?;
    Ok(refusal(scene.verify(&document, &["--nonce", "new"])))
}

fn debug_document(scene: &Scene<'_>) -> Result<Outcome> {
    let document = scene.place.file("production.cbor");
    scene.attest("x", &document)?;
    let production =
        casemate_attestation::document::parse(&std::fs::read(&document)?).map_err(Error::other)?;
    let pcr0 = production.claims.pcrs.get(&0).map(|pcr| hex::encode(pcr.as_bytes()));
    let pcr0 = pcr0.ok_or_else(|| Error::other("the document has no PCR0"))?;
    let policy = scene.place.file("policy.json");
    std::fs::write(&policy, serde_json::json!({"pcrs": {"0": pcr0}}).to_string())?;
    let demand = ["--nonce", "x", "--policy", &policy.display().to_string()];
    scene.verify(&document, &demand)?;
    let debug = scene.place.launch("debug", &["--debug-mode"])?;
    let document = scene.place.file("debug.cbor");
    let out = document.display().to_string();
    scene.place.casemate(&["attest", "--guest", "debug", "--nonce", "x", "--out", &out])?;
    drop(debug);
    Ok(refusal(scene.verify(&document, &demand)))
}

/// Somebody who hopes for a core makes the VMM crash.
fn core_dump(target: &mut Target<'_>) -> Result<Outcome> {
    let pid = rustix::process::Pid::from_raw(target.pid()).ok_or_else(|| Error::other("no process"))?;
    let unlimited = rustix::process::Rlimit { current: None, maximum: None };
    let lifted = rustix::process::prlimit(Some(pid), rustix::process::Resource::Core, unlimited);
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT)?;
    Ok(match (target.child().wait()?.core_dumped(), lifted) {
        (true, _) => Outcome::Broken("the kernel dumped the VMM".into()),
        (false, Ok(_)) => Outcome::Held("none was written, although the limit had been lifted".into()),
        (false, Err(error)) => Outcome::Held(format!("none was written; to lift the limit: {error}")),
    })
}

type VolumeAttack = (&'static str, &'static str, fn(&Place) -> Result<Outcome>);

const ON_VOLUMES: [VolumeAttack; 4] = [
    ("launch the signer in debug mode with its own state", REFUSED, |place| {
        let (file, _) = with_state(place, "debug.state")?;
        Ok(refusal(place.launch("debug", &["--debug-mode", "--state", &file])))
    }),
    ("give the signer an old copy of its state", REFUSED, |place| {
        let (file, key) = with_state(place, "old.state")?;
        let old = std::fs::read(&file)?;
        let target = place.launch("again", &["--state", &file])?;
        target.works(&key)?;
        target.kms("CreateKey", &serde_json::json!({}))?;
        target.terminate()?;
        closed(place, &file)?;
        std::fs::write(&file, old)?;
        Ok(refusal(place.launch("again", &["--state", &file])))
    }),
    ("cut the signer's state short", REFUSED, |place| {
        let (file, _) = with_state(place, "cut.state")?;
        let bytes = std::fs::read(&file)?;
        std::fs::write(&file, bytes.get(..bytes.len() / 2).unwrap_or_default())?;
        Ok(refusal(place.launch("again", &["--state", &file])))
    }),
    ("give the signer state that somebody made up", REFUSED, |place| {
        let file = place.file("forged.state");
        let mut noise = vec![0; 1 << 20];
        aws_lc_rs::rand::fill(&mut noise).map_err(|_| Error::other("no random bytes"))?;
        std::fs::write(&file, noise)?;
        Ok(refusal(place.launch("again", &["--state", &file.display().to_string()])))
    }),
];

/// State that a signer has left, and a key in it.
fn with_state(place: &Place, name: &str) -> Result<(String, String)> {
    let file = place.file(name).display().to_string();
    let target = place.launch("first", &["--state", &file])?;
    let created = target.kms("CreateKey", &serde_json::json!({}))?;
    let key = created.pointer("/KeyMetadata/KeyId").and_then(serde_json::Value::as_str).unwrap_or_default();
    target.works(key)?;
    let key = key.to_owned();
    target.terminate()?;
    closed(place, &file)?;
    Ok((file, key))
}

/// Waits until the volume's service has let go of the file.
fn closed(place: &Place, file: &str) -> Result<()> {
    for _ in 0..100 {
        if place.casemate(&["volume", "info", file]).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Error::other(format!("{file} stays in use")))
}

/// The control: an ordinary process with the secret, and the public half of a key that it holds.
struct Holder {
    child: Child,
    public: Vec<u8>,
}

impl Holder {
    fn start(secret: &[u8]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("holder").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.as_mut().ok_or_else(|| Error::other("no stdin"))?;
        writeln!(stdin, "{}", hex::encode(secret))?;
        let mut line = String::new();
        let stdout = child.stdout.as_mut().ok_or_else(|| Error::other("no stdout"))?;
        BufReader::new(stdout).read_line(&mut line)?;
        let public = hex::decode(line.trim()).map_err(Error::other)?;
        Ok(Self { child, public })
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap_or(0)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
