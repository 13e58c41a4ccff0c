//! The Wycheproof vectors that `build.rs` packs.

use crate::crypto::{
    AgreementKey, EncryptionAlgorithm, KemKey, KeySpec, MacAlgorithm, MacKey, MessageType, OaepKey,
    SigningAlgorithm, SigningKey, VerifyingKey, aes_256_gcm_open, digest_of, unwrap_padded,
};

use super::Report;

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/vectors.bin"));

/// One case: what to do with the fields, and whether it should work.
#[derive(Default)]
struct Case<'a> {
    suite: u8,
    expected: u8,
    id: u32,
    fields: Vec<&'a [u8]>,
}

/// Runs every vector. A pack that does not end where it should counts as a failure: nothing is skipped in silence.
pub(super) fn run(report: &mut Report) {
    let mut rest = PACKED;
    let mut last = Case::default();
    while !rest.is_empty() {
        let Some((case, after)) = next(rest, &last) else {
            report.record("pack", "the vectors are cut short", false);
            return;
        };
        let (name, works) = check(&case);
        let ok = match case.expected {
            0 => works,
            1 => !works,
            _ => true,
        };
        report.record(name, case.id, ok);
        (last, rest) = (case, after);
    }
}

fn next<'a>(bytes: &'a [u8], last: &Case<'a>) -> Option<(Case<'a>, &'a [u8])> {
    let ([suite, expected], rest) = bytes.split_first_chunk::<2>()?;
    let (id, rest) = rest.split_first_chunk::<4>()?;
    let (count, mut rest) = rest.split_first()?;
    let mut fields = Vec::with_capacity(usize::from(*count));
    for index in 0..usize::from(*count) {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        if length == u32::MAX {
            fields.push(*last.fields.get(index)?);
            rest = after;
        } else {
            let (field, after) = after.split_at_checked(usize::try_from(length).ok()?)?;
            fields.push(field);
            rest = after;
        }
    }
    Some((Case { suite: *suite, expected: *expected, id: u32::from_le_bytes(*id), fields }, rest))
}

/// The suite's name, and whether the operation succeeds with the right result.
fn check(case: &Case<'_>) -> (&'static str, bool) {
    use SigningAlgorithm as A;
    let fields = case.fields.as_slice();
    match case.suite {
        1 => ("ecdsa p256", verifies(KeySpec::P256, A::EcdsaSha256, fields)),
        2 => ("ecdsa p384", verifies(KeySpec::P384, A::EcdsaSha384, fields)),
        3 => ("ecdsa p521", verifies(KeySpec::P521, A::EcdsaSha512, fields)),
        4 => ("ecdsa secp256k1", verifies(KeySpec::Secp256k1, A::EcdsaSha256, fields)),
        10 => ("rsa pkcs1 sha256", verifies(KeySpec::Rsa2048, A::Pkcs1Sha256, fields)),
        11 => ("rsa pkcs1 sha384", verifies(KeySpec::Rsa2048, A::Pkcs1Sha384, fields)),
        12 => ("rsa pkcs1 sha512", verifies(KeySpec::Rsa2048, A::Pkcs1Sha512, fields)),
        13 => ("rsa pss sha256", verifies(KeySpec::Rsa2048, A::PssSha256, fields)),
        14 => ("rsa pss sha384", verifies(KeySpec::Rsa2048, A::PssSha384, fields)),
        15 => ("rsa pss sha512", verifies(KeySpec::Rsa2048, A::PssSha512, fields)),
        20 => ("rsa oaep sha1", decrypts(EncryptionAlgorithm::OaepSha1, fields)),
        21 => ("rsa oaep sha256", decrypts(EncryptionAlgorithm::OaepSha256, fields)),
        30 => ("aes-256-gcm", opens(fields)),
        31 => ("hmac sha224", macs(MacAlgorithm::HmacSha224, fields)),
        32 => ("hmac sha256", macs(MacAlgorithm::HmacSha256, fields)),
        33 => ("hmac sha384", macs(MacAlgorithm::HmacSha384, fields)),
        34 => ("hmac sha512", macs(MacAlgorithm::HmacSha512, fields)),
        40 => ("ed25519", verifies(KeySpec::Ed25519, A::Ed25519, fields)),
        50 => ("ml-dsa-44 verify", verifies(KeySpec::MlDsa44, A::MlDsa, fields)),
        51 => ("ml-dsa-65 verify", verifies(KeySpec::MlDsa65, A::MlDsa, fields)),
        52 => ("ml-dsa-87 verify", verifies(KeySpec::MlDsa87, A::MlDsa, fields)),
        53 => ("ml-dsa-44 mu", ml_dsa_mu(KeySpec::MlDsa44, fields)),
        54 => ("ml-dsa-65 mu", ml_dsa_mu(KeySpec::MlDsa65, fields)),
        55 => ("ml-dsa-87 mu", ml_dsa_mu(KeySpec::MlDsa87, fields)),
        60 => ("ecdh p256", agrees(KeySpec::P256, fields)),
        61 => ("ecdh p384", agrees(KeySpec::P384, fields)),
        62 => ("ecdh p521", agrees(KeySpec::P521, fields)),
        63 => ("ml-kem-512", decapsulates(KeySpec::MlKem512, fields)),
        64 => ("ml-kem-768", decapsulates(KeySpec::MlKem768, fields)),
        65 => ("ml-kem-1024", decapsulates(KeySpec::MlKem1024, fields)),
        70 => ("aes-kwp", unwraps(fields)),
        _ => ("unknown suite", false),
    }
}

