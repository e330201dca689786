//! The lockout guard: phones never lock an account, however many of them hold a stale password.
//!
//! A directory locks an account after a number of wrong passwords, and forgets them some time after the last one. The guard counts as it does,
//! but to less: each bind that leaves takes one of `attempts` slots of its principal before it leaves. A right password frees the slots; so
//! does a result that says nothing about the password. A wrong one keeps its slot until `window` has passed without another.
//!
//! - The same wrong password again does not take the last slot: that one is for a password that nobody has tried.
//! - A password that was right before has a slot of its own beside the others: if it is wrong now, that is seen once. So neither
//!   wrong guesses nor misconfigured phones keep out those that were in.
//! - A bind that left and was never answered may have been counted: it keeps its slot, and only the same password may use that again, since
//!   a right one must work as soon as the directory answers.
//! - While slots are taken by binds under way, others wait for how these end.
//!
//! What is refused here has not been verified, as with an account that its directory has locked: a right password is refused too.

use super::judgement::Judgement;
use super::mac::Mac;
use super::principals::{Alias, Presented};
use super::recent::Recent;
use crate::config;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub(crate) struct LockoutGuard {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    attempts: usize,
    window: Duration,
    watched: Recent<Watched>,
}

/// May a password be shown to a directory?
#[derive(Debug)]
pub(crate) enum Admission {
    /// Yes; tell how it ended by [`Attempt::ended`].
    Admitted(Attempt),
    /// Ask again when this has ended, which it does with an error.
    Wait(oneshot::Receiver<()>),
    /// No, and the client is told that its password is wrong.
    Refused,
    /// No, and the client is told that the directory does not answer: it did not, when passwords were shown to it before.
    Unanswered,
}

/// A password on its way to a directory. Dropped, it counts as one that was never answered.
#[derive(Debug)]
pub(crate) struct Attempt {
    guard: Arc<LockoutGuard>,
    presented: Presented,
    begun_at: Instant,
    ended: bool,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With a response.
    Answered(Judgement),
    /// Nothing left for a server.
    NotSent,
    /// It left, and no response came.
    Unanswered,
}

/// An account has had all its attempts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed {
    /// From where they came; a few.
    pub(crate) peers: Vec<IpAddr>,
}

/// An account that has no attempt left, as an administrator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Guarded {
    /// The name that was tried last, where that is known.
    pub(crate) name: Option<Box<str>>,
    /// From where; a few.
    pub(crate) peers: Vec<IpAddr>,
    /// Different wrong passwords, and those that were never answered.
    pub(crate) tried: usize,
    /// So long new ones are refused, if no more are tried.
    pub(crate) opens_in: Duration,
}

/// One principal.
#[derive(Debug, Default)]
struct Watched {
    slots: Vec<Slot>,
    /// When the last password was refused, or given up on.
    last_at: Option<Instant>,
    /// The password that was right when it was last seen.
    proved: Option<Mac>,
    peers: Vec<IpAddr>,
    /// For the administrator, once there is no attempt left.
    name: Option<Box<str>>,
    /// The administrator knows.
    announced: bool,
    /// Dropped when something has ended, in the order in which their other ends came: who waited longest asks first.
    waiting: Vec<oneshot::Sender<()>>,
    /// This is only a name of that principal, which has all that was here.
    belongs_to: Option<Mac>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    password: Mac,
    state: SlotState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    UnderWay,
    Wrong,
    Unanswered,
}

impl LockoutGuard {
    /// Nobody has tried anything.
    pub(crate) fn new(config: &config::Binds) -> Self {
        Self { state: Mutex::new(State { attempts: attempts(config), window: config.window, watched: Recent::new(MOST_PRINCIPALS) }) }
    }

    /// From now on it counts by this configuration; what it has counted stays.
    pub(crate) fn go_on(&self, config: &config::Binds) {
        let mut state = self.state();
        (state.attempts, state.window) = (attempts(config), config.window);
    }

    /// May this password be shown to a directory? `peer` is who wants it, where that is a client and not Redial itself.
    pub(crate) fn admit(self: &Arc<Self>, presented: &Presented, peer: Option<IpAddr>, now: Instant) -> Admission {
        let mut state = self.state();
        let State { attempts, window, watched } = &mut *state;
        let watched = principal(watched, &presented.principal);
        watched.expire(*window, now);
        if watched.take_slot(&presented.password, *attempts) {
            if let Some(peer) = peer.filter(|peer| watched.peers.len() < MOST_PEERS && !watched.peers.contains(peer)) {
                watched.peers.push(peer);
            }
            return Admission::Admitted(Attempt { guard: Arc::clone(self), presented: *presented, begun_at: now, ended: false });
        }
        let is = |state| move |slot: &Slot| slot.state == state;
        if watched.slots.iter().any(is(SlotState::UnderWay)) {
            watched.waiting.retain(|waiting| !waiting.is_closed());
            let (waiting, ended) = oneshot::channel();
            watched.waiting.push(waiting);
            return Admission::Wait(ended);
        }
        if watched.slots.iter().any(is(SlotState::Unanswered)) && !watched.is_known_wrong(&presented.password) {
            return Admission::Unanswered;
        }
        Admission::Refused
    }

