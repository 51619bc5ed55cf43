//! How late events were at the end of the dataflow, of all workers.

use std::sync::{Arc, Mutex};

use hdrhistogram::Histogram;

use super::clock::Clock;

/// Three digits: 5.000 ms and 5.005 ms are told apart.
const DIGITS: u8 = 3;

/// Later than a minute is a minute.
const LONGEST_US: u64 = 60_000_000;

/// One bar of the time line is the worst of so long.
pub(crate) const BAR_US: u64 = 50_000;

/// What was seen, by when events were due.
#[derive(Clone, Debug)]
pub(crate) struct Lags {
    histogram: Histogram<u64>,
    /// The worst in each [`BAR_US`] since the warm-up.
    worst_us: Vec<u64>,
}

impl Default for Lags {
    fn default() -> Lags {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, DIGITS);
        let histogram = histogram.expect("the bounds are constants, and in order");
        Lags { histogram, worst_us: Vec::new() }
    }
}

impl Lags {
    /// So many events were due `since_us` after the warm-up, and arrived `late_us` after that.
    fn note(&mut self, since_us: u64, late_us: u64, events: u64) {
        self.histogram.saturating_record_n(late_us, events);
        let bar = (since_us / BAR_US) as usize;
        if self.worst_us.len() <= bar {
            self.worst_us.resize(bar + 1, 0);
        }
        self.worst_us[bar] = self.worst_us[bar].max(late_us);
    }

    fn add(&mut self, other: &Lags) {
        self.histogram.add(&other.histogram).expect("all have the same bounds");
        let bars = self.worst_us.len().max(other.worst_us.len());
        self.worst_us.resize(bars, 0);
        for (worst, theirs) in self.worst_us.iter_mut().zip(&other.worst_us) {
            *worst = (*worst).max(*theirs);
        }
    }

    /// Events after the warm-up.
    pub(crate) fn events(&self) -> u64 {
        self.histogram.len()
    }

    /// Milliseconds within which this share of the events arrived.
    pub(crate) fn within_ms(&self, share: f64) -> f64 {
        self.histogram.value_at_quantile(share) as f64 / 1e3
    }

    pub(crate) fn max_ms(&self) -> f64 {
        self.histogram.max() as f64 / 1e3
    }

    /// The worst of each [`BAR_US`], milliseconds.
    pub(crate) fn worst_ms(&self) -> Vec<f64> {
        self.worst_us.iter().map(|us| *us as f64 / 1e3).collect()
    }
}

/// Notes events on one worker; adds them up when it is dropped.
pub(crate) struct Watch {
    clock: Arc<Clock>,
    warm_up_us: u64,
    seen: Lags,
    total: Arc<Mutex<Lags>>,
}

impl Watch {
    pub(crate) fn new(clock: Arc<Clock>, warm_up_us: u64, total: Arc<Mutex<Lags>>) -> Watch {
        Watch { clock, warm_up_us, seen: Lags::default(), total }
    }

    /// Events have arrived, all of them now, that were due at these times. Those of a batch are nearly in
    /// order, so that neighbours of one microsecond are noted together.
    pub(crate) fn arrived(&mut self, all_us: impl Iterator<Item = u64>) {
        let now_us = self.clock.elapsed().as_micros() as u64;
        let (mut due_us, mut events) = (0, 0);
        for next_us in all_us {
            if next_us != due_us {
                self.note(now_us, due_us, events);
                (due_us, events) = (next_us, 0);
            }
            events += 1;
        }
        self.note(now_us, due_us, events);
    }

    fn note(&mut self, now_us: u64, due_us: u64, events: u64) {
        if due_us >= self.warm_up_us && events > 0 {
            let since_us = due_us - self.warm_up_us;
            self.seen.note(since_us, now_us.saturating_sub(due_us), events);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Poisoned by a worker that panicked, which is the result then.
        if let Ok(mut total) = self.total.lock() {
            total.add(&self.seen);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_events_and_not_of_batches() {
        let mut lags = Lags::default();
        lags.note(0, 1_000, 989);
        lags.note(60_000, 20_000, 10);
        lags.note(60_000, 300_000, 1);
        assert_eq!(lags.events(), 1_000);
        assert!((lags.within_ms(0.5) - 1.0).abs() < 0.01);
        assert!((lags.within_ms(0.99) - 20.0).abs() < 0.1);
        assert!((lags.max_ms() - 300.0).abs() < 1.0);
        assert_eq!(lags.worst_ms(), [1.0, 300.0]);
    }

    #[test]
    fn workers_add_up_and_the_warm_up_does_not_count() {
        let (clock, total) = (Arc::new(Clock::default()), Arc::new(Mutex::new(Lags::default())));
        for _ in 0..2 {
            let mut watch = Watch::new(Arc::clone(&clock), 10, Arc::clone(&total));
            watch.arrived([0, 9, 10, 10, 11].into_iter());
        }
        assert_eq!(total.lock().unwrap().events(), 6);
    }
}
