//! Points in time as IAM and SigV4 write them. The clock of a guest is the host's word: see `docs/identity.md`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use der::DateTime;

/// Seconds since 1970 of `time`.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// ISO 8601 as in IAM's responses: `2026-11-24T08:30:00Z`.
pub fn iso(seconds: u64) -> String {
    DateTime::from_unix_duration(Duration::from_secs(seconds)).unwrap_or(DateTime::INFINITY).to_string()
}

/// ISO 8601 without punctuation, as in SigV4: `20261124T083000Z`.
pub fn basic(seconds: u64) -> String {
    iso(seconds).replace(['-', ':'], "")
}

/// The seconds since 1970 that [`basic`] wrote.
pub fn parse_basic(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<u16>().ok())?
    };
    let byte = |range| number(range).and_then(|number| u8::try_from(number).ok());
    if text.len() != 16 || text.get(8..9) != Some("T") || text.get(15..) != Some("Z") {
        return None;
    }
    let time =
        DateTime::new(number(0..4)?, byte(4..6)?, byte(6..8)?, byte(9..11)?, byte(11..13)?, byte(13..15)?);
    time.ok().map(|time| time.unix_duration().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        for (text, expected) in [
            ("20150830T123600Z", Some(1_440_938_160)),
            ("19700101T000000Z", Some(0)),
            ("20240229T235959Z", Some(1_709_251_199)),
            ("20230229T000000Z", None),
            ("20150830T123660Z", None),
            ("20150830T12360+Z", None),
            ("20150830 123600Z", None),
            ("20150830T123600", None),
            ("2015083\u{e9}123600Z", None),
            ("", None),
        ] {
            assert_eq!(parse_basic(text), expected, "{text}");
            if let Some(seconds) = expected {
                assert_eq!(basic(seconds), text);
            }
        }
        assert_eq!(iso(1_440_938_160), "2015-08-30T12:36:00Z");
    }
}
