//! Writes through one proxy: sent once, and read as soon as they are acknowledged, though controllers replicate with a delay.
//!
//! The histories are seeded: `REDIAL_HISTORIES` says how many (100,000 take some minutes), `REDIAL_SEED` with which one to begin, and
//! `tests/writes/seeds` holds those that once went wrong. A seed decides what is asked and how long everything takes on a paused clock; the
//! order of what happens at the same instant is the scheduler's.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected fails"
)]

mod common;

use common::ca::trust_in_nobody;
use common::configuration::Configuration;
use common::phone::{Answered, Phone};
use common::replicas::{BASE, ByName, Nature, Replicas, name, search_number, values};
use common::requests::modify_of;
use redial::config::{Config, DirectoryKind};
use redial::directory::Directory;
use redial::ldap::ResultCode;
use redial::lifecycle::{Ending, lifecycle};
use redial::metrics::Metrics;
use redial::pipeline::Pipeline;
use redial::upstream::Upstream;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

// Histories

/// One operation on one entry as a client saw it; times are places in the order of all events.
#[derive(Debug, Clone, Copy)]
struct Seen {
    entry: usize,
    begun: usize,
    ended: usize,
    what: What,
    /// For a read: the number of the search that brought it, and when it was asked for.
    from: Option<(usize, Instant)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Acknowledged.
    Wrote(u32),
    /// The client was told that nobody knows.
    MayHaveWritten(u32),
    Read(u32),
}

/// All that clients saw. Everything runs on one thread, so the order is one.
#[derive(Debug, Default)]
struct History {
    events: Mutex<(usize, Vec<Seen>)>,
}

impl History {
    fn now(&self) -> usize {
        let mut events = self.events.lock().unwrap();
        events.0 += 1;
        events.0
    }

    fn saw(&self, entry: usize, begun: usize, what: What, from: Option<(usize, Instant)>) {
        let ended = self.now();
        self.events.lock().unwrap().1.push(Seen { entry, begun, ended, what, from });
    }

    fn of(&self, entry: usize) -> Vec<Seen> {
        self.events.lock().unwrap().1.iter().filter(|seen| seen.entry == entry).copied().collect()
    }
}

/// Is there an order of these operations on one register in which each takes effect between its begin and its end? One writer after the other
/// writes 1, 2, 3 ..., so that it is enough to look at pairs: a read shows at least what was acknowledged, or read, before it began, and
/// nothing whose write had not begun when it ended. Where there is none, the reads that are too old.
fn too_old(history: &[Seen]) -> Vec<(Seen, Seen)> {
    let mut found = Vec::new();
    for read in history {
        let What::Read(value) = read.what else { continue };
        let is_newer = |before: &&Seen| match before.what {
            What::Wrote(least) | What::Read(least) => before.ended < read.begun && value < least,
            What::MayHaveWritten(_) => false,
        };
        found.extend(history.iter().find(is_newer).map(|before| (*read, *before)));
        let is_written = |seen: &Seen| matches!(seen.what, What::Wrote(new) | What::MayHaveWritten(new) if new == value);
        assert!(
            value == 0 || history.iter().any(|seen| is_written(seen) && seen.begun < read.ended),
            "{read:?} of what nobody had written in {history:#?}"
        );
    }
    found
}

#[test]
fn the_checker_tells_right_from_wrong() {
    let seen = |begun, ended, what| Seen { entry: 0, begun, ended, what, from: None };
    let is_right = |history: &[Seen]| too_old(history).is_empty();
    let write = seen(2, 5, What::Wrote(1));
    assert!(is_right(&[write, seen(3, 4, What::Read(0)), seen(3, 6, What::Read(1)), seen(7, 8, What::Read(1))]));
    assert!(!is_right(&[write, seen(6, 7, What::Read(0))]), "an acknowledged write was not seen");
    assert!(!is_right(&[write, seen(2, 3, What::Read(1)), seen(4, 6, What::Read(0))]), "a read went backwards");
    assert!(std::panic::catch_unwind(|| too_old(&[seen(0, 1, What::Read(1)), write])).is_err(), "a read of the future");
    let unknown = seen(2, 5, What::MayHaveWritten(1));
    assert!(is_right(&[unknown, seen(6, 7, What::Read(0)), seen(8, 9, What::Read(1))]));
    assert!(!is_right(&[unknown, seen(6, 7, What::Read(1)), seen(8, 9, What::Read(0))]));
}

