//! What an administrator may look at and change, in JSON: [`people`], [`answers`], [`controllers`]. OPERATIONS.md has the table of the requests.
//!
//! No request has a body, and none is read; what one changes is asked for by another method than GET. Whoever asks has passed
//! [`super::permission`]'s question for the token; no web page is answered. Blocks for as long as it takes to look at the whole cache.

use super::permission::is_from_no_page;
use super::query::Query;
use super::refused::Refused;
use super::{Answer, answers, controllers, error, json, people};
use crate::pipeline::Pipeline;
use hyper::header::{ALLOW, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use serde_json::Value;

type Resource = fn(&Query, &Pipeline) -> Result<Value, Refused>;

/// What each method of each path does.
const RESOURCES: &[(&str, Method, Resource)] = &[
    ("/sessions", Method::GET, people::sessions),
    ("/principals", Method::DELETE, people::drop_principals),
    ("/guarded", Method::GET, people::guarded),
    ("/guarded", Method::DELETE, people::release),
    ("/cache", Method::GET, answers::size),
    ("/cache", Method::DELETE, answers::drop),
    ("/cache/answers", Method::GET, answers::list),
    ("/controllers", Method::GET, controllers::list),
    ("/controllers/out", Method::POST, controllers::take_out),
    ("/controllers/in", Method::POST, controllers::take_back),
];

/// The answer to a request.
pub(super) fn answer(request: &Parts, has_token: bool, pipeline: &Pipeline) -> Answer {
    let there: Vec<_> = RESOURCES.iter().filter(|(path, ..)| *path == request.uri.path()).collect();
    if there.is_empty() {
        let mut paths: Vec<_> = RESOURCES.iter().map(|(path, ..)| *path).collect();
        paths.dedup();
        return error(StatusCode::NOT_FOUND, &format!("there are /metrics, /healthz, /readyz, {}", paths.join(", ")));
    }
    if !is_from_no_page(&request.headers, has_token) {
        let why = "not for web pages: ask without an Origin, and where there is no token for 127.0.0.1, [::1] or localhost";
        return error(StatusCode::FORBIDDEN, why);
    }
    let Some((_, _, resource)) = there.iter().find(|(_, method, _)| *method == request.method) else { return not_allowed(&there) };
    let answered = Query::parse(request.uri.query().unwrap_or_default()).and_then(|query| resource(&query, pipeline));
    match answered {
        Ok(body) => json(StatusCode::OK, &body),
        Err(Refused { status, why }) => error(status, &why),
    }
}

/// There are only these methods.
fn not_allowed(methods: &[&(&str, Method, Resource)]) -> Answer {
    let methods: Vec<_> = methods.iter().map(|(_, method, _)| method.as_str()).collect();
    let mut refused = error(StatusCode::METHOD_NOT_ALLOWED, &format!("only {}", methods.join(" and ")));
    if let Ok(allowed) = HeaderValue::try_from(methods.join(", ")) {
        refused.headers_mut().insert(ALLOW, allowed);
    }
    refused
}
