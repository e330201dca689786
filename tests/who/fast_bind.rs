//! Fast bind: many binds under way at once on one connection to Active Directory, and the service account says whose names they are.

use super::*;
use futures_util::future::join_all;
use redial::secret::Secret;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

const FAST: Kind = Kind::ActiveDirectory { fast_bind: true, refuses: false };
const ACCOUNT: &str = "bind_dn = \"cn=redial\"\npassword = \"service\"\n";
/// Binds are not remembered, so that each is asked.
const ASKED: &str = "[binds]\nttl = \"0s\"\n";

/// A house whose controller may keep its answers to clients' binds to itself.
struct Held {
    house: House,
    upstream: Arc<Upstream>,
    holds: Arc<AtomicBool>,
}

impl Held {
    /// The controller has been probed, and `names` are right with any password.
    async fn new(domain: Arc<Domain>, toml: &str, names: &'static [&'static str]) -> Self {
        let holds = Arc::new(AtomicBool::new(false));
        let is_held = Arc::clone(&holds);
        let (house, upstream) = House::scripted(domain, toml, move |heard| {
            let name = (heard.tag == op::BIND_REQUEST).then(|| heard.bind().0).filter(|name| name != domain::SERVICE)?;
            if is_held.load(Ordering::SeqCst) {
                return Some(Vec::new());
            }
            names.contains(&name.as_str()).then(|| vec![heard.done(ResultCode::SUCCESS)])
        })
        .await;
        upstream.start();
        let held = Self { house, upstream, holds };
        held.is_up().await;
        held
    }

    /// Waits until the controller has answered a probe.
    async fn is_up(&self) {
        let up = async {
            while !self.upstream.is_available() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), up).await.expect("a controller that is up");
    }

    async fn usual(kind: Kind) -> Self {
        let domain = Domain::new(kind);
        domain.user("alice", 1104, "right");
        domain.user("bob", 1105, "right");
        Self::new(domain, &format!("{ACCOUNT}{OPEN}{ASKED}"), &[]).await
    }

    fn hold(&self, holds: bool) {
        self.holds.store(holds, Ordering::SeqCst);
    }

    fn clients_binds(&self) -> Vec<Heard> {
        self.house.controller.heard_with(op::BIND_REQUEST).into_iter().filter(|heard| heard.bind().0 != domain::SERVICE).collect()
    }

    /// Waits for `count` clients' binds.
    async fn wait_for(&self, count: usize) -> Vec<Heard> {
        loop {
            let mut heard = self.house.controller.heard_with(op::BIND_REQUEST);
            let all = heard.len();
            heard.retain(|heard| heard.bind().0 != domain::SERVICE);
            if heard.len() >= count {
                return heard;
            }
            self.house.controller.wait_for(op::BIND_REQUEST, all + 1).await;
        }
    }

    /// Answers it after all.
    fn answer(&self, heard: &Heard) {
        for act in self.house.domain.answer(heard).unwrap() {
            self.house.controller.act(heard.connection, act);
        }
    }

    fn fast_binds_begun(&self) -> Vec<usize> {
        self.house.controller.heard_with(op::EXTENDED_REQUEST).iter().map(|heard| heard.connection).collect()
    }

    /// Everything on a fast connection, in order, is the request for it and then binds.
    fn assert_fast_connections_only_bind(&self) {
        for connection in self.fast_binds_begun() {
            let heard: Vec<u8> =
                self.house.controller.heard().iter().filter(|heard| heard.connection == connection).map(|heard| heard.tag).collect();
            let (first, rest) = heard.split_first().unwrap();
            assert_eq!(*first, op::EXTENDED_REQUEST);
            assert!(rest.iter().all(|tag| matches!(*tag, op::BIND_REQUEST | op::UNBIND_REQUEST)), "{heard:x?}");
        }
    }

    /// Whose name it is, once it has bound.
    async fn owner(&self, name: &str) -> Option<String> {
        self.house.bound(name).await.principal().who.as_ref().map(|who| who.canonical.clone())
    }
}

