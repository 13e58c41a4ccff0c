//! A challenge that only one TPM can answer, and only about a key that is in it (part 1, 24: credential protection).
//!
//! The verifier encrypts a random value to the endorsement key, bound to the name of the attestation key. The TPM gives the value
//! out only if it has both keys (TPM2_ActivateCredential). Whoever gets it back knows that the attestation key is in the TPM
//! that the EK certificate is for, and keeps that as an [`Enrolment`].

use aws_lc_rs::cipher::{AES_128, EncryptionContext, StreamingEncryptingKey, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey};
use der::asn1::{BitString, UintRef};
use der::oid::db::rfc5912::RSA_ENCRYPTION;
use der::{Any, Encode as _, Sequence};
use serde::{Deserialize, Serialize};
use tpm2_protocol::data::TpmRh;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use crate::chip::{self, Chip};
use crate::command;
use crate::evidence::{Enrolment, Evidence, EvidenceError};
use crate::pcr::sha256;
use crate::template;

/// Bytes of the value.
const LEN: usize = 32;
/// Longest challenge that is read.
const MAX: usize = 4096;

/// What the platform gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Challenge {
    /// The contents of a TPM2B_ID_OBJECT: the encrypted value.
    #[serde(with = "hex::serde")]
    pub blob: Vec<u8>,
    /// The contents of a TPM2B_ENCRYPTED_SECRET: the seed of its keys, encrypted to the EK.
    #[serde(with = "hex::serde")]
    pub secret: Vec<u8>,
}

/// What the verifier keeps until the answer comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// What the answer will enrol.
    pub enrolment: Enrolment,
    /// SHA-256 of the value.
    #[serde(with = "hex::serde")]
    value_sha256: [u8; 32],
}

/// What the platform answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    #[serde(with = "hex::serde")]
    value: Vec<u8>,
}

/// Why there is no challenge.
#[derive(Debug, thiserror::Error)]
pub enum ChallengeError {
    /// The evidence has no endorsement.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// It cannot be computed.
    #[error("the challenge cannot be made: {0}")]
    Crypto(&'static str),
}

impl Challenge {
    /// A challenge for the TPM that this evidence is of, and what to keep for the answer. `roots` (DER) name genuine TPMs, `now`
    /// is in seconds since 1970.
    pub fn new(evidence: &Evidence, roots: &[Vec<u8>], now: u64) -> Result<(Self, Kept), ChallengeError> {
        let ek = evidence.check_endorsement(roots, now)?;
        let modulus = template::modulus(&ek).ok_or(ChallengeError::Crypto("the EK is no RSA key"))?;
        let ak_name = evidence.ak_name()?;
        let mut value = [0; LEN];
        SystemRandom::new().fill(&mut value).map_err(|_| ChallengeError::Crypto("no random bytes"))?;
        let challenge = make(modulus, &ak_name, &value)?;
        let enrolment = Enrolment { ek_certificate_sha256: evidence.ek_certificate_sha256(), ak_name };
        Ok((challenge, Kept { enrolment, value_sha256: sha256(&[&value]) }))
    }

