//! Accesses for groups: who is in one is let in, and no longer than the directory says so; over a scripted directory and a paused clock.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

#[path = "common/requests.rs"]
mod requests;
#[path = "common/scripted_directory.rs"]
mod scripted_directory;

use futures_util::future::join_all;
use redial::config::load::load_text;
use redial::directory::{Asked, Directory, DirectoryError};
use redial::identity::Identity;
use redial::ldap::message::{LdapResult, Request};
use redial::ldap::{Envelope, ResultCode};
use redial::metrics::Metrics;
use redial::pipeline::{Begun, Client, Pipeline, Said};
use redial::session::{Accepted, AcceptedRequest, ClientMessageId, Security};
use scripted_directory::{Scripted, ScriptedDirectory};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

const PHONES: &str = "cn=phones,ou=groups,dc=corp,dc=example";
const OTHERS: &str = "cn=others,ou=groups,dc=corp,dc=example";
const TTL: Duration = Duration::from_secs(60);

struct House {
    pipeline: Arc<Pipeline>,
    directory: Arc<ScriptedDirectory>,
}

impl House {
    /// For the members of PHONES and a user of that name; before a directory that has these groups for whoever binds.
    fn new(groups: Option<Vec<&'static str>>) -> Self {
        Self::open_to(
            &format!("[\"pbx@corp.example\", \"group:CN=Phones, OU=Groups, DC=corp, DC=example\", \"Group:cn=more,{OTHERS}\"]"),
            groups,
        )
    }

    fn open_to(clients: &str, groups: Option<Vec<&'static str>>) -> Self {
        let text = format!(
            "[[listener]]\naddress = \"127.0.0.1:3389\"\n[directory.corp]\nbase = \"DC=corp,DC=example\"\n\
             servers = [\"ldaps://dc1.corp.example\"]\nbind_dn = \"CN=redial\"\npassword = \"service\"\n\
             [[access]]\nname = \"members\"\nclients = {clients}\nbases = [\"DC=corp,DC=example\"]\nattributes = [\"*\"]\n\
             [cache]\nttl = \"0s\"\nempty_ttl = \"0s\"\n"
        );
        let config = load_text(&text, Path::new("."), true).unwrap_or_else(|rejected| panic!("{rejected}")).config;
        let directory = Arc::new(ScriptedDirectory::always(Scripted::Silence));
        let directories: Vec<Arc<dyn Directory>> = vec![Arc::clone(&directory) as _];
        let pipeline = Arc::new(Pipeline::new(&config, directories, Arc::new(Metrics::unrecorded())));
        let house = Self { pipeline, directory };
        house.says(groups.clone(), Scripted::Is("S-1-5-21-1104", groups, Box::new(success())));
        house
    }

    /// From now on binds find these groups, and whoever asks anew is answered so.
    fn says(&self, at_bind: Option<Vec<&'static str>>, anew: Scripted) {
        self.directory.follows(move |operation| match &operation.request {
            Asked::Bind { .. } => Scripted::Is("S-1-5-21-1104", at_bind.clone(), Box::new(success())),
            Asked::Membership { of, .. } => {
                assert_eq!(of, "S-1-5-21-1104");
                anew.clone()
            }
            _ => Scripted::one("cn=Ada", "1"),
        });
    }

    /// How often groups were asked for beside binds.
    fn times_asked_anew(&self) -> usize {
        self.directory.asked().iter().filter(|operation| matches!(operation.request, Asked::Membership { .. })).count()
    }

    async fn bind(&self, name: &str) -> Identity {
        let (code, identity) = self.ask(&Identity::Anonymous, &requests::bind(name, "right")).await;
        assert_eq!(code, ResultCode::SUCCESS);
        identity.unwrap()
    }

    async fn search(&self, identity: &Identity) -> ResultCode {
        self.ask(identity, &requests::search_for("dc=corp,dc=example", "(cn=a*)", &["cn"])).await.0
    }

