//! The roster: which sessions are bound now, found by principal, so that they can be revoked.
//!
//! A bind enters before its password is shown to anybody and is confirmed when the password was accepted, so what happens to the account while it
//! is being proved reaches it too. A session is revoked by a mark that it looks at before each operation, and by a wake of its task.
//! Anonymous sessions cost nothing here. Each connection has one bind or one bound session, so the listeners' limits bound the roster.

use super::bond::{Bond, Footing};
use super::mac::Mac;
use super::principals::{Alias, Presented};
use super::revocation::Revocation;
use futures_util::task::AtomicWaker;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;
use tokio::time::Instant;

/// See the module.
#[derive(Debug, Default)]
pub struct Roster {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<Mac, HashMap<u64, Arc<Entry>>>,
    /// The number of the next one.
    next: u64,
    /// Those that are configured, once a reload has told them.
    directories: Option<Box<[Footing]>>,
}

/// A session's place in the roster; it leaves when this is dropped.
#[derive(Debug)]
pub struct Member(Arc<Entry>);

/// One session that is bound, or binds.
#[derive(Debug)]
struct Entry {
    roster: Arc<Roster>,
    number: u64,
    /// Changed only while the roster's own lock is held.
    presented: Mutex<Presented>,
    caller: Caller,
    bond: OnceLock<Bond>,
    bound_at: OnceLock<Instant>,
    revoked: OnceLock<Revocation>,
    task: AtomicWaker,
}

/// Whom an administrator sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The name as the client sent it.
    pub name: Box<str>,
    /// From where.
    pub peer: SocketAddr,
    /// The index of the listener in the configuration.
    pub listener: usize,
}

/// A bound session, as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bound {
    /// Caller it is.
    pub caller: Caller,
    /// Since when.
    pub since: Instant,
}

impl Roster {
    /// A bind begins, with what was presented.
    pub(crate) fn enter(self: &Arc<Self>, presented: &Presented, caller: Caller) -> Member {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        state.next += 1;
        let entry = Arc::new(Entry {
            roster: Arc::clone(self),
            number,
            presented: Mutex::new(*presented),
            caller,
            bond: OnceLock::new(),
            bound_at: OnceLock::new(),
            revoked: OnceLock::new(),
            task: AtomicWaker::new(),
        });
        state.insert(presented.principal, Arc::clone(&entry));
        Member(entry)
    }

    /// Revokes the sessions of a principal. Says how many were bound.
    pub(crate) fn revoke(&self, principal: &Mac, why: Revocation) -> usize {
        revoke(self.entries_of(principal), why)
    }

    /// Revokes the sessions of a principal that were bound with that password.
    pub(crate) fn revoke_password(&self, presented: &Presented, why: Revocation) -> usize {
        let mut entries = self.entries_of(&presented.principal);
        entries.retain(|entry| entry.is_bound_with(presented));
        revoke(entries, why)
    }

    /// Revokes everybody's.
    pub fn revoke_all(&self, why: Revocation) -> usize {
        let everybody: Vec<_> = self.with_state(|state| state.entries().cloned().collect());
        revoke(everybody, why)
    }

    /// Revokes the sessions that were bound `age` ago or longer.
    pub fn retire(&self, age: Duration, now: Instant) -> usize {
        let is_old = |entry: &&Arc<Entry>| entry.bound_at.get().is_some_and(|bound_at| now.saturating_duration_since(*bound_at) >= age);
        let old: Vec<_> = self.with_state(|state| state.entries().filter(is_old).cloned().collect());
        revoke(old, Revocation::Aged)
    }

    /// From now on these are the directories; sessions that cannot go on among them are revoked.
    pub fn directories_are(&self, directories: &[Footing]) {
        let lost = |entry: &Arc<Entry>| Some((entry.bond.get()?.broken_by(directories)?, Arc::clone(entry)));
        let lost: Vec<_> = self.with_state(|state| {
            state.directories = Some(directories.into());
            state.entries().filter_map(lost).collect()
        });
        for why in [Revocation::DirectoryGone, Revocation::DirectoryChanged] {
            revoke(lost.iter().filter(|(broken, _)| *broken == why).map(|(_, entry)| Arc::clone(entry)).collect(), why);
        }
    }

    /// Two principals turned out to be one.
    pub(crate) fn merge(&self, alias: &Alias) {
        self.with_state(|state| {
            let Some(moved) = state.sessions.remove(&alias.from) else { return };
            for entry in moved.values() {
                entry.presented().principal = alias.to;
            }
            state.sessions.entry(alias.to).or_default().extend(moved);
        });
    }

    /// The sessions that are bound now, `most` of them at most, those of `principal` where one is given; in no order.
    pub(crate) fn bound(&self, principal: Option<&Mac>, most: usize) -> Vec<Bound> {
        let as_seen = |entry: &Arc<Entry>| {
            let since = *entry.bound_at.get().filter(|_| entry.revoked.get().is_none())?;
            Some(Bound { caller: entry.caller.clone(), since })
        };
        self.with_state(|state| match principal {
            Some(principal) => state.sessions.get(principal).into_iter().flat_map(HashMap::values).filter_map(as_seen).take(most).collect(),
            None => state.entries().filter_map(as_seen).take(most).collect(),
        })
    }

