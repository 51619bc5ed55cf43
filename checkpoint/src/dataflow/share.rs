//! How much of a worker's time its seals take.
//!
//! ```text
//!   records ---------------------- | slice | records ------------ | slice | records ...
//!               2 ms                 0.2 ms         1 ms           0.1 ms
//! ```
//!
//! A slice at each scheduling, whatever its length, would be most of the time of a worker that is woken
//! for a few records: those that come meanwhile wait for the seal, which is tens of milliseconds for a
//! million changes. So a slice may take a part of what has passed since the last one: a worker
//! that is busy keeps most of its speed, and one with nothing else to do seals nearly all the time.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// The longest slice. Short beside the 5 ms that a worker may stall, long beside the scheduling itself.
const LONGEST: Duration = Duration::from_millis(1);

/// A slice takes this part of the time since the last: an eleventh of a busy worker.
const PART: u32 = 10;

/// How long a seal goes on like that. What is touched often has been captured by then, when it was
/// touched; what is left would hold up the next epoch.
const PATIENCE: Duration = Duration::from_millis(200);

/// The part from then on, a third of a busy worker: the next epoch cannot end before the seal does.
const PART_IN_HASTE: u32 = 2;

/// Of all operators of a worker: those that seal at the same time do not take a share each.
#[derive(Clone, Debug, Default)]
pub(super) struct SealShare {
    /// When the last slice ended.
    ended: Rc<Cell<Duration>>,
}

impl SealShare {
    /// How long a slice that begins at `now` may take, of a seal that began at `began`; one smallest
    /// piece of work is done in any case.
    pub(super) fn budget(&self, began: Duration, now: Duration) -> Duration {
        let is_patient = now.saturating_sub(began) < PATIENCE;
        let part = if is_patient { PART } else { PART_IN_HASTE };
        (now.saturating_sub(self.ended.get()) / part).min(LONGEST)
    }

    /// Notes that a slice ended at `now`.
    pub(super) fn ended(&self, now: Duration) {
        self.ended.set(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// How much of a worker two operators take that seal at the same time, beside 20 ms for records.
    fn sealed(began: Duration, mut now: Duration) -> Duration {
        let (one, mut sealed) = (SealShare::default(), Duration::ZERO);
        let other = one.clone();
        one.ended(now);
        for _ in 0..100 {
            now += MS / 5;
            for operator in [&one, &other] {
                let slice = operator.budget(began, now);
                now += slice;
                sealed += slice;
                operator.ended(now);
            }
        }
        sealed
    }

    #[test]
    fn seals_of_all_operators_take_a_part_of_a_busy_worker_and_more_when_they_last() {
        assert_eq!(sealed(MS * 1000, MS * 1000), MS * 2);
        assert_eq!(sealed(MS * 1000, MS * 1300), MS * 10);
    }

    #[test]
    fn no_slice_is_longer_than_a_millisecond() {
        assert_eq!(SealShare::default().budget(MS, MS * 3_600_000), MS);
    }
}