    /// Has the TPM open it.
    pub fn answer(&self, chip: &Chip) -> Result<Answer, chip::Error> {
        if self.blob.len() > MAX || self.secret.len() > MAX {
            return Err(command::Error::Malformed("a challenge is shorter".into()).into());
        }
        let mut tpm = chip.tpm()?;
        let (ak, _) = tpm.create_primary(TpmRh::Endorsement, &template::attestation()?)?;
        let value = tpm.holding(ak, |tpm| {
            let (ek, _) = tpm.create_primary(TpmRh::Endorsement, &template::endorsement()?)?;
            tpm.holding(ek, |tpm| {
                let session = tpm.start_policy()?;
                tpm.holding(session, |tpm| {
                    tpm.policy_endorsement(session)?;
                    tpm.activate_credential(ak, ek, session, &self.blob, &self.secret)
                })
            })
        })?;
        Ok(Answer { value })
    }
}

impl Kept {
    /// What the answer proves; `None` if it is not the right one.
    pub fn check(self, answer: &Answer) -> Option<Enrolment> {
        verify_slices_are_equal(&sha256(&[&answer.value]), &self.value_sha256).ok()?;
        Some(self.enrolment)
    }
}

/// TPM2_MakeCredential without a TPM (part 1, 24.4 and B.10.4): for an RSA key of 2048 bits with SHA-256 and AES-128.
fn make(modulus: &[u8], name: &[u8], value: &[u8; LEN]) -> Result<Challenge, ChallengeError> {
    let failed = ChallengeError::Crypto;
    let mut seed = [0; 32];
    SystemRandom::new().fill(&mut seed).map_err(|_| failed("no random bytes"))?;

    let secret = encrypt_seed(modulus, &seed).ok_or(failed("the EK cannot encrypt"))?;
    let storage = kdfa(&seed, b"STORAGE", name, 128);
    let integrity = kdfa(&seed, b"INTEGRITY", &[], 256);
    let mut identity = [&(LEN as u16).to_be_bytes()[..], value].concat();
    let key = storage.get(..16).and_then(|key| UnboundCipherKey::new(&AES_128, key).ok());
    let key = key.ok_or(failed("no AES key"))?;
    // The key is used for this one message.
    let start = EncryptionContext::Iv128(FixedLength::from([0; 16]));
    let mut cipher = StreamingEncryptingKey::less_safe_cfb128(key, start).map_err(|_| failed("no AES"))?;
    let plain = identity.clone();
    // The library wants room for a block more.
    let mut encrypted = vec![0; plain.len().saturating_add(16)];
    let update = cipher.update(&plain, &mut encrypted).map_err(|_| failed("AES failed"))?;
    let written = update.written().len();
    encrypted.truncate(written);
    identity.clone_from(&encrypted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &integrity);
    let mac = hmac::sign(&key, &[&identity[..], name].concat());
    let mac = mac.as_ref();
    let length = u16::try_from(mac.len()).map_err(|_| failed("a MAC is shorter"))?;
    Ok(Challenge { blob: [&length.to_be_bytes()[..], mac, &identity].concat(), secret })
}

/// RSAES-OAEP with SHA-256 and the label that the TPM expects, its final zero included.
fn encrypt_seed(modulus: &[u8], seed: &[u8]) -> Option<Vec<u8>> {
    #[derive(Sequence)]
    struct RsaPublicKey<'a> {
        modulus: UintRef<'a>,
        exponent: UintRef<'a>,
    }
    let key = RsaPublicKey { modulus: UintRef::new(modulus).ok()?, exponent: UintRef::new(&[1, 0, 1]).ok()? };
    let spki = SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned { oid: RSA_ENCRYPTION, parameters: Some(Any::null()) },
        subject_public_key: BitString::from_bytes(&key.to_der().ok()?).ok()?,
    };
    let key = PublicEncryptingKey::from_der(&spki.to_der().ok()?).ok()?;
    let key = OaepPublicEncryptingKey::new(key).ok()?;
    let mut encrypted = vec![0; key.ciphertext_size()];
    let length = key.encrypt(&OAEP_SHA256_MGF1SHA256, seed, &mut encrypted, Some(b"IDENTITY\0")).ok()?.len();
    encrypted.truncate(length);
    Some(encrypted)
}

/// KDFa (part 1, 11.4.10.2): SP 800-108 in counter mode with HMAC-SHA-256, for up to 256 bits, which takes one round.
fn kdfa(key: &[u8], label: &[u8], context: &[u8], bits: u32) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let message = [&1_u32.to_be_bytes(), label, &[0], context, &bits.to_be_bytes()].concat();
    hmac::sign(&key, &message).as_ref().to_vec()
}
