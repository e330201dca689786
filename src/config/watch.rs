//! Notices when a file of the configuration has changed: by looking, every few seconds.
//!
//! What a file looks like from outside (which one it is, its size, when it was written) is enough to ask for a reload, which reads all of it. A
//! change counts when it has looked the same twice, so that a file is seldom read while it is being written. Looking works for
//! every file system and for every way to replace a file: written over, moved into place, or a symbolic link that points elsewhere.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// The files that are looked at.
#[derive(Debug)]
pub(crate) struct Watch {
    files: Vec<PathBuf>,
    /// As they were when they were read.
    known: Vec<Look>,
}

/// A file from outside; `None`: it is not there.
type Look = Option<Outside>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outside {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds since 1970, and nanoseconds.
    modified: (i64, i64),
}

impl Outside {
    fn written_at(&self) -> Duration {
        Duration::new(u64::try_from(self.modified.0).unwrap_or_default(), u32::try_from(self.modified.1).unwrap_or_default())
    }
}

impl Watch {
    /// Looks at these files, which were read at `began` or later. One that was written since then counts as changed.
    pub(crate) fn new(files: Vec<PathBuf>, began: SystemTime) -> Self {
        Self { files: Vec::new(), known: Vec::new() }.again(files, began)
    }

    /// Looks at these files, which were read again at `began` or later. One that was written since then counts as changed, unless it still
    /// looks as it did when that was last told: its time may lie in the future.
    #[must_use]
    pub(crate) fn again(&self, files: Vec<PathBuf>, began: SystemTime) -> Self {
        // The clock of a file system may be a few milliseconds behind.
        let began = began.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(Duration::from_millis(10));
        let known = files
            .iter()
            .zip(look_at(&files))
            .map(|(file, look)| look.filter(|look| look.written_at() < began || self.knows(file, look)))
            .collect();
        Self { files, known }
    }

    fn knows(&self, file: &Path, look: &Outside) -> bool {
        self.files.iter().zip(&self.known).any(|(known, as_it_was)| known == file && as_it_was.as_ref() == Some(look))
    }

    /// Something has changed that [`Watch::changed`] has not told yet.
    pub(crate) fn has_news(&self) -> bool {
        look_at(&self.files) != self.known
    }

    /// Resolves when a file has changed since the last time that this did, or since the beginning. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        let mut before = self.known.clone();
        loop {
            sleep(INTERVAL).await;
            let files = self.files.clone();
            let Ok(now) = spawn_blocking(move || look_at(&files)).await else { continue };
            if now != self.known && now == before {
                self.known = now;
                return;
            }
            before = now;
        }
    }
}

fn look_at(files: &[PathBuf]) -> Vec<Look> {
    let look =
        |file: Metadata| Outside { device: file.dev(), inode: file.ino(), size: file.size(), modified: (file.mtime(), file.mtime_nsec()) };
    files.iter().map(|file| std::fs::metadata(file).ok().map(look)).collect()
}

/// Between two looks.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tokio::time::{Instant, timeout};

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_once_when_the_file_has_come_to_rest() {
        let folder = std::env::temp_dir().join(format!("redial-watch-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (there, coming) = (folder.join("there"), folder.join("coming"));
        fs::write(&there, "one").unwrap();
        let mut watch = Watch::new(vec![there.clone(), coming.clone()], SystemTime::now() + Duration::from_secs(1));
        let minute = Duration::from_secs(60);
        assert!(timeout(minute, watch.changed()).await.is_err(), "nothing has changed");

        fs::write(&there, "longer").unwrap();
        let began = Instant::now();
        timeout(minute, watch.changed()).await.unwrap();
        assert_eq!(began.elapsed(), 2 * INTERVAL);
        assert!(timeout(minute, watch.changed()).await.is_err(), "told already");

        fs::write(&coming, "here").unwrap();
        timeout(minute, watch.changed()).await.unwrap();
        fs::write(folder.join("other"), "longer").unwrap();
        fs::rename(folder.join("other"), &there).unwrap();
        timeout(minute, watch.changed()).await.unwrap();
        fs::remove_dir_all(&folder).unwrap();
        timeout(minute, watch.changed()).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_that_was_written_while_it_was_read_counts_as_changed() {
        let file = std::env::temp_dir().join(format!("redial-watch-late-{}", std::process::id()));
        let began = SystemTime::now();
        fs::write(&file, "one").unwrap();
        let mut watch = Watch::new(vec![file.clone()], began);
        timeout(Duration::from_secs(60), watch.changed()).await.unwrap();
        fs::remove_file(&file).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_from_the_future_is_told_once() {
        let file = std::env::temp_dir().join(format!("redial-watch-future-{}", std::process::id()));
        fs::write(&file, "one").unwrap();
        fs::File::options().write(true).open(&file).unwrap().set_modified(SystemTime::now() + Duration::from_secs(86_400)).unwrap();
        let minute = Duration::from_secs(60);
        let mut watch = Watch::new(vec![file.clone()], SystemTime::now());
        timeout(minute, watch.changed()).await.unwrap();

        let mut watch = watch.again(vec![file.clone()], SystemTime::now());
        assert!(!watch.has_news() && timeout(minute, watch.changed()).await.is_err(), "it was read as it still is");

        fs::write(&file, "longer").unwrap();
        assert!(watch.has_news());
        timeout(minute, watch.changed()).await.unwrap();
        fs::remove_file(&file).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_written_a_moment_before_it_was_read_may_be_told_again() {
        let folder = std::env::temp_dir().join(format!("redial-watch-halves-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (certificate, key) = (folder.join("cert"), folder.join("key"));
        fs::write(&certificate, "one").unwrap();
        fs::write(&key, "one").unwrap();
        let files = vec![certificate.clone(), key.clone()];
        let minute = Duration::from_secs(60);
        let mut watch = Watch::new(files.clone(), SystemTime::now() + Duration::from_secs(1));
        fs::write(&certificate, "longer").unwrap();
        timeout(minute, watch.changed()).await.unwrap();

        fs::write(&key, "longer").unwrap();
        let read_at = SystemTime::now() + Duration::from_secs(1);
        assert!(!watch.again(files.clone(), read_at).has_news(), "as it was read");
        let mut watch = watch.again(files, read_at - INTERVAL);
        assert!(watch.has_news(), "but the certificate was read, and then the key was written");
        timeout(minute, watch.changed()).await.unwrap();
        assert!(!watch.has_news());
        fs::remove_dir_all(&folder).unwrap();
    }
}
