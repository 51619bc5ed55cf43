//! Whether a job that has failed is started again, and after how long.
//!
//! A state machine without a clock: what time it is, and the random number that spreads the
//! restarts of many jobs, are given to it.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};

/// How a job that has failed is started again in the same process; Flink's `restart-strategy`.
///
/// Only what may pass with time is tried again: a worker that panicked, a source or sink that
/// failed, a store that is away, checkpoints that fail. What does not is returned at once: wrong
/// options, state that does not fit the program, a damaged checkpoint, a newer run that has taken
/// over. So are errors of sources and sinks before the job's first record: a path that was
/// mistyped is more likely then than a service that is away.
///
/// *Default*: [`exponential_delay`](RestartStrategy::exponential_delay) for a job with checkpoints,
/// none for one without, which would begin afresh and repeat its output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RestartStrategy {
    /// Never: the first failure ends the job.
    None,
    /// After the same pause each time.
    FixedDelay {
        /// Restarts, in the whole life of the job's process. *Default*: 1, Flink's. *Range*: from
        /// 1; `u32::MAX` for no limit.
        attempts: u32,
        /// From a failure to the restart. *Default*: 1 s, Flink's. *Range*: from 1 ms.
        delay: Duration,
    },
    /// After pauses that grow while the job keeps failing.
    ExponentialDelay {
        /// The first pause. *Default*: 1 s, Flink's. *Range*: from 1 ms.
        initial_backoff: Duration,
        /// The longest pause. *Default*: 1 min, Flink's. *Range*: from `initial_backoff`.
        max_backoff: Duration,
        /// What each pause is longer than the one before by. *Default*: 1.5, Flink's. *Range*:
        /// above 1, at most 1000.
        backoff_multiplier: f64,
        /// The share of a pause that is added or taken off at random, so that jobs that failed
        /// together do not come back together. *Default*: 0.1, Flink's. *Range*: 0 to 1.
        jitter_factor: f64,
        /// A run that lasted this long was healthy: pauses and attempts count from the start
        /// again. *Default*: 1 h, Flink's. *Range*: from 1 ms.
        reset_backoff_threshold: Duration,
        /// Restarts without such a run between them. *Default*: 32, about 25 minutes: more than
        /// outages that pass by themselves mostly take, and soon enough for whoever supervises the
        /// process to learn of a job that cannot work. Flink has no limit, but a cluster that shows
        /// the state of its jobs. *Range*: from 1; `u32::MAX` for no limit.
        attempts: u32,
    },
    /// After the same pause each time, unless failures are too frequent.
    FailureRate {
        /// Failures within `interval` that are tolerated. *Default*: 1, Flink's. *Range*: from 1.
        max_failures_per_interval: u32,
        /// *Default*: 1 min, Flink's. *Range*: longer than the tolerated failures take by their
        /// pauses alone, else there could never be too many.
        interval: Duration,
        /// From a failure to the restart. *Default*: 1 s, Flink's. *Range*: from 1 ms.
        delay: Duration,
    },
}

impl RestartStrategy {
    /// Fixed delay with Flink's defaults.
    pub const fn fixed_delay() -> RestartStrategy {
        RestartStrategy::FixedDelay { attempts: 1, delay: Duration::from_secs(1) }
    }

    /// Exponential delay with Flink's defaults, and a limit.
    pub const fn exponential_delay() -> RestartStrategy {
        RestartStrategy::ExponentialDelay {
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            backoff_multiplier: 1.5,
            jitter_factor: 0.1,
            reset_backoff_threshold: Duration::from_secs(3600),
            attempts: 32,
        }
    }

    /// Failure rate with Flink's defaults.
    pub const fn failure_rate() -> RestartStrategy {
        RestartStrategy::FailureRate {
            max_failures_per_interval: 1,
            interval: Duration::from_secs(60),
            delay: Duration::from_secs(1),
        }
    }

