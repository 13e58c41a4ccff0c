//! CreateCertificateAuthority.

use std::time::Duration;

use crate::access::{Call, Facts};
use crate::crypto::{IssuingKey, KeyUsage};
use crate::errors::{ErrorKind, KmsError};
use crate::store::KeyId;
use crate::types::{Tags, Timestamp};
use crate::validate::Check;

use super::ask::invalid_args;
use super::authority::{Authority, Meta, Settled};
use super::names::{KeyAlgorithm, KeyStorage, Kind, SigningAlgorithm, UsageMode};
use super::types::{Configuration, CreateRequest, CreateResponse, RevocationConfiguration};
use super::{check, convert, revocation, tags};

/// For so long a request with the same token is the same request.
pub(super) const IDEMPOTENCY: Duration = Duration::from_secs(300);

pub(super) fn create(call: &Call<'_>, request: CreateRequest) -> Result<CreateResponse, KmsError> {
    let wanted = Wanted::of(request)?;
    let facts = Facts::of_request_tags(&wanted.tags);
    call.allow("acm-pca:CreateCertificateAuthority", "*", &facts)?;
    if !wanted.tags.is_empty() {
        call.allow("acm-pca:TagCertificateAuthority", "*", &facts)?;
    }
    if let Some(arn) = wanted.same_as_before(call) {
        return Ok(CreateResponse { certificate_authority_arn: Some(arn) });
    }
    let limit = call.limits.authorities;
    if call.pca.borrow().len() >= limit {
        let message = format!("This signer holds its limit of {limit} certificate authorities.");
        return Err(KmsError::new(ErrorKind::LimitExceeded, message));
    }
    let authority = wanted.make(call)?;
    let authority = call.pca.borrow_mut().insert(authority);
    call.key.replace(Some(authority.arn().to_owned()));
    call.state.touch(authority.record_name());
    Ok(CreateResponse { certificate_authority_arn: Some(authority.arn().to_owned()) })
}

/// What a request asks for, checked.
struct Wanted {
    kind: Kind,
    key_algorithm: KeyAlgorithm,
    signing_algorithm: SigningAlgorithm,
    configuration: Configuration,
    revocation: RevocationConfiguration,
    mode: UsageMode,
    key_storage: KeyStorage,
    tags: Tags,
    token: Option<String>,
}

