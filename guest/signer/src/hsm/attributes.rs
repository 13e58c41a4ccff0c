//! What attributes there are, and when each may be given: PKCS#11 3.1, sections 4.1 to 4.10, as one table.
//!
//! A template is checked against the table before anything looks at it: a type that the class does not have is
//! `CKR_ATTRIBUTE_TYPE_INVALID`, one that cannot be given in this way `CKR_ATTRIBUTE_READ_ONLY`, a value of the wrong form
//! `CKR_ATTRIBUTE_VALUE_INVALID`, a type that comes twice `CKR_TEMPLATE_INCONSISTENT`.

use casemate_hsm::attribute::{self, CKA_CASEMATE_OWNER, CKA_CASEMATE_QUORUM};
use casemate_hsm::ck::*;
use casemate_hsm::{Attribute, Bytes, limits};

use super::fault::{Fault, Rv, refuse};

/// What a value looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Flag,
    Number,
    Numbers,
    /// `CK_DATE`, or empty.
    Date,
    Bytes,
}

/// How a template is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// CreateObject.
    Create = 1,
    /// GenerateKey, GenerateKeyPair.
    Generate = 2,
    /// UnwrapKey, DeriveKey.
    Unwrap = 4,
    /// SetAttributes.
    Set = 8,
    /// CopyObject.
    Copy = 16,
}

const C: u8 = Use::Create as u8;
const G: u8 = Use::Generate as u8;
const U: u8 = Use::Unwrap as u8;
const S: u8 = Use::Set as u8;
const Y: u8 = Use::Copy as u8;
/// When an object is made, in whatever way.
const M: u8 = C | G | U;
/// Always.
const A: u8 = M | S | Y;

const DATA: u8 = 1;
const CERT: u8 = 2;
const PUBLIC: u8 = 4;
const PRIVATE: u8 = 8;
const SECRET: u8 = 16;
const KEYS: u8 = PUBLIC | PRIVATE | SECRET;
const OWN: u8 = PRIVATE | SECRET;
const ALL: u8 = DATA | CERT | KEYS;

struct Rule {
    kind: u64,
    form: Form,
    classes: u8,
    given: u8,
}

const fn rule(kind: u64, form: Form, classes: u8, given: u8) -> Rule {
    Rule { kind, form, classes, given }
}

