//! Distinguished names (RFC 5280, 4.1.2.4).
//!
//! Not parsed from `CN=…`: parsing brings in the names of all object identifiers that there are, a hundred kilobytes.

use super::X509Error;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::asn1::{Any, PrintableStringRef, Utf8StringRef};
use x509_cert::der::{self, Encode as _, oid::ObjectIdentifier};
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};

/// An attribute of a name: its type and its value.
pub(crate) type Attribute<'a> = (ObjectIdentifier, &'a str);

/// The attributes whose values RFC 5280 (appendix A) has as PrintableString: country, serial number, DN qualifier.
const PRINTABLE: [ObjectIdentifier; 3] = [
    ObjectIdentifier::new_unwrap("2.5.4.6"),
    ObjectIdentifier::new_unwrap("2.5.4.5"),
    ObjectIdentifier::new_unwrap("2.5.4.46"),
];
/// The attribute whose value is an IA5String: domain component.
const DOMAIN_COMPONENT: ObjectIdentifier = ObjectIdentifier::new_unwrap("0.9.2342.19200300.100.1.25");
/// And another: the e-mail address of PKCS #9.
const EMAIL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");

/// The name of these attributes, one for each relative distinguished name, in this order.
pub(crate) fn name(attributes: &[Attribute<'_>]) -> der::Result<Any> {
    let mut name = RdnSequence::default();
    for (oid, value) in attributes {
        let value = if PRINTABLE.contains(oid) {
            Any::from(PrintableStringRef::new(value)?)
        } else if [DOMAIN_COMPONENT, EMAIL].contains(oid) {
            Any::from(der::asn1::Ia5StringRef::new(value)?)
        } else {
            Any::from(Utf8StringRef::new(value)?)
        };
        name.push(RelativeDistinguishedName::try_from(vec![AttributeTypeAndValue { oid: *oid, value }])?);
    }
    der::Decode::from_der(&name.to_der()?)
}

/// Short names of attributes (RFC 4514, 3).
const SHORT: [(&str, &str); 8] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
];

/// The name as text, for people: `CN=…, O=…`.
pub(crate) fn name_text(name: &Any) -> Result<String, X509Error> {
    let name: RdnSequence = der::Decode::from_der(&name.to_der()?)?;
    let attribute = |attribute: &AttributeTypeAndValue| {
        let oid = attribute.oid.to_string();
        let short = SHORT.iter().find(|(known, _)| *known == oid).map_or(oid.as_str(), |(_, short)| short);
        format!("{short}={}", String::from_utf8_lossy(attribute.value.value()))
    };
    let all: Vec<String> = name.iter().flat_map(|relative| relative.iter()).map(attribute).collect();
    Ok(all.join(", "))
}
