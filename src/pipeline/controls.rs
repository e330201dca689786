//! Which of a request's controls travel, are carried out here, or make it fail (RFC 4511 section 4.1.11), decided one by one.
//!
//! A control that is not listed is dropped when it is not critical and refused when it is. Proxied authorization is refused either way: it
//! would ride on whatever connection carries it (RFC 4370).

use crate::access::Refusal;
use crate::ldap::ResultCode;
use crate::ldap::control::{PagedResults, parse_controls};
use crate::ldap::oid;

/// Why the pipeline says no, and with which result code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The resultCode.
    pub(crate) code: ResultCode,
    /// The diagnosticMessage.
    pub(crate) reason: &'static str,
}

/// What a search's controls come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SearchControls<'a> {
    /// Pages of this many entries, from where this cookie points.
    pub(super) page: Option<PagedResults<'a>>,
    /// The controls that go to the directory and into the cache key, encoded. `Vec::new` does not allocate, so a phone's search
    /// without controls costs nothing here.
    pub(super) travelling: Vec<u8>,
}

/// Controls that change what a search finds, so they travel with it.
const SEARCH_TRAVELLERS: [&str; 1] = [oid::MANAGE_DSA_IT];

/// Controls that a search has by nature here: references never leave this proxy.
const SEARCH_FULFILLED: [&str; 1] = [oid::DOMAIN_SCOPE];

/// Controls that a compare takes along. Not the assertion control: its filter would test what the access hides.
const COMPARE_TRAVELLERS: [&str; 1] = [oid::MANAGE_DSA_IT];

/// Controls that a write or an extended operation, which runs as the client, takes along.
const WRITE_TRAVELLERS: [&str; 7] =
    [oid::MANAGE_DSA_IT, oid::ASSERTION, oid::PRE_READ, oid::POST_READ, oid::PASSWORD_POLICY, oid::PERMISSIVE_MODIFY, oid::TREE_DELETE];

/// Judges the controls of a search.
///
/// # Errors
/// What the SearchResultDone says.
pub(super) fn of_search(controls: Option<&[u8]>) -> Result<SearchControls<'_>, Refused> {
    let mut judged = SearchControls::default();
    if controls.is_none() {
        return Ok(judged);
    }
    for control in parse_controls(controls).map_err(|_| MALFORMED)? {
        match control.oid {
            oid::PAGED_RESULTS => {
                let page = control.value.and_then(|value| PagedResults::parse(value).ok()).ok_or(MALFORMED_PAGING)?;
                if judged.page.replace(page).is_some() {
                    return Err(PAGING_TWICE);
                }
            }
            oid::PROXIED_AUTHORIZATION => return Err(PROXIED),
            known if SEARCH_TRAVELLERS.contains(&known) => judged.travelling.extend_from_slice(control.raw),
            known if SEARCH_FULFILLED.contains(&known) => {}
            _ if control.critical => return Err(UNKNOWN),
            _ => {}
        }
    }
    Ok(judged)
}

/// The controls that travel with a compare, encoded.
///
/// # Errors
/// What the response says.
pub(super) fn of_compare(controls: Option<&[u8]>) -> Result<Option<Vec<u8>>, Refused> {
    travelling(controls, &COMPARE_TRAVELLERS)
}

/// The controls that travel with a write or an extended operation, encoded.
///
/// # Errors
/// What the response says.
pub(super) fn of_write(controls: Option<&[u8]>) -> Result<Option<Vec<u8>>, Refused> {
    travelling(controls, &WRITE_TRAVELLERS)
}

fn travelling(controls: Option<&[u8]>, travellers: &[&str]) -> Result<Option<Vec<u8>>, Refused> {
    let mut travelling = Vec::new();
    for control in parse_controls(controls).map_err(|_| MALFORMED)? {
        match control.oid {
            oid::PROXIED_AUTHORIZATION => return Err(PROXIED),
            known if travellers.contains(&known) => travelling.extend_from_slice(control.raw),
            _ if control.critical => return Err(UNKNOWN),
            _ => {}
        }
    }
    Ok((!travelling.is_empty()).then_some(travelling))
}

/// A Bind takes no control: a critical one fails it.
///
/// # Errors
/// What the BindResponse says.
pub(super) fn of_bind(controls: Option<&[u8]>) -> Result<(), Refused> {
    for control in parse_controls(controls).map_err(|_| MALFORMED)? {
        match control.oid {
            oid::PROXIED_AUTHORIZATION => return Err(PROXIED),
            _ if control.critical => return Err(UNKNOWN),
            _ => {}
        }
    }
    Ok(())
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { code: refusal.code, reason: refusal.reason }
    }
}

