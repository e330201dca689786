//! The way of one operation, from accepted to answered. Read this file after `lib.rs`; every room that it calls is one noun, one file.
//!
//! ```text
//!  repeat  cache       asked before in the same octets: written at once  ▶ hit
//!          cache       in a known form: of it only the filter is read    ▶ hit
//!  begin   membership  groups read too long ago: wait for them, then on  ▶ held
//!          controls    which travel, which are carried out here          ▶ refused
//!          access      who may ask what, and how it is narrowed          ▶ refused
//!          cache       fresh: written at once, and that is all           ▶ hit
//!  finish  cache       the same search in flight: wait for it            ▶ coalesced
//!          turns       so many at a time for one client                  ▶ busy
//!          directory   controllers, or a phonebook in memory             ▶ miss; stale, where it fails or dawdles
//!          delivery    under the client's messageID, no faster than it reads
//!          outcome     one record: metrics, and a line for the log
//! ```
//!
//! `repeat` knows what was asked before, to the octet, or in another spelling but in the same form: base, limits and attributes as
//! they came before, and whatever filter. [`Pipeline::begin`] never waits: what memory can answer is written there and then. What needs
//! time becomes a [`Running`] for [`Pipeline::finish`], which waits and always has a last word. What they do is told in `search` (with
//! pages in `paging`), in `bind` (with `proofs`), and in `forward` for compares and writes; `record` keeps the record, and `upkeep` is for
//! whoever runs the program.

pub mod answers;
mod bind;
mod client;
mod controls;
mod current;
mod delivery;
mod forward;
mod membership;
mod outage;
mod outbox;
mod paging;
mod proofs;
mod record;
mod repeat;
mod search;
mod standings;
mod station;
mod upkeep;

pub use client::Client;
pub use current::Current;
pub use outbox::{Hearing, Outbox, Unheard, outbox};
pub use record::OPERATIONS;
pub use repeat::Hits;

use crate::access::Accesses;
use crate::audit::Audit;
use crate::cache::keep::Keep;
use crate::cache::{Answer, Hashing, SearchCache};
use crate::config::Config;
use crate::config::lineage::Lineage;
use crate::directory::Directory;
use crate::identity::Principal;
use crate::identity::accounts::Accounts;
use crate::identity::register::Register;
use crate::identity::roster::Member;
use crate::ldap::ResultCode;
use crate::metrics::Metrics;
use crate::outcome::{OperationKind, Outcome, Served, Subject};
use crate::pressure::Pressure;
use crate::rootdse::RootDse;
use crate::session::{Accepted, AcceptedRequest, ClientMessageId};
use crate::turns::Turns;
use bind::BindWork;
use bytes::Bytes;
use controls::Refused;
use delivery::Delivery;
use forward::ForwardWork;
use membership::{Held, Resumed, groups_ttl};
use outage::Outages;
use paging::Pages;
use proofs::Proofs;
use record::Recording;
use search::SearchWork;
use standings::Standings;
use station::{Station, stations};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// All that an operation meets on its way.
#[derive(Debug)]
pub struct Pipeline {
    accesses: Accesses,
    lineage: Lineage,
    cache: SearchCache,
    stations: Vec<Station>,
    root_dse: RootDse,
    accounts: Accounts,
    proofs: Proofs,
    pages: Arc<Pages>,
    turns: Arc<Turns>,
    pressure: Arc<Pressure>,
    standings: Standings,
    /// For so long a principal's groups are believed.
    groups_ttl: Duration,
    keep: Option<Keep>,
    outages: Arc<Outages>,
    metrics: Arc<Metrics>,
    audit: Arc<Audit>,
}

/// What became of an operation that was begun.
#[derive(Debug)]
pub enum Begun {
    /// Its whole answer was appended, and this came of it.
    Answered(Outcome),
    /// It needs time: spawn [`Pipeline::finish`].
    Running(Running),
}

/// An operation under way; owned, so it outlives its frame.
#[derive(Debug)]
pub struct Running {
    asked: AskedAt,
    work: Work,
    /// Where somebody reads it.
    subject: Option<Box<Subject>>,
}

/// What the running operations of one connection have to say to it.
#[derive(Debug)]
pub enum Said {
    /// Whole LDAPMessages of that operation, to be written as they are. More follow.
    Part(ClientMessageId, Bytes),
    /// The last of it.
    Finished(ClientMessageId, Bytes),
    /// All of it: an answer to be written under that messageID.
    Answer(ClientMessageId, Answer),
    /// A bind has ended: who the client is now (`None`: nobody), and the BindResponse.
    BindFinished(ClientMessageId, Option<Bound>, Bytes),
}

