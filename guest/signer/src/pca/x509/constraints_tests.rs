//! Each form of name against each kind of constraint, with openssl's opinion beside ours.

use std::path::Path;
use std::process::Command;

use x509_cert::der::asn1::{Ia5String, OctetString};
use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::{Any, Decode as _, Encode as _};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{NameConstraints, SubjectAltName};
use x509_cert::name::Name;

use super::chain::{ChainError, check};
use super::chain_tests::{ECDSA, NOW, Party, Says};
use super::{CERTIFICATE, Certificate, Constraints, Content, Extensions, Serial, X509Error, encode};

/// A name, written as openssl writes it.
fn general_name(text: &str) -> GeneralName {
    let (form, value) = text.split_once(':').expect("a form");
    let string = || Ia5String::new(value).expect("ASCII");
    match form {
        "DNS" => GeneralName::DnsName(string()),
        "email" => GeneralName::Rfc822Name(string()),
        "URI" => GeneralName::UniformResourceIdentifier(string()),
        "IP" => {
            let bytes = value.split('.').map(|byte| byte.parse().expect("a byte")).collect::<Vec<u8>>();
            GeneralName::IpAddress(OctetString::new(bytes).expect("short"))
        }
        "dirName" => GeneralName::DirectoryName(value.parse::<Name>().expect("a name")),
        "RID" => GeneralName::RegisteredId(ObjectIdentifier::new(value).expect("an identifier")),
        _ => panic!("{text}"),
    }
}

fn extension(oid: ObjectIdentifier, critical: bool, content: &impl x509_cert::der::Encode) -> Extension {
    let extn_value = OctetString::new(content.to_der().expect("DER")).expect("short");
    Extension { extn_id: oid, critical, extn_value }
}

/// `permitted` and `excluded`, each names after a sign: `+DNS:a -DNS:b`.
fn constraints(text: &str) -> Extension {
    let some = |sign: char| {
        let names = text.split(' ').filter_map(|word| word.strip_prefix(sign));
        let subtree = |name| GeneralSubtree { base: general_name(name), minimum: 0, maximum: None };
        let all: Vec<_> = names.map(subtree).collect();
        Some(all).filter(|all| !all.is_empty())
    };
    let content = NameConstraints { permitted_subtrees: some('+'), excluded_subtrees: some('-') };
    extension(NameConstraints::OID, true, &content)
}

/// What is below: a subject, and after a bar names.
fn leaf(root: &Party, text: &str) -> Certificate {
    let (subject, names) = text.split_once('|').unwrap_or((text, ""));
    let names: Vec<_> = names.split_whitespace().map(general_name).collect();
    let mut extensions = Extensions::default();
    if !names.is_empty() {
        extensions.add(extension(SubjectAltName::OID, subject.is_empty(), &SubjectAltName(names)));
    }
    // The library has no short name for that one: an IA5String in hexadecimal digits.
    let subject = match subject.split_once("emailAddress=") {
        Some((before, address)) => format!(
            "{before}1.2.840.113549.1.9.1=#16{:02x}{}",
            address.len(),
            base16ct::lower::encode_string(address.as_bytes())
        ),
        None => subject.to_owned(),
    };
    let subject = if subject.is_empty() { Name::default() } else { subject.parse().expect("a name") };
    let subject = subject.to_der().expect("DER");
    let issuer = super::name(&[(ObjectIdentifier::new_unwrap("2.5.4.3"), root.name)]).expect("a name");
    let owner = Party::new("Leaf");
    let content = Content {
        serial: Serial::random().expect("random"),
        issuer: &issuer,
        subject: &Any::from_der(&subject).expect("a name"),
        public_key: owner.key.spki(),
        not_before: NOW - 10,
        not_after: NOW + 10,
        extensions: extensions.into_vec(),
    };
    Certificate::make(content, &root.key, ECDSA).expect("a certificate")
}

/// Whether openssl, told that it is now, validates the path.
fn openssl(folder: &Path, root: &Certificate, leaf: &Certificate) -> bool {
    let write = |name: &str, certificate: &Certificate| {
        let path = folder.join(name);
        std::fs::write(&path, encode(CERTIFICATE, certificate.der()).expect("PEM")).expect("written");
        path
    };
    let (root, leaf) = (write("root.pem", root), write("leaf.pem", leaf));
    let mut command = Command::new("openssl");
    command.args(["verify", "-attime", &NOW.to_string(), "-CAfile"]).arg(root).arg(leaf);
    let output = command.output().expect("openssl");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() || said.contains("subtree") || said.contains("name"), "{said}");
    output.status.success()
}