    /// How many principals have no attempt left.
    pub(crate) fn closed(&self, now: Instant) -> usize {
        self.state().closed(now).count()
    }

    /// Those, `most` of them at most; in no order.
    pub(crate) fn guarded(&self, most: usize, now: Instant) -> Vec<Guarded> {
        let state = self.state();
        let as_seen = |watched: &Watched| Guarded {
            name: watched.name.clone(),
            peers: watched.peers.clone(),
            tried: watched.tried(),
            opens_in: watched.last_at.map_or(Duration::ZERO, |last_at| (last_at + state.window).saturating_duration_since(now)),
        };
        state.closed(now).take(most).map(as_seen).collect()
    }

    /// The principals of whom something is counted.
    pub(crate) fn watched(&self) -> usize {
        self.state().watched.len()
    }

    /// An administrator says that this principal is to start anew. Says whether it had no attempt left.
    pub(crate) fn forget(&self, principal: &Mac, now: Instant) -> bool {
        let mut state = self.state();
        let known = state.watched.remove(principal);
        known.is_some_and(|watched| state.is_closed(&watched, now))
    }

    /// The same for everybody. Says how many had none left.
    pub(crate) fn forget_all(&self, now: Instant) -> usize {
        let mut state = self.state();
        let closed = state.closed(now).count();
        state.watched.clear();
        closed
    }

    /// A name turned out to be one of a principal's: what was tried under it was tried as that principal, and so is what is being tried.
    pub(crate) fn merge(&self, alias: &Alias) {
        let mut state = self.state();
        let name = Watched { belongs_to: Some(alias.to), ..Watched::default() };
        let from = std::mem::replace(state.watched.entry(&alias.from), name);
        let to = state.watched.entry(&alias.to);
        to.slots.extend(from.slots);
        to.last_at = to.last_at.max(from.last_at);
        to.proved = to.proved.or(from.proved);
        to.name = to.name.take().or(from.name);
        to.announced |= from.announced;
        to.peers.extend(from.peers.into_iter().take(MOST_PEERS.saturating_sub(to.peers.len())));
        // Those who wait ask again, and meet what the principal has under its other names.
        drop(from.waiting);
    }

    fn end(&self, presented: &Presented, name: Option<&str>, ended: Ended, now: Instant) -> Option<Closed> {
        let mut state = self.state();
        let State { attempts, watched, .. } = &mut *state;
        let watched = principal(watched, &presented.principal);
        watched.end(&presented.password, ended, now);
        if let Some(name) = name.filter(|_| watched.is_full(*attempts)) {
            watched.name = Some(name.chars().take(LONGEST_NAME).collect());
        }
        watched.waiting.clear();
        let closes = matches!(ended, Ended::Answered(Judgement::Wrong | Judgement::Unclear))
            && watched.is_full(*attempts)
            && !std::mem::replace(&mut watched.announced, true);
        closes.then(|| Closed { peers: watched.peers.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_closed(&self, watched: &Watched, now: Instant) -> bool {
        watched.is_full(self.attempts) && !watched.is_over(self.window, now)
    }

    fn closed(&self, now: Instant) -> impl Iterator<Item = &Watched> {
        self.watched.values().filter(move |watched| self.is_closed(watched, now))
    }
}

fn attempts(config: &config::Binds) -> usize {
    usize::try_from(config.attempts).unwrap_or(usize::MAX)
}

/// What is known of a principal, also where somebody still has its name's own digest.
fn principal<'w>(watched: &'w mut Recent<Watched>, principal: &Mac) -> &'w mut Watched {
    let belongs_to = watched.touch(principal).and_then(|name| name.belongs_to);
    watched.entry(&belongs_to.unwrap_or(*principal))
}

impl Attempt {
    /// It has ended; the account was called `name`. Says where it was the last one that the account has.
    pub(crate) fn ended(mut self, name: &str, ended: Ended, now: Instant) -> Option<Closed> {
        self.ended = true;
        self.guard.end(&self.presented, Some(name), ended, now)
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.ended {
            self.guard.end(&self.presented, None, Ended::Unanswered, self.begun_at);
        }
    }
}

impl Watched {
    /// Forgets what the directory has forgotten.
    fn expire(&mut self, window: Duration, now: Instant) {
        if self.is_over(window, now) {
            self.has_none_wrong();
        }
    }

