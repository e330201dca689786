//! The admin address: `/metrics` for Prometheus, `/healthz` and `/readyz` for whoever starts, stops and balances Redial, and an administrator's
//! own requests ([`api`]).
//!
//! It speaks HTTP/1.1 without TLS, and never on a phone's network. [`permission`] decides who may ask. It goes on answering while the proxy
//! drains, and ends when its task is dropped. Bounded: `MAX_CONNECTIONS` at once, `MAX_CONNECTIONS_OF_ONE` from one address, `HEADER_TIMEOUT` for
//! a request, `CONNECTION_LIFETIME` for everything.
//!
//! `/healthz` is 200 while the process serves: restart it when it is not. `/readyz` is 503 while it must not get phones: while no
//! directory is available and nothing is kept that could be answered from memory, and from SIGTERM on. Directories that are away leave it ready as
//! long as the cache answers for them; the body names them.

mod answers;
mod api;
mod controllers;
mod people;
mod permission;
mod query;
mod refused;

use crate::directory::Directory;
use crate::lifecycle::Ending;
use crate::metrics::Metrics;
use crate::pipeline::Current;
use crate::secret::Secret;
use crate::turns::{NotYet, Turns, Whose};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, warn};

/// The admin address, bound.
#[derive(Debug)]
pub(crate) struct Admin {
    listener: TcpListener,
    state: Arc<State>,
}

/// Directories by their names.
pub(crate) type Named = Vec<(String, Arc<dyn Directory>)>;

/// What whoever asks must know; a reload puts another in its place. Without one, whoever reaches the address may ask.
pub(crate) type Token = ArcSwapOption<Secret>;

/// What the pages are made from.
pub(crate) struct Sources {
    /// For `/metrics`.
    pub(crate) metrics: Arc<Metrics>,
    /// Called before each rendering: sets the gauges of what is measured only when somebody looks, such as the cache's size.
    pub(crate) measure: Box<dyn Fn(&Metrics) + Send + Sync>,
    /// Answers that are kept, for `/readyz`.
    pub(crate) keeps: Box<dyn Fn() -> u64 + Send + Sync>,
    /// By their names in the configuration in force, for `/readyz`.
    pub(crate) directories: Box<dyn Fn() -> Named + Send + Sync>,
    /// For `/readyz` as well.
    pub(crate) ending: Arc<Ending>,
    /// For what an administrator looks at and drops.
    pub(crate) pipeline: Arc<Current>,
    /// For all but health.
    pub(crate) token: Arc<Token>,
}

#[derive(Debug)]
struct State {
    sources: Sources,
}

impl Admin {
    /// Binds `address`.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) async fn bind(address: SocketAddr, sources: Sources) -> io::Result<Self> {
        let state = State { sources };
        Ok(Self { listener: TcpListener::bind(address).await?, state: Arc::new(state) })
    }

    /// The address with the port that was chosen, where the configuration says 0.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is dropped.
    pub(crate) async fn run(self) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let turns = Arc::new(Turns::new(MAX_CONNECTIONS_OF_ONE));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let state = Arc::clone(&self.state);
                    let mut turn = turns.ask(Whose::address(peer.ip()));
                    tokio::spawn(async move {
                        match turn.come(Instant::now()).await {
                            Ok(()) => serve_connection(stream, peer, state).await,
                            Err(NotYet) => debug!(%peer, "too many admin connections from one address: closed"),
                        }
                        drop(permit);
                    });
                }
                Err(error) => {
                    warn!(%error, "the admin address cannot accept a connection");
                    sleep(ACCEPT_BACK_OFF).await;
                }
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, state: Arc<State>) {
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(state.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_LIFETIME, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%peer, %error, "an admin connection ended badly"),
        Err(_) => debug!(%peer, "an admin connection reached its lifetime"),
    }
}

impl State {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (request, _) = request.into_parts();
        let token = self.sources.token.load_full();
        let page = match request.uri.path() {
            "/healthz" => Self::health_page,
            "/readyz" => Self::readiness_page,
            _ if !permission::knows_token(&request.headers, token.as_deref()) => return unknown(),
            "/metrics" => Self::metrics_page,
            _ => {
                let pipeline = self.sources.pipeline.load_full();
                let answered = spawn_blocking(move || api::answer(&request, token.is_some(), &pipeline)).await;
                return answered.unwrap_or_else(|_| error(StatusCode::INTERNAL_SERVER_ERROR, "a bug: see the log"));
            }
        };
        if !matches!(request.method, Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        page(self)
    }

