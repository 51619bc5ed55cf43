//! Records in the memory of this process, as input and as output: for tests and examples.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sink::{Prepare, Sink, SinkRun, SinkWriter};
use crate::source::{NamedSplit, Progress, ReadLimit, ReadStatus, Source, SplitReader};
use crate::{BoxError, Epoch};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Why records in memory could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The checkpoint names a place that the source does not have.
    #[error("split {split} has no record {record}; the source was given other records before")]
    OutOfRange {
        /// The split.
        split: usize,
        /// The place.
        record: usize,
    },
    /// The sink holds records of a run that this one does not continue.
    #[error("the sink holds records of {held}, and this run goes on from {restored:?}")]
    EarlierOutput {
        /// The last epoch that was committed.
        held: Epoch,
        /// What the run goes on from.
        restored: Option<Epoch>,
    },
}

/// Yields records that are given to it, in one split or several.
///
/// ```
/// use highwater::testing::VecSource;
///
/// let words = VecSource::new(vec!["to", "be", "or", "not"]);
/// let of_two_workers = VecSource::splits(vec![vec![1, 2, 3], vec![4, 5]]);
/// # let _ = (words, of_two_workers);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a source does nothing until a job reads it"]
pub struct VecSource<T> {
    splits: Arc<Vec<Vec<T>>>,
}

impl<T> VecSource<T> {
    /// Yields the records in their order.
    pub fn new(records: impl Into<Vec<T>>) -> VecSource<T> {
        VecSource::splits(vec![records.into()])
    }

    /// Yields the records of each split in their order.
    pub fn splits(splits: Vec<Vec<T>>) -> VecSource<T> {
        VecSource { splits: Arc::new(splits) }
    }
}

/// One of the vectors of a [`VecSource`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VecSplit {
    /// Which one, from 0.
    pub index: usize,
}

/// A place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VecOffset {
    /// Records of the split before it.
    pub records: usize,
}

impl<T: Clone + Send + Sync + 'static> Source for VecSource<T> {
    type Item = T;
    type Split = VecSplit;
    type Offset = VecOffset;
    type Reader = VecReader<T>;

    fn discover(
        &self,
        known: &[NamedSplit<VecSplit>],
    ) -> Result<Vec<NamedSplit<VecSplit>>, BoxError> {
        let known: BTreeSet<usize> = known.iter().map(|named| named.split.index).collect();
        Ok((0..self.splits.len())
            .filter(|index| !known.contains(index))
            .map(|index| NamedSplit { id: index.to_string(), split: VecSplit { index } })
            .collect())
    }

    fn open(&self, split: &VecSplit, offset: Option<VecOffset>) -> Result<VecReader<T>, BoxError> {
        let at = offset.map_or(0, |offset| offset.records);
        match self.splits.get(split.index) {
            Some(records) if at <= records.len() => {
                Ok(VecReader { splits: Arc::clone(&self.splits), index: split.index, at })
            }
            _ => Err(MemoryError::OutOfRange { split: split.index, record: at }.into()),
        }
    }
}

/// Yields the records of one vector.
#[derive(Debug)]
pub struct VecReader<T> {
    splits: Arc<Vec<Vec<T>>>,
    index: usize,
    at: usize,
}

impl<T: Clone> SplitReader for VecReader<T> {
    type Item = T;
    type Offset = VecOffset;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<T>) -> Result<ReadStatus, BoxError> {
        let left = &self.splits[self.index][self.at..];
        // Nothing is read, so a record has the bytes that it takes in the vector.
        let by_bytes = limit.bytes.div_ceil(size_of::<T>().max(1));
        let taken = &left[..left.len().min(limit.records).min(by_bytes)];
        out.extend_from_slice(taken);
        let finished = taken.len() == left.len();
        self.at += taken.len();
        Ok(if finished { ReadStatus::Finished } else { ReadStatus::Ready })
    }

    fn offset(&self) -> VecOffset {
        VecOffset { records: self.at }
    }

    fn progress(&self) -> Option<Progress> {
        let total = self.splits[self.index].len() as u64;
        Some(Progress { done: self.at as u64, total })
    }
}

