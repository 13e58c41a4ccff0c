//! The security module: where attestation keys are, who gets at them (nobody), and what becomes of guests without it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use casemate_attacks::process::{self, Map};
use casemate_attacks::{descriptors, keys};
use casemate_attestation::document;
use casemate_attestation::eif::Eif;
use casemate_attestation::nsm::api::{self, ByteBuf, Request, Response};
use casemate_attestation::nsm::channel::{GuestEnd, TAG_LEN};
use casemate_attestation::nsm::session::{self, HELLO_LEN, Hello, NONCE_LEN, Statement};
use casemate_attestation::pcr::{ImageMeasurements, Launch, Mode, Pcr};
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::sealing::{self, Sealing};
use casemate_tests::{Image, Lab, Running, can_attack, can_seal, connect, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// `casemate_abi::port::MODULE`.
const PORT: u32 = 8002;
/// The mailbox's request in the region that guest and host share (`casemate_abi::shared`).
const MAILBOX: u64 = 0x1000;
const GONE: &str =
    "the security module does not answer: it is gone, and a guest that is launched again gets another";

fn measured(image: Image) -> ImageMeasurements {
    Eif::parse(&std::fs::read(image.path()).unwrap()).unwrap().measure().unwrap()
}

fn kill(lab: &Lab) {
    let pid = lab.module_pid();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    // A child of the VMM that started it: it may stay, as a zombie, without memory.
    wait_until("the module is gone", || process::maps(pid).map_or(true, |maps| maps.is_empty()));
}

#[test]
fn a_document_says_that_its_key_is_in_the_security_module() {
    if !can_seal("an attestation key in the security module") {
        return;
    }
    let lab = Lab::new();
    let guest = lab.launch(Image::Signer, &[]);
    let root = guest.folder().join("root.pem");
    let (root, module) = (root.to_str().unwrap(), measured(Image::Module).pcr0.to_string());
    lab.ok(&["attest", "--nonce", "n", "--out", "doc.cbor"]);
    let verify = |module: &str| {
        let policy = json!({"posture": {"leaf_key": "module", "module_pcr0": module}});
        let policy = lab.write("policy.json", policy.to_string().as_bytes());
        lab.casemate(&["verify", "doc.cbor", "--root", root, "--policy", &policy, "--nonce", "n"])
    };
    let verified = verify(&module);
    assert_eq!(verified.code, 0, "{verified:?}");
    for fact in ["leaf_key = module", &format!("module_pcr0 = {module}")] {
        assert!(verified.stdout.contains(fact), "{fact}: {}", verified.stdout);
    }
    assert_ne!(verify(&"0".repeat(96)).code, 0, "another module is not what was demanded");
    assert_eq!(lab.json(&["describe"]).as_array().unwrap().len(), 1, "the module is in no list");
}

/// What openssl says of the alternative name in the certificate of a guest's key.
fn name_of_the_key(lab: &Lab, guest: &Running) -> String {
    let document = hex::decode(guest.ask("ATTEST 00")).unwrap();
    let leaf = lab.write("leaf.der", &document::parse(&document).unwrap().certificate);
    let arguments = ["x509", "-inform", "DER", "-in", &leaf, "-noout", "-ext", "subjectAltName"];
    String::from_utf8(lab.openssl(&arguments)).unwrap()
}

/// So a key that a VMM has, should it be taken, cannot sign that it were in the module.
#[test]
fn the_platform_certifies_who_has_the_key() {
    if !can_seal("a certificate that names the security module") {
        return;
    }
    let lab = Lab::new();
    let named = name_of_the_key(&lab, &lab.launch(Image::Secret, &[]));
    assert!(named.contains(&format!("URI:casemate:module:{}", measured(Image::Module).pcr0)), "{named}");
    let unnamed = name_of_the_key(&lab, &lab.launch(Image::Secret, &["--backend=process"]));
    assert!(!unnamed.contains("casemate:module"), "{unnamed}");
}

#[test]
fn without_the_module_a_guest_goes_on_and_the_next_launch_starts_another() {
    if !can_seal("a security module that is killed") {
        return;
    }
    let lab = Lab::new();
    let guest = lab.launch(Image::Secret, &[]);
    assert!(guest.ask("ATTEST 00").starts_with("84"), "the control: a document");
    let first = lab.module_pid();
    kill(&lab);
    for _ in 0..2 {
        let asked = Instant::now();
        assert_eq!(guest.ask("ATTEST 00"), GONE);
        assert!(asked.elapsed() < Duration::from_secs(5), "it waits {:?} for nobody", asked.elapsed());
    }
    assert_eq!(guest.ask("CHECK"), "3", "everything else goes on");
    let next = lab.launch(Image::Secret, &[]);
    assert_ne!(lab.module_pid(), first);
    assert!(next.ask("ATTEST 00").starts_with("84"));
    assert_eq!(guest.ask("ATTEST 00"), GONE, "nothing dials again");
    guest.signal(Signal::TERM);
    let (_, said) = guest.wait();
    assert!(said.contains("the guest goes on, and cannot attest any more"), "{said}");
}

#[test]
fn the_module_ends_with_the_last_guest_that_is_ended() {
    if !can_seal("the end of the security module") {
        return;
    }
    let lab = Lab::new();
    let gone = |pid| process::maps(pid).map_or(true, |maps| maps.is_empty());
    let guests = ["--name=one", "--name=other"].map(|name| lab.launch(Image::Secret, &[name]));
    let pid = lab.module_pid();
    lab.ok(&["terminate", "--enclave-name", "one"]);
    assert!(!gone(pid) && guests[1].ask("ATTEST 00").starts_with("84"), "another guest has its keys there");
    lab.ok(&["terminate", "--enclave-name", "other"]);
    assert!(gone(pid) && !lab.module_folder().exists());
    let again = lab.launch(Image::Secret, &[]);
    let pid = lab.module_pid();
    assert!(again.ask("ATTEST 00").starts_with("84"));
    lab.ok(&["terminate", "--all"]);
    assert!(gone(pid) && !lab.module_folder().exists());
    // A guest that ends by itself leaves it to the next, for ten seconds.
    let last = lab.launch(Image::Secret, &[]);
    let pid = lab.module_pid();
    last.tell("EXIT");
    last.wait();
    assert!(lab.json(&["describe"]).as_array().unwrap().is_empty());
    wait_until("the module ends by itself", || gone(pid));
    assert_eq!(lab.launch(Image::Secret, &[]).ask("PING"), "PONG");
}

#[test]
fn launches_at_once_start_one_module() {
    if !can_seal("two launches that start the security module") {
        return;
    }
    let lab = Lab::new();
    let guests: Vec<Running> = std::thread::scope(|scope| {
        let launches: Vec<_> = (0..3).map(|_| scope.spawn(|| lab.launch(Image::Secret, &[]))).collect();
        launches.into_iter().map(|launch| launch.join().unwrap()).collect()
    });
    let pid = lab.module_pid();
    assert!(guests.iter().all(|guest| guest.ask("ATTEST 00").starts_with("84")));
    // The listener and a connection for each.
    let sockets = process::descriptors(pid).unwrap();
    let sockets =
        sockets.iter().filter(|(_, target)| target.to_string_lossy().starts_with("socket:")).count();
    assert_eq!(sockets, 1 + guests.len());
    // Their keys are their own.
    let leaves = guests
        .iter()
        .map(|guest| document::parse(&hex::decode(guest.ask("ATTEST 00")).unwrap()).unwrap().certificate);
    let mut leaves: Vec<_> = leaves.collect();
    leaves.sort();
    leaves.dedup();
    assert_eq!(leaves.len(), guests.len());
}

/// The module's side of a connection.
struct Line(UnixStream);

impl Line {
    /// Connects as anybody can who gets at the socket.
    fn open(lab: &Lab) -> (Self, Hello) {
        let mut stream = connect(&lab.module_folder().join("vsock.sock"), PORT).unwrap();
        let mut hello = [0; HELLO_LEN];
        stream.read_exact(&mut hello).unwrap();
        (Self(stream), Hello::decode(&hello).unwrap())
    }

    fn send(&mut self, packet: &[u8]) -> std::io::Result<()> {
        let length = u32::try_from(packet.len()).unwrap().to_le_bytes();
        self.0.write_all(&[&length, packet].concat())
    }

    /// The answer; `None` if the module has closed instead.
    fn answer(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).ok()?;
        let mut answer = vec![0; u32::from_le_bytes(length).try_into().unwrap()];
        self.0.read_exact(&mut answer).unwrap();
        Some(answer)
    }
}

