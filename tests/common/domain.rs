//! The brain of a scripted controller: a few users and groups, as Active Directory or OpenLDAP would show them.

use super::scripted_controller::{Act, Heard};
use redial::ldap::filter::Filter;
use redial::ldap::message::Scope;
use redial::ldap::response::{write_entry_op, write_extended_response, write_result_op};
use redial::ldap::{MessageId, ResultCode, envelope::op, oid};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// The account that Redial searches with.
pub(crate) const SERVICE: &str = "cn=redial";

/// What the controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Active Directory; `fast_bind`: it announces that, `refuses`: and does not mean it.
    ActiveDirectory { fast_bind: bool, refuses: bool },
    /// Any server that knows "Who am I?".
    OpenLdap,
    /// A server that cannot say who anybody is.
    Silent,
}

pub(crate) const SAMBA: Kind = Kind::ActiveDirectory { fast_bind: false, refuses: false };

/// See the module.
#[derive(Debug)]
pub(crate) struct Domain {
    kind: Kind,
    entries: Mutex<Vec<Entry>>,
    /// Who is bound on which connection.
    bound: Mutex<HashMap<usize, String>>,
    fast: Mutex<HashSet<usize>>,
    /// What every token begins with, instead of its user.
    claimed: Mutex<Option<u32>>,
}

#[derive(Debug, Clone)]
struct Entry {
    dn: String,
    rid: u32,
    /// A user's names beside the DN, UPN first; none: a group.
    names: Vec<String>,
    password: String,
    members: Vec<String>,
    /// The attribute that holds the members.
    member: &'static str,
}

impl Domain {
    pub(crate) fn new(kind: Kind) -> Arc<Self> {
        Arc::new(Self { kind, entries: Mutex::default(), bound: Mutex::default(), fast: Mutex::default(), claimed: Mutex::default() })
    }

    /// Adds a user `cn=NAME,dc=corp,dc=example` who also binds as NAME@corp.example and CORP\NAME.
    pub(crate) fn user(&self, name: &str, rid: u32, password: &str) {
        let names = vec![format!("{name}@corp.example"), format!("CORP\\{name}")];
        let dn = format!("cn={name},dc=corp,dc=example");
        let user = Entry { dn, rid, names, password: password.to_owned(), members: Vec::new(), member: "member" };
        self.entries.lock().unwrap().push(user);
    }

    /// Adds a group `cn=NAME,dc=corp,dc=example` with members `cn=MEMBER,...`, or replaces it.
    pub(crate) fn group(&self, name: &str, rid: u32, members: &[&str]) {
        self.group_by("member", name, rid, members);
    }

    /// The same with members in another attribute.
    pub(crate) fn group_by(&self, member: &'static str, name: &str, rid: u32, members: &[&str]) {
        let dn = |name: &str| format!("cn={name},dc=corp,dc=example");
        let members = members.iter().copied().map(dn).collect();
        let mut entries = self.entries.lock().unwrap();
        entries.retain(|entry| entry.dn != dn(name));
        entries.push(Entry { dn: dn(name), rid, names: Vec::new(), password: String::new(), members, member });
    }

    /// Changes a user's password.
    pub(crate) fn password(&self, name: &str, password: &str) {
        let dn = format!("cn={name},dc=corp,dc=example");
        self.entries.lock().unwrap().iter_mut().find(|entry| entry.dn == dn).unwrap().password = password.to_owned();
    }

    /// From now on every token begins with the SID of that entry.
    pub(crate) fn claims_to_be(&self, rid: u32) {
        *self.claimed.lock().unwrap() = Some(rid);
    }

    /// What the controller says.
    pub(crate) fn answer(&self, heard: &Heard) -> Option<Vec<Act>> {
        match heard.tag {
            op::BIND_REQUEST => Some(vec![self.bind(heard)]),
            op::SEARCH_REQUEST => Some(self.search(heard)),
            op::EXTENDED_REQUEST => Some(vec![self.extended(heard)]),
            _ => None,
        }
    }

