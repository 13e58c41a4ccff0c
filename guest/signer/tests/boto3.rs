//! AWS's own client, unmodified, walks every operation: boto3 over TCP, relayed to the signer's Unix socket.
//!
//! Needs python3 with venv; `tests/python.sh` installs boto3 from PyPI on the first run.

#[path = "common/python.rs"]
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, UnixStream};

/// Copies bytes between TCP connections and the socket for as long as the runtime lives.
async fn relay(listener: TcpListener, socket: PathBuf) {
    while let Ok((mut client, _)) = listener.accept().await {
        let socket = socket.clone();
        tokio::spawn(async move {
            if let Ok(mut signer) = UnixStream::connect(&socket).await {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut signer).await;
            }
        });
    }
}

/// Runs a script against a signer of its own, and gives what it said.
fn run(script: &str) -> String {
    let python = python::python();
    let name = format!("{script}-{}.sock", std::process::id());
    let socket = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut signer =
        Command::new(env!("CARGO_BIN_EXE_casemate-signer-process")).arg(&socket).spawn().expect("start");
    let started = Instant::now();
    while !socket.exists() {
        assert!(started.elapsed() < Duration::from_secs(10), "the signer did not open its socket");
        std::thread::sleep(Duration::from_millis(5));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("listen");
    let endpoint = format!("http://{}", listener.local_addr().expect("address"));
    let relayed = socket.clone();
    // A thread of its own, which ends with the test's process.
    std::thread::spawn(move || runtime.block_on(relay(listener, relayed)));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let output = Command::new(python).arg("-B").arg(script).arg(endpoint).output().expect("python");
    let _ = signer.kill();
    let _ = signer.wait();
    let _ = std::fs::remove_file(&socket);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn boto3_walks_every_operation() {
    let said = run("boto3_walk.py");
    assert!(said.contains("walked 23 operations"), "{said}");
}

#[test]
fn boto3_walks_every_operation_that_manages_keys() {
    let said = run("boto3_manage.py");
    assert!(said.contains("walked 35 operations"), "{said}");
}

#[test]
fn every_constraint_of_the_service_model_is_checked_and_its_member_named() {
    let said = run("boto3_model.py");
    assert!(said.contains("56 operations"), "{said}");
}
