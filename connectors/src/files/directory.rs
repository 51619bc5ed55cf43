//! The directory of a sink: whose it is, what is in it, and making changes to it durable.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use highwater::sink::SinkRun;
use serde::{Deserialize, Serialize};

use super::error::FilesError;
use super::names::{MARKER, MARKER_NEW, epoch_of_committed, generation_of_hidden};

/// How many files an error names at most: enough to see what they are.
const NAMED_MAX: usize = 5;

/// What the marker file holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    job: String,
    uid: String,
}

/// The directory that one sink writes to.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    path: PathBuf,
}

impl Directory {
    pub(super) fn new(path: PathBuf) -> Directory {
        Directory { path }
    }

    /// The path of a file in the directory.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes the directory this sink's, or finds that it is so already.
    pub(super) fn claim(&self, run: &SinkRun) -> Result<(), FilesError> {
        self.create()?;
        let names = self.names()?;
        let ours = Marker { job: run.job.clone(), uid: run.uid.clone() };
        if names.iter().any(|name| name == MARKER) {
            self.check_marker(&ours)?;
            self.check_parts(run, &names)?;
            // Whether the directory can be written to shows now, not in the middle of the job.
            let probe = self.write_marker(&ours)?;
            return fs::remove_file(&probe)
                .map_err(|source| FilesError::Write { path: show(&probe), source });
        }
        // A new marker alone is what a process leaves that dies right here.
        if let Some(found) = names.into_iter().find(|name| name != MARKER_NEW) {
            return Err(FilesError::NotEmpty { directory: show(&self.path), found });
        }
        let new = self.write_marker(&ours)?;
        let marker = self.file(MARKER);
        fs::rename(&new, &marker)
            .map_err(|source| FilesError::Write { path: show(&marker), source })?;
        self.sync()
    }

    /// Writes the marker under the name that does not count yet.
    fn write_marker(&self, marker: &Marker) -> Result<PathBuf, FilesError> {
        let new = self.file(MARKER_NEW);
        let text = serde_json::to_vec(marker).expect("a struct of strings is JSON");
        File::create(&new)
            .and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()))
            .map_err(|source| FilesError::Write { path: show(&new), source })?;
        Ok(new)
    }

    /// Creates the directory, and makes its creation durable.
    fn create(&self) -> Result<(), FilesError> {
        if let Some(file) = self.path.ancestors().find(|path| path.is_file()) {
            return Err(FilesError::NotDirectory { path: show(file) });
        }
        let missing: Vec<&Path> = self
            .path
            .ancestors()
            .take_while(|path| !path.as_os_str().is_empty() && !path.exists())
            .collect();
        fs::create_dir_all(&self.path)
            .map_err(|source| FilesError::Write { path: show(&self.path), source })?;
        for created in missing {
            let parent = match created.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            sync_directory(parent)?;
        }
        Ok(())
    }

    fn check_marker(&self, ours: &Marker) -> Result<(), FilesError> {
        let path = self.file(MARKER);
        let text =
            fs::read(&path).map_err(|source| FilesError::Read { path: show(&path), source })?;
        let marker: Marker = serde_json::from_slice(&text)
            .map_err(|source| FilesError::Marker { path: show(&path), source })?;
        if marker == *ours {
            return Ok(());
        }
        Err(FilesError::Taken {
            directory: show(&self.path),
            job: marker.job,
            uid: marker.uid,
            our_job: ours.job.clone(),
            our_uid: ours.uid.clone(),
        })
    }

    /// Checks that the run goes on exactly where the committed output ends.
    fn check_parts(&self, run: &SinkRun, names: &[String]) -> Result<(), FilesError> {
        let after = |name: &&String| match (epoch_of_committed(name), run.restored) {
            (Some(epoch), Some(restored)) => epoch > restored,
            (Some(_), None) => true,
            (None, _) => false,
        };
        let mut parts: Vec<String> = names.iter().filter(after).cloned().collect();
        let directory = show(&self.path);
        match (run.restored, parts.first()) {
            (_, None) => Ok(()),
            (None, Some(part)) => Err(FilesError::EarlierOutput { directory, part: part.clone() }),
            (Some(restored), Some(_)) => {
                let more = parts.len().saturating_sub(NAMED_MAX);
                parts.truncate(NAMED_MAX);
                if more > 0 {
                    parts.push(format!("and {more} more"));
                }
                Err(FilesError::LaterOutput { directory, restored, parts })
            }
        }
    }

    /// Removes the hidden part files of this run and those before it.
    ///
    /// Not of those after it: this run may have been fenced and not know it.
    pub(super) fn remove_hidden(&self, run: &SinkRun) -> Result<(), FilesError> {
        for name in self.names()? {
            if generation_of_hidden(&name).is_some_and(|generation| generation <= run.generation) {
                let path = self.file(&name);
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(FilesError::Write { path: show(&path), source: error });
                    }
                    _ => {}
                }
            }
        }
        self.sync()
    }

    /// The names in the directory, sorted. Names that are not UTF-8 are not ours, and are shown as
    /// far as they can be.
    fn names(&self) -> Result<Vec<String>, FilesError> {
        let read_error = |source| FilesError::Read { path: show(&self.path), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(read_error)? {
            names.push(entry.map_err(read_error)?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Makes creations, renames and removals durable.
    pub(super) fn sync(&self) -> Result<(), FilesError> {
        sync_directory(&self.path)
    }
}

/// A path as errors show it.
pub(super) fn show(path: &Path) -> String {
    path.display().to_string()
}

fn sync_directory(path: &Path) -> Result<(), FilesError> {
    // Elsewhere a directory cannot be opened as a file, and a rename is as durable as it gets.
    if cfg!(unix) {
        File::open(path)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| FilesError::Write { path: show(path), source })?;
    }
    Ok(())
}
