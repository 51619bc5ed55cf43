//! When an operator is scheduled although nothing has come for it: one delayed activation under way.
//!
//! Timely keeps every delayed activation that it is asked for. An operator that asks for the next one
//! whenever it is scheduled, and that is scheduled for other reasons too, has one more under way for each of
//! these, and has them for ever, for each that comes asks for the next: in the end its worker never sleeps.

use std::sync::Arc;
use std::time::Duration;

use timely::scheduling::Activator;

use super::keyed::Again;
use crate::pacing::STEP_MIN;
use crate::run::Run;

/// Schedules one operator again. What the operator asks for elsewhere is not known here, and has to be
/// kept to one by whoever asks.
pub struct Wakeup {
    activator: Activator,
    run: Arc<Run>,
    pending: Pending,
}

impl Wakeup {
    /// None is under way yet.
    pub fn new(activator: Activator, run: Arc<Run>) -> Wakeup {
        Wakeup { activator, run, pending: Pending::default() }
    }

    /// Schedules the operator after `delay` at the latest, and once.
    pub fn after(&mut self, delay: Duration) {
        // Where delays are none, none is ever under way.
        let is_missing = self.run.timer().is_none_or(|now| self.pending.is_missing(now, delay));
        if is_missing {
            self.activator.activate_after(delay);
        }
    }

    /// Schedules the operator at once.
    pub fn now(&self) {
        self.activator.activate();
    }

    /// Schedules the operator when it wants to be.
    pub fn again(&mut self, again: Again) {
        match again {
            Again::Now => self.now(),
            Again::Soon => self.after(STEP_MIN),
            Again::WhenWoken => {}
        }
    }
}

impl std::fmt::Debug for Wakeup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wakeup").field("pending", &self.pending).finish_non_exhaustive()
    }
}

/// When the earliest activation is due that is under way.
#[derive(Clone, Copy, Debug, Default)]
struct Pending(Option<Duration>);

impl Pending {
    /// Whether none is under way that comes within `delay` of `now`; the caller asks for one then.
    ///
    /// Timely counts the delay from a little later than `now`, so one that is due may be about to come:
    /// it is taken to have come, or the operator might wait for the one that has just scheduled it.
    fn is_missing(&mut self, now: Duration, delay: Duration) -> bool {
        let wanted = now + delay;
        let is_under_way = self.0.is_some_and(|due| now < due && due <= wanted);
        if !is_under_way {
            self.0 = Some(wanted);
        }
        !is_under_way
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const DELAY: u64 = 1_000;

    /// Runs an operator that asks for `DELAY` whenever it is scheduled, and is also at each of `others`;
    /// returns when it was scheduled, and the most activations that were under way.
    fn scheduled(others: &BTreeSet<u64>, until: u64) -> (Vec<u64>, usize) {
        let (mut pending, mut timers) = (Pending::default(), vec![0]);
        let (mut at, mut most) = (Vec::new(), 0);
        for now in 0..until {
            let before = timers.len();
            timers.retain(|due| *due > now);
            if timers.len() < before || others.contains(&now) {
                at.push(now);
                if pending.is_missing(Duration::from_micros(now), Duration::from_micros(DELAY)) {
                    timers.push(now + DELAY);
                }
            }
            most = most.max(timers.len());
        }
        (at, most)
    }

    proptest! {
        #[test]
        fn one_is_under_way_whatever_else_schedules_the_operator(
            others in prop::collection::btree_set(0_u64..20_000, 0..100)
        ) {
            let (at, most) = scheduled(&others, 20_000);
            prop_assert_eq!(most, 1);
            prop_assert!(at.windows(2).all(|two| two[1] - two[0] <= DELAY), "it is never left alone");
            prop_assert!(at.len() <= others.len() + 21, "{} times", at.len());
        }
    }

    #[test]
    fn an_earlier_one_is_asked_for_beside_a_later_one() {
        let ms = Duration::from_millis;
        let mut pending = Pending::default();
        assert!(pending.is_missing(ms(0), ms(100)));
        assert!(pending.is_missing(ms(1), ms(5)));
        assert!(!pending.is_missing(ms(2), ms(100)));
        // It has come.
        assert!(pending.is_missing(ms(6), ms(100)));
    }
}
