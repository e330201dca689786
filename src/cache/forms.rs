//! The forms in which searches come: all of a request but its filter, and what that makes of the key.
//!
//! A phone has a form for each of its screens, and asks in it for whatever is typed. Who may ask that, whose the answer is, and how base and
//! attributes read in the key is found out for the first two searches of a form, and remembered for everybody of that [`Standing`]. Of the next
//! one only the filter is looked at: it is proved to be one, and folded, in one walk.
//!
//! A form is remembered of a search that was accepted, allowed and keyed, octet for octet; so a search that has it differs from that one in its
//! filter alone, and is accepted, allowed and keyed alike if its filter is one. The forms are one configuration's: a standing means nothing
//! in the next.

use super::repeats::{Spelling, Standing};
use super::store::options;
use super::{Hashing, key};
use crate::ldap::message::Form;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{Equivalent, Weighter};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What searches of the forms that came have as the front of their keys.
pub struct Forms {
    known: Cache<Owned, Arc<[u8]>, Weigh, Hashing>,
    hashing: Hashing,
    /// The hashes of forms that came once, each at its place until another one comes there.
    once: [AtomicU64; PLACES],
}

/// A form, and who asks in it.
#[derive(PartialEq, Eq)]
struct Asked<'a> {
    standing: Standing,
    form: Form<'a>,
}

/// An [`Asked`] that outlives its frame, and hashes as it does.
#[derive(PartialEq, Eq)]
struct Owned {
    standing: Standing,
    head: Box<[u8]>,
    attributes: Box<[u8]>,
}

impl Default for Forms {
    /// None yet.
    fn default() -> Self {
        Self::hashing_by(Hashing::random())
    }
}

impl Forms {
    /// The same, with a hash of one's own.
    pub fn hashing_by(hashing: Hashing) -> Self {
        let known = Cache::with_options(options(CAPACITY, EXPECTED_OCTETS), Weigh, hashing.clone(), DefaultLifecycle::default());
        Self { known, hashing, once: [const { AtomicU64::new(0) }; PLACES] }
    }

    /// Appends the key of the search that came in that spelling. `None` where its form has not come before, or its filter is none: then what
    /// was appended is of no use.
    pub fn write_key(&self, out: &mut Vec<u8>, spelling: &Spelling<'_>) -> Option<()> {
        let (form, filter) = Form::split(spelling.op)?;
        let front = self.known.get(&Asked { standing: spelling.standing, form })?;
        out.reserve(front.len() + filter.len());
        out.extend_from_slice(&front);
        key::write_filter(out, filter).ok()
    }

    /// Remembers the form of a search from its whole key, when it comes for the second time: what comes once only is not worth an allocation.
    /// The search was accepted and allowed, and has no controls.
    pub fn learn(&self, spelling: &Spelling<'_>, key: &[u8]) {
        let Some((form, filter)) = Form::split(spelling.op) else { return };
        let asked = Asked { standing: spelling.standing, form };
        if spelling.op.len() > LONGEST || self.known.get(&asked).is_some() || !self.came_before(&asked) {
            return;
        }
        if let Some(front) = key.len().checked_sub(filter.len()).and_then(|length| key.get(..length)) {
            let owned = Owned { standing: spelling.standing, head: form.head.into(), attributes: form.attributes.into() };
            self.known.insert(owned, front.into());
        }
    }

    fn came_before(&self, asked: &Asked<'_>) -> bool {
        let hash = self.hashing.hash_one(asked);
        // The lowest bits are as good as any.
        let place = usize::try_from(hash % PLACES as u64).ok().and_then(|place| self.once.get(place));
        place.is_some_and(|place| place.swap(hash, Ordering::Relaxed) == hash)
    }

    /// How many are known.
    pub fn count(&self) -> usize {
        self.known.len()
    }
}

impl Hash for Asked<'_> {
    /// Without the lengths, as a [`Spelling`].
    #[inline(always)]
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.standing.hash(state);
        state.write(self.form.head);
        state.write(self.form.attributes);
    }
}

impl Owned {
    fn asked(&self) -> Asked<'_> {
        Asked { standing: self.standing, form: Form { head: &self.head, attributes: &self.attributes } }
    }
}

impl Hash for Owned {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.asked().hash(state);
    }
}

impl Equivalent<Owned> for Asked<'_> {
    fn equivalent(&self, owned: &Owned) -> bool {
        *self == owned.asked()
    }
}

impl std::fmt::Debug for Forms {
    /// How many, not what: there are people's names in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forms").field("known", &self.count()).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Owned, Arc<[u8]>> for Weigh {
    fn weight(&self, form: &Owned, front: &Arc<[u8]>) -> u64 {
        (form.head.len() + form.attributes.len() + front.len() + OVERHEAD) as u64
    }
}

/// Octets of memory for forms: of some thousand principals, each with its own.
const CAPACITY: u64 = 2 << 20;
/// Places for the hashes of forms that came once.
const PLACES: usize = 256;
/// Of a search whose form is remembered: phones send less than half of it.
const LONGEST: usize = 1024;
/// Octets that a form takes beyond its own: the map's nodes, and the allocator's rounding.
const OVERHEAD: usize = 256;
/// Of a form, about.
const EXPECTED_OCTETS: u64 = 512;

