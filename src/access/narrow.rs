//! Narrows a search to what an access shows: bases, attributes, filter, size limit.
//!
//! In: the search as received. Out: the [`Part`]s to run instead; the received octets where nothing had to change. A hidden attribute is
//! Undefined (RFC 4511 section 4.5.1.7), so exactly those entries match for which the filter is TRUE whatever the hidden values are. How a
//! server treats an attribute that it does not know must not matter for that: Samba, for one, takes it for FALSE, and then a
//! `(!(hidden=x))` would match everybody. The filter is therefore rewritten until it names nothing hidden.

use super::{Access, Base, Grant};
use crate::ldap::filter::{Filter, FilterError};
use crate::ldap::filter_walk::{Visitor, walk};
use crate::ldap::message::{Scope, Search, SearchRequest};
use bytes::Bytes;

/// One search to run for a narrowed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The directory that answers it (index in the configuration).
    pub(crate) directory: usize,
    /// The protocolOp: as received where nothing had to change.
    pub(crate) op: Bytes,
}

impl Grant<'_> {
    /// The searches to run instead of `asked`, their answers to be concatenated under one size limit ([`Grant::entries_wanted`]). None:
    /// nothing can match, answer success without entries. What needs no change is not taken apart.
    ///
    /// # Errors
    /// Never for a request that [`crate::ldap::message::Request::parse`] has read.
    pub(crate) fn narrow(&self, asked: &Search<'_>) -> Result<Vec<Part>, FilterError> {
        match self.inside {
            Some(inside) if self.lets_pass(asked, inside) => Ok(vec![Part::as_asked(inside.directory, asked)]),
            _ => Ok(self.narrowed(&asked.to_owned()?)),
        }
    }

    /// Nothing of it has to change, as far as its octets tell.
    fn lets_pass(&self, asked: &Search<'_>, inside: &Base) -> bool {
        self.entries_wanted(asked.size_limit).unwrap_or(0) == asked.size_limit
            && (inside.is_whole || asked.deref_aliases == NEVER_DEREF_ALIASES)
            && self.access.shows_all(asked)
    }

    fn narrowed(&self, asked: &SearchRequest) -> Vec<Part> {
        let Some(filter) = self.access.narrow_filter(&asked.filter) else { return Vec::new() };
        let request = SearchRequest {
            base_object: asked.base_object.clone(),
            filter,
            attributes: self.access.narrow_attributes(&asked.attributes),
            size_limit: self.entries_wanted(asked.size_limit).unwrap_or(0),
            ..*asked
        };
        let Some(inside) = self.inside else { return self.below(&request) };
        // An alias could lead to an entry outside the access.
        let deref_aliases = if inside.is_whole { request.deref_aliases } else { NEVER_DEREF_ALIASES };
        let request = SearchRequest { deref_aliases, ..request };
        vec![Part::rebuilt(inside.directory, &request)]
    }

    /// Where the access has a filter: the search that must find one entry before a compare of `entry` may be sent, else the compare would
    /// tell about entries that the access hides. When it finds none the client is told noSuchObject(32).
    pub(crate) fn compare_guard(&self, entry: &str) -> Option<Part> {
        let (inside, filter) = (self.inside?, self.access.config.filter.clone()?);
        let request =
            SearchRequest { deref_aliases: NEVER_DEREF_ALIASES, ..SearchRequest::new(entry, Scope::BaseObject, filter, &[NO_ATTRIBUTES]) };
        Some(Part::rebuilt(inside.directory, &request))
    }

    /// A search from above the access's bases becomes one at each of them.
    fn below(&self, request: &SearchRequest) -> Vec<Part> {
        let (scope, level) = match self.scope {
            Scope::WholeSubtree => (Scope::WholeSubtree, None),
            Scope::SingleLevel => (Scope::BaseObject, Some(self.base.depth() + 1)),
            Scope::BaseObject => return Vec::new(),
        };
        let bases = self.access.bases.iter().filter(|base| base.dn.is_under(&self.base));
        let on_level = bases.filter(|base| level.is_none_or(|level| base.dn.depth() == level));
        on_level
            .map(|base| {
                let deref_aliases = if base.is_whole { request.deref_aliases } else { NEVER_DEREF_ALIASES };
                let request = SearchRequest { base_object: base.text.clone(), scope, deref_aliases, ..request.clone() };
                Part::rebuilt(base.directory, &request)
            })
            .collect()
    }
}