const MALFORMED: Refused = Refused { code: ResultCode::PROTOCOL_ERROR, reason: "malformed controls" };
const MALFORMED_PAGING: Refused = Refused { code: ResultCode::PROTOCOL_ERROR, reason: "malformed paged results control" };
const PAGING_TWICE: Refused = Refused { code: ResultCode::PROTOCOL_ERROR, reason: "paged results asked for twice" };
const PROXIED: Refused = Refused { code: ResultCode::AUTHORIZATION_DENIED, reason: "proxied authorization is not carried out here" };
/// A critical control that nothing here carries out.
pub(super) const UNKNOWN: Refused =
    Refused { code: ResultCode::UNAVAILABLE_CRITICAL_EXTENSION, reason: "a critical control that is not carried out here" };
/// A filter that passed the session and cannot be read after all: a bug, answered like any other malformed one.
pub(super) const MALFORMED_FILTER: Refused = Refused { code: ResultCode::PROTOCOL_ERROR, reason: "malformed filter" };

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ldap::control::write_control;

    fn controls(list: &[(&str, bool, Option<&[u8]>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (oid, critical, value) in list {
            write_control(&mut out, oid, *critical, *value);
        }
        out
    }

    #[test]
    fn a_search_without_controls_is_judged_without_allocating() {
        let judged = of_search(None).unwrap();
        assert_eq!((judged.page, judged.travelling.capacity()), (None, 0));
    }

    #[test]
    fn an_unknown_control_is_dropped_unless_it_is_critical() {
        let harmless = controls(&[("1.2.3", false, None)]);
        assert_eq!(of_search(Some(&harmless)), Ok(SearchControls::default()));
        assert_eq!(of_write(Some(&harmless)), Ok(None));
        let critical = controls(&[("1.2.3", true, None)]);
        assert_eq!(of_search(Some(&critical)), Err(UNKNOWN));
        assert_eq!(of_write(Some(&critical)), Err(UNKNOWN));
        assert_eq!(of_bind(Some(&critical)), Err(UNKNOWN));
    }

    #[test]
    fn proxied_authorization_never_travels_critical_or_not() {
        for critical in [false, true] {
            let proxied = controls(&[(oid::PROXIED_AUTHORIZATION, critical, Some(b"dn:cn=admin"))]);
            assert_eq!(of_search(Some(&proxied)), Err(PROXIED));
            assert_eq!(of_write(Some(&proxied)), Err(PROXIED));
            assert_eq!(of_bind(Some(&proxied)), Err(PROXIED));
        }
    }

    #[test]
    fn paging_is_taken_out_and_manage_dsa_it_travels() {
        let value = PagedResults { size: 900, cookie: b"" }.encode();
        let octets = controls(&[(oid::PAGED_RESULTS, true, Some(&value)), (oid::MANAGE_DSA_IT, true, None)]);
        let judged = of_search(Some(&octets)).unwrap();
        assert_eq!(judged.page, Some(PagedResults { size: 900, cookie: b"" }));
        assert_eq!(judged.travelling, controls(&[(oid::MANAGE_DSA_IT, true, None)]));
    }

    #[test]
    fn paging_twice_or_malformed_is_a_protocol_error() {
        let value = PagedResults { size: 9, cookie: b"" }.encode();
        let twice = controls(&[(oid::PAGED_RESULTS, false, Some(&value)), (oid::PAGED_RESULTS, false, Some(&value))]);
        assert_eq!(of_search(Some(&twice)).unwrap_err().code, ResultCode::PROTOCOL_ERROR);
        let malformed = controls(&[(oid::PAGED_RESULTS, false, Some(b"nonsense"))]);
        assert_eq!(of_search(Some(&malformed)), Err(MALFORMED_PAGING));
        let absent = controls(&[(oid::PAGED_RESULTS, false, None)]);
        assert_eq!(of_search(Some(&absent)), Err(MALFORMED_PAGING));
    }

    #[test]
    fn an_assertion_does_not_travel_with_a_compare_where_it_would_test_hidden_attributes() {
        assert_eq!(of_compare(Some(&controls(&[(oid::ASSERTION, true, Some(b"x"))]))), Err(UNKNOWN));
        assert_eq!(of_compare(Some(&controls(&[(oid::ASSERTION, false, Some(b"x"))]))), Ok(None));
    }

    #[test]
    fn assertion_and_reads_travel_with_a_write() {
        let octets = controls(&[(oid::ASSERTION, true, Some(b"x")), (oid::POST_READ, true, Some(b"y"))]);
        assert_eq!(of_write(Some(&octets)), Ok(Some(octets.clone())));
    }
}
