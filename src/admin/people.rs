//! Who is bound, who is guarded from a lockout, and who starts anew.

use super::query::Query;
use super::refused::Refused;
use crate::identity::lockout::Guarded;
use crate::pipeline::Pipeline;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::info;

/// The bound sessions, or one principal's; [`MOST`] at most.
pub(super) fn sessions(query: &Query, pipeline: &Pipeline) -> Result<Value, Refused> {
    let [principal] = query.values(["principal"])?;
    let now = Instant::now();
    // One more than is shown tells whether there are more.
    let found = pipeline.register().bound(principal, MOST + 1);
    let sessions: Vec<Value> = found
        .iter()
        .take(MOST)
        .map(|session| {
            let seconds = now.saturating_duration_since(session.since).as_secs();
            json!({ "principal": &*session.caller.name, "peer": session.caller.peer.to_string(), "listener": session.caller.listener, "bound_for_seconds": seconds })
        })
        .collect();
    Ok(json!({ "sessions": sessions, "there_are_more": found.len() > MOST }))
}

/// One principal, or everybody, starts anew: nothing is remembered, sessions end.
pub(super) fn drop_principals(query: &Query, pipeline: &Pipeline) -> Result<Value, Refused> {
    let register = pipeline.register();
    let ended = match query.values(["name"])? {
        [Some(name)] => register.drop_principal(name),
        [None] => register.drop_everybody(),
    };
    info!(sessions = ended, "an administrator has dropped principals");
    Ok(json!({ "sessions_ended": ended }))
}

/// The accounts whose new passwords are refused, so that their directory does not lock them; [`MOST`] at most.
pub(super) fn guarded(query: &Query, pipeline: &Pipeline) -> Result<Value, Refused> {
    let [] = query.values([])?;
    let found = pipeline.register().guarded_principals(MOST + 1);
    let guarded: Vec<Value> = found
        .iter()
        .take(MOST)
        .map(|Guarded { name, peers, tried, opens_in }| {
            json!({ "principal": name, "peers": peers, "wrong_passwords": tried, "opens_in_seconds": opens_in.as_secs() })
        })
        .collect();
    Ok(json!({ "guarded": guarded, "there_are_more": found.len() > MOST }))
}

/// The wrong passwords of one principal, or of everybody, are not counted any more; sessions go on.
pub(super) fn release(query: &Query, pipeline: &Pipeline) -> Result<Value, Refused> {
    let register = pipeline.register();
    let released = match query.values(["name"])? {
        [Some(name)] => usize::from(register.release_principal(name)),
        [None] => register.release_everybody(),
    };
    info!(released, "an administrator has released guarded principals");
    Ok(json!({ "released": released }))
}

/// Sessions, or accounts, in one answer.
const MOST: usize = 1000;
