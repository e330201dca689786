//! Compares, writes and Password Modify: passed on once, to the directory that holds the entry.
//!
//! A write runs on a connection bound as the client and is never retried. What it may have touched is gone from the cache before the
//! client hears of it; so it is when the outcome is unknown, which the client is told.

use super::controls::{self, Refused};
use super::delivery::Delivery;
use super::{Arrival, AskedAt, Begun, Client, Pipeline, Running, Work};
use crate::access::{Refusal, Verdict};
use crate::cache::Fill;
use crate::directory::{Asked, DirectoryError, Done, Operation, Reply};
use crate::ldap::ResultCode;
use crate::ldap::message::{Compare, Extended, Scope, Write};
use crate::ldap::oid;
use crate::outcome::{Outcome, Served};
use crate::turns::Turn;
use bytes::Bytes;
use std::sync::Arc;

/// One operation on its way to one directory.
#[derive(Debug)]
pub(super) struct ForwardWork {
    directory: usize,
    operation: Operation,
    /// For a compare: a search that must find the entry first, where the access hides some.
    guard: Option<Box<Operation>>,
    /// It changes something, so an outcome may be unknown and the cache must forget.
    change: Option<Box<Change>>,
    turn: Turn,
}

/// What is written, as far as memory must know.
#[derive(Debug)]
struct Change {
    /// Who writes.
    writer: String,
    /// The entry that is written; of a Password Modify whoever it names.
    target: String,
    /// The password of the target may be another afterwards.
    password: bool,
}

impl Pipeline {
    /// A compare, of attributes that the access shows, on entries that it shows.
    pub(super) fn begin_compare(&self, Arrival { client, asked, controls }: Arrival<'_>, compare: &Compare<'_>) -> Result<Begun, Refused> {
        let controls = controls::of_compare(controls)?;
        let grant = match self.accesses.decide(&client.asker(), compare.entry, Scope::BaseObject) {
            Verdict::Allow(grant) if grant.may_compare(compare.attribute) => grant,
            Verdict::Allow(_) => return Err(Refusal::HIDDEN_ATTRIBUTE.into()),
            Verdict::Refuse(refusal) => return Err(refusal.into()),
        };
        let directory = grant.directory().ok_or(Refusal::NO_ACCESS)?;
        let station = self.stations.get(directory).ok_or(Refusal::NO_ACCESS)?;
        let run_as = station.run_as(client)?;
        let deadline = asked.received_at + station.patience;
        let guard = grant.compare_guard(compare.entry).map(|part| {
            let request = Asked::Search { op: part.op, entries_wanted: Some(1) };
            Box::new(Operation { run_as: run_as.clone(), request, controls: None, deadline })
        });
        let request = Asked::Compare {
            op: Bytes::copy_from_slice(compare.op),
            entry: compare.entry.to_owned(),
            attribute: compare.attribute.to_owned(),
            value: compare.value.to_vec(),
        };
        let operation = Operation { run_as, request, controls: controls.map(Bytes::from), deadline };
        Ok(begun(asked, ForwardWork { directory, operation, guard, change: None, turn: self.turns.ask(client.whose()) }))
    }

    /// An Add, Delete, Modify or ModifyDN, as the client.
    pub(super) fn begin_write(&self, arrival: Arrival<'_>, write: &Write<'_>) -> Result<Begun, Refused> {
        let Arrival { client, controls, .. } = arrival;
        let controls = controls::of_write(controls)?;
        let grant = match self.accesses.decide_write(&client.asker(), write.target, write.new_superior) {
            Verdict::Allow(grant) => grant,
            Verdict::Refuse(refusal) => return Err(refusal.into()),
        };
        let directory = grant.directory().ok_or(Refusal::NO_ACCESS)?;
        let request = Asked::Write { op: Bytes::copy_from_slice(write.op), kind: write.kind };
        let change = client.changes(write.target, write.sets_password);
        self.begin_change(arrival, directory, request, controls, change)
    }

