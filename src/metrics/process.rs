//! What Linux knows about this process, read from /proc whenever somebody asks for the metrics. Elsewhere these gauges are absent.

use super::{float, gauge, names};
use metrics_exporter_prometheus::PrometheusRecorder;
use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, as Prometheus counts time.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Sets the process's gauges.
pub(super) fn record(recorder: &PrometheusRecorder, started_at: Duration) {
    gauge(recorder, names::START_TIME, &[]).set(started_at.as_secs_f64());
    if let Some(kibibytes) = fs::read_to_string("/proc/self/status").ok().and_then(|status| number_after(&status, "VmRSS:")) {
        gauge(recorder, names::RESIDENT_MEMORY, &[]).set(float(kibibytes * 1024));
    }
    if let Ok(descriptors) = fs::read_dir("/proc/self/fd") {
        // The directory that is being read is one of them.
        gauge(recorder, names::OPEN_FDS, &[]).set(float((descriptors.count() as u64).saturating_sub(1)));
    }
    if let Some(most) = fs::read_to_string("/proc/self/limits").ok().and_then(|limits| number_after(&limits, "Max open files")) {
        gauge(recorder, names::MAX_FDS, &[]).set(float(most));
    }
}

/// The number that follows `label` at the beginning of a line.
pub(crate) fn number_after(text: &str, label: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(label))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_label() {
        let status = "Name:\tredial\nVmRSS:\t    5120 kB\n";
        assert_eq!(number_after(status, "VmRSS:"), Some(5120));
        assert_eq!(
            number_after("Max open files            1024                 524288               files\n", "Max open files"),
            Some(1024)
        );
        assert_eq!(number_after(status, "VmHWM:"), None);
    }
}
