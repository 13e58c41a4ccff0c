//! Documents from our NSM before three verifiers that are not ours, each also with a document that it must refuse.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use casemate_attestation::nsm::api::{ByteBuf, Request, Response};
use casemate_attestation::pcr::{Mode, Pcr};
use casemate_attestation::platform::{self, PlatformKey};
use support::{MODULE_ID, ask, attest, nsm};

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The same document with one bit of the nonce (which the signature covers) changed.
fn forged(document: &[u8]) -> Vec<u8> {
    let mut document = document.to_vec();
    let at = document.windows(5).position(|bytes| bytes == b"nonce").unwrap() + 8;
    document[at] ^= 1;
    document
}

mod nsm_nitro_enclave_utils_crate {
    use super::*;
    use nsm_nitro_enclave_utils::api::nsm::AttestationDoc;
    use nsm_nitro_enclave_utils::time::Time;
    use nsm_nitro_enclave_utils::verify::{AttestationDocVerifierExt, ErrorKind};

    #[test]
    fn accepts_ours_and_refuses_forgeries() {
        let platform = PlatformKey::generate(now()).unwrap();
        let document = attest(&mut nsm(&platform, Mode::Production, now()), b"a nonce", b"user data");
        let time = || Time::new(Box::new(|| now() * 1000));

        let read = AttestationDoc::from_cose(&document, platform.root(), time()).unwrap();
        assert_eq!(read.module_id, MODULE_ID);
        assert_eq!(read.nonce.unwrap().as_slice(), b"a nonce");
        assert_eq!(read.pcrs[&0].as_slice(), Pcr::measure(b"image").as_bytes());

        let refused = AttestationDoc::from_cose(&forged(&document), platform.root(), time()).unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Verification);
        let other = PlatformKey::generate(now()).unwrap();
        let refused = AttestationDoc::from_cose(&document, other.root(), time()).unwrap_err();
        assert_eq!(*refused.kind(), ErrorKind::Verification);
    }
}

/// This crate assumes a payload of 4352 to 4607 bytes (it writes the length's upper byte as a constant) and reads
/// the nonce as 20 zero bytes whatever it is.
mod remote_attestation_verifier_crate {
    use super::*;
    use remote_attestation_verifier::{VerificationError, parse_document, parse_payload, verify};

    #[test]
    fn accepts_ours_within_its_limits_and_refuses_forgeries() {
        let platform = PlatformKey::generate(now()).unwrap();
        let document = long_document(&platform);
        let check = |document: &Vec<u8>, root: &[u8]| {
            let document = parse_document(document).unwrap();
            assert!((4352..4608).contains(&document.payload.len()), "{} bytes", document.payload.len());
            let payload = parse_payload(&document.payload).unwrap();
            let pcr0 = vec![Pcr::measure(b"image").as_bytes().to_vec()];
            verify(document, payload, vec![0; 20], pcr0, Some(root.to_vec()), now())
        };
        check(&document, platform.root()).unwrap();

        let refused = check(&forged(&document), platform.root()).unwrap_err();
        assert!(matches!(refused, VerificationError::SignatureVerificationFailed(_)), "{refused}");
        let other = PlatformKey::generate(now()).unwrap();
        let refused = check(&document, other.root()).unwrap_err();
        assert!(matches!(refused, VerificationError::X509CertVerificationFailed(_)), "{refused}");
    }

    /// A document with every field at its longest, and then registers locked until the payload is long enough.
    fn long_document(platform: &PlatformKey) -> Vec<u8> {
        let mut nsm = nsm(platform, Mode::Production, now());
        for index in 16..32 {
            let request = Request::Attestation {
                user_data: Some(ByteBuf::from(vec![1; 512])),
                nonce: Some(ByteBuf::from(vec![0; 512])),
                public_key: Some(ByteBuf::from(vec![2; 1024])),
            };
            let Response::Attestation { document } = ask(&mut nsm, &request) else { panic!("no document") };
            if document.len() >= 4352 + 128 {
                return document;
            }
            assert!(matches!(ask(&mut nsm, &Request::LockPCR { index }), Response::LockPCR));
        }
        panic!("32 registers are not enough");
    }
}

mod epsilon_attestation_verifier_package {
    use super::*;


    #[test]
    fn accepts_ours_and_refuses_forgeries() {
        let python = environment();
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let platform = PlatformKey::generate(now()).unwrap();
        let other = PlatformKey::generate(now()).unwrap();
        let document = attest(&mut nsm(&platform, Mode::Production, now()), b"a nonce", b"user data");
        let pcr0 = Pcr::measure(b"image").to_string();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let root = write("root.pem", platform::encode_root(platform.root()).unwrap().as_bytes());
        let foreign = write("foreign.pem", platform::encode_root(other.root()).unwrap().as_bytes());
        let good = write("document.cbor", &document);
        let bad = write("forged.cbor", &forged(&document));
        let check = |document: &PathBuf, root: &PathBuf| {
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/epsilon.py");
            Command::new(&python).arg(script).args([document, root]).arg(&pcr0).output().unwrap()
        };

        let accepted = check(&good, &root);
        assert_eq!((accepted.status.code(), text(&accepted.stdout)), (Some(0), MODULE_ID), "{accepted:?}");
        for (document, root, reason) in [(&bad, &root, "signature"), (&good, &foreign, "ertificate")] {
            let refused = check(document, root);
            assert_eq!(refused.status.code(), Some(1));
            assert!(text(&refused.stderr).contains(reason), "{refused:?}");
        }
    }

    /// Python with the package: the environment that all tests share.
    fn environment() -> PathBuf {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python.sh");
        let output = Command::new(script).output().unwrap();
        assert!(output.status.success(), "{script} failed:\n{}", text(&output.stderr));
        Path::new(text(&output.stdout)).join("python")
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap().trim()
    }
}
