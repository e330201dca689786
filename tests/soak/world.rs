//! What is really so behind Redial: two controllers of one directory, what they hold and who they believe somebody to be, and when which of
//! them was not well. Answers are judged by it.

use crate::common::scripted_controller::{Act, Certificate, Heard, ScriptedController, Security, certificate, root_dse, usual};
use redial::ldap::envelope::{Envelope, op, write_envelope};
use redial::ldap::filter::Filter;
use redial::ldap::message::{Request, Scope};
use redial::ldap::response::{response_tag, write_entry_op};
use redial::ldap::{MessageId, ResultCode, oid};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The account that Redial searches with.
pub(crate) const SERVICE: &str = "cn=redial,dc=corp";
pub(crate) const PASSWORD: &str = "a soaked secret";
/// The people whom phones look for; nobody writes here.
pub(crate) const PEOPLE: &str = "ou=people,dc=corp";
/// The base of searches that run as the client, and of writes: each finds out who the controller takes it for.
pub(crate) const OWN: &str = "dc=own";
/// Who may bind, each with an entry to write to.
pub(crate) const USERS: usize = 24;

const FIRST_NAMES: [&str; 12] =
    ["Ada", "Alan", "Barbara", "Claude", "Donald", "Edsger", "Frances", "Grace", "Hedy", "John", "Konrad", "Margaret"];
const LAST_NAMES: [&str; 5] = ["Dahl", "Knuth", "Liskov", "Turing", "Zuse"];

/// How a controller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// It takes connections and requests, and never answers.
    Mute,
    /// It says busy(51) to everything.
    Busy,
    /// It closes the connection in the middle of each answer.
    Breaks,
}

/// See the module.
pub(crate) struct World {
    runtime: Runtime,
    controllers: Mutex<Vec<ScriptedController>>,
    pub(crate) addresses: Vec<SocketAddr>,
    /// Of the CA that signed the controllers' certificate.
    pub(crate) ca: PathBuf,
    truth: Arc<Truth>,
}

#[derive(Debug, Default)]
struct Truth {
    /// By user, the number that is written in the entry.
    desks: Mutex<Vec<u32>>,
    /// By controller.
    moods: RwLock<Vec<Mood>>,
    /// Who is bound, by controller and connection.
    bound: Mutex<HashMap<(usize, usize), String>>,
    /// What must not be.
    wrong: Mutex<Option<String>>,
    /// When the machine last had no time for this.
    starved: Mutex<Option<Instant>>,
    /// By controller.
    trouble: Mutex<[Trouble; 2]>,
}

/// When something was last the matter with a controller.
#[derive(Debug, Clone, Copy, Default)]
struct Trouble {
    is_on: bool,
    until: Option<Instant>,
}

/// Of whom something is the matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Of one controller at least.
    One,
    /// Of each of them, if not at the same time: an operation is tried at two.
    All,
}

impl World {
    /// Both controllers are well.
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let truth = Arc::new(Truth { desks: Mutex::new(vec![0; USERS]), moods: RwLock::new(vec![Mood::Well; 2]), ..Truth::default() });
        let (ca, tls) = certificate(Certificate::Good);
        let start = |number| {
            let truth = Arc::clone(&truth);
            runtime.block_on(ScriptedController::start(Security::Ldaps(Arc::clone(&tls)), move |heard| Some(truth.answer(number, heard))))
        };
        let controllers: Vec<_> = (0..2).map(start).collect();
        runtime.spawn(Arc::clone(&truth).watch());
        let addresses = controllers.iter().map(|controller| controller.address).collect();
        Self { runtime, controllers: Mutex::new(controllers), addresses, ca, truth }
    }

    /// Closes the port and every connection of these controllers.
    pub(crate) fn kill(&self, who: &[usize]) {
        self.begin_trouble(who);
        who.iter().for_each(|number| self.controllers.lock().unwrap()[*number].stop());
    }

    /// Lets them serve again.
    pub(crate) fn restart(&self, who: &[usize]) {
        let mut controllers = self.controllers.lock().unwrap();
        for number in who {
            self.runtime.block_on(controllers[*number].start_again());
        }
    }

    /// From now on they are like that.
    pub(crate) fn turn(&self, who: &[usize], mood: Mood) {
        if mood != Mood::Well {
            self.begin_trouble(who);
        }
        who.iter().for_each(|number| self.truth.moods.write().unwrap()[*number] = mood);
    }

    fn begin_trouble(&self, who: &[usize]) {
        let mut trouble = self.truth.trouble.lock().unwrap();
        who.iter().for_each(|number| trouble[*number].is_on = true);
    }

    /// Redial knows that both are well again.
    pub(crate) fn calms_down(&self) {
        for trouble in self.truth.trouble.lock().unwrap().iter_mut().filter(|trouble| trouble.is_on) {
            *trouble = Trouble { is_on: false, until: trouble.until.max(Some(Instant::now())) };
        }
        // What was heard so far would fill the memory of a long run.
        self.controllers.lock().unwrap().iter().for_each(ScriptedController::forget);
    }

    /// Was anything the matter at any time since then?
    pub(crate) fn was_troubled(&self, of: Of, since: Instant) -> bool {
        let trouble = self.truth.trouble.lock().unwrap();
        let mut troubled = trouble.iter().map(|trouble| trouble.is_on || trouble.until.is_some_and(|until| until >= since));
        if of == Of::One { troubled.any(|is_troubled| is_troubled) } else { troubled.all(|is_troubled| is_troubled) }
    }

    /// The machine is so busy with other things that nobody answers in time, and it takes a while until Redial believes in its controllers again.
    pub(crate) fn starves(&self) {
        self.truth.starves();
    }

    /// That has happened since then.
    pub(crate) fn starved_since(&self, since: Instant) -> bool {
        self.truth.starved.lock().unwrap().is_some_and(|starved| starved >= since)
    }

    /// What must not be, and was, as the controllers see it.
    pub(crate) fn wrong(&self) -> Option<String> {
        self.truth.wrong.lock().unwrap().clone()
    }
}

