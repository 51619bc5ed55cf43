//! The records that the operators get, and a source that yields them slowly.

use std::time::Duration;

use highwater::BoxError;
use highwater::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};

/// A key, an event time and a number of its own.
pub(crate) type Record = (u64, i64, u64);

/// Those of the right input have numbers from here.
pub(crate) const RIGHT: u64 = 1_000_000;

/// Records of a split are out of order by less than this.
pub(crate) const DISORDER_MS: i64 = 90;

/// How far the stragglers are behind.
pub(crate) const BEHIND_MS: i64 = 3_000;

const KEYS: u64 = 11;

const SPLITS: u64 = 3;

/// Records of a split that are read at once, and the pause after them: about a second for 900.
const FEW: u64 = 2;
const PAUSE: Duration = Duration::from_millis(6);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Left,
    Right,
    /// As the left one, with some records that are late.
    Stragglers,
}

/// The record `n` of a side. No two of a side have the same time.
pub(crate) fn record(side: Side, n: u64) -> Record {
    let dice = (n + 1 + RIGHT * u64::from(side == Side::Right)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let within_nine = (n % 9 * 4 + n / 9) % 9;
    let at = (n / 9 * 9 + within_nine) as i64 * 10 - 500;
    let key = (dice >> 33) % KEYS;
    match side {
        Side::Right => (key, at + 5, RIGHT + n),
        Side::Stragglers if is_straggler(n) => (key, at - BEHIND_MS, n),
        Side::Left | Side::Stragglers => (key, at, n),
    }
}

pub(crate) fn is_straggler(n: u64) -> bool {
    n % 20 == 7
}

/// The split that a record is in.
pub(crate) fn split_of(n: u64) -> u64 {
    n % RIGHT % SPLITS
}

/// All records of a side.
pub(crate) fn all(side: Side, records: u64) -> Vec<Record> {
    (0..records).map(|n| record(side, n)).collect()
}

/// Split *s* has the records *s*, *s + 3* and so on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slow {
    pub side: Side,
    pub records: u64,
}

impl Source for Slow {
    type Item = Record;
    type Split = u64;
    type Offset = u64;
    type Reader = SlowReader;

    fn discover(&self, known: &[NamedSplit<u64>]) -> Result<Vec<NamedSplit<u64>>, BoxError> {
        let is_new = |split: &u64| known.iter().all(|known| known.split != *split);
        let new = (0..SPLITS).filter(is_new);
        Ok(new.map(|split| NamedSplit { id: split.to_string(), split }).collect())
    }

    fn open(&self, split: &u64, offset: Option<u64>) -> Result<SlowReader, BoxError> {
        Ok(SlowReader { source: *self, next: offset.unwrap_or(*split) })
    }
}

#[derive(Debug)]
pub(crate) struct SlowReader {
    source: Slow,
    next: u64,
}

impl SplitReader for SlowReader {
    type Item = Record;
    type Offset = u64;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<Record>) -> Result<ReadStatus, BoxError> {
        for _ in 0..FEW.min(limit.records as u64) {
            if self.next >= self.source.records {
                return Ok(ReadStatus::Finished);
            }
            out.push(record(self.source.side, self.next));
            self.next += SPLITS;
        }
        Ok(ReadStatus::Idle { retry_after: PAUSE })
    }

    fn offset(&self) -> u64 {
        self.next
    }
}
