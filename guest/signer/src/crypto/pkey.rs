//! Keys of any asymmetric kind, for every use their owner allows: what a PKCS#11 token computes with.
//!
//! The other types here each do one thing. These keys do whatever they are asked for: a token's objects say in their
//! attributes what they are for, and [`crate::hsm`] sees to it. It is aws-lc's EVP interface; what crosses is a slice with its length, or
//! an object that one of [`lc`](super::lc)'s guards owns.

use std::ffi::c_int;
use std::ptr;

use aws_lc_rs::digest;
use aws_lc_sys as sys;
use k256::pkcs8::ObjectIdentifier;
use zeroize::Zeroizing;

use super::lc::message::{self, DigestContext};
use super::lc::{Context, Key};

/// A hash function of the SHA family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1: for clients that cannot do without.
    Sha1,
    /// SHA-224.
    Sha224,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// aws-lc-rs's name for it.
    pub fn algorithm(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha224 => &digest::SHA224,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn md(self) -> *const sys::EVP_MD {
        // SAFETY: these take nothing and give a pointer to a constant.
        unsafe {
            match self {
                Self::Sha1 => sys::EVP_sha1(),
                Self::Sha224 => sys::EVP_sha224(),
                Self::Sha256 => sys::EVP_sha256(),
                Self::Sha384 => sys::EVP_sha384(),
                Self::Sha512 => sys::EVP_sha512(),
            }
        }
    }
}

/// A named curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// secp256k1.
    Secp256k1,
}

impl Curve {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::P256, Self::P384, Self::P521, Self::Secp256k1];

    /// Its object identifier (SEC 2, RFC 5480).
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::P256 => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
            Self::P384 => ObjectIdentifier::new_unwrap("1.3.132.0.34"),
            Self::P521 => ObjectIdentifier::new_unwrap("1.3.132.0.35"),
            Self::Secp256k1 => ObjectIdentifier::new_unwrap("1.3.132.0.10"),
        }
    }

    /// Bytes of a coordinate and of a scalar.
    pub const fn len(self) -> usize {
        match self {
            Self::P256 | Self::Secp256k1 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    const fn nid(self) -> c_int {
        match self {
            Self::P256 => sys::NID_X9_62_prime256v1,
            Self::P384 => sys::NID_secp384r1,
            Self::P521 => sys::NID_secp521r1,
            Self::Secp256k1 => sys::NID_secp256k1,
        }
    }
}

/// A parameter set of ML-DSA (FIPS 204).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MlDsa {
    /// ML-DSA-44.
    MlDsa44,
    /// ML-DSA-65.
    MlDsa65,
    /// ML-DSA-87.
    MlDsa87,
}

impl MlDsa {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MlDsa44, Self::MlDsa65, Self::MlDsa87];

    /// Its object identifier (RFC 9881).
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::MlDsa44 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17"),
            Self::MlDsa65 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18"),
            Self::MlDsa87 => ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19"),
        }
    }

    const fn nid(self) -> c_int {
        match self {
            Self::MlDsa44 => sys::NID_MLDSA44,
            Self::MlDsa65 => sys::NID_MLDSA65,
            Self::MlDsa87 => sys::NID_MLDSA87,
        }
    }
}

/// A kind of key pair that can be made at once; RSA keys come from [`RsaStock`](super::RsaStock).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pair {
    /// On a curve.
    Ec(Curve),
    /// Ed25519.
    Ed25519,
    /// ML-DSA.
    MlDsa(MlDsa),
}

