//! What is answered to octets, or in a form, that came before is what the slow way answers at that moment: whoever asks, and whatever was
//! written, reloaded, forgotten or waited for in between.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected fails"
)]

mod common;

use common::phone::accepted;
use common::requests;
use futures_util::future::BoxFuture;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};
use redial::cache::{Spelling, Standing};
use redial::config::Config;
use redial::config::load::load_text;
use redial::directory::{Asked, Directory, DirectoryError, Done, Operation, Replies, Reply, RunAs};
use redial::identity::Identity;
use redial::ldap::envelope::{Envelope, MessageId, op, write_envelope};
use redial::ldap::filter::Filter;
use redial::ldap::message::{ResultCode, Scope, SearchRequest};
use redial::ldap::response::{write_entry_op, write_result_op};
use redial::metrics::Metrics;
use redial::pipeline::answers::Wanted;
use redial::pipeline::{Begun, Client, Pipeline, Said, outbox};
use redial::session::{ClientMessageId, Security};
use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::time::{Instant, advance};

/// What happens, one after another.
#[derive(Debug, Clone)]
enum Event {
    /// Somebody asks something so many times, under messageIDs from that one on.
    Asked { client: usize, question: Question, times: u32, message_id: u32 },
    /// Somebody who is bound writes.
    Written,
    /// The directory's answers are forgotten.
    Forgotten,
    /// Memory is given back.
    Relieved,
    /// Another configuration comes into force.
    Reloaded(usize),
    /// Seconds pass.
    Passed(u64),
}

/// A search, told by what is chosen of each pool.
#[derive(Debug, Clone, Copy)]
struct Question {
    base: usize,
    filter: usize,
    attributes: usize,
    size_limit: u32,
}

const BASES: [&str; 4] = ["dc=corp", "DC=Corp", "ou=staff,dc=corp", "ou=others,dc=corp"];
const FILTERS: [&str; 4] = ["(cn=smi*)", "(CN=Smi*)", "(carLicense=A1)", "(|(mail=a1)(cn=a))"];
const ATTRIBUTES: [&[&str]; 3] = [&["cn", "mail"], &["mail", "CN"], &[]];

impl Question {
    fn op(self) -> Vec<u8> {
        let filter = Filter::parse(FILTERS[self.filter]).unwrap();
        let request = SearchRequest::new(BASES[self.base], Scope::WholeSubtree, filter, ATTRIBUTES[self.attributes]);
        SearchRequest { size_limit: self.size_limit, ..request }.encode()
    }
}

/// Each with what one of the others has not.
fn configurations() -> [Config; 3] {
    let everybody = "[[access]]\nname = \"all\"\nclients = \"any\"\nbases = [\"dc=corp\"]\nattributes = [\"*\"]\n";
    let by_kind = "[[access]]\nname = \"bound\"\nclients = \"bound\"\nbases = [\"dc=corp\"]\nattributes = [\"*\"]\n\
                   [[access]]\nname = \"near\"\nclients = \"any\"\nnetworks = [\"10.1.0.0/16\"]\nbases = [\"ou=staff,dc=corp\"]\n\
                   attributes = [\"cn\"]\nfilter = \"(objectClass=person)\"\nsize_limit = 2\n";
    [("service", everybody), ("service", by_kind), ("client", by_kind)].map(|(search_as, accesses)| {
        let text = format!(
            "[[listener]]\naddress = \"127.0.0.1:3389\"\n[directory.corp]\nbase = \"dc=corp\"\nservers = [\"ldaps://dc1.corp.example\"]\n\
             search_as = \"{search_as}\"\nwrites = \"forward\"\n{}{accesses}",
            if search_as == "service" { "bind_dn = \"cn=redial,dc=corp\"\npassword = \"secret\"\n" } else { "" },
        );
        load_text(&text, Path::new("."), true).unwrap_or_else(|rejected| panic!("{rejected}\n{text}")).config
    })
}

/// Says in its entry who asked what after which write: an answer that belongs to somebody else, or to before, is another.
#[derive(Debug, Default)]
struct Mirror {
    writes: AtomicU64,
}

impl Mirror {
    fn replies(&self, operation: &Operation) -> Vec<Reply> {
        let (tag, entries) = match &operation.request {
            Asked::Search { op, .. } => {
                let request = SearchRequest::decode(op).unwrap();
                let who = match &operation.run_as {
                    RunAs::Service => "service",
                    RunAs::Client(credentials) => &credentials.name,
                };
                let seen = format!("{who} {} {request:?}", self.writes.load(Ordering::Relaxed));
                (op::SEARCH_RESULT_DONE, vec![seen; 3])
            }
            Asked::Bind { .. } => (op::BIND_RESPONSE, Vec::new()),
            Asked::Write { .. } => {
                self.writes.fetch_add(1, Ordering::Relaxed);
                (op::DELETE_RESPONSE, Vec::new())
            }
            other => panic!("nobody asks for {:#x}", other.tag()),
        };
        let mut done = Vec::new();
        write_result_op(&mut done, tag, ResultCode::SUCCESS, "", "");
        let entry = |seen: String| {
            let mut octets = Vec::new();
            write_entry_op(&mut octets, "cn=a,ou=staff,dc=corp", [("cn", [seen.as_bytes()])]);
            Reply::Entry(octets.into())
        };
        let done = Reply::Done(Done { code: ResultCode::SUCCESS, op: done.into(), controls: None });
        entries.into_iter().map(entry).chain([done]).collect()
    }
}

