//! The whole proxy in a world that a seed makes: clients, controllers, network and clock are the test's own.
//!
//! Phones bind, search, compare, write, abandon, send all at once, read slowly and go away; controllers answer late, twice, in part, with
//! nonsense or not at all, and come and go. Always held: a response matches its request, and each request has one end; nobody sees what
//! belongs to another; a write reaches controllers once, and a bind too; a write that was acknowledged is there, and read; an
//! answer is older than its time only where it was counted as stale; at rest nothing is left, and the metrics tell what the phones heard.
//!
//! A seed decides what is asked, what goes wrong, and when; who is woken first of several who wait for the same answer is tokio's choice, so a
//! story may go on otherwise from there. `REDIAL_SEEDS` says how many, `REDIAL_SEED` with which one to begin;
//! `tests/simulation/seeds` holds those that once showed something. A run that fails tells its whole story, and with `REDIAL_STORY` set
//! every run does.

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
#[path = "simulation/phone.rs"]
mod phone;
#[path = "simulation/truth.rs"]
mod truth;

use common::ca::trust_in_nobody;
use common::configuration::load;
use controllers::{ByName, Controllers, SERVICE, SERVICE_PASSWORD};
use phone::Phone;
use redial::config::{Config, DirectoryKind};
use redial::directory::Directory;
use redial::downstream::Service;
use redial::ldap::ResultCode;
use redial::lifecycle::lifecycle;
use redial::metrics::Metrics;
use redial::pipeline::{Current, Pipeline};
use redial::upstream::Upstream;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::duplex;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use truth::{PEOPLE, Truth, person};

/// What a seed makes of the world.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Nothing goes wrong but what phones do.
    pub(crate) is_calm: bool,
    /// Phones read what they are sent, and end when all is answered.
    pub(crate) is_polite: bool,
    /// Searches run under the client's name.
    pub(crate) as_client: bool,
    /// Clients may write.
    pub(crate) forwards: bool,
    /// So long an answer is fresh.
    pub(crate) ttl: Duration,
    /// So long it may stand in for a better one.
    stale: Duration,
    servers: usize,
    phones: usize,
    /// Of a thousand requests so many meet a fault.
    faults: u16,
}

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

    pub(crate) fn is_guessed(&self, who: usize) -> bool {
        self.guessed.lock().unwrap().contains(&who)
    }
}

impl Weather {
    fn new(random: &mut fastrand::Rng) -> Self {
        let is_calm = random.u8(..8) == 0;
        Self {
            is_calm,
            is_polite: random.u8(..3) == 0,
            as_client: random.bool(),
            forwards: random.u8(..4) > 0,
            ttl: Duration::from_secs([0, 2, 60][random.usize(..3)]),
            stale: Duration::from_secs([0, 3600][random.usize(..2)]),
            servers: random.usize(1..4),
            phones: random.usize(2..6),
            faults: if is_calm { 0 } else { [10, 60, 200][random.usize(..3)] },
        }
    }

    /// The `edition` is another spelling of the same promises, for a reload.
    fn config(&self, edition: usize) -> Config {
        let mut text = String::from("[[listener]]\naddress = \"127.0.0.1:3389\"\nplain_passwords = \"allow\"\n");
        let servers: Vec<_> = (0..self.servers).map(|number| format!("ldap://dc{number}")).collect();
        write!(text, "[directory.corp]\nbase = \"{}\"\nservers = {servers:?}\nstart_tls = false\nplain = \"allow\"\n", truth::BASE)
            .unwrap();
        writeln!(text, "writes = \"{}\"", if self.forwards { "forward" } else { "refuse" }).unwrap();
        text += "probe = \"1m\"\nidle = \"1m\"\n";
        if self.as_client {
            text += "search_as = \"client\"\n";
        } else {
            writeln!(text, "bind_dn = \"{SERVICE}\"\npassword = \"{SERVICE_PASSWORD}\"").unwrap();
            for who in 0..PEOPLE {
                let dn = person(who);
                writeln!(text, "[[access]]\nname = \"p{who}\"\nclients = [\"{dn}\"]\nbases = [\"{dn}\"]\nattributes = [\"*\"]").unwrap();
            }
        }
        if edition > 0 {
            text += "[[access]]\nname = \"late\"\nclients = [\"cn=nobody\"]\nbases = [\"dc=corp,dc=example\"]\nattributes = [\"sn\"]\n";
        }
        let attributes = if self.as_client { "*" } else { "cn" };
        let base = truth::BASE;
        writeln!(text, "[[access]]\nname = \"all\"\nclients = \"any\"\nbases = [\"{base}\"]\nattributes = [\"{attributes}\"]").unwrap();
        let (ttl, stale) = (self.ttl.as_secs(), self.stale.as_secs());
        writeln!(text, "[cache]\nttl = \"{ttl}s\"\nempty_ttl = \"{ttl}s\"\nstale = \"{stale}s\"").unwrap();
        let mut config = load(&text, Path::new("."));
        trust_in_nobody(&mut config);
        config
    }
}

