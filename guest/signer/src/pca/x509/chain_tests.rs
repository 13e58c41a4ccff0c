//! Chains that hang together, and each way in which one may not.

use x509_cert::ext::Extension;
use x509_cert::ext::pkix::KeyUsages;

use super::chain::{ChainError, check};
use super::{Algorithm, Certificate, Content, Extensions, Serial, X509Error, key_identifier, name};
use crate::crypto::{Hash, IssuingKey, KeySpec, KeyUsage, Material};

pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const ECDSA: Algorithm = Algorithm::Ecdsa(Hash::Sha256);
const COMMON_NAME: x509_cert::der::oid::ObjectIdentifier =
    x509_cert::der::oid::ObjectIdentifier::new_unwrap("2.5.4.3");

/// Somebody with a name and a key.
pub(super) struct Party {
    pub(super) name: &'static str,
    pub(super) key: IssuingKey,
}

/// What a certificate is to say, where it is not what it should.
pub(super) struct Says {
    pub(super) authority: Option<Option<u8>>,
    pub(super) critical: bool,
    pub(super) usages: Vec<KeyUsages>,
    pub(super) validity: (u64, u64),
    /// The key that the authority key identifier names, if not the issuer's.
    pub(super) other_key: bool,
    pub(super) more: Vec<Extension>,
}

impl Default for Says {
    fn default() -> Self {
        let usages = vec![KeyUsages::KeyCertSign, KeyUsages::CRLSign];
        let validity = (NOW - 10, NOW + 10);
        Self { authority: Some(None), critical: true, usages, validity, other_key: false, more: Vec::new() }
    }
}

impl Party {
    pub(super) fn new(name: &'static str) -> Self {
        let material = Material::generate(KeySpec::P256, KeyUsage::SignVerify).expect("a key");
        Self { name, key: IssuingKey::new(KeySpec::P256, &material).expect("a key") }
    }

    /// A certificate for `subject`.
    pub(super) fn certifies(&self, subject: &Self, says: Says) -> Certificate {
        let mut extensions = Extensions::default();
        let own = key_identifier(subject.key.spki()).expect("a key");
        let mut issuer = key_identifier(self.key.spki()).expect("a key");
        issuer.iter_mut().filter(|_| says.other_key).for_each(|byte| *byte ^= 1);
        extensions.basic_constraints(says.critical, says.authority).expect("an extension");
        extensions.key_identifiers(&own, Some(&issuer)).expect("an extension");
        extensions.key_usage(&says.usages).expect("an extension");
        let mut extensions = extensions.into_vec();
        extensions.extend(says.more);
        let content = Content {
            serial: Serial::random().expect("random"),
            issuer: &name(&[(COMMON_NAME, self.name)]).expect("a name"),
            subject: &name(&[(COMMON_NAME, subject.name)]).expect("a name"),
            public_key: subject.key.spki(),
            not_before: says.validity.0,
            not_after: says.validity.1,
            extensions,
        };
        Certificate::make(content, &self.key, ECDSA).expect("a certificate")
    }
}

fn extension(oid: &str, critical: bool) -> Vec<Extension> {
    let mut extensions = Extensions::default();
    let oid = x509_cert::der::oid::ObjectIdentifier::new_unwrap(oid);
    extensions.add_der(oid, critical, vec![0x05, 0x00]).expect("an extension");
    extensions.into_vec()
}

#[test]
fn a_chain_hangs_together() {
    let (root, middle, leaf) = (Party::new("Root"), Party::new("Middle"), Party::new("Leaf"));
    let limited = |most| Says { authority: Some(Some(most)), ..Says::default() };
    let top = root.certifies(&root, limited(1));
    let chain = [middle.certifies(&leaf, limited(0)), root.certifies(&middle, limited(0)), top];
    // Path length 0 above the leaf leaves room for certificates of others, and for no authority.
    assert_eq!(
        check(&chain, NOW),
        Err(ChainError::Link(0, "that one's path length constraint allows no authority there"))
    );
    let [leaf_certificate, _, top] = chain;
    let chain = [leaf_certificate, root.certifies(&middle, limited(1)), top];
    assert_eq!(
        check(&chain, NOW),
        Err(ChainError::Link(1, "that one's path length constraint allows no authority there"))
    );
    let [leaf_certificate, second, _] = chain;
    let chain = [leaf_certificate, second, root.certifies(&root, limited(2))];
    assert_eq!(check(&chain, NOW), Ok(()));
    let [leaf_certificate, second, top] = chain;
    // In another order, or with something missing or something more.
    assert!(matches!(
        check(&[second.clone(), leaf_certificate.clone(), top.clone()], NOW),
        Err(ChainError::Link(0, _))
    ));
    assert!(matches!(check(&[leaf_certificate.clone(), top.clone()], NOW), Err(ChainError::Link(0, _))));
    assert!(matches!(check(&[leaf_certificate.clone(), second.clone()], NOW), Err(ChainError::Link(1, _))));
    // A root that follows itself is one authority more.
    assert!(matches!(check(&[leaf_certificate, second, top.clone(), top], NOW), Err(ChainError::Link(2, _))));
}

