//! `discover` of a directory: the domain whose DNS names the controllers.

use super::Placed;
use crate::config::table::{Table, Value};
use crate::config::{Discover, UpstreamSecurity};
use rustls::pki_types::ServerName;
use std::net::{IpAddr, SocketAddr};

/// `Some` where the key is there; nothing in it where that cannot be read. It is `"corp.example"`, or a table with `domain` and more.
pub(super) fn read(table: &mut Table<'_>) -> Option<Placed<Option<Discover>>> {
    let value = table.value("discover")?;
    let place = value.place.clone();
    let value = if value.is_table() { value.table().and_then(of_table) } else { domain(&value).map(whole) };
    Some(Placed { value, place })
}

/// Where only the domain is written.
fn whole((security, domain): (UpstreamSecurity, String)) -> Discover {
    Discover { within: vec![domain.clone()], domain, security, site: None, resolvers: Vec::new() }
}

fn of_table(mut table: Table<'_>) -> Option<Discover> {
    let found =
        table.required("domain", "the domain whose DNS names the controllers, such as \"corp.example\"").and_then(|value| domain(&value));
    let site = table.value("site").and_then(|value| site(&value));
    let within = table.value("within").map(|value| names(&value));
    let resolvers = table.value("resolvers").map(|value| resolvers(&value)).unwrap_or_default();
    table.finish();
    let discover = whole(found?);
    Some(Discover { site, within: within.unwrap_or(discover.within), resolvers, ..discover })
}

/// `corp.example`, or a URL that says how its controllers are reached.
fn domain(value: &Value<'_>) -> Option<(UpstreamSecurity, String)> {
    let text = value.text()?;
    let (scheme, rest) = text.split_once("://").unwrap_or(("ldap", text));
    let security = match scheme {
        "ldaps" => Some(UpstreamSecurity::Ldaps),
        "ldap" => Some(UpstreamSecurity::StartTls),
        _ => None,
    };
    let found = security.zip(dns_name(rest.strip_suffix('/').unwrap_or(rest)));
    if found.is_none() {
        value.problem(
            "must be a DNS domain without a port: \"corp.example\" or \"ldap://corp.example\" for StartTLS, \"ldaps://corp.example\" for LDAPS",
        );
    }
    found
}

/// One label: it becomes a part of a name in DNS.
fn site(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    let is_label = (1..=63).contains(&text.len()) && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter));
    if !is_label {
        value.problem("must be the name of an Active Directory site: 1 to 63 letters, digits, - and _");
    }
    is_label.then(|| text.to_owned())
}

fn names(value: &Value<'_>) -> Vec<String> {
    let texts = value.texts().unwrap_or_default();
    if value.is_list() && texts.is_empty() {
        value.problem(
            "must not be empty: name the domains, or single hosts, that may be controllers; or leave it out for the domain itself",
        );
    }
    let name = |(text, place)| {
        let name = dns_name(text);
        if name.is_none() {
            value.problem_at(&place, "must be a DNS name, such as \"dcs.corp.example\"");
        }
        name
    };
    texts.into_iter().filter_map(name).collect()
}

fn resolvers(value: &Value<'_>) -> Vec<SocketAddr> {
    let texts = value.texts().unwrap_or_default();
    if value.is_list() && texts.is_empty() {
        value.problem("must not be empty: name DNS servers by their addresses, or leave it out for the system's");
    }
    let address = |(text, place): (&str, _)| {
        let address = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, DNS_PORT)));
        if address.is_none() {
            value.problem_at(&place, "must be the address of a DNS server: \"10.0.0.2\" or \"10.0.0.2:53\"");
        }
        address
    };
    texts.into_iter().filter_map(address).collect()
}

/// Lower case, without a dot at its end.
fn dns_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_))).then(|| name.to_ascii_lowercase())
}

const DNS_PORT: u16 = 53;
