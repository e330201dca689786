//! `[binds]`.

use crate::config::Binds;
use crate::config::table::Table;
use std::time::Duration;

/// Reads how binds are remembered and guarded.
pub(super) fn read(mut table: Table<'_>) -> Binds {
    let defaults = Binds::default();
    let binds = Binds {
        ttl: table.duration(
            "ttl",
            defaults.ttl,
            Duration::ZERO..=MINUTE * 5,
            "must be at most 5m: for so long a user who was disabled could still bind; 0s asks each time",
        ),
        rejected_ttl: table.duration(
            "rejected_ttl",
            defaults.rejected_ttl,
            Duration::ZERO..=HOUR,
            "must be at most 1h: for so long a password that has become right stays refused; 0s asks each time",
        ),
        attempts: table.integer(
            "attempts",
            defaults.attempts,
            1..=100,
            "must be 1 to 100, and at least two below the directory's own lockout threshold",
        ),
        window: table.duration(
            "window",
            defaults.window,
            MINUTE..=DAY,
            "must be 1m to 24h, and not below the directory's own time until it resets the count of wrong passwords",
        ),
        session_ttl: table.duration(
            "session_ttl",
            defaults.session_ttl,
            Duration::ZERO..=DAY * 30,
            "must be at most 30d: for so long an open connection could outlive the account that it is bound as; 0s never ends one",
        ),
    };
    table.finish();
    binds
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