/// Few enough for a build without optimisation.
const SEEDS: u64 = 2_000;

#[test]
fn whatever_goes_wrong_what_is_promised_holds() {
    let of_environment = |name: &str| std::env::var(name).ok().map(|number| number.parse().expect("a number"));
    let first = of_environment("REDIAL_SEED").unwrap_or(1);
    let count = of_environment("REDIAL_SEEDS").unwrap_or(SEEDS);
    let seeds: Vec<u64> = kept().chain(first..first + count).collect();
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(story) = play(*seed) {
                        failed.lock().unwrap().push((*seed, story));
                        next.store(seeds.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    if let Some((seed, story)) = failed.first() {
        eprintln!("{story}");
        panic!("seed {seed}: play it again with REDIAL_SEED={seed} REDIAL_SEEDS=1, and keep it in tests/simulation/seeds");
    }
}

fn kept() -> impl Iterator<Item = u64> {
    include_str!("simulation/seeds").lines().filter(|line| !line.starts_with('#')).map(|line| line.trim().parse().unwrap())
}

/// One seed; its story, where something was wrong.
fn play(seed: u64) -> Result<(), String> {
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(world(fastrand::Rng::with_seed(seed)))
}

async fn world(mut random: fastrand::Rng) -> Result<(), String> {
    let weather = Weather::new(&mut random);
    let config = weather.config(0);
    let truth = Arc::new(Truth::new());
    truth.tell(&format!("{weather:?}"));
    let controllers = Controllers::new(Arc::clone(&truth), weather.servers, weather.faults, random.fork());
    let metrics = Arc::new(Metrics::new(&config));
    let (ending, running) = lifecycle();
    let upstream = {
        let DirectoryKind::Upstream(upstream) = &config.directories[0].kind else { panic!("a directory of controllers") };
        let dial = Some(Arc::new(ByName(Arc::clone(&controllers))) as _);
        Arc::new(Upstream::reached_by(dial, 0, upstream, &config.limits, Arc::clone(&metrics), running.clone()).unwrap())
    };
    upstream.start();
    let directories: Vec<Arc<dyn Directory>> = vec![upstream];
    let pipeline = Arc::new(Current::new(Arc::new(Pipeline::new(&config, directories.clone(), Arc::clone(&metrics)))));
    let service = Arc::new(Service::new(0, &config.listeners[0], &config.limits, None, Arc::clone(&pipeline), Arc::clone(&metrics)));
    let site = Arc::new(Site {
        truth: Arc::clone(&truth),
        weather,
        sent: Mutex::default(),
        heard: Mutex::default(),
        guessed: Mutex::default(),
        bound: Mutex::default(),
    });

    let (mut served, mut phones) = (JoinSet::new(), JoinSet::new());
    for number in 0..weather.phones {
        let (near, far) = duplex([60, 3_000, 1 << 20][random.usize(..3)]);
        served.spawn(Arc::clone(&service).serve(far, ([10, 20, 1, 7], 50_000).into(), running.clone()));
        let phone = Phone::new(number, Arc::clone(&site), near, random.fork());
        let begins = up_to([1, 100, 10_000], &mut random);
        phones.spawn(async move {
            sleep(begins).await;
            phone.live().await;
        });
    }
    let mut turns = JoinSet::new();
    turns.spawn(turn(Arc::clone(&controllers), weather, random.fork()));
    turns.spawn(write_beside(Arc::clone(&truth), random.fork()));
    let reloads = reload(Arc::clone(&truth), pipeline, [config, weather.config(1)], directories, random.fork());
    if random.bool() {
        turns.spawn(reloads);
    } else {
        drop(reloads);
    }
    while let Some(ended) = phones.join_next().await {
        ended.unwrap_or_else(|error| truth.wrong(&format!("a phone ended: {error}")));
    }
    turns.shutdown().await;
    controllers.heal();

    // At rest: idle connections have gone, and what was given up.
    sleep(Duration::from_secs(150)).await;
    while let Some(ended) = served.try_join_next() {
        ended.unwrap_or_else(|error| truth.wrong(&format!("a connection ended: {error}")));
    }
    if !served.is_empty() {
        truth.wrong(&format!("{} connections are still served", served.len()));
    }
    // Each server is watched, and so are clients' connections; each connection has a task at both ends.
    let expected = || weather.servers + 1 + 2 * controllers.open().iter().sum::<usize>();
    let alive = || Handle::current().metrics().num_alive_tasks();
    let quiet = async {
        // A probe may be under way.
        while alive() != expected() {
            sleep(Duration::from_millis(70)).await;
        }
    };
    if timeout(Duration::from_secs(10), quiet).await.is_err() {
        truth.wrong(&format!("{} tasks are left, and {} have something to do", alive(), expected()));
    }
    reconcile(&site, &controllers, &metrics.render());
    // Where nothing runs under a client's name, nobody binds under it but the client.
    if !weather.as_client && !weather.forwards {
        truth.binds_were_asked_for(&site.bound.lock().unwrap());
    }

    drop(service);
    ending.begin();
    drop(running);
    if timeout(Duration::from_secs(60), ending.all_gone()).await.is_err() {
        truth.wrong("something does not end");
    }
    sleep(Duration::from_secs(5)).await;
    if alive() != 0 || controllers.open().iter().any(|open| *open > 0) {
        truth.wrong("tasks are left after the end");
    }
    truth.verdict()
}

/// Some milliseconds, below one of these numbers.
fn up_to(most: [u64; 3], random: &mut fastrand::Rng) -> Duration {
    let most = most[random.usize(..3)];
    Duration::from_millis(random.u64(..most))
}

/// Controllers come and go.
async fn turn(controllers: Arc<Controllers>, weather: Weather, mut random: fastrand::Rng) {
    if weather.is_calm {
        return;
    }
    loop {
        sleep(up_to([100, 3_000, 60_000], &mut random)).await;
        let server = random.usize(..weather.servers);
        controllers.is_up(server, false);
        sleep(up_to([10, 3_000, 30_000], &mut random)).await;
        controllers.is_up(server, true);
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

/// Somebody changes the configuration to and fro.
async fn reload(
    truth: Arc<Truth>,
    pipeline: Arc<Current>,
    configs: [Config; 2],
    directories: Vec<Arc<dyn Directory>>,
    mut random: fastrand::Rng,
) {
    let [mut before, mut after] = configs;
    loop {
        sleep(up_to([100, 5_000, 60_000], &mut random)).await;
        let file: &[[u8; 32]] = &[[0; 32]];
        let now = Arc::clone(&pipeline.load());
        let lineage = now.lineage().succeeded((&before, file), (&after, file));
        pipeline.replace(Arc::new(now.succeeded(&after, lineage, directories.clone())));
        truth.tell("the configuration is another");
        std::mem::swap(&mut before, &mut after);
    }
}

/// What the metrics say is what phones and controllers have seen.
fn reconcile(site: &Site, controllers: &Controllers, metrics: &str) {
    let sum = |name: &str, labels: &[String]| {
        let lines = metrics.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label.as_str())));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum::<usize>()
    };
    let operation = |operation: &str| format!("operation=\"{operation}\"");
    let wrong = |what: &str| site.truth.wrong(&format!("the metrics say {what}"));
    let (sent, heard) = (site.sent.lock().unwrap(), site.heard.lock().unwrap());
    for (kind, sent) in sent.iter().filter(|(kind, _)| **kind != "extended") {
        let recorded = sum("redial_operations_total{", &[operation(kind)]);
        let heard: usize = heard.iter().filter(|((operation, _), _)| operation == kind).map(|(_, count)| count).sum();
        let least = if site.weather.is_polite { *sent } else { heard };
        if recorded > *sent || recorded < least {
            wrong(&format!("{recorded} of {kind}: {sent} were sent, {heard} heard of"));
        }
    }
    for ((kind, code), heard) in heard.iter().filter(|((kind, _), _)| *kind != "extended") {
        let recorded = sum("redial_operations_total{", &[operation(kind), format!("code=\"{code}\"")]);
        if recorded < *heard {
            wrong(&format!("{recorded} of {kind} with {code}: {heard} were heard"));
        }
    }
    let stale = sum("redial_cache_stale_total", &[]);
    if site.truth.stale_reads() > stale {
        wrong(&format!("{stale} were stale, and {} were", site.truth.stale_reads()));
    }
    if sum("redial_upstream_in_flight{", &[]) != 0 {
        wrong("that something is in flight");
    }
    for (server, open) in controllers.open().into_iter().enumerate() {
        let said = sum("redial_upstream_connections{", &[format!("ldap://dc{server}\"")]);
        // One is kept warm by its probes.
        if open > 1 {
            site.truth.wrong(&format!("{open} connections to dc{server} are left"));
        }
        if said != open {
            wrong(&format!("{said} connections to dc{server}, which has {open}"));
        }
    }
}
