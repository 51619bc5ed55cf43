//! Finds the job's folder that a path or a URL means.

use crate::error::{Error, Result};
use crate::store::{BlobStore, Location, layout};

/// Opens the folder of `job` at `path_or_url`, which is what the job has as `--checkpoint-dir`, or
/// the job's folder itself. Without a name the only job there is meant.
///
/// Writes nothing, and makes no directory.
///
/// # Errors
///
/// `Invalid` if there is no such directory or job, or there are several and none is named; the
/// message lists them. Else as [`BlobStore::list`].
pub async fn open(path_or_url: &str, job: Option<&str>) -> Result<BlobStore> {
    let Some(location) = Location::existing(path_or_url)? else {
        return Err(Error::invalid(format!(
            "there is no directory {path_or_url}; give what the job has as --checkpoint-dir"
        )));
    };
    let Some(job) = job else {
        let folder = BlobStore::folder(location.clone());
        if is_job(&folder, "").await? || is_savepoint(&folder).await? {
            return Ok(folder);
        }
        let jobs = jobs(&location).await?;
        return match &jobs[..] {
            [only] => Ok(BlobStore::new(location, only)),
            [] => Err(Error::invalid(format!(
                "there are no checkpoints in {path_or_url}; give what the job has as \
                 --checkpoint-dir"
            ))),
            several => Err(Error::invalid(format!(
                "there are {} jobs in {path_or_url}: {}; say which with --job",
                several.len(),
                several.join(", ")
            ))),
        };
    };
    let jobs = jobs(&location).await?;
    if jobs.iter().any(|there| there == job) {
        return Ok(BlobStore::new(location, job));
    }
    let there = if jobs.is_empty() { "none".to_owned() } else { jobs.join(", ") };
    Err(Error::invalid(format!("there is no job {job:?} in {path_or_url}; there are: {there}")))
}

/// The names of the jobs that have their folders at `location`, in order.
///
/// # Errors
///
/// As [`BlobStore::list`].
pub async fn jobs(location: &Location) -> Result<Vec<String>> {
    let root = BlobStore::folder(location.clone());
    let mut jobs = Vec::new();
    for folder in root.folders("").await? {
        if let Some(job) = layout::decode(&folder)
            && is_job(&root, &folder).await?
        {
            jobs.push(job);
        }
    }
    jobs.sort_unstable();
    Ok(jobs)
}

/// Whether the folder is a savepoint that was copied or moved out of its job's.
async fn is_savepoint(folder: &BlobStore) -> Result<bool> {
    match folder.size(layout::METADATA).await {
        Ok(_) => Ok(true),
        Err(Error::Missing { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `folder`, below the folder of `store`, has what a job's folder has.
async fn is_job(store: &BlobStore, folder: &str) -> Result<bool> {
    let of_a_job = [layout::GENERATIONS, layout::CHECKPOINTS];
    Ok(store.folders(folder).await?.iter().any(|there| of_a_job.contains(&there.as_str())))
}
