//! How much of the memory is left, and what is given up when it gets little: first what is kept, then who comes next.
//!
//! Phones that are connected go on being answered. The memory that counts is what the process has (its resident set), held against
//! `limits.memory`, or what the control group or the machine has.

use crate::metrics::{Metrics, number_after};
use rustix::system::sysinfo;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;
use tokio::time::sleep;
use tracing::{info, warn};

/// How much is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Enough.
    Calm,
    /// Little: part of what is kept goes, again and again as more is taken.
    Tight,
    /// Hardly any: nobody more is served.
    Critical,
}

/// The level, as whoever asks sees it.
#[derive(Debug, Default)]
pub struct Pressure(AtomicU8);

impl Pressure {
    /// The level now.
    pub fn level(&self) -> Level {
        match self.0.load(Ordering::Relaxed) {
            0 => Level::Calm,
            1 => Level::Tight,
            _ => Level::Critical,
        }
    }

    /// Looks at the memory every second, for ever. `most` is what the process may have, in octets; `relieve` gives part of it back.
    pub async fn watch(self: Arc<Self>, most: u64, metrics: Arc<Metrics>, relieve: impl Fn() + Send) {
        let mut relieved_at = None;
        loop {
            if let Some(taken) = resident() {
                self.changed(taken, most, &metrics);
                if must_give(taken, most, self.level(), &mut relieved_at) {
                    relieve();
                }
            }
            sleep(INTERVAL).await;
        }
    }

    fn changed(&self, taken: u64, most: u64, metrics: &Metrics) {
        let (before, level) = (self.level(), judge(taken, most, self.level()));
        if level == before {
            return;
        }
        self.0.store(level as u8, Ordering::Relaxed);
        metrics.memory_pressure(level as u8);
        let (taken, most) = (taken >> 20, most >> 20);
        match level {
            Level::Calm => info!(taken, most, "enough memory again (MiB)"),
            Level::Tight => {
                warn!(taken, most, "little memory is left (MiB): part of the answers goes; see limits.memory and cache.capacity")
            }
            Level::Critical => warn!(taken, most, "hardly any memory is left (MiB): new connections are closed; see limits.memory"),
        }
    }
}

/// The level for so much taken of so much. It falls a little later than it rises, so that it does not flap.
fn judge(taken: u64, most: u64, before: Level) -> Level {
    let twentieths = |count: u64| most / 20 * count;
    match before {
        _ if taken >= twentieths(19) => Level::Critical,
        Level::Critical if taken >= twentieths(18) + twentieths(1) / 2 => Level::Critical,
        _ if taken >= twentieths(18) => Level::Tight,
        Level::Tight | Level::Critical if taken >= twentieths(17) => Level::Tight,
        _ => Level::Calm,
    }
}

/// Is something to be given up now? What was given up before can be used again, though the system still counts it as taken: so only when the
/// process has grown since then.
fn must_give(taken: u64, most: u64, level: Level, relieved_at: &mut Option<u64>) -> bool {
    if level == Level::Calm {
        *relieved_at = None;
        return false;
    }
    let has_grown = relieved_at.is_none_or(|before| taken >= before.saturating_add(most / 100));
    if has_grown {
        *relieved_at = Some(taken);
    }
    has_grown
}

/// What there is for this process, in octets: what its control groups may have, or what the machine has. The system call tells where a sandbox hides
/// /proc/meminfo.
pub fn available() -> u64 {
    let machine = sysinfo();
    let all = machine.totalram.saturating_mul(machine.mem_unit.into());
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    allowed(&groups, |file| fs::read_to_string(file).ok()).map_or(all, |most| most.min(all))
}

/// The least that a control group allows, from the process's own up to the outermost (cgroups(7), version 2); a container may see only the last.
fn allowed(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let limits = Path::new(own).ancestors().map(|group| Path::new("/sys/fs/cgroup").join(group).join("memory.max"));
    limits.filter_map(|file| read(&file)?.trim().parse().ok()).min()
}

fn resident() -> Option<u64> {
    kibibytes(&fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// In octets, where /proc has kibibytes.
fn kibibytes(text: &str, label: &str) -> Option<u64> {
    number_after(text, label).map(|kibibytes| kibibytes << 10)
}

/// A second is little time for memory to run out, and reading it costs microseconds.
const INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_rises_by_what_is_taken_and_falls_a_little_later() {
        use Level::{Calm, Critical, Tight};
        let steps = [(800, Calm), (899, Calm), (900, Tight), (949, Tight), (950, Critical), (930, Critical), (924, Tight), (860, Tight)];
        let mut level = Calm;
        for (taken, expected) in steps.into_iter().chain([(849, Calm), (990, Critical), (100, Calm)]) {
            level = judge(taken, 1000, level);
            assert_eq!(level, expected, "{taken}");
        }
    }

    #[test]
    fn something_is_given_up_at_first_and_then_only_as_the_process_grows() {
        use Level::{Calm, Critical, Tight};
        let mut relieved_at = None;
        let steps = [(80, Calm, false), (90, Tight, true), (90, Tight, false), (89, Tight, false), (91, Tight, true), (95, Critical, true)];
        for (taken, level, given) in steps.into_iter().chain([(95, Critical, false), (80, Calm, false), (90, Tight, true)]) {
            assert_eq!(must_give(taken, 100, level, &mut relieved_at), given, "{taken}");
        }
    }

    #[test]
    fn what_there_is_and_what_is_taken_are_known() {
        assert!(available() > resident().unwrap());
        assert_eq!(kibibytes("Name:\tredial\nVmRSS:\t    5120 kB\n", "VmRSS:"), Some(5120 << 10));
        assert_eq!(kibibytes("VmRSS: x kB\n", "VmRSS:"), None);
    }

    #[test]
    fn the_tightest_of_the_control_groups_around_a_process_counts() {
        let limits =
            [("/sys/fs/cgroup/system.slice/redial.service/memory.max", "max\n"), ("/sys/fs/cgroup/system.slice/memory.max", "4096\n")];
        let read = |file: &Path| limits.iter().find_map(|(there, limit)| (file == Path::new(there)).then(|| (*limit).to_owned()));
        assert_eq!(allowed("0::/system.slice/redial.service\n", read), Some(4096));
        assert_eq!(allowed("0::/user.slice\n", read), None);
        let container = |file: &Path| (file == Path::new("/sys/fs/cgroup/memory.max")).then(|| "8192\n".to_owned());
        assert_eq!(allowed("0::/\n", container), Some(8192));
        assert_eq!(allowed("0::/machine.slice/outside\n", container), Some(8192));
        assert_eq!(allowed("4:memory:/old\n", container), None);
    }

    #[test]
    fn each_change_is_shown_and_everybody_sees_it() {
        let (pressure, metrics) = (Pressure::default(), Metrics::unrecorded());
        pressure.changed(95, 100, &metrics);
        assert_eq!(pressure.level(), Level::Critical);
        assert!(metrics.render().contains("\nredial_memory_pressure 2\n"));
        pressure.changed(10, 100, &metrics);
        assert_eq!(pressure.level(), Level::Calm);
        assert!(metrics.render().contains("\nredial_memory_pressure 0\n"));
    }
}
