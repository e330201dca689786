//! Who a client is, and what proves it.
//!
//! [`Identity`] is what a session carries and an access asks. It is anonymous at connect and from the moment any Bind arrives (RFC 4513
//! section 4); only a Bind that succeeded makes it [`Identity::Bound`]. [`binds`] remembers for a while what a directory said of a password,
//! and [`lockout`] sees to it that no account is locked on the way; [`judgement`] reads what the directory said.

pub mod accounts;
pub mod binds;
pub mod judgement;
pub mod lockout;
pub mod principals;
mod recent;

use crate::secret::Secret;
use std::sync::Arc;

/// Who a client is.
#[derive(Debug, Clone, Default)]
pub enum Identity {
    /// Nobody in particular.
    #[default]
    Anonymous,
    /// Somebody who proved it.
    Bound(Arc<Principal>),
}

/// Somebody who proved who they are.
#[derive(Debug)]
pub struct Principal {
    /// The name as the client sent it: a DN, a UPN, `DOMAIN\user`, or a local account's name.
    pub name: String,
    /// What the connection to the directory is bound with when it must be bound as this client; `None` where that is never so: for
    /// local accounts, and where searches run under the service account and writes are refused.
    pub credentials: Option<Arc<Credentials>>,
    /// The index in the configuration of the directory that accepted the password; `None` for local accounts.
    pub directory: Option<usize>,
}

/// A name and a password that a directory accepted. Kept as long as a session needs it.
#[derive(Debug)]
pub struct Credentials {
    /// The name as the client sent it.
    pub name: String,
    /// The password.
    pub password: Secret,
}

impl Principal {
    /// Somebody whom no directory knows by a password: a local account, or the name in a certificate. Nothing runs under that name.
    pub const fn of_redial(name: String) -> Self {
        Self { name, credentials: None, directory: None }
    }
}

impl Identity {
    /// The name to show in a log at debug level, and what WhoAmI answers: empty when anonymous.
    pub fn name(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::Bound(principal) => &principal.name,
        }
    }

    /// The index in the configuration of the directory that accepted the password, if one did.
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
