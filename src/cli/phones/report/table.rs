//! The report for people: a table.

use super::{Met, QUANTILES, Report};
use crate::cli::phones::cpu::CpuTime;
use crate::cli::phones::numbers::{decimal, grouped, time};
use crate::cli::phones::tally::Step;
use crate::ldap::ResultCode;
use hdrhistogram::Histogram;
use std::fmt::{Display, Formatter, Result};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "{}: {}, {}\n", self.url, self.scenario, self.manner)?;
        let (operations, seconds) = (grouped(self.tally.operations()), self.elapsed.as_secs_f64());
        writeln!(f, "  {operations} operations in {seconds:.1} s: {} a second\n", decimal(self.throughput()))?;
        self.write_latencies(f)?;
        writeln!(f)?;
        self.write_results(f)?;
        self.write_connections(f)?;
        self.write_trouble(f)?;
        self.write_cpu(f)
    }
}

impl Report {
    fn write_latencies(&self, f: &mut Formatter<'_>) -> Result {
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

    fn write_results(&self, f: &mut Formatter<'_>) -> Result {
        for ((operation, code), count) in &self.tally.results {
            write_count(f, operation.name(), *count, &ResultCode(*code))?;
        }
        writeln!(f, "  {:<12}{:>12}", "entries", grouped(self.tally.entries))?;
        if self.tally.abandoned > 0 {
            write_count(f, "abandoned", self.tally.abandoned, &"searches, for a key that came before the answer")?;
        }
        if self.unsent > 0 {
            write_count(f, "unsent", self.unsent, &"operations were due, and no phone was free: more connections, or a lower rate")?;
        }
        Ok(())
    }

    fn write_connections(&self, f: &mut Formatter<'_>) -> Result {
        let tally = &self.tally;
        write!(f, "  {:<12}{:>12}", "connections", grouped(tally.connections))?;
        if tally.full_handshakes + tally.resumed_handshakes > 0 {
            write!(f, "  full handshakes {}, resumed {}", grouped(tally.full_handshakes), grouped(tally.resumed_handshakes))?;
        }
        writeln!(f)
    }

    fn write_trouble(&self, f: &mut Formatter<'_>) -> Result {
        for (trouble, (count, first)) in &self.tally.mishaps {
            write_count(f, "errors", *count, &format_args!("{}: {first}", trouble.name()))?;
        }
        for (why, (count, first)) in &self.tally.wrong {
            write_count(f, "WRONG", *count, &format_args!("{why}: {first}"))?;
        }
        if let Some(met) = &self.beside {
            write_live(f, met)?;
        }
        if self.tally.mishaps.is_empty() && self.tally.wrong.is_empty() {
            writeln!(f, "  no errors, no wrong answers")?;
        }
        Ok(())
    }

    fn write_cpu(&self, f: &mut Formatter<'_>) -> Result {
        if let Some(used) = self.server_cpu {
            writeln!(f, "  {:<12}{}", "server CPU", self.cpu_in_words(used))?;
        }
        if let Some(used) = self.own_cpu {
            writeln!(f, "  {:<12}{} of {}", "swarm CPU", self.cpu_in_words(used), self.cores)?;
        }
        if self.is_the_swarm_the_limit() {
            writeln!(f, "  The swarm itself was busy all the time: the server may be faster than this.")?;
        }
        Ok(())
    }

    fn cpu_in_words(&self, used: CpuTime) -> String {
        let [all, user, system] = [used.total(), used.user, used.system].map(|time| self.microseconds_each(time));
        format!("{all:.1} µs an operation (user {user:.1}, system {system:.1}); {:.2} cores", self.cores_used(used))
    }
}

/// A count and what it is of.
fn write_count(f: &mut Formatter<'_>, name: &str, count: u64, what: &dyn Display) -> Result {
    writeln!(f, "  {name:<12}{:>12}  {what}", grouped(count))
}

/// A row of latencies, unless it is empty.
fn write_latency(f: &mut Formatter<'_>, name: &str, histogram: &Histogram<u64>) -> Result {
    if histogram.is_empty() {
        return Ok(());
    }
    write!(f, "  {name:<12}{:>12}{:>11}", grouped(histogram.len()), time(histogram.mean()))?;
    for (_, quantile) in QUANTILES {
        write!(f, "{:>11}", time(histogram.value_at_quantile(quantile) as f64))?;
    }
    writeln!(f)
}

fn write_live(f: &mut Formatter<'_>, met: &Met) -> Result {
    let (slower, errors) = (met.slower(), met.errors());
    writeln!(f, "  {:<12}{:>12}  connected already: their 99 % is {slower:.1} times the calm one, {errors} errors", "live", met.phones)
}