    fn metrics_page(&self) -> Answer {
        let Sources { metrics, measure, .. } = &self.sources;
        measure(metrics);
        let mut response = text(StatusCode::OK, metrics.render());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"));
        response
    }

    fn health_page(&self) -> Answer {
        text(StatusCode::OK, "ok\n")
    }

    fn readiness_page(&self) -> Answer {
        let Sources { directories, keeps, ending, .. } = &self.sources;
        if ending.has_begun() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "not ready: stopping\n");
        }
        let directories = directories();
        let missing = directories.iter().filter(|(_, directory)| !directory.is_available()).map(|(name, _)| name.as_str());
        let missing = missing.collect::<Vec<_>>();
        let names = missing.join(", ");
        if missing.len() == directories.len() && keeps() == 0 {
            let why = format!("not ready: no server is available for {names}, and nothing is in the cache\n");
            return text(StatusCode::SERVICE_UNAVAILABLE, why);
        }
        if missing.is_empty() {
            return text(StatusCode::OK, "ready\n");
        }
        text(StatusCode::OK, format!("ready, from the cache only for {names}: no server is available\n"))
    }
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("directories", &(self.directories)()).finish_non_exhaustive()
    }
}

type Answer = Response<Full<Bytes>>;

/// Whoever asks does not know the token (RFC 6750 section 3).
fn unknown() -> Answer {
    let mut refused = error(StatusCode::UNAUTHORIZED, "say the token of [admin] token_file: Authorization: Bearer TOKEN");
    refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"redial\""));
    refused
}

fn error(status: StatusCode, why: &str) -> Answer {
    json(status, &serde_json::json!({ "error": why }))
}