#[test]
fn names_are_permitted_and_excluded_as_openssl_has_it() {
    let root = Party::new("Root");
    let folder = std::env::temp_dir().join(format!("casemate-constraints-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    // Constraints, what is below, whether it may be. Where openssl is more lenient, a ! stands behind the names.
    let cases = [
        ("+DNS:example.com", "CN=x|DNS:example.com", true),
        ("+DNS:example.com", "CN=x|DNS:a.b.Example.COM", true),
        ("+DNS:example.com", "CN=x|DNS:*.example.com", true),
        ("+DNS:example.com", "CN=x|DNS:badexample.com", false),
        ("+DNS:example.com", "CN=x|DNS:example.com DNS:example.org", false),
        ("+DNS:example.com +DNS:example.org", "CN=x|DNS:example.com DNS:example.org", true),
        ("+DNS:example.com", "CN=x|email:a@b.org", true),
        ("+DNS:.example.com", "CN=x|DNS:a.example.com", true),
        ("-DNS:example.com", "CN=x|DNS:example.com", false),
        ("-DNS:example.com", "CN=x|DNS:a.example.com", false),
        ("-DNS:example.com", "CN=x|DNS:aexample.com", true),
        ("-DNS:a.example.com", "CN=x|DNS:*.example.com!", false),
        ("-DNS:example.com", "CN=x|DNS:example.com.!", false),
        ("+DNS:example.com -DNS:a.example.com", "CN=x|DNS:b.example.com", true),
        ("+DNS:example.com -DNS:a.example.com", "CN=x|DNS:a.example.com", false),
        ("+email:example.com", "CN=x|email:a@example.com", true),
        ("+email:example.com", "CN=x|email:a@sub.example.com", false),
        ("+email:.example.com", "CN=x|email:a@sub.example.com", true),
        ("+email:.example.com", "CN=x|email:a@example.com", false),
        ("+email:a@example.com", "CN=x|email:a@EXAMPLE.com", true),
        ("+email:a@example.com", "CN=x|email:b@example.com", false),
        ("-email:example.com", "CN=x|email:a@example.com", false),
        ("-email:example.com", "CN=x,emailAddress=a@example.com", false),
        ("+email:example.com", "CN=x,emailAddress=a@example.com", true),
        ("+email:example.com", "CN=x,emailAddress=a@example.org", false),
        ("+URI:example.com", "CN=x|URI:https://example.com/path", true),
        ("+URI:example.com", "CN=x|URI:https://example.com:8443", true),
        ("+URI:example.com", "CN=x|URI:https://a.example.com/", false),
        ("+URI:.example.com", "CN=x|URI:https://a.example.com/", true),
        ("+URI:example.com", "CN=x|URI:urn:a:b", false),
        ("-URI:example.com", "CN=x|URI:urn:a:b", false),
        ("-URI:example.com", "CN=x|URI:https://example.com", false),
        ("-URI:example.com", "CN=x|URI:https://example.org", true),
        ("-URI:example.com", "CN=x|URI:https://10.0.0.1/!", false),
        ("+IP:10.0.0.0.255.0.0.0", "CN=x|IP:10.1.2.3", true),
        ("+IP:10.0.0.0.255.0.0.0", "CN=x|IP:11.1.2.3", false),
        ("-IP:10.0.0.0.255.0.0.0", "CN=x|IP:10.1.2.3", false),
        ("-IP:10.0.0.0.255.0.0.0", "CN=x|IP:11.1.2.3", true),
        ("-IP:0.0.0.0.0.0.0.0", "CN=x|IP:11.1.2.3", false),
        ("+IP:10.0.0.0.255.0.0.0", "CN=x|IP:1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16", false),
        // Read from right to left (RFC 4514): the country comes first.
        ("+dirName:O=Org,C=GB", "CN=x,O=Org,C=GB", true),
        ("+dirName:O=Org,C=GB", "CN=x,O=ORG,C=gb", true),
        ("+dirName:O=Org,C=GB", "CN=x,O=Other,C=GB", false),
        ("+dirName:O=Org,C=GB", "CN=x", false),
        ("+dirName:O=Org,C=GB", "|DNS:a.b", true),
        ("-dirName:O=Org,C=GB", "CN=x,O=org,C=GB", false),
        ("-dirName:O=Org,C=GB", "CN=x,O=Organ,C=GB", true),
        ("+dirName:O=Org,C=GB", "CN=x,O=Org,C=GB|dirName:CN=y", false),
    ];
    for (rule, below, expected) in cases {
        let lenient = below.ends_with('!');
        let certificate = leaf(&root, below.trim_end_matches('!'));
        let top = root.certifies(&root, Says { more: vec![constraints(rule)], ..Says::default() });
        let rules = Constraints::of(&top).expect(rule);
        let allowed = rules.allow(certificate.subject(), certificate.extensions()).expect(below);
        assert_eq!(allowed, expected, "{rule} over {below}");
        assert_eq!(openssl(&folder, &top, &certificate), expected || lenient, "openssl: {rule} over {below}");
    }
    let _ = std::fs::remove_dir_all(&folder);
}

#[test]
fn a_chain_with_an_authority_that_is_excluded_is_refused() {
    let (root, middle, sub) = (Party::new("Root"), Party::new("Middle"), Party::new("Sub"));
    let chain = |rule: &str| {
        let top = root.certifies(&root, Says { more: vec![constraints(rule)], ..Says::default() });
        check(&[middle.certifies(&sub, Says::default()), root.certifies(&middle, Says::default()), top], NOW)
    };
    assert_eq!(chain("+DNS:example.com"), Ok(()));
    assert_eq!(chain("-dirName:CN=Root"), Ok(()), "a trust anchor's constraints are for those below");
    for rule in ["-dirName:CN=middle", "-dirName:CN=Sub", "+dirName:CN=Middle", "+dirName:O=Org"] {
        let Err(ChainError::Certificate(2, X509Error::Refused(why))) = chain(rule) else { panic!("{rule}") };
        assert!(why.contains("exclude"), "{why}");
    }
    let Err(ChainError::Certificate(2, X509Error::Refused(why))) = chain("-RID:1.2.3.4") else { panic!() };
    assert!(why.contains("unsupported form"), "{why}");
    let nonsense = Extension {
        extn_value: OctetString::new(vec![0x30, 0x03, 0x02, 0x01, 0x00]).expect("short"),
        ..constraints("+DNS:a")
    };
    let top = root.certifies(&root, Says { more: vec![nonsense], ..Says::default() });
    assert!(matches!(check(&[top], NOW), Err(ChainError::Certificate(0, X509Error::Refused(_)))));
}
