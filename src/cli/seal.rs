//! Nobody looks into the process's memory: not by a debugger or `/proc`, nor by a core file (prctl(2), `PR_SET_DUMPABLE`; setrlimit(2)).
//!
//! Passwords pass through it, and some stay for a while. root may look all the same, and so does a swap file, which is the system's to encrypt.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tracing::warn;

/// From now on. Where the system does not allow it, the program goes on without, and says so.
pub(super) fn seal() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!(%error, "other programs of this user can read the memory of this one, passwords in it too");
    }
    // Beside the first, for systems that pipe core files to a program of their own.
    if let Err(error) = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }) {
        warn!(%error, "a crash may leave a core file, with passwords in it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{dumpable_behavior, getrlimit};

    #[test]
    fn the_process_is_not_dumpable_and_leaves_no_core() {
        seal();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
    }
}
