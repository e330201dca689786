//! From the SRV records of a domain (RFC 2782) to its servers, pure.
//!
//! Whoever can forge an answer of DNS would choose to whom the service account's password goes. So names outside the domain are not taken, and
//! TLS is verified against the name in the record, which is one inside. The order of an answer means nothing, and neither is there a limit to
//! what it may hold: what comes out is sorted, each server once, and bounded.

use crate::config::{Discover, Server, UpstreamSecurity};
use crate::upstream::connect::Srv;
use rustls::pki_types::ServerName;

/// What records come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Selection {
    /// The best first.
    pub(crate) servers: Vec<Server>,
    /// Names that may not be asked, for the log: each once.
    pub(crate) refused: Vec<String>,
    /// Servers beyond the most that are taken.
    pub(crate) beyond: usize,
    /// The domain says that it has no such service.
    pub(crate) is_declined: bool,
}

/// The servers that these records name: those of the site, where there is one, before all others.
pub(crate) fn select(discover: &Discover, of_site: &[Srv], of_domain: &[Srv]) -> Selection {
    let tiers = of_site.iter().map(|record| (0, record)).chain(of_domain.iter().map(|record| (1, record)));
    let mut records: Vec<_> = tiers.filter(|(_, record)| !is_none(record)).map(|(tier, record)| (tier, record, host(record))).collect();
    let is_declined = records.is_empty() && !(of_site.is_empty() && of_domain.is_empty());
    // Of two that name the same server the better stays, and the heavier.
    records.sort_unstable_by(|(tier, one, name), (other_tier, other, other_name)| {
        let key = |tier, record: &Srv| (tier, record.priority, u16::MAX - record.weight, record.port);
        (key(*tier, one), name).cmp(&(key(*other_tier, other), other_name))
    });
    let mut selection = Selection { is_declined, ..Selection::default() };
    let mut rank = Ranks::default();
    for (tier, record, host) in records {
        if record.port == 0 || !may_be_asked(discover, &host) {
            selection.refuse(host);
            continue;
        }
        let server = server(discover.security, host, record, rank.of((tier, record.priority)));
        if selection.servers.iter().any(|known| known.is_same_as(&server)) {
            continue;
        }
        if selection.servers.len() < MOST_SERVERS {
            selection.servers.push(server);
        } else {
            selection.beyond += 1;
        }
    }
    selection
}

impl Selection {
    fn refuse(&mut self, mut host: String) {
        host.truncate(host.floor_char_boundary(LONGEST_NAME));
        if self.refused.len() < MOST_REFUSED && !self.refused.contains(&host) {
            self.refused.push(host);
        }
    }
}

/// Priorities in the order in which they come, counted from 1: tiers and records have more of them than a server's rank has numbers.
#[derive(Debug, Default)]
struct Ranks {
    last: Option<(u8, u16)>,
    rank: u16,
}

impl Ranks {
    fn of(&mut self, priority: (u8, u16)) -> u16 {
        if self.last.replace(priority) != Some(priority) {
            self.rank = self.rank.saturating_add(1);
        }
        self.rank
    }
}

/// RFC 2782: "." means that the service is decidedly not available.
fn is_none(record: &Srv) -> bool {
    matches!(record.target.as_str(), "." | "")
}

/// Lower case, without the dot at its end.
fn host(record: &Srv) -> String {
    record.target.strip_suffix('.').unwrap_or(&record.target).to_ascii_lowercase()
}

fn may_be_asked(discover: &Discover, host: &str) -> bool {
    let is_within = |domain: &String| host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    matches!(ServerName::try_from(host), Ok(ServerName::DnsName(_))) && discover.within.iter().any(is_within)
}

fn server(security: UpstreamSecurity, host: String, record: &Srv, priority: u16) -> Server {
    let (scheme, port, usual) = match security {
        // There are no SRV records of LDAPS in Active Directory; the same machine has it beside its LDAP.
        UpstreamSecurity::Ldaps => ("ldaps", ldaps_port(record.port), 636),
        UpstreamSecurity::StartTls | UpstreamSecurity::Plain => ("ldap", record.port, 389),
    };
    let url = if port == usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") };
    Server { url, host, port, security, priority, weight: record.weight }
}

/// The port of LDAPS beside this one of LDAP: of a directory, or of a global catalogue. Any other is taken as it is.
const fn ldaps_port(port: u16) -> u16 {
    match port {
        389 => 636,
        3268 => 3269,
        other => other,
    }
}