impl Part {
    fn as_asked(directory: usize, asked: &Search<'_>) -> Self {
        Self { directory, op: Bytes::copy_from_slice(asked.op) }
    }

    fn rebuilt(directory: usize, request: &SearchRequest) -> Self {
        Self { directory, op: request.encode().into() }
    }
}

impl Access {
    /// It wants nothing that is hidden, and every entry is shown.
    fn shows_all(&self, asked: &Search<'_>) -> bool {
        if self.config.filter.is_some() {
            return false;
        }
        let Some(allowed) = self.config.attributes.as_deref() else { return true };
        let mut selected = asked.attribute_names().peekable();
        selected.peek().is_some() && selected.all(|name| is_listed(allowed, name)) && names_none_hidden(asked.filter, allowed)
    }

    /// The selection without what is hidden.
    fn narrow_attributes(&self, asked: &[String]) -> Vec<String> {
        let Some(allowed) = self.config.attributes.as_deref() else { return asked.to_vec() };
        if asked.is_empty() || asked.iter().any(|name| name == ALL_USER_ATTRIBUTES) {
            return allowed.to_vec();
        }
        let kept: Vec<String> = asked.iter().filter(|name| is_listed(allowed, name)).cloned().collect();
        if kept.is_empty() { vec![NO_ATTRIBUTES.to_owned()] } else { kept }
    }

    /// The filter to send; `None` when it can be true for no entry.
    fn narrow_filter(&self, asked: &Filter) -> Option<Filter> {
        let visible = match self.config.attributes.as_deref() {
            Some(allowed) if names_hidden(asked, allowed) => match without_hidden(asked, allowed, true) {
                Seen::Constant(false) => return None,
                Seen::Constant(true) => Filter::Present("objectClass".to_owned()),
                Seen::Filter(filter) => filter,
            },
            _ => asked.clone(),
        };
        Some(match &self.config.filter {
            Some(always) => Filter::And(vec![visible, always.clone()]),
            None => visible,
        })
    }
}

/// May this attribute be named in a filter or a compare under that list (`None`: all)?
pub(super) fn is_testable(allowed: Option<&[String]>, attribute: &str) -> bool {
    let Some(allowed) = allowed else { return true };
    let name = base_name(attribute);
    is_listed(allowed, name) || ALWAYS_TESTABLE.iter().any(|testable| testable.eq_ignore_ascii_case(name))
}

/// Is this attribute in the list, its options aside?
fn is_listed(allowed: &[String], attribute: &str) -> bool {
    let name = base_name(attribute);
    allowed.iter().any(|listed| listed.eq_ignore_ascii_case(name))
}

/// The description without options (`cn;lang-de`, `member;range=0-99`).
fn base_name(attribute: &str) -> &str {
    attribute.split_once(';').map_or(attribute, |(name, _)| name)
}

/// Does the filter, as octets, name nothing hidden? An extensible match must be looked at more closely.
fn names_none_hidden(filter: &[u8], allowed: &[String]) -> bool {
    struct Names<'a> {
        allowed: &'a [String],
        are_shown: bool,
    }
    impl Visitor for Names<'_> {
        fn header(&mut self, _: &[u8]) {}
        fn description(&mut self, description: &[u8]) {
            let name = std::str::from_utf8(description);
            self.are_shown &= name.is_ok_and(|name| is_testable(Some(self.allowed), name));
        }
        fn value(&mut self, _: &[u8], _: &[u8]) {}
        fn rules_own(&mut self, _: &[u8]) {
            self.are_shown = false;
        }
    }
    let mut names = Names { allowed, are_shown: true };
    walk(filter, &mut names).is_ok() && names.are_shown
}

