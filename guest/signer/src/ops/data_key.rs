//! GenerateDataKey and GenerateDataKeyWithoutPlaintext.

use zeroize::Zeroizing;

use crate::access::{Ask, Call};
use crate::ciphertext;
use crate::crypto::{self, KeyUsage};
use crate::errors::KmsError;
use crate::store::Material;
use crate::types::{Blob, GenerateDataKeyRequest, GenerateDataKeyResponse, SecretBlob};
use crate::validate::Check;

use super::{dry_run, no_recipient, refusal};

named! {
    /// The kind of data key.
    enum DataKeySpec {
        Aes256 = "AES_256",
        Aes128 = "AES_128",
    }
}

pub(super) fn generate_data_key(
    call: &Call<'_>,
    request: GenerateDataKeyRequest,
) -> Result<GenerateDataKeyResponse, KmsError> {
    data_key(call, request, "GenerateDataKey")
}

pub(super) fn generate_data_key_without_plaintext(
    call: &Call<'_>,
    request: GenerateDataKeyRequest,
) -> Result<GenerateDataKeyResponse, KmsError> {
    let mut response = data_key(call, request, "GenerateDataKeyWithoutPlaintext")?;
    response.plaintext = None;
    Ok(response)
}

fn data_key(
    call: &Call<'_>,
    request: GenerateDataKeyRequest,
    operation: &'static str,
) -> Result<GenerateDataKeyResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.context(&request.encryption_context);
    check.number("numberOfBytes", request.number_of_bytes, 1, 1024);
    let spec = check.one_of::<DataKeySpec>("keySpec", request.key_spec.as_deref());
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    no_recipient(&request.recipient)?;
    let length = match (spec, request.number_of_bytes.map(usize::try_from)) {
        (Some(DataKeySpec::Aes256), None) => 32,
        (Some(DataKeySpec::Aes128), None) => 16,
        (None, Some(Ok(length))) => length,
        _ => {
            return Err(KmsError::validation("Please specify either number of bytes or key spec."));
        }
    };
    let key_id = request.key_id.unwrap_or_default();
    let key = Ask::new(operation).tokens(&request.grant_tokens).context(&request.encryption_context).usable(
        call,
        &key_id,
        KeyUsage::EncryptDecrypt,
    )?;
    let Material::Symmetric(secret) = &key.material else {
        return Err(refusal::wrong_usage(&key, operation));
    };
    dry_run(request.dry_run)?;
    let mut plaintext = Zeroizing::new(vec![0; length]);
    crypto::random(&mut plaintext)?;
    let context = request.encryption_context.unwrap_or_default();
    let blob = ciphertext::seal(secret, &key.id, &key.material_id, &context, &plaintext)?;
    Ok(GenerateDataKeyResponse {
        ciphertext_blob: Blob(blob),
        plaintext: Some(SecretBlob(plaintext)),
        key_id: key.arn().to_owned(),
    })
}
