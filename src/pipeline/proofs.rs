//! Passwords on their way to a directory: each once, however many ask, and never so many that an account is locked.
//!
//! ```text
//!  recall   accepted or refused a moment ago       ▶ known
//!  flight   the same is being asked: wait for it   ▶ coalesced
//!  guard    has the account attempts left?         ▶ refused here
//!  upstream one bind, never repeated
//!  judge    what did the directory say?            ▶ remembered, counted
//!  alias    whose name is that?                    ▶ all names of one principal share the above
//! ```
//!
//! A flight is a task of its own: what left is judged even when the phone that asked has gone.

use crate::config;
use crate::directory::{Asked, Directory, DirectoryError, Done, Operation, Reply, RunAs};
use crate::identity::binds::{BindCache, Generation, Proved, Recalled};
use crate::identity::judgement::Judgement;
use crate::identity::lockout::{Admission, Attempt, Closed, Ended, LockoutGuard};
use crate::identity::principals::{Mac, Presented, Principals};
use crate::identity::{Principal, Who};
use crate::ldap::ResultCode;
use crate::ldap::ber::Reader;
use crate::ldap::message::LdapResult;
use crate::metrics::Metrics;
use crate::outcome::Served;
use crate::secret::Secret;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

/// See the module.
#[derive(Debug)]
pub(super) struct Proofs {
    shared: Arc<Shared>,
    /// What was proved in another edition proves nothing in this one.
    edition: u64,
}

/// What the flights' tasks need.
#[derive(Debug)]
struct Shared {
    principals: Principals,
    cache: BindCache,
    guard: Arc<LockoutGuard>,
    /// By the edition that asks, and what it asks.
    flights: Mutex<HashMap<(u64, Mac), watch::Receiver<Option<Landed>>>>,
    /// The one in force.
    edition: AtomicU64,
    metrics: Arc<Metrics>,
}

/// A question that only a directory can answer.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) directory: Arc<dyn Directory>,
    /// Its number, the same in every configuration.
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) password: Secret,
    pub(super) peer: IpAddr,
    pub(super) deadline: Instant,
}

/// How it ended.
#[derive(Debug, Clone)]
pub(super) enum Landed {
    /// The directory accepted the password.
    Accepted(Proved),
    /// The directory had refused the same a moment before.
    Rejected,
    /// The directory said something else.
    Answered(Done),
    /// The guard let nothing out: what the client is told.
    Guarded(ResultCode),
    /// The directory gave no answer.
    Failed(DirectoryError),
}

impl Proofs {
    /// Nothing is known yet.
    pub(super) fn new(config: &config::Binds, metrics: Arc<Metrics>) -> Self {
        let (cache, guard) = (BindCache::new(config), Arc::new(LockoutGuard::new(config)));
        let principals = Principals::new(&random_key());
        let shared = Shared { principals, cache, guard, flights: Mutex::default(), edition: AtomicU64::new(0), metrics };
        Self { shared: Arc::new(shared), edition: 0 }
    }

    /// Under the next configuration. Where that sends names elsewhere or remembers for another time, no password is remembered, and nothing
    /// is that was begun before; how many wrong ones an account has had is, whatever changes.
    pub(super) fn succeeding(&self, config: &config::Binds, proves_alike: bool) -> Self {
        self.shared.guard.go_on(config);
        let mut edition = self.edition;
        if self.shared.cache.go_on(config) || !proves_alike {
            edition = self.shared.edition.fetch_add(1, Ordering::SeqCst) + 1;
            self.shared.cache.forget_all();
        }
        Self { shared: Arc::clone(&self.shared), edition }
    }

    /// What is remembered of a name and a password that came at a listener.
    pub(super) fn present(&self, listener: usize, name: &str, password: &Secret) -> Presented {
        self.shared.principals.present(listener, name, password)
    }

    /// What a directory said a moment ago; `principal` makes an accepted one anew where no session of it lives.
    pub(super) fn recall(&self, presented: &Presented, principal: impl FnOnce(Option<Arc<Who>>) -> Principal) -> Recalled {
        let recalled = self.shared.cache.recall(presented, Instant::now(), principal);
        // Asked afterwards: what the next edition has forgotten is not remembered again by this one.
        let is_outdated = self.edition != self.shared.edition.load(Ordering::SeqCst);
        if is_outdated { Recalled::Unknown(Generation::UNTOLD) } else { recalled }
    }

