//! The program's part of the world, as a configuration puts it together: reloaded, looked at when it is at rest, and ended.

use crate::Site;
use crate::common::certificates::Certificate;
use crate::controllers::{ByName, Controllers};
use crate::truth::{BASE, PEOPLE, Truth, person};
use crate::weather::up_to;
use redial::config::{Config, DirectoryKind};
use redial::directory::Directory;
use redial::lifecycle::{EndOnDrop, Ending, lifecycle};
use redial::metrics::Metrics;
use redial::pipeline::Current;
use redial::pipeline::answers::Wanted;
use redial::upstream::Upstream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, timeout};

/// See the module.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) truth: Arc<Truth>,
    pub(crate) controllers: Arc<Controllers>,
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) pipeline: Arc<Current>,
    pub(crate) metrics: Arc<Metrics>,
    /// Of the connections to controllers, each configuration's.
    pub(crate) endings: Endings,
    /// Octets that the cache may take in the configuration that is in force.
    pub(crate) capacity: Arc<AtomicU64>,
}

pub(crate) type Endings = Arc<Mutex<Vec<Arc<Ending>>>>;

impl House {
    /// Somebody changes the configuration to and fro.
    pub(crate) async fn reload(self, site: Arc<Site>, mut random: fastrand::Rng) {
        let weather = site.weather;
        let (mut edition, mut number, mut before) = (0, 0, weather.config(0, &self.certificate));
        let mut directories: Vec<_> = self.pipeline.load().directories().map(|(_, directory)| Arc::clone(directory)).collect();
        loop {
            sleep(up_to([100, 5_000, 60_000], &mut random)).await;
            let next = (edition + random.usize(1..4)) % 4;
            let after = weather.config(next, &self.certificate);
            let has_moved = after.directories != before.directories;
            let old = number;
            if has_moved {
                number = self.metrics.directory_opened(&after.directories[0]);
                directories = vec![upstream(&self.controllers, number, &after, &self.metrics, &self.endings).await];
            }
            let file: &[[u8; 32]] = &[[0; 32]];
            let now = Arc::clone(&self.pipeline.load());
            let lineage = now.lineage().succeeded((&before, file), (&after, file));
            if lineage.directory(0) != now.lineage().directory(0) {
                site.replaced_at.lock().unwrap().push(Instant::now());
            }
            self.pipeline.replace(Arc::new(now.succeeded(&after, lineage, directories.clone())));
            self.capacity.store(after.cache.capacity, Ordering::Relaxed);
            if has_moved {
                self.metrics.directory_retired(old);
            }
            self.truth.tell(&format!("edition {next} of the configuration is in force"));
            (edition, before) = (next, after);
        }
    }

