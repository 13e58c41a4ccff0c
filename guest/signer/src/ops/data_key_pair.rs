//! GenerateDataKeyPair and GenerateDataKeyPairWithoutPlaintext.

use crate::access::{Ask, Call};
use crate::ciphertext;
use crate::crypto::{KeySpec, KeyUsage};
use crate::errors::KmsError;
use crate::recipient::{Delivered, Recipient};
use crate::store::Material;
use crate::types::{Blob, GenerateDataKeyPairRequest, GenerateDataKeyPairResponse};
use crate::validate::Check;

use super::{dry_run, refusal};

named! {
    /// The kind of key pair.
    enum DataKeyPairSpec {
        Rsa2048 = "RSA_2048",
        Rsa3072 = "RSA_3072",
        Rsa4096 = "RSA_4096",
        P256 = "ECC_NIST_P256",
        P384 = "ECC_NIST_P384",
        P521 = "ECC_NIST_P521",
        Secp256k1 = "ECC_SECG_P256K1",
        Sm2 = "SM2",
        Ed25519 = "ECC_NIST_EDWARDS25519",
        MlKem512 = "ML_KEM_512",
        MlKem768 = "ML_KEM_768",
        MlKem1024 = "ML_KEM_1024",
    }
}

impl DataKeyPairSpec {
    /// The same as a key spec, with a usage that has the spec: the bytes of a key pair do not depend on it.
    fn spec_and_usage(self) -> Result<(KeySpec, KeyUsage), KmsError> {
        use KeyUsage::{EncapsulateDecapsulate, SignVerify};
        Ok(match self {
            Self::Rsa2048 => (KeySpec::Rsa2048, SignVerify),
            Self::Rsa3072 => (KeySpec::Rsa3072, SignVerify),
            Self::Rsa4096 => (KeySpec::Rsa4096, SignVerify),
            Self::P256 => (KeySpec::P256, SignVerify),
            Self::P384 => (KeySpec::P384, SignVerify),
            Self::P521 => (KeySpec::P521, SignVerify),
            Self::Secp256k1 => (KeySpec::Secp256k1, SignVerify),
            Self::Ed25519 => (KeySpec::Ed25519, SignVerify),
            Self::MlKem512 => (KeySpec::MlKem512, EncapsulateDecapsulate),
            Self::MlKem768 => (KeySpec::MlKem768, EncapsulateDecapsulate),
            Self::MlKem1024 => (KeySpec::MlKem1024, EncapsulateDecapsulate),
            Self::Sm2 => {
                return Err(KmsError::unsupported("KeyPairSpec SM2 is not supported in this region."));
            }
        })
    }
}

pub(super) fn generate_data_key_pair(
    call: &Call<'_>,
    request: GenerateDataKeyPairRequest,
) -> Result<GenerateDataKeyPairResponse, KmsError> {
    let recipient = Recipient::of(call, &request.recipient)?;
    pair(call, request, "GenerateDataKeyPair", &recipient, true)
}

pub(super) fn generate_data_key_pair_without_plaintext(
    call: &Call<'_>,
    request: GenerateDataKeyPairRequest,
) -> Result<GenerateDataKeyPairResponse, KmsError> {
    pair(call, request, "GenerateDataKeyPairWithoutPlaintext", &Recipient::Caller, false)
}

/// A key pair, its private half encrypted under the key, and if it is wanted so, for `recipient` too.
fn pair(
    call: &Call<'_>,
    request: GenerateDataKeyPairRequest,
    operation: &'static str,
    recipient: &Recipient,
    delivered: bool,
) -> Result<GenerateDataKeyPairResponse, KmsError> {
    let mut check = Check::default();
    check.context(&request.encryption_context);
    check.key_id(&request.key_id);
    check.required("keyPairSpec", &request.key_pair_spec);
    let wanted = check.one_of::<DataKeyPairSpec>("keyPairSpec", request.key_pair_spec.as_deref());
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    let wanted = wanted.ok_or_else(|| KmsError::internal("Validation"))?;
    let key = Ask::new(operation)
        .tokens(&request.grant_tokens)
        .fact("kms:DataKeyPairSpec", wanted.name())
        .context(&request.encryption_context)
        .recipient(recipient)
        .usable(call, request.key_id.as_deref().unwrap_or_default(), KeyUsage::EncryptDecrypt)?;
    let Material::Symmetric(secret) = &key.material else {
        return Err(refusal::wrong_usage(&key, operation));
    };
    let (spec, usage) = wanted.spec_and_usage()?;
    dry_run(request.dry_run)?;
    let material = call.generate(spec, usage)?;
    let public = material.public_key().ok_or_else(|| KmsError::internal("Key generation"))?.to_vec();
    let private = material.to_bytes()?;
    let context = request.encryption_context.unwrap_or_default();
    let blob = ciphertext::seal(secret, &key.id, &key.material_id, &context, &private)?;
    let Delivered { plaintext, ciphertext_for_recipient } = match delivered {
        true => recipient.deliver(private)?,
        false => Delivered::NOTHING,
    };
    Ok(GenerateDataKeyPairResponse {
        private_key_ciphertext_blob: Blob(blob),
        private_key_plaintext: plaintext,
        public_key: Blob(public),
        key_id: key.arn().to_owned(),
        key_pair_spec: spec,
        ciphertext_for_recipient,
        key_material_id: key.material_id,
    })
}