    /// Whatever was wrong is forgotten.
    fn has_none_wrong(&mut self) {
        self.slots.retain(|slot| slot.state == SlotState::UnderWay);
        self.peers.clear();
        self.name = None;
        self.announced = false;
        self.last_at = None;
    }

    fn is_over(&self, window: Duration, now: Instant) -> bool {
        self.last_at.is_some_and(|last_at| now >= last_at + window)
    }

    /// Every slot holds a password that was shown and not accepted.
    fn is_full(&self, attempts: usize) -> bool {
        self.tried() >= attempts
    }

    fn tried(&self) -> usize {
        self.slots.iter().filter(|slot| slot.state != SlotState::UnderWay).count()
    }

    fn is_known_wrong(&self, password: &Mac) -> bool {
        self.slots.iter().any(|slot| slot.state == SlotState::Wrong && slot.password == *password)
    }

    fn take_slot(&mut self, password: &Mac, attempts: usize) -> bool {
        let unanswered = |slot: &&mut Slot| slot.state == SlotState::Unanswered && slot.password == *password;
        if let Some(slot) = self.slots.iter_mut().find(unanswered) {
            slot.state = SlotState::UnderWay;
            return true;
        }
        let slots = match self.proved {
            Some(proved) if proved == *password => attempts.saturating_add(1),
            _ if self.is_known_wrong(password) => attempts.saturating_sub(1),
            _ => attempts,
        };
        if self.slots.len() >= slots {
            return false;
        }
        self.slots.push(Slot { password: *password, state: SlotState::UnderWay });
        true
    }

    fn end(&mut self, password: &Mac, ended: Ended, now: Instant) {
        let under_way = |slot: &Slot| slot.state == SlotState::UnderWay && slot.password == *password;
        let position = self.slots.iter().position(under_way);
        if let Some(position) = position {
            self.slots.swap_remove(position);
        }
        let keeps = match ended {
            Ended::NotSent | Ended::Answered(Judgement::Nothing | Judgement::AccountState) => return,
            Ended::Answered(Judgement::Right) => {
                self.has_none_wrong();
                self.proved = Some(*password);
                return;
            }
            Ended::Answered(Judgement::Wrong | Judgement::Unclear) => SlotState::Wrong,
            Ended::Unanswered => SlotState::Unanswered,
        };
        if keeps == SlotState::Wrong && self.proved == Some(*password) {
            self.proved = None;
        }
        self.slots.push(Slot { password: *password, state: keeps });
        self.last_at = self.last_at.max(Some(now));
    }
}

/// Some 30 MiB at worst. Whoever would have one account forgotten must try as many others, at a directory, in between.
const MOST_PRINCIPALS: usize = 1 << 17;
/// Addresses that are named to the administrator.
const MOST_PEERS: usize = 8;
/// Characters of a name that is kept: the longest that a directory knows are shorter.
const LONGEST_NAME: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::principals::Principals;
    use crate::secret::Secret;
    use tokio::sync::oneshot::error::TryRecvError;

    const WINDOW: Duration = Duration::from_secs(600);
    const WRONG: Ended = Ended::Answered(Judgement::Wrong);
    const RIGHT: Ended = Ended::Answered(Judgement::Right);

    struct House {
        guard: Arc<LockoutGuard>,
        principals: Principals,
        now: Instant,
    }

    impl House {
        fn with(attempts: u32) -> Self {
            let config = config::Binds { attempts, window: WINDOW, ..config::Binds::default() };
            Self { guard: Arc::new(LockoutGuard::new(&config)), principals: Principals::new(&[1; 32]), now: Instant::now() }
        }

        fn new() -> Self {
            Self::with(3)
        }

        fn admit(&self, name: &str, password: &str) -> Admission {
            let presented = self.principals.present(0, name, &Secret::new(password.as_bytes()));
            self.guard.admit(&presented, Some(IpAddr::from([10, 20, 0, 1])), self.now)
        }

        /// Shows a password to the directory, which answers as told; says whether it may.
        fn shows(&self, name: &str, password: &str, ended: Ended) -> bool {
            match self.admit(name, password) {
                Admission::Admitted(attempt) => {
                    attempt.ended(name, ended, self.now);
                    true
                }
                _ => false,
            }
        }

        fn later(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }
    }