/// A client that has proved who it is.
#[derive(Debug)]
pub struct Bound {
    /// Who.
    pub principal: Arc<Principal>,
    /// The session's place among those that may be revoked: to be kept as long as the session is that principal's.
    pub member: Member,
}

/// A request's arrival: from whom it is, which operation it begins, and the controls that came with it.
#[derive(Debug, Clone, Copy)]
struct Arrival<'a> {
    client: &'a Client,
    asked: AskedAt,
    /// The contents of the controls element.
    controls: Option<&'a [u8]>,
}

/// Which operation, and when it came.
#[derive(Debug, Clone, Copy)]
struct AskedAt {
    kind: OperationKind,
    message_id: ClientMessageId,
    received_at: Instant,
}

/// What is left to do; in a box, so that it stays where it is while it passes from hand to hand.
#[derive(Debug)]
enum Work {
    /// An answer from memory that is too large to be written at once.
    Write(Answer),
    /// A search that memory does not answer.
    Search(Box<SearchWork>),
    /// A password to be proved.
    Bind(Box<BindWork>),
    /// A compare, a write or an extended operation.
    Forward(Box<ForwardWork>),
    /// Whatever waits for the client's groups.
    Held(Box<Held>),
}

impl Pipeline {
    /// Joins the rooms. `directories` stand in the order of the configuration.
    pub fn new(config: &Config, directories: Vec<Arc<dyn Directory>>, metrics: Arc<Metrics>) -> Self {
        Self::hashing_by(Hashing::random(), config, directories, metrics)
    }

    /// The same, with a hash of one's own: so is what the cache throws out where it needs room.
    pub fn hashing_by(hashing: Hashing, config: &Config, directories: Vec<Arc<dyn Directory>>, metrics: Arc<Metrics>) -> Self {
        let lineage = Lineage::new(config);
        let keep = Keep::new(config, &lineage);
        Self {
            accesses: Accesses::new(&config.accesses, &config.directories),
            cache: SearchCache::new(&config.cache, lineage.next(), hashing),
            stations: stations(config, &lineage, directories),
            lineage,
            root_dse: RootDse::new(config),
            accounts: Accounts::new(&config.accounts),
            proofs: Proofs::new(Arc::new(Register::new(&config.binds)), Arc::clone(&metrics)),
            pages: Arc::new(Pages::new(config.cache.capacity)),
            turns: Arc::new(Turns::new(config.limits.client_operations)),
            pressure: Arc::default(),
            standings: Standings::new(),
            groups_ttl: groups_ttl(config.binds.ttl),
            keep,
            outages: Arc::default(),
            audit: Arc::new(Audit::off(Arc::clone(&metrics))),
            metrics,
        }
    }