fn names_hidden(filter: &Filter, allowed: &[String]) -> bool {
    match filter {
        Filter::And(branches) | Filter::Or(branches) => branches.iter().any(|branch| names_hidden(branch, allowed)),
        Filter::Not(inner) => names_hidden(inner, allowed),
        leaf => is_hidden(leaf, allowed),
    }
}

fn is_hidden(leaf: &Filter, allowed: &[String]) -> bool {
    let attribute = match leaf {
        Filter::Equality(item) | Filter::GreaterOrEqual(item) | Filter::LessOrEqual(item) | Filter::Approx(item) => &item.attribute,
        Filter::Substrings(item) => &item.attribute,
        Filter::Present(attribute) => attribute,
        Filter::Extensible(item) => match &item.attribute {
            Some(attribute) => attribute,
            None => return true, // it looks at every attribute that the rule fits
        },
        Filter::And(_) | Filter::Or(_) | Filter::Not(_) => return false,
    };
    !is_testable(Some(allowed), attribute)
}

/// What is left of a filter.
enum Seen {
    /// The same for all entries.
    Constant(bool),
    /// Names nothing hidden.
    Filter(Filter),
}

/// Rewrites `filter` without its hidden leaves. With `want` true the outcome is TRUE exactly where the filter is TRUE; with `want` false it is
/// FALSE exactly where the filter is FALSE, which is what a surrounding NOT needs. A hidden leaf is neither, hence the opposite of `want`.
/// Recursion is as deep as the filter, which [`crate::ldap::filter::MAX_DEPTH`] bounds.
fn without_hidden(filter: &Filter, allowed: &[String], want: bool) -> Seen {
    match filter {
        Filter::And(branches) => fold(branches, allowed, want, true, Filter::And),
        Filter::Or(branches) => fold(branches, allowed, want, false, Filter::Or),
        Filter::Not(inner) => match without_hidden(inner, allowed, !want) {
            Seen::Constant(value) => Seen::Constant(!value),
            Seen::Filter(inner) => Seen::Filter(Filter::Not(Box::new(inner))),
        },
        leaf if is_hidden(leaf, allowed) => Seen::Constant(!want),
        leaf => Seen::Filter(leaf.clone()),
    }
}

/// Rewrites the branches of an AND or OR. `neutral` is the constant that may be left out: true in an AND, false in an OR; the other decides.
fn fold(branches: &[Filter], allowed: &[String], want: bool, neutral: bool, join: impl Fn(Vec<Filter>) -> Filter) -> Seen {
    let mut kept = Vec::with_capacity(branches.len());
    for branch in branches {
        match without_hidden(branch, allowed, want) {
            Seen::Constant(value) if value == neutral => {}
            Seen::Constant(value) => return Seen::Constant(value),
            Seen::Filter(filter) => kept.push(filter),
        }
    }
    match (kept.pop(), kept.is_empty()) {
        (None, _) => Seen::Constant(neutral),
        (Some(only), true) => Seen::Filter(only),
        (Some(last), false) => {
            kept.push(last);
            Seen::Filter(join(kept))
        }
    }
}

/// They say what kind of entry is wanted, and phones' filters are full of them.
const ALWAYS_TESTABLE: [&str; 2] = ["objectClass", "objectCategory"];
/// The selector of all user attributes (RFC 4511 section 4.5.1.8).
const ALL_USER_ATTRIBUTES: &str = "*";
/// The selector of none (RFC 4511 section 4.5.1.8).
const NO_ATTRIBUTES: &str = "1.1";
/// derefAliases neverDerefAliases (RFC 4511 section 4.5.1.3).
const NEVER_DEREF_ALIASES: u8 = 0;

