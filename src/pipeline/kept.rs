//! The cache's file, as the log sees it: read before the first phone is served, written at intervals and at the end.

use super::Pipeline;
use std::io;
use tracing::{info, warn};

impl Pipeline {
    /// Is anything kept over a restart?
    pub const fn is_kept(&self) -> bool {
        self.keep.is_some()
    }

    /// Takes in what was kept. What cannot be used is told of and left alone. Blocks.
    pub fn recall_kept(&self) {
        let Some(keep) = &self.keep else { return };
        let file = keep.file().display();
        match keep.read(&self.cache) {
            Ok(answers) => info!(%file, answers, "the cache goes on with what was kept"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => info!(%file, "nothing was kept of the cache"),
            Err(error) => warn!(%file, %error, "what was kept of the cache is not used"),
        }
    }

    /// Keeps what the cache holds. Blocks, for some seconds at most.
    pub fn keep(&self) {
        let Some(keep) = &self.keep else { return };
        if let Err(error) = keep.write(&self.cache) {
            warn!(file = %keep.file().display(), %error, "the cache is not kept; what was kept before stays");
        }
    }
}