    #[test]
    fn five_different_wrong_passwords_are_three_attempts() {
        let house = House::new();
        let shown = ["a", "b", "c", "d", "e"].map(|password| house.shows("alice", password, WRONG));
        assert_eq!(shown, [true, true, true, false, false]);
        assert!(house.shows("bob", "a", WRONG), "another account");
        assert!(matches!(house.admit("ALICE", "f"), Admission::Refused), "another spelling");
    }

    #[test]
    fn whoever_is_guarded_is_listed_by_name_until_the_window_is_over() {
        let mut house = House::new();
        for (name, password) in [("CORP\\alice", "a"), ("corp\\ALICE", "b"), ("bob", "a"), ("corp\\alice", "c")] {
            assert!(house.guard.guarded(9, house.now).is_empty());
            assert!(house.shows(name, password, WRONG));
        }
        house.later(60);
        let peers = vec![IpAddr::from([10, 20, 0, 1])];
        let alice = Guarded { name: Some("corp\\alice".into()), peers, tried: 3, opens_in: WINDOW - Duration::from_secs(60) };
        assert_eq!((house.guard.guarded(9, house.now), house.guard.guarded(0, house.now)), (vec![alice], vec![]));
        house.later(540);
        assert!(house.guard.guarded(9, house.now).is_empty());
        assert!(!house.guard.forget(&house.principals.principal("corp\\alice"), house.now), "it was not guarded any more");
    }

    #[test]
    fn the_window_begins_anew_with_each_wrong_password_as_the_directorys_own_does() {
        let mut house = House::new();
        for password in ["a", "b"] {
            assert!(house.shows("alice", password, WRONG));
            house.later(500);
        }
        assert!(house.shows("alice", "c", WRONG), "1,000 s after the first one");
        house.later(599);
        assert!(!house.shows("alice", "d", WRONG), "the first is long ago, but the directory has counted on");
        house.later(1);
        assert!(house.shows("alice", "d", WRONG));
    }

    #[test]
    fn a_right_password_starts_anew() {
        let house = House::new();
        for round in 0..5 {
            for password in ["a", "b"] {
                assert!(house.shows("alice", password, WRONG), "round {round}");
            }
            assert!(house.shows("alice", "right", RIGHT), "round {round}");
        }
    }

    #[test]
    fn a_phone_that_repeats_a_stale_password_leaves_the_last_attempt_to_others() {
        let mut house = House::new();
        let shown = [0; 20].map(|_| {
            house.later(60);
            house.shows("alice", "stale", WRONG)
        });
        assert_eq!(shown.iter().filter(|shown| **shown).count(), 4, "two in each of the two windows: {shown:?}");
        assert!(house.shows("alice", "new", RIGHT));
        assert!(house.shows("alice", "stale", WRONG));
    }

    #[test]
    fn with_one_attempt_a_wrong_password_is_shown_once() {
        let house = House::with(1);
        assert!(house.shows("alice", "a", WRONG));
        assert!(!house.shows("alice", "a", WRONG) && !house.shows("alice", "b", RIGHT));
    }

    #[test]
    fn who_was_in_is_not_kept_out_by_the_guesses_of_others() {
        let house = House::new();
        assert!(house.shows("alice", "right", RIGHT));
        for password in ["a", "b", "c"] {
            assert!(house.shows("alice", password, WRONG));
        }
        assert!(!house.shows("alice", "d", WRONG));
        assert!(house.shows("alice", "right", RIGHT), "it was right before");
        for password in ["a", "b", "c"] {
            assert!(house.shows("alice", password, WRONG));
        }
        assert!(house.shows("alice", "right", WRONG), "it was changed: seen once");
        assert!(!house.shows("alice", "right", WRONG));
    }

    #[test]
    fn what_says_nothing_about_the_password_does_not_count() {
        let house = House::new();
        for ended in [Ended::NotSent, Ended::Answered(Judgement::Nothing), Ended::Answered(Judgement::AccountState)].repeat(5) {
            assert!(house.shows("alice", "a", ended), "{ended:?}");
        }
    }

    #[test]
    fn an_unclear_refusal_counts() {
        let house = House::new();
        for password in ["a", "b", "c"] {
            assert!(house.shows("alice", password, Ended::Answered(Judgement::Unclear)));
        }
        assert!(matches!(house.admit("alice", "d"), Admission::Refused));
    }

