//! When events are due: at a fixed rate by the clock, however far the job has come.
//!
//! An event's latency counts from when it was due, not from when the job took it. A job that stalls for
//! 100 ms so delays all events that were due meanwhile, and not just the one that it was at; a load that
//! waits for the job omits them (Tene's "coordinated omission").

use std::time::Duration;

/// Events that one of the sources makes: those with the numbers `index`, `index + of`, ...
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) index: u64,
    pub(crate) of: u64,
    /// Of all sources together.
    pub(crate) events_per_second: f64,
}

impl Pace {
    /// How many events of this source are due so long after the start.
    pub(crate) fn due(&self, elapsed: Duration) -> u64 {
        let all = elapsed.as_secs_f64() * self.events_per_second;
        let mine = (all - self.index as f64) / self.of as f64;
        if mine < 0.0 { 0 } else { mine as u64 + 1 }
    }

    /// When this source's event after `emitted` ones is due, microseconds after the start.
    #[inline]
    pub(crate) fn due_us(&self, emitted: u64) -> u64 {
        ((emitted * self.of + self.index) as f64 * (1e6 / self.events_per_second)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_does_not_depend_on_what_was_emitted() {
        let pace = Pace { index: 1, of: 2, events_per_second: 1000.0 };
        assert_eq!(pace.due(Duration::ZERO), 0);
        assert_eq!(pace.due(Duration::from_micros(1_500)), 1);
        assert_eq!(pace.due(Duration::from_micros(100_500)), 50);
        assert_eq!((pace.due_us(0), pace.due_us(49)), (1_000, 99_000));
    }

    #[test]
    fn sources_together_come_to_the_rate() {
        let paces = (0..3).map(|index| Pace { index, of: 3, events_per_second: 1e6 });
        let due: u64 = paces.map(|pace| pace.due(Duration::from_secs(1))).sum();
        assert!(due.abs_diff(1_000_000) <= 1, "{due}");
    }

    #[test]
    fn no_event_is_made_before_it_is_due() {
        let pace = Pace { index: 0, of: 1, events_per_second: 7e6 };
        for us in [1, 10, 999, 1_000_003] {
            let due = pace.due(Duration::from_micros(us));
            assert!(pace.due_us(due - 1) <= us && pace.due_us(due) >= us, "{due} after {us} us");
        }
    }
}
