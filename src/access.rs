//! Who may ask what: the first access that fits decides, and no fit refuses.
//!
//! In: who asks, from where, and the name asked for. Out: a [`Verdict`]; its [`Grant`] knows which access allowed the request and how the
//! request is narrowed to it ([`narrow`]). An access fits when its networks and clients do, and when the name lies under one of its bases,
//! or above one (then a search is narrowed to those bases).
//!
//! What holds always: no search leaves for a directory with a base outside the access, or names an attribute outside it in its filter or
//! its selection; what cannot be compared safely is refused. Pure: no sockets, no clock.

pub(crate) mod narrow;

use crate::config::{self, Clients, DirectoryConfig};
use crate::identity::Identity;
use crate::ldap::dn::Dn;
use crate::ldap::message::{ResultCode, Scope};
use ipnet::IpNet;
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use std::net::IpAddr;
use std::sync::Arc;

/// Whoever asks, as far as an access looks.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// From where; an IPv4-mapped IPv6 address counts as IPv4.
    pub peer: IpAddr,
    /// Who.
    pub identity: &'a Identity,
}

/// All accesses in the order of the configuration, prepared for deciding.
#[derive(Debug)]
pub struct Accesses {
    accesses: Vec<Access>,
    /// Texts whose name is known in advance: each base and all that is above it. What phones ask for is nearly always among them, so
    /// deciding does not allocate.
    known: Vec<(Box<str>, Arc<Dn>)>,
    /// Texts that have been read lately: the few names below the bases that phones ask for instead.
    lately: Lately,
}

type Lately = Cache<Box<str>, Arc<Dn>, UnitWeighter, foldhash::quality::RandomState>;

/// May it be asked?
#[derive(Debug)]
pub enum Verdict<'a> {
    /// Yes, within this.
    Allow(Grant<'a>),
    /// No: the client is told so.
    Refuse(Refusal),
}

/// What a refused client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// The resultCode.
    pub code: ResultCode,
    /// The diagnosticMessage; names nothing that the client did not send.
    pub reason: &'static str,
}

/// What an access grants to one request.
#[derive(Debug)]
pub struct Grant<'a> {
    access: &'a Access,
    index: usize,
    base: Arc<Dn>,
    scope: Scope,
    inside: Option<&'a Base>,
}

/// One access, prepared.
#[derive(Debug)]
struct Access {
    config: config::Access,
    /// Where it applies: its bases cut down to what the directories hold, none below another.
    bases: Vec<Base>,
}

/// One name below which an access applies, and the directory that answers there.
#[derive(Debug)]
struct Base {
    text: String,
    dn: Dn,
    directory: usize,
    /// It is the whole naming context: nothing of the directory lies outside.
    is_whole: bool,
    /// The directory is searched under the client's own name.
    as_client: bool,
}

impl Accesses {
    /// Prepares the configured accesses for the configured directories. Of an access's bases only what lies in some directory counts.
    pub fn new(accesses: &[config::Access], directories: &[DirectoryConfig]) -> Self {
        let accesses: Vec<Access> = accesses.iter().map(|config| Access::new(config, directories)).collect();
        let mut known = Vec::new();
        for base in accesses.iter().flat_map(|access| &access.bases) {
            learn(&mut known, &base.text);
        }
        let lately =
            Cache::with(LATELY, LATELY as u64, UnitWeighter, foldhash::quality::RandomState::default(), DefaultLifecycle::default());
        Self { accesses, known, lately }
    }

    /// May a search or a compare ask for `base`? For a compare the scope is [`Scope::BaseObject`].
    ///
    /// Refuses with insufficientAccessRights(50) where no access fits, invalidDNSyntax(34) where `base` is no name, and noSuchObject(32)
    /// where a single entry above the access's bases is asked for, since nothing is visible there. The empty base with scope base is the
    /// rootDSE's and is answered before this is asked.
    pub fn decide<'a>(&'a self, asker: &Asker<'_>, base: &str, scope: Scope) -> Verdict<'a> {
        let Some(base) = self.name(base) else { return Verdict::Refuse(Refusal::NOT_A_NAME) };
        for (index, access) in self.accesses.iter().enumerate() {
            if !access.is_for(asker) {
                continue;
            }
            let inside = access.containing(&base);
            if inside.is_some() || access.is_below(&base) {
                if inside.is_none() && scope == Scope::BaseObject {
                    return Verdict::Refuse(Refusal::NOTHING_VISIBLE);
                }
                return Verdict::Allow(Grant { access, index, base, scope, inside });
            }
        }
        Verdict::Refuse(Refusal::NO_ACCESS)
    }

