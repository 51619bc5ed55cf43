//! What is on the disk of a job, for tests that kill it: which checkpoints there are, which run has made
//! them, what is not committed, and so where a kill has struck.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The names in a directory; none if it is not there.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Where a job keeps its files.
#[derive(Debug)]
pub(crate) struct Places {
    /// The job's folder among the checkpoints.
    pub job: PathBuf,
    /// The directory of each sink that writes files, by its uid.
    pub outputs: BTreeMap<String, PathBuf>,
}

/// What the disk says after a kill.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub generation: u64,
    pub newest: u64,
    pub has_interval: bool,
    /// The newest run has completed a checkpoint of its own.
    pub newest_run_completed: bool,
    /// Part files that the newest checkpoint has and that are still hidden.
    pub uncommitted: usize,
    /// Entries and items that the operators of the newest checkpoint have.
    pub held: u64,
}

impl Places {
    pub(crate) fn generations(&self) -> u64 {
        let names = names(&self.job.join("generations"));
        names.iter().filter_map(|name| name.parse().ok()).max().unwrap_or(0)
    }

    pub(crate) fn newest(&self) -> u64 {
        let checkpoints = self.job.join("checkpoints");
        let ids = names(&checkpoints).into_iter().filter_map(|name| name.parse().ok());
        let whole = |id: &u64| checkpoints.join(format!("{id:010}/metadata.json")).exists();
        ids.filter(whole).max().unwrap_or(0)
    }

    pub(crate) fn look(&self) -> Disk {
        let mut disk = Disk { generation: self.generations(), ..Disk::default() };
        let checkpoints = self.job.join("checkpoints");
        let mut all: BTreeMap<u64, serde_json::Value> = BTreeMap::new();
        for name in names(&checkpoints) {
            let path = checkpoints.join(&name).join("metadata.json");
            // A folder whose metadata was deleted, or is still being written, holds no checkpoint.
            if let Ok(text) = fs::read(path) {
                let metadata = serde_json::from_slice(&text).expect("a checkpoint is whole");
                all.insert(name.parse().unwrap(), metadata);
            }
        }
        disk.has_interval = all.values().any(|metadata| metadata["epoch"] != 0);
        let Some((id, newest)) = all.last_key_value() else { return disk };
        disk.newest = *id;
        disk.newest_run_completed =
            newest["generation"] == disk.generation && newest["origin"].is_string();
        for operator in newest["operators"].as_array().unwrap() {
            let items = operator["items"].as_array().map_or(0, Vec::len) as u64;
            disk.held += operator["entries"].as_u64().unwrap_or(0) + items;
            let Some(output) = operator["uid"].as_str().and_then(|uid| self.outputs.get(uid))
            else {
                continue;
            };
            for part in operator["committables"].as_array().into_iter().flatten() {
                let hidden = output.join(part["hidden"].as_str().unwrap());
                disk.uncommitted += usize::from(hidden.exists());
            }
        }
        disk
    }
}

/// Kills, by where they struck.
#[derive(Clone, Debug, Default)]
pub(crate) struct Struck {
    pub first: u64,
    pub recovery: u64,
    pub before_claim: u64,
    pub commit: u64,
    pub other: u64,
}

impl Struck {
    pub(crate) fn total(&self) -> u64 {
        self.first + self.recovery + self.commit + self.other
    }

    /// Counts a kill by what the disk said before it and says after it.
    pub(crate) fn count(&mut self, before: &Disk, after: &Disk) {
        if after.uncommitted > 0 && after.newest_run_completed {
            self.commit += 1;
        } else if !after.has_interval {
            self.first += 1;
        } else if !after.newest_run_completed || before.generation == after.generation {
            self.recovery += 1;
            self.before_claim += u64::from(before.generation == after.generation);
        } else {
            self.other += 1;
        }
    }
}