const RULES: &[Rule] = &[
    rule(CKA_CLASS, Form::Number, ALL, M),
    rule(CKA_TOKEN, Form::Flag, ALL, M | Y),
    rule(CKA_PRIVATE, Form::Flag, ALL, M | Y),
    rule(CKA_LABEL, Form::Bytes, ALL, A),
    rule(CKA_UNIQUE_ID, Form::Bytes, ALL, 0),
    rule(CKA_MODIFIABLE, Form::Flag, ALL, M | Y),
    rule(CKA_COPYABLE, Form::Flag, ALL, A),
    rule(CKA_DESTROYABLE, Form::Flag, ALL, A),
    rule(CKA_CASEMATE_OWNER, Form::Bytes, ALL, 0),
    rule(CKA_APPLICATION, Form::Bytes, DATA, C | S | Y),
    rule(CKA_OBJECT_ID, Form::Bytes, DATA, C | S | Y),
    rule(CKA_VALUE, Form::Bytes, DATA, C | S | Y),
    rule(CKA_VALUE, Form::Bytes, CERT | KEYS, C),
    rule(CKA_CERTIFICATE_TYPE, Form::Number, CERT, C),
    rule(CKA_CERTIFICATE_CATEGORY, Form::Number, CERT, C | S | Y),
    rule(CKA_JAVA_MIDP_SECURITY_DOMAIN, Form::Number, CERT, C),
    rule(CKA_CHECK_VALUE, Form::Bytes, CERT, C),
    rule(CKA_SUBJECT, Form::Bytes, CERT | PUBLIC | PRIVATE, A),
    rule(CKA_ID, Form::Bytes, CERT | KEYS, A),
    rule(CKA_ISSUER, Form::Bytes, CERT, C | S | Y),
    rule(CKA_SERIAL_NUMBER, Form::Bytes, CERT, C | S | Y),
    rule(CKA_URL, Form::Bytes, CERT, C),
    rule(CKA_HASH_OF_SUBJECT_PUBLIC_KEY, Form::Bytes, CERT, C),
    rule(CKA_HASH_OF_ISSUER_PUBLIC_KEY, Form::Bytes, CERT, C),
    rule(CKA_NAME_HASH_ALGORITHM, Form::Number, CERT, C),
    rule(CKA_START_DATE, Form::Date, CERT | KEYS, A),
    rule(CKA_END_DATE, Form::Date, CERT | KEYS, A),
    rule(CKA_PUBLIC_KEY_INFO, Form::Bytes, CERT | PUBLIC | PRIVATE, C),
    rule(CKA_TRUSTED, Form::Flag, CERT | PUBLIC | SECRET, M | S),
    rule(CKA_KEY_TYPE, Form::Number, KEYS, M),
    rule(CKA_DERIVE, Form::Flag, KEYS, A),
    rule(CKA_LOCAL, Form::Flag, KEYS, 0),
    rule(CKA_KEY_GEN_MECHANISM, Form::Number, KEYS, 0),
    rule(CKA_ALLOWED_MECHANISMS, Form::Numbers, KEYS, M),
    rule(CKA_ENCRYPT, Form::Flag, PUBLIC | SECRET, A),
    rule(CKA_VERIFY, Form::Flag, PUBLIC | SECRET, A),
    rule(CKA_VERIFY_RECOVER, Form::Flag, PUBLIC, A),
    rule(CKA_WRAP, Form::Flag, PUBLIC | SECRET, A),
    rule(CKA_DECRYPT, Form::Flag, OWN, A),
    rule(CKA_SIGN, Form::Flag, OWN, A),
    rule(CKA_SIGN_RECOVER, Form::Flag, PRIVATE, A),
    rule(CKA_UNWRAP, Form::Flag, OWN, A),
    rule(CKA_SENSITIVE, Form::Flag, OWN, A),
    rule(CKA_EXTRACTABLE, Form::Flag, OWN, A),
    rule(CKA_WRAP_WITH_TRUSTED, Form::Flag, OWN, A),
    rule(CKA_CASEMATE_QUORUM, Form::Number, OWN, A),
    rule(CKA_ALWAYS_SENSITIVE, Form::Flag, OWN, 0),
    rule(CKA_NEVER_EXTRACTABLE, Form::Flag, OWN, 0),
    rule(CKA_ALWAYS_AUTHENTICATE, Form::Flag, PRIVATE, M | Y),
    rule(CKA_VALUE_LEN, Form::Number, SECRET, G | U),
    rule(CKA_CHECK_VALUE, Form::Bytes, SECRET, 0),
    rule(CKA_MODULUS_BITS, Form::Number, PUBLIC, G),
    rule(CKA_MODULUS, Form::Bytes, PUBLIC | PRIVATE, C),
    rule(CKA_PUBLIC_EXPONENT, Form::Bytes, PUBLIC, C | G),
    rule(CKA_PUBLIC_EXPONENT, Form::Bytes, PRIVATE, C),
    rule(CKA_PRIVATE_EXPONENT, Form::Bytes, PRIVATE, C),
    rule(CKA_PRIME_1, Form::Bytes, PRIVATE, C),
    rule(CKA_PRIME_2, Form::Bytes, PRIVATE, C),
    rule(CKA_EXPONENT_1, Form::Bytes, PRIVATE, C),
    rule(CKA_EXPONENT_2, Form::Bytes, PRIVATE, C),
    rule(CKA_COEFFICIENT, Form::Bytes, PRIVATE, C),
    rule(CKA_EC_PARAMS, Form::Bytes, PUBLIC, C | G),
    rule(CKA_EC_PARAMS, Form::Bytes, PRIVATE, C),
    rule(CKA_EC_POINT, Form::Bytes, PUBLIC | PRIVATE, C),
    rule(CKA_PARAMETER_SET, Form::Number, PUBLIC, C | G),
    rule(CKA_PARAMETER_SET, Form::Number, PRIVATE, C),
    rule(CKA_SEED, Form::Bytes, PRIVATE, C),
];

fn class_bit(class: u64) -> Option<u8> {
    Some(match class {
        CKO_DATA => DATA,
        CKO_CERTIFICATE => CERT,
        CKO_PUBLIC_KEY => PUBLIC,
        CKO_PRIVATE_KEY => PRIVATE,
        CKO_SECRET_KEY => SECRET,
        _ => return None,
    })
}

/// Whether objects of a class have attributes of that type.
pub(super) fn has(class: u64, kind: u64) -> bool {
    class_bit(class).is_some_and(|bit| RULES.iter().any(|rule| rule.kind == kind && rule.classes & bit != 0))
}