/// How a key is used.
#[derive(Clone, Copy, Debug)]
pub enum Scheme<'a> {
    /// RSA without padding.
    RsaRaw,
    /// PKCS #1 v1.5 (RFC 8017): of a digest by this function, or of whatever the input is.
    Pkcs1(Option<Hash>),
    /// RSASSA-PSS of a digest.
    Pss {
        /// Which made the digest.
        hash: Hash,
        /// For the mask.
        mgf: Hash,
        /// Bytes of salt.
        salt: c_int,
    },
    /// RSAES-OAEP.
    Oaep {
        /// Of the label.
        hash: Hash,
        /// For the mask.
        mgf: Hash,
        /// The label.
        label: &'a [u8],
    },
    /// What the kind of key does with a digest: ECDSA, its signature in DER; ML-DSA of µ.
    Digest,
    /// Key agreement.
    Agreement,
}

/// Most bytes that any of it gives: an ML-DSA-87 signature has 4627.
const OUTPUT_MAX: usize = 8 * 1024;

/// A key, private or public.
pub struct PKey(Key);

/// A step of EVP's with input and output.
type Step = unsafe extern "C" fn(*mut sys::EVP_PKEY_CTX, *mut u8, *mut usize, *const u8, usize) -> c_int;
/// What comes before it.
type Init = unsafe extern "C" fn(*mut sys::EVP_PKEY_CTX) -> c_int;

impl PKey {
    /// The private key in a PKCS #8 structure, and nothing after it.
    pub fn private(pkcs8: &[u8]) -> Option<Self> {
        Key::private_alone(pkcs8).map(Self)
    }

    /// The public key in a SubjectPublicKeyInfo, and nothing after it.
    pub fn public(spki: &[u8]) -> Option<Self> {
        Key::public_alone(spki).map(Self)
    }

    /// The Ed25519 key of a seed (RFC 8032).
    pub fn ed25519(seed: &[u8; 32]) -> Option<Self> {
        // SAFETY: `seed` is read for its 32 bytes; the result is null or ours.
        let key = unsafe {
            sys::EVP_PKEY_new_raw_private_key(sys::EVP_PKEY_ED25519, ptr::null_mut(), seed.as_ptr(), 32)
        };
        Key::owned(key).map(Self)
    }

    /// The ML-DSA key of a seed (FIPS 204, algorithm 6).
    pub fn ml_dsa(parameters: MlDsa, seed: &[u8; 32]) -> Option<Self> {
        // SAFETY: `seed` is read for its 32 bytes; the result is null or ours.
        let key = unsafe { sys::EVP_PKEY_pqdsa_new_raw_private_key(parameters.nid(), seed.as_ptr(), 32) };
        Key::owned(key).map(Self)
    }

    /// Makes a key.
    pub fn generate(pair: Pair) -> Option<Self> {
        let context = Context::of_kind(match pair {
            Pair::Ec(_) => sys::EVP_PKEY_EC,
            Pair::Ed25519 => sys::EVP_PKEY_ED25519,
            Pair::MlDsa(_) => sys::EVP_PKEY_PQDSA,
        })?;
        let mut key = ptr::null_mut();
        // SAFETY: the context is live; the parameter is one of its kind; `key` is null or ours afterwards.
        let done = unsafe {
            sys::EVP_PKEY_keygen_init(context.as_ptr()) == 1
                && match pair {
                    Pair::Ec(curve) => {
                        sys::EVP_PKEY_CTX_set_ec_paramgen_curve_nid(context.as_ptr(), curve.nid())
                    }
                    Pair::Ed25519 => 1,
                    Pair::MlDsa(parameters) => {
                        sys::EVP_PKEY_CTX_pqdsa_set_params(context.as_ptr(), parameters.nid())
                    }
                } == 1
                && sys::EVP_PKEY_keygen(context.as_ptr(), &raw mut key) == 1
        };
        let key = Key::owned(key).map(Self);
        if done { key } else { None }
    }

    /// PKCS #8.
    pub fn to_pkcs8(&self) -> Option<Zeroizing<Vec<u8>>> {
        self.0.to_pkcs8()
    }

    /// SubjectPublicKeyInfo.
    pub fn to_spki(&self) -> Option<Vec<u8>> {
        self.0.to_spki()
    }

