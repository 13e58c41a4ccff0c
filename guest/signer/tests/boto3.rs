//! AWS's own client, unmodified, walks every operation: boto3 over TCP, relayed to the signer's Unix socket.
//!
//! Needs python3 with venv; `tests/python.sh` installs boto3 from PyPI on the first run.

#[path = "common/python.rs"]
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use casemate_abi::port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};

/// Copies bytes between TCP connections and a port of the signer for as long as the runtime lives.
async fn relay(listener: TcpListener, socket: PathBuf, port: u32) {
    while let Ok((mut client, _)) = listener.accept().await {
        let socket = socket.clone();
        tokio::spawn(async move {
            let mut signer = UnixStream::connect(&socket).await?;
            signer.write_all(format!("CONNECT {port}\n").as_bytes()).await?;
            while signer.read_u8().await? != b'\n' {}
            tokio::io::copy_bidirectional(&mut client, &mut signer).await
        });
    }
}

/// Where clients reach that port.
fn listen(socket: &Path, port: u32) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("listen");
    let address = listener.local_addr().expect("address").to_string();
    let socket = socket.to_owned();
    // A thread of its own, which ends with the test's process.
    std::thread::spawn(move || runtime.block_on(relay(listener, socket, port)));
    address
}

/// Runs a script against a signer of its own, and gives what it said. It gets the signer's address, the one of what everybody
/// may have, and `more`.
fn run(script: &str, more: &[&str]) -> String {
    let python = python::python();
    let name = format!("{script}-{}-{}.sock", more.concat(), std::process::id());
    let socket = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut signer =
        Command::new(env!("CARGO_BIN_EXE_casemate-signer-process")).arg(&socket).spawn().expect("start");
    let started = Instant::now();
    while !socket.exists() {
        assert!(started.elapsed() < Duration::from_secs(10), "the signer did not open its socket");
        std::thread::sleep(Duration::from_millis(5));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let (endpoint, public) = (listen(&socket, port::SIGNER), listen(&socket, port::REVOCATION));
    let mut command = Command::new(python);
    command.arg("-B").arg(script).arg(format!("http://{endpoint}")).arg(public).args(more);
    let output = command.output().expect("python");
    let _ = signer.kill();
    let _ = signer.wait();
    let _ = std::fs::remove_file(&socket);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn boto3_walks_every_operation() {
    let said = run("boto3_walk.py", &[]);
    assert!(said.contains("walked 23 operations"), "{said}");
}

#[test]
fn boto3_walks_every_operation_that_manages_keys() {
    let said = run("boto3_manage.py", &[]);
    assert!(said.contains("walked 35 operations"), "{said}");
}

#[test]
fn every_constraint_of_the_service_model_is_checked_and_its_member_named() {
    let said = run("boto3_model.py", &["kms"]);
    assert!(said.contains("520 broken constraints in 56 operations"), "{said}");
    let said = run("boto3_model.py", &["acm-pca"]);
    assert!(said.contains("397 broken constraints in 23 operations"), "{said}");
}

#[test]
fn boto3_walks_every_operation_of_private_ca_and_openssl_likes_what_comes_out() {
    let said = run("pca_walk.py", &[]);
    assert!(said.contains("walked 23 operations"), "{said}");
}

#[test]
fn boto3_walks_every_operation_of_private_ca_in_rpc_v2_cbor() {
    let said = run("pca_walk.py", &["cbor"]);
    assert!(said.contains("walked 23 operations"), "{said}");
}
