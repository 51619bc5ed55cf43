//! The contract of a source: splits that can be read again from an offset.
//!
//! ```text
//!   Source --discover--> splits --assigned by the runtime--> worker: open(split, offset) -> SplitReader
//!                                                            read, read, read ... offset() at each epoch's end
//! ```
//!
//! A *split* is what one reader reads in order: a partition, a file, a range of a file. An *offset*
//! is a place between two records of it. The runtime decides which worker reads which split,
//! writes each split's offset into every checkpoint, and after a restore opens the split there.
//!
//! Splits are the state of a source, a list that is dealt out anew when a job is started with other
//! workers. What a reader has to remember is part of its offset; what all must know, `discover`
//! finds in the splits that are known, of all workers.
//!
//! # Contract
//!
//! * **S1** A reader opened at an offset that [`SplitReader::offset`] once returned yields exactly
//!   the records that followed at that time, in the same order. This is what makes exactly once
//!   possible: records after the last checkpoint are read again.
//! * **S2** A split's id never names another split, not in a later run either.
//! * **S3** [`SplitReader::read`] returns soon: it reads up to the limit of what is there, and says
//!   [`ReadStatus::Idle`] rather than wait. It runs on the worker's thread.
//! * **S4** An offset is valid between any two calls of `read`.
//!
//! `highwater::testing::check_source` puts a source through S1, S2 and S4.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::BoxError;
use crate::event_time::{Watermarks, WithWatermarks};

/// What a job reads from.
pub trait Source: Send + Sync + 'static {
    /// One record.
    type Item: 'static;
    /// Describes what one reader reads; written into checkpoints as JSON.
    type Split: Serialize + DeserializeOwned + Clone + Send + 'static;
    /// A place between two records of a split; written into checkpoints as JSON, so best made of
    /// plain numbers with names.
    type Offset: Serialize + DeserializeOwned + Clone + Send + 'static;
    /// Reads one split.
    type Reader: SplitReader<Item = Self::Item, Offset = Self::Offset> + 'static;

    /// Lists the splits to read, beyond those in `known`.
    ///
    /// Called once at the start of a run, before any worker exists. `known` is what the checkpoint
    /// lists, finished splits included; they are read on without being returned again.
    ///
    /// # Errors
    ///
    /// Whatever makes the input unreadable, with its name: the job does not start.
    fn discover(
        &self,
        known: &[NamedSplit<Self::Split>],
    ) -> Result<Vec<NamedSplit<Self::Split>>, BoxError>;

    /// Opens a split at `offset`, or at its beginning.
    ///
    /// # Errors
    ///
    /// If the split cannot be read, or the offset does not lie in it any more.
    fn open(
        &self,
        split: &Self::Split,
        offset: Option<Self::Offset>,
    ) -> Result<Self::Reader, BoxError>;

    /// How far event time has come, by what was read; none if records have no event times.
    ///
    /// *Default*: none. A program adds it to any source by
    /// [`with_watermarks`](Source::with_watermarks).
    fn watermarks(&self) -> Option<Watermarks<Self::Item>> {
        None
    }

    /// The same source, with event time.
    fn with_watermarks(self, watermarks: Watermarks<Self::Item>) -> WithWatermarks<Self>
    where
        Self: Sized,
    {
        WithWatermarks::new(self, watermarks)
    }
}

/// A split and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSplit<S> {
    /// Unique within the source, the same in every run; shown to people.
    pub id: String,
    /// What to read.
    pub split: S,
}

/// Reads the records of one split, in order.
pub trait SplitReader {
    /// One record.
    type Item;
    /// A place between two records.
    type Offset;

    /// Appends records to `out`, at most `limit.records` of them, and stops after the record with
    /// which it has read `limit.bytes` or more.
    ///
    /// # Errors
    ///
    /// Stops the job. A reader that can skip bad records does so by the user's choice, and counts
    /// them in [`skipped`](SplitReader::skipped).
    fn read(&mut self, limit: ReadLimit, out: &mut Vec<Self::Item>)
    -> Result<ReadStatus, BoxError>;

    /// The place after the last record that was read.
    fn offset(&self) -> Self::Offset;

    /// How much of the split was read and how much there is, in bytes or in records, the same unit
    /// for all splits of a source; none where the end is not known.
    fn progress(&self) -> Option<Progress> {
        None
    }

    /// Bytes read since the reader was opened; for the status line.
    fn bytes_read(&self) -> u64 {
        0
    }

    /// Records skipped as unreadable since the reader was opened.
    fn skipped(&self) -> u64 {
        0
    }
}

/// How much one call of [`SplitReader::read`] may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimit {
    /// Records, at least 1.
    pub records: usize,
    /// Bytes of input, at least 1.
    pub bytes: usize,
}

/// What a split has after a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStatus {
    /// More can be read at once.
    Ready,
    /// Nothing for now; to be asked again after this time at the earliest.
    Idle {
        /// When to ask again.
        retry_after: Duration,
    },
    /// Nothing will follow, ever.
    Finished,
}

/// How far a split was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Read so far, from the beginning of the split.
    pub done: u64,
    /// All there is.
    pub total: u64,
}
