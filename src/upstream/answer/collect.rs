//! Collecting a result that is longer than a controller gives at once (RFC 2696), pure.
//!
//! Active Directory stops at 1,000 entries with sizeLimitExceeded(4), whatever was asked. So Redial asks page by page, without a size limit
//! of the request's own, and counts itself: a client with a limit gets that many entries and then 4, as from one server.

use crate::ldap::ber::{self, BerError, Reader, tag};
use crate::ldap::control::{PagedResults, parse_controls, write_control};
use crate::ldap::envelope::op;
use crate::ldap::message::{ResultCode, Scope};
use crate::ldap::oid;
use crate::ldap::response::write_result_op;
use bytes::Bytes;

/// A result that is being collected.
#[derive(Debug)]
pub(crate) struct Collect {
    wanted: Option<u32>,
    page_size: u32,
    delivered: u32,
}

/// What to do with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Pass it on.
    Deliver,
    /// There is one more than wanted: the result is over, with sizeLimitExceeded(4).
    OneTooMany,
}

impl Collect {
    /// Begins to collect `wanted` entries, or all there are.
    pub(crate) const fn new(wanted: Option<u32>, page_size: u32) -> Self {
        Self { wanted, page_size, delivered: 0 }
    }

    /// An entry has come.
    pub(crate) const fn entry(&mut self) -> Entry {
        if let Some(wanted) = self.wanted
            && self.delivered >= wanted
        {
            return Entry::OneTooMany;
        }
        self.delivered = self.delivered.saturating_add(1);
        Entry::Deliver
    }

    /// Appends the control that asks for the next page; `cookie` is empty for the first. Not critical: a server that does not page answers
    /// as it would without.
    pub(crate) fn write_control(&self, out: &mut Vec<u8>, cookie: &[u8]) {
        // One more than wanted tells a result that is complete from one that is cut.
        let missing = self.wanted.map_or(u32::MAX, |wanted| wanted.saturating_sub(self.delivered).saturating_add(1));
        let size = self.page_size.min(missing);
        write_control(out, oid::PAGED_RESULTS, false, Some(&PagedResults { size, cookie }.encode()));
    }

    /// The cookie for the next page in a response's controls, when there is a next page; and the other controls.
    ///
    /// # Errors
    /// When the controls are malformed.
    pub(crate) fn page_ended(controls: Option<&Bytes>) -> Result<(Option<Bytes>, Option<Bytes>), BerError> {
        let Some(controls) = controls else { return Ok((None, None)) };
        let mut cookie = None;
        let mut others = Vec::new();
        for control in parse_controls(Some(controls))? {
            if control.oid == oid::PAGED_RESULTS {
                let value = PagedResults::parse(control.value.unwrap_or_default())?;
                cookie = Some(controls.slice_ref(value.cookie)).filter(|cookie| !cookie.is_empty());
            } else {
                others.extend_from_slice(control.raw);
            }
        }
        Ok((cookie, (!others.is_empty()).then(|| others.into())))
    }
}

/// A SearchResultDone that says: there is more than was wanted.
pub(crate) fn size_limit_exceeded() -> Bytes {
    let mut done = Vec::new();
    write_result_op(&mut done, op::SEARCH_RESULT_DONE, ResultCode::SIZE_LIMIT_EXCEEDED, "", "");
    done.into()
}

/// The same SearchRequest with another sizeLimit; every other octet stays as it came (RFC 4511 section 4.5.1).
///
/// # Errors
/// When `search` is no SearchRequest.
pub(crate) fn with_size_limit(search: &[u8], size_limit: u32) -> Result<Vec<u8>, BerError> {
    let mut fields = Reader::new(Reader::new(search).expect(op::SEARCH_REQUEST)?.content);
    let before = [fields.element()?.raw, fields.element()?.raw, fields.element()?.raw];
    fields.expect(tag::INTEGER)?;
    let mut changed = Vec::with_capacity(search.len() + 8);
    ber::write_constructed(&mut changed, op::SEARCH_REQUEST, |out| {
        before.iter().for_each(|field| out.extend_from_slice(field));
        ber::write_integer(out, tag::INTEGER, size_limit);
        out.extend_from_slice(fields.rest());
    });
    Ok(changed)
}

