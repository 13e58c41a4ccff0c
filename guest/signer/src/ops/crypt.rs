//! Encrypt, Decrypt and ReEncrypt.

use crate::access::{Ask, Call};
use crate::crypto::{EncryptionAlgorithm, KeyUsage};
use crate::errors::KmsError;
use crate::recipient::Recipient;
use crate::types::{
    Blob, DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, ReEncryptRequest,
    ReEncryptResponse, SecretBlob,
};
use crate::validate::Check;

use super::cipher::{DryRunModifier, Sealed, fits, seal, suits};
use super::dry_run;

pub(super) fn encrypt(call: &Call<'_>, request: EncryptRequest) -> Result<EncryptResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.required("plaintext", &request.plaintext);
    check.blob("plaintext", &request.plaintext, 1, 4096);
    check.context(&request.encryption_context);
    check.grant_tokens(&request.grant_tokens);
    let algorithm =
        check.one_of::<EncryptionAlgorithm>("encryptionAlgorithm", request.encryption_algorithm.as_deref());
    check.done()?;
    let algorithm = algorithm.unwrap_or(EncryptionAlgorithm::Symmetric);
    let key = Ask::new("Encrypt")
        .tokens(&request.grant_tokens)
        .fact("kms:EncryptionAlgorithm", algorithm.name())
        .context(&request.encryption_context)
        .usable(call, request.key_id.as_deref().unwrap_or_default(), KeyUsage::EncryptDecrypt)?;
    let context = request.encryption_context.unwrap_or_default();
    suits(&key, algorithm, &context)?;
    let plaintext = request.plaintext.as_ref().map(SecretBlob::as_ref).unwrap_or_default();
    fits(&key, algorithm, plaintext)?;
    dry_run(request.dry_run)?;
    let (blob, _) = seal(&key, algorithm, &context, plaintext, "Encrypt")?;
    Ok(EncryptResponse {
        ciphertext_blob: Blob(blob),
        key_id: key.arn().to_owned(),
        encryption_algorithm: algorithm,
    })
}

pub(super) fn decrypt(call: &Call<'_>, request: DecryptRequest) -> Result<DecryptResponse, KmsError> {
    let mut check = Check::default();
    let unseen = ignores_ciphertext(&mut check, request.dry_run, &request.dry_run_modifiers);
    if !unseen {
        check.required("ciphertextBlob", &request.ciphertext_blob);
    }
    check.blob("ciphertextBlob", &request.ciphertext_blob, 1, 6144);
    check.context(&request.encryption_context);
    check.grant_tokens(&request.grant_tokens);
    check.text("keyId", request.key_id.as_deref(), 1, 2048);
    let algorithm =
        check.one_of::<EncryptionAlgorithm>("encryptionAlgorithm", request.encryption_algorithm.as_deref());
    check.done()?;
    let recipient = Recipient::of(call, &request.recipient)?;
    let blob = request.ciphertext_blob.as_ref().map(Blob::as_ref).unwrap_or_default();
    let ask = Ask::new("Decrypt")
        .tokens(&request.grant_tokens)
        .context(&request.encryption_context)
        .recipient(&recipient);
    let sealed = Sealed::new(blob, algorithm, request.encryption_context);
    let key_id = sealed.key_id(request.key_id)?;
    let key = ask.fact("kms:EncryptionAlgorithm", sealed.algorithm.name()).usable(
        call,
        &key_id,
        KeyUsage::EncryptDecrypt,
    )?;
    suits(&key, sealed.algorithm, &sealed.context)?;
    if unseen {
        dry_run(request.dry_run)?;
    }
    let (plaintext, material) = sealed.open(&key, "Decrypt")?;
    dry_run(request.dry_run)?;
    let delivered = recipient.deliver(plaintext)?;
    Ok(DecryptResponse {
        key_id: key.arn().to_owned(),
        plaintext: delivered.plaintext,
        encryption_algorithm: sealed.algorithm,
        ciphertext_for_recipient: delivered.ciphertext_for_recipient,
        key_material_id: material,
    })
}

