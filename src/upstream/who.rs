//! Whose name is that, and in which groups? Asked on a connection that a client's password has just bound, so the answer is the server's own.
//!
//! A user of Active Directory binds as a DN, a UPN or `DOMAIN\\user`; the SID is the same for all of them, and stays when the user is renamed.
//! Other servers are asked "Who am I?" (RFC 4532). A server that can say neither leaves its clients' names as they were sent.

mod groups;
mod named;
mod sid;

use self::groups::{GroupSids, groups_above, groups_of_token};
use self::named::sid_of_name;
use self::sid::Sid;
use super::connect::extended_op;
use super::connection::{Connection, Outgoing, Payload};
use super::pool::{Pool, root_dse};
use super::search::{NO_END, OBJECT_SID, attribute_values, base_search, equality, present};
use super::standing::Standing;
use crate::directory::{DirectoryError, Groups, Reply};
use crate::identity::{Membership, Who};
use crate::ldap::ber::Reader;
use crate::ldap::{ResultCode, oid};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::debug;

/// Looks principals up at one server.
#[derive(Debug)]
pub(crate) struct People {
    standing: Arc<Standing>,
    pool: Arc<Pool>,
    /// There is a service account, so that groups are read under its name.
    has_account: bool,
    sids: GroupSids,
}

/// One look-up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// Where groups are read.
    pub(crate) reader: &'a Connection,
    /// What is known of their SIDs.
    pub(crate) sids: &'a GroupSids,
    /// Those that matter.
    pub(crate) groups: &'a Groups,
    /// No answer is wanted after this.
    pub(crate) deadline: Instant,
}

impl People {
    /// Nothing is known yet.
    pub(crate) fn new(standing: Arc<Standing>, pool: Arc<Pool>, has_account: bool) -> Self {
        Self { standing, pool, has_account, sids: GroupSids::default() }
    }

    /// Who has bound on `connection` at `as_of`, and in which of the groups they are; `None` where the server does not say. Groups are read
    /// under the service account, or on this connection where there is none.
    ///
    /// # Errors
    /// When it gives no answer. Groups that cannot be had are no error: they are unknown then.
    pub(crate) async fn bound(
        &self,
        connection: &Connection,
        groups: &Groups,
        as_of: Instant,
        deadline: Instant,
    ) -> Result<Option<Who>, DirectoryError> {
        let can = match self.standing.announced() {
            Some(can) => can,
            None => root_dse(connection, deadline).await?,
        };
        let (canonical, token) = if can.active_directory {
            let Some((user, token)) = token(connection, deadline).await? else { return Ok(None) };
            (user.to_string(), Some(token))
        } else if can.who_am_i {
            let Some(id) = authorization_id(connection, deadline).await? else { return Ok(None) };
            (id, None)
        } else {
            return Ok(None);
        };
        let found = async {
            let lease = if self.has_account && !groups.groups.is_empty() { Some(self.pool.lease(false, deadline).await?) } else { None };
            let reader = lease.as_ref().map_or(connection, |lease| &lease.connection);
            let source = Source { reader, sids: &self.sids, groups, deadline };
            match token {
                Some(token) => groups_of_token(&source, &token).await,
                None => groups_above(&source, &canonical).await,
            }
        };
        let membership = match found.await {
            Ok(groups) => Some(Membership { groups: groups.into(), as_of }),
            Err(error) => {
                debug!(%error, "the groups of somebody who has bound are unknown");
                None
            }
        };
        Ok(Some(Who { canonical, membership }))
    }

    /// Names can be looked up that nobody has bound with.
    pub(crate) const fn has_account(&self) -> bool {
        self.has_account
    }

    /// Whose name that is at an Active Directory, as the service account finds it; `None` where that is not certain, or there is no answer.
    pub(crate) async fn called(&self, name: &str, groups: &Groups, deadline: Instant) -> Option<String> {
        let found = async {
            let lease = self.pool.lease(false, deadline).await?;
            sid_of_name(&lease.connection, name, &groups.base, deadline).await
        };
        let found = found.await.unwrap_or_else(|error| {
            debug!(%error, "nobody says whose name that is");
            None
        });
        found.map(|sid| sid.to_string())
    }

    /// Who has just bound on a connection that stays anonymous, known as `canonical` before; their groups are unknown where these cannot be had.
    pub(crate) async fn bound_as(&self, canonical: String, groups: &Groups, deadline: Instant) -> Option<Who> {
        self.again(&canonical, groups, deadline).await.unwrap_or_else(|error| {
            debug!(%error, "the groups of somebody who has bound are unknown");
            Some(Who { canonical, membership: None })
        })
    }

