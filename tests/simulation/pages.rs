//! Paged results (RFC 2696) at both ends: as controllers give them, and as phones ask for them.

use redial::ldap::control::{PagedResults, parse_controls, write_control};
use redial::ldap::oid;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// The cookies of one connection to a controller: each is good for one page more of one search.
#[derive(Debug, Default)]
pub(crate) struct Cookies {
    given: u32,
    /// With the search, and where it goes on.
    good: BTreeMap<u32, (Vec<u8>, usize)>,
}

impl Cookies {
    /// Leaves of these entries those of the page that is asked for, and says with which controls it ends.
    ///
    /// # Errors
    /// When the cookie is not good.
    pub(crate) fn page<T>(
        &mut self,
        search: &[u8],
        controls: Option<&[u8]>,
        entries: &mut Vec<T>,
    ) -> Result<Option<Vec<u8>>, &'static str> {
        let Some((size, cookie)) = asked(controls) else { return Ok(None) };
        let start = if cookie.is_empty() {
            0
        } else {
            let number =
                std::str::from_utf8(&cookie).ok().and_then(|text| text.parse::<u32>().ok()).ok_or("a cookie of somebody else's")?;
            let (of, start) = self.good.remove(&number).ok_or("a cookie that is not good here")?;
            if of != search {
                return Err("the cookie of another search");
            }
            start
        };
        let end = entries.len().min(start + size as usize);
        let mut cookie = Vec::new();
        if end < entries.len() {
            self.given += 1;
            self.good.insert(self.given, (search.to_vec(), end));
            cookie = self.given.to_string().into_bytes();
        }
        entries.truncate(end);
        entries.drain(..start.min(end));
        Ok(Some(control(0, &cookie)))
    }
}

/// What a phone has fetched of a search so far, and how it asks for the rest.
#[derive(Clone)]
pub(crate) struct Page {
    pub(crate) size: u32,
    /// Random, so it is in no story.
    pub(crate) cookie: Vec<u8>,
    /// Entries of the pages before.
    pub(crate) before: usize,
    /// When the first was asked for.
    pub(crate) began: Instant,
    /// After so many binds that was.
    pub(crate) bind: u32,
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} entries behind {}", self.size, self.before)
    }
}

impl Page {
    /// The contents of the controls element that asks for it.
    pub(crate) fn controls(&self) -> Vec<u8> {
        control(self.size, &self.cookie)
    }
}

/// Size and cookie of the paged results control, where there is one.
pub(crate) fn asked(controls: Option<&[u8]>) -> Option<(u32, Vec<u8>)> {
    let controls = parse_controls(controls).expect("well-formed controls");
    let control = controls.iter().find(|control| control.oid == oid::PAGED_RESULTS)?;
    let page = PagedResults::parse(control.value.expect("a value")).expect("a page");
    Some((page.size, page.cookie.to_vec()))
}

fn control(size: u32, cookie: &[u8]) -> Vec<u8> {
    let mut controls = Vec::new();
    write_control(&mut controls, oid::PAGED_RESULTS, false, Some(&PagedResults { size, cookie }.encode()));
    controls
}