#[tokio::test]
async fn a_hundred_binds_are_under_way_at_once_on_one_connection_and_each_gets_its_own_answer() {
    let domain = Domain::new(FAST);
    for number in 0..100 {
        domain.user(&format!("user{number}"), 2000 + number, "right");
    }
    let held = Held::new(domain, &format!("{ACCOUNT}{OPEN}{ASKED}"), &[]).await;
    held.hold(true);
    let binds = join_all((0..100).map(|number| {
        let house = &held.house;
        async move {
            let password = if number % 2 == 0 { "right" } else { "wrong" };
            house.phone().bind(&format!("user{number}@corp.example"), password).await.code
        }
    }));
    let answers = async {
        let heard = held.wait_for(100).await;
        assert_eq!(heard.iter().map(|heard| heard.connection).collect::<HashSet<_>>().len(), 1);
        assert_eq!(heard.iter().map(|heard| heard.id).collect::<HashSet<_>>().len(), 100);
        for heard in heard.iter().rev() {
            held.answer(heard);
        }
    };
    let (codes, ()) = tokio::join!(binds, answers);
    for (number, code) in codes.into_iter().enumerate() {
        assert_eq!(code, if number % 2 == 0 { ResultCode::SUCCESS } else { ResultCode::INVALID_CREDENTIALS }, "{number}");
    }
    assert_eq!(held.fast_binds_begun().len(), 1);
    assert_eq!(held.clients_binds().len(), 100);
    held.assert_fast_connections_only_bind();
}

#[tokio::test]
async fn the_service_account_says_whose_name_has_bound() {
    let held = Held::usual(FAST).await;
    for name in NAMES {
        assert_eq!(held.owner(name).await, Some(sid_text(1104)), "{name}");
    }
    assert_eq!(held.owner("bob@corp.example").await, Some(sid_text(1105)));
    let before = held.clients_binds().len();
    for (number, name) in NAMES.iter().cycle().take(8).enumerate() {
        assert_eq!(held.house.phone().bind(name, &format!("wrong {number}")).await.code, ResultCode::INVALID_CREDENTIALS);
    }
    assert_eq!(held.clients_binds().len() - before, 3, "the names share one guard");
    assert_eq!(held.fast_binds_begun().len(), 1);
    held.assert_fast_connections_only_bind();
}

#[tokio::test]
async fn answers_belong_to_the_user_under_all_names_that_bind_fast() {
    let domain = Domain::new(FAST);
    domain.user("alice", 1104, "right");
    domain.user("bob", 1105, "right");
    let held = Held::new(domain, &format!("{ACCOUNT}search_as = \"client\"\n{OPEN}"), &[]).await;
    let asked = || held.house.controller.heard_with(op::SEARCH_REQUEST).iter().filter(is_search_for_people).count();
    for name in NAMES {
        held.house.bound(name).await.search(BASE, "(|(telephoneNumber=1)(objectClass=user))").await;
        assert_eq!(asked(), 1, "{name}");
    }
    held.house.bound("bob@corp.example").await.search(BASE, "(|(telephoneNumber=1)(objectClass=user))").await;
    assert_eq!(asked(), 2, "another user's answer is their own");
    held.assert_fast_connections_only_bind();
}

#[tokio::test]
async fn members_by_way_of_other_groups_are_members_after_a_fast_bind() {
    let held = Held::new(nested(FAST), &format!("{ACCOUNT}{MEMBERS}"), &[]).await;
    for name in NAMES {
        assert_eq!(held.house.bound(name).await.search(BASE, "(cn=*)").await.code, YES, "{name}");
    }
    assert_eq!(held.house.bound("bob@corp.example").await.search(BASE, "(cn=*)").await.code, NO);
    held.house.domain.group("staff", 2002, &[]);
    assert_eq!(held.house.bound(NAMES[0]).await.search(BASE, "(cn=*)").await.code, NO, "no longer");
}

