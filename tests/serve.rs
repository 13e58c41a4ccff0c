//! A signer behind its gateway: what its users find, what they can be sure of, and what others can do to them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use casemate_tests::{Image, Lab, Running, can_seal, is_root, relaying_attacker, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The vsock port of the signer without TLS.
const PLAIN: u32 = 8000;

fn endpoint(served: &Running) -> String {
    served.info["Endpoint"].as_str().unwrap().to_owned()
}

fn address(served: &Running) -> String {
    endpoint(served).strip_prefix("https://").unwrap().to_owned()
}

/// A policy that demands this image, sealed on this host.
fn demand_the_image(lab: &Lab) {
    let info = lab.json(&["describe-eif", "--eif-path", Image::Signer.path().to_str().unwrap()]);
    let policy = json!({"pcrs": {"0": info["Measurements"]["PCR0"]}, "nonce_required": true,
        "max_age_seconds": 60, "posture": {"sealed_memory": ["guest_memfd", "anonymous"]}});
    lab.write("policy.json", policy.to_string().as_bytes());
    std::fs::copy(lab.path("home/root.pem"), lab.path("root.pem")).unwrap();
}

/// `verify --tls` of an endpoint, with what the lab trusts and demands.
fn verify(endpoint: &str) -> Vec<&str> {
    vec!["verify", "--tls", endpoint, "--root", "root.pem", "--policy", "policy.json"]
}

