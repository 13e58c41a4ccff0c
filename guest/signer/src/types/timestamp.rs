//! Points in time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point in time: seconds since 1970 with milliseconds, as JSON 1.1 wants it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Timestamp(pub SystemTime);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let millis = self.0.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        // Exact: milliseconds since 1970 stay below 2^53 for 285,000 years.
        serializer.serialize_f64(millis as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let millis = (f64::deserialize(deserializer)? * 1000.0).round();
        // The last second of the year 9999: what lies beyond is a slip, and might not fit a `SystemTime`.
        if !(0.0..=253_402_300_799_000.0).contains(&millis) {
            return Err(D::Error::custom("the date is not between 1970 and 9999"));
        }
        let since = Duration::from_millis(millis as u64);
        UNIX_EPOCH.checked_add(since).map(Self).ok_or_else(|| D::Error::custom("the date is out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_survive_the_round_trip_to_the_millisecond_and_nonsense_is_refused() {
        for text in ["0.0", "1764028800.123", "253402300799.0"] {
            let date: Timestamp = serde_json::from_str(text).expect(text);
            assert_eq!(serde_json::to_string(&date).expect("json"), text);
        }
        for text in ["-1", "253402300800", "1e300", "\"2026\"", "null"] {
            assert!(serde_json::from_str::<Timestamp>(text).is_err(), "{text}");
        }
    }
}
