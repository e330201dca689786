//! The handles of all series, made once; [`super::Metrics`] says when each is touched.

use super::float;
use super::histogram::Histogram;
use super::names;
use super::names::Metric;
use crate::identity::roster::Revocation;
use crate::outcome::Served;
use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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
    /// In the order of the variants of [`super::BindRecall`].
    pub(super) recalled: [Counter; 3],
    pub(super) guard_refused: Counter,
    pub(super) guarded: Gauge,
    pub(super) bound: Gauge,
    /// In the order of the variants of [`Revocation`].
    pub(super) revoked: [Counter; 4],
}

#[derive(Debug)]
pub(super) struct ReloadHandles {
    pub(super) succeeded: Counter,
    pub(super) failed: Counter,
    pub(super) last_successful: Gauge,
    pub(super) last_success: Gauge,
}

#[derive(Debug)]
pub(super) struct ListenerHandles {
    pub(super) open: Gauge,
    pub(super) opened: Counter,
    pub(super) handshakes: [Counter; 3],
    pub(super) rejected_network: Counter,
    pub(super) rejected_proxy_header: Counter,
    pub(super) rejected_full: Counter,
    pub(super) rejected_address: Counter,
    pub(super) rejected_rate: Counter,
    pub(super) rejected_memory: Counter,
    pub(super) accept_errors: Counter,
}

/// Of one running directory. After a reload two of the same name may run for a while, and then they share their series.
#[derive(Debug)]
pub(super) struct DirectoryHandles {
    pub(super) name: String,
    pub(super) retries: Counter,
    pub(super) servers: Box<[ServerHandles]>,
    /// Another has taken its place, or none: it only ends what it began.
    pub(super) is_retired: AtomicBool,
}

/// Of one server of one running directory.
#[derive(Debug)]
pub(super) struct ServerHandles {
    pub(super) series: Arc<ServerSeries>,
    /// Its part of the gauge.
    pub(super) connections: AtomicUsize,
}

/// What is shown of one server.
#[derive(Debug)]
pub(super) struct ServerSeries {
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

    pub(super) fn searched(&self, served: Served, count: u64) {
        match served {
            Served::Hit => self.hits.increment(count),
            Served::Miss => self.misses.increment(count),
            Served::Stale => self.stale.increment(count),
            Served::Coalesced => self.coalesced.increment(count),
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
            bound: gauge(recorder, names::BOUND, &[]),
            revoked: Revocation::ALL.map(|why| counter(recorder, names::REVOKED, &[("reason", why.name())])),
        }
    }
}

impl ReloadHandles {
    pub(super) fn new(recorder: &PrometheusRecorder) -> Self {
        Self {
            succeeded: counter(recorder, names::RELOADS, &[("result", "succeeded")]),
            failed: counter(recorder, names::RELOADS, &[("result", "failed")]),
            last_successful: gauge(recorder, names::RELOAD_SUCCESSFUL, &[]),
            last_success: gauge(recorder, names::RELOAD_TIME, &[]),
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
            rejected_proxy_header: counter(recorder, names::REJECTED, &[listener, ("reason", "proxy_header")]),
            rejected_full: counter(recorder, names::REJECTED, &[listener, ("reason", "full")]),
            rejected_address: counter(recorder, names::REJECTED, &[listener, ("reason", "address")]),
            rejected_rate: counter(recorder, names::REJECTED, &[listener, ("reason", "rate")]),
            rejected_memory: counter(recorder, names::REJECTED, &[listener, ("reason", "memory")]),
            accept_errors: counter(recorder, names::ACCEPT_ERRORS, &[listener]),
        }
    }
}

impl DirectoryHandles {
    /// `others` are those that there have been.
    pub(super) fn new(recorder: &PrometheusRecorder, name: String, servers: Vec<String>, others: &[Arc<Self>]) -> Self {
        // A phonebook in memory has no servers, and so no series of its own.
        let retries =
            if servers.is_empty() { Counter::noop() } else { counter(recorder, names::UPSTREAM_RETRIES, &[("directory", &name)]) };
        let handles = |url: String| {
            let known = others.iter().filter(|other| other.name == name).find_map(|other| other.series(&url));
            let series = known.map_or_else(|| Arc::new(ServerSeries::new(recorder, &name, url)), Arc::clone);
            ServerHandles { series, connections: AtomicUsize::new(0) }
        };
        Self { retries, servers: servers.into_iter().map(handles).collect(), name, is_retired: AtomicBool::new(false) }
    }

    /// What is shown of that server.
    fn series(&self, url: &str) -> Option<&Arc<ServerSeries>> {
        self.servers.iter().map(|server| &server.series).find(|series| series.url == url)
    }

    /// Its servers' labels, as they stand in the page.
    pub(super) fn labels(&self) -> impl Iterator<Item = String> {
        self.servers.iter().map(|server| format!("directory=\"{}\",server=\"{}\"", self.name, server.series.url))
    }
}

impl ServerHandles {
    /// That many connections stand.
    pub(super) fn set_connections(&self, count: usize) {
        let before = self.connections.swap(count, Ordering::Relaxed);
        self.series.connections.increment(float(count as u64) - float(before as u64));
    }
}

impl ServerSeries {
    fn new(recorder: &PrometheusRecorder, directory: &str, url: String) -> Self {
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
