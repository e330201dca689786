//! The report for programs: one JSON object.

use super::{Met, QUANTILES, Report};
use crate::cli::phones::cpu::CpuTime;
use crate::cli::phones::tally::{Step, Tally};
use crate::ldap::ResultCode;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

impl Report {
    /// One object on one line.
    pub(crate) fn to_json(&self) -> String {
        let tally = &self.tally;
        let report = json!({
            "url": self.url,
            "scenario": self.scenario,
            "manner": self.manner,
            "phones": self.connections,
            "seconds": thousandths(self.elapsed.as_secs_f64()),
            "operations": tally.operations(),
            "per_second": thousandths(self.throughput()),
            "latency_us": Step::ALL.iter().map(|step| (step.name().to_owned(), latency(tally, *step))).collect::<Map<_, _>>(),
            "results": results(tally),
            "errors": tally.mishaps.iter().map(|(trouble, (count, first))| kind(trouble.name(), *count, first)).collect::<Value>(),
            "wrong_answers": tally.wrong_answers(),
            "wrong": tally.wrong.iter().map(|(why, (count, first))| kind(why, *count, first)).collect::<Value>(),
            "entries": tally.entries,
            "abandoned": tally.abandoned,
            "unsent": self.unsent,
            "connections": tally.connections,
            "full_handshakes": tally.full_handshakes,
            "resumed_handshakes": tally.resumed_handshakes,
            "server_cpu": self.server_cpu.map(|used| self.cpu(used)),
            "own_cpu": self.own_cpu.map(|used| self.cpu(used)),
            "own_cores": self.cores,
            "operations_by_second": self.seconds,
            "live": self.beside.as_ref().map(live),
        });
        format!("{report}\n")
    }

    fn cpu(&self, used: CpuTime) -> Value {
        json!({
            "user_us_per_operation": thousandths(self.microseconds_each(used.user)),
            "system_us_per_operation": thousandths(self.microseconds_each(used.system)),
            "cores": thousandths(self.cores_used(used)),
        })
    }
}

fn latency(tally: &Tally, step: Step) -> Value {
    let histogram: &Histogram<u64> = tally.latency(step);
    let quantile = |(name, quantile): (&str, f64)| (name.to_owned(), microseconds(histogram.value_at_quantile(quantile) as f64));
    let mut latency: Map<_, _> = QUANTILES.into_iter().map(quantile).collect();
    latency.insert("count".to_owned(), json!(histogram.len()));
    latency.insert("mean".to_owned(), microseconds(histogram.mean()));
    latency.into()
}

fn results(tally: &Tally) -> Value {
    let result = |((operation, code), count): (&(Step, u32), &u64)| json!({ "operation": operation.name(), "code": code, "name": ResultCode(*code).name(), "count": count });
    tally.results.iter().map(result).collect()
}

fn live(met: &Met) -> Value {
    json!({
        "phones": met.phones,
        "before_us": latency(&met.before, Step::Operation),
        "during_us": latency(&met.during, Step::Operation),
        "errors": met.errors(),
    })
}

fn kind(name: &str, count: u64, first: &str) -> Value {
    json!({ "kind": name, "count": count, "first": first })
}

/// Of nanoseconds.
fn microseconds(nanoseconds: f64) -> Value {
    json!(thousandths(nanoseconds / 1e3))
}

/// Rounded: what is beyond was not measured.
fn thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
