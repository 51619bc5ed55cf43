//! Input that lasts: records in memory of which only so many are read at a time.

use std::sync::Arc;
use std::time::Duration;

use highwater::BoxError;
use highwater::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};
use highwater::testing::VecSource;

/// Of a split, and of how many records were read of it.
type Pace = Arc<dyn Fn(usize, usize) -> Result<usize, BoxError> + Send + Sync>;

/// Yields a few records of each split a millisecond, so that the input lasts for many checkpoints.
#[derive(Clone)]
pub(crate) struct Trickle<T> {
    records: VecSource<T>,
    pace: Pace,
    pause: Duration,
    is_endless: bool,
}

impl<T> Trickle<T> {
    /// Yields at most `few` records of a split at once.
    pub(crate) fn new(records: VecSource<T>, few: usize) -> Trickle<T> {
        Trickle::paced(records, move |_, _| Ok(few))
    }

    /// Yields at most as many records of a split at once as `pace` says, which is told which split it
    /// is and how many were read of it; with none the split waits.
    pub(crate) fn paced(
        records: VecSource<T>,
        pace: impl Fn(usize, usize) -> Result<usize, BoxError> + Send + Sync + 'static,
    ) -> Trickle<T> {
        let pause = Duration::from_millis(1);
        Trickle { records, pace: Arc::new(pace), pause, is_endless: false }
    }

    /// Pauses for so long after each read, instead of a millisecond.
    pub(crate) fn pausing(self, pause: Duration) -> Trickle<T> {
        Trickle { pause, ..self }
    }

    /// Waits for more behind the last record.
    pub(crate) fn endless(self) -> Trickle<T> {
        Trickle { is_endless: true, ..self }
    }
}

pub(crate) struct TrickleReader<T: Clone + Send + Sync + 'static> {
    records: <VecSource<T> as Source>::Reader,
    split: usize,
    pace: Pace,
    pause: Duration,
    is_endless: bool,
}

impl<T: Clone + Send + Sync + 'static> Source for Trickle<T> {
    type Item = T;
    type Split = <VecSource<T> as Source>::Split;
    type Offset = <VecSource<T> as Source>::Offset;
    type Reader = TrickleReader<T>;

    fn discover(
        &self,
        known: &[NamedSplit<Self::Split>],
    ) -> Result<Vec<NamedSplit<Self::Split>>, BoxError> {
        self.records.discover(known)
    }

    fn open(
        &self,
        split: &Self::Split,
        at: Option<Self::Offset>,
    ) -> Result<TrickleReader<T>, BoxError> {
        Ok(TrickleReader {
            records: self.records.open(split, at)?,
            split: split.index,
            pace: Arc::clone(&self.pace),
            pause: self.pause,
            is_endless: self.is_endless,
        })
    }
}

impl<T: Clone + Send + Sync + 'static> SplitReader for TrickleReader<T> {
    type Item = T;
    type Offset = <VecSource<T> as Source>::Offset;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<T>) -> Result<ReadStatus, BoxError> {
        let idle = ReadStatus::Idle { retry_after: self.pause };
        let few = (self.pace)(self.split, self.offset().records)?;
        if few == 0 {
            return Ok(idle);
        }
        let limit = ReadLimit { records: limit.records.min(few), ..limit };
        Ok(match self.records.read(limit, out)? {
            ReadStatus::Ready => idle,
            ReadStatus::Finished if self.is_endless => idle,
            other => other,
        })
    }

    fn offset(&self) -> Self::Offset {
        self.records.offset()
    }
}
