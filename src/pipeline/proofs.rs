//! Passwords on their way to a directory: each once, however many ask, and never so many that an account is locked.
//!
//! ```text
//!  recall   accepted or refused a moment ago       ▶ known
//!  flight   the same is being asked: wait for it   ▶ coalesced
//!  guard    has the account attempts left?         ▶ refused here
//!  upstream one bind, never repeated
//!  judge    what did the directory say?            ▶ remembered, counted; sessions that it refuses end
//!  alias    whose name is that?                    ▶ all names of one principal share the above
//! ```
//!
//! What is remembered is in the [`Register`]. A flight is a task of its own: what left is judged even when the phone that asked has gone. Nobody
//! joins a flight that left before the principal was forgotten.

use super::station::last_word;
use crate::config;
use crate::directory::{Asked, Directory, DirectoryError, Done, Groups, Operation, RunAs};
use crate::identity::binds::{Generation, Proved, Recalled};
use crate::identity::judgement::Judgement;
use crate::identity::lockout::Ended;
use crate::identity::mac::Mac;
use crate::identity::principals::Presented;
use crate::identity::register::{Register, Withheld};
use crate::identity::{Principal, Who};
use crate::ldap::ResultCode;
use crate::ldap::ber::Reader;
use crate::ldap::message::LdapResult;
use crate::metrics::Metrics;
use crate::outcome::Served;
use crate::secret::Secret;
use futures_util::future::{self, FutureExt};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

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
    register: Arc<Register>,
    /// By the edition that asks, and what it asks.
    flights: Mutex<HashMap<(u64, Mac), Flight>>,
    /// The one in force.
    edition: AtomicU64,
    metrics: Arc<Metrics>,
}

/// A bind under way, as those see it who want the same.
#[derive(Debug)]
struct Flight {
    generation: Generation,
    landed: Landing,
}

/// Resolves when a flight has landed, or was lost; those who wait learn it in the order in which they began to.
type Landing = future::Shared<oneshot::Receiver<Landed>>;

