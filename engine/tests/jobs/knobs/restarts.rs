//! How often a job that fails is started again, and after how long.

#![expect(clippy::disallowed_methods, reason = "makes runs last, and measures pauses")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater::checkpoint::store::Location;
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::{Error, RestartStrategy, Summary};

use super::{Endless, job, ms};

const S: Duration = Duration::from_secs(1);

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

/// Runs a job whose first `failures` runs last so long at least and fail, and the next one stops;
/// returns when runs began.
fn failing(
    job: Job,
    failures: usize,
    lasts: Duration,
) -> (Vec<Instant>, highwater::Result<Summary>) {
    let begun: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let to_begun = Arc::clone(&begun);
    let outcome = job.execute(move |flow| {
        let mut begun = to_begun.lock().unwrap();
        begun.push(Instant::now());
        let is_last = begun.len() > failures;
        std::thread::sleep(lasts);
        let run = Arc::clone(flow.checkpoints().run());
        let fails_at = if is_last { u64::MAX } else { 3 };
        let numbers = flow.source("numbers", Endless { splits: 1, fails_at });
        let numbers = numbers.inspect(move |_| {
            if is_last {
                run.control().request_stop();
            }
        });
        numbers.for_each(drop);
    });
    let begun = begun.lock().unwrap().clone();
    (begun, outcome)
}

/// More failures than any strategy here allows.
const TOO_MANY: usize = 6;

/// As [`failing`], until the strategy gives up.
fn given_up(strategy: RestartStrategy) -> (Vec<Instant>, Error) {
    let job = job(&Location::memory()).restart_strategy(strategy);
    let (begun, outcome) = failing(job, TOO_MANY, Duration::ZERO);
    (begun, outcome.expect_err("it was to give up"))
}