#[cfg(test)]
mod tests {
    use super::super::key::{Keyed, Owner, write_key};
    use super::*;
    use crate::ldap::ber::write_element;
    use crate::ldap::envelope::{Envelope, MessageId, op, write_envelope};
    use crate::ldap::filter::Filter;
    use crate::ldap::message::{Request, Scope, SearchRequest};
    use proptest::prelude::*;
    use std::num::NonZeroU64;

    const PHONES: Standing = Standing(NonZeroU64::MIN);
    const OTHERS: Standing = Standing(NonZeroU64::MAX);
    const FILTERS: [&str; 4] = [
        "(&(|(telephoneNumber=*)(mobile=*))(|(cn=*Jo*)(sn=Jo*h*N)))",
        "(!(carLicense=A1))",
        "(|(cn;lang-De=A)(givenName:dn:caseExactMatch:=Smith)(:2.5.13.5:=X))",
        "(&)",
    ];

    fn asked(filter: &str) -> SearchRequest {
        let attributes = ["telephoneNumber", "CN", "mail"];
        SearchRequest::new("OU=Staff, DC=corp", Scope::WholeSubtree, Filter::parse(filter).unwrap(), &attributes)
    }

    /// The key as the slow way writes it, if it accepts the search.
    fn slowly(op: &[u8]) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        write_envelope(&mut frame, MessageId::new(1).unwrap(), op, None);
        let envelope = Envelope::parse(&frame).ok()?;
        let Ok(Request::Search(search)) = Request::parse(&envelope) else { return None };
        let mut key = Vec::new();
        let owner = Owner { access: 3, principal: Some("Ada") };
        assert_eq!(write_key(&mut key, owner, Some(0), &search, None), Keyed::Cacheable);
        Some(key)
    }

    fn by_form(forms: &Forms, standing: Standing, op: &[u8]) -> Option<Vec<u8>> {
        let mut key = Vec::new();
        forms.write_key(&mut key, &Spelling { standing, op }).map(|()| key)
    }

    /// What knows the form of that search, which came twice.
    fn taught(search: &SearchRequest) -> Forms {
        let (forms, op) = (Forms::default(), search.encode());
        for _ in 0..2 {
            assert_eq!(forms.count(), 0);
            forms.learn(&Spelling { standing: PHONES, op: &op }, &slowly(&op).unwrap());
        }
        forms
    }

    /// An octet that is put in, taken out or replaced.
    fn edited(mut octets: Vec<u8>, at: usize, edit: u8, with: u8) -> Vec<u8> {
        match (edit, octets.get_mut(at)) {
            (0, Some(octet)) => *octet = with,
            (1, Some(_)) => drop(octets.remove(at)),
            _ => octets.insert(at.min(octets.len()), with),
        }
        octets
    }

    #[test]
    fn a_search_in_a_form_that_came_before_has_its_key() {
        let forms = taught(&asked("(cn=a)"));
        for filter in FILTERS {
            let op = asked(filter).encode();
            assert_eq!(by_form(&forms, PHONES, &op), slowly(&op), "{filter}");
            assert!(slowly(&op).is_some());
        }
    }

    #[test]
    fn another_form_and_somebody_elses_are_not_known() {
        let forms = taught(&asked("(cn=a)"));
        assert_eq!(by_form(&forms, OTHERS, &asked("(cn=a)").encode()), None);
        for search in [
            SearchRequest { base_object: "OU=Staff,DC=corp".to_owned(), ..asked("(cn=a)") },
            SearchRequest { size_limit: 1, ..asked("(cn=a)") },
            SearchRequest { attributes: Vec::new(), ..asked("(cn=a)") },
        ] {
            assert_eq!(by_form(&forms, PHONES, &search.encode()), None, "{search:?}");
        }
        let trailing = [asked("(cn=a)").encode(), vec![0xa0, 0]].concat();
        assert_eq!(by_form(&forms, PHONES, &trailing), None, "what may be controls");
    }

    #[test]
    fn a_form_without_end_is_not_remembered() {
        let forms = taught(&SearchRequest { base_object: "x".repeat(LONGEST), ..asked("(cn=a)") });
        assert_eq!(forms.count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn in_a_known_form_exactly_what_is_accepted_has_a_key_and_it_is_the_same(
            filter in prop::sample::select(FILTERS.to_vec()),
            edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..3, any::<u8>()), 0..3),
            whole in any::<bool>(),
        ) {
            let search = asked(filter);
            let forms = taught(&search);
            let mut filter = Vec::new();
            search.filter.encode(&mut filter);
            let op = search.encode();
            let damage = |octets: Vec<u8>| {
                edits.iter().fold(octets, |octets, (index, edit, with)| {
                    let at = index.index(octets.len().max(1));
                    edited(octets, at, *edit, *with)
                })
            };
            let damaged = if whole {
                damage(op)
            } else {
                let (Form { head, attributes }, _) = Form::split(&op).unwrap();
                let mut built = Vec::new();
                write_element(&mut built, op::SEARCH_REQUEST, &[head, &damage(filter), attributes].concat());
                built
            };
            let is_of_the_form = Form::split(&damaged).is_some_and(|(form, _)| Some(form) == Form::split(&search.encode()).map(|(form, _)| form));
            prop_assert_eq!(by_form(&forms, PHONES, &damaged), slowly(&damaged).filter(|_| is_of_the_form));
        }
    }
}
