//! What was measured: as a table for people and as JSON for programs.

use super::cpu::CpuTime;
use super::tally::{Step, Tally};
use crate::ldap::ResultCode;
use hdrhistogram::Histogram;
use std::fmt::{Display, Formatter, Result as FmtResult, Write};
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

    /// Time a operation, in microseconds.
    fn microseconds_each(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / (self.tally.operations().max(1) as f64)
    }

    /// Share of a core.
    fn cores_used(&self, time: CpuTime) -> f64 {
        time.total().as_secs_f64() / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// One object.
    pub(super) fn to_json(&self) -> String {
        let latency = Step::ALL.iter().map(|step| latency_json(step.name(), self.tally.latency(*step))).collect::<Vec<_>>().join(",");
        let tally = &self.tally;
        let results = tally.results.iter().map(|((operation, code), count)| {
            let name = ResultCode(*code).name();
            format!(r#"{{"operation":{},"code":{code},"name":{},"count":{count}}}"#, quoted(operation), quoted(name))
        });
        let errors = tally.mishaps.iter().map(|(trouble, (count, first))| kind(trouble.name(), *count, first));
        let wrong = tally.wrong.iter().map(|(why, (count, first))| kind(why, *count, first));
        let seconds = self.seconds.iter().map(u64::to_string);
        let cpu = |time: Option<CpuTime>| {
            time.map_or_else(
                || "null".to_owned(),
                |time| {
                    format!(
                        r#"{{"user_us_per_operation":{:.3},"system_us_per_operation":{:.3},"cores":{:.3}}}"#,
                        self.microseconds_each(time.user),
                        self.microseconds_each(time.system),
                        self.cores_used(time)
                    )
                },
            )
        };
        format!(
            concat!(
                r#"{{"url":{},"scenario":{},"manner":{},"phones":{},"seconds":{:.3},"operations":{},"per_second":{:.1},"latency_us":{{{}}},"#,
                r#""results":[{}],"errors":[{}],"wrong_answers":{},"wrong":[{}],"entries":{},"abandoned":{},"unsent":{},"connections":{},"#,
                r#""full_handshakes":{},"resumed_handshakes":{},"server_cpu":{},"own_cpu":{},"own_cores":{},"operations_by_second":[{}],"live":{}}}"#,
                "\n"
            ),
            quoted(&self.url),
            quoted(self.scenario),
            quoted(&self.manner),
            self.connections,
            self.elapsed.as_secs_f64(),
            tally.operations(),
            self.throughput(),
            latency,
            joined(results),
            joined(errors),
            tally.wrong_answers(),
            joined(wrong),
            tally.entries,
            tally.abandoned,
            self.unsent,
            tally.connections,
            tally.full_handshakes,
            tally.resumed_handshakes,
            cpu(self.server_cpu),
            cpu(self.own_cpu),
            self.cores,
            joined(seconds),
            self.beside.as_ref().map_or_else(|| "null".to_owned(), live_json),
        )
    }

    fn write_latencies(&self, f: &mut Formatter<'_>) -> FmtResult {
        writeln!(f, "  {:<12}{:>12}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}", "", "count", "mean", "50 %", "90 %", "99 %", "99.9 %", "max")?;
        for step in Step::ALL {
            write_latency(f, step.name(), self.tally.latency(step))?;
        }
        if let Some(met) = &self.beside {
            write_latency(f, "live, calm", met.before.latency(Step::Operation))?;
            write_latency(f, "live, storm", met.during.latency(Step::Operation))?;
        }
        Ok(())
    }

    fn write_cpu(&self, f: &mut Formatter<'_>, whose: &str, used: Option<CpuTime>) -> FmtResult {
        let Some(used) = used else { return Ok(()) };
        let each = |time| self.microseconds_each(time);
        write!(f, "  {whose:<12}{:.1} µs an operation ", each(used.total()))?;
        write!(f, "(user {:.1}, system {:.1}); {:.2} cores", each(used.user), each(used.system), self.cores_used(used))
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        let tally = &self.tally;
        writeln!(f, "{}: {}, {}\n", self.url, self.scenario, self.manner)?;
        let operations = tally.operations();
        writeln!(
            f,
            "  {} operations in {:.1} s: {} a second\n",
            grouped(operations),
            self.elapsed.as_secs_f64(),
            decimal(self.throughput())
        )?;
        self.write_latencies(f)?;
        writeln!(f)?;
        for ((operation, code), count) in &tally.results {
            writeln!(f, "  {operation:<12}{:>12}  {}", grouped(*count), ResultCode(*code))?;
        }
        writeln!(f, "  {:<12}{:>12}", "entries", grouped(tally.entries))?;
        if tally.abandoned > 0 {
            writeln!(f, "  {:<12}{:>12}  searches, for a key that came before the answer", "abandoned", grouped(tally.abandoned))?;
        }
        if self.unsent > 0 {
            writeln!(
                f,
                "  {:<12}{:>12}  operations were due, and no phone was free: more connections, or a lower rate",
                "unsent",
                grouped(self.unsent)
            )?;
        }
        write!(f, "  {:<12}{:>12}", "connections", grouped(tally.connections))?;
        if tally.full_handshakes + tally.resumed_handshakes > 0 {
            write!(f, "  full handshakes {}, resumed {}", grouped(tally.full_handshakes), grouped(tally.resumed_handshakes))?;
        }
        writeln!(f)?;
        for (trouble, (count, first)) in &tally.mishaps {
            writeln!(f, "  {:<12}{:>12}  {}: {first}", "errors", grouped(*count), trouble.name())?;
        }
        for (why, (count, first)) in &tally.wrong {
            writeln!(f, "  {:<12}{:>12}  {why}: {first}", "WRONG", grouped(*count))?;
        }
        if let Some(met) = &self.beside {
            let errors = met.before.errors() + met.during.errors();
            let slower = p99(&met.during) / p99(&met.before).max(1.0);
            writeln!(
                f,
                "  {:<12}{:>12}  connected already: their 99 % is {slower:.1} times the calm one, {errors} errors",
                "live", met.phones
            )?;
        }
        if tally.mishaps.is_empty() && tally.wrong.is_empty() {
            writeln!(f, "  no errors, no wrong answers")?;
        }
        if self.server_cpu.is_some() {
            self.write_cpu(f, "server CPU", self.server_cpu)?;
            writeln!(f)?;
        }
        if let Some(used) = self.own_cpu {
            self.write_cpu(f, "swarm CPU", self.own_cpu)?;
            writeln!(f, " of {}", self.cores)?;
            if self.cores_used(used) > self.cores as f64 * NEARLY_ALL {
                writeln!(f, "  The swarm itself was busy all the time: the server may be faster than this.")?;
            }
        }
        Ok(())
    }
}

/// The columns.
pub(super) const QUANTILES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999), ("max", 1.0)];
/// Of all cores; the rest is the system's and other programs'.
const NEARLY_ALL: f64 = 0.85;

