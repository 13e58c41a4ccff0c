//! IssueCertificate, GetCertificate.

use std::rc::Rc;

use x509_cert::der::oid::AssociatedOid;
use x509_cert::ext::pkix::SubjectAltName;

use crate::access::Call;
use crate::crypto::public_bits;
use crate::errors::{ErrorKind, KmsError};
use crate::identity::time::seconds;
use crate::types::{Blob, Timestamp};
use crate::validate::Check;

use super::ask::{Ask, invalid_args, invalid_arn, invalid_state};
use super::authority::Authority;
use super::create::IDEMPOTENCY;
use super::issued::{self, Issued};
use super::names::{Kind, SigningAlgorithm, Status, UsageMode, ValidityType};
use super::template::{self, Template};
use super::types::{CertificateResponse, GetCertificateRequest, IssueRequest, IssueResponse};
use super::x509::{self, Algorithm, Certificate, Constraints, Content, Extensions, Request, Serial};
use super::{broken, check, convert, install, revocation};

/// How far before its issue a certificate becomes valid, in seconds, for those whose clock is behind.
const BACKDATE: u64 = 3600;
/// The longest life of a certificate in [`UsageMode::ShortLived`], in seconds.
const SHORT: u64 = 7 * 86_400;

pub(super) fn issue(call: &Call<'_>, request: IssueRequest) -> Result<IssueResponse, KmsError> {
    let wanted = Wanted::of(request)?;
    let ask = Ask::new("IssueCertificate").fact("acm-pca:TemplateArn", &wanted.template_arn);
    let authority = ask.living(call, &wanted.request.certificate_authority_arn)?;
    if let Some(serial) = wanted.same_as_before(call, &authority) {
        return Ok(response(&authority, serial));
    }
    let self_signed = wanted.template.root && authority.settled.kind == Kind::Root;
    match authority.status(Timestamp(call.now())) {
        Status::Active => {}
        Status::PendingCertificate if self_signed => {}
        status => {
            return Err(invalid_state(format!(
                "The certificate authority is not in a valid state for issuing certificates: it is {status}."
            )));
        }
    }
    let serial = Serial::random()?;
    let certificate = wanted.make(call, &authority, serial)?;
    let issued = Issued {
        not_after: certificate.validity().1,
        certificate: Blob(certificate.der().to_vec()),
        issued: Timestamp(call.now()),
        template: wanted.template_arn,
        revoked: None,
        token: wanted.request.idempotency_token,
    };
    let limit = call.limits.certificate_bytes;
    let gone = call.pca.borrow_mut().make_room(issued.size(), limit, seconds(call.now()));
    let gone = gone.ok_or_else(|| {
        let message =
            format!("The certificates that are valid take the {limit} bytes that this signer has for them.");
        KmsError::new(ErrorKind::LimitExceeded, message)
    })?;
    gone.into_iter().for_each(|name| call.state.touch(name));
    call.pca.borrow_mut().keep(authority.id, serial, issued);
    call.state.touch(issued::record_name(authority.id, serial));
    Ok(response(&authority, serial))
}

fn response(authority: &Authority, serial: Serial) -> IssueResponse {
    IssueResponse { certificate_arn: Some(format!("{}/certificate/{serial}", authority.arn())) }
}

/// What a request asks for, checked.
struct Wanted {
    template: Template,
    template_arn: String,
    algorithm: Algorithm,
    csr: Request,
    not_after: (ValidityType, i64),
    not_before: Option<i64>,
    request: IssueRequest,
}

impl Wanted {
    fn of(mut request: IssueRequest) -> Result<Self, KmsError> {
        let mut broken = Check::default();
        check::arn(&mut broken, "certificateAuthorityArn", &request.certificate_authority_arn);
        broken.required("csr", &request.csr);
        broken.blob("csr", &request.csr, 1, 32_768);
        let algorithm = check::required_one_of::<SigningAlgorithm>(
            &mut broken,
            "signingAlgorithm",
            &request.signing_algorithm,
        );
        check::optional_arn(&mut broken, "templateArn", &request.template_arn);
        broken.required("validity", &request.validity);
        let not_after = check::validity(&mut broken, "validity", &request.validity);
        let not_before = check::validity(&mut broken, "validityNotBefore", &request.validity_not_before);
        check::token(&mut broken, &request.idempotency_token);
        if let Some(given) = &request.api_passthrough {
            check::passthrough(&mut broken, given);
        }
        broken.done()?;
        let missing = || KmsError::internal("Checking the request");
        let template_arn = request.template_arn.clone().unwrap_or_else(|| template::DEFAULT.to_owned());
        let template = Template::parse(&template_arn)
            .ok_or_else(|| invalid_args(format!("There is no certificate template {template_arn}.")))?;
        let algorithm = algorithm.ok_or_else(missing)?.algorithm();
        let algorithm = algorithm.ok_or_else(|| invalid_args("SM2 is not supported in this Region."))?;
        let pem = request.csr.take().map(|csr| csr.0).unwrap_or_default();
        let csr = x509::decode(x509::REQUEST, &pem).and_then(|der| Request::parse(&der));
        let csr = csr.map_err(|error| malformed(&format!("The request cannot be used: {error}.")))?;
        let not_before = match not_before {
            None => None,
            Some((ValidityType::Absolute, value)) => Some(value),
            Some(_) => return Err(invalid_args("ValidityNotBefore must be of type ABSOLUTE.")),
        };
        let not_after = not_after.ok_or_else(missing)?;
        Ok(Self { template, template_arn, algorithm, csr, not_after, not_before, request })
    }

