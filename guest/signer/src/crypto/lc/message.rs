//! Signatures over whole messages: the hash is the caller's to choose, whatever the key's own size, as X.509 has it.

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use super::super::{CryptoError, NotGenuine};
use super::Key;

/// The hash that a signature algorithm names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

const FAILED: CryptoError = CryptoError::Library("signing");

/// aws-lc's description of the hash; null for algorithms that hash the message themselves.
fn method(hash: Option<Hash>) -> *const sys::EVP_MD {
    // SAFETY: these functions take nothing and give a pointer to a constant.
    unsafe {
        match hash {
            None => ptr::null(),
            Some(Hash::Sha256) => sys::EVP_sha256(),
            Some(Hash::Sha384) => sys::EVP_sha384(),
            Some(Hash::Sha512) => sys::EVP_sha512(),
        }
    }
}

/// Signs `message`: RSASSA-PKCS1-v1_5 and ECDSA with that hash, ML-DSA and Ed25519 without one.
pub(in crate::crypto) fn sign(key: &Key, hash: Option<Hash>, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let context = DigestContext::new().ok_or(FAILED)?;
    let mut length = 0;
    // SAFETY: context and key are live, and the context takes a reference of its own to the key. With a null buffer only
    // the longest possible length is written; `message` is read for its own.
    let ready = unsafe {
        sys::EVP_DigestSignInit(
            context.0.as_ptr(),
            ptr::null_mut(),
            method(hash),
            ptr::null_mut(),
            key.0.as_ptr(),
        ) == 1
            && sys::EVP_DigestSign(
                context.0.as_ptr(),
                ptr::null_mut(),
                &raw mut length,
                message.as_ptr(),
                message.len(),
            ) == 1
    };
    if !ready {
        return Err(FAILED);
    }
    let mut signature = vec![0u8; length];
    // SAFETY: `signature` is written for at most `length` bytes, which is its length; the rest as above.
    let done = unsafe {
        sys::EVP_DigestSign(
            context.0.as_ptr(),
            signature.as_mut_ptr(),
            &raw mut length,
            message.as_ptr(),
            message.len(),
        )
    };
    if done != 1 || length > signature.len() {
        return Err(FAILED);
    }
    signature.truncate(length);
    Ok(signature)
}

/// Whether `signature` is one over `message`, by the key in this SubjectPublicKeyInfo.
pub(in crate::crypto) fn verify(
    spki: &[u8],
    hash: Option<Hash>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), NotGenuine> {
    verify_with(&Key::public(spki).ok_or(NotGenuine)?, hash, message, signature)
}

/// The same with a key that has been read.
pub(in crate::crypto) fn verify_with(
    key: &Key,
    hash: Option<Hash>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), NotGenuine> {
    let context = DigestContext::new().ok_or(NotGenuine)?;
    // SAFETY: context and key are live, and the context takes a reference of its own to the key; both inputs are read for
    // their own lengths.
    let valid = unsafe {
        sys::EVP_DigestVerifyInit(
            context.0.as_ptr(),
            ptr::null_mut(),
            method(hash),
            ptr::null_mut(),
            key.0.as_ptr(),
        ) == 1
            && sys::EVP_DigestVerify(
                context.0.as_ptr(),
                signature.as_ptr(),
                signature.len(),
                message.as_ptr(),
                message.len(),
            ) == 1
    };
    if valid { Ok(()) } else { Err(NotGenuine) }
}

/// The size of the key in this SubjectPublicKeyInfo in bits: of an RSA key, its modulus. `None` if it is none.
pub(crate) fn public_bits(spki: &[u8]) -> Option<u32> {
    let key = Key::public(spki)?;
    // SAFETY: the key is live.
    u32::try_from(unsafe { sys::EVP_PKEY_bits(key.0.as_ptr()) }).ok()
}

/// An `EVP_MD_CTX`.
pub(in crate::crypto) struct DigestContext(NonNull<sys::EVP_MD_CTX>);

impl DigestContext {
    pub(in crate::crypto) fn as_ptr(&self) -> *mut sys::EVP_MD_CTX {
        self.0.as_ptr()
    }

    pub(in crate::crypto) fn new() -> Option<Self> {
        // SAFETY: it takes nothing and gives null or a context that is ours to free.
        NonNull::new(unsafe { sys::EVP_MD_CTX_new() }).map(Self)
    }
}

impl Drop for DigestContext {
    fn drop(&mut self) {
        // SAFETY: the context came from `EVP_MD_CTX_new` and is not used after this.
        unsafe { sys::EVP_MD_CTX_free(self.0.as_ptr()) }
    }
}