/// A template that says nothing twice and has whole values.
#[derive(Default)]
pub(super) struct Given(Vec<(u64, Bytes)>);

impl Given {
    /// The attributes of a template. A value that is missing is one.
    pub(super) fn new(template: Option<Vec<Attribute>>) -> Result<Self, Fault> {
        let mut given: Vec<(u64, Bytes)> = Vec::new();
        for Attribute { kind, value } in template.unwrap_or_default() {
            let value = value.unwrap_or_default();
            if given.iter().any(|(known, _)| *known == kind) {
                return refuse(Rv::CKR_TEMPLATE_INCONSISTENT, "The template has an attribute twice.");
            }
            if value.len() > limits::VALUE_MAX || given.len() >= limits::TEMPLATE_MAX {
                return refuse(Rv::CKR_ATTRIBUTE_VALUE_INVALID, "The template is too long.");
            }
            given.push((kind, value));
        }
        Ok(Self(given))
    }

    /// All of them, in the order in which they were given.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.0.iter().map(|(kind, value)| (*kind, value.as_slice()))
    }

    /// The value given for a type.
    pub(super) fn get(&self, kind: u64) -> Option<&[u8]> {
        self.iter().find(|(known, _)| *known == kind).map(|(_, value)| value)
    }

    /// The same, for a type that must be given.
    pub(super) fn need(&self, kind: u64) -> Result<&[u8], Fault> {
        self.get(kind).map_or_else(
            || refuse(Rv::CKR_TEMPLATE_INCOMPLETE, "The template lacks an attribute that it must have."),
            Ok,
        )
    }

    /// A number given for a type.
    pub(super) fn number(&self, kind: u64) -> Option<u64> {
        self.get(kind).and_then(attribute::number)
    }

    /// A truth value given for a type.
    pub(super) fn flag(&self, kind: u64) -> Option<bool> {
        self.get(kind).and_then(attribute::flag)
    }

    /// Whether a number, if it is given, is this one.
    pub(super) fn agrees(&self, kind: u64, value: u64) -> Result<(), Fault> {
        match self.get(kind) {
            Some(given) if attribute::number(given) != Some(value) => {
                refuse(Rv::CKR_TEMPLATE_INCONSISTENT, "The template contradicts the mechanism or itself.")
            }
            _ => Ok(()),
        }
    }

    /// Checks every attribute against the rules.
    pub(super) fn check(&self, class: u64, used: Use) -> Result<(), Fault> {
        let Some(bit) = class_bit(class) else {
            return refuse(Rv::CKR_ATTRIBUTE_VALUE_INVALID, "The token has no objects of that class.");
        };
        for (kind, value) in self.iter() {
            let mut rules = RULES.iter().filter(|rule| rule.kind == kind && rule.classes & bit != 0);
            let Some(rule) = rules.next() else {
                return refuse(
                    Rv::CKR_ATTRIBUTE_TYPE_INVALID,
                    "Objects of that class have no such attribute.",
                );
            };
            if rule.given & used as u8 == 0 {
                return refuse(
                    Rv::CKR_ATTRIBUTE_READ_ONLY,
                    "The attribute cannot be given here: the token sets it, or it stays as it is.",
                );
            }
            if !rule.form.is(value) {
                return refuse(Rv::CKR_ATTRIBUTE_VALUE_INVALID, "An attribute's value is not of its type.");
            }
        }
        Ok(())
    }
}

impl Form {
    fn is(self, value: &[u8]) -> bool {
        match self {
            Self::Flag => attribute::flag(value).is_some(),
            Self::Number => attribute::number(value).is_some(),
            Self::Numbers => value.len().is_multiple_of(8),
            Self::Date => value.is_empty() || is_date(value),
            Self::Bytes => true,
        }
    }
}

/// `CK_DATE`: four digits of a year, two of a month, two of a day.
fn is_date(value: &[u8]) -> bool {
    let number = |part: &[u8]| std::str::from_utf8(part).ok().and_then(|digits| digits.parse::<u32>().ok());
    value.len() == 8
        && value.iter().all(u8::is_ascii_digit)
        && value.get(4..6).and_then(number).is_some_and(|month| (1..=12).contains(&month))
        && value.get(6..8).and_then(number).is_some_and(|day| (1..=31).contains(&day))
}
