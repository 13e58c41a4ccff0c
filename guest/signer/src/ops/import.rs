//! GetParametersForImport, ImportKeyMaterial, DeleteImportedKeyMaterial.
//!
//! An import token is the private half of the wrapping key, encrypted under a secret of this signer that is made when it
//! starts: so nothing has to be remembered between the two requests, and a token ends with the signer, or after
//! a day. It is bound to the key that it was made for.

use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use crate::access::{Ask, Call};
use crate::crypto::{
    self, KeySpec, Material, SALT_LEN, SymmetricKey, WrappingAlgorithm, WrappingKey, WrappingKeySpec,
};
use crate::errors::{ErrorKind, KmsError};
use crate::names::Named;
use crate::store::{Generations, KeyId, KeyRecord, KeyState, MaterialId, Note, Origin};
use crate::types::{
    Blob, DeleteImportedKeyMaterialRequest, ExpirationModel, GetParametersForImportRequest,
    GetParametersForImportResponse, ImportKeyMaterialRequest, KeyMaterialResponse, Timestamp,
};
use crate::validate::{Check, HEX, WORDS};

use super::refusal;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const LABEL: &[u8] = b"casemate import token v1";

named! {
    /// Whether the key has had the material before.
    enum ImportType {
        New = "NEW_KEY_MATERIAL",
        Existing = "EXISTING_KEY_MATERIAL",
    }
}

pub(super) fn get_parameters_for_import(
    call: &Call<'_>,
    request: GetParametersForImportRequest,
) -> Result<GetParametersForImportResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.required("wrappingAlgorithm", &request.wrapping_algorithm);
    let algorithm =
        check.one_of::<WrappingAlgorithm>("wrappingAlgorithm", request.wrapping_algorithm.as_deref());
    check.required("wrappingKeySpec", &request.wrapping_key_spec);
    let spec = check.one_of::<WrappingKeySpec>("wrappingKeySpec", request.wrapping_key_spec.as_deref());
    check.done()?;
    let (Some(algorithm), Some(spec)) = (algorithm, spec) else {
        return Err(KmsError::internal("Validation"));
    };
    let key = Ask::new("GetParametersForImport")
        .fact("kms:WrappingAlgorithm", algorithm.name())
        .fact("kms:WrappingKeySpec", spec.name())
        .find(call, request.key_id.as_deref().unwrap_or_default())?;
    importable(&key)?;
    refusal::if_pending_deletion(&key)?;
    suits(&key, algorithm, spec)?;
    let wrapping = call.generate_wrapping(spec)?;
    let valid_to = call.now().checked_add(DAY).ok_or_else(|| KmsError::internal("Reading the clock"))?;
    let token = Token { algorithm, spec, valid_to, pkcs8: wrapping.to_bytes()? };
    Ok(GetParametersForImportResponse {
        key_id: key.arn().to_owned(),
        import_token: Blob(token.seal(&*call.import_secret()?, &key.id)?),
        public_key: Blob(wrapping.public_key().to_vec()),
        parameters_valid_to: Timestamp(valid_to),
    })
}

/// Whether the material of `key` can be wrapped in this way.
fn suits(key: &KeyRecord, algorithm: WrappingAlgorithm, spec: WrappingKeySpec) -> Result<(), KmsError> {
    if !spec.offered() {
        return Err(KmsError::unsupported(format!("WrappingKeySpec {spec} is not supported.")));
    }
    if !algorithm.offered() {
        return Err(KmsError::unsupported(format!("WrappingAlgorithm {algorithm} is not supported.")));
    }
    let rsa = matches!(key.spec, KeySpec::Rsa2048 | KeySpec::Rsa3072 | KeySpec::Rsa4096);
    let long = key.spec == KeySpec::P521 && spec == WrappingKeySpec::Rsa2048;
    if algorithm.is_direct() && (rsa || long) {
        return Err(KmsError::validation(format!(
            "Key material of KeySpec {} does not fit into one block of {spec}; use RSA_AES_KEY_WRAP_SHA_256.",
            key.spec
        )));
    }
    Ok(())
}

/// What GetParametersForImport remembers until ImportKeyMaterial.
struct Token {
    algorithm: WrappingAlgorithm,
    spec: WrappingKeySpec,
    valid_to: SystemTime,
    pkcs8: Zeroizing<Vec<u8>>,
}

impl Token {
    /// Encrypts it, bound to the key `id`. Salt first, then: seconds, algorithm and spec by name, each ended by a zero,
    /// and the private key.
    fn seal(&self, secret: &SymmetricKey, id: &KeyId) -> Result<Vec<u8>, KmsError> {
        let seconds = self.valid_to.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // Room for the whole and its tag at once: a buffer that grows leaves copies behind.
        let mut text = Vec::with_capacity(self.pkcs8.len().saturating_add(256));
        text.extend_from_slice(&seconds.to_be_bytes());
        for name in [self.algorithm.name(), self.spec.name()] {
            text.extend_from_slice(name.as_bytes());
            text.push(0);
        }
        text.extend_from_slice(&self.pkcs8);
        let mut salt = [0; SALT_LEN];
        crypto::random(&mut salt)?;
        secret.seal(&salt, &associated_data(id), &mut text)?;
        let mut token = salt.to_vec();
        token.append(&mut text);
        Ok(token)
    }

