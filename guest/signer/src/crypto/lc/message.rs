//! Signatures over whole messages: the hash is the caller's to choose, whatever the key's own size, as X.509 has it.

use std::ffi::c_int;
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

/// How a message is made into what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// As the key's only algorithm says: ML-DSA, Ed25519.
    Own,
    /// By its hash: RSASSA-PKCS1-v1_5, ECDSA.
    Hashed(Hash),
    /// RSASSA-PSS with that hash in both places, and a salt as long as it.
    Pss(Hash),
}

const FAILED: CryptoError = CryptoError::Library("signing");

/// aws-lc's description of the hash; null for algorithms that hash the message themselves.
fn method(scheme: Scheme) -> *const sys::EVP_MD {
    let hash = match scheme {
        Scheme::Own => return ptr::null(),
        Scheme::Hashed(hash) | Scheme::Pss(hash) => hash,
    };
    // SAFETY: these functions take nothing and give a pointer to a constant.
    unsafe {
        match hash {
            Hash::Sha256 => sys::EVP_sha256(),
            Hash::Sha384 => sys::EVP_sha384(),
            Hash::Sha512 => sys::EVP_sha512(),
        }
    }
}

/// Settles how RSA pads, once a context has its key.
///
/// # Safety
///
/// `context` is null or live.
unsafe fn pad(context: *mut sys::EVP_PKEY_CTX, scheme: Scheme) -> bool {
    /// The salt is as long as the digest.
    const AS_DIGEST: c_int = -1;
    // SAFETY: the caller vouches for the context, and a null one is not used.
    !matches!(scheme, Scheme::Pss(_))
        || !context.is_null()
            && unsafe {
                sys::EVP_PKEY_CTX_set_rsa_padding(context, sys::RSA_PKCS1_PSS_PADDING) == 1
                    && sys::EVP_PKEY_CTX_set_rsa_pss_saltlen(context, AS_DIGEST) == 1
            }
}

/// Signs `message`.
pub(in crate::crypto) fn sign(key: &Key, scheme: Scheme, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let context = DigestContext::new().ok_or(FAILED)?;
    let (mut length, mut settings) = (0, ptr::null_mut());
    // SAFETY: context and key are live, and the context takes a reference of its own to the key; what it gives for settings
    // lives as long as it does. With a null buffer only the longest possible length is written; `message` is read for its
    // own.
    let ready = unsafe {
        sys::EVP_DigestSignInit(
            context.0.as_ptr(),
            &raw mut settings,
            method(scheme),
            ptr::null_mut(),
            key.0.as_ptr(),
        ) == 1
            && pad(settings, scheme)
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
    scheme: Scheme,
    message: &[u8],
    signature: &[u8],
) -> Result<(), NotGenuine> {
    verify_with(&Key::public(spki).ok_or(NotGenuine)?, scheme, message, signature)
}

/// The same with a key that has been read.
pub(in crate::crypto) fn verify_with(
    key: &Key,
    scheme: Scheme,
    message: &[u8],
    signature: &[u8],
) -> Result<(), NotGenuine> {
    let context = DigestContext::new().ok_or(NotGenuine)?;
    let mut settings = ptr::null_mut();
    // SAFETY: context and key are live, and the context takes a reference of its own to the key; what it gives for settings
    // lives as long as it does; both inputs are read for their own lengths.
    let valid = unsafe {
        sys::EVP_DigestVerifyInit(
            context.0.as_ptr(),
            &raw mut settings,
            method(scheme),
            ptr::null_mut(),
            key.0.as_ptr(),
        ) == 1
            && pad(settings, scheme)
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
