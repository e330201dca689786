//! Whose name is that: a principal has many names, and they share one guard and one set of answers; over scripted controllers.
#![expect(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::indexing_slicing, reason = "tests fail by panicking")]

mod common;
#[path = "who/fast_bind.rs"]
mod fast_bind;

use common::configuration::load;
use common::domain::{self, Domain, Kind, SAMBA, sid_text};
use common::phone::Phone;
use common::scripted_controller::{Act, Heard, ScriptedController};
use redial::directory::{Asked, Directory, Operation, RunAs};
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use redial::lifecycle::{Ending, lifecycle};
use redial::metrics::Metrics;
use redial::pipeline::Pipeline;
use redial::upstream::Upstream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const BASE: &str = "dc=corp,dc=example";
const OPEN: &str = "[[access]]\nname = \"all\"\nclients = \"any\"\nbases = [\"dc=corp,dc=example\"]\nattributes = [\"*\"]\n";
const NAMES: [&str; 4] = ["cn=alice,dc=corp,dc=example", "alice@corp.example", "CORP\\alice", "CN=Alice, DC=corp, DC=example"];

/// A pipeline in front of one scripted controller.
struct House {
    pipeline: Arc<Pipeline>,
    domain: Arc<Domain>,
    controller: ScriptedController,
    _ending: Ending,
}

impl House {
    /// Before a domain with two users.
    async fn new(kind: Kind, search_as: &str) -> Self {
        let domain = Domain::new(kind);
        domain.user("alice", 1104, "right");
        domain.user("bob", 1105, "right");
        Self::before(domain, &format!("search_as = \"{search_as}\"\n{OPEN}")).await
    }

    async fn before(domain: Arc<Domain>, toml: &str) -> Self {
        let account = format!("bind_dn = \"{}\"\npassword = \"service\"\n", domain::SERVICE);
        Self::with(domain, &format!("{account}{toml}")).await
    }

    async fn without_account(domain: Arc<Domain>, toml: &str) -> Self {
        Self::with(domain, &format!("search_as = \"client\"\n{toml}")).await
    }

    async fn with(domain: Arc<Domain>, toml: &str) -> Self {
        Self::scripted(domain, toml, |_| None).await.0
    }

    /// The same where `over` has the first word.
    async fn scripted(
        domain: Arc<Domain>,
        toml: &str,
        over: impl Fn(&Heard) -> Option<Vec<Act>> + Send + Sync + 'static,
    ) -> (Self, Arc<Upstream>) {
        let brain = Arc::clone(&domain);
        let controller = ScriptedController::plain(move |heard| over(heard).or_else(|| brain.answer(heard))).await;
        let text = format!(
            "[[listener]]\naddress = \"127.0.0.1:3389\"\n[directory.corp]\nbase = \"dc=corp,dc=example\"\nservers = [\"ldap://{}\"]\n\
             start_tls = false\n{toml}",
            controller.address,
        );
        let config = load(&text, Path::new("."));
        let metrics = Arc::new(Metrics::unrecorded());
        let (ending, running) = lifecycle();
        let redial::config::DirectoryKind::Upstream(upstream) = &config.directories[0].kind else { panic!("controllers") };
        let upstream = Arc::new(Upstream::new(0, upstream, &config.limits, Arc::clone(&metrics), running).unwrap());
        let directories: Vec<Arc<dyn Directory>> = vec![Arc::<Upstream>::clone(&upstream)];
        let pipeline = Arc::new(Pipeline::new(&config, directories, metrics));
        (Self { pipeline, domain, controller, _ending: ending }, upstream)
    }

    /// A phone that has just connected.
    fn phone(&self) -> Phone {
        Phone::new(&self.pipeline)
    }

    async fn bound(&self, name: &str) -> Phone {
        let mut phone = self.phone();
        assert_eq!(phone.bind(name, "right").await.code, ResultCode::SUCCESS, "{name}");
        phone
    }

    /// What the controller has heard of clients' binds.
    fn binds(&self) -> usize {
        self.controller.heard_with(op::BIND_REQUEST).iter().filter(|heard| heard.bind().0 != domain::SERVICE).count()
    }
}

fn is_search_for_people(heard: &&Heard) -> bool {
    heard.question().2.to_string().contains("telephoneNumber")
}

