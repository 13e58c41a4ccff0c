//! Identifiers and secrets of identities, in the form that AWS gives them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::crypto::{self, CryptoError};

/// What an identifier is of (IAM user guide, "Understanding unique ID prefixes").
pub(crate) mod prefix {
    pub(crate) const USER: &str = "AIDA";
    pub(crate) const GROUP: &str = "AGPA";
    pub(crate) const ROLE: &str = "AROA";
    pub(crate) const POLICY: &str = "ANPA";
    /// An access key for good.
    pub(crate) const LASTING: &str = "AKIA";
    /// An access key of a session.
    pub(crate) const TEMPORARY: &str = "ASIA";
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// The digits of an access key's id after its prefix.
const KEY_DIGITS: u32 = 16;
/// Where, in the 80 bits of an access key's id, the account begins.
const ACCOUNT_SHIFT: u32 = 39;
/// The bits of an account's number.
const ACCOUNT_BITS: u32 = 40;

/// An identifier that no other entity ever had or will have: 85 random bits.
pub(crate) fn unique(prefix: &str) -> Result<String, CryptoError> {
    Ok(base32(prefix, random_bits()?, 17))
}

/// The id of a new access key. As on AWS, the account can be read from it: [`account_of`].
pub(crate) fn access_key(prefix: &str, account: &str) -> Result<String, CryptoError> {
    let account: u128 = account.parse().unwrap_or_default();
    let random = random_bits()? & ((1 << ACCOUNT_SHIFT) - 1);
    let top = 1 << (ACCOUNT_SHIFT + ACCOUNT_BITS);
    Ok(base32(prefix, top | account << ACCOUNT_SHIFT | random, KEY_DIGITS))
}

/// The account that an access key belongs to, or would belong to if there were one of that id.
pub(crate) fn account_of(access_key_id: &str) -> Option<String> {
    let digits = access_key_id
        .strip_prefix(prefix::LASTING)
        .or_else(|| access_key_id.strip_prefix(prefix::TEMPORARY))?;
    if digits.len() != KEY_DIGITS as usize {
        return None;
    }
    let value = digits.bytes().try_fold(0u128, |value, digit| {
        let digit = BASE32.iter().position(|known| *known == digit)?;
        Some(value << 5 | u128::try_from(digit).ok()?)
    })?;
    let account = value >> ACCOUNT_SHIFT & ((1 << ACCOUNT_BITS) - 1);
    (account < 1_000_000_000_000).then(|| format!("{account:012}"))
}

/// A secret access key: 240 random bits, as 40 characters.
pub(crate) fn secret() -> Result<Zeroizing<String>, CryptoError> {
    let mut bytes = Zeroizing::new([0; 30]);
    crypto::random(bytes.as_mut())?;
    Ok(Zeroizing::new(STANDARD.encode(*bytes)))
}

/// A random account: twelve digits, the first of which is not 0.
pub(crate) fn account() -> Result<String, CryptoError> {
    const FIRST: u128 = 100_000_000_000;
    Ok((FIRST + random_bits()? % (9 * FIRST)).to_string())
}

fn random_bits() -> Result<u128, CryptoError> {
    let mut bytes = [0; 16];
    crypto::random(&mut bytes)?;
    // One bit less: the account's first number is added to it.
    Ok(u128::from_be_bytes(bytes) >> 1)
}

/// The prefix and the lowest `digits` digits of `bits`.
fn base32(prefix: &str, bits: u128, digits: u32) -> String {
    let digit = |place: u32| {
        let digit = (bits >> (5 * place)) & 31;
        usize::try_from(digit).ok().and_then(|digit| BASE32.get(digit)).map_or('A', |byte| char::from(*byte))
    };
    prefix.chars().chain((0..digits).rev().map(digit)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_have_aws_forms_and_access_keys_name_their_account() {
        assert_eq!(unique(prefix::USER).expect("random").len(), 21);
        for account in ["000000000000", "111122223333", "999999999999"] {
            let id = access_key(prefix::LASTING, account).expect("random");
            assert_eq!((id.len(), account_of(&id).as_deref()), (20, Some(account)), "{id}");
        }
        for id in ["", "AKIA", "AKIAIOSFODNN7EXAMPL0", "AIDACKCEVSQ6C2EXAMPLE", "ASIA777777777777777é"] {
            assert_eq!(account_of(id), None, "{id}");
        }
        assert_eq!(secret().expect("random").len(), 40);
        let account = account().expect("random");
        assert!(account.len() == 12 && !account.starts_with('0'), "{account}");
    }
}
