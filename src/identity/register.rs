//! The register: all that is remembered of principals, for every listener and connection together.
//!
//! [`Principals`] knows which names are one principal's, [`BindCache`] what directories said of passwords a moment ago, [`LockoutGuard`] how many
//! wrong ones they saw, [`Roster`] which sessions are bound. What happens to an account is told to all of them in one place, here. It stands
//! beside the pipeline and not in it, so an administrator reaches it, and it may outlive one.

use super::binds::{BindCache, Generation, Proved, Recalled};
use super::bond::Footing;
use super::judgement::Judgement;
use super::lockout::{Admission, Attempt, Closed, Ended, Guarded, LockoutGuard};
use super::principals::{Presented, Principals};
use super::revocation::Revocation;
use super::roster::{Bound, Caller, Member, Roster};
use super::{Owner, Principal, Who};
use crate::config;
use crate::secret::Secret;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use zeroize::Zeroizing;

/// See the module.
#[derive(Debug)]
pub struct Register {
    principals: Principals,
    binds: BindCache,
    guard: Arc<LockoutGuard>,
    roster: Arc<Roster>,
    session_ttl: Mutex<Duration>,
}

/// Why a password is not shown to a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// The account can bear no wrong one more.
    Guarded,
    /// The same, and directories did not answer when passwords were shown to them before.
    Unanswered,
    /// Others are being shown, and did not end in time.
    Busy,
}

impl Register {
    /// Nothing is known yet.
    pub fn new(config: &config::Binds) -> Self {
        Self {
            principals: Principals::new(&random_key()),
            binds: BindCache::new(config),
            guard: Arc::new(LockoutGuard::new(config)),
            roster: Arc::default(),
            session_ttl: Mutex::new(config.session_ttl),
        }
    }

    /// From now on by this configuration; says whether passwords are remembered for other times than before.
    pub fn go_on(&self, config: &config::Binds) -> bool {
        self.guard.go_on(config);
        *self.session_ttl.lock().unwrap_or_else(PoisonError::into_inner) = config.session_ttl;
        self.binds.go_on(config)
    }

    /// Principals of whom accepted or refused passwords are remembered, and of whom wrong ones are counted.
    pub fn remembered(&self) -> (usize, usize) {
        (self.binds.principals(), self.guard.watched())
    }

    /// What is remembered of a name and a password that came at a listener.
    pub fn present(&self, listener: usize, name: &str, password: &Secret) -> Presented {
        self.principals.present(listener, name, password)
    }

    /// A session's bind begins.
    pub fn enter(&self, presented: &Presented, caller: Caller) -> Member {
        self.roster.enter(presented, caller)
    }

    /// What a directory said a moment ago; `principal` makes an accepted one anew where no session of it lives.
    pub(crate) fn recall(&self, presented: &Presented, principal: impl FnOnce(Option<Arc<Who>>) -> Principal) -> Recalled {
        self.binds.recall(presented, Instant::now(), principal)
    }

    /// It was accepted a moment ago, and whose name it is.
    pub(crate) fn accepted_as(&self, presented: &Presented) -> Option<Proved> {
        self.binds.accepted_as(presented, Instant::now())
    }

    /// It was refused as wrong a moment ago.
    pub(crate) fn is_rejected(&self, presented: &Presented) -> bool {
        self.binds.is_rejected(presented, Instant::now())
    }

    /// The directory of that number has said whose name that is: what is known of the name is known of that principal.
    pub fn learn(&self, name: &str, directory: usize, who: &Who) {
        if let Some(alias) = self.principals.learn_alias(name, directory, &who.canonical) {
            self.guard.merge(&alias);
            self.binds.merge(&alias);
            self.roster.merge(&alias);
        }
    }

    /// Nothing of that principal was forgotten since.
    pub(crate) fn is_as_remembered(&self, presented: &Presented, since: Generation) -> bool {
        self.binds.is_as_remembered(&presented.principal, since)
    }

    /// Waits until the guard says whether a password may be shown to a directory.
    ///
    /// # Errors
    /// When it may not.
    pub(crate) async fn admit(&self, presented: &Presented, peer: Option<IpAddr>, deadline: Instant) -> Result<Attempt, Withheld> {
        loop {
            match self.guard.admit(presented, peer, Instant::now()) {
                Admission::Admitted(attempt) => return Ok(attempt),
                Admission::Refused => return Err(Withheld::Guarded),
                Admission::Unanswered => return Err(Withheld::Unanswered),
                Admission::Wait(waiting) => {
                    if timeout_at(deadline, waiting).await.is_err() {
                        return Err(Withheld::Busy);
                    }
                }
            }
        }
    }

    /// An attempt has ended; the administrator is told where it was the account's last one.
    pub(crate) fn ended(&self, name: &str, attempt: Attempt, ended: Ended) {
        if let Some(closed) = attempt.ended(name, ended, Instant::now()) {
            warn(name, &closed);
        }
        tracing::debug!(?ended, "a password was shown to a directory");
    }

    /// What a directory said of a client's bind that left at `asked_at`.
    pub(crate) fn judged(&self, presented: &Presented, generation: Generation, asked_at: Instant, judgement: Judgement, proved: Proved) {
        match judgement {
            Judgement::Right => self.binds.accept(presented, generation, asked_at, proved),
            Judgement::Wrong => {
                self.binds.reject(presented, generation, asked_at);
                self.roster.revoke_password(presented, Revocation::Refused);
            }
            Judgement::AccountState | Judgement::Unclear => self.refused(presented, judgement),
            Judgement::Nothing => {}
        }
    }

