//! Accesses for groups: who is in one is let in, and no longer than the directory says so; over a scripted directory and a paused clock.

mod common;

use common::configuration::Configuration;
use common::phone::Phone;
use common::requests::compare_with;
use common::scripted_directory::{Scripted, ScriptedDirectory};
use futures_util::future::join_all;
use redial::directory::{Asked, Directory, DirectoryError};
use redial::ldap::ResultCode;
use redial::metrics::Metrics;
use redial::pipeline::Pipeline;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

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
        let config = Configuration {
            base: "dc=corp,dc=example",
            clients,
            more: "[cache]\nttl = \"0s\"\nempty_ttl = \"0s\"",
            ..Configuration::default()
        }
        .load();
        let directory = Arc::new(ScriptedDirectory::by_hand());
        let directories: Vec<Arc<dyn Directory>> = vec![Arc::clone(&directory) as _];
        let pipeline = Arc::new(Pipeline::new(&config, directories, Arc::new(Metrics::unrecorded())));
        let house = Self { pipeline, directory };
        house.says(groups.clone(), Scripted::Is("S-1-5-21-1104", groups, Box::new(Scripted::success())));
        house
    }

    /// From now on binds find these groups, and whoever asks anew is answered so.
    fn says(&self, at_bind: Option<Vec<&'static str>>, anew: Scripted) {
        self.directory.follows(move |operation| match &operation.request {
            Asked::Bind { .. } => Scripted::Is("S-1-5-21-1104", at_bind.clone(), Box::new(Scripted::success())),
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

    /// A phone that has bound under that name.
    async fn bound(&self, name: &str) -> Phone {
        let mut phone = Phone::new(&self.pipeline);
        assert_eq!(phone.bind(name, "right").await.code, ResultCode::SUCCESS);
        phone
    }
}

async fn searches(phone: &Phone) -> ResultCode {
    phone.search("dc=corp,dc=example", "(cn=a*)").await.code
}

fn is_in(groups: &[&'static str]) -> Scripted {
    Scripted::Is("S-1-5-21-1104", Some(groups.to_vec()), Box::new(Scripted::success()))
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
        let phone = house.bound(name).await;
        assert_eq!(searches(&phone).await, expected, "{name} in {groups:?}");
        assert_eq!(searches(&Phone::new(&house.pipeline)).await, NO);
        assert_eq!(house.times_asked_anew(), 0, "the bind has said it");
    }
}

#[tokio::test(start_paused = true)]
async fn the_directory_is_asked_for_the_groups_that_accesses_name_and_for_none_else() {
    let house = House::new(None);
    house.bound("alice@corp.example").await;
    let Asked::Bind { groups, .. } = &house.directory.asked()[0].request else { panic!("a bind") };
    assert_eq!(groups.base, "dc=corp,dc=example");
    assert_eq!(
        groups.groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(),
        ["CN=Phones, OU=Groups, DC=corp, DC=example", &format!("cn=more,{OTHERS}"),]
    );
}

#[tokio::test(start_paused = true)]
async fn a_live_session_is_out_within_the_bind_ttl_of_leaving_the_group_and_in_again_after_joining() {
    let house = House::new(Some(vec![PHONES]));
    let phone = house.bound("alice@corp.example").await;
    house.says(Some(vec![]), is_in(&[]));
    sleep(TTL - Duration::from_millis(1)).await;
    assert_eq!((searches(&phone).await, house.times_asked_anew()), (YES, 0), "nobody has heard of it");
    sleep(Duration::from_millis(1)).await;
    assert_eq!((searches(&phone).await, house.times_asked_anew()), (NO, 1));
    assert_eq!((searches(&phone).await, house.times_asked_anew()), (NO, 1), "which is good for another while");
    house.says(Some(vec![]), is_in(&[PHONES]));
    sleep(TTL).await;
    assert_eq!((searches(&phone).await, house.times_asked_anew()), (YES, 2));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_operations_of_one_principal_that_need_its_groups_ask_once() {
    let house = House::new(Some(vec![PHONES]));
    let phone = house.bound("alice@corp.example").await;
    sleep(TTL).await;
    let codes = join_all((0..1000).map(|_| searches(&phone))).await;
    assert!(codes.iter().all(|code| *code == YES));
    assert_eq!(house.times_asked_anew(), 1);
}

#[tokio::test(start_paused = true)]
async fn groups_that_cannot_be_had_are_none_until_they_can() {
    let failures = [
        Scripted::Fails(DirectoryError::Unavailable),
        Scripted::Silence,
        Scripted::Fails(DirectoryError::NotSupported),
        Scripted::success(),
    ];
    for failure in failures {
        let house = House::new(Some(vec![PHONES]));
        let phone = house.bound("alice@corp.example").await;
        house.says(None, failure.clone());
        sleep(TTL).await;
        assert_eq!(searches(&phone).await, NO, "{failure:?}");
        assert_eq!((searches(&phone).await, house.times_asked_anew()), (NO, 1), "{failure:?}: not with each operation");
        house.says(None, is_in(&[PHONES]));
        sleep(TTL).await;
        assert_eq!(searches(&phone).await, YES, "{failure:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_bind_that_did_not_learn_the_groups_is_followed_by_the_question() {
    let house = House::new(None);
    house.says(None, is_in(&[PHONES]));
    let phone = house.bound("alice@corp.example").await;
    assert_eq!((searches(&phone).await, house.times_asked_anew()), (YES, 1));
}

#[tokio::test(start_paused = true)]
async fn a_remembered_bind_brings_its_groups_and_their_age() {
    let house = House::new(Some(vec![PHONES]));
    house.bound("alice@corp.example").await;
    sleep(TTL - Duration::from_secs(1)).await;
    let phone = house.bound("alice@corp.example").await;
    assert_eq!((searches(&phone).await, house.times_asked_anew()), (YES, 0));
    house.says(None, is_in(&[]));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(searches(&phone).await, NO, "they are not younger for that");
}

#[tokio::test(start_paused = true)]
async fn compares_wait_for_the_groups_too_and_who_needs_none_never_waits() {
    let house = House::new(Some(vec![PHONES]));
    let phone = house.bound("alice@corp.example").await;
    house.says(None, is_in(&[]));
    sleep(TTL).await;
    assert_eq!(phone.ask(&compare_with("cn=a,dc=corp,dc=example", "cn", "a"), None).await.code, NO);
    let open = House::open_to("\"bound\"", None);
    let phone = open.bound("alice@corp.example").await;
    sleep(TTL * 10).await;
    assert_eq!((searches(&phone).await, open.times_asked_anew()), (YES, 0));
}

#[tokio::test(start_paused = true)]
async fn who_may_leave_a_group_is_decided_about_each_time() {
    let house = House::new(Some(vec![PHONES]));
    let open = House::open_to("\"bound\"", None);
    assert_eq!(house.pipeline.standing(&house.bound("alice@corp.example").await.client), None);
    assert!(house.pipeline.standing(&Phone::new(&house.pipeline).client).is_some());
    assert!(open.pipeline.standing(&open.bound("alice@corp.example").await.client).is_some());
}
