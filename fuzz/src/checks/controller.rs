//! A controller that answers anything at all, on a connection that was good until then.

use futures_util::future::BoxFuture;
use redial::config::load::load_text;
use redial::config::{DirectoryKind, Server};
use redial::directory::{Asked, Directory, Operation, Reply, RunAs};
use redial::ldap::ber;
use redial::ldap::envelope::{Envelope, op, write_envelope};
use redial::ldap::filter::Filter;
use redial::ldap::frame::frame_length;
use redial::ldap::message::{Scope, SearchRequest};
use redial::ldap::response::write_result_op;
use redial::ldap::{MessageId, ResultCode};
use redial::lifecycle::{Ending, lifecycle};
use redial::metrics::Metrics;
use redial::upstream::{Dial, Stream, Upstream};
use std::cell::OnceCell;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout};

/// A search is answered by `octets`, and then by the end of the connection. It ends, with well-formed replies of which none is larger than what
/// came, and with an error unless the controller said so.
pub fn replies(octets: &[u8]) {
    thread_local! {
        static BENCH: OnceCell<Bench> = const { OnceCell::new() };
    }
    BENCH.with(|bench| bench.get_or_init(Bench::new).search(octets));
}

struct Bench {
    runtime: Runtime,
    upstream: Upstream,
    script: Arc<Script>,
    _ending: Ending,
}

impl Bench {
    #[expect(clippy::expect_used, reason = "a bench that cannot be built measures nothing")]
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        let script = Arc::new(Script::default());
        let ca = std::env::temp_dir().join(format!("redial-checks-{}.pem", std::process::id()));
        let certificate = rcgen::generate_simple_self_signed(["controller".to_owned()]).expect("a certificate");
        std::fs::write(&ca, certificate.cert.pem()).expect("room for a certificate");
        let text = CONFIGURATION.replace("CA", &ca.to_string_lossy());
        let config = load_text(&text, Path::new(""), true).unwrap_or_else(|rejected| panic!("{rejected}")).config;
        let Some(DirectoryKind::Upstream(upstream)) = config.directories.first().map(|directory| &directory.kind) else {
            panic!("the configuration has a directory with controllers")
        };
        let (ending, running) = lifecycle();
        let dial = Some(Arc::new(Answering(Arc::clone(&script))) as Arc<dyn Dial>);
        let upstream = Upstream::reached_by(dial, 0, upstream, &config.limits, Arc::new(Metrics::unrecorded()), running);
        // The CAs have been read; where the file cannot be removed, it does no harm.
        let _ = std::fs::remove_file(&ca);
        Self { runtime, upstream: upstream.expect("the certificate that was just written"), script, _ending: ending }
    }

    fn search(&self, octets: &[u8]) {
        octets.clone_into(&mut self.script.octets.lock().unwrap_or_else(PoisonError::into_inner));
        self.script.was_sent.store(false, Ordering::Relaxed);
        let request = SearchRequest::new("dc=corp", Scope::WholeSubtree, Filter::Present("cn".into()), &["cn"]);
        self.runtime.block_on(async {
            let asked = Asked::Search { op: request.encode().into(), entries_wanted: None };
            let deadline = Instant::now() + Duration::from_secs(5);
            let operation = Operation { run_as: RunAs::Service, request: asked, controls: None, deadline };
            let ended = timeout(Duration::from_secs(60), self.follow(operation, octets.len())).await;
            assert!(ended.is_ok(), "a search that never ends");
            assert!(self.script.was_sent.load(Ordering::Relaxed), "what a controller did before keeps the next search from it");
        });
    }

    async fn follow(&self, operation: Operation, at_most: usize) {
        let Ok(mut replies) = self.upstream.run(operation).await else { return };
        let mut seen = 0;
        while let Some(reply) = replies.next().await {
            let op = match reply {
                Ok(Reply::Entry(op)) => {
                    assert_eq!(op.first(), Some(&op::SEARCH_RESULT_ENTRY));
                    seen += op.len();
                    assert!(seen <= at_most, "more than came");
                    op
                }
                // Nobody is passed one, so where the search begins anew those of before are not taken back.
                Ok(Reply::Intermediate(op)) => op,
                Ok(Reply::Who(_)) => panic!("a search says whose name a bind has proved"),
                Ok(Reply::Again) => {
                    seen = 0;
                    continue;
                }
                Ok(Reply::Done(done)) => {
                    assert!(replies.next().await.is_none(), "nothing follows the end");
                    assert_eq!(ber::check_tree(&done.op), Ok(()));
                    return;
                }
                Err(_) => return,
            };
            assert_eq!(ber::check_tree(&op), Ok(()));
        }
        panic!("the replies broke off without a word");
    }
}

/// Opens connections to a controller that binds whoever asks and answers a search with the octets.
#[derive(Debug)]
struct Answering(Arc<Script>);

/// What the controller answers a search with.
#[derive(Debug, Default)]
struct Script {
    octets: Mutex<Vec<u8>>,
    was_sent: AtomicBool,
}

impl Dial for Answering {
    fn dial(&self, _: &Server) -> BoxFuture<'static, io::Result<Box<dyn Stream>>> {
        let (here, there) = duplex(64 << 10);
        tokio::spawn(answer(there, Arc::clone(&self.0)));
        Box::pin(async { Ok(Box::new(here) as Box<dyn Stream>) })
    }
}

async fn answer(mut stream: DuplexStream, script: Arc<Script>) {
    let mut received = Vec::new();
    loop {
        while let Ok(Some(length)) = frame_length(&received, 1 << 20)
            && length <= received.len()
        {
            let frame: Vec<u8> = received.drain(..length).collect();
            let Ok(envelope) = Envelope::parse(&frame) else { return };
            let is_search = envelope.op_tag == op::SEARCH_REQUEST;
            // The search for the rootDSE has an empty base.
            if is_search && envelope.op_content.get(1) != Some(&0) {
                script.was_sent.store(true, Ordering::Relaxed);
                let octets = script.octets.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let octets = with_id(octets, envelope.message_id);
                // Whether anybody still reads is not the controller's business.
                let _ = stream.write_all(&octets).await;
                return;
            }
            let mut op = Vec::new();
            let tag = if is_search { op::SEARCH_RESULT_DONE } else { op::BIND_RESPONSE };
            write_result_op(&mut op, tag, ResultCode::SUCCESS, "", "");
            let mut message = Vec::new();
            write_envelope(&mut message, envelope.message_id, &op, None);
            if stream.write_all(&message).await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut received).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// The messageIDs of a fresh connection are small; so that those of the corpus fit whatever number the search has, a message that is sent
/// under 1 is sent under that.
fn with_id(octets: Vec<u8>, id: MessageId) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = octets.as_slice();
    while let Ok(Some(length)) = frame_length(rest, rest.len())
        && let Some(frame) = rest.get(..length)
        && let Ok(envelope) = Envelope::parse(frame)
        && envelope.message_id.number() == 1
    {
        write_envelope(&mut out, id, envelope.op, envelope.controls);
        rest = rest.get(length..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

const CONFIGURATION: &str = r#"
[[listener]]
address = "127.0.0.1:0"
[directory.corp]
base = "dc=corp"
servers = ["ldap://127.0.0.1"]
start_tls = false
ca = "CA"
bind_dn = "cn=redial"
password = "service"
connections = 1
[[access]]
name = "all"
clients = "any"
bases = ["dc=corp"]
attributes = ["*"]
"#;