    /// The token in these bytes, if it is one for the key `id`.
    fn open(secret: &SymmetricKey, id: &KeyId, token: &[u8]) -> Option<Self> {
        let (salt, sealed) = token.split_first_chunk::<SALT_LEN>()?;
        let text = secret.open(salt, &associated_data(id), sealed).ok()?;
        let (seconds, rest) = text.split_first_chunk::<8>()?;
        let mut rest = rest.splitn(3, |byte| *byte == 0);
        let algorithm = WrappingAlgorithm::from_name(std::str::from_utf8(rest.next()?).ok()?)?;
        let spec = WrappingKeySpec::from_name(std::str::from_utf8(rest.next()?).ok()?)?;
        let valid_to = UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_be_bytes(*seconds)))?;
        Some(Self { algorithm, spec, valid_to, pkcs8: Zeroizing::new(rest.next()?.to_vec()) })
    }
}

fn associated_data(id: &KeyId) -> Vec<u8> {
    [LABEL, id.as_bytes()].concat()
}

pub(super) fn import_key_material(
    call: &Call<'_>,
    request: ImportKeyMaterialRequest,
) -> Result<KeyMaterialResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check.required("importToken", &request.import_token);
    check.blob("importToken", &request.import_token, 1, 6144);
    check.required("encryptedKeyMaterial", &request.encrypted_key_material);
    check.blob("encryptedKeyMaterial", &request.encrypted_key_material, 1, 6144);
    let model = check.one_of::<ExpirationModel>("expirationModel", request.expiration_model.as_deref());
    let kind = check.one_of::<ImportType>("importType", request.import_type.as_deref());
    check.text("keyMaterialDescription", request.key_material_description.as_deref(), 0, 256);
    check.characters("keyMaterialDescription", request.key_material_description.as_deref(), WORDS);
    check_material_id(&mut check, &request.key_material_id);
    check.done()?;
    let model = model.unwrap_or(ExpirationModel::Expires);
    let mut ask = Ask::new("ImportKeyMaterial").fact("kms:ExpirationModel", model.name());
    if let Some(valid_to) = request.valid_to {
        let seconds = valid_to.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        ask = ask.fact("kms:ValidTo", &seconds.to_string());
    }
    let key = ask.find(call, request.key_id.as_deref().unwrap_or_default())?;
    importable(&key)?;
    refusal::if_pending_deletion(&key)?;
    let valid_to = settle_expiry(model, request.valid_to, call.now())?;
    let id = request.key_material_id.as_deref().map(material_id).transpose()?;
    let details = Details { kind, id, description: request.key_material_description, valid_to };
    details.check(&key)?;
    let blob = |blob: Option<Blob>| blob.map(|blob| blob.0).unwrap_or_default();
    let bytes = unwrap(call, &key, &blob(request.import_token), &blob(request.encrypted_key_material))?;
    let material = Material::from_bytes(key.spec, key.usage, &bytes)
        .map_err(|error| incorrect(format!("The key material is not valid: {error}.")))?;
    // The same key can be written in more than one way.
    let id = MaterialId::of_imported(&key.id, &material.to_bytes()?);
    let state = key.state();
    details.place(&key, id, material)?;
    if state == KeyState::PendingImport {
        key.set_enabled(true);
    }
    call.store.borrow_mut().dates_changed();
    call.state.touch(key.record_name());
    Ok(KeyMaterialResponse { key_id: key.arn().to_owned(), key_material_id: Some(id) })
}

