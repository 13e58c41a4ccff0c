//! Somebody between a client and a real guest, with a key of their own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Lab, connect};

/// The vsock port of the signer without TLS.
const PLAIN: u32 = 8000;

/// An attacker's endpoint: TLS with a key of its own, and for every request the real guest's answer.
pub fn relaying_attacker(lab: &Lab, guest: &Path) -> String {
    lab.openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        "evil.key",
        "-out",
        "evil.pem",
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]);
    let certificate = CertificateDer::from_pem_slice(&lab.read("evil.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&lab.read("evil.key")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("https://{}", listener.local_addr().unwrap());
    let guest = guest.to_owned();
    std::thread::spawn(move || {
        while let Ok((tcp, _)) = listener.accept() {
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let _ = relay_one(rustls::StreamOwned::new(tls, tcp), &guest);
        }
    });
    endpoint
}

/// Carries one request, with the verifier's nonce in it, to the guest, and its answer back.
fn relay_one<S: std::io::Read + std::io::Write>(stream: S, guest: &Path) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        head.push_str(&line);
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let mut guest = connect(guest, PLAIN).expect("the guest listens");
    let head = head.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    guest.write_all(head.as_bytes())?;
    guest.write_all(&body)?;
    let mut answer = Vec::new();
    guest.read_to_end(&mut answer)?;
    stream.get_mut().write_all(&answer)?;
    stream.get_mut().flush()
}
