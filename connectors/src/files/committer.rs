//! Renames prepared part files to their visible names, any number of times.
//!
//! A rename is atomic, so a part file is either hidden or committed, never both and never in part;
//! everything else that is found was done from outside, and is an error.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::directory::{Directory, show};
use super::error::FilesError;

/// A part file that is durable and not yet visible. Names are relative to the sink's directory, so
/// that the directory can be moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedPart {
    /// Where it was written.
    pub hidden: String,
    /// Where it becomes visible.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// How many rows it holds.
    pub rows: u64,
}

/// Commits all `parts`; durable when it returns.
pub(super) fn commit(directory: &Directory, parts: &[PreparedPart]) -> Result<(), FilesError> {
    for part in parts {
        commit_part(directory, part)?;
    }
    if parts.is_empty() {
        return Ok(());
    }
    directory.sync()
}

fn commit_part(directory: &Directory, part: &PreparedPart) -> Result<(), FilesError> {
    let (hidden, committed) = (directory.file(&part.hidden), directory.file(&part.name));
    let hidden_there = has_length(&hidden, part.bytes)?;
    if has_length(&committed, part.bytes)? {
        if hidden_there {
            // A directory that was copied, say. It has both names for the same rows, and one has to
            // go before it becomes visible as well.
            match fs::remove_file(&hidden) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(FilesError::Write { path: show(&hidden), source: error });
                }
                _ => {}
            }
        }
        return Ok(());
    }
    match fs::rename(&hidden, &committed) {
        Ok(()) => Ok(()),
        // Another committer may have been here between our look and our rename.
        Err(error) if error.kind() == ErrorKind::NotFound => {
            if has_length(&committed, part.bytes)? {
                return Ok(());
            }
            Err(FilesError::Lost { hidden: show(&hidden), committed: show(&committed) })
        }
        Err(source) => Err(FilesError::Write { path: show(&committed), source }),
    }
}

/// Whether a file is there; an error if it has another length than what was prepared.
fn has_length(path: &Path, expected: u64) -> Result<bool, FilesError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() == expected => Ok(true),
        Ok(metadata) => {
            Err(FilesError::Conflict { path: show(path), found: metadata.len(), expected })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(source) => Err(FilesError::Read { path: show(path), source }),
    }
}