/// The material, out of its wrapping.
fn unwrap(
    call: &Call<'_>,
    key: &KeyRecord,
    token: &[u8],
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>, KmsError> {
    let token = Token::open(&*call.import_secret()?, &key.id, token).ok_or_else(|| {
        KmsError::new(
            ErrorKind::InvalidImportToken,
            format!("The import token is not valid, or not one for {}.", key.arn()),
        )
    })?;
    if token.valid_to <= call.now() {
        return Err(KmsError::new(ErrorKind::ExpiredImportToken, "The import token has expired."));
    }
    WrappingKey::from_bytes(token.spec, &token.pkcs8)?.unwrap(token.algorithm, wrapped).map_err(|_| {
        KmsError::new(
            ErrorKind::InvalidCiphertext,
            format!(
                "The key material is not encrypted under the public key of the import token with {}.",
                token.algorithm
            ),
        )
    })
}

/// When the material is to be erased.
fn settle_expiry(
    model: ExpirationModel,
    valid_to: Option<Timestamp>,
    now: SystemTime,
) -> Result<Option<Timestamp>, KmsError> {
    match (model, valid_to) {
        (ExpirationModel::DoesNotExpire, None) => Ok(None),
        (ExpirationModel::DoesNotExpire, Some(_)) => Err(KmsError::validation(
            "ValidTo is not valid where ExpirationModel is KEY_MATERIAL_DOES_NOT_EXPIRE.",
        )),
        (ExpirationModel::Expires, None) => Err(KmsError::validation(
            "A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES.",
        )),
        (ExpirationModel::Expires, Some(date)) => {
            let latest = now.checked_add(YEAR).unwrap_or(now);
            match date.0 > now && date.0 <= latest {
                true => Ok(Some(date)),
                false => Err(KmsError::validation("ValidTo must lie in the future, 365 days ahead at most.")),
            }
        }
    }
}

/// What a request says about the material that it brings.
struct Details {
    kind: Option<ImportType>,
    id: Option<MaterialId>,
    description: Option<String>,
    valid_to: Option<Timestamp>,
}

impl Details {
    /// Only symmetric keys can have more than one secret, so only for them is there something to tell.
    fn check(&self, key: &KeyRecord) -> Result<(), KmsError> {
        let given = self.kind.is_some() || self.id.is_some() || self.description.is_some();
        if given && key.spec != KeySpec::Symmetric {
            return Err(KmsError::validation(
                "ImportType, KeyMaterialDescription and KeyMaterialId are for symmetric encryption keys only.",
            ));
        }
        if self.kind == Some(ImportType::New) && self.id.is_some() {
            return Err(KmsError::validation(
                "KeyMaterialId is not valid where ImportType is NEW_KEY_MATERIAL.",
            ));
        }
        Ok(())
    }

    /// Puts the material where it belongs.
    fn place(self, key: &KeyRecord, id: MaterialId, material: Material) -> Result<(), KmsError> {
        if self.id.is_some_and(|named| named != id) {
            return Err(incorrect("The key material is not that of KeyMaterialId.".to_owned()));
        }
        let mut all = key.generations_mut();
        let kind = self.kind.unwrap_or(if all.is_some() { ImportType::Existing } else { ImportType::New });
        let note = Note { description: self.description.clone(), valid_to: self.valid_to, ..Note::new(id) };
        match (kind, all.as_mut()) {
            (ImportType::New, None) => *all = Some(Generations::first(note, material)),
            (ImportType::New, Some(all)) => add(key, all, note, material)?,
            (ImportType::Existing, all) => {
                let found = all.and_then(|all| all.find_mut(&id)).ok_or_else(|| {
                    incorrect(format!("The key material was not imported into {} before.", key.arn()))
                })?;
                found.material = Some(material);
                found.note.valid_to = self.valid_to;
                if self.description.is_some() {
                    found.note.description = self.description;
                }
            }
        }
        Ok(())
    }
}

/// Material that the key has not had before, for the next rotation.
fn add(key: &KeyRecord, all: &mut Generations, note: Note, material: Material) -> Result<(), KmsError> {
    if all.find(&note.id).is_some() {
        return Err(incorrect(format!("The key material is one of {} already.", key.arn())));
    }
    if all.next().is_some_and(|next| next.material.is_some()) {
        let message = format!("{} has key material that waits for rotation already.", key.arn());
        return Err(KmsError::new(ErrorKind::InvalidState, message));
    }
    match material {
        Material::Symmetric(secret) => all.await_rotation(note, Rc::clone(&secret)),
        _ => return Err(incorrect(format!("{} can have no other key material.", key.arn()))),
    }
    Ok(())
}

pub(super) fn delete_imported_key_material(
    call: &Call<'_>,
    request: DeleteImportedKeyMaterialRequest,
) -> Result<KeyMaterialResponse, KmsError> {
    let mut check = Check::default();
    check.key_id(&request.key_id);
    check_material_id(&mut check, &request.key_material_id);
    check.done()?;
    let named = request.key_material_id.as_deref().map(material_id).transpose()?;
    let key =
        Ask::new("DeleteImportedKeyMaterial").find(call, request.key_id.as_deref().unwrap_or_default())?;
    importable(&key)?;
    // What is not there is deleted.
    let id = named.or_else(|| key.generations().as_ref().map(|all| all.current().note.id));
    if let Some(id) = id {
        let mut all = key.generations_mut();
        let found = all.as_mut().and_then(|all| all.find_mut(&id)).ok_or_else(|| {
            KmsError::new(ErrorKind::NotFound, format!("{} has no key material {id}.", key.arn()))
        })?;
        found.material = None;
    }
    call.state.touch(key.record_name());
    Ok(KeyMaterialResponse { key_id: key.arn().to_owned(), key_material_id: id })
}

fn importable(key: &KeyRecord) -> Result<(), KmsError> {
    match key.origin {
        Origin::External => Ok(()),
        origin => Err(KmsError::unsupported(format!(
            "{} origin is {origin} which is not valid for this operation.",
            key.arn()
        ))),
    }
}

fn check_material_id(check: &mut Check, id: &Option<String>) {
    check.text("keyMaterialId", id.as_deref(), 64, 64);
    check.characters("keyMaterialId", id.as_deref(), HEX);
}

fn material_id(text: &str) -> Result<MaterialId, KmsError> {
    MaterialId::parse(text).ok_or_else(|| KmsError::internal("Validation"))
}

fn incorrect(message: String) -> KmsError {
    KmsError::new(ErrorKind::IncorrectKeyMaterial, message)
}
