//! The whole proxy in a world that a seed makes: clients, controllers, network and clock are the test's own.
//!
//! Phones bind, search, compare, write, abandon, send all at once, read slowly, hang up and are cut off; controllers answer late, twice, in
//! part, with nonsense or not at all, page by page, come and go, alone and together, and get other addresses; DNS names others; the configuration
//! changes; answers are dropped, and give way to others where there is little room; some histories end with the program's own end. Some are told
//! over TLS, on one side or both. Always held: a response matches its request, and each request has one end; nobody sees what belongs to another;
//! a write reaches controllers once, and a bind too; a write that was acknowledged is there, and read; an answer is older than its time only where
//! it was counted as stale, and never older than that may be; the cache takes no more room than it has, and answers at once with nothing but what
//! it holds; at rest nothing is left, and the metrics tell what the phones heard.
//!
//! A seed decides all of it: who is woken first, too, so each plays the same history again, to the line. `REDIAL_SEEDS` says how many,
//! `REDIAL_SEED` with which one to begin; `tests/simulation/seeds` holds those that once showed something. A run that fails tells its whole
//! story, and with `REDIAL_STORY` set every run does.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected fails"
)]

mod common;
#[path = "simulation/controllers.rs"]
mod controllers;
#[path = "simulation/house.rs"]
mod house;
#[path = "simulation/line.rs"]
mod line;
#[path = "simulation/names.rs"]
mod names;
#[path = "simulation/onlooker.rs"]
mod onlooker;
#[path = "simulation/pages.rs"]
mod pages;
#[path = "simulation/phone.rs"]
mod phone;
#[path = "simulation/truth.rs"]
mod truth;
#[path = "simulation/weather.rs"]
mod weather;

use common::certificates::Certificate;
use controllers::{Controllers, Mood};
use foldhash::SharedSeed;
use house::{House, upstream};
use line::line;
use redial::cache::Hashing;
use redial::config::TlsMode;
use redial::downstream::{Service, Tls};
use redial::ldap::ResultCode;
use redial::lifecycle::lifecycle;
use redial::metrics::Metrics;
use redial::pipeline::{Current, Pipeline};
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use truth::{PEOPLE, Played, Truth};
use weather::{Weather, up_to};

/// What phones share.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) truth: Arc<Truth>,
    pub(crate) weather: Weather,
    /// Requests that were sent, by operation.
    sent: Mutex<BTreeMap<&'static str, usize>>,
    /// Results that were heard, by operation and code.
    heard: Mutex<BTreeMap<(&'static str, String), usize>>,
    /// Whose password somebody has guessed at.
    guessed: Mutex<BTreeSet<usize>>,
    /// How often each has bound with the right password, or tried to.
    bound: Mutex<[usize; PEOPLE]>,
    /// How phones speak TLS, where they do.
    pub(crate) tls: Option<(TlsMode, Arc<ClientConfig>)>,
    /// For so long a stop waits for what is under way.
    pub(crate) drain: Duration,
    stopped_at: Mutex<Option<Instant>>,
    /// When all controllers moved.
    replaced_at: Mutex<Vec<Instant>>,
}

impl Site {
    pub(crate) fn sent(&self, operation: &'static str) {
        *self.sent.lock().unwrap().entry(operation).or_default() += 1;
    }

    pub(crate) fn heard(&self, operation: &'static str, code: ResultCode) {
        *self.heard.lock().unwrap().entry((operation, code.name().to_owned())).or_default() += 1;
    }

    pub(crate) fn guessed_at(&self, who: usize) {
        self.guessed.lock().unwrap().insert(who);
    }

    pub(crate) fn binds(&self, who: usize) {
        self.bound.lock().unwrap()[who] += 1;
    }

    /// When the program's end began.
    pub(crate) fn stopped_at(&self) -> Option<Instant> {
        *self.stopped_at.lock().unwrap()
    }

    /// When what was bound or begun at that time lost its directory.
    pub(crate) fn replaced_after(&self, then: Instant) -> Option<Instant> {
        self.replaced_at.lock().unwrap().iter().copied().find(|replaced_at| *replaced_at >= then)
    }

    pub(crate) fn is_guessed(&self, who: usize) -> bool {
        self.guessed.lock().unwrap().contains(&who)
    }
}

/// Few enough for a build without optimisation.
const SEEDS: u64 = 2_000;
/// So many that fail say enough.
const ENOUGH: usize = 10;

