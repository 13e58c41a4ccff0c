//! The typed values that condition operators compare: numbers, dates, addresses, booleans, bytes.
//!
//! Each is read from text in the one place where policies and requests meet, so both sides read alike. A text that is
//! none gives `None`, never a default.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

/// An integer or decimal number, exact: 10⁻¹⁸ is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Number(i128);

impl Number {
    /// Digits on either side of the point. So many always fit.
    const DIGITS: usize = 18;

    /// `-12`, `0.5`: at most 18 digits before the point and 18 after it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, fraction) = match digits.split_once('.') {
            Some((_, "")) => return None,
            Some(both) => both,
            None => (digits, ""),
        };
        let digits_only = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
        let fits = (1..=Self::DIGITS).contains(&whole.len()) && fraction.len() <= Self::DIGITS;
        if !fits || !digits_only(whole) || !digits_only(fraction) {
            return None;
        }
        let scaled: i128 = format!("{whole}{fraction:0<width$}", width = Self::DIGITS).parse().ok()?;
        Some(Self(if negative { -scaled } else { scaled }))
    }
}

/// A moment, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(i128);

impl Moment {
    /// A W3C form of ISO 8601 (`2026`, `2026-11`, `2026-11-24`, `2026-11-24T09:30Z`, with seconds, with a fraction of
    /// them, with `+01:00` in place of `Z`), or seconds since 1970. Four digits are a year.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() != 4 && !text.contains('-') {
            return epoch(text);
        }
        let (date, time) = match text.split_once('T') {
            Some((date, time)) => (date, Some(time)),
            None => (text, None),
        };
        let mut parts = date.split('-');
        let year = digits(parts.next()?, 4)?;
        let month = parts.next().map_or(Some(1), |month| digits(month, 2))?;
        let day = parts.next().map_or(Some(1), |day| digits(day, 2))?;
        // Only a whole date can have a time.
        if parts.next().is_some() || (time.is_some() && date.len() != 10) {
            return None;
        }
        let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
        let date =
            Date::from_calendar_date(i32::try_from(year).ok()?, month, u8::try_from(day).ok()?).ok()?;
        let (time, offset) = time.map_or(Some((Time::MIDNIGHT, UtcOffset::UTC)), time_and_offset)?;
        Some(Self(PrimitiveDateTime::new(date, time).assume_offset(offset).unix_timestamp_nanos()))
    }
}

fn epoch(text: &str) -> Option<Moment> {
    const NANOS: i128 = 1_000_000_000;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let plain =
        |text: &str, longest| (1..=longest).contains(&text.len()) && text.bytes().all(|c| c.is_ascii_digit());
    if !plain(seconds, 15) || !plain(fraction, 9) {
        return None;
    }
    let nanos: i128 = format!("{fraction:0<9}").parse().ok()?;
    Some(Moment(seconds.parse::<i128>().ok()?.checked_mul(NANOS)?.checked_add(nanos)?))
}

/// `09:30Z`, `09:30:15Z`, `09:30:15.25+01:00`.
fn time_and_offset(text: &str) -> Option<(Time, UtcOffset)> {
    let (time, offset) = match text.strip_suffix('Z') {
        Some(time) => (time, UtcOffset::UTC),
        None => {
            let (time, zone) = text.split_at_checked(text.len().checked_sub(6)?)?;
            let sign = match zone.get(..1)? {
                "+" => 1,
                "-" => -1,
                _ => return None,
            };
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let hours = small(hours).filter(|hours| *hours < 24)?;
            let minutes = small(minutes).filter(|minutes| *minutes < 60)?;
            let signed = |part: u8| i8::try_from(part).ok()?.checked_mul(sign);
            (time, UtcOffset::from_hms(signed(hours)?, signed(minutes)?, 0).ok()?)
        }
    };
    let mut parts = time.split(':');
    let (hour, minute) = (small(parts.next()?)?, small(parts.next()?)?);
    let (second, nanos) = match parts.next() {
        None => (0, 0),
        Some(seconds) => match seconds.split_once('.') {
            None => (small(seconds)?, 0),
            Some((second, fraction)) => (small(second)?, nanos(fraction)?),
        },
    };
    match parts.next() {
        Some(_) => None,
        None => Some((Time::from_hms_nano(hour, minute, second, nanos).ok()?, offset)),
    }
}

