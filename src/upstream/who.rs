//! Whose name is that? Asked on a connection that a client's password has just bound, so the answer is the server's own.
//!
//! A user of Active Directory binds as a DN, a UPN or `DOMAIN\user`; the SID is the same for all of them, and stays when the user is renamed.
//! Other servers are asked "Who am I?" (RFC 4532). A server that can say neither leaves its clients' names as they were sent.

use super::capabilities::Capabilities;
use super::connection::{Connection, Outgoing};
use super::outbox::Payload;
use super::sid::Sid;
use crate::directory::{DirectoryError, Reply};
use crate::identity::Who;
use crate::ldap::ber::{self, Reader};
use crate::ldap::entry::Entry;
use crate::ldap::envelope::op;
use crate::ldap::filter::{Assertion, Filter};
use crate::ldap::message::{Scope, SearchRequest};
use crate::ldap::{ResultCode, oid};
use bytes::Bytes;
use tokio::time::Instant;

/// Who is bound on `connection`; `None` where the server does not say.
///
/// # Errors
/// When it gives no answer.
pub(crate) async fn who(connection: &Connection, can: Capabilities, deadline: Instant) -> Result<Option<Who>, DirectoryError> {
    let canonical = if can.active_directory {
        user(connection, deadline).await?.map(|user| user.to_string())
    } else if can.who_am_i {
        authorization_id(connection, deadline).await?
    } else {
        None
    };
    Ok(canonical.map(|canonical| Who { canonical }))
}

/// The user's SID. The rootDSE's tokenGroups begins with it. That is taken only with the directory's word that it is a user's: a group's would
/// make all of its members one.
async fn user(connection: &Connection, deadline: Instant) -> Result<Option<Sid>, DirectoryError> {
    let token = values(connection, base_search("", present("objectClass"), TOKEN_GROUPS), TOKEN_GROUPS, deadline).await?;
    let Some(user) = token.first().and_then(|sid| Sid::parse(sid)) else { return Ok(None) };
    let is_user = Filter::Equality(Assertion { attribute: "objectClass".to_owned(), value: b"user".to_vec() });
    let itself = values(connection, base_search(&format!("<SID={user}>"), is_user, OBJECT_SID), OBJECT_SID, deadline).await?;
    let is_proved = itself.iter().any(|sid| **sid == *user.octets());
    Ok(is_proved.then_some(user))
}

/// The server's name for whoever is bound (RFC 4513 section 5.2.1.8); `None` for nobody.
async fn authorization_id(connection: &Connection, deadline: Instant) -> Result<Option<String>, DirectoryError> {
    let mut request = Vec::new();
    ber::write_constructed(&mut request, op::EXTENDED_REQUEST, |out| ber::write_element(out, REQUEST_NAME, oid::WHO_AM_I.as_bytes()));
    let mut in_flight = connection.begin(Outgoing { op: Payload::Open(request.into()), controls: None }, deadline).await?;
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

/// The values of one attribute in all that a search finds.
async fn values(connection: &Connection, request: SearchRequest, attribute: &str, deadline: Instant) -> Result<Vec<Bytes>, DirectoryError> {
    let mut in_flight = connection.begin(Outgoing { op: Payload::Open(request.encode().into()), controls: None }, deadline).await?;
    let mut found = Vec::new();
    while let Some(reply) = in_flight.next().await {
        match reply? {
            Reply::Entry(entry) => {
                let parsed = Entry::parse(&entry).and_then(|parsed| {
                    parsed.each_value(|name, value| {
                        if name.eq_ignore_ascii_case(attribute.as_bytes()) {
                            found.push(entry.slice_ref(value));
                        }
                    })
                });
                parsed.map_err(|_| DirectoryError::Misbehaved("a malformed entry"))?;
            }
            Reply::Done(_) => return Ok(found),
            Reply::Intermediate(_) | Reply::Who(_) | Reply::Again => {}
        }
    }
    Err(NO_END)
}

fn base_search(base: &str, filter: Filter, attribute: &str) -> SearchRequest {
    SearchRequest {
        base_object: base.to_owned(),
        scope: Scope::BaseObject,
        deref_aliases: 0,
        size_limit: 0,
        time_limit: 0,
        types_only: false,
        filter,
        attributes: vec![attribute.to_owned()],
    }
}

fn present(attribute: &str) -> Filter {
    Filter::Present(attribute.to_owned())
}

/// The responseValue of an ExtendedResponse (RFC 4511 section 4.12).
fn response_value(response: &[u8]) -> Option<&[u8]> {
    let mut fields = Reader::new(Reader::new(response).element().ok()?.content);
    std::iter::from_fn(|| fields.element().ok()).find(|field| field.tag == RESPONSE_VALUE).map(|field| field.content)
}

const TOKEN_GROUPS: &str = "tokenGroups";
const OBJECT_SID: &str = "objectSid";
/// `requestName [0] LDAPOID`.
const REQUEST_NAME: u8 = 0x80;
/// `responseValue [11] OCTET STRING`.
const RESPONSE_VALUE: u8 = 0x8b;
const NO_END: DirectoryError = DirectoryError::Misbehaved("a result without an end");

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
