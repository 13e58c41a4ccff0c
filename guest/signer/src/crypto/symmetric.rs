//! Symmetric encryption keys: AES-256-GCM (NIST SP 800-38D) under a key derived for each message.
//!
//! With one key and random nonces, GCM wears out after 2^32 messages. So, as AWS KMS does, each message has its own
//! key: HMAC-SHA-512 of a label and a 32-byte random salt under the long-term secret gives the AES key and the nonce.
//! Two messages collide only if their salts do.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::{CryptoError, KeySpec, NotGenuine};

/// Length of the salt from which a message's key is derived.
pub const SALT_LEN: usize = 32;
/// Length of the GCM tag at the end of the ciphertext.
pub const TAG_LEN: usize = 16;

const LABEL: &[u8] = b"casemate SYMMETRIC_DEFAULT message key v1";
const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 12;

/// A decrypted message, erased when dropped.
pub type Opened = Zeroizing<Vec<u8>>;

/// A 256-bit secret from which message keys are derived.
pub struct SymmetricKey {
    secret: Zeroizing<[u8; KEY_LEN]>,
}

impl SymmetricKey {
    /// Makes a key.
    pub fn generate() -> Result<Self, CryptoError> {
        let mut secret = Zeroizing::new([0; KEY_LEN]);
        super::random(secret.as_mut())?;
        Ok(Self { secret })
    }

    /// The key of these 32 bytes.
    pub(crate) fn from_bytes(secret: &[u8]) -> Result<Self, CryptoError> {
        let wrong = |_| CryptoError::Length(KeySpec::Symmetric.name(), secret.len());
        Ok(Self { secret: Zeroizing::new(secret.try_into().map_err(wrong)?) })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.secret.as_ref()
    }

    /// Encrypts in place and appends the tag. The salt must be fresh and random.
    pub fn seal(&self, salt: &[u8; SALT_LEN], aad: &[u8], text: &mut Vec<u8>) -> Result<(), CryptoError> {
        let failed = |_| CryptoError::Library("encryption");
        let (key, nonce) = self.message_key(salt).map_err(failed)?;
        key.seal_in_place_append_tag(nonce, Aad::from(aad), text).map_err(failed)
    }

    /// Decrypts a ciphertext with its tag.
    pub fn open(&self, salt: &[u8; SALT_LEN], aad: &[u8], sealed: &[u8]) -> Result<Opened, NotGenuine> {
        let (key, nonce) = self.message_key(salt).map_err(|_| NotGenuine)?;
        let mut text = Zeroizing::new(sealed.to_vec());
        let length = key.open_in_place(nonce, Aad::from(aad), &mut text).map_err(|_| NotGenuine)?.len();
        text.truncate(length);
        Ok(text)
    }

    fn message_key(
        &self,
        salt: &[u8; SALT_LEN],
    ) -> Result<(LessSafeKey, Nonce), aws_lc_rs::error::Unspecified> {
        let mut prf = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA512, self.secret.as_ref()));
        prf.update(LABEL);
        prf.update(salt);
        let mut derived = Zeroizing::new([0u8; 64]);
        for (to, from) in derived.iter_mut().zip(prf.sign().as_ref()) {
            *to = *from;
        }
        let (key, rest) = derived.split_at(KEY_LEN);
        let (nonce, _) = rest.split_at(NONCE_LEN);
        Ok((LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key)?), Nonce::try_assume_unique_for_key(nonce)?))
    }
}

/// AES-256-GCM itself, for known answers: key, nonce and associated data as given.
#[cfg(feature = "selftest")]
pub(crate) fn aes_256_gcm_open(
    key: &[u8],
    nonce: &[u8],
    aad: &[u8],
    sealed: &[u8],
) -> Result<Opened, NotGenuine> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).map_err(|_| NotGenuine)?);
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| NotGenuine)?;
    let mut text = Zeroizing::new(sealed.to_vec());
    let length = key.open_in_place(nonce, Aad::from(aad), &mut text).map_err(|_| NotGenuine)?.len();
    text.truncate(length);
    Ok(text)
}