    /// Bits of the modulus or of the field.
    pub fn bits(&self) -> usize {
        // SAFETY: the key is live.
        usize::try_from(unsafe { sys::EVP_PKEY_bits(self.0.as_ptr()) }).unwrap_or_default()
    }

    /// Bytes of an RSA signature or ciphertext; no signature of another key is longer.
    pub fn len(&self) -> usize {
        // SAFETY: the key is live.
        usize::try_from(unsafe { sys::EVP_PKEY_size(self.0.as_ptr()) }).unwrap_or_default().min(OUTPUT_MAX)
    }

    /// Signs with a private key.
    pub fn sign(&self, scheme: Scheme<'_>, input: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.run(scheme, sys::EVP_PKEY_sign_init, sys::EVP_PKEY_sign, input)
    }

    /// Encrypts with a public key.
    pub fn encrypt(&self, scheme: Scheme<'_>, input: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.run(scheme, sys::EVP_PKEY_encrypt_init, sys::EVP_PKEY_encrypt, input)
    }

    /// Decrypts with a private key.
    pub fn decrypt(&self, scheme: Scheme<'_>, input: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.run(scheme, sys::EVP_PKEY_decrypt_init, sys::EVP_PKEY_decrypt, input)
    }

    fn run(&self, scheme: Scheme<'_>, init: Init, step: Step, input: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let context = self.prepare(scheme, init)?;
        let mut output = Zeroizing::new(vec![0; self.len()]);
        let mut length = output.len();
        // SAFETY: the context is live and was initialised for this step; `input` is read for its length, and `output` is
        // written for at most `length` bytes, which is its length.
        let done = unsafe {
            step(context.as_ptr(), output.as_mut_ptr(), &raw mut length, input.as_ptr(), input.len())
        };
        if done != 1 || length > output.len() {
            return None;
        }
        output.truncate(length);
        Some(output)
    }

    /// Whether a signature is that of the input.
    pub fn verify(&self, scheme: Scheme<'_>, input: &[u8], signature: &[u8]) -> bool {
        let Some(context) = self.prepare(scheme, sys::EVP_PKEY_verify_init) else { return false };
        // SAFETY: the context is live and was initialised for this step; both slices are read for their lengths.
        let valid = unsafe {
            sys::EVP_PKEY_verify(
                context.as_ptr(),
                signature.as_ptr(),
                signature.len(),
                input.as_ptr(),
                input.len(),
            )
        };
        valid == 1
    }

    /// The x coordinate shared with the holder of `peer`, which must be on the same curve.
    pub fn agree(&self, peer: &Self) -> Option<Zeroizing<Vec<u8>>> {
        let context = self.prepare(Scheme::Agreement, sys::EVP_PKEY_derive_init)?;
        let mut secret = Zeroizing::new(vec![0; self.bits().div_ceil(8).min(OUTPUT_MAX)]);
        let mut length = secret.len();
        // SAFETY: context and peer are live; `secret` is written for at most `length` bytes, which is its length.
        let done = unsafe {
            sys::EVP_PKEY_derive_set_peer(context.as_ptr(), peer.0.as_ptr()) == 1
                && sys::EVP_PKEY_derive(context.as_ptr(), secret.as_mut_ptr(), &raw mut length) == 1
        };
        (done && length == secret.len()).then_some(secret)
    }

    /// Signs a whole message: Ed25519, ML-DSA with an empty context.
    pub fn sign_message(&self, message: &[u8]) -> Option<Vec<u8>> {
        message::sign(&self.0, message::Scheme::Own, message).ok()
    }

    /// Whether a signature is that of the whole message.
    pub fn verify_message(&self, message: &[u8], signature: &[u8]) -> bool {
        message::verify_with(&self.0, message::Scheme::Own, message, signature).is_ok()
    }

