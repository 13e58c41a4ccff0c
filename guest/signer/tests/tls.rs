//! TLS in front of the signer: clients that we did not write, every version and group, and clients that misbehave.

mod common;

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use casemate_signer::{Door, Limits, Signer, TlsError, serve_connection, serve_tls};
use common::{Transcript, signer, unb64};
use proptest::prelude::*;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, NamedGroup, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{JoinHandle, LocalSet};
use tokio_rustls::TlsConnector;

/// Runs a test on one thread, as the guest does.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
    LocalSet::new().block_on(&runtime, test)
}

/// The client's end of a new connection, and the task that serves it.
fn connect(signer: &Rc<Signer>) -> (DuplexStream, JoinHandle<Result<(), TlsError>>) {
    let (client, server) = duplex(64 * 1024);
    let signer = Rc::clone(signer);
    (client, tokio::task::spawn_local(async move { serve_tls(server, signer).await }))
}

fn certificate(signer: &Signer) -> CertificateDer<'static> {
    let pem = signer.tls_certificate().expect("a certificate");
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM")
}

/// A client that trusts this certificate and offers these groups and this version.
fn client(
    trusted: CertificateDer<'static>,
    groups: &[&'static dyn SupportedKxGroup],
    version: &'static SupportedProtocolVersion,
) -> TlsConnector {
    let provider = CryptoProvider { kx_groups: groups.to_vec(), ..aws_lc_rs::default_provider() };
    let mut roots = RootCertStore::empty();
    roots.add(trusted).expect("a trust anchor");
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

fn name(name: &'static str) -> ServerName<'static> {
    ServerName::try_from(name).expect("a name")
}

const EVERY_GROUP: [&dyn SupportedKxGroup; 5] = [
    kx_group::X25519MLKEM768,
    kx_group::SECP256R1MLKEM768,
    kx_group::X25519,
    kx_group::SECP256R1,
    kx_group::SECP384R1,
];

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// What comes back for a request on a new connection.
async fn ask(signer: &Rc<Signer>, request: &[u8]) -> String {
    let (stream, served) = connect(signer);
    let connector = client(certificate(signer), &EVERY_GROUP, &rustls::version::TLS13);
    let mut stream = connector.connect(name("localhost"), stream).await.expect("a handshake");
    stream.write_all(request).await.expect("write");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await.expect("read");
    served.await.expect("the server panicked").expect("the connection ended well");
    String::from_utf8(response).expect("text")
}

#[track_caller]
fn is_healthy(response: &str) {
    assert!(response.starts_with("HTTP/1.1 200 OK") && response.contains("\"status\":\"ok\""), "{response}");
}

#[test]
fn every_group_works_and_clients_that_know_the_post_quantum_one_get_it() {
    run(async {
        let signer = signer();
        for group in EVERY_GROUP {
            let (stream, _served) = connect(&signer);
            let connector = client(certificate(&signer), &[group], &rustls::version::TLS13);
            let stream = connector.connect(name("127.0.0.1"), stream).await.expect("a handshake");
            let chosen = stream.get_ref().1.negotiated_key_exchange_group().map(|group| group.name());
            assert_eq!(chosen, Some(group.name()));
        }
        // Today's clients name it first.
        let (stream, _served) = connect(&signer);
        let connector = client(certificate(&signer), &EVERY_GROUP, &rustls::version::TLS13);
        let stream = connector.connect(name("::1"), stream).await.expect("a handshake");
        let chosen = stream.get_ref().1.negotiated_key_exchange_group().map(|group| group.name());
        assert_eq!(chosen, Some(NamedGroup::X25519MLKEM768));
    });
}

#[test]
fn tls_1_2_is_offered_too_and_nothing_is_resumed() {
    run(async {
        let signer = signer();
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let connector = client(certificate(&signer), &EVERY_GROUP, version);
            for _ in 0..2 {
                let (stream, _served) = connect(&signer);
                let mut stream = connector.connect(name("localhost"), stream).await.expect("a handshake");
                stream.write_all(HEALTH).await.expect("write");
                let mut response = String::new();
                stream.read_to_string(&mut response).await.expect("read");
                is_healthy(&response);
                let connection = stream.get_ref().1;
                assert_eq!(connection.protocol_version(), Some(version_of(version)));
                assert!(
                    !format!("{:?}", connection.handshake_kind()).contains("Resumed"),
                    "{version:?} was resumed"
                );
                assert!(connection.peer_certificates().is_some_and(|chain| chain.len() == 1));
            }
        }
    });
}

fn version_of(version: &SupportedProtocolVersion) -> ProtocolVersion {
    version.version
}

#[test]
fn another_signers_certificate_and_other_names_are_refused_by_clients() {
    run(async {
        let (signer, other) = (signer(), signer());
        let (stream, served) = connect(&signer);
        let connector = client(certificate(&other), &EVERY_GROUP, &rustls::version::TLS13);
        connector.connect(name("localhost"), stream).await.expect_err("another signer's certificate");
        assert!(matches!(served.await.expect("no panic"), Err(TlsError::Handshake(_))));
        let (stream, _served) = connect(&signer);
        let connector = client(certificate(&signer), &EVERY_GROUP, &rustls::version::TLS13);
        connector.connect(name("example.org"), stream).await.expect_err("another name");
    });
}

#[test]
fn the_statement_names_the_certificate_of_the_connection() {
    run(async {
        let signer = signer();
        let request = "POST /attestation/tls HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 21\r\n\r\n\
                       {\"nonce\": \"bm9uY2U=\"}";
        let response = ask(&signer, request.as_bytes()).await;
        let (head, body) = response.split_once("\r\n\r\n").expect("a body");
        assert!(head.starts_with("HTTP/1.1 200"), "{response}");
        let body: Value = serde_json::from_str(body).expect("JSON");
        let der = certificate(&signer);
        let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, &der);
        let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        // The platform of the tests answers with a transcript of what it was asked to attest.
        let transcript = String::from_utf8(unb64(&body["document"])).expect("text");
        let stated = format!("{:?}", Some(format!("casemate:tls:{hash}").as_bytes()));
        assert!(transcript.starts_with(&stated), "{transcript}");
        assert!(transcript.contains(&format!("{:?}", Some(b"nonce".as_slice()))), "{transcript}");
        assert_eq!(body["certificate"].as_str(), Some(signer.tls_certificate().expect("PEM").as_str()));
        for (method, body) in [("POST", "7"), ("POST", "{\"nonce\": 1}"), ("POST", "{\"user_data\": \"\"}")] {
            let length = body.len();
            let request = format!(
                "{method} /attestation/tls HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            let response = ask(&signer, request.as_bytes()).await;
            assert!(response.starts_with("HTTP/1.1 400"), "{response}");
        }
    });
}

/// What comes back for JSON that is posted through the guest's own socket.
async fn post_plain(signer: &Rc<Signer>, path: &str, body: &str) -> String {
    let (mut stream, server) = duplex(64 * 1024);
    let served = tokio::task::spawn_local(serve_connection(server, Rc::clone(signer), Door::Plain));
    let length = body.len();
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all((head + body).as_bytes()).await.expect("write");
    let mut response = String::new();
    stream.read_to_string(&mut response).await.expect("read");
    served.await.expect("no panic").expect("the connection ended well");
    response
}

#[test]
fn the_host_may_name_the_signer_and_tell_its_posture_and_clients_may_not() {
    run(async {
        let signer = signer();
        let first = certificate(&signer);
        let names = r#"{"names": ["Signer.Example", "192.0.2.7", "2001:db8::7"]}"#;
        assert!(post_plain(&signer, "/names", names).await.starts_with("HTTP/1.1 200"));
        let second = certificate(&signer);
        assert_ne!(first, second);
        // The same again changes nothing.
        assert!(post_plain(&signer, "/names", names).await.starts_with("HTTP/1.1 200"));
        assert_eq!(certificate(&signer), second);
        for host in ["signer.example", "192.0.2.7", "2001:db8::7", "localhost", "127.0.0.1"] {
            let (stream, _served) = connect(&signer);
            let connector = client(second.clone(), &EVERY_GROUP, &rustls::version::TLS13);
            connector.connect(name(host), stream).await.unwrap_or_else(|error| panic!("{host}: {error}"));
        }
        let many = format!("{{\"names\": [{}]}}", vec!["\"a\""; 17].join(","));
        for bad in
            [r#"{"names": ["*.example"]}"#, r#"{"names": ["-a"]}"#, r#"{"names": [""]}"#, "{}", "7", &many]
        {
            assert!(post_plain(&signer, "/names", bad).await.starts_with("HTTP/1.1 400"), "{bad}");
        }
        assert_eq!(certificate(&signer), second);
        // Over TLS neither is to be had.
        for (path, body) in [("/names", r#"{"names":[]}"#), ("/attestation/posture", r#"{"posture":"oA=="}"#)]
        {
            let length = body.len();
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            let response = ask(&signer, request.as_bytes()).await;
            assert!(response.contains("UnsupportedOperationException"), "{response}");
        }
        assert!(
            post_plain(&signer, "/attestation/posture", r#"{"posture":"oA=="}"#)
                .await
                .starts_with("HTTP/1.1 200")
        );
        let long = format!(r#"{{"posture":"{}"}}"#, "A".repeat(12_000));
        assert!(post_plain(&signer, "/attestation/posture", &long).await.starts_with("HTTP/1.1 400"));
        // Whoever owns it relies on its certificate.
        let claim = "POST /claim HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert!(ask(&signer, claim.as_bytes()).await.starts_with("HTTP/1.1 200"));
        assert!(post_plain(&signer, "/names", names).await.starts_with("HTTP/1.1 200"), "as it is");
        let renamed = post_plain(&signer, "/names", r#"{"names": ["other.example"]}"#).await;
        assert!(
            renamed.contains("UnsupportedOperationException") && renamed.contains("has an owner"),
            "{renamed}"
        );
        assert_eq!(certificate(&signer), second);
    });
}

/// A signer that loses its patience soon.
fn impatient(handshake: u64, connections: usize) -> Rc<Signer> {
    let limits = Limits {
        handshake_timeout: Duration::from_millis(handshake),
        tls_connections: connections,
        ..Limits::default()
    };
    Signer::with_limits(Box::new(Transcript), limits)
}

/// A real ClientHello.
fn client_hello(signer: &Signer) -> Vec<u8> {
    let mut config = (**client(certificate(signer), &EVERY_GROUP, &rustls::version::TLS13).config()).clone();
    config.enable_sni = true;
    let mut connection =
        rustls::ClientConnection::new(Arc::new(config), name("localhost")).expect("a client");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("a ClientHello");
    hello
}

#[test]
fn clients_that_hang_or_trickle_in_the_handshake_are_let_go_and_harm_nobody() {
    run(async {
        let signer = impatient(300, 512);
        let hello = client_hello(&signer);
        let begun = Instant::now();
        let mut kept = Vec::new();
        // A third says nothing, a third stops in the middle, a third trickles.
        for i in 0..90 {
            let (mut stream, served) = connect(&signer);
            let hello = hello.clone();
            tokio::task::spawn_local(async move {
                let cut = if i % 3 == 0 { 0 } else { i.min(hello.len()) };
                let _ = stream.write_all(&hello[..cut]).await;
                if i % 3 == 2 {
                    for byte in &hello[cut..] {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        if stream.write_all(&[*byte]).await.is_err() {
                            return;
                        }
                    }
                }
                std::future::pending::<()>().await;
                drop(stream);
            });
            kept.push(served);
        }
        for _ in 0..5 {
            let asked = Instant::now();
            is_healthy(&ask(&signer, HEALTH).await);
            assert!(
                asked.elapsed() < Duration::from_millis(250),
                "a good client waited {:?}",
                asked.elapsed()
            );
        }
        for served in kept {
            assert!(matches!(served.await.expect("no panic"), Err(TlsError::TimedOut)));
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_handshake_that_never_ends_is_cut_off() {
    run(async {
        let signer = signer();
        let (mut stream, served) = connect(&signer);
        // A handshake message that announces 64 KiB, in records as large as they may be.
        let mut endless = vec![22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
        endless.resize(9 + 0x40_00 - 4, 0);
        while stream.write_all(&endless).await.is_ok() {}
        let error = served.await.expect("no panic").expect_err("it was served");
        assert!(matches!(error, TlsError::Handshake(_)), "{error}");
        is_healthy(&ask(&signer, HEALTH).await);
    });
}

#[test]
fn there_are_only_so_many_connections_and_places_become_free() {
    run(async {
        let signer = impatient(10_000, 3);
        let open: Vec<_> = (0..3).map(|_| connect(&signer)).collect();
        tokio::task::yield_now().await;
        let (_stream, refused) = connect(&signer);
        assert!(matches!(refused.await.expect("no panic"), Err(TlsError::TooMany)));
        for (stream, served) in open {
            drop(stream);
            served.await.expect("no panic").expect_err("a client that went away");
        }
        is_healthy(&ask(&signer, HEALTH).await);
    });
}

proptest! {
    // Thousands of cases where the caller asks for them: PROPTEST_CASES.
    #[test]
    fn garbage_ends_the_connection_and_nothing_else(
        bytes in proptest::collection::vec(any::<u8>(), 0..2048),
        is_record in any::<bool>(),
    ) {
        run(async {
            let signer = signer();
            let (mut stream, served) = connect(&signer);
            let mut sent = Vec::new();
            if is_record {
                let length = u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
                sent.extend([22, 3, 1, length[0], length[1]]);
            }
            sent.extend(&bytes);
            let _ = stream.write_all(&sent).await;
            drop(stream);
            prop_assert!(served.await.expect("no panic").is_err());
            Ok(())
        })?;
    }

    #[test]
    fn a_damaged_client_hello_ends_the_connection_and_nothing_else(
        at in any::<prop::sample::Index>(),
        with in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        run(async {
            let signer = signer();
            let mut hello = client_hello(&signer);
            let at = at.index(hello.len());
            hello[at] ^= with;
            let cut = cut.index(hello.len());
            let (mut stream, served) = connect(&signer);
            let _ = stream.write_all(&hello[..cut]).await;
            let _ = stream.write_all(&hello[cut..]).await;
            // It may be a good one still; then it lacks what follows.
            drop(stream);
            prop_assert!(served.await.expect("no panic").is_err());
            Ok(())
        })?;
    }
}

/// The signer as a process with TLS over TCP, ended and cleaned up when dropped.
struct Process {
    child: Child,
    dir: PathBuf,
    address: SocketAddr,
}

impl Process {
    fn start(name: &str) -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a folder");
        let mut child = Command::new(env!("CARGO_BIN_EXE_casemate-signer-process"))
            .arg(dir.join("sock"))
            .args(["--tls", "127.0.0.1:0", "--ca"])
            .arg(dir.join("ca.pem"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("start");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
        let address = line.trim().strip_prefix("https://").and_then(|address| address.parse().ok());
        let started = Instant::now();
        while !dir.join("sock").exists() {
            assert!(started.elapsed() < Duration::from_secs(10), "the signer did not open its socket");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { child, dir, address: address.unwrap_or_else(|| panic!("no address: {line}")) }
    }

    fn ca(&self) -> String {
        self.dir.join("ca.pem").display().to_string()
    }

    /// `openssl s_client`, strict, with these arguments; what it says if the handshake succeeded.
    fn s_client(&self, arguments: &[&str]) -> Result<String, String> {
        let mut child = Command::new("openssl")
            .args(["s_client", "-connect", &self.address.to_string(), "-CAfile", &self.ca()])
            .args(["-verify_return_error", "-x509_strict", "-verify_ip", "127.0.0.1"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("openssl");
        child.stdin.take().expect("stdin").write_all(b"Q\n").expect("write");
        let output = child.wait_with_output().expect("openssl");
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() && said.contains("Verification: OK") { Ok(said) } else { Err(said) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn openssl_connects_with_every_version_group_and_cipher() {
    let process = Process::start("openssl");
    // In TLS 1.2 the groups are also the curves of the certificate's key.
    for (version, groups) in
        [("TLSv1.3", ["X25519", "P-256", "P-384"]), ("TLSv1.2", ["X25519:P-256", "P-256", "P-384:P-256"])]
    {
        let flag = if version == "TLSv1.2" { "-tls1_2" } else { "-tls1_3" };
        for group in groups {
            let said = process.s_client(&[flag, "-groups", group]).unwrap_or_else(|said| panic!("{said}"));
            assert!(said.contains(&format!("New, {version}, Cipher is")), "{said}");
        }
    }
    for cipher in ["AES256-GCM-SHA384", "AES128-GCM-SHA256"] {
        let cipher = format!("ECDHE-ECDSA-{cipher}");
        let said = process.s_client(&["-tls1_2", "-cipher", &cipher]).unwrap_or_else(|said| panic!("{said}"));
        assert!(said.contains(&format!("Cipher is {cipher}")), "{said}");
    }
    for suite in ["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"] {
        let said =
            process.s_client(&["-tls1_3", "-ciphersuites", suite]).unwrap_or_else(|said| panic!("{said}"));
        assert!(said.contains(&format!("Cipher is {suite}")), "{said}");
    }
    // Old versions, ciphers without forward secrecy or integrity, and what the image leaves out find nobody.
    for weak in [
        ["-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"],
        ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "AES256-SHA:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"],
    ] {
        process.s_client(&weak).expect_err("a weak handshake");
    }
}

#[test]
fn curl_and_python_take_the_certificate_for_a_ca_file() {
    let process = Process::start("clients");
    let port = process.address.port();
    let output = Command::new("python3")
        .arg("-c")
        .arg(
            "import ssl, sys, urllib.request\n\
             context = ssl.create_default_context(cafile=sys.argv[1])\n\
             context.verify_flags |= ssl.VERIFY_X509_STRICT\n\
             for host in ['localhost', '127.0.0.1']:\n    \
                 print(urllib.request.urlopen(f'https://{host}:{sys.argv[2]}/health', context=context).read())\n\
             try:\n    \
                 urllib.request.urlopen(f'https://127.0.0.1:{sys.argv[2]}/health')\n\
             except OSError as error:\n    \
                 print(error)",
        )
        .args([process.ca(), port.to_string()])
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.matches("\"status\":\"ok\"").count(), 2, "{said}");
    assert!(said.contains("self-signed certificate"), "without the CA file: {said}");
    // curl is not everywhere; where it is, it must agree.
    let curl = Command::new("curl")
        .args(["-sS", "--cacert", &process.ca()])
        .args(["-H", "Expect: 100-continue", "--expect100-timeout", "20", "--data", "{}"])
        .arg(format!("https://localhost:{port}/attestation"))
        .output();
    if let Ok(output) = curl {
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("not sealed"), "{said}{}", String::from_utf8_lossy(&output.stderr));
    }
}
