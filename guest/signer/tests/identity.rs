//! Claiming, signatures, IAM and STS through the door: what is answered, what is refused, and what no request can do.

#[path = "common/client.rs"]
mod client;
mod common;
#[path = "common/python.rs"]
mod python;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use casemate_signer::{AttestError, Door, Platform, Signer};
use client::{Client, claim, encoded, run, send};
use common::{b64, signer};
use proptest::prelude::*;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

const LIST_KEYS: &str = "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: TrentService.ListKeys\r\nContent-Length: 2\r\n\
                         Connection: close\r\n\r\n{}";

fn kind(answer: &Value) -> &str {
    answer["__type"].as_str().unwrap_or_else(|| panic!("not refused: {answer}"))
}

#[test]
fn a_signer_is_claimed_once_and_over_tls_and_from_then_on_asks_for_signatures() {
    run(async {
        let signer = signer();
        let (status, answer) = claim(&signer, Door::Plain, "").await;
        assert_eq!((status, kind(&answer)), (400, "AccessDeniedException"));
        assert_eq!(send(&signer, Door::Plain, LIST_KEYS.as_bytes()).await.0, 200, "the local owner");
        assert_eq!(send(&signer, Door::Tls, LIST_KEYS.as_bytes()).await.0, 400, "nobody");
        for request in [
            "[]",
            "{\"account\":\"1\"}",
            "{\"account\":\"000000000000\"}",
            "{\"region\":\"US\"}",
            "{\"more\":1}",
        ] {
            let (status, answer) = claim(&signer, Door::Tls, request).await;
            let expected = ["ValidationException", "SerializationException"];
            assert!(status == 400 && expected.contains(&kind(&answer)), "{request}: {answer}");
        }
        let (status, claimed) = claim(&signer, Door::Tls, "").await;
        assert_eq!((status, &claimed["region"]), (200, &json!("us-east-1")));
        let account = claimed["account"].as_str().expect("an account");
        assert!(account.len() == 12 && !account.starts_with('0'), "{account}");
        assert_eq!(claimed["user_arn"], json!(format!("arn:aws:iam::{account}:user/admin")));
        let (status, answer) = claim(&signer, Door::Tls, "").await;
        assert_eq!((status, kind(&answer)), (400, "AlreadyClaimedException"));
        for door in [Door::Plain, Door::Tls] {
            let (status, answer) = send(&signer, door, LIST_KEYS.as_bytes()).await;
            assert!(status == 400 && answer.contains("MissingAuthenticationTokenException"), "{answer}");
        }
        let form = "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                    Content-Length: 43\r\nConnection: close\r\n\r\nAction=GetCallerIdentity&Version=2011-06-15";
        let (status, answer) = send(&signer, Door::Tls, form.as_bytes()).await;
        assert!(status == 403 && answer.contains("<Code>MissingAuthenticationToken</Code>"), "{answer}");
    });
}

#[test]
fn a_signer_with_keys_or_another_owner_is_not_claimed() {
    run(async {
        let signer = signer();
        common::key(&signer, "ECC_NIST_P256", "SIGN_VERIFY");
        let other = common::signer();
        common::authority(&other);
        let (_, answer) = claim(&other, Door::Tls, "").await;
        assert_eq!(kind(&answer), "AlreadyClaimedException");
        let (_, answer) = claim(&signer, Door::Tls, "").await;
        assert_eq!(kind(&answer), "AlreadyClaimedException");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains("fresh one")), "{answer}");
    });
}

#[test]
fn before_a_claim_the_local_owner_has_no_directory_to_leave_somebody_in() {
    run(async {
        let signer = signer();
        let nobody = Client {
            signer: Rc::clone(&signer),
            id: "AKIDEXAMPLE".to_owned(),
            secret: "not checked".to_owned(),
            token: None,
        };
        let ask = async |service: &str, body: &str| {
            send(&signer, Door::Plain, nobody.form(service, body).as_bytes()).await
        };
        let (status, answer) = ask("sts", "Action=GetCallerIdentity&Version=2011-06-15").await;
        assert!(status == 200 && answer.contains("arn:aws:iam::000000000000:root"), "{answer}");
        for (service, body) in [
            ("iam", "Action=CreateUser&Version=2010-05-08&UserName=eve"),
            ("iam", "Action=ListUsers&Version=2010-05-08"),
            ("sts", "Action=GetSessionToken&Version=2011-06-15"),
        ] {
            let (status, answer) = ask(service, body).await;
            assert!(status == 403 && answer.contains("<Code>AccessDenied</Code>"), "{answer}");
        }
        let admin = Client::admin(&signer).await;
        let (_, users) = admin.iam("ListUsers", "").await;
        assert_eq!(users.matches("<UserName>").count(), 1, "{users}");
    });
}

/// A platform whose image names an owner.
struct Owned(String);

