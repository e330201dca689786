//! What a seed makes of the world, and the configurations that this comes to.

use crate::common::ca::trust_in_nobody;
use crate::common::certificates::Certificate;
use crate::common::configuration::load;
use crate::controllers::{HOME, MOVED, SERVICE, SERVICE_PASSWORD};
use crate::truth::{BASE, PEOPLE, person};
use redial::config::{Config, TlsMode};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

/// See the module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// Nothing goes wrong but what phones do.
    pub(crate) is_calm: bool,
    /// Phones read what they are sent, and end when all is answered.
    pub(crate) is_polite: bool,
    /// Searches run under the client's name.
    pub(crate) as_client: bool,
    /// Clients may write.
    pub(crate) forwards: bool,
    /// Where controllers move, all do: that is another directory, and nobody is bound there.
    moves_all: bool,
    /// So long an answer is fresh.
    pub(crate) ttl: Duration,
    /// So long it may stand in for a better one.
    pub(crate) stale: Duration,
    pub(crate) servers: usize,
    pub(crate) phones: usize,
    /// Of a thousand requests so many meet a fault.
    pub(crate) faults: u16,
    /// Phones speak TLS, from the first octet or after StartTLS.
    pub(crate) tls: Option<TlsMode>,
    /// It all ends before the phones do, after so long at most.
    pub(crate) stop: Option<Duration>,
    /// Controllers speak TLS, in one of these ways.
    pub(crate) upstream_tls: Option<TlsMode>,
    /// DNS names the controllers.
    pub(crate) discovers: bool,
    /// Entries that a controller is asked for at once.
    page_size: u32,
    /// Octets for the cache, where there are not plenty: large answers are not kept, and others give way.
    pub(crate) capacity: Option<u64>,
}

impl Weather {
    pub(crate) fn new(random: &mut fastrand::Rng) -> Self {
        let is_calm = random.u8(..8) == 0;
        let capacity = [None, None, None, None, None, Some(1 << 20), Some(40_000), Some(30_000)][random.usize(..8)];
        let upstream_tls = [None, None, None, None, Some(TlsMode::Ldaps), Some(TlsMode::StartTlsRequired)][random.usize(..6)];
        Self {
            is_calm,
            is_polite: random.u8(..3) == 0,
            as_client: random.bool(),
            forwards: random.u8(..4) > 0,
            moves_all: random.bool(),
            // Where there is little room, it is wanted for long.
            ttl: Duration::from_secs(if capacity.is_some() { 60 } else { [0, 2, 60][random.usize(..3)] }),
            stale: Duration::from_secs([0, 20, 3600][random.usize(..3)]),
            servers: random.usize(1..4),
            phones: random.usize(2..6),
            faults: if is_calm { 0 } else { [10, 60, 200][random.usize(..3)] },
            tls: [None, None, None, None, Some(TlsMode::Ldaps), Some(TlsMode::StartTlsOptional)][random.usize(..6)],
            stop: (random.u8(..4) == 0).then(|| up_to([300, 5_000, 60_000], random)),
            upstream_tls,
            // A directory that DNS names speaks TLS always.
            discovers: upstream_tls.is_some() && random.bool(),
            page_size: [3, 40, 1000][random.usize(..3)],
            capacity,
        }
    }

    /// Each edition keeps the same promises: one has another access, and another room for answers, one finds the controllers elsewhere, and one
    /// all of it.
    pub(crate) fn config(&self, edition: usize, certificate: &Certificate) -> Config {
        let [has_moved, is_late] = [edition & 1 > 0, edition & 2 > 0];
        let mut text = String::from("[[listener]]\naddress = \"127.0.0.1:3389\"\nplain_passwords = \"allow\"\n");
        write!(text, "[directory.corp]\nbase = \"{BASE}\"\n{}", self.controllers(has_moved)).unwrap();
        writeln!(text, "writes = \"{}\"", if self.forwards { "forward" } else { "refuse" }).unwrap();
        writeln!(text, "probe = \"1m\"\nidle = \"1m\"\npage_size = {}", self.page_size).unwrap();
        if self.as_client {
            text += "search_as = \"client\"\n";
        } else {
            writeln!(text, "bind_dn = \"{SERVICE}\"\npassword = \"{SERVICE_PASSWORD}\"").unwrap();
            for who in 0..PEOPLE {
                let dn = person(who);
                writeln!(text, "[[access]]\nname = \"p{who}\"\nclients = [\"{dn}\"]\nbases = [\"{dn}\"]\nattributes = [\"*\"]").unwrap();
            }
        }
        if is_late {
            text += "[[access]]\nname = \"late\"\nclients = [\"cn=nobody\"]\nbases = [\"dc=corp,dc=example\"]\nattributes = [\"sn\"]\n";
        }
        let attributes = if self.as_client { "*" } else { "cn" };
        writeln!(text, "[[access]]\nname = \"all\"\nclients = \"any\"\nbases = [\"{BASE}\"]\nattributes = [\"{attributes}\"]").unwrap();
        let (ttl, stale) = (self.ttl.as_secs(), self.stale.as_secs());
        writeln!(text, "[cache]\nttl = \"{ttl}s\"\nempty_ttl = \"{ttl}s\"\nstale = \"{stale}s\"").unwrap();
        let mut config = load(&text, Path::new("."));
        if let Some(capacity) = self.capacity {
            config.cache.capacity = if is_late { capacity * 2 } else { capacity };
        }
        if let Some(mode) = self.upstream_tls {
            certificate.trusted_upstream(&mut config);
            debug_assert!(mode != TlsMode::StartTlsOptional, "controllers insist");
        } else {
            trust_in_nobody(&mut config);
        }
        config
    }

    /// Where they are, in TOML.
    fn controllers(&self, has_moved: bool) -> String {
        let scheme = if self.upstream_tls == Some(TlsMode::Ldaps) { "ldaps" } else { "ldap" };
        let domain = |moves: bool| if moves { MOVED } else { HOME };
        if self.discovers {
            // Whoever has not moved to another domain is reached otherwise, if only by another number of connections.
            let (domain, connections) = (domain(has_moved && self.moves_all), 4 - u8::from(has_moved));
            return format!("discover = \"{scheme}://{domain}\"\nconnections = {connections}\n");
        }
        let moves = |number: usize| has_moved && (self.moves_all || number > 0);
        let servers: Vec<_> = (0..self.servers).map(|number| format!("{scheme}://dc{number}.{}", domain(moves(number)))).collect();
        let plain = if self.upstream_tls.is_none() { "start_tls = false\nplain = \"allow\"\n" } else { "" };
        format!("servers = {servers:?}\n{plain}")
    }
}

/// Some milliseconds, below one of these numbers.
pub(crate) fn up_to(most: [u64; 3], random: &mut fastrand::Rng) -> Duration {
    let most = most[random.usize(..3)];
    Duration::from_millis(random.u64(..most))
}