impl Truth {
    /// Notices when controllers do not get to answer, though they are well.
    async fn watch(self: Arc<Self>) {
        loop {
            let began = Instant::now();
            tokio::time::sleep(BEAT).await;
            if began.elapsed() > 3 * BEAT {
                self.starves();
            }
        }
    }

    fn starves(&self) {
        *self.starved.lock().unwrap() = Some(Instant::now());
        self.trouble.lock().unwrap().iter_mut().for_each(|trouble| trouble.until = Some(Instant::now() + AFTERMATH));
    }

    fn answer(&self, controller: usize, heard: &Heard) -> Vec<Act> {
        let mood = self.moods.read().unwrap()[controller];
        let Some(tag) = response_tag(heard.tag) else { return Vec::new() };
        match mood {
            Mood::Mute => return Vec::new(),
            Mood::Busy => return vec![heard.done(ResultCode::BUSY)],
            Mood::Breaks if tag == op::SEARCH_RESULT_DONE => return vec![heard.entry("cn=half of it,dc=corp"), Act::Close],
            Mood::Breaks => return vec![Act::Close],
            Mood::Well => {}
        }
        match heard.tag {
            op::BIND_REQUEST => vec![heard.done(self.bind(controller, heard))],
            op::SEARCH_REQUEST => self.search(controller, heard),
            op::MODIFY_REQUEST => vec![heard.done(self.modify(controller, heard))],
            _ => usual(heard),
        }
    }

    fn bind(&self, controller: usize, heard: &Heard) -> ResultCode {
        let (name, password) = heard.bind();
        let is_known = name == SERVICE || (0..USERS).any(|number| user(number) == name);
        let place = (controller, heard.connection);
        if is_known && password == PASSWORD.as_bytes() {
            self.bound.lock().unwrap().insert(place, name);
            return ResultCode::SUCCESS;
        }
        self.bound.lock().unwrap().remove(&place);
        ResultCode::INVALID_CREDENTIALS
    }

    fn bound(&self, controller: usize, heard: &Heard) -> String {
        self.bound.lock().unwrap().get(&(controller, heard.connection)).cloned().unwrap_or_default()
    }

    fn search(&self, controller: usize, heard: &Heard) -> Vec<Act> {
        let (base, scope, filter, _) = heard.question();
        if base.is_empty() && scope == Scope::BaseObject {
            return vec![root_dse(heard, &[oid::PAGED_RESULTS, oid::DOMAIN_SCOPE]), heard.done(ResultCode::SUCCESS)];
        }
        let who = self.bound(controller, heard);
        if who.is_empty() {
            self.wrong(format!("a search below {base} by nobody"));
        }
        if base == OWN {
            return vec![entry(heard, OWN, &[("description", who)]), heard.done(ResultCode::SUCCESS)];
        }
        if let Some(number) = (0..USERS).find(|number| desk(*number) == base) {
            let value = self.desks.lock().unwrap()[number].to_string();
            return vec![entry(heard, &base, &[("telephoneNumber", value)]), heard.done(ResultCode::SUCCESS)];
        }
        let found: Vec<_> = people().iter().filter(|person| is_true(&filter, person)).collect();
        let (size, cookie) = heard.page().unwrap_or((u32::MAX, Vec::new()));
        let begin: usize = String::from_utf8(cookie).unwrap().parse().unwrap_or(0);
        let end = found.len().min(begin.saturating_add(size as usize));
        let mut acts: Vec<_> = found[begin..end].iter().map(|person| entry(heard, &dn(person), *person)).collect();
        let rest = if end < found.len() { end.to_string() } else { String::new() };
        acts.push(if heard.page().is_some() { heard.page_done(rest.as_bytes()) } else { heard.done(ResultCode::SUCCESS) });
        acts
    }

