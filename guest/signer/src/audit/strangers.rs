//! Requests of which nobody knows whose they are: refused for what is wrong with their signature, or never signed.
//!
//! They leave lines too, but anybody can send them, as many as the line takes. So that a flood of them pushes nobody else's
//! lines out of the log, and costs neither memory nor writes, only [`BURST`] of them get a line of their own at
//! once, and one more every [`REFILL`]. The rest are counted, by what became of them, and the counts follow in one
//! line: with the first request that comes [`SUMMARY`] after the first of them, and before anybody reads the log.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::record::time;

/// Lines of their own that may follow one another at once.
const BURST: u32 = 32;
/// How long until there is one more.
const REFILL: Duration = Duration::from_secs(300);
/// How long what is only counted may wait for its line.
const SUMMARY: Duration = Duration::from_secs(300);

/// What becomes of the requests of strangers.
#[derive(Default)]
pub(crate) struct Strangers {
    /// Lines that were written and not made good for.
    written: u32,
    /// Since when time makes good for them.
    since: Option<Instant>,
    counted: Option<Counted>,
}

/// Requests without lines of their own. What is counted apart has a name that is in the program: there are only so many.
pub(crate) struct Counted {
    first: Instant,
    from: SystemTime,
    to: SystemTime,
    requests: BTreeMap<&'static str, u64>,
}

impl Strangers {
    /// Whether there is room for a line, which is then taken.
    pub(crate) fn may_write(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let periods = now.saturating_duration_since(since).as_secs() / REFILL.as_secs();
        let made_good = u32::try_from(periods).unwrap_or(u32::MAX);
        self.written = self.written.saturating_sub(made_good);
        // What is left of a period counts on, unless there was nothing to make good for.
        let whole = REFILL.checked_mul(made_good).and_then(|whole| since.checked_add(whole));
        self.since = Some(if self.written == 0 { now } else { whole.unwrap_or(now) });
        let room = self.written < BURST;
        self.written = self.written.saturating_add(u32::from(room));
        room
    }

    /// Counts a request with what became of it: the error's code, or the operation's name.
    pub(crate) fn count(&mut self, what: &'static str, now: Instant, time: SystemTime) {
        let counted = self.counted.get_or_insert_with(|| Counted {
            first: now,
            from: time,
            to: time,
            requests: BTreeMap::new(),
        });
        counted.to = time;
        let requests = counted.requests.entry(what).or_default();
        *requests = requests.saturating_add(1);
    }

    /// What was counted, if it has waited long enough.
    pub(crate) fn overdue(&mut self, now: Instant) -> Option<Counted> {
        self.counted.take_if(|counted| now.saturating_duration_since(counted.first) >= SUMMARY)
    }

    /// What was counted.
    pub(crate) fn take(&mut self) -> Option<Counted> {
        self.counted.take()
    }
}

/// The line that says how many there were: an event of the service itself, as CloudTrail has them.
pub(crate) struct Summary<'a> {
    pub(crate) counted: Counted,
    pub(crate) account: &'a str,
    pub(crate) region: &'a str,
    pub(crate) now: SystemTime,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    from: String,
    to: String,
    requests: &'a BTreeMap<&'static str, u64>,
}

impl Serialize for Summary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Counted { from, to, requests, .. } = &self.counted;
        let details = Details { from: time(*from), to: time(*to), requests };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("eventVersion", "1.11")?;
        map.serialize_entry("userIdentity", &BTreeMap::from([("type", "Unknown")]))?;
        map.serialize_entry("eventTime", &time(self.now))?;
        map.serialize_entry("eventSource", "casemate.amazonaws.com")?;
        map.serialize_entry("eventName", "SummariseRequests")?;
        map.serialize_entry("awsRegion", self.region)?;
        map.serialize_entry("requestParameters", &())?;
        map.serialize_entry("responseElements", &())?;
        map.serialize_entry("readOnly", &true)?;
        map.serialize_entry("eventType", "AwsServiceEvent")?;
        map.serialize_entry("managementEvent", &true)?;
        map.serialize_entry("recipientAccountId", self.account)?;
        map.serialize_entry("serviceEventDetails", &details)?;
        map.serialize_entry("eventCategory", "Management")?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_so_many_lines_and_one_more_with_each_period() {
        let (mut strangers, start) = (Strangers::default(), Instant::now());
        let mut lines = |after: u64| {
            let now = start + Duration::from_secs(after);
            (0..10_000).filter(|_| strangers.may_write(now)).count()
        };
        assert_eq!(lines(0), BURST as usize);
        assert_eq!((lines(299), lines(300), lines(301), lines(599), lines(600)), (0, 1, 0, 0, 1));
        // A day later there is room for a burst again, and for no more than that.
        assert_eq!((lines(86_400), lines(86_400)), (BURST as usize, 0));
    }

    #[test]
    fn a_flood_takes_no_memory_and_few_lines() {
        let (mut strangers, start) = (Strangers::default(), Instant::now());
        let (mut own, mut summaries) = (0, 0);
        for second in 0..86_400 {
            let now = start + Duration::from_secs(second);
            summaries += usize::from(strangers.overdue(now).is_some());
            for what in ["UnrecognizedClientException", "InvalidSignatureException"] {
                match strangers.may_write(now) {
                    true => own += 1,
                    false => strangers.count(what, now, SystemTime::UNIX_EPOCH),
                }
            }
            assert!(strangers.counted.as_ref().is_none_or(|counted| counted.requests.len() <= 2));
        }
        // A day of it is a few hundred lines, of the thousands that are kept.
        assert!((280..=330).contains(&own) && (280..=290).contains(&summaries), "{own} and {summaries}");
    }
}
