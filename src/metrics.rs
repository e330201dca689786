//! Every metric: name, help, labels. Handles are made once and recorded through methods; recording allocates nothing.
//!
//! In: what happened, said by whoever saw it; operations as an [`Outcome`]. Out: Prometheus's text format, from [`Metrics::render`].
//! Label values come from enums and the configuration, so they are finite; no DN, user, filter or client address ever is one.
//!
//! Counters and gauges live in the `metrics` crate's Prometheus recorder. Its histograms keep every sample until somebody
//! collects them, which costs an allocation each 64 operations; `histogram.rs` counts into fixed buckets instead. What every operation
//! touches is counted in `operations.rs`, by each thread for itself (`count.rs`). There is no global recorder: a test, or
//! a second proxy in one process, has numbers of its own.

mod certificates;
mod count;
mod handles;
mod histogram;
mod names;
mod operations;
mod process;
mod servers;

use crate::config::{Config, DirectoryConfig};
use crate::identity::binds::Recalled;
use crate::identity::revocation::Revocation;
use crate::outcome::Outcome;
use arc_swap::ArcSwap;
pub use certificates::CertificateOf;
use certificates::Certificates;
pub use handles::DirectoryMetrics;
use handles::{BindHandles, CacheHandles, ListenerHandles, ReloadHandles, counter, gauge};
use metrics::{Counter, Gauge, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use names::Metric;
use operations::Operations;
pub(crate) use process::number_after;
pub use servers::ServerMetrics;
use servers::Servers;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    /// A trusted proxy sent no PROXY header, or none that can be read.
    ProxyHeader,
    /// The listener is full: it waits until another ends.
    Full,
    /// Its address has as many connections as it may.
    Address,
    /// Its address connects too often.
    Rate,
    /// There is hardly any memory left.
    Memory,
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
    operations: Operations,
    cache: CacheHandles,
    binds: BindHandles,
    /// By the numbers that [`Metrics::listener_opened`] gives.
    listeners: ArcSwap<Vec<Arc<ListenerHandles>>>,
    /// By the numbers that [`Metrics::directory_opened`] gives.
    directories: ArcSwap<BTreeMap<usize, Arc<DirectoryMetrics>>>,
    /// The number of the next one.
    next_directory: AtomicUsize,
    servers: Servers,
    audit_dropped: Counter,
    memory_pressure: Gauge,
    reloads: ReloadHandles,
    certificates: Certificates,
    panics: Counter,
    started_at: Duration,
}

impl Metrics {
    /// Handles for these listeners and directories.
    pub fn new(config: &Config) -> Self {
        let listeners = config.listeners.iter().map(|listener| listener.address.to_string()).collect::<Vec<_>>();
        Self::with_labels(&listeners, &config.directories)
    }

    /// Handles whose numbers nobody reads: for tests.
    pub fn unrecorded() -> Self {
        Self::with_labels(&[], &[])
    }

