//! The events, as a source of the engine and for the dataflow by hand.

use std::sync::Arc;
use std::time::Duration;

use highwater::BoxError;
use highwater::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::pace::Pace;
use crate::draws::mix;

/// A key, and when it was due, in microseconds since the run's clock started.
pub(crate) type Event = (u64, u64);

/// A source that has emitted what was due is asked again so long after: as long as a batch or two take, and
/// a fraction of the latencies that matter.
pub(crate) const AGAIN: Duration = Duration::from_micros(100);

/// The events of a run.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    pub(crate) clock: Arc<Clock>,
    pub(crate) keys: u64,
    /// Events a second. None: as fast as they are taken, each due when it is made.
    pub(crate) rate: Option<f64>,
    /// No event is due later than so long after the start.
    pub(crate) lasts: Duration,
    pub(crate) sources: u64,
}

/// Which of the sources.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Share {
    index: u64,
}

/// A place in a share.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Offset {
    events: u64,
}

/// What there is to read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    More,
    Later,
    Nothing,
}

/// Makes the events of one source.
#[derive(Debug)]
pub(crate) struct Maker {
    events: Events,
    index: u64,
    made: u64,
}

impl Events {
    pub(crate) fn maker(&self, index: u64) -> Maker {
        Maker { events: self.clone(), index, made: 0 }
    }
}

impl Maker {
    /// Makes what is due, at most `limit` events.
    pub(crate) fn make(&mut self, limit: u64, out: &mut impl Extend<Event>) -> Rest {
        let Events { keys, rate, lasts, sources: of, .. } = self.events;
        let (index, made) = (self.index, self.made);
        let key = |nth: u64| mix(nth * of + index) % keys;
        let elapsed = self.events.clock.elapsed();
        let Some(events_per_second) = rate else {
            let now_us = elapsed.as_micros() as u64;
            if elapsed >= lasts {
                return Rest::Nothing;
            }
            self.made += limit;
            out.extend((made..self.made).map(|nth| (key(nth), now_us)));
            return Rest::More;
        };
        let pace = Pace { index, of, events_per_second };
        let (due, last) = (pace.due(elapsed), pace.due(lasts));
        let end = due.min(last).min(made + limit).max(made);
        out.extend((made..end).map(|nth| (key(nth), pace.due_us(nth))));
        self.made = end;
        match end {
            end if end >= last => Rest::Nothing,
            end if end >= due => Rest::Later,
            _ => Rest::More,
        }
    }
}

impl Source for Events {
    type Item = Event;
    type Split = Share;
    type Offset = Offset;
    type Reader = Maker;

    fn discover(&self, known: &[NamedSplit<Share>]) -> Result<Vec<NamedSplit<Share>>, BoxError> {
        if !known.is_empty() {
            return Ok(Vec::new());
        }
        let named = |index: u64| NamedSplit { id: index.to_string(), split: Share { index } };
        Ok((0..self.sources).map(named).collect())
    }

    fn open(&self, share: &Share, offset: Option<Offset>) -> Result<Maker, BoxError> {
        let made = offset.map_or(0, |offset| offset.events);
        Ok(Maker { made, ..self.maker(share.index) })
    }
}

impl SplitReader for Maker {
    type Item = Event;
    type Offset = Offset;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<Event>) -> Result<ReadStatus, BoxError> {
        let limit = limit.records.min(limit.bytes.div_ceil(size_of::<Event>()));
        Ok(match self.make(limit as u64, out) {
            Rest::More => ReadStatus::Ready,
            Rest::Later => ReadStatus::Idle { retry_after: AGAIN },
            Rest::Nothing => ReadStatus::Finished,
        })
    }

    fn offset(&self) -> Offset {
        Offset { events: self.made }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_due_comes_once_and_then_nothing() {
        let lasts = Duration::from_millis(2);
        let clock = Arc::new(Clock::default());
        let events = Events { clock, keys: 10, rate: Some(1e6), lasts, sources: 2 };
        let (mut made, mut makers) = (Vec::new(), [events.maker(0), events.maker(1)]);
        for maker in &mut makers {
            while maker.make(7, &mut made) != Rest::Nothing {}
        }
        let mut dues: Vec<_> = made.iter().map(|(_, due_us)| *due_us).collect();
        dues.sort_unstable();
        assert!(dues.iter().copied().eq(0..=2_000), "{dues:?}");
    }
}
