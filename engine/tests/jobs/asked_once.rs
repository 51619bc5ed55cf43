//! A source that has nothing is asked again when it wants to be, however often it is looked at meanwhile.
//!
//! Method: a source that never has anything counts how often it is asked; checkpoints make the operator
//! that reads it do other things all the time. Timely keeps each delayed activation, so that an operator
//! which asks for one at each of these would be scheduled more and more often.

#![expect(clippy::disallowed_methods, reason = "watches a job for some time")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater::checkpoint::store::Location;
use highwater::testing::VecSource;
use highwater::{Job, RestartStrategy};

use crate::trickle::Trickle;

const PAUSE: Duration = Duration::from_millis(20);
const INTERVAL: Duration = Duration::from_millis(5);

#[test]
fn regression_a_source_that_waits_is_not_asked_more_and_more_often() {
    let asked = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&asked);
    let nothing = move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        Ok(0)
    };
    let source = Trickle::paced(VecSource::new([1_u64]), nothing).pausing(PAUSE);
    let started = Instant::now();
    let summary = Job::new("asked-once")
        .checkpoint_store(Location::memory())
        .checkpoint_interval(INTERVAL)
        .restart_strategy(RestartStrategy::None)
        .quiet()
        .execute(move |flow| {
            let run = Arc::clone(flow.checkpoints().run());
            flow.source("nothing", source.clone()).for_each(drop);
            // In the background, for nothing comes to the sink.
            let stop = Arc::clone(&run);
            run.spawn_blocking(move || {
                while stop.status().completed() < 100 {
                    std::thread::sleep(INTERVAL);
                }
                stop.control().request_stop();
            });
        })
        .unwrap();
    let took = started.elapsed();
    // For each pause, and for each checkpoint: its beginning, its acknowledgement and its commit, twice.
    let pauses = took.as_millis() as u64 / PAUSE.as_millis() as u64;
    let bound = pauses + 6 * summary.checkpoints + 10;
    let asked = asked.load(Ordering::Relaxed);
    assert!(
        asked <= bound,
        "asked {asked} times in {took:?}, with {} checkpoints",
        summary.checkpoints
    );
    assert!(asked >= summary.checkpoints / 2, "asked {asked} times only");
}
