//! `[limits]`.

use crate::config::Limits;
use crate::config::table::Table;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Reads the limits.
pub(super) fn read(mut table: Table<'_>) -> Limits {
    let defaults = Limits::default();
    let limits = Limits {
        message: table.size("message", defaults.message, MESSAGE, "must be 4KiB to 16MiB"),
        bound_message: table.size("bound_message", defaults.bound_message, MESSAGE, "must be 4KiB to 16MiB"),
        upstream_message: table.size(
            "upstream_message",
            defaults.upstream_message,
            64 << 10..=256 << 20,
            "must be 64KiB to 256MiB: a controller's entry with a photo has hundreds of KiB",
        ),
        pending: table.integer("pending", defaults.pending, 1..=4096, "must be 1 to 4096 operations"),
        queued: table.size("queued", defaults.queued, 16 << 10..=64 << 20, "must be 16KiB to 64MiB"),
        connections: table.integer("connections", defaults.connections, 1..=1_000_000, "must be 1 to 1000000 connections"),
        connections_per_address: table.integer(
            "connections_per_address",
            defaults.connections_per_address,
            1..=1_000_000,
            "must be 1 to 1000000 connections",
        ),
        connects_per_address: table.integer(
            "connects_per_address",
            defaults.connects_per_address,
            1..=1_000_000,
            "must be 1 to 1000000 connections a second",
        ),
        client_operations: table.integer("client_operations", defaults.client_operations, 1..=65_536, "must be 1 to 65536 operations"),
        memory: memory(&mut table),
        handshakes: table.integer("handshakes", defaults.handshakes, 1..=100_000, "must be 1 to 100000 handshakes at once"),
        handshake_timeout: table.duration("handshake_timeout", defaults.handshake_timeout, SECOND..=MINUTE, "must be 1s to 1m"),
        first_message: table.duration("first_message", defaults.first_message, SECOND..=HOUR, "must be 1s to 1h"),
        idle: table.duration("idle", defaults.idle, SECOND..=DAY, "must be 1s to 24h"),
        write_stall: table.duration("write_stall", defaults.write_stall, SECOND..=HOUR, "must be 1s to 1h"),
        drain: table.duration("drain", defaults.drain, Duration::ZERO..=HOUR, "must be at most 1h"),
    };
    if limits.bound_message < limits.message
        && let Some(value) = table.value("bound_message").or_else(|| table.value("message"))
    {
        value.problem("leaves bound_message below message: a client that has bound may send at least as much as one that has not");
    }
    table.finish();
    limits
}

/// `None` where it is not set: what there is decides.
fn memory(table: &mut Table<'_>) -> Option<u64> {
    table.value("memory")?;
    Some(table.size("memory", LEAST_MEMORY, LEAST_MEMORY..=1 << 44, "must be 64MiB to 16TiB"))
}

const LEAST_MEMORY: u64 = 64 << 20;
const MESSAGE: RangeInclusive<usize> = 4 << 10..=16 << 20;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