fn request(frame: &[u8]) -> Vec<u8> {
    [&1_795_478_400_000_u64.to_le_bytes()[..], frame].concat()
}

fn attestation() -> Vec<u8> {
    let request =
        Request::Attestation { user_data: None, nonce: Some(ByteBuf::from("forged")), public_key: None };
    api::encode_request(&request)
}

fn authority(lab: &Lab) -> session::Authority {
    let platform = PlatformKey::load(&lab.path("home")).unwrap();
    sealing::key(&platform, Sealing::Module, &measured(Image::Module)).unwrap()
}

/// What opens a session for a guest that there is not, made with `channel`.
fn statement(channel: &[u8; 32], platform: &PlatformKey, hello: &Hello) -> Vec<u8> {
    let launch = Launch {
        image: measured(Image::Secret),
        role: Pcr::ZERO,
        instance: Pcr::ZERO,
        posture: Pcr::ZERO,
        mode: Mode::Production,
    };
    let statement = Statement {
        module_id: "forged".to_owned(),
        launch,
        certificate: platform
            .certify(&hello.public, "forged", Some(&hello.measurements.pcr0), 1_795_478_400)
            .unwrap()
            .into(),
        cabundle: vec![platform.root().to_vec().into()],
    };
    session::open(channel, &[1; NONCE_LEN], &statement.encode().unwrap())
}

