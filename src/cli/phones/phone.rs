//! One phone: takes the next operation when it is due, carries it out, counts what happened.

use super::door::Door;
use super::line::Line;
use super::pace::{Pace, Ticket};
use super::question::{Question, Request};
use super::script::{Errand, Plan, Script};
use super::tally::{Mishap, Step, Tally, Trouble};
use super::verify::Check;
use crate::ldap::ResultCode;
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
        let swarm = Arc::clone(&self.swarm);
        if let Err(mishap) = within(swarm.patience, self.ready(false)).await {
            self.line = None;
            swarm.mishap(self.index, &mishap);
        }
        self
    }

    /// Goes on until there are no more operations.
    pub(super) async fn run(mut self, pace: Arc<Pace>) {
        let swarm = Arc::clone(&self.swarm);
        let mut script = Script::new(&swarm.plan, self.index as u64);
        while let Some(ticket) = pace.next().await {
            let errand = script.next(ticket.number);
            if let Err(mishap) = within(swarm.patience, self.carry_out(&errand, ticket)).await {
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

    async fn carry_out(&mut self, errand: &Errand<'_>, ticket: Ticket) -> Result<(), Mishap> {
        let swarm = Arc::clone(&self.swarm);
        let has_bound = self.ready(errand.bind).await?;
        if errand.bind && !has_bound {
            self.bind().await?;
        }
        if let Some(question) = errand.search {
            self.search(errand.overtaken, question).await?;
        }
        swarm.live.operations.fetch_add(1, Ordering::Relaxed);
        swarm.count(self.index, |tally| tally.took(Step::Operation, ticket.due.elapsed()));
        Ok(())
    }

    /// Connects where it is not connected, and then binds where it should; whether it has bound.
    async fn ready(&mut self, bind: bool) -> Result<bool, Mishap> {
        if self.line.is_some() {
            return Ok(false);
        }
        let begun = Instant::now();
        let (line, handshake) = Box::pin(self.swarm.door.connect(self.index, self.memory.as_ref())).await?;
        self.line = Some(line);
        self.swarm.count(self.index, |tally| {
            tally.took(Step::Connect, begun.elapsed());
            tally.connections += 1;
            match handshake {
                Some(HandshakeKind::Resumed) => tally.resumed_handshakes += 1,
                Some(_) => tally.full_handshakes += 1,
                None => {}
            }
        });
        if bind || self.swarm.binds_first {
            self.bind().await?;
            return Ok(true);
        }
        Ok(false)
    }

    async fn bind(&mut self) -> Result<(), Mishap> {
        let swarm = Arc::clone(&self.swarm);
        let Some(line) = &mut self.line else { return Ok(()) };
        let begun = Instant::now();
        let id = line.send(&swarm.bind).await?;
        let code = line.result(id, op::BIND_RESPONSE).await?;
        swarm.count(self.index, |tally| {
            tally.took(Step::Bind, begun.elapsed());
            tally.result("bind", code);
        });
        Ok(())
    }

    async fn search(&mut self, overtaken: Option<&Question>, question: &Question) -> Result<(), Mishap> {
        let Some(line) = &mut self.line else { return Ok(()) };
        let mut begun = Instant::now();
        let id = match overtaken {
            Some(overtaken) => {
                let first = line.send(&overtaken.request).await?;
                begun = Instant::now();
                line.send_instead(first, &question.request).await?
            }
            None => line.send(&question.request).await?,
        };
        let mut check = Check::new(question);
        let code = read_answer(line, id, &mut check).await?;
        let took = begun.elapsed();
        let entries = check.entries();
        let verdict = check.finish(code);
        if verdict.is_err() {
            self.swarm.live.wrong.fetch_add(1, Ordering::Relaxed);
        }
        self.swarm.count(self.index, |tally| {
            tally.took(Step::Search, took);
            tally.result("search", code);
            tally.entries += u64::from(entries);
            tally.abandoned += u64::from(overtaken.is_some());
            if let Err(wrong) = verdict {
                tally.wrong(wrong, &question.text);
            }
        });
        Ok(())
    }

    async fn hang_up(&mut self) {
        if let Some(line) = self.line.take() {
            // A server that does not read any more is left alone.
            let _ = timeout(PAUSE, line.hang_up()).await;
        }
    }
}

async fn read_answer(line: &mut Line, id: u8, check: &mut Check<'_>) -> Result<ResultCode, Mishap> {
    loop {
        let reply = line.reply(id).await?;
        let view = reply.view().map_err(super::line::malformed)?;
        if let Some(code) = view.done()? {
            return Ok(code);
        }
        if view.op_tag == op::SEARCH_RESULT_ENTRY {
            check.entry(view.op, view.content);
        }
    }
}

/// Ends what takes too long. A connection on which something was cut off must not be used again.
pub(super) async fn within<T>(patience: Duration, work: impl Future<Output = Result<T, Mishap>>) -> Result<T, Mishap> {
    match timeout(patience, work).await {
        Ok(result) => result,
        Err(_) => Err(Mishap::new(Trouble::Timeout, format_args!("not answered within {patience:?}"))),
    }
}

/// After a mishap, and at most for a farewell.
const PAUSE: Duration = Duration::from_millis(100);
