//! Passwords that a directory accepted or refused a moment ago.
//!
//! In: a [`Presented`] name and password, and what a directory said of it. Out: whether the same, at the same listener and under the same
//! spelling, must be asked again. Only certain answers are remembered: accepted, and surely a wrong password. A password that differs from the
//! accepted one is never judged by it, so a new one works at once; when it has worked, the old one is forgotten everywhere.
//!
//! No password is held here, nor a name: the sessions of a principal hold its [`Principal`], and as long as one of them lives they share it.
//! What was begun before a principal was forgotten is not remembered after it.

use super::mac::Mac;
use super::principals::{Alias, Presented};
use super::recent::Recent;
use crate::config;
use crate::identity::{Principal, Who};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// See the module.
#[derive(Debug)]
pub(crate) struct BindCache {
    state: Mutex<State>,
}

/// What is remembered of a name and a password.
#[derive(Debug)]
pub(crate) enum Recalled {
    /// It was accepted.
    Accepted(Arc<Principal>),
    /// It was refused as wrong.
    Rejected,
    /// Nothing: a directory must be asked. What it says is remembered only if the principal is not forgotten meanwhile.
    Unknown(Generation),
}

/// A password that was accepted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proved {
    /// Whose it is, where the directory said.
    pub(crate) who: Option<Arc<Who>>,
}

/// The number of the last thing that had happened when a question left: its answer is remembered only if nothing has happened to the principal
/// since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u64);

impl Generation {
    /// A question whose answer is not to be remembered.
    pub(crate) const UNTOLD: Self = Self(0);
}

#[derive(Debug)]
struct State {
    ttl: Duration,
    rejected_ttl: Duration,
    known: Recent<Known>,
    /// Counts what happens to principals, so that nothing that happened has the number of another.
    events: u64,
    /// When everything was forgotten; after [`Generation::UNTOLD`] at any rate.
    all_forgotten: u64,
}

/// What is known of one principal.
#[derive(Debug, Default)]
struct Known {
    /// When a password was accepted last.
    accepted_at: u64,
    /// When the principal was forgotten last.
    forgotten_at: u64,
    accepted: Vec<Accepted>,
    rejected: Vec<Rejected>,
}

#[derive(Debug)]
struct Accepted {
    proof: Mac,
    password: Mac,
    listener: usize,
    until: Instant,
    who: Option<Arc<Who>>,
    principal: Weak<Principal>,
}

#[derive(Debug)]
struct Rejected {
    proof: Mac,
    until: Instant,
}

impl BindCache {
    /// Nothing is known yet.
    pub(crate) fn new(config: &config::Binds) -> Self {
        let (ttl, rejected_ttl) = (config.ttl, config.rejected_ttl);
        Self { state: Mutex::new(State { ttl, rejected_ttl, known: Recent::new(MOST_PRINCIPALS), events: 1, all_forgotten: 1 }) }
    }