    /// A directory refuses what it accepted before: nothing that is remembered of the principal is to be trusted. What an account is refused
    /// for ends all its sessions, a refused password those that were bound with it.
    pub(crate) fn refused(&self, presented: &Presented, judgement: Judgement) {
        self.binds.forget(&presented.principal);
        if judgement == Judgement::AccountState {
            self.roster.revoke(&presented.principal, Revocation::Refused);
        } else {
            self.roster.revoke_password(presented, Revocation::Refused);
        }
    }

    /// The entry of that name may have changed: what is remembered of it is not to be trusted.
    pub fn forget(&self, name: &str) {
        self.binds.forget(&self.principals.principal(name));
    }

    /// No password is remembered, of anybody; wrong ones are counted on.
    pub fn forget_all(&self) {
        self.binds.forget_all();
    }

    /// `writer` may have changed the password of `target`, its own or another's. What is remembered of both is forgotten; where it is
    /// another's, whose other names only the directory knows, everybody's is. Sessions of that other end.
    pub fn password_written(&self, writer: &str, target: &str) {
        // A Password Modify may name an authorization identity (RFC 4513 section 5.2.1.8).
        let target = ["dn:", "u:"].iter().find_map(|prefix| target.strip_prefix(prefix)).unwrap_or(target);
        let (writer, target) = (self.principals.principal(writer), self.principals.principal(target));
        self.binds.forget(&writer);
        if target != writer {
            self.binds.forget_all();
            self.roster.revoke(&target, Revocation::PasswordChanged);
        }
    }

    /// An administrator says that this principal is to start anew: nothing is remembered of it, its attempts are counted from zero, and its
    /// sessions end. Says how many these were.
    pub fn drop_principal(&self, name: &str) -> usize {
        let principal = self.principals.principal(name);
        self.binds.forget(&principal);
        self.guard.forget(&principal, Instant::now());
        self.roster.revoke(&principal, Revocation::Dropped)
    }

    /// The same for everybody.
    pub fn drop_everybody(&self) -> usize {
        self.binds.forget_all();
        self.guard.forget_all(Instant::now());
        self.roster.revoke_all(Revocation::Dropped)
    }

    /// An administrator says that the wrong passwords of this principal are not to be counted any more. Its sessions go on. Says whether it had no
    /// attempt left.
    pub fn release_principal(&self, name: &str) -> bool {
        self.guard.forget(&self.principals.principal(name), Instant::now())
    }

    /// The same for everybody. Says how many had none left.
    pub fn release_everybody(&self) -> usize {
        self.guard.forget_all(Instant::now())
    }

    /// From now on these are the directories: sessions that cannot go on among them end.
    pub fn directories_are(&self, directories: &[Footing]) {
        self.roster.directories_are(directories);
    }

    /// Ends sessions that are too old, for ever.
    pub async fn watch(&self) {
        let mut tick = interval(WATCH);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = tick.tick().await;
            let session_ttl = *self.session_ttl.lock().unwrap_or_else(PoisonError::into_inner);
            if !session_ttl.is_zero() {
                self.roster.retire(session_ttl, now);
            }
        }
    }

    /// The sessions that are bound now, `most` of them at most; those of one principal where it is named.
    pub fn bound(&self, name: Option<&str>, most: usize) -> Vec<Bound> {
        self.roster.bound(name.map(|name| self.principals.principal(name)).as_ref(), most)
    }

    /// Tells owners of answers ([`super::Identity::owner`]): is this one whom that name names? A directory's own name counts too.
    pub fn is_whose(&self, name: &str) -> impl Fn(&str) -> bool {
        let principal = self.principals.principal(name);
        move |owner| match Owner::read(owner) {
            Some(Owner { directory, name: canonical, is_canonical: true }) => {
                canonical == name || self.principals.canonical(directory, canonical) == principal
            }
            Some(Owner { name, .. }) => self.principals.principal(name) == principal,
            None => false,
        }
    }

    /// How many principals have no attempt left.
    pub fn guarded(&self) -> usize {
        self.guard.closed(Instant::now())
    }

    /// Those, `most` of them at most; in no order.
    pub(crate) fn guarded_principals(&self, most: usize) -> Vec<Guarded> {
        self.guard.guarded(most, Instant::now())
    }

    /// Sessions that are bound or being bound.
    pub fn sessions(&self) -> usize {
        self.roster.len()
    }
}

/// The administrator must know which account, and where to look for the phones.
fn warn(name: &str, closed: &Closed) {
    let peers = closed.peers.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ");
    let name: String = name.chars().take(LONGEST_NAME_LOGGED).collect();
    tracing::warn!(
        account = ?name,
        from = %peers,
        "too many wrong passwords: new ones are refused here for a while, so that the account is not locked (see [binds])"
    );
}

/// The key of the digests, this process's own.
#[expect(clippy::expect_used, reason = "without random numbers there is no TLS either; this runs once, before anybody connects")]
fn random_key() -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    getrandom::fill(key.as_mut_slice()).expect("the operating system has random numbers");
    key
}

/// Characters of a name in the log: the longest that a directory knows are shorter.
const LONGEST_NAME_LOGGED: usize = 256;
/// Between two looks for sessions that are too old.
const WATCH: Duration = Duration::from_secs(30);
