//! So many records a second, and no more.

use super::Stream;
use crate::operators;

impl<T: 'static> Stream<'_, T> {
    /// Lets at most so many records a second pass, of all workers together; what comes faster waits,
    /// and so do the sources in the end. For a service that others use as well.
    ///
    /// Each worker has an equal share of the rate, whatever it has to do; let
    /// [`rebalance`](Stream::rebalance) come before where records are unevenly spread. After a pause
    /// one may pass at once, and what a hundredth of a second allows. A checkpoint is not complete before the
    /// records before it have passed: with a low rate they take longer.
    ///
    /// *Unit*: records a second. *Range*: above 0 and finite, or the job's `run` returns an error.
    ///
    /// ```
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// let began = std::time::Instant::now();
    /// let passed = collect_one(|flow| {
    ///     let numbers: Vec<u32> = (0..100).collect();
    ///     flow.source("numbers", VecSource::new(numbers)).rate_limit(1000.0)
    /// });
    /// assert_eq!(passed.len(), 100);
    /// assert!(began.elapsed().as_millis() >= 80);
    /// ```
    pub fn rate_limit(self, per_second: f64) -> Self {
        let flow = self.flow().clone();
        let is_right = per_second.is_finite() && per_second > 0.0;
        if !is_right {
            flow.refuse(format!(
                "a rate limit of {per_second} records a second: it must be above 0 and finite"
            ));
        }
        let stream = self.into_timely();
        let passed = operators::rate_limit(&flow, stream, if is_right { per_second } else { 1.0 });
        Stream::built(flow, passed)
    }
}