    /// From now on passwords are remembered for the times of this configuration; says whether those are others.
    pub(crate) fn go_on(&self, config: &config::Binds) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let before = (state.ttl, state.rejected_ttl);
        (state.ttl, state.rejected_ttl) = (config.ttl, config.rejected_ttl);
        before != (config.ttl, config.rejected_ttl)
    }

    /// Principals of whom something is known.
    pub(crate) fn principals(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).known.len()
    }

    /// What is remembered. Where no session of an accepted principal lives any more, `principal` makes it anew of whose name it is.
    pub(crate) fn recall(&self, presented: &Presented, now: Instant, principal: impl FnOnce(Option<Arc<Who>>) -> Principal) -> Recalled {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = Generation(state.events);
        let Some(known) = state.known.touch(&presented.principal) else { return Recalled::Unknown(generation) };
        if let Some(accepted) = known.accepted(presented, now) {
            let shared = accepted.principal.upgrade().unwrap_or_else(|| Arc::new(principal(accepted.who.clone())));
            accepted.principal = Arc::downgrade(&shared);
            return Recalled::Accepted(shared);
        }
        if known.is_rejected(presented, now) {
            return Recalled::Rejected;
        }
        Recalled::Unknown(generation)
    }

    /// It was accepted a moment ago, and whose name it is: [`BindCache::recall`] without a session to be made.
    pub(crate) fn accepted_as(&self, presented: &Presented, now: Instant) -> Option<Proved> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.known.touch(&presented.principal)?;
        known.accepted(presented, now).map(|accepted| Proved { who: accepted.who.clone() })
    }

    /// It was refused as wrong a moment ago.
    pub(crate) fn is_rejected(&self, presented: &Presented, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.known.touch(&presented.principal).is_some_and(|known| known.is_rejected(presented, now))
    }

    /// A directory has accepted the password; `asked_at` is when the question left. Other passwords of the principal are forgotten, and one that
    /// is being proved at this moment is not remembered: nobody could tell which is the newer.
    pub(crate) fn accept(&self, presented: &Presented, generation: Generation, asked_at: Instant, proved: Proved) {
        self.remember(presented, generation, |known, now| {
            if known.accepted_at > generation.0 {
                return;
            }
            let (Presented { proof, password, listener, .. }, until) = (*presented, asked_at + now.ttl);
            let is_replaced = |accepted: &Accepted| accepted.proof == proof && accepted.listener == listener;
            known.accepted.retain(|accepted| accepted.password == password && asked_at < accepted.until && !is_replaced(accepted));
            known.rejected.retain(|rejected| rejected.proof != proof && asked_at < rejected.until);
            known.accepted_at = now.event;
            if !now.ttl.is_zero() {
                make_room(&mut known.accepted, |accepted| accepted.until);
                known.accepted.push(Accepted { proof, password, listener, until, who: proved.who, principal: Weak::new() });
            }
        });
    }

    /// A directory has refused the password as wrong.
    pub(crate) fn reject(&self, presented: &Presented, generation: Generation, asked_at: Instant) {
        self.remember(presented, generation, |known, now| {
            let (Presented { proof, password, .. }, until) = (*presented, asked_at + now.rejected_ttl);
            known.accepted.retain(|accepted| accepted.password != password && asked_at < accepted.until);
            known.rejected.retain(|rejected| rejected.proof != proof && asked_at < rejected.until);
            if !now.rejected_ttl.is_zero() {
                make_room(&mut known.rejected, |rejected| rejected.until);
                known.rejected.push(Rejected { proof, until });
            }
        });
    }

    /// A name turned out to be one of a principal's: what was refused under it stays refused, and what happened to it happened to that principal.
    pub(crate) fn merge(&self, alias: &Alias) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(from) = state.known.remove(&alias.from) else { return };
        let to = state.known.entry(&alias.to);
        to.accepted_at = to.accepted_at.max(from.accepted_at);
        to.forgotten_at = to.forgotten_at.max(from.forgotten_at);
        for rejected in from.rejected {
            make_room(&mut to.rejected, |rejected| rejected.until);
            to.rejected.push(rejected);
        }
    }

    /// Something has happened to that principal's account: what is remembered, or being asked at this moment, is not to be trusted.
    pub(crate) fn forget(&self, principal: &Mac) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.events += 1;
        let forgotten_at = state.events;
        let known = state.known.entry(principal);
        *known = Known { accepted_at: known.accepted_at, forgotten_at, ..Known::default() };
    }

    /// The same for everybody.
    pub(crate) fn forget_all(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.events += 1;
        state.all_forgotten = state.events;
        state.known.clear();
    }

    /// Nothing of that principal was forgotten since.
    pub(crate) fn is_as_remembered(&self, principal: &Mac, since: Generation) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let forgotten_at = state.known.touch(principal).map_or(0, |known| known.forgotten_at);
        forgotten_at.max(state.all_forgotten) <= since.0
    }

    /// Nothing is remembered of a principal that was forgotten since.
    fn remember(&self, presented: &Presented, generation: Generation, change: impl FnOnce(&mut Known, Now)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.events += 1;
        let (event, all_forgotten) = (state.events, state.all_forgotten);
        let (ttl, rejected_ttl) = (state.ttl, state.rejected_ttl);
        let known = state.known.entry(&presented.principal);
        if known.forgotten_at.max(all_forgotten) <= generation.0 {
            change(known, Now { event, ttl, rejected_ttl });
        }
    }
}

