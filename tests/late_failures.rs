//! What a controller is asked while it is mute is lost seconds later. Where it has answered others since, that says nothing of it any more.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic, reason = "a test that meets the unexpected fails")]

mod common;

use bytes::{Bytes, BytesMut};
use common::ca::trust_in_nobody;
use common::configuration::Configuration;
use common::requests::search_for;
use common::scripted_controller::{Act, Heard, usual};
use futures_util::future::{BoxFuture, join_all};
use redial::config::{DirectoryKind, Limits, Server};
use redial::directory::{Asked, Directory, DirectoryError, Done, Operation, Reply, RunAs};
use redial::identity::Credentials;
use redial::identity::register::Register;
use redial::ldap::Envelope;
use redial::ldap::ResultCode;
use redial::ldap::envelope::op;
use redial::ldap::frame::frame_length;
use redial::ldap::response::response_tag;
use redial::lifecycle::{Ending, lifecycle};
use redial::metrics::Metrics;
use redial::secret::Secret;
use redial::upstream::{Dial, Stream, Upstream};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// A controller that is well, but for when it is mute or away.
#[derive(Debug, Default)]
struct Controller {
    /// It never answers what it hears now.
    is_mute: AtomicBool,
    /// It refuses connections.
    is_away: AtomicBool,
    /// So many connections were made.
    connections: AtomicUsize,
    /// The first ones of them lead nowhere any more, though nobody has closed them.
    forgotten: AtomicUsize,
}

/// What is asked of it behind a search there waits until all of that has been written, which takes some seconds.
const LARGE: &str = "cn=large,dc=corp";

/// Reaches it by whichever name.
#[derive(Debug)]
struct ByAnyName(Arc<Controller>);

impl Dial for ByAnyName {
    fn dial(&self, _: &Server) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let controller = Arc::clone(&self.0);
        Box::pin(async move {
            if controller.is_away.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (near, far) = duplex(64 * 1024);
            let number = controller.connections.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move { controller.serve(number, far).await });
            Ok(Box::new(near) as Box<dyn Stream>)
        })
    }
}

impl Controller {
    async fn serve(&self, connection: usize, mut stream: DuplexStream) {
        let mut inbox = BytesMut::new();
        while stream.read_buf(&mut inbox).await.is_ok_and(|count| count > 0) {
            while let Some(length) = frame_length(&inbox, 1 << 20).unwrap().filter(|length| *length <= inbox.len()) {
                let frame = inbox.split_to(length);
                let envelope = Envelope::parse(&frame).unwrap();
                let heard = Heard {
                    connection,
                    id: envelope.message_id.number(),
                    tag: envelope.op_tag,
                    op: envelope.op.to_vec(),
                    controls: envelope.controls.map(<[u8]>::to_vec),
                };
                let wants_no_answer = response_tag(heard.tag).is_none();
                if wants_no_answer || self.is_mute.load(Ordering::SeqCst) || connection < self.forgotten.load(Ordering::SeqCst) {
                    continue;
                }
                if heard.tag == op::SEARCH_REQUEST && heard.base() == LARGE {
                    for _ in 0..12 {
                        sleep(Duration::from_millis(300)).await;
                        let Act::Say(entry) = heard.entry("cn=one of many") else { panic!("an entry is said") };
                        stream.write_all(&entry).await.unwrap();
                    }
                }
                for act in usual(&heard) {
                    let Act::Say(octets) = act else { panic!("{act:?} of a controller without TLS") };
                    stream.write_all(&octets).await.unwrap();
                }
            }
        }
    }
}

/// Redial's side of it.
struct Bench {
    controller: Arc<Controller>,
    upstream: Arc<Upstream>,
    client: Arc<Credentials>,
    began: Instant,
    _ending: Ending,
}

impl Bench {
    /// One controller that is probed at these intervals, and up.
    async fn new(probe: &str) -> Self {
        Self::of("\"ldap://dc1\"", probe).await
    }

