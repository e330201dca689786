//! `redial check` where it looks beyond the configuration: at LDIF files, and with `--online` at scripted controllers on loopback.

use crate::common::dns;
use crate::common::dns::{Dns, Says};
use crate::common::scripted_controller::{Act, Certificate, Heard, ScriptedController, Security, certificate};
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use redial::ldap::oid;
use redial::ldap::response::write_entry_op;
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::task::spawn_blocking;

const PASSWORD: &str = "hunter2";

/// Checks the configuration; its exit code and its report.
async fn check(name: &str, text: &str, online: bool) -> (i32, String) {
    let file = write(&format!("{name}.toml"), text);
    let mut command = Command::new(env!("CARGO_BIN_EXE_redial"));
    command.arg("check").arg(file).args(online.then_some("--online")).env("REDIAL_TEST_PASSWORD", PASSWORD);
    let output = spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(!report.contains(PASSWORD), "{report}");
    (output.status.code().unwrap(), report)
}

fn write(name: &str, text: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, text).unwrap();
    file
}

fn configuration(servers: &[String], more: &str) -> String {
    format!(
        "[[listener]]\naddress = \"127.0.0.1:3389\"\n\n[directory.corp]\nbase = \"OU=Staff,DC=corp\"\nservers = {servers:?}\n\
         bind_dn = \"CN=redial\"\npassword_env = \"REDIAL_TEST_PASSWORD\"\n{more}\n\n\
         [[access]]\nname = \"phones\"\nclients = \"any\"\nbases = [\"OU=Staff,DC=corp\"]\nattributes = [\"cn\"]\n"
    )
}

