//! Every metric: name, help, labels. Handles are made once and recorded through methods; recording allocates nothing.
//!
//! In: what happened, said by whoever saw it; operations as an [`Outcome`]. Out: Prometheus's text format, from [`Metrics::render`].
//! Label values come from enums and the configuration, so they are finite; no DN, user, filter or client address ever is one.
//!
//! Counters and gauges live in the `metrics` crate's Prometheus recorder. Its histograms keep every sample until somebody
//! collects them, which costs an allocation each 64 operations; `histogram.rs` counts into fixed buckets instead. There is no global recorder:
//! a test, or a second proxy in one process, has numbers of its own.

mod histogram;
mod names;
mod process;

use crate::config::{Config, DirectoryKind};
use crate::identity::binds::Recalled;
use crate::ldap::ResultCode;
use crate::outcome::{OperationKind, Outcome, Served};
use histogram::Histogram;
use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use names::Metric;
use std::sync::OnceLock;
use std::time::Duration;

/// How a TLS handshake with a phone ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// With certificate and key exchange.
    Full,
    /// From a ticket.
    Resumed,
    /// Not at all.
    Failed,
}

/// Why a connection was not served, or not at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rejected {
    /// Not from an allowed network.
    Network,
    /// The listener is full: it waits until another ends.
    Full,
    /// accept(2) failed.
    AcceptError,
}

/// What memory knew of a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BindRecall {
    /// It was accepted a moment ago.
    Accepted,
    /// It was refused as wrong.
    Rejected,
    /// Nothing.
    Miss,
}

impl From<&Recalled> for BindRecall {
    fn from(recalled: &Recalled) -> Self {
        match recalled {
            Recalled::Accepted(_) => Self::Accepted,
            Recalled::Rejected => Self::Rejected,
            Recalled::Unknown(_) => Self::Miss,
        }
    }
}

/// Handles of all metrics, made once.
#[derive(Debug)]
pub struct Metrics {
    recorder: PrometheusRecorder,
    /// By kind, served and code. Made when first counted: most of the thousands of combinations never happen.
    operations: Box<[OnceLock<Counter>]>,
    /// By kind and served.
    durations: Box<[Histogram]>,
    entries: [Counter; Served::ALL.len()],
    cache: CacheHandles,
    binds: BindHandles,
    listeners: Box<[ListenerHandles]>,
    directories: Box<[DirectoryHandles]>,
    audit_dropped: Counter,
    panics: Counter,
    started_at: Duration,
}

#[derive(Debug)]
struct CacheHandles {
    hits: Counter,
    misses: Counter,
    stale: Counter,
    coalesced: Counter,
    refreshes: Counter,
    entries: Gauge,
    bytes: Gauge,
}

#[derive(Debug)]
struct BindHandles {
    /// In the order of the variants of [`BindRecall`].
    recalled: [Counter; 3],
    guard_refused: Counter,
    guarded: Gauge,
}

#[derive(Debug)]
struct ListenerHandles {
    open: Gauge,
    opened: Counter,
    handshakes: [Counter; 3],
    rejected_network: Counter,
    rejected_full: Counter,
    accept_errors: Counter,
}

#[derive(Debug)]
struct DirectoryHandles {
    name: String,
    retries: Counter,
    servers: Box<[ServerHandles]>,
}

#[derive(Debug)]
struct ServerHandles {
    url: String,
    up: Gauge,
    connections: Gauge,
    in_flight: Gauge,
    answered: Counter,
    unanswered: Counter,
    durations: Histogram,
}

impl Metrics {
    /// Handles for these listeners, directories and servers.
    pub fn new(config: &Config) -> Self {
        let listeners = config.listeners.iter().map(|listener| listener.address.to_string()).collect::<Vec<_>>();
        let directories = config.directories.iter().map(|directory| {
            let servers = match &directory.kind {
                DirectoryKind::Upstream(upstream) => upstream.servers.iter().map(|server| server.url.clone()).collect(),
                DirectoryKind::Embedded { .. } => Vec::new(),
            };
            (directory.name.clone(), servers)
        });
        Self::with_labels(&listeners, directories)
    }

    /// Handles whose numbers nobody reads: for tests.
    pub fn unrecorded() -> Self {
        Self::with_labels(&[], [])
    }