    /// The same, which has these names.
    async fn of(servers: &str, probe: &str) -> Self {
        let directory = format!(
            "servers = [{servers}]\nstart_tls = false\nplain = \"allow\"\nprobe = \"{probe}\"\n\
             bind_dn = \"cn=redial,dc=corp\"\npassword = \"service secret\""
        );
        let mut config = Configuration { directory: &directory, ..Configuration::default() }.load();
        trust_in_nobody(&mut config);
        let DirectoryKind::Upstream(configured) = &config.directories[0].kind else { panic!("a directory of controllers") };
        let (controller, (ending, running)) = (Arc::new(Controller::default()), lifecycle());
        let dial = Some(Arc::new(ByAnyName(Arc::clone(&controller))) as _);
        let metrics = Arc::new(Metrics::unrecorded());
        let upstream = Arc::new(Upstream::reached_by(dial, 0, configured, &Limits::default(), metrics, running).unwrap());
        upstream.start();
        let register = Arc::new(Register::new(&config.binds));
        let client = Arc::new(Credentials::new("cn=eve,dc=corp".to_owned(), Secret::new(b"secret"), register));
        let bench = Self { controller, upstream, client, began: Instant::now(), _ending: ending };
        assert_eq!(bench.searches().await, Ok(ResultCode::SUCCESS));
        bench
    }

    fn is_mute(&self, mute: bool) {
        self.controller.is_mute.store(mute, Ordering::SeqCst);
    }

    async fn until(&self, seconds: u64) {
        sleep_until(self.began + Duration::from_secs(seconds)).await;
    }

    /// So many binds, which nobody tries again, each of which has seven seconds.
    fn bind(&self, count: usize) -> Vec<JoinHandle<Result<ResultCode, DirectoryError>>> {
        let bind = || {
            let upstream = Arc::clone(&self.upstream);
            let request = Asked::Bind { name: "cn=ada,dc=corp".to_owned(), password: Secret::new(b"secret"), groups: Arc::default() };
            tokio::spawn(async move { ask(&upstream, request).await })
        };
        (0..count).map(|_| bind()).collect()
    }

    async fn searches(&self) -> Result<ResultCode, DirectoryError> {
        self.searches_at("dc=corp").await
    }

    async fn searches_at(&self, base: &str) -> Result<ResultCode, DirectoryError> {
        let op = search_for(base, "(cn=a)", &[]);
        // Not so many that they come by pages, for which a connection of their own would be made.
        ask(&self.upstream, Asked::Search { op: op.into(), entries_wanted: Some(100) }).await
    }

    /// On the one connection that is bound as this client.
    async fn compares(&self) -> Result<ResultCode, DirectoryError> {
        let op = Bytes::from_static(&[op::COMPARE_REQUEST, 8, 4, 0, 0x30, 4, 4, 0, 4, 0]);
        let request = Asked::Compare { op, entry: String::new(), attribute: String::new(), value: Vec::new() };
        ask_as(RunAs::Client(Arc::clone(&self.client)), &self.upstream, request).await
    }

    fn state(&self) -> &'static str {
        self.upstream.controllers()[0].state
    }
}

async fn ask(upstream: &Upstream, request: Asked) -> Result<ResultCode, DirectoryError> {
    ask_as(RunAs::Service, upstream, request).await
}

async fn ask_as(run_as: RunAs, upstream: &Upstream, request: Asked) -> Result<ResultCode, DirectoryError> {
    let operation = Operation { run_as, request, controls: None, deadline: Instant::now() + Duration::from_secs(7) };
    let mut replies = upstream.run(operation).await?;
    loop {
        if let Reply::Done(Done { code, .. }) = replies.next().await.unwrap()? {
            return Ok(code);
        }
    }
}