#[cfg(test)]
mod tests {
    use super::super::tests::{BOUND, access, accesses, allowed};
    use super::*;
    use crate::config;
    use crate::ldap::MessageId;
    use crate::ldap::envelope::{Envelope, write_envelope};
    use crate::ldap::message::Request;
    use proptest::prelude::*;

    const STAFF: &str = "OU=Staff,DC=corp,DC=example";

    fn request(base: &str, filter: &str, attributes: &[&str]) -> SearchRequest {
        SearchRequest { time_limit: 7, ..SearchRequest::new(base, Scope::WholeSubtree, Filter::parse(filter).unwrap(), attributes) }
    }

    /// What one access makes of a request.
    fn narrowed(access: config::Access, request: &SearchRequest) -> Vec<Part> {
        let mut frame = Vec::new();
        write_envelope(&mut frame, MessageId::new(1).unwrap(), &request.encode(), None);
        let envelope = Envelope::parse(&frame).unwrap();
        let Request::Search(search) = Request::parse(&envelope).unwrap() else { panic!("it is a search") };
        let accesses = accesses([access]);
        let grant = allowed(&accesses, &BOUND, &request.base_object, request.scope);
        grant.narrow(&search).unwrap()
    }

    impl Part {
        fn request(&self) -> SearchRequest {
            SearchRequest::decode(&self.op).unwrap()
        }
    }

    fn listing(attributes: &[&str]) -> config::Access {
        let attributes: Vec<String> = attributes.iter().map(|name| (*name).to_owned()).collect();
        config::Access { attributes: Some(attributes.into()), ..access(&[STAFF]) }
    }

    fn narrowed_filter(filter: &str) -> Option<String> {
        let parts = narrowed(listing(&["cn", "sn"]), &request(STAFF, filter, &["cn"]));
        parts.first().map(|part| part.request().filter.to_string())
    }

    fn narrowed_attributes(attributes: &[&str]) -> Vec<String> {
        narrowed(listing(&["cn", "member"]), &request(STAFF, "(cn=a)", attributes))[0].request().attributes
    }

    #[test]
    fn what_needs_no_change_travels_as_it_came() {
        let asked = request("cn=a,ou=staff,dc=corp,dc=example", "(&(cn=a*)(|))", &["CN", "1.1"]);
        let parts = narrowed(access(&[STAFF]), &asked);
        assert_eq!(parts, [Part { directory: 0, op: asked.encode().into() }]);
    }

    #[test]
    fn the_selection_keeps_what_is_listed() {
        assert_eq!(narrowed_attributes(&["mail", "CN", "telephoneNumber"]), ["CN"]);
        assert_eq!(narrowed_attributes(&["cn;lang-de", "member;range=0-99", "mail;x-cn"]), ["cn;lang-de", "member;range=0-99"]);
        assert_eq!(narrowed_attributes(&["mail"]), ["1.1"]);
        assert_eq!(narrowed_attributes(&["1.1"]), ["1.1"]);
        assert_eq!(narrowed_attributes(&["+"]), ["1.1"]);
        assert_eq!(narrowed_attributes(&["2.5.4.20", "@person", "objectClass", "objectCategory"]), ["1.1"]);
        for everything in [&[][..], &["*"], &["*", "+"], &["mail", "*"]] {
            assert_eq!(narrowed_attributes(everything), ["cn", "member"], "{everything:?}");
        }
    }

    #[test]
    fn without_a_list_every_selector_is_kept() {
        for attributes in [&[][..], &["*", "+"], &["1.1"], &["2.5.4.20"]] {
            assert_eq!(narrowed(access(&[STAFF]), &request(STAFF, "(cn=a)", attributes))[0].request().attributes, attributes);
        }
    }

