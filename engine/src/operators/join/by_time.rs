//! The records of a key in the order of their event times, kept until the watermark has done with
//! them.

use highwater_checkpoint::EventTime;
use highwater_checkpoint::schema::Evolution;
use serde::{Deserialize, Serialize};

use crate::state::{At, MapState, States};
use crate::stream::{Data, Key};

/// Where a record is among those of its key: those of one time are in order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Arrived {
    pub(crate) at: EventTime,
    nth: u64,
}

/// See the module.
pub(crate) struct ByTime<K, V: Data>(MapState<K, Arrived, V>);

impl<K: Key, V: Data> ByTime<K, V> {
    pub(crate) fn declare(
        state: &mut States<'_, '_, '_, K>,
        name: &str,
        evolution: Evolution,
    ) -> Self {
        ByTime(state.evolved(evolution).map(name))
    }

    pub(crate) fn push(&self, key: &At<'_, K>, at: EventTime, value: V) {
        let (first, last) = span(at, at);
        let nth = self.0.last_key_in(key, first..=last).map_or(0, |last| last.nth + 1);
        self.0.insert(key, Arrived { at, nth }, value);
    }

    /// The least time.
    pub(crate) fn first(&self, key: &At<'_, K>) -> Option<EventTime> {
        self.0.nth_key(key, 0).map(|arrived| arrived.at)
    }

    /// The greatest time before `end`.
    pub(crate) fn last_before(&self, key: &At<'_, K>, end: i64) -> Option<i64> {
        let (end, _) = span(EventTime(end), EventTime(end));
        self.0.last_key_in(key, ..end).map(|arrived| arrived.at.0)
    }

    /// Lends the records from the time `from` to the time `to`, both of them included.
    pub(crate) fn visit(
        &self,
        key: &At<'_, K>,
        (from, to): (EventTime, EventTime),
        each: impl FnMut(&Arrived, &V),
    ) {
        let (first, last) = span(from, to);
        self.0.for_each(key, first..=last, each);
    }

    pub(crate) fn change(&self, key: &At<'_, K>, place: &Arrived, change: impl FnOnce(&mut V)) {
        self.0.change(key, place, change);
    }

    /// Takes the first record if `is_due` says so of its time.
    pub(crate) fn take_first_if(
        &self,
        key: &At<'_, K>,
        is_due: impl FnOnce(EventTime) -> bool,
    ) -> Option<(EventTime, V)> {
        let first = self.0.nth_key(key, 0).filter(|first| is_due(first.at))?;
        Some((first.at, self.0.remove(key, &first)?))
    }
}

fn span(from: EventTime, to: EventTime) -> (Arrived, Arrived) {
    (Arrived { at: from, nth: 0 }, Arrived { at: to, nth: u64::MAX })
}

impl<K, V: Data> Clone for ByTime<K, V> {
    fn clone(&self) -> Self {
        ByTime(self.0.clone())
    }
}
