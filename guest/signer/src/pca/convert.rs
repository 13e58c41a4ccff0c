//! From the API's structures to those of X.509.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use x509_cert::der::asn1::{Any, Ia5String, ObjectIdentifier, Utf8StringRef};
use x509_cert::der::{self, Decode as _, Encode as _};
use x509_cert::ext::pkix::certpolicy::{PolicyInformation, PolicyQualifierInfo};
use x509_cert::ext::pkix::name::{DirectoryString, EdiPartyName, GeneralName, OtherName};
use x509_cert::ext::pkix::{AccessDescription, CertificatePolicies, KeyUsages, SubjectInfoAccessSyntax};
use x509_cert::name::Name;

use crate::errors::KmsError;

use super::ask::invalid_args;
use super::types;
use super::x509::{self, Extensions};

/// Something that a structure cannot hold.
fn malformed(what: &'static str) -> impl Fn(der::Error) -> KmsError {
    move |_| invalid_args(format!("{what} has a value that X.509 cannot hold."))
}

/// An object identifier.
pub(super) fn oid(text: &Option<String>) -> Result<ObjectIdentifier, KmsError> {
    let text = text.as_deref().unwrap_or_default();
    ObjectIdentifier::new(text).map_err(|_| invalid_args(format!("{text:?} is not an object identifier.")))
}

/// A name: its attributes in the order of the service model.
pub(super) fn subject(subject: &types::Subject) -> Result<Any, KmsError> {
    let types::Subject { custom_attributes, .. } = subject;
    let standard: [(&str, &Option<String>); 14] = [
        ("2.5.4.6", &subject.country),
        ("2.5.4.10", &subject.organization),
        ("2.5.4.11", &subject.organizational_unit),
        ("2.5.4.46", &subject.distinguished_name_qualifier),
        ("2.5.4.8", &subject.state),
        ("2.5.4.3", &subject.common_name),
        ("2.5.4.5", &subject.serial_number),
        ("2.5.4.7", &subject.locality),
        ("2.5.4.12", &subject.title),
        ("2.5.4.4", &subject.surname),
        ("2.5.4.42", &subject.given_name),
        ("2.5.4.43", &subject.initials),
        ("2.5.4.65", &subject.pseudonym),
        ("2.5.4.44", &subject.generation_qualifier),
    ];
    let mut all = Vec::new();
    for (oid, value) in standard {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            all.push((ObjectIdentifier::new_unwrap(oid), value));
        }
    }
    if custom_attributes.is_some() && !all.is_empty() {
        return Err(invalid_args(
            "CustomAttributes cannot be used together with other attributes of a subject.",
        ));
    }
    for attribute in custom_attributes.iter().flatten() {
        all.push((oid(&attribute.object_identifier)?, attribute.value.as_deref().unwrap_or_default()));
    }
    x509::name(&all).map_err(malformed("The subject"))
}

/// A name of some kind.
pub(super) fn general_name(name: &types::GeneralName) -> Result<GeneralName, KmsError> {
    let ia5 = |text: &str| Ia5String::new(text).map_err(malformed("A name"));
    let mut all = Vec::new();
    if let Some(types::OtherName { type_id, value }) = &name.other_name {
        let value =
            Utf8StringRef::new(value.as_deref().unwrap_or_default()).map_err(malformed("OtherName"))?;
        all.push(GeneralName::OtherName(OtherName { type_id: oid(type_id)?, value: Any::from(value) }));
    }
    if let Some(address) = &name.rfc822_name {
        all.push(GeneralName::Rfc822Name(ia5(address)?));
    }
    if let Some(name) = &name.dns_name {
        all.push(GeneralName::DnsName(ia5(name)?));
    }
    if let Some(directory) = &name.directory_name {
        let der = subject(directory)?.to_der().and_then(|der| Name::from_der(&der));
        all.push(GeneralName::DirectoryName(der.map_err(malformed("DirectoryName"))?));
    }
    if let Some(types::EdiPartyName { party_name, name_assigner }) = &name.edi_party_name {
        let party_name = DirectoryString::Utf8String(party_name.clone().unwrap_or_default());
        let name_assigner = name_assigner.clone().map(DirectoryString::Utf8String);
        all.push(GeneralName::EdiPartyName(EdiPartyName { name_assigner, party_name }));
    }
    if let Some(uri) = &name.uniform_resource_identifier {
        all.push(GeneralName::UniformResourceIdentifier(ia5(uri)?));
    }
    if let Some(address) = &name.ip_address {
        let parsed: IpAddr =
            address.parse().map_err(|_| invalid_args(format!("{address:?} is not an IP address.")))?;
        all.push(GeneralName::from(parsed));
    }
    if name.registered_id.is_some() {
        all.push(GeneralName::RegisteredId(oid(&name.registered_id)?));
    }
    match (all.pop(), all.is_empty()) {
        (Some(name), true) => Ok(name),
        _ => Err(invalid_args("A GeneralName must have exactly one member.")),
    }
}