    /// Whether all values are in their ranges and none contradicts another.
    ///
    /// # Errors
    ///
    /// `Options`, with the values and the rule.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |reason: String| Err(Error::Options(reason));
        let at_least = |name: &str, value: Duration| {
            let is_short = value < Duration::from_millis(1);
            if is_short { refuse(format!("the {name} is {value:?}: at least 1ms")) } else { Ok(()) }
        };
        match *self {
            RestartStrategy::None => Ok(()),
            RestartStrategy::FixedDelay { attempts: 0, .. }
            | RestartStrategy::ExponentialDelay { attempts: 0, .. } => refuse(
                "0 restarts are to be attempted: at least 1, or say --restart-strategy none"
                    .to_owned(),
            ),
            RestartStrategy::FixedDelay { delay, .. } => at_least("fixed delay", delay),
            RestartStrategy::ExponentialDelay {
                initial_backoff: initial,
                max_backoff: max,
                backoff_multiplier: multiplier,
                jitter_factor: jitter,
                reset_backoff_threshold: threshold,
                ..
            } => {
                at_least("initial backoff", initial)?;
                at_least("reset backoff threshold", threshold)?;
                if initial > max {
                    return refuse(format!(
                        "the initial backoff is {initial:?} and the maximum backoff {max:?}: the \
                         first pause must not be longer than the longest"
                    ));
                }
                if !(multiplier > 1.0 && multiplier <= 1000.0) {
                    return refuse(format!(
                        "the backoff multiplier is {multiplier}: above 1, at most 1000"
                    ));
                }
                if !(0.0..=1.0).contains(&jitter) {
                    return refuse(format!("the jitter factor is {jitter}: from 0 to 1"));
                }
                Ok(())
            }
            RestartStrategy::FailureRate { max_failures_per_interval: max, interval, delay } => {
                at_least("failure rate's delay", delay)?;
                at_least("failure rate interval", interval)?;
                if max == 0 {
                    return refuse(
                        "0 failures per interval are tolerated: at least 1, or say \
                         --restart-strategy none"
                            .to_owned(),
                    );
                }
                let fastest = delay.saturating_mul(max);
                if fastest >= interval {
                    return refuse(format!(
                        "{max} failures per {interval:?} are tolerated and restarts are {delay:?} \
                         apart: more than {max} failures take {fastest:?} at least, so there could \
                         never be too many"
                    ));
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for RestartStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartStrategy::None => f.write_str("none"),
            RestartStrategy::FixedDelay { attempts, delay } => {
                write!(f, "fixed-delay: at most {attempts} restarts, {delay:?} after a failure")
            }
            RestartStrategy::ExponentialDelay { attempts, reset_backoff_threshold, .. } => write!(
                f,
                "exponential-delay: at most {attempts} restarts without a run of \
                 {reset_backoff_threshold:?}"
            ),
            RestartStrategy::FailureRate { max_failures_per_interval, interval, .. } => {
                write!(f, "failure-rate: at most {max_failures_per_interval} in {interval:?}")
            }
        }
    }
}

/// What a strategy says of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Start again after this pause.
    After(Duration),
    /// Do not start again.
    Never,
}

/// A strategy, and what it has to remember.
#[derive(Debug)]
pub(super) struct Restarts {
    strategy: RestartStrategy,
    /// Restarts that count for the limit.
    attempts: u32,
    /// The last pause, without its jitter.
    backoff: Option<Duration>,
    /// Of the failure rate: when the last failures were, the oldest first.
    failures: VecDeque<Duration>,
}

impl Restarts {
    pub(super) fn new(strategy: RestartStrategy) -> Restarts {
        Restarts { strategy, attempts: 0, backoff: None, failures: VecDeque::new() }
    }

    pub(super) fn strategy(&self) -> RestartStrategy {
        self.strategy
    }

    /// What to do about a failure at `now` of a run that began at `began`, both on one clock.
    /// `random` is at least 0 and below 1.
    pub(super) fn failed(&mut self, began: Duration, now: Duration, random: f64) -> Verdict {
        match self.strategy {
            RestartStrategy::None => Verdict::Never,
            RestartStrategy::FixedDelay { attempts, delay } => self.attempt(attempts, delay),
            RestartStrategy::ExponentialDelay {
                initial_backoff,
                max_backoff,
                backoff_multiplier,
                jitter_factor,
                reset_backoff_threshold,
                attempts,
            } => {
                if now.saturating_sub(began) >= reset_backoff_threshold {
                    (self.attempts, self.backoff) = (0, None);
                }
                // Both are within range, so this neither overflows nor is negative.
                let longer = |last: Duration| {
                    let longest = max_backoff.as_secs_f64();
                    let longer = last.as_secs_f64() * backoff_multiplier;
                    Duration::from_secs_f64(longer.min(longest)).min(max_backoff)
                };
                let backoff = self.backoff.map_or(initial_backoff, longer);
                self.backoff = Some(backoff);
                let spread = 1.0 + jitter_factor * (2.0 * random - 1.0);
                let spread = (backoff.as_secs_f64() * spread).min(max_backoff.as_secs_f64());
                self.attempt(attempts, Duration::from_secs_f64(spread).min(max_backoff))
            }
            RestartStrategy::FailureRate { max_failures_per_interval, interval, delay } => {
                let since = now.saturating_sub(interval);
                self.failures.push_back(now);
                self.failures.retain(|failure| *failure > since || *failure == now);
                let are_too_many = self.failures.len() > max_failures_per_interval as usize;
                if are_too_many { Verdict::Never } else { Verdict::After(delay) }
            }
        }
    }

