//! Makes records from numbers: for examples, tests and benches that need no input.

#![expect(clippy::disallowed_methods, reason = "emits at a rate")]

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use highwater::BoxError;
use highwater::source::{NamedSplit, Progress, ReadLimit, ReadStatus, Source, SplitReader};
use serde::{Deserialize, Serialize};

/// Eight: a fixed number, since the splits of a job must not depend on the machine that it starts
/// on; as many as the cores of a common one.
const SPLITS: u64 = 8;

/// A reader that has to wait asks again after at least this long, so that fast rates make few
/// large batches rather than many small ones.
const RETRY_MIN: Duration = Duration::from_millis(1);

/// Yields what a function makes of the numbers from 0 on, each once.
///
/// Split *s* of *n* yields the numbers *s*, *s + n*, *s + 2n* and so on: how many there are changes
/// the order, not the set of records. The function must return the same record for the same number
/// in every run, or records change when they are read again after a failure.
///
/// ```
/// use highwater_connectors::generator::GeneratorSource;
///
/// let numbers = GeneratorSource::new(1_000, |i| i);
/// let clicks = GeneratorSource::endless(|i| (format!("user-{}", i % 50), i)).rate(10_000.0);
/// # let _ = (numbers, clicks);
/// ```
#[must_use = "a source does nothing until a job reads it"]
pub struct GeneratorSource<F> {
    make: Arc<F>,
    total: Option<u64>,
    splits: u64,
    rate: Option<f64>,
}

impl<F> GeneratorSource<F> {
    /// Yields the records of the numbers below `total`, then finishes.
    pub fn new<T>(total: u64, make: F) -> GeneratorSource<F>
    where
        F: Fn(u64) -> T + Send + Sync + 'static,
    {
        GeneratorSource { make: Arc::new(make), total: Some(total), splits: SPLITS, rate: None }
    }

    /// Yields records until the job is stopped.
    pub fn endless<T>(make: F) -> GeneratorSource<F>
    where
        F: Fn(u64) -> T + Send + Sync + 'static,
    {
        GeneratorSource { make: Arc::new(make), total: None, splits: SPLITS, rate: None }
    }

    /// Sets how fast records come, by the wall clock, all splits together.
    ///
    /// Counted from when a split is opened: what could not be taken in time, because the job was
    /// slower, follows as fast as it can. So the load stays the same however the job does, which is
    /// what measuring latency needs.
    ///
    /// *Unit*: records per second. *Default*: as fast as they are taken. *Range*: above 0.
    ///
    /// # Panics
    ///
    /// If the rate is not a number above 0.
    pub fn rate(mut self, records_per_second: f64) -> Self {
        assert!(
            records_per_second > 0.0 && records_per_second.is_finite(),
            "rate of a generator: {records_per_second} records per second is not above 0"
        );
        self.rate = Some(records_per_second);
        self
    }

    /// Sets the number of splits: how many workers can read at the same time.
    ///
    /// A job that goes on from a checkpoint keeps the number it was started with.
    ///
    /// *Default*: 8, as many as the cores of a common machine. *Range*: at least 1; 0 is taken
    /// as 1.
    pub fn splits(mut self, splits: u64) -> Self {
        self.splits = splits.max(1);
        self
    }
}

impl<F> fmt::Debug for GeneratorSource<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratorSource")
            .field("total", &self.total)
            .field("splits", &self.splits)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}

impl<F> Clone for GeneratorSource<F> {
    fn clone(&self) -> GeneratorSource<F> {
        GeneratorSource { make: Arc::clone(&self.make), ..*self }
    }
}

/// The numbers `index`, `index + of`, `index + 2 * of` ...
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratorSplit {
    /// Which split, from 0.
    pub index: u64,
    /// Of how many.
    pub of: u64,
}

/// A place between two records of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeneratorOffset {
    /// Records of the split before it.
    pub records: u64,
}

impl<T, F> Source for GeneratorSource<F>
where
    T: 'static,
    F: Fn(u64) -> T + Send + Sync + 'static,
{
    type Item = T;
    type Split = GeneratorSplit;
    type Offset = GeneratorOffset;
    type Reader = GeneratorReader<F>;

    fn discover(
        &self,
        known: &[NamedSplit<GeneratorSplit>],
    ) -> Result<Vec<NamedSplit<GeneratorSplit>>, BoxError> {
        // Other splits beside those known would yield the same numbers again.
        if !known.is_empty() {
            return Ok(Vec::new());
        }
        let of = self.splits;
        let named =
            |index| NamedSplit { id: format!("{index}/{of}"), split: GeneratorSplit { index, of } };
        Ok((0..of).map(named).collect())
    }

    fn open(
        &self,
        split: &GeneratorSplit,
        offset: Option<GeneratorOffset>,
    ) -> Result<GeneratorReader<F>, BoxError> {
        let at = offset.map_or(0, |offset| offset.records);
        Ok(GeneratorReader {
            make: Arc::clone(&self.make),
            split: *split,
            total: self.total.map(|total| total.saturating_sub(split.index).div_ceil(split.of)),
            opened_at: at,
            at,
            pace: self.rate.map(|rate| (Instant::now(), Pace::of_split(rate, split))),
            record_bytes: size_of::<T>().max(1),
        })
    }
}

