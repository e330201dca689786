//! The handles of all series, made once; [`super::Metrics`] says when each is touched.

use super::histogram::Histogram;
use super::names;
use super::names::Metric;
use crate::outcome::Served;
use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

#[derive(Debug)]
pub(super) struct CacheHandles {
    pub(super) hits: Counter,
    pub(super) misses: Counter,
    pub(super) stale: Counter,
    pub(super) coalesced: Counter,
    pub(super) refreshes: Counter,
    pub(super) entries: Gauge,
    pub(super) bytes: Gauge,
}

#[derive(Debug)]
pub(super) struct BindHandles {
    /// In the order of the variants of [`BindRecall`].
    pub(super) recalled: [Counter; 3],
    pub(super) guard_refused: Counter,
    pub(super) guarded: Gauge,
}

#[derive(Debug)]
pub(super) struct ListenerHandles {
    pub(super) open: Gauge,
    pub(super) opened: Counter,
    pub(super) handshakes: [Counter; 3],
    pub(super) rejected_network: Counter,
    pub(super) rejected_full: Counter,
    pub(super) accept_errors: Counter,
}

#[derive(Debug)]
pub(super) struct DirectoryHandles {
    pub(super) name: String,
    pub(super) retries: Counter,
    pub(super) servers: Box<[ServerHandles]>,
}

#[derive(Debug)]
pub(super) struct ServerHandles {
    pub(super) url: String,
    pub(super) up: Gauge,
    pub(super) connections: Gauge,
    pub(super) in_flight: Gauge,
    pub(super) answered: Counter,
    pub(super) unanswered: Counter,
    pub(super) durations: Histogram,
}

impl CacheHandles {
    pub(super) fn new(recorder: &PrometheusRecorder) -> Self {
        Self {
            hits: counter(recorder, names::CACHE_HITS, &[]),
            misses: counter(recorder, names::CACHE_MISSES, &[]),
            stale: counter(recorder, names::CACHE_STALE, &[]),
            coalesced: counter(recorder, names::CACHE_COALESCED, &[]),
            refreshes: counter(recorder, names::CACHE_REFRESHES, &[]),
            entries: gauge(recorder, names::CACHE_ENTRIES, &[]),
            bytes: gauge(recorder, names::CACHE_BYTES, &[]),
        }
    }

    pub(super) fn searched(&self, served: Served) {
        match served {
            Served::Hit => self.hits.increment(1),
            Served::Miss => self.misses.increment(1),
            Served::Stale => self.stale.increment(1),
            Served::Coalesced => self.coalesced.increment(1),
            Served::Forwarded | Served::Local | Served::Refused | Served::Failed | Served::Abandoned => {}
        }
    }
}

impl BindHandles {
    pub(super) fn new(recorder: &PrometheusRecorder) -> Self {
        Self {
            recalled: ["accepted", "rejected", "miss"].map(|result| counter(recorder, names::BIND_CACHE, &[("result", result)])),
            guard_refused: counter(recorder, names::GUARD_REFUSED, &[]),
            guarded: gauge(recorder, names::GUARDED, &[]),
        }
    }
}

impl ListenerHandles {
    pub(super) fn new(recorder: &PrometheusRecorder, address: &str) -> Self {
        let listener = ("listener", address);
        Self {
            open: gauge(recorder, names::CONNECTIONS_OPEN, &[listener]),
            opened: counter(recorder, names::CONNECTIONS, &[listener]),
            // In the order of the variants of Handshake.
            handshakes: ["full", "resumed", "failed"].map(|result| counter(recorder, names::HANDSHAKES, &[listener, ("result", result)])),
            rejected_network: counter(recorder, names::REJECTED, &[listener, ("reason", "network")]),
            rejected_full: counter(recorder, names::REJECTED, &[listener, ("reason", "full")]),
            accept_errors: counter(recorder, names::ACCEPT_ERRORS, &[listener]),
        }
    }
}

impl DirectoryHandles {
    pub(super) fn new(recorder: &PrometheusRecorder, name: String, servers: Vec<String>) -> Self {
        // A phonebook in memory has no servers, and so no series of its own.
        let retries =
            if servers.is_empty() { Counter::noop() } else { counter(recorder, names::UPSTREAM_RETRIES, &[("directory", &name)]) };
        Self { retries, servers: servers.into_iter().map(|url| ServerHandles::new(recorder, &name, url)).collect(), name }
    }
}

impl ServerHandles {
    pub(super) fn new(recorder: &PrometheusRecorder, directory: &str, url: String) -> Self {
        let labels = [("directory", directory), ("server", url.as_str())];
        let requests =
            |result| counter(recorder, names::UPSTREAM_REQUESTS, &[("directory", directory), ("server", url.as_str()), ("result", result)]);
        Self {
            up: gauge(recorder, names::UPSTREAM_UP, &labels),
            connections: gauge(recorder, names::UPSTREAM_CONNECTIONS, &labels),
            in_flight: gauge(recorder, names::UPSTREAM_IN_FLIGHT, &labels),
            answered: requests("answered"),
            unanswered: requests("unanswered"),
            durations: Histogram::default(),
            url,
        }
    }
}

pub(super) fn counter(recorder: &PrometheusRecorder, metric: Metric, labels: &[(&str, &str)]) -> Counter {
    recorder.register_counter(&key(metric, labels), &METADATA)
}

pub(super) fn gauge(recorder: &PrometheusRecorder, metric: Metric, labels: &[(&str, &str)]) -> Gauge {
    recorder.register_gauge(&key(metric, labels), &METADATA)
}

fn key(metric: Metric, labels: &[(&str, &str)]) -> Key {
    Key::from_parts(metric.name, labels.iter().map(|&(name, value)| Label::new(name.to_owned(), value.to_owned())).collect::<Vec<_>>())
}

static METADATA: Metadata<'static> = Metadata::new("redial", Level::INFO, None);
