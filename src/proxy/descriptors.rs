//! How many files the process may have open, and how many of them phones may take, so that there is always one left for the controllers, the
//! admin address and the log.

use crate::config::{Config, DirectoryConfig, DirectoryKind, SearchAs};
use crate::upstream::MOST_SERVERS;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Raises the process's limit as far as the configuration needs it and the system lets it be; where that is not enough, the listeners take
/// fewer connections.
pub(super) fn fit(config: &mut Config) {
    let (connections, listeners, others) = (config.limits.connections, config.listeners.len(), of_others(config));
    let files = raise(connections.saturating_mul(listeners).saturating_add(others) as u64);
    let possible = share(connections, listeners, others, files);
    if possible < connections {
        warn!(
            wanted = connections,
            possible, files, "fewer connections than limits.connections: the limit of open files is too low (LimitNOFILE, ulimit -n)"
        );
        config.limits.connections = possible;
    }
}

/// Descriptors that are not phones': for controllers, the admin address, and the program itself.
fn of_others(config: &Config) -> usize {
    let directory = |directory: &DirectoryConfig| match &directory.kind {
        DirectoryKind::Upstream(upstream) => {
            let clients = upstream.search_as == SearchAs::Client || upstream.forward_writes;
            let servers = if upstream.discover.is_some() { MOST_SERVERS } else { upstream.servers.len() };
            servers * (usize::from(upstream.connections) + BESIDE_SEARCHES) + if clients { OF_CLIENTS } else { 0 }
        }
        DirectoryKind::Embedded { .. } => 0,
    };
    OWN + config.directories.iter().map(directory).sum::<usize>()
}

fn share(connections: usize, listeners: usize, others: usize, files: usize) -> usize {
    let free = files.saturating_sub(others);
    connections.min(free / listeners.max(1)).max(1)
}

/// Raises the limit towards `wanted`; what it is then.
fn raise(wanted: u64) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let (Some(soft), hard) = (limit.current, limit.maximum) else { return usize::MAX };
    let possible = hard.map_or(wanted, |hard| wanted.min(hard));
    let raised = possible > soft && setrlimit(Resource::Nofile, Rlimit { current: Some(possible), maximum: hard }).is_ok();
    usize::try_from(if raised { possible } else { soft }).unwrap_or(usize::MAX)
}

/// The admin address's connections, listening sockets, logs, and what the runtime has.
const OWN: usize = 100;
/// A server's connections that are not for searches: eight for binds one by one, one for fast bind, one that looks whether it is there, and two that
/// end while others take their places.
const BESIDE_SEARCHES: usize = 12;
/// Connections bound as clients.
const OF_CLIENTS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::load_text;
    use std::path::Path;

    fn others(directory: &str) -> usize {
        let directory = format!("[directory.corp]\nbase = \"dc=corp\"\nbind_dn = \"cn=a\"\npassword = \"b\"\n{directory}");
        let text = format!("[[listener]]\naddress = \"127.0.0.1:389\"\n{directory}");
        of_others(&load_text(&text, Path::new("."), true).unwrap_or_else(|rejected| panic!("{rejected}")).config)
    }

    #[test]
    fn every_controller_that_a_directory_may_have_can_have_all_its_connections() {
        let of_one = 32 + BESIDE_SEARCHES;
        assert_eq!(others("servers = [\"ldaps://dc1\", \"ldaps://dc2\"]\nconnections = 32"), OWN + 2 * of_one);
        assert_eq!(others("discover = \"corp.example\"\nconnections = 32"), OWN + 64 * of_one, "as many as may be taken");
        assert_eq!(others("servers = [\"ldaps://dc1\"]\nwrites = \"forward\""), OWN + 4 + BESIDE_SEARCHES + OF_CLIENTS);
    }

    #[test]
    fn listeners_share_what_the_others_leave() {
        assert_eq!(share(10_000, 2, 100, 65_536), 10_000);
        assert_eq!(share(10_000, 2, 100, 1_024), 462);
        assert_eq!(share(10_000, 1, 100, 50), 1, "something is better than nothing");
    }

    #[test]
    fn the_limit_is_raised_no_further_than_it_may_be() {
        let before = getrlimit(Resource::Nofile);
        let files = raise(u64::MAX);
        let after = getrlimit(Resource::Nofile);
        assert_eq!(after.maximum, before.maximum);
        assert!(after.current.is_none_or(|current| usize::try_from(current) == Ok(files)));
        assert!(after.current >= before.current);
    }
}
