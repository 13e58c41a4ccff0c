//! Key agreement: cofactor ECDH on the NIST curves (NIST SP 800-56A, section 5.7.1.2; the cofactor is 1).

use aws_lc_rs::agreement::{
    self, Algorithm, ParsedPublicKey, ParsedPublicKeyFormat, PrivateKey, UnparsedPublicKey,
};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use k256::pkcs8::spki::SubjectPublicKeyInfoRef;
use zeroize::Zeroizing;

use super::{CryptoError, KeySpec};

/// A private key that can derive shared secrets and nothing else; aws-lc erases it when it is dropped.
pub struct AgreementKey {
    spec: KeySpec,
    private: PrivateKey,
    spki: Vec<u8>,
}

impl AgreementKey {
    /// Makes a key.
    pub fn generate(spec: KeySpec) -> Result<Self, CryptoError> {
        let key = PrivateKey::generate(curve(spec)?).map_err(|_| CryptoError::Library("key generation"))?;
        Self::new(spec, key)
    }

    /// The key in a PKCS #8 structure.
    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Result<Self, CryptoError> {
        let key = PrivateKey::from_private_key_der(curve(spec)?, pkcs8);
        Self::new(spec, key.map_err(|_| CryptoError::Key(spec.name()))?)
    }

    /// The key of a scalar, for known answers.
    #[cfg(feature = "selftest")]
    pub(crate) fn from_scalar(spec: KeySpec, scalar: &[u8]) -> Result<Self, CryptoError> {
        let wrong = CryptoError::Key(spec.name());
        let length = scalar_len(spec).ok_or(wrong)?;
        // The vectors write scalars as DER integers: with a zero too many, or with some too few.
        let first = scalar.iter().position(|byte| *byte != 0).unwrap_or(scalar.len());
        let digits = scalar.get(first..).unwrap_or_default();
        let mut padded = vec![0; length.checked_sub(digits.len()).ok_or(wrong)?];
        padded.extend_from_slice(digits);
        Self::new(spec, PrivateKey::from_private_key(curve(spec)?, &padded).map_err(|_| wrong)?)
    }

    fn new(spec: KeySpec, private: PrivateKey) -> Result<Self, CryptoError> {
        let failed = |_| CryptoError::Library("public key encoding");
        let public: PublicKeyX509Der<'_> =
            private.compute_public_key().map_err(failed)?.as_der().map_err(failed)?;
        Ok(Self { spec, spki: public.as_ref().to_vec(), private })
    }

    pub(super) fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let der: Pkcs8V1Der<'_> =
            self.private.as_der().map_err(|_| CryptoError::Library("private key encoding"))?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }

    /// The SubjectPublicKeyInfo.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The shared secret with the holder of `peer`, a SubjectPublicKeyInfo: the x coordinate, as long as the field's
    /// elements. `Err` if `peer` is not a point of the key's curve in that form.
    pub fn derive(&self, peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let wrong = CryptoError::Key(self.spec.name());
        // aws-lc would ignore what follows the structure, and take the curve's parameters in place of its name.
        let named = |spki| SubjectPublicKeyInfoRef::try_from(spki).map(|info| info.algorithm);
        if named(peer).map_err(|_| wrong)? != named(&self.spki).map_err(|_| wrong)? {
            return Err(wrong);
        }
        let peer = UnparsedPublicKey::new(self.private.algorithm(), peer);
        let peer = ParsedPublicKey::try_from(peer).map_err(|_| wrong)?;
        if peer.format() != ParsedPublicKeyFormat::X509 {
            return Err(wrong);
        }
        agreement::agree(&self.private, peer, wrong, |secret| Ok(Zeroizing::new(secret.to_vec())))
    }
}

fn curve(spec: KeySpec) -> Result<&'static Algorithm, CryptoError> {
    match spec {
        KeySpec::P256 => Ok(&agreement::ECDH_P256),
        KeySpec::P384 => Ok(&agreement::ECDH_P384),
        KeySpec::P521 => Ok(&agreement::ECDH_P521),
        _ => Err(CryptoError::Mismatch("ECDH", spec.name())),
    }
}

/// Bytes in a scalar.
#[cfg(feature = "selftest")]
const fn scalar_len(spec: KeySpec) -> Option<usize> {
    match spec {
        KeySpec::P256 => Some(32),
        KeySpec::P384 => Some(48),
        KeySpec::P521 => Some(66),
        _ => None,
    }
}
