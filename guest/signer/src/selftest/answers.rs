//! Known answers that Wycheproof lacks, and keys that must agree with themselves.

use crate::crypto::{
    EncryptionAlgorithm, KeySpec, MessageType, OaepKey, SALT_LEN, SigningAlgorithm, SigningKey, SymmetricKey,
    digest_of,
};

use super::Report;

/// RFC 8032, section 7.3, "TEST abc".
const ED25519PH_SEED: &str = "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42";
const ED25519PH_SIGNATURE: &str = "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41\
                                   31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406";

pub(super) fn run(report: &mut Report) {
    report.record("ed25519ph", "RFC 8032, section 7.3", ed25519ph().is_some());
    let specs = [
        KeySpec::Rsa2048,
        KeySpec::P256,
        KeySpec::P384,
        KeySpec::P521,
        KeySpec::Secp256k1,
        KeySpec::Ed25519,
        KeySpec::MlDsa44,
        KeySpec::MlDsa65,
        KeySpec::MlDsa87,
    ];
    for spec in specs {
        let Ok(key) = SigningKey::generate(spec) else {
            report.record("key pair", spec, false);
            continue;
        };
        for algorithm in spec.signing_algorithms() {
            report.record("key pair", format_args!("{spec} {algorithm}"), agrees(&key, *algorithm).is_some());
        }
    }
    report.record("oaep pair", "RSA_2048", oaep().is_some());
    report.record("symmetric", "seal and open", symmetric().is_some());
}

fn ed25519ph() -> Option<()> {
    let (seed, signature) = (unhex(ED25519PH_SEED)?, unhex(ED25519PH_SIGNATURE)?);
    let key = SigningKey::ed25519_from_seed(&seed).ok()?;
    let input = crate::crypto::Digested::Whole(b"abc");
    let made = key.sign(SigningAlgorithm::Ed25519ph, &input).ok()?;
    (made == signature).then_some(())?;
    key.verifying_key().ok()?.verify(SigningAlgorithm::Ed25519ph, &input, &signature).ok()
}

/// Signs and verifies; then neither another message nor a changed signature passes.
fn agrees(key: &SigningKey, algorithm: SigningAlgorithm) -> Option<()> {
    let message_type = match algorithm {
        SigningAlgorithm::Ed25519ph => MessageType::Digest,
        _ => MessageType::Raw,
    };
    let (message, other) = ([0x5a; 64], [0x5b; 64]);
    let input = digest_of(algorithm, message_type, &message).ok()?;
    let public = key.verifying_key().ok()?;
    let mut signature = key.sign(algorithm, &input).ok()?;
    public.verify(algorithm, &input, &signature).ok()?;
    public.verify(algorithm, &digest_of(algorithm, message_type, &other).ok()?, &signature).err()?;
    let last = signature.last_mut()?;
    *last ^= 1;
    public.verify(algorithm, &input, &signature).err().map(drop)
}

fn oaep() -> Option<()> {
    let key = OaepKey::generate(KeySpec::Rsa2048).ok()?;
    for algorithm in [EncryptionAlgorithm::OaepSha1, EncryptionAlgorithm::OaepSha256] {
        let ciphertext = key.encrypt(algorithm, b"casemate").ok()?;
        (key.decrypt(algorithm, &ciphertext).ok()?.as_slice() == b"casemate").then_some(())?;
    }
    Some(())
}

fn symmetric() -> Option<()> {
    let key = SymmetricKey::generate().ok()?;
    let salt = [7; SALT_LEN];
    let mut text = b"casemate".to_vec();
    key.seal(&salt, b"aad", &mut text).ok()?;
    (key.open(&salt, b"aad", &text).ok()?.as_slice() == b"casemate").then_some(())?;
    key.open(&salt, b"add", &text).err()?;
    key.open(&[8; SALT_LEN], b"aad", &text).err().map(drop)
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(c.to_digit(16)?).ok()).collect();
    Some(digits?.chunks_exact(2).filter_map(|pair| Some(pair.first()? << 4 | pair.last()?)).collect())
}