    /// How many are bound, or are being bound.
    pub fn len(&self) -> usize {
        self.with_state(|state| state.sessions.values().map(HashMap::len).sum())
    }

    /// Nobody is.
    pub fn is_empty(&self) -> bool {
        self.with_state(|state| state.sessions.is_empty())
    }

    fn entries_of(&self, principal: &Mac) -> Vec<Arc<Entry>> {
        self.with_state(|state| state.sessions.get(principal).into_iter().flat_map(HashMap::values).cloned().collect())
    }

    fn with_state<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.sessions.values().flat_map(HashMap::values)
    }

    fn insert(&mut self, principal: Mac, entry: Arc<Entry>) {
        self.sessions.entry(principal).or_default().insert(entry.number, entry);
    }

    fn remove(&mut self, principal: &Mac, number: u64) -> Option<Arc<Entry>> {
        let sessions = self.sessions.get_mut(principal)?;
        let entry = sessions.remove(&number);
        if sessions.is_empty() {
            self.sessions.remove(principal);
        }
        entry
    }
}

impl Member {
    /// The password was accepted: from now on there is a session. `task` is woken when it is revoked; it is the same task as long as the session
    /// lives.
    pub fn confirm(&self, task: &Waker, now: Instant) {
        // Set once: a session is bound once.
        let _ = self.0.bound_at.set(now);
        self.0.task.register(task);
    }

    /// The session was bound to a directory, which may be gone or another since the bind began.
    pub fn bound_to(&self, bond: Bond) {
        let broken = self.0.roster.with_state(|state| {
            // Set once, as above.
            let _ = self.0.bond.set(bond);
            state.directories.as_ref().and_then(|directories| bond.broken_by(directories))
        });
        if let Some(why) = broken {
            revoke(vec![Arc::clone(&self.0)], why);
        }
    }

    /// What it presents counts as this: whose name it is may be known since it entered.
    pub(crate) fn is(&self, presented: &Presented) {
        self.0.roster.with_state(|state| {
            let before = self.0.presented().principal;
            if let Some(entry) = state.remove(&before, self.0.number) {
                *entry.presented() = *presented;
                state.insert(presented.principal, entry);
            }
        });
    }

    /// Why the session must end, if it must. A mere look at the memory.
    pub fn revoked(&self) -> Option<Revocation> {
        self.0.revoked.get().copied()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let Entry { roster, number, .. } = &*self.0;
        roster.with_state(|state| {
            let principal = self.0.presented().principal;
            state.remove(&principal, *number);
        });
    }
}

impl Entry {
    fn presented(&self) -> MutexGuard<'_, Presented> {
        self.presented.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_bound_with(&self, presented: &Presented) -> bool {
        self.presented().password == presented.password
    }
}

