//! The controllers of one directory, which may change while it runs, and the choice among them.
//!
//! Each has a number of its own for as long as it is there, and no other ever gets it: what remembers a server (operations that have tried it,
//! where the last write went) keeps the number. One that is gone gets no further operation. Those that it has go on, and its connections end
//! when the last who uses them lets go.

use super::balance::{Call, Load, Random, choose};
use super::server::{Common, Server};
use super::standing::Health;
use crate::config;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::time::Instant;

/// The controllers of one directory.
#[derive(Debug, Clone)]
pub(crate) struct Servers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    listed: ArcSwap<Vec<Arc<Server>>>,
    /// What one that joins is made with.
    common: Common,
    next_number: AtomicUsize,
}

/// What has become another in a list of servers.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// Those that have come. Nobody probes them yet.
    pub(crate) joined: Vec<Arc<Server>>,
    /// Those that have gone.
    pub(crate) left: Vec<Arc<Server>>,
}

impl Servers {
    /// None yet.
    pub(crate) fn new(common: Common) -> Self {
        Self(Arc::new(Shared { listed: ArcSwap::default(), common, next_number: AtomicUsize::new(0) }))
    }

    /// These are the servers from now on. One that was there before keeps its connections and what is known of it, though its rank may be
    /// another. One that joins others which are up is asked when it has answered a probe, and little at first. One caller at a time.
    pub(crate) fn change(&self, wanted: &[config::Server]) -> Change {
        let shared = &*self.0;
        let before = self.listed();
        let same = |one: &config::Server| before.iter().find(|server| server.connector.server.is_same_as(one));
        let joins = wanted.iter().filter_map(same).any(|server| server.standing.is_up());
        let mut change = Change::default();
        let server = |wanted: &config::Server| {
            if let Some(server) = same(wanted) {
                server.standing.ranked(wanted);
                return Arc::clone(server);
            }
            let number = shared.next_number.fetch_add(1, Ordering::Relaxed);
            let (interval, now) = (shared.common.config.probe_interval, Instant::now());
            let health = if joins { Health::joining(interval, now) } else { Health::new(interval, now) };
            let server = Arc::new(Server::new(&shared.common, number, wanted, health));
            change.joined.push(Arc::clone(&server));
            server
        };
        let after: Vec<_> = wanted.iter().map(server).collect();
        change.left = before.iter().filter(|server| !after.iter().any(|kept| Arc::ptr_eq(kept, server))).map(Arc::clone).collect();
        shared.listed.store(Arc::new(after));
        change.left.iter().for_each(|server| server.standing.left());
        change
    }

    /// What they have in common.
    pub(crate) fn common(&self) -> &Common {
        &self.0.common
    }

    /// All of them now.
    pub(crate) fn listed(&self) -> Arc<Vec<Arc<Server>>> {
        self.0.listed.load_full()
    }

    /// The one with that number, while it is there.
    pub(crate) fn get(&self, number: usize) -> Option<Arc<Server>> {
        self.0.listed.load().iter().find(|server| server.standing.server() == number).map(Arc::clone)
    }

    /// The server to ask next, none of those in `tried`: `first` while it is up, else any; `None` when no other is up.
    pub(crate) fn choose(&self, first: Option<usize>, tried: &[usize]) -> Option<Arc<Server>> {
        self.choose_with(fastrand::f64(), first, tried)
    }

    /// The same for what cannot be tried a second time: a server that came back a moment ago proves itself on other operations first.
    pub(crate) fn choose_proven(&self, first: Option<usize>, tried: &[usize]) -> Option<Arc<Server>> {
        self.choose_with(1.0, first, tried)
    }

    fn choose_with(&self, share: f64, first: Option<usize>, tried: &[usize]) -> Option<Arc<Server>> {
        let first = first.filter(|first| !tried.contains(first)).and_then(|first| self.get(first));
        if let Some(first) = first.filter(|first| first.standing.load().call == Call::Eligible) {
            return Some(first);
        }
        let load = |server: &Arc<Server>| {
            let load = server.standing.load();
            if tried.contains(&server.standing.server()) { Load { call: Call::Out, ..load } } else { load }
        };
        let listed = self.0.listed.load();
        let loads: Vec<Load> = listed.iter().map(load).collect();
        let random = Random { picks: [fastrand::u32(..), fastrand::u32(..)], share };
        choose(&loads, random).and_then(|index| listed.get(index)).map(Arc::clone)
    }

    /// It is there, and up.
    pub(crate) fn may_be_asked(&self, server: usize) -> bool {
        self.get(server).is_some_and(|server| server.standing.load().call == Call::Eligible)
    }

    /// It is there, and nobody has taken it out of rotation.
    pub(crate) fn is_in_rotation(&self, server: usize) -> bool {
        self.get(server).is_some_and(|server| !server.standing.is_out())
    }

    /// One is up, and in rotation.
    pub(crate) fn any_is_up(&self) -> bool {
        self.0.listed.load().iter().any(|server| server.standing.is_up() && !server.standing.is_out())
    }

