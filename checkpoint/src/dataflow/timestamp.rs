//! Teaches [`Moment`] to be a timely timestamp.

use serde::{Deserialize, Serialize};
use timely::PartialOrder;
use timely::progress::timestamp::{PathSummary, Refines, Timestamp};

use crate::time::{EventTime, Moment};

impl PartialOrder for Moment {
    #[inline]
    fn less_equal(&self, other: &Self) -> bool {
        self.tick <= other.tick && self.event <= other.event
    }
}

impl Timestamp for Moment {
    type Summary = Delay;

    fn minimum() -> Self {
        Moment::default()
    }
}

/// By how much a path through a dataflow advances a [`Moment`] at least.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Delay {
    /// Pacing steps.
    pub ticks: u64,
    /// Milliseconds of event time.
    pub event_ms: u64,
}

impl PartialOrder for Delay {
    #[inline]
    fn less_equal(&self, other: &Self) -> bool {
        self.ticks <= other.ticks && self.event_ms <= other.event_ms
    }
}

impl PathSummary<Moment> for Delay {
    #[inline]
    fn results_in(&self, from: &Moment) -> Option<Moment> {
        Some(Moment {
            tick: from.tick.checked_add(self.ticks)?,
            event: EventTime(from.event.0.checked_add_unsigned(self.event_ms)?),
        })
    }

    #[inline]
    fn followed_by(&self, other: &Self) -> Option<Self> {
        Some(Delay {
            ticks: self.ticks.checked_add(other.ticks)?,
            event_ms: self.event_ms.checked_add(other.event_ms)?,
        })
    }
}

impl Refines<()> for Moment {
    fn to_inner((): ()) -> Self {
        Moment::default()
    }

    fn to_outer(self) {}

    fn summarize(_: Delay) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Epoch, Tick};

    fn moment(epoch: u64, event: i64) -> Moment {
        Moment { tick: Tick::new(Epoch(epoch), 0), event: EventTime(event) }
    }

    #[test]
    fn epochs_and_event_time_do_not_order_each_other() {
        assert!(!moment(1, 9).less_equal(&moment(2, 3)));
        assert!(!moment(2, 3).less_equal(&moment(1, 9)));
        assert!(moment(1, 3).less_equal(&moment(2, 9)));
    }

    #[test]
    fn ord_is_a_linear_extension_of_the_partial_order() {
        for a in [moment(1, 1), moment(1, 2), moment(2, 1), moment(2, 2)] {
            for b in [moment(1, 1), moment(1, 2), moment(2, 1), moment(2, 2)] {
                assert!(!a.less_equal(&b) || a <= b);
            }
        }
    }
}
