//! AWS Private CA, computed inside the signer: certificate authorities whose keys never leave it.
//!
//! Start at [`authority`] and [`issue`]. An operation reaches an authority through [`ask`], which asks the policies first.
//! [`x509`] makes and checks structures and knows nothing of the API; [`convert`] is between the two.
//!
//! What it promises: an authority's key signs certificates that a template and the caller's rights allow, its own requests,
//! its revocation lists and answers about revocation, and nothing else. What differs from AWS is in `docs/private-ca.md`.

mod ask;
pub(crate) mod authorities;
pub(crate) mod authority;
mod check;
mod convert;
mod create;
mod csr;
mod describe;
mod install;
mod issue;
pub(crate) mod issued;
mod lifecycle;
mod names;
mod page;
mod permission;
mod policy;
pub(crate) mod publish;
mod report;
mod revocation;
mod revoke;
mod tags;
mod template;
mod types;
mod x509;

use crate::errors::KmsError;
use crate::ops::{Run, typed};

pub(crate) use authorities::Authorities;
pub(crate) use report::get as get_audit_report;
use x509::X509Error;

/// Every operation of the service model, sorted by name.
pub(crate) const OPERATIONS: &[(&str, Run)] = &[
    ("CreateCertificateAuthority", |c, b| typed(c, b, create::create)),
    ("CreateCertificateAuthorityAuditReport", |c, b| typed(c, b, report::create)),
    ("CreatePermission", |c, b| typed(c, b, permission::create)),
    ("DeleteCertificateAuthority", |c, b| typed(c, b, lifecycle::delete)),
    ("DeletePermission", |c, b| typed(c, b, permission::delete)),
    ("DeletePolicy", |c, b| typed(c, b, policy::delete)),
    ("DescribeCertificateAuthority", |c, b| typed(c, b, describe::describe)),
    ("DescribeCertificateAuthorityAuditReport", |c, b| typed(c, b, report::describe)),
    ("GetCertificate", |c, b| typed(c, b, issue::get)),
    ("GetCertificateAuthorityCertificate", |c, b| typed(c, b, install::get)),
    ("GetCertificateAuthorityCsr", |c, b| typed(c, b, csr::get)),
    ("GetPolicy", |c, b| typed(c, b, policy::get)),
    ("ImportCertificateAuthorityCertificate", |c, b| typed(c, b, install::import)),
    ("IssueCertificate", |c, b| typed(c, b, issue::issue)),
    ("ListCertificateAuthorities", |c, b| typed(c, b, describe::list)),
    ("ListPermissions", |c, b| typed(c, b, permission::list)),
    ("ListTags", |c, b| typed(c, b, tags::list)),
    ("PutPolicy", |c, b| typed(c, b, policy::put)),
    ("RestoreCertificateAuthority", |c, b| typed(c, b, lifecycle::restore)),
    ("RevokeCertificate", |c, b| typed(c, b, revoke::revoke)),
    ("TagCertificateAuthority", |c, b| typed(c, b, tags::tag)),
    ("UntagCertificateAuthority", |c, b| typed(c, b, tags::untag)),
    ("UpdateCertificateAuthority", |c, b| typed(c, b, lifecycle::update)),
];

/// A structure of our own that could not be made: nobody's fault but ours.
fn broken(error: X509Error) -> KmsError {
    KmsError::new(crate::errors::ErrorKind::Internal, format!("Making an X.509 structure failed: {error}."))
}

#[cfg(test)]
mod tests {
    use super::OPERATIONS;

    #[test]
    fn operations_are_sorted_so_that_they_are_found() {
        assert!(OPERATIONS.is_sorted_by(|(low, _), (high, _)| low < high));
    }
}
