//! The times that checkpoints are cut by: epochs, ticks, event times, and their product.
//!
//! Nothing here knows timely; `dataflow/timestamp.rs` teaches [`Moment`] to be a timely timestamp.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The unit of consistency: a checkpoint holds the effects of all epochs up to its own.
///
/// Epochs of a job only grow, over restarts too. The first is 1: epoch 0 is what a run that
/// restores nothing starts from.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The epoch that follows.
    #[must_use]
    pub fn next(self) -> Epoch {
        Epoch(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// Processing time as the clock deals it out: an epoch, and a pacing step within it.
///
/// Totally ordered, epoch first, and packed in one `u64` so that comparing is one instruction.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Tick(u64);

impl Tick {
    /// The step `step` of `epoch`.
    ///
    /// # Panics
    ///
    /// If the epoch does not fit in 32 bits: 136 years of an epoch a second.
    pub fn new(epoch: Epoch, step: u32) -> Tick {
        assert!(u32::try_from(epoch.0).is_ok(), "epoch {epoch} does not fit in a tick");
        Tick(epoch.0 << 32 | u64::from(step))
    }

    /// The epoch that this tick belongs to.
    pub fn epoch(self) -> Epoch {
        Epoch(self.0 >> 32)
    }

    /// The pacing step within the epoch.
    pub fn step(self) -> u32 {
        self.0 as u32
    }

    pub(crate) fn checked_add(self, ticks: u64) -> Option<Tick> {
        self.0.checked_add(ticks).map(Tick)
    }
}

/// Event time: milliseconds since the Unix epoch, negative before 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every event: the watermark of a source that has not said anything yet.
    pub const MIN: EventTime = EventTime(i64::MIN);

    /// After every event: the watermark of what has ended.
    pub const MAX: EventTime = EventTime(i64::MAX);

    /// Later by `duration`, in whole milliseconds; at the most [`EventTime::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> EventTime {
        EventTime(self.0.saturating_add_unsigned(millis(duration)))
    }

    /// Earlier by `duration`, in whole milliseconds; at the least [`EventTime::MIN`].
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> EventTime {
        EventTime(self.0.saturating_sub_unsigned(millis(duration)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since the Unix epoch, or the name of an end.
impl fmt::Display for EventTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            EventTime::MIN => f.write_str("min"),
            EventTime::MAX => f.write_str("max"),
            EventTime(at) => write!(f, "{at}"),
        }
    }
}

impl Default for EventTime {
    fn default() -> Self {
        EventTime::MIN
    }
}

/// When something happens: in processing time and in event time.
///
/// A product order, `a <= b` when both coordinates are: an epoch must be able to end while event
/// time stands still, and the other way round. The derived `Ord` is a linear extension of it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Moment {
    /// Epoch and pacing step.
    pub tick: Tick,
    /// The watermark that a message carries; records keep their own event times.
    pub event: EventTime,
}

impl Moment {
    /// The earliest moment at `tick`.
    pub fn at(tick: Tick) -> Moment {
        Moment { tick, event: EventTime::MIN }
    }

    /// The greatest moment that is less than or equal to both.
    #[must_use]
    pub fn meet(self, other: Moment) -> Moment {
        Moment { tick: self.tick.min(other.tick), event: self.event.min(other.event) }
    }
}

/// A timestamp from which an epoch can be read: all that a checkpoint needs to know of time.
///
/// Contract: `first_of(e).epoch() == e`, `first_of(e)` is less than or equal to every time whose
/// epoch is `e` or later, and `a <= b` implies `a.epoch() <= b.epoch()`.
pub trait EpochTime {
    /// The epoch that this time belongs to.
    fn epoch(&self) -> Epoch;
    /// The least time of `epoch`.
    fn first_of(epoch: Epoch) -> Self;
    /// The least time of pacing step `step` within `epoch`; none for times without steps, whose
    /// programs pace themselves.
    fn of_step(_epoch: Epoch, _step: u32) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }
    /// The pacing step within the epoch; 0 for times without steps.
    fn step(&self) -> u32 {
        0
    }
}

impl EpochTime for Moment {
    fn epoch(&self) -> Epoch {
        self.tick.epoch()
    }

    fn first_of(epoch: Epoch) -> Self {
        Moment::at(Tick::new(epoch, 0))
    }

    fn of_step(epoch: Epoch, step: u32) -> Option<Self> {
        Some(Moment::at(Tick::new(epoch, step)))
    }

    fn step(&self) -> u32 {
        self.tick.step()
    }
}

/// Each time of a program with `u64` times, its rounds, is an epoch of its own.
impl EpochTime for u64 {
    fn epoch(&self) -> Epoch {
        Epoch(*self)
    }

    fn first_of(epoch: Epoch) -> Self {
        epoch.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_orders_by_epoch_first() {
        assert!(Tick::new(Epoch(1), u32::MAX) < Tick::new(Epoch(2), 0));
        let tick = Tick::new(Epoch(7), 9);
        assert_eq!((tick.epoch(), tick.step()), (Epoch(7), 9));
    }

    #[test]
    fn first_of_is_within_its_epoch() {
        assert_eq!(Moment::first_of(Epoch(3)).epoch(), Epoch(3));
        assert_eq!(u64::first_of(Epoch(3)).epoch(), Epoch(3));
    }
}