pub(super) fn re_encrypt(call: &Call<'_>, request: ReEncryptRequest) -> Result<ReEncryptResponse, KmsError> {
    let mut check = Check::default();
    let unseen = ignores_ciphertext(&mut check, request.dry_run, &request.dry_run_modifiers);
    if !unseen {
        check.required("ciphertextBlob", &request.ciphertext_blob);
    }
    check.blob("ciphertextBlob", &request.ciphertext_blob, 1, 6144);
    check.context(&request.source_encryption_context);
    check.text("sourceKeyId", request.source_key_id.as_deref(), 1, 2048);
    check.required("destinationKeyId", &request.destination_key_id);
    check.text("destinationKeyId", request.destination_key_id.as_deref(), 1, 2048);
    check.context(&request.destination_encryption_context);
    let from = check.one_of::<EncryptionAlgorithm>(
        "sourceEncryptionAlgorithm",
        request.source_encryption_algorithm.as_deref(),
    );
    let to = check.one_of::<EncryptionAlgorithm>(
        "destinationEncryptionAlgorithm",
        request.destination_encryption_algorithm.as_deref(),
    );
    check.grant_tokens(&request.grant_tokens);
    check.done()?;

    let blob = request.ciphertext_blob.as_ref().map(Blob::as_ref).unwrap_or_default();
    let ask_from =
        Ask::new("ReEncryptFrom").tokens(&request.grant_tokens).context(&request.source_encryption_context);
    let ask_to = Ask::new("ReEncryptTo")
        .tokens(&request.grant_tokens)
        .context(&request.destination_encryption_context);
    let sealed = Sealed::new(blob, from, request.source_encryption_context);
    let to = to.unwrap_or(EncryptionAlgorithm::Symmetric);
    let context = request.destination_encryption_context.unwrap_or_default();
    let source_id = sealed.key_id(request.source_key_id)?;
    let destination_id = request.destination_key_id.unwrap_or_default();
    let same = if Ask::same_key(call, &source_id, &destination_id)? { "true" } else { "false" };
    let source = ask_from
        .fact("kms:ReEncryptOnSameKey", same)
        .fact("kms:EncryptionAlgorithm", sealed.algorithm.name())
        .usable(call, &source_id, KeyUsage::EncryptDecrypt)?;
    let destination = ask_to
        .fact("kms:ReEncryptOnSameKey", same)
        .fact("kms:EncryptionAlgorithm", to.name())
        .usable(call, &destination_id, KeyUsage::EncryptDecrypt)?;
    suits(&source, sealed.algorithm, &sealed.context)?;
    suits(&destination, to, &context)?;
    if unseen {
        dry_run(request.dry_run)?;
    }
    let (plaintext, source_material) = sealed.open(&source, "ReEncrypt")?;
    fits(&destination, to, &plaintext)?;
    dry_run(request.dry_run)?;
    let (blob, destination_material) = seal(&destination, to, &context, &plaintext, "ReEncrypt")?;
    Ok(ReEncryptResponse {
        ciphertext_blob: Blob(blob),
        source_key_id: source.arn().to_owned(),
        key_id: destination.arn().to_owned(),
        source_encryption_algorithm: sealed.algorithm,
        destination_encryption_algorithm: to,
        source_key_material_id: source_material,
        destination_key_material_id: destination_material,
    })
}

/// Whether this is a dry run that asks about permissions alone, for which there need not be a ciphertext.
fn ignores_ciphertext(check: &mut Check, dry_run: Option<bool>, modifiers: &Option<Vec<String>>) -> bool {
    let mut ignores = false;
    for modifier in modifiers.iter().flatten() {
        let known = check.one_of::<DryRunModifier>("dryRunModifiers", Some(modifier));
        ignores |= known == Some(DryRunModifier::IgnoreCiphertext);
    }
    if ignores && dry_run != Some(true) {
        check.broken("dryRunModifiers", "Member must be used with DryRun set to true");
        return false;
    }
    ignores
}
