//! Finds the files that a pattern names, and opens their splits.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use glob::MatchOptions;
use highwater::BoxError;
use highwater::source::{NamedSplit, Source};
use serde::de::DeserializeOwned;

use super::csv::Csv;
use super::error::FilesError;
use super::format::{Format, JsonLines, Lines};
use super::reader::FileReader;
use super::splits::{Compression, FileOffset, FileSplit, cut};

/// As in a shell, `*` does not match hidden files; among them are the unfinished ones of a
/// [`FileSink`](super::FileSink) whose output another job reads.
const MATCH: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// Reads files: every record of every file that a path or pattern names, once.
///
/// Files may be plain or gzip, which is told by their first bytes. Plain files of lines or JSON
/// lines are read by several workers at once, in splits of [`split_bytes`](Self::split_bytes).
/// Files that appear while a job runs are found when it is started again from its checkpoint.
/// A file must not change while a job reads it; what was appended to it later is not read.
///
/// ```
/// use highwater_connectors::files::{BadRecord, FileSource};
///
/// #[derive(serde::Deserialize)]
/// struct Flight {
///     carrier: String,
///     dep_delay: Option<f64>,
/// }
///
/// let books = FileSource::lines("books/*.txt").on_bad_record(BadRecord::Skip);
/// let flights = FileSource::csv::<Flight>("flights.csv.gz").null("NA");
/// # let _ = (books, flights);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a source does nothing until a job reads it"]
pub struct FileSource<F = Lines> {
    pattern: String,
    format: F,
    split_bytes: u64,
    record_bytes_max: usize,
    on_bad_record: BadRecord,
}

/// What to do with a record that is not what its format says: text that is not UTF-8, a CSV row
/// with a wrong number of fields, a field or a JSON document that does not fit the item's type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadRecord {
    /// Stop the job with an error that names file and line.
    #[default]
    Fail,
    /// Leave it out, and count it in the source's metrics.
    Skip,
}

impl FileSource<Lines> {
    /// Reads text; every line is a record, a `String` without its `\n` or `\r\n`.
    pub fn lines(pattern: impl Into<String>) -> FileSource<Lines> {
        FileSource::new(pattern.into(), Lines)
    }

    /// Reads CSV with a header row; every row becomes a `T` by the names in it.
    ///
    /// A quoted field may hold line breaks, so that a file cannot be cut before it was read: every
    /// file is one split, unless [`one_line_records`](FileSource::one_line_records) says otherwise.
    pub fn csv<T: DeserializeOwned + 'static>(pattern: impl Into<String>) -> FileSource<Csv<T>> {
        FileSource::new(pattern.into(), Csv::new())
    }

    /// Reads JSON lines; every line that is not blank becomes a `T`.
    pub fn json_lines<T: DeserializeOwned + 'static>(
        pattern: impl Into<String>,
    ) -> FileSource<JsonLines<T>> {
        FileSource::new(pattern.into(), JsonLines::new())
    }
}

impl<F: Format> FileSource<F> {
    fn new(pattern: String, format: F) -> FileSource<F> {
        FileSource {
            pattern,
            format,
            split_bytes: 32 << 20,
            record_bytes_max: 64 << 20,
            on_bad_record: BadRecord::default(),
        }
    }

    /// Sets the length above which a plain file is cut into several splits.
    ///
    /// Has no effect on compressed files, nor on CSV without `one_line_records`. May be changed
    /// between runs: files that a checkpoint knows stay cut as they were.
    ///
    /// *Unit*: bytes. *Default*: 32 MiB, which gives every core of a large machine a share of a
    /// file of 1 GiB, while the fraction of a millisecond that it takes to open a split is nothing
    /// beside the tens of them that it takes to read it, and a terabyte is 32,768 splits, a few MB
    /// of checkpoint; not tuned. *Range*: at least 1; 0 is taken as 1.
    pub fn split_bytes(mut self, bytes: u64) -> Self {
        self.split_bytes = bytes.max(1);
        self
    }

    /// Sets the longest record that is read; a longer one is an error, even where bad records are
    /// skipped, since it is most likely not text.
    ///
    /// *Unit*: bytes, terminator included. *Default*: 64 MiB, as the memory that one reader may
    /// take; not tuned. *Range*: at least 1.
    pub fn record_bytes_max(mut self, bytes: usize) -> Self {
        self.record_bytes_max = bytes;
        self
    }

