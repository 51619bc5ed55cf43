//! Events as a source: which worker makes which of them, and where they come from.

use std::ops::Range;
use std::sync::Arc;

use highwater::BoxError;
use highwater::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};
use serde::{Deserialize, Serialize};

use super::event::Event;
use super::generator::Generator;

/// Events in a row that one reader reads, before the next ones are another's: so few that readers
/// stay near each other in event time, so many that most batches are full.
const BLOCK: u64 = 5_000;

/// All events of a run.
#[derive(Clone)]
pub(crate) struct Events {
    generator: Generator,
    total: u64,
    /// All of them, if they were made before the clock started.
    prepared: Option<Arc<[Event]>>,
}

impl Events {
    pub(crate) fn new(generator: Generator, total: u64) -> Events {
        Events { generator, total, prepared: None }
    }

    /// Makes all events now.
    pub(crate) fn prepare(mut self) -> Events {
        let mut events = Vec::with_capacity(self.total as usize);
        self.generator.fill(0..self.total, &mut events);
        self.prepared = Some(events.into());
        self
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Appends the events with these numbers.
    pub(crate) fn read(&self, numbers: Range<u64>, out: &mut Vec<Event>) {
        match &self.prepared {
            Some(events) => {
                out.extend_from_slice(&events[numbers.start as usize..numbers.end as usize]);
            }
            None => self.generator.fill(numbers, out),
        }
    }
}

/// The blocks `index`, `index + of`, `index + 2 * of` ... of all events.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) index: u64,
    pub(crate) of: u64,
}

impl Share {
    /// The numbers of at most `limit` events that follow the first `done` of this share, in one
    /// block; none at the end of it.
    pub(crate) fn next(&self, done: u64, limit: u64, total: u64) -> Option<Range<u64>> {
        let (block, within) = (done / BLOCK * self.of + self.index, done % BLOCK);
        let start = block * BLOCK + within;
        let end = (start + limit).min((block + 1) * BLOCK).min(total);
        (start < end).then_some(start..end)
    }
}

impl Source for Events {
    type Item = Event;
    type Split = Share;
    type Offset = Offset;
    type Reader = Reader;

    /// Eight shares, whatever the number of workers that may read them at a time.
    fn discover(&self, known: &[NamedSplit<Share>]) -> Result<Vec<NamedSplit<Share>>, BoxError> {
        const OF: u64 = 8;
        if !known.is_empty() {
            return Ok(Vec::new());
        }
        let named =
            |index| NamedSplit { id: format!("{index}/{OF}"), split: Share { index, of: OF } };
        Ok((0..OF).map(named).collect())
    }

    fn open(&self, share: &Share, offset: Option<Offset>) -> Result<Reader, BoxError> {
        let done = offset.map_or(0, |offset| offset.events);
        Ok(Reader { events: self.clone(), share: *share, done })
    }
}

/// A place in a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Offset {
    /// Events of the share before it.
    events: u64,
}

/// Reads one share.
pub(crate) struct Reader {
    events: Events,
    share: Share,
    done: u64,
}

impl SplitReader for Reader {
    type Item = Event;
    type Offset = Offset;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<Event>) -> Result<ReadStatus, BoxError> {
        let limit = limit.records.min(limit.bytes.div_ceil(size_of::<Event>())) as u64;
        let Some(numbers) = self.share.next(self.done, limit, self.events.total) else {
            return Ok(ReadStatus::Finished);
        };
        self.done += numbers.end - numbers.start;
        self.events.read(numbers, out);
        Ok(ReadStatus::Ready)
    }

    fn offset(&self) -> Offset {
        Offset { events: self.done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_each_event_once() {
        for of in [1, 2, 3, 8] {
            let total = 4 * BLOCK + 123;
            let mut seen = vec![0; total as usize];
            for index in 0..of {
                let (share, mut done) = (Share { index, of }, 0);
                while let Some(numbers) = share.next(done, 93, total) {
                    done += numbers.end - numbers.start;
                    numbers.for_each(|number| seen[number as usize] += 1);
                }
            }
            assert!(seen.iter().all(|times| *times == 1), "{of} shares");
        }
    }
}
