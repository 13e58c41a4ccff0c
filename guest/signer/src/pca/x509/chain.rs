//! Is this a chain of authorities (RFC 5280, 6.1, as far as AWS checks it)? Every certificate is signed by the one after
//! it, and the last one by itself.
//!
//! Names must be such as every authority above permits ([`Constraints`]). What is not checked, as AWS does not: certificate policies,
//! which whoever validates a path applies to what the authority issues; and whether anything above has been revoked.

use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, KeyUsages, SubjectKeyIdentifier};

use super::{Certificate, Constraints, X509Error};

/// What is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChainError {
    /// A certificate is not one of an authority, or says something that it must not.
    #[error("certificate {0}: {1}")]
    Certificate(usize, X509Error),
    /// A certificate does not comply with the one that should have signed it.
    #[error("certificate {0} does not comply with the one that follows it: {1}")]
    Link(usize, &'static str),
}

/// The extensions that may be critical in a certificate of the chain (Private CA user guide, "Enforcement of critical
/// constraints").
const MAY_BE_CRITICAL: [ObjectIdentifier; 12] = [
    ObjectIdentifier::new_unwrap("2.5.29.35"), // authority key identifier
    ObjectIdentifier::new_unwrap("2.5.29.19"), // basic constraints
    ObjectIdentifier::new_unwrap("2.5.29.32"), // certificate policies
    ObjectIdentifier::new_unwrap("2.5.29.37"), // extended key usage
    ObjectIdentifier::new_unwrap("2.5.29.54"), // inhibit anyPolicy
    ObjectIdentifier::new_unwrap("2.5.29.18"), // issuer alternative name
    ObjectIdentifier::new_unwrap("2.5.29.15"), // key usage
    ObjectIdentifier::new_unwrap("2.5.29.30"), // name constraints
    ObjectIdentifier::new_unwrap("2.5.29.33"), // policy mappings
    ObjectIdentifier::new_unwrap("2.5.29.17"), // subject alternative name
    ObjectIdentifier::new_unwrap("2.5.29.9"),  // subject directory attributes
    ObjectIdentifier::new_unwrap("2.5.29.14"), // subject key identifier
];
/// One more: subject information access.
const SUBJECT_ACCESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.11");

/// Checks a chain, whose first certificate is the authority's own, at that time (seconds since 1970).
pub(crate) fn check(chain: &[Certificate], now: u64) -> Result<(), ChainError> {
    for (index, certificate) in chain.iter().enumerate() {
        authority(certificate, now).map_err(|error| ChainError::Certificate(index, error))?;
        // The last one must be its own issuer.
        let issuer = chain.get(index.saturating_add(1)).unwrap_or(certificate);
        link(certificate, issuer, index).map_err(|reason| ChainError::Link(index, reason))?;
        let broken = |error| ChainError::Certificate(index, error);
        let constraints = Constraints::of(certificate).map_err(broken)?;
        for below in chain.iter().take(index) {
            if !constraints.allow(below.subject(), below.extensions()).map_err(broken)? {
                return Err(broken(X509Error::Refused("its name constraints exclude an authority below it")));
            }
        }
    }
    Ok(())
}

/// Whether the certificate's own key has signed it. Names alone do not tell: two parties may have the same.
pub(crate) fn is_self_signed(certificate: &Certificate) -> bool {
    certificate.issuer() == certificate.subject() && certificate.verify(certificate.public_key()).is_ok()
}

/// Whether this is a certificate of an authority whose time has come.
fn authority(certificate: &Certificate, now: u64) -> Result<(), X509Error> {
    let refused = |reason| Err(X509Error::Refused(reason));
    if certificate.version() != 3 {
        return refused("it is not one of X.509 version 3");
    }
    let extensions = certificate.extensions();
    for (index, extension) in extensions.iter().enumerate() {
        let oid = extension.extn_id;
        if extensions.iter().take(index).any(|other| other.extn_id == oid) {
            return refused("an extension is there twice");
        }
        if extension.critical && !MAY_BE_CRITICAL.contains(&oid) && oid != SUBJECT_ACCESS {
            return refused("an extension is critical that must not be");
        }
    }
    match certificate.raw_extension(BasicConstraints::OID) {
        Some(basic) if basic.critical => {}
        _ => return refused("it has no critical basic constraints"),
    }
    if certificate.authority()?.is_none() {
        return refused("it is not one of an authority: its basic constraints say CA:FALSE");
    }
    if !certificate.may(KeyUsages::KeyCertSign)? {
        return refused("its key usage does not allow it to sign certificates");
    }
    match certificate.validity() {
        (from, _) if now < from => refused("it is not yet valid"),
        (_, to) if to < now => refused("it has expired"),
        _ => Ok(()),
    }
}

/// Whether `issuer` has signed the certificate with that index, and may have.
fn link(certificate: &Certificate, issuer: &Certificate, index: usize) -> Result<(), &'static str> {
    const UNREADABLE: &str = "an extension is malformed";
    if certificate.issuer() != issuer.subject() {
        return Err("its issuer is not that one's subject");
    }
    let own = certificate.extension::<AuthorityKeyIdentifier>().map_err(|_| UNREADABLE)?;
    let named = own.and_then(|(_, AuthorityKeyIdentifier { key_identifier, .. })| key_identifier);
    let theirs = issuer.extension::<SubjectKeyIdentifier>().map_err(|_| UNREADABLE)?;
    if let (Some(named), Some((_, SubjectKeyIdentifier(theirs)))) = (named, theirs)
        && named != theirs
    {
        return Err("its authority key identifier is not that one's subject key identifier");
    }
    certificate.verify(issuer.public_key()).map_err(|error| match error {
        X509Error::Algorithm => "its signature algorithm is not supported",
        _ => "its signature is not one of that one's key",
    })?;
    if std::ptr::eq(certificate, issuer) {
        return Ok(());
    }
    // Below the issuer are this certificate and those before it, all of them authorities.
    let most = issuer.authority().map_err(|_| UNREADABLE)?.flatten();
    match most.is_some_and(|most| usize::from(most) <= index) {
        true => Err("that one's path length constraint allows no authority there"),
        false => Ok(()),
    }
}