impl Platform for Owned {
    fn attest(&self, _: Option<&[u8]>, _: Option<&[u8]>, _: Option<&[u8]>) -> Result<Vec<u8>, AttestError> {
        Err(AttestError::NotSealed)
    }

    fn command_line(&self) -> &str {
        &self.0
    }
}

fn named(public: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, public);
    format!("casemate.owner={}", hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn fingerprint(signer: &Signer) -> Vec<u8> {
    let pem = signer.tls_certificate().expect("a certificate");
    let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).expect("PEM");
    digest::digest(&digest::SHA256, &certificate).as_ref().to_vec()
}

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8>>;

/// Keys of every kind that can own a signer: SubjectPublicKeyInfo, and how they sign.
fn owners() -> Vec<(Vec<u8>, Sign)> {
    let mut owners: Vec<(Vec<u8>, Sign)> = Vec::new();
    for algorithm in [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING] {
        let pair = EcdsaKeyPair::generate(algorithm).expect("a key");
        let public = pair.public_key().as_der().expect("DER").as_ref().to_vec();
        let sign = move |message: &[u8]| {
            pair.sign(&SystemRandom::new(), message).expect("a signature").as_ref().to_vec()
        };
        owners.push((public, Box::new(sign)));
    }
    let pair = Ed25519KeyPair::generate().expect("a key");
    let public = pair.public_key().as_der().expect("DER").as_ref().to_vec();
    owners.push((public, Box::new(move |message: &[u8]| pair.sign(message).as_ref().to_vec())));
    owners
}

#[test]
fn where_the_image_names_an_owner_only_the_holder_of_its_key_can_claim() {
    run(async {
        let nonce = [7; 32];
        for (public, sign) in owners() {
            let signer = Signer::new(Box::new(Owned(format!("quiet {}", named(&public)))));
            let proof = |public: &[u8], nonce: &[u8], signature: Vec<u8>| {
                json!({"proof": {"public_key": b64(public), "nonce": b64(nonce), "signature": b64(signature)}})
                    .to_string()
            };
            let message = |fingerprint: &[u8], nonce: &[u8]| [b"casemate:claim", fingerprint, nonce].concat();
            let good = sign(&message(&fingerprint(&signer), &nonce));
            let (other, others_sign) = owners().swap_remove(0);
            let elsewhere = sign(&message(&[0; 32], &nonce));
            for refused in [
                "{}".to_owned(),
                proof(&other, &nonce, others_sign(&message(&fingerprint(&signer), &nonce))),
                proof(&public, &nonce, elsewhere),
                proof(&public, &[8; 32], good.clone()),
                proof(&public, &nonce, good.iter().rev().copied().collect()),
            ] {
                let (_, answer) = claim(&signer, Door::Tls, &refused).await;
                assert_eq!(kind(&answer), "AccessDeniedException", "{answer}");
            }
            let (status, answer) = claim(&signer, Door::Tls, &proof(&public, &nonce, good)).await;
            assert_eq!(status, 200, "{answer}");
        }
        // A command line that cannot be understood lets nobody in.
        let name = named(b"key");
        for line in ["casemate.owner=", "casemate.owner=12", &format!("{name} {name}"), &format!("{name}0")] {
            let signer = Signer::new(Box::new(Owned(line.to_owned())));
            let (_, answer) = claim(&signer, Door::Tls, "").await;
            assert_eq!(kind(&answer), "AccessDeniedException", "{line}");
        }
    });
}

#[test]
fn a_signature_is_for_one_service() {
    run(async {
        let admin = Client::admin(&signer()).await;
        let body = "Action=GetCallerIdentity&Version=2011-06-15";
        let (status, answer) = send(&admin.signer, Door::Tls, admin.form("iam", body).as_bytes()).await;
        assert!(status == 403 && answer.contains("correct service: 'sts'"), "{answer}");
        let (status, answer) = send(&admin.signer, Door::Plain, admin.form("sts", body).as_bytes()).await;
        assert!(status == 200 && answer.contains(":user/admin"), "{answer}");
    });
}

#[test]
fn unknown_operations_and_malformed_forms_are_refused_in_xml() {
    run(async {
        let admin = Client::admin(&signer()).await;
        for (body, code) in [
            ("", "InvalidAction"),
            ("Action=ListUsers", "InvalidAction"),
            ("Action=ListUsers&Version=2011-06-15", "InvalidAction"),
            ("Action=AssumeRoleWithSAML&Version=2011-06-15", "InvalidAction"),
            ("Action=%ff&Version=2011-06-15", "MalformedQueryString"),
            ("Action=ListUsers&Version=2010-05-08&Action=ListUsers", "MalformedQueryString"),
            ("Action=ListUsers&Version=2010-05-08&MaxItems=many", "ValidationError"),
            ("Action=GetUser&Version=2010-05-08&UserName=", "ValidationError"),
        ] {
            let (status, answer) = send(&admin.signer, Door::Tls, admin.form("iam", body).as_bytes()).await;
            assert!(status == 400 && answer.contains(&format!("<Code>{code}</Code>")), "{body}: {answer}");
            assert!(
                answer.starts_with("<ErrorResponse xmlns=") && answer.contains("<RequestId>"),
                "{answer}"
            );
        }
    });
}

