//! Who may ask what: the first access that fits decides, and no fit refuses.
//!
//! In: who asks, from where, and the name asked for. Out: a [`Verdict`]; its [`Grant`] knows which access allowed the request and how the
//! request is narrowed to it ([`narrow`]). An access fits when its networks and clients do, and when the name lies under one of its bases,
//! or above one (then a search is narrowed to those bases).
//!
//! What holds always: no search leaves for a directory with a base outside the access, or names an attribute outside it in its filter or
//! its selection; what cannot be compared safely is refused. Pure: no sockets, no clock.

pub mod narrow;

use crate::config::{self, Clients, DirectoryConfig};
use crate::identity::Identity;
use crate::ldap::dn::Dn;
use crate::ldap::message::{ResultCode, Scope};
use ipnet::IpNet;
use std::borrow::Cow;
use std::net::IpAddr;

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
    known: Vec<(Box<str>, Dn)>,
}

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
    base: Cow<'a, Dn>,
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
}

impl Accesses {
    /// Prepares the configured accesses for the configured directories. Of an access's bases only what lies in some directory counts.
    pub fn new(accesses: &[config::Access], directories: &[DirectoryConfig]) -> Self {
        let accesses: Vec<Access> = accesses.iter().map(|config| Access::new(config, directories)).collect();
        let mut known = Vec::new();
        for base in accesses.iter().flat_map(|access| &access.bases) {
            learn(&mut known, &base.text);
        }
        Self { accesses, known }
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

    /// The access's name in the configuration, for `explain` and the logs.
    pub fn access_name(&self, index: usize) -> &str {
        self.accesses.get(index).map_or("", |access| &access.config.name)
    }

    /// The name that a client's text stands for. Active Directory's other spellings of a base (`<GUID=...>`) could point anywhere, so they
    /// are no names here.
    fn name<'a>(&'a self, text: &str) -> Option<Cow<'a, Dn>> {
        if text.trim_start().starts_with('<') {
            return None;
        }
        match self.known.iter().find(|(known, _)| known.eq_ignore_ascii_case(text)) {
            Some((_, dn)) => Some(Cow::Borrowed(dn)),
            None => Dn::parse(text).ok().map(Cow::Owned),
        }
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
                if dn.is_under(&context.base_dn) {
                    bases.push(Base { text: text.clone(), dn: dn.clone(), directory, is_whole: *dn == context.base_dn });
                } else if context.base_dn.is_under(dn) {
                    bases.push(Base { text: context.base.clone(), dn: context.base_dn.clone(), directory, is_whole: true });
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
            Clients::Names(names) => !identity.is_anonymous() && names.iter().any(|name| is_same_name(name, identity.name())),
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
fn learn(known: &mut Vec<(Box<str>, Dn)>, text: &str) {
    let after_comma = text.match_indices(',').filter_map(|(at, _)| text.get(at + 1..));
    for suffix in std::iter::once(text).chain(after_comma) {
        // A comma within a value leaves a rest that is no name, or one that nobody asks for; both do no harm.
        if let Ok(dn) = Dn::parse(suffix)
            && !known.iter().any(|(other, _)| other.eq_ignore_ascii_case(suffix))
        {
            known.push((suffix.into(), dn));
        }
    }
}
