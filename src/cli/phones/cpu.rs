//! CPU time of processes, as Linux counts it: the server's, for its cost; our own, to see who was the bottleneck.

use std::fs;
use std::time::Duration;

/// Time in the program and in the kernel on its behalf.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct CpuTime {
    pub(super) user: Duration,
    pub(super) system: Duration,
}

impl CpuTime {
    /// Of the process with that number, or `self`.
    pub(super) fn of(process: &str) -> Result<Self, String> {
        let file = format!("/proc/{process}/stat");
        let stat = fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?;
        Self::parse(&stat).ok_or_else(|| format!("{file}: not understood"))
    }

    /// Of all these processes together; `None` of none.
    pub(super) fn of_all(processes: &[u32]) -> Result<Option<Self>, String> {
        let mut sum: Option<Self> = None;
        for process in processes {
            let used = Self::of(&process.to_string())?;
            let so_far = sum.unwrap_or_default();
            sum = Some(Self { user: so_far.user + used.user, system: so_far.system + used.system });
        }
        Ok(sum)
    }

    /// The time since `before`.
    pub(super) const fn since(self, before: Self) -> Self {
        Self { user: self.user.saturating_sub(before.user), system: self.system.saturating_sub(before.system) }
    }

    /// Both together.
    pub(super) const fn total(self) -> Duration {
        self.user.saturating_add(self.system)
    }

    /// Fields 14 and 15. The command's name before them, in parentheses, may hold blanks and parentheses.
    fn parse(stat: &str) -> Option<Self> {
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut time = || fields.next()?.parse::<u64>().ok().map(|ticks| Duration::from_millis(ticks.saturating_mul(TICK)));
        Some(Self { user: time()?, system: time()? })
    }
}

/// In milliseconds: USER_HZ is 100 on all that Linux runs on.
const TICK: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "17 (a) b (c) S 1 17 17 0 -1 4194304 1 0 0 0 250 50 0 0 20 0 4 0 100 1 1";
        let time = CpuTime::parse(stat).unwrap();
        assert_eq!((time.user, time.system), (Duration::from_millis(2500), Duration::from_millis(500)));
        assert_eq!(time.since(time).total(), Duration::ZERO);
        assert_eq!(CpuTime::parse("17 (a) S"), None);
    }

    #[test]
    fn a_process_that_is_not_there_is_named() {
        assert!(CpuTime::of("0").unwrap_err().contains("/proc/0/stat"));
    }
}