/// In the order in which they came; says how many of them were bound, and not revoked before. Out of the roster's lock, since wakers are the
/// runtime's.
fn revoke(mut entries: Vec<Arc<Entry>>, why: Revocation) -> usize {
    entries.sort_unstable_by_key(|entry| entry.number);
    let revokes = |entry: &&Arc<Entry>| {
        let is_first = entry.revoked.set(why).is_ok();
        entry.task.wake();
        is_first && entry.bound_at.get().is_some()
    };
    entries.iter().filter(revokes).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::principals::Principals;
    use crate::secret::Secret;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    struct House {
        roster: Arc<Roster>,
        principals: Principals,
        now: Instant,
    }

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl House {
        fn new() -> Self {
            Self { roster: Arc::default(), principals: Principals::new(&[1; 32]), now: Instant::now() }
        }

        fn present(&self, name: &str, password: &str) -> Presented {
            self.principals.present(0, name, &Secret::new(password.as_bytes()))
        }

        fn enter(&self, name: &str, password: &str) -> Member {
            let caller = Caller { name: name.into(), peer: "10.20.0.1:50000".parse().unwrap(), listener: 0 };
            self.roster.enter(&self.present(name, password), caller)
        }

        fn bound(&self, name: &str, password: &str) -> Member {
            let member = self.enter(name, password);
            member.confirm(Waker::noop(), self.now);
            member
        }

        fn revoke(&self, name: &str, password: Option<&str>) -> usize {
            let presented = self.present(name, password.unwrap_or_default());
            match password {
                Some(_) => self.roster.revoke_password(&presented, Revocation::Refused),
                None => self.roster.revoke(&presented.principal, Revocation::Refused),
            }
        }
    }

    #[test]
    fn all_sessions_of_a_principal_are_revoked_under_every_spelling_and_nobody_elses() {
        let house = House::new();
        let members = [house.bound("alice", "a"), house.bound("ALICE", "b"), house.bound("bob", "a")];
        assert_eq!(house.revoke("Alice", None), 2);
        assert_eq!(members.each_ref().map(|member| member.revoked().is_some()), [true, true, false]);
        assert_eq!(house.revoke("Alice", None), 0, "they are revoked already");
    }

    #[test]
    fn a_password_that_is_refused_ends_the_sessions_bound_with_it_only() {
        let house = House::new();
        let (old, new) = (house.bound("alice", "old"), house.bound("alice", "new"));
        assert_eq!(house.revoke("alice", Some("old")), 1);
        assert_eq!((old.revoked(), new.revoked()), (Some(Revocation::Refused), None));
    }

    #[test]
    fn a_bind_under_way_is_revoked_too_and_is_no_session_yet() {
        let house = House::new();
        let member = house.enter("alice", "a");
        assert!(house.roster.bound(None, 10).is_empty());
        assert_eq!(house.revoke("alice", None), 0);
        member.confirm(Waker::noop(), house.now);
        assert_eq!(member.revoked(), Some(Revocation::Refused));
        assert!(house.roster.bound(None, 10).is_empty(), "nor one any more");
    }

    #[test]
    fn who_leaves_is_gone_and_takes_no_memory() {
        let house = House::new();
        let (one, other) = (house.bound("alice", "a"), house.bound("alice", "a"));
        assert_eq!(house.roster.len(), 2);
        drop(one);
        assert_eq!(house.roster.bound(None, 10).len(), 1);
        drop(other);
        assert!(house.roster.is_empty());
        assert_eq!(Arc::strong_count(&house.roster), 1);
    }

    #[test]
    fn the_sessions_task_is_woken() {
        let house = House::new();
        let task = Arc::new(Task::default());
        let member = house.enter("alice", "a");
        member.confirm(&Waker::from(Arc::clone(&task)), house.now);
        house.revoke("alice", None);
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn sessions_retire_at_their_age() {
        let mut house = House::new();
        let old = house.bound("alice", "a");
        house.now += Duration::from_secs(10);
        let young = house.bound("alice", "a");
        let binding = house.enter("alice", "a");
        assert_eq!(house.roster.retire(Duration::from_secs(10), house.now), 1);
        assert_eq!([&old, &young, &binding].map(Member::revoked), [Some(Revocation::Aged), None, None]);
    }

    #[test]
    fn sessions_of_two_names_that_turn_out_to_be_one_are_revoked_together() {
        let house = House::new();
        let members = [house.bound("alice@corp.example", "a"), house.bound("CORP\\alice", "a")];
        for name in ["alice@corp.example", "CORP\\alice"] {
            house.roster.merge(&house.principals.learn_alias(name, 0, "S-1-5-21-1104").unwrap());
        }
        assert_eq!(house.revoke("corp\\alice", Some("a")), 2);
        drop(members);
        assert!(house.roster.is_empty());
    }

    #[test]
    fn a_bind_that_learns_whose_name_it_is_is_revoked_as_that_principal() {
        let house = House::new();
        let member = house.bound("alice@corp.example", "a");
        house.principals.learn_alias("alice@corp.example", 0, "S-1-5-21-1104").unwrap();
        assert_eq!(house.revoke("alice@corp.example", None), 0);
        member.is(&house.present("alice@corp.example", "a"));
        assert_eq!(house.revoke("alice@corp.example", None), 1);
        drop(member);
        assert!(house.roster.is_empty());
    }

    #[test]
    fn sessions_end_whose_bond_a_reload_breaks_and_binds_under_way_too() {
        let house = House::new();
        let bonds = [Some(0), Some(1), None].map(|directory| Some(Bond { directory: directory?, is_needed: true, has_credentials: true }));
        let [bound, under_way, late] = [(); 3].map(|()| bonds.map(|bond| (house.enter("alice", "a"), bond)));
        bound.iter().for_each(|(member, _)| member.confirm(Waker::noop(), house.now));
        let bind = |(member, bond): &(Member, Option<Bond>)| bond.iter().for_each(|bond| member.bound_to(*bond));
        bound.iter().chain(&under_way).for_each(bind);
        house.roster.directories_are(&[1, 2].map(|directory| Footing { directory, runs_as_clients: true }));
        late.iter().for_each(bind);
        for members in [bound, under_way, late] {
            let revoked = members.map(|(member, _)| member.revoked());
            assert_eq!(
                revoked,
                [Some(Revocation::DirectoryGone), None, None],
                "of whom no directory has proved anything, nothing is asked"
            );
        }
    }

    #[test]
    fn an_administrator_sees_so_many_as_wanted_and_one_principals_where_asked() {
        let house = House::new();
        let _members = [house.bound("alice", "a"), house.bound("bob", "a"), house.bound("bob", "a")];
        assert_eq!(house.roster.bound(None, 2).len(), 2);
        let seen = house.roster.bound(Some(&house.principals.principal("ALICE")), 10);
        assert_eq!(seen.len(), 1);
        assert_eq!((&*seen[0].caller.name, seen[0].since), ("alice", house.now));
    }
}
