//! Binds answered from memory, and accounts that are never locked: over a scripted directory and a paused clock.
#![allow(clippy::allow_attributes, clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod common;
#[path = "binds/empty_passwords.rs"]
mod empty_passwords;

use common::configuration::Configuration;
use common::phone::Phone;
use common::scripted_directory::{Scripted, ScriptedDirectory};
use futures_util::future::join_all;
use redial::directory::{Asked, Directory, DirectoryError, Operation};
use redial::identity::{Identity, Principal, accounts};
use redial::ldap::ResultCode;
use redial::metrics::Metrics;
use redial::pipeline::Pipeline;
use redial::secret::Secret;
use std::fmt::Write as _;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::sleep;

const ALICE: &str = "alice@corp.example";
/// It takes no writes, so nothing runs under a client's name.
const DIRECTORY: &str = "servers = [\"ldaps://dc1.corp.example\"]\nbind_dn = \"CN=redial\"\npassword = \"service\"";
const RIGHT: &str = "correct horse";

/// A pipeline in front of one scripted controller.
struct House {
    pipeline: Arc<Pipeline>,
    directory: Arc<ScriptedDirectory>,
    metrics: Arc<Metrics>,
}

impl House {
    fn new(directory: ScriptedDirectory) -> Self {
        Self::with(directory, "")
    }

    fn with(directory: ScriptedDirectory, toml: &str) -> Self {
        let more = format!("[[listener]]\naddress = \"127.0.0.1:3390\"\n{toml}");
        let config = Configuration { base: "dc=corp,dc=example", directory: DIRECTORY, more: &more, ..Configuration::default() }.load();
        let directory = Arc::new(directory);
        let metrics = Arc::new(Metrics::new(&config));
        let directories: Vec<Arc<dyn Directory>> = vec![Arc::clone(&directory) as _];
        let pipeline = Arc::new(Pipeline::new(&config, directories, Arc::clone(&metrics)));
        Self { pipeline, directory, metrics }
    }

    async fn bind(&self, name: &str, password: &str) -> ResultCode {
        self.bind_at(0, name, password).await.0
    }

    /// A bind on a connection of its own.
    async fn bind_at(&self, listener: usize, name: &str, password: &str) -> (ResultCode, Identity) {
        let mut phone = Phone::new(&self.pipeline);
        phone.client.listener = listener;
        let answered = phone.bind(name, password).await;
        assert!(answered.code != ResultCode::INVALID_CREDENTIALS || answered.diagnostic.is_empty(), "49 says why");
        (answered.code, phone.client.identity)
    }

    async fn principal(&self, listener: usize, name: &str, password: &str) -> Arc<Principal> {
        match self.bind_at(listener, name, password).await {
            (_, Identity::Bound(principal)) => principal,
            (code, Identity::Anonymous) => panic!("refused: {code:?}"),
        }
    }

    fn times_asked(&self) -> usize {
        self.directory.times_asked()
    }

    fn measured(&self, line: &str) -> bool {
        self.metrics.render().lines().any(|rendered| rendered == line)
    }
}

fn refused(data: &str) -> Scripted {
    let text = format!("80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data {data}, v4563");
    Scripted::Result(ResultCode::INVALID_CREDENTIALS, text.leak())
}