#[test]
fn whatever_goes_wrong_what_is_promised_holds() {
    let of_environment = |name: &str| std::env::var(name).ok().map(|number| number.parse().expect("a number"));
    let first = of_environment("REDIAL_SEED").unwrap_or(1);
    let count = of_environment("REDIAL_SEEDS").unwrap_or(SEEDS);
    let tells_all = std::env::var_os("REDIAL_STORY").is_some();
    let seeds: Vec<u64> = kept().chain(first..first + count).collect();
    let certificate = Arc::new(Certificate::of_even_length("simulation"));
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let Played { story, wrong } = play(*seed, &certificate);
                    if tells_all {
                        eprintln!("seed {seed}\n{story}");
                    }
                    if let Some(wrong) = wrong {
                        let mut failed = failed.lock().unwrap();
                        failed.push((*seed, format!("{story}\n{wrong}")));
                        if failed.len() == ENOUGH {
                            next.store(seeds.len(), Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    if let Some((seed, story)) = failed.first() {
        eprintln!("{story}");
        let all: Vec<_> = failed.iter().map(|(seed, story)| (seed, story.lines().last())).collect();
        panic!(
            "{all:#?}\nto play it again: REDIAL_SEED={seed} REDIAL_SEEDS=1 cargo test --test simulation whatever; \
             to keep it: echo {seed} >> tests/simulation/seeds"
        );
    }
}

#[test]
fn a_seed_plays_the_same_history_again() {
    let certificate = Arc::new(Certificate::of_even_length("simulation-again"));
    for seed in kept().chain(1..=50) {
        let [once, again] = [(); 2].map(|()| play(seed, &certificate).story);
        let differs = once.lines().zip(again.lines()).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(once.lines().count(), again.lines().count(), "seed {seed}");
    }
}

fn kept() -> impl Iterator<Item = u64> {
    include_str!("simulation/seeds").lines().filter(|line| !line.starts_with('#')).map(|line| line.trim().parse().unwrap())
}

/// Plays one seed.
fn play(seed: u64, certificate: &Arc<Certificate>) -> Played {
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let weather = Weather::new(&mut random);
    runtime.block_on(async { World::new(weather, certificate, random).await.live().await })
}

/// The program, as it is put together, without its sockets, and those around it.
struct World {
    site: Arc<Site>,
    controllers: Arc<Controllers>,
    house: House,
    service: Arc<Service>,
    random: fastrand::Rng,
}

impl World {
    async fn new(weather: Weather, certificate: &Arc<Certificate>, mut random: fastrand::Rng) -> Self {
        let mut config = weather.config(0, certificate);
        let truth = Arc::new(Truth::new());
        truth.tell(&format!("{weather:?}"));
        let controllers = Controllers::new(Arc::clone(&truth), &weather, certificate, random.fork());
        let metrics = Arc::new(Metrics::new(&config));
        let endings = Arc::default();
        let upstream = upstream(&controllers, 0, &config, &metrics, &endings).await;
        let hashing = Hashing::with_seed(random.u64(..), SharedSeed::global_fixed());
        let pipeline = Pipeline::hashing_by(hashing, &config, vec![upstream], Arc::clone(&metrics));
        let pipeline = Arc::new(Current::new(Arc::new(pipeline)));
        config.listeners[0].tls = weather.tls.map(|mode| certificate.listener_tls(mode));
        let tls = config.listeners[0].tls.as_ref().map(|files| Arc::new(Tls::load(files).unwrap()));
        let service = Service::new(0, &config.listeners[0], &config.limits, tls, Arc::clone(&pipeline), Arc::clone(&metrics));
        let site = Arc::new(Site {
            truth: Arc::clone(&truth),
            weather,
            sent: Mutex::default(),
            heard: Mutex::default(),
            guessed: Mutex::default(),
            bound: Mutex::default(),
            tls: weather.tls.map(|mode| (mode, Arc::new(certificate.phone([&[&TLS12][..], &[&TLS13]][random.usize(..2)])))),
            drain: config.limits.drain,
            stopped_at: Mutex::default(),
            replaced_at: Mutex::default(),
        });
        let certificate = Arc::clone(certificate);
        let capacity = Arc::new(AtomicU64::new(config.cache.capacity));
        let house = House { truth, controllers: Arc::clone(&controllers), certificate, pipeline, metrics, endings, capacity };
        Self { site, controllers, house, service: Arc::new(service), random }
    }

    async fn live(mut self) -> Played {
        let (ending, running) = lifecycle();
        let (weather, truth) = (self.site.weather, Arc::clone(&self.site.truth));
        let (mut served, mut phones, mut turns) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        for number in 0..weather.phones {
            let (near, far) = line([60, 3_000, 1 << 20][self.random.usize(..3)]);
            served.spawn(Arc::clone(&self.service).serve(far, ([10, 20, 1, 7], 50_000).into(), running.clone()));
            let (site, random) = (Arc::clone(&self.site), self.random.fork());
            let begins = up_to([1, 100, 10_000], &mut self.random);
            phones.spawn(async move {
                sleep(begins).await;
                phone::live(number, site, near, random).await;
            });
        }
        drop((running, self.service));
        turns.spawn(turn(Arc::clone(&self.controllers), weather, self.random.fork()));
        turns.spawn(write_beside(Arc::clone(&truth), self.random.fork()));
        turns.spawn(self.house.clone().drop_answers(self.random.fork()));
        turns.spawn(self.house.clone().look_on(Arc::clone(&self.site), self.random.fork()));
        if weather.discovers && !weather.is_calm {
            turns.spawn(name_others(Arc::clone(&self.controllers), self.random.fork()));
        }
        let random = self.random.fork();
        if self.random.bool() {
            turns.spawn(self.house.clone().reload(Arc::clone(&self.site), random));
        }
        let stop = async {
            match weather.stop {
                Some(after) => sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = all_end(&mut phones, "phone", &truth) => {}
            () = stop => {
                truth.tell("the end begins");
                *self.site.stopped_at.lock().unwrap() = Some(Instant::now());
                ending.begin();
                if timeout(longest_stop(self.site.drain), ending.all_gone()).await.is_err() {
                    truth.wrong("what phones have asked does not end");
                }
                all_end(&mut phones, "phone", &truth).await;
            }
        }
        turns.shutdown().await;
        self.controllers.heal();
        if self.site.stopped_at().is_none() {
            self.house.rest(&self.site).await;
        }
        while let Some(ended) = served.try_join_next() {
            ended.unwrap_or_else(|error| truth.wrong(&format!("a connection ended: {error}")));
        }
        if !served.is_empty() {
            truth.wrong(&format!("{} connections are still served", served.len()));
        }
        // Where nothing runs under a client's name, nobody binds under it but the client.
        if !weather.as_client && !weather.forwards {
            truth.binds_were_asked_for(&self.site.bound.lock().unwrap());
        }
        self.house.end(&self.site).await;
        truth.verdict()
    }
}

/// Longer than a stop may take: what is under way has its own time when the drain is over, and so has a phone that hears the last word.
fn longest_stop(drain: Duration) -> Duration {
    drain + Duration::from_secs(25)
}

async fn all_end(tasks: &mut JoinSet<()>, what: &str, truth: &Truth) {
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap_or_else(|error| truth.wrong(&format!("a {what} ended: {error}")));
    }
}

/// Controllers come and go.
async fn turn(controllers: Arc<Controllers>, weather: Weather, mut random: fastrand::Rng) {
    if weather.is_calm {
        return;
    }
    loop {
        sleep(up_to([100, 3_000, 60_000], &mut random)).await;
        // One of them, or all.
        let server = random.usize(..weather.servers);
        let which = if random.u8(..3) == 0 { 0..weather.servers } else { server..server + 1 };
        let mood = Mood::DOWN[random.usize(..Mood::DOWN.len())];
        which.clone().for_each(|server| controllers.is(server, mood));
        sleep(up_to([10, 3_000, 30_000], &mut random)).await;
        which.for_each(|server| controllers.is(server, Mood::Up));
    }
}

/// DNS names others, or none, or is away.
async fn name_others(controllers: Arc<Controllers>, mut random: fastrand::Rng) {
    loop {
        sleep(up_to([1_000, 10_000, 60_000], &mut random)).await;
        controllers.names().change(&mut random);
    }
}

/// Somebody writes who does not ask Redial.
async fn write_beside(truth: Arc<Truth>, mut random: fastrand::Rng) {
    loop {
        sleep(up_to([200, 5_000, 60_000], &mut random)).await;
        let version = truth.next_version();
        truth.written(random.usize(..PEOPLE), version);
    }
}
