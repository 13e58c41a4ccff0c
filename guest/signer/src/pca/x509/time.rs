//! Dates (RFC 5280, 4.1.2.5).

use x509_cert::der::{self, DateTime};
use x509_cert::time::Time;

/// Seconds since 1970 as a certificate writes them: UTCTime to 2049, then GeneralizedTime.
pub(crate) fn time(seconds: u64) -> der::Result<Time> {
    DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).map(Time::from)
}

/// So many months later, on the same day of the month, or the last one that there is. Seconds since 1970.
pub(crate) fn plus_months(seconds: u64, months: u64) -> Option<u64> {
    let from = DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).ok()?;
    let index = u64::from(from.year()).checked_mul(12)?.checked_add(u64::from(from.month()))?;
    let index = index.checked_sub(1)?.checked_add(months)?;
    let (year, month) = (u16::try_from(index / 12).ok()?, u8::try_from(index % 12).ok()?.checked_add(1)?);
    let on = |day| DateTime::new(year, month, day, from.hour(), from.minutes(), from.seconds()).ok();
    let date = (28..=from.day().max(28)).rev().find_map(|last| on(from.day().min(last)))?;
    Some(date.unix_duration().as_secs())
}

/// The date in `YYMMDDHHMMSS` or `YYYYMMDDHHMMSS`, read as a decimal number. Seconds since 1970.
pub(crate) fn end_date(digits: u64) -> Option<u64> {
    const SHORT: u64 = 10_u64.pow(12);
    const LONG: u64 = 10_u64.pow(14);
    let pair = |shift: u32| u8::try_from(digits / 10_u64.pow(shift) % 100).ok();
    let year = match digits {
        0..SHORT => match u16::from(pair(10)?) {
            year @ 50.. => year.checked_add(1900)?,
            year => year.checked_add(2000)?,
        },
        SHORT..LONG => u16::try_from(digits / 10_u64.pow(10)).ok()?,
        _ => return None,
    };
    let date = DateTime::new(year, pair(8)?, pair(6)?, pair(4)?, pair(2)?, pair(0)?).ok()?;
    Some(date.unix_duration().as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> u64 {
        text.parse::<DateTime>().expect("a date").unix_duration().as_secs()
    }

    #[test]
    fn months_end_on_a_day_that_there_is() {
        for (from, months, to) in [
            ("2026-01-31T12:00:01Z", 1, "2026-02-28T12:00:01Z"),
            ("2028-01-30T12:00:01Z", 1, "2028-02-29T12:00:01Z"),
            ("2026-11-25T00:00:00Z", 1, "2026-12-25T00:00:00Z"),
            ("2026-11-25T00:00:00Z", 2, "2027-01-25T00:00:00Z"),
            ("2028-02-29T00:00:00Z", 12, "2029-02-28T00:00:00Z"),
            ("2026-12-31T00:00:00Z", 120, "2036-12-31T00:00:00Z"),
            ("2026-05-31T00:00:00Z", 1, "2026-06-30T00:00:00Z"),
        ] {
            assert_eq!(plus_months(at(from), months), Some(at(to)), "{from} + {months}");
        }
        assert_eq!(plus_months(at("2026-01-01T00:00:00Z"), 12 * 8000), None);
        assert_eq!(plus_months(0, u64::MAX), None);
    }

    #[test]
    fn end_dates_are_read_in_both_lengths() {
        assert_eq!(end_date(491_231_235_959), Some(at("2049-12-31T23:59:59Z")));
        assert_eq!(end_date(20_491_231_235_959), Some(at("2049-12-31T23:59:59Z")));
        assert_eq!(end_date(20_550_101_000_000), Some(at("2055-01-01T00:00:00Z")));
        assert_eq!(end_date(990_101_000_000), Some(at("1999-01-01T00:00:00Z")));
        for wrong in [0, 20_491_331_235_959, 20_490_231_235_959, 1_999_999_999_999_999, u64::MAX] {
            assert_eq!(end_date(wrong), None, "{wrong}");
        }
    }
}
