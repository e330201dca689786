//! When the configuration is read again, and what is said about it: on SIGHUP, and when a file of it has changed.

use super::{Failure, supervisor};
use crate::config::load::{Loaded, Rejected, load};
use crate::config::watch::Watch;
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

    /// Reads it again. Where anything is wrong, the log says all of it and the proxy goes on as it was.
    pub(super) async fn carry_out(&mut self, proxy: &mut Proxy) {
        supervisor::reloading();
        let began = SystemTime::now();
        let file = self.file.clone();
        let kept = "the configuration in force stays in force";
        let (files, succeeded) = match spawn_blocking(move || load(&file)).await {
            Ok(Ok(Loaded { config, warnings, files })) => {
                warnings.iter().for_each(|warning| warn!("{warning}"));
                let reloaded = proxy.reload(config).await;
                if let Err(why) = &reloaded {
                    error!("{kept}: {why}");
                }
                (files, reloaded.is_ok())
            }
            Ok(Err(rejected)) => {
                error!("{kept}: {} has these problems:\n{rejected}", self.file.display());
                let Rejected { files, .. } = rejected;
                (files, false)
            }
            Err(why) => {
                error!("{kept}: it could not be read: {why}");
                (vec![self.file.clone()], false)
            }
        };
        proxy.metrics().reloaded(succeeded);
        supervisor::reloaded(succeeded);
        self.watch = Watch::new(files, began);
    }
}