impl Wanted {
    fn of(request: CreateRequest) -> Result<Self, KmsError> {
        let mut broken = Check::default();
        let member = "certificateAuthorityConfiguration";
        broken.required(member, &request.certificate_authority_configuration);
        let configuration = request.certificate_authority_configuration.unwrap_or_default();
        let key_algorithm = check::required_one_of::<KeyAlgorithm>(
            &mut broken,
            &format!("{member}.keyAlgorithm"),
            &configuration.key_algorithm,
        );
        let signing_algorithm = check::required_one_of::<SigningAlgorithm>(
            &mut broken,
            &format!("{member}.signingAlgorithm"),
            &configuration.signing_algorithm,
        );
        broken.required(&format!("{member}.subject"), &configuration.subject);
        if let Some(subject) = &configuration.subject {
            check::subject(&mut broken, &format!("{member}.subject"), subject);
        }
        let extensions = configuration.csr_extensions.iter();
        let accesses =
            extensions.flat_map(|extensions| extensions.subject_information_access.iter().flatten());
        for (index, access) in (1..).zip(accesses) {
            let member = format!("{member}.csrExtensions.subjectInformationAccess.{index}.member");
            broken.required(&format!("{member}.accessMethod"), &access.access_method);
            broken.required(&format!("{member}.accessLocation"), &access.access_location);
            if let Some(method) = &access.access_method {
                let custom = format!("{member}.accessMethod.customObjectIdentifier");
                check::oid(&mut broken, &custom, &method.custom_object_identifier);
                check::one_of(
                    &mut broken,
                    &format!("{member}.accessMethod.accessMethodType"),
                    &method.access_method_type,
                    &["CA_REPOSITORY", "RESOURCE_PKI_MANIFEST", "RESOURCE_PKI_NOTIFY"],
                );
            }
            if let Some(name) = &access.access_location {
                check::general_name(&mut broken, &format!("{member}.accessLocation"), name);
            }
        }
        check::revocation(&mut broken, &request.revocation_configuration);
        let kind = check::required_one_of::<Kind>(
            &mut broken,
            "certificateAuthorityType",
            &request.certificate_authority_type,
        );
        check::token(&mut broken, &request.idempotency_token);
        let key_storage = broken.one_of::<KeyStorage>(
            "keyStorageSecurityStandard",
            request.key_storage_security_standard.as_deref(),
        );
        check::tags(&mut broken, &request.tags);
        let mode = broken.one_of::<UsageMode>("usageMode", request.usage_mode.as_deref());
        broken.done()?;
        let missing = || KmsError::internal("Checking the request");
        let wanted = Self {
            kind: kind.ok_or_else(missing)?,
            key_algorithm: key_algorithm.ok_or_else(missing)?,
            signing_algorithm: signing_algorithm.ok_or_else(missing)?,
            configuration,
            revocation: request.revocation_configuration.unwrap_or_default(),
            mode: mode.unwrap_or(UsageMode::General),
            key_storage: key_storage.unwrap_or(KeyStorage::Fips3),
            tags: tags::collect(request.tags)?,
            token: request.idempotency_token,
        };
        wanted.offered()?;
        Ok(wanted)
    }

    /// Whether the parts go together, and are offered here.
    fn offered(&self) -> Result<(), KmsError> {
        let (key, signing) = (self.key_algorithm, self.signing_algorithm);
        if key == KeyAlgorithm::Sm2 || self.key_storage == KeyStorage::Ccpc1 {
            return Err(invalid_args("SM2 and its key storage are not supported in this Region."));
        }
        if !signing.algorithm().is_some_and(|algorithm| algorithm.is_for(key.spec())) {
            return Err(invalid_args(format!(
                "The signing algorithm {signing} is not compatible with the key algorithm {key}."
            )));
        }
        let subject = convert::subject(&self.configuration.subject.clone().unwrap_or_default())?;
        if subject.value().is_empty() {
            return Err(invalid_args("A certificate authority must have a subject."));
        }
        super::csr::extensions(&self.configuration)?;
        revocation::acceptable(&self.revocation)
    }

    /// The authority that a request with the same token has made not long ago.
    fn same_as_before(&self, call: &Call<'_>) -> Option<String> {
        let token = self.token.as_ref()?;
        let pca = call.pca.borrow();
        let recent =
            |created: Timestamp| call.now().duration_since(created.0).is_ok_and(|age| age <= IDEMPOTENCY);
        let mut all = pca.after(None);
        let same = all.find(|one| one.settled.token.as_ref() == Some(token) && recent(one.settled.created));
        same.map(|same| same.arn().to_owned())
    }

    fn make(self, call: &Call<'_>) -> Result<Authority, KmsError> {
        let spec = self.key_algorithm.spec();
        let key = IssuingKey::new(spec, &call.generate(spec, KeyUsage::SignVerify)?)?;
        let id = KeyId::random()?;
        let now = Timestamp(call.now());
        let arn = call.identity.borrow().config.arn("acm-pca", &format!("certificate-authority/{id}"));
        let settled = Settled {
            arn,
            kind: self.kind,
            created: now,
            key_algorithm: self.key_algorithm,
            signing_algorithm: self.signing_algorithm,
            configuration: self.configuration,
            mode: self.mode,
            key_storage: self.key_storage.name().to_owned(),
            token: self.token,
        };
        let meta = Meta::new(now, self.revocation, self.tags);
        Ok(Authority::new(id, settled, key, meta))
    }
}