/// A fraction of a second; what is finer than a nanosecond is cut off.
fn nanos(fraction: &str) -> Option<u32> {
    let all_digits = !fraction.is_empty() && fraction.bytes().all(|c| c.is_ascii_digit());
    format!("{fraction:0<9}").get(..9).filter(|_| all_digits)?.parse().ok()
}

/// Exactly `count` digits.
fn digits(text: &str, count: usize) -> Option<u32> {
    (text.len() == count && text.bytes().all(|c| c.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Two digits.
fn small(text: &str) -> Option<u8> {
    digits(text, 2).and_then(|value| u8::try_from(value).ok())
}

/// `true` or `false`, in any case.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// Bytes in base 64.
pub(crate) fn bytes(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// An address. One of IPv4 that is written as IPv6 is one of IPv4.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    text.parse().ok().map(|address: IpAddr| address.to_canonical())
}

/// A range of addresses, or one of them.
pub(crate) fn network(text: &str) -> Option<IpNet> {
    match text.contains('/') {
        true => text.parse().ok(),
        false => address(text).map(IpNet::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_or_refused() {
        let number = |text| Number::parse(text).unwrap_or_else(|| panic!("{text} is a number"));
        assert!(number("9007199254740993") > number("9007199254740992"), "no float could tell them apart");
        assert_eq!(number("1.50"), number("1.5"));
        assert_eq!(number("-0"), number("0"));
        assert!(number("-2") < number("-1.5") && number("-1.5") < number("0.000000000000000001"));
        for text in ["", "-", ".5", "1.", "1e3", "+1", " 1", "1 ", "0x1", "٣", "1234567890123456789", "--1"]
        {
            assert_eq!(Number::parse(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_read_in_each_documented_form() {
        let seconds = |text| Moment::parse(text).map(|moment| moment.0 / 1_000_000_000);
        for (text, expected) in [
            ("1970", 0),
            ("2026-11", 1_793_491_200),
            ("2026-11-24", 1_795_478_400),
            ("2026-11-24T09:30Z", 1_795_512_600),
            ("2026-11-24T09:30:15Z", 1_795_512_615),
            ("2026-11-24T10:30:15.25+01:00", 1_795_512_615),
            ("2026-11-24T04:00:15-05:30", 1_795_512_615),
            ("1795512615", 1_795_512_615),
            ("0", 0),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
        assert!(Moment::parse("2026-11-24T09:30:15.25Z") > Moment::parse("1795512615"));
        for text in [
            "",
            "26-11-24",
            "2026-13",
            "2026-02-30",
            "2026-1-1",
            "2026-11-24T",
            "2026-11-24T09Z",
            "2026-11T09:30Z",
            "2026-11-24T09:30",
            "2026-11-24T24:00Z",
            "2026-11-24T09:30:15.Z",
            "2026-11-24T09:30+25:00",
            "2026-11-24T09:30+01:75",
            "2026-11-24 09:30Z",
            "-1",
            "+1",
            "99999999999999999999",
            "2026-11-24T09:30é01:00",
        ] {
            assert_eq!(Moment::parse(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_and_ranges() {
        let within = |range: &str, one: &str| network(range).zip(address(one)).map(|(r, a)| r.contains(&a));
        assert_eq!(within("203.0.113.0/24", "203.0.113.255"), Some(true));
        assert_eq!(within("203.0.113.0/24", "203.0.114.0"), Some(false));
        assert_eq!(within("203.0.113.7", "203.0.113.7"), Some(true));
        assert_eq!(within("203.0.113.0/24", "::ffff:203.0.113.7"), Some(true));
        assert_eq!(within("2001:db8:1234:5678::/64", "2001:DB8:1234:5678::1"), Some(true));
        assert_eq!(within("0.0.0.0/0", "::1"), Some(false));
        assert_eq!((network("10.0.0.0/33"), network("10.0.0"), address("unix")), (None, None, None));
    }
}