    fn with_labels(listeners: &[String], directories: impl IntoIterator<Item = (String, Vec<String>)>) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in names::COUNTERS {
            recorder.describe_counter(metric.name.into(), None, metric.help.into());
        }
        for metric in names::GAUGES {
            recorder.describe_gauge(metric.name.into(), None, metric.help.into());
        }
        gauge(&recorder, names::BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        Self {
            operations: (0..OPERATION_SLOTS).map(|_| OnceLock::new()).collect(),
            durations: (0..OperationKind::ALL.len() * Served::ALL.len()).map(|_| Histogram::default()).collect(),
            entries: Served::ALL.map(|served| counter(&recorder, names::ENTRIES, &[("served", served.name())])),
            cache: CacheHandles::new(&recorder),
            binds: BindHandles::new(&recorder),
            listeners: listeners.iter().map(|address| ListenerHandles::new(&recorder, address)).collect(),
            directories: directories.into_iter().map(|(name, servers)| DirectoryHandles::new(&recorder, name, servers)).collect(),
            audit_dropped: counter(&recorder, names::AUDIT_DROPPED, &[]),
            panics: counter(&recorder, names::PANICS, &[]),
            started_at: process::now(),
            recorder,
        }
    }

    /// One operation has finished.
    pub fn operation(&self, outcome: &Outcome) {
        let (kind, served) = (outcome.kind as usize, outcome.served as usize);
        let pair = kind * Served::ALL.len() + served;
        if let Some(slot) = self.operations.get(pair * CODE_SLOTS + code_slot(outcome.code)) {
            slot.get_or_init(|| self.operation_counter(outcome)).increment(1);
        }
        if let Some(histogram) = self.durations.get(pair) {
            histogram.record(outcome.took);
        }
        if outcome.kind == OperationKind::Search {
            if let Some(entries) = self.entries.get(served) {
                entries.increment(u64::from(outcome.entries));
            }
            self.cache.searched(outcome.served);
        }
    }

    /// A phone connected to that listener (index in the configuration).
    pub fn connection_opened(&self, listener: usize) {
        if let Some(handles) = self.listeners.get(listener) {
            handles.open.increment(1.0);
            handles.opened.increment(1);
        }
    }

    /// It left.
    pub fn connection_closed(&self, listener: usize) {
        if let Some(handles) = self.listeners.get(listener) {
            handles.open.decrement(1.0);
        }
    }

    /// Somebody could not be served.
    pub fn connection_rejected(&self, listener: usize, why: Rejected) {
        if let Some(handles) = self.listeners.get(listener) {
            match why {
                Rejected::Network => handles.rejected_network.increment(1),
                Rejected::Full => handles.rejected_full.increment(1),
                Rejected::AcceptError => handles.accept_errors.increment(1),
            }
        }
    }

    /// A handshake ended.
    pub fn handshake(&self, listener: usize, how: Handshake) {
        if let Some(counter) = self.listeners.get(listener).and_then(|handles| handles.handshakes.get(how as usize)) {
            counter.increment(1);
        }
    }

    /// A hit made Redial ask again in the background.
    pub fn cache_refresh(&self) {
        self.cache.refreshes.increment(1);
    }

    /// What the cache holds now.
    pub fn cache_holds(&self, entries: u64, bytes: u64) {
        self.cache.entries.set(float(entries));
        self.cache.bytes.set(float(bytes));
    }

    /// A client has presented a password that a directory could prove.
    pub fn bind_recalled(&self, recall: BindRecall) {
        if let Some(counter) = self.binds.recalled.get(recall as usize) {
            counter.increment(1);
        }
    }

    /// The lockout guard let a bind not out.
    pub fn lockout_guard_refused(&self) {
        self.binds.guard_refused.increment(1);
    }

    /// Accounts that the lockout guard holds closed now.
    pub fn lockout_guarded(&self, principals: usize) {
        self.binds.guarded.set(float(principals as u64));
    }

    /// A server of a directory (indices in the configuration) is up or down.
    pub fn upstream_up(&self, directory: usize, server: usize, up: bool) {
        if let Some(handles) = self.server(directory, server) {
            handles.up.set(if up { 1.0 } else { 0.0 });
        }
    }

    /// Connections to a server that stand.
    pub fn upstream_connections(&self, directory: usize, server: usize, count: usize) {
        if let Some(handles) = self.server(directory, server) {
            handles.connections.set(float(count as u64));
        }
    }

