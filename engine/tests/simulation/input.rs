//! A source that yields a few records at a time, as many as the dice say.

use std::sync::Arc;
use std::time::Duration;

use highwater::BoxError;
use highwater::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};

use super::chance::Dice;

/// A key, and what tells the records of a key apart.
pub(crate) type Record = (u64, u64);

#[derive(Clone, Debug)]
pub(crate) struct Trickle {
    pub splits: Arc<Vec<Vec<Record>>>,
    pub dice: Dice,
}

impl Source for Trickle {
    type Item = Record;
    type Split = usize;
    type Offset = usize;
    type Reader = Trickling;

    fn discover(&self, known: &[NamedSplit<usize>]) -> Result<Vec<NamedSplit<usize>>, BoxError> {
        let is_new = |split: &usize| known.iter().all(|known| known.split != *split);
        let new = (0..self.splits.len()).filter(is_new);
        Ok(new.map(|split| NamedSplit { id: split.to_string(), split }).collect())
    }

    fn open(&self, split: &usize, offset: Option<usize>) -> Result<Trickling, BoxError> {
        Ok(Trickling { source: self.clone(), split: *split, at: offset.unwrap_or(0) })
    }
}

#[derive(Debug)]
pub(crate) struct Trickling {
    source: Trickle,
    split: usize,
    at: usize,
}

impl SplitReader for Trickling {
    type Item = Record;
    type Offset = usize;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<Record>) -> Result<ReadStatus, BoxError> {
        let left = &self.source.splits[self.split][self.at..];
        let few = self.source.dice.below(4).min(limit.records).min(left.len());
        out.extend_from_slice(&left[..few]);
        self.at += few;
        if few == left.len() {
            return Ok(ReadStatus::Finished);
        }
        Ok(ReadStatus::Idle { retry_after: Duration::from_millis(1) })
    }

    fn offset(&self) -> usize {
        self.at
    }
}
