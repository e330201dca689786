//! Tests of the search for controllers: DNS and the controllers are in memory, and the clock is the test's.

use super::*;
use crate::config::{DirectoryKind, UpstreamSecurity, load::load_text};
use crate::ldap::envelope::{Envelope, op};
use crate::ldap::frame::frame_length;
use crate::ldap::message::ResultCode;
use crate::ldap::response::write_result;
use crate::lifecycle::{Ending, lifecycle};
use crate::metrics::Metrics;
use crate::upstream::connect::{Dial, Srv, Stream, client_config};
use crate::upstream::connection::{InFlight, Outgoing, Payload, Settings};
use crate::upstream::search::{base_search, present};
use crate::upstream::server::Common;
use bytes::BytesMut;
use futures_util::future::BoxFuture;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::sleep;

/// DNS, and the controllers that it may name.
#[derive(Debug, Clone, Default)]
struct World(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What DNS answers; nothing at all: it is dead.
    answers: Option<HashMap<String, Services>>,
    /// What it was asked, and when.
    asked: Vec<(String, Instant)>,
    /// Controllers that are away.
    away: HashSet<String>,
    /// Connections by host.
    open: HashMap<String, usize>,
    /// Told when searches that wait are to be answered.
    go_on: Arc<Notify>,
}

impl World {
    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// From now on these are the domain's controllers, for a minute each time.
    fn names(&self, hosts: &[&str]) {
        self.answers("_ldap._tcp.corp.example", hosts);
    }

    fn answers(&self, name: &str, hosts: &[&str]) {
        let record = |host: &&str| Srv { priority: 0, weight: 100, port: 389, target: (*host).to_owned() };
        let services = Services { records: hosts.iter().map(record).collect(), ttl: Duration::from_secs(60) };
        self.with(|state| state.answers.get_or_insert_default().insert(name.to_owned(), services));
    }

    fn asked(&self) -> usize {
        self.with(|state| state.asked.len())
    }

    fn open(&self, host: &str) -> usize {
        self.with(|state| state.open.get(host).copied().unwrap_or_default())
    }

    /// The times between the questions to DNS so far.
    fn pauses(&self) -> Vec<Duration> {
        self.with(|state| state.asked.windows(2).map(|pair| pair[1].1 - pair[0].1).collect())
    }

    /// A controller: accepts every bind, finds nothing, and lets whoever searches for "cn=slow" wait.
    async fn serve(self, host: String, mut stream: DuplexStream) {
        let go_on = self.with(|state| {
            *state.open.entry(host.clone()).or_default() += 1;
            Arc::clone(&state.go_on)
        });
        let mut inbox = BytesMut::new();
        while stream.read_buf(&mut inbox).await.unwrap_or(0) > 0 {
            while let Some(length) = frame_length(&inbox, 1 << 20).unwrap().filter(|length| *length <= inbox.len()) {
                let frame = inbox.split_to(length);
                let envelope = Envelope::parse(&frame).unwrap();
                let tag = match envelope.op_tag {
                    op::BIND_REQUEST => op::BIND_RESPONSE,
                    op::SEARCH_REQUEST => op::SEARCH_RESULT_DONE,
                    _ => continue,
                };
                if frame.windows(7).any(|octets| octets == b"cn=slow") {
                    go_on.notified().await;
                }
                let mut out = Vec::new();
                write_result(&mut out, envelope.message_id, tag, ResultCode::SUCCESS, "");
                stream.write_all(&out).await.unwrap();
            }
        }
        self.with(|state| *state.open.entry(host).or_default() -= 1);
    }
}

impl Names for World {
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Services, String>> {
        let answer = self.with(|state| {
            state.asked.push((name.to_owned(), Instant::now()));
            let answers = state.answers.as_ref();
            answers.map(|answers| answers.get(name).cloned().unwrap_or_default()).ok_or_else(|| "dead".to_owned())
        });
        Box::pin(async move { answer })
    }

    fn addresses<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, Result<Vec<SocketAddr>, String>> {
        Box::pin(async { Err("not asked: streams are dialled".to_owned()) })
    }
}