fn latency_json(name: &str, histogram: &Histogram<u64>) -> String {
    let mut text = format!(r#"{}:{{"count":{},"mean":{:.3}"#, quoted(name), histogram.len(), histogram.mean() / 1e3);
    for (name, quantile) in QUANTILES {
        // Writing to a String cannot fail.
        let _ = write!(text, r#","{name}":{:.3}"#, histogram.value_at_quantile(quantile) as f64 / 1e3);
    }
    text.push('}');
    text
}

/// What live phones met, as an object.
fn live_json(met: &Met) -> String {
    let [before, during] =
        [("before_us", &met.before), ("during_us", &met.during)].map(|(name, tally)| latency_json(name, tally.latency(Step::Operation)));
    let errors = met.before.errors() + met.during.errors();
    format!(r#"{{"phones":{},{before},{during},"errors":{errors}}}"#, met.phones)
}

/// In nanoseconds.
fn p99(tally: &Tally) -> f64 {
    tally.latency(Step::Operation).value_at_quantile(0.99) as f64
}

/// A row of the table, unless it is empty.
fn write_latency(f: &mut Formatter<'_>, name: &str, histogram: &Histogram<u64>) -> FmtResult {
    if histogram.is_empty() {
        return Ok(());
    }
    write!(f, "  {name:<12}{:>12}{:>11}", grouped(histogram.len()), time(histogram.mean()))?;
    for (_, quantile) in QUANTILES {
        write!(f, "{:>11}", time(histogram.value_at_quantile(quantile) as f64))?;
    }
    writeln!(f)
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

fn kind(name: &str, count: u64, first: &str) -> String {
    format!(r#"{{"kind":{},"count":{count},"first":{}}}"#, quoted(name), quoted(first))
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Nanoseconds, in three digits or so.
pub(super) fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        n if n < 1e6 => format!("{:.1} µs", n / 1e3),
        n if n < 1e9 => format!("{:.2} ms", n / 1e6),
        n => format!("{:.2} s", n / 1e9),
    }
}

/// A thousand is `1,000`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate; its fraction only counts while it is small.
pub(super) fn decimal(number: f64) -> String {
    if number < 100.0 {
        return format!("{number:.1}");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is not negative, and far below 2^64")]
    grouped(number.round() as u64)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tally::{Mishap, Trouble};
    use super::super::verify::Wrong;
    use super::*;

    pub(crate) fn report() -> Report {
        let mut tally = Tally::new();
        for milliseconds in 1..=1000 {
            tally.took(Step::Operation, Duration::from_millis(milliseconds));
        }
        tally.took(Step::Connect, Duration::from_micros(17));
        tally.result("search", ResultCode::SUCCESS);
        tally.result("search", ResultCode(4711));
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

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([17_000.0, 1.5e6, 2.25e9].map(time), ["17.0 µs", "1.50 ms", "2.25 s"]);
        assert_eq!([1.25, 12_345.6].map(decimal), ["1.2", "12,346"]);
    }
}
