//! In which groups is a user, nested ones too? Unknown is no: whatever cannot be had adds no group.
//!
//! Active Directory has worked it out already: a user's token holds the SIDs of all groups, so only the groups' own SIDs must be known. They are
//! read once in [`SIDS`]. Elsewhere the groups that list the user as a member are searched for, then those that list these, and so on; each
//! group is looked at once, so circles end, and depth and number are counted. What an entry says of itself (memberOf) is not asked: in
//! some directories people may write that.

use super::Source;
use super::sid::Sid;
use crate::config::Group;
use crate::directory::DirectoryError;
use crate::ldap::dn::Dn;
use crate::ldap::entry::Entry;
use crate::ldap::filter::Filter;
use crate::ldap::message::{Scope, SearchRequest};
use crate::upstream::search::{OBJECT_SID, attribute_values, base_search, entries, equality, present};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The groups' SIDs, as they were a moment ago.
#[derive(Debug, Default)]
pub(crate) struct GroupSids(Mutex<HashMap<Dn, (Option<Sid>, Instant)>>);

impl GroupSids {
    fn known(&self, group: &Dn, now: Instant) -> Option<Option<Sid>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, as_of)| now < *as_of + SIDS);
        known.get(group).map(|(sid, _)| sid.clone())
    }

    fn learn(&self, group: &Dn, sid: Option<Sid>, now: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(group.clone(), (sid, now));
    }
}

/// Those of the groups whose SID is in a user's token.
///
/// # Errors
/// When there is no answer.
pub(crate) async fn groups_of_token(source: &Source<'_>, token: &[Sid]) -> Result<Vec<Dn>, DirectoryError> {
    let mut found = Vec::new();
    for group in &source.groups.groups {
        if sid_of(source, group).await?.is_some_and(|sid| token.contains(&sid)) {
            found.push(group.dn.clone());
        }
    }
    Ok(found)
}

/// A group's SID; `None` where there is no such group.
async fn sid_of(source: &Source<'_>, group: &Group) -> Result<Option<Sid>, DirectoryError> {
    let now = Instant::now();
    if let Some(known) = source.sids.known(&group.dn, now) {
        return Ok(known);
    }
    let request = base_search(&group.name, present("objectClass"), &[OBJECT_SID]);
    let found = attribute_values(source.reader, request, OBJECT_SID, source.deadline).await?;
    let sid = found.first().and_then(|sid| Sid::parse(sid));
    source.sids.learn(&group.dn, sid.clone(), now);
    Ok(sid)
}

/// Those of the groups that list the user with this authorization identity as a member, or a group by way of which it is one.
///
/// # Errors
/// When there is no answer, or the identity is no DN.
pub(crate) async fn groups_above(source: &Source<'_>, authorization_id: &str) -> Result<Vec<Dn>, DirectoryError> {
    let wanted = &source.groups.groups;
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let user = authorization_id.strip_prefix("dn:").ok_or(DirectoryError::NotSupported)?;
    let (mut seen, mut members) = (Vec::new(), vec![user.to_owned()]);
    for _ in 0..DEEPEST {
        let mut next = Vec::new();
        for members in members.chunks(MEMBERS_A_SEARCH) {
            for group in entries(source.reader, &lists_one_of(&source.groups.base, members), source.deadline).await? {
                let name = Entry::parse(&group).ok().and_then(|group| std::str::from_utf8(group.name).ok()).map(str::to_owned);
                let Some((name, dn)) = name.and_then(|name| Dn::parse(&name).ok().map(|dn| (name, dn))) else { continue };
                if seen.len() < MOST_GROUPS && !seen.contains(&dn) {
                    seen.push(dn);
                    next.push(name);
                }
            }
        }
        let is_complete = wanted.iter().all(|group| seen.contains(&group.dn));
        if next.is_empty() || is_complete {
            break;
        }
        members = next;
    }
    Ok(wanted.iter().filter(|group| seen.contains(&group.dn)).map(|group| group.dn.clone()).collect())
}

/// The groups below `base` that list one of these.
fn lists_one_of(base: &str, members: &[String]) -> SearchRequest {
    let lists = |member: &String| ["member", "uniqueMember"].map(|attribute| equality(attribute, member.as_bytes()));
    SearchRequest {
        scope: Scope::WholeSubtree,
        // No attribute at all (RFC 4511 section 4.5.1.8).
        ..base_search(base, Filter::Or(members.iter().flat_map(lists).collect()), &["1.1"])
    }
}

/// A group that was made anew under its old name has another SID: it is read again after this.
const SIDS: Duration = Duration::from_secs(60);
/// Groups in groups in groups.
const DEEPEST: usize = 16;
/// Groups that one user is in, by any way.
const MOST_GROUPS: usize = 1000;
/// Members that are asked about at once.
const MEMBERS_A_SEARCH: usize = 50;
