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

/// Everything is bound and served. Where the supervisor wants to hear from Redial regularly, it does from now on, until the process ends: as
/// long as tasks get their turn.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
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
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "there is no monotonic clock to tell the supervisor"),
    }
}

/// It is in force, or the one before still is.
pub(super) fn reloaded(succeeded: bool) {
    let status = if succeeded { "serving" } else { "serving; the configuration has changed and is wrong: see the log" };
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// No more connections are accepted; operations in flight end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = notify(state) {
        warn!(%error, "the supervisor cannot be told how it goes");
    }
}
