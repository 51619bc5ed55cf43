//! How fast a worker is once the state is there: what filled it does not count.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Between two looks at the clock.
const LOOK: u64 = 4096;

/// What all workers of a process have done.
#[derive(Clone, Debug, Default)]
pub(crate) struct Total(Arc<Mutex<Sum>>);

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    records: u64,
    rate: f64,
}

impl Total {
    /// Records, those that filled the state included.
    pub(crate) fn records(&self) -> u64 {
        self.0.lock().map_or(0, |sum| sum.records)
    }

    /// Records a second after that, the rates of all workers added up.
    pub(crate) fn rate(&self) -> f64 {
        self.0.lock().map_or(f64::NAN, |sum| sum.rate)
    }
}

/// Counts at the end of the dataflow on one worker; adds up when it is dropped.
#[derive(Debug)]
pub(crate) struct Meter {
    records: u64,
    /// Those of this worker that fill the state.
    filling: u64,
    began: Option<(Instant, u64)>,
    last: Option<(Instant, u64)>,
    total: Total,
}

impl Meter {
    pub(crate) fn new(filling: u64, total: Total) -> Meter {
        Meter { records: 0, filling, began: None, last: None, total }
    }

    #[inline]
    pub(crate) fn record(&mut self) {
        self.records += 1;
        if self.records.is_multiple_of(LOOK) && self.records >= self.filling {
            self.look(Instant::now());
        }
    }

    fn look(&mut self, now: Instant) {
        let here = (now, self.records);
        self.began.get_or_insert(here);
        self.last = Some(here);
    }

    fn rate(&self) -> f64 {
        let Some((began, last)) = self.began.zip(self.last) else { return 0.0 };
        let took = (last.0 - began.0).max(Duration::from_nanos(1));
        (last.1 - began.1) as f64 / took.as_secs_f64()
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // Poisoned by a worker that panicked, which is the result then.
        if let Ok(mut sum) = self.total.0.lock() {
            sum.records += self.records;
            sum.rate += self.rate();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_the_state_is_not_in_the_rate() {
        let (total, now) = (Total::default(), Instant::now());
        for _ in 0..2 {
            let mut meter = Meter::new(10_000, total.clone());
            meter.records = 10_000;
            meter.look(now);
            meter.records = 30_000;
            meter.look(now + Duration::from_secs(2));
        }
        assert_eq!(total.records(), 60_000);
        assert!((total.rate() - 20_000.0).abs() < 1e-6, "{}", total.rate());
    }
}