    /// There is none but those with these numbers.
    pub(crate) fn are_among(&self, numbers: &[usize]) -> bool {
        self.0.listed.load().iter().all(|server| numbers.contains(&server.standing.server()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DirectoryKind;
    use crate::config::load::load_text;
    use crate::lifecycle::lifecycle;
    use crate::metrics::Metrics;
    use crate::upstream::connect::{Dns, client_config};
    use crate::upstream::connection::Settings;
    use crate::upstream::standing::Capabilities;
    use std::path::Path;

    /// A directory without servers, and the servers of these names.
    fn servers<const N: usize>(hosts: [&str; N]) -> (Servers, [config::Server; N]) {
        let urls = hosts.map(|host| format!("ldap://{host}"));
        let directory = format!("[directory.corp]\nbase = \"dc=x\"\nservers = {urls:?}\nbind_dn = \"cn=a\"\npassword = \"b\"");
        let text = format!("[[listener]]\naddress = \"127.0.0.1:0\"\n{directory}");
        let config = load_text(&text, Path::new("."), true).unwrap_or_else(|rejected| panic!("{rejected}")).config;
        let metrics = Arc::new(Metrics::new(&config));
        let DirectoryKind::Upstream(upstream) = &config.directories[0].kind else { panic!("no controllers") };
        let settings = Settings::new(upstream, &config.limits);
        let tls = client_config(None).unwrap();
        let (_, lifecycle) = lifecycle();
        let names = Arc::new(Dns::default());
        let common = Common { index: 0, config: upstream.clone(), settings, tls, names, dial: None, metrics, lifecycle };
        (Servers::new(common), upstream.servers.clone().try_into().unwrap())
    }

    fn numbers(servers: &[Arc<Server>]) -> Vec<usize> {
        servers.iter().map(|server| server.standing.server()).collect()
    }

    fn call(servers: &Servers, number: usize) -> Call {
        servers.get(number).unwrap().standing.load().call
    }

    #[test]
    fn a_server_that_stays_is_the_same_and_no_other_ever_gets_its_number() {
        let (servers, [one, two, three]) = servers(["dc1", "dc2", "dc3"]);
        assert_eq!(numbers(&servers.change(&[one.clone(), two.clone()]).joined), [0, 1]);
        let kept = servers.get(1).unwrap();
        let change = servers.change(&[three.clone(), two.clone()]);
        assert_eq!((numbers(&change.joined), numbers(&change.left)), (vec![2], vec![0]));
        assert!(Arc::ptr_eq(&kept, &servers.get(1).unwrap()));
        let change = servers.change(&[one, two, three]);
        assert_eq!((numbers(&change.joined), numbers(&change.left)), (vec![3], vec![]));
        assert_eq!(numbers(&servers.listed()), [3, 1, 2]);
    }

    #[test]
    fn one_that_has_left_is_asked_no_more_even_by_those_who_remember_it() {
        let (servers, [one, two]) = servers(["dc1", "dc2"]);
        servers.change(&[one, two.clone()]);
        servers.change(&[two]);
        assert!(!servers.may_be_asked(0) && servers.get(0).is_none());
        assert_eq!(servers.choose(Some(0), &[]).unwrap().standing.server(), 1);
        assert!(servers.choose(Some(0), &[1]).is_none());
        assert!(servers.are_among(&[1]) && !servers.are_among(&[0]));
        servers.change(&[]);
        assert!(servers.choose(None, &[]).is_none());
    }

    #[tokio::test]
    async fn one_that_has_left_is_let_go_and_its_series_with_it() {
        let (servers, [one]) = servers(["dc1"]);
        let joined = servers.change(&[one]).joined.remove(0);
        let metrics = Arc::clone(&servers.0.common.metrics);
        assert!(metrics.render().contains("ldap://dc1"));
        let running = Arc::downgrade(&joined);
        let (_ending, lifecycle) = lifecycle();
        let watch = tokio::spawn(joined.watch(lifecycle));
        servers.change(&[]);
        watch.await.unwrap();
        assert!(running.upgrade().is_none(), "nobody holds it, and so nobody its connections");
        assert!(!metrics.render().contains("ldap://dc1"));
    }

    #[test]
    fn one_that_joins_others_that_are_up_must_answer_first() {
        let (servers, [one, two, three]) = servers(["dc1", "dc2", "dc3"]);
        servers.change(std::slice::from_ref(&one));
        servers.change(&[one.clone(), two.clone()]);
        assert_eq!((call(&servers, 0), call(&servers, 1)), (Call::Eligible, Call::Eligible), "nobody is up: whoever it is may be asked");
        servers.get(0).unwrap().standing.probe_succeeded(Capabilities::default());
        servers.change(&[one, two, three.clone()]);
        assert_eq!(call(&servers, 2), Call::Out);
        servers.get(2).unwrap().standing.probe_succeeded(Capabilities::default());
        assert!(servers.get(2).unwrap().standing.load().share < 0.2);
        let (servers, [four]) = self::servers(["dc4"]);
        servers.change(&[three]);
        servers.get(0).unwrap().standing.probe_succeeded(Capabilities::default());
        servers.change(&[four]);
        assert_eq!(call(&servers, 1), Call::Eligible, "in place of all others it is not waited for");
    }

    #[test]
    fn a_server_changes_its_rank_and_nothing_else() {
        let (servers, [one, two]) = servers(["dc1", "dc2"]);
        servers.change(&[one.clone(), two.clone()]);
        let change = servers.change(&[config::Server { priority: 9, weight: 50, ..one }, two]);
        assert!(change.joined.is_empty() && change.left.is_empty());
        assert_eq!((0..8).map(|_| servers.choose(None, &[]).unwrap().standing.server()).max(), Some(1));
        assert_eq!((0..8).map(|_| servers.choose(None, &[]).unwrap().standing.server()).min(), Some(1));
        assert_eq!(servers.get(0).unwrap().standing.load().rank.weight, 50);
    }
}