/// An Active Directory that holds `context`.
fn active_directory(context: &'static str) -> impl Fn(&Heard) -> Option<Vec<Act>> + Send + Sync + 'static {
    move |heard| {
        let mut entry = Vec::new();
        let attributes: [(&str, [&[u8]; 1]); 3] = [
            ("namingContexts", [context.as_bytes()]),
            ("supportedCapabilities", [oid::ACTIVE_DIRECTORY.as_bytes()]),
            ("supportedControl", [oid::PAGED_RESULTS.as_bytes()]),
        ];
        write_entry_op(&mut entry, "", attributes);
        (heard.tag == op::SEARCH_REQUEST).then(|| vec![heard.message(&entry), heard.done(ResultCode::SUCCESS)])
    }
}

fn plain(controllers: &[&ScriptedController]) -> String {
    let servers: Vec<String> = controllers.iter().map(|controller| format!("ldap://{}", controller.address)).collect();
    configuration(&servers, "start_tls = false")
}

#[tokio::test]
async fn controllers_that_are_well_are_listed() {
    let controller = ScriptedController::plain(active_directory("DC=corp")).await;
    let (code, report) = check("well", &plain(&[&controller]), true).await;
    assert_eq!(code, 0, "{report}");
    assert!(report.starts_with(&format!("directory.corp           ldap://{}", controller.address)), "{report}");
    assert!(report.contains(", bound, Active Directory\nThe configuration is fine.\n"), "{report}");
}

fn discovering(dns: &Dns, more: &str) -> String {
    let discover = format!("discover = {{ domain = \"ldaps://corp.example\", resolvers = [\"{}\"] }}", dns.address);
    configuration(&[], more).replace("servers = []", &discover)
}

#[tokio::test]
async fn controllers_that_dns_names_are_listed_and_those_that_may_not_be_asked_are_a_warning() {
    let (ca, tls) = certificate(Certificate::Good);
    let controller = ScriptedController::start(Security::Ldaps(tls), active_directory("DC=corp")).await;
    let port = controller.address.port();
    let named = ["dc1.corp.example.", "dc1.elsewhere.example."].map(|host| (port, host.to_owned()));
    let dns = Dns::start(Says::Controllers(named.into())).await;
    let (code, report) = check("discovered", &discovering(&dns, &format!("ca = {ca:?}")), true).await;
    assert_eq!(code, 0, "{report}");
    assert!(report.starts_with(&format!("directory.corp           ldaps://dc1.corp.example:{port}")), "{report}");
    assert!(
        report.contains(", bound, Active Directory\nwarning: directory.corp.discover: dc1.elsewhere.example is named by DNS"),
        "{report}"
    );
}

#[tokio::test]
async fn dns_that_names_no_controller_is_a_problem_with_its_reason() {
    let server = Dns::start(Says::NoSuchName).await;
    for (says, why) in [
        (Says::NoSuchName, "there are no SRV records of _ldap._tcp"),
        (dns::controller(389, "dc1.elsewhere.example."), "the records name hosts outside the domain alone"),
        (dns::controller(0, "."), "DNS says that corp.example has no LDAP service"),
        (Says::Nothing, ""),
    ] {
        server.says(says);
        let (code, report) = check("undiscovered", &discovering(&server, ""), true).await;
        assert_eq!(code, 64, "{report}");
        assert!(report.starts_with(&format!("directory.corp.discover: {why}")) && report.ends_with("1 problem.\n"), "{report}");
    }
}

#[tokio::test]
async fn without_online_nobody_is_asked() {
    let controller = ScriptedController::plain(active_directory("DC=corp")).await;
    let (code, report) = check("offline", &plain(&[&controller]), false).await;
    assert_eq!((code, report.as_str()), (0, "The configuration is fine.\n"));
    assert!(controller.heard().is_empty());
}

#[tokio::test]
async fn a_controller_of_another_domain_is_a_problem() {
    let controller = ScriptedController::plain(active_directory("DC=elsewhere")).await;
    let (code, report) = check("elsewhere", &plain(&[&controller]), true).await;
    assert_eq!(code, 64);
    assert!(report.contains("does not hold OU=Staff,DC=corp: its naming contexts are DC=elsewhere"), "{report}");
}

#[tokio::test]
async fn a_password_that_is_refused_is_not_tried_on_the_next_controller() {
    let refuses = |heard: &Heard| (heard.tag == op::BIND_REQUEST).then(|| vec![heard.done(ResultCode::INVALID_CREDENTIALS)]);
    let (first, second) = (ScriptedController::plain(refuses).await, ScriptedController::plain(refuses).await);
    let (code, report) = check("refused", &plain(&[&first, &second]), true).await;
    assert_eq!(code, 64);
    assert!(report.contains("bind refused (invalidCredentials(49))") && report.contains("not bound"), "{report}");
    assert_eq!((first.heard_with(op::BIND_REQUEST).len(), second.heard_with(op::BIND_REQUEST).len()), (1, 0));
}

#[tokio::test]
async fn a_certificate_for_another_name_is_a_problem() {
    let (ca, tls) = certificate(Certificate::OtherName);
    let controller = ScriptedController::start(Security::Ldaps(tls), active_directory("DC=corp")).await;
    let text = configuration(&[format!("ldaps://localhost:{}", controller.address.port())], &format!("ca = {ca:?}"));
    let (code, report) = check("other-name", &text, true).await;
    assert_eq!(code, 64);
    assert!(report.contains("directory.corp.servers: ldaps://localhost:") && report.contains("TLS failed"), "{report}");
    assert!(controller.heard().is_empty(), "a password was sent");
}

#[tokio::test]
async fn a_controller_that_is_away_is_a_problem_and_the_others_are_still_looked_at() {
    let mut away = ScriptedController::plain(|_| None).await;
    let well = ScriptedController::plain(active_directory("DC=corp")).await;
    away.stop();
    let (code, report) = check("away", &plain(&[&away, &well]), true).await;
    assert_eq!(code, 64);
    assert!(report.contains(&format!("ldap://{}", well.address)) && report.contains("ok in"), "{report}");
    assert!(report.ends_with("1 problem.\n"), "{report}");
}

#[tokio::test]
async fn every_problem_of_an_ldif_file_is_told_with_its_line() {
    write("broken.ldif", "dn: dc=contacts\nobjectClass domain\n\ndn: cn=a,dc=contacts\ncn:: %%%\n");
    let text = "[[listener]]\naddress = \"127.0.0.1:3389\"\n\n[directory.contacts]\nbase = \"dc=contacts\"\nldif = \"broken.ldif\"\n";
    let (code, report) = check("ldif", text, false).await;
    assert_eq!(code, 64);
    assert!(report.contains("broken.ldif: line 2: ") && report.contains("broken.ldif: line 5: "), "{report}");
}

#[tokio::test]
async fn a_group_that_the_directory_does_not_have_is_a_problem_of_the_access_that_names_it() {
    let controller = ScriptedController::plain(|heard| {
        let is_missing = heard.tag == op::SEARCH_REQUEST && heard.base() == "CN=None,OU=Staff,DC=corp";
        is_missing.then(|| vec![heard.done(ResultCode::NO_SUCH_OBJECT)])
    })
    .await;
    let clients = "clients = [\"group:CN=All,OU=Staff,DC=corp\", \"group:CN=None,OU=Staff,DC=corp\"]";
    let (code, report) = check("group", &plain(&[&controller]).replace("clients = \"any\"", clients), true).await;
    assert_eq!(code, 64, "{report}");
    assert!(report.contains("access[0].clients: ldap://") && report.contains("CN=None,OU=Staff,DC=corp is not there"), "{report}");
    assert!(!report.contains("CN=All"), "{report}");
}