    #[test]
    fn a_hidden_attribute_is_undefined_in_the_filter() {
        let cases = [
            ("(|(cn=a)(other=a))", Some("(cn=a)")),
            ("(|(cn=a)(other=a)(sn=b))", Some("(|(cn=a)(sn=b))")),
            ("(&(cn=a)(other=a))", None),
            ("(other=*)", None),
            ("(!(other=a))", None),
            ("(!(!(other=a)))", None),
            ("(&(cn=a)(!(other=a)))", None),
            ("(|(cn=a)(!(other=a)))", Some("(cn=a)")),
            ("(!(&(cn=a)(other=b)))", Some("(!(cn=a))")),
            ("(!(|(cn=a)(other=b)))", None),
            ("(|(&)(other=a))", Some("(objectClass=*)")),
            ("(&(objectClass=person)(objectCategory=person)(cn=a))", Some("(&(objectClass=person)(objectCategory=person)(cn=a))")),
            ("(|(CN;lang-de=a)(other=a))", Some("(CN;lang-de=a)")),
            ("(anr=smith)", None),
            ("(:caseIgnoreMatch:=smith)", None),
            ("(|(cn:dn:caseIgnoreMatch:=a)(other:dn:=a))", Some("(cn:dn:caseIgnoreMatch:=a)")),
            ("(|(cn>=a)(other>=a)(other<=a)(other~=a)(other=*a*)(other:1.2.3:=a))", Some("(cn>=a)")),
        ];
        for (asked, expected) in cases {
            assert_eq!(narrowed_filter(asked).as_deref(), expected, "{asked}");
        }
    }

    #[test]
    fn the_filter_of_the_access_is_always_added() {
        let filtered = || config::Access { filter: Some(Filter::parse("(!(disabled=TRUE))").unwrap()), ..listing(&["cn"]) };
        let filter = |asked: &str| narrowed(filtered(), &request(STAFF, asked, &["cn"]))[0].request().filter.to_string();
        assert_eq!(filter("(cn=a)"), "(&(cn=a)(!(disabled=TRUE)))");
        assert_eq!(filter("(|(cn=a)(cn=b))"), "(&(|(cn=a)(cn=b))(!(disabled=TRUE)))");
        assert_eq!(filter("(|(&)(disabled=TRUE))"), "(&(objectClass=*)(!(disabled=TRUE)))");
    }

    #[test]
    fn the_lower_size_limit_holds() {
        let limited = || config::Access { size_limit: Some(500), ..access(&[STAFF]) };
        for (asked, expected) in [(0, 500), (50, 50), (501, 500)] {
            let request = SearchRequest { size_limit: asked, ..request(STAFF, "(cn=a)", &[]) };
            assert_eq!(narrowed(limited(), &request)[0].request().size_limit, expected);
        }
    }

    #[test]
    fn a_search_from_above_becomes_one_at_each_base() {
        let bases = ["OU=Guests,DC=corp,DC=example", STAFF, "OU=IT,OU=Staff,DC=corp,DC=example", "OU=Deep,OU=X,DC=corp,DC=example"];
        let found = |base: &str, scope: Scope| {
            let parts = narrowed(access(&bases), &SearchRequest { scope, ..request(base, "(cn=a)", &["cn"]) });
            parts.iter().map(|part| (part.request().base_object, part.request().scope)).collect::<Vec<_>>()
        };
        let whole = |base: &str| (base.to_owned(), Scope::WholeSubtree);
        let one = |base: &str| (base.to_owned(), Scope::BaseObject);
        assert_eq!(found("DC=example", Scope::WholeSubtree), [whole(bases[0]), whole(bases[1]), whole(bases[3])]);
        assert_eq!(found("dc=corp, dc=example", Scope::SingleLevel), [one(bases[0]), one(bases[1])]);
        assert_eq!(found("OU=X,DC=corp,DC=example", Scope::WholeSubtree), [whole(bases[3])]);
        assert_eq!(found("DC=example", Scope::SingleLevel), []);
        assert_eq!(found(STAFF, Scope::SingleLevel), [(STAFF.to_owned(), Scope::SingleLevel)]);
    }