#[test]
fn somebody_elses_signature_names_or_key_do_not_do() {
    let (root, impostor, sub) = (Party::new("Root"), Party::new("Root"), Party::new("Sub"));
    let (top, forged_top) =
        (root.certifies(&root, Says::default()), impostor.certifies(&impostor, Says::default()));
    let good = root.certifies(&sub, Says::default());
    assert_eq!(check(&[good.clone(), top.clone()], NOW), Ok(()));
    let forged = impostor.certifies(&sub, Says::default());
    let link = |certificate: Certificate, top: &Certificate| {
        check(&[certificate, top.clone()], NOW).expect_err("refused")
    };
    let keys = ChainError::Link(0, "its authority key identifier is not that one's subject key identifier");
    assert_eq!(link(forged, &top), keys);
    assert_eq!(link(good.clone(), &forged_top), keys);
    assert_eq!(link(root.certifies(&sub, Says { other_key: true, ..Says::default() }), &top), keys);
    // The same names and identifiers, one bit of the signature changed.
    let mut der = good.der().to_vec();
    *der.last_mut().expect("bytes") ^= 1;
    let spoilt = Certificate::parse(der).expect("still a certificate");
    assert_eq!(link(spoilt, &top), ChainError::Link(0, "its signature is not one of that one's key"));
    let other = Party::new("Other");
    let named = ChainError::Link(0, "its issuer is not that one's subject");
    assert_eq!(link(good, &other.certifies(&other, Says::default())), named);
}

#[test]
fn every_certificate_is_one_of_an_authority() {
    let (root, sub) = (Party::new("Root"), Party::new("Sub"));
    let top = root.certifies(&root, Says::default());
    let cases = [
        (Says { authority: None, ..Says::default() }, "CA:FALSE"),
        (Says { critical: false, ..Says::default() }, "no critical basic constraints"),
        (Says { usages: vec![KeyUsages::DigitalSignature], ..Says::default() }, "key usage"),
        (Says { validity: (NOW + 1, NOW + 2), ..Says::default() }, "not yet valid"),
        (Says { validity: (NOW - 2, NOW - 1), ..Says::default() }, "expired"),
        (Says { more: extension("1.2.3.4", true), ..Says::default() }, "critical that must not be"),
        (Says { more: extension("1.3.6.1.5.5.7.1.1", true), ..Says::default() }, "critical that must not be"),
        (Says { more: extension("2.5.29.31", true), ..Says::default() }, "critical that must not be"),
        (Says { more: extension("2.5.29.14", false), ..Says::default() }, "there twice"),
    ];
    for (says, reason) in cases {
        let error = check(&[root.certifies(&sub, says), top.clone()], NOW).expect_err(reason);
        let ChainError::Certificate(0, X509Error::Refused(why)) = error else { panic!("{error}") };
        assert!(why.contains(reason), "{why} for {reason}");
    }
    let harmless = Says { more: extension("1.2.3.4", false), usages: Vec::new(), ..Says::default() };
    assert_eq!(check(&[root.certifies(&sub, harmless), top.clone()], NOW), Ok(()));
    // The root's own time is looked at, too.
    let old = root.certifies(&root, Says { validity: (NOW - 2, NOW - 1), ..Says::default() });
    let chain = [root.certifies(&sub, Says::default()), old];
    assert!(matches!(check(&chain, NOW), Err(ChainError::Certificate(1, _))));
}

#[test]
fn what_is_no_certificate_is_refused_without_a_panic() {
    let root = Party::new("Root");
    let good = root.certifies(&root, Says::default()).der().to_vec();
    for at in 0..good.len() {
        let mut spoilt = good.clone();
        spoilt[at] ^= 0x55;
        // Most are no certificates; of the others none is what it was.
        if let Ok(certificate) = Certificate::parse(spoilt) {
            assert!(check(&[certificate], NOW).is_err(), "byte {at}");
        }
        assert!(Certificate::parse(good[..at].to_vec()).is_err(), "cut off at {at}");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(Certificate::parse(longer).is_err(), "something follows");
}