/// A question that only a directory can answer.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) directory: Arc<dyn Directory>,
    /// Its number, the same in every configuration.
    pub(super) number: usize,
    pub(super) name: String,
    pub(super) password: Secret,
    /// Whoever that is, are they in these?
    pub(super) groups: Arc<Groups>,
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
    /// What becomes of passwords is told to `register`.
    pub(super) fn new(register: Arc<Register>, metrics: Arc<Metrics>) -> Self {
        Self { shared: Arc::new(Shared { register, flights: Mutex::default(), edition: AtomicU64::new(0), metrics }), edition: 0 }
    }

    /// Under the next configuration. Where that sends names elsewhere or remembers for another time, no password is remembered, and nothing
    /// is that was begun before; how many wrong ones an account has had is, whatever changes.
    pub(super) fn succeeding(&self, config: &config::Binds, proves_alike: bool) -> Self {
        let mut edition = self.edition;
        if self.shared.register.go_on(config) || !proves_alike {
            edition = self.shared.edition.fetch_add(1, Ordering::SeqCst) + 1;
            self.shared.register.forget_all();
        }
        Self { shared: Arc::clone(&self.shared), edition }
    }

    /// What is remembered of principals.
    pub(super) fn register(&self) -> &Arc<Register> {
        &self.shared.register
    }

    /// What a directory said a moment ago; `principal` makes an accepted one anew where no session of it lives.
    pub(super) fn recall(&self, presented: &Presented, principal: impl FnOnce(Option<Arc<Who>>) -> Principal) -> Recalled {
        let recalled = self.shared.register.recall(presented, principal);
        // Asked afterwards: what the next edition has forgotten is not remembered again by this one.
        let is_outdated = self.edition != self.shared.edition.load(Ordering::SeqCst);
        if is_outdated { Recalled::Unknown(Generation::UNTOLD) } else { recalled }
    }

    /// Asks, or joins who is asking the same; the answer comes by the question's deadline.
    ///
    /// Cancel safe: what is asked is asked to its end.
    pub(super) async fn ask(&self, presented: &Presented, generation: Generation, question: Question) -> (Landed, Served) {
        let deadline = question.deadline;
        let (landed, served) = match self.board(presented, generation, question) {
            Ok(boarded) => boarded,
            Err(error) => return (Landed::Failed(error), Served::Failed),
        };
        let landed = match timeout_at(deadline, landed).await {
            Ok(Ok(landed)) => landed,
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

    /// Passwords that are being asked about.
    pub(super) fn under_way(&self) -> usize {
        self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn board(&self, presented: &Presented, generation: Generation, question: Question) -> Result<(Landing, Served), DirectoryError> {
        let mut flights = self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = (self.edition, presented.proof);
        let is_in_time = |flight: &&Flight| self.shared.register.is_as_remembered(presented, flight.generation);
        if let Some(flight) = flights.get(&flight).filter(is_in_time) {
            return Ok((flight.landed.clone(), Served::Coalesced));
        }
        if flights.len() >= MAX_FLIGHTS {
            return Err(DirectoryError::Busy);
        }
        let (tell, landed) = oneshot::channel();
        let landed = landed.shared();
        flights.insert(flight, Flight { generation, landed: landed.clone() });
        drop(flights);
        let place = Place { shared: Arc::clone(&self.shared), flight, landed: landed.clone() };
        tokio::spawn(fly(place, *presented, generation, question, tell));
        Ok((landed, Served::Forwarded))
    }
}

/// One flight. Its answer is remembered before it leaves the table, so whoever comes finds one or the other.
async fn fly(place: Place, presented: Presented, generation: Generation, question: Question, tell: oneshot::Sender<Landed>) {
    let landed = place.shared.prove(&presented, generation, &question).await;
    drop(place);
    // Whoever asked may be gone.
    tell.send(landed).ok();
}

impl Shared {
    async fn prove(&self, presented: &Presented, generation: Generation, question: &Question) -> Landed {
        let register = &self.register;
        // Another flight may have landed since this one's client looked.
        if let Some(proved) = register.accepted_as(presented) {
            return Landed::Accepted(proved);
        }
        if register.is_rejected(presented) {
            return Landed::Rejected;
        }
        let attempt = match register.admit(presented, Some(question.peer), question.deadline).await {
            Ok(attempt) => attempt,
            Err(Withheld::Guarded) => return Landed::Guarded(ResultCode::INVALID_CREDENTIALS),
            Err(Withheld::Unanswered) => return Landed::Guarded(ResultCode::UNAVAILABLE),
            Err(Withheld::Busy) => return Landed::Failed(DirectoryError::Busy),
        };
        let operation = Operation {
            run_as: RunAs::Service,
            request: Asked::Bind { name: question.name.clone(), password: question.password.clone(), groups: Arc::clone(&question.groups) },
            controls: None,
            deadline: question.deadline,
        };
        let asked_at = Instant::now();
        let answered = last_word(&*question.directory, operation).await;
        let judgement = answered.as_ref().map(|(done, _)| judge(done));
        register.ended(&question.name, attempt, judgement.map_or_else(ended_without_answer, Ended::Answered));
        let proved = Proved { who: answered.as_ref().ok().and_then(|(_, who)| who.clone()) };
        if let Some(who) = &proved.who {
            register.learn(&question.name, question.number, who);
        }
        // The name may have turned out to be one of several, by this flight or another.
        let presented = &register.present(presented.listener, &question.name, &question.password);
        if let Ok(judgement) = judgement {
            register.judged(presented, generation, asked_at, judgement, proved.clone());
        }
        match answered {
            Ok(_) if judgement == Ok(Judgement::Right) => Landed::Accepted(proved),
            Ok((done, _)) => Landed::Answered(done),
            Err(error) => Landed::Failed(error),
        }
    }
}

/// A flight's place in the table; given up when dropped, whatever became of the task.
struct Place {
    shared: Arc<Shared>,
    flight: (u64, Mac),
    landed: Landing,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut flights = self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner);
        // After the principal was forgotten, another may stand there.
        if flights.get(&self.flight).is_some_and(|flight| flight.landed.ptr_eq(&self.landed)) {
            flights.remove(&self.flight);
        }
    }
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

/// Different passwords being proved at once: a bound on what a flood of binds can hold.
const MAX_FLIGHTS: usize = 4096;