/// Entries of one run: so many histories.
const ENTRIES: usize = 20;
/// Few enough for a build without optimisation.
const HISTORIES: usize = 5_000;

/// What a run, or many, came to.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    writes: usize,
    reads: usize,
    /// Reads that lacked a write, since its server was away.
    behind: usize,
}

#[test]
fn histories_of_writes_and_reads_over_lagging_controllers_are_linearizable() {
    let of_environment = |name: &str| std::env::var(name).ok().map(|number| number.parse().expect("a number"));
    let count = of_environment("REDIAL_HISTORIES").unwrap_or(HISTORIES as u64).div_ceil(ENTRIES as u64);
    let first = of_environment("REDIAL_SEED").unwrap_or(1);
    let kept = include_str!("writes/seeds").lines().filter(|line| !line.starts_with('#')).map(|line| line.trim().parse().unwrap());
    let seeds: Vec<u64> = kept.chain(first..first + count).collect();
    let next = AtomicUsize::new(0);
    let tally = Mutex::new(Tally::default());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = history(*seed);
                    let mut all = tally.lock().unwrap();
                    *all = Tally { writes: all.writes + run.writes, reads: all.reads + run.reads, behind: all.behind + run.behind };
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap();
    assert!(tally.reads > seeds.len() * 100 && tally.writes > seeds.len() * 50, "{tally:?} is too little to mean anything");
    assert!(tally.behind * 1000 > seeds.len(), "{tally:?}: no server was ever away when it mattered");
}

