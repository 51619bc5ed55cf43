//! Timers for each key.

use std::hash::Hash;

use highwater_checkpoint::dataflow::KeyedTimers;
use highwater_checkpoint::state::Bincode;
use highwater_checkpoint::state::typed::At;
use highwater_checkpoint::{EventTime, Moment};

use super::Slot;
use crate::stream::{Data, Key};

/// What a timed operator is called with: see [`KeyedStream::process_timed`].
///
/// [`KeyedStream::process_timed`]: crate::KeyedStream::process_timed
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<V, T> {
    /// A value has come.
    Record(V),
    /// An event-time timer is due: no record is expected whose event time is below its own.
    Timer {
        /// Which of the timers of the key.
        tag: T,
        /// What it was set to.
        at: EventTime,
    },
    /// A timer by the time of day is due.
    Alarm {
        /// Which of the timers of the key.
        tag: T,
        /// What it was set to, milliseconds since the Unix epoch.
        at_ms: u64,
    },
}

type Kept<K, T> = Slot<KeyedTimers<Moment, K, T, Bincode>>;

/// Timers by event time: for each key and tag at most one is set.
///
/// They fire in the order of their times, those of one time in an order that depends on keys and tags
/// alone. One that is set to a time that the watermark has passed fires as soon as the watermark moves
/// on or the operator is scheduled again, after those that were due before. A timer that has fired is
/// gone. They are in checkpoints like any state.
///
/// When the input ends, the watermark is [`EventTime::MAX`]: all timers that are set fire, and those that are
/// set meanwhile. A function that sets one each time that one fires therefore has to end that: when
/// the watermark is `EventTime::MAX`, nothing but timers will follow. If it does not, the job does not end
/// but by being stopped: then it fails, its last checkpoint being one from before the last epoch, to which
/// all that was to fire would belong.
///
/// A function that sets a timer each time to what has passed gets no further in event time. It holds up
/// neither checkpoints nor a stop: between some firings other operators have their turn, and epochs
/// end.
pub struct EventTimers<K, T>(pub(super) Kept<K, T>);

/// Timers by the time of day, in milliseconds since the Unix epoch: for each key and tag at most one is
/// set.
///
/// What they do is another when records are read again after a crash. Those that are set when the
/// input ends do not fire.
pub struct Alarms<K, T>(pub(super) Kept<K, T>);

impl<K: Key, T: Data + Hash + Eq + Clone> EventTimers<K, T> {
    /// Sets the timer of this key and `tag`, in place of the one that was set.
    pub fn set(&self, at: &At<'_, K>, tag: T, due: EventTime) {
        self.0.with(|state| state.timers().set(*at, tag, due));
    }

    /// When the timer is due, if it is set.
    pub fn get(&self, at: &At<'_, K>, tag: &T) -> Option<EventTime> {
        self.0.with(|state| state.timers().get(*at, tag))
    }

    /// Removes the timer; returns when it was due.
    pub fn remove(&self, at: &At<'_, K>, tag: &T) -> Option<EventTime> {
        self.0.with(|state| state.timers().remove(*at, tag))
    }
}

impl<K: Key, T: Data + Hash + Eq + Clone> Alarms<K, T> {
    /// Sets the timer of this key and `tag`, in place of the one that was set.
    pub fn set(&self, at: &At<'_, K>, tag: T, due_ms: u64) {
        let due = EventTime(i64::try_from(due_ms).unwrap_or(i64::MAX));
        self.0.with(|state| state.timers().set(*at, tag, due));
    }

    /// When the timer is due, if it is set.
    pub fn get(&self, at: &At<'_, K>, tag: &T) -> Option<u64> {
        self.0.with(|state| state.timers().get(*at, tag)).map(to_ms)
    }

    /// Removes the timer; returns when it was due.
    pub fn remove(&self, at: &At<'_, K>, tag: &T) -> Option<u64> {
        self.0.with(|state| state.timers().remove(*at, tag)).map(to_ms)
    }
}

/// Alarms are set to what fits.
pub(crate) fn to_ms(at: EventTime) -> u64 {
    u64::try_from(at.0).unwrap_or(0)
}

macro_rules! handle {
    ($name:ident) => {
        impl<K, T> Clone for $name<K, T> {
            fn clone(&self) -> Self {
                $name(self.0.clone())
            }
        }

        impl<K, T> std::fmt::Debug for $name<K, T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($name), "<{}>"), std::any::type_name::<(K, T)>())
            }
        }
    };
}

handle!(EventTimers);
handle!(Alarms);
