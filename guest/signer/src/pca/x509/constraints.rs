//! Name constraints (RFC 5280, 4.2.1.10): which names may be in certificates below an authority.
//!
//! AWS enforces those of imported certificates for the same five forms of name, and imports none with constraints of another
//! form; so does this. In doubt a name is refused: one that cannot be compared is neither permitted nor clear of what is
//! excluded, and an address in a subject counts even beside a subject alternative name.

use x509_cert::der::oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::der::{Any, AnyRef, Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{NameConstraints, SubjectAltName};

use super::{Certificate, X509Error};

/// The emailAddress attribute of subjects (RFC 5280, 4.1.2.6).
const EMAIL_ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.1");

// The forms of a GeneralName (RFC 5280, 4.2.1.6), by their tags.
const EMAIL: u32 = 1;
const DNS: u32 = 2;
const DIRECTORY: u32 = 4;
const URI: u32 = 6;
const ADDRESS: u32 = 7;

/// A GeneralName: its form and its content.
type Name<'a> = (u32, &'a [u8]);

/// The constraints of an authority, with those of another kind than we can enforce refused.
pub(crate) struct Constraints<'a> {
    permitted: Vec<Name<'a>>,
    excluded: Vec<Name<'a>>,
}

impl<'a> Constraints<'a> {
    /// Those of a certificate; none where it has none.
    pub(crate) fn of(certificate: &'a Certificate) -> Result<Self, X509Error> {
        let mut all = Self { permitted: Vec::new(), excluded: Vec::new() };
        let Some(extension) = certificate.raw_extension(NameConstraints::OID) else { return Ok(all) };
        for part in parts(AnyRef::from_der(extension.extn_value.as_bytes())?.value())? {
            let list = match part.tag().number().value() {
                0 => &mut all.permitted,
                1 => &mut all.excluded,
                _ => return Err(X509Error::Refused("its name constraints are malformed")),
            };
            for subtree in parts(part.value())? {
                // Distances, which nobody may have (RFC 5280), would come after the name.
                let &[base] = &parts(subtree.value())?[..] else {
                    return Err(X509Error::Refused("its name constraints have distances"));
                };
                let name = general_name(base);
                if !matches!(name.0, EMAIL | DNS | DIRECTORY | URI | ADDRESS) {
                    return Err(X509Error::Refused(
                        "its name constraints are for an unsupported form of name",
                    ));
                }
                list.push(name);
            }
        }
        Ok(all)
    }

    /// Whether a certificate with this subject and these extensions may be below.
    pub(crate) fn allow(&self, subject: &Any, extensions: &[Extension]) -> Result<bool, X509Error> {
        if self.permitted.is_empty() && self.excluded.is_empty() {
            return Ok(true);
        }
        let subject = subject.to_der()?;
        let mut names = Vec::new();
        for relative in parts(AnyRef::from_der(&subject)?.value())? {
            // A subject without parts names nobody.
            names.extend(Some((DIRECTORY, &subject[..])).filter(|_| names.is_empty()));
            for attribute in parts(relative.value())? {
                if let &[kind, value] = &parts(attribute.value())?[..]
                    && kind.value() == EMAIL_ADDRESS.as_bytes()
                {
                    names.push((EMAIL, value.value()));
                }
            }
        }
        let alternative = extensions.iter().filter(|extension| extension.extn_id == SubjectAltName::OID);
        for extension in alternative {
            let list = AnyRef::from_der(extension.extn_value.as_bytes())?;
            names.extend(parts(list.value())?.into_iter().map(general_name));
        }
        Ok(names.into_iter().all(|name| self.allows(name)))
    }

    fn allows(&self, name: Name<'_>) -> bool {
        let of_form = |list: &[Name<'a>]| -> Vec<Name<'a>> {
            list.iter().filter(|(form, _)| *form == name.0).copied().collect()
        };
        let (permitted, excluded) = (of_form(&self.permitted), of_form(&self.excluded));
        let clear = excluded.iter().all(|subtree| within(name, subtree.1, true) == Some(false));
        let permits = permitted.iter().any(|subtree| within(name, subtree.1, false) == Some(true));
        clear && (permits || permitted.is_empty())
    }
}

/// What lies one after the other in these bytes.
fn parts(bytes: &[u8]) -> Result<Vec<AnyRef<'_>>, X509Error> {
    let mut reader = SliceReader::new(bytes)?;
    let mut parts = Vec::new();
    while !reader.is_finished() {
        parts.push(AnyRef::decode(&mut reader)?);
    }
    Ok(parts)
}

