//! Files as input and as output.
//!
//! | part           | guarantee                                                                 |
//! |----------------|---------------------------------------------------------------------------|
//! | [`FileSource`] | exactly once: every record has an offset, and is read again from there    |
//! | [`FileSink`]   | exactly once: files appear complete, when the checkpoint of their rows is |
//!
//! # Source
//!
//! A pattern names files, and a file is one split or several. An offset is a number of bytes; in a
//! gzip file of decompressed ones, so to go on in it the file is decompressed again up to there.
//!
//! | what happens                                     | what follows                           |
//! |--------------------------------------------------|----------------------------------------|
//! | no file matches, or one cannot be opened         | the job does not start                 |
//! | a record is not what the format says             | [`BadRecord`]                          |
//! | a file is gone or shorter, and not read yet      | error that names it                    |
//! | a file was appended to after it was found        | what was appended is not read          |
//! | a file was changed otherwise                     | not noticed: do not change input files |
//! | a file appears while the job runs                | read after the next restore            |
//!
//! # Sink
//!
//! ```text
//!   write    .part-3-0-7.csv.inprogress     generation 3, worker 0, eighth file
//!   prepare  flushed and synced             its names and length go into the checkpoint
//!   commit   part-0000000042-3-0.csv        renamed, the directory synced
//! ```
//!
//! | what happens                                  | what follows                                    |
//! |-----------------------------------------------|-------------------------------------------------|
//! | dies before the checkpoint is complete        | the next run removes the hidden files           |
//! | dies between checkpoint and rename            | the restored run renames                        |
//! | two processes rename at the same time         | one does, both succeed                          |
//! | disk full, directory gone                     | error that names the file; the job stops        |
//! | a prepared file is gone or has another length | error that names it; nothing is overwritten     |
//! | directory of another job, or of an older run  | the job does not start                          |
//!
//! Tests: `tests/files_source.rs`, `tests/files_sink.rs`, `tests/conformance.rs`.

mod committer;
mod csv;
mod directory;
mod error;
mod format;
mod input;
mod names;
mod reader;
mod rows;
mod sink;
mod source;
mod splits;

pub use self::committer::PreparedPart;
pub use self::csv::Csv;
pub use self::error::{FilesError, FilesErrorKind, Place};
pub use self::format::{Format, JsonLines, Lines};
pub use self::reader::FileReader;
pub use self::rows::{CsvRows, JsonRows, RowFormat, TextRows};
pub use self::sink::{FileSink, FileWriter};
pub use self::source::{BadRecord, FileSource};
pub use self::splits::{Compression, FileOffset, FileSplit};
