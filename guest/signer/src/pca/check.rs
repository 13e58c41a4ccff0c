//! The constraints of the service model on what several operations take.

use crate::names::Named;
use crate::validate::{Characters, Check};

use super::names::ValidityType;
use super::types::{ApiPassthrough, GeneralName, RevocationConfiguration, Subject, Tag, Validity};

const OID: &str = "([0-2])\\.([0-9]|([0-3][0-9]))((\\.([0-9]+)){0,126})";
const ARN: &str = "arn:[\\w+=/,.@-]+:acm-pca:[\\w+=/,.@-]*:[0-9]*:[\\w+=,.@-]+(/[\\w+=,.@-]+)*";

/// Idempotency tokens.
const TOKEN: Characters = Characters {
    pattern: r"[\u0009\u000A\u000D\u0020-\u00FF]*",
    test: |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}'),
};
/// Names of hosts with a port or a path.
const CNAME: Characters = Characters {
    pattern: "[-a-zA-Z0-9;/?:@&=+$,%_.!~*()']*",
    test: |c| c.is_ascii_alphanumeric() || "-;/?:@&=+$,%_.!~*()'".contains(c),
};
/// Paths.
const PATH: Characters = Characters {
    pattern: "(/|[-a-zA-Z0-9;?:@&=+$,%_.!~*()']+(/[-a-zA-Z0-9;?:@&=+$,%_.!~*()']+)*)",
    test: CNAME.test,
};
/// S3 buckets.
const BUCKET: Characters =
    Characters { pattern: "[-a-zA-Z0-9._/]+", test: |c| c.is_ascii_alphanumeric() || "-._/".contains(c) };
/// PrintableString, as the service model has it.
const PRINTABLE: Characters = Characters {
    pattern: "[a-zA-Z0-9'()+-.?:/= ]*",
    test: |c| c.is_ascii_alphanumeric() || "'()+,-.?:/= ".contains(c),
};
/// Letters.
const COUNTRY: Characters = Characters { pattern: "[A-Za-z]{2}", test: |c| c.is_ascii_alphabetic() };
/// base64.
const BASE64: Characters = Characters {
    pattern: "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
    test: |c| c.is_ascii_alphanumeric() || "+/=".contains(c),
};
/// Tags.
const TAG: Characters = Characters {
    pattern: r"([\p{L}\p{Z}\p{N}_.:/=+\-@]*)",
    test: |c| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c),
};

/// An ARN that must be there.
pub(super) fn arn(check: &mut Check, member: &str, value: &Option<String>) {
    check.required(member, value);
    check.text(member, value.as_deref(), 5, 200);
    check.matches(member, value.as_deref(), ARN, is_arn);
}

/// An ARN that need not.
pub(super) fn optional_arn(check: &mut Check, member: &str, value: &Option<String>) {
    if value.is_some() {
        arn(check, member, value);
    }
}

fn is_arn(text: &str) -> bool {
    let in_part = |c: char| c.is_alphanumeric() || "_+=/,.@-".contains(c);
    let mut parts = text.splitn(6, ':');
    let mut next = || parts.next().unwrap_or(" ");
    let (arn, partition, service, region, account, resource) =
        (next(), next(), next(), next(), next(), next());
    arn == "arn"
        && !partition.is_empty()
        && partition.chars().all(in_part)
        && service == "acm-pca"
        && region.chars().all(in_part)
        && account.chars().all(|c| c.is_ascii_digit())
        && resource.split('/').all(|part| !part.is_empty() && part.chars().all(in_part))
}

/// An idempotency token.
pub(super) fn token(check: &mut Check, value: &Option<String>) {
    check.text("idempotencyToken", value.as_deref(), 1, 36);
    check.characters("idempotencyToken", value.as_deref(), TOKEN);
}

/// How many entries a page has, and where it begins.
pub(super) fn page(check: &mut Check, max_results: Option<i64>, token: Option<&str>) {
    check.number("maxResults", max_results, 1, 1000);
    check.text("nextToken", token, 1, 43_739);
}

/// Tags, of which there must be one; what they may be is for [`super::tags`] to say.
pub(super) fn tags(check: &mut Check, value: &Option<Vec<Tag>>) {
    check.list("tags", value, 1, 50);
    for (index, tag) in (1..).zip(value.iter().flatten()) {
        let key = format!("tags.{index}.member.key");
        check.required(&key, &tag.key);
        check.text(&key, tag.key.as_deref(), 1, 128);
        check.characters(&key, tag.key.as_deref(), TAG);
        let value = format!("tags.{index}.member.value");
        check.text(&value, tag.value.as_deref(), 0, 256);
        check.characters(&value, tag.value.as_deref(), TAG);
    }
}

