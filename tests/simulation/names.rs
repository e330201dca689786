//! DNS as a seed says: it names some of the controllers, none, or does not answer.

use crate::controllers::{HOME, MOVED};
use futures_util::future::BoxFuture;
use redial::upstream;
use redial::upstream::{Services, Srv};
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;
use tokio::time::sleep;

#[derive(Debug)]
pub(crate) struct Names(Mutex<Says>);

#[derive(Debug)]
struct Says {
    random: fastrand::Rng,
    answer: Answer,
    /// By controller.
    is_named: Vec<bool>,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Named,
    /// There is no such name.
    Empty,
    /// The domain has no such service.
    Declined,
    Refused,
    Lost,
}

const ANSWERS: [Answer; 8] =
    [Answer::Named, Answer::Named, Answer::Named, Answer::Named, Answer::Empty, Answer::Declined, Answer::Refused, Answer::Lost];

impl Names {
    pub(crate) fn new(servers: usize, random: fastrand::Rng) -> Self {
        Self(Mutex::new(Says { random, answer: Answer::Named, is_named: vec![true; servers] }))
    }

    /// It says something else from now on.
    pub(crate) fn change(&self, random: &mut fastrand::Rng) {
        let mut says = self.0.lock().unwrap();
        says.answer = ANSWERS[random.usize(..ANSWERS.len())];
        says.is_named.iter_mut().for_each(|is_named| *is_named = random.u8(..4) > 0);
    }

    /// All are named from now on.
    pub(crate) fn heal(&self) {
        let mut says = self.0.lock().unwrap();
        says.answer = Answer::Named;
        says.is_named.fill(true);
    }

    /// What is said now, after how long.
    fn answer(&self, domain: &str) -> (Answer, Services, Duration) {
        let Says { random, answer, is_named } = &mut *self.0.lock().unwrap();
        let named = is_named.iter().enumerate().filter(|(_, is_named)| **is_named);
        let records = named.map(|(number, _)| Srv {
            priority: random.u16(..2),
            weight: random.u16(..100),
            port: 389,
            target: format!("dc{number}.{domain}."),
        });
        let records = records.collect();
        let services = Services { records, ttl: Duration::from_secs(random.u64(1..60)) };
        (*answer, services, Duration::from_micros(random.u64(..50_000)))
    }
}

impl upstream::Names for Names {
    fn services<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Services, String>> {
        Box::pin(async move {
            let domain = [HOME, MOVED].into_iter().find(|domain| name == format!("_ldap._tcp.{domain}")).unwrap();
            let (answer, services, after) = self.answer(domain);
            sleep(after).await;
            match answer {
                Answer::Named => Ok(services),
                Answer::Empty => Ok(Services::default()),
                Answer::Declined => {
                    let none = Srv { priority: 0, weight: 0, port: 0, target: ".".to_owned() };
                    Ok(Services { records: vec![none], ..services })
                }
                Answer::Refused => Err("refused".to_owned()),
                Answer::Lost => pending().await,
            }
        })
    }

    fn addresses<'a>(&'a self, _: &'a str, _: u16) -> BoxFuture<'a, Result<Vec<SocketAddr>, String>> {
        unreachable!("streams are dialled by name")
    }
}