    async fn ask(&self, identity: &Identity, op: &[u8]) -> (ResultCode, Option<Identity>) {
        let frame = requests::frame(1, op);
        let envelope = Envelope::parse(&frame).unwrap();
        let request = match Request::parse(&envelope).unwrap() {
            Request::Bind(bind) => AcceptedRequest::Bind(bind),
            Request::Search(search) => AcceptedRequest::Search(search),
            Request::Compare(compare) => AcceptedRequest::Compare(compare),
            other => panic!("{other:?}"),
        };
        let accepted = Accepted { message_id: ClientMessageId::new(envelope.message_id).unwrap(), request, controls: None };
        let peer = "10.20.1.7:50000".parse().unwrap();
        let client = Client { peer, listener: 0, security: Security::Clear, identity: identity.clone(), standing: None };
        let mut octets = Vec::new();
        let mut bound = None;
        if let Begun::Running(running) = self.pipeline.begin(&client, &accepted, Instant::now(), &mut octets) {
            let (outbox, mut said) = mpsc::channel(4);
            tokio::spawn(Arc::clone(&self.pipeline).finish(running, outbox));
            while let Some(said) = said.recv().await {
                match said {
                    Said::Part(_, _) => {}
                    Said::Finished(_, last) => octets = last.to_vec(),
                    Said::BindFinished(_, identity, response) => {
                        bound = Some(identity.map_or(Identity::Anonymous, |bound| Identity::Bound(bound.principal)));
                        octets = response.to_vec();
                    }
                }
            }
        }
        (last_code(&octets), bound)
    }
}

fn last_code(mut octets: &[u8]) -> ResultCode {
    loop {
        let length = redial::ldap::frame::frame_length(octets, 1 << 20).unwrap().unwrap();
        let (message, rest) = octets.split_at(length);
        if rest.is_empty() {
            return LdapResult::parse(Envelope::parse(message).unwrap().op_content).unwrap().code;
        }
        octets = rest;
    }
}

fn success() -> Scripted {
    Scripted::Result(ResultCode::SUCCESS, "")
}