#[tokio::test]
async fn wrong_passwords_under_three_names_of_one_user_count_together() {
    let house = House::new(SAMBA, "service").await;
    for name in NAMES {
        house.bound(name).await;
    }
    let before = house.binds();
    for (number, name) in NAMES.iter().cycle().take(8).enumerate() {
        assert_eq!(house.phone().bind(name, &format!("wrong {number}")).await.code, ResultCode::INVALID_CREDENTIALS);
    }
    assert_eq!(house.binds() - before, 3);
    assert_eq!(house.pipeline.register().guarded(), 1);
    assert_eq!(house.phone().bind("bob@corp.example", "wrong").await.code, ResultCode::INVALID_CREDENTIALS);
    assert_eq!(house.binds() - before, 4, "another user's attempts are their own");
}

#[tokio::test]
async fn a_principal_is_known_by_what_the_server_says_and_else_by_the_name_as_sent() {
    let sid = sid_text(1104);
    for (kind, expected) in [(SAMBA, Some(sid.as_str())), (Kind::OpenLdap, Some("dn:cn=alice,dc=corp,dc=example")), (Kind::Silent, None)] {
        let house = House::new(kind, "service").await;
        for name in NAMES {
            let phone = house.bound(name).await;
            let principal = phone.principal();
            assert_eq!(principal.who.as_ref().map(|who| who.canonical.as_str()), expected, "{kind:?}: {name}");
            assert_eq!(principal.name, name);
        }
        assert_eq!(house.binds(), NAMES.len(), "{kind:?}: it is asked on the connection that was bound, which costs no other bind");
        assert_eq!(house.controller.connections().1, 1, "{kind:?}: and no other connection");
    }
}

#[tokio::test]
async fn who_binds_next_on_a_connection_is_not_taken_for_who_bound_before() {
    for kind in [SAMBA, Kind::OpenLdap] {
        let house = House::new(kind, "service").await;
        let whose = |phone: &Phone| phone.principal().who.clone().unwrap().canonical.clone();
        let (alice, bob, again) =
            (house.bound("alice@corp.example").await, house.bound("bob@corp.example").await, house.bound("CORP\\alice").await);
        assert_eq!(house.controller.connections().1, 1);
        assert_eq!(whose(&alice), whose(&again));
        assert_ne!(whose(&alice), whose(&bob));
    }
}

#[tokio::test]
async fn answers_belong_to_the_user_under_all_names_and_never_to_another_user() {
    let house = House::new(SAMBA, "client").await;
    let asked = || house.controller.heard_with(op::SEARCH_REQUEST).iter().filter(is_search_for_people).count();
    for (number, name) in NAMES.iter().enumerate() {
        let found = house.bound(name).await.search(BASE, "(|(telephoneNumber=1)(objectClass=user))").await;
        assert_eq!((found.code, found.entries.len()), (ResultCode::SUCCESS, 2));
        assert_eq!(asked(), 1, "{name}: one answer for all, {number}");
    }
    house.bound("bob@corp.example").await.search(BASE, "(|(telephoneNumber=1)(objectClass=user))").await;
    assert_eq!(asked(), 2, "another user's answer is their own");
    let silent = House::new(Kind::Silent, "client").await;
    for name in NAMES {
        silent.bound(name).await.search(BASE, "(|(telephoneNumber=1)(objectClass=user))").await;
    }
    let asked = silent.controller.heard_with(op::SEARCH_REQUEST).iter().filter(is_search_for_people).count();
    assert_eq!(asked, NAMES.len(), "where nobody says whose names they are, each is its own");
}

#[tokio::test]
async fn a_bind_whose_owner_cannot_be_looked_up_is_still_a_bind() {
    let domain = Domain::new(SAMBA);
    domain.user("alice", 1104, "right");
    domain.group("Domain Users", 513, &["alice"]);
    let house = House::before(domain, OPEN).await;
    // A token that begins with a group would make all its members one.
    house.domain.claims_to_be(513);
    let phone = house.bound("alice@corp.example").await;
    assert_eq!(phone.principal().who, None);
    assert_eq!(house.bound("alice@corp.example").await.principal().who, None);
    assert_eq!(house.binds(), 1, "and is remembered");
}

/// For the members of the group "all", for whom searches run under the service account.
const MEMBERS: &str = "[[access]]\nname = \"members\"\nclients = [\"group:cn=all,dc=corp,dc=example\"]\nbases = [\"dc=corp,dc=example\"]\n\
                       attributes = [\"*\"]\n[binds]\nttl = \"0s\"\n";
const YES: ResultCode = ResultCode::SUCCESS;
const NO: ResultCode = ResultCode::INSUFFICIENT_ACCESS_RIGHTS;