/// What a key may do.
pub(super) fn key_usage(usage: &types::KeyUsage) -> Vec<KeyUsages> {
    let all = [
        (usage.digital_signature, KeyUsages::DigitalSignature),
        (usage.non_repudiation, KeyUsages::NonRepudiation),
        (usage.key_encipherment, KeyUsages::KeyEncipherment),
        (usage.data_encipherment, KeyUsages::DataEncipherment),
        (usage.key_agreement, KeyUsages::KeyAgreement),
        (usage.key_cert_sign, KeyUsages::KeyCertSign),
        (usage.crl_sign, KeyUsages::CRLSign),
        (usage.encipher_only, KeyUsages::EncipherOnly),
        (usage.decipher_only, KeyUsages::DecipherOnly),
    ];
    all.into_iter().filter(|(set, _)| *set == Some(true)).map(|(_, usage)| usage).collect()
}

/// The purposes of the service model, by their names there.
pub(super) const PURPOSES: [(&str, &str); 9] = [
    ("SERVER_AUTH", "1.3.6.1.5.5.7.3.1"),
    ("CLIENT_AUTH", "1.3.6.1.5.5.7.3.2"),
    ("CODE_SIGNING", "1.3.6.1.5.5.7.3.3"),
    ("EMAIL_PROTECTION", "1.3.6.1.5.5.7.3.4"),
    ("TIME_STAMPING", "1.3.6.1.5.5.7.3.8"),
    ("OCSP_SIGNING", "1.3.6.1.5.5.7.3.9"),
    ("SMART_CARD_LOGIN", "1.3.6.1.4.1.311.20.2.2"),
    ("DOCUMENT_SIGNING", "1.3.6.1.4.1.311.10.3.12"),
    ("CERTIFICATE_TRANSPARENCY", "1.3.6.1.4.1.11129.2.4.4"),
];

/// The purpose of that name.
pub(super) fn purpose(name: &str) -> Option<ObjectIdentifier> {
    let (_, oid) = PURPOSES.iter().find(|(known, _)| *known == name)?;
    Some(ObjectIdentifier::new_unwrap(oid))
}

fn extended_key_usage(all: &[types::ExtendedKeyUsage]) -> Result<Vec<ObjectIdentifier>, KmsError> {
    let one = |usage: &types::ExtendedKeyUsage| match (
        &usage.extended_key_usage_type,
        &usage.extended_key_usage_object_identifier,
    ) {
        (Some(name), None) => purpose(name).ok_or_else(|| invalid_args(format!("{name} is not a purpose."))),
        (None, other @ Some(_)) => oid(other),
        _ => Err(invalid_args("An ExtendedKeyUsage must have exactly one member.")),
    };
    all.iter().map(one).collect()
}

/// id-qt-cps (RFC 5280, 4.2.1.4).
const CPS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.2.1");

