//! What an administrator meets: metrics, the demo, the end.

use crate::bed;
use crate::common::ldap_client::{LdapClient, Outcome, subtree};
use crate::redial::Setup;
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use redial::ldap::oid;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let redial = Setup::before(bed::slapd()).start();
    for _ in 0..3 {
        redial.connect().search(&subtree("DC=corp,DC=example", "(sn=Übel)", &["cn"]));
    }
    let (status, metrics) = redial.http("/metrics").expect("the metrics");
    assert_eq!(status, 200);
    let sample = |name: &str| metrics.lines().any(|line| line.starts_with(name) && !line.ends_with(" 0"));
    assert!(sample("redial_cache_hits_total") && sample("redial_operations_total"), "{metrics}");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    promtool.stdin.take().expect("its input").write_all(metrics.as_bytes()).expect("it reads");
    let said = promtool.wait_with_output().expect("its end");
    let words = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success() && words.is_empty(), "promtool: {words}");
}

#[test]
fn promtool_finds_the_alerts_to_do_what_their_cases_say() {
    for arguments in [["check", "rules", "redial.rules.yaml"], ["test", "rules", "redial.tests.yaml"]] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/prometheus");
        let said = Command::new("promtool").args(arguments).current_dir(folder).output().expect("promtool");
        let words = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success(), "promtool {arguments:?}: {words}");
    }
}

#[test]
fn sigterm_ends_it_cleanly_and_idle_phones_are_told() {
    let mut redial = Setup::before(bed::slapd()).start();
    let mut idle = LdapClient::ldaps(redial.ldaps, &bed::ca()).expect("LDAPS");
    idle.search(&subtree("DC=corp,DC=example", "(sn=Übel)", &["cn"]));
    redial.terminate();
    let notice = idle.receive().expect("a last word");
    assert_eq!((notice.id, notice.op_tag), (0, op::EXTENDED_RESPONSE));
    assert!(notice.content.windows(oid::NOTICE_OF_DISCONNECTION.len()).any(|octets| octets == oid::NOTICE_OF_DISCONNECTION.as_bytes()));
    assert_eq!(Outcome::parse(&notice.content).code, ResultCode::UNAVAILABLE);
    assert!(idle.receive().is_err(), "nothing follows the Notice of Disconnection");
    assert_eq!(redial.wait().code(), Some(0), "{}", redial.log());
}

#[test]
fn every_search_that_the_demo_prints_finds_entries() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/demo");
    let ports = ["--ldap-port", "13389", "--ldaps-port", "13636", "--admin-port", "19390"];
    let tried = Command::new(script).arg(env!("CARGO_BIN_EXE_redial")).args(ports).output().expect("the script");
    let said = String::from_utf8_lossy(&tried.stdout).into_owned() + &String::from_utf8_lossy(&tried.stderr);
    assert!(tried.status.success(), "{said}");
}
