//! What the search cache holds: looked at, and dropped. Never the entries that were found: whose they are is the directory's to say.

use super::query::Query;
use super::refused::Refused;
use crate::identity::Owner;
use crate::ldap::message::Scope;
use crate::pipeline::Pipeline;
use crate::pipeline::answers::{KeptAnswer, Unclear, Wanted};
use hyper::StatusCode;
use serde_json::{Value, json};
use tracing::info;

/// How much it holds.
pub(super) fn size(query: &Query, pipeline: &Pipeline) -> Result<Value, Refused> {
    let [] = query.values([])?;
    let (entries, octets) = pipeline.cache_holds();
    Ok(json!({ "entries": entries, "bytes": octets }))
}

/// The answers that are meant, page by page.
pub(super) fn list(query: &Query, pipeline: &Pipeline) -> Result<Value, Refused> {
    let [directory, access, principal, base, filter, rule, after, limit] =
        query.values(["directory", "access", "principal", "base", "filter", "rule", "after", "limit"])?;
    let wanted = Wanted { directory, access, principal, base, filter, rule };
    let after =
        after.map(|after| u64::from_str_radix(after, 16).map_err(|_| Refused::bad("after: as an earlier page said"))).transpose()?;
    let most = limit.map_or(Some(USUAL_PAGE), |limit| limit.parse().ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit)));
    let most = most.ok_or_else(|| Refused::bad(format!("limit: from 1 to {LARGEST_PAGE}")))?;
    // One more than is shown tells whether there are more.
    let mut found = pipeline.kept_answers(&wanted, after, most + 1)?;
    let there_are_more = found.len() > most && found.pop_last().is_some();
    let next = found.last_key_value().filter(|_| there_are_more).map(|(place, _)| format!("{place:016x}"));
    let shown: Vec<Value> = found.values().map(shown).collect();
    Ok(json!({ "answers": shown, "next": next }))
}

/// The answers that are meant are forgotten.
pub(super) fn drop(query: &Query, pipeline: &Pipeline) -> Result<Value, Refused> {
    let [directory, access, principal, base, filter, rule] =
        query.values(["directory", "access", "principal", "base", "filter", "rule"])?;
    let dropped = pipeline.drop_answers(&Wanted { directory, access, principal, base, filter, rule })?;
    info!(dropped, "an administrator has dropped cached answers");
    Ok(json!({ "dropped": dropped }))
}

fn shown(KeptAnswer { question, held, access, directory, rule }: &KeptAnswer<'_>) -> Value {
    let scope = match question.scope {
        Scope::BaseObject => "base",
        Scope::SingleLevel => "one",
        Scope::WholeSubtree => "sub",
    };
    let attributes: Vec<_> = question.attributes.iter().take(MOST_ATTRIBUTES).map(|name| cut(name)).collect();
    json!({
        "access": access,
        "directory": directory,
        "principal": question.owner.as_deref().map(|owner| cut(Owner::read(owner).map_or(owner, |owner| owner.name))),
        "base": cut(&question.base),
        "scope": scope,
        "filter": cut(&question.filter.to_string()),
        "attributes": attributes,
        "size_limit": question.size_limit,
        "rule": rule,
        "age_seconds": held.age.as_secs(),
        "left_seconds": held.left.as_secs(),
        "is": if held.is_fresh { "fresh" } else { "stale" },
        "entries": held.entries,
        "bytes": held.octets,
    })
}

/// What clients send may be long.
fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_SHOWN) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

impl From<Unclear> for Refused {
    fn from(unclear: Unclear) -> Self {
        match unclear {
            Unclear::Unknown(_) => Self::new(StatusCode::NOT_FOUND, unclear.to_string()),
            Unclear::Malformed(..) => Self::bad(unclear.to_string()),
        }
    }
}

/// Answers in a page, and the most that may be asked for.
const USUAL_PAGE: usize = 100;
const LARGEST_PAGE: usize = 1000;
/// Characters of a name, a base or a filter.
const LONGEST_SHOWN: usize = 500;
/// Attributes of one search.
const MOST_ATTRIBUTES: usize = 32;
