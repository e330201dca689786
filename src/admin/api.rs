//! What an administrator may look at and drop: bound sessions, principals, the search cache. JSON over HTTP, on the admin address.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /sessions`, `GET /sessions?principal=NAME` | the bound sessions, [`MOST_SESSIONS`] at most |
//! | `DELETE /principals?name=NAME`, `DELETE /principals` | one principal, or everybody, starts anew: nothing is remembered, sessions end |
//! | `GET /cache` | how much the search cache holds |
//! | `DELETE /cache`, `DELETE /cache?directory=NAME` | its answers are forgotten; what is being asked at the moment is not kept |
//!
//! No request has a body, and none is read. The address is a loopback one, so whoever asks is on this machine; a web page in a browser there is
//! kept out: it cannot ask without an `Origin`, or under a `Host` that is this machine's.

use super::json;
use crate::pipeline::Pipeline;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use std::net::IpAddr;
use tokio::time::Instant;
use tracing::info;

type Answer = Response<Full<Bytes>>;

/// The answer to a request, where its path is one of these.
pub(super) fn answer<B>(request: &Request<B>, pipeline: &Pipeline) -> Option<Answer> {
    let path = request.uri().path();
    let methods = match path {
        "/sessions" => "GET",
        "/principals" => "DELETE",
        "/cache" => "GET, DELETE",
        _ => return None,
    };
    if !is_from_no_page(request.headers()) {
        return Some(error(StatusCode::FORBIDDEN, "not for web pages: ask for 127.0.0.1, [::1] or localhost, without an Origin"));
    }
    let Some(query) = Query::parse(request.uri().query().unwrap_or_default()) else {
        return Some(error(StatusCode::BAD_REQUEST, "the query is not made of NAME=VALUE, percent-encoded UTF-8"));
    };
    let answered = match (request.method(), path) {
        (&Method::GET, "/sessions") => sessions(&query, pipeline),
        (&Method::DELETE, "/principals") => drop_principals(&query, pipeline),
        (&Method::GET, "/cache") => cache(&query, pipeline),
        (&Method::DELETE, "/cache") => drop_cache(&query, pipeline),
        _ => {
            let mut refused = error(StatusCode::METHOD_NOT_ALLOWED, &format!("only {methods}"));
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
            return Some(refused);
        }
    };
    Some(answered.unwrap_or_else(|(status, why)| error(status, why)))
}

type Answered = Result<Answer, (StatusCode, &'static str)>;

fn sessions(query: &Query, pipeline: &Pipeline) -> Answered {
    let now = Instant::now();
    // One more than is shown tells whether there are more.
    let mut found = pipeline.register().bound(query.only("principal")?, MOST_SESSIONS + 1);
    let there_are_more = found.len() > MOST_SESSIONS;
    found.truncate(MOST_SESSIONS);
    let sessions: Vec<Value> = found
        .iter()
        .map(|session| {
            let seconds = now.saturating_duration_since(session.since).as_secs();
            json!({ "principal": &*session.caller.name, "peer": session.caller.peer.to_string(), "listener": session.caller.listener, "bound_for_seconds": seconds })
        })
        .collect();
    Ok(json(StatusCode::OK, &json!({ "sessions": sessions, "there_are_more": there_are_more })))
}

fn drop_principals(query: &Query, pipeline: &Pipeline) -> Answered {
    let register = pipeline.register();
    let ended = match query.only("name")? {
        Some(name) => register.drop_principal(name),
        None => register.drop_everybody(),
    };
    info!(sessions = ended, "an administrator has dropped principals");
    Ok(json(StatusCode::OK, &json!({ "sessions_ended": ended })))
}

fn cache(query: &Query, pipeline: &Pipeline) -> Answered {
    query.is_empty()?;
    let (entries, octets) = pipeline.cache_holds();
    Ok(json(StatusCode::OK, &json!({ "entries": entries, "bytes": octets })))
}

fn drop_cache(query: &Query, pipeline: &Pipeline) -> Answered {
    let directory = query.only("directory")?;
    if !pipeline.forget_answers(directory) {
        return Err((StatusCode::NOT_FOUND, "no directory has this name"));
    }
    info!(directory = directory.unwrap_or("all"), "an administrator has dropped cached answers");
    Ok(json(StatusCode::OK, &json!({ "dropped": directory.unwrap_or("all") })))
}

fn error(status: StatusCode, why: &str) -> Answer {
    json(status, &json!({ "error": why }))
}

/// A browser names the page's origin wherever it asks for more than to look, and its own idea of the host: a page that has its own name lead to
/// this machine betrays itself by that name.
fn is_from_no_page(headers: &HeaderMap) -> bool {
    let is_local = |host: &str| {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
            _ => host,
        };
        let name = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    host.is_some_and(is_local) && headers.get_all(HOST).iter().count() == 1 && !headers.contains_key(ORIGIN)
}

/// The parameters behind the path.
struct Query(Vec<(String, String)>);

impl Query {
    /// As HTML forms and `curl --data-urlencode` write it; `None` where it is something else.
    fn parse(text: &str) -> Option<Self> {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| pair.split_once('=').and_then(|(name, value)| Some((decoded(name)?, decoded(value)?))))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// The value of that parameter, where there is one. No other may be there: whoever misspells it must not drop everything.
    fn only(&self, name: &str) -> Result<Option<&str>, (StatusCode, &'static str)> {
        match self.0.as_slice() {
            [] => Ok(None),
            [(given, value)] if given == name && !value.is_empty() => Ok(Some(value)),
            _ => Err((StatusCode::BAD_REQUEST, "an unknown parameter, an empty one, or too many")),
        }
    }

    fn is_empty(&self) -> Result<(), (StatusCode, &'static str)> {
        if self.0.is_empty() { Ok(()) } else { Err((StatusCode::BAD_REQUEST, "no parameter is known here")) }
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut octets = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(octet) = octets.next() {
        out.push(match octet {
            b'%' => {
                let mut digit = || char::from(octets.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(out).ok()
}

/// Sessions in one answer.
const MOST_SESSIONS: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_as_forms_write_it() {
        let only = |text: &str| Query::parse(text).and_then(|query| query.only("name").ok().map(|value| value.map(str::to_owned)));
        assert_eq!(only(""), Some(None));
        assert_eq!(only("name=CN%3DAda+L%2cDC%3Dcorp"), Some(Some("CN=Ada L,DC=corp".to_owned())));
        assert_eq!(only("name=CORP%5cada"), Some(Some("CORP\\ada".to_owned())));
        for wrong in ["name", "name=", "name=a&name=b", "names=a", "name=%", "name=%zz", "name=%ff", "name=a&x=b"] {
            assert_eq!(only(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_page_in_a_browser_is_told_by_its_host_and_its_origin() {
        let asks = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_str(host).unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
            }
            is_from_no_page(&headers)
        };
        for host in ["127.0.0.1:9390", "localhost:9390", "LOCALHOST", "[::1]:9390", "[::1]", "127.0.0.1"] {
            assert!(asks(host, None), "{host}");
            assert!(!asks(host, Some("http://127.0.0.1:9390")), "{host}");
            assert!(!asks(host, Some("null")), "{host}");
        }
        for host in ["rebound.example:9390", "10.0.0.1", "localhost.example", "127.0.0.1.example", "", ":9390", "0.0.0.0:9390"] {
            assert!(!asks(host, None), "{host}");
        }
        assert!(!is_from_no_page(&HeaderMap::new()));
    }
}