async fn all_are_lost(binds: Vec<JoinHandle<Result<ResultCode, DirectoryError>>>) {
    for bind in join_all(binds).await {
        assert_eq!(bind.unwrap(), Err(DirectoryError::TimedOut));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_has_answered_since_is_not_taken_down() {
    let bench = Bench::new("5m").await;
    bench.is_mute(true);
    let binds = bench.bind(5);
    bench.until(2).await;
    bench.is_mute(false);
    assert_eq!(bench.searches().await, Ok(ResultCode::SUCCESS));
    all_are_lost(binds).await;
    assert_eq!(bench.state(), "up");
    // Nor has it had its second chance by that.
    bench.is_mute(true);
    all_are_lost(bench.bind(3)).await;
    assert_eq!(bench.state(), "down");
}

#[tokio::test(start_paused = true)]
async fn one_that_has_just_come_back_and_answered_since_is_not_taken_down_again() {
    let bench = Bench::new("1s").await;
    bench.controller.is_away.store(true, Ordering::SeqCst);
    bench.is_mute(true);
    while bench.state() != "down" {
        sleep(Duration::from_millis(100)).await;
    }
    bench.is_mute(false);
    bench.controller.is_away.store(false, Ordering::SeqCst);
    while bench.state() != "recovering" {
        sleep(Duration::from_millis(100)).await;
    }
    bench.is_mute(true);
    let binds = bench.bind(1);
    sleep(Duration::from_millis(10)).await;
    bench.is_mute(false);
    assert_eq!(bench.searches().await, Ok(ResultCode::SUCCESS));
    all_are_lost(binds).await;
    assert_eq!(bench.state(), "recovering");
}

#[tokio::test(start_paused = true)]
async fn connections_from_before_an_outage_are_not_used_after_it_and_cost_nobody_an_answer() {
    let bench = Bench::new("1s").await;
    let binds = bench.bind(3);
    for bind in join_all(binds).await {
        assert_eq!(bind.unwrap(), Ok(ResultCode::SUCCESS));
    }
    assert_eq!(bench.compares().await, Ok(ResultCode::COMPARE_TRUE));
    // A machine that was away, and whatever keeps state between: its old connections are never heard of again.
    bench.controller.is_away.store(true, Ordering::SeqCst);
    bench.is_mute(true);
    while bench.state() != "down" {
        sleep(Duration::from_millis(100)).await;
    }
    bench.controller.forgotten.store(bench.controller.connections.load(Ordering::SeqCst), Ordering::SeqCst);
    bench.is_mute(false);
    bench.controller.is_away.store(false, Ordering::SeqCst);
    while bench.state() != "recovering" {
        sleep(Duration::from_millis(100)).await;
    }
    for bind in join_all(bench.bind(3)).await {
        assert_eq!(bind.unwrap(), Ok(ResultCode::SUCCESS));
    }
    assert_eq!(bench.compares().await, Ok(ResultCode::COMPARE_TRUE));
    assert_eq!(bench.state(), "recovering");
}

#[tokio::test(start_paused = true)]
async fn who_waits_behind_a_large_answer_asks_elsewhere_and_blames_nobody() {
    let bench = Bench::of("\"ldap://dc1\", { url = \"ldap://dc2\", priority = 2 }", "5m").await;
    let began = Instant::now();
    let behind = async {
        sleep(Duration::from_millis(10)).await;
        let answers = join_all((0..4).map(|_| bench.searches())).await;
        assert_eq!(answers, vec![Ok(ResultCode::SUCCESS); 4]);
        assert!(began.elapsed() < Duration::from_secs(3), "nobody waits to its end: {:?}", began.elapsed());
    };
    let (large, ()) = tokio::join!(bench.searches_at(LARGE), behind);
    assert_eq!(large, Ok(ResultCode::SUCCESS));
    assert_eq!(bench.state(), "up", "it was at work all the time");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_lost_takes_down_none_that_has_answered_since() {
    let bench = Bench::new("5s").await;
    bench.until(4).await;
    bench.is_mute(true);
    bench.until(6).await;
    bench.is_mute(false);
    for second in 7..20 {
        bench.until(second).await;
        assert_eq!(bench.searches().await, Ok(ResultCode::SUCCESS));
        assert_eq!(bench.state(), "up");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_still_waits_keeps_none_down_that_has_come_back() {
    let bench = Bench::new("5s").await;
    sleep(Duration::from_millis(4_900)).await;
    bench.is_mute(true);
    sleep(Duration::from_millis(200)).await;
    bench.is_mute(false);
    bench.controller.is_away.store(true, Ordering::SeqCst);
    while bench.state() == "up" {
        assert!(bench.compares().await.is_err(), "it takes no new connection");
    }
    bench.controller.is_away.store(false, Ordering::SeqCst);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(bench.state(), "recovering");
    assert!(bench.began.elapsed() < Duration::from_secs(7));
}
