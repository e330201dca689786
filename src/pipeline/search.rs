//! A search: from memory at once where that can be, and else from the directories.

use super::controls::{self, Refused};
use super::delivery::{self, Delivery};
use super::outage::is_failure;
use super::paging::{self, PageWanted};
use super::station;
use super::{Arrival, AskedAt, Begun, Client, Pipeline, Running, Work};
use crate::access::narrow::Part;
use crate::access::{Grant, Refusal, Verdict};
use crate::cache::answer::AnswerBuilder;
use crate::cache::key::{Keyed, Owner, write_key};
use crate::cache::{Answer, Fetched, Fill, Lookup, Spelling};
use crate::config::Lifetimes;
use crate::directory::{Asked, Directory, Operation};
use crate::ldap::ResultCode;
use crate::ldap::message::{Scope, Search};
use crate::outcome::{Outcome, Served};
use crate::turns::{Turns, Whose};
use bytes::Bytes;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// A search on its way to the directories.
#[derive(Debug)]
pub(super) struct SearchWork {
    /// `None`: not to be shared or kept.
    key: Option<Arc<[u8]>>,
    /// The number of the one that answers, where there is one.
    directory: Option<usize>,
    lifetimes: Lifetimes,
    errand: Errand,
    stale: Option<Answer>,
    page: Option<PageWanted>,
    /// The client's own time limit.
    give_up_at: Option<Instant>,
}

impl Pipeline {
    /// A search, as far as memory goes.
    pub(super) fn begin_search(&self, arrival: Arrival<'_>, search: &Search<'_>, out: &mut Vec<u8>) -> Result<Begun, Refused> {
        let Arrival { client, asked, controls } = arrival;
        let has_no_controls = controls.is_none();
        let controls = controls::of_search(controls)?;
        if search.base_object.is_empty() && search.scope == Scope::BaseObject {
            return Ok(self.say_root_dse(client, asked, search, out));
        }
        let grant = match self.accesses.decide(&client.asker(), search.base_object, search.scope) {
            Verdict::Allow(grant) => grant,
            Verdict::Refuse(refusal) => return Err(refusal.into()),
        };
        let runs_as_client = grant.runs_as_client();
        if runs_as_client && !client.has_credentials() {
            // Whoever has a name without a directory's password gets nothing of what memory holds for that name.
            return Err(station::BIND_FIRST);
        }
        let access = self.lineage.access(grant.index()).ok_or(Refusal::NO_ACCESS)?;
        let owner = Owner { access, principal: runs_as_client.then(|| client.identity.owner()) };

        KEY.with_borrow_mut(|key| {
            key.clear();
            let travelling = (!controls.travelling.is_empty()).then_some(controls.travelling.as_slice());
            let keyed = write_key(key, owner, self.number(&grant), search, travelling);
            let key = (keyed == Keyed::Cacheable).then_some(key.as_slice());
            let travelling = Arrival { controls: travelling, ..arrival };
            let page = match (controls.page, key) {
                (Some(page), Some(key)) => Some(PageWanted::new(page, key)),
                (Some(_), None) => return Err(controls::UNKNOWN),
                (None, _) => None,
            };

            // What came with controls is not remembered by its octets.
            let spelling = client.standing.filter(|_| has_no_controls).map(|standing| Spelling { standing, op: search.op });
            let found = key.map_or(Lookup::Miss, |key| self.cache.look_up(key, spelling.as_ref(), asked.received_at));
            let stale = match found {
                Lookup::Fresh(answer) if page.is_none() => return Ok(write_hit(asked, answer, out)),
                Lookup::RefreshDue(answer) if page.is_none() => {
                    self.refresh(self.search_work(travelling, &grant, search, key)?);
                    return Ok(write_hit(asked, answer, out));
                }
                Lookup::Stale(answer) => Some(answer),
                Lookup::Fresh(_) | Lookup::RefreshDue(_) | Lookup::Miss => None,
            };
            let work = SearchWork { stale, page, ..self.search_work(travelling, &grant, search, key)? };
            Ok(Running::begun(asked, Work::Search(Box::new(work))))
        })
    }

    /// What must be asked of which directory, and under whose name. All of the arrival's controls travel.
    fn search_work(&self, arrival: Arrival<'_>, grant: &Grant<'_>, search: &Search<'_>, key: Option<&[u8]>) -> Result<SearchWork, Refused> {
        let lifetimes = self.cache.lifetimes(search.filter).map_err(|_| controls::MALFORMED_FILTER)?;
        let parts = grant.narrow(search).map_err(|_| controls::MALFORMED_FILTER)?;
        let entries_wanted = grant.entries_wanted(search.size_limit);
        let mut searches = Vec::with_capacity(parts.len());
        for part in parts {
            searches.push(self.operation(arrival, part, entries_wanted)?);
        }
        let give_up_at = (search.time_limit > 0).then(|| arrival.asked.received_at + Duration::from_secs(search.time_limit.into()));
        Ok(SearchWork {
            key: key.map(Arc::from),
            directory: self.number(grant),
            lifetimes,
            errand: Errand::new(searches, entries_wanted, &self.turns, arrival.client.whose()),
            stale: None,
            page: None,
            give_up_at,
        })
    }

