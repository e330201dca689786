//! Who may ask at the admin address: whoever knows the token; where there is none, whoever is on this machine and no web page.
//!
//! Health is for everybody who reaches the address, since a container engine or a load balancer that probes it knows no token.

use crate::secret::Secret;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use std::net::IpAddr;

/// The request says the token, by `Authorization: Bearer` (RFC 6750 section 2.1), or there is none.
pub(super) fn knows_token(headers: &HeaderMap, token: Option<&Secret>) -> bool {
    let Some(token) = token else { return true };
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return false };
    let said = given.as_bytes().split_at_checked(SCHEME.len()).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME));
    said.is_some_and(|(_, said)| verify_slices_are_equal(said.trim_ascii(), token.expose()).is_ok())
}

/// No page in a browser has asked, as far as its request tells. One that has its own name lead to this machine does not know the token, so `Host`
/// says something only where there is none.
pub(super) fn is_from_no_page(headers: &HeaderMap, has_token: bool) -> bool {
    !headers.contains_key(ORIGIN) && (has_token || is_for_this_machine(headers))
}

/// A browser says its own idea of the host: a page that has its own name lead to this machine betrays itself by that name.
fn is_for_this_machine(headers: &HeaderMap) -> bool {
    let is_local = |host: &str| {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    host.is_some_and(is_local) && headers.get_all(HOST).iter().count() == 1
}

/// Before the token.
const SCHEME: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn the_token_is_known_or_it_is_not() {
        let token = Secret::new(b"correct-horse-battery");
        let knows = |given: &[&str]| {
            let headers = given.iter().map(|given| (AUTHORIZATION, HeaderValue::from_str(given).unwrap()));
            knows_token(&headers.collect(), Some(&token))
        };
        assert!(knows(&["Bearer correct-horse-battery"]) && knows(&["bearer  correct-horse-battery "]));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer correct-horse",
            "Bearer correct-horse-battery2",
            "Basic correct-horse-battery",
            "correct-horse-battery",
        ] {
            assert!(!knows(&[wrong]), "{wrong}");
        }
        assert!(!knows(&[]) && !knows(&["Bearer correct-horse-battery", "Bearer x"]));
        assert!(knows_token(&HeaderMap::new(), None));
    }

    #[test]
    fn a_page_in_a_browser_is_told_by_its_host_and_its_origin() {
        let asks = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
            }
            is_from_no_page(&headers, false)
        };
        for host in ["127.0.0.1:9390", "localhost:9390", "LOCALHOST", "[::1]:9390", "[::1]", "127.0.0.1"] {
            assert!(asks(host, None), "{host}");
            assert!(!asks(host, Some("http://127.0.0.1:9390")), "{host}");
            assert!(!asks(host, Some("null")), "{host}");
        }
        for host in ["rebound.example:9390", "10.0.0.1", "localhost.example", "127.0.0.1.example", "", ":9390", "0.0.0.0:9390"] {
            assert!(!asks(host, None), "{host}");
        }
        assert!(!is_from_no_page(&HeaderMap::new(), false));
    }

    #[test]
    fn whoever_knows_the_token_may_call_this_machine_anything() {
        let host = |host| (HOST, HeaderValue::from_static(host));
        assert!(is_from_no_page(&[host("redial.example")].into_iter().collect(), true));
        assert!(!is_from_no_page(&[host("redial.example"), (ORIGIN, HeaderValue::from_static("null"))].into_iter().collect(), true));
    }
}