    /// In which of the groups is whom the server calls that, now? Asked under the service account; `None` where there is nobody.
    ///
    /// # Errors
    /// When there is no answer, or no service account.
    pub(crate) async fn again(&self, canonical: &str, groups: &Groups, deadline: Instant) -> Result<Option<Who>, DirectoryError> {
        if !self.has_account {
            return Err(DirectoryError::NotSupported);
        }
        let as_of = Instant::now();
        let lease = self.pool.lease(false, deadline).await?;
        let source = Source { reader: &lease.connection, sids: &self.sids, groups, deadline };
        let groups = if self.standing.capabilities().active_directory {
            let Some(token) = token_of(&source, canonical).await? else { return Ok(None) };
            groups_of_token(&source, &token).await?
        } else {
            groups_above(&source, canonical).await?
        };
        Ok(Some(Who { canonical: canonical.to_owned(), membership: Some(Membership { groups: groups.into(), as_of }) }))
    }
}

/// The user's SID and those of its groups. The rootDSE's tokenGroups begins with the user's. That is taken only with the directory's word that it
/// is a user's: a group's would make all of its members one.
async fn token(connection: &Connection, deadline: Instant) -> Result<Option<(Sid, Vec<Sid>)>, DirectoryError> {
    let root = base_search("", present("objectClass"), &[TOKEN_GROUPS]);
    let found = attribute_values(connection, root, TOKEN_GROUPS, deadline).await?;
    let mut sids = found.iter().filter_map(|value| Sid::parse(value));
    let Some(user) = sids.next() else { return Ok(None) };
    let itself = base_search(&format!("<SID={user}>"), equality("objectClass", b"user"), &[OBJECT_SID]);
    let itself = attribute_values(connection, itself, OBJECT_SID, deadline).await?;
    let is_proved = itself.iter().any(|sid| **sid == *user.octets());
    Ok(is_proved.then(|| (user, sids.collect())))
}

/// The SIDs of the groups that a user is in now, read of its entry, which must have the SID that it is known by.
async fn token_of(source: &Source<'_>, canonical: &str) -> Result<Option<Vec<Sid>>, DirectoryError> {
    let search = |attribute| base_search(&format!("<SID={canonical}>"), equality("objectClass", b"user"), &[attribute]);
    let own = attribute_values(source.reader, search(OBJECT_SID), OBJECT_SID, source.deadline).await?;
    if !own.iter().filter_map(|sid| Sid::parse(sid)).any(|sid| sid.to_string() == canonical) {
        return Ok(None);
    }
    let groups = attribute_values(source.reader, search(TOKEN_GROUPS), TOKEN_GROUPS, source.deadline).await?;
    Ok(Some(groups.iter().filter_map(|sid| Sid::parse(sid)).collect()))
}

/// The server's name for whoever is bound (RFC 4513 section 5.2.1.8); `None` for nobody.
async fn authorization_id(connection: &Connection, deadline: Instant) -> Result<Option<String>, DirectoryError> {
    let request = Payload::Open(extended_op(oid::WHO_AM_I).into());
    let mut in_flight = connection.begin(Outgoing { op: request, controls: None }, deadline).await?;
    while let Some(reply) = in_flight.next().await {
        let Reply::Done(done) = reply? else { continue };
        if done.code != ResultCode::SUCCESS {
            return Ok(None);
        }
        let value = response_value(&done.op).and_then(|value| std::str::from_utf8(value).ok());
        return Ok(value.filter(|id| is_somebody(id)).map(str::to_owned));
    }
    Err(NO_END)
}

/// Nobody's name is empty; so is an anonymous one's DN.
fn is_somebody(authorization_id: &str) -> bool {
    !matches!(authorization_id, "" | "dn:" | "u:")
}

/// The responseValue of an ExtendedResponse (RFC 4511 section 4.12).
fn response_value(response: &[u8]) -> Option<&[u8]> {
    let mut fields = Reader::new(Reader::new(response).element().ok()?.content);
    std::iter::from_fn(|| fields.element().ok()).find(|field| field.tag == RESPONSE_VALUE).map(|field| field.content)
}

const TOKEN_GROUPS: &str = "tokenGroups";
/// `responseValue [11] OCTET STRING`.
const RESPONSE_VALUE: u8 = 0x8b;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::Envelope;
    use crate::ldap::MessageId;
    use crate::ldap::response::write_extended_response;

    #[test]
    fn the_value_of_an_extended_response_is_found_behind_its_name() {
        let mut message = Vec::new();
        write_extended_response(&mut message, MessageId::new(1).unwrap(), ResultCode::SUCCESS, "", Some("1.2.3"), Some(b"dn:cn=a"));
        assert_eq!(response_value(Envelope::parse(&message).unwrap().op), Some(&b"dn:cn=a"[..]));
        message.clear();
        write_extended_response(&mut message, MessageId::new(1).unwrap(), ResultCode::SUCCESS, "", None, None);
        assert_eq!(response_value(Envelope::parse(&message).unwrap().op), None);
    }

    #[test]
    fn an_anonymous_authorization_id_is_nobodys() {
        assert!(!is_somebody("") && !is_somebody("dn:") && !is_somebody("u:"));
        assert!(is_somebody("dn:cn=a") && is_somebody("u:a"));
    }
}