impl Directory for Mirror {
    fn run(&self, operation: Operation) -> BoxFuture<'_, Result<Replies, DirectoryError>> {
        let replies = self.replies(&operation);
        Box::pin(async { Ok(Replies::Ready(replies.into_iter())) })
    }

    fn is_available(&self) -> bool {
        true
    }
}

struct World {
    configurations: [Config; 3],
    in_force: usize,
    pipeline: Arc<Pipeline>,
    directory: Arc<Mirror>,
    clients: Vec<Client>,
    /// How many searches were answered without the slow way.
    at_once: u64,
    /// How many of them came in octets that had not come before from anybody of that standing.
    by_form: u64,
    /// What came from whom.
    seen: HashSet<(Standing, Vec<u8>)>,
}

impl World {
    async fn new() -> Self {
        let configurations = configurations();
        let directory = Arc::new(Mirror::default());
        let pipeline = Pipeline::new(&configurations[0], vec![Arc::clone(&directory) as _], Arc::new(Metrics::unrecorded()));
        let client = |peer: &str| Client {
            peer: peer.parse().unwrap(),
            listener: 0,
            security: Security::Tls,
            identity: Identity::Anonymous,
            standing: None,
        };
        let clients = ["10.1.0.1:50000", "10.2.0.1:50000", "10.1.0.2:50000", "10.2.0.2:50000"].map(client).to_vec();
        let mut world = Self {
            configurations,
            in_force: 0,
            pipeline: Arc::new(pipeline),
            directory,
            clients,
            at_once: 0,
            by_form: 0,
            seen: HashSet::new(),
        };
        // Where searches run under the client's name, a password that was proved is kept for that.
        world.reload(2);
        for (client, name) in [(2, "cn=ada,dc=corp"), (3, "cn=bob,dc=corp")] {
            world.clients[client].identity = world.bind(client, name).await;
        }
        world
    }

    async fn happens(&mut self, event: &Event) {
        match event {
            Event::Asked { client, question, times, message_id } => {
                for next in 0..*times {
                    self.ask(*client, &question.op(), message_id.saturating_add(next).min(MessageId::MAX)).await;
                }
            }
            Event::Written => {
                // Refused where the password was proved in another configuration.
                self.run(3, &requests::delete_of("cn=a,ou=staff,dc=corp"), 1).await;
            }
            Event::Forgotten => assert!(self.pipeline.drop_answers(&Wanted::default()).is_ok()),
            Event::Relieved => self.pipeline.relieve(),
            Event::Reloaded(configuration) => self.reload(*configuration),
            Event::Passed(seconds) => advance(Duration::from_secs(*seconds)).await,
        }
    }

    /// Both ways at the same moment, where octets or form are known; else the slow way, which they are learnt from.
    async fn ask(&mut self, client: usize, op: &[u8], number: u32) {
        let message_id = ClientMessageId::new(MessageId::new(number).unwrap()).unwrap();
        let standing = self.pipeline.standing(&self.clients[client]).unwrap();
        let (now, mut at_once) = (Instant::now(), Vec::new());
        if self.pipeline.hits(now).answer(&Spelling { standing, op }, message_id, &mut at_once) {
            self.at_once += 1;
            self.by_form += u64::from(!self.seen.contains(&(standing, op.to_vec())));
            let mut slowly = Vec::new();
            assert!(matches!(self.begin(client, op, number, now, &mut slowly), Begun::Answered(_)), "memory has it");
            assert_eq!(at_once, slowly, "both ways say the same");
        } else {
            assert!(at_once.is_empty(), "nothing was said");
            self.clients[client].standing = Some(standing);
            at_once = self.run(client, op, number).await;
            self.clients[client].standing = None;
        }
        self.seen.insert((standing, op.to_vec()));
        self.check(client, &at_once, number);
    }

