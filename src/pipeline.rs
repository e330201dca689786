//! The way of one operation, from accepted to answered. Read this file after `lib.rs`; every room that it calls is one noun, one file.
//!
//! ```text
//!  repeat  cache       asked before in the same octets: written at once  ▶ hit
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
//! [`Pipeline::repeat`] knows what was asked before, to the octet. [`Pipeline::begin`] never waits: what memory can answer is written there
//! and then. What needs time becomes a [`Running`] for [`Pipeline::finish`], which waits and always has a last word. Binds go on in `bind`
//! and `proofs`, compares and writes in `forward`, pages in `paging`; `record` keeps the record, and `upkeep` is for whoever runs the program.

pub mod answers;
mod bind;
mod client;
pub mod controls;
mod current;
mod delivery;
mod errand;
mod forward;
mod kept;
mod membership;
mod outage;
mod paging;
mod proofs;
mod record;
mod repeat;
mod standings;
mod station;
mod upkeep;

pub use client::Client;
pub use current::Current;
pub use record::OPERATIONS;
pub use repeat::Hits;

use crate::access::narrow::Part;
use crate::access::{Accesses, Asker, Grant, Refusal, Verdict};
use crate::audit::Audit;
use crate::cache::answer::AnswerBuilder;
use crate::cache::keep::Keep;
use crate::cache::key::{Keyed, Owner, write_key};
use crate::cache::{Answer, Fetched, Fill, Lookup, SearchCache, Spelling};
use crate::config::lineage::Lineage;
use crate::config::{Config, Lifetimes, SearchAs};
use crate::directory::{Asked, Directory, DirectoryError, Done, Operation, Reply, RunAs};
use crate::identity::Principal;
use crate::identity::accounts::Accounts;
use crate::identity::register::Register;
use crate::identity::roster::Member;
use crate::ldap::ResultCode;
use crate::ldap::message::{Scope, Search};
use crate::metrics::Metrics;
use crate::outcome::{OperationKind, Outcome, Served, Subject};
use crate::pressure::Pressure;
use crate::rootdse::RootDse;
use crate::session::{Accepted, AcceptedRequest, ClientMessageId};
use crate::turns::{Turn, Turns};
use bytes::Bytes;
use controls::Refused;
use delivery::Delivery;
use errand::Errand;
use membership::{Held, Resumed, groups_ttl};
use outage::{Outages, is_failure};
use paging::{PageWanted, Pages};
use proofs::Proofs;
use record::Recording;
use standings::Standings;
use station::{Station, stations};
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

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
    Running(Box<Running>),
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

/// Where the running operations of one connection speak; bounded, so a slow phone slows its answers.
pub type Outbox = mpsc::Sender<Said>;

/// Which operation, and when it came.
#[derive(Debug, Clone, Copy)]
struct AskedAt {
    kind: OperationKind,
    message_id: ClientMessageId,
    received_at: Instant,
}

/// What is left to do.
#[derive(Debug)]
enum Work {
    /// An answer from memory that is too large to be written at once.
    Write(Arc<Answer>),
    /// A search that memory does not answer.
    Search(SearchWork),
    /// A password to be proved.
    Bind(bind::BindWork),
    /// A compare, a write or an extended operation.
    Forward(forward::ForwardWork),
    /// Whatever waits for the client's groups.
    Held(Box<Held>),
}

/// A search on its way to the directories.
#[derive(Debug)]
struct SearchWork {
    /// `None`: not to be shared or kept.
    key: Option<Box<[u8]>>,
    /// The number of the one that answers, where there is one.
    directory: Option<usize>,
    lifetimes: Lifetimes,
    errand: Errand,
    stale: Option<Arc<Answer>>,
    page: Option<PageWanted>,
    /// The client's own time limit.
    give_up_at: Option<Instant>,
}

