//! A client's name and password, kept for connections that must be bound as it, and what it takes to show them to a directory again.

use super::judgement::Judgement;
use super::lockout::{Attempt, Ended};
use super::principals::Presented;
use super::register::Register;
use crate::secret::Secret;
use std::sync::Arc;
use tokio::time::Instant;

/// A name and a password that a directory accepted. Kept as long as a session needs it.
#[derive(Debug)]
pub struct Credentials {
    /// The name as the client sent it.
    pub name: String,
    /// The password.
    pub password: Secret,
    register: Arc<Register>,
}

/// Credentials on their way to a directory once more. Dropped, it counts as a bind that was never answered.
#[derive(Debug)]
pub struct Rebind<'a> {
    credentials: &'a Credentials,
    presented: Presented,
    attempt: Attempt,
}

impl Credentials {
    /// What becomes of them is told to `register`.
    pub const fn new(name: String, password: Secret, register: Arc<Register>) -> Self {
        Self { name, password, register }
    }

    /// May they be shown to a directory now? `None`: the account can bear no wrong password more, and nobody knows whether this one is still
    /// right. Waits, but no longer than `deadline`, for binds of the same account that are under way.
    pub async fn rebind(&self, deadline: Instant) -> Option<Rebind<'_>> {
        // Where they were presented first makes no difference to the guard.
        let presented = self.register.present(0, &self.name, &self.password);
        let attempt = self.register.admit(&presented, None, deadline).await.ok()?;
        Some(Rebind { credentials: self, presented, attempt })
    }
}

impl Rebind<'_> {
    /// It has ended. Where the directory has refused, nothing is remembered of the principal, and the sessions that live on these credentials end.
    pub(crate) fn ended(self, ended: Ended) {
        let Self { credentials: Credentials { name, register, .. }, presented, attempt } = self;
        register.ended(name, attempt, ended);
        match ended {
            Ended::Answered(judgement @ (Judgement::Wrong | Judgement::Unclear | Judgement::AccountState)) => {
                register.refused(&presented, judgement);
            }
            Ended::Answered(Judgement::Right | Judgement::Nothing) | Ended::NotSent | Ended::Unanswered => {}
        }
    }
}
