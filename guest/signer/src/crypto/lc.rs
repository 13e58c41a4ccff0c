//! What aws-lc does and aws-lc-rs does not wrap: Ed25519ph, ML-DSA over an external µ, and ML-KEM keys from their seed.
//!
//! This is the crate's only unsafe code. Everything that crosses is a slice whose length is checked here against the
//! length that the C function reads or writes, or an object owned by one of the two guards below.

use std::ptr::{self, NonNull};

use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair, PqdsaKeyPair};
use aws_lc_sys as sys;
use zeroize::Zeroizing;

use super::{CryptoError, NotGenuine};

const SIGNATURE_LEN: usize = 64;
/// DER of an Ed25519 SubjectPublicKeyInfo before the 32 bytes of the key (RFC 8410, section 4).
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Ed25519ph with an empty context (RFC 8032, section 5.1).
pub(super) fn ed25519ph_sign(pair: &Ed25519KeyPair, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let failed = |_| CryptoError::Library("Ed25519ph signing");
    let seed = pair.seed().map_err(failed)?;
    let seed: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(failed)?;
    // aws-lc's private key is seed and public key in a row.
    let mut private = Zeroizing::new([0u8; 64]);
    for (to, from) in private.iter_mut().zip(seed.as_ref().iter().chain(pair.public_key().as_ref())) {
        *to = *from;
    }
    let mut signature = [0u8; SIGNATURE_LEN];
    // SAFETY: `signature` and `private` are arrays of the 64 bytes that are written and read, `message` is read for
    // its own length, and a null context is allowed with length 0.
    let done = unsafe {
        sys::ED25519ph_sign(
            signature.as_mut_ptr(),
            message.as_ptr(),
            message.len(),
            private.as_ptr(),
            ptr::null(),
            0,
        )
    };
    if done == 1 { Ok(signature.to_vec()) } else { Err(CryptoError::Library("Ed25519ph signing")) }
}

/// Verifies Ed25519ph with an empty context against a SubjectPublicKeyInfo.
pub(super) fn ed25519ph_verify(spki: &[u8], message: &[u8], signature: &[u8]) -> Result<(), NotGenuine> {
    let public: &[u8; 32] =
        spki.strip_prefix(&ED25519_SPKI).and_then(|key| key.try_into().ok()).ok_or(NotGenuine)?;
    let signature: &[u8; SIGNATURE_LEN] = signature.try_into().map_err(|_| NotGenuine)?;
    // SAFETY: `signature` and `public` are references to arrays of the 64 and 32 bytes that are read, `message` is
    // read for its own length, and a null context is allowed with length 0.
    let valid = unsafe {
        sys::ED25519ph_verify(
            message.as_ptr(),
            message.len(),
            signature.as_ptr(),
            public.as_ptr(),
            ptr::null(),
            0,
        )
    };
    if valid == 1 { Ok(()) } else { Err(NotGenuine) }
}

/// ML-DSA over µ (FIPS 204, algorithm 7 from line 7 on): aws-lc does this when it is asked to sign "a digest".
pub(super) fn ml_dsa_sign_mu(pair: &PqdsaKeyPair, mu: &[u8; 64]) -> Result<Vec<u8>, CryptoError> {
    let failed = CryptoError::Library("ML-DSA signing");
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| failed)?;
    let key = Key::private(pkcs8.as_ref()).ok_or(failed)?;
    let context = Context::of(&key).ok_or(failed)?;
    let mut signature = vec![0u8; pair.algorithm().signature_len()];
    let mut length = signature.len();
    // SAFETY: the context is live and belongs to a private key; `signature` is written for at most `length` bytes,
    // which is its length, and `mu` is read for its own.
    let done = unsafe {
        sys::EVP_PKEY_sign_init(context.0.as_ptr()) == 1
            && sys::EVP_PKEY_sign(
                context.0.as_ptr(),
                signature.as_mut_ptr(),
                &raw mut length,
                mu.as_ptr(),
                mu.len(),
            ) == 1
    };
    if !done || length != signature.len() {
        return Err(failed);
    }
    Ok(signature)
}

/// Verifies an ML-DSA signature over µ against a SubjectPublicKeyInfo.
pub(super) fn ml_dsa_verify_mu(spki: &[u8], mu: &[u8; 64], signature: &[u8]) -> Result<(), NotGenuine> {
    let key = Key::public(spki).ok_or(NotGenuine)?;
    let context = Context::of(&key).ok_or(NotGenuine)?;
    // SAFETY: the context is live and belongs to a public key; both inputs are read for their own lengths.
    let valid = unsafe {
        sys::EVP_PKEY_verify_init(context.0.as_ptr()) == 1
            && sys::EVP_PKEY_verify(
                context.0.as_ptr(),
                signature.as_ptr(),
                signature.len(),
                mu.as_ptr(),
                mu.len(),
            ) == 1
    };
    if valid { Ok(()) } else { Err(NotGenuine) }
}

/// The expanded decapsulation key (FIPS 203, algorithm 16) of a PKCS #8 structure that holds an ML-KEM seed.
pub(super) fn ml_kem_expand(pkcs8: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let key = Key::private(pkcs8)?;
    let mut length = 0;
    // SAFETY: the key is live; with a null buffer only the length is written.
    let known =
        unsafe { sys::EVP_PKEY_get_raw_private_key(key.0.as_ptr(), ptr::null_mut(), &raw mut length) };
    if known != 1 {
        return None;
    }
    let mut expanded = Zeroizing::new(vec![0u8; length]);
    // SAFETY: the key is live, and `expanded` is written for at most `length` bytes, which is its length.
    let done =
        unsafe { sys::EVP_PKEY_get_raw_private_key(key.0.as_ptr(), expanded.as_mut_ptr(), &raw mut length) };
    (done == 1 && length == expanded.len()).then_some(expanded)
}

/// An `EVP_PKEY` that is freed, and with it cleansed, when dropped.
struct Key(NonNull<sys::EVP_PKEY>);

impl Key {
    fn private(der: &[u8]) -> Option<Self> {
        Self::parse(der, sys::EVP_parse_private_key)
    }

    fn public(der: &[u8]) -> Option<Self> {
        Self::parse(der, sys::EVP_parse_public_key)
    }

    fn parse(der: &[u8], parser: unsafe extern "C" fn(*mut sys::CBS) -> *mut sys::EVP_PKEY) -> Option<Self> {
        let mut cbs = sys::CBS { data: der.as_ptr(), len: der.len() };
        // SAFETY: `cbs` describes `der`, which outlives the call; a CBS is only ever read within its bounds. The
        // parser returns null or a key that is ours to free.
        let key = unsafe { parser(&raw mut cbs) };
        NonNull::new(key).map(Self)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the key came from a parser, which gave us its only reference, and is not used after this.
        unsafe { sys::EVP_PKEY_free(self.0.as_ptr()) }
    }
}

/// An `EVP_PKEY_CTX`; it holds its own reference to the key.
struct Context(NonNull<sys::EVP_PKEY_CTX>);

impl Context {
    fn of(key: &Key) -> Option<Self> {
        // SAFETY: the key is live, its reference count is raised by the call, and no engine is asked for.
        NonNull::new(unsafe { sys::EVP_PKEY_CTX_new(key.0.as_ptr(), ptr::null_mut()) }).map(Self)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the context came from `EVP_PKEY_CTX_new` and is not used after this.
        unsafe { sys::EVP_PKEY_CTX_free(self.0.as_ptr()) }
    }
}