    /// An operation was sent to a server.
    pub fn upstream_sent(&self, directory: usize, server: usize) {
        if let Some(handles) = self.server(directory, server) {
            handles.in_flight.increment(1.0);
        }
    }

    /// And it ended, with an answer or without.
    pub fn upstream_ended(&self, directory: usize, server: usize, answered: bool, took: Duration) {
        if let Some(handles) = self.server(directory, server) {
            handles.in_flight.decrement(1.0);
            if answered { &handles.answered } else { &handles.unanswered }.increment(1);
            handles.durations.record(took);
        }
    }

    /// A search was tried again on another server.
    pub fn upstream_retried(&self, directory: usize) {
        if let Some(handles) = self.directories.get(directory) {
            handles.retries.increment(1);
        }
    }

    /// So many lines of the audit log were dropped.
    pub fn audit_dropped(&self, lines: u64) {
        self.audit_dropped.increment(lines);
    }

    /// A task panicked: a bug of ours, which ended one connection.
    pub fn panicked(&self) {
        self.panics.increment(1);
    }

    /// All of it in Prometheus's text format.
    pub fn render(&self) -> String {
        process::record(&self.recorder, self.started_at);
        let mut page = self.recorder.handle().render();
        histogram::begin_family(names::OPERATION_DURATION, &mut page);
        for (kind, row) in OperationKind::ALL.iter().zip(self.durations.chunks(Served::ALL.len())) {
            for (served, histogram) in Served::ALL.iter().zip(row) {
                histogram.render(names::OPERATION_DURATION, &[("operation", kind.name()), ("served", served.name())], &mut page);
            }
        }
        histogram::begin_family(names::UPSTREAM_DURATION, &mut page);
        for directory in &self.directories {
            for server in &directory.servers {
                let labels = [("directory", directory.name.as_str()), ("server", server.url.as_str())];
                server.durations.render(names::UPSTREAM_DURATION, &labels, &mut page);
            }
        }
        page
    }

    /// The names of all metrics, those without a series yet included.
    pub fn names() -> impl Iterator<Item = &'static str> {
        names::all().map(|metric| metric.name)
    }

    fn server(&self, directory: usize, server: usize) -> Option<&ServerHandles> {
        self.directories.get(directory)?.servers.get(server)
    }

    fn operation_counter(&self, outcome: &Outcome) -> Counter {
        let labels = [("operation", outcome.kind.name()), ("served", outcome.served.name()), ("code", outcome.code.name())];
        counter(&self.recorder, names::OPERATIONS, &labels)
    }
}

