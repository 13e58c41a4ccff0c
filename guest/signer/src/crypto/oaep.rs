//! RSA keys that decrypt (RSAES-OAEP, RFC 8017, section 7.1, empty label).

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepAlgorithm, OaepPrivateDecryptingKey,
    OaepPublicEncryptingKey, PrivateDecryptingKey,
};
use zeroize::Zeroizing;

use super::{CryptoError, EncryptionAlgorithm, KeySpec, NotGenuine};

/// An RSA private key that can decrypt and nothing else; aws-lc erases it when it is dropped.
pub struct OaepKey {
    private: PrivateDecryptingKey,
    decrypting: OaepPrivateDecryptingKey,
    encrypting: OaepPublicEncryptingKey,
    spki: Vec<u8>,
}

impl OaepKey {
    /// Makes a key. This takes a second or so, and nothing else runs meanwhile.
    pub fn generate(spec: KeySpec) -> Result<Self, CryptoError> {
        let size = match spec {
            KeySpec::Rsa2048 => KeySize::Rsa2048,
            KeySpec::Rsa3072 => KeySize::Rsa3072,
            KeySpec::Rsa4096 => KeySize::Rsa4096,
            _ => return Err(CryptoError::Mismatch("RSAES_OAEP", spec.name())),
        };
        let key = PrivateDecryptingKey::generate(size).map_err(|_| CryptoError::Library("key generation"))?;
        Self::new(key)
    }

    /// The key in a PKCS #8 structure, if its modulus has the length of the spec.
    pub(super) fn from_pkcs8(spec: KeySpec, pkcs8: &[u8]) -> Result<Self, CryptoError> {
        let wrong = CryptoError::Key(spec.name());
        let key = PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| wrong)?;
        if Some(key.key_size_bits()) != spec.rsa_bits() {
            return Err(wrong);
        }
        Self::new(key)
    }

    /// The same for a key of any size, for known answers.
    #[cfg(feature = "selftest")]
    pub(crate) fn of_any_size(pkcs8: &[u8]) -> Result<Self, CryptoError> {
        Self::new(PrivateDecryptingKey::from_pkcs8(pkcs8).map_err(|_| CryptoError::Key("RSA"))?)
    }

    fn new(key: PrivateDecryptingKey) -> Result<Self, CryptoError> {
        let failed = |_| CryptoError::Library("public key encoding");
        let public = key.public_key();
        let spki: PublicKeyX509Der<'_> = public.as_der().map_err(failed)?;
        let spki = spki.as_ref().to_vec();
        let encrypting = OaepPublicEncryptingKey::new(public).map_err(failed)?;
        // A second reference to the same key.
        let decrypting = OaepPrivateDecryptingKey::new(key.clone()).map_err(failed)?;
        Ok(Self { private: key, decrypting, encrypting, spki })
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

    /// The length of every ciphertext: that of the modulus.
    pub(super) fn ciphertext_len(&self) -> usize {
        self.encrypting.ciphertext_size()
    }

    /// The longest plaintext: the modulus less two digests and two bytes.
    pub fn longest_plaintext(&self, algorithm: EncryptionAlgorithm) -> Option<usize> {
        Some(self.encrypting.max_plaintext_size(padding(algorithm)?))
    }

    /// Encrypts to the public half.
    pub fn encrypt(&self, algorithm: EncryptionAlgorithm, plaintext: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let padding = padding(algorithm).ok_or(CryptoError::Mismatch(algorithm.name(), "RSA"))?;
        let mut ciphertext = vec![0; self.encrypting.ciphertext_size()];
        let length = self
            .encrypting
            .encrypt(padding, plaintext, &mut ciphertext, None)
            .map_err(|_| CryptoError::Length(algorithm.name(), plaintext.len()))?
            .len();
        ciphertext.truncate(length);
        Ok(ciphertext)
    }

    /// Decrypts. Every failure is the same failure: anything more would be an oracle (RFC 8017, section 7.1.2).
    pub fn decrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotGenuine> {
        let padding = padding(algorithm).ok_or(NotGenuine)?;
        let mut plaintext = Zeroizing::new(vec![0; self.decrypting.min_output_size()]);
        let length =
            self.decrypting.decrypt(padding, ciphertext, &mut plaintext, None).map_err(|_| NotGenuine)?.len();
        plaintext.truncate(length);
        Ok(plaintext)
    }
}

fn padding(algorithm: EncryptionAlgorithm) -> Option<&'static OaepAlgorithm> {
    match algorithm {
        EncryptionAlgorithm::OaepSha1 => Some(&OAEP_SHA1_MGF1SHA1),
        EncryptionAlgorithm::OaepSha256 => Some(&OAEP_SHA256_MGF1SHA256),
        EncryptionAlgorithm::Symmetric | EncryptionAlgorithm::Sm2Pke => None,
    }
}