    fn bind(&self, heard: &Heard) -> Act {
        let (name, password) = heard.bind();
        let is_called = |entry: &&Entry| {
            !entry.names.is_empty()
                && entry.names.iter().chain([&entry.dn]).any(|known| known.eq_ignore_ascii_case(&name.replace(", ", ",")))
        };
        let found = self.entries.lock().unwrap().iter().find(is_called).cloned();
        let is_right = name == SERVICE || found.as_ref().is_some_and(|user| user.password.as_bytes() == password);
        let is_fast = self.fast.lock().unwrap().contains(&heard.connection);
        let dn = found.map_or(name, |user| user.dn);
        if is_fast || !is_right {
            self.bound.lock().unwrap().remove(&heard.connection);
        } else {
            self.bound.lock().unwrap().insert(heard.connection, dn);
        }
        let mut result = Vec::new();
        match (is_right, self.kind) {
            (true, _) => write_result_op(&mut result, op::BIND_RESPONSE, ResultCode::SUCCESS, "", ""),
            (false, Kind::ActiveDirectory { .. }) => {
                write_result_op(&mut result, op::BIND_RESPONSE, ResultCode::INVALID_CREDENTIALS, "", WRONG_PASSWORD);
            }
            (false, _) => write_result_op(&mut result, op::BIND_RESPONSE, ResultCode::INVALID_CREDENTIALS, "", ""),
        }
        heard.message(&result)
    }

    fn search(&self, heard: &Heard) -> Vec<Act> {
        let (base, scope, filter, attributes) = heard.question();
        if base.is_empty() && scope == Scope::BaseObject {
            return vec![self.root(heard, &attributes), heard.done(ResultCode::SUCCESS)];
        }
        let entries = self.entries.lock().unwrap().clone();
        let base = base.replace(", ", ",");
        let sid = base.strip_prefix("<SID=").map(|rest| rest.trim_end_matches('>').to_owned());
        let is_base = |entry: &Entry| match &sid {
            Some(sid) => sid_text(entry.rid) == *sid,
            None => entry.dn.eq_ignore_ascii_case(&base),
        };
        let is_in_scope = |entry: &&Entry| match scope {
            Scope::BaseObject => is_base(entry),
            Scope::SingleLevel | Scope::WholeSubtree => entry.dn.to_ascii_lowercase().ends_with(&base.to_ascii_lowercase()),
        };
        if scope == Scope::BaseObject && !entries.iter().any(is_base) {
            return vec![heard.done(ResultCode::NO_SUCH_OBJECT)];
        }
        let mut acts = Vec::new();
        for entry in entries.iter().filter(is_in_scope) {
            let values = self.values(entry, &entries);
            if !is_true(&filter, &values) {
                continue;
            }
            let shown = values.iter().filter(|(name, _)| attributes.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)));
            let mut out = Vec::new();
            write_entry_op(&mut out, &entry.dn, shown.map(|(name, values)| (*name, values.iter().map(Vec::as_slice))));
            acts.push(heard.message(&out));
        }
        acts.push(heard.done(ResultCode::SUCCESS));
        acts
    }

    fn values(&self, entry: &Entry, all: &[Entry]) -> Vec<(&'static str, Vec<Vec<u8>>)> {
        let is_user = !entry.names.is_empty();
        let class: &[u8] = if is_user { b"user" } else { b"group" };
        let mut values = vec![
            ("objectClass", vec![class.to_vec()]),
            (entry.member, entry.members.iter().map(|member| member.clone().into_bytes()).collect()),
        ];
        if matches!(self.kind, Kind::ActiveDirectory { .. }) {
            values.push(("objectSid", vec![sid(entry.rid)]));
            values.push(("tokenGroups", groups(entry, all)));
            if let [upn, down_level] = &entry.names[..] {
                values.push(("userPrincipalName", vec![upn.clone().into_bytes()]));
                values.push(("msDS-PrincipalName", vec![down_level.clone().into_bytes()]));
                values.push(("sAMAccountName", vec![down_level.trim_start_matches("CORP\\").as_bytes().to_vec()]));
            }
        }
        values
    }

    fn root(&self, heard: &Heard, wanted: &[String]) -> Act {
        let mut out = Vec::new();
        if wanted == ["tokenGroups"] {
            let bound = self.bound.lock().unwrap().get(&heard.connection).cloned();
            let entries = self.entries.lock().unwrap();
            let user = bound.and_then(|dn| entries.iter().find(|entry| entry.dn == dn));
            let first = |user: &Entry| sid(self.claimed.lock().unwrap().unwrap_or(user.rid));
            let token = user.map(|user| [vec![first(user)], groups(user, &entries)].concat()).unwrap_or_default();
            write_entry_op(&mut out, "", [("tokenGroups", token.iter().map(Vec::as_slice))]);
            return heard.message(&out);
        }
        let (extensions, capabilities): (&[&str], &[&str]) = match self.kind {
            Kind::ActiveDirectory { fast_bind: true, .. } => (&[oid::FAST_BIND], &[oid::ACTIVE_DIRECTORY]),
            Kind::ActiveDirectory { fast_bind: false, .. } => (&[], &[oid::ACTIVE_DIRECTORY]),
            Kind::OpenLdap => (&[oid::WHO_AM_I], &[]),
            Kind::Silent => (&[], &[]),
        };
        let announced = [("supportedExtension", extensions), ("supportedCapabilities", capabilities)];
        write_entry_op(&mut out, "", announced.map(|(name, oids)| (name, oids.iter().map(|oid| oid.as_bytes()))));
        heard.message(&out)
    }

    fn extended(&self, heard: &Heard) -> Act {
        let is = |oid: &str| heard.op.windows(oid.len()).any(|part| part == oid.as_bytes());
        let bound = self.bound.lock().unwrap().get(&heard.connection).cloned();
        let (code, value) = match self.kind {
            Kind::OpenLdap if is(oid::WHO_AM_I) => (ResultCode::SUCCESS, Some(bound.map_or(String::new(), |dn| format!("dn:{dn}")))),
            Kind::ActiveDirectory { fast_bind: true, refuses: false } if is(oid::FAST_BIND) && bound.is_none() => {
                self.fast.lock().unwrap().insert(heard.connection);
                (ResultCode::SUCCESS, None)
            }
            _ => (ResultCode::UNWILLING_TO_PERFORM, None),
        };
        let mut out = Vec::new();
        write_extended_response(&mut out, MessageId::new(heard.id).unwrap(), code, "", None, value.as_deref().map(str::as_bytes));
        Act::Say(out)
    }
}

