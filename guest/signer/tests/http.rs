//! The HTTP front: routes, limits, time-outs, and clients that misbehave.

mod common;
#[path = "common/sealed.rs"]
mod sealed;

use std::rc::Rc;
use std::time::{Duration, Instant};

use casemate_signer::{Door, Limits, Signer, operations, serve_connection};
use common::{Transcript, b64, signer, text, unb64};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::{JoinHandle, LocalSet};

/// Runs a test on one thread, as the guest does.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
    LocalSet::new().block_on(&runtime, test)
}

/// The client's end of a new connection.
fn connect(signer: &Rc<Signer>, buffer: usize) -> DuplexStream {
    serve(signer, buffer).0
}

/// The same, with the task that serves it.
fn serve(signer: &Rc<Signer>, buffer: usize) -> (DuplexStream, JoinHandle<()>) {
    let (client, server) = duplex(buffer);
    let signer = Rc::clone(signer);
    (
        client,
        tokio::task::spawn_local(async move { drop(serve_connection(server, signer, Door::Plain).await) }),
    )
}

/// Sends bytes, closes the sending half, and reads all that comes back within ten seconds.
async fn exchange(signer: &Rc<Signer>, request: &[u8]) -> Vec<u8> {
    let (client, served) = serve(signer, 64 * 1024);
    let (mut reader, mut writer) = tokio::io::split(client);
    let send = async {
        let _ = writer.write_all(request).await;
        let _ = writer.shutdown().await;
    };
    let mut response = Vec::new();
    let receive = reader.read_to_end(&mut response);
    let both = async { tokio::join!(send, receive) };
    let (_, received) = tokio::time::timeout(Duration::from_secs(10), both).await.expect("the server hangs");
    received.expect("a duplex stream does not fail");
    served.await.expect("the server panicked");
    response
}

fn post(path: &str, target: Option<&str>, body: &str) -> String {
    let target = target.map(|target| format!("X-Amz-Target: {target}\r\n")).unwrap_or_default();
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\n{target}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// The status, the head in lower case, and the body.
fn parse(response: &[u8]) -> (u16, String, Value) {
    let text = String::from_utf8(response.to_vec()).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no response: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_lowercase(), serde_json::from_str(body).unwrap_or(Value::Null))
}

#[test]
fn an_operation_is_answered_as_aws_answers() {
    run(async {
        let signer = signer();
        let request = post("/", Some("TrentService.GenerateRandom"), "{\"NumberOfBytes\":8}");
        let (status, head, body) = parse(&exchange(&signer, request.as_bytes()).await);
        assert_eq!(status, 200);
        assert!(head.contains("content-type: application/x-amz-json-1.1"), "{head}");
        assert!(head.contains("x-amzn-requestid: ") && head.contains("no-store"), "{head}");
        assert_eq!(unb64(&body["Plaintext"]).len(), 8);
        let request = post("/", Some("TrentService.GenerateRandom"), "{}");
        let (status, head, body) = parse(&exchange(&signer, request.as_bytes()).await);
        assert_eq!((status, text(&body["__type"]).as_str()), (400, "ValidationException"));
        assert!(head.contains("x-amzn-requestid: ") && body["message"].is_string());
    });
}