impl Dial for World {
    fn dial(&self, server: &crate::config::Server) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (world, host) = (self.clone(), server.host.clone());
        Box::pin(async move {
            if world.with(|state| state.away.contains(&host)) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = tokio::io::duplex(64 * 1024);
            tokio::spawn(world.serve(host, far));
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

/// A directory whose controllers DNS names, running.
struct Bench {
    servers: Servers,
    asked: Arc<Notify>,
    _ending: Ending,
}

async fn bench(world: &World, site: Option<&str>) -> Bench {
    let directory = "[directory.corp]\nbase = \"dc=x\"\ndiscover = \"corp.example\"\nbind_dn = \"cn=a\"\npassword = \"b\"";
    let text = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{directory}");
    let config = load_text(&text, Path::new("."), true).unwrap_or_else(|rejected| panic!("{rejected}")).config;
    let DirectoryKind::Upstream(upstream) = &config.directories[0].kind else { panic!("no controllers") };
    // TLS is the connector's, and has its own tests.
    let plain = Discover { security: UpstreamSecurity::Plain, site: site.map(ToOwned::to_owned), ..*upstream.discover.clone().unwrap() };
    let (ending, lifecycle) = lifecycle();
    let servers = Servers::new(Common {
        index: 0,
        config: upstream.clone(),
        settings: Settings::new(upstream, &config.limits),
        tls: client_config(None).unwrap(),
        names: Arc::new(world.clone()),
        dial: Some(Arc::new(world.clone())),
        metrics: Arc::new(Metrics::new(&config)),
        lifecycle: lifecycle.clone(),
    });
    let asked = Arc::new(Notify::new());
    tokio::spawn(Discovery::new(Box::new(plain), servers.clone(), Arc::clone(&asked)).run(lifecycle));
    sleep(A_MOMENT).await;
    Bench { servers, asked, _ending: ending }
}

impl Bench {
    fn hosts(&self) -> Vec<String> {
        self.servers.listed().iter().map(|server| server.connector.server.host.clone()).collect()
    }

    /// A search under way at that host.
    async fn search(&self, host: &str, base: &str) -> InFlight {
        let listed = self.servers.listed();
        let server = listed.iter().find(|server| server.connector.server.host == host).unwrap();
        let deadline = Instant::now() + Duration::from_secs(600);
        let lease = server.pool.lease(false, deadline).await.unwrap();
        let request = Outgoing { op: Payload::Open(base_search(base, present("cn"), &[]).encode().into()), controls: None };
        lease.connection.begin(request, deadline).await.unwrap()
    }
}

const A_MOMENT: Duration = Duration::from_millis(50);
const TTL_AND_JITTER: Duration = Duration::from_secs(67);
const DC1: &str = "dc1.corp.example";
const DC2: &str = "dc2.corp.example";

#[tokio::test(start_paused = true)]
async fn controllers_come_and_go_as_dns_names_them_when_its_answers_time_is_over() {
    let world = World::default();
    world.names(&[DC1]);
    let bench = bench(&world, None).await;
    assert_eq!(bench.hosts(), [DC1]);
    assert!(bench.servers.any_is_up());
    world.names(&[DC2, DC1]);
    sleep(Duration::from_secs(59)).await;
    assert_eq!(bench.hosts(), [DC1], "the answer is still good");
    sleep(TTL_AND_JITTER - Duration::from_secs(59)).await;
    assert_eq!(bench.hosts(), [DC1, DC2]);
    assert_eq!((world.asked(), world.open(DC1), world.open(DC2)), (2, 1, 1));
    assert!(bench.servers.choose(Some(1), &[0]).unwrap().standing.load().share < 0.5, "the new one begins with a part");
}

#[tokio::test(start_paused = true)]
async fn one_that_dns_names_no_more_finishes_what_it_has_and_then_its_connections_end() {
    let world = World::default();
    world.names(&[DC1, DC2]);
    let bench = bench(&world, None).await;
    let mut slow = bench.search(DC1, "cn=slow").await;
    world.names(&[DC2]);
    sleep(TTL_AND_JITTER).await;
    assert_eq!(bench.hosts(), [DC2]);
    for _ in 0..20 {
        assert_eq!(bench.servers.choose(None, &[]).unwrap().connector.server.host, DC2, "nothing new");
    }
    assert_eq!(world.open(DC1), 1);
    world.with(|state| state.go_on.notify_one());
    assert!(matches!(slow.next().await, Some(Ok(crate::directory::Reply::Done(_)))), "what was begun is answered");
    drop(slow);
    sleep(A_MOMENT).await;
    assert_eq!((world.open(DC1), world.open(DC2)), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn when_dns_fails_or_forgets_the_domain_those_that_are_known_go_on() {
    let world = World::default();
    world.names(&[DC1]);
    let bench = bench(&world, None).await;
    world.with(|state| state.answers = None);
    sleep(Duration::from_secs(300)).await;
    assert_eq!((bench.hosts(), world.open(DC1)), (vec![DC1.to_owned()], 1));
    assert!((10..40).contains(&world.asked()), "it is asked again, further and further apart: {}", world.asked());
    world.with(|state| state.answers = Some(HashMap::new()));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.hosts(), [DC1], "no records at all");
    world.names(&["dc1.evil.example"]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.hosts(), [DC1], "nobody else's either");
    world.names(&[DC2]);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(bench.hosts(), [DC2]);
}

#[tokio::test(start_paused = true)]
async fn with_dns_dead_at_the_start_nobody_waits_and_the_search_goes_on() {
    let world = World::default();
    let bench = bench(&world, None).await;
    bench.asked.notified().await;
    assert!(bench.servers.choose(None, &[]).is_none());
    sleep(Duration::from_secs(20)).await;
    world.names(&[DC1]);
    sleep(Duration::from_secs(30)).await;
    assert!(bench.servers.any_is_up());
    let pauses = world.pauses();
    assert!(pauses.first() < Some(&Duration::from_secs(2)) && pauses.iter().max() <= Some(&Duration::from_secs(30)), "{pauses:?}");
}

#[tokio::test(start_paused = true)]
async fn while_all_controllers_are_away_dns_is_asked_every_few_seconds() {
    let world = World::default();
    world.names(&[DC1]);
    world.with(|state| state.away.insert(DC1.to_owned()));
    let bench = bench(&world, None).await;
    sleep(Duration::from_secs(20)).await;
    let pauses = world.pauses();
    assert!(pauses.len() >= 3 && pauses.iter().all(|pause| (2..=6).contains(&pause.as_secs())), "{pauses:?}");
    world.names(&[DC2]);
    sleep(Duration::from_secs(7)).await;
    assert!(bench.servers.any_is_up() && bench.hosts() == [DC2], "the domain has moved");
}

#[tokio::test(start_paused = true)]
async fn a_domain_that_says_it_has_no_such_service_is_believed() {
    let world = World::default();
    world.names(&[DC1]);
    let bench = bench(&world, None).await;
    world.names(&["."]);
    sleep(TTL_AND_JITTER).await;
    assert_eq!((bench.hosts().len(), world.open(DC1)), (0, 0));
    world.names(&[DC1]);
    sleep(TTL_AND_JITTER).await;
    assert!(bench.servers.any_is_up());
}

#[tokio::test(start_paused = true)]
async fn a_site_is_asked_for_and_comes_first() {
    let world = World::default();
    world.names(&[DC1, DC2]);
    world.answers("_ldap._tcp.Berlin._sites.corp.example", &[DC2]);
    let bench = bench(&world, Some("Berlin")).await;
    assert_eq!(bench.hosts(), [DC2, DC1]);
    for _ in 0..20 {
        assert_eq!(bench.servers.choose(None, &[]).unwrap().connector.server.host, DC2);
    }
    world.answers("_ldap._tcp.Berlin._sites.corp.example", &[]);
    sleep(TTL_AND_JITTER).await;
    assert_eq!(bench.hosts(), [DC1, DC2], "a site without controllers leaves those of the domain");
}