    #[test]
    fn a_search_over_several_directories_meets_each_with_its_own_base() {
        let parts = narrowed(access(&[STAFF, "dc=contacts"]), &request("", "(cn=a)", &[]));
        let met: Vec<_> = parts.iter().map(|part| (part.directory, part.request().base_object)).collect();
        assert_eq!(met, [(0, STAFF.to_owned()), (1, "dc=contacts".to_owned())]);
    }

    #[test]
    fn an_alias_leads_nowhere_outside_the_access() {
        let following = |base: &str| SearchRequest { deref_aliases: 3, ..request(base, "(cn=a)", &[]) };
        assert_eq!(narrowed(access(&[STAFF]), &following(STAFF))[0].request().deref_aliases, 0);
        assert_eq!(narrowed(access(&[STAFF]), &following("DC=corp,DC=example"))[0].request().deref_aliases, 0);
        assert_eq!(narrowed(access(&["DC=corp,DC=example"]), &following(STAFF))[0].request().deref_aliases, 3, "nothing is outside");
    }

    #[test]
    fn a_compare_is_guarded_by_the_filter_of_the_access() {
        let filter = Filter::parse("(!(disabled=TRUE))").unwrap();
        let filtered = accesses([config::Access { filter: Some(filter.clone()), ..access(&[STAFF]) }]);
        let guard = allowed(&filtered, &BOUND, STAFF, Scope::BaseObject).compare_guard(STAFF).unwrap().request();
        assert_eq!((&guard.filter, guard.scope, guard.base_object.as_str()), (&filter, Scope::BaseObject, STAFF));
        let plain = accesses([access(&[STAFF])]);
        assert_eq!(allowed(&plain, &BOUND, STAFF, Scope::BaseObject).compare_guard(STAFF), None);
    }

    /// Three-valued logic: true, false, or undefined.
    fn truth(filter: &Filter, leaves: &[Option<bool>; 4]) -> Option<bool> {
        let all = |branches: &[Filter], decides: bool| {
            let values: Vec<_> = branches.iter().map(|branch| truth(branch, leaves)).collect();
            if values.contains(&Some(decides)) {
                Some(decides)
            } else if values.contains(&None) {
                None
            } else {
                Some(!decides)
            }
        };
        match filter {
            Filter::And(branches) => all(branches, false),
            Filter::Or(branches) => all(branches, true),
            Filter::Not(inner) => truth(inner, leaves).map(|value| !value),
            Filter::Present(attribute) if attribute == "objectClass" => Some(true),
            Filter::Present(attribute) => attribute.strip_prefix('v').and_then(|number| leaves[number.parse::<usize>().unwrap()]),
            _ => unreachable!("the strategy makes no other leaf"),
        }
    }

    fn filters() -> impl Strategy<Value = Filter> {
        let leaf = prop::sample::select(vec!["v0", "v1", "v2", "v3", "h0", "h1"]).prop_map(|name| Filter::Present(name.to_owned()));
        leaf.prop_recursive(5, 24, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
                inner.prop_map(|inner| Filter::Not(Box::new(inner))),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn exactly_those_entries_match_for_which_the_filter_is_true(filter in filters(), leaves in any::<[Option<bool>; 4]>()) {
            let visible = listing(&["v0", "v1", "v2", "v3"]);
            let parts = narrowed(visible, &SearchRequest { filter: filter.clone(), ..request(STAFF, "(&)", &["v0"]) });
            let found = parts.first().map_or(Some(false), |part| truth(&part.request().filter, &leaves));
            prop_assert_eq!(found == Some(true), truth(&filter, &leaves) == Some(true));
            let sent = parts.first().map(|part| part.request().filter.to_string()).unwrap_or_default();
            prop_assert!(!sent.contains("(h"), "hidden attributes do not travel");
        }
    }
}