#[test]
fn other_routes_and_targets_are_refused() {
    run(async {
        let signer = signer();
        for (request, expected) in [
            (post("/", None, "{}"), 400),
            (post("/", Some("Sign"), "{}"), 400),
            (post("/", Some("TrentService."), "{}"), 400),
            (post("/", Some("AnotherService.Sign"), "{}"), 400),
            (post("/keys", Some("TrentService.Sign"), "{}"), 404),
            ("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), 404),
            ("DELETE /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(), 404),
        ] {
            let (status, _, body) = parse(&exchange(&signer, request.as_bytes()).await);
            assert_eq!(
                (status, text(&body["__type"]).as_str()),
                (expected, "UnknownOperationException"),
                "{request}"
            );
        }
        let health = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let (status, _, body) = parse(&exchange(&signer, health.as_bytes()).await);
        assert_eq!((status, &body["status"]), (200, &json!("ok")));
    });
}

#[test]
fn a_connection_serves_many_requests() {
    run(async {
        let signer = signer();
        let one = post("/", Some("TrentService.ListKeys"), "{}").replace("Connection: close\r\n", "");
        let last = post("/", Some("TrentService.ListKeys"), "{}");
        let response = exchange(&signer, [one.repeat(99), last].concat().as_bytes()).await;
        assert_eq!(String::from_utf8_lossy(&response).matches("HTTP/1.1 200 OK").count(), 100);
    });
}

#[test]
fn expect_100_continue_is_answered() {
    run(async {
        let signer = signer();
        let request = post("/", Some("TrentService.ListKeys"), "{}")
            .replace("Host: x", "Host: x\r\nExpect: 100-continue");
        let response = exchange(&signer, request.as_bytes()).await;
        let response = String::from_utf8_lossy(&response).into_owned();
        assert!(response.starts_with("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK"), "{response}");
    });
}

#[test]
fn attestation_binds_what_the_caller_gave() {
    run(async {
        let signer = signer();
        let body = json!({"nonce": b64("n"), "user_data": b64("u"), "public_key": b64("p")}).to_string();
        let (status, _, answer) =
            parse(&exchange(&signer, post("/attestation", None, &body).as_bytes()).await);
        assert_eq!(status, 200);
        assert_eq!(unb64(&answer["document"]), b"Some([117]) Some([110]) Some([112])");
        let (_, _, answer) = parse(&exchange(&signer, post("/attestation", None, "").as_bytes()).await);
        assert_eq!(unb64(&answer["document"]), b"None None None");
        for (body, kind) in [
            (json!({"user_data": b64("casemate:key=1")}), "ValidationException"),
            (json!({"user_data": b64([0; 513])}), "ValidationException"),
            (json!({"nonce": b64([0; 513])}), "ValidationException"),
            (json!({"public_key": b64([0; 1025])}), "ValidationException"),
            (json!({"nonce": "not base64"}), "SerializationException"),
            (json!({"userdata": "AA=="}), "SerializationException"),
            (json!({"nonce": b64("refuse")}), "KMSInternalException"),
        ] {
            let (status, _, answer) =
                parse(&exchange(&signer, post("/attestation", None, &body.to_string()).as_bytes()).await);
            assert_eq!(text(&answer["__type"]), kind, "{body}");
            assert_eq!(status, if kind.starts_with("KMS") { 500 } else { 400 });
        }
        // The prefix is reserved, not the word.
        let body = json!({"user_data": b64("a casemate:")}).to_string();
        assert_eq!(parse(&exchange(&signer, post("/attestation", None, &body).as_bytes()).await).0, 200);
    });
}

#[test]
fn bodies_are_limited_announced_or_not() {
    run(async {
        let signer =
            Signer::with_limits(Box::new(Transcript), Limits { body_bytes: 1000, ..Limits::default() });
        let announced = post("/", Some("TrentService.ListKeys"), &" ".repeat(1001));
        let (status, head, _) = parse(&exchange(&signer, announced.as_bytes()).await);
        assert_eq!(status, 413);
        assert!(head.contains("connection: close"));
        let chunk = format!("64\r\n{}\r\n", " ".repeat(100)).repeat(11);
        let chunked = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: TrentService.ListKeys\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
        );
        assert_eq!(parse(&exchange(&signer, chunked.as_bytes()).await).0, 413);
        let fits = post("/", Some("TrentService.ListKeys"), &format!("{{}}{}", " ".repeat(998)));
        assert_eq!(parse(&exchange(&signer, fits.as_bytes()).await).0, 200);
    });
}

#[test]
fn all_bodies_together_have_one_budget_and_give_it_back() {
    run(async {
        let limits =
            Limits { bodies_in_flight: 1000, body_timeout: Duration::from_millis(300), ..Limits::default() };
        let signer = Signer::with_limits(Box::new(Transcript), limits);
        let mut greedy = connect(&signer, 4096);
        let head = "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: TrentService.ListKeys\r\nContent-Length: 900\r\n\r\n";
        greedy.write_all(head.as_bytes()).await.expect("write");
        tokio::time::sleep(Duration::from_millis(50)).await;
        let body = format!("{{}}{}", " ".repeat(198));
        let request = post("/", Some("TrentService.ListKeys"), &body);
        let (status, _, answer) = parse(&exchange(&signer, request.as_bytes()).await);
        assert_eq!((status, text(&answer["__type"]).as_str()), (400, "ThrottlingException"));
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(
            parse(&exchange(&signer, request.as_bytes()).await).0,
            200,
            "the share was not given back"
        );
        let mut response = Vec::new();
        greedy.read_to_end(&mut response).await.expect("read");
        assert_eq!(parse(&response).0, 408);
    });
}

#[test]
fn slow_clients_are_let_go_and_harm_nobody() {
    run(async {
        let limits = Limits {
            head_timeout: Duration::from_millis(300),
            body_timeout: Duration::from_millis(300),
            ..Limits::default()
        };
        let signer = Signer::with_limits(Box::new(Transcript), limits);
        // One says nothing, one trickles its head, one asks for much and reads nothing.
        let mut silent = connect(&signer, 4096);
        let mut trickling = connect(&signer, 4096);
        let mut deaf = connect(&signer, 64);
        let request = post("/", Some("TrentService.GenerateRandom"), "{\"NumberOfBytes\":1024}");
        let started = Instant::now();
        let trickle = async {
            for byte in request.as_bytes() {
                if trickling.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let shout = async { drop(deaf.write_all(request.repeat(3).as_bytes()).await) };
        let normal = async {
            for _ in 0..20 {
                let asked = Instant::now();
                assert_eq!(parse(&exchange(&signer, request.as_bytes()).await).0, 200);
                assert!(asked.elapsed() < Duration::from_millis(200), "a slow client held another up");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let all = async { tokio::join!(trickle, shout, normal) };
        tokio::time::timeout(Duration::from_secs(5), all).await.expect("slow clients are not let go");
        let mut rest = Vec::new();
        silent.read_to_end(&mut rest).await.expect("read");
        assert!(rest.is_empty() && started.elapsed() < Duration::from_secs(5));
        tokio::time::timeout(Duration::from_secs(5), deaf.read_to_end(&mut rest))
            .await
            .expect("still open")
            .expect("read");
    });
}

#[test]
fn heads_are_limited() {
    run(async {
        let signer = signer();
        let long = format!("GET /health HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "a".repeat(20_000));
        let many = format!("GET /health HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(100));
        for request in [long, many] {
            let response = String::from_utf8_lossy(&exchange(&signer, request.as_bytes()).await).into_owned();
            assert!(response.starts_with("HTTP/1.1 431"), "{response}");
        }
    });
}

fn any_operation() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(operations().collect::<Vec<_>>())
}

const MEMBERS: &[&str] = &[
    "KeyId",
    "Message",
    "MessageType",
    "SigningAlgorithm",
    "Signature",
    "Plaintext",
    "CiphertextBlob",
    "EncryptionContext",
    "EncryptionAlgorithm",
    "GrantTokens",
    "DryRun",
    "Limit",
    "Marker",
    "NumberOfBytes",
    "KeySpec",
    "KeyUsage",
    "PendingWindowInDays",
    "Mac",
    "MacAlgorithm",
    "Description",
    "Tags",
    "Recipient",
    "MultiRegion",
    "AliasName",
    "TargetKeyId",
    "TagKeys",
    "Policy",
    "Operations",
    "Constraints",
    "GranteePrincipal",
    "GrantToken",
    "GrantId",
    "RotationPeriodInDays",
    "ImportToken",
    "EncryptedKeyMaterial",
    "ValidTo",
    "Unknown",
];

/// JSON that is often nearly right: known members, known values, and anything at all.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        proptest::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| Value::from(b64(bytes))),
        proptest::sample::select(vec![
            "ECC_NIST_P256",
            "ECDSA_SHA_256",
            "RAW",
            "DIGEST",
            "SYMMETRIC_DEFAULT",
            "SIGN_VERIFY",
            "ENCRYPT_DECRYPT",
            "AES_256",
            "HMAC_SHA_256",
            "RSAES_OAEP_SHA_1",
            "alias/a",
            "arn:aws:kms:::"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((proptest::sample::select(MEMBERS), inner), 0..6).prop_map(|members| {
                members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
            }),
        ]
    })
}

fn is_status_line(response: &[u8]) -> bool {
    response.starts_with(b"HTTP/1.1 ") || response.starts_with(b"HTTP/1.0 ")
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn no_json_makes_an_operation_panic(operation in any_operation(), request in any_json()) {
        let signer = signer();
        if let Err(error) = signer.call(operation, request.to_string().as_bytes()) {
            prop_assert!(!error.message.is_empty());
            prop_assert!(error.kind.name() != "KMSInternalException", "{}: {}", request, error);
        }
    }

    #[test]
    fn no_bytes_make_an_operation_panic(operation in any_operation(), mut request in proptest::collection::vec(any::<u8>(), 0..200), brace in any::<bool>()) {
        if brace { request.insert(0, b'{'); }
        let signer = signer();
        let _ = signer.call(operation, &request);
    }

    #[test]
    fn no_bytes_make_the_http_front_panic_or_hang(
        start in proptest::sample::select(vec!["", "POST / HTTP/1.1\r\n", "GET /health HTTP/1.1\r\nHost: x\r\n",
            "POST / HTTP/1.1\r\nX-Amz-Target: TrentService.ListKeys\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /attestation HTTP/1.1\r\nContent-Length: 30\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]),
        rest in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        run(async {
            let signer = signer();
            let _ = exchange(&signer, &[start.as_bytes(), &rest].concat()).await;
            // The signer is still there for others.
            let health = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
            assert_eq!(parse(&exchange(&signer, health.as_bytes()).await).0, 200);
        });
    }

    #[test]
    fn no_damage_to_a_good_request_makes_the_http_front_panic_or_hang(at in 0usize..160, byte in any::<u8>(), cut in 0usize..400) {
        run(async {
            let signer = signer();
            let mut request = post("/", Some("TrentService.GenerateRandom"), "{\"NumberOfBytes\":8}").into_bytes();
            if let Some(target) = request.get_mut(at) { *target = byte; }
            request.truncate(cut);
            let response = exchange(&signer, &request).await;
            // Damage can make it HTTP/1.0, which is answered in kind.
            prop_assert!(response.is_empty() || is_status_line(&response));
            Ok(())
        })?;
    }
}

#[test]
fn a_client_that_expects_100_continue_is_told_to_go_on() {
    run(async {
        let signer = signer();
        let mut stream = connect(&signer, 4096);
        let body = "{\"NumberOfBytes\":8}";
        let head = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: TrentService.GenerateRandom\r\nExpect: 100-continue\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.expect("write");
        let mut told = [0; 25];
        stream.read_exact(&mut told).await.expect("an answer before the body");
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(body.as_bytes()).await.expect("write");
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.expect("read");
        assert_eq!(parse(&response).0, 200);
    });
}

#[test]
fn a_document_in_a_header_makes_its_guest_the_recipient() {
    use aws_lc_rs::digest::{SHA256, digest};
    use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
    use aws_lc_rs::rsa::{KeySize, PrivateDecryptingKey};
    let (platform, signer) = sealed::sealed_signer();
    let guest = sealed::Guest::new(&platform, casemate_attestation::pcr::Mode::Production, 0);
    let key = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key").public_key();
    let key: PublicKeyX509Der<'_> = key.as_der().expect("DER");
    let (target, body) = ("TrentService.GenerateRandom", "{\"NumberOfBytes\":8}");
    let nonce = digest(&SHA256, format!("casemate:request\n{target}\n{body}").as_bytes());
    let document = b64(guest.document(Some(nonce.as_ref()), Some(key.as_ref())));
    let send = |body: &str| {
        let header = format!("\r\nX-Casemate-Attestation: {document}\r\nHost:");
        post("/", Some(target), body).replacen("\r\nHost:", &header, 1)
    };
    run(async {
        let (status, _, answer) = parse(&exchange(&signer, send(body).as_bytes()).await);
        assert_eq!(status, 200, "{answer}");
        assert!(answer.get("Plaintext").is_none() && answer["CiphertextForRecipient"].is_string());
        let (status, _, answer) = parse(&exchange(&signer, send("{\"NumberOfBytes\":9}").as_bytes()).await);
        assert_eq!((status, text(&answer["__type"])), (400, "ValidationException".to_owned()));
    });
}

#[test]
fn others_are_answered_while_an_rsa_key_is_made() {
    let create =
        post("/", Some("TrentService.CreateKey"), "{\"KeySpec\":\"RSA_4096\",\"KeyUsage\":\"SIGN_VERIFY\"}");
    let random = post("/", Some("TrentService.GenerateRandom"), "{\"NumberOfBytes\":8}");
    run(async {
        let signer = signer();
        let (mut answered, mut slowest) = (0_u32, Duration::ZERO);
        let others = async {
            loop {
                let started = Instant::now();
                assert_eq!(parse(&exchange(&signer, random.as_bytes()).await).0, 200);
                (answered, slowest) = (answered + 1, slowest.max(started.elapsed()));
            }
        };
        let creating = async {
            let started = Instant::now();
            let (status, _, body) = parse(&exchange(&signer, create.as_bytes()).await);
            assert_eq!(status, 200, "{body}");
            started.elapsed()
        };
        let took = tokio::select! {
            biased;
            took = creating => took,
            () = others => unreachable!("it never ends"),
        };
        println!("{answered} answers in {took:?}, the slowest took {slowest:?}");
        assert!(answered >= 3, "{answered} answers in {took:?}");
    });
}

#[test]
fn a_client_that_leaves_while_its_key_is_made_leaves_no_key_behind() {
    let create =
        post("/", Some("TrentService.CreateKey"), "{\"KeySpec\":\"RSA_4096\",\"KeyUsage\":\"SIGN_VERIFY\"}");
    run(async {
        let signer = signer();
        let (mut client, served) = serve(&signer, 64 * 1024);
        client.write_all(create.as_bytes()).await.expect("sent");
        // The generation has begun when its first slice has taken its time, and is nowhere near its end.
        let started = Instant::now();
        while started.elapsed() < Duration::from_millis(1) {
            tokio::task::yield_now().await;
        }
        served.abort();
        assert!(served.await.is_err_and(|error| error.is_cancelled()), "the connection ended by itself");
        let (_, _, listed) =
            parse(&exchange(&signer, post("/", Some("TrentService.ListKeys"), "{}").as_bytes()).await);
        assert_eq!(listed["Keys"], json!([]));
    });
}