/// Alice is in a circle of groups, one of which is in the group that matters; bob is in another.
fn nested(kind: Kind) -> Arc<Domain> {
    let domain = Domain::new(kind);
    domain.user("alice", 1104, "right");
    domain.user("bob", 1105, "right");
    domain.group("berlin", 2001, &["alice", "staff"]);
    domain.group_by("uniqueMember", "staff", 2002, &["berlin"]);
    domain.group("all", 2003, &["staff"]);
    domain.group("others", 2004, &["bob", "all"]);
    domain
}

#[tokio::test]
async fn members_by_way_of_other_groups_are_members_on_every_kind_of_server() {
    for (kind, alice) in [(SAMBA, YES), (Kind::OpenLdap, YES), (Kind::Silent, NO)] {
        let house = House::before(nested(kind), MEMBERS).await;
        for name in NAMES {
            assert_eq!(house.bound(name).await.search(BASE, "(cn=*)").await.code, alice, "{kind:?}: {name}");
        }
        assert_eq!(house.bound("bob@corp.example").await.search(BASE, "(cn=*)").await.code, NO, "{kind:?}");
        house.domain.group("staff", 2002, &[]);
        assert_eq!(house.bound(NAMES[0]).await.search(BASE, "(cn=*)").await.code, NO, "{kind:?}: no longer");
    }
}

#[tokio::test]
async fn groups_are_read_under_the_service_account_and_as_the_client_where_there_is_none() {
    for kind in [SAMBA, Kind::OpenLdap] {
        let house = House::before(nested(kind), MEMBERS).await;
        house.bound(NAMES[0]).await;
        let service =
            house.controller.heard_with(op::BIND_REQUEST).iter().find(|heard| heard.bind().0 == domain::SERVICE).unwrap().connection;
        let group = |heard: &&Heard| !heard.base().is_empty() && !heard.base().starts_with("<SID=");
        let readers =
            || house.controller.heard_with(op::SEARCH_REQUEST).iter().filter(group).map(|heard| heard.connection).collect::<Vec<_>>();
        assert!(!readers().is_empty() && readers().iter().all(|reader| *reader == service), "{kind:?}");
    }
    for kind in [SAMBA, Kind::OpenLdap] {
        let alone = House::without_account(nested(kind), MEMBERS).await;
        let alice = alone.bound(NAMES[0]).await;
        assert!(alice.principal().is_in(&redial::ldap::dn::Dn::parse("cn=all,dc=corp,dc=example").unwrap()), "{kind:?}");
        assert_eq!(alone.controller.connections().1, 1, "{kind:?}");
    }
}

#[tokio::test]
async fn a_session_whose_groups_are_too_old_asks_the_directory_again() {
    for kind in [SAMBA, Kind::OpenLdap] {
        let house = House::before(nested(kind), MEMBERS).await;
        let alice = house.bound(NAMES[1]).await;
        assert_eq!(alice.search(BASE, "(cn=*)").await.code, YES, "{kind:?}");
        house.domain.group("staff", 2002, &[]);
        // Groups are believed for a second where binds are not remembered at all.
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(1)).await;
        tokio::time::resume();
        assert_eq!(alice.search(BASE, "(cn=*)").await.code, NO, "{kind:?}");
        assert_eq!(house.binds(), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn a_group_that_is_not_there_has_no_members() {
    for kind in [SAMBA, Kind::OpenLdap] {
        let house = House::before(nested(kind), &MEMBERS.replace("cn=all", "cn=none")).await;
        assert_eq!(house.bound(NAMES[0]).await.search(BASE, "(cn=*)").await.code, NO, "{kind:?}");
    }
}

#[tokio::test]
async fn groups_in_groups_are_followed_so_far_and_not_for_ever() {
    let domain = Domain::new(Kind::OpenLdap);
    domain.user("alice", 1104, "right");
    let names: Vec<String> = (0..40).map(|level| format!("level {level}")).collect();
    domain.group(&names[0], 3000, &["alice"]);
    for pair in names.windows(2) {
        domain.group(&pair[1], 3000, &[&pair[0]]);
    }
    let house = House::before(domain, &MEMBERS.replace("cn=all", "cn=level 30")).await;
    assert_eq!(house.bound(NAMES[0]).await.search(BASE, "(cn=*)").await.code, NO);
    let searches = house.controller.heard_with(op::SEARCH_REQUEST).iter().filter(|heard| !heard.is_root_dse()).count();
    assert_eq!(searches, 16);
}