fn general_name(name: AnyRef<'_>) -> Name<'_> {
    match name.tag() {
        Tag::ContextSpecific { number, .. } => (number.value(), name.value()),
        // No GeneralName, and of no form that is compared.
        _ => (u32::MAX, name.value()),
    }
}

/// Whether a name lies in a subtree of its form; `None` if it cannot be said. A wildcard stands for all that it may become
/// where that matters: if the subtree is one of those that are excluded.
fn within(name: Name<'_>, subtree: &[u8], excluded: bool) -> Option<bool> {
    match name.0 {
        DIRECTORY => {
            let (name, subtree) = (relatives(name.1)?, relatives(subtree)?);
            Some(name.starts_with(&subtree))
        }
        ADDRESS => {
            let (network, mask) = subtree.split_at_checked(subtree.len() / 2)?;
            let same = |((byte, network), mask): ((&u8, &u8), &u8)| byte & mask == network & mask;
            Some(name.1.len() == network.len() && name.1.iter().zip(network).zip(mask).all(same))
        }
        form => {
            let text = |bytes| {
                Some(std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii())?.to_ascii_lowercase())
            };
            let (name, subtree) = (text(name.1)?, text(subtree)?);
            let name = name.trim_end_matches('.');
            match form {
                DNS => Some(is_below(name, &subtree) || excluded && wildcard_covers(name, &subtree)),
                EMAIL => {
                    let (_, host) = name.rsplit_once('@')?;
                    Some(if subtree.contains('@') { name == subtree } else { is_host(host, &subtree) })
                }
                URI => Some(is_host(host_of(name)?, &subtree)),
                _ => None,
            }
        }
    }
}

/// Whether a host is that one, or below it: of a name with a dot in front, only below.
fn is_below(host: &str, subtree: &str) -> bool {
    match host.strip_suffix(subtree) {
        Some(rest) => {
            rest.is_empty() || subtree.is_empty() || subtree.starts_with('.') || rest.ends_with('.')
        }
        None => false,
    }
}

/// Whether a host is that one, or, with a dot in front, below it.
fn is_host(host: &str, subtree: &str) -> bool {
    host == subtree || subtree.starts_with('.') && host.len() > subtree.len() && host.ends_with(subtree)
}

/// Whether a name with a wildcard stands for some of that subtree.
fn wildcard_covers(name: &str, subtree: &str) -> bool {
    name.strip_prefix("*.").is_some_and(|parent| is_below(subtree.trim_start_matches('.'), parent))
}

/// The host in a URI, if it is one by name (RFC 5280: others cannot comply).
fn host_of(uri: &str) -> Option<&str> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split_once(':').map_or(host, |(host, _)| host).trim_end_matches('.');
    let named =
        host.split('.').next_back().is_some_and(|label| label.bytes().any(|byte| byte.is_ascii_alphabetic()));
    named.then_some(host)
}

/// The parts of a distinguished name, in a form that compares as RFC 5280, 7.1 wants it: without the kind of string, capitals,
/// and blanks that do not count.
fn relatives(name: &[u8]) -> Option<Vec<Vec<Vec<u8>>>> {
    let sequence = AnyRef::from_der(name).ok()?;
    let relative = |set: AnyRef<'_>| {
        let mut attributes = Vec::new();
        for attribute in parts(set.value()).ok()? {
            let &[kind, value] = &parts(attribute.value()).ok()?[..] else { return None };
            let mut canonical = kind.to_der().ok()?;
            for word in value.value().split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
                canonical.push(b' ');
                canonical.extend(word.to_ascii_lowercase());
            }
            attributes.push(canonical);
        }
        attributes.sort_unstable();
        Some(attributes)
    };
    parts(sequence.value()).ok()?.into_iter().map(relative).collect()
}