    /// The certificate that a request with the same token has led to not long ago.
    fn same_as_before(&self, call: &Call<'_>, authority: &Authority) -> Option<Serial> {
        let token = self.request.idempotency_token.as_ref()?;
        let recent =
            |issued: &Issued| call.now().duration_since(issued.issued.0).is_ok_and(|age| age <= IDEMPOTENCY);
        let pca = call.pca.borrow();
        let mut all = pca.issued_by(authority.id);
        let same = all.find(|(_, issued)| issued.token.as_ref() == Some(token) && recent(issued));
        same.map(|(serial, _)| serial)
    }

    /// From when and until when, seconds since 1970.
    fn validity(&self, call: &Call<'_>, authority: &Authority) -> Result<(u64, u64), KmsError> {
        let now = seconds(call.now());
        let out_of_range = || KmsError::validation("The validity is not between 1970 and 9999.");
        let (kind, value) = self.not_after;
        let value = u64::try_from(value).map_err(|_| out_of_range())?;
        let not_after = match kind {
            ValidityType::EndDate => x509::end_date(value),
            ValidityType::Absolute => Some(value),
            ValidityType::Days => value.checked_mul(86_400).and_then(|span| now.checked_add(span)),
            ValidityType::Months => x509::plus_months(now, value),
            ValidityType::Years => value.checked_mul(12).and_then(|months| x509::plus_months(now, months)),
        };
        let not_after = not_after.filter(|end| x509::time(*end).is_ok()).ok_or_else(out_of_range)?;
        let not_before = match self.not_before {
            Some(start) => u64::try_from(start).map_err(|_| out_of_range())?,
            None => now.saturating_sub(BACKDATE),
        };
        if not_after <= now || not_after <= not_before {
            return Err(KmsError::validation("The validity ends before it begins, or has ended already."));
        }
        if authority.settled.mode == UsageMode::ShortLived && not_after > now.saturating_add(SHORT) {
            return Err(KmsError::validation(
                "Certificates of an authority in SHORT_LIVED_CERTIFICATE mode are valid for seven days at most.",
            ));
        }
        let own = authority.certificate().filter(|_| !self.template.root);
        if own.is_some_and(|own| not_after > own.validity().1) {
            return Err(KmsError::validation(
                "The certificate validity specified exceeds the certificate authority validity.",
            ));
        }
        Ok((not_before, not_after))
    }

    fn make(&self, call: &Call<'_>, authority: &Authority, serial: Serial) -> Result<Certificate, KmsError> {
        if !self.algorithm.is_for(authority.key.spec()) {
            return Err(invalid_args(format!(
                "The signing algorithm is not one for a key of {}.",
                authority.settled.key_algorithm
            )));
        }
        let (not_before, not_after) = self.validity(call, authority)?;
        let given = self.request.api_passthrough.as_ref().filter(|_| self.template.api);
        let subject = match given.and_then(|given| given.subject.as_ref()) {
            Some(subject) => convert::subject(subject)?,
            None => self.csr.subject.clone(),
        };
        let own = authority.certificate();
        let issuer = match &own {
            Some(own) if !self.template.root => {
                self.allowed_below(own)?;
                Some(own)
            }
            _ => None,
        };
        if issuer.is_none() && (!self.template.root || self.csr.public_key != authority.key.spki()) {
            return Err(invalid_args(
                "With a root's template, an authority certifies nothing but its own key and request.",
            ));
        }
        let mut extensions = self.extensions(issuer)?;
        if subject.value().is_empty() {
            if self.template.authority.is_some() {
                return Err(malformed("A certificate authority must have a subject."));
            }
            if !extensions.names_are_critical() {
                return Err(malformed("The request has neither a subject nor a subject alternative name."));
            }
        }
        if !self.template.root {
            // Nobody above a root could revoke it.
            revocation::announce(authority, &call.identity.borrow().config, &mut extensions)?;
        }
        let extensions = extensions.into_vec();
        let above = issuer.into_iter().cloned().chain(issuer.into_iter().flat_map(|_| authority.above()));
        for above in above {
            let constraints = Constraints::of(&above).map_err(broken)?;
            let allowed = constraints.allow(&subject, &extensions);
            if !allowed
                .map_err(|error| malformed(&format!("The request's names cannot be read: {error}.")))?
            {
                return Err(invalid_args(
                    "The name constraints of the certificate authority, or of one above it, exclude a name in the request.",
                ));
            }
        }
        let content = Content {
            serial,
            issuer: issuer.map_or(&subject, |own| own.subject()),
            subject: &subject,
            public_key: &self.csr.public_key,
            not_before,
            not_after,
            extensions,
        };
        Certificate::make(content, &authority.key, self.algorithm).map_err(broken)
    }

