//! Results that are on record, in a file of the repository.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Args, Result};
use crate::digest::Totals;

const TEXT: &str = include_str!("../../nexmark/digests.json");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/nexmark/digests.json");

/// Which events a result is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Size {
    pub(crate) events: u64,
    pub(crate) events_per_second: u64,
    pub(crate) seed: u64,
}

impl Size {
    pub(super) fn of(args: &Args) -> Size {
        let Args { events, events_per_second, seed, .. } = *args;
        Size { events, events_per_second, seed }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    #[serde(flatten)]
    size: Size,
    /// Rows and digest, which is hexadecimal, of each query.
    results: BTreeMap<String, (u64, String)>,
}

/// All results on record.
pub(crate) struct Recorded(Vec<Entry>);

fn shown(totals: Totals) -> (u64, String) {
    (totals.rows, format!("{:016x}", totals.digest))
}

impl Recorded {
    pub(crate) fn load() -> Result<Recorded> {
        // The file itself where it is there: it may have been added to since this was built.
        let text = std::fs::read_to_string(PATH);
        Ok(Recorded(serde_json::from_str(text.as_deref().unwrap_or(TEXT))?))
    }

    /// An error if there is another result on record.
    pub(crate) fn check(
        &self,
        size: Size,
        query: &str,
        totals: Totals,
    ) -> std::result::Result<(), String> {
        let entry = self.0.iter().find(|entry| entry.size == size);
        match entry.and_then(|entry| entry.results.get(query)) {
            Some((rows, digest)) if shown(totals) != (*rows, digest.clone()) => Err(format!(
                "{query}: the result is {totals}; on record are {rows} rows, digest {digest}"
            )),
            _ => Ok(()),
        }
    }

    /// The number of results on record for this size.
    #[cfg(test)]
    pub(crate) fn known(&self, size: Size) -> usize {
        self.0.iter().find(|entry| entry.size == size).map_or(0, |entry| entry.results.len())
    }

    pub(crate) fn put(&mut self, size: Size, query: &str, totals: Totals) {
        let at = self.0.iter().position(|entry| entry.size == size).unwrap_or_else(|| {
            self.0.push(Entry { size, results: BTreeMap::new() });
            self.0.len() - 1
        });
        self.0[at].results.insert(query.to_owned(), shown(totals));
    }

    pub(crate) fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.0)?;
        Ok(std::fs::write(PATH, text + "\n")?)
    }
}