    /// Whoever sees entries sees what the directory says to them now.
    fn check(&self, client: usize, answer: &[u8], number: u32) {
        let mut messages = redial::ldap::ber::Reader::new(answer);
        while !messages.is_empty() {
            let message = Envelope::parse(messages.element().unwrap().raw).unwrap();
            assert_eq!(message.message_id.number(), number);
            if message.op_tag == op::SEARCH_RESULT_ENTRY {
                let who = match (self.in_force, &self.clients[client].identity) {
                    (2, Identity::Bound(principal)) => principal.name.as_str(),
                    _ => "service",
                };
                let expected = format!("{who} {} ", self.directory.writes.load(Ordering::Relaxed));
                let seen = String::from_utf8_lossy(message.op);
                assert!(seen.contains(&expected), "{expected}for {client}: {seen}");
            }
        }
    }

    async fn bind(&self, client: usize, name: &str) -> Identity {
        let (said, bound) = self.spoken(client, &requests::bind(name, "secret"), 1).await;
        assert_eq!(requests::said(&said), [(1, op::BIND_RESPONSE, 0)]);
        Identity::Bound(bound.unwrap())
    }

    /// The slow way, to its end.
    async fn run(&self, client: usize, op: &[u8], number: u32) -> Vec<u8> {
        self.spoken(client, op, number).await.0
    }

    async fn spoken(&self, client: usize, op: &[u8], number: u32) -> (Vec<u8>, Option<Arc<redial::identity::Principal>>) {
        let (mut out, mut bound) = (Vec::new(), None);
        let Begun::Running(running) = self.begin(client, op, number, Instant::now(), &mut out) else { return (out, None) };
        let (outbox, mut said) = outbox();
        let speaking = Arc::clone(&self.pipeline).finish(running, outbox);
        let hearing = async {
            while let Some(said) = said.next().await {
                match said {
                    Said::Part(_, octets) | Said::Finished(_, octets) => out.extend_from_slice(&octets),
                    Said::Answer(message_id, answer) => answer.write(message_id.wire(), &mut out),
                    Said::BindFinished(_, who, octets) => {
                        bound = who.map(|who| who.principal);
                        out.extend_from_slice(&octets);
                    }
                }
            }
        };
        tokio::join!(speaking, hearing);
        (out, bound)
    }

    fn begin(&self, client: usize, op: &[u8], number: u32, now: Instant, out: &mut Vec<u8>) -> Begun {
        let mut frame = Vec::new();
        write_envelope(&mut frame, MessageId::new(number).unwrap(), op, None);
        let envelope = Envelope::parse(&frame).unwrap();
        self.pipeline.begin(&self.clients[client], &accepted(&envelope), now, out)
    }

    fn reload(&mut self, configuration: usize) {
        let (before, after) = (&self.configurations[self.in_force], &self.configurations[configuration]);
        let no_files = [[0; 32]];
        let lineage = self.pipeline.lineage().succeeded((before, &no_files), (after, &no_files));
        self.pipeline = Arc::new(self.pipeline.succeeded(after, lineage, vec![Arc::clone(&self.directory) as _]));
        self.in_force = configuration;
    }
}

fn event() -> impl Strategy<Value = Event> {
    let question = (0..BASES.len(), 0..FILTERS.len(), 0..ATTRIBUTES.len(), prop_oneof![Just(0u32), Just(2)])
        .prop_map(|(base, filter, attributes, size_limit)| Question { base, filter, attributes, size_limit });
    let message_id = prop_oneof![1u32..200, Just(32_766), Just(8_388_606), Just(MessageId::MAX - 1)];
    // Mostly one search, in two spellings, so that it comes again after whatever else happens.
    let one = (0..2usize).prop_map(|filter| Question { base: 2, filter, attributes: 0, size_limit: 0 });
    let question = prop_oneof![1 => question, 3 => one];
    let asked = (0..4usize, question, 1..6u32, message_id).prop_map(|(client, question, times, message_id)| Event::Asked {
        client,
        question,
        times,
        message_id,
    });
    prop_oneof![
        20 => asked,
        1 => Just(Event::Written),
        1 => Just(Event::Forgotten),
        1 => Just(Event::Relieved),
        2 => (0..3usize).prop_map(Event::Reloaded),
        2 => prop_oneof![1u64..10, 50u64..70, 200u64..400, 3_000u64..100_000].prop_map(Event::Passed),
    ]
}

#[test]
fn what_is_answered_at_once_is_what_the_slow_way_says() {
    let (at_once, by_form) = (Cell::new(0), Cell::new(0));
    let runs = Runs { cases: 64, failure_persistence: None, ..Runs::default() };
    let told = TestRunner::new(runs).run(&vec(event(), 1..80), |events| {
        Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
            let mut world = World::new().await;
            for event in &events {
                world.happens(event).await;
            }
            at_once.set(at_once.get() + world.at_once);
            by_form.set(by_form.get() + world.by_form);
        });
        Ok(())
    });
    told.unwrap_or_else(|failed| panic!("{failed}"));
    assert!(at_once.get() > 500, "{} searches were answered at once: it was not tried", at_once.get());
    assert!(by_form.get() > 20, "{} searches were answered by their form: it was not tried", by_form.get());
}
