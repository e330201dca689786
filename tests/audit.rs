//! The audit log of a whole proxy: who did what, from where, and how it ended; and never a secret.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod common;

use common::configuration::Configuration;
use common::ldap_client::{Change, LdapClient, subtree};
use common::scripted_directory::{Scripted, ScriptedDirectory};
use redial::config::Config;
use redial::directory::{Asked, Operation};
use redial::ldap::ResultCode;
use redial::proxy::{Proxy, StartError};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::task::spawn_blocking;

const PBX: &str = "cn=pbx,dc=corp";
const RIGHT: &str = "canary-right-password";
const WRONG: &str = "canary-wrong-password";
const WRITTEN: &str = "canary-written-value";

fn config(folder: &Path, audit: &str) -> Config {
    let listener = "plain_passwords = \"allow\"";
    Configuration { address: "127.0.0.1:0", listener, more: audit, ..Configuration::default() }.load_in(folder)
}

fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("audit").join(test);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Knows one password, and lets nobody write to Bob.
fn directory() -> ScriptedDirectory {
    ScriptedDirectory::new(|operation: &Operation| match &operation.request {
        Asked::Bind { password, .. } if password.expose() == RIGHT.as_bytes() => Scripted::success(),
        Asked::Bind { .. } => Scripted::Result(ResultCode::INVALID_CREDENTIALS, ""),
        Asked::Write { op, .. } if op.windows(6).any(|octets| octets == b"cn=Bob") => {
            Scripted::Result(ResultCode::INSUFFICIENT_ACCESS_RIGHTS, "not Bob")
        }
        Asked::Write { .. } | Asked::Extended { .. } | Asked::Compare { .. } => Scripted::success(),
        Asked::Search { .. } | Asked::Membership { .. } => Scripted::one("cn=Ada,dc=corp", "17"),
    })
}

/// Binds, writes, searches and compares, right and wrong.
fn work(address: SocketAddr) {
    let mut phone = LdapClient::plain(address).unwrap();
    assert_eq!(phone.bind(PBX, WRONG).code, ResultCode::INVALID_CREDENTIALS);
    assert_eq!(phone.bind("", "").code, ResultCode::SUCCESS);
    assert_eq!(phone.bind(PBX, "").code, ResultCode::UNWILLING_TO_PERFORM);
    assert_eq!(phone.bind(PBX, RIGHT).code, ResultCode::SUCCESS);
    assert_eq!(phone.modify("cn=Ada,dc=corp", Change::Replace, "userPassword", &[WRITTEN]).code, ResultCode::SUCCESS);
    assert_eq!(phone.modify("cn=Bob,dc=corp", Change::Replace, "mail", &[WRITTEN]).code, ResultCode::INSUFFICIENT_ACCESS_RIGHTS);
    assert_ne!(phone.add("cn=\"quoted\"\nand broken,dc=elsewhere", &[("cn", &[WRITTEN])]).code, ResultCode::SUCCESS);
    assert_eq!(phone.change_password("cn=Ada,dc=corp", RIGHT, WRITTEN).code, ResultCode::SUCCESS);
    for _ in 0..2 {
        assert_eq!(phone.search(&subtree("dc=corp", "(cn=a*)", &["*"])).entries.len(), 1);
    }
    assert_eq!(phone.compare("cn=Ada,dc=corp", "telephoneNumber", b"17").code, ResultCode::SUCCESS);
}

/// The lines that a proxy has left once it has stopped, in summary and in order; an operation is noted after its answer has left, so the
/// order of the lines is not quite that of the operations.
async fn lines_after(test: &str, audit: &str) -> Vec<String> {
    let folder = folder(test);
    let proxy = Proxy::start_with(config(&folder, audit), vec![Arc::new(directory())]).await.unwrap();
    let address = proxy.addresses()[0];
    spawn_blocking(move || work(address)).await.unwrap();
    assert!(proxy.metrics().render().contains("\nredial_audit_dropped_total 0\n"));
    proxy.stop().await;
    let text = std::fs::read_to_string(folder.join("audit.jsonl")).unwrap();
    assert!(!text.contains("canary"), "a secret in\n{text}");
    let mut lines: Vec<_> = text.lines().map(|line| summary(&serde_json::from_str(line).unwrap())).collect();
    lines.sort();
    lines
}

/// The parts that do not change from run to run.
fn summary(line: &Value) -> String {
    let text = |key| line.get(key).map_or("-", |value| value.as_str().unwrap());
    for key in ["time", "peer"] {
        assert!(line[key].is_string(), "{line}");
    }
    assert!(line["time"].as_str().unwrap().ends_with('Z') && line["took_us"].is_u64() && line["listener"] == "127.0.0.1:0", "{line}");
    let of_what = ["principal", "operation", "target", "filter"].map(text).join(" | ");
    format!("{of_what} | {} {} {}", line["code"], text("result"), text("served"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_bind_and_each_write_leaves_one_line_and_no_secret() {
    let lines = lines_after("binds-and-writes", "[audit]\nfile = \"audit.jsonl\"").await;
    assert_eq!(
        lines,
        [
            " | bind | - | - | 0 success local",
            "cn=pbx,dc=corp | add | cn=\"quoted\"\nand broken,dc=elsewhere | - | 34 invalidDNSyntax refused",
            "cn=pbx,dc=corp | bind | - | - | 0 success forwarded",
            "cn=pbx,dc=corp | bind | - | - | 49 invalidCredentials forwarded",
            "cn=pbx,dc=corp | bind | - | - | 53 unwillingToPerform refused",
            "cn=pbx,dc=corp | modify | cn=Ada,dc=corp | - | 0 success forwarded",
            "cn=pbx,dc=corp | modify | cn=Bob,dc=corp | - | 50 insufficientAccessRights forwarded",
            "cn=pbx,dc=corp | password_modify | cn=Ada,dc=corp | - | 0 success forwarded",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn searches_and_compares_are_noted_where_they_are_wanted() {
    let lines = lines_after("all", "[audit]\nfile = \"audit.jsonl\"\nsearches = true\ncompares = true").await;
    assert_eq!(lines.len(), 11, "{lines:#?}");
    for expected in [
        "cn=pbx,dc=corp | search | dc=corp | (cn=a*) | 0 success miss",
        "cn=pbx,dc=corp | search | dc=corp | (cn=a*) | 0 success hit",
        "cn=pbx,dc=corp | compare | cn=Ada,dc=corp | - | 0 success forwarded",
    ] {
        assert_eq!(lines.iter().filter(|line| *line == expected).count(), 1, "{expected} in {lines:#?}");
    }
}

#[tokio::test]
async fn a_second_start_appends() {
    let folder = folder("appends");
    std::fs::write(folder.join("audit.jsonl"), "{\"earlier\":true}\n").unwrap();
    let proxy = Proxy::start_with(config(&folder, "[audit]\nfile = \"audit.jsonl\""), vec![Arc::new(directory())]).await.unwrap();
    proxy.stop().await;
    assert_eq!(std::fs::read_to_string(folder.join("audit.jsonl")).unwrap(), "{\"earlier\":true}\n");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_an_error_that_names_it() {
    let config = config(&folder("nowhere"), "[audit]\nfile = \"no/such/folder/audit.jsonl\"");
    let error = Proxy::start_with(config, vec![Arc::new(directory())]).await.unwrap_err();
    assert!(matches!(error, StartError::Audit { .. }));
    assert!(error.to_string().contains("no/such/folder/audit.jsonl"), "{error}");
}
