//! Deletes what processes that were killed left behind, where no checkpoint names it: files of
//! uploads that were not finished, which no listing shows either, and objects of probes.
//!
//! A file `<name>#<n>` is staged, by `local.rs` and by `object_store`'s own puts. Of a segment the
//! name says who writes it: a run that was fenced. Of other objects it does not, and a put of theirs
//! may be under way, so they must be old; and so must probes.

use std::path::Path as FilePath;
use std::time::{Duration, UNIX_EPOCH};

use futures::TryStreamExt;
use object_store::ObjectMeta;

use super::retry::Request;
use super::{BlobStore, layout};
use crate::error::Result;
use crate::metadata::Generation;

/// Older than this, what is not a segment's is of nobody who still runs. A request is given up after
/// minutes; the rest is for clocks that differ.
const OLD: Duration = Duration::from_secs(3600);

impl BlobStore {
    /// Deletes what runs before the generation `ours` left behind when they were killed, as of
    /// `now_ms`, milliseconds since the Unix epoch. What cannot be deleted is left.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::list`] and [`BlobStore::delete`].
    pub async fn sweep_leftovers(&self, ours: Generation, now_ms: u64) -> Result<()> {
        self.sweep_staged(ours, now_ms).await;
        let folder = self.path(layout::PROBES)?;
        let mut attempts = self.attempts(layout::PROBES, Request::Read);
        let probes: Vec<ObjectMeta> = loop {
            match attempts.attempt(self.objects().list(Some(&folder)).try_collect()).await {
                Ok(found) => break found,
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        };
        for probe in probes {
            let modified_ms = u64::try_from(probe.last_modified.timestamp_millis()).unwrap_or(0);
            let below = format!("{}/", self.folder);
            match probe.location.as_ref().strip_prefix(&below) {
                Some(name) if is_old(modified_ms, now_ms) => self.delete(name).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Of a store that is no directory there is nothing to see.
    async fn sweep_staged(&self, ours: Generation, now_ms: u64) {
        let Some(local) = &self.location.local else { return };
        let Ok(folder) = local.path_to_filesystem(&self.folder) else { return };
        let swept = tokio::task::spawn_blocking(move || {
            let is_left = |name: &str, modified_ms| is_left(name, modified_ms, ours, now_ms);
            sweep_folder(&folder, "", &is_left)
        });
        if let Ok(Err(error)) = swept.await {
            tracing::debug!(%error, "staged files are left for the next run");
        }
    }
}

fn is_old(modified_ms: u64, now_ms: u64) -> bool {
    modified_ms.saturating_add(OLD.as_millis() as u64) < now_ms
}

/// Whether the file staged for the object `name` is of nobody who still runs.
fn is_left(name: &str, modified_ms: u64, ours: Generation, now_ms: u64) -> bool {
    match layout::segment_generation(name) {
        Some(theirs) => theirs < ours,
        None => is_old(modified_ms, now_ms),
    }
}

/// The object that a file of this name is staged for; none for any other file.
fn staged_for(file: &str) -> Option<&str> {
    let (object, number) = file.rsplit_once('#')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(object)
}

fn sweep_folder(
    folder: &FilePath,
    below: &str,
    is_left: &impl Fn(&str, u64) -> bool,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let file = entry.file_name();
        let Some(file) = file.to_str() else { continue };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sweep_folder(&entry.path(), &format!("{below}{file}/"), is_left)?;
        }
        let Some(object) = staged_for(file).filter(|_| kind.is_file()) else { continue };
        // It may be published, or deleted, just now.
        let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else {
            continue;
        };
        let modified_ms =
            modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        if is_left(&format!("{below}{object}"), modified_ms)
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::debug!(file, %error, "a staged file is left for the next run");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Location;

    const HOUR_MS: u64 = 3_600_000;

    fn files(root: &FilePath) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn what_killed_processes_left_is_deleted_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let location = Location::parse(root.path().to_str().unwrap()).unwrap();
        let store = BlobStore::new(location, "job");
        let older = [
            "segments/a%2Fb/0000000002-0000-0000000005-delta.seg#1",
            "segments/a%2Fb/0000000002-fold-0000000005-0.seg#12",
            "segments/@bundles/0000000002-0003-0000000012-5.seg#1",
        ];
        let by_age = [
            "checkpoints/0000000042/metadata.json#1",
            "generations/0000000003#1",
            "probes/x",
            "probes/x#1",
        ];
        let kept = [
            "segments/a%2Fb/0000000002-0000-0000000005-delta.seg",
            "segments/a%2Fb/0000000003-0000-0000000009-delta.seg#1",
            "segments/@bundles/0000000003-0003-0000000012-5.seg#1",
            "segments/a%2Fb/0000000002-0000-0000000005-delta.seg#x",
            "checkpoints/0000000042/metadata.json",
            "generations/0000000003",
        ];
        for name in older.iter().chain(&by_age).chain(&kept) {
            let path = root.path().join("job").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let now = std::fs::metadata(root.path()).unwrap().modified().unwrap();
        let now_ms = now.duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sweep = |now_ms| {
            runtime.block_on(store.sweep_leftovers(Generation(3), now_ms)).unwrap();
            files(&root.path().join("job"))
        };
        let sorted = |names: Vec<&str>| {
            let mut names: Vec<_> = names.into_iter().map(str::to_owned).collect();
            names.sort();
            names
        };
        // Old or not, a fenced run's uploads are nobody's; the others may be under way.
        assert_eq!(sweep(now_ms), sorted([&by_age[..], &kept[..]].concat()));
        assert_eq!(sweep(now_ms + 2 * HOUR_MS), sorted(kept.to_vec()));
        // But those of a run that is not older: however old, it may be slow.
        let nobody = runtime.block_on(store.sweep_leftovers(Generation(2), now_ms + 9 * HOUR_MS));
        nobody.unwrap();
        assert_eq!(files(&root.path().join("job")), sorted(kept.to_vec()));
    }

    #[test]
    fn a_job_that_has_left_nothing_is_no_error() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("new");
        let location = Location::parse(path.to_str().unwrap()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        for location in [location, Location::memory()] {
            let store = BlobStore::new(location, "job");
            runtime.block_on(store.sweep_leftovers(Generation(3), HOUR_MS)).unwrap();
        }
    }
}
