//! `servers` of a directory: where its controllers are, and whether they are reached by TLS.

use super::Context;
use crate::config::problem::Place;
use crate::config::table::{Table, Value};
use crate::config::{Server, UpstreamSecurity};
use rustls::pki_types::ServerName;

/// `Some` where the key is there, even if nothing in it can be read.
pub(super) fn listed<'d>(table: &mut Table<'d>) -> Option<Vec<Value<'d>>> {
    let value = table.value("servers")?;
    let Some(servers) = value.list() else { return Some(Vec::new()) };
    if servers.is_empty() {
        value.problem("must name at least one controller, such as \"ldaps://dc1.corp.example\"");
    }
    Some(servers)
}

/// How the administrator wants the servers to be reached.
#[derive(Debug)]
pub(super) struct Security {
    start_tls: Option<(bool, Place)>,
    plain: Option<Place>,
    allow_plain: bool,
}

impl Security {
    pub(super) fn read(table: &mut Table<'_>) -> Self {
        Self {
            start_tls: table.value("start_tls").and_then(|value| Some((value.boolean()?, value.place))),
            plain: table.value("plain").map(|value| value.place),
            allow_plain: table.choice("plain", &[("allow", true), ("refuse", false)]).unwrap_or(false),
        }
    }

    /// The servers, each once; what is wrong with one is noted.
    pub(super) fn servers(&self, values: Vec<Value<'_>>, context: Context<'_>) -> Vec<Server> {
        let mut servers: Vec<Server> = Vec::new();
        for value in values {
            let Some((value, priority)) = entry(value) else { continue };
            let Some(server) = value.text().and_then(|text| self.server(text, priority, &value)) else { continue };
            if servers.iter().any(|other| other.host.eq_ignore_ascii_case(&server.host) && other.port == server.port) {
                value.problem("the same server is listed twice; remove one");
                continue;
            }
            match (server.security, server.port) {
                (UpstreamSecurity::Ldaps, 389 | 3268) => {
                    context.notes.warn(&value.place, "controllers speak plain LDAP or StartTLS on this port; LDAPS is on 636 (or 3269)");
                }
                (UpstreamSecurity::StartTls | UpstreamSecurity::Plain, 636 | 3269) => {
                    context.notes.warn(&value.place, "controllers speak LDAPS on this port; write ldaps://");
                }
                _ => {}
            }
            servers.push(server);
        }
        self.complain_about_what_does_nothing(&servers, context);
        servers
    }

    fn server(&self, url: &str, priority: u16, value: &Value<'_>) -> Option<Server> {
        let Some((host, port, security)) = self.parts(url) else {
            value.problem("must be ldaps://HOST, ldaps://HOST:PORT, or the same with ldap://");
            return None;
        };
        if ServerName::try_from(host.as_str()).is_err() {
            value.problem("the host must be a DNS name or an IP address, since the certificate is checked against it");
            return None;
        }
        if security == UpstreamSecurity::Plain && !is_loopback(&host) && !self.allow_plain {
            value.problem(
                "would send passwords and answers in plain text: use ldaps://, or leave start_tls at true, or write plain = \"allow\" if you must",
            );
            return None;
        }
        Some(Server { url: url.to_owned(), host, port, security, priority, weight: 1 })
    }

    fn parts(&self, url: &str) -> Option<(String, u16, UpstreamSecurity)> {
        let (scheme, rest) = url.split_once("://")?;
        let (security, default_port) = match scheme {
            "ldaps" => (UpstreamSecurity::Ldaps, 636),
            "ldap" if self.start_tls.as_ref().is_none_or(|(wanted, _)| *wanted) => (UpstreamSecurity::StartTls, 389),
            "ldap" => (UpstreamSecurity::Plain, 389),
            _ => return None,
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, after) = bracketed.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, if after.is_empty() { None } else { Some(after.strip_prefix(':')?) })
            }
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0)?,
            None => default_port,
        };
        Some((host.to_owned(), port, security))
    }

    fn complain_about_what_does_nothing(&self, servers: &[Server], context: Context<'_>) {
        if servers.is_empty() {
            return;
        }
        if let Some((_, place)) = &self.start_tls
            && servers.iter().all(|server| server.security == UpstreamSecurity::Ldaps)
        {
            context.notes.problem(place, "has no effect: every server is reached by ldaps://; remove it");
        }
        if let Some(place) = &self.plain
            && self.allow_plain
            && servers.iter().all(|server| server.security != UpstreamSecurity::Plain)
        {
            context.notes.problem(place, "has no effect: every server is reached by TLS; remove it");
        }
    }
}

/// A URL, and its priority where it has one: `"ldaps://dc1"` or `{ url = "ldaps://dc9", priority = 2 }`.
fn entry(value: Value<'_>) -> Option<(Value<'_>, u16)> {
    if !value.is_table() {
        return Some((value, FIRST_PRIORITY));
    }
    let mut table = value.table()?;
    let url = table.required("url", "where the controller is, such as \"ldaps://dc1.corp.example\"");
    let why = "must be 1 to 100: servers of a higher number are asked only while none of a lower one is up";
    let priority = table.integer("priority", FIRST_PRIORITY, FIRST_PRIORITY..=100, why);
    table.finish();
    Some((url?, priority))
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Of a server that is written without one.
const FIRST_PRIORITY: u16 = 1;
