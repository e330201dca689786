//! `[directory.NAME]`: controllers, or an LDIF file.

use super::{Context, Mention, Mentioned, PasswordSource, Placed, discover, path, secret_path};
use crate::config::problem::Place;
use crate::config::table::{Table, Value};
use crate::config::{DirectoryConfig, DirectoryKind, Discover, SearchAs, Server, ServiceAccount, Upstream, UpstreamSecurity};
use crate::ldap::dn::Dn;
use crate::secret::Secret;
use rustls::pki_types::ServerName;
use std::time::Duration;

/// Reads one directory, the `index`th; `None` where it is not known what it holds or who answers it.
pub(super) fn read(
    name: &str,
    mut table: Table<'_>,
    context: Context<'_>,
    index: usize,
    mentions: &mut Vec<Mention>,
) -> Option<Placed<DirectoryConfig>> {
    let is_name =
        !name.is_empty() && name.len() <= 64 && name.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
    if !is_name {
        context.notes.problem(&table.place, "a directory's name must be 1 to 64 letters, digits, - and _, since metrics carry it");
    }
    let base = base(&mut table);
    let ldif = path(&mut table, "ldif", context);
    let kind = match (ldif, controllers(&mut table, context)) {
        (Some(ldif), None) => {
            embedded_only(&mut table);
            mentions.push(Mention { place: ldif.place, what: Mentioned::Ldif(ldif.value.clone()) });
            Some(DirectoryKind::Embedded { ldif: ldif.value })
        }
        (None, Some(controllers)) => upstream(&mut table, context, controllers, index, mentions).map(DirectoryKind::Upstream),
        (Some(ldif), Some(_)) => {
            upstream(&mut table, context, Controllers::default(), index, &mut Vec::new());
            let key = if table.has("servers") { "servers" } else { "discover" };
            context.notes.problem(&ldif.place, format!("a directory has either `ldif` or `{key}`; make two directories of it"));
            None
        }
        (None, None) => {
            upstream(&mut table, context, Controllers::default(), index, &mut Vec::new());
            let place = table.missing("servers");
            context.notes.problem(
                &place,
                "missing: servers = [\"ldaps://dc1.corp.example\"], or discover = \"corp.example\" to ask DNS for them, or ldif = \"contacts.ldif\" for \
                 an embedded directory",
            );
            None
        }
    };
    table.finish();
    let (base_dn, base, place) = base?;
    if !is_name {
        return None;
    }
    Some(Placed { value: DirectoryConfig { name: name.to_owned(), base, base_dn, kind: kind? }, place })
}

fn base(table: &mut Table<'_>) -> Option<(Dn, String, Place)> {
    let value = table.required("base", "the naming context, such as \"DC=corp,DC=example\"")?;
    let text = value.text()?;
    match Dn::parse(text) {
        Ok(dn) if dn.is_root() => value.problem("must not be empty: name the directory's naming context, such as \"DC=corp,DC=example\""),
        Ok(dn) => return Some((dn, text.to_owned(), value.place)),
        Err(error) => value.problem(error.to_string()),
    }
    None
}

/// Notes the keys that mean nothing beside `ldif`.
fn embedded_only(table: &mut Table<'_>) {
    for key in OF_CONTROLLERS {
        table.refuse(key, "has no meaning beside `ldif`: an embedded directory has no controllers; remove it");
    }
}

/// Who answers, as written.
#[derive(Debug, Default)]
struct Controllers<'d> {
    listed: Vec<Value<'d>>,
    discovered: Option<Discover>,
}

/// `Some` where one of the keys is there, even if nothing in it can be read.
fn controllers<'d>(table: &mut Table<'d>, context: Context<'_>) -> Option<Controllers<'d>> {
    let (listed, discovered) = (servers(table), discover::read(table));
    if let (Some(_), Some(Placed { place, .. })) = (&listed, &discovered) {
        context.notes.problem(place, "a directory has either `servers` or `discover`; remove one");
    }
    (listed.is_some() || discovered.is_some())
        .then(|| Controllers { listed: listed.unwrap_or_default(), discovered: discovered.and_then(|discover| discover.value) })
}

/// `Some` where the key is there, even if nothing in it can be read.
fn servers<'d>(table: &mut Table<'d>) -> Option<Vec<Value<'d>>> {
    let value = table.value("servers")?;
    let Some(servers) = value.list() else { return Some(Vec::new()) };
    if servers.is_empty() {
        value.problem("must name at least one controller, such as \"ldaps://dc1.corp.example\"");
    }
    Some(servers)
}