/// So many controllers of a domain are taken: each has its own connections and probes, and a domain with more has sites.
pub const MOST_SERVERS: usize = 64;
/// The log names so many.
const MOST_REFUSED: usize = 8;
/// As RFC 1035 section 2.3.4 bounds a name, and more where its octets are escaped.
const LONGEST_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn discover(security: UpstreamSecurity, within: &[&str]) -> Discover {
        let within = within.iter().map(|domain| (*domain).to_owned()).collect();
        Discover { domain: "corp.example".to_owned(), security, site: None, within, resolvers: Vec::new() }
    }

    fn ldaps() -> Discover {
        discover(UpstreamSecurity::Ldaps, &["corp.example"])
    }

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 389, target: target.to_owned() }
    }

    fn urls(selection: &Selection) -> Vec<&str> {
        selection.servers.iter().map(|server| server.url.as_str()).collect()
    }

    #[test]
    fn servers_come_by_priority_and_keep_their_weights() {
        let records = [srv(20, 5, "dc9.corp.example."), srv(0, 100, "DC2.corp.example."), srv(0, 100, "dc1.corp.example")];
        let selection = select(&ldaps(), &[], &records);
        assert_eq!(urls(&selection), ["ldaps://dc1.corp.example", "ldaps://dc2.corp.example", "ldaps://dc9.corp.example"]);
        let ranks: Vec<_> = selection.servers.iter().map(|server| (server.priority, server.weight)).collect();
        assert_eq!(ranks, [(1, 100), (1, 100), (2, 5)]);
    }

    #[test]
    fn the_order_of_an_answer_means_nothing() {
        let mut records: Vec<_> = (0..100_u16).map(|n| srv(n % 3, n % 7, &format!("dc{}.corp.example.", n % 80))).collect();
        let before = select(&ldaps(), &[], &records);
        for _ in 0..20 {
            fastrand::shuffle(&mut records);
            assert_eq!(select(&ldaps(), &[], &records), before);
        }
    }

    #[test]
    fn the_site_comes_first_and_the_rest_of_the_domain_after_it() {
        let of_site = [srv(65_535, 1, "branch2.corp.example."), srv(0, 1, "branch1.corp.example.")];
        let of_domain = [srv(0, 1, "dc1.corp.example."), srv(0, 1, "branch1.corp.example.")];
        let selection = select(&ldaps(), &of_site, &of_domain);
        let ranked: Vec<_> = selection.servers.iter().map(|server| (server.priority, server.host.as_str())).collect();
        assert_eq!(ranked, [(1, "branch1.corp.example"), (2, "branch2.corp.example"), (3, "dc1.corp.example")]);
    }

    #[test]
    fn a_dot_alone_says_that_there_is_no_such_service() {
        let selection = select(&ldaps(), &[], &[srv(0, 0, ".")]);
        assert!(selection.is_declined && selection.servers.is_empty() && selection.refused.is_empty());
        assert!(!select(&ldaps(), &[], &[]).is_declined, "no answer is not a no");
        let selection = select(&ldaps(), &[srv(0, 0, ".")], &[srv(0, 0, "dc1.corp.example.")]);
        assert!(!selection.is_declined);
        assert_eq!(urls(&selection), ["ldaps://dc1.corp.example"], "the site has none, the domain has");
    }

    #[test]
    fn names_outside_the_domain_are_refused() {
        let outside =
            ["dc1.evil.example.", "evilcorp.example.", "corp.example.evil.", "10.0.0.1.", "dc 1.corp.example.", "\\000.corp.example."];
        let records: Vec<_> = outside.iter().map(|name| srv(0, 0, name)).collect();
        let selection = select(&ldaps(), &[], &records);
        assert!(selection.servers.is_empty() && !selection.is_declined);
        assert_eq!(selection.refused.len(), outside.len());
        let within = discover(UpstreamSecurity::Ldaps, &["dcs.example", "one.corp.example"]);
        let records = ["dc1.dcs.example.", "one.corp.example.", "two.corp.example."].map(|name| srv(0, 0, name));
        assert_eq!(urls(&select(&within, &[], &records)), ["ldaps://dc1.dcs.example", "ldaps://one.corp.example"]);
    }

    #[test]
    fn ldaps_is_beside_ldap_and_start_tls_is_where_the_record_says() {
        let records = [389, 3268, 10_636, 636].map(|port| Srv { port, ..srv(port, 0, "dc1.corp.example.") });
        let selection = select(&ldaps(), &[], &records);
        let one = "ldaps://dc1.corp.example";
        assert_eq!(urls(&selection), [one, &format!("{one}:3269"), &format!("{one}:10636")], "389 and 636 come to the same");
        let selection = select(&discover(UpstreamSecurity::StartTls, &["corp.example"]), &[], &records);
        let one = "ldap://dc1.corp.example";
        assert_eq!(urls(&selection), [one, &format!("{one}:636"), &format!("{one}:3268"), &format!("{one}:10636")]);
        assert_eq!(select(&ldaps(), &[], &[Srv { port: 0, ..srv(0, 0, "dc1.corp.example.") }]).servers, []);
    }

    #[test]
    fn an_absurd_answer_is_bounded() {
        let mut records: Vec<_> = (0..5_000_u16).map(|n| srv(n, 0, &format!("dc{n}.corp.example."))).collect();
        records.extend((0..5_000).map(|n| srv(0, 0, &format!("{}{n}.evil.example", "x".repeat(300)))));
        let selection = select(&ldaps(), &[], &records);
        assert_eq!((selection.servers.len(), selection.beyond, selection.refused.len()), (MOST_SERVERS, 5_000 - MOST_SERVERS, 1));
        assert!(selection.refused.iter().all(|name| name.len() <= LONGEST_NAME));
        assert_eq!(selection.servers.first().map(|server| server.host.as_str()), Some("dc0.corp.example"), "the best are those that stay");
    }
}
