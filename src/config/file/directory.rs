//! `[directory.NAME]`: controllers, or an LDIF file.

use super::servers::{self, Security};
use super::{Context, Mention, Mentioned, Placed, discover, path, service};
use crate::config::problem::Place;
use crate::config::table::{Table, Value};
use crate::config::{DirectoryConfig, DirectoryKind, Discover, SearchAs, Server, Upstream, UpstreamSecurity};
use crate::ldap::dn::Dn;
use std::path::PathBuf;
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
            table.lacks(
                "servers",
                "servers = [\"ldaps://dc1.corp.example\"], or discover = \"corp.example\" to ask DNS for them, or ldif = \"contacts.ldif\" for \
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
    let (listed, discovered) = (servers::listed(table), discover::read(table));
    if let (Some(_), Some(Placed { place, .. })) = (&listed, &discovered) {
        context.notes.problem(place, "a directory has either `servers` or `discover`; remove one");
    }
    (listed.is_some() || discovered.is_some())
        .then(|| Controllers { listed: listed.unwrap_or_default(), discovered: discovered.and_then(|discover| discover.value) })
}

/// Controllers, and how they are asked.
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
    let servers = Security::read(table).servers(controllers.listed, context);
    let ca = ca(table, context, &servers, mentions);
    let search_as = table.choice("search_as", &[("service", SearchAs::Service), ("client", SearchAs::Client)]).unwrap_or(SearchAs::Service);
    let service = service::read(table, context, search_as, index, mentions);
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
        ca,
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

/// The CAs whose certificates are believed.
fn ca(table: &mut Table<'_>, context: Context<'_>, servers: &[Server], mentions: &mut Vec<Mention>) -> Option<PathBuf> {
    let ca = path(table, "ca", context)?;
    mentions.push(Mention { place: ca.place.clone(), what: Mentioned::Ca(ca.value.clone()) });
    if !servers.is_empty() && servers.iter().all(|server| server.security == UpstreamSecurity::Plain) {
        context.notes.warn(&ca.place, "has no effect: no server of this directory is reached by TLS");
    }
    Some(ca.value)
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
