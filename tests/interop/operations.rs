//! What an administrator meets: metrics, the demo, the end.

use crate::bed;
use crate::common::ldap_client::{LdapClient, Outcome, subtree};
use crate::redial::Setup;
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use redial::ldap::oid;
use std::fs;
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
        said_by(Command::new("promtool").args(arguments).current_dir(top().join("config/prometheus")));
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
    let ports = ["--ldap-port", "13389", "--ldaps-port", "13636", "--admin-port", "19390"];
    said_by(Command::new(top().join("tests/clients/demo")).arg(env!("CARGO_BIN_EXE_redial")).args(ports));
}

#[test]
fn systemd_finds_no_mistake_in_the_units_and_hardly_anything_exposed() {
    let folder = bed::state().join(format!("systemd-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the units");
    for unit in ["redial.service", "redial.socket"] {
        // It looks whether the program is there.
        let text = fs::read_to_string(top().join("config/systemd").join(unit)).expect("the unit");
        fs::write(folder.join(unit), text.replace("/usr/bin/redial", env!("CARGO_BIN_EXE_redial"))).expect("a copy of the unit");
    }
    let analyze = |arguments: &[&str]| said_by(Command::new("systemd-analyze").args(arguments).current_dir(&folder));
    let mistakes = analyze(&["verify", "--man=no", "redial.service", "redial.socket"]);
    assert!(!mistakes.contains("redial"), "{mistakes}");
    // In tenths: what is left is that it speaks to a network, and to every address there.
    analyze(&["security", "--offline=true", "--threshold=12", "redial.service"]);
    fs::remove_dir_all(folder).expect("the copies go");
}

#[test]
fn the_compose_file_runs_redial_sealed_and_a_pbx_in_one_network() {
    let file = top().join("config/compose.yaml");
    // It says what it would do, and `true` stands for the engine that it asks first.
    let words =
        said_by(Command::new("podman-compose").args(["--dry-run", "--podman-path", "true", "-f"]).arg(file).args(["up", "--detach"]));
    let run = |service: &str| {
        let alias = format!("--network-alias {service} ");
        words.lines().find(|line| line.starts_with("true run ") && line.contains(&alias)).expect("the service runs").to_owned()
    };
    let (redial, pbx) = (run("redial"), run("pbx"));
    for option in ["--read-only", "--cap-drop ALL", "--security-opt no-new-privileges", "-u 65532:65532", "/site:/etc/redial:ro"] {
        assert!(redial.contains(option), "no {option:?} in {redial}");
    }
    for service in [redial, pbx] {
        assert!(service.contains("telephony "), "{service}");
    }
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a command said, which has to succeed.
fn said_by(command: &mut Command) -> String {
    let said = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let words = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
    assert!(said.status.success(), "{command:?}: {words}");
    words
}
