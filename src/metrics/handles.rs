//! The handles of all series, made once; [`super::Metrics`] says when each is touched.

use super::names;
use super::names::Metric;
use crate::config::{DirectoryConfig, DirectoryKind};
use crate::identity::revocation::Revocation;
use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;
use std::sync::atomic::AtomicBool;

#[derive(Debug)]
pub(super) struct CacheHandles {
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
    pub(super) revoked: [Counter; Revocation::ALL.len()],
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
pub struct DirectoryMetrics {
    pub(super) name: String,
    retries: Counter,
    /// DNS has named its servers when it was asked last; `None`: they are listed.
    pub(super) discovery: Option<AtomicBool>,
}

/// Of none that is shown.
impl Default for DirectoryMetrics {
    fn default() -> Self {
        Self { name: String::new(), retries: Counter::noop(), discovery: None }
    }
}

impl CacheHandles {
    pub(super) fn new(recorder: &PrometheusRecorder) -> Self {
        Self {
            refreshes: counter(recorder, names::CACHE_REFRESHES, &[]),
            entries: gauge(recorder, names::CACHE_ENTRIES, &[]),
            bytes: gauge(recorder, names::CACHE_BYTES, &[]),
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

impl DirectoryMetrics {
    /// A search was tried again on another server.
    pub fn retried(&self) {
        self.retries.increment(1);
    }

    pub(super) fn new(recorder: &PrometheusRecorder, directory: &DirectoryConfig) -> Self {
        let name = directory.name.clone();
        let (retries, discover) = match &directory.kind {
            DirectoryKind::Upstream(upstream) => {
                (counter(recorder, names::UPSTREAM_RETRIES, &[("directory", &name)]), upstream.discover.as_ref())
            }
            // A phonebook in memory has no servers, and so no series of its own.
            DirectoryKind::Embedded { .. } => (Counter::noop(), None),
        };
        Self { name, retries, discovery: discover.map(|_| AtomicBool::new(false)) }
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
