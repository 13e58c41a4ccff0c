//! What Encrypt, Decrypt and ReEncrypt have in common: ciphertexts of symmetric and of RSA keys.

use zeroize::Zeroizing;

use crate::access::Ready;
use crate::ciphertext::{self, Parsed};
use crate::crypto::EncryptionAlgorithm;
use crate::errors::{ErrorKind, KmsError};
use crate::store::{KeyRecord, Material, MaterialId};
use crate::types::EncryptionContext;

use super::refusal;

named! {
    /// How a dry run differs from the request it stands for.
    pub(super) enum DryRunModifier {
        /// Only authorisation is checked.
        IgnoreCiphertext = "IGNORE_CIPHERTEXT",
    }
}

/// A ciphertext, with what the request says about it.
pub(super) struct Sealed<'a> {
    pub(super) blob: &'a [u8],
    pub(super) algorithm: EncryptionAlgorithm,
    pub(super) context: EncryptionContext,
    /// The blob taken apart, where the algorithm's blobs name their key. `None` in it: it is not of that format.
    parsed: Option<Option<Parsed<'a>>>,
}

/// A plaintext, and the name of the secret that it was encrypted under, which only symmetric keys have several of.
pub(super) type Opened = (Zeroizing<Vec<u8>>, Option<MaterialId>);

impl<'a> Sealed<'a> {
    pub(super) fn new(
        blob: &'a [u8],
        algorithm: Option<EncryptionAlgorithm>,
        context: Option<EncryptionContext>,
    ) -> Self {
        let algorithm = algorithm.unwrap_or(EncryptionAlgorithm::Symmetric);
        let parsed = (algorithm == EncryptionAlgorithm::Symmetric).then(|| ciphertext::parse(blob));
        Self { blob, algorithm, context: context.unwrap_or_default(), parsed }
    }

    /// The key to decrypt with: the one named, or else the one that a symmetric blob names.
    pub(super) fn key_id(&self, named: Option<String>) -> Result<String, KmsError> {
        match (named, &self.parsed) {
            (Some(key_id), _) => Ok(key_id),
            (None, Some(Some(parsed))) => Ok(parsed.key.to_string()),
            (None, Some(None)) => Err(KmsError::new(
                ErrorKind::InvalidCiphertext,
                "The ciphertext is not one of this signer's.",
            )),
            (None, None) => Err(KmsError::validation(
                "KeyId is required to decrypt with an asymmetric encryption algorithm.",
            )),
        }
    }

    /// Decrypts. The key is one that [`suits`].
    pub(super) fn open(&self, key: &Ready, operation: &str) -> Result<Opened, KmsError> {
        let invalid = || {
            KmsError::new(
                ErrorKind::InvalidCiphertext,
                "The ciphertext or its encryption context is not valid.",
            )
        };
        match (&key.material, &self.parsed) {
            (Material::Symmetric(_), Some(parsed)) => {
                let parsed = parsed.as_ref().ok_or_else(invalid)?;
                if parsed.key != key.id {
                    return Err(KmsError::new(
                        ErrorKind::IncorrectKey,
                        "The key ID in the request does not identify a CMK that can perform this operation.",
                    ));
                }
                // The secret that the blob was made with: the one in use, or one before it.
                let Some(Material::Symmetric(secret)) = key.used_material(&parsed.material) else {
                    return Err(invalid());
                };
                let plaintext = ciphertext::open(&secret, parsed, &self.context).map_err(|_| invalid())?;
                Ok((plaintext, Some(parsed.material)))
            }
            (Material::Oaep(secret), None) => {
                Ok((secret.decrypt(self.algorithm, self.blob).map_err(|_| invalid())?, None))
            }
            _ => Err(refusal::wrong_usage(key, operation)),
        }
    }
}

/// The algorithm is one of the key's, and a context comes only with the algorithm that authenticates it.
pub(super) fn suits(
    key: &KeyRecord,
    algorithm: EncryptionAlgorithm,
    context: &EncryptionContext,
) -> Result<(), KmsError> {
    if !key.spec.encryption_algorithms().contains(&algorithm) {
        return Err(refusal::incompatible(key, algorithm.name()));
    }
    if algorithm != EncryptionAlgorithm::Symmetric && !context.is_empty() {
        return Err(KmsError::validation(format!(
            "EncryptionContext is not supported with algorithm {algorithm}."
        )));
    }
    Ok(())
}

/// The plaintext is one that the key can take. The key is one that [`suits`].
pub(super) fn fits(key: &Ready, algorithm: EncryptionAlgorithm, plaintext: &[u8]) -> Result<(), KmsError> {
    let Material::Oaep(secret) = &key.material else {
        return Ok(());
    };
    let longest = secret.longest_plaintext(algorithm).unwrap_or_default();
    if plaintext.len() > longest {
        return Err(KmsError::validation(format!(
            "Algorithm {algorithm} and key spec {} cannot encrypt data larger than {longest} bytes.",
            key.spec
        )));
    }
    Ok(())
}

/// Encrypts what [`fits`]; the name of the secret is there for symmetric keys.
pub(super) fn seal(
    key: &Ready,
    algorithm: EncryptionAlgorithm,
    context: &EncryptionContext,
    plaintext: &[u8],
    operation: &str,
) -> Result<(Vec<u8>, Option<MaterialId>), KmsError> {
    match &key.material {
        Material::Symmetric(secret) => {
            let blob = ciphertext::seal(secret, &key.id, &key.material_id, context, plaintext)?;
            Ok((blob, Some(key.material_id)))
        }
        Material::Oaep(secret) => Ok((secret.encrypt(algorithm, plaintext)?, None)),
        _ => Err(refusal::wrong_usage(key, operation)),
    }
}