/// An object identifier.
pub(super) fn oid(check: &mut Check, member: &str, value: &Option<String>) {
    check.text(member, value.as_deref(), 0, 64);
    check.matches(member, value.as_deref(), OID, |text| {
        let mut arcs = text.split('.');
        let number = |arc: &str| !arc.is_empty() && arc.bytes().all(|byte| byte.is_ascii_digit());
        matches!(arcs.next(), Some("0" | "1" | "2"))
            && arcs.next().is_some_and(|second| number(second) && second.parse().is_ok_and(|n: u32| n < 40))
            && arcs.all(number)
    });
}

/// A name.
pub(super) fn subject(check: &mut Check, member: &str, subject: &Subject) {
    let texts = [
        ("organization", &subject.organization, 64),
        ("organizationalUnit", &subject.organizational_unit, 64),
        ("distinguishedNameQualifier", &subject.distinguished_name_qualifier, 64),
        ("state", &subject.state, 128),
        ("commonName", &subject.common_name, 64),
        ("serialNumber", &subject.serial_number, 64),
        ("locality", &subject.locality, 128),
        ("title", &subject.title, 64),
        ("surname", &subject.surname, 40),
        ("givenName", &subject.given_name, 16),
        ("initials", &subject.initials, 5),
        ("pseudonym", &subject.pseudonym, 128),
        ("generationQualifier", &subject.generation_qualifier, 3),
    ];
    for (name, value, longest) in texts {
        check.text(&format!("{member}.{name}"), value.as_deref(), 0, longest);
    }
    let printable = [
        ("distinguishedNameQualifier", &subject.distinguished_name_qualifier),
        ("serialNumber", &subject.serial_number),
    ];
    for (name, value) in printable {
        check.characters(&format!("{member}.{name}"), value.as_deref(), PRINTABLE);
    }
    let country = format!("{member}.country");
    check.text(&country, subject.country.as_deref(), 2, 2);
    check.characters(&country, subject.country.as_deref(), COUNTRY);
    let custom = format!("{member}.customAttributes");
    check.list(&custom, &subject.custom_attributes, 1, 150);
    for (index, attribute) in (1..).zip(subject.custom_attributes.iter().flatten()) {
        let name = format!("{custom}.{index}.member.objectIdentifier");
        check.required(&name, &attribute.object_identifier);
        oid(check, &name, &attribute.object_identifier);
        let name = format!("{custom}.{index}.member.value");
        check.required(&name, &attribute.value);
        check.text(&name, attribute.value.as_deref(), 1, 256);
    }
}

/// A name of some kind.
pub(super) fn general_name(check: &mut Check, member: &str, name: &GeneralName) {
    let texts = [
        ("rfc822Name", &name.rfc822_name, 256),
        ("dnsName", &name.dns_name, 253),
        ("uniformResourceIdentifier", &name.uniform_resource_identifier, 253),
        ("ipAddress", &name.ip_address, 39),
    ];
    for (kind, value, longest) in texts {
        check.text(&format!("{member}.{kind}"), value.as_deref(), 0, longest);
    }
    oid(check, &format!("{member}.registeredId"), &name.registered_id);
    if let Some(directory) = &name.directory_name {
        subject(check, &format!("{member}.directoryName"), directory);
    }
    if let Some(other) = &name.other_name {
        check.required(&format!("{member}.otherName.typeId"), &other.type_id);
        oid(check, &format!("{member}.otherName.typeId"), &other.type_id);
        check.required(&format!("{member}.otherName.value"), &other.value);
        check.text(&format!("{member}.otherName.value"), other.value.as_deref(), 0, 256);
    }
    if let Some(party) = &name.edi_party_name {
        check.required(&format!("{member}.ediPartyName.partyName"), &party.party_name);
        check.text(&format!("{member}.ediPartyName.partyName"), party.party_name.as_deref(), 0, 256);
        check.text(&format!("{member}.ediPartyName.nameAssigner"), party.name_assigner.as_deref(), 0, 256);
    }
}

/// How others learn what is revoked.
pub(super) fn revocation(check: &mut Check, value: &Option<RevocationConfiguration>) {
    let Some(value) = value else { return };
    if let Some(crl) = &value.crl_configuration {
        let member = |name: &str| format!("revocationConfiguration.crlConfiguration.{name}");
        check.required(&member("enabled"), &crl.enabled);
        check.number(&member("expirationInDays"), crl.expiration_in_days, 1, 5000);
        check.text(&member("customCname"), crl.custom_cname.as_deref(), 0, 253);
        check.characters(&member("customCname"), crl.custom_cname.as_deref(), CNAME);
        check.text(&member("s3BucketName"), crl.s3_bucket_name.as_deref(), 3, 255);
        check.characters(&member("s3BucketName"), crl.s3_bucket_name.as_deref(), BUCKET);
        one_of(
            check,
            &member("s3ObjectAcl"),
            &crl.s3_object_acl,
            &["PUBLIC_READ", "BUCKET_OWNER_FULL_CONTROL"],
        );
        one_of(check, &member("crlType"), &crl.crl_type, &["COMPLETE", "PARTITIONED"]);
        check.text(&member("customPath"), crl.custom_path.as_deref(), 0, 253);
        check.characters(&member("customPath"), crl.custom_path.as_deref(), PATH);
        if let Some(point) = &crl.crl_distribution_point_extension_configuration {
            let name = member("crlDistributionPointExtensionConfiguration.omitExtension");
            check.required(&name, &point.omit_extension);
        }
    }
    if let Some(ocsp) = &value.ocsp_configuration {
        let member = |name: &str| format!("revocationConfiguration.ocspConfiguration.{name}");
        check.required(&member("enabled"), &ocsp.enabled);
        check.text(&member("ocspCustomCname"), ocsp.ocsp_custom_cname.as_deref(), 0, 253);
        check.characters(&member("ocspCustomCname"), ocsp.ocsp_custom_cname.as_deref(), CNAME);
    }
}