    /// An administrator drops answers now and then.
    pub(crate) async fn drop_answers(self, mut random: fastrand::Rng) {
        loop {
            sleep(up_to([500, 5_000, 60_000], &mut random)).await;
            let base = match random.usize(..=PEOPLE) {
                PEOPLE => BASE.to_owned(),
                whose => person(whose),
            };
            let dropped = self.pipeline.load().drop_answers(&Wanted { base: Some(&base), ..Wanted::default() }).unwrap();
            self.truth.tell(&format!("{dropped} answers at {base} are dropped"));
        }
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Idle connections have gone, and what was given up.
    pub(crate) async fn rest(&self, site: &Site) {
        sleep(Duration::from_secs(150)).await;
        // Each server is watched, and so are clients' connections, and DNS; each connection has a task at both ends.
        let watched = site.weather.servers + 1 + usize::from(site.weather.discovers);
        let expected = || watched + 2 * self.controllers.open().iter().sum::<usize>();
        let quiet = async {
            // A probe may be under way.
            while alive() != expected() {
                sleep(Duration::from_millis(70)).await;
            }
        };
        if timeout(Duration::from_secs(10), quiet).await.is_err() {
            site.truth.wrong(&format!("{} tasks are left, and {} have something to do", alive(), expected()));
        }
        for (server, open) in self.controllers.open().into_iter().enumerate() {
            // One is kept warm by its probes.
            if open > 1 {
                site.truth.wrong(&format!("{open} connections to dc{server} are left"));
            }
        }
        self.reconcile(site);
    }

    /// The last of the end: controllers are told.
    pub(crate) async fn end(self, site: &Site) {
        let endings = std::mem::take(&mut *self.endings.lock().unwrap());
        endings.iter().for_each(|ending| ending.begin());
        let all_gone = async {
            while alive() > 0 || self.controllers.open().iter().any(|open| *open > 0) {
                sleep(Duration::from_millis(70)).await;
            }
        };
        if timeout(Duration::from_secs(60), all_gone).await.is_err() {
            site.truth.wrong(&format!("{} tasks are left after the end", alive()));
        }
        self.reconcile(site);
        drop(self.pipeline);
        if !endings.iter().all(|ending| ending.is_over()) {
            site.truth.wrong("something holds on to what has ended");
        }
    }

    /// What the metrics say is what phones and controllers have seen.
    fn reconcile(&self, site: &Site) {
        self.pipeline.load().measure(&self.metrics);
        self.weigh(&self.pipeline.load());
        let metrics = self.metrics.render();
        let sum = |name: &str, labels: &[String]| {
            let lines = metrics.lines().filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label.as_str())));
            lines.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum::<usize>()
        };
        let operation = |operation: &str| format!("operation=\"{operation}\"");
        let wrong = |what: &str| site.truth.wrong(&format!("the metrics say {what}"));
        let (sent, heard) = (site.sent.lock().unwrap(), site.heard.lock().unwrap());
        for (kind, sent) in sent.iter().filter(|(kind, _)| **kind != "extended") {
            let recorded = sum("redial_operations_total{", &[operation(kind)]);
            let heard: usize = heard.iter().filter(|((operation, _), _)| operation == kind).map(|(_, count)| count).sum();
            let is_heard_out = site.weather.is_polite && site.stopped_at().is_none() && site.replaced_at.lock().unwrap().is_empty();
            let least = if is_heard_out { *sent } else { heard };
            if recorded > *sent || recorded < least {
                wrong(&format!("{recorded} of {kind}: {sent} were sent, {heard} heard of"));
            }
        }
        for ((kind, code), heard) in heard.iter().filter(|((kind, _), _)| *kind != "extended") {
            let recorded = sum("redial_operations_total{", &[operation(kind), format!("code=\"{code}\"")]);
            if recorded < *heard {
                wrong(&format!("{recorded} of {kind} with {code}: {heard} were heard"));
            }
        }
        let stale = sum("redial_cache_stale_total", &[]);
        if site.truth.stale_reads() > stale {
            wrong(&format!("{stale} were stale, and {} were", site.truth.stale_reads()));
        }
        if sum("redial_upstream_in_flight{", &[]) + sum("redial_bound_sessions", &[]) != 0 {
            wrong("that something is in flight, or somebody bound");
        }
        // Rests of paged searches go by a clock of their own.
        for table in ["searches", "binds", "clients"] {
            let left = sum("redial_table_entries{", &[format!("table=\"{table}\"")]);
            if left != 0 {
                wrong(&format!("that {left} {table} are left"));
            }
        }
        for (server, open) in self.controllers.open().into_iter().enumerate() {
            let said = sum("redial_upstream_connections{", &[format!("://dc{server}.")]);
            if said != open {
                wrong(&format!("{said} connections to dc{server}, which has {open}"));
            }
        }
    }
}

/// Connections to the controllers of a configuration, which end with their last user.
pub(crate) async fn upstream(
    controllers: &Arc<Controllers>,
    number: usize,
    config: &Config,
    metrics: &Arc<Metrics>,
    endings: &Mutex<Vec<Arc<Ending>>>,
) -> Arc<dyn Directory> {
    let DirectoryKind::Upstream(configured) = &config.directories[0].kind else { panic!("a directory of controllers") };
    let (ending, running) = lifecycle();
    let ending = Arc::new(ending);
    endings.lock().unwrap().push(Arc::clone(&ending));
    let dial = Some(Arc::new(ByName(Arc::clone(controllers))) as _);
    let upstream = Upstream::reached_by(dial, number, configured, &config.limits, Arc::clone(metrics), running).unwrap();
    let upstream = upstream.ending_with(EndOnDrop(ending));
    upstream.start();
    // As long as the program waits.
    let _ = timeout(Duration::from_secs(1), upstream.asked()).await;
    Arc::new(upstream)
}

fn alive() -> usize {
    Handle::current().metrics().num_alive_tasks()
}