impl Known {
    fn accepted(&mut self, presented: &Presented, now: Instant) -> Option<&mut Accepted> {
        let is_same = |accepted: &&mut Accepted| accepted.proof == presented.proof && accepted.listener == presented.listener;
        self.accepted.iter_mut().find(is_same).filter(|accepted| now < accepted.until)
    }

    /// Wrong at one listener is wrong at all of them.
    fn is_rejected(&self, presented: &Presented, now: Instant) -> bool {
        self.rejected.iter().any(|rejected| rejected.proof == presented.proof && now < rejected.until)
    }
}

/// What is remembered now, is for so long.
struct Now {
    /// The number of what happens now.
    event: u64,
    ttl: Duration,
    rejected_ttl: Duration,
}

/// Lets the one go that would go first.
fn make_room<T>(remembered: &mut Vec<T>, until: impl Fn(&T) -> Instant) {
    if remembered.len() >= MOST_PER_PRINCIPAL
        && let Some(first) = (0..remembered.len()).min_by_key(|&index| remembered.get(index).map(&until))
    {
        remembered.swap_remove(first);
    }
}

/// Some 20 MiB at worst; a principal that was not heard of for longest is forgotten first, which costs one bind at a directory.
const MOST_PRINCIPALS: usize = 1 << 15;
/// Listeners and spellings under which one principal is remembered; wrong passwords likewise.
const MOST_PER_PRINCIPAL: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::principals::Principals;
    use crate::secret::Secret;

    const TTL: Duration = Duration::from_secs(60);
    const REJECTED_TTL: Duration = Duration::from_secs(30);

    /// A cache, and a clock of its own.
    struct House {
        cache: BindCache,
        principals: Principals,
        now: Instant,
    }

    impl House {
        fn new() -> Self {
            Self::with(config::Binds { ttl: TTL, rejected_ttl: REJECTED_TTL, ..config::Binds::default() })
        }

        fn with(config: config::Binds) -> Self {
            Self { cache: BindCache::new(&config), principals: Principals::new(&[1; 32]), now: Instant::now() }
        }

        fn present(&self, listener: usize, name: &str, password: &str) -> Presented {
            self.principals.present(listener, name, &Secret::new(password.as_bytes()))
        }

        fn recall_at(&self, listener: usize, name: &str, password: &str) -> Recalled {
            let principal = |who| Principal::proved(name.to_owned(), 0, who, None);
            self.cache.recall(&self.present(listener, name, password), self.now, principal)
        }

        fn recall(&self, name: &str, password: &str) -> Recalled {
            self.recall_at(0, name, password)
        }

        fn generation(&self, name: &str, password: &str) -> Generation {
            let Recalled::Unknown(generation) = self.recall(name, password) else { panic!("{name} is known") };
            generation
        }

        fn accept(&self, name: &str, password: &str) {
            self.cache.accept(&self.present(0, name, password), self.generation(name, password), self.now, Proved::default());
        }

        fn reject(&self, name: &str, password: &str) {
            self.cache.reject(&self.present(0, name, password), self.generation(name, password), self.now);
        }

        fn is_accepted(&self, name: &str, password: &str) -> bool {
            matches!(self.recall(name, password), Recalled::Accepted(_))
        }

        fn is_unknown(&self, name: &str, password: &str) -> bool {
            matches!(self.recall(name, password), Recalled::Unknown(_))
        }

        fn is_rejected(&self, name: &str, password: &str) -> bool {
            matches!(self.recall(name, password), Recalled::Rejected)
        }
    }

    #[test]
    fn an_accepted_password_is_accepted_until_its_time_is_over() {
        let mut house = House::new();
        house.accept("alice", "right");
        house.now += TTL - Duration::from_millis(1);
        assert!(house.is_accepted("alice", "right"));
        house.now += Duration::from_millis(1);
        assert!(house.is_unknown("alice", "right"));
    }

    #[test]
    fn being_used_does_not_make_it_live_longer() {
        let mut house = House::new();
        house.accept("alice", "right");
        for _ in 0..59 {
            house.now += Duration::from_secs(1);
            assert!(house.is_accepted("alice", "right"));
        }
        house.now += Duration::from_secs(1);
        assert!(house.is_unknown("alice", "right"));
    }

    #[test]
    fn another_password_is_never_judged_by_the_accepted_one() {
        let house = House::new();
        house.accept("alice", "right");
        for other in ["Right", "right ", "", "wrong"] {
            assert!(house.is_unknown("alice", other), "{other}");
        }
        assert!(house.is_unknown("bob", "right"));
    }

    #[test]
    fn listener_and_spelling_are_part_of_what_was_accepted() {
        let house = House::new();
        house.accept("alice", "right");
        assert!(matches!(house.recall_at(1, "alice", "right"), Recalled::Unknown(_)));
        assert!(house.is_unknown("Alice", "right"));
    }

    #[test]
    fn when_a_new_password_worked_the_old_one_is_forgotten_everywhere() {
        let house = House::new();
        house.accept("alice", "old");
        house.accept("ALICE", "old");
        let Recalled::Unknown(generation) = house.recall_at(1, "alice", "old") else { panic!("unknown there") };
        house.cache.accept(&house.present(1, "alice", "old"), generation, house.now, Proved::default());
        house.accept("alice", "new");
        assert!(house.is_accepted("alice", "new"));
        assert!(house.is_unknown("alice", "old") && house.is_unknown("ALICE", "old"));
        assert!(matches!(house.recall_at(1, "alice", "old"), Recalled::Unknown(_)));
    }

    #[test]
    fn an_old_password_proved_while_a_new_one_was_accepted_is_not_remembered() {
        let house = House::new();
        house.accept("alice", "old");
        let late = house.generation("Alice", "old");
        house.accept("alice", "new");
        house.cache.accept(&house.present(0, "Alice", "old"), late, house.now, Proved::default());
        assert!(house.is_unknown("Alice", "old") && house.is_accepted("alice", "new"));
    }

    #[test]
    fn a_wrong_password_is_wrong_at_every_listener_for_a_while_and_another_is_not() {
        let mut house = House::new();
        house.reject("alice", "wrong");
        assert!(house.is_rejected("alice", "wrong") && house.is_unknown("alice", "right"));
        assert!(matches!(house.recall_at(1, "alice", "wrong"), Recalled::Rejected));
        house.now += REJECTED_TTL;
        assert!(house.is_unknown("alice", "wrong"));
    }

    #[test]
    fn a_wrong_password_does_not_unseat_the_accepted_one() {
        let house = House::new();
        house.accept("alice", "right");
        house.reject("alice", "wrong");
        assert!(house.is_accepted("alice", "right") && house.is_rejected("alice", "wrong"));
    }

    #[test]
    fn sessions_share_a_principal_while_one_of_them_lives() {
        let house = House::new();
        house.accept("alice", "right");
        let (Recalled::Accepted(one), Recalled::Accepted(other)) = (house.recall("alice", "right"), house.recall("alice", "right")) else {
            panic!("accepted")
        };
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!(Arc::strong_count(&one), 2, "the cache itself keeps nobody's password");
        drop((one, other));
        assert!(house.is_accepted("alice", "right"));
    }

    #[test]
    fn a_forgotten_principal_must_be_asked_again_and_what_was_under_way_is_not_remembered() {
        let house = House::new();
        house.accept("alice", "right");
        house.accept("bob", "right");
        let (late_alice, late_bob) = (house.generation("alice", "x"), house.generation("bob", "x"));
        assert!(house.cache.is_as_remembered(&house.principals.principal("alice"), late_alice));
        house.cache.forget(&house.principals.principal("ALICE"));
        assert!(!house.cache.is_as_remembered(&house.principals.principal("alice"), late_alice));
        assert!(house.is_unknown("alice", "right") && house.is_accepted("bob", "right"));
        house.cache.accept(&house.present(0, "alice", "x"), late_alice, house.now, Proved::default());
        assert!(house.is_unknown("alice", "x"));

        assert!(house.cache.is_as_remembered(&house.principals.principal("bob"), late_bob));
        house.cache.forget_all();
        assert!(!house.cache.is_as_remembered(&house.principals.principal("bob"), late_bob));
        house.cache.reject(&house.present(0, "bob", "x"), late_bob, house.now);
        assert!(house.is_unknown("bob", "right") && house.is_unknown("bob", "x"));
        house.accept("bob", "right");
        assert!(house.is_accepted("bob", "right"));
    }

    #[test]
    fn nothing_is_remembered_where_the_times_are_zero() {
        let house = House::with(config::Binds { ttl: Duration::ZERO, rejected_ttl: Duration::ZERO, ..config::Binds::default() });
        house.accept("alice", "right");
        house.reject("alice", "wrong");
        assert!(house.is_unknown("alice", "right") && house.is_unknown("alice", "wrong"));
    }

    #[test]
    fn spellings_and_wrong_passwords_of_one_principal_are_bounded() {
        let house = House::new();
        for listener in 0..50 {
            let presented = house.present(listener, "alice", "right");
            let Recalled::Unknown(generation) = house.recall_at(listener, "alice", "right") else { panic!("unknown") };
            house.cache.accept(&presented, generation, house.now + Duration::from_millis(listener as u64), Proved::default());
        }
        assert!(matches!(house.recall_at(0, "alice", "right"), Recalled::Unknown(_)), "the first to go");
        assert!(matches!(house.recall_at(49, "alice", "right"), Recalled::Accepted(_)));
        let mut state = house.cache.state.lock().unwrap();
        let known = state.known.touch(&house.principals.principal("alice")).unwrap();
        assert_eq!(known.accepted.len(), MOST_PER_PRINCIPAL);
    }

    #[test]
    fn what_was_refused_under_a_name_stays_refused_when_the_name_turns_out_to_be_a_principal_s() {
        let house = House::new();
        house.reject("CORP\\alice", "wrong");
        house.cache.merge(&house.principals.learn_alias("CORP\\alice", 0, "S-1-5-21-1104").unwrap());
        assert!(house.is_rejected("CORP\\alice", "wrong"));
    }

    #[test]
    fn a_name_s_bind_is_not_remembered_where_its_principal_was_forgotten_meanwhile() {
        let house = House::new();
        let of_name = house.generation("CORP\\alice", "right");
        house.cache.forget(&house.principals.principal("CORP\\alice"));
        house.cache.merge(&house.principals.learn_alias("CORP\\alice", 0, "S-1-5-21-1104").unwrap());
        house.cache.accept(&house.present(0, "CORP\\alice", "right"), of_name, house.now, Proved::default());
        assert!(house.is_unknown("CORP\\alice", "right"));
        house.accept("CORP\\alice", "right");
        assert!(house.is_accepted("CORP\\alice", "right"), "begun after it");
    }

    #[test]
    fn a_new_password_under_one_name_ends_the_old_one_under_all() {
        let house = House::new();
        for name in ["alice@corp.example", "CORP\\alice"] {
            house.cache.merge(&house.principals.learn_alias(name, 0, "S-1-5-21-1104").unwrap());
            house.accept(name, "old");
        }
        assert!(house.is_accepted("alice@corp.example", "old") && house.is_accepted("CORP\\alice", "old"));
        house.accept("CORP\\alice", "new");
        assert!(house.is_unknown("alice@corp.example", "old"));
    }

    #[test]
    fn whose_name_it_is_is_remembered_with_the_password() {
        let house = House::new();
        let who = Arc::new(Who { canonical: "S-1-5-21-1104".to_owned(), membership: None });
        let presented = house.present(0, "alice", "right");
        house.cache.accept(&presented, house.generation("alice", "right"), house.now, Proved { who: Some(Arc::clone(&who)) });
        let Recalled::Accepted(principal) = house.recall("alice", "right") else { panic!("it was accepted") };
        assert_eq!(principal.who.as_ref(), Some(&who));
        drop(principal);
        let Recalled::Accepted(again) = house.recall("alice", "right") else { panic!("it was accepted") };
        assert_eq!(again.who.as_ref(), Some(&who), "though no session lived meanwhile");
    }
}
