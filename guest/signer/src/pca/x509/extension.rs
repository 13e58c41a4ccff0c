//! Extensions of certificates (RFC 5280, 4.2), in the order of their precedence: the first of a kind stays.

use x509_cert::der::asn1::{Ia5String, OctetString};
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::{self, Encode};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::DistributionPoint;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AccessDescription, AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints,
    CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier,
};

/// id-ad-ocsp (RFC 5280, 4.2.2.1).
const OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
/// id-ad-caIssuers.
const CA_ISSUERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");

/// The extensions of a certificate in the making. Of two of a kind, the one that was added first stays.
#[derive(Default)]
pub(crate) struct Extensions(Vec<Extension>);

impl Extensions {
    /// Adds an extension as it is, unless there is one of its kind.
    pub(crate) fn add(&mut self, extension: Extension) {
        if !self.has(extension.extn_id) {
            self.0.push(extension);
        }
    }

    /// Adds an extension of that content, DER.
    pub(crate) fn add_der(
        &mut self,
        extn_id: ObjectIdentifier,
        critical: bool,
        content: Vec<u8>,
    ) -> der::Result<()> {
        self.add(Extension { extn_id, critical, extn_value: OctetString::new(content)? });
        Ok(())
    }

    /// Adds an extension.
    pub(crate) fn put<T: AssociatedOid + Encode>(&mut self, critical: bool, content: &T) -> der::Result<()> {
        self.add_der(T::OID, critical, content.to_der()?)
    }

    /// Whether there is one of that kind.
    pub(crate) fn has(&self, oid: ObjectIdentifier) -> bool {
        self.0.iter().any(|known| known.extn_id == oid)
    }

    /// All of them, in the order in which they were added.
    pub(crate) fn into_vec(self) -> Vec<Extension> {
        self.0
    }

    /// basicConstraints of an authority that may have so many others below it, or of none (`None`).
    pub(crate) fn basic_constraints(
        &mut self,
        critical: bool,
        authority: Option<Option<u8>>,
    ) -> der::Result<()> {
        let path_len_constraint = authority.flatten();
        self.put(critical, &BasicConstraints { ca: authority.is_some(), path_len_constraint })
    }

    /// Both key identifiers; a self-signed certificate has no need of the issuer's.
    pub(crate) fn key_identifiers(&mut self, own: &[u8], issuer: Option<&[u8]>) -> der::Result<()> {
        self.put(false, &SubjectKeyIdentifier(OctetString::new(own)?))?;
        match issuer {
            Some(issuer) => self.authority_key(issuer),
            None => Ok(()),
        }
    }

    /// authorityKeyIdentifier.
    pub(crate) fn authority_key(&mut self, issuer: &[u8]) -> der::Result<()> {
        let key_identifier = Some(OctetString::new(issuer)?);
        self.put(false, &AuthorityKeyIdentifier { key_identifier, ..Default::default() })
    }

    /// keyUsage, always critical; nothing if there is none.
    pub(crate) fn key_usage(&mut self, usages: &[KeyUsages]) -> der::Result<()> {
        let all = usages.iter().fold(Default::default(), |all, usage| all | *usage);
        if usages.is_empty() { Ok(()) } else { self.put(true, &KeyUsage(all)) }
    }

    /// extendedKeyUsage.
    pub(crate) fn extended_key_usage(
        &mut self,
        critical: bool,
        all: Vec<ObjectIdentifier>,
    ) -> der::Result<()> {
        if all.is_empty() { Ok(()) } else { self.put(critical, &ExtendedKeyUsage(all)) }
    }

    /// subjectAltName; critical if there is no other name (RFC 5280, 4.2.1.6).
    pub(crate) fn alternative_names(&mut self, critical: bool, names: Vec<GeneralName>) -> der::Result<()> {
        if names.is_empty() { Ok(()) } else { self.put(critical, &SubjectAltName(names)) }
    }

    /// Marks subjectAltName critical, if there is one; whether there is.
    pub(crate) fn names_are_critical(&mut self) -> bool {
        let names = self.0.iter_mut().find(|extension| extension.extn_id == SubjectAltName::OID);
        names.map(|names| names.critical = true).is_some()
    }

    /// cRLDistributionPoints with one address.
    pub(crate) fn crl_address(&mut self, url: &str) -> der::Result<()> {
        let distribution_point = Some(DistributionPointName::FullName(vec![uri(url)?]));
        let point = DistributionPoint { distribution_point, reasons: None, crl_issuer: None };
        self.put(false, &CrlDistributionPoints(vec![point]))
    }

    /// authorityInfoAccess: where to ask, and where the issuer's certificate is.
    pub(crate) fn authority_access(&mut self, ocsp: &str, issuer: &str) -> der::Result<()> {
        let access = |access_method, url| {
            Ok::<_, der::Error>(AccessDescription { access_method, access_location: uri(url)? })
        };
        let all = vec![access(OCSP, ocsp)?, access(CA_ISSUERS, issuer)?];
        self.put(false, &AuthorityInfoAccessSyntax(all))
    }
}

fn uri(url: &str) -> der::Result<GeneralName> {
    Ok(GeneralName::UniformResourceIdentifier(Ia5String::new(url)?))
}