fn verifies(spec: KeySpec, algorithm: SigningAlgorithm, fields: &[&[u8]]) -> bool {
    let [spki, message, signature] = fields else {
        return false;
    };
    let Ok(key) = VerifyingKey::from_spki(spec, spki.to_vec()) else {
        return false;
    };
    let Ok(input) = digest_of(algorithm, MessageType::Raw, message) else {
        return false;
    };
    key.verify(algorithm, &input, signature).is_ok()
}

fn decrypts(algorithm: EncryptionAlgorithm, fields: &[&[u8]]) -> bool {
    let [pkcs8, ciphertext, plaintext] = fields else {
        return false;
    };
    let Ok(key) = OaepKey::of_any_size(pkcs8) else {
        return false;
    };
    key.decrypt(algorithm, ciphertext).is_ok_and(|found| found.as_slice() == *plaintext)
}

fn opens(fields: &[&[u8]]) -> bool {
    let [key, nonce, aad, sealed, plaintext] = fields else {
        return false;
    };
    aes_256_gcm_open(key, nonce, aad, sealed).is_ok_and(|found| found.as_slice() == *plaintext)
}

fn macs(algorithm: MacAlgorithm, fields: &[&[u8]]) -> bool {
    let [secret, message, mac] = fields else {
        return false;
    };
    let key = MacKey::of_any_length(algorithm, secret);
    key.verify(message, mac).is_ok() && key.sign(message).as_slice() == *mac
}

/// The key of the seed verifies the published signature over µ, and one that it makes itself.
fn ml_dsa_mu(spec: KeySpec, fields: &[&[u8]]) -> bool {
    let [seed, mu, signature] = fields else {
        return false;
    };
    let algorithm = SigningAlgorithm::MlDsa;
    let Ok(key) = SigningKey::ml_dsa_from_seed(spec, seed) else {
        return false;
    };
    let (Ok(public), Ok(input)) = (key.verifying_key(), digest_of(algorithm, MessageType::ExternalMu, mu))
    else {
        return false;
    };
    let own = key.sign(algorithm, &input);
    public.verify(algorithm, &input, signature).is_ok()
        && own.is_ok_and(|own| public.verify(algorithm, &input, &own).is_ok())
}

fn agrees(spec: KeySpec, fields: &[&[u8]]) -> bool {
    let [scalar, public, secret] = fields else {
        return false;
    };
    let Ok(key) = AgreementKey::from_scalar(spec, scalar) else {
        return false;
    };
    key.derive(public).is_ok_and(|found| found.as_slice() == *secret)
}

fn decapsulates(spec: KeySpec, fields: &[&[u8]]) -> bool {
    let [seed, public, ciphertext, secret] = fields else {
        return false;
    };
    let Ok(seed) = <[u8; 64]>::try_from(*seed) else {
        return false;
    };
    let Ok(key) = KemKey::from_seed(spec, seed.into()) else {
        return false;
    };
    key.spki().ends_with(public) && key.decapsulate(ciphertext).is_ok_and(|found| found.as_slice() == *secret)
}

fn unwraps(fields: &[&[u8]]) -> bool {
    let [key, wrapped, material] = fields else {
        return false;
    };
    unwrap_padded(key, wrapped).is_ok_and(|found| found.as_slice() == *material)
}