fn pauses(begun: &[Instant]) -> Vec<Duration> {
    begun.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// The pauses of a strategy that gives up after so many.
#[track_caller]
fn pauses_of<const N: usize>(strategy: RestartStrategy) -> [Duration; N] {
    let (begun, error) = given_up(strategy);
    assert_eq!(error.exit_code(), 3, "{error:?}");
    pauses(&begun).try_into().unwrap_or_else(|pauses| panic!("{pauses:?}: {error:?}"))
}

fn fixed(attempts: u32, delay: Duration) -> RestartStrategy {
    RestartStrategy::FixedDelay { attempts, delay }
}

/// Some exponential delay without jitter, and never a healthy run.
fn exponential(attempts: u32, initial_backoff: Duration, multiplier: f64) -> RestartStrategy {
    RestartStrategy::ExponentialDelay {
        initial_backoff,
        max_backoff: HOUR,
        backoff_multiplier: multiplier,
        jitter_factor: 0.0,
        reset_backoff_threshold: HOUR,
        attempts,
    }
}

#[test]
fn restart_strategy() {
    let (begun, error) = given_up(RestartStrategy::None);
    assert_eq!((begun.len(), error.exit_code()), (1, 1));
    assert!(matches!(error, Error::Source { .. }), "{error:?}");

    let (_, error) = given_up(fixed(3, ms(4)));
    let says = format!("{error:?}");
    assert!(says.starts_with("gave up after 3 restarts in "), "{says}");
    assert!(says.contains("fixed-delay: at most 3 restarts, 4ms after a failure"), "{says}");
    assert!(
        says.ends_with("the last failure: source \"numbers\" failed: fails on purpose"),
        "{says}"
    );
    let rate =
        RestartStrategy::FailureRate { max_failures_per_interval: 2, interval: HOUR, delay: ms(4) };
    let (_, error) = given_up(rate);
    assert!(error.to_string().contains("failure-rate: at most 2 in 3600s"), "{error}");

    // Unless said: after a second, if there are checkpoints to go on from.
    let unsaid = || Job::new("unsaid").quiet().checkpoint_interval(ms(2));
    let (begun, outcome) =
        failing(unsaid().checkpoint_store(Location::memory()), 1, Duration::ZERO);
    let summary = outcome.unwrap();
    assert_eq!((summary.restarts, summary.outcome), (1, Outcome::Stopped));
    assert!(pauses(&begun)[0] >= ms(900), "{begun:?}");
    let (begun, outcome) = failing(unsaid(), 1, Duration::ZERO);
    assert!(matches!(outcome, Err(Error::Source { .. })), "{outcome:?}");
    assert_eq!(begun.len(), 1);
}

#[test]
fn fixed_delay_attempts() {
    for attempts in [2, 4] {
        let (begun, error) = given_up(fixed(attempts, ms(4)));
        assert_eq!((begun.len(), error.exit_code()), (attempts as usize + 1, 3), "{error:?}");
    }
}

#[test]
fn fixed_delay_delay() {
    let delay = ms(1400);
    assert!(pauses_of::<1>(fixed(1, delay))[0] >= delay);
}

#[test]
fn exponential_delay_initial_backoff() {
    let initial = ms(1400);
    assert!(pauses_of::<1>(exponential(1, initial, 2.0))[0] >= initial);
}

#[test]
fn exponential_delay_max_backoff() {
    let mut strategy = exponential(2, ms(50), 1000.0);
    let RestartStrategy::ExponentialDelay { max_backoff, .. } = &mut strategy else {
        unreachable!()
    };
    *max_backoff = ms(60);
    let [_, second] = pauses_of(strategy);
    assert!(second >= ms(60) && second < 25 * S, "{second:?}, and 50 s without a maximum");
}

#[test]
fn exponential_delay_backoff_multiplier() {
    let [first, second] = pauses_of(exponential(2, ms(20), 50.0));
    assert!(first >= ms(20) && second >= ms(1000), "{first:?}, {second:?}");
}

/// Without it no pause is shorter than was said, with the default every other one is.
#[test]
fn exponential_delay_jitter_factor() {
    let one = || pauses_of::<1>(exponential(1, 2 * S, 2.0))[0];
    let jobs: Vec<_> = (0..16).map(|_| std::thread::Builder::new().spawn(one).unwrap()).collect();
    let pauses: Vec<_> = jobs.into_iter().map(|job| job.join().unwrap()).collect();
    assert!(pauses.iter().all(|pause| *pause >= 2 * S), "{pauses:?}");
}

#[test]
fn exponential_delay_reset_backoff_threshold() {
    let mut strategy = exponential(2, ms(4), 2.0);
    let RestartStrategy::ExponentialDelay { reset_backoff_threshold: threshold, .. } =
        &mut strategy
    else {
        unreachable!()
    };
    // Every run is healthy.
    *threshold = ms(1);
    let job = job(&Location::memory()).restart_strategy(strategy);
    let (begun, outcome) = failing(job, 6, ms(2));
    assert_eq!((begun.len(), outcome.unwrap().restarts), (7, 6));
}

#[test]
fn exponential_delay_attempts_before_reset_backoff() {
    for attempts in [2, 4] {
        let (begun, error) = given_up(exponential(attempts, ms(1), 1.1));
        assert_eq!((begun.len(), error.exit_code()), (attempts as usize + 1, 3), "{error:?}");
    }
}

#[test]
fn failure_rate_max_failures_per_interval() {
    for max in [2, 4] {
        let (begun, error) = given_up(RestartStrategy::FailureRate {
            max_failures_per_interval: max,
            interval: HOUR,
            delay: ms(4),
        });
        assert_eq!((begun.len(), error.exit_code()), (max as usize + 1, 3), "{error:?}");
    }
}

/// Failures that are further apart than it never are too many.
#[test]
fn failure_rate_failure_rate_interval() {
    let strategy = RestartStrategy::FailureRate {
        max_failures_per_interval: 1,
        interval: ms(20),
        delay: ms(10),
    };
    let job = job(&Location::memory()).restart_strategy(strategy);
    let (begun, outcome) = failing(job, 5, ms(15));
    assert_eq!((begun.len(), outcome.unwrap().restarts), (6, 5));
}

#[test]
fn failure_rate_delay() {
    let strategy = RestartStrategy::FailureRate {
        max_failures_per_interval: 1,
        interval: HOUR,
        delay: ms(1400),
    };
    assert!(pauses_of::<1>(strategy)[0] >= ms(1400));
}
