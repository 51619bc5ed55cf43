//! Decides which ranges of which files are splits, and what they are called. No I/O.
//!
//! A record belongs to the split in which its first byte lies. The reader of a split that begins
//! inside a record passes over the rest of it, and reads its own last record over its end; so any
//! cut gives every record to exactly one split.

use highwater::source::NamedSplit;
use serde::{Deserialize, Serialize};

/// A range of a file, read by one reader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSplit {
    /// The file, as the pattern named it: relative paths stay relative.
    pub path: String,
    /// First byte of the range.
    pub start: u64,
    /// First byte after the range; none for a compressed file, whose length is not known.
    pub end: Option<u64>,
    /// Length of the file on disk when it was found.
    pub size: u64,
    /// What is done to the bytes before they are records.
    pub compression: Compression,
}

/// How a file is compressed; recognized by its first bytes, not by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip, of one or several members.
    Gzip,
}

/// A place between two records of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOffset {
    /// Bytes before it, from the beginning of the file; decompressed bytes of a compressed file.
    pub byte: u64,
}

impl FileSplit {
    /// The name of the split: path and range.
    pub(super) fn id(&self) -> String {
        match self.end {
            Some(end) => format!("{}:{}-{end}", self.path, self.start),
            None => format!("{}:{}-", self.path, self.start),
        }
    }

    fn named(self) -> NamedSplit<FileSplit> {
        NamedSplit { id: self.id(), split: self }
    }
}

/// Cuts a file into splits of about `split_bytes`, all of nearly the same length.
///
/// A compressed file is one split, because decompression starts at its beginning; so is an empty
/// one, so that a later run knows it.
pub(super) fn cut(
    path: &str,
    size: u64,
    compression: Compression,
    split_bytes: Option<u64>,
) -> Vec<NamedSplit<FileSplit>> {
    let split = |start, end| FileSplit { path: path.to_owned(), start, end, size, compression };
    if compression == Compression::Gzip {
        return vec![split(0, None).named()];
    }
    let count = match split_bytes {
        Some(bytes) => size.div_ceil(bytes).max(1),
        None => 1,
    };
    let length = size.div_ceil(count).max(1);
    (0..count)
        .map(|n| ((n * length).min(size), ((n + 1) * length).min(size)))
        .filter(|(start, end)| start < end || size == 0)
        .map(|(start, end)| split(start, Some(end)).named())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_name_path_and_range() {
        let ids = |size, bytes| -> Vec<String> {
            cut("a/b.txt", size, Compression::Plain, bytes).into_iter().map(|s| s.id).collect()
        };
        assert_eq!(ids(10, Some(4)), ["a/b.txt:0-4", "a/b.txt:4-8", "a/b.txt:8-10"]);
        assert_eq!(ids(10, None), ["a/b.txt:0-10"]);
        assert_eq!(ids(0, Some(4)), ["a/b.txt:0-0"]);
        assert_eq!(cut("x", 10, Compression::Gzip, Some(1))[0].id, "x:0-");
    }

    proptest! {
        #[test]
        fn splits_cover_the_file_once(size in 0u64..5_000, bytes in 1u64..6_000) {
            let splits = cut("x", size, Compression::Plain, Some(bytes));
            let mut at = 0;
            for named in &splits {
                prop_assert_eq!(named.split.start, at);
                at = named.split.end.unwrap();
                prop_assert!(at - named.split.start <= bytes);
            }
            prop_assert_eq!(at, size);
        }
    }
}
