//! One split as the source operator reads it.

use highwater_checkpoint::BoxError;
use highwater_checkpoint::metadata::SplitMetadata;

use crate::event_time::SplitWatermark;
use crate::source::{Progress, ReadLimit, ReadStatus, Source, SplitReader};

/// A split and how far it is read.
pub(super) struct Split<S: Source> {
    pub(super) metadata: SplitMetadata,
    /// None until its turn comes, and when it is finished.
    reader: Option<S::Reader>,
    bytes_seen: u64,
    skipped_seen: u64,
    /// Of a split that is finished, and before it was opened.
    progress: Option<Progress>,
    pub(super) watermark: SplitWatermark,
    /// Has nothing, or is ahead of the others: not to be read in this scheduling.
    pub(super) is_waiting: bool,
}

impl<S: Source> Split<S> {
    pub(super) fn new(metadata: SplitMetadata, now_ms: u64) -> Self {
        Split {
            watermark: SplitWatermark::new(metadata.watermark, now_ms),
            metadata,
            reader: None,
            bytes_seen: 0,
            skipped_seen: 0,
            progress: None,
            is_waiting: false,
        }
    }

    /// Whether it may be read in this scheduling.
    pub(super) fn is_ready(&self) -> bool {
        !self.metadata.finished && !self.is_waiting
    }

    /// Reads on, opening the split if it was not; returns bytes read and records skipped as well.
    pub(super) fn read(
        &mut self,
        source: &S,
        limit: ReadLimit,
        batch: &mut Vec<S::Item>,
    ) -> std::result::Result<(ReadStatus, u64, u64), BoxError> {
        let reader = if let Some(reader) = &mut self.reader {
            reader
        } else {
            let split = serde_json::from_value(self.metadata.split.clone())?;
            let offset = self.metadata.offset.clone().map(serde_json::from_value).transpose()?;
            self.reader.insert(source.open(&split, offset)?)
        };
        let status = reader.read(limit, batch)?;
        let (bytes, skipped) = (reader.bytes_read(), reader.skipped());
        let new = (bytes - self.bytes_seen, skipped - self.skipped_seen);
        (self.bytes_seen, self.skipped_seen) = (bytes, skipped);
        Ok((status, new.0, new.1))
    }

    /// Closes a split that is read to its end.
    pub(super) fn finish(&mut self) -> std::result::Result<(), BoxError> {
        self.progress = self.progress();
        self.metadata = self.snapshot()?;
        self.metadata.finished = true;
        self.reader = None;
        Ok(())
    }

    pub(super) fn snapshot(&self) -> std::result::Result<SplitMetadata, BoxError> {
        let mut metadata = self.metadata.clone();
        metadata.watermark = self.watermark.at();
        if let Some(reader) = &self.reader {
            metadata.offset = Some(serde_json::to_value(reader.offset())?);
        }
        Ok(metadata)
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        match &self.reader {
            Some(reader) => reader.progress(),
            // Finished before this run began: nothing of it is to be read.
            None if self.metadata.finished => Some(self.progress.unwrap_or_default()),
            None => self.progress,
        }
    }
}
