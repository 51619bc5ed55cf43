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

/// A slice takes this part of the time since the last: a twentieth of a busy worker.
const PART: u32 = 20;

/// How long a seal goes on like that. It has then been done for what is touched often, which is captured
/// when it is touched, and half of what a worker has beside records is enough for most states.
const PATIENCE: Duration = Duration::from_millis(200);

/// The part from then on, a third of a busy worker: the next epoch cannot end before the seal does.
const PART_IN_HASTE: u32 = 2;

/// About what the smallest piece of work takes. One that is due to take less waits until it is that much.
const SHORTEST: Duration = Duration::from_micros(30);

/// An operator that comes again so soon, but for what seals took: its worker has nothing else to do.
const IDLE: Duration = Duration::from_micros(20);

/// Of all operators of a worker: those that seal at the same time do not take a share each.
#[derive(Clone, Debug, Default)]
pub(super) struct SealShare {
    worker: Rc<Slices>,
    /// When this operator asked last, and what all slices had taken then.
    asked: Cell<(Duration, Duration)>,
}

#[derive(Debug, Default)]
struct Slices {
    /// When the last one ended.
    ended: Cell<Duration>,
    /// What all of them took.
    took: Cell<Duration>,
}

impl SealShare {
    /// How long a slice that begins at `now` may take, of a seal that began at `began`, the smallest piece of
    /// work being done however short that is; none if nothing is to be done yet.
    pub(super) fn budget(&self, began: Duration, now: Duration) -> Option<Duration> {
        let Slices { ended, took } = &*self.worker;
        let (asked, taken) = self.asked.replace((now, took.get()));
        let is_idle = now.saturating_sub(asked) < IDLE + took.get().saturating_sub(taken);
        // Most seals are no more than the smallest piece, and are over with the first.
        if is_idle || asked < began {
            return Some(Duration::ZERO);
        }
        let is_patient = now.saturating_sub(began) < PATIENCE;
        let part = if is_patient { PART } else { PART_IN_HASTE };
        // Nothing was due before it began.
        let since = ended.get().max(began);
        let due = (now.saturating_sub(since) / part).min(LONGEST);
        (due >= SHORTEST || !is_patient).then_some(due)
    }

    /// Notes that a slice ended at `now`, which took so long.
    pub(super) fn ended(&self, now: Duration, took: Duration) {
        let slices = &self.worker;
        slices.ended.set(now);
        slices.took.set(slices.took.get() + took);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// How much of a worker two operators take that seal at the same time, beside 20 ms for records in
    /// turns of `turn`.
    fn sealed(began: Duration, mut now: Duration, turn: Duration) -> Duration {
        let (one, mut sealed) = (SealShare::default(), Duration::ZERO);
        let other = one.clone();
        one.ended(now, Duration::ZERO);
        for _ in 0..(MS * 20).as_nanos() / turn.as_nanos() {
            now += turn;
            for operator in [&one, &other] {
                if let Some(slice) = operator.budget(began, now) {
                    let slice = slice.max(SHORTEST);
                    now += slice;
                    sealed += slice;
                    operator.ended(now, slice);
                }
            }
        }
        sealed
    }

    #[test]
    fn seals_of_all_operators_take_a_part_of_a_busy_worker_and_more_when_they_last() {
        for turn in [MS / 20, MS / 5, MS * 2] {
            let patient = sealed(MS * 1000, MS * 1000, turn);
            assert!((MS * 9 / 10..MS * 11 / 10).contains(&patient), "{patient:?} of {turn:?}");
        }
        let hasty = sealed(MS * 1000, MS * 1300, MS / 5);
        assert!(hasty >= MS * 10, "{hasty:?}");
    }

    /// Half of the time that nothing comes in between is the least.
    #[test]
    fn seals_of_all_operators_take_a_worker_that_has_nothing_else_to_do() {
        let sealed = sealed(MS * 1000, MS * 1000, MS / 200);
        assert!(sealed > MS * 100, "{sealed:?}");
    }

    #[test]
    fn no_slice_is_longer_than_a_millisecond() {
        let share = SealShare::default();
        assert_eq!(
            share.budget(MS, MS),
            Some(Duration::ZERO),
            "the first of a seal is the smallest"
        );
        assert_eq!(share.budget(MS, MS * 3_600_000), Some(MS));
    }
}
