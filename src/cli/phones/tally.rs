//! What happened, counted: latencies, results, mishaps, wrong answers.

use super::verify::Wrong;
use crate::ldap::ResultCode;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter, Result as FmtResult};
use std::time::Duration;

/// What takes time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// All that the person at the phone waits for, from when it was due.
    Operation,
    /// TCP, and TLS where there is any.
    Connect,
    /// Bind to its response.
    Bind,
    /// Search to its last reply.
    Search,
}

impl Step {
    /// In the order of the report.
    pub(super) const ALL: [Self; 4] = [Self::Operation, Self::Connect, Self::Bind, Self::Search];

    /// In reports.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Operation => "operation",
            Self::Connect => "connect",
            Self::Bind => "bind",
            Self::Search => "search",
        }
    }
}

/// Why an operation was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// No TCP connection.
    Connect,
    /// StartTLS refused, or a handshake that failed.
    Tls,
    /// The server ended the connection.
    Closed,
    /// No answer in time.
    Timeout,
    /// Not LDAP, or not an answer to what was asked.
    Malformed,
    /// The bind that all the rest needs.
    Refused,
}

impl Trouble {
    /// In reports.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Malformed => "malformed",
            Self::Refused => "refused",
        }
    }
}

/// A kind of trouble and what exactly it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mishap {
    /// The kind.
    pub(super) trouble: Trouble,
    /// For a person.
    pub(super) why: String,
}

impl Mishap {
    /// A mishap of that kind.
    pub(super) fn new(trouble: Trouble, why: impl Display) -> Self {
        Self { trouble, why: why.to_string() }
    }
}

impl Display for Mishap {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        write!(f, "{}: {}", self.trouble.name(), self.why)
    }
}

/// The counts of some phones, or of all.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    latencies: [Histogram<u64>; 4],
    /// By operation, which is a step, and number of the code.
    pub(super) results: BTreeMap<(Step, u32), u64>,
    /// How often, and the first of each kind.
    pub(super) mishaps: BTreeMap<Trouble, (u64, String)>,
    /// How often, and the first filter of each kind.
    pub(super) wrong: BTreeMap<&'static str, (u64, String)>,
    /// Search results.
    pub(super) entries: u64,
    /// Searches that were abandoned.
    pub(super) abandoned: u64,
    /// Connections, and those of them with a full and a resumed handshake.
    pub(super) connections: u64,
    pub(super) full_handshakes: u64,
    pub(super) resumed_handshakes: u64,
}

impl Tally {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            latencies: std::array::from_fn(|_| empty()),
            results: BTreeMap::new(),
            mishaps: BTreeMap::new(),
            wrong: BTreeMap::new(),
            entries: 0,
            abandoned: 0,
            connections: 0,
            full_handshakes: 0,
            resumed_handshakes: 0,
        }
    }

    /// How long each time of that step took, in nanoseconds.
    pub(super) const fn latency(&self, step: Step) -> &Histogram<u64> {
        let [operation, connect, bind, search] = &self.latencies;
        match step {
            Step::Operation => operation,
            Step::Connect => connect,
            Step::Bind => bind,
            Step::Search => search,
        }
    }

    /// A step took so long.
    pub(super) fn took(&mut self, step: Step, time: Duration) {
        let [operation, connect, bind, search] = &mut self.latencies;
        let histogram = match step {
            Step::Operation => operation,
            Step::Connect => connect,
            Step::Bind => bind,
            Step::Search => search,
        };
        histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// A response came.
    pub(super) fn result(&mut self, operation: Step, code: ResultCode) {
        *self.results.entry((operation, code.0)).or_default() += 1;
    }

    /// An operation was not answered.
    pub(super) fn mishap(&mut self, mishap: &Mishap) {
        self.mishaps.entry(mishap.trouble).or_insert_with(|| (0, mishap.why.clone())).0 += 1;
    }

    /// A search was answered wrongly.
    pub(super) fn wrong(&mut self, wrong: Wrong, filter: &str) {
        self.wrong.entry(wrong.text()).or_insert_with(|| (0, filter.to_owned())).0 += 1;
    }

    /// Operations that were answered, whatever the result.
    pub(super) fn operations(&self) -> u64 {
        self.latency(Step::Operation).len()
    }

    /// Wrong answers of all kinds.
    pub(super) fn wrong_answers(&self) -> u64 {
        self.wrong.values().map(|(count, _)| count).sum()
    }

    /// Adds what other phones met instead of an answer.
    pub(super) fn add_mishaps(&mut self, other: &Self) {
        for (trouble, (count, first)) in &other.mishaps {
            self.mishaps.entry(*trouble).or_insert_with(|| (0, first.clone())).0 += count;
        }
    }

    /// How many operations were not answered.
    pub(super) fn errors(&self) -> u64 {
        self.mishaps.values().map(|(count, _)| count).sum()
    }

    /// Adds the counts of other phones.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, part) in self.latencies.iter_mut().zip(&other.latencies) {
            // Both have the same bounds, so it fits.
            let _ = sum.add(part);
        }
        for (result, count) in &other.results {
            *self.results.entry(*result).or_default() += count;
        }
        self.add_mishaps(other);
        for (wrong, (count, first)) in &other.wrong {
            self.wrong.entry(*wrong).or_insert_with(|| (0, first.clone())).0 += count;
        }
        self.entries += other.entries;
        self.abandoned += other.abandoned;
        self.connections += other.connections;
        self.full_handshakes += other.full_handshakes;
        self.resumed_handshakes += other.resumed_handshakes;
    }
}

#[expect(clippy::expect_used, reason = "these bounds and digits are allowed")]
fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(SHORTEST, LONGEST, DIGITS).expect("bounds in order, up to five digits")
}

/// In nanoseconds: what is told apart in the shortest latencies, a hundredth of what the fastest network takes.
const SHORTEST: u64 = 100;
/// In nanoseconds: an hour, longer than any timeout.
const LONGEST: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up() {
        let mut sum = Tally::new();
        for part in 1..=3 {
            let mut tally = Tally::new();
            tally.took(Step::Operation, Duration::from_millis(part));
            tally.result(Step::Search, ResultCode::SUCCESS);
            tally.mishap(&Mishap::new(Trouble::Closed, part));
            tally.wrong(Wrong::Changed, "(cn=a*)");
            tally.entries = part;
            sum.add(&tally);
        }
        assert_eq!((sum.operations(), sum.wrong_answers(), sum.entries), (3, 3, 6));
        assert_eq!(sum.results[&(Step::Search, 0)], 3);
        assert_eq!(sum.mishaps[&Trouble::Closed], (3, "1".to_owned()), "the first is kept");
        let median = sum.latency(Step::Operation).value_at_quantile(0.5);
        assert!((1_990_000..2_010_000).contains(&median), "{median}");
    }

    #[test]
    fn an_absurd_latency_is_counted_nevertheless() {
        let mut tally = Tally::new();
        tally.took(Step::Bind, Duration::MAX);
        tally.took(Step::Bind, Duration::ZERO);
        assert_eq!(tally.latency(Step::Bind).len(), 2);
    }
}
