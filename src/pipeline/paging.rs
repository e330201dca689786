//! Pages for clients that ask for them (RFC 2696), cut from a whole answer that is held until the last one is fetched.
//!
//! No controller keeps anything for it, so the pages of one search need neither the same connection upstream nor downstream. A cookie is 128
//! random bits, good for one page of the one search (and the one access or principal, which its key holds) that it was given for. A dead
//! cookie is an error and never a silent restart.

use super::controls::Refused;
use super::delivery::{Delivery, PIECE};
use crate::cache::answer::AnswerBuilder;
use crate::cache::{Answer, Fill};
use crate::directory::{DirectoryError, Reply};
use crate::ldap::ResultCode;
use crate::ldap::control::{PagedResults, write_control};
use crate::ldap::envelope::{op, write_envelope};
use crate::ldap::oid;
use crate::ldap::response::write_result_op;
use crate::outcome::{Outcome, Served};
use moka::sync::Cache;
use std::time::Duration;

/// What a client asks of the next page.
#[derive(Debug)]
pub(super) struct PageWanted {
    size: usize,
    cookie: Box<[u8]>,
    /// The key of the search that it is a page of.
    key: Box<[u8]>,
}

/// An answer that has been delivered up to some entry.
#[derive(Debug, Clone)]
pub(super) struct Open {
    /// The key of the search that it answers.
    key: Box<[u8]>,
    answer: Answer,
    next: usize,
}

/// The answers that are being fetched page by page.
#[derive(Debug)]
pub(super) struct Pages {
    open: Cache<Cookie, Open>,
}

type Cookie = [u8; 16];

impl PageWanted {
    pub(super) fn new(control: PagedResults<'_>, key: &[u8]) -> Self {
        Self { size: usize::try_from(control.size).unwrap_or(usize::MAX), cookie: control.cookie.into(), key: key.into() }
    }

    /// Not the first page.
    pub(super) const fn is_continuation(&self) -> bool {
        !self.cookie.is_empty()
    }

    /// The answer to its search, of which nothing has been delivered yet.
    pub(super) fn first_of(&self, answer: Answer) -> Open {
        Open { key: self.key.clone(), answer, next: 0 }
    }
}

impl Pages {
    /// Holds answers of up to a quarter of the cache's `capacity` octets beside it.
    pub(super) fn new(capacity: u64) -> Self {
        let weigh = |_: &Cookie, open: &Open| u32::try_from(open.key.len() + open.answer.len()).unwrap_or(u32::MAX);
        Self { open: Cache::builder().max_capacity(capacity / 4).weigher(weigh).time_to_live(COOKIE_LIFETIME).build() }
    }

    /// How many there are.
    pub(super) fn open(&self) -> u64 {
        self.open.run_pending_tasks();
        self.open.entry_count()
    }

    /// The answer that a cookie stands for, once.
    pub(super) fn take(&self, page: &PageWanted) -> Result<Open, Refused> {
        let cookie = Cookie::try_from(page.cookie.as_ref()).map_err(|_| DEAD_COOKIE)?;
        // Another search's cookie stays good for that one.
        self.open.get(&cookie).filter(|open| open.key == page.key).ok_or(DEAD_COOKIE)?;
        self.open.remove(&cookie).ok_or(DEAD_COOKIE)
    }

    /// One page, and a cookie for the next.
    pub(super) async fn deliver(&self, mut open: Open, page: &PageWanted, delivery: Delivery, served: Served) -> Outcome {
        let id = delivery.asked().message_id.wire();
        let total = open.answer.entry_count();
        // Size zero ends the search where a cookie comes with it, and asks for everything where none does.
        let size = if page.size == 0 && !page.is_continuation() { usize::MAX } else { page.size };
        let answer = open.answer.clone();
        let mut octets = Vec::new();
        let mut delivered = 0u32;
        for entry in answer.entries().skip(open.next).take(size) {
            write_envelope(&mut octets, id, entry, None);
            delivered += 1;
            if octets.len() >= PIECE && !delivery.part(std::mem::take(&mut octets)).await {
                break;
            }
        }
        open.next += usize::try_from(delivered).unwrap_or(usize::MAX);
        let more = size > 0 && open.next < usize::try_from(total).unwrap_or(usize::MAX);
        let (code, cookie) = match more.then(|| self.put(open)) {
            None => (answer.code(), None),
            Some(Some(cookie)) => (ResultCode::SUCCESS, Some(cookie)),
            Some(None) => return delivery.end(Served::Failed, ResultCode::BUSY, "no randomness for a cookie").await,
        };
        let mut done = Vec::new();
        match cookie {
            Some(_) => write_result_op(&mut done, op::SEARCH_RESULT_DONE, ResultCode::SUCCESS, "", ""),
            None => done.extend_from_slice(answer.done_op()),
        }
        let mut control = Vec::new();
        let value = PagedResults { size: total, cookie: cookie.as_ref().map_or(&[], |cookie| cookie.as_slice()) }.encode();
        write_control(&mut control, oid::PAGED_RESULTS, false, Some(&value));
        write_envelope(&mut octets, id, &done, Some(&control));
        delivery.finish(octets, served, code, delivered).await
    }

    /// Keeps what is left under a fresh cookie.
    fn put(&self, open: Open) -> Option<Cookie> {
        let mut cookie = Cookie::default();
        getrandom::fill(&mut cookie).ok()?;
        self.open.insert(cookie, open);
        Some(cookie)
    }
}

/// The whole of an answer that is too large for the cache; too large for this as well is adminLimitExceeded... of the directory's size, so Busy.
///
/// # Errors
/// When the directory gives no answer, or one of more than [`MAX_GATHERED`] octets.
pub(super) async fn gather(mut gathered: AnswerBuilder, mut rest: Fill) -> Result<Answer, DirectoryError> {
    loop {
        match rest.next().await? {
            Reply::Entry(entry) => gathered.push_entry(&entry),
            Reply::Intermediate(_) | Reply::Who(_) => {}
            Reply::Again => gathered.truncate(rest.entries()),
            Reply::Done(done) => return Ok(gathered.finish(done.code, &done.op)),
        }
        if gathered.len() > MAX_GATHERED {
            return Err(DirectoryError::Busy);
        }
    }
}

/// A client that pauses for so long between two pages starts again; Active Directory gives up after 120 s or so.
const COOKIE_LIFETIME: Duration = Duration::from_secs(300);

/// The most octets of one answer that is held for paging.
const MAX_GATHERED: usize = 64 * 1024 * 1024;

const DEAD_COOKIE: Refused =
    Refused { code: ResultCode::UNWILLING_TO_PERFORM, reason: "the paged search's cookie is not good (any more): start the search again" };