    /// The pipeline of the next configuration. It goes on with what this one remembers, as far as that is still true: answers of directories
    /// and accesses that are the same, and what is known of passwords. `lineage` and `directories` are those of `config`.
    pub fn succeeded(&self, config: &Config, lineage: Lineage, directories: Vec<Arc<dyn Directory>>) -> Self {
        let stations = stations(config, &lineage, directories);
        let keep = Keep::new(config, &lineage);
        // Before it is in force: no session that must bind anew is to learn it from a refusal.
        self.register().directories_are(&stations.iter().map(Station::footing).collect::<Vec<_>>());
        let proves_alike = self.stations.len() == stations.len() && self.stations.iter().zip(&stations).all(Station::proves_as);
        Self {
            accesses: Accesses::new(&config.accesses, &config.directories),
            cache: self.cache.succeeding(&config.cache, lineage.next()),
            stations,
            lineage,
            root_dse: RootDse::new(config),
            accounts: Accounts::new(&config.accounts),
            proofs: self.proofs.succeeding(&config.binds, proves_alike),
            pages: Arc::clone(&self.pages),
            turns: Arc::new(Turns::new(config.limits.client_operations)),
            pressure: Arc::clone(&self.pressure),
            standings: self.standings.succeeding(),
            groups_ttl: groups_ttl(config.binds.ttl),
            keep,
            outages: Arc::clone(&self.outages),
            audit: Arc::clone(&self.audit),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// The numbers of its directories and accesses.
    pub const fn lineage(&self) -> &Lineage {
        &self.lineage
    }

    /// Begins an operation. What can be answered from memory is appended to `out` at once, without allocation or waiting.
    pub fn begin(&self, client: &Client, accepted: &Accepted<'_>, received_at: Instant, out: &mut Vec<u8>) -> Begun {
        let kind = match accepted.request {
            AcceptedRequest::Search(_) => OperationKind::Search,
            AcceptedRequest::Bind(_) => OperationKind::Bind,
            AcceptedRequest::Compare(_) => OperationKind::Compare,
            AcceptedRequest::Write(write) => write.kind.into(),
            AcceptedRequest::Extended(_) => OperationKind::Extended,
        };
        let asked = AskedAt { kind, message_id: accepted.message_id, received_at };
        let arrival = Arrival { client, asked, controls: accepted.controls };
        let held = self.hold(arrival, &accepted.request);
        let mut begun = held.unwrap_or_else(|| self.begin_accepted(arrival, &accepted.request, out));
        let subject = self.subject(client, kind, &accepted.request);
        match &mut begun {
            Begun::Answered(outcome) => self.record(outcome, subject),
            Begun::Running(running) => running.subject = subject,
        }
        begun
    }

    fn begin_accepted(&self, arrival: Arrival<'_>, request: &AcceptedRequest<'_>, out: &mut Vec<u8>) -> Begun {
        let begun = match request {
            AcceptedRequest::Search(search) => self.begin_search(arrival, search, out),
            AcceptedRequest::Bind(bind) => self.begin_bind(arrival, bind),
            AcceptedRequest::Compare(compare) => self.begin_compare(arrival, compare),
            AcceptedRequest::Write(write) => self.begin_write(arrival, write),
            AcceptedRequest::Extended(extended) => self.begin_extended(arrival, extended),
        };
        begun.unwrap_or_else(|refused| refuse(arrival.asked, refused, out))
    }

    /// Carries an operation to its end, speaking into `outbox`. The last word is [`Said::Finished`], [`Said::Answer`] or [`Said::BindFinished`],
    /// whatever happens. Dropping the future abandons the operation, which is on record then too, though the future may never have been polled.
    ///
    /// A task is moved when it is spawned and wiped when it ends, so it has room for an ordinary search: all else takes room of its own.
    pub fn finish(self: Arc<Self>, running: Running, outbox: Outbox) -> impl Future<Output = ()> + Send {
        let Running { asked, mut work, subject } = running;
        let recording = Recording::new(self, asked, subject);
        async move {
            let pipeline = recording.pipeline();
            let delivery = Delivery::new(asked, outbox);
            let outcome = loop {
                work = match work {
                    Work::Held(held) => match Box::pin(pipeline.resume(*held, asked)).await {
                        Resumed::Running(running) => running.work,
                        Resumed::Answered(octets, Outcome { served, code, entries, .. }) => {
                            break delivery.finish(octets, served, code, entries).await;
                        }
                    },
                    Work::Write(answer) => break delivery.answer(answer, Served::Hit).await,
                    Work::Search(work) => break pipeline.finish_search(work, delivery).await,
                    Work::Bind(work) => break Box::pin(pipeline.finish_bind(*work, delivery)).await,
                    Work::Forward(work) => break Box::pin(pipeline.finish_forward(*work, delivery)).await,
                };
            };
            recording.ended(&outcome);
        }
    }
}

impl Running {
    fn begun(asked: AskedAt, work: Work) -> Begun {
        Begun::Running(Self { asked, work, subject: None })
    }
}

impl AskedAt {
    fn outcome(&self, served: Served, code: ResultCode, entries: u32) -> Outcome {
        Outcome { kind: self.kind, served, code, entries, took: self.received_at.elapsed() }
    }
}

/// Says no.
fn refuse(asked: AskedAt, refused: Refused, out: &mut Vec<u8>) -> Begun {
    delivery::write_end(asked, refused.code, refused.reason, out);
    Begun::Answered(asked.outcome(Served::Refused, refused.code, 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::answer::AnswerBuilder;
    use crate::ldap::MessageId;

    #[tokio::test]
    async fn the_task_of_a_search_has_no_room_for_anything_else() {
        let message_id = ClientMessageId::new(MessageId::new(1).unwrap()).unwrap();
        let asked = AskedAt { kind: OperationKind::Search, message_id, received_at: Instant::now() };
        let work = Work::Write(AnswerBuilder::default().finish(ResultCode::SUCCESS, &[0x65, 0]));
        let (outbox, _hearing) = outbox();
        let task = Current::for_tests().load_full().finish(Running { asked, work, subject: None }, outbox);
        assert!(size_of_val(&task) <= 1408, "{} octets are moved and wiped", size_of_val(&task));
    }
}