impl Pipeline {
    /// Joins the rooms. `directories` stand in the order of the configuration.
    pub fn new(config: &Config, directories: Vec<Arc<dyn Directory>>, metrics: Arc<Metrics>) -> Self {
        let lineage = Lineage::new(config);
        let keep = Keep::new(config, &lineage);
        Self {
            accesses: Accesses::new(&config.accesses, &config.directories),
            cache: SearchCache::new(&config.cache, lineage.next()),
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
            standings: Standings::new(),
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
        let held = self.hold(client, asked, accepted);
        let mut begun = held.unwrap_or_else(|| self.begin_accepted(client, asked, &accepted.request, accepted.controls, out));
        let subject = self.subject(client, kind, &accepted.request);
        match &mut begun {
            Begun::Answered(outcome) => self.record(outcome, subject),
            Begun::Running(running) => running.subject = subject,
        }
        begun
    }

    fn begin_accepted(
        &self,
        client: &Client,
        asked: AskedAt,
        request: &AcceptedRequest<'_>,
        controls: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Begun {
        let begun = match request {
            AcceptedRequest::Search(search) => self.begin_search(client, asked, search, controls, out),
            AcceptedRequest::Bind(bind) => self.begin_bind(client, asked, bind, controls),
            AcceptedRequest::Compare(compare) => self.begin_compare(client, asked, compare, controls),
            AcceptedRequest::Write(write) => self.begin_write(client, asked, write, controls),
            AcceptedRequest::Extended(extended) => self.begin_extended(client, asked, extended, controls),
        };
        begun.unwrap_or_else(|refused| refuse(asked, refused, out))
    }

    /// Carries an operation to its end, speaking into `outbox`. The last word is [`Said::Finished`] or [`Said::BindFinished`], whatever
    /// happens. Dropping the future abandons the operation, which is on record then too, though the future may never have been polled.
    #[expect(clippy::boxed_local, reason = "as it came out of `begin`")]
    pub fn finish(self: Arc<Self>, running: Box<Running>, outbox: Outbox) -> impl Future<Output = ()> + Send {
        let Running { asked, mut work, subject } = *running;
        let recording = Recording::new(Arc::clone(&self), asked, subject);
        async move {
            let delivery = Delivery::new(asked, outbox);
            let outcome = loop {
                work = match work {
                    Work::Held(held) => match self.resume(*held, asked).await {
                        Resumed::Running(running) => running.work,
                        Resumed::Answered(octets, Outcome { served, code, entries, .. }) => {
                            break delivery.finish(octets, served, code, entries).await;
                        }
                    },
                    Work::Write(answer) => break delivery.answer(&answer, Served::Hit).await,
                    Work::Search(work) => break self.finish_search(work, delivery).await,
                    Work::Bind(work) => break self.finish_bind(work, delivery).await,
                    Work::Forward(work) => break self.finish_forward(work, delivery).await,
                };
            };
            recording.ended(&outcome);
        }
    }

    /// A search, as far as memory goes.
    fn begin_search(
        &self,
        client: &Client,
        asked: AskedAt,
        search: &Search<'_>,
        controls: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<Begun, Refused> {
        let has_no_controls = controls.is_none();
        let controls = controls::of_search(controls)?;
        if search.base_object.is_empty() && search.scope == Scope::BaseObject {
            return Ok(self.say_root_dse(client, asked, search, out));
        }
        let asker = Asker { peer: client.peer.ip(), identity: &client.identity };
        let grant = match self.accesses.decide(&asker, search.base_object, search.scope) {
            Verdict::Allow(grant) => grant,
            Verdict::Refuse(refusal) => return Err(refusal.into()),
        };
        let runs_as_client = grant.runs_as_client();
        if runs_as_client && !client.has_credentials() {
            // Whoever has a name without a directory's password gets nothing of what memory holds for that name.
            return Err(BIND_FIRST);
        }
        let access = self.lineage.access(grant.index()).ok_or(Refusal::NO_ACCESS)?;
        let owner = Owner { access, principal: runs_as_client.then(|| client.identity.owner()) };

        KEY.with_borrow_mut(|key| {
            key.clear();
            let travelling = (!controls.travelling.is_empty()).then_some(controls.travelling.as_slice());
            let keyed = write_key(key, owner, self.number(&grant), search, travelling);
            let key = (keyed == Keyed::Cacheable).then_some(key.as_slice());
            let page = match key {
                Some(_) => controls.page.map(PageWanted::new),
                None if controls.page.is_some() => return Err(controls::UNKNOWN),
                None => None,
            };

            // What came with controls is not remembered by its octets.
            let spelling = client.standing.filter(|_| has_no_controls).map(|standing| Spelling { standing, op: search.op });
            let found = key.map_or(Lookup::Miss, |key| self.cache.look_up(key, spelling.as_ref(), asked.received_at));
            let stale = match found {
                Lookup::Fresh(answer) if page.is_none() => return Ok(write_hit(asked, answer, out)),
                Lookup::RefreshDue(answer) if page.is_none() => {
                    self.refresh(self.search_work(client, &grant, asked, search, travelling, key)?);
                    return Ok(write_hit(asked, answer, out));
                }
                Lookup::Stale(answer) => Some(answer),
                Lookup::Fresh(_) | Lookup::RefreshDue(_) | Lookup::Miss => None,
            };
            let work = SearchWork { stale, page, ..self.search_work(client, &grant, asked, search, travelling, key)? };
            Ok(Running::begun(asked, Work::Search(work)))
        })
    }

    /// What must be asked of which directory, and under whose name.
    fn search_work(
        &self,
        client: &Client,
        grant: &Grant<'_>,
        asked: AskedAt,
        search: &Search<'_>,
        controls: Option<&[u8]>,
        key: Option<&[u8]>,
    ) -> Result<SearchWork, Refused> {
        let lifetimes = self.cache.lifetimes(&search.to_owned().map_err(|_| controls::MALFORMED_FILTER)?.filter);
        let parts = grant.narrow(search).map_err(|_| controls::MALFORMED_FILTER)?;
        let entries_wanted = grant.entries_wanted(search.size_limit);
        let controls = controls.map(Bytes::copy_from_slice);
        let searches = parts
            .into_iter()
            .map(|part| self.operation(client, part, entries_wanted, controls.clone(), asked.received_at))
            .collect::<Result<_, Refused>>()?;
        let give_up_at = (search.time_limit > 0).then(|| asked.received_at + Duration::from_secs(search.time_limit.into()));
        Ok(SearchWork {
            key: key.map(Box::from),
            directory: self.number(grant),
            lifetimes,
            errand: Errand::new(searches, entries_wanted, &self.turns, client.whose()),
            stale: None,
            page: None,
            give_up_at,
        })
    }

    /// One search for one directory.
    fn operation(
        &self,
        client: &Client,
        part: Part,
        entries_wanted: Option<u32>,
        controls: Option<Bytes>,
        received_at: Instant,
    ) -> Result<(Arc<dyn Directory>, Operation), Refused> {
        let station = self.stations.get(part.directory).ok_or(Refusal::NO_ACCESS)?;
        let run_as = match station.search_as {
            SearchAs::Service => RunAs::Service,
            SearchAs::Client => client.runs_as(station.number).ok_or(BIND_FIRST)?,
        };
        let request = Asked::Search { op: part.op, request: part.request, entries_wanted };
        let operation = Operation { run_as, request, controls, deadline: received_at + station.patience };
        Ok((Arc::clone(&station.directory), operation))
    }

    /// Asks again in the background; whoever waits for the same meanwhile joins.
    fn refresh(&self, work: SearchWork) {
        if let Some(key) = &work.key {
            self.metrics.cache_refresh();
            self.cache.refresh(key, work.directory, work.lifetimes, || work.errand.set_out());
        }
    }

    /// A search that memory does not answer: from the directories, once for all who ask the same; or stale, where they fail or dawdle.
    async fn finish_search(&self, work: SearchWork, delivery: Delivery) -> Outcome {
        let SearchWork { key, directory, lifetimes, errand, stale, page, give_up_at } = work;
        if let Some(page) = page.as_ref().filter(|page| page.is_continuation()) {
            return match self.pages.take(page, key.as_deref()) {
                Ok(open) => self.pages.deliver(open, page, delivery, Served::Hit).await,
                Err(refused) => delivery.refuse(refused).await,
            };
        }
        let fetched = async {
            match &key {
                Some(key) => self.cache.fetch(key, directory, lifetimes, || errand.clone().set_out()).await,
                None => Fetched::NotShared,
            }
        };
        // Where a stale answer can stand in, the directory has until `STALE_AFTER`; else until its own deadline, or the client's.
        let patience = stale.as_ref().map(|_| delivery.asked().received_at + STALE_AFTER).into_iter().chain(give_up_at).min();
        let fetched = match patience {
            Some(patience) => timeout_at(patience, fetched).await.ok(),
            None => Some(fetched.await),
        };
        if let Some(Fetched::Answer(answer)) = &fetched
            && !is_failure(answer.code())
        {
            self.directory_answered(directory);
        }
        match (fetched, stale) {
            (Some(Fetched::Answer(answer) | Fetched::Coalesced(answer)), Some(stale)) if is_failure(answer.code()) => {
                self.stale_stands_in(directory, &answer.code());
                self.deliver(stale, Served::Stale, page, key, delivery).await
            }
            (Some(Fetched::Answer(answer)), _) => self.deliver(answer, Served::Miss, page, key, delivery).await,
            (Some(Fetched::Coalesced(answer)), _) => self.deliver(answer, Served::Coalesced, page, key, delivery).await,
            (Some(Fetched::Overflow(overflow)), _) => self.deliver_large(overflow.gathered, overflow.rest, page, key, delivery).await,
            (Some(Fetched::NotShared), _) => {
                let fill = self.cache.unshared(errand.set_out(), directory);
                self.deliver_large(AnswerBuilder::default(), fill, page, key, delivery).await
            }
            (Some(Fetched::Failed(error)), Some(stale)) if error.allows_stale() => {
                self.stale_stands_in(directory, &error);
                self.deliver(stale, Served::Stale, page, key, delivery).await
            }
            (Some(Fetched::Failed(error)), _) => delivery.failed(&error).await,
            (None, Some(stale)) => {
                self.stale_stands_in(directory, &"no answer within 1.8 s");
                self.deliver(stale, Served::Stale, page, key, delivery).await
            }
            (None, None) => delivery.end(Served::Failed, ResultCode::TIME_LIMIT_EXCEEDED, "the search's own time limit").await,
        }
    }

    /// A whole answer, or its first page.
    async fn deliver(
        &self,
        answer: Arc<Answer>,
        served: Served,
        page: Option<PageWanted>,
        key: Option<Box<[u8]>>,
        delivery: Delivery,
    ) -> Outcome {
        match (page, key) {
            (Some(page), Some(key)) => self.pages.deliver(paging::Open::new(key, answer), &page, delivery, served).await,
            _ => delivery.answer(&answer, served).await,
        }
    }

    /// An answer that is too large to keep: passed on as it comes, unless the client wants pages of it.
    async fn deliver_large(
        &self,
        gathered: AnswerBuilder,
        rest: Fill,
        page: Option<PageWanted>,
        key: Option<Box<[u8]>>,
        delivery: Delivery,
    ) -> Outcome {
        let (Some(page), Some(key)) = (page, key) else { return delivery.stream(gathered, rest).await };
        match paging::gather(gathered, rest).await {
            Ok(answer) => self.pages.deliver(paging::Open::new(key, answer), &page, delivery, Served::Miss).await,
            Err(error) => delivery.failed(&error).await,
        }
    }

    /// The rootDSE is Redial's own.
    fn say_root_dse(&self, client: &Client, asked: AskedAt, search: &Search<'_>, out: &mut Vec<u8>) -> Begun {
        let (code, entries) = self.root_dse.write_answer(client.listener, client.security, search, asked.message_id.wire(), out);
        Begun::Answered(asked.outcome(Served::Local, code, entries))
    }

    /// The number of the one directory that answers.
    fn number(&self, grant: &Grant<'_>) -> Option<usize> {
        self.lineage.directory(grant.directory()?)
    }
}

impl Running {
    fn begun(asked: AskedAt, work: Work) -> Begun {
        Begun::Running(Box::new(Self { asked, work, subject: None }))
    }
}

impl AskedAt {
    fn outcome(&self, served: Served, code: ResultCode, entries: u32) -> Outcome {
        Outcome { kind: self.kind, served, code, entries, took: self.received_at.elapsed() }
    }
}

/// Runs an operation that has one response.
async fn last_word(directory: &dyn Directory, operation: Operation) -> Result<Done, DirectoryError> {
    let deadline = operation.deadline;
    let answered = async {
        let mut replies = directory.run(operation).await?;
        while let Some(reply) = replies.next().await {
            if let Reply::Done(done) = reply? {
                return Ok(done);
            }
        }
        Err(DirectoryError::ConnectionLost { sent: true })
    };
    timeout_at(deadline, answered).await.unwrap_or(Err(DirectoryError::TimedOut))
}

/// An answer from memory: at once, or in pieces where it is large.
fn write_hit(asked: AskedAt, answer: Arc<Answer>, out: &mut Vec<u8>) -> Begun {
    if answer.len() > delivery::PIECE {
        return Running::begun(asked, Work::Write(answer));
    }
    answer.write(asked.message_id.wire(), out);
    Begun::Answered(asked.outcome(Served::Hit, answer.code(), answer.entry_count()))
}

/// Says no.
fn refuse(asked: AskedAt, refused: Refused, out: &mut Vec<u8>) -> Begun {
    delivery::write_end(asked, refused.code, refused.reason, out);
    Begun::Answered(asked.outcome(Served::Refused, refused.code, 0))
}

thread_local! {
    /// Where keys are written, so that a hit allocates nothing.
    static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A directory that has not answered for so long dawdles: a stale answer goes out instead (RFC 8767 section 5 proposes it for DNS).
const STALE_AFTER: Duration = Duration::from_millis(1800);

const BIND_FIRST: Refused =
    Refused { code: ResultCode::INSUFFICIENT_ACCESS_RIGHTS, reason: "this directory is searched as the client: bind to it first" };
