//! Two controllers of one directory: one may go, and no phone notices.

use crate::bed::{self, Kind, PASSWORD, Server};
use crate::common::ldap_client::subtree;
use crate::redial::{Redial, Setup, eventually};
use crate::relay::Relay;
use redial::ldap::ResultCode;

#[test]
fn one_of_two_domain_controllers_may_go_and_every_search_and_bind_still_succeeds() {
    let relays = [Relay::to(bed::samba().ldaps), Relay::to(bed::samba().ldaps)];
    let servers = relays.iter().map(|relay| format!("ldaps://{}", relay.address)).collect();
    let redial = Setup { servers, ..Setup::before(bed::samba()) }.watchful().start();
    for away in [0, 1] {
        relays[away].cut();
        for number in 0..30 {
            // A search that nobody has asked before, so it cannot come from memory.
            let filter = format!("(employeeNumber={})", 100_100 + away * 100 + number);
            let found = redial.connect().search(&subtree("DC=corp,DC=example", &filter, &["cn"]));
            assert_eq!((found.entries.len(), found.outcome.code), (1, ResultCode::SUCCESS), "{filter} without controller {away}");
        }
        let bound = redial.connect().bind("alice@corp.example", PASSWORD);
        assert_eq!(bound.code, ResultCode::SUCCESS, "{}", bound.diagnostic);
        relays[away].mend();
        eventually("both controllers are up again", || both_up(&redial));
    }
}

#[test]
fn a_controller_that_never_answers_at_the_start_does_not_hinder_the_other() {
    let servers = vec!["ldaps://127.0.66.16:3636".to_owned(), format!("ldaps://{}", bed::slapd().ldaps)];
    let redial = Setup { servers, ..Setup::before(bed::slapd()) }.start();
    for number in 0..10 {
        let found = redial.connect().search(&subtree("DC=corp,DC=example", &format!("(employeeNumber=1003{number:02})"), &["cn"]));
        assert_eq!((found.entries.len(), found.outcome.code), (1, ResultCode::SUCCESS), "{}", found.outcome.diagnostic);
    }
}

#[test]
fn searches_go_on_while_one_of_two_slapds_is_really_stopped() {
    let going = Server::start(Kind::Slapd, "going", "127.0.66.14");
    let servers = vec![format!("ldaps://{}", going.ldaps), format!("ldaps://{}", bed::slapd().ldaps)];
    let redial = Setup { servers, ..Setup::before(bed::slapd()) }.start();
    let mut phone = redial.connect();
    let mut going = Some(going);
    for number in 0..60 {
        if number == 20 {
            going.take().expect("stopped once").stop();
        }
        let found = phone.search(&subtree("DC=corp,DC=example", &format!("(employeeNumber=1004{number:02})"), &["cn"]));
        assert_eq!((found.entries.len(), found.outcome.code), (1, ResultCode::SUCCESS), "search {number}: {}", found.outcome.diagnostic);
    }
}

fn both_up(redial: &Redial) -> bool {
    let (_, metrics) = redial.http("/metrics").expect("the metrics");
    metrics.lines().filter(|line| line.starts_with("redial_upstream_up{") && line.ends_with(" 1")).count() == 2
}
