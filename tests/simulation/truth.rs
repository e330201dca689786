//! What is really so: everybody's entry in all its versions, and what has reached a controller. Answers are judged by it.

use crate::Weather;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// The naming context.
pub(crate) const BASE: &str = "dc=corp,dc=example";
/// Who has an entry and a password.
pub(crate) const PEOPLE: usize = 4;
/// The base of an answer that is larger than what may wait for a phone.
pub(crate) const BIG: &str = "ou=big,dc=corp,dc=example";
/// Its entries.
pub(crate) const BIG_ENTRIES: usize = 150;

/// How a seed was played.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Played {
    pub(crate) story: String,
    pub(crate) wrong: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Truth {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The first thing that must not be.
    wrong: Option<String>,
    story: Vec<String>,
    /// By person, oldest first.
    versions: Vec<Vec<Version>>,
    last_version: u32,
    wrong_binds: BTreeSet<String>,
    /// By person: binds with the right password.
    right_binds: [usize; PEOPLE],
    writes: BTreeMap<u32, usize>,
    stale_reads: usize,
}

#[derive(Debug, Clone, Copy)]
struct Version {
    number: u32,
    written_at: Instant,
    /// A client knows of it.
    acknowledged_at: Option<Instant>,
}

impl Truth {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        let first = Version { number: 0, written_at: now, acknowledged_at: None };
        Self { began: now, state: Mutex::new(State { versions: vec![vec![first]; PEOPLE], ..State::default() }) }
    }

    /// One line of the story.
    pub(crate) fn tell(&self, what: &str) {
        let line = format!("{:>11.6} {what}", self.began.elapsed().as_secs_f64());
        self.state.lock().unwrap().story.push(line);
    }

    /// Something that must not be.
    pub(crate) fn wrong(&self, what: &str) {
        self.tell(&format!("WRONG {what}"));
        self.state.lock().unwrap().wrong.get_or_insert_with(|| what.to_owned());
    }

    /// All that happened, and what was wrong first.
    pub(crate) fn verdict(&self) -> Played {
        let state = self.state.lock().unwrap();
        Played { story: state.story.join("\n"), wrong: state.wrong.clone() }
    }

    /// The number of a version that is to be written.
    pub(crate) fn next_version(&self) -> u32 {
        let mut state = self.state.lock().unwrap();
        state.last_version += 1;
        state.last_version
    }

    /// The version that a controller shows now.
    pub(crate) fn current(&self, person: usize) -> u32 {
        self.state.lock().unwrap().versions[person].last().unwrap().number
    }

    /// A controller has carried out a write, or somebody has written who does not ask Redial.
    pub(crate) fn written(&self, person: usize, number: u32) {
        let version = Version { number, written_at: Instant::now(), acknowledged_at: None };
        self.state.lock().unwrap().versions[person].push(version);
        self.tell(&format!("{} is written", canary(person, number)));
    }

    /// A client has been told that its write was carried out.
    pub(crate) fn acknowledged(&self, person: usize, number: u32) {
        let mut state = self.state.lock().unwrap();
        let known = state.versions[person].iter_mut().find(|version| version.number == number);
        match known {
            Some(version) => version.acknowledged_at = Some(Instant::now()),
            None => {
                drop(state);
                self.wrong(&format!("{} was acknowledged and never written", canary(person, number)));
            }
        }
    }

    /// A client has been told that its write was not carried out.
    pub(crate) fn denied(&self, person: usize, number: u32) {
        if self.state.lock().unwrap().versions[person].iter().any(|version| version.number == number) {
            self.wrong(&format!("{} was written, and its client was told that it was not", canary(person, number)));
        }
    }

    /// A bind has reached a controller. Each wrong password is tried once.
    pub(crate) fn bind_heard(&self, name: &str, password: &str) {
        if password.starts_with("wrong") && !self.state.lock().unwrap().wrong_binds.insert(format!("{name} {password}")) {
            self.wrong(&format!("{password} of {name} reached a controller twice"));
        }
        if let Some(number) = (0..PEOPLE).find(|number| person(*number) == name && self::password(*number) == password) {
            self.state.lock().unwrap().right_binds[number] += 1;
        }
    }

    /// No more binds have reached controllers than clients have sent.
    pub(crate) fn binds_were_asked_for(&self, sent: &[usize; PEOPLE]) {
        let heard = self.state.lock().unwrap().right_binds;
        if heard.iter().zip(sent).any(|(heard, sent)| heard > sent) {
            self.wrong(&format!("{sent:?} binds were sent, and {heard:?} reached controllers"));
        }
    }

    /// A write has reached a controller, whatever comes of it.
    pub(crate) fn write_heard(&self, number: u32) {
        let times = {
            let mut state = self.state.lock().unwrap();
            let times = state.writes.entry(number).or_default();
            *times += 1;
            *times
        };
        if times > 1 {
            self.wrong(&format!("write {number} reached controllers {times} times"));
        }
    }

    /// A read that began then has shown that version.
    pub(crate) fn read(&self, person: usize, number: u32, began: Instant, weather: &Weather) {
        let mut state = self.state.lock().unwrap();
        let versions = &state.versions[person];
        let Some(place) = versions.iter().position(|version| version.number == number) else {
            drop(state);
            return self.wrong(&format!("{} was read and never written", canary(person, number)));
        };
        let newer = &versions[place + 1..];
        if let Some(newer) = newer.iter().find(|newer| newer.acknowledged_at.is_some_and(|at| at < began)) {
            let newer = newer.number;
            drop(state);
            return self.wrong(&format!("{} was read after {newer} had been acknowledged", canary(person, number)));
        }
        let age = newer.first().map(|newer| began.saturating_duration_since(newer.written_at)).unwrap_or_default();
        if age > weather.ttl + IN_FLIGHT {
            state.stale_reads += 1;
        }
        if age > weather.ttl + weather.stale + IN_FLIGHT {
            drop(state);
            self.wrong(&format!("{} was read {age:?} after it was another", canary(person, number)));
        }
    }

    /// Reads that were older than an answer is fresh.
    pub(crate) fn stale_reads(&self) -> usize {
        self.state.lock().unwrap().stale_reads
    }
}

pub(crate) fn person(person: usize) -> String {
    format!("cn=p{person},{BASE}")
}

pub(crate) fn password(person: usize) -> String {
    format!("right {person}")
}

/// What only that person may see.
pub(crate) fn canary(person: usize, version: u32) -> String {
    format!("canary {person} v{version}")
}

/// Whose canary, and which version.
pub(crate) fn parse_canary(value: &str) -> Option<(usize, u32)> {
    let (person, version) = value.strip_prefix("canary ")?.split_once(" v")?;
    Some((person.parse().ok()?, version.parse().ok()?))
}

/// An answer may have been under way for so long before it was fresh.
const IN_FLIGHT: Duration = Duration::from_secs(12);
