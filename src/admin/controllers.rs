//! The controllers of each directory: how they are, and who is taken out of rotation.

use super::query::Query;
use super::refused::Refused;
use crate::directory::{Controller, Directory, NotMoved, Rotation};
use crate::pipeline::Pipeline;
use hyper::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// All of them, or those of one directory.
pub(super) fn list(query: &Query, pipeline: &Pipeline) -> Result<Value, Refused> {
    let [wanted] = query.values(["directory"])?;
    if let Some(name) = wanted {
        directory(name, pipeline)?;
    }
    let meant = pipeline.directories().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
    let controllers =
        meant.flat_map(|(name, directory)| directory.controllers().into_iter().map(move |controller| shown(name, &controller)));
    Ok(json!({ "controllers": controllers.collect::<Vec<_>>() }))
}

/// One gets nothing more to do.
pub(super) fn take_out(query: &Query, pipeline: &Pipeline) -> Result<Value, Refused> {
    let [directory, server, force] = query.values(["directory", "server", "force"])?;
    let rotation = match force {
        None | Some("false") => Rotation::Out,
        Some("true") => Rotation::OutAtAnyRate,
        Some(_) => return Err(Refused::bad("force: true or false")),
    };
    rotate(directory, server, rotation, pipeline)
}

/// One takes part again.
pub(super) fn take_back(query: &Query, pipeline: &Pipeline) -> Result<Value, Refused> {
    let [directory, server] = query.values(["directory", "server"])?;
    rotate(directory, server, Rotation::In, pipeline)
}

fn rotate(name: Option<&str>, server: Option<&str>, rotation: Rotation, pipeline: &Pipeline) -> Result<Value, Refused> {
    let (Some(name), Some(server)) = (name, server) else {
        return Err(Refused::bad("directory and server must both be there, as GET /controllers shows them"));
    };
    let directory = directory(name, pipeline)?;
    directory.rotate(server, rotation).map_err(|why| match why {
        NotMoved::Unknown => Refused::new(StatusCode::NOT_FOUND, why.to_string()),
        NotMoved::LastOne => Refused::new(StatusCode::CONFLICT, format!("{why}: force=true takes it out at any rate")),
    })?;
    let moved = directory.controllers().into_iter().find(|controller| controller.server == server);
    Ok(moved.map_or(Value::Null, |controller| shown(name, &controller)))
}

fn directory<'p>(name: &str, pipeline: &'p Pipeline) -> Result<&'p Arc<dyn Directory>, Refused> {
    let found = pipeline.directories().find(|(known, _)| *known == name).map(|(_, directory)| directory);
    found.ok_or_else(|| Refused::new(StatusCode::NOT_FOUND, "there is no directory of this name"))
}

fn shown(directory: &str, controller: &Controller) -> Value {
    let Controller { server, state, is_out, in_flight, connections, latency, silent_for } = controller;
    json!({
        "directory": directory,
        "server": server,
        "state": state,
        "in_rotation": !is_out,
        "in_flight": in_flight,
        "connections": connections,
        "latency_milliseconds": latency.map(|latency| latency.as_secs_f64() * 1000.0),
        "silent_for_seconds": silent_for.map(|silent| silent.as_secs()),
    })
}