    /// Asks, or joins who is asking the same; the answer comes by the question's deadline.
    ///
    /// Cancel safe: what is asked is asked to its end.
    pub(super) async fn ask(&self, presented: &Presented, generation: Generation, question: Question) -> (Landed, Served) {
        let deadline = question.deadline;
        let (mut landed, served) = match self.board(presented, generation, question) {
            Ok(boarded) => boarded,
            Err(error) => return (Landed::Failed(error), Served::Failed),
        };
        let landed = match timeout_at(deadline, landed.wait_for(Option::is_some)).await {
            Ok(Ok(landed)) => landed.clone().unwrap_or(Landed::Failed(DirectoryError::Unavailable)),
            Ok(Err(_)) => Landed::Failed(DirectoryError::Unavailable),
            Err(_) => Landed::Failed(DirectoryError::TimedOut),
        };
        let served = match landed {
            Landed::Accepted(_) | Landed::Rejected | Landed::Answered(_) => served,
            Landed::Guarded(_) => {
                self.shared.metrics.lockout_guard_refused();
                Served::Refused
            }
            Landed::Failed(_) => Served::Failed,
        };
        (landed, served)
    }

    /// A directory has refused a connection as this client, or its account has changed: what is remembered is not to be trusted.
    pub(super) fn forget(&self, name: &str) {
        self.shared.cache.forget(&self.shared.principals.principal(name));
    }

    /// Principals that have no attempt left.
    pub(super) fn guarded(&self) -> usize {
        self.shared.guard.closed(Instant::now())
    }

    fn board(
        &self,
        presented: &Presented,
        generation: Generation,
        question: Question,
    ) -> Result<(watch::Receiver<Option<Landed>>, Served), DirectoryError> {
        let mut flights = self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = flights.len() >= MAX_FLIGHTS;
        let vacant = match flights.entry((self.edition, presented.proof)) {
            Entry::Occupied(flight) => return Ok((flight.get().clone(), Served::Coalesced)),
            Entry::Vacant(_) if is_full => return Err(DirectoryError::Busy),
            Entry::Vacant(vacant) => vacant,
        };
        let (tell, landed) = watch::channel(None);
        vacant.insert(landed.clone());
        drop(flights);
        let place = Place { shared: Arc::clone(&self.shared), flight: (self.edition, presented.proof) };
        tokio::spawn(fly(place, *presented, generation, question, tell));
        Ok((landed, Served::Forwarded))
    }
}

/// One flight. Its answer is remembered before it leaves the table, so whoever comes finds one or the other.
async fn fly(place: Place, presented: Presented, generation: Generation, question: Question, tell: watch::Sender<Option<Landed>>) {
    let landed = place.shared.prove(&presented, generation, &question).await;
    drop(place);
    tell.send_replace(Some(landed));
}

impl Shared {
    async fn prove(&self, presented: &Presented, generation: Generation, question: &Question) -> Landed {
        // Another flight may have landed since this one's client looked.
        let now = Instant::now();
        if let Some(proved) = self.cache.accepted_as(presented, now) {
            return Landed::Accepted(proved);
        }
        if self.cache.is_rejected(presented, now) {
            return Landed::Rejected;
        }
        let attempt = match self.admission(presented, question).await {
            Ok(attempt) => attempt,
            Err(landed) => return landed,
        };
        let operation = Operation {
            run_as: RunAs::Service,
            request: Asked::Bind { name: question.name.clone(), password: question.password.clone() },
            controls: None,
            deadline: question.deadline,
        };
        let asked_at = Instant::now();
        let answered = last_word(&*question.directory, operation).await;
        let judgement = answered.as_ref().map(|(done, _)| judge(done));
        let ended = judgement.map_or_else(ended_without_answer, Ended::Answered);
        if let Some(closed) = attempt.ended(ended, Instant::now()) {
            warn(&question.name, &closed);
        }
        tracing::debug!(?ended, "a password was shown to a directory");
        let proved = Proved { who: answered.as_ref().ok().and_then(|(_, who)| who.clone()) };
        if let Some(who) = &proved.who {
            self.learn(question, who);
        }
        // The name may have turned out to be one of several, by this flight or another.
        let presented = &self.principals.present(presented.listener, &question.name, &question.password);
        match judgement {
            Ok(Judgement::Right) => self.cache.accept(presented, generation, asked_at, proved.clone()),
            Ok(Judgement::Wrong) => self.cache.reject(presented, generation, asked_at),
            Ok(Judgement::AccountState | Judgement::Unclear) => self.cache.forget(&presented.principal),
            Ok(Judgement::Nothing) | Err(_) => {}
        }
        match answered {
            Ok(_) if judgement == Ok(Judgement::Right) => Landed::Accepted(proved),
            Ok((done, _)) => Landed::Answered(done),
            Err(error) => Landed::Failed(error),
        }
    }