fn policies(all: &[types::PolicyInformation]) -> Result<CertificatePolicies, KmsError> {
    let qualifier = |qualifier: &types::PolicyQualifier| {
        let uri =
            qualifier.qualifier.as_ref().and_then(|qualifier| qualifier.cps_uri.clone()).unwrap_or_default();
        let uri = Ia5String::new(&uri).and_then(|uri| Any::encode_from(&uri)).map_err(malformed("CpsUri"))?;
        Ok(PolicyQualifierInfo { policy_qualifier_id: CPS, qualifier: Some(uri) })
    };
    let one = |policy: &types::PolicyInformation| {
        let qualifiers = policy.policy_qualifiers.iter().flatten().map(qualifier);
        let qualifiers = qualifiers.collect::<Result<Vec<_>, KmsError>>()?;
        let policy_qualifiers = Some(qualifiers).filter(|all| !all.is_empty());
        Ok(PolicyInformation { policy_identifier: oid(&policy.cert_policy_id)?, policy_qualifiers })
    };
    all.iter().map(one).collect::<Result<_, KmsError>>().map(CertificatePolicies)
}

/// Adds what the caller gives to a certificate's extensions.
pub(super) fn extensions(given: &types::Extensions, to: &mut Extensions) -> Result<(), KmsError> {
    let malformed = malformed("An extension");
    if let Some(all) = &given.certificate_policies {
        to.put(false, &policies(all)?).map_err(&malformed)?;
    }
    if let Some(all) = &given.extended_key_usage {
        to.extended_key_usage(false, extended_key_usage(all)?).map_err(&malformed)?;
    }
    if let Some(usage) = &given.key_usage {
        to.key_usage(&key_usage(usage)).map_err(&malformed)?;
    }
    if let Some(names) = &given.subject_alternative_names {
        let names = names.iter().map(general_name).collect::<Result<_, _>>()?;
        to.alternative_names(false, names).map_err(&malformed)?;
    }
    for custom in given.custom_extensions.iter().flatten() {
        let value = STANDARD.decode(custom.value.as_deref().unwrap_or_default());
        let value = value.map_err(|_| invalid_args("The value of a custom extension is not base64."))?;
        let critical = custom.critical.unwrap_or_default();
        to.add_der(oid(&custom.object_identifier)?, critical, value).map_err(&malformed)?;
    }
    Ok(())
}

/// Adds what an authority's request asks for beside basic constraints.
pub(super) fn request_extensions(given: &types::CsrExtensions, to: &mut Extensions) -> Result<(), KmsError> {
    let malformed = malformed("CsrExtensions");
    if let Some(usage) = &given.key_usage {
        to.key_usage(&key_usage(usage)).map_err(&malformed)?;
    }
    if let Some(all) = &given.subject_information_access {
        let all = all.iter().map(access).collect::<Result<_, _>>()?;
        to.put(false, &SubjectInfoAccessSyntax(all)).map_err(&malformed)?;
    }
    Ok(())
}

/// The ways to reach something, by their names in the service model.
const METHODS: [(&str, &str); 3] = [
    ("CA_REPOSITORY", "1.3.6.1.5.5.7.48.5"),
    ("RESOURCE_PKI_MANIFEST", "1.3.6.1.5.5.7.48.10"),
    ("RESOURCE_PKI_NOTIFY", "1.3.6.1.5.5.7.48.13"),
];

fn access(access: &types::AccessDescription) -> Result<AccessDescription, KmsError> {
    let method = access.access_method.clone().unwrap_or_default();
    let access_method = match (&method.access_method_type, &method.custom_object_identifier) {
        (Some(name), None) => METHODS
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, oid)| ObjectIdentifier::new_unwrap(oid))
            .ok_or_else(|| invalid_args(format!("{name} is not an access method.")))?,
        (None, other @ Some(_)) => oid(other)?,
        _ => return Err(invalid_args("An AccessMethod must have exactly one member.")),
    };
    let location = access.access_location.clone().unwrap_or_default();
    Ok(AccessDescription { access_method, access_location: general_name(&location)? })
}
