//! The README tells the truth: its configuration passes `redial check`, and the metrics that it names are the metrics there are.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use rcgen::{CertifiedKey, generate_simple_self_signed};
use redial::config::load::load;
use redial::metrics::Metrics;
use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const README: &str = include_str!("../README.md");
const OPERATIONS: &str = include_str!("../OPERATIONS.md");
const ALERTS: &str = include_str!("../config/prometheus/redial.rules.yaml");
const DASHBOARD: &str = include_str!("../config/grafana/redial.json");

#[test]
fn the_readmes_configuration_passes_the_check() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("readme");
    // What an earlier run left.
    let _ = fs::remove_dir_all(&folder);
    write_what_it_mentions(&folder);
    let configurations: Vec<_> = README.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!configurations.is_empty());
    for text in configurations {
        let file = folder.join("redial.toml");
        fs::write(&file, text).unwrap();
        let loaded = load(&file).unwrap_or_else(|rejected| panic!("{rejected}"));
        assert!(loaded.warnings.is_empty(), "{:#?}", loaded.warnings);
    }
}

#[test]
fn the_readme_names_metrics_that_there_are() {
    let there: BTreeSet<_> = Metrics::names().collect();
    let named: BTreeSet<_> = README.split('`').filter(|word| is_metric(word)).collect();
    assert!(!named.is_empty() && named.is_subset(&there), "{named:?}");
}

#[test]
fn the_operations_page_says_of_every_metric_what_to_do() {
    let there: BTreeSet<_> = Metrics::names().collect();
    let rows = OPERATIONS.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.filter(|word| is_metric(word)).collect::<BTreeSet<_>>(), there);
}

#[test]
fn every_alert_has_its_section_and_looks_at_metrics_that_there_are() {
    let alerts: Vec<_> = ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 5);
    for alert in alerts {
        assert!(OPERATIONS.contains(&format!("\n### {alert}\n")), "OPERATIONS.md says nothing of {alert}");
        assert!(ALERTS.contains(&format!("runbook: OPERATIONS.md#{}\n", alert.to_lowercase())), "{alert} does not lead there");
    }
    all_metrics_exist(ALERTS);
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    all_metrics_exist(DASHBOARD);
    assert!(serde_json::from_str::<serde_json::Value>(DASHBOARD).is_ok());
}

fn all_metrics_exist(text: &str) {
    let there: BTreeSet<_> = Metrics::names().collect();
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| is_metric(word));
    let mut named = 0;
    for word in words {
        let family = word.strip_suffix("_bucket").unwrap_or(word);
        assert!(there.contains(family), "{word} is no metric");
        named += 1;
    }
    assert!(named > 5);
}

fn write_what_it_mentions(folder: &Path) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["redial.example".to_owned()]).unwrap();
    fs::create_dir_all(folder.join("tls")).unwrap();
    fs::create_dir_all(folder.join("secrets")).unwrap();
    let files = [
        ("tls/cert.pem", cert.pem()),
        ("tls/key.pem", signing_key.serialize_pem()),
        ("tls/corp-ca.pem", cert.pem()),
        ("secrets/corp", "a password\n".to_owned()),
    ];
    for (name, text) in files {
        let file = folder.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    }
}

fn is_metric(word: &str) -> bool {
    (word.starts_with("redial_") || word.starts_with("process_")) && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}