    #[test]
    fn attempts_under_way_are_counted_and_others_wait_for_their_end() {
        let house = House::new();
        let under_way = ["a", "b", "c"].map(|password| match house.admit("alice", password) {
            Admission::Admitted(attempt) => attempt,
            other => panic!("{other:?}"),
        });
        let Admission::Wait(mut waiting) = house.admit("alice", "right") else { panic!("all are taken") };
        assert!(waiting.try_recv() == Err(TryRecvError::Empty));
        for attempt in under_way {
            assert_eq!(attempt.ended("alice", WRONG, house.now).is_some(), house.guard.closed(house.now) == 1, "said when it closes");
        }
        assert!(waiting.try_recv() == Err(TryRecvError::Closed));
        assert!(matches!(house.admit("alice", "right"), Admission::Refused));
    }

    #[test]
    fn who_waited_goes_when_another_was_right() {
        let house = House::with(1);
        let Admission::Admitted(attempt) = house.admit("alice", "a") else { panic!("the first") };
        let Admission::Wait(mut waiting) = house.admit("alice", "b") else { panic!("the second waits") };
        attempt.ended("alice", RIGHT, house.now);
        assert!(waiting.try_recv() == Err(TryRecvError::Closed));
        assert!(house.shows("alice", "b", WRONG));
    }

    #[test]
    fn passwords_that_were_never_answered_keep_their_slots_and_may_be_tried_again() {
        let house = House::new();
        for password in ["a", "b", "right"] {
            assert!(house.shows("alice", password, Ended::Unanswered));
        }
        assert!(matches!(house.admit("alice", "d"), Admission::Unanswered), "not called wrong, since nobody has said so");
        for _ in 0..10 {
            assert!(house.shows("alice", "right", Ended::Unanswered));
        }
        assert!(house.shows("alice", "right", RIGHT), "the directory is back");
        assert!(house.shows("alice", "d", WRONG));
    }

    #[test]
    fn an_attempt_that_is_dropped_counts_as_unanswered() {
        let house = House::with(1);
        drop(house.admit("alice", "a"));
        assert!(matches!(house.admit("alice", "b"), Admission::Unanswered));
    }

    #[test]
    fn the_administrator_is_told_once_a_window_and_from_where() {
        let mut house = House::new();
        let mut told = Vec::new();
        for password in ["a", "b", "c", "c", "d"] {
            if let Admission::Admitted(attempt) = house.admit("alice", password) {
                told.extend(attempt.ended("alice", WRONG, house.now));
            }
        }
        assert_eq!(told, [Closed { peers: vec![IpAddr::from([10, 20, 0, 1])] }]);
        assert_eq!(house.guard.closed(house.now), 1);
        house.later(600);
        assert_eq!(house.guard.closed(house.now), 0);
    }

    #[test]
    fn two_names_of_one_principal_have_one_count() {
        let house = House::new();
        assert!(house.shows("alice@corp.example", "a", WRONG) && house.shows("CORP\\alice", "b", WRONG));
        for name in ["alice@corp.example", "CORP\\alice"] {
            house.guard.merge(&house.principals.learn_alias(name, 0, "S-1-5-21-1104").unwrap());
        }
        assert!(house.shows("CORP\\alice", "c", WRONG));
        assert!(!house.shows("alice@corp.example", "d", WRONG));
        assert!(house.guard.forget(&house.principals.principal("alice@corp.example"), house.now));
        assert!(house.shows("CORP\\alice", "d", WRONG));
    }

    #[test]
    fn what_is_being_tried_under_a_name_counts_when_the_name_turns_out_to_be_another_s_too() {
        let house = House::new();
        let under_way = ["a", "b", "c"].map(|password| match house.admit("alice@corp.example", password) {
            Admission::Admitted(attempt) => attempt,
            other => panic!("{other:?}"),
        });
        let stale = house.principals.present(0, "alice@corp.example", &Secret::new(b"d"));
        let Admission::Wait(mut waiting) = house.admit("alice@corp.example", "d") else { panic!("all are taken") };
        house.guard.merge(&house.principals.learn_alias("CORP\\alice", 0, "S-1-5-21-1104").unwrap());
        house.guard.merge(&house.principals.learn_alias("alice@corp.example", 0, "S-1-5-21-1104").unwrap());
        assert!(waiting.try_recv() == Err(TryRecvError::Closed), "whoever waits asks again");
        assert!(matches!(house.admit("CORP\\alice", "d"), Admission::Wait(_)));
        for attempt in under_way {
            attempt.ended("alice", WRONG, house.now);
        }
        assert!(matches!(house.admit("CORP\\alice", "d"), Admission::Refused));
        let peer = IpAddr::from([10, 20, 0, 1]);
        assert!(matches!(house.guard.admit(&stale, Some(peer), house.now), Admission::Refused), "who asked before knows the name only");
        assert_eq!(house.guard.closed(house.now), 1);
    }
}