    /// May `target` be written (and moved below `new_superior`, where a ModifyDN says so)? The client must have bound, and both names must
    /// lie under bases of the deciding access in one directory, [`Grant::directory`].
    pub fn decide_write<'a>(&'a self, asker: &Asker<'_>, target: &str, new_superior: Option<&str>) -> Verdict<'a> {
        let Some(base) = self.name(target) else { return Verdict::Refuse(Refusal::NOT_A_NAME) };
        let superior = match new_superior.map(|superior| self.name(superior)) {
            Some(None) => return Verdict::Refuse(Refusal::NOT_A_NAME),
            Some(superior) => superior,
            None => None,
        };
        if asker.identity.is_anonymous() {
            return Verdict::Refuse(Refusal::BIND_FIRST);
        }
        for (index, access) in self.accesses.iter().enumerate().filter(|(_, access)| access.is_for(asker)) {
            let Some(inside) = access.containing(&base) else { continue };
            let target_moves_out =
                superior.as_ref().is_some_and(|superior| access.containing(superior).is_none_or(|new| new.directory != inside.directory));
            if target_moves_out {
                return Verdict::Refuse(Refusal::NO_ACCESS);
            }
            return Verdict::Allow(Grant { access, index, base, scope: Scope::BaseObject, inside: Some(inside) });
        }
        Verdict::Refuse(Refusal::NO_ACCESS)
    }

    /// For each access in its order, whether it is for that asker: all that a decision depends on besides what is asked.
    pub fn fitting(&self, asker: &Asker<'_>) -> impl Iterator<Item = bool> {
        self.accesses.iter().map(move |access| access.is_for(asker))
    }

    /// The access's name in the configuration, for `explain` and the logs.
    pub fn access_name(&self, index: usize) -> &str {
        self.accesses.get(index).map_or("", |access| &access.config.name)
    }

    /// The index of the access with that name.
    pub fn place_of(&self, name: &str) -> Option<usize> {
        self.accesses.iter().position(|access| access.config.name == name)
    }

    /// The name that a client's text stands for. Active Directory's other spellings of a base (`<GUID=...>`) could point anywhere, so they
    /// are no names here.
    fn name(&self, text: &str) -> Option<Arc<Dn>> {
        if text.trim_start().starts_with('<') {
            return None;
        }
        if let Some((_, dn)) = self.known.iter().find(|(known, _)| known.eq_ignore_ascii_case(text)) {
            return Some(Arc::clone(dn));
        }
        if let Some(dn) = self.lately.get(text) {
            return Some(dn);
        }
        let dn = Arc::new(Dn::parse(text).ok()?);
        if text.len() <= LONGEST_LATELY {
            self.lately.insert(text.into(), Arc::clone(&dn));
        }
        Some(dn)
    }
}

impl Refusal {
    /// No access fits.
    pub const NO_ACCESS: Self = Self { code: ResultCode::INSUFFICIENT_ACCESS_RIGHTS, reason: "no access rule allows this" };
    /// The attribute is outside the access.
    pub const HIDDEN_ATTRIBUTE: Self =
        Self { code: ResultCode::INSUFFICIENT_ACCESS_RIGHTS, reason: "the access rule does not include that attribute" };
    /// A write without a bind.
    pub const BIND_FIRST: Self = Self { code: ResultCode::INSUFFICIENT_ACCESS_RIGHTS, reason: "a write needs a bind first" };
    /// The text is no distinguished name.
    pub const NOT_A_NAME: Self = Self { code: ResultCode::INVALID_DN_SYNTAX, reason: "not a distinguished name" };
    /// A single entry above everything that the access shows.
    pub const NOTHING_VISIBLE: Self = Self { code: ResultCode::NO_SUCH_OBJECT, reason: "" };
}

impl Grant<'_> {
    /// The access's index in the configuration: part of the cache key.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// The access's name in the configuration.
    pub fn name(&self) -> &str {
        &self.access.config.name
    }

    /// The one directory that answers (index in the configuration); `None` where a search above the access's bases may meet several.
    pub fn directory(&self) -> Option<usize> {
        self.inside.map(|base| base.directory)
    }

    /// Some answer comes from a directory that is searched under the client's own name, so the whole is that client's alone.
    pub fn runs_as_client(&self) -> bool {
        match self.inside {
            Some(base) => base.as_client,
            None => self.access.bases.iter().any(|base| base.as_client),
        }
    }

    /// The most entries wanted: the client's limit and the access's taken together; `None`: all there are.
    pub fn entries_wanted(&self, size_limit: u32) -> Option<u32> {
        let client = (size_limit != 0).then_some(size_limit);
        match (client, self.access.config.size_limit) {
            (Some(client), Some(access)) => Some(client.min(access)),
            (client, access) => client.or(access),
        }
    }

    /// May this attribute be named in a compare? Where not: [`Refusal::HIDDEN_ATTRIBUTE`], whatever the value.
    pub fn may_compare(&self, attribute: &str) -> bool {
        narrow::is_testable(self.access.config.attributes.as_deref(), attribute)
    }
}