#[test]
fn no_more_identities_than_there_may_be() {
    run(async {
        let admin = Client::admin(&signer()).await;
        for number in 0..100 {
            let (status, answer) = admin.iam("CreateGroup", &format!("GroupName=g{number}")).await;
            assert_eq!(status, 200, "{answer}");
        }
        let (status, answer) = admin.iam("CreateGroup", "GroupName=more").await;
        assert!(status == 409 && answer.contains("<Code>LimitExceeded</Code>"), "{answer}");
    });
}

const ACTIONS: [&str; 4] = ["kms:ListKeys", "kms:GenerateRandom", "kms:CreateKey", "iam:ListUsers"];

/// What a client may do of [`ACTIONS`].
async fn may(client: &Client) -> [bool; 4] {
    [
        client.kms("ListKeys", "{}").await.0 == 200,
        client.kms("GenerateRandom", "{\"NumberOfBytes\":1}").await.0 == 200,
        client.kms("CreateKey", "{}").await.0 == 200,
        client.iam("ListUsers", "").await.0 == 200,
    ]
}

/// A policy that allows some of [`ACTIONS`] and denies others.
fn policy(allowed: [bool; 4], denied: [bool; 4]) -> String {
    let listed = |which: [bool; 4]| {
        let mut actions: Vec<&str> =
            ACTIONS.iter().zip(which).filter(|(_, listed)| *listed).map(|(action, _)| *action).collect();
        actions.push("kms:DescribeKey");
        actions
    };
    let statement = |effect: &str, which| json!({"Effect": effect, "Action": listed(which), "Resource": "*"});
    json!({"Version": "2012-10-17", "Statement": [statement("Allow", allowed), statement("Deny", denied)]})
        .to_string()
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(60))]

    /// A session may do what its role may, its boundary allows and one of its own policies allows, and nothing else.
    #[test]
    fn a_session_is_never_more_than_its_policies(
        role in any::<[[bool; 4]; 2]>(),
        boundary in any::<Option<[[bool; 4]; 2]>>(),
        inline in any::<Option<[[bool; 4]; 2]>>(),
        managed in any::<Option<[[bool; 4]; 2]>>(),
    ) {
        run(async {
            let admin = Client::admin(&signer()).await;
            let done = async |action: &str, parameters: String| {
                let (status, answer) = admin.iam(action, &parameters).await;
                assert_eq!(status, 200, "{answer}");
                answer
            };
            let trust = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow",
                "Principal": {"AWS": "111122223333"}, "Action": "sts:AssumeRole"}]});
            let trust = encoded(&trust.to_string());
            done("CreateRole", format!("RoleName=r&AssumeRolePolicyDocument={trust}")).await;
            let document = |which: [[bool; 4]; 2]| encoded(&policy(which[0], which[1]));
            done("PutRolePolicy", format!("RoleName=r&PolicyName=p&PolicyDocument={}", document(role))).await;
            if let Some(boundary) = boundary {
                done("CreatePolicy", format!("PolicyName=b&PolicyDocument={}", document(boundary))).await;
                let arn = "arn:aws:iam::111122223333:policy/b";
                done("PutRolePermissionsBoundary", format!("RoleName=r&PermissionsBoundary={arn}")).await;
            }
            let mut request = "RoleArn=arn:aws:iam::111122223333:role/r&RoleSessionName=me".to_owned();
            if let Some(inline) = inline {
                request += &format!("&Policy={}", document(inline));
            }
            if let Some(managed) = managed {
                done("CreatePolicy", format!("PolicyName=m&PolicyDocument={}", document(managed))).await;
                request += "&PolicyArns.member.1.arn=arn:aws:iam::111122223333:policy/m";
            }
            let (status, answer) = admin.sts("AssumeRole", &request).await;
            assert_eq!(status, 200, "{answer}");
            let expected: [bool; 4] = std::array::from_fn(|action| {
                let layers = [Some(role), boundary, inline, managed].map(|layer| layer.map(|which| which.map(|it| it[action])));
                let denied = layers.iter().flatten().any(|[_, denied]| *denied);
                let allows = |layer: usize| layers[layer].is_none_or(|[allowed, _]| allowed);
                let session = [2, 3].map(|layer| layers[layer].is_some_and(|[allowed, _]| allowed));
                let limited = inline.is_some() || managed.is_some();
                !denied && allows(0) && allows(1) && (!limited || session.contains(&true))
            });
            prop_assert_eq!(may(&admin.session(&answer)).await, expected);
            Ok(())
        })?;
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    /// Whatever byte of a signed request is changed: it is refused, or it still says the same.
    #[test]
    fn no_changed_request_does_anything(at in any::<prop::sample::Index>(), to in any::<u8>()) {
        run(async {
            let admin = Client::admin(&signer()).await;
            let good = admin.form("iam", "Action=CreateUser&Version=2010-05-08&UserName=ann&Path=/a/");
            let mut changed = good.clone().into_bytes();
            let at = at.index(changed.len());
            prop_assume!(changed[at] != to);
            changed[at] = to;
            let (status, _) = send(&admin.signer, Door::Tls, &changed).await;
            let (_, users) = admin.iam("ListUsers", "").await;
            let made = users.contains("<UserName>ann</UserName>") && users.contains("<Path>/a/</Path>");
            prop_assert_eq!(status == 200, made, "{}", String::from_utf8_lossy(&changed));
            prop_assert!(made || users.matches("<UserName>").count() == 1, "{}", users);
            // Only what is not signed, or means the same in HTTP, may change: the unsigned headers, the case of names and
            // white space.
            let unsigned = good.find("connection:").expect("it is there");
            let case = good.as_bytes()[at].eq_ignore_ascii_case(&to);
            let space = good.as_bytes()[at] == b' ' || to == b' ' || to == b'\t';
            prop_assert!(!made || at >= unsigned || case || space, "{}", String::from_utf8_lossy(&changed));
            Ok(())
        })?;
    }

    #[test]
    fn no_form_makes_an_operation_panic(
        action in proptest::sample::select(vec!["CreateUser", "CreateRole", "PutUserPolicy", "CreatePolicy", "ListUsers",
            "AssumeRole", "GetFederationToken", "TagUser", "UpdateAccessKey", "ListEntitiesForPolicy", "CreateAccountAlias"]),
        parameters in proptest::collection::vec((proptest::sample::select(vec!["UserName", "RoleName", "Path", "PathPrefix",
            "PolicyName", "PolicyDocument", "AssumeRolePolicyDocument", "Policy", "PolicyArn", "RoleArn", "RoleSessionName",
            "DurationSeconds", "MaxItems", "Marker", "Tags.member.1.Key", "Tags.member.1.Value", "Tags.member.2",
            "TransitiveTagKeys.member.1", "PolicyArns.member.1.arn", "Status", "AccessKeyId", "Name", "AccountAlias"]),
            prop_oneof!["[ -~]{0,40}", ".{0,40}", "[0-9]{1,30}", "arn:aws:iam::111122223333:[a-z]{4}/[a-z]{4}",
                "\\{\"Version\":\"2012-10-17\",\"Statement\":[ -~]{0,60}"]), 0..8),
        junk in proptest::collection::vec(any::<u8>(), 0..20),
    ) {
        run(async {
            let admin = Client::admin(&signer()).await;
            let parameters: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
            let junk: String = junk.iter().map(|byte| format!("%{byte:02x}")).collect();
            let sts = matches!(action, "AssumeRole" | "GetFederationToken");
            let parameters = format!("{}&{junk}", parameters.join("&"));
            let (status, answer) = if sts { admin.sts(action, &parameters).await } else { admin.iam(action, &parameters).await };
            prop_assert!(status < 500 && answer.starts_with('<'), "{}", answer);
            Ok(())
        })?;
    }
}

/// A signer as a process with TLS, ended and cleaned up when dropped.
struct Process {
    child: Child,
    dir: std::path::PathBuf,
    endpoint: String,
}

impl Process {
    fn start() -> Self {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("identity-{}", std::process::id()));
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
        let started = std::time::Instant::now();
        while !dir.join("sock").exists() {
            assert!(started.elapsed().as_secs() < 10, "the signer did not open its socket");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Self { child, dir, endpoint: line.trim().to_owned() }
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
fn boto3_walks_every_operation_of_iam_and_sts() {
    let python = python::python();
    let process = Process::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/identity_walk.py");
    let mut walk = Command::new(python);
    let output =
        walk.arg(script).arg(&process.endpoint).arg(process.dir.join("ca.pem")).output().expect("python");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("walked 81 operations"), "{said}");
}

#[test]
fn the_aws_command_line_does_its_daily_work() {
    let aws = python::python().with_file_name("aws");
    let process = Process::start();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/identity_daily.sh");
    let mut daily = Command::new("bash");
    daily.arg(script).env("AWS_CLI", aws).env("AWS_ENDPOINT_URL", &process.endpoint);
    let output = daily.env("AWS_CA_BUNDLE", process.dir.join("ca.pem")).output().expect("bash");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
