//! What the supervisor that has started Redial gives it and is told: systemd, or whoever speaks its protocol (`sd_notify(3)`,
//! `sd_listen_fds(3)`). Where there is none, nothing is said and nothing inherited.

use listenfd::ListenFd;
use sd_notify::{NotifyState, notify, watchdog_enabled};
use std::net::TcpListener;
use tokio::time::interval;
use tracing::{debug, warn};

/// The sockets that it has opened for Redial.
pub(super) fn sockets() -> Vec<TcpListener> {
    let mut inherited = ListenFd::from_env();
    let count = inherited.len();
    let take = |index| match inherited.take_tcp_listener(index) {
        Ok(socket) => socket,
        Err(error) => {
            warn!(index, %error, "the supervisor has handed over a socket that is no TCP listener: it is not used");
            None
        }
    };
    (0..count).filter_map(take).collect()
}

/// What came of reading the configuration again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is in force.
    InForce,
    /// It is wrong, and the one before is still in force.
    Wrong,
    /// The same so far; its files are being written, and are read once more when they have come to rest.
    ToCome,
}

/// Everything is bound and served. Where the supervisor wants to hear from Redial regularly, it does from now on, until the process ends: as
/// long as tasks get their turn.
pub(super) fn ready() {
    tell(&[NotifyState::Ready, NotifyState::Status(SERVING)]);
    if let Some(patience) = watchdog_enabled() {
        tokio::spawn(async move {
            let mut tick = interval(patience / 3);
            loop {
                tick.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
        });
    }
}

/// The configuration is being read again; [`reloaded`] follows.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("serving; reading the configuration again")]),
        Err(error) => debug!(%error, "there is no monotonic clock to tell the supervisor"),
    }
}

/// That has ended.
pub(super) fn reloaded(verdict: Verdict) {
    let status = match verdict {
        Verdict::InForce => SERVING,
        Verdict::Wrong => "serving; the configuration has changed and is wrong: see the log",
        Verdict::ToCome => "serving; files of the configuration are being written, and are read again when they have come to rest",
    };
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// No more connections are accepted; operations in flight end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: operations in flight end")]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        warn!(%error, "the supervisor cannot be told how it goes");
    }
}

/// All is as the configuration wants it.
const SERVING: &str = "serving";