impl Access {
    fn new(config: &config::Access, directories: &[DirectoryConfig]) -> Self {
        let mut bases: Vec<Base> = Vec::new();
        for (text, dn) in &config.bases {
            for (directory, context) in directories.iter().enumerate() {
                let as_client = context.is_searched_as_client();
                if dn.is_under(&context.base_dn) {
                    let is_whole = *dn == context.base_dn;
                    bases.push(Base { text: text.clone(), dn: dn.clone(), directory, is_whole, as_client });
                } else if context.base_dn.is_under(dn) {
                    let (text, dn) = (context.base.clone(), context.base_dn.clone());
                    bases.push(Base { text, dn, directory, is_whole: true, as_client });
                }
            }
        }
        Self { config: config.clone(), bases: without_nested(bases) }
    }

    fn is_for(&self, asker: &Asker<'_>) -> bool {
        self.is_from(asker.peer) && self.is_for_client(asker.identity)
    }

    fn is_from(&self, peer: IpAddr) -> bool {
        let networks: &[IpNet] = &self.config.networks;
        networks.is_empty() || networks.iter().any(|network| network.contains(&peer.to_canonical()))
    }

    fn is_for_client(&self, identity: &Identity) -> bool {
        match &self.config.clients {
            Clients::Any => true,
            Clients::Anonymous => identity.is_anonymous(),
            Clients::Bound => !identity.is_anonymous(),
            Clients::Listed { names, groups } => {
                let Identity::Bound(principal) = identity else { return false };
                names.iter().any(|name| is_same_name(name, &principal.name)) || groups.iter().any(|group| principal.is_in(&group.dn))
            }
        }
    }

    /// The base that holds `name`.
    fn containing(&self, name: &Dn) -> Option<&Base> {
        self.bases.iter().find(|base| name.is_under(&base.dn))
    }

    /// A base lies below `name`.
    fn is_below(&self, name: &Dn) -> bool {
        self.bases.iter().any(|base| base.dn.is_under(name))
    }
}

/// As names of entries where both are, else as text without case.
fn is_same_name(configured: &str, sent: &str) -> bool {
    if configured.eq_ignore_ascii_case(sent) {
        return true;
    }
    match (Dn::parse(configured), Dn::parse(sent)) {
        (Ok(configured), Ok(sent)) => configured == sent,
        _ => configured.to_lowercase() == sent.to_lowercase(),
    }
}

/// What lies under another base adds nothing but the same entries twice.
fn without_nested(bases: Vec<Base>) -> Vec<Base> {
    let mut kept: Vec<Base> = Vec::new();
    for base in bases {
        if kept.iter().any(|other| base.dn.is_under(&other.dn)) {
            continue;
        }
        kept.retain(|other| !other.dn.is_under(&base.dn));
        kept.push(base);
    }
    kept
}

/// Adds `text` and each name above it to the texts that need no parsing.
fn learn(known: &mut Vec<(Box<str>, Arc<Dn>)>, text: &str) {
    let after_comma = text.match_indices(',').filter_map(|(at, _)| text.get(at + 1..));
    for suffix in std::iter::once(text).chain(after_comma) {
        // A comma within a value leaves a rest that is no name, or one that nobody asks for; both do no harm.
        if let Ok(dn) = Dn::parse(suffix)
            && !known.iter().any(|(other, _)| other.eq_ignore_ascii_case(suffix))
        {
            known.push((suffix.into(), Arc::new(dn)));
        }
    }
}

