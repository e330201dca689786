//! The server that is measured: its URL taken apart.

use std::fmt::{Display, Formatter, Result as FmtResult};
use std::str::FromStr;

/// `ldap://HOST[:PORT]` or `ldaps://HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// A name or an address, without brackets.
    pub(crate) host: String,
    /// 389 or 636 where not written.
    pub(crate) port: u16,
    /// `ldaps`: TLS from the first octet.
    pub(crate) tls: bool,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or(EXPECTED)?;
        let (tls, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "ldap" => (false, 389),
            "ldaps" => (true, 636),
            _ => return Err(EXPECTED.to_owned()),
        };
        let place = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((address, port)) => (address, port.strip_prefix(':')),
            None => place.split_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(default_port), str::parse).map_err(|_| EXPECTED)?;
        let is_strange = |c: char| c.is_whitespace() || matches!(c, '/' | '@' | '?');
        if host.is_empty() || port == 0 || host.contains(is_strange) {
            return Err(EXPECTED.to_owned());
        }
        Ok(Self { host: host.to_owned(), port, tls })
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> FmtResult {
        let scheme = if self.tls { "ldaps" } else { "ldap" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}", self.host, self.port)
    }
}

const EXPECTED: &str = "must be ldap://HOST, ldaps://HOST, or the same with :PORT";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_scheme_host_and_port() {
        for (url, shown) in [
            ("ldap://localhost", "ldap://localhost:389"),
            ("LDAPS://dc1.corp.example/", "ldaps://dc1.corp.example:636"),
            ("ldap://127.0.0.1:3389", "ldap://127.0.0.1:3389"),
            ("ldaps://[::1]:3636", "ldaps://[::1]:3636"),
        ] {
            assert_eq!(url.parse::<Target>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for url in ["localhost", "http://x", "ldap://", "ldap://x:0", "ldap://x:port", "ldap://x/dc=y", "ldap://a@b"] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }
}