fn json(status: StatusCode, body: &serde_json::Value) -> Answer {
    let mut response = text(status, format!("{body}\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Prometheus, a load balancer, a container engine and a few curious people fit in.
const MAX_CONNECTIONS: usize = 64;
/// From one address, so that whoever only connects does not keep those out who look whether it is alive.
const MAX_CONNECTIONS_OF_ONE: usize = 16;
/// For the head of a request, and between two requests of one connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// After this a connection ends, so that nobody who reads slowly holds a place for ever.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(300);
/// The least that hyper allows; a request for these pages is smaller.
const MAX_BUFFER: usize = 8 * 1024;
/// Out of file descriptors: the next attempt may find one.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{DirectoryError, Operation, Replies};
    use crate::identity::revocation::Revocation;
    use crate::identity::roster::{Caller, Member};
    use crate::lifecycle::lifecycle;
    use futures_util::future::BoxFuture;
    use serde_json::json;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::task::Waker;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[derive(Debug, Default)]
    struct Switched(AtomicBool);

    impl Directory for Switched {
        fn run(&self, _: Operation) -> BoxFuture<'_, Result<Replies, DirectoryError>> {
            Box::pin(async { Err(DirectoryError::NotSupported) })
        }

        fn is_available(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }

    struct Fixture {
        address: SocketAddr,
        ending: Arc<Ending>,
        corp: Arc<Switched>,
        contacts: Arc<Switched>,
        kept: Arc<AtomicU64>,
        pipeline: Arc<Current>,
        token: Arc<Token>,
    }

    async fn started() -> Fixture {
        let ending = Arc::new(lifecycle().0);
        let (corp, contacts) = (Arc::new(Switched::default()), Arc::new(Switched::default()));
        let directories: Vec<(String, Arc<dyn Directory>)> =
            vec![("corp".to_owned(), corp.clone()), ("contacts".to_owned(), contacts.clone())];
        let metrics = Arc::new(Metrics::unrecorded());
        let measure = Box::new(|metrics: &Metrics| metrics.cache_holds(7, 700));
        let directories = Box::new(move || directories.clone());
        let pipeline = Current::for_tests();
        let kept = Arc::new(AtomicU64::new(0));
        let token = Arc::<Token>::default();
        let counted = Arc::clone(&kept);
        let keeps = Box::new(move || counted.load(Ordering::Relaxed));
        let sources = Sources {
            metrics,
            measure,
            keeps,
            directories,
            ending: Arc::clone(&ending),
            pipeline: Arc::clone(&pipeline),
            token: Arc::clone(&token),
        };
        let admin = Admin::bind("127.0.0.1:0".parse().unwrap(), sources).await.unwrap();
        let address = admin.local_addr().unwrap();
        tokio::spawn(admin.run());
        Fixture { address, ending, corp, contacts, kept, pipeline, token }
    }

    impl Fixture {
        /// A session of that principal.
        fn bound(&self, name: &str) -> Member {
            let pipeline = self.pipeline.load();
            let presented = pipeline.register().present(0, name, &Secret::new(b"secret"));
            let caller = Caller { name: name.into(), peer: "10.20.0.1:50000".parse().unwrap(), listener: 0 };
            let member = pipeline.register().enter(&presented, caller);
            member.confirm(Waker::noop(), Instant::now());
            member
        }

        async fn ask(&self, method: &str, path: &str) -> (u16, String) {
            self.ask_as("x", method, path).await
        }

        /// As somebody on this machine does: the status and the body.
        async fn administer(&self, method: &str, path: &str) -> (u16, serde_json::Value) {
            let (status, answer) = self.ask_as("127.0.0.1:9390", method, path).await;
            assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
            (status, serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap())
        }

        async fn ask_as(&self, host: &str, method: &str, path: &str) -> (u16, String) {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            (answer[9..12].parse().unwrap(), answer)
        }
    }

    #[tokio::test]
    async fn an_administrator_sees_who_is_bound_and_drops_them() {
        let fixture = started().await;
        let (ada, bert) = (fixture.bound("CN=Ada L,DC=corp"), fixture.bound("CORP\\bert"));
        let (status, all) = fixture.administer("GET", "/sessions").await;
        assert_eq!((status, all["sessions"].as_array().unwrap().len(), &all["there_are_more"]), (200, 2, &json!(false)));
        let (_, one) = fixture.administer("GET", "/sessions?principal=cn%3Dada+l%2cdc%3dcorp").await;
        assert_eq!(one["sessions"][0]["principal"], "CN=Ada L,DC=corp");
        assert_eq!(one["sessions"][0]["peer"], "10.20.0.1:50000");
        assert!(!one.to_string().contains("secret"));

        assert_eq!(fixture.administer("DELETE", "/principals?name=CN%3DAda%20L%2CDC%3Dcorp").await, (200, json!({ "sessions_ended": 1 })));
        assert_eq!((ada.revoked(), bert.revoked()), (Some(Revocation::Dropped), None));
        // Whoever misspells the parameter does not drop everybody.
        assert_eq!(fixture.administer("DELETE", "/principals?nam=x").await.0, 400);
        assert_eq!(bert.revoked(), None);
        assert_eq!(fixture.administer("DELETE", "/principals").await, (200, json!({ "sessions_ended": 1 })));
        assert_eq!(bert.revoked(), Some(Revocation::Dropped));
    }

    #[tokio::test]
    async fn an_administrator_drops_what_the_cache_holds() {
        let fixture = started().await;
        assert_eq!(fixture.administer("GET", "/cache").await, (200, json!({ "entries": 0, "bytes": 0 })));
        assert_eq!(fixture.administer("DELETE", "/cache").await, (200, json!({ "dropped": 0 })));
        assert_eq!(fixture.administer("DELETE", "/cache?directory=corp").await, (200, json!({ "dropped": 0 })));
        assert_eq!(fixture.administer("DELETE", "/cache?directory=nowhere").await.0, 404);
        assert_eq!(fixture.administer("DELETE", "/sessions").await.0, 405);
    }

    #[tokio::test]
    async fn a_web_page_administers_nothing() {
        let fixture = started().await;
        for (method, path) in [("GET", "/sessions"), ("DELETE", "/principals"), ("DELETE", "/cache")] {
            assert_eq!(fixture.ask_as("rebound.example:9390", method, path).await.0, 403, "{path}");
            assert_eq!(fixture.ask_as("127.0.0.1\r\nOrigin: http://127.0.0.1", method, path).await.0, 403, "{path}");
        }
    }

    #[tokio::test]
    async fn whoever_does_not_know_the_token_learns_that_it_serves_and_no_more() {
        let fixture = started().await;
        fixture.token.store(Some(Arc::new(Secret::new(b"correct-horse-battery"))));
        let member = fixture.bound("CN=Ada L,DC=corp");
        for (method, path) in [("GET", "/metrics"), ("GET", "/sessions"), ("DELETE", "/principals"), ("DELETE", "/cache"), ("GET", "/x")] {
            for host in ["127.0.0.1", "127.0.0.1\r\nAuthorization: Bearer correct-horse-batterx"] {
                let (status, answer) = fixture.ask_as(host, method, path).await;
                assert!(status == 401 && answer.contains("www-authenticate: Bearer"), "{path}: {answer}");
            }
        }
        assert_eq!(member.revoked(), None, "nothing was done");
        assert_eq!((fixture.ask("GET", "/healthz").await.0, fixture.ask("GET", "/readyz").await.0), (200, 503));

        let knows = "redial.example\r\nAuthorization: Bearer correct-horse-battery";
        assert_eq!(fixture.ask_as(knows, "GET", "/metrics").await.0, 200);
        assert_eq!(fixture.ask_as(knows, "DELETE", "/principals").await.0, 200);
        assert_eq!(member.revoked(), Some(Revocation::Dropped));
        assert_eq!(fixture.ask_as(&format!("{knows}\r\nOrigin: http://redial.example"), "GET", "/sessions").await.0, 403);
    }

    #[tokio::test]
    async fn metrics_are_shown_in_the_text_format() {
        let (status, answer) = started().await.ask("GET", "/metrics").await;
        assert_eq!(status, 200);
        assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
        assert!(answer.contains("\nredial_build_info{version="), "{answer}");
        assert!(answer.contains("\nredial_cache_entries 7\n"), "measured when asked: {answer}");
    }

    #[tokio::test]
    async fn it_is_not_ready_until_a_directory_is_there() {
        let fixture = started().await;
        let (status, answer) = fixture.ask("GET", "/readyz").await;
        assert_eq!(status, 503);
        assert!(answer.ends_with("not ready: no server is available for corp, contacts, and nothing is in the cache\n"), "{answer}");
        assert_eq!(fixture.ask("GET", "/healthz").await.0, 200, "but it is alive");

        fixture.corp.0.store(true, Ordering::Relaxed);
        fixture.contacts.0.store(true, Ordering::Relaxed);
        assert_eq!(fixture.ask("GET", "/readyz").await.0, 200);
    }

    #[tokio::test]
    async fn a_directory_that_went_away_is_named_and_leaves_it_ready() {
        let fixture = started().await;
        fixture.corp.0.store(true, Ordering::Relaxed);
        let (status, answer) = fixture.ask("GET", "/readyz").await;
        assert_eq!(status, 200);
        assert!(answer.ends_with("ready, from the cache only for contacts: no server is available\n"), "{answer}");
        fixture.corp.0.store(false, Ordering::Relaxed);
        assert_eq!(fixture.ask("GET", "/readyz").await.0, 503, "there is nothing in the cache");
        fixture.kept.store(1, Ordering::Relaxed);
        let (status, answer) = fixture.ask("GET", "/readyz").await;
        assert_eq!(status, 200);
        assert!(answer.contains("for corp, contacts:"), "{answer}");
    }

    #[tokio::test]
    async fn from_the_beginning_of_the_drain_it_is_alive_but_not_ready() {
        let fixture = started().await;
        fixture.corp.0.store(true, Ordering::Relaxed);
        fixture.ending.begin();
        let (status, answer) = fixture.ask("GET", "/readyz").await;
        assert_eq!(status, 503);
        assert!(answer.ends_with("not ready: stopping\n"), "{answer}");
        assert_eq!(fixture.ask("GET", "/healthz").await.0, 200);
    }

    #[tokio::test]
    async fn other_paths_and_methods_are_refused() {
        let fixture = started().await;
        assert_eq!(fixture.ask("GET", "/").await.0, 404);
        let (status, answer) = fixture.ask("POST", "/metrics").await;
        assert_eq!(status, 405);
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
        let (status, answer) = fixture.ask("HEAD", "/healthz").await;
        assert_eq!(status, 200);
        assert!(answer.ends_with("\r\n\r\n"), "a HEAD has no body: {answer}");
    }

    #[tokio::test]
    async fn whoever_only_connects_keeps_others_out_no_more_than_their_share_allows() {
        let fixture = started().await;
        let mut silent = Vec::new();
        for _ in 0..MAX_CONNECTIONS_OF_ONE {
            silent.push(TcpStream::connect(fixture.address).await.unwrap());
        }
        let mut one_more = TcpStream::connect(fixture.address).await.unwrap();
        assert_eq!(one_more.read(&mut [0]).await.unwrap(), 0, "closed at once");
        drop(silent.pop());
        loop {
            let mut next = TcpStream::connect(fixture.address).await.unwrap();
            // As long as the place is not free again, this is closed, too.
            let asked = next.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
            let mut answer = String::new();
            if asked.is_ok() && next.read_to_string(&mut answer).await.is_ok() && answer.starts_with("HTTP/1.1 200") {
                break;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_no_request_is_let_go() {
        let fixture = started().await;
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        stream.write_all(b"GET /metr").await.unwrap();
        let mut answer = Vec::new();
        let closed = timeout(CONNECTION_LIFETIME * 2, stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "the connection is still open");
    }
}