    /// Whether the path length constraint of the authority's own certificate leaves room for this one.
    fn allowed_below(&self, own: &Certificate) -> Result<(), KmsError> {
        let Some(below) = self.template.authority else { return Ok(()) };
        let most = own.authority().map_err(broken)?.flatten();
        match (most, below) {
            (None, _) => Ok(()),
            (Some(most), Some(below)) if below < most => Ok(()),
            _ => Err(invalid_args(
                "The path length of the template is not below that of the authority's certificate.",
            )),
        }
    }

    /// In the order of precedence: the template's, the caller's, the request's.
    fn extensions(&self, issuer: Option<&Rc<Certificate>>) -> Result<Extensions, KmsError> {
        let bits = public_bits(&self.csr.public_key).unwrap_or_default();
        let rsa = is_rsa(&self.csr.public_key);
        if rsa && bits < 2048 {
            return Err(malformed("The request's RSA key has fewer than 2048 bits."));
        }
        let mut all = Extensions::default();
        let template = &self.template;
        let own = x509::key_identifier(&self.csr.public_key).map_err(broken)?;
        let above = issuer.map(|issuer| issuer.key_identifier()).transpose().map_err(broken)?;
        let (critical, purposes) = template.purposes();
        all.basic_constraints(template.critical, template.authority)
            .and_then(|()| all.key_identifiers(&own, above.as_deref()))
            .and_then(|()| all.key_usage(template.key_usage(rsa)))
            .and_then(|()| all.extended_key_usage(critical, purposes))
            .map_err(|error| broken(error.into()))?;
        if let Some(given) = self.request.api_passthrough.as_ref().filter(|_| template.api)
            && let Some(given) = &given.extensions
        {
            convert::extensions(given, &mut all)?;
        }
        for extension in &self.csr.extensions {
            if template.csr || extension.extn_id == SubjectAltName::OID {
                all.add(extension.clone());
            }
        }
        Ok(all)
    }
}

/// Whether a SubjectPublicKeyInfo is one of rsaEncryption (RFC 8017, A.1).
fn is_rsa(spki: &[u8]) -> bool {
    const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    spki.get(..32).unwrap_or_default().windows(RSA.len()).any(|part| part == RSA)
}

fn malformed(message: &str) -> KmsError {
    KmsError::new(ErrorKind::MalformedCsr, message)
}

pub(super) fn get(call: &Call<'_>, request: GetCertificateRequest) -> Result<CertificateResponse, KmsError> {
    let mut members = Check::default();
    check::arn(&mut members, "certificateAuthorityArn", &request.certificate_authority_arn);
    check::arn(&mut members, "certificateArn", &request.certificate_arn);
    members.done()?;
    let authority = Ask::new("GetCertificate").living(call, &request.certificate_authority_arn)?;
    let arn = request.certificate_arn.unwrap_or_default();
    let serial = arn.strip_prefix(authority.arn()).and_then(|rest| rest.strip_prefix("/certificate/"));
    let serial = serial.and_then(Serial::parse).ok_or_else(|| invalid_arn(&arn))?;
    let issued = call.pca.borrow().certificate(authority.id, serial).ok_or_else(|| {
        KmsError::new(ErrorKind::ResourceNotFound, format!("Could not find certificate {arn}."))
    })?;
    let certificate = Certificate::parse(issued.certificate.0.clone()).map_err(broken)?;
    let mut above = Vec::new();
    if !x509::chain::is_self_signed(&certificate) {
        above.extend(authority.certificate());
        above.extend(authority.above());
    }
    Ok(CertificateResponse {
        certificate: Some(install::pem(&[Rc::new(certificate)]).map_err(broken)?),
        certificate_chain: Some(install::pem(&above).map_err(broken)?).filter(|chain| !chain.is_empty()),
    })
}
