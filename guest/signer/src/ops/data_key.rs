//! GenerateDataKey and GenerateDataKeyWithoutPlaintext.

use zeroize::Zeroizing;

use crate::access::{Ask, Call};
use crate::ciphertext;
use crate::crypto::{self, KeyUsage};
use crate::errors::KmsError;
use crate::recipient::{Delivered, Recipient};
use crate::store::Material;
use crate::types::{Blob, GenerateDataKeyRequest, GenerateDataKeyResponse};
use crate::validate::Check;

use super::{dry_run, refusal};

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
    let recipient = Recipient::of(call, &request.recipient)?;
    data_key(call, request, "GenerateDataKey", &recipient, true)
}

pub(super) fn generate_data_key_without_plaintext(
    call: &Call<'_>,
    request: GenerateDataKeyRequest,
) -> Result<GenerateDataKeyResponse, KmsError> {
    data_key(call, request, "GenerateDataKeyWithoutPlaintext", &Recipient::Caller, false)
}

/// A data key, encrypted under the key, and if it is wanted so, for `recipient` too.
fn data_key(
    call: &Call<'_>,
    request: GenerateDataKeyRequest,
    operation: &'static str,
    recipient: &Recipient,
    delivered: bool,
) -> Result<GenerateDataKeyResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.context(&request.encryption_context);
    check.number("numberOfBytes", request.number_of_bytes, 1, 1024);
    let spec = check.one_of::<DataKeySpec>("keySpec", request.key_spec.as_deref());
    check.grant_tokens(&request.grant_tokens);
    check.done()?;
    let length = match (spec, request.number_of_bytes.map(usize::try_from)) {
        (Some(DataKeySpec::Aes256), None) => 32,
        (Some(DataKeySpec::Aes128), None) => 16,
        (None, Some(Ok(length))) => length,
        _ => {
            return Err(KmsError::validation("Please specify either number of bytes or key spec."));
        }
    };
    let key = Ask::new(operation)
        .tokens(&request.grant_tokens)
        .context(&request.encryption_context)
        .recipient(recipient)
        .usable(call, request.key_id.as_deref().unwrap_or_default(), KeyUsage::EncryptDecrypt)?;
    let Material::Symmetric(secret) = &key.material else {
        return Err(refusal::wrong_usage(&key, operation));
    };
    dry_run(request.dry_run)?;
    let mut plaintext = Zeroizing::new(vec![0; length]);
    crypto::random(&mut plaintext)?;
    let context = request.encryption_context.unwrap_or_default();
    let blob = ciphertext::seal(secret, &key.id, &key.material_id, &context, &plaintext)?;
    let Delivered { plaintext, ciphertext_for_recipient } = match delivered {
        true => recipient.deliver(plaintext)?,
        false => Delivered::NOTHING,
    };
    Ok(GenerateDataKeyResponse {
        ciphertext_blob: Blob(blob),
        plaintext,
        key_id: key.arn().to_owned(),
        ciphertext_for_recipient,
        key_material_id: key.material_id,
    })
}