/// The SIDs of all groups that an entry is in, nested ones too.
fn groups(entry: &Entry, all: &[Entry]) -> Vec<Vec<u8>> {
    let mut found: Vec<&Entry> = Vec::new();
    let mut next = vec![entry];
    while let Some(member) = next.pop() {
        for group in all.iter().filter(|group| group.members.contains(&member.dn)) {
            if !found.iter().any(|known| known.dn == group.dn) {
                found.push(group);
                next.push(group);
            }
        }
    }
    found.iter().map(|group| sid(group.rid)).collect()
}

fn sid(rid: u32) -> Vec<u8> {
    let subauthorities = [21, 1111, 2222, 3333, rid];
    let mut sid = vec![1, 5, 0, 0, 0, 0, 0, 5];
    sid.extend(subauthorities.iter().flat_map(|number: &u32| number.to_le_bytes()));
    sid
}

pub(crate) fn sid_text(rid: u32) -> String {
    format!("S-1-5-21-1111-2222-3333-{rid}")
}

fn is_true(filter: &Filter, values: &[(&'static str, Vec<Vec<u8>>)]) -> bool {
    let of = |attribute: &str| {
        let attribute = attribute.to_owned();
        values.iter().filter(move |(name, _)| name.eq_ignore_ascii_case(&attribute)).flat_map(|(_, values)| values)
    };
    match filter {
        Filter::And(parts) => parts.iter().all(|part| is_true(part, values)),
        Filter::Or(parts) => parts.iter().any(|part| is_true(part, values)),
        Filter::Present(attribute) => of(attribute).next().is_some(),
        Filter::Equality(assertion) => of(&assertion.attribute).any(|value| value.eq_ignore_ascii_case(&assertion.value)),
        other => panic!("the domain does not know {other}"),
    }
}

const WRONG_PASSWORD: &str = "80090308: LdapErr: DSID-0C09044E, comment: AcceptSecurityContext error, data 52e, v4563";
