//! `[[listener]]`.

use super::{Context, Mention, Mentioned, Placed, address, networks, path};
use crate::config::table::Table;
use crate::config::{ClientName, Listener, ListenerTls, TlsMode};

/// Reads one listener; `None` where its address is not known.
pub(super) fn read(mut table: Table<'_>, context: Context<'_>, mentions: &mut Vec<Mention>) -> Option<Placed<Listener>> {
    let address = address(&mut table, "where phones connect, such as \"0.0.0.0:636\"");
    let tls_place = table.value("tls").map(|value| value.place);
    let tls = table.table("tls").and_then(|tls| tls_of(tls, context, mentions));
    let [networks, proxies] = ["networks", "proxy_protocol"].map(|key| networks(&mut table, key));
    if proxies.iter().any(|network| network.prefix_len() == 0)
        && let Some(value) = table.value("proxy_protocol")
    {
        value.problem("would let everybody say to be anybody; list the addresses of your load balancers");
    }
    let plain_passwords = table.choice("plain_passwords", &[("refuse", false), ("allow", true)]).unwrap_or(false);
    for (key, written) in OF_TLS {
        table.refuse(key, &format!("belongs into tls: tls = {{ certificate = \"...\", key = \"...\"{written} }}"));
    }
    table.finish();
    let Placed { value: address, place } = address?;
    if tls_place.is_some() && tls.is_none() {
        return None;
    }
    Some(Placed { value: Listener { address, tls, networks, proxies, plain_passwords }, place })
}

fn tls_of(mut table: Table<'_>, context: Context<'_>, mentions: &mut Vec<Mention>) -> Option<ListenerTls> {
    for (key, what) in
        [("certificate", "a PEM file, the server's certificate first"), ("key", "the PEM file of the certificate's private key")]
    {
        table.required(key, what);
    }
    let certificate = path(&mut table, "certificate", context);
    let key = path(&mut table, "key", context);
    let start_tls = [("required", TlsMode::StartTlsRequired), ("optional", TlsMode::StartTlsOptional)];
    let mode = if table.has("start_tls") { table.choice("start_tls", &start_tls) } else { Some(TlsMode::Ldaps) };
    let client_ca = path(&mut table, "client_ca", context);
    let client_name = client_name(&mut table);
    let ticket_keys = path(&mut table, "ticket_keys", context);
    table.finish();
    if let Some(ca) = &client_ca {
        mentions.push(Mention { place: ca.place.clone(), what: Mentioned::Ca(ca.value.clone()) });
    }
    if let Some(keys) = &ticket_keys {
        mentions.push(Mention { place: keys.place.clone(), what: Mentioned::TicketKeys(keys.value.clone()) });
    }
    let (certificate, key) = (certificate?, key?);
    let what = Mentioned::Certificate { certificate: certificate.value.clone(), key: key.value.clone(), key_place: key.place };
    mentions.push(Mention { place: certificate.place, what });
    let [client_ca, ticket_keys] = [client_ca, ticket_keys].map(|file| file.map(|file| file.value));
    Some(ListenerTls { certificate: certificate.value, key: key.value, mode: mode?, client_ca, client_name, ticket_keys })
}

fn client_name(table: &mut Table<'_>) -> Option<ClientName> {
    if table.has("client_name") && !table.has("client_ca") {
        table.refuse("client_name", "has no use without client_ca: no certificate is asked of clients then");
        return None;
    }
    let names = [("subject", ClientName::Subject), ("dns", ClientName::Dns), ("email", ClientName::Email), ("upn", ClientName::Upn)];
    table.choice("client_name", &names)
}

/// The keys of `tls`, and how those are written that are not always there.
const OF_TLS: [(&str, &str); 6] = [
    ("start_tls", ", start_tls = \"required\""),
    ("certificate", ""),
    ("key", ""),
    ("client_ca", ", client_ca = \"...\""),
    ("client_name", ", client_ca = \"...\", client_name = \"subject\""),
    ("ticket_keys", ", ticket_keys = \"...\""),
];