#[test]
fn a_stranger_at_the_modules_socket_gets_no_document() {
    if !can_attack("opening a session without the platform key") {
        return;
    }
    let lab = Lab::new();
    let guest = lab.launch(Image::Secret, &[]);
    let stranger = PlatformKey::generate(1_795_478_400).unwrap();
    for packet in [Vec::new(), vec![0; 200], request(&attestation()), vec![0xff; 5000]] {
        let (mut line, _) = Line::open(&lab);
        let _ = line.send(&packet);
        assert_eq!(line.answer(), None, "{} bytes", packet.len());
    }
    let (mut line, hello) = Line::open(&lab);
    line.send(&statement(&[0; 32], &stranger, &hello)).unwrap();
    assert_eq!(line.answer(), None, "a session that no platform key opened");
    // The control: with the platform key, which root could have read from its file, the same words open one.
    let platform = PlatformKey::load(&lab.path("home")).unwrap();
    let (mut line, hello) = Line::open(&lab);
    let channel = hello.channel(&authority(&lab), &[1; NONCE_LEN]).unwrap();
    let opening = statement(&channel, &platform, &hello);
    line.send(&opening).unwrap();
    assert_eq!(line.answer().unwrap(), session::accepted(&channel));
    let mut forged = GuestEnd::new(*channel);
    let (frame, expected) = forged.seal(&attestation()).unwrap();
    line.send(&request(&frame)).unwrap();
    let answer = line.answer().unwrap();
    let response = api::decode_response(forged.open(expected, &answer).unwrap()).unwrap();
    assert!(matches!(response, Response::Attestation { .. }));
    // And once only.
    let (mut again, _) = Line::open(&lab);
    again.send(&opening).unwrap();
    assert_eq!(again.answer(), None, "a session is opened again by who has heard it");
    line.send(&request(&frame)).unwrap();
    assert_eq!(line.answer(), None, "a request counts again");
    assert!(guest.ask("ATTEST 00").starts_with("84"), "the guest never noticed");
}

