//! GenerateRandom.

use zeroize::Zeroizing;

use crate::access::Call;
use crate::crypto;
use crate::errors::KmsError;
use crate::recipient::Recipient;
use crate::types::{GenerateRandomRequest, GenerateRandomResponse};
use crate::validate::Check;

use super::stores;

pub(super) fn generate_random(
    call: &Call<'_>,
    request: GenerateRandomRequest,
) -> Result<GenerateRandomResponse, KmsError> {
    let mut check = Check::default();
    check.required("numberOfBytes", &request.number_of_bytes);
    check.number("numberOfBytes", request.number_of_bytes, 1, 1024);
    check.text("customKeyStoreId", request.custom_key_store_id.as_deref(), 1, 64);
    check.done()?;
    let recipient = Recipient::of(call, &request.recipient)?;
    call.allow("kms:GenerateRandom", "*", &recipient.facts())?;
    if let Some(store) = &request.custom_key_store_id {
        return Err(stores::none(store));
    }
    let length = request.number_of_bytes.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let mut plaintext = Zeroizing::new(vec![0; length]);
    crypto::random(&mut plaintext)?;
    let delivered = recipient.deliver(plaintext)?;
    Ok(GenerateRandomResponse {
        plaintext: delivered.plaintext,
        ciphertext_for_recipient: delivered.ciphertext_for_recipient,
    })
}