/// One of these words.
pub(super) fn one_of(check: &mut Check, member: &str, value: &Option<String>, words: &[&str]) {
    if let Some(value) = value.as_deref().filter(|value| !words.contains(value)) {
        check.not_in_set(member, value, &format!("[{}]", words.join(", ")));
    }
}

/// A validity, whose type must be one.
pub(super) fn validity(
    check: &mut Check,
    member: &str,
    value: &Option<Validity>,
) -> Option<(ValidityType, i64)> {
    let value = value.as_ref()?;
    check.required(&format!("{member}.value"), &value.value);
    check.number(&format!("{member}.value"), value.value, 1, i64::MAX);
    let kind = format!("{member}.type");
    check.required(&kind, &value.kind);
    let kind = check.one_of(&kind, value.kind.as_deref());
    Some((kind?, value.value?))
}

/// A word of an enumeration that must be there.
pub(super) fn required_one_of<E: Named>(
    check: &mut Check,
    member: &str,
    value: &Option<String>,
) -> Option<E> {
    check.required(member, value);
    check.one_of(member, value.as_deref())
}

/// What the caller adds to a certificate.
pub(super) fn passthrough(check: &mut Check, given: &ApiPassthrough) {
    if let Some(given) = &given.subject {
        subject(check, "apiPassthrough.subject", given);
    }
    let Some(extensions) = &given.extensions else { return };
    let member = |name: &str| format!("apiPassthrough.extensions.{name}");
    check.list(&member("certificatePolicies"), &extensions.certificate_policies, 1, 20);
    for (index, policy) in (1..).zip(extensions.certificate_policies.iter().flatten()) {
        let id = member(&format!("certificatePolicies.{index}.member.certPolicyId"));
        check.required(&id, &policy.cert_policy_id);
        oid(check, &id, &policy.cert_policy_id);
        let qualifiers = member(&format!("certificatePolicies.{index}.member.policyQualifiers"));
        check.list(&qualifiers, &policy.policy_qualifiers, 1, 20);
        for (index, qualifier) in (1..).zip(policy.policy_qualifiers.iter().flatten()) {
            let member = |name: &str| format!("{qualifiers}.{index}.member.{name}");
            check.required(&member("policyQualifierId"), &qualifier.policy_qualifier_id);
            one_of(check, &member("policyQualifierId"), &qualifier.policy_qualifier_id, &["CPS"]);
            check.required(&member("qualifier"), &qualifier.qualifier);
            if let Some(qualifier) = &qualifier.qualifier {
                check.required(&member("qualifier.cpsUri"), &qualifier.cps_uri);
                check.text(&member("qualifier.cpsUri"), qualifier.cps_uri.as_deref(), 0, 256);
            }
        }
    }
    check.list(&member("extendedKeyUsage"), &extensions.extended_key_usage, 1, 20);
    for (index, usage) in (1..).zip(extensions.extended_key_usage.iter().flatten()) {
        let member = |name: &str| member(&format!("extendedKeyUsage.{index}.member.{name}"));
        let words = super::convert::PURPOSES.map(|(name, _)| name);
        one_of(check, &member("extendedKeyUsageType"), &usage.extended_key_usage_type, &words);
        let name = member("extendedKeyUsageObjectIdentifier");
        oid(check, &name, &usage.extended_key_usage_object_identifier);
    }
    check.list(&member("subjectAlternativeNames"), &extensions.subject_alternative_names, 1, 150);
    for (index, name) in (1..).zip(extensions.subject_alternative_names.iter().flatten()) {
        general_name(check, &member(&format!("subjectAlternativeNames.{index}.member")), name);
    }
    check.list(&member("customExtensions"), &extensions.custom_extensions, 1, 150);
    for (index, custom) in (1..).zip(extensions.custom_extensions.iter().flatten()) {
        let member = |name: &str| member(&format!("customExtensions.{index}.member.{name}"));
        check.required(&member("objectIdentifier"), &custom.object_identifier);
        oid(check, &member("objectIdentifier"), &custom.object_identifier);
        check.required(&member("value"), &custom.value);
        check.text(&member("value"), custom.value.as_deref(), 1, 4096);
        check.characters(&member("value"), custom.value.as_deref(), BASE64);
    }
}