    /// Password Modify (RFC 3062), as the client, to the directory that it bound to.
    pub(super) fn begin_extended(&self, arrival: Arrival<'_>, extended: &Extended<'_>) -> Result<Begun, Refused> {
        let Arrival { client, controls, .. } = arrival;
        let controls = controls::of_write(controls)?;
        if extended.name != oid::PASSWORD_MODIFY {
            return Err(UNKNOWN_EXTENSION);
        }
        let number = client.identity.directory().ok_or(Refusal::BIND_FIRST)?;
        let directory = self.lineage.place_of(number).ok_or(Refusal::BIND_FIRST)?;
        let request = Asked::Extended { op: Bytes::copy_from_slice(extended.op) };
        let change = client.changes(extended.whose_password().unwrap_or_else(|| client.identity.name()), true);
        self.begin_change(arrival, directory, request, controls, change)
    }

    /// Whatever changes something runs under the client's own name, where the directory takes writes. `controls` are those that travel.
    fn begin_change(
        &self,
        Arrival { client, asked, .. }: Arrival<'_>,
        directory: usize,
        request: Asked,
        controls: Option<Vec<u8>>,
        change: Change,
    ) -> Result<Begun, Refused> {
        let station = self.stations.get(directory).ok_or(Refusal::NO_ACCESS)?;
        if !station.forwards_writes {
            return Err(WRITES_REFUSED);
        }
        let run_as = client.runs_as(station.number).ok_or(Refusal::BIND_FIRST)?;
        let deadline = asked.received_at + station.patience;
        let operation = Operation { run_as, request, controls: controls.map(Bytes::from), deadline };
        Ok(begun(
            asked,
            ForwardWork { directory, operation, guard: None, change: Some(Box::new(change)), turn: self.turns.ask(client.whose()) },
        ))
    }

    /// Passes it on and brings back what came of it.
    pub(super) async fn finish_forward(&self, work: ForwardWork, delivery: Delivery) -> Outcome {
        let ForwardWork { directory, operation, guard, change, mut turn } = work;
        let Some(station) = self.stations.get(directory) else { return delivery.failed(&DirectoryError::Unavailable).await };
        if turn.come(operation.deadline).await.is_err() {
            return delivery.failed(&DirectoryError::Busy).await;
        }
        if let Some(guard) = guard {
            let mut found = Fill::new(vec![(Arc::clone(&station.directory), *guard)], Some(1));
            match found.next().await {
                Ok(Reply::Entry(_)) => {}
                Ok(_) => return delivery.refuse(Refusal::NOTHING_VISIBLE.into()).await,
                Err(error) => return delivery.failed(&error).await,
            }
        }
        // Where this future is dropped, because the client has gone or abandons, the write counts as one that may have been carried out.
        let under_way = change.is_some().then(|| self.cache.write_begins(station.number));
        let ended = station.last_word(operation).await.map(|(done, _)| done);
        if let Some(change) = change.as_ref().filter(|_| may_have_changed(&ended)) {
            self.forget_binds(change);
        }
        match under_way {
            Some(write) if !may_have_changed(&ended) => write.changed_nothing(),
            Some(write) => drop(write),
            None => self.cache.read_ended(station.number),
        }
        match ended {
            Ok(done) => delivery.done(&done, Served::Forwarded).await,
            Err(error) if change.is_some() && error.leaves_unknown() => {
                let text = format!("{error}: whether the change was made is unknown");
                delivery.end(Served::Failed, error.result_code(), &text).await
            }
            Err(error) => delivery.failed(&error).await,
        }
    }

    /// What was accepted of the account that was written may be refused by now.
    fn forget_binds(&self, Change { writer, target, password }: &Change) {
        let register = self.proofs.register();
        if *password {
            register.password_written(writer, target);
        } else {
            register.forget(writer);
            register.forget(target);
        }
    }
}

impl Client {
    fn changes(&self, target: &str, password: bool) -> Change {
        Change { writer: self.identity.name().to_owned(), target: target.to_owned(), password }
    }
}

fn begun(asked: AskedAt, work: ForwardWork) -> Begun {
    Running::begun(asked, Work::Forward(Box::new(work)))
}

/// Anything but a clear refusal may have changed the directory.
fn may_have_changed(ended: &Result<Done, DirectoryError>) -> bool {
    match ended {
        Ok(done) => done.may_have_changed(),
        Err(error) => error.leaves_unknown(),
    }
}

const WRITES_REFUSED: Refused = Refused { code: ResultCode::UNWILLING_TO_PERFORM, reason: "writes are not forwarded to this directory" };
const UNKNOWN_EXTENSION: Refused =
    Refused { code: ResultCode::PROTOCOL_ERROR, reason: "an extended operation that is not carried out here" };