    /// A directory has said whose name that is: what is known of the name is known of that principal.
    fn learn(&self, question: &Question, who: &Who) {
        if let Some(alias) = self.principals.learn_alias(&question.name, question.number, &who.canonical) {
            self.guard.merge(&alias);
            self.cache.merge(&alias);
        }
    }

    /// Waits until the guard says yes or no.
    async fn admission(&self, presented: &Presented, question: &Question) -> Result<Attempt, Landed> {
        loop {
            match self.guard.admit(presented, question.peer, Instant::now()) {
                Admission::Admitted(attempt) => return Ok(attempt),
                Admission::Refused => return Err(Landed::Guarded(ResultCode::INVALID_CREDENTIALS)),
                Admission::Unanswered => return Err(Landed::Guarded(ResultCode::UNAVAILABLE)),
                Admission::Wait(mut changed) => {
                    // An error means that the other end is gone: there is nothing to wait for.
                    let Ok(_) = timeout_at(question.deadline, changed.changed()).await else {
                        return Err(Landed::Failed(DirectoryError::Busy));
                    };
                }
            }
        }
    }
}

/// A flight's place in the table; given up when dropped, whatever became of the task.
struct Place {
    shared: Arc<Shared>,
    flight: (u64, Mac),
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.flight);
    }
}

/// The response to a bind, and whose name that was where the directory says.
async fn last_word(directory: &dyn Directory, operation: Operation) -> Result<(Done, Option<Arc<Who>>), DirectoryError> {
    let deadline = operation.deadline;
    let answered = async {
        let mut replies = directory.run(operation).await?;
        let mut who = None;
        while let Some(reply) = replies.next().await {
            match reply? {
                Reply::Who(found) => who = Some(Arc::new(found)),
                Reply::Done(done) => return Ok((done, who)),
                Reply::Entry(_) | Reply::Intermediate(_) | Reply::Again => {}
            }
        }
        Err(DirectoryError::ConnectionLost { sent: true })
    };
    timeout_at(deadline, answered).await.unwrap_or(Err(DirectoryError::TimedOut))
}

/// What a response says about the password.
fn judge(done: &Done) -> Judgement {
    let content = Reader::new(&done.op).element().map(|op| op.content).unwrap_or_default();
    let diagnostic = LdapResult::parse(content).map(|result| result.diagnostic).unwrap_or_default();
    Judgement::of(done.code, diagnostic)
}

/// May the password have been counted?
const fn ended_without_answer(error: &DirectoryError) -> Ended {
    match error {
        DirectoryError::ConnectionLost { sent: true } | DirectoryError::TimedOut | DirectoryError::Misbehaved(_) => Ended::Unanswered,
        DirectoryError::Unavailable
        | DirectoryError::ConnectionLost { sent: false }
        | DirectoryError::Busy
        | DirectoryError::CredentialsRefused
        | DirectoryError::NotSupported => Ended::NotSent,
    }
}

/// The administrator must know which account, and where to look for the phones.
fn warn(name: &str, closed: &Closed) {
    let peers = closed.peers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
    let name: String = name.chars().take(LONGEST_NAME_LOGGED).collect();
    tracing::warn!(
        account = ?name,
        from = %peers,
        "too many wrong passwords: new ones are refused here for a while, so that the account is not locked (see [binds])"
    );
}

/// The key of the digests, this process's own.
#[expect(clippy::expect_used, reason = "without random numbers there is no TLS either; this runs once, before anybody connects")]
fn random_key() -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut_slice()).expect("the operating system has random numbers");
    key
}

/// Different passwords being proved at once: a bound on what a flood of binds can hold.
const MAX_FLIGHTS: usize = 4096;
/// Characters of a name in the log: the longest that a directory knows are shorter.
const LONGEST_NAME_LOGGED: usize = 256;