/// Collects records for this process to look at.
///
/// Records appear when their epoch is committed. Until then they are kept in the checkpoint, so a
/// job that restores in the same process, with a clone of the same sink, collects each record once.
/// Another process starts with nothing. Clones share what they collect.
///
/// ```
/// use highwater::testing::CollectSink;
///
/// let sink = CollectSink::<u64>::new();
/// let collected = sink.clone();
/// // ... run a job that writes to `sink` ...
/// assert!(collected.records().is_empty());
/// ```
#[must_use = "a sink does nothing until a job writes to it"]
pub struct CollectSink<T> {
    collected: Arc<Mutex<Collected<T>>>,
}

struct Collected<T> {
    records: Vec<T>,
    ids: BTreeSet<String>,
    /// The last epoch that was committed.
    epoch: Option<Epoch>,
}

impl<T> CollectSink<T> {
    /// Collects nothing yet.
    pub fn new() -> CollectSink<T> {
        let collected = Collected { records: Vec::new(), ids: BTreeSet::new(), epoch: None };
        CollectSink { collected: Arc::new(Mutex::new(collected)) }
    }

    /// The records that were committed so far. Those of an epoch come together, those of a worker
    /// in their order; otherwise there is none.
    pub fn records(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.lock().records.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Collected<T>> {
        // A commit changes the records and the ids last, so a panic in it leaves nothing half done.
        self.collected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for CollectSink<T> {
    fn clone(&self) -> CollectSink<T> {
        CollectSink { collected: Arc::clone(&self.collected) }
    }
}

impl<T> Default for CollectSink<T> {
    fn default() -> CollectSink<T> {
        CollectSink::new()
    }
}

impl<T> fmt::Debug for CollectSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let records = self.lock().records.len();
        f.debug_struct("CollectSink").field("records", &records).finish_non_exhaustive()
    }
}

/// The records of one worker in one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectedBatch {
    /// Names the batch; one that was collected is not collected again.
    pub id: String,
    /// The epoch that the records belong to.
    pub epoch: Epoch,
    /// The records.
    pub records: Vec<serde_json::Value>,
}

impl<T> Sink<T> for CollectSink<T>
where
    T: Serialize + DeserializeOwned + Send + 'static,
{
    type Committable = CollectedBatch;
    type Writer = CollectWriter<T>;

    fn begin(&self, run: &SinkRun) -> Result<(), BoxError> {
        match self.lock().epoch {
            Some(held) if run.restored.is_none_or(|restored| held > restored) => {
                Err(MemoryError::EarlierOutput { held, restored: run.restored }.into())
            }
            _ => Ok(()),
        }
    }

    fn commit(&self, _run: &SinkRun, batches: Vec<CollectedBatch>) -> Result<(), BoxError> {
        for CollectedBatch { id, epoch, records } in batches {
            let decoded: Result<Vec<T>, _> =
                records.into_iter().map(serde_json::from_value).collect();
            let decoded = decoded?;
            let mut collected = self.lock();
            if collected.ids.insert(id) {
                collected.records.extend(decoded);
                collected.epoch = collected.epoch.max(Some(epoch));
            }
        }
        Ok(())
    }

    fn abort(&self, _run: &SinkRun) -> Result<(), BoxError> {
        Ok(())
    }

    fn open(&self, run: &SinkRun, worker: usize) -> Result<CollectWriter<T>, BoxError> {
        Ok(CollectWriter { generation: run.generation, worker, records: Vec::new() })
    }
}

/// Collects one worker's records.
#[derive(Debug)]
pub struct CollectWriter<T> {
    generation: u64,
    worker: usize,
    records: Vec<T>,
}

impl<T: Serialize + Send + 'static> SinkWriter<T> for CollectWriter<T> {
    type Committable = CollectedBatch;

    fn write(&mut self, batch: &mut Vec<T>) -> Result<(), BoxError> {
        self.records.append(batch);
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Prepare<CollectedBatch>, BoxError> {
        let records = std::mem::take(&mut self.records);
        let id = format!("{}-{}-{}", epoch.0, self.generation, self.worker);
        Ok(Box::new(move || {
            if records.is_empty() {
                return Ok(Vec::new());
            }
            let encoded: Result<_, _> = records.iter().map(serde_json::to_value).collect();
            Ok(vec![CollectedBatch { id, epoch, records: encoded? }])
        }))
    }
}