/// How many texts are remembered.
const LATELY: usize = 512;
/// Octets of a text that is remembered.
const LONGEST_LATELY: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DirectoryKind;
    use crate::identity::Principal;
    use std::sync::{Arc, LazyLock};

    pub(super) static BOUND: LazyLock<Identity> = LazyLock::new(|| bound("CN=Phone,OU=Devices,DC=corp,DC=example"));

    fn bound(name: &str) -> Identity {
        Identity::Bound(Arc::new(Principal::of_redial(name.to_owned())))
    }

    /// For everybody, everything below `bases`.
    pub(super) fn access(bases: &[&str]) -> config::Access {
        config::Access {
            name: "test".to_owned(),
            networks: Vec::new(),
            clients: Clients::Any,
            bases: bases.iter().map(|base| ((*base).to_owned(), Dn::parse(base).unwrap())).collect(),
            attributes: None,
            filter: None,
            size_limit: None,
        }
    }

    pub(super) fn accesses(accesses: impl IntoIterator<Item = config::Access>) -> Accesses {
        let directories = ["DC=corp,DC=example", "dc=contacts"].map(|base| DirectoryConfig {
            name: base.to_owned(),
            base: base.to_owned(),
            base_dn: Dn::parse(base).unwrap(),
            kind: DirectoryKind::Embedded { ldif: "phonebook.ldif".into() },
        });
        Accesses::new(&accesses.into_iter().collect::<Vec<_>>(), &directories)
    }

    fn asker<'a>(peer: &str, identity: &'a Identity) -> Asker<'a> {
        Asker { peer: peer.parse().unwrap(), identity }
    }

    pub(super) fn allowed<'a>(accesses: &'a Accesses, identity: &Identity, base: &str, scope: Scope) -> Grant<'a> {
        match accesses.decide(&asker("10.0.0.1", identity), base, scope) {
            Verdict::Allow(grant) => grant,
            Verdict::Refuse(refusal) => panic!("{refusal:?}"),
        }
    }

    /// The index of the deciding access, or the code of the refusal.
    fn decided(verdict: &Verdict<'_>) -> Result<usize, u32> {
        match verdict {
            Verdict::Allow(grant) => Ok(grant.index()),
            Verdict::Refuse(refusal) => Err(refusal.code.0),
        }
    }

    fn search(accesses: &Accesses, base: &str, scope: Scope) -> Result<usize, u32> {
        decided(&accesses.decide(&asker("10.0.0.1", &Identity::Anonymous), base, scope))
    }

    const STAFF: &str = "OU=Staff,DC=corp,DC=example";

    #[test]
    fn no_access_refuses() {
        assert_eq!(search(&accesses([]), STAFF, Scope::WholeSubtree), Err(50));
        assert_eq!(search(&accesses([access(&[STAFF])]), "OU=Others,DC=corp,DC=example", Scope::WholeSubtree), Err(50));
        assert_eq!(search(&accesses([access(&["DC=elsewhere"])]), "DC=elsewhere", Scope::WholeSubtree), Err(50), "no directory is there");
    }

    #[test]
    fn the_first_that_fits_decides() {
        let accesses = accesses([access(&["OU=Guests,DC=corp,DC=example"]), access(&[STAFF]), access(&["DC=corp,DC=example"])]);
        assert_eq!(search(&accesses, STAFF, Scope::WholeSubtree), Ok(1));
        assert_eq!(search(&accesses, "cn=a, ou=staff, dc=corp, dc=example", Scope::BaseObject), Ok(1));
        assert_eq!(search(&accesses, "OU=Others,DC=corp,DC=example", Scope::WholeSubtree), Ok(2));
        assert_eq!(search(&accesses, "DC=corp,DC=example", Scope::WholeSubtree), Ok(0), "a base of it lies below");
    }

    #[test]
    fn an_entry_above_all_bases_is_not_there() {
        let accesses = accesses([access(&[STAFF])]);
        assert_eq!(search(&accesses, "DC=corp,DC=example", Scope::BaseObject), Err(32));
        assert_eq!(search(&accesses, "DC=corp,DC=example", Scope::SingleLevel), Ok(0));
    }

    #[test]
    fn a_base_that_is_no_name_is_refused() {
        let accesses = accesses([access(&["DC=corp,DC=example"])]);
        for base in [
            "nonsense",
            "=",
            "cn=a,,dc=corp,dc=example",
            "cn=a;b\\",
            "<GUID=0>",
            " <SID=S-1-5>;DC=corp,DC=example",
            "cn=\"a,DC=corp,DC=example",
        ] {
            assert_eq!(search(&accesses, base, Scope::WholeSubtree), Err(34), "{base}");
        }
    }

    #[test]
    fn a_separator_within_a_value_separates_nothing() {
        let accesses = accesses([access(&[STAFF])]);
        assert_eq!(search(&accesses, "cn=a\\,OU=Staff,DC=corp,DC=example", Scope::WholeSubtree), Err(50));
        assert_eq!(search(&accesses, "cn=a\\,OU=Staff,OU=Staff,DC=corp,DC=example", Scope::WholeSubtree), Ok(0));
    }

    #[test]
    fn networks_are_compared_as_ipv4_where_they_are() {
        let accesses = accesses([config::Access { networks: vec!["10.20.0.0/16".parse().unwrap()], ..access(&[STAFF]) }]);
        let from = |peer: &str| decided(&accesses.decide(&asker(peer, &Identity::Anonymous), STAFF, Scope::WholeSubtree));
        assert_eq!((from("10.20.3.4"), from("::ffff:10.20.3.4")), (Ok(0), Ok(0)));
        assert_eq!((from("10.21.0.1"), from("::ffff:10.21.0.1"), from("::1")), (Err(50), Err(50), Err(50)));
    }

    #[test]
    fn clients_are_told_apart() {
        let fits = |clients: Clients, identity: &Identity| {
            let accesses = accesses([config::Access { clients, ..access(&[STAFF]) }]);
            decided(&accesses.decide(&asker("10.0.0.1", identity), STAFF, Scope::WholeSubtree)).is_ok()
        };
        let names = |name: &str| Clients::Listed { names: vec![name.to_owned()], groups: Vec::new() };
        assert!(fits(Clients::Any, &Identity::Anonymous) && fits(Clients::Any, &BOUND));
        assert!(fits(Clients::Anonymous, &Identity::Anonymous) && !fits(Clients::Anonymous, &BOUND));
        assert!(!fits(Clients::Bound, &Identity::Anonymous) && fits(Clients::Bound, &BOUND));
        assert!(fits(names("cn=phone, ou=devices, dc=corp, dc=example"), &BOUND), "as names of entries");
        assert!(fits(names("CORP\\Phone"), &bound("corp\\phone")), "as text without case");
        assert!(fits(names("m\u{fc}ller@corp.example"), &bound("M\u{dc}LLER@corp.example")));
        assert!(!fits(names("phone"), &BOUND) && !fits(names(""), &Identity::Anonymous));
    }

    #[test]
    fn a_write_needs_a_bind_and_a_target_inside() {
        let accesses = accesses([access(&[STAFF, "dc=contacts"])]);
        let write = |identity: &Identity, target: &str, superior: Option<&str>| {
            decided(&accesses.decide_write(&asker("10.0.0.1", identity), target, superior))
        };
        let target = "cn=a,OU=Staff,DC=corp,DC=example";
        assert_eq!(write(&BOUND, target, None), Ok(0));
        assert_eq!(write(&Identity::Anonymous, target, None), Err(50));
        assert_eq!(write(&BOUND, "DC=corp,DC=example", None), Err(50), "above is not inside");
        assert_eq!(write(&BOUND, "nonsense", None), Err(34));
        assert_eq!(write(&BOUND, target, Some("OU=IT,OU=Staff,DC=corp,DC=example")), Ok(0));
        assert_eq!(write(&BOUND, target, Some("OU=Others,DC=corp,DC=example")), Err(50), "moved out");
        assert_eq!(write(&BOUND, target, Some("dc=contacts")), Err(50), "moved to another directory");
        assert_eq!(write(&BOUND, target, Some("nonsense")), Err(34));
    }

    #[test]
    fn a_grant_knows_the_directory_that_answers() {
        let accesses = accesses([access(&[""])]);
        let directory = |base: &str| allowed(&accesses, &Identity::Anonymous, base, Scope::WholeSubtree).directory();
        assert_eq!((directory(STAFF), directory("cn=a,dc=contacts"), directory("")), (Some(0), Some(1), None));
    }

    #[test]
    fn only_listed_attributes_may_be_compared() {
        let accesses = accesses([config::Access { attributes: Some(["cn".to_owned()].into()), ..access(&[STAFF]) }]);
        let grant = allowed(&accesses, &BOUND, STAFF, Scope::BaseObject);
        assert!(grant.may_compare("CN") && grant.may_compare("cn;lang-de") && grant.may_compare("objectClass"));
        assert!(!grant.may_compare("userPassword") && !grant.may_compare("2.5.4.3") && !grant.may_compare(""));
    }

    #[test]
    fn the_names_that_phones_ask_for_are_known_in_advance() {
        let accesses = accesses([access(&[STAFF])]);
        for base in [STAFF, "ou=staff,dc=corp,dc=example", "DC=corp,DC=example", "dc=example"] {
            assert!(Arc::ptr_eq(&accesses.name(base).unwrap(), &accesses.name(base).unwrap()), "{base}");
            assert_eq!(*accesses.name(base).unwrap(), Dn::parse(base).unwrap());
        }
    }
}