/// One run: a few who write, more who read, two controllers.
///
/// What reads may lack is exact: nothing, but where the controller that took a write counted as down, and another one answered. Such an answer
/// is counted by Redial, goes to those who waited for it, and is not kept for others.
fn history(seed: u64) -> Tally {
    fastrand::seed(seed);
    let mut random = fastrand::Rng::with_seed(seed);
    let nature = Nature {
        servers: 2,
        read_only: [None, Some(0), Some(1)][random.usize(..3)],
        silent_one_in: random.bool().then_some(100),
        lag: Duration::from_secs(29),
    };
    let ttl = ["1s", "5m"][random.usize(..2)];
    let (seen, replicas, counted) = paused(async {
        let house = House::new(seed, nature, &format!("[cache]\nttl = \"{ttl}\"\nempty_ttl = \"{ttl}\"\n"));
        let seen = Arc::new(History::default());
        let writers = Arc::new([house.writer("writer0").await, house.writer("writer1").await]);
        let mut people = JoinSet::new();
        for entry in 0..ENTRIES {
            people.spawn(write_now_and_then(Arc::clone(&writers), Arc::clone(&seen), entry, random.fork()));
        }
        for _ in 0..6 {
            people.spawn(read_now_and_then(Arc::clone(&house), Arc::clone(&seen), random.fork()));
        }
        if random.bool() {
            people.spawn(go_away_now_and_then(Arc::clone(&house), random.fork()));
        }
        while let Some(done) = people.join_next().await {
            done.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        (seen, Arc::clone(&house.replicas), house.upstream.answers_behind())
    });
    let mut times: HashMap<(usize, u32), usize> = HashMap::new();
    for taken in replicas.taken() {
        *times.entry(taken).or_default() += 1;
    }
    assert!(times.values().all(|times| *times == 1), "seed {seed}: a write was taken twice: {times:?}");
    let answers = replicas.answers();
    let (mut tally, mut behind) = (Tally::default(), HashSet::new());
    for entry in 0..ENTRIES {
        let history = seen.of(entry);
        for (read, before) in too_old(&history) {
            let (search, asked_at) = read.from.expect("a read has a search");
            let answer = answers[search];
            let is_excused = counted > 0 && answer.is_behind && answer.left_at.is_some_and(|left_at| asked_at <= left_at);
            assert!(is_excused, "seed {seed}: {read:?} after {before:?}, by {answer:?}, in {history:#?}");
            behind.insert(search);
            tally.behind += 1;
        }
        for seen in &history {
            match seen.what {
                What::Wrote(value) => assert!(times.contains_key(&(entry, value)), "seed {seed}: {value} was acknowledged and not written"),
                What::MayHaveWritten(_) => {}
                What::Read(_) => tally.reads += 1,
            }
        }
    }
    assert!(behind.len() as u64 <= counted, "seed {seed}: {counted} answers were counted as behind, and these were: {behind:?}");
    Tally { writes: times.len(), ..tally }
}

async fn write_now_and_then(writers: Arc<[Phone; 2]>, seen: Arc<History>, entry: usize, mut random: fastrand::Rng) {
    for value in 1..=3 {
        pause(&mut random).await;
        let begun = seen.now();
        let (code, text) = write(&writers[random.usize(..2)], entry, value).await;
        match code {
            ResultCode::SUCCESS => seen.saw(entry, begun, What::Wrote(value), None),
            ResultCode::UNAVAILABLE if text.contains("unknown") => seen.saw(entry, begun, What::MayHaveWritten(value), None),
            // The controller that takes writes is down; this one was not sent.
            ResultCode::UNAVAILABLE => {}
            code => panic!("{code}: {text}"),
        }
    }
}

async fn read_now_and_then(house: Arc<House>, seen: Arc<History>, mut random: fastrand::Rng) {
    let phone = house.phone();
    for _ in 0..8 {
        pause(&mut random).await;
        // Several searches show the same entry, and one shows all.
        let base = if random.u8(..3) == 0 { BASE.to_owned() } else { name(random.usize(..ENTRIES)) };
        let filter = ["(cn=*)", "(cn=e*)"][random.usize(..2)];
        let (begun, asked_at) = (seen.now(), Instant::now());
        if let Some(found) = search(&phone, &base, filter).await {
            let from = search_number(&found.entries).map(|search| (search, asked_at));
            values(&found.entries).into_iter().for_each(|(entry, value)| seen.saw(entry, begun, What::Read(value), from));
        }
    }
}

/// Controllers do, one after the other.
async fn go_away_now_and_then(house: Arc<House>, mut random: fastrand::Rng) {
    for _ in 0..random.usize(1..6) {
        pause(&mut random).await;
        sleep(Duration::from_millis(random.u64(..30))).await;
        let server = random.usize(..2);
        house.replicas.is_up(server, false);
        sleep(Duration::from_millis([5, 50, 500, 5_000, 20_000][random.usize(..5)])).await;
        house.replicas.is_up(server, true);
    }
}

/// Mostly shorter than an answer takes, at times longer than reads follow a write.
async fn pause(random: &mut fastrand::Rng) {
    let most = [1_000, 10_000, 100_000, 10_000_000, 40_000_000][usize::from(random.u8(..32)).saturating_sub(27)];
    sleep(Duration::from_micros(random.u64(..most))).await;
}

// Single promises

const TWO: Nature = Nature { servers: 2, read_only: None, silent_one_in: None, lag: Duration::from_secs(20) };

#[test]
fn everybody_reads_a_write_at_once_and_from_memory_too_though_the_other_controller_lags() {
    paused(async {
        for seed in 0..20 {
            let house = House::new(seed, TWO, "");
            let writer = house.writer("writer").await;
            assert_eq!(read(&house.phone(), BASE, "(cn=*)").await.unwrap()[0].1, 0);
            assert_eq!(write(&writer, 0, 1).await.0, ResultCode::SUCCESS);
            for _ in 0..40 {
                assert_eq!(read(&writer, &name(0), "(cn=*)").await, Some(vec![(0, 1)]));
                assert_eq!(read(&house.phone(), BASE, "(cn=*)").await.unwrap()[0].1, 1);
                sleep(Duration::from_secs(1)).await;
            }
        }
    });
}

#[test]
fn after_30_s_reads_go_to_all_controllers_again() {
    paused(async {
        let house = House::new(1, TWO, "[cache]\nttl = \"0s\"\n");
        let writer = house.writer("writer").await;
        write(&writer, 0, 1).await;
        let before = house.replicas.searches();
        for _ in 0..29 {
            read(&house.phone(), BASE, "(cn=*)").await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
        let pinned = house.replicas.searches();
        assert_eq!(pinned.iter().zip(&before).filter(|(after, before)| after > before).count(), 1, "{pinned:?}");
        sleep(Duration::from_secs(2)).await;
        for _ in 0..60 {
            read(&house.phone(), BASE, "(cn=*)").await.unwrap();
        }
        let after = house.replicas.searches();
        assert!(after.iter().zip(&pinned).all(|(after, pinned)| after > pinned), "{after:?}");
    });
}

#[test]
fn a_read_only_controller_is_passed_over_for_a_writable_one_and_asked_once() {
    for read_only in [0, 1] {
        paused(async move {
            let house = House::new(1, Nature { read_only: Some(read_only), ..TWO }, "");
            let writer = house.writer("writer").await;
            for value in 1..=5 {
                assert_eq!(write(&writer, 0, value).await.0, ResultCode::SUCCESS);
                assert_eq!(read(&house.phone(), &name(0), "(cn=*)").await, Some(vec![(0, value)]));
            }
            assert_eq!(house.replicas.taken().len(), 5);
            assert!(house.replicas.writes_heard()[read_only] <= 1, "the one that takes writes is remembered");
        });
    }
}

#[test]
fn where_no_controller_takes_writes_the_client_is_told_so_and_gets_no_referral() {
    paused(async {
        let house = House::new(1, Nature { servers: 1, read_only: Some(0), ..TWO }, "");
        let writer = house.writer("writer").await;
        let (code, text) = write(&writer, 0, 1).await;
        assert_eq!((code, text.as_str()), (ResultCode::UNWILLING_TO_PERFORM, "no server of the directory takes writes now"));
        assert_eq!(house.replicas.writes_heard(), [1]);
    });
}

#[test]
fn a_write_without_an_answer_is_unknown_sent_once_and_forgotten() {
    paused(async {
        let house = House::new(1, Nature { silent_one_in: Some(1), ..TWO }, "");
        let writer = house.writer("writer").await;
        let mut value = 0;
        while house.replicas.taken().is_empty() {
            value += 1;
            read(&house.phone(), BASE, "(cn=*)").await.unwrap();
            let (code, text) = write(&writer, 0, value).await;
            assert_eq!(code, ResultCode::UNAVAILABLE);
            assert!(text.contains("unknown"), "{text}");
        }
        assert_eq!(house.replicas.writes_heard().iter().sum::<usize>(), value as usize);
        assert_eq!(read(&house.phone(), BASE, "(cn=*)").await.unwrap()[0].1, value, "it was carried out, and is read");
    });
}

#[test]
fn a_write_whose_client_has_gone_counts_as_one_that_was_carried_out() {
    paused(async {
        let house = House::new(1, TWO, "");
        let writer = house.writer("writer").await;
        // Warm: the connection that is bound as the writer stands.
        write(&writer, 1, 1).await;
        read(&house.phone(), BASE, "(cn=*)").await.unwrap();
        while house.replicas.writes_heard().iter().sum::<usize>() < 2 {
            assert!(timeout(Duration::from_micros(1), write(&writer, 0, 1)).await.is_err(), "the phone hangs up");
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(read(&house.phone(), BASE, "(cn=*)").await.unwrap()[0].1, 1);
    });
}

#[test]
fn when_the_controller_that_took_the_write_fails_others_answer_and_nothing_of_that_is_kept() {
    paused(async {
        let house = House::new(1, TWO, "");
        let writer = house.writer("writer").await;
        write(&writer, 0, 1).await;
        let home = house.replicas.homes()[0];
        house.replicas.is_up(home, false);
        assert_eq!(read(&house.phone(), BASE, "(cn=*)").await.unwrap()[0].1, 0, "old, and better than nothing");
        sleep(Duration::from_secs(20)).await;
        assert_eq!(read(&house.phone(), BASE, "(cn=*)").await.unwrap()[0].1, 1, "as old as replication is slow, and no older");
        let asked = house.replicas.searches()[1 - home];
        sleep(Duration::from_secs(10)).await;
        read(&house.phone(), BASE, "(cn=*)").await.unwrap();
        read(&house.phone(), BASE, "(cn=*)").await.unwrap();
        assert_eq!(house.replicas.searches()[1 - home], asked + 1, "after 30 s answers are kept again");
    });
}

#[test]
fn a_stale_answer_from_before_a_write_is_never_served() {
    paused(async {
        let house = House::new(1, Nature { servers: 1, ..TWO }, "[cache]\nttl = \"10s\"\nempty_ttl = \"10s\"\nstale = \"24h\"\n");
        let writer = house.writer("writer").await;
        read(&house.phone(), BASE, "(cn=*)").await.unwrap();
        sleep(Duration::from_secs(60)).await;
        write(&writer, 0, 1).await;
        house.replicas.is_up(0, false);
        assert_eq!(read(&house.phone(), BASE, "(cn=*)").await, None, "an error, and not what is known to be wrong");
    });
}

// The house

/// A pipeline in front of controllers in memory.
#[derive(Debug)]
struct House {
    pipeline: Arc<Pipeline>,
    upstream: Arc<Upstream>,
    replicas: Arc<Replicas>,
    _ending: Ending,
}

impl House {
    fn new(seed: u64, nature: Nature, cache: &str) -> Arc<Self> {
        let replicas = Replicas::new(seed, ENTRIES, nature);
        let config = config(nature.servers, cache);
        let DirectoryKind::Upstream(upstream) = &config.directories[0].kind else { panic!("a directory of controllers") };
        let (ending, running) = lifecycle();
        let metrics = Arc::new(Metrics::unrecorded());
        let dial = Some(Arc::new(ByName(Arc::clone(&replicas))) as _);
        let upstream = Arc::new(Upstream::reached_by(dial, 0, upstream, &config.limits, Arc::clone(&metrics), running).unwrap());
        upstream.start();
        let directories: Vec<Arc<dyn Directory>> = vec![Arc::clone(&upstream) as _];
        let pipeline = Arc::new(Pipeline::new(&config, directories, metrics));
        Arc::new(Self { pipeline, upstream, replicas, _ending: ending })
    }

    fn phone(&self) -> Phone {
        Phone::new(&self.pipeline)
    }

    /// One that may write.
    async fn writer(&self, name: &str) -> Phone {
        let mut phone = self.phone();
        assert_eq!(phone.bind(&format!("cn={name},{BASE}"), "secret").await.code, ResultCode::SUCCESS);
        phone
    }
}

/// What was found, where something was.
async fn search(phone: &Phone, base: &str, filter: &str) -> Option<Answered> {
    Some(phone.search(base, filter).await).filter(|answered| answered.code == ResultCode::SUCCESS)
}

/// The value of each entry; `None` where there is no answer.
async fn read(phone: &Phone, base: &str, filter: &str) -> Option<Vec<(usize, u32)>> {
    search(phone, base, filter).await.map(|found| values(&found.entries))
}

/// Code and diagnostic.
async fn write(phone: &Phone, entry: usize, value: u32) -> (ResultCode, String) {
    let answered = phone.ask(&modify_of(&name(entry), "telephoneNumber", &value.to_string()), None).await;
    (answered.code, answered.diagnostic)
}

fn config(servers: usize, cache: &str) -> Config {
    let servers: Vec<_> = (0..servers).map(|number| format!("ldap://dc{number}")).collect();
    let directory = format!(
        "servers = {servers:?}\nstart_tls = false\nplain = \"allow\"\nwrites = \"forward\"\n\
         bind_dn = \"cn=redial,{BASE}\"\npassword = \"service secret\""
    );
    let mut config = Configuration { base: BASE, directory: &directory, more: cache, ..Configuration::default() }.load();
    trust_in_nobody(&mut config);
    config
}

/// On one thread and a clock that stands still while anything can go on.
fn paused<F: Future>(work: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
}