    fn modify(&self, controller: usize, heard: &Heard) -> ResultCode {
        let (target, value) = written(heard);
        let number = (0..USERS).find(|number| desk(*number) == target).expect("an entry that somebody writes to");
        let who = self.bound(controller, heard);
        if who != user(number) {
            self.wrong(format!("{target} is written to by {who:?}"));
        }
        let mut desks = self.desks.lock().unwrap();
        if value <= desks[number] {
            self.wrong(format!("{value} reaches {target} behind {}", desks[number]));
        }
        desks[number] = value;
        ResultCode::SUCCESS
    }

    fn wrong(&self, what: String) {
        self.wrong.lock().unwrap().get_or_insert(what);
    }
}

const BEAT: Duration = Duration::from_millis(100);
const AFTERMATH: Duration = Duration::from_secs(3);

/// A name that binds.
pub(crate) fn user(number: usize) -> String {
    format!("cn=user {number},{OWN}")
}

/// The entry that only this user writes to.
pub(crate) fn desk(number: usize) -> String {
    format!("cn=desk {number},{OWN}")
}

type Person = [(&'static str, String); 3];

/// Everybody, as phones may find them.
fn people() -> &'static [Person] {
    static PEOPLE: OnceLock<Vec<Person>> = OnceLock::new();
    PEOPLE.get_or_init(make_people)
}

fn make_people() -> Vec<Person> {
    let names = FIRST_NAMES.iter().flat_map(|first| LAST_NAMES.iter().map(move |last| (first, last)));
    let person = |(number, (first, last)): (usize, (&&str, &&str))| {
        [("cn", format!("{first} {last}")), ("sn", (*last).to_owned()), ("telephoneNumber", format!("+49 30 {}", 1000 + number))]
    };
    names.enumerate().map(person).collect()
}

/// Names that are typed, and numbers that call: so few that all of them have been asked for after some seconds.
pub(crate) fn asked_for() -> (String, String) {
    let some: Vec<_> = people().iter().step_by(LAST_NAMES.len() + 1).collect();
    let lines = |attribute: usize| some.iter().map(|person| format!("{}\n", person[attribute].1)).collect();
    (lines(0), lines(2))
}

/// The names of everybody, in order.
pub(crate) fn names() -> Vec<String> {
    let mut names: Vec<_> = people().iter().map(dn).collect();
    names.sort();
    names
}

fn dn(person: &Person) -> String {
    format!("cn={},{PEOPLE}", person[0].1)
}

fn entry(heard: &Heard, name: &str, attributes: &[(&str, String)]) -> Act {
    let mut out = Vec::new();
    write_entry_op(&mut out, name, attributes.iter().map(|(attribute, value)| (*attribute, [value.as_bytes()])));
    heard.message(&out)
}

/// Target and value of a Modify.
fn written(heard: &Heard) -> (String, u32) {
    let mut frame = Vec::new();
    write_envelope(&mut frame, MessageId::new(1).unwrap(), &heard.op, None);
    let envelope = Envelope::parse(&frame).unwrap();
    let Ok(Request::Write(write)) = Request::parse(&envelope) else { panic!("not a write") };
    let digits = write.op.iter().rev().take_while(|octet| octet.is_ascii_digit()).count();
    let value = std::str::from_utf8(&write.op[write.op.len() - digits..]).unwrap();
    (write.target.to_owned(), value.parse().unwrap())
}

fn is_true(filter: &Filter, person: &Person) -> bool {
    let of = |attribute: &str| person.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute)).map(|(_, value)| value.as_bytes());
    match filter {
        Filter::And(parts) => parts.iter().all(|part| is_true(part, person)),
        Filter::Or(parts) => parts.iter().any(|part| is_true(part, person)),
        Filter::Present(attribute) => attribute.eq_ignore_ascii_case("objectClass") || of(attribute).is_some(),
        Filter::Equality(assertion) => of(&assertion.attribute).is_some_and(|value| value.eq_ignore_ascii_case(&assertion.value)),
        Filter::Substrings(parts) => {
            let initial = parts.initial.as_deref().expect("phones ask for beginnings");
            of(&parts.attribute).and_then(|value| value.get(..initial.len())).is_some_and(|value| value.eq_ignore_ascii_case(initial))
        }
        other => panic!("phones do not ask for {other}"),
    }
}