    /// One search for one directory.
    fn operation(
        &self,
        Arrival { client, asked, controls }: Arrival<'_>,
        part: Part,
        entries_wanted: Option<u32>,
    ) -> Result<(Arc<dyn Directory>, Operation), Refused> {
        let station = self.stations.get(part.directory).ok_or(Refusal::NO_ACCESS)?;
        let run_as = station.run_as(client)?;
        let request = Asked::Search { op: part.op, entries_wanted };
        let controls = controls.map(Bytes::copy_from_slice);
        let operation = Operation { run_as, request, controls, deadline: asked.received_at + station.patience };
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
    pub(super) async fn finish_search(&self, mut work: Box<SearchWork>, delivery: Delivery) -> Outcome {
        let page = work.page.take();
        if let Some(page) = page.as_ref().filter(|page| page.is_continuation()) {
            return match self.pages.take(page) {
                Ok(open) => Box::pin(self.pages.deliver(open, page, delivery, Served::Hit)).await,
                Err(refused) => delivery.refuse(refused).await,
            };
        }
        // Where a stale answer can stand in, the directory has until `STALE_AFTER`; else until its own deadline, or the client's.
        let stale = work.stale.take();
        let patience = stale.as_ref().map(|_| delivery.asked().received_at + STALE_AFTER).into_iter().chain(work.give_up_at).min();
        let directory = work.directory;
        let fetched = match patience {
            Some(patience) => timeout_at(patience, self.fetch(work)).await.ok(),
            None => Some(self.fetch(work).await),
        };
        if let Some(Fetched::Answer(answer)) = &fetched
            && !is_failure(answer.code())
        {
            self.directory_answered(directory);
        }
        match (fetched, stale) {
            (Some(Fetched::Answer(answer) | Fetched::Coalesced(answer)), Some(stale)) if is_failure(answer.code()) => {
                self.stale_stands_in(directory, &answer.code());
                self.deliver(stale, Served::Stale, page, delivery).await
            }
            (Some(Fetched::Answer(answer)), _) => self.deliver(answer, Served::Miss, page, delivery).await,
            (Some(Fetched::Coalesced(answer)), _) => self.deliver(answer, Served::Coalesced, page, delivery).await,
            (Some(Fetched::Overflow(overflow)), _) => Box::pin(self.deliver_large(overflow.gathered, overflow.rest, page, delivery)).await,
            (Some(Fetched::NotShared(start)), _) => {
                let fill = self.cache.unshared(start(), directory);
                Box::pin(self.deliver_large(AnswerBuilder::default(), fill, page, delivery)).await
            }
            (Some(Fetched::Failed(error)), Some(stale)) if error.allows_stale() => {
                self.stale_stands_in(directory, &error);
                self.deliver(stale, Served::Stale, page, delivery).await
            }
            (Some(Fetched::Failed(error)), _) => delivery.failed(&error).await,
            (None, Some(stale)) => {
                self.stale_stands_in(directory, &"no answer within 1.8 s");
                self.deliver(stale, Served::Stale, page, delivery).await
            }
            (None, None) => delivery.end(Served::Failed, ResultCode::TIME_LIMIT_EXCEEDED, "the search's own time limit").await,
        }
    }

    async fn fetch(&self, work: Box<SearchWork>) -> Fetched<impl FnOnce() -> Fill + Send + use<>> {
        let SearchWork { key, directory, lifetimes, errand, .. } = *work;
        let start = || errand.set_out();
        match key {
            Some(key) => self.cache.fetch(&key, directory, lifetimes, start).await,
            None => Fetched::NotShared(start),
        }
    }

    /// A whole answer, or its first page.
    async fn deliver(&self, answer: Answer, served: Served, page: Option<PageWanted>, delivery: Delivery) -> Outcome {
        match page {
            Some(page) => Box::pin(self.pages.deliver(page.first_of(answer), &page, delivery, served)).await,
            None => delivery.answer(answer, served).await,
        }
    }

    /// An answer that is too large to keep: passed on as it comes, unless the client wants pages of it.
    async fn deliver_large(&self, gathered: AnswerBuilder, rest: Fill, page: Option<PageWanted>, delivery: Delivery) -> Outcome {
        let Some(page) = page else { return delivery.stream(gathered, rest).await };
        match paging::gather(gathered, rest).await {
            Ok(answer) => self.pages.deliver(page.first_of(answer), &page, delivery, Served::Miss).await,
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

/// The searches to run for one that a client asked, and in whose turn.
#[derive(Debug)]
struct Errand {
    searches: Vec<(Arc<dyn Directory>, Operation)>,
    entries_wanted: Option<u32>,
    turns: Arc<Turns>,
    whose: Whose,
}

impl Errand {
    /// These searches, which together have at most so many entries, for that client.
    fn new(searches: Vec<(Arc<dyn Directory>, Operation)>, entries_wanted: Option<u32>, turns: &Arc<Turns>, whose: Whose) -> Self {
        Self { searches, entries_wanted, turns: Arc::clone(turns), whose }
    }

    /// Sends the searches on their way, when the client's turn has come.
    fn set_out(self) -> Fill {
        let turn = self.turns.ask(self.whose);
        Fill::new(self.searches, self.entries_wanted).in_turn(turn)
    }
}

/// An answer from memory: at once, or in pieces where it is large.
fn write_hit(asked: AskedAt, answer: Answer, out: &mut Vec<u8>) -> Begun {
    if answer.len() > delivery::PIECE {
        return Running::begun(asked, Work::Write(answer));
    }
    answer.write(asked.message_id.wire(), out);
    Begun::Answered(asked.outcome(Served::Hit, answer.code(), answer.entry_count()))
}

thread_local! {
    /// Where keys are written, so that a hit allocates nothing.
    pub(super) static KEY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A directory that has not answered for so long dawdles: a stale answer goes out instead (RFC 8767 section 5 proposes it for DNS).
const STALE_AFTER: Duration = Duration::from_millis(1800);
