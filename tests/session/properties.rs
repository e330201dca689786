//! What holds after any sequence of requests and ends of operations.

use super::{RULES, id, somebody};
use crate::common::requests::{abandon, bind, cancel, delete, frame, said, search};
use proptest::prelude::*;
use redial::ldap::envelope::op;
use redial::session::{Session, Step};
use std::collections::{HashMap, HashSet};

/// What happens to a session.
#[derive(Debug, Clone, Copy)]
enum Event {
    Search(u32),
    Delete(u32),
    Bind(u32),
    AnonymousBind(u32),
    Abandon(u32, u32),
    Cancel(u32, u32),
    /// The operation ends well (a Bind: is accepted), whether it is still wanted or not.
    Ends(u32),
    /// A Bind is refused; other operations break off.
    Fails(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let number = || 1..6_u32;
    prop_oneof![
        number().prop_map(Event::Search),
        number().prop_map(Event::Delete),
        number().prop_map(Event::Bind),
        number().prop_map(Event::AnonymousBind),
        (number(), number()).prop_map(|(own, target)| Event::Abandon(own, target)),
        (number(), number()).prop_map(|(own, target)| Event::Cancel(own, target)),
        number().prop_map(Event::Ends),
        number().prop_map(Event::Fails),
    ]
}

/// What an outside observer knows: which requests wait for a last response, and who the client may be.
#[derive(Debug, Default)]
struct Observer {
    waiting: HashSet<u32>,
    bind: Option<u32>,
    last_responses: HashMap<u32, usize>,
    requests: HashMap<u32, usize>,
    bound: bool,
}

impl Observer {
    fn asked(&mut self, number: u32) {
        self.waiting.insert(number);
        *self.requests.entry(number).or_default() += 1;
    }

    fn answered(&mut self, number: u32) {
        assert!(self.waiting.remove(&number), "a response to {number}, which nobody waits for");
        *self.last_responses.entry(number).or_default() += 1;
    }
}

fn request_of(event: Event) -> Option<(u32, Vec<u8>)> {
    Some(match event {
        Event::Search(own) => (own, search()),
        Event::Delete(own) => (own, delete()),
        Event::Bind(own) => (own, bind("cn=a", "secret")),
        Event::AnonymousBind(own) => (own, bind("", "")),
        Event::Abandon(own, target) => (own, abandon(target)),
        Event::Cancel(own, target) => (own, cancel(target)),
        Event::Ends(_) | Event::Fails(_) => return None,
    })
}

proptest! {
    #[test]
    fn any_sequence_keeps_the_promises(events in prop::collection::vec(event(), 1..60)) {
        let mut session = Session::new(RULES, false);
        let mut observer = Observer::default();
        let mut silenced = 0_usize;
        for event in events {
            let mut out = Vec::new();
            match event {
                Event::Ends(number) if observer.bind == Some(number) => {
                    prop_assert!(session.bind_finished(id(number), somebody("cn=a")));
                    observer.answered(number);
                    observer.bind = None;
                    observer.bound = true;
                }
                Event::Ends(number) => {
                    let wanted = observer.waiting.contains(&number) && observer.bind != Some(number);
                    prop_assert_eq!(session.finished(id(number)), wanted);
                    if wanted {
                        observer.answered(number);
                    }
                }
                Event::Fails(number) => {
                    session.broke_off(id(number), &mut out);
                    if observer.bind == Some(number) {
                        observer.bind = None;
                    }
                }
                _ => {}
            }
            if let Some((own, op)) = request_of(event) {
                if !session.may_receive() {
                    continue;
                }
                let duplicate = observer.waiting.contains(&own);
                let message = frame(own, &op);
                let is_bind = matches!(event, Event::Bind(_) | Event::AnonymousBind(_));
                if is_bind && !duplicate {
                    silenced += observer.waiting.len();
                    observer.waiting.clear();
                    observer.bound = false;
                }
                if let Event::Abandon(_, target) = event && !duplicate {
                    silenced += usize::from(observer.waiting.remove(&target));
                } else if !duplicate {
                    observer.asked(own);
                }
                match session.receive(&message, &mut out) {
                    Step::Close => {
                        prop_assert!(duplicate, "only a duplicate ends this session");
                        prop_assert_eq!(said(&out), [(0, op::EXTENDED_RESPONSE, 2)]);
                        prop_assert!(!session.may_receive());
                        return Ok(());
                    }
                    Step::AbandonAllThenRun(_) => observer.bind = Some(own),
                    Step::Continue | Step::Run(_) | Step::Abandon(_) | Step::AbandonAll(_) => {}
                    Step::StartTls => prop_assert!(false, "nobody asked for TLS"),
                }
                prop_assert!(!duplicate);
            }
            // A write that was silenced ends soon, so that the limit does not end the game.
            session.silent_ended();
            for (number, _, _) in said(&out) {
                observer.answered(number);
            }
            prop_assert_eq!(!session.identity().is_anonymous(), observer.bound);
            prop_assert_eq!(session.is_idle(), observer.waiting.is_empty());
            for number in 1..6 {
                prop_assert_eq!(session.may_answer(id(number)), observer.waiting.contains(&number));
            }
        }
        let asked: usize = observer.requests.values().sum();
        let answered: usize = observer.last_responses.values().sum();
        prop_assert_eq!(asked, answered + silenced + observer.waiting.len());
    }
}