    /// Sets what happens at a record that is not what the format says. *Default*:
    /// [`BadRecord::Fail`].
    pub fn on_bad_record(mut self, what: BadRecord) -> Self {
        self.on_bad_record = what;
        self
    }

    /// The files that the pattern names, sorted.
    fn files(&self) -> Result<Vec<String>, FilesError> {
        let pattern = || self.pattern.clone();
        let plain = Path::new(&self.pattern);
        // First as a path, since a file's name may hold brackets.
        if plain.is_dir() {
            let path = self.pattern.trim_end_matches('/').to_owned();
            return Err(FilesError::Directory { path });
        }
        if plain.exists() {
            return Ok(vec![pattern()]);
        }
        let matches = glob::glob_with(&self.pattern, MATCH)
            .map_err(|source| FilesError::Pattern { pattern: pattern(), source })?;
        let mut files = BTreeSet::new();
        let mut directory = None;
        for path in matches {
            let path = path.map_err(|error| FilesError::Read {
                path: error.path().display().to_string(),
                source: error.into(),
            })?;
            let name = path
                .to_str()
                .ok_or_else(|| FilesError::NameNotUtf8 { path: path.display().to_string() })?;
            if path.is_dir() {
                directory = Some(name.to_owned());
            } else {
                files.insert(name.to_owned());
            }
        }
        // Beside files a directory is passed over, as `**/*` could not be used otherwise.
        match directory {
            Some(path) if files.is_empty() => Err(FilesError::Directory { path }),
            _ => Ok(files.into_iter().collect()),
        }
    }
}

impl<T: DeserializeOwned + 'static> FileSource<Csv<T>> {
    /// Declares that no field holds a line break, so that large plain files can be read by several
    /// workers at once. A line that ends within quotes is a bad record then.
    pub fn one_line_records(mut self) -> Self {
        self.format.options.one_line_records = true;
        self
    }

    /// Declares that there is no header row; fields go to the fields of `T` in their order.
    ///
    /// `T` may be a tuple then. Fields beyond those of `T` are not looked at.
    pub fn headerless(mut self) -> Self {
        self.format.options.header = false;
        self
    }

    /// Sets what stands between fields. *Default*: a comma.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.format.options.delimiter = delimiter;
        self
    }

    /// Reads a field that is exactly `text` as if it were empty, which an `Option` takes as `None`.
    /// *Default*: no such text.
    pub fn null(mut self, text: impl Into<String>) -> Self {
        self.format.options.null = Some(text.into().into_bytes());
        self
    }
}

impl<F: Format> Source for FileSource<F> {
    type Item = F::Item;
    type Split = FileSplit;
    type Offset = FileOffset;
    type Reader = FileReader<F>;

    fn discover(
        &self,
        known: &[NamedSplit<FileSplit>],
    ) -> Result<Vec<NamedSplit<FileSplit>>, BoxError> {
        let files = self.files()?;
        // What was known and is read to its end may have been cleared away.
        if files.is_empty() && known.is_empty() {
            return Err(FilesError::NoMatch { pattern: self.pattern.clone() }.into());
        }
        let known: BTreeSet<&str> = known.iter().map(|named| named.split.path.as_str()).collect();
        let split_bytes = self.format.splittable().then_some(self.split_bytes);
        let mut splits = Vec::new();
        for path in files.iter().filter(|path| !known.contains(path.as_str())) {
            let (size, compression) =
                look_at(path).map_err(|source| FilesError::Read { path: path.clone(), source })?;
            splits.extend(cut(path, size, compression, split_bytes));
        }
        Ok(splits)
    }

    fn open(
        &self,
        split: &FileSplit,
        offset: Option<FileOffset>,
    ) -> Result<FileReader<F>, BoxError> {
        let FileSource { format, on_bad_record, record_bytes_max, .. } = self;
        Ok(FileReader::open(format, split, offset, *on_bad_record, *record_bytes_max)?)
    }
}

/// Length and compression of a file.
fn look_at(path: &str) -> std::io::Result<(u64, Compression)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut magic = Vec::with_capacity(2);
    file.take(2).read_to_end(&mut magic)?;
    let gzip = magic == [0x1f, 0x8b];
    Ok((size, if gzip { Compression::Gzip } else { Compression::Plain }))
}
