//! The signer as an ordinary process: its socket, its handshake, and that it proves nothing.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// A running signer, ended and cleaned up when dropped.
struct Process {
    child: Child,
    socket: PathBuf,
}

impl Process {
    fn start(name: &str) -> Self {
        let socket =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.sock", std::process::id()));
        let child =
            Command::new(env!("CARGO_BIN_EXE_casemate-signer-process")).arg(&socket).spawn().expect("start");
        let started = Instant::now();
        while !socket.exists() {
            assert!(started.elapsed() < Duration::from_secs(10), "the signer did not open its socket");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, socket }
    }

    /// What comes back for `request` until the signer closes, which it may do before it has read everything.
    fn ask(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("time-out");
        stream.write_all(request.as_bytes()).expect("write");
        let mut response = String::new();
        match stream.read_to_string(&mut response) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => response,
            read => read.map(|_| response).expect("read"),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

#[test]
fn only_its_owner_may_connect() {
    let process = Process::start("mode");
    let mode = std::fs::metadata(&process.socket).expect("socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_client_may_begin_with_the_vsock_handshake_or_without() {
    let process = Process::start("handshake");
    assert!(process.ask(HEALTH).starts_with("HTTP/1.1 200 OK"));
    let answer = process.ask(&format!("CONNECT 5000\n{HEALTH}"));
    let (line, rest) = answer.split_once('\n').expect("a line");
    assert!(line.strip_prefix("OK ").is_some_and(|port| port.parse::<u32>().is_ok()), "{line}");
    assert!(rest.starts_with("HTTP/1.1 200 OK"), "{rest}");
    // An HTTP CONNECT is not the handshake, nor is a port that is none.
    for request in
        ["CONNECT host:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "CONNECT 99999999999\n\r\n\r\n"]
    {
        let answer = process.ask(request);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(process.ask(HEALTH).starts_with("HTTP/1.1 200 OK"), "the signer is gone");
}

#[test]
fn an_ordinary_process_cannot_attest() {
    let process = Process::start("attest");
    let answer = process
        .ask("POST /attestation HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
    assert!(answer.contains("UnsupportedOperationException") && answer.contains("not sealed"), "{answer}");
}

#[test]
fn a_wrong_command_line_is_explained() {
    let output = Command::new(env!("CARGO_BIN_EXE_casemate-signer-process")).output().expect("run");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("usage:"));
    let output = Command::new(env!("CARGO_BIN_EXE_casemate-signer-process"))
        .arg("/nowhere/at/all")
        .output()
        .expect("run");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/at/all"));
}
