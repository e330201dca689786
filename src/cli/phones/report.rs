//! What was measured, and what follows from it. It is written as a table for people ([`table`]) and as JSON for programs ([`json`]).

mod json;
mod table;

use super::cpu::CpuTime;
use super::tally::{Step, Tally};
use std::time::Duration;

/// Everything that is known at the end.
pub(super) struct Report {
    /// The server.
    pub(super) url: String,
    /// As on the command line.
    pub(super) scenario: &'static str,
    /// How it was measured, in words.
    pub(super) manner: String,
    pub(super) connections: usize,
    /// From the first operation to the last answer.
    pub(super) elapsed: Duration,
    pub(super) tally: Tally,
    /// Operations answered by the end of each second.
    pub(super) seconds: Vec<u64>,
    /// Operations that were due and never sent.
    pub(super) unsent: u64,
    /// Of the server's processes, where they are known.
    pub(super) server_cpu: Option<CpuTime>,
    pub(super) own_cpu: Option<CpuTime>,
    /// Cores that the swarm could use.
    pub(super) cores: usize,
    /// Of live phones beside a boot storm.
    pub(super) beside: Option<Met>,
}

/// What live phones met beside a boot storm.
pub(super) struct Met {
    pub(super) phones: usize,
    /// Before the storm.
    pub(super) before: Tally,
    /// During it.
    pub(super) during: Tally,
}

impl Report {
    /// Operations a second.
    pub(super) fn throughput(&self) -> f64 {
        self.tally.operations() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Nothing was answered wrongly, and something was answered.
    pub(super) fn is_good(&self) -> bool {
        self.tally.operations() > 0 && self.wrong_answers() == 0
    }

    /// Of all phones.
    pub(super) fn wrong_answers(&self) -> u64 {
        let of_live = self.beside.as_ref().map_or(0, |met| met.before.wrong_answers() + met.during.wrong_answers());
        self.tally.wrong_answers() + of_live
    }

    /// Time an operation, in microseconds.
    fn microseconds_each(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / (self.tally.operations().max(1) as f64)
    }

    /// Share of a core.
    fn cores_used(&self, time: CpuTime) -> f64 {
        time.total().as_secs_f64() / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The swarm had next to no time to spare, so the server may be faster than was measured.
    fn is_the_swarm_the_limit(&self) -> bool {
        self.own_cpu.is_some_and(|used| self.cores_used(used) > self.cores as f64 * NEARLY_ALL)
    }
}

impl Met {
    /// Of all operations.
    fn errors(&self) -> u64 {
        self.before.errors() + self.during.errors()
    }

    /// How many times as long 99 % of the operations take during the storm.
    fn slower(&self) -> f64 {
        let p99 = |tally: &Tally| tally.latency(Step::Operation).value_at_quantile(0.99) as f64;
        p99(&self.during) / p99(&self.before).max(1.0)
    }
}

/// The columns.
pub(super) const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999), ("max", 1.0)];
/// Of all cores; the rest is the system's and other programs'.
const NEARLY_ALL: f64 = 0.85;

#[cfg(test)]
pub(super) mod tests {
    use super::super::tally::{Mishap, Trouble};
    use super::super::verify::Wrong;
    use super::*;
    use crate::ldap::ResultCode;

    pub(crate) fn report() -> Report {
        let mut tally = Tally::new();
        for milliseconds in 1..=1000 {
            tally.took(Step::Operation, Duration::from_millis(milliseconds));
        }
        tally.took(Step::Connect, Duration::from_micros(17));
        tally.result(Step::Search, ResultCode::SUCCESS);
        tally.result(Step::Search, ResultCode(4711));
        let cpu = CpuTime { user: Duration::from_millis(30), system: Duration::from_millis(10) };
        Report {
            url: "ldap://x:389".to_owned(),
            scenario: "mix",
            manner: "2 phones".to_owned(),
            connections: 2,
            elapsed: Duration::from_secs(4),
            tally,
            seconds: vec![300, 600, 900, 1000],
            unsent: 0,
            server_cpu: Some(cpu),
            own_cpu: Some(cpu),
            cores: 2,
            beside: None,
        }
    }

    #[test]
    fn the_table_is_read_at_a_glance() {
        let text = report().to_string();
        for line in [
            "ldap://x:389: mix, 2 phones",
            "  1,000 operations in 4.0 s: 250 a second",
            "  search                 1  success(0)",
            "  search                 1  other(4711)",
            "  no errors, no wrong answers",
            "  server CPU  40.0 µs an operation (user 30.0, system 10.0); 0.01 cores",
            "  swarm CPU   40.0 µs an operation (user 30.0, system 10.0); 0.01 cores of 2",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line:?} in\n{text}");
        }
        assert!(!text.contains("abandoned") && !text.contains("bind"), "{text}");
    }

    #[test]
    fn trouble_is_told_with_its_first_case() {
        let mut report = report();
        report.tally.mishap(&Mishap::new(Trouble::Tls, "a \"bad\"\ncertificate"));
        report.tally.wrong(Wrong::Changed, "(cn=a*)");
        report.unsent = 3;
        assert!(!report.is_good());
        let text = report.to_string();
        assert!(text.contains("1  tls: a") && text.contains("differs from the first answer: (cn=a*)") && text.contains("unsent"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["errors"][0]["first"], "a \"bad\"\ncertificate");
        assert_eq!(json["wrong_answers"], 1);
    }

    #[test]
    fn what_live_phones_met_is_compared_with_their_calm() {
        let mut report = report();
        let [mut before, mut during] = [Tally::new(), Tally::new()];
        before.took(Step::Operation, Duration::from_millis(1));
        during.took(Step::Operation, Duration::from_millis(4));
        during.mishap(&Mishap::new(Trouble::Timeout, "10 s"));
        report.beside = Some(Met { phones: 9, before, during });
        let text = report.to_string();
        assert!(text.contains("  live                   9  connected already: their 99 % is 4.0 times the calm one, 1 errors"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["live"]["errors"], 1);
        assert!((3990.0..4010.0).contains(&json["live"]["during_us"]["p99"].as_f64().unwrap()), "{json}");
    }

    #[test]
    fn json_holds_what_the_table_holds() {
        let json: serde_json::Value = serde_json::from_str(&report().to_json()).unwrap();
        assert_eq!(json["operations"], 1000);
        assert_eq!(json["per_second"], 250.0);
        let p99 = json["latency_us"]["operation"]["p99"].as_f64().unwrap();
        assert!((989_000.0..992_000.0).contains(&p99), "{p99}");
        assert_eq!(json["latency_us"]["bind"]["count"], 0);
        assert_eq!(json["results"][1]["code"], 4711);
        assert_eq!(json["operations_by_second"][3], 1000);
    }
}