    fn attempt(&mut self, limit: u32, delay: Duration) -> Verdict {
        if limit != u32::MAX && self.attempts >= limit {
            return Verdict::Never;
        }
        self.attempts = self.attempts.saturating_add(1);
        Verdict::After(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn exponential(attempts: u32, jitter_factor: f64) -> Restarts {
        Restarts::new(RestartStrategy::ExponentialDelay {
            initial_backoff: s(1),
            max_backoff: s(5),
            backoff_multiplier: 2.0,
            jitter_factor,
            reset_backoff_threshold: s(100),
            attempts,
        })
    }

    /// Fails runs of `lasted` one after the other.
    fn pauses(
        restarts: &mut Restarts,
        lasted: Duration,
        random: f64,
        count: usize,
    ) -> Vec<Verdict> {
        let mut now = Duration::ZERO;
        let fail = |_| {
            let began = now;
            now += lasted;
            let verdict = restarts.failed(began, now, random);
            if let Verdict::After(pause) = verdict {
                now += pause;
            }
            verdict
        };
        (0..count).map(fail).collect()
    }

    #[test]
    fn none_is_never() {
        let mut restarts = Restarts::new(RestartStrategy::None);
        assert_eq!(restarts.failed(s(0), s(1), 0.5), Verdict::Never);
    }

    #[test]
    fn a_fixed_delay_is_the_same_until_its_attempts_are_used_up() {
        let strategy = RestartStrategy::FixedDelay { attempts: 2, delay: s(7) };
        let mut restarts = Restarts::new(strategy);
        let expected = [Verdict::After(s(7)), Verdict::After(s(7)), Verdict::Never];
        assert_eq!(pauses(&mut restarts, s(10_000), 0.5, 3), expected, "however long runs last");
    }

    #[test]
    fn an_exponential_delay_grows_to_its_maximum() {
        let expected = [s(1), s(2), s(4), s(5), s(5)].map(Verdict::After);
        assert_eq!(pauses(&mut exponential(9, 0.0), s(1), 0.0, 5), expected);
    }

    #[test]
    fn jitter_adds_or_takes_off_its_share_and_stays_below_the_maximum() {
        let least = [s(1), s(2), s(4), s(5)].map(|pause| Verdict::After(pause.mul_f64(0.75)));
        assert_eq!(pauses(&mut exponential(9, 0.25), s(1), 0.0, 4), least);
        let most = [s(1), s(2), s(4)].map(|pause| Verdict::After(pause.mul_f64(1.125)));
        assert_eq!(pauses(&mut exponential(9, 0.25), s(1), 0.75, 3), most);
        assert_eq!(pauses(&mut exponential(9, 1.0), s(1), 0.99, 4)[3], Verdict::After(s(5)));
    }

    #[test]
    fn a_run_as_long_as_the_threshold_sets_the_delay_and_the_attempts_back() {
        let mut restarts = exponential(2, 0.0);
        let two = [s(1), s(2)].map(Verdict::After);
        assert_eq!(pauses(&mut restarts, s(99), 0.0, 2), two);
        assert_eq!(restarts.failed(s(500), s(600), 0.0), Verdict::After(s(1)), "100 s are enough");
        assert_eq!(restarts.failed(s(601), s(700), 0.0), Verdict::After(s(2)), "99 s are not");
        assert_eq!(restarts.failed(s(702), s(703), 0.0), Verdict::Never);
    }

    #[test]
    fn without_a_limit_it_is_never_never() {
        let verdicts = pauses(&mut exponential(u32::MAX, 0.1), s(1), 0.5, 1000);
        assert!(verdicts.iter().all(|verdict| *verdict != Verdict::Never));
    }

    #[test]
    fn a_failure_rate_counts_what_is_within_the_interval() {
        let strategy = RestartStrategy::FailureRate {
            max_failures_per_interval: 2,
            interval: s(60),
            delay: s(3),
        };
        let mut restarts = Restarts::new(strategy);
        for now in [10, 40, 80, 101] {
            assert_eq!(restarts.failed(s(0), s(now), 0.0), Verdict::After(s(3)), "at {now} s");
        }
        assert_eq!(restarts.failed(s(0), s(139), 0.0), Verdict::Never, "80, 101, 139");
    }

    #[test]
    fn the_defaults_are_in_range() {
        for strategy in [
            RestartStrategy::None,
            RestartStrategy::fixed_delay(),
            RestartStrategy::exponential_delay(),
            RestartStrategy::failure_rate(),
        ] {
            strategy.check().expect("a default");
        }
        let mut restarts = Restarts::new(RestartStrategy::exponential_delay());
        let pauses = pauses(&mut restarts, s(0), 0.5, 33);
        let total: Duration = pauses
            .iter()
            .filter_map(|verdict| match verdict {
                Verdict::After(pause) => Some(*pause),
                Verdict::Never => None,
            })
            .sum();
        assert!(
            s(20 * 60) < total && total < s(30 * 60),
            "{total:?}, which the docs say is 25 min"
        );
        assert_eq!(pauses[32], Verdict::Never);
    }
}