fn shared(guest: &Running) -> Map {
    let maps = process::maps(guest.pid()).unwrap();
    maps.into_iter().find(|map| map.name.contains("casemate-shared")).expect("the shared region")
}

/// The last frame that the guest has left in its mailbox.
fn last_frame(guest: &Running, message: &[u8]) -> Vec<u8> {
    let memory = std::fs::File::open(format!("/proc/{}/mem", guest.pid())).unwrap();
    let mut frame = vec![0; TAG_LEN + message.len()];
    memory.read_exact_at(&mut frame, shared(guest).start + MAILBOX).unwrap();
    assert_eq!(&frame[TAG_LEN..], message, "the mailbox holds another request");
    frame
}

#[test]
fn a_stolen_descriptor_gets_no_document() {
    if !can_attack("speaking to the security module in a guest's name") {
        return;
    }
    let lab = Lab::new();
    for (what, replays) in
        [("a request without the guest's key", false), ("its own last request, again", true)]
    {
        let guest = lab.launch(Image::Secret, &[]);
        assert!(guest.ask("ATTEST 00").starts_with("84"));
        let asked =
            Request::Attestation { user_data: None, nonce: None, public_key: Some(ByteBuf::from(vec![0])) };
        let frame = match replays {
            true => last_frame(&guest, &api::encode_request(&asked)),
            false => [&[0; TAG_LEN], attestation().as_slice()].concat(),
        };
        let sockets = process::descriptors(guest.pid()).unwrap();
        let sockets = sockets.iter().filter(|(_, target)| target.to_string_lossy().starts_with("socket:"));
        let mut spoken = 0;
        for (number, _) in sockets {
            // A client's connection may have ended meanwhile; the one that listens has no other end.
            let Ok(stolen) = descriptors::steal(guest.pid(), *number) else { continue };
            let mut line = Line(UnixStream::from(stolen));
            let peer = line.0.peer_addr().ok();
            let peer = peer.as_ref().and_then(|peer| peer.as_pathname());
            if peer == Some(&lab.module_folder().join("vsock.sock")) {
                spoken += 1;
                line.send(&request(&frame)).unwrap();
                assert_eq!(line.answer(), None, "{what}");
            }
        }
        assert_eq!(spoken, 1, "the way to the module");
        assert_eq!(guest.ask("ATTEST 00"), GONE, "root can end a session");
        assert_eq!(guest.ask("CHECK"), "3");
    }
}

#[test]
fn no_key_of_a_session_is_in_readable_memory() {
    if !can_attack("looking for the keys of a session") {
        return;
    }
    let lab = Lab::new();
    let guest = lab.launch(Image::Secret, &[]);
    assert_eq!(guest.ask("PING"), "PONG");
    // It has asked for random bytes at its start, and for nothing since.
    let frame = last_frame(&guest, &api::encode_request(&Request::GetRandom));
    let authority = authority(&lab);
    for (who, pid) in [("the guest's VMM", guest.pid()), ("the module's VMM", lab.module_pid())] {
        let (read, found) = keys::places(pid, &authority).unwrap();
        assert!(read > 1 << 20, "{who}: {read} bytes were read: that proves nothing");
        assert_eq!(
            found,
            Vec::<String>::new(),
            "{who}: what platform and module share lies in readable memory"
        );
        let (tried, found) = keys::find_channel(pid, &frame).unwrap();
        assert!(tried > 100, "{who}: {tried} places were tried: that proves nothing");
        assert_eq!(found, 0, "{who}: the guest's channel key lies in readable memory");
    }
}

#[test]
fn the_search_for_a_channel_key_finds_one_that_lies_open() {
    let mut holder = std::process::Command::new(env!("CARGO_BIN_EXE_holder"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = [0; 1];
    holder.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
    // The first half of what it holds.
    let key: [u8; 32] = *casemate_tests::secret().first_chunk().unwrap();
    let (frame, _) = GuestEnd::new(key).seal(b"request").unwrap();
    let found = keys::find_channel(holder.id().cast_signed(), &frame);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let (tried, found) = found.unwrap();
    assert!(found >= 1, "{tried} places were tried");
}
