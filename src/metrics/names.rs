//! The names and helps of all metrics, by Prometheus's conventions: base units, `_total` for what only grows.

use std::fmt::Write;

/// One family of series.
#[derive(Debug, Clone, Copy)]
pub(super) struct Metric {
    /// Its name.
    pub(super) name: &'static str,
    /// One sentence for the administrator.
    pub(super) help: &'static str,
}

impl Metric {
    /// Appends the lines that come before a family's series; `kind` is "counter", "gauge" or "histogram".
    pub(super) fn begin(self, kind: &str, page: &mut String) {
        let Self { name, help } = self;
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }
}

/// Every metric there is.
pub(super) fn all() -> impl Iterator<Item = &'static Metric> {
    COUNTERS.iter().chain(GAUGES).chain(RENDERED_HERE)
}

const fn metric(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help }
}

pub(super) const OPERATIONS: Metric =
    metric("redial_operations_total", "Operations finished, by kind, by where the answer came from, and by result code.");
pub(super) const OPERATION_DURATION: Metric = metric(
    "redial_operation_duration_seconds",
    "From a request's last octet read to its answer's last octet handed to the connection, by kind and by where the answer came from.",
);
pub(super) const ENTRIES: Metric = metric("redial_search_entries_total", "Entries returned by searches, by where the answer came from.");

pub(super) const CACHE_HITS: Metric = metric("redial_cache_hits_total", "Searches answered from the cache, fresh.");
pub(super) const CACHE_MISSES: Metric = metric("redial_cache_misses_total", "Cacheable searches that a directory had to answer.");
pub(super) const CACHE_STALE: Metric =
    metric("redial_cache_stale_total", "Searches answered from the cache past their time, since the directory failed or dawdled.");
pub(super) const CACHE_COALESCED: Metric =
    metric("redial_cache_coalesced_total", "Searches answered by a request that was already under way for somebody else.");
pub(super) const CACHE_REFRESHES: Metric =
    metric("redial_cache_refreshes_total", "Cached answers asked for again in the background before their time was over.");
pub(super) const CACHE_ENTRIES: Metric = metric("redial_cache_entries", "Answers in the cache.");
pub(super) const CACHE_BYTES: Metric = metric("redial_cache_bytes", "Octets that the cache holds, keys and overhead counted.");

pub(super) const TABLES: Metric = metric(
    "redial_table_entries",
    "What tables in memory hold: searches under way for the cache (searches), passwords on their way to a directory (binds), clients with operations at directories (clients), searches of which \
     pages are left (pages), accounts of which passwords are remembered (passwords) or wrong ones counted (guard), who counts as one asker (askers), forms of searches (forms).",
);

pub(super) const BIND_CACHE: Metric = metric(
    "redial_bind_cache_total",
    "Binds to directories: with a password that was accepted or rejected a moment ago, or that a directory had to be asked about (miss).",
);
pub(super) const GUARD_REFUSED: Metric = metric(
    "redial_lockout_guard_refused_total",
    "Binds refused without asking a directory, since the account had as many wrong passwords as it may.",
);
pub(super) const GUARDED: Metric = metric(
    "redial_lockout_guarded_principals",
    "Accounts whose new passwords are refused now, so that their directory does not lock them.",
);
pub(super) const BOUND: Metric = metric("redial_bound_sessions", "Client sessions that are bound, or are being bound, now.");
pub(super) const REVOKED: Metric = metric(
    "redial_sessions_revoked_total",
    "Bound sessions ended by a Notice of Disconnection, by reason: the directory refuses the account or password now (refused), the password was \
     changed through Redial (password_changed), an administrator ended them (dropped), or they had lasted for [binds] session_ttl (aged).",
);

pub(super) const CONNECTIONS_OPEN: Metric = metric("redial_downstream_connections", "Client connections open now, by listener.");
pub(super) const CONNECTIONS: Metric = metric("redial_downstream_connections_total", "Client connections accepted, by listener.");
pub(super) const HANDSHAKES: Metric =
    metric("redial_downstream_tls_handshakes_total", "TLS handshakes with clients, by listener and result.");
pub(super) const REJECTED: Metric = metric(
    "redial_downstream_rejected_total",
    "Client connections closed unserved (reason network, proxy_header, address, rate or memory) or made to wait (full), by listener.",
);
pub(super) const ACCEPT_ERRORS: Metric =
    metric("redial_downstream_accept_errors_total", "Failures to accept a connection, such as a lack of file descriptors, by listener.");