/// Does this SearchRequest look at its base object alone?
pub(crate) fn is_of_one_entry(search: &[u8]) -> bool {
    let scope = || {
        let mut fields = Reader::new(Reader::new(search).contents(op::SEARCH_REQUEST)?);
        fields.contents(tag::OCTET_STRING)?;
        fields.integer(tag::ENUMERATED, ber::MAX_INT)
    };
    scope().is_ok_and(|scope| scope == Scope::BaseObject.number())
}

/// Does the client itself page, sort on the server or scroll? Then its search is passed on as it is.
pub(crate) fn client_pages(controls: Option<&[u8]>) -> bool {
    let own = [oid::PAGED_RESULTS, oid::VIRTUAL_LIST_VIEW];
    parse_controls(controls).map_or(true, |controls| controls.iter().any(|control| own.contains(&control.oid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(collect: &Collect, cookie: &[u8]) -> (u32, Vec<u8>) {
        let mut controls = Vec::new();
        collect.write_control(&mut controls, cookie);
        let controls = parse_controls(Some(&controls)).unwrap();
        assert!(!controls[0].critical);
        let value = PagedResults::parse(controls[0].value.unwrap()).unwrap();
        (value.size, value.cookie.to_vec())
    }

    #[test]
    fn pages_shrink_towards_the_number_wanted() {
        let mut collect = Collect::new(Some(1500), 1000);
        assert_eq!(asked(&collect, b""), (1000, vec![]));
        (0..1000).for_each(|_| assert_eq!(collect.entry(), Entry::Deliver));
        assert_eq!(asked(&collect, b"c"), (501, b"c".to_vec()));
        (0..500).for_each(|_| assert_eq!(collect.entry(), Entry::Deliver));
        assert_eq!(collect.entry(), Entry::OneTooMany);
    }

    #[test]
    fn without_a_number_wanted_everything_is_collected() {
        let mut collect = Collect::new(None, 2);
        (0..5000).for_each(|_| assert_eq!(collect.entry(), Entry::Deliver));
        assert_eq!(asked(&collect, b"x"), (2, b"x".to_vec()));
    }

    #[test]
    fn a_cookie_leads_on_and_other_controls_stay() {
        let mut controls = Vec::new();
        write_control(&mut controls, oid::PASSWORD_POLICY, false, Some(b"p"));
        let others = controls.clone();
        write_control(&mut controls, oid::PAGED_RESULTS, false, Some(&PagedResults { size: 0, cookie: b"next" }.encode()));
        let (cookie, kept) = Collect::page_ended(Some(&controls.into())).unwrap();
        assert_eq!(cookie.as_deref(), Some(&b"next"[..]));
        assert_eq!(kept.as_deref(), Some(&others[..]));
    }

    #[test]
    fn an_empty_cookie_is_the_end() {
        let mut controls = Vec::new();
        write_control(&mut controls, oid::PAGED_RESULTS, false, Some(&PagedResults { size: 7, cookie: b"" }.encode()));
        assert_eq!(Collect::page_ended(Some(&controls.into())), Ok((None, None)));
        assert_eq!(Collect::page_ended(None), Ok((None, None)));
    }

    #[test]
    fn only_the_size_limit_of_a_request_changes() {
        // Lengths in the long form that Active Directory's clients write, which a re-encoding would lose.
        let search = [0x63, 20, 4, 0x81, 0, 0x0a, 1, 2, 0x0a, 1, 0, 2, 1, 5, 2, 1, 9, 1, 1, 0, 0x30, 0];
        let changed = with_size_limit(&search, 1000).unwrap();
        assert_eq!(changed, [0x63, 21, 4, 0x81, 0, 0x0a, 1, 2, 0x0a, 1, 0, 2, 2, 3, 0xe8, 2, 1, 9, 1, 1, 0, 0x30, 0]);
    }
}
