//! Redial's own small searches at a controller.

use super::attempt::is_overloaded;
use super::connection::{Connection, Outgoing, Payload};
use crate::directory::{DirectoryError, Reply};
use crate::ldap::entry::Entry;
use crate::ldap::filter::{Assertion, Filter};
use crate::ldap::message::{Scope, SearchRequest};
use bytes::Bytes;
use tokio::time::Instant;

/// The entries that a search finds, as they came; none where it is refused.
///
/// # Errors
/// When there is no answer, or the server says that it is busy or unavailable.
pub(crate) async fn entries(connection: &Connection, request: &SearchRequest, deadline: Instant) -> Result<Vec<Bytes>, DirectoryError> {
    let mut in_flight = connection.begin(Outgoing { op: Payload::Open(request.encode().into()), controls: None }, deadline).await?;
    let mut found = Vec::new();
    while let Some(reply) = in_flight.next().await {
        match reply? {
            Reply::Entry(entry) => found.push(entry),
            Reply::Done(done) if is_overloaded(done.code) => return Err(DirectoryError::Unavailable),
            Reply::Done(_) => return Ok(found),
            Reply::Intermediate(_) | Reply::Who(_) | Reply::Again => {}
        }
        if found.len() >= MOST_ENTRIES {
            return Ok(found);
        }
    }
    Err(NO_END)
}

/// The values of one attribute in all that a search finds.
///
/// # Errors
/// When there is no answer.
pub(crate) async fn attribute_values(
    connection: &Connection,
    request: SearchRequest,
    attribute: &str,
    deadline: Instant,
) -> Result<Vec<Bytes>, DirectoryError> {
    let mut found = Vec::new();
    for entry in entries(connection, &request, deadline).await? {
        let parsed = Entry::parse(&entry).and_then(|parsed| {
            parsed.each_value(|name, value| {
                if name.eq_ignore_ascii_case(attribute.as_bytes()) {
                    found.push(entry.slice_ref(value));
                }
            })
        });
        parsed.map_err(|_| DirectoryError::Misbehaved("a malformed entry"))?;
    }
    Ok(found)
}

/// A search of one entry.
pub(crate) fn base_search(base: &str, filter: Filter, attributes: &[&str]) -> SearchRequest {
    SearchRequest::new(base, Scope::BaseObject, filter, attributes)
}

pub(crate) fn equality(attribute: &str, value: &[u8]) -> Filter {
    Filter::Equality(Assertion { attribute: attribute.to_owned(), value: value.to_vec() })
}

pub(crate) fn present(attribute: &str) -> Filter {
    Filter::Present(attribute.to_owned())
}

/// Where Active Directory keeps an entry's SID.
pub(crate) const OBJECT_SID: &str = "objectSid";

pub(crate) const NO_END: DirectoryError = DirectoryError::Misbehaved("a result without an end");

/// More than a search of Redial's own needs.
const MOST_ENTRIES: usize = 1000;