/// What a client that trusts `ca.pem` gets for a path.
fn get(lab: &Lab, served: &Running, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    lab.write("request", request.as_bytes());
    let script = format!(
        "(cat request; sleep 5) | openssl s_client -quiet -verify_quiet -verify_return_error -x509_strict \
         -CAfile ca.pem -verify_ip 127.0.0.1 -connect {}",
        address(served)
    );
    let output = Command::new("timeout").args(["10", "sh", "-c", &script]).current_dir(lab.path("")).output();
    let output = output.unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn signal_serve(served: &mut Running, signal: Signal) {
    let pid = i32::try_from(served.child().id()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

#[test]
fn one_command_gives_an_endpoint_that_proves_which_guest_it_is() {
    if !can_seal("verify --tls of a sealed signer") {
        return;
    }
    let lab = Lab::new();
    let served = lab.serve(&[]);
    demand_the_image(&lab);
    let endpoint = endpoint(&served);
    let mut arguments = verify(&endpoint);
    arguments.extend(["--out", "ca.pem"]);
    let said = lab.ok(&arguments);
    assert!(said.contains("as the guest states") && said.contains("as demanded"), "{said}");
    // The posture came from the signer itself; PCR15 proves it.
    assert!(said.contains("proved by PCR15"), "{said}");
    // The file that was written is a CA file for this endpoint.
    assert!(get(&lab, &served, "/health").contains("\"status\":\"ok\""));
    let json = lab.json(&[&verify(&endpoint)[..], &["--json"]].concat());
    let der = lab.openssl(&["x509", "-in", "ca.pem", "-outform", "DER"]);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    assert_eq!(json["certificate_sha256"], hex::encode(digest));
    assert_eq!(json["established"]["module_id"], served.info["EnclaveID"]);

    // Another image, another root, a host that is not known: refused, with the reason.
    lab.write("policy.json", json!({"pcrs": {"0": "1".repeat(96)}}).to_string().as_bytes());
    lab.fails(&verify(&endpoint), "does not verify: PCR0 is");
    lab.write("policy.json", b"{}");
    let other = Lab::new();
    let _running = other.launch(Image::Echo, &[]);
    std::fs::copy(other.path("home/root.pem"), lab.path("root.pem")).unwrap();
    lab.fails(&verify(&endpoint), "does not verify: certificate chain");
    lab.fails(&verify("https://127.0.0.1:1"), "cannot reach https://127.0.0.1:1");
    lab.fails(&verify("http://127.0.0.1:1"), "it must begin with https://");
}

#[test]
fn a_document_that_somebody_relays_is_refused() {
    if !can_seal("a relayed attestation") {
        return;
    }
    let lab = Lab::new();
    let served = lab.serve(&[]);
    demand_the_image(&lab);
    lab.ok(&verify(&endpoint(&served)));
    let attacker = relaying_attacker(&lab, &served.socket());
    let mut arguments = verify(&attacker);
    arguments.extend(["--out", "ca.pem"]);
    lab.fails(&arguments, "somebody between here and the guest relays its document");
    assert!(!lab.path("ca.pem").exists(), "a CA file was written");
}

#[test]
fn the_certificate_is_for_the_names_that_clients_use() {
    let lab = Lab::new();
    let served = lab.serve(&["--host", "signer.example", "--host", "192.0.2.7"]);
    let shown = Command::new("openssl").args(["s_client", "-connect", &address(&served)]).output().unwrap();
    lab.write("shown.pem", &shown.stdout);
    let names = lab.openssl(&["x509", "-in", "shown.pem", "-noout", "-ext", "subjectAltName"]);
    let names = String::from_utf8(names).unwrap();
    for name in ["DNS:localhost", "IP Address:127.0.0.1", "DNS:signer.example", "IP Address:192.0.2.7"] {
        assert!(names.contains(name), "{names}");
    }
}

#[test]
fn signals_end_the_gateway_and_the_guest_it_launched() {
    for signal in [Signal::INT, Signal::TERM] {
        let lab = Lab::new();
        let mut served = lab.serve(&[]);
        let address = address(&served);
        // Somebody is connected, and in the middle of something.
        let mut client = TcpStream::connect(&address).unwrap();
        client.write_all(&[22, 3, 1]).unwrap();
        signal_serve(&mut served, signal);
        let folder = served.folder().to_owned();
        let (status, said) = served.wait();
        assert_eq!(status.code(), Some(128 + signal.as_raw()), "{said}");
        assert!(said.contains("terminated: the guest is gone"), "{said}");
        assert!(!folder.join("vsock.sock").exists());
        TcpStream::connect(&address).expect_err("nobody listens");
    }
}

#[test]
fn a_running_signer_is_found_and_left_running() {
    let lab = Lab::new();
    let guest = lab.launch(Image::Signer, &["--enclave-name", "signer"]);
    for how in [&["--guest", "signer"][..], &[]] {
        let mut served = lab.serve_as(how);
        assert_eq!(served.info["Launched"], false);
        assert_eq!(served.info["EnclaveID"], guest.info["EnclaveID"]);
        signal_serve(&mut served, Signal::TERM);
        served.wait();
        guest.connect(PLAIN);
    }
    lab.fails(
        &["serve", "--guest", "nobody", "--listen", "127.0.0.1:0"],
        "no running guest is called `nobody`",
    );
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    lab.fails(&["serve", "--listen", &taken], "cannot listen on");
}

#[test]
fn a_guest_that_ends_ends_its_gateway() {
    let lab = Lab::new();
    let served = lab.serve(&[]);
    served.signal(Signal::TERM);
    let (status, said) = served.wait();
    assert_eq!(status.code(), Some(143), "the guest's own: {said}");
    let guest = lab.launch(Image::Signer, &["--enclave-name", "signer"]);
    let served = lab.serve_as(&[]);
    guest.ends_by_terminate();
    let (status, said) = served.wait();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("signer is gone; there is nothing left to serve"), "{said}");
}

#[test]
fn clients_that_hang_or_send_garbage_harm_nobody() {
    if !can_seal("hostile clients of a served signer") {
        return;
    }
    let lab = Lab::new();
    let served = lab.serve(&[]);
    demand_the_image(&lab);
    let endpoint = endpoint(&served);
    let address = address(&served);
    // More than there is room for: silent ones, and some that stop in the middle of a handshake record.
    let mut hanging = Vec::new();
    for i in 0..700 {
        let mut client = TcpStream::connect(&address).unwrap();
        if i % 2 == 0 {
            let _ = client.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
        }
        hanging.push(client);
    }
    for _ in 0..1000 {
        let mut client = TcpStream::connect(&address).unwrap();
        let _ = client.write_all(&[0xff; 300]);
    }
    let asked = Instant::now();
    lab.ok(&verify(&endpoint));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    drop(hanging);
    lab.ok(&verify(&endpoint));
}

#[test]
fn the_gateway_is_in_jail() {
    let lab = Lab::new();
    let mut served = lab.serve(&[]);
    let pid = served.child().id();
    // The announcement comes just before the jail closes.
    let status = || std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let status = status();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    wait_until("seccomp", || field("Seccomp:") == ["2"]);
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    assert_eq!(field("CapEff:"), ["0000000000000000"]);
    assert_eq!(field("Threads:"), ["1"]);
    if is_root() {
        let vmm = std::fs::read_to_string(format!("/proc/{}/status", served.pid())).unwrap();
        let uid = vmm.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap().trim();
        assert_eq!(field("Uid:").join("\t"), uid, "it is not the guest's own user");
        assert!(!uid.starts_with('0'));
    }
}

#[test]
fn a_posture_that_does_not_belong_to_the_guest_is_refused() {
    if !can_seal("a posture over TLS") {
        return;
    }
    let lab = Lab::new();
    let served = lab.serve(&[]);
    demand_the_image(&lab);
    // Whoever may use the guest's own socket can leave another posture there: PCR15 decides.
    let mut guest = served.connect(PLAIN);
    let body = r#"{"posture": "gaA="}"#;
    let request = format!(
        "POST /attestation/posture HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    guest.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    guest.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    lab.fails(&verify(&endpoint(&served)), "does not verify: the posture's facts");
    let posture = served.folder().join("posture.cbor");
    let endpoint = endpoint(&served);
    let mut arguments = verify(&endpoint);
    arguments.extend(["--posture", posture.to_str().unwrap()]);
    let verified: Value = lab.json(&[&arguments[..], &["--json"]].concat());
    assert_eq!(verified["verified"], true);
}
