//! Results that are on record, in a file of the repository for each suite.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Totals;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What a result depends on, beside its case: such as the number of records, and a seed.
pub(crate) type Size = BTreeMap<String, u64>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    size: Size,
    /// Rows and digest, which is hexadecimal, of each case.
    results: BTreeMap<String, (u64, String)>,
}

/// All results on record of a suite.
#[derive(Debug)]
pub(crate) struct Recorded {
    path: PathBuf,
    entries: Vec<Entry>,
}

fn shown(totals: Totals) -> (u64, String) {
    (totals.rows, format!("{:016x}", totals.digest))
}

impl Recorded {
    /// Those of a file.
    pub(crate) fn read(path: &Path) -> Result<Recorded> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
        let entries = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
        Ok(Recorded { path: path.to_owned(), entries })
    }

    /// Those of a suite: of its file where that is there, for it may have been added to since this was
    /// built, or else of `text`, which it was.
    pub(crate) fn of_suite(suite: &str, text: &str) -> Result<Recorded> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("digests");
        let path = path.join(suite).with_extension("json");
        if path.exists() {
            return Recorded::read(&path);
        }
        Ok(Recorded { path, entries: serde_json::from_str(text)? })
    }

    /// An error if there is another result on record.
    pub(crate) fn check(
        &self,
        size: &Size,
        case: &str,
        totals: Totals,
    ) -> std::result::Result<(), String> {
        let entry = self.entries.iter().find(|entry| entry.size == *size);
        match entry.and_then(|entry| entry.results.get(case)) {
            Some((rows, digest)) if shown(totals) != (*rows, digest.clone()) => Err(format!(
                "{case}: the result is {totals}; on record are {rows} rows, digest {digest}"
            )),
            _ => Ok(()),
        }
    }

    /// The number of results on record for this size.
    #[cfg(test)]
    pub(crate) fn known(&self, size: &Size) -> usize {
        let entry = self.entries.iter().find(|entry| entry.size == *size);
        entry.map_or(0, |entry| entry.results.len())
    }

    pub(crate) fn put(&mut self, size: &Size, case: &str, totals: Totals) {
        let at = self.entries.iter().position(|entry| entry.size == *size).unwrap_or_else(|| {
            self.entries.push(Entry { size: size.clone(), results: BTreeMap::new() });
            self.entries.len() - 1
        });
        self.entries[at].results.insert(case.to_owned(), shown(totals));
    }

    pub(crate) fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.entries)?;
        let written = std::fs::write(&self.path, text + "\n");
        Ok(written.map_err(|error| format!("{}: {error}", self.path.display()))?)
    }
}