impl CacheHandles {
    fn new(recorder: &PrometheusRecorder) -> Self {
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

    fn searched(&self, served: Served) {
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
    fn new(recorder: &PrometheusRecorder) -> Self {
        Self {
            recalled: ["accepted", "rejected", "miss"].map(|result| counter(recorder, names::BIND_CACHE, &[("result", result)])),
            guard_refused: counter(recorder, names::GUARD_REFUSED, &[]),
            guarded: gauge(recorder, names::GUARDED, &[]),
        }
    }
}

impl ListenerHandles {
    fn new(recorder: &PrometheusRecorder, address: &str) -> Self {
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
    fn new(recorder: &PrometheusRecorder, name: String, servers: Vec<String>) -> Self {
        // A phonebook in memory has no servers, and so no series of its own.
        let retries =
            if servers.is_empty() { Counter::noop() } else { counter(recorder, names::UPSTREAM_RETRIES, &[("directory", &name)]) };
        Self { retries, servers: servers.into_iter().map(|url| ServerHandles::new(recorder, &name, url)).collect(), name }
    }
}

impl ServerHandles {
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

fn counter(recorder: &PrometheusRecorder, metric: Metric, labels: &[(&str, &str)]) -> Counter {
    recorder.register_counter(&key(metric, labels), &METADATA)
}

fn gauge(recorder: &PrometheusRecorder, metric: Metric, labels: &[(&str, &str)]) -> Gauge {
    recorder.register_gauge(&key(metric, labels), &METADATA)
}

fn key(metric: Metric, labels: &[(&str, &str)]) -> Key {
    Key::from_parts(metric.name, labels.iter().map(|&(name, value)| Label::new(name.to_owned(), value.to_owned())).collect::<Vec<_>>())
}

/// One slot for each code from 0 to 80 and from 118 to 123; a number without a name shares the slot of other(80).
const fn code_slot(code: ResultCode) -> usize {
    match code.0 {
        low @ 0..=80 => low as usize,
        high @ 118..=123 => high as usize - 118 + 81,
        _ => ResultCode::OTHER.0 as usize,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a gauge that is exact up to 2^53 is exact enough")]
const fn float(number: u64) -> f64 {
    number as f64
}

const CODE_SLOTS: usize = 87;
const OPERATION_SLOTS: usize = OperationKind::ALL.len() * Served::ALL.len() * CODE_SLOTS;
static METADATA: Metadata<'static> = Metadata::new("redial", Level::INFO, None);

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(kind: OperationKind, served: Served, code: ResultCode) -> Outcome {
        Outcome { kind, served, code, entries: 3, took: Duration::from_micros(37) }
    }

    fn one_of_each() -> Metrics {
        Metrics::with_labels(
            &["127.0.0.1:389".to_owned(), "127.0.0.1:636".to_owned()],
            [("corp".to_owned(), vec!["ldaps://dc1.corp.example".to_owned(), "ldaps://dc2.corp.example".to_owned()])],
        )
    }

    fn has(page: &str, line: &str) {
        assert!(page.lines().any(|l| l == line), "no line {line:?} in\n{page}");
    }

    #[test]
    fn an_operation_is_counted_under_its_kind_source_and_code() {
        let metrics = one_of_each();
        metrics.operation(&outcome(OperationKind::Search, Served::Hit, ResultCode::SUCCESS));
        metrics.operation(&outcome(OperationKind::Search, Served::Hit, ResultCode::SUCCESS));
        metrics.operation(&outcome(OperationKind::Bind, Served::Refused, ResultCode::INVALID_CREDENTIALS));
        let page = metrics.render();
        has(&page, r#"redial_operations_total{operation="search",served="hit",code="success"} 2"#);
        has(&page, r#"redial_operations_total{operation="bind",served="refused",code="invalidCredentials"} 1"#);
        has(&page, r#"redial_search_entries_total{served="hit"} 6"#);
        has(&page, "redial_cache_hits_total 2");
        has(&page, "redial_cache_misses_total 0");
    }

    #[test]
    fn each_way_of_serving_a_search_moves_its_own_cache_counter() {
        let metrics = one_of_each();
        for served in Served::ALL {
            metrics.operation(&outcome(OperationKind::Search, served, ResultCode::SUCCESS));
        }
        metrics.operation(&outcome(OperationKind::Bind, Served::Hit, ResultCode::SUCCESS));
        metrics.cache_refresh();
        let page = metrics.render();
        for name in ["hits", "misses", "stale", "coalesced", "refreshes"] {
            has(&page, &format!("redial_cache_{name}_total 1"));
        }
    }

    #[test]
    fn durations_fall_into_cumulative_buckets() {
        let metrics = one_of_each();
        metrics.operation(&outcome(OperationKind::Search, Served::Miss, ResultCode::SUCCESS));
        let page = metrics.render();
        let line = |le: &str| format!(r#"redial_operation_duration_seconds_bucket{{operation="search",served="miss",le="{le}"}}"#);
        has(&page, &format!("{} 0", line("0.000025")));
        has(&page, &format!("{} 1", line("0.00005")));
        has(&page, &format!("{} 1", line("+Inf")));
        has(&page, r#"redial_operation_duration_seconds_sum{operation="search",served="miss"} 0.000037"#);
        has(&page, r#"redial_operation_duration_seconds_count{operation="search",served="miss"} 1"#);
        assert!(!page.contains(r#"_bucket{operation="bind""#), "what never happened has no series");
    }

    #[test]
    fn codes_that_rfc_4511_does_not_name_share_one_label() {
        let metrics = one_of_each();
        for number in [80, 9, 4096, u32::MAX] {
            metrics.operation(&outcome(OperationKind::Search, Served::Miss, ResultCode(number)));
        }
        has(&metrics.render(), r#"redial_operations_total{operation="search",served="miss",code="other"} 4"#);
    }

    #[test]
    fn the_lists_of_kinds_and_sources_are_in_the_order_of_their_variants() {
        assert!(OperationKind::ALL.iter().enumerate().all(|(index, &kind)| kind as usize == index));
        assert!(Served::ALL.iter().enumerate().all(|(index, &served)| served as usize == index));
    }

    #[test]
    fn every_named_code_has_a_slot_of_its_own() {
        let slots: std::collections::HashSet<_> = (0..200).map(ResultCode).filter(|code| code.name() != "other").map(code_slot).collect();
        assert_eq!(slots.len(), (0..200).filter(|&number| ResultCode(number).name() != "other").count());
        assert!(slots.iter().all(|&slot| slot < CODE_SLOTS));
    }

    #[test]
    fn listeners_and_servers_are_told_apart() {
        let metrics = one_of_each();
        metrics.connection_opened(0);
        metrics.connection_opened(1);
        metrics.connection_opened(1);
        metrics.connection_closed(1);
        metrics.connection_rejected(0, Rejected::Network);
        metrics.connection_rejected(1, Rejected::AcceptError);
        metrics.handshake(1, Handshake::Resumed);
        metrics.handshake(1, Handshake::Failed);
        metrics.upstream_up(0, 1, true);
        metrics.upstream_connections(0, 1, 4);
        metrics.upstream_sent(0, 0);
        metrics.upstream_sent(0, 1);
        metrics.upstream_ended(0, 1, true, Duration::from_millis(3));
        metrics.upstream_retried(0);
        metrics.cache_holds(7, 4096);
        metrics.bind_recalled(BindRecall::Rejected);
        metrics.lockout_guard_refused();
        metrics.lockout_guarded(2);
        let page = metrics.render();
        for line in [
            r#"redial_downstream_connections{listener="127.0.0.1:389"} 1"#,
            r#"redial_downstream_connections{listener="127.0.0.1:636"} 1"#,
            r#"redial_downstream_connections_total{listener="127.0.0.1:636"} 2"#,
            r#"redial_downstream_rejected_total{listener="127.0.0.1:389",reason="network"} 1"#,
            r#"redial_downstream_accept_errors_total{listener="127.0.0.1:636"} 1"#,
            r#"redial_downstream_tls_handshakes_total{listener="127.0.0.1:636",result="resumed"} 1"#,
            r#"redial_downstream_tls_handshakes_total{listener="127.0.0.1:636",result="full"} 0"#,
            r#"redial_upstream_up{directory="corp",server="ldaps://dc1.corp.example"} 0"#,
            r#"redial_upstream_up{directory="corp",server="ldaps://dc2.corp.example"} 1"#,
            r#"redial_upstream_connections{directory="corp",server="ldaps://dc2.corp.example"} 4"#,
            r#"redial_upstream_in_flight{directory="corp",server="ldaps://dc1.corp.example"} 1"#,
            r#"redial_upstream_in_flight{directory="corp",server="ldaps://dc2.corp.example"} 0"#,
            r#"redial_upstream_requests_total{directory="corp",server="ldaps://dc2.corp.example",result="answered"} 1"#,
            r#"redial_upstream_request_duration_seconds_count{directory="corp",server="ldaps://dc2.corp.example"} 1"#,
            r#"redial_upstream_retries_total{directory="corp"} 1"#,
            "redial_cache_entries 7",
            "redial_cache_bytes 4096",
            r#"redial_bind_cache_total{result="accepted"} 0"#,
            r#"redial_bind_cache_total{result="rejected"} 1"#,
            "redial_lockout_guard_refused_total 1",
            "redial_lockout_guarded_principals 2",
        ] {
            has(&page, line);
        }
    }

    #[test]
    fn an_index_outside_the_configuration_is_ignored() {
        let metrics = Metrics::unrecorded();
        metrics.connection_opened(9);
        metrics.handshake(9, Handshake::Full);
        metrics.upstream_sent(9, 9);
        metrics.upstream_retried(9);
        assert!(!metrics.render().contains("listener="));
    }

    #[test]
    fn every_family_has_help_and_type_once_and_every_name_is_in_the_list() {
        let metrics = one_of_each();
        metrics.operation(&outcome(OperationKind::Search, Served::Hit, ResultCode::SUCCESS));
        metrics.upstream_ended(0, 0, true, Duration::from_millis(3));
        let page = metrics.render();
        for metric in names::all() {
            assert_eq!(page.matches(&format!("# HELP {} ", metric.name)).count(), 1, "help of {}", metric.name);
            assert_eq!(page.matches(&format!("# TYPE {} ", metric.name)).count(), 1, "type of {}", metric.name);
        }
        for line in page.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(names::all().any(|metric| metric.name == family || metric.name == name), "{name} is not in the list");
        }
    }
}