#[tokio::test]
async fn a_name_that_may_be_somebody_elses_binds_where_the_server_itself_says_whose_it_is() {
    let domain = Domain::new(FAST);
    domain.user("alice", 1104, "right");
    domain.user("twin", 1106, "right");
    domain.user("twin", 1107, "right");
    // A trusted domain's alice, somebody whose displayName is that, and one whose UPN is another.
    let others = &["OTHER\\alice", "alice", "alice@other.example"];
    let held = Held::new(domain, &format!("{ACCOUNT}{OPEN}{ASKED}"), others).await;
    for name in others {
        assert_eq!(held.owner(name).await, None, "{name}");
    }
    for name in ["twin@corp.example", "CORP\\twin"] {
        assert_eq!(held.owner(name).await, Some(sid_text(1106)), "{name}: as the server takes it");
    }
    let fast = held.fast_binds_begun();
    assert!(held.clients_binds().iter().all(|bind| !fast.contains(&bind.connection)));
    assert_eq!(held.owner("CORP\\alice").await, Some(sid_text(1104)));
    assert_eq!(fast, [held.clients_binds().last().unwrap().connection]);
}

#[tokio::test]
async fn binds_whose_connection_is_lost_are_not_sent_again_and_the_next_one_works() {
    let domain = Domain::new(FAST);
    domain.user("alice", 1104, "right");
    for number in 0..10 {
        domain.user(&format!("user{number}"), 2000 + number, "right");
    }
    let held = Held::new(domain, &format!("{ACCOUNT}{OPEN}{ASKED}"), &[]).await;
    held.house.bound(NAMES[1]).await;
    held.hold(true);
    let binds = join_all((0..10).map(|number| {
        let house = &held.house;
        async move { house.phone().bind(&format!("user{number}@corp.example"), "right").await.code }
    }));
    let loss = async {
        let heard = held.wait_for(11).await;
        held.house.controller.act(heard[10].connection, Act::Close);
    };
    let (codes, ()) = tokio::join!(binds, loss);
    assert!(codes.iter().all(|code| *code == ResultCode::UNAVAILABLE), "{codes:?}");
    assert_eq!(held.clients_binds().len(), 11, "none was sent twice");
    held.hold(false);
    held.is_up().await;
    held.house.bound(NAMES[0]).await;
    assert_eq!(held.clients_binds().len(), 12);
    assert_eq!(held.fast_binds_begun().len(), 2);
    held.assert_fast_connections_only_bind();
}

#[tokio::test]
async fn where_fast_bind_is_refused_binds_go_one_by_one_and_it_is_not_asked_for_again() {
    let held = Held::usual(Kind::ActiveDirectory { fast_bind: true, refuses: true }).await;
    for name in NAMES {
        assert_eq!(held.owner(name).await, Some(sid_text(1104)), "{name}");
    }
    assert_eq!(held.fast_binds_begun().len(), 1);
    let refused = held.fast_binds_begun()[0];
    assert!(held.clients_binds().iter().all(|bind| bind.connection != refused));
}

#[tokio::test]
async fn without_a_service_account_or_the_servers_word_no_fast_bind_is_asked_for() {
    let held = Held::usual(SAMBA).await;
    assert_eq!(held.owner(NAMES[0]).await, Some(sid_text(1104)));
    assert_eq!(held.fast_binds_begun().len(), 0);
    let domain = Domain::new(FAST);
    domain.user("alice", 1104, "right");
    let alone = Held::new(domain, &format!("search_as = \"client\"\n{OPEN}"), &[]).await;
    assert_eq!(alone.owner(NAMES[0]).await, Some(sid_text(1104)), "nobody else could say");
    assert_eq!(alone.fast_binds_begun().len(), 0);
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_disturb_the_binds_of_others() {
    let held = Held::usual(FAST).await;
    held.hold(true);
    let ask = |name: &str| {
        let request = Asked::Bind { name: name.into(), password: Secret::new(b"right"), groups: Arc::default() };
        let deadline = Instant::now() + Duration::from_secs(30);
        let operation = Operation { run_as: RunAs::Service, request, controls: None, deadline };
        let upstream = Arc::clone(&held.upstream);
        tokio::spawn(async move { upstream.run(operation).await.map(drop) })
    };
    let gone = ask("alice@corp.example");
    held.wait_for(1).await;
    let stays = ask("bob@corp.example");
    let heard = held.wait_for(2).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    for heard in &heard {
        held.answer(heard);
    }
    stays.await.unwrap().unwrap();
    held.hold(false);
    held.house.bound(NAMES[0]).await;
    assert_eq!(held.fast_binds_begun().len(), 1, "the connection still stands");
    assert_eq!(held.clients_binds().len(), 3);
}
