//! Groups are believed for as long as a remembered bind: then whoever relies on them waits until they have been asked for anew.
//!
//! A bind learns its principal's groups with it. A session may live for days, so its next operation after that time is held until the service
//! account has read them again, once for all sessions of that principal. Where that fails, or there is no service account, the principal is in
//! no group until it binds again or a later attempt succeeds.

use super::station::Station;
use super::{Arrival, AskedAt, Begun, Client, Pipeline, Running, Work};
use crate::directory::{Asked, Operation, RunAs};
use crate::identity::{Identity, Membership, Principal};
use crate::ldap::Envelope;
use crate::ldap::envelope::write_envelope;
use crate::ldap::message::Request;
use crate::outcome::Outcome;
use crate::session::AcceptedRequest;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// An operation that waits for its client's groups.
#[derive(Debug)]
pub(super) struct Held {
    client: Client,
    op: Bytes,
    controls: Option<Bytes>,
}

/// What becomes of it then.
#[derive(Debug)]
pub(super) enum Resumed {
    /// It goes on.
    Running(Running),
    /// It is answered by these octets.
    Answered(Vec<u8>, Outcome),
}

impl Pipeline {
    /// The groups that this client is in may decide what it sees.
    pub(super) fn groups_matter(&self, identity: &Identity) -> bool {
        self.whose_groups_matter(identity).is_some()
    }

    /// Holds an operation whose client's groups were read too long ago.
    pub(super) fn hold(&self, Arrival { client, asked, controls }: Arrival<'_>, request: &AcceptedRequest<'_>) -> Option<Begun> {
        self.whose_groups_are_old(&client.identity, asked.received_at)?;
        let op = match request {
            AcceptedRequest::Search(search) => search.op,
            AcceptedRequest::Compare(compare) => compare.op,
            AcceptedRequest::Write(write) => write.op,
            AcceptedRequest::Bind(_) | AcceptedRequest::Extended(_) => return None,
        };
        let (op, controls) = (Bytes::copy_from_slice(op), controls.map(Bytes::copy_from_slice));
        Some(Running::begun(asked, Work::Held(Box::new(Held { client: client.clone(), op, controls }))))
    }

    /// Reads the groups, and begins the operation with these.
    pub(super) async fn resume(&self, held: Held, asked: AskedAt) -> Resumed {
        self.renew_groups(&held.client.identity, asked).await;
        let mut frame = Vec::new();
        write_envelope(&mut frame, asked.message_id.wire(), &held.op, None);
        let parsed = Envelope::parse(&frame).ok().and_then(|envelope| accepted(&envelope));
        let mut out = Vec::new();
        let begun = match parsed {
            Some(request) => {
                let arrival = Arrival { client: &held.client, asked, controls: held.controls.as_deref() };
                self.begin_accepted(arrival, &request, &mut out)
            }
            None => super::refuse(asked, super::controls::UNKNOWN, &mut out),
        };
        match begun {
            Begun::Answered(outcome) => Resumed::Answered(out, outcome),
            Begun::Running(running) => Resumed::Running(running),
        }
    }

    async fn renew_groups(&self, identity: &Identity, asked: AskedAt) {
        let Some((principal, _)) = self.whose_groups_are_old(identity, asked.received_at) else { return };
        let _renewing = principal.renewing.lock().await;
        // Another operation may have renewed them meanwhile.
        let Some((principal, station)) = self.whose_groups_are_old(identity, Instant::now()) else { return };
        let Some(who) = &principal.who else { return };
        let request = Asked::Membership { of: who.canonical.clone(), groups: Arc::clone(&station.groups) };
        let deadline = Instant::now() + station.patience.min(PATIENCE);
        let operation = Operation { run_as: RunAs::Service, request, controls: None, deadline };
        let found = station.last_word(operation).await;
        let none = |as_of| Membership { groups: Arc::default(), as_of };
        principal.renew(match found {
            Ok((_, Some(who))) => who.membership.clone().unwrap_or_else(|| none(Instant::now())),
            Ok((_, None)) => none(Instant::now()),
            Err(error) => {
                tracing::debug!(%error, "somebody's groups are unknown: they are in none");
                // As if they had been read so long ago that they are soon too old.
                let now = Instant::now();
                none(now.checked_sub(self.groups_ttl.saturating_sub(RETRY)).unwrap_or(now))
            }
        });
    }

    fn whose_groups_are_old<'a>(&'a self, identity: &'a Identity, now: Instant) -> Option<(&'a Principal, &'a Station)> {
        let is_old = |principal: &Principal| principal.groups_as_of().is_none_or(|as_of| now >= as_of + self.groups_ttl);
        self.whose_groups_matter(identity).filter(|(principal, _)| is_old(principal))
    }

    fn whose_groups_matter<'a>(&'a self, identity: &'a Identity) -> Option<(&'a Principal, &'a Station)> {
        let Identity::Bound(principal) = identity else { return None };
        let (number, _) = principal.directory.zip(principal.who.as_ref())?;
        let station = self.stations.iter().find(|station| station.number == number && !station.groups.groups.is_empty())?;
        Some((principal, station))
    }
}

/// Of which time groups are at most, where binds are remembered for so long.
pub(super) fn groups_ttl(binds: Duration) -> Duration {
    binds.max(SHORTEST)
}

/// The request as the session has accepted it.
fn accepted<'a>(envelope: &Envelope<'a>) -> Option<AcceptedRequest<'a>> {
    match Request::parse(envelope).ok()? {
        Request::Search(search) => Some(AcceptedRequest::Search(search)),
        Request::Compare(compare) => Some(AcceptedRequest::Compare(compare)),
        Request::Write(write) => Some(AcceptedRequest::Write(write)),
        _ => None,
    }
}

/// A phone waits for its groups so long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between attempts that fail.
const RETRY: Duration = Duration::from_secs(5);
/// Where no bind is remembered, groups are still not read for each operation of a session.
const SHORTEST: Duration = Duration::from_secs(1);
