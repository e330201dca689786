//! One phone: takes the next operation when it is due, carries it out, counts what happened.

use super::door::Door;
use super::line::Line;
use super::pace::{Pace, Ticket};
use super::patience::{Patience, within};
use super::question::{Question, Request};
use super::script::{Errand, Plan, Script};
use super::tally::{Mishap, Step, Tally};
use super::verify::Answer;
use crate::ldap::envelope::op;
use rustls::{ClientConfig, HandshakeKind};
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// What all phones share.
pub(super) struct Swarm {
    pub(super) door: Door,
    pub(super) plan: Plan,
    /// For whoever binds.
    pub(super) bind: Request,
    /// Whether each connection begins with it.
    pub(super) binds_first: bool,
    /// Whether a connection stays for the next operation.
    pub(super) keep: bool,
    /// For one operation, with all that it needs.
    pub(super) patience: Duration,
    pub(super) live: Live,
    /// Each for some of the phones, so that they do not wait for each other.
    pub(super) tallies: Vec<Mutex<Tally>>,
}

/// Counts to look at while it runs.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub(super) operations: AtomicU64,
    pub(super) mishaps: AtomicU64,
    pub(super) wrong: AtomicU64,
}

impl Swarm {
    /// Counts something that the phone with this number met.
    fn count(&self, phone: usize, what: impl FnOnce(&mut Tally)) {
        if let Some(tally) = self.tallies.get(phone % self.tallies.len().max(1)) {
            what(&mut tally.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn mishap(&self, phone: usize, mishap: &Mishap) {
        self.live.mishaps.fetch_add(1, Ordering::Relaxed);
        self.count(phone, |tally| tally.mishap(mishap));
    }

    /// All counts together, which begin anew.
    pub(super) fn take(&self) -> Tally {
        let mut sum = Tally::new();
        for tally in &self.tallies {
            sum.add(&mem::replace(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner), Tally::new()));
        }
        sum
    }

    /// All counts together.
    pub(super) fn sum(&self) -> Tally {
        let mut sum = Tally::new();
        for tally in &self.tallies {
            sum.add(&tally.lock().unwrap_or_else(PoisonError::into_inner));
        }
        sum
    }
}

/// See the module.
pub(super) struct Phone {
    index: usize,
    swarm: Arc<Swarm>,
    memory: Option<Arc<ClientConfig>>,
    line: Option<Line>,
}

impl Phone {
    /// Not connected yet.
    pub(super) fn new(index: usize, swarm: Arc<Swarm>) -> Self {
        let memory = swarm.door.memory();
        Self { index, swarm, memory, line: None }
    }

    /// Connects before anything is measured, for a connection that is kept.
    pub(super) async fn prepare(mut self) -> Self {
        let patience = self.swarm.patience;
        if let Err(mishap) = within(patience, self.arrive(false, Instant::now())).await {
            self.line = None;
            self.swarm.mishap(self.index, &mishap);
        }
        self
    }

    /// Goes on until there are no more operations.
    pub(super) async fn run(mut self, pace: Arc<Pace>) {
        let swarm = Arc::clone(&self.swarm);
        let mut script = Script::new(&swarm.plan, self.index as u64);
        let mut patience = Patience::new(swarm.patience);
        while let Some(ticket) = pace.next().await {
            let errand = script.next(ticket.number);
            if let Err(mishap) = patience.within(ticket.begun.into(), self.carry_out(&errand, ticket)).await {
                self.line = None;
                swarm.mishap(self.index, &mishap);
                // A server that refuses is not to be hammered.
                sleep(PAUSE).await;
            } else if !swarm.keep {
                self.hang_up().await;
            }
        }
        self.hang_up().await;
    }

    /// Each step begins when the one before it has ended.
    async fn carry_out(&mut self, errand: &Errand<'_>, ticket: Ticket) -> Result<(), Mishap> {
        let mut now = ticket.begun;
        if self.line.is_none() {
            now = Box::pin(self.arrive(errand.bind, now)).await?;
        } else if errand.bind {
            now = self.bind(now).await?;
        }
        if let Some(question) = errand.search {
            now = self.search(errand.overtaken, question, now).await?;
        }
        self.swarm.live.operations.fetch_add(1, Ordering::Relaxed);
        self.swarm.count(self.index, |tally| tally.took(Step::Operation, now.saturating_duration_since(ticket.due)));
        Ok(())
    }

    /// Connects, and binds where it should or each connection begins so. When that was done.
    async fn arrive(&mut self, bind: bool, begun: Instant) -> Result<Instant, Mishap> {
        let (line, handshake) = self.swarm.door.connect(self.index, self.memory.as_ref()).await?;
        let now = Instant::now();
        self.line = Some(line);
        self.swarm.count(self.index, |tally| {
            tally.took(Step::Connect, now.saturating_duration_since(begun));
            tally.connections += 1;
            match handshake {
                Some(HandshakeKind::Resumed) => tally.resumed_handshakes += 1,
                Some(_) => tally.full_handshakes += 1,
                None => {}
            }
        });
        if bind || self.swarm.binds_first { self.bind(now).await } else { Ok(now) }
    }

    /// When it was answered.
    async fn bind(&mut self, begun: Instant) -> Result<Instant, Mishap> {
        let Some(line) = &mut self.line else { return Ok(begun) };
        let id = line.send(&self.swarm.bind).await?;
        let code = line.result(id, op::BIND_RESPONSE).await?;
        let now = Instant::now();
        self.swarm.count(self.index, |tally| {
            tally.took(Step::Bind, now.saturating_duration_since(begun));
            tally.result(Step::Bind, code);
        });
        Ok(now)
    }

    /// When it was answered.
    async fn search(&mut self, overtaken: Option<&Question>, question: &Question, begun: Instant) -> Result<Instant, Mishap> {
        let Some(line) = &mut self.line else { return Ok(begun) };
        let (begun, id) = match overtaken {
            Some(overtaken) => {
                let first = line.send(&overtaken.request).await?;
                (Instant::now(), line.send_instead(first, &question.request).await?)
            }
            None => (begun, line.send(&question.request).await?),
        };
        let answer = Answer::to(question, line, id).await?;
        let now = Instant::now();
        if answer.verdict.is_err() {
            self.swarm.live.wrong.fetch_add(1, Ordering::Relaxed);
        }
        self.swarm.count(self.index, |tally| {
            tally.took(Step::Search, now.saturating_duration_since(begun));
            tally.result(Step::Search, answer.code);
            tally.entries += u64::from(answer.entries);
            tally.abandoned += u64::from(overtaken.is_some());
            if let Err(wrong) = answer.verdict {
                tally.wrong(wrong, &question.text);
            }
        });
        Ok(now)
    }

    async fn hang_up(&mut self) {
        if let Some(line) = self.line.take() {
            // A server that does not read any more is left alone.
            let _ = timeout(PAUSE, line.hang_up()).await;
        }
    }
}

/// After a mishap, and at most for a farewell.
const PAUSE: Duration = Duration::from_millis(100);