fn is_in(groups: &[&'static str]) -> Scripted {
    Scripted::Is("S-1-5-21-1104", Some(groups.to_vec()), Box::new(success()))
}

const YES: ResultCode = ResultCode::SUCCESS;
const NO: ResultCode = ResultCode::INSUFFICIENT_ACCESS_RIGHTS;

#[tokio::test(start_paused = true)]
async fn members_and_those_who_are_named_are_let_in_and_nobody_else() {
    for (groups, name, expected) in [
        (Some(vec![PHONES]), "alice@corp.example", YES),
        (Some(vec![OTHERS, PHONES]), "alice@corp.example", YES),
        (Some(vec![]), "pbx@corp.example", YES),
        (Some(vec![]), "alice@corp.example", NO),
        (Some(vec![OTHERS]), "alice@corp.example", NO),
        (Some(vec![PHONES]), "anybody", YES),
    ] {
        let house = House::new(groups.clone());
        let identity = house.bind(name).await;
        assert_eq!(house.search(&identity).await, expected, "{name} in {groups:?}");
        assert_eq!(house.search(&Identity::Anonymous).await, NO);
        assert_eq!(house.times_asked_anew(), 0, "the bind has said it");
    }
}

#[tokio::test(start_paused = true)]
async fn the_directory_is_asked_for_the_groups_that_accesses_name_and_for_none_else() {
    let house = House::new(None);
    house.bind("alice@corp.example").await;
    let Asked::Bind { groups, .. } = &house.directory.asked()[0].request else { panic!("a bind") };
    assert_eq!(groups.base, "DC=corp,DC=example");
    assert_eq!(
        groups.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(),
        ["CN=Phones, OU=Groups, DC=corp, DC=example", &format!("cn=more,{OTHERS}"),]
    );
}

#[tokio::test(start_paused = true)]
async fn a_live_session_is_out_within_the_bind_ttl_of_leaving_the_group_and_in_again_after_joining() {
    let house = House::new(Some(vec![PHONES]));
    let identity = house.bind("alice@corp.example").await;
    house.says(Some(vec![]), is_in(&[]));
    sleep(TTL - Duration::from_millis(1)).await;
    assert_eq!((house.search(&identity).await, house.times_asked_anew()), (YES, 0), "nobody has heard of it");
    sleep(Duration::from_millis(1)).await;
    assert_eq!((house.search(&identity).await, house.times_asked_anew()), (NO, 1));
    assert_eq!((house.search(&identity).await, house.times_asked_anew()), (NO, 1), "which is good for another while");
    house.says(Some(vec![]), is_in(&[PHONES]));
    sleep(TTL).await;
    assert_eq!((house.search(&identity).await, house.times_asked_anew()), (YES, 2));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_operations_of_one_principal_that_need_its_groups_ask_once() {
    let house = House::new(Some(vec![PHONES]));
    let identity = house.bind("alice@corp.example").await;
    sleep(TTL).await;
    let codes = join_all((0..1000).map(|_| house.search(&identity))).await;
    assert!(codes.iter().all(|code| *code == YES));
    assert_eq!(house.times_asked_anew(), 1);
}

#[tokio::test(start_paused = true)]
async fn groups_that_cannot_be_had_are_none_until_they_can() {
    let failures =
        [Scripted::Fails(DirectoryError::Unavailable), Scripted::Silence, Scripted::Fails(DirectoryError::NotSupported), success()];
    for failure in failures {
        let house = House::new(Some(vec![PHONES]));
        let identity = house.bind("alice@corp.example").await;
        house.says(None, failure.clone());
        sleep(TTL).await;
        assert_eq!(house.search(&identity).await, NO, "{failure:?}");
        assert_eq!((house.search(&identity).await, house.times_asked_anew()), (NO, 1), "{failure:?}: not with each operation");
        house.says(None, is_in(&[PHONES]));
        sleep(TTL).await;
        assert_eq!(house.search(&identity).await, YES, "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bind_that_did_not_learn_the_groups_is_followed_by_the_question() {
    let house = House::new(None);
    house.says(None, is_in(&[PHONES]));
    let identity = house.bind("alice@corp.example").await;
    assert_eq!((house.search(&identity).await, house.times_asked_anew()), (YES, 1));
}

#[tokio::test(start_paused = true)]
async fn a_remembered_bind_brings_its_groups_and_their_age() {
    let house = House::new(Some(vec![PHONES]));
    drop(house.bind("alice@corp.example").await);
    sleep(TTL - Duration::from_secs(1)).await;
    let identity = house.bind("alice@corp.example").await;
    assert_eq!((house.search(&identity).await, house.times_asked_anew()), (YES, 0));
    house.says(None, is_in(&[]));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(house.search(&identity).await, NO, "they are not younger for that");
}

#[tokio::test(start_paused = true)]
async fn compares_wait_for_the_groups_too_and_who_needs_none_never_waits() {
    let house = House::new(Some(vec![PHONES]));
    let identity = house.bind("alice@corp.example").await;
    house.says(None, is_in(&[]));
    sleep(TTL).await;
    assert_eq!(house.ask(&identity, &requests::compare_with("cn=a,dc=corp,dc=example", "cn", "a")).await.0, NO);
    let open = House::open_to("\"bound\"", None);
    let identity = open.bind("alice@corp.example").await;
    sleep(TTL * 10).await;
    assert_eq!((open.search(&identity).await, open.times_asked_anew()), (YES, 0));
}

#[tokio::test(start_paused = true)]
async fn who_may_leave_a_group_is_decided_about_each_time() {
    let house = House::new(Some(vec![PHONES]));
    let open = House::open_to("\"bound\"", None);
    let peer = "10.20.1.7:50000".parse().unwrap();
    let client = |identity| Client { peer, listener: 0, security: Security::Clear, identity, standing: None };
    assert_eq!(house.pipeline.standing(&client(house.bind("alice@corp.example").await)), None);
    assert!(house.pipeline.standing(&client(Identity::Anonymous)).is_some());
    assert!(open.pipeline.standing(&client(open.bind("alice@corp.example").await)).is_some());
}
