//! Reads the records of one split, and keeps its place.

use highwater::BoxError;
use highwater::source::{Progress, ReadLimit, ReadStatus, SplitReader};

use super::BadRecord;
use super::error::{FilesError, Place};
use super::format::{Bad, Decoder, Format, Next};
use super::input::Input;
use super::splits::{FileOffset, FileSplit};

/// What a person can do about a bad record.
const ADVICE: &str = "correct the file, or let the source skip such records (`BadRecord::Skip`)";

/// Reads one split of a [`FileSource`](super::FileSource); holds its file open.
#[derive(Debug)]
pub struct FileReader<F: Format> {
    input: Input,
    decoder: F::Decoder,
    split: FileSplit,
    end: u64,
    on_bad_record: BadRecord,
    /// Whether the decoder has seen every line from the beginning of the file.
    lines_known: bool,
    opened_at: u64,
    skipped: u64,
}

impl<F: Format> FileReader<F> {
    pub(super) fn open(
        format: &F,
        split: &FileSplit,
        offset: Option<FileOffset>,
        on_bad_record: BadRecord,
        record_bytes_max: usize,
    ) -> Result<FileReader<F>, FilesError> {
        let mut input = Input::open(split, record_bytes_max)?;
        let decoder = format.decoder(&mut input)?;
        let end = split.end.unwrap_or(u64::MAX);
        let first_record = input.position();
        match offset {
            Some(FileOffset { byte }) => input.advance(byte.max(first_record))?,
            None if split.start > first_record => {
                // The byte before tells whether a record begins exactly at the start.
                input.advance(split.start - 1)?;
                input.pass_line(end)?;
            }
            None => {}
        }
        Ok(FileReader {
            lines_known: input.position() == first_record,
            opened_at: input.position(),
            input,
            decoder,
            split: split.clone(),
            end,
            on_bad_record,
            skipped: 0,
        })
    }

    #[cold]
    fn bad_record(&mut self, bad: Bad) -> Result<(), FilesError> {
        if self.on_bad_record == BadRecord::Skip {
            self.skipped += 1;
            return Ok(());
        }
        let place =
            if self.lines_known { Place::Line(bad.line + 1) } else { Place::Byte(bad.byte) };
        let path = self.input.path().to_owned();
        let reason = format!("{}; {ADVICE}", bad.reason);
        Err(FilesError::BadRecord { path, place, reason })
    }
}

impl<F: Format> SplitReader for FileReader<F> {
    type Item = F::Item;
    type Offset = FileOffset;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<F::Item>) -> Result<ReadStatus, BoxError> {
        let stop = self.input.position().saturating_add(limit.bytes as u64);
        let mut records = 0;
        while records < limit.records && self.input.position() < stop {
            match self.decoder.next(&mut self.input, self.end)? {
                Next::Item(item) => {
                    out.push(item);
                    records += 1;
                }
                Next::Bad(bad) => self.bad_record(bad)?,
                Next::End => return Ok(ReadStatus::Finished),
            }
        }
        if self.input.position() >= self.end {
            return Ok(ReadStatus::Finished);
        }
        Ok(ReadStatus::Ready)
    }

    fn offset(&self) -> FileOffset {
        FileOffset { byte: self.input.position() }
    }

    fn progress(&self) -> Option<Progress> {
        // On disk, so that compressed and plain files add up.
        Some(match (self.input.compressed_bytes(), self.split.end) {
            (None, Some(end)) => Progress {
                done: self.input.position().clamp(self.split.start, end) - self.split.start,
                total: end - self.split.start,
            },
            (read, _) => {
                Progress { done: read.unwrap_or(0).min(self.split.size), total: self.split.size }
            }
        })
    }

    fn bytes_read(&self) -> u64 {
        self.input.position() - self.opened_at
    }

    fn skipped(&self) -> u64 {
        self.skipped
    }
}
