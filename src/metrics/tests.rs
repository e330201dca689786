//! What is recorded is shown, with the right labels.

use super::*;
use crate::ldap::ResultCode;
use crate::outcome::{OperationKind, Served};

fn outcome(kind: OperationKind, served: Served, code: ResultCode) -> Outcome {
    Outcome { kind, served, code, entries: 3, took: Duration::from_micros(37) }
}

const DC1: &str = "ldaps://dc1.corp.example";
const DC2: &str = "ldaps://dc2.corp.example";

fn one_of_each() -> Metrics {
    Metrics::with_labels(&["127.0.0.1:389".to_owned(), "127.0.0.1:636".to_owned()], &[directory("corp")])
}

fn has(page: &str, line: &str) {
    assert!(page.lines().any(|l| l == line), "no line {line:?} in\n{page}");
}

#[test]
fn an_operation_is_counted_under_its_kind_source_and_code() {
    let metrics = one_of_each();
    metrics.operation(&outcome(OperationKind::Search, Served::Hit, ResultCode::SUCCESS));
    metrics.operation(&outcome(OperationKind::Search, Served::Hit, ResultCode::SUCCESS));
    metrics.operation(&outcome(OperationKind::Bind, Served::Refused, ResultCode::INVALID_CREDENTIALS));
    let page = metrics.render();
    has(&page, r#"redial_operations_total{operation="search",served="hit",code="success"} 2"#);
    has(&page, r#"redial_operations_total{operation="bind",served="refused",code="invalidCredentials"} 1"#);
    has(&page, r#"redial_search_entries_total{served="hit"} 6"#);
    has(&page, "redial_cache_hits_total 2");
    has(&page, "redial_cache_misses_total 0");
}

#[test]
fn each_way_of_serving_a_search_moves_its_own_cache_counter() {
    let metrics = one_of_each();
    for served in Served::ALL {
        metrics.operation(&outcome(OperationKind::Search, served, ResultCode::SUCCESS));
    }
    metrics.operation(&outcome(OperationKind::Bind, Served::Hit, ResultCode::SUCCESS));
    metrics.cache_refresh();
    let page = metrics.render();
    for name in ["hits", "misses", "stale", "coalesced", "refreshes"] {
        has(&page, &format!("redial_cache_{name}_total 1"));
    }
}

#[test]
fn durations_fall_into_cumulative_buckets() {
    let metrics = one_of_each();
    metrics.operation(&outcome(OperationKind::Search, Served::Miss, ResultCode::SUCCESS));
    let page = metrics.render();
    let line = |le: &str| format!(r#"redial_operation_duration_seconds_bucket{{operation="search",served="miss",le="{le}"}}"#);
    has(&page, &format!("{} 0", line("0.000025")));
    has(&page, &format!("{} 1", line("0.00005")));
    has(&page, &format!("{} 1", line("+Inf")));
    has(&page, r#"redial_operation_duration_seconds_sum{operation="search",served="miss"} 0.000037"#);
    has(&page, r#"redial_operation_duration_seconds_count{operation="search",served="miss"} 1"#);
    assert!(!page.contains(r#"_bucket{operation="bind""#), "what never happened has no series");
}

#[test]
fn codes_that_rfc_4511_does_not_name_share_one_label() {
    let metrics = one_of_each();
    for number in [80, 9, 4096, u32::MAX] {
        metrics.operation(&outcome(OperationKind::Search, Served::Miss, ResultCode(number)));
    }
    has(&metrics.render(), r#"redial_operations_total{operation="search",served="miss",code="other"} 4"#);
}

#[test]
fn listeners_and_servers_are_told_apart() {
    let metrics = one_of_each();
    metrics.connection_opened(0);
    metrics.connection_opened(1);
    metrics.connection_opened(1);
    metrics.connection_closed(1);
    metrics.connection_rejected(0, Rejected::Network);
    metrics.connection_rejected(1, Rejected::AcceptError);
    metrics.handshake(1, Handshake::Resumed);
    metrics.handshake(1, Handshake::Failed);
    let [dc1, dc2] = [DC1, DC2].map(|url| metrics.server_opened(0, url));
    dc2.up(true);
    dc2.connections(4);
    dc1.sent();
    dc2.sent();
    dc2.ended(true, Duration::from_millis(3));
    metrics.directory(0).retried();
    metrics.cache_holds(7, 4096);
    metrics.bind_recalled(BindRecall::Rejected);
    metrics.lockout_guard_refused();
    metrics.lockout_guarded(2);
    let page = metrics.render();
    for line in [
        r#"redial_downstream_connections{listener="127.0.0.1:389"} 1"#,
        r#"redial_downstream_connections{listener="127.0.0.1:636"} 1"#,
        r#"redial_downstream_connections_total{listener="127.0.0.1:636"} 2"#,
        r#"redial_downstream_rejected_total{listener="127.0.0.1:389",reason="network"} 1"#,
        r#"redial_downstream_accept_errors_total{listener="127.0.0.1:636"} 1"#,
        r#"redial_downstream_tls_handshakes_total{listener="127.0.0.1:636",result="resumed"} 1"#,
        r#"redial_downstream_tls_handshakes_total{listener="127.0.0.1:636",result="full"} 0"#,
        r#"redial_upstream_up{directory="corp",server="ldaps://dc1.corp.example"} 0"#,
        r#"redial_upstream_up{directory="corp",server="ldaps://dc2.corp.example"} 1"#,
        r#"redial_upstream_connections{directory="corp",server="ldaps://dc2.corp.example"} 4"#,
        r#"redial_upstream_in_flight{directory="corp",server="ldaps://dc1.corp.example"} 1"#,
        r#"redial_upstream_in_flight{directory="corp",server="ldaps://dc2.corp.example"} 0"#,
        r#"redial_upstream_requests_total{directory="corp",server="ldaps://dc2.corp.example",result="answered"} 1"#,
        r#"redial_upstream_request_duration_seconds_count{directory="corp",server="ldaps://dc2.corp.example"} 1"#,
        r#"redial_upstream_retries_total{directory="corp"} 1"#,
        "redial_cache_entries 7",
        "redial_cache_bytes 4096",
        r#"redial_bind_cache_total{result="accepted"} 0"#,
        r#"redial_bind_cache_total{result="rejected"} 1"#,
        "redial_lockout_guard_refused_total 1",
        "redial_lockout_guarded_principals 2",
    ] {
        has(&page, line);
    }
}

fn directory(name: &str) -> DirectoryConfig {
    directory_with(name, "servers = [\"ldaps://dc1.corp.example\"]")
}

fn directory_with(name: &str, servers: &str) -> DirectoryConfig {
    let account = "bind_dn = \"cn=a\"\npassword = \"b\"";
    let text = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n[directory.{name}]\nbase = \"dc=x\"\n{servers}\n{account}");
    let loaded = crate::config::load::load_text(&text, std::path::Path::new("."), true);
    loaded.unwrap_or_else(|rejected| panic!("{rejected}")).config.directories.remove(0)
}

#[test]
fn a_directory_that_takes_anothers_place_counts_on_in_its_series_and_alone_says_what_is_up() {
    let metrics = one_of_each();
    let [_, before] = [DC1, DC2].map(|url| metrics.server_opened(0, url));
    before.up(true);
    before.connections(4);
    before.sent();
    before.ended(true, Duration::from_millis(3));
    let successor = metrics.directory_opened(&directory("corp"));
    let [after, _] = [DC2, "ldaps://dc3.corp.example"].map(|url| metrics.server_opened(successor, url));
    after.connections(2);
    let page = metrics.render();
    has(&page, r#"redial_upstream_connections{directory="corp",server="ldaps://dc2.corp.example"} 6"#);
    assert_eq!(page.matches(r#"redial_upstream_up{directory="corp",server="ldaps://dc2.corp.example"}"#).count(), 1);

    metrics.directory_retired(0);
    before.up(false);
    before.connections(0);
    after.sent();
    after.ended(true, Duration::from_millis(3));
    let page = metrics.render();
    for line in [
        r#"redial_upstream_up{directory="corp",server="ldaps://dc2.corp.example"} 1"#,
        r#"redial_upstream_connections{directory="corp",server="ldaps://dc2.corp.example"} 2"#,
        r#"redial_upstream_in_flight{directory="corp",server="ldaps://dc2.corp.example"} 0"#,
        r#"redial_upstream_requests_total{directory="corp",server="ldaps://dc2.corp.example",result="answered"} 2"#,
        r#"redial_upstream_request_duration_seconds_count{directory="corp",server="ldaps://dc2.corp.example"} 2"#,
        r#"redial_upstream_connections{directory="corp",server="ldaps://dc3.corp.example"} 0"#,
    ] {
        has(&page, line);
    }
    assert!(!page.contains("dc1.corp.example"), "a server that nobody has any more: {page}");
}

#[test]
fn a_server_that_leaves_takes_its_series_along_and_begins_anew_when_it_comes_back() {
    let metrics = one_of_each();
    for _ in 0..3 {
        let server = metrics.server_opened(0, DC1);
        server.sent();
        server.ended(false, Duration::from_millis(3));
        has(
            &metrics.render(),
            r#"redial_upstream_requests_total{directory="corp",server="ldaps://dc1.corp.example",result="unanswered"} 1"#,
        );
        server.retire();
        assert!(!metrics.render().contains(DC1));
    }
    let server = metrics.server_opened(0, DC2);
    assert_eq!(Arc::strong_count(&server), 2, "known to whoever counts and to the page, and those before to nobody");
}

#[test]
fn a_directory_whose_servers_dns_names_says_whether_it_did() {
    let discovered = directory_with("corp", "discover = \"corp.example\"");
    let metrics = one_of_each();
    assert!(!metrics.render().contains("redial_upstream_discovery_successful{"), "those of corp are listed");
    let number = metrics.directory_opened(&discovered);
    has(&metrics.render(), r#"redial_upstream_discovery_successful{directory="corp"} 0"#);
    metrics.discovered(number, true);
    has(&metrics.render(), r#"redial_upstream_discovery_successful{directory="corp"} 1"#);
    metrics.directory_retired(number);
    assert!(!metrics.render().contains("redial_upstream_discovery_successful{"));
}

#[test]
fn directories_that_are_gone_are_forgotten_and_what_they_still_count_is_shown() {
    let metrics = one_of_each();
    let gone = metrics.directory(0);
    for number in 0..100 {
        assert_eq!(metrics.directory_opened(&directory("corp")), number + 1);
        metrics.directory_retired(number);
    }
    assert_eq!(metrics.directories.load().len(), 1);
    gone.retried();
    has(&metrics.render(), r#"redial_upstream_retries_total{directory="corp"} 1"#);
}

#[test]
fn a_listener_that_comes_later_has_series_of_its_own() {
    let metrics = one_of_each();
    let number = metrics.listener_opened("127.0.0.1:3890");
    assert_eq!(number, 2);
    metrics.connection_opened(number);
    has(&metrics.render(), r#"redial_downstream_connections{listener="127.0.0.1:3890"} 1"#);
}

#[test]
fn a_certificate_is_shown_while_it_is_in_use() {
    let metrics = one_of_each();
    let line = |of: &str, name: &str| format!(r#"redial_certificate_not_after_timestamp_seconds{{of="{of}",name="{name}"}} 2000"#);
    let server = metrics.server_opened(0, DC1);
    assert!(!metrics.render().contains("of=\"controller\""), "it has shown none yet");
    assert!(server.certificate_expires(Duration::from_secs(2000)));
    assert!(!server.certificate_expires(Duration::from_secs(2000)), "no news");
    metrics.certificate_expires(CertificateOf::Listener, "127.0.0.1:636", Duration::from_secs(2000));
    metrics.certificate_expires(CertificateOf::Ca, "old.pem", Duration::from_secs(2000));
    has(&metrics.render(), &line("listener", "127.0.0.1:636"));
    has(&metrics.render(), &line("controller", DC1));
    assert_eq!(metrics.certificates_expiring_before(Duration::from_secs(2000)).len(), 0);
    assert_eq!(metrics.certificates_expiring_before(Duration::from_secs(2001)).len(), 3);
    metrics.retain_certificates(|of, _| of == CertificateOf::Listener);
    server.retire();
    assert!(!metrics.render().contains("old.pem") && !metrics.render().contains(DC1));
    has(&metrics.render(), &line("listener", "127.0.0.1:636"));
}

#[test]
fn an_index_outside_the_configuration_is_ignored() {
    let metrics = Metrics::unrecorded();
    metrics.connection_opened(9);
    metrics.handshake(9, Handshake::Full);
    metrics.server_opened(9, DC1).sent();
    metrics.directory(9).retried();
    assert!(!metrics.render().contains("listener="));
}

#[test]
fn every_family_has_help_and_type_once_and_every_name_is_in_the_list() {
    let metrics = one_of_each();
    metrics.operation(&outcome(OperationKind::Search, Served::Hit, ResultCode::SUCCESS));
    let server = metrics.server_opened(0, DC1);
    server.sent();
    server.ended(true, Duration::from_millis(3));
    metrics.table_holds("searches", 1);
    let page = metrics.render();
    for metric in names::all() {
        assert_eq!(page.matches(&format!("# HELP {} ", metric.name)).count(), 1, "help of {}", metric.name);
        assert_eq!(page.matches(&format!("# TYPE {} ", metric.name)).count(), 1, "type of {}", metric.name);
    }
    for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        assert!(names::all().any(|metric| metric.name == family || metric.name == name), "{name} is not in the list");
    }
}