fn upstream(
    table: &mut Table<'_>,
    context: Context<'_>,
    controllers: Controllers<'_>,
    index: usize,
    mentions: &mut Vec<Mention>,
) -> Option<Upstream> {
    if controllers.discovered.is_some() {
        for key in ["start_tls", "plain"] {
            table.refuse(key, "has no meaning beside `discover`, which says by its scheme how TLS begins: ldap:// or ldaps://; remove it");
        }
    }
    let security = Security {
        start_tls: table.value("start_tls").and_then(|value| Some((value.boolean()?, value.place))),
        plain: table.value("plain").map(|value| value.place),
        allow_plain: table.choice("plain", &[("allow", true), ("refuse", false)]).unwrap_or(false),
    };
    let servers = security.servers(controllers.listed, context);
    let ca = path(table, "ca", context);
    if let Some(ca) = &ca {
        mentions.push(Mention { place: ca.place.clone(), what: Mentioned::Ca(ca.value.clone()) });
        if !servers.is_empty() && servers.iter().all(|server| server.security == UpstreamSecurity::Plain) {
            context.notes.warn(&ca.place, "has no effect: no server of this directory is reached by TLS");
        }
    }
    let search_as = table.choice("search_as", &[("service", SearchAs::Service), ("client", SearchAs::Client)]).unwrap_or(SearchAs::Service);
    let service = service(table, context, search_as, index, mentions);
    let forward_writes = table.choice("writes", &[("refuse", false), ("forward", true)]).unwrap_or(false);
    let connections = table.integer("connections", 4, 1..=32, "must be 1 to 32: many operations share one connection");
    let connect_timeout = table.duration("connect_timeout", CONNECT_TIMEOUT, SHORT..=Duration::from_secs(30), "must be 100ms to 30s");
    let operation_timeout = table.duration(
        "timeout",
        TIMEOUT,
        SHORT..=Duration::from_secs(120),
        "must be 100ms to 120s: phones wait 5 s to 30 s, and Active Directory itself gives up after 120 s",
    );
    let idle = table.duration(
        "idle",
        IDLE,
        Duration::from_secs(1)..Duration::from_secs(900),
        "must be at least 1s and below 15m, since Active Directory closes idle connections after 900 s",
    );
    let probe_interval = table.duration("probe", PROBE, Duration::from_secs(1)..=Duration::from_secs(300), "must be 1s to 5m");
    let page_size =
        table.integer("page_size", 500, 1..=1000, "must be 1 to 1000: Active Directory gives no more than 1000 entries in a page");
    Some(Upstream {
        servers,
        discover: controllers.discovered.map(Box::new),
        ca: ca.map(|ca| ca.value),
        search_as,
        service,
        forward_writes,
        connections,
        connect_timeout,
        operation_timeout,
        idle,
        probe_interval,
        page_size,
    })
}

/// How the administrator wants the servers to be reached.
#[derive(Debug)]
struct Security {
    start_tls: Option<(bool, Place)>,
    plain: Option<Place>,
    allow_plain: bool,
}

impl Security {
    fn servers(&self, values: Vec<Value<'_>>, context: Context<'_>) -> Vec<Server> {
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

/// `bind_dn` with exactly one source of its password.
fn service(
    table: &mut Table<'_>,
    context: Context<'_>,
    search_as: SearchAs,
    directory: usize,
    mentions: &mut Vec<Mention>,
) -> Option<ServiceAccount> {
    let bind_dn = table.value("bind_dn");
    let sources = password_sources(table, context);
    for (place, _) in sources.iter().skip(1) {
        context.notes.problem(place, "only one of password_file, password_env and password may be there");
    }
    let source = sources.into_iter().next();
    let Some(value) = bind_dn else {
        if let Some((place, _)) = source {
            context.notes.problem(&place, "has no effect without bind_dn: name the service account, or remove it");
        } else if search_as == SearchAs::Service {
            let why = "missing: searches run under a service account; name it, or write search_as = \"client\"";
            context.notes.problem(&table.missing("bind_dn"), why);
        }
        return None;
    };
    let bind_dn = value.text()?.to_owned();
    if bind_dn.is_empty() {
        value.problem("must not be empty: name the service account by its DN, or by user@domain with Active Directory");
    }
    let Some((place, source)) = source else {
        if !["password_file", "password_env", "password"].iter().any(|key| table.has(key)) {
            value.problem("has no password: add password_file (or password_env)");
        }
        return None;
    };
    if search_as == SearchAs::Client {
        context.notes.warn(&value.place, "has no effect on searches, which run as the client");
    }
    mentions.push(Mention { place, what: Mentioned::Password { directory, source } });
    // The password is filled in by `load`.
    Some(ServiceAccount { bind_dn, password: Secret::new(&[]) })
}

/// Each place that says the service account's password, or where it is.
fn password_sources(table: &mut Table<'_>, context: Context<'_>) -> Vec<(Place, PasswordSource)> {
    let mut sources = Vec::new();
    if let Some(file) = secret_path(table, "password_file", context) {
        sources.push((file.place, PasswordSource::File(file.value)));
    }
    if let Some(value) = table.secret("password_env")
        && let Some(variable) = value.text()
    {
        if variable.is_empty() || variable.contains(['=', '\0']) {
            value.problem("must be the name of an environment variable");
        }
        sources.push((value.place, PasswordSource::Environment(variable.to_owned())));
    }
    if let Some(value) = table.secret("password")
        && let Some(password) = value.text()
    {
        if !context.is_private {
            value.problem(
                "may stand here only where nobody but its owner can read this file: chmod 600 it, or use password_file or password_env",
            );
        }
        if password.is_empty() {
            value.problem("must not be empty: a bind with an empty password is anonymous (RFC 4513 section 5.1.2)");
        }
        sources.push((value.place, PasswordSource::Inline(Secret::new(password.as_bytes()))));
    }
    sources
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What only controllers have.
const OF_CONTROLLERS: [&str; 15] = [
    "ca",
    "search_as",
    "bind_dn",
    "password_file",
    "password_env",
    "password",
    "writes",
    "connections",
    "connect_timeout",
    "timeout",
    "idle",
    "probe",
    "page_size",
    "start_tls",
    "plain",
];

/// Of a server that is written without one.
const FIRST_PRIORITY: u16 = 1;
/// No network answers faster than this every time.
const SHORT: Duration = Duration::from_millis(100);
/// Long enough for a controller in another country, short enough to try a second one while the phone waits.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The least patient phones give up after 5 s.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Well below Active Directory's 900 s.
const IDLE: Duration = Duration::from_secs(300);
/// A controller that has died is noticed within this, even if nobody asks.
const PROBE: Duration = Duration::from_secs(10);
