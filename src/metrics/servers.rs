//! What is counted of each controller. They come and go while Redial runs, and the recorder never forgets a series: so these are kept here, and
//! shown as long as their directory has them.

use super::certificates::CertificateOf;
use super::histogram::{Histogram, escaped};
use super::names::{self, Metric};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thread_local::ThreadLocal;

/// One server of one running directory. After a reload two directories of the same name may run for a while, and then they share what is shown.
#[derive(Debug, Default)]
pub struct ServerMetrics {
    series: Arc<Series>,
    /// Its part of the gauge.
    connections: AtomicUsize,
    /// It only ends what it began.
    is_retired: AtomicBool,
}

/// What is shown of one server.
#[derive(Debug, Default)]
struct Series {
    directory: String,
    url: String,
    up: AtomicBool,
    out_of_rotation: AtomicBool,
    connections: AtomicUsize,
    in_flight: AtomicUsize,
    answered: AtomicU64,
    unanswered: AtomicU64,
    durations: ThreadLocal<Histogram>,
    /// Of its certificate, as it was shown last, in seconds since 1970; 0: it has shown none.
    not_after: AtomicU64,
}

impl ServerMetrics {
    /// It answers, or not.
    pub fn up(&self, up: bool) {
        if !self.is_retired.load(Ordering::Relaxed) {
            self.series.up.store(up, Ordering::Relaxed);
        }
    }

    /// An administrator has taken it out of rotation, or back.
    pub fn out_of_rotation(&self, out: bool) {
        if !self.is_retired.load(Ordering::Relaxed) {
            self.series.out_of_rotation.store(out, Ordering::Relaxed);
        }
    }

    /// So many connections to it stand.
    pub fn connections(&self, count: usize) {
        let before = self.connections.swap(count, Ordering::Relaxed);
        // Two directories that share the gauge each add their change to it; what is less wraps around, and so comes out right.
        self.series.connections.fetch_add(count.wrapping_sub(before), Ordering::Relaxed);
    }

    /// An operation was sent to it.
    pub fn sent(&self) {
        self.series.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// And it ended, with an answer or without.
    pub fn ended(&self, answered: bool, took: Duration) {
        self.series.in_flight.fetch_sub(1, Ordering::Relaxed);
        if answered { &self.series.answered } else { &self.series.unanswered }.fetch_add(1, Ordering::Relaxed);
        self.series.durations.get_or_default().record(took, 1);
    }

    /// The certificate that it shows expires then (since 1970); says whether that is news.
    pub fn certificate_expires(&self, not_after: Duration) -> bool {
        self.series.not_after.swap(not_after.as_secs(), Ordering::Relaxed) != not_after.as_secs()
    }

    /// It is no longer one of its directory's: what is shown of it stays only where another directory of the same name has it too.
    pub fn retire(&self) {
        self.is_retired.store(true, Ordering::Relaxed);
    }

    fn is_shown(&self) -> bool {
        !self.is_retired.load(Ordering::Relaxed)
    }
}

/// Those of all running directories, by their directories' numbers.
#[derive(Debug, Default)]
pub(super) struct Servers(Mutex<Vec<(usize, Arc<ServerMetrics>)>>);

impl Servers {
    /// One more, of the directory with that number and name.
    pub(super) fn open(&self, number: usize, directory: &str, url: &str) -> Arc<ServerMetrics> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(_, server)| server.is_shown());
        let known = all.iter().map(|(_, server)| &server.series).find(|series| series.directory == directory && series.url == url);
        let series = known
            .map_or_else(|| Arc::new(Series { directory: directory.to_owned(), url: url.to_owned(), ..Series::default() }), Arc::clone);
        let server = Arc::new(ServerMetrics { series, ..ServerMetrics::default() });
        all.push((number, Arc::clone(&server)));
        server
    }

    /// That directory begins nothing more.
    pub(super) fn retire(&self, number: usize) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(of, _)| *of == number).for_each(|(_, server)| server.retire());
    }

    /// When the certificates expire that they have shown, each server once.
    pub(super) fn certificates(&self) -> Vec<(CertificateOf, String, Duration)> {
        let known =
            |series: &Arc<Series>| Some((series.url.clone(), series.not_after.load(Ordering::Relaxed))).filter(|(_, when)| *when > 0);
        let by_url: BTreeMap<_, _> = self.shown().iter().filter_map(known).collect();
        by_url.into_iter().map(|(url, when)| (CertificateOf::Controller, url, Duration::from_secs(when))).collect()
    }

    /// Appends them to the page, family by family.
    pub(super) fn render(&self, page: &mut String) {
        let shown = self.shown();
        for (metric, kind, value) in FAMILIES {
            let Metric { name, .. } = metric;
            metric.begin(kind, page);
            for series in &shown {
                let (directory, url) = (escaped(&series.directory), escaped(&series.url));
                for (more, value) in value(series) {
                    let _ = writeln!(page, "{name}{{directory=\"{directory}\",server=\"{url}\"{more}}} {value}");
                }
            }
        }
        names::UPSTREAM_DURATION.begin("histogram", page);
        for series in shown {
            let labels = [("directory", series.directory.as_str()), ("server", series.url.as_str())];
            let durations: Vec<_> = series.durations.iter().collect();
            Histogram::render(&durations, names::UPSTREAM_DURATION, &labels, page);
        }
    }

    /// Each once, though two directories may share it.
    fn shown(&self) -> Vec<Arc<Series>> {
        let mut shown: Vec<Arc<Series>> = Vec::new();
        for (_, server) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(|(_, server)| server.is_shown()) {
            if !shown.iter().any(|series| Arc::ptr_eq(series, &server.series)) {
                shown.push(Arc::clone(&server.series));
            }
        }
        shown
    }
}

/// Its values, each with its further labels.
type Values = fn(&Series) -> Vec<(&'static str, u64)>;

const FAMILIES: [(Metric, &str, Values); 5] = [
    (names::UPSTREAM_UP, "gauge", |series| vec![("", u64::from(series.up.load(Ordering::Relaxed)))]),
    (names::UPSTREAM_OUT, "gauge", |series| vec![("", u64::from(series.out_of_rotation.load(Ordering::Relaxed)))]),
    (names::UPSTREAM_CONNECTIONS, "gauge", |series| vec![("", series.connections.load(Ordering::Relaxed) as u64)]),
    (names::UPSTREAM_IN_FLIGHT, "gauge", |series| vec![("", series.in_flight.load(Ordering::Relaxed) as u64)]),
    (names::UPSTREAM_REQUESTS, "counter", |series| {
        let (answered, unanswered) = (series.answered.load(Ordering::Relaxed), series.unanswered.load(Ordering::Relaxed));
        vec![(",result=\"answered\"", answered), (",result=\"unanswered\"", unanswered)]
    }),
];