    fn prepare(&self, scheme: Scheme<'_>, init: Init) -> Option<Context> {
        let context = Context::of(&self.0)?;
        let at = context.as_ptr();
        // SAFETY: the context is live and holds its key; the digests are constants. A label is handed over to the context,
        // which frees it, in memory of aws-lc's own.
        let ready = unsafe {
            init(at) == 1
                && match scheme {
                    Scheme::Digest | Scheme::Agreement => true,
                    Scheme::RsaRaw => sys::EVP_PKEY_CTX_set_rsa_padding(at, sys::RSA_NO_PADDING) == 1,
                    Scheme::Pkcs1(hash) => {
                        sys::EVP_PKEY_CTX_set_rsa_padding(at, sys::RSA_PKCS1_PADDING) == 1
                            && hash.is_none_or(|hash| sys::EVP_PKEY_CTX_set_signature_md(at, hash.md()) == 1)
                    }
                    Scheme::Pss { hash, mgf, salt } => {
                        sys::EVP_PKEY_CTX_set_rsa_padding(at, sys::RSA_PKCS1_PSS_PADDING) == 1
                            && sys::EVP_PKEY_CTX_set_signature_md(at, hash.md()) == 1
                            && sys::EVP_PKEY_CTX_set_rsa_pss_saltlen(at, salt) == 1
                            && sys::EVP_PKEY_CTX_set_rsa_mgf1_md(at, mgf.md()) == 1
                    }
                    Scheme::Oaep { hash, mgf, label } => {
                        sys::EVP_PKEY_CTX_set_rsa_padding(at, sys::RSA_PKCS1_OAEP_PADDING) == 1
                            && sys::EVP_PKEY_CTX_set_rsa_oaep_md(at, hash.md()) == 1
                            && sys::EVP_PKEY_CTX_set_rsa_mgf1_md(at, mgf.md()) == 1
                            && (label.is_empty() || set_label(at, label))
                    }
                }
        };
        ready.then_some(context)
    }
}

/// Gives an OAEP context its label.
///
/// # Safety
///
/// The context must be live and initialised for RSAES-OAEP.
unsafe fn set_label(context: *mut sys::EVP_PKEY_CTX, label: &[u8]) -> bool {
    // SAFETY: `label` is read for its length; the copy is null or ours, and the context's once it has taken it.
    unsafe {
        let copy = sys::OPENSSL_memdup(label.as_ptr().cast(), label.len());
        if copy.is_null() {
            return false;
        }
        let taken = sys::EVP_PKEY_CTX_set0_rsa_oaep_label(context, copy.cast(), label.len()) == 1;
        if !taken {
            sys::OPENSSL_free(copy);
        }
        taken
    }
}

/// Makes an RSA key with exponent 65537, at once: see [`RsaStock`](super::RsaStock) for those that take long.
pub fn generate_rsa(bits: usize) -> Option<PKey> {
    PKey::private(&super::lc::rsa_generate(bits, &mut || true)?)
}

/// µ of a message with a context of at most 255 bytes (FIPS 204, algorithm 7, line 6).
pub fn ml_dsa_mu(public: &[u8], context: &[u8], message: &[u8]) -> Option<[u8; 64]> {
    let [.., length] = context.len().to_be_bytes();
    shake256(&[&shake256(&[public])?, &[0, length], context, message])
}

fn shake256(parts: &[&[u8]]) -> Option<[u8; 64]> {
    let (context, mut output) = (DigestContext::new()?, [0; 64]);
    let update = |part: &[u8]| {
        // SAFETY: the context is live and initialised; `part` is read for its length.
        unsafe { sys::EVP_DigestUpdate(context.as_ptr(), part.as_ptr().cast(), part.len()) == 1 }
    };
    // SAFETY: the context is new and live; the function is a constant; 64 bytes are written, which the array has.
    let done = unsafe {
        sys::EVP_DigestInit_ex(context.as_ptr(), sys::EVP_shake256(), ptr::null_mut()) == 1
            && parts.iter().all(|part| update(part))
            && sys::EVP_DigestFinalXOF(context.as_ptr(), output.as_mut_ptr(), output.len()) == 1
    };
    done.then_some(output)
}
