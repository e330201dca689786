//! When the configuration is read again, and what is said about it: on SIGHUP, and when a file of it has changed.

use super::supervisor::Verdict;
use super::{Failure, supervisor};
use crate::config::load::{Loaded, load};
use crate::config::watch::{INTERVAL, Watch};
use crate::proxy::Proxy;
use std::path::PathBuf;
use std::time::SystemTime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

/// The configuration's file, and all that asks to read it again.
#[derive(Debug)]
pub(super) struct Reloading {
    file: PathBuf,
    hangup: Signal,
    watch: Watch,
}

/// What asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// SIGHUP.
    Signal,
    /// A file that has changed.
    File,
}

impl Reloading {
    /// Of a configuration that was read from `file` and those `files` since `began`.
    ///
    /// # Errors
    /// When signals cannot be listened for.
    pub(super) fn new(file: PathBuf, files: Vec<PathBuf>, began: SystemTime) -> Result<Self, Failure> {
        let hangup = signal(SignalKind::hangup());
        let hangup = hangup.map_err(|error| Failure::fault(format_args!("signals cannot be listened for: {error}")))?;
        Ok(Self { file, hangup, watch: Watch::new(files, began) })
    }

    /// Resolves when the configuration is to be read again. Cancel safe.
    pub(super) async fn due(&mut self) -> Due {
        tokio::select! {
            _ = self.hangup.recv() => {
                info!("SIGHUP: reading the configuration again");
                Due::Signal
            }
            () = self.watch.changed() => {
                info!("a file of the configuration has changed: reading it again");
                Due::File
            }
        }
    }

    /// Reads it again. Where anything is wrong, the log says all of it and the proxy goes on as it was. What is wrong while files are still being
    /// written is no failure: a key comes a moment after its certificate.
    pub(super) async fn carry_out(&mut self, due: Due, proxy: &mut Proxy) {
        supervisor::reloading();
        let began = SystemTime::now();
        let (files, wrong) = self.attempt(proxy).await;
        let written_since = if due == Due::File && wrong.is_some() { began - INTERVAL } else { began };
        self.watch = self.watch.again(files, written_since);
        let verdict = match &wrong {
            None => Verdict::InForce,
            Some(why) if due == Due::File && self.watch.has_news() => {
                info!("files of the configuration are being written, and are read again when they have come to rest; until then: {why}");
                Verdict::ToCome
            }
            Some(why) => {
                error!("the configuration in force stays in force: {why}");
                Verdict::Wrong
            }
        };
        if verdict != Verdict::ToCome {
            proxy.metrics().reloaded(verdict == Verdict::InForce);
        }
        supervisor::reloaded(verdict);
    }

    /// The files that it was read from, and what is wrong with it, if anything is.
    async fn attempt(&self, proxy: &mut Proxy) -> (Vec<PathBuf>, Option<String>) {
        let file = self.file.clone();
        match spawn_blocking(move || load(&file)).await {
            Ok(Ok(Loaded { config, warnings, files })) => {
                warnings.iter().for_each(|warning| warn!("{warning}"));
                (files, proxy.reload(config).await.err().map(|why| why.to_string()))
            }
            Ok(Err(rejected)) => {
                let why = format!("{} has these problems:\n{rejected}", self.file.display());
                (rejected.files, Some(why))
            }
            Err(_) => (vec![self.file.clone()], Some("its reading broke off".to_owned())),
        }
    }
}
