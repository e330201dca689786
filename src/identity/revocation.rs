//! Why a session that was bound must end, and what its client is told.

use crate::ldap::ResultCode;

/// Why a session is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// A directory has refused the account, or the password with which the session was bound.
    Refused,
    /// Somebody has changed the account's password through Redial.
    PasswordChanged,
    /// An administrator wants it.
    Dropped,
    /// It was bound too long ago. This one may wait until the session is idle.
    Aged,
    /// A reload has replaced the directory that it was bound to. So may this one.
    DirectoryGone,
    /// Since a reload operations run there under names that this session has not brought along. So may this one.
    DirectoryChanged,
}

impl Revocation {
    /// Every reason there is.
    pub const ALL: [Self; 6] =
        [Self::Refused, Self::PasswordChanged, Self::Dropped, Self::Aged, Self::DirectoryGone, Self::DirectoryChanged];

    /// For the metrics and the logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::PasswordChanged => "password_changed",
            Self::Dropped => "dropped",
            Self::Aged => "aged",
            Self::DirectoryGone => "directory_gone",
            Self::DirectoryChanged => "directory_changed",
        }
    }

    /// What the client is told.
    pub const fn diagnostic(self) -> &'static str {
        match self {
            Self::Refused => "the directory does not accept this account or password any more: bind again",
            Self::PasswordChanged => "the password was changed: bind again",
            Self::Dropped => "the session was ended by an administrator: bind again",
            Self::Aged => "the session is too old: bind again",
            Self::DirectoryGone => "the session's directory has been replaced: connect and bind again",
            Self::DirectoryChanged => "operations of the session's directory run under clients' own names now: connect and bind again",
        }
    }

    /// With that (RFC 4511 section 4.4.1).
    pub const fn code(self) -> ResultCode {
        match self {
            Self::Refused | Self::PasswordChanged | Self::Dropped | Self::Aged => ResultCode::STRONGER_AUTH_REQUIRED,
            Self::DirectoryGone | Self::DirectoryChanged => ResultCode::UNAVAILABLE,
        }
    }

    /// Nothing is wrong with the session: what is in flight is answered first.
    pub const fn waits_until_idle(self) -> bool {
        matches!(self, Self::Aged | Self::DirectoryGone | Self::DirectoryChanged)
    }
}
