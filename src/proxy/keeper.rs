//! When the cache's file is read and written; [`crate::cache::keep`] says what it holds. Apart from the tasks that serve, since the disk may be slow.

use super::StartError;
use crate::cache::keep::may_be_kept_in;
use crate::config::Config;
use crate::pipeline::{Current, Pipeline};
use crate::telemetry::broke_off;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::warn;

/// Writes the file, once at a time, so that a slow disk has one to write and what is written last is what stays.
#[derive(Debug, Clone, Default)]
pub(super) struct Keeper {
    turn: Arc<Mutex<()>>,
}

impl Keeper {
    /// Writes it now and then, as the configuration in force says. Ends by being dropped.
    pub(super) async fn keep_now_and_then(self, current: Arc<Current>) {
        loop {
            sleep(KEEP_EVERY).await;
            self.keep(&current).await;
        }
    }

    /// Writes it, after one that is being written.
    pub(super) async fn keep(&self, current: &Current) {
        let pipeline = Arc::clone(&current.load());
        if !pipeline.is_kept() {
            return;
        }
        let kept = async {
            let turn = Arc::clone(&self.turn).lock_owned().await;
            spawn_blocking(move || {
                pipeline.keep();
                drop(turn);
            })
            .await
        };
        match timeout(PATIENCE, kept).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(error = broke_off(&error), "the cache is not kept"),
            Err(_) => warn!("the cache is not kept: the disk takes nothing"),
        }
    }
}

/// Refuses what can never be such a file.
pub(super) async fn examine(config: &Config) -> Result<(), StartError> {
    let Some(file) = config.cache.keep.clone() else { return Ok(()) };
    let examined = spawn_blocking(move || may_be_kept_in(&file).map_err(|source| (file, source))).await;
    match examined {
        Ok(Err((file, source))) => Err(StartError::Keep { file: file.display().to_string(), source }),
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

/// Reads it, before the first phone is served.
pub(super) async fn recall(pipeline: &Arc<Pipeline>) {
    if pipeline.is_kept() {
        let pipeline = Arc::clone(pipeline);
        if let Err(error) = spawn_blocking(move || pipeline.recall_kept()).await {
            warn!(error = broke_off(&error), "what was kept of the cache is not used");
        }
    }
}

/// What a crash may cost: answers that were learned since.
const KEEP_EVERY: Duration = Duration::from_secs(300);
/// Longer than writing takes before it gives itself up.
const PATIENCE: Duration = Duration::from_secs(15);