/// A controller that knows one password, and takes 50 ms to say so.
fn knows(right: &'static str) -> impl Fn(&Operation) -> Scripted + Send + Sync + 'static {
    move |operation| {
        let answer = if shown(operation) == right { Scripted::success() } else { refused("52e") };
        answer.after(Duration::from_millis(50))
    }
}

fn shown(operation: &Operation) -> &str {
    let Asked::Bind { password, .. } = &operation.request else { panic!("not a bind") };
    std::str::from_utf8(password.expose()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_phones_with_one_stale_password_are_one_attempt() {
    let house = House::new(ScriptedDirectory::new(knows(RIGHT)));
    let codes = join_all(
        (0..10_000).map(|phone| async move { phone % 2 }).map(|listener| async { house.bind_at(listener.await, ALICE, "stale").await.0 }),
    )
    .await;
    assert!(codes.iter().all(|code| *code == ResultCode::INVALID_CREDENTIALS));
    assert_eq!(house.times_asked(), 1);
    assert_eq!(house.bind(ALICE, "stale").await, ResultCode::INVALID_CREDENTIALS);
    assert_eq!(house.times_asked(), 1, "and then from memory");
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_phones_with_the_right_password_are_one_bind_and_one_principal() {
    let house = House::new(ScriptedDirectory::new(knows(RIGHT)));
    let principals = join_all((0..10_000).map(|_| house.principal(0, ALICE, RIGHT))).await;
    assert!(principals.iter().all(|principal| Arc::ptr_eq(principal, &principals[0])));
    assert_eq!((house.times_asked(), principals[0].name.as_str()), (1, ALICE));
    assert!(house.measured(r#"redial_bind_cache_total{result="miss"} 10000"#));
    assert_eq!(house.bind(ALICE, RIGHT).await, ResultCode::SUCCESS);
    assert!(house.measured(r#"redial_bind_cache_total{result="accepted"} 1"#));
    assert!(house.measured(r#"redial_operations_total{operation="bind",served="hit",code="success"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn of_five_different_wrong_passwords_three_reach_the_controller() {
    let house = House::new(ScriptedDirectory::new(knows(RIGHT)));
    for password in ["a", "b", "c", "d", "e"] {
        assert_eq!(house.bind(ALICE, password).await, ResultCode::INVALID_CREDENTIALS);
    }
    assert_eq!(house.times_asked(), 3);
    assert!(house.measured("redial_lockout_guard_refused_total 2"));
    assert_eq!(house.pipeline.register().guarded(), 1);
    sleep(Duration::from_secs(600)).await;
    assert_eq!(house.bind(ALICE, RIGHT).await, ResultCode::SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_different_wrong_passwords_at_once_are_three_attempts() {
    let house = House::new(ScriptedDirectory::new(knows(RIGHT)));
    let passwords: Vec<String> = (0..1_000).map(|number| format!("guess {number}")).collect();
    let codes = join_all(passwords.iter().map(|password| house.bind(ALICE, password))).await;
    assert!(codes.iter().all(|code| *code == ResultCode::INVALID_CREDENTIALS));
    assert_eq!(house.times_asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_right_password_among_wrong_ones_at_once_is_accepted() {
    let house = House::new(ScriptedDirectory::new(knows(RIGHT)));
    let codes = join_all(["a", "b", RIGHT, "c", "d"].map(|password| house.bind(ALICE, password))).await;
    assert_eq!(codes[2], ResultCode::SUCCESS);
    let times_asked = house.times_asked();
    assert!((4..=5).contains(&times_asked), "{times_asked}: those that waited may be tried, since a right one came in between");
}

#[tokio::test(start_paused = true)]
async fn a_new_password_works_at_once_and_the_old_one_stops_when_it_was_seen() {
    let house = House::new(ScriptedDirectory::new(knows("old")));
    assert_eq!(house.bind(ALICE, "old").await, ResultCode::SUCCESS);
    assert_eq!(house.bind_at(1, ALICE, "old").await.0, ResultCode::SUCCESS);
    house.directory.follows(knows("new"));
    assert_eq!(house.bind(ALICE, "old").await, ResultCode::SUCCESS, "nobody has heard of the change");
    assert_eq!(house.bind(ALICE, "new").await, ResultCode::SUCCESS);
    assert_eq!(house.bind(ALICE, "old").await, ResultCode::INVALID_CREDENTIALS);
    assert_eq!(house.bind_at(1, ALICE, "old").await.0, ResultCode::INVALID_CREDENTIALS);
}

#[tokio::test(start_paused = true)]
async fn an_old_password_stops_within_its_time() {
    let house = House::new(ScriptedDirectory::new(knows("old")));
    house.bind(ALICE, "old").await;
    house.directory.follows(knows("new"));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(house.bind(ALICE, "old").await, ResultCode::INVALID_CREDENTIALS);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_password_does_not_keep_the_right_one_out() {
    let house = House::new(ScriptedDirectory::new(knows(RIGHT)));
    assert_eq!(house.bind(ALICE, "wrong").await, ResultCode::INVALID_CREDENTIALS);
    assert_eq!(house.bind(ALICE, RIGHT).await, ResultCode::SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn who_is_in_stays_in_while_others_guess() {
    let house = House::new(ScriptedDirectory::new(knows(RIGHT)));
    for minute in 0..30 {
        assert_eq!(house.bind(ALICE, RIGHT).await, ResultCode::SUCCESS, "minute {minute}");
        for guess in 0..5 {
            house.bind(ALICE, &format!("guess {minute} {guess}")).await;
        }
        sleep(Duration::from_secs(60)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stale_phone_that_tries_each_minute_locks_nobody_and_keeps_nobody_out() {
    let house = House::new(ScriptedDirectory::new(knows("new")));
    for _ in 0..9 {
        assert_eq!(house.bind(ALICE, "stale").await, ResultCode::INVALID_CREDENTIALS);
        sleep(Duration::from_secs(60)).await;
    }
    assert_eq!(house.times_asked(), 2);
    assert_eq!(house.bind(ALICE, "new").await, ResultCode::SUCCESS);
}

#[tokio::test(start_paused = true)]
async fn listener_and_spelling_are_part_of_what_is_remembered_as_accepted() {
    let house = House::new(ScriptedDirectory::new(knows(RIGHT)));
    let first = house.principal(0, ALICE, RIGHT).await;
    let second = house.principal(1, ALICE, RIGHT).await;
    assert!(!Arc::ptr_eq(&first, &second));
    assert_eq!(house.times_asked(), 2);
    assert_eq!(house.principal(0, "ALICE@corp.example", RIGHT).await.name, "ALICE@corp.example");
    assert_eq!(house.times_asked(), 3);
    house.bind(ALICE, RIGHT).await;
    assert_eq!(house.times_asked(), 3, "one spelling does not make the other forgotten");
}

#[tokio::test(start_paused = true)]
async fn the_password_is_kept_only_where_something_runs_under_it() {
    let house = House::new(ScriptedDirectory::new(knows(RIGHT)));
    assert!(house.principal(0, ALICE, RIGHT).await.credentials.is_none());
}

#[tokio::test(start_paused = true)]
async fn wrong_password_and_no_such_user_are_remembered() {
    for data in ["52e", "525"] {
        let house = House::new(ScriptedDirectory::always(refused(data)));
        for _ in 0..5 {
            assert_eq!(house.bind(ALICE, "wrong").await, ResultCode::INVALID_CREDENTIALS);
        }
        assert_eq!(house.times_asked(), 1, "{data}");
        assert!(house.measured(r#"redial_bind_cache_total{result="rejected"} 4"#));
    }
    let other_server = House::new(ScriptedDirectory::always(Scripted::Result(ResultCode::INVALID_CREDENTIALS, "")));
    for _ in 0..5 {
        other_server.bind(ALICE, "wrong").await;
    }
    assert_eq!(other_server.times_asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_an_account_is_refused_for_is_not_remembered_and_makes_forgotten_what_was() {
    for data in ["530", "531", "532", "533", "701", "773", "775"] {
        let house = House::new(ScriptedDirectory::new(knows(RIGHT)));
        house.bind(ALICE, RIGHT).await;
        house.directory.answers(refused(data));
        for asked in 2..12 {
            assert_eq!(house.bind(ALICE, "another").await, ResultCode::INVALID_CREDENTIALS);
            assert_eq!(house.times_asked(), asked, "{data}: asked each time");
        }
        assert_eq!(house.bind(ALICE, RIGHT).await, ResultCode::INVALID_CREDENTIALS, "{data}: forgotten");
        house.directory.follows(knows(RIGHT));
        assert_eq!(house.bind(ALICE, RIGHT).await, ResultCode::SUCCESS, "{data}: and back at once");
    }
}

#[tokio::test(start_paused = true)]
async fn what_passes_is_never_remembered() {
    let codes = [1, 3, 8, 32, 48, 51, 52, 53, 80].map(|code| Scripted::Result(ResultCode(code), "data 52e"));
    let failures = [
        DirectoryError::Unavailable,
        DirectoryError::ConnectionLost { sent: true },
        DirectoryError::ConnectionLost { sent: false },
        DirectoryError::TimedOut,
        DirectoryError::Busy,
        DirectoryError::Misbehaved("x"),
    ];
    for script in codes.into_iter().chain(failures.map(Scripted::Fails)).chain([Scripted::Silence]) {
        let house = House::new(ScriptedDirectory::always(script.clone()));
        for _ in 0..10 {
            let code = house.bind(ALICE, RIGHT).await;
            assert!(code != ResultCode::SUCCESS && code != ResultCode::INVALID_CREDENTIALS, "{script:?}: {code:?}");
        }
        assert_eq!(house.times_asked(), 10, "{script:?}");
        house.directory.follows(knows(RIGHT));
        assert_eq!(house.bind(ALICE, RIGHT).await, ResultCode::SUCCESS, "{script:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn guesses_that_are_never_answered_are_as_few_and_not_called_wrong() {
    let house = House::new(ScriptedDirectory::always(Scripted::Silence));
    for guess in ["a", "b", "c", "d", "e"] {
        assert_eq!(house.bind(ALICE, guess).await, ResultCode::UNAVAILABLE);
    }
    assert_eq!(house.times_asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn without_controllers_only_remembered_binds_are_accepted_and_others_are_unavailable() {
    let house = House::new(ScriptedDirectory::new(knows(RIGHT)));
    house.bind(ALICE, RIGHT).await;
    house.directory.answers(Scripted::Fails(DirectoryError::Unavailable));
    sleep(Duration::from_secs(59)).await;
    assert_eq!(house.bind(ALICE, RIGHT).await, ResultCode::SUCCESS);
    assert_eq!(house.bind("bob@corp.example", RIGHT).await, ResultCode::UNAVAILABLE);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(house.bind(ALICE, RIGHT).await, ResultCode::UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_is_remembered_even_when_the_phone_has_gone() {
    let house = House::new(ScriptedDirectory::new(knows(RIGHT)));
    assert!(tokio::time::timeout(Duration::from_millis(10), house.bind(ALICE, "stale")).await.is_err());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(house.bind(ALICE, "stale").await, ResultCode::INVALID_CREDENTIALS);
    assert_eq!(house.times_asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn times_and_attempts_are_as_configured() {
    let house =
        House::with(ScriptedDirectory::new(knows(RIGHT)), "[binds]\nttl = \"0s\"\nrejected_ttl = \"0s\"\nattempts = 5\nwindow = \"1m\"\n");
    for _ in 0..3 {
        house.bind(ALICE, RIGHT).await;
    }
    assert_eq!(house.times_asked(), 3);
    for _ in 0..10 {
        house.bind("bob@corp.example", "wrong").await;
    }
    assert_eq!(house.times_asked(), 7, "four, and one is left for another password");
    sleep(Duration::from_secs(60)).await;
    house.bind("bob@corp.example", "wrong").await;
    assert_eq!(house.times_asked(), 8);
}

/// Where a test's log goes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_names_the_account_and_the_address_once_and_holds_no_password() {
    const CANARY: &str = "canary-7f3a";
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(move || writer.clone());
    // While there is one subscriber only, a line that is met for the first time is asked for nowhere but on the thread that meets it; on that of
    // another test nobody listens, and it would never be heard here either.
    let another = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
    let guard = tracing::subscriber::set_default(subscriber.finish());
    tracing::callsite::rebuild_interest_cache();
    let house = House::new(ScriptedDirectory::new(knows("canary-7f3a right")));
    let principal = house.principal(0, ALICE, "canary-7f3a right").await;
    for number in 0..8 {
        house.bind("bob@corp.example", &format!("{CANARY} {number}")).await;
    }
    drop((guard, another));
    let mut said = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 1, "{said}");
    assert!(warnings[0].contains("bob@corp.example") && warnings[0].contains("10.20.1.7"), "{}", warnings[0]);
    assert!(said.contains("DEBUG"), "{said}");
    write!(said, "{principal:?} {:?} {}", house.pipeline, house.metrics.render()).unwrap();
    assert!(!said.contains(CANARY), "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_has_is_refused_no_sooner_than_a_local_accounts_wrong_password() {
    let hash = accounts::hash(&Secret::new(b"right")).unwrap();
    let house = House::with(ScriptedDirectory::new(knows(RIGHT)), &format!("[[account]]\nname = \"room\"\npassword_hash = \"{hash}\""));
    for name in ["room", "cn=room,dc=elsewhere"] {
        // Not the paused clock: what a client could measure. Two passes over 19 MiB take longer than this on any machine.
        let begun = std::time::Instant::now();
        assert_eq!(house.bind(name, "wrong").await, ResultCode::INVALID_CREDENTIALS);
        assert!(begun.elapsed() >= Duration::from_millis(3), "{name}");
    }
    assert_eq!(house.bind("room", "right").await, ResultCode::SUCCESS);
    assert_eq!(house.times_asked(), 0);
}
