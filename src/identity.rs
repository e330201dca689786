//! Who a client is, and what proves it.
//!
//! [`Identity`] is what a session carries and an access asks. It is anonymous at connect and from the moment any Bind arrives (RFC 4513
//! section 4); only a Bind that succeeded makes it [`Identity::Bound`]. [`binds`] remembers for a while what a directory said of a password,
//! and [`lockout`] sees to it that no account is locked on the way; [`judgement`] reads what the directory said, [`roster`] knows the sessions
//! that live on it. The [`register`] is all of these together.

pub mod accounts;
pub(crate) mod binds;
pub mod bond;
mod credentials;
pub(crate) mod judgement;
pub(crate) mod lockout;
pub(crate) mod mac;
pub mod principals;
mod recent;
pub mod register;
pub mod revocation;
pub mod roster;

pub use credentials::{Credentials, Rebind};

use crate::ldap::dn::Dn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// Who a client is.
#[derive(Debug, Clone, Default)]
pub enum Identity {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// Somebody who proved it.
    Bound(Arc<Principal>),
}

/// Whose name a directory has accepted, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// One text for all spellings of one principal's name, and never for two principals of one directory: a SID, or an authorization identity
    /// (RFC 4513 section 5.2.1.8).
    pub canonical: String,
    /// The groups that it was in, where they were asked for and the directory has answered.
    pub membership: Option<Membership>,
}

/// What was asked of a principal's groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Of the groups that were asked about, those that it was in, directly or by way of others.
    pub groups: Arc<[Dn]>,
    /// When that was so.
    pub as_of: Instant,
}

/// Somebody who proved who they are.
#[derive(Debug)]
pub struct Principal {
    /// The name as the client sent it: a DN, a UPN, `DOMAIN\user`, or a local account's name.
    pub name: String,
    /// What the connection to the directory is bound with when it must be bound as this client; `None` where that is never so: for
    /// local accounts, and where searches run under the service account and writes are refused.
    pub credentials: Option<Arc<Credentials>>,
    /// The number of the directory that accepted the password, the same in every configuration; `None` for local accounts.
    pub directory: Option<usize>,
    /// Whose name that is, where the directory has said so.
    pub who: Option<Arc<Who>>,
    owner: Box<str>,
    membership: Mutex<Option<Membership>>,
    /// Held by whoever asks anew.
    pub renewing: tokio::sync::Mutex<()>,
}

impl Principal {
    /// Somebody whom no directory knows by a password: a local account, or the name in a certificate. Nothing runs under that name.
    pub fn of_redial(name: String) -> Self {
        let owner = format!("local {name}").into();
        Self {
            name,
            credentials: None,
            directory: None,
            who: None,
            owner,
            membership: Mutex::default(),
            renewing: tokio::sync::Mutex::default(),
        }
    }

    /// Somebody whose name and password the directory with this number has accepted.
    pub fn proved(name: String, directory: usize, who: Option<Arc<Who>>, credentials: Option<Arc<Credentials>>) -> Self {
        let owner = match &who {
            Some(who) => format!("{directory} is {}", who.canonical),
            None => format!("{directory} as {name}"),
        };
        let membership = Mutex::new(who.as_ref().and_then(|who| who.membership.clone()));
        let renewing = tokio::sync::Mutex::default();
        Self { name, credentials, directory: Some(directory), who, owner: owner.into(), membership, renewing }
    }

    /// It was in that group when it was last asked for. Unknown is no.
    pub fn is_in(&self, group: &Dn) -> bool {
        self.membership().as_ref().is_some_and(|known| known.groups.contains(group))
    }

    /// When its groups were last asked for, where the directory has answered.
    pub fn groups_as_of(&self) -> Option<Instant> {
        self.membership().as_ref().map(|known| known.as_of)
    }

    /// From now on it is in these groups and no others.
    pub fn renew(&self, membership: Membership) {
        *self.membership() = Some(membership);
    }

    fn membership(&self) -> MutexGuard<'_, Option<Membership>> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Identity {
    /// Whose the answers are that a directory gave to this client alone: the same text for all names of one principal, where the directory has
    /// said whose they are, and never for two principals. Empty when anonymous.
    pub fn owner(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::Bound(principal) => &principal.owner,
        }
    }

    /// The name to show in a log at debug level, and what WhoAmI answers: empty when anonymous.
    pub fn name(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::Bound(principal) => &principal.name,
        }
    }

    /// The number of the directory that accepted the password, if one did.
    pub fn directory(&self) -> Option<usize> {
        match self {
            Self::Anonymous => None,
            Self::Bound(principal) => principal.directory,
        }
    }

    /// Nobody in particular.
    pub const fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }
}

/// What [`Identity::owner`] says of somebody whom a directory knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner<'a> {
    /// The number of the directory.
    pub directory: usize,
    /// The name: the directory's own for that principal, or else the one that was bound with.
    pub name: &'a str,
    /// It is the directory's own.
    pub is_canonical: bool,
}

impl<'a> Owner<'a> {
    /// Reads an owner.
    pub fn read(owner: &'a str) -> Option<Self> {
        let (directory, said) = owner.split_once(' ')?;
        let (how, name) = said.split_once(' ')?;
        Some(Self { directory: directory.parse().ok()?, name, is_canonical: how == "is" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(directory: usize, name: &str, canonical: Option<&str>) -> String {
        let who = canonical.map(|canonical| Arc::new(Who { canonical: canonical.to_owned(), membership: None }));
        Identity::Bound(Arc::new(Principal::proved(name.to_owned(), directory, who, None))).owner().to_owned()
    }

    #[test]
    fn all_names_of_one_principal_own_the_same() {
        let names = ["alice@corp.example", "CORP\\alice", "CN=Alice,DC=corp"];
        assert!(names.iter().all(|name| owner(0, name, Some("S-1-5-21-1104")) == owner(0, names[0], Some("S-1-5-21-1104"))));
    }

    #[test]
    fn nobody_owns_what_is_another_s_whatever_they_call_themselves() {
        let local = |name: &str| Identity::Bound(Arc::new(Principal::of_redial(name.to_owned()))).owner().to_owned();
        let owners = [
            owner(0, "alice", Some("S-1-5-21-1104")),
            owner(1, "alice", Some("S-1-5-21-1104")),
            owner(0, "alice", Some("S-1-5-21-1105")),
            owner(0, "alice", None),
            owner(0, "S-1-5-21-1104", None),
            owner(0, "is S-1-5-21-1104", None),
            local("alice"),
            local("0 is S-1-5-21-1104"),
            Identity::Anonymous.owner().to_owned(),
        ];
        let distinct: std::collections::BTreeSet<_> = owners.iter().collect();
        assert_eq!(distinct.len(), owners.len(), "{owners:?}");
        let read = |owner| Owner::read(owner).map(|owner| (owner.directory, owner.name, owner.is_canonical));
        assert_eq!(read(&owners[0]), Some((0, "S-1-5-21-1104", true)));
        assert_eq!(read(&owners[5]), Some((0, "is S-1-5-21-1104", false)));
        assert_eq!((read("local alice"), read("")), (None, None));
    }
}
