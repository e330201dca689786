//! The README tells the truth: its configuration passes `redial check`, and the metrics that it names are there.

use redial::metrics::Metrics;
use std::collections::BTreeSet;

const README: &str = include_str!("../README.md");

#[test]
fn the_metrics_in_the_readme_are_the_metrics_there_are() {
    let there: BTreeSet<_> = Metrics::names().collect();
    let named: BTreeSet<_> = README.split('`').filter(|word| is_metric(word)).collect();
    assert_eq!(named, there);
}

fn is_metric(word: &str) -> bool {
    (word.starts_with("redial_") || word.starts_with("process_")) && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}