/// Makes the records of one split.
pub struct GeneratorReader<F> {
    make: Arc<F>,
    split: GeneratorSplit,
    total: Option<u64>,
    opened_at: u64,
    at: u64,
    pace: Option<(Instant, Pace)>,
    record_bytes: usize,
}

impl<F> fmt::Debug for GeneratorReader<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratorReader")
            .field("split", &self.split)
            .field("total", &self.total)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl<T, F> SplitReader for GeneratorReader<F>
where
    F: Fn(u64) -> T,
{
    type Item = T;
    type Offset = GeneratorOffset;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<T>) -> Result<ReadStatus, BoxError> {
        let left = self.total.map_or(u64::MAX, |total| total.saturating_sub(self.at));
        let mut count = left.min(limit.records.min(limit.bytes.div_ceil(self.record_bytes)) as u64);
        let mut wait = None;
        if let Some((opened, pace)) = &self.pace {
            let (emitted, elapsed) = (self.at - self.opened_at, opened.elapsed());
            let due = pace.due(elapsed).saturating_sub(emitted);
            if due < count {
                count = due;
                wait = Some(pace.wait(elapsed, emitted + due));
            }
        }
        let GeneratorSplit { index, of } = self.split;
        // A range's length is known to `extend`, which so writes without checking for room.
        out.extend((self.at..self.at + count).map(|record| (self.make)(record * of + index)));
        self.at += count;
        Ok(match wait {
            _ if count == left => ReadStatus::Finished,
            Some(retry_after) => ReadStatus::Idle { retry_after },
            None => ReadStatus::Ready,
        })
    }

    fn offset(&self) -> GeneratorOffset {
        GeneratorOffset { records: self.at }
    }

    fn progress(&self) -> Option<Progress> {
        self.total.map(|total| Progress { done: self.at.min(total), total })
    }

    fn bytes_read(&self) -> u64 {
        (self.at - self.opened_at) * self.record_bytes as u64
    }
}

/// When the records of a split are due, in seconds since it was opened: the first at `first`, and
/// one each `every` after that. Reads no clock.
#[derive(Clone, Copy, Debug)]
struct Pace {
    first: f64,
    every: f64,
}

impl Pace {
    /// The splits of a source take turns, so that its records come evenly.
    fn of_split(rate: f64, split: &GeneratorSplit) -> Pace {
        Pace { first: split.index as f64 / rate, every: split.of as f64 / rate }
    }

    /// How many records are due.
    fn due(&self, elapsed: Duration) -> u64 {
        let since_first = elapsed.as_secs_f64() - self.first;
        if since_first < 0.0 { 0 } else { (since_first / self.every) as u64 + 1 }
    }

    /// How long until there is more than `emitted`.
    fn wait(&self, elapsed: Duration, emitted: u64) -> Duration {
        let due_at = self.first + emitted as f64 * self.every;
        let wait = Duration::try_from_secs_f64(due_at - elapsed.as_secs_f64());
        wait.unwrap_or(RETRY_MIN).max(RETRY_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_take_turns_at_the_rate_of_the_source() {
        let due = |millis| -> Vec<u64> {
            (0..4)
                .map(|index| Pace::of_split(100.0, &GeneratorSplit { index, of: 4 }))
                .map(|pace| pace.due(Duration::from_millis(millis)))
                .collect()
        };
        assert_eq!(due(0), [1, 0, 0, 0]);
        assert_eq!(due(15), [1, 1, 0, 0]);
        assert_eq!(due(45), [2, 1, 1, 1]);
        assert_eq!(due(995), [25, 25, 25, 25]);
    }

    #[test]
    fn waits_until_the_next_record_is_due() {
        let pace = Pace { first: 0.5, every: 2.0 };
        assert_eq!(pace.wait(Duration::ZERO, 0), Duration::from_millis(500));
        assert_eq!(pace.wait(Duration::from_secs(1), 1), Duration::from_millis(1_500));
        assert_eq!(pace.wait(Duration::from_secs(9), 1), RETRY_MIN);
    }
}
