//! Durations counted into fixed buckets: two additions a sample, no memory that grows.

use super::count::Count;
use super::names::Metric;
use std::fmt::Write;
use std::time::Duration;

/// How often one thread has seen each span of time.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// One for each of [`BOUNDS`], and one for what is longer; not cumulative.
    buckets: [Count; BOUNDS.len() + 1],
    sum_nanoseconds: Count,
}

impl Histogram {
    /// So many more samples.
    pub(super) fn record(&self, took: Duration, count: u64) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // From below, one by one: a hit falls into the first two or three.
        let index = BOUNDS.iter().position(|&(_, bound)| nanoseconds <= bound).unwrap_or(BOUNDS.len());
        if let Some(bucket) = self.buckets.get(index) {
            bucket.add(count);
        }
        self.sum_nanoseconds.add(nanoseconds.saturating_mul(count));
    }

    /// Appends the series of what `threads` have seen together to `page`; nothing where no sample was seen.
    pub(super) fn render(threads: &[&Self], metric: Metric, labels: &[(&str, &str)], page: &mut String) {
        let labels = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect::<Vec<_>>().join(",");
        let name = metric.name;
        let counts: [u64; BOUNDS.len() + 1] =
            std::array::from_fn(|index| threads.iter().filter_map(|seen| seen.buckets.get(index)).map(Count::read).sum());
        let count = counts.iter().sum::<u64>();
        if count == 0 {
            return;
        }
        let mut below = 0;
        let bounds = BOUNDS.iter().map(|&(label, _)| label).chain(["+Inf"]);
        for (bound, here) in bounds.zip(counts) {
            below += here;
            let _ = writeln!(page, "{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
        }
        let sum = threads.iter().map(|seen| seen.sum_nanoseconds.read()).fold(0, u64::wrapping_add);
        let sum = Duration::from_nanos(sum).as_secs_f64();
        let _ = writeln!(page, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
    }
}

pub(super) fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

/// Upper bounds, as the text format writes them (in seconds) and in nanoseconds: from 10 µs, under which no search can be answered
/// over a socket, to 10 s, after which no phone waits.
const BOUNDS: [(&str, u64); 19] = [
    ("0.00001", 10_000),
    ("0.000025", 25_000),
    ("0.00005", 50_000),
    ("0.0001", 100_000),
    ("0.00025", 250_000),
    ("0.0005", 500_000),
    ("0.001", 1_000_000),
    ("0.0025", 2_500_000),
    ("0.005", 5_000_000),
    ("0.01", 10_000_000),
    ("0.025", 25_000_000),
    ("0.05", 50_000_000),
    ("0.1", 100_000_000),
    ("0.25", 250_000_000),
    ("0.5", 500_000_000),
    ("1", 1_000_000_000),
    ("2.5", 2_500_000_000),
    ("5", 5_000_000_000),
    ("10", 10_000_000_000),
];

#[cfg(test)]
mod tests {
    use super::*;

    const METRIC: Metric = Metric { name: "x_seconds", help: "x" };

    fn rendered(samples: &[Duration]) -> String {
        let histogram = Histogram::default();
        samples.iter().for_each(|&sample| histogram.record(sample, 1));
        let mut page = String::new();
        Histogram::render(&[&histogram], METRIC, &[("of", "a\"b\\c\nd")], &mut page);
        page
    }

    #[test]
    fn labels_and_bounds_say_the_same_and_rise() {
        for (label, nanoseconds) in BOUNDS {
            let seconds = label.parse::<f64>().unwrap();
            assert_eq!(Duration::from_secs_f64(seconds), Duration::from_nanos(nanoseconds), "{label}");
        }
        assert!(BOUNDS.is_sorted_by(|a, b| a.1 < b.1));
    }

    #[test]
    fn a_sample_on_a_bound_belongs_below_it() {
        let page = rendered(&[Duration::from_micros(10)]);
        assert!(page.contains("le=\"0.00001\"} 1\n"), "{page}");
    }

    #[test]
    fn what_is_longer_than_every_bound_is_counted_at_the_end_only() {
        let page = rendered(&[Duration::from_secs(11), Duration::MAX]);
        assert!(page.contains("le=\"10\"} 0\n") && page.contains("le=\"+Inf\"} 2\n"), "{page}");
    }

    #[test]
    fn label_values_are_escaped() {
        assert!(rendered(&[Duration::ZERO]).contains(r#"x_seconds_count{of="a\"b\\c\nd"} 1"#));
    }

    #[test]
    fn without_a_sample_there_is_no_series() {
        assert_eq!(rendered(&[]), "");
    }
}
