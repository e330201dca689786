//! The whole proxy in a world that a seed makes: clients, controllers, network and clock are the test's own.
//!
//! Phones bind, search, compare, write, abandon, send all at once, read slowly, hang up and are cut off; controllers answer late, twice, in
//! part, with nonsense or not at all, come and go, alone and together, and get other addresses; the configuration changes; some histories end
//! with the program's own end. Some are told over TLS. Always held: a response matches its request, and each request has one end; nobody sees
//! what belongs to another; a write reaches controllers once, and a bind too; a write that was acknowledged is there, and read; an
//! answer is older than its time only where it was counted as stale, and never older than that may be; at rest nothing is left, and the metrics
//! tell what the phones heard.
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
#[path = "simulation/line.rs"]
mod line;
#[path = "simulation/phone.rs"]
mod phone;
#[path = "simulation/truth.rs"]
mod truth;

use common::ca::trust_in_nobody;
use common::certificates::Certificate;
use common::configuration::load;
use controllers::{ByName, Controllers, MOVED, Mood, SERVICE, SERVICE_PASSWORD};
use line::line;
use redial::config::{Config, DirectoryKind, TlsMode};
use redial::directory::Directory;
use redial::downstream::{Service, Tls};
use redial::ldap::ResultCode;
use redial::lifecycle::{EndOnDrop, Ending, lifecycle};
use redial::metrics::Metrics;
use redial::pipeline::{Current, Pipeline};
use redial::upstream::Upstream;
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use truth::{PEOPLE, Played, Truth, person};

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
    /// Where controllers move, all do: that is another directory, and nobody is bound there.
    moves_all: bool,
    /// So long an answer is fresh.
    pub(crate) ttl: Duration,
    /// So long it may stand in for a better one.
    pub(crate) stale: Duration,
    servers: usize,
    phones: usize,
    /// Of a thousand requests so many meet a fault.
    faults: u16,
    /// Phones speak TLS, from the first octet or after StartTLS.
    tls: Option<TlsMode>,
    /// It all ends before the phones do, after so long at most.
    stop: Option<Duration>,
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

    /// When sessions bound at that time, under whose names something runs, lost their directory.
    pub(crate) fn replaced_after(&self, bound_at: Instant) -> Option<Instant> {
        let of_clients = self.weather.as_client || self.weather.forwards;
        self.replaced_at.lock().unwrap().iter().copied().find(|replaced_at| of_clients && *replaced_at >= bound_at)
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
            moves_all: random.bool(),
            ttl: Duration::from_secs([0, 2, 60][random.usize(..3)]),
            stale: Duration::from_secs([0, 20, 3600][random.usize(..3)]),
            servers: random.usize(1..4),
            phones: random.usize(2..6),
            faults: if is_calm { 0 } else { [10, 60, 200][random.usize(..3)] },
            tls: [None, None, None, None, Some(TlsMode::Ldaps), Some(TlsMode::StartTlsOptional)][random.usize(..6)],
            stop: (random.u8(..4) == 0).then(|| up_to([300, 5_000, 60_000], random)),
        }
    }

    /// Each edition keeps the same promises: one has another access, one finds the controllers elsewhere, and one both.
    fn config(&self, edition: usize) -> Config {
        let [has_moved, is_late] = [edition & 1 > 0, edition & 2 > 0];
        let mut text = String::from("[[listener]]\naddress = \"127.0.0.1:3389\"\nplain_passwords = \"allow\"\n");
        let moves = |number: usize| has_moved && (self.moves_all || number > 0);
        let servers: Vec<_> =
            (0..self.servers).map(|number| format!("ldap://dc{number}{}", if moves(number) { MOVED } else { "" })).collect();
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
        if is_late {
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
/// So many that fail say enough.
const ENOUGH: usize = 10;

#[test]
fn whatever_goes_wrong_what_is_promised_holds() {
    let of_environment = |name: &str| std::env::var(name).ok().map(|number| number.parse().expect("a number"));
    let first = of_environment("REDIAL_SEED").unwrap_or(1);
    let count = of_environment("REDIAL_SEEDS").unwrap_or(SEEDS);
    let tells_all = std::env::var_os("REDIAL_STORY").is_some();
    let seeds: Vec<u64> = kept().chain(first..first + count).collect();
    let certificate = Certificate::of_even_length("simulation");
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
    let certificate = Certificate::of_even_length("simulation-again");
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
fn play(seed: u64, certificate: &Certificate) -> Played {
    fastrand::seed(seed);
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let weather = Weather::new(&mut random);
    runtime.block_on(async { World::new(weather, certificate, random).live().await })
}

/// The program, as it is put together, without its sockets, and those around it.
struct World {
    site: Arc<Site>,
    controllers: Arc<Controllers>,
    house: House,
    service: Arc<Service>,
    random: fastrand::Rng,
}

/// What a reload changes.
#[derive(Clone)]
struct House {
    truth: Arc<Truth>,
    controllers: Arc<Controllers>,
    pipeline: Arc<Current>,
    metrics: Arc<Metrics>,
    /// Of the connections to controllers, each configuration's.
    endings: Arc<Mutex<Vec<Arc<Ending>>>>,
}

impl World {
    fn new(weather: Weather, certificate: &Certificate, mut random: fastrand::Rng) -> Self {
        let mut config = weather.config(0);
        let truth = Arc::new(Truth::new());
        truth.tell(&format!("{weather:?}"));
        let controllers = Controllers::new(Arc::clone(&truth), weather.servers, weather.faults, random.fork());
        let metrics = Arc::new(Metrics::new(&config));
        let endings = Arc::default();
        let upstream = upstream(&controllers, 0, &config, &metrics, &endings);
        let pipeline = Arc::new(Current::new(Arc::new(Pipeline::new(&config, vec![upstream], Arc::clone(&metrics)))));
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
        let house = House { truth, controllers: Arc::clone(&controllers), pipeline, metrics, endings };
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

/// Connections to the controllers of a configuration, which end with their last user.
fn upstream(
    controllers: &Arc<Controllers>,
    number: usize,
    config: &Config,
    metrics: &Arc<Metrics>,
    endings: &Mutex<Vec<Arc<Ending>>>,
) -> Arc<dyn Directory> {
    let DirectoryKind::Upstream(configured) = &config.directories[0].kind else { panic!("a directory of controllers") };
    let (ending, running) = lifecycle();
    let ending = Arc::new(ending);
    endings.lock().unwrap().push(Arc::clone(&ending));
    let dial = Some(Arc::new(ByName(Arc::clone(controllers))) as _);
    let upstream = Upstream::reached_by(dial, number, configured, &config.limits, Arc::clone(metrics), running).unwrap();
    upstream.start();
    Arc::new(upstream.ending_with(EndOnDrop(ending)))
}

impl House {
    /// Somebody changes the configuration to and fro.
    async fn reload(self, site: Arc<Site>, mut random: fastrand::Rng) {
        let weather = site.weather;
        let (mut edition, mut number, mut before) = (0, 0, weather.config(0));
        let mut directories: Vec<_> = self.pipeline.load().directories().map(|(_, directory)| Arc::clone(directory)).collect();
        loop {
            sleep(up_to([100, 5_000, 60_000], &mut random)).await;
            let next = (edition + random.usize(1..4)) % 4;
            let after = weather.config(next);
            let has_moved = after.directories != before.directories;
            let old = number;
            if has_moved {
                number = self.metrics.directory_opened(&after.directories[0]);
                directories = vec![upstream(&self.controllers, number, &after, &self.metrics, &self.endings)];
            }
            let file: &[[u8; 32]] = &[[0; 32]];
            let now = Arc::clone(&self.pipeline.load());
            let lineage = now.lineage().succeeded((&before, file), (&after, file));
            if lineage.directory(0) != now.lineage().directory(0) {
                site.replaced_at.lock().unwrap().push(Instant::now());
            }
            self.pipeline.replace(Arc::new(now.succeeded(&after, lineage, directories.clone())));
            if has_moved {
                self.metrics.directory_retired(old);
            }
            self.truth.tell(&format!("edition {next} of the configuration is in force"));
            (edition, before) = (next, after);
        }
    }

    /// Idle connections have gone, and what was given up.
    async fn rest(&self, site: &Site) {
        sleep(Duration::from_secs(150)).await;
        // Each server is watched, and so are clients' connections; each connection has a task at both ends.
        let expected = || site.weather.servers + 1 + 2 * self.controllers.open().iter().sum::<usize>();
        let quiet = async {
            // A probe may be under way.
            while alive() != expected() {
                sleep(Duration::from_millis(70)).await;
            }
        };
        if timeout(Duration::from_secs(10), quiet).await.is_err() {
            site.truth.wrong(&format!("{} tasks are left, and {} have something to do", alive(), expected()));
        }
        for (server, open) in self.controllers.open().into_iter().enumerate() {
            // One is kept warm by its probes.
            if open > 1 {
                site.truth.wrong(&format!("{open} connections to dc{server} are left"));
            }
        }
        self.reconcile(site);
    }

    /// The last of the end: controllers are told.
    async fn end(self, site: &Site) {
        let endings = std::mem::take(&mut *self.endings.lock().unwrap());
        endings.iter().for_each(|ending| ending.begin());
        let all_gone = async {
            while alive() > 0 || self.controllers.open().iter().any(|open| *open > 0) {
                sleep(Duration::from_millis(70)).await;
            }
        };
        if timeout(Duration::from_secs(60), all_gone).await.is_err() {
            site.truth.wrong(&format!("{} tasks are left after the end", alive()));
        }
        self.reconcile(site);
        drop(self.pipeline);
        if !endings.iter().all(|ending| ending.is_over()) {
            site.truth.wrong("something holds on to what has ended");
        }
    }
}

fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
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
        // One of them, or all.
        let server = random.usize(..weather.servers);
        let which = if random.u8(..3) == 0 { 0..weather.servers } else { server..server + 1 };
        let mood = Mood::DOWN[random.usize(..Mood::DOWN.len())];
        which.clone().for_each(|server| controllers.is(server, mood));
        sleep(up_to([10, 3_000, 30_000], &mut random)).await;
        which.for_each(|server| controllers.is(server, Mood::Up));
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

impl House {
    /// What the metrics say is what phones and controllers have seen.
    fn reconcile(&self, site: &Site) {
        self.pipeline.load().measure(&self.metrics);
        let metrics = self.metrics.render();
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
            let is_heard_out = site.weather.is_polite && site.stopped_at().is_none() && site.replaced_at.lock().unwrap().is_empty();
            let least = if is_heard_out { *sent } else { heard };
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
        if sum("redial_upstream_in_flight{", &[]) + sum("redial_bound_sessions", &[]) != 0 {
            wrong("that something is in flight, or somebody bound");
        }
        for table in ["searches", "binds", "clients", "pages"] {
            let left = sum("redial_table_entries{", &[format!("table=\"{table}\"")]);
            if left != 0 {
                wrong(&format!("that {left} {table} are left"));
            }
        }
        for (server, open) in self.controllers.open().into_iter().enumerate() {
            let said = sum("redial_upstream_connections{", &[format!("ldap://dc{server}")]);
            if said != open {
                wrong(&format!("{said} connections to dc{server}, which has {open}"));
            }
        }
    }
}
