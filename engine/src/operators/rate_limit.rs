//! Lets so many records a second pass. What has to wait holds its epoch and its step open: the
//! checkpoint comes when it has passed, and pacing makes sources wait. So there is no state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::Moment;
use highwater_checkpoint::dataflow::Wakeup;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

use crate::stream::{Flow, Output, to_first_output};

/// How long nothing may have come for as much as that to pass at once then.
const BURST_MS: f64 = 10.0;

/// Whole records that may pass, as time goes by. Time that goes back stands still.
struct Bucket {
    per_ms: f64,
    tokens: f64,
    filled_ms: u64,
}

impl Bucket {
    fn new(per_second: f64, now_ms: u64) -> Bucket {
        Bucket { per_ms: per_second / 1e3, tokens: 1.0, filled_ms: now_ms }
    }

    /// How many of `wanted` may pass now.
    fn take(&mut self, wanted: usize, now_ms: u64) -> usize {
        let elapsed = now_ms.saturating_sub(self.filled_ms) as f64;
        // And the one that is waited for: what comes of the next until somebody looks is not lost.
        let most = 1.0 + self.per_ms * BURST_MS;
        self.tokens = (self.tokens + elapsed * self.per_ms).min(most);
        self.filled_ms = self.filled_ms.max(now_ms);
        let taken = wanted.min(self.tokens as usize);
        self.tokens -= taken as f64;
        taken
    }

    /// When the next may pass.
    fn wait(&self) -> Duration {
        let ms = ((1.0 - self.tokens) / self.per_ms).clamp(1.0, 3_600_000.0);
        Duration::from_secs_f64(ms / 1e3)
    }
}

pub(crate) fn rate_limit<'scope, T: 'static>(
    flow: &Flow<'scope>,
    stream: StreamVec<'scope, Moment, T>,
    per_second: f64,
) -> StreamVec<'scope, Moment, T> {
    let mut builder = OperatorBuilder::new("RateLimit".to_owned(), flow.scope());
    let (output, passed) = builder.new_output_connection::<Vec<T>, _>([]);
    let mut input = builder.new_input_connection(stream, Pipeline, to_first_output());
    builder.set_notify_for(0, FrontierInterest::Never);
    let activator = flow.scope().activator_for(builder.operator_info().address);
    let run = Arc::clone(flow.run());
    let mut wakeup = Wakeup::new(activator, Arc::clone(&run));
    let share = per_second / flow.scope().peers() as f64;
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut output = Output::from(output);
        let mut bucket = Bucket::new(share, run.now_ms());
        let mut waiting: VecDeque<(Capability<Moment>, VecDeque<T>)> = VecDeque::new();
        move |_| {
            input.for_each(|capability, batch| {
                waiting.push_back((capability.retain(0), batch.drain(..).collect()));
            });
            let now_ms = run.now_ms();
            while let Some((capability, records)) = waiting.front_mut() {
                let may_pass = bucket.take(records.len(), now_ms);
                if may_pass > 0 {
                    let mut handle = output.activate();
                    handle.session(&*capability).give_iterator(records.drain(..may_pass));
                }
                if !records.is_empty() {
                    wakeup.after(bucket.wait());
                    return;
                }
                waiting.pop_front();
            }
        }
    });
    passed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whoever asks, as often as it likes: never more than the rate, and a burst.
        #[test]
        fn no_more_pass_than_the_rate_allows(
            rate in 1.0_f64..1e6,
            asks in prop::collection::vec((0u64..50, 0usize..2000), 1..200),
        ) {
            let mut bucket = Bucket::new(rate, 1000);
            let (mut now, mut passed) = (1000, 0);
            for (later, wanted) in asks {
                now += later;
                passed += bucket.take(wanted, now);
                let most = (now - 1000) as f64 * rate / 1e3 + rate / 100.0 + 1.0;
                prop_assert!(passed as f64 <= most + 1e-6, "{passed} in {} ms", now - 1000);
            }
        }

        /// One that always wants more gets the rate.
        #[test]
        fn who_waits_gets_the_rate(rate in 1.0_f64..1e5) {
            let (passed, right) = of_ten_seconds(rate);
            prop_assert!(passed >= right * 0.998 - 2.0, "{passed}, not {right}");
        }
    }

    /// How many pass of as many as may, and how many are to.
    fn of_ten_seconds(rate: f64) -> (f64, f64) {
        let mut bucket = Bucket::new(rate, 0);
        let (mut now, mut passed) = (0.0_f64, 0);
        while now < 10_000.0 {
            passed += bucket.take(usize::MAX, now as u64);
            now += (bucket.wait().as_secs_f64() * 1e3).max(1.0);
        }
        (passed as f64, rate * now / 1e3)
    }

    /// A record each 24.4 ms was one each 25 ms.
    #[test]
    fn regression_what_comes_of_a_record_before_one_looks_is_not_lost() {
        let (passed, right) = of_ten_seconds(41.029_925_86);
        assert!(passed >= right - 2.0, "{passed}, not {right}");
    }

    #[test]
    fn a_clock_that_goes_back_lets_nothing_pass_twice() {
        let mut bucket = Bucket::new(1000.0, 5_000);
        assert_eq!(bucket.take(100, 5_005), 6);
        assert_eq!(bucket.take(100, 1_000), 0);
        assert_eq!(bucket.take(100, 5_005), 0);
        assert_eq!(bucket.take(100, 5_006), 1);
    }
}