pub(super) const UPSTREAM_UP: Metric = metric("redial_upstream_up", "1 while a server answers, else 0.");
pub(super) const UPSTREAM_OUT: Metric =
    metric("redial_upstream_out_of_rotation", "1 while a server gets nothing to do, since an administrator has taken it out, else 0.");
pub(super) const UPSTREAM_CONNECTIONS: Metric = metric("redial_upstream_connections", "Connections to a server that stand.");
pub(super) const UPSTREAM_IN_FLIGHT: Metric = metric("redial_upstream_in_flight", "Operations sent to a server and not yet answered.");
pub(super) const UPSTREAM_REQUESTS: Metric =
    metric("redial_upstream_requests_total", "Operations sent to a server that have ended, with an answer or without.");
pub(super) const UPSTREAM_DURATION: Metric =
    metric("redial_upstream_request_duration_seconds", "From an operation's sending to its end, by server.");
pub(super) const UPSTREAM_DISCOVERY: Metric = metric(
    "redial_upstream_discovery_successful",
    "1 if DNS has named the controllers of a directory with `discover` when it was asked last; else 0, and those that are known are kept.",
);
pub(super) const UPSTREAM_RETRIES: Metric = metric("redial_upstream_retries_total", "Operations tried a second time on another server.");

pub(super) const AUDIT_DROPPED: Metric = metric(
    "redial_audit_dropped_total",
    "Lines that the audit log lacks, since operations ended faster than it could be written, or it could not be written at all.",
);

pub(super) const RELOADS: Metric =
    metric("redial_config_reloads_total", "Attempts to reload the configuration, by result: what is failed has changed nothing.");
pub(super) const RELOAD_SUCCESSFUL: Metric = metric(
    "redial_config_last_reload_successful",
    "1 if the last attempt to reload the configuration succeeded, or none was made; else 0.",
);
pub(super) const RELOAD_TIME: Metric =
    metric("redial_config_last_reload_success_timestamp_seconds", "When the configuration in force was read, in seconds since 1970 (UTC).");

pub(super) const CERTIFICATE_NOT_AFTER: Metric = metric(
    "redial_certificate_not_after_timestamp_seconds",
    "When a certificate expires, in seconds since 1970 (UTC): of a listener, of CAs (the first in the file), of a controller as shown last.",
);

pub(super) const MEMORY_PRESSURE: Metric = metric(
    "redial_memory_pressure",
    "0: enough memory. 1: little is left, and part of the answers goes. 2: hardly any, and new connections are closed.",
);

pub(super) const PANICS: Metric = metric("redial_panics_total", "Tasks that a bug of Redial's ended. Please report them.");
pub(super) const BUILD_INFO: Metric = metric("redial_build_info", "Always 1; the version is a label.");
pub(super) const START_TIME: Metric = metric("process_start_time_seconds", "When the process started, in seconds since 1970 (UTC).");
pub(super) const RESIDENT_MEMORY: Metric = metric("process_resident_memory_bytes", "Resident memory.");
pub(super) const OPEN_FDS: Metric = metric("process_open_fds", "Open file descriptors.");
pub(super) const MAX_FDS: Metric = metric("process_max_fds", "The most file descriptors that may be open.");

/// What only grows, of what the recorder keeps.
pub(super) const COUNTERS: &[Metric] = &[
    CACHE_REFRESHES,
    BIND_CACHE,
    GUARD_REFUSED,
    REVOKED,
    CONNECTIONS,
    HANDSHAKES,
    REJECTED,
    ACCEPT_ERRORS,
    UPSTREAM_RETRIES,
    AUDIT_DROPPED,
    RELOADS,
    PANICS,
];

/// What goes up and down.
pub(super) const GAUGES: &[Metric] = &[
    CACHE_ENTRIES,
    CACHE_BYTES,
    TABLES,
    GUARDED,
    BOUND,
    CONNECTIONS_OPEN,
    RELOAD_SUCCESSFUL,
    RELOAD_TIME,
    MEMORY_PRESSURE,
    BUILD_INFO,
    START_TIME,
    RESIDENT_MEMORY,
    OPEN_FDS,
    MAX_FDS,
];

/// What the recorder does not know of.
const RENDERED_HERE: &[Metric] = &[
    CERTIFICATE_NOT_AFTER,
    OPERATIONS,
    OPERATION_DURATION,
    ENTRIES,
    CACHE_HITS,
    CACHE_MISSES,
    CACHE_STALE,
    CACHE_COALESCED,
    UPSTREAM_UP,
    UPSTREAM_OUT,
    UPSTREAM_CONNECTIONS,
    UPSTREAM_IN_FLIGHT,
    UPSTREAM_REQUESTS,
    UPSTREAM_DURATION,
    UPSTREAM_DISCOVERY,
];
