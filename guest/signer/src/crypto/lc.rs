//! What aws-lc does and aws-lc-rs does not wrap: Ed25519ph, ML-DSA over an external µ, ML-KEM keys from their seed, RSA
//! key generation that can be interrupted, and in [`message`] any key with any hash.
//!
//! Everything that crosses is a slice whose length is checked here against the length that the C function reads or
//! writes, or an object owned by one of the guards below.

pub(super) mod message;

use std::ffi::c_int;
use std::mem::MaybeUninit;
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

/// Makes an RSA key with exponent 65537, in PKCS #8. `go_on` is asked between any two steps, which take a few
/// milliseconds at most; if it says no, there is no key.
pub(super) fn rsa_generate(bits: usize, go_on: &mut dyn FnMut() -> bool) -> Option<Zeroizing<Vec<u8>>> {
    /// A reference to a reference, because a pointer of C's is only one word long.
    type Question<'a> = &'a mut dyn FnMut() -> bool;

    unsafe extern "C" fn step(_: c_int, _: c_int, callback: *mut sys::BN_GENCB) -> c_int {
        // SAFETY: the argument was set below, to a question that outlives the generation and that nobody else uses
        // meanwhile; aws-lc passes the callback that it was given.
        let go_on = unsafe { &mut *sys::BN_GENCB_get_arg(callback).cast::<Question<'_>>() };
        c_int::from(go_on())
    }

    let bits = c_int::try_from(bits).ok()?;
    let (rsa, exponent, callback) = (Rsa::new()?, Number::of(65_537)?, Callback::new()?);
    let mut question: Question<'_> = go_on;
    // SAFETY: all three objects are live and ours. The callback's argument points to `question`, which is used through
    // nothing else until the generation has returned.
    let done = unsafe {
        sys::BN_GENCB_set(callback.0.as_ptr(), Some(step), (&raw mut question).cast());
        sys::RSA_generate_key_ex(rsa.0.as_ptr(), bits, exponent.0.as_ptr(), callback.0.as_ptr())
    };
    if done != 1 {
        return None;
    }
    // SAFETY: the key is new, and a null one is an error here.
    let key = Key(NonNull::new(unsafe { sys::EVP_PKEY_new() })?);
    // SAFETY: both are live; the key takes a reference of its own to the RSA key.
    let set = unsafe { sys::EVP_PKEY_set1_RSA(key.0.as_ptr(), rsa.0.as_ptr()) };
    if set == 1 { key.to_pkcs8() } else { None }
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
pub(super) struct Key(NonNull<sys::EVP_PKEY>);

type Marshal = unsafe extern "C" fn(*mut sys::CBB, *const sys::EVP_PKEY) -> c_int;

impl Key {
    /// The key of a pointer that is null or ours to free.
    pub(super) fn owned(key: *mut sys::EVP_PKEY) -> Option<Self> {
        NonNull::new(key).map(Self)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::EVP_PKEY {
        self.0.as_ptr()
    }

    /// The private key in PKCS #8, of which RSA_4096 takes 2.4 kB.
    pub(super) fn to_pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.marshal(sys::EVP_marshal_private_key)
    }

    /// The SubjectPublicKeyInfo, of which ML-DSA-87 takes 2.6 kB.
    pub(super) fn to_spki(&self) -> Option<Vec<u8>> {
        self.marshal(sys::EVP_marshal_public_key).map(|der| der.to_vec())
    }

    fn marshal(&self, marshal: Marshal) -> Option<Zeroizing<Vec<u8>>> {
        let mut der = Zeroizing::new(vec![0u8; 4096]);
        let mut builder = MaybeUninit::<sys::CBB>::uninit();
        let mut length = 0;
        // SAFETY: the builder writes into `der` and nowhere else, at most as many bytes as it has; it is finished, or
        // cleaned up, before this returns. A fixed builder gives no buffer back, so that pointer may be null.
        let done = unsafe {
            sys::CBB_init_fixed(builder.as_mut_ptr(), der.as_mut_ptr(), der.len()) == 1
                && (marshal(builder.as_mut_ptr(), self.0.as_ptr()) == 1
                    && sys::CBB_finish(builder.as_mut_ptr(), ptr::null_mut(), &raw mut length) == 1
                    || {
                        sys::CBB_cleanup(builder.as_mut_ptr());
                        false
                    })
        };
        if !done || length > der.len() {
            return None;
        }
        der.truncate(length);
        Some(der)
    }

    pub(super) fn private(der: &[u8]) -> Option<Self> {
        Self::parse(der, sys::EVP_parse_private_key).map(|(key, _)| key)
    }

    fn public(der: &[u8]) -> Option<Self> {
        Self::parse(der, sys::EVP_parse_public_key).map(|(key, _)| key)
    }

    /// The same, if nothing follows the structure.
    pub(super) fn private_alone(der: &[u8]) -> Option<Self> {
        Self::parse(der, sys::EVP_parse_private_key).filter(|(_, rest)| *rest == 0).map(|(key, _)| key)
    }

    /// The same, if nothing follows the structure.
    pub(super) fn public_alone(der: &[u8]) -> Option<Self> {
        Self::parse(der, sys::EVP_parse_public_key).filter(|(_, rest)| *rest == 0).map(|(key, _)| key)
    }

    /// The key, and how many bytes follow it.
    fn parse(
        der: &[u8],
        parser: unsafe extern "C" fn(*mut sys::CBS) -> *mut sys::EVP_PKEY,
    ) -> Option<(Self, usize)> {
        let mut cbs = sys::CBS { data: der.as_ptr(), len: der.len() };
        // SAFETY: `cbs` describes `der`, which outlives the call; a CBS is only ever read within its bounds. The
        // parser returns null or a key that is ours to free.
        let key = unsafe { parser(&raw mut cbs) };
        Some((Self::owned(key)?, cbs.len))
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: the key came from a parser, which gave us its only reference, and is not used after this.
        unsafe { sys::EVP_PKEY_free(self.0.as_ptr()) }
    }
}

/// An `EVP_PKEY_CTX`; it holds its own reference to the key.
pub(super) struct Context(NonNull<sys::EVP_PKEY_CTX>);

impl Context {
    pub(super) fn as_ptr(&self) -> *mut sys::EVP_PKEY_CTX {
        self.0.as_ptr()
    }

    /// One that has no key yet, for keys of a kind.
    pub(super) fn of_kind(kind: c_int) -> Option<Self> {
        // SAFETY: it gives null or a context that is ours to free, and no engine is asked for.
        NonNull::new(unsafe { sys::EVP_PKEY_CTX_new_id(kind, ptr::null_mut()) }).map(Self)
    }

    pub(super) fn of(key: &Key) -> Option<Self> {
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

/// An `RSA` that is freed, and with it cleansed, when dropped.
struct Rsa(NonNull<sys::RSA>);

impl Rsa {
    fn new() -> Option<Self> {
        // SAFETY: it takes nothing and gives null or a key that is ours to free.
        NonNull::new(unsafe { sys::RSA_new() }).map(Self)
    }
}

impl Drop for Rsa {
    fn drop(&mut self) {
        // SAFETY: this is our own reference, and it is not used after this.
        unsafe { sys::RSA_free(self.0.as_ptr()) }
    }
}

/// A `BIGNUM`.
struct Number(NonNull<sys::BIGNUM>);

impl Number {
    fn of(value: u64) -> Option<Self> {
        // SAFETY: it takes nothing and gives null or a number that is ours to free.
        let number = Self(NonNull::new(unsafe { sys::BN_new() })?);
        // SAFETY: the number is live and ours.
        let set = unsafe { sys::BN_set_u64(number.0.as_ptr(), value) };
        (set == 1).then_some(number)
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: the number is ours and is not used after this.
        unsafe { sys::BN_free(self.0.as_ptr()) }
    }
}

/// A `BN_GENCB`, what aws-lc asks while it makes a key.
struct Callback(NonNull<sys::BN_GENCB>);

impl Callback {
    fn new() -> Option<Self> {
        // SAFETY: it takes nothing and gives null or a callback that is ours to free.
        NonNull::new(unsafe { sys::BN_GENCB_new() }).map(Self)
    }
}

impl Drop for Callback {
    fn drop(&mut self) {
        // SAFETY: the callback is ours and is not used after this.
        unsafe { sys::BN_GENCB_free(self.0.as_ptr()) }
    }
}