    fn with_labels(listeners: &[String], directories: &[DirectoryConfig]) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in names::COUNTERS {
            recorder.describe_counter(metric.name.into(), None, metric.help.into());
        }
        for metric in names::GAUGES {
            recorder.describe_gauge(metric.name.into(), None, metric.help.into());
        }
        gauge(&recorder, names::BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))]).set(1.0);
        Self {
            operations: Operations::default(),
            cache: CacheHandles::new(&recorder),
            binds: BindHandles::new(&recorder),
            listeners: ArcSwap::from_pointee(listeners.iter().map(|address| Arc::new(ListenerHandles::new(&recorder, address))).collect()),
            directories: ArcSwap::from_pointee(
                directories.iter().map(|directory| Arc::new(DirectoryMetrics::new(&recorder, directory))).enumerate().collect(),
            ),
            next_directory: AtomicUsize::new(directories.len()),
            servers: Servers::default(),
            audit_dropped: counter(&recorder, names::AUDIT_DROPPED, &[]),
            memory_pressure: gauge(&recorder, names::MEMORY_PRESSURE, &[]),
            reloads: ReloadHandles::new(&recorder),
            certificates: Certificates::default(),
            panics: counter(&recorder, names::PANICS, &[]),
            started_at: process::now(),
            recorder,
        }
    }

    /// A listener begins that was not there at the start; the number by which it is told apart.
    pub fn listener_opened(&self, address: &str) -> usize {
        append(&self.listeners, || ListenerHandles::new(&self.recorder, address))
    }

    /// A directory begins that was not there at the start, or that takes the place of one; the number by which it is told apart.
    pub fn directory_opened(&self, directory: &DirectoryConfig) -> usize {
        let number = self.next_directory.fetch_add(1, Ordering::Relaxed);
        let handles = Arc::new(DirectoryMetrics::new(&self.recorder, directory));
        self.directories.rcu(|others| {
            let mut more = BTreeMap::clone(others);
            more.insert(number, Arc::clone(&handles));
            more
        });
        number
    }

    /// That directory begins nothing more. What is shown of its servers stays only where another directory has the same.
    pub fn directory_retired(&self, directory: usize) {
        self.servers.retire(directory);
        self.directories.rcu(|others| {
            let mut fewer = BTreeMap::clone(others);
            fewer.remove(&directory);
            fewer
        });
    }

    /// What is counted of that directory as a whole.
    pub fn directory(&self, directory: usize) -> Arc<DirectoryMetrics> {
        self.directories.load().get(&directory).map_or_else(Arc::default, Arc::clone)
    }

    /// DNS was asked for the servers of that directory, and has named them or not.
    pub fn discovered(&self, directory: usize, successful: bool) {
        if let Some(discovery) = self.directories.load().get(&directory).and_then(|handles| handles.discovery.as_ref()) {
            discovery.store(successful, Ordering::Relaxed);
        }
    }

    /// A server of that directory begins, under this URL; shown until it is retired, or its directory is.
    pub fn server_opened(&self, directory: usize, url: &str) -> Arc<ServerMetrics> {
        let directories = self.directories.load();
        directories.get(&directory).map_or_else(Arc::default, |handles| self.servers.open(directory, &handles.name, url))
    }

    /// One operation has finished.
    pub fn operation(&self, outcome: &Outcome) {
        self.operations(outcome, 1);
    }

    /// So many operations have finished in the same way and after the same time; `entries` are those of all together.
    pub fn operations(&self, outcome: &Outcome, count: u32) {
        self.operations.count(outcome, u64::from(count));
    }

    /// A phone connected to that listener (index in the configuration).
    pub fn connection_opened(&self, listener: usize) {
        if let Some(handles) = self.listeners.load().get(listener) {
            handles.open.increment(1.0);
            handles.opened.increment(1);
        }
    }

    /// It left.
    pub fn connection_closed(&self, listener: usize) {
        if let Some(handles) = self.listeners.load().get(listener) {
            handles.open.decrement(1.0);
        }
    }

    /// Somebody could not be served.
    pub fn connection_rejected(&self, listener: usize, why: Rejected) {
        if let Some(handles) = self.listeners.load().get(listener) {
            match why {
                Rejected::Network => handles.rejected_network.increment(1),
                Rejected::ProxyHeader => handles.rejected_proxy_header.increment(1),
                Rejected::Full => handles.rejected_full.increment(1),
                Rejected::Address => handles.rejected_address.increment(1),
                Rejected::Rate => handles.rejected_rate.increment(1),
                Rejected::Memory => handles.rejected_memory.increment(1),
                Rejected::AcceptError => handles.accept_errors.increment(1),
            }
        }
    }

    /// A handshake ended.
    pub fn handshake(&self, listener: usize, how: Handshake) {
        if let Some(counter) = self.listeners.load().get(listener).and_then(|handles| handles.handshakes.get(how as usize)) {
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

    /// What a table of that name holds now.
    pub fn table_holds(&self, table: &'static str, entries: usize) {
        gauge(&self.recorder, names::TABLES, &[("table", table)]).set(float(entries as u64));
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

    /// A session ended, since it was revoked.
    pub fn session_revoked(&self, why: Revocation) {
        if let Some(counter) = self.binds.revoked.get(why as usize) {
            counter.increment(1);
        }
    }

    /// Sessions that are bound now.
    pub fn bound_sessions(&self, sessions: usize) {
        self.binds.bound.set(float(sessions as u64));
    }

    /// The level of [`crate::pressure`], from 0 to 2.
    pub fn memory_pressure(&self, level: u8) {
        self.memory_pressure.set(f64::from(level));
    }

    /// So many lines of the audit log were dropped.
    pub fn audit_dropped(&self, lines: u64) {
        self.audit_dropped.increment(lines);
    }

    /// A configuration was read, and put in force at the start.
    pub fn configured(&self) {
        self.reloads.last_successful.set(1.0);
        self.reloads.last_success.set(process::now().as_secs_f64());
    }

    /// A reload has succeeded, or has changed nothing.
    pub fn reloaded(&self, succeeded: bool) {
        if succeeded {
            self.reloads.succeeded.increment(1);
            self.configured();
        } else {
            self.reloads.failed.increment(1);
            self.reloads.last_successful.set(0.0);
        }
    }

    /// A listener's or a CA's certificate expires then (since 1970); a controller's is told to its [`ServerMetrics`].
    pub fn certificate_expires(&self, of: CertificateOf, name: &str, not_after: Duration) {
        self.certificates.set(of, name, not_after);
    }

    /// Of these certificates, those are still in use for which this is true.
    pub fn retain_certificates(&self, is_in_use: impl Fn(CertificateOf, &str) -> bool) {
        self.certificates.retain(is_in_use);
    }

    /// The certificates in use that expire before that (since 1970).
    pub fn certificates_expiring_before(&self, when: Duration) -> Vec<(CertificateOf, String, Duration)> {
        let mut expiring = self.certificates.expiring_before(when);
        expiring.extend(self.servers.certificates().into_iter().filter(|(_, _, not_after)| *not_after < when));
        expiring
    }

    /// A task panicked: a bug of ours, which ended one connection.
    pub fn panicked(&self) {
        self.panics.increment(1);
    }

    /// All of it in Prometheus's text format.
    pub fn render(&self) -> String {
        process::record(&self.recorder, self.started_at);
        let mut page = self.recorder.handle().render();
        self.certificates.render(names::CERTIFICATE_NOT_AFTER, self.servers.certificates(), &mut page);
        self.operations.render(&mut page);
        self.servers.render(&mut page);
        self.render_discoveries(&mut page);
        page
    }

    /// By the directories' names, each once: after a reload two of one name may run for a moment.
    fn render_discoveries(&self, page: &mut String) {
        let directories = self.directories.load();
        let discoveries: BTreeMap<_, _> = directories
            .values()
            .filter_map(|directory| Some((&directory.name, directory.discovery.as_ref()?.load(Ordering::Relaxed))))
            .collect();
        let Metric { name, .. } = names::UPSTREAM_DISCOVERY;
        names::UPSTREAM_DISCOVERY.begin("gauge", page);
        for (directory, successful) in discoveries {
            let _ = writeln!(page, "{name}{{directory=\"{directory}\"}} {}", u8::from(successful));
        }
    }

    /// The names of all metrics, those without a series yet included.
    pub fn names() -> impl Iterator<Item = &'static str> {
        names::all().map(|metric| metric.name)
    }
}

/// Puts one more behind the others, and says at which place.
fn append<T>(list: &ArcSwap<Vec<Arc<T>>>, make: impl Fn() -> T) -> usize {
    let before = list.rcu(|others| {
        let mut longer = Vec::clone(others);
        longer.push(Arc::new(make()));
        longer
    });
    before.len()
}

#[expect(clippy::cast_precision_loss, reason = "a gauge that is exact up to 2^53 is exact enough")]
const fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests;
