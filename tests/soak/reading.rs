//! What the program takes, as the system and its own metrics say it.

use crate::common::admin::request;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

/// What a process takes at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    /// Resident memory, in KiB.
    pub(crate) resident: u64,
    /// Every series of its metrics.
    series: BTreeMap<String, f64>,
}

impl Reading {
    /// Of that process.
    pub(crate) fn of(process: u32, admin: SocketAddr) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident = resident.trim().trim_end_matches(" kB").parse().unwrap();
        let (status, page) = request(admin, "GET", "/metrics").expect("the metrics");
        assert_eq!(status, 200);
        let series = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        let series = series.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect();
        Self { resident, series }
    }

    /// The sum of all series that begin so.
    pub(crate) fn sum(&self, begin: &str) -> f64 {
        self.with(begin).map(|(_, value)| value).sum()
    }

    /// The series that begin so.
    pub(crate) fn with(&self, begin: &str) -> impl Iterator<Item = (&str, f64)> {
        self.series.iter().filter(move |(name, _)| name.starts_with(begin)).map(|(name, value)| (name.as_str(), *value))
    }

    /// What that table holds.
    pub(crate) fn table(&self, name: &str) -> f64 {
        self.sum(&format!("redial_table_entries{{table=\"{name}\"}}"))
    }

    /// Descriptors that are no connection to a controller: of these the metrics know the number.
    pub(crate) fn other_descriptors(&self) -> f64 {
        self.sum("process_open_fds") - self.sum("redial_upstream_connections{")
    }

    /// Nobody is connected, nothing is under way, and every server is up.
    pub(crate) fn is_at_rest(&self) -> bool {
        let is_nothing = |begin| self.sum(begin) == 0.0;
        is_nothing("redial_downstream_connections{")
            && is_nothing("redial_bound_sessions")
            && is_nothing("redial_upstream_in_flight{")
            && self.is_up()
    }

    /// Every server is up.
    pub(crate) fn is_up(&self) -> bool {
        self.with("redial_upstream_up{").all(|(_, up)| up == 1.0)
    }
}

impl Display for Reading {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB resident, {} descriptors", self.resident, self.sum("process_open_fds"))?;
        for gauge in
            ["redial_downstream_connections{", "redial_bound_sessions", "redial_upstream_connections{", "redial_upstream_in_flight{"]
        {
            write!(f, ", {} {}", self.sum(gauge), gauge.trim_end_matches('{').trim_start_matches("redial_"))?;
        }
        write!(f, ", {} octets in {} answers", self.sum("redial_cache_bytes"), self.sum("redial_cache_entries"))?;
        self.with("redial_table_entries{")
            .try_for_each(|(table, entries)| write!(f, ", {entries} {}", table.trim_start_matches("redial_table_entries")))
    }
}
