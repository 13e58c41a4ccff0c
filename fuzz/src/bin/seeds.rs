//! Writes one good input for each target that would not find one by itself: `seeds <corpus directory>`.

use std::path::Path;

use casemate_attestation::eif::Builder;
use casemate_attestation::platform::PlatformKey;
use casemate_attestation::posture::{Posture, fact};
use casemate_fuzz::{seeds, signer};
use casemate_hsm::Operation;

fn main() -> std::io::Result<()> {
    let corpus = std::env::args().nth(1).unwrap_or_else(|| "corpus".to_owned());
    let put = |target: &str, name: &str, bytes: &[u8]| {
        let directory = Path::new(&corpus).join(target);
        std::fs::create_dir_all(&directory)?;
        std::fs::write(directory.join(name), bytes)
    };
    let elf = seeds::elf();
    put("elf", "seed", &elf)?;
    let metadata = br#"{"ImageName":"a","ImageVersion":"1"}"#;
    let image = Builder { metadata: Some(metadata), ..Builder::guest(&elf, "a=b") }.build();
    put("eif", "seed", &image.map_err(std::io::Error::other)?)?;

    let platform = PlatformKey::generate(seeds::NOW).map_err(std::io::Error::other)?;
    put("document", "seed", &seeds::document(&platform))?;
    let pem = casemate_attestation::platform::encode_root(platform.root()).map_err(std::io::Error::other)?;
    put("pem", "root", pem.as_bytes())?;
    put("policy", "seed", seeds::POLICY)?;
    put("evidence", "seed", include_bytes!("../../../tpm/tests/sample/platform.evidence"))?;

    for (kind, document) in seeds::POLICY_DOCUMENTS {
        for caller in 0..5 {
            let input = [&[*kind, caller], document.as_bytes()].concat();
            put("policy_document", &format!("{kind}-{caller}"), &input)?;
        }
    }

    let mut posture = Posture::new();
    for (name, value) in [(fact::SEALED_MEMORY, "guest_memfd"), (fact::LOCKDOWN, "integrity")] {
        posture.set(name, value).map_err(std::io::Error::other)?;
    }
    posture.set(fact::LANDLOCK, 6).map_err(std::io::Error::other)?;
    put("posture", "seed", &posture.encode())?;

    for (index, request) in seeds::nsm_requests().iter().enumerate() {
        put("nsm_request", &index.to_string(), request)?;
    }
    let mut nsm = casemate_fuzz::nsm();
    for (index, request) in seeds::nsm_requests().iter().enumerate() {
        put("nsm_response", &index.to_string(), &nsm.handle(request))?;
    }
    let mut head = casemate_audit::Head::EMPTY;
    let line = head.append(r#"{"a":1}"#).map_err(std::io::Error::other)?;
    put("audit", "line", format!("{line}\n{head}").as_bytes())?;
    put("audit", "head", head.to_string().as_bytes())?;
    for (index, request) in seeds::SIGNED.iter().enumerate() {
        put("sigv4", &index.to_string(), request.as_bytes())?;
    }
    for (index, form) in seeds::FORMS.iter().enumerate() {
        put("query", &index.to_string(), form.as_bytes())?;
    }
    for (index, body) in seeds::KMS_BODIES.iter().enumerate() {
        for (operation, name) in signer::operations().iter().enumerate() {
            for key in 0..5 {
                let input = [&[operation as u8, key], body.as_bytes()].concat();
                put("kms_json", &format!("{name}-{index}-{key}"), &input)?;
            }
        }
        let request = format!(
            "POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: TrentService.ListKeys\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        put("http", &format!("kms-{index}"), request.as_bytes())?;
    }
    put("http", "rpc", b"POST /service/ACMPrivateCA/operation/ListTags HTTP/1.1\r\nHost: x\r\nSmithy-Protocol: rpc-v2-cbor\r\nContent-Type: application/cbor\r\nContent-Length: 47\r\n\r\n\xbf\x77CertificateAuthorityArn\x41\x61\x61a\xc1\xfb\x41\xd4\x52\xd9\xec\x20\0\0\x61b\x9f\xf6\xf5\x01\xff\xff")?;
    put("http", "attestation", b"POST /attestation HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}")?;
    put(
        "http",
        "chunked",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    )?;
    for (index, (operation, body)) in seeds::PRIVATE_CA.iter().enumerate() {
        put("private_ca", &index.to_string(), &[&[*operation], body.as_bytes()].concat())?;
    }
    for (index, (name, body)) in seeds::TOKEN.iter().enumerate() {
        let operation = Operation::ALL.iter().position(|one| one.name() == *name).expect("an operation");
        for who in 0..3 {
            put("token", &format!("{index}-{who}"), &[&[operation as u8, who], body.as_bytes()].concat())?;
        }
    }
    for (index, (subject, bytes)) in seeds::requests().iter().enumerate() {
        for template in 2..8 {
            put("csr", &format!("{index}-{template}"), &[&[template, *subject], &bytes[..]].concat())?;
        }
        let (subject, rest) = bytes.split_at((*subject).into());
        let whole = casemate_fuzz::authority::signed_request(subject, rest);
        put("csr", &format!("{index}-whole"), &[&[0, 0], &whole[..]].concat())?;
    }
    put("csr", "root", &[&[1, 0], platform.root()].concat())?;
    for (index, (command, first, second)) in casemate_fuzz::answering::good().iter().enumerate() {
        let length = u8::try_from(first.len()).unwrap_or(u8::MAX);
        put("tpm_response", &index.to_string(), &[&[*command, length], &first[..], second].concat())?;
    }
    for bearer in 0..3 {
        let key = casemate_fuzz::recipient::spki();
        put("recipient", &bearer.to_string(), &[&[bearer, 0, 0, 0][..], &key].concat())?;
    }
    put("volume_host", "seed", &casemate_fuzz::volume::requests())?;
    put("volume_guest", "seed", &casemate_fuzz::volume::responses())?;
    put("vsock_handshake", "seed", b"CONNECT 17\nabcCONNECT 1\n")
}
