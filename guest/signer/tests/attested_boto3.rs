//! boto3, unmodified, inside an attested guest: `Recipient`, and the header that the documentation shows.

#[path = "common/sealed.rs"]
mod sealed;

use std::path::Path;
use std::process::Command;
use std::rc::Rc;

use casemate_attestation::pcr::Mode;
use casemate_signer::{Door, Signer, serve_connection};
use sealed::{Guest, sealed_signer};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

/// Serves on a free port, for as long as the runtime lives; the endpoint.
async fn serve(signer: Rc<Signer>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
    let endpoint = format!("http://{}", listener.local_addr().expect("address"));
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let signer = Rc::clone(&signer);
            tokio::task::spawn_local(
                async move { drop(serve_connection(stream, signer, Door::Plain).await) },
            );
        }
    });
    endpoint
}

#[test]
fn boto3_gets_secrets_for_its_guest_alone() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python.sh");
    let found = Command::new(script).output().expect("tests/python.sh");
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    let python = Path::new(String::from_utf8_lossy(&found.stdout).trim()).join("python");
    let (platform, signer) = sealed_signer();
    // Of the guest that boto3 runs in there is no more than its security module: what another signer's
    // `POST /attestation` gives.
    let guest = Signer::new(Box::new(Guest::new(&platform, Mode::Production, 0)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let output = LocalSet::new().block_on(&runtime, async {
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/attested_boto3.py"));
        command.arg(serve(signer).await).arg(serve(guest).await).arg(env!("CARGO_TARGET_TMPDIR"));
        tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("python")
    });
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("5 recipients, 4 headers"), "{said}");
}
