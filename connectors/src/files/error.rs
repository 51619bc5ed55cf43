//! What can go wrong with files, and what a caller can do about it.

use std::fmt;

use highwater::Epoch;

/// Why files could not be read or written. Callers branch on [`FilesError::kind`]; people read
/// `Display`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FilesError {
    /// The pattern is not one.
    #[error("{pattern:?} is not a valid pattern")]
    Pattern {
        /// As the user gave it.
        pattern: String,
        /// Where it is wrong.
        source: glob::PatternError,
    },
    /// No file has a name that matches.
    #[error(
        "no file matches {pattern:?}; give the path of a file, or a pattern in quotes such as \
         'books/*.txt'"
    )]
    NoMatch {
        /// As the user gave it.
        pattern: String,
    },
    /// A directory stands where a file is needed.
    #[error("{path} is a directory; to read the files in it, say {path}/*")]
    Directory {
        /// The directory.
        path: String,
    },
    /// A file stands where the sink's directory is to be.
    #[error("{path} is a file, and output needs a directory of its own; choose another path")]
    NotDirectory {
        /// The file.
        path: String,
    },
    /// A file's name cannot be written into a checkpoint.
    #[error("the file name {path} is not UTF-8")]
    NameNotUtf8 {
        /// The name as far as it can be shown.
        path: String,
    },
    /// The system refused to read.
    #[error("could not read {path}")]
    Read {
        /// What was read.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that an earlier run found is not there any more.
    #[error("{path} is gone, and was not read to its end; put it back")]
    Gone {
        /// The file.
        path: String,
    },
    /// A file has fewer bytes than when it was found.
    #[error(
        "{path} has {now} bytes and had {found} when it was found: it is not the same file; put \
         that one back"
    )]
    Shrunk {
        /// The file.
        path: String,
        /// Its length at discovery.
        found: u64,
        /// Its length now.
        now: u64,
    },
    /// A file ends before the place at which reading is to go on.
    #[error("{path} ends at byte {length}, before byte {offset} at which reading is to go on")]
    OffsetBeyondEnd {
        /// The file.
        path: String,
        /// Where to go on, in decompressed bytes.
        offset: u64,
        /// How many (decompressed) bytes there are.
        length: u64,
    },
    /// A record is not what the format says.
    #[error("{path}, {place}: {reason}")]
    BadRecord {
        /// The file.
        path: String,
        /// Where in it.
        place: Place,
        /// What is wrong.
        reason: String,
    },
    /// A record is longer than the limit set by `record_bytes_max`.
    #[error(
        "{path}, byte {byte}: the record that begins here has more than {max} bytes; \
         is it text? (the limit is `record_bytes_max`)"
    )]
    RecordTooLong {
        /// The file.
        path: String,
        /// Where the record begins.
        byte: u64,
        /// The limit.
        max: usize,
    },
    /// The system refused to write.
    #[error("could not write {path}")]
    Write {
        /// What was written.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// A record cannot be written in the sink's format.
    #[error("could not write row {row} of {path}")]
    Encode {
        /// The file it was for.
        path: String,
        /// Its place in that file, from 1.
        row: u64,
        /// Why not.
        source: highwater::BoxError,
    },
    /// The sink's directory holds something that no sink wrote.
    #[error(
        "{directory} is not empty (it holds {found}) and no Highwater sink has written to it; \
         choose an empty or a new directory"
    )]
    NotEmpty {
        /// The directory.
        directory: String,
        /// One of the names in it.
        found: String,
    },
    /// Another job or another sink writes to the directory.
    #[error(
        "{directory} belongs to sink {uid:?} of job {job:?}, not to sink {our_uid:?} of job \
         {our_job:?}; choose another directory"
    )]
    Taken {
        /// The directory.
        directory: String,
        /// The job that writes there.
        job: String,
        /// Its sink.
        uid: String,
        /// The job that asks.
        our_job: String,
        /// The sink that asks.
        our_uid: String,
    },
    /// The file that says whose the directory is cannot be understood.
    #[error(
        "{path} was damaged and does not say which job the directory belongs to; choose another \
         directory"
    )]
    Marker {
        /// The marker file.
        path: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The directory holds output of a run that this one does not continue.
    #[error(
        "{directory} holds output of an earlier run ({part}), and this run starts afresh; to \
         continue that run, restore its checkpoint by --checkpoint-dir without --restore; to start afresh, remove the directory or \
         choose another"
    )]
    EarlierOutput {
        /// The directory.
        directory: String,
        /// One of its part files.
        part: String,
    },
    /// The directory holds output of epochs that the restored checkpoint does not contain.
    #[error(
        "{directory} holds output of epochs after {restored}, which this run restored and would \
         write again: {}; restore a later checkpoint, or move these files away", parts.join(", ")
    )]
    LaterOutput {
        /// The directory.
        directory: String,
        /// What the run goes on from.
        restored: Epoch,
        /// The part files in question.
        parts: Vec<String>,
    },
    /// A part file that the checkpoint names is not there, neither hidden nor committed.
    #[error(
        "neither {hidden} nor {committed} exists, one of which the checkpoint names; give the \
         directory that the job has written to before, or put the file back"
    )]
    Lost {
        /// Where it was prepared.
        hidden: String,
        /// Where it belongs.
        committed: String,
    },
    /// A part file is not the one that was prepared.
    #[error(
        "{path} has {found} bytes and the checkpoint says {expected}: it was changed; put the file \
         back as it was, or start afresh with an empty directory and --restore none"
    )]
    Conflict {
        /// The file.
        path: String,
        /// Its length.
        found: u64,
        /// The length that the checkpoint names.
        expected: u64,
    },
}

/// What a caller can do about a [`FilesError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FilesErrorKind {
    /// Change the pattern, the directory or the options.
    Invalid,
    /// Correct the input, or read it with [`BadRecord::Skip`](super::BadRecord::Skip).
    Data,
    /// Find out what the system refused, and start the job again.
    System,
    /// Files that a checkpoint refers to were changed from outside: tell an operator.
    Changed,
}

impl FilesError {
    /// Classifies the error. No wildcard arm: a new variant has to choose.
    pub fn kind(&self) -> FilesErrorKind {
        match self {
            FilesError::Pattern { .. }
            | FilesError::NoMatch { .. }
            | FilesError::Directory { .. }
            | FilesError::NotDirectory { .. }
            | FilesError::NameNotUtf8 { .. }
            | FilesError::NotEmpty { .. }
            | FilesError::Taken { .. }
            | FilesError::Marker { .. }
            | FilesError::EarlierOutput { .. }
            | FilesError::LaterOutput { .. }
            | FilesError::Encode { .. } => FilesErrorKind::Invalid,
            FilesError::BadRecord { .. } | FilesError::RecordTooLong { .. } => FilesErrorKind::Data,
            FilesError::Read { .. } | FilesError::Write { .. } => FilesErrorKind::System,
            FilesError::Gone { .. }
            | FilesError::Shrunk { .. }
            | FilesError::OffsetBeyondEnd { .. }
            | FilesError::Lost { .. }
            | FilesError::Conflict { .. } => FilesErrorKind::Changed,
        }
    }
}

/// Where in a file a record begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Number of the line, from 1: known where the file was read from its beginning.
    Line(u64),
    /// Number of (decompressed) bytes before it.
    Byte(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Byte(byte) => write!(f, "byte {byte}"),
        }
    }
}
