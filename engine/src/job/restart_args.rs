//! The flags of the restart strategy, and which of them belong together.

use std::fmt::Display;
use std::time::Duration;

use clap::Args;

use super::args::{parse_duration, parse_limit, parse_positive_duration};
use super::restart::RestartStrategy;
use crate::error::{Error, Result};

/// The names of strategies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum RestartStrategyName {
    /// The first failure ends the job
    None,
    /// After the same pause each time, so many times
    FixedDelay,
    /// After pauses that grow while the job keeps failing
    ExponentialDelay,
    /// After the same pause each time, unless failures are too frequent
    FailureRate,
}

impl RestartStrategyName {
    fn as_str(self) -> &'static str {
        match self {
            RestartStrategyName::None => "none",
            RestartStrategyName::FixedDelay => "fixed-delay",
            RestartStrategyName::ExponentialDelay => "exponential-delay",
            RestartStrategyName::FailureRate => "failure-rate",
        }
    }
}

/// The flags of [`RestartStrategy`]; those of the strategies that are not chosen must be left out.
#[derive(Args, Clone, Debug, Default)]
pub struct RestartArgs {
    /// What to do when the job fails of something that may pass: start it again in this process,
    /// from its newest checkpoint, after a pause
    ///
    /// Unless said, exponential-delay for a job with checkpoints, and none for one without. What
    /// does not pass ends the job at once: wrong flags, state that does not fit the program, a
    /// damaged checkpoint, a newer run of the job.
    #[arg(
        long,
        value_enum,
        value_name = "STRATEGY",
        env = "HIGHWATER_RESTART_STRATEGY",
        help_heading = "Restarts"
    )]
    pub restart_strategy: Option<RestartStrategyName>,

    /// fixed-delay: how many restarts, or unlimited [default: 1]
    #[arg(
        long,
        value_name = "N",
        env = "HIGHWATER_FIXED_DELAY_ATTEMPTS",
        value_parser = parse_limit,
        help_heading = "Restarts"
    )]
    pub fixed_delay_attempts: Option<u32>,

    /// fixed-delay: the pause before a restart [default: 1s]
    #[arg(
        long,
        value_name = "TIME",
        env = "HIGHWATER_FIXED_DELAY_DELAY",
        value_parser = parse_positive_duration,
        help_heading = "Restarts"
    )]
    pub fixed_delay_delay: Option<Duration>,

    /// exponential-delay: the first pause [default: 1s]
    #[arg(
        long,
        value_name = "TIME",
        env = "HIGHWATER_EXPONENTIAL_DELAY_INITIAL_BACKOFF",
        value_parser = parse_positive_duration,
        help_heading = "Restarts"
    )]
    pub exponential_delay_initial_backoff: Option<Duration>,

    /// exponential-delay: the longest pause [default: 1min]
    #[arg(
        long,
        value_name = "TIME",
        env = "HIGHWATER_EXPONENTIAL_DELAY_MAX_BACKOFF",
        value_parser = parse_positive_duration,
        help_heading = "Restarts"
    )]
    pub exponential_delay_max_backoff: Option<Duration>,

    /// exponential-delay: how many times as long as the last one a pause is [default: 1.5]
    #[arg(
        long,
        value_name = "FACTOR",
        env = "HIGHWATER_EXPONENTIAL_DELAY_BACKOFF_MULTIPLIER",
        help_heading = "Restarts"
    )]
    pub exponential_delay_backoff_multiplier: Option<f64>,

    /// exponential-delay: the share of a pause that is random, 0 to 1 [default: 0.1]
    #[arg(
        long,
        value_name = "SHARE",
        env = "HIGHWATER_EXPONENTIAL_DELAY_JITTER_FACTOR",
        help_heading = "Restarts"
    )]
    pub exponential_delay_jitter_factor: Option<f64>,

    /// exponential-delay: a run that lasted this long was healthy: pauses and restarts count anew
    /// [default: 1h]
    #[arg(
        long,
        value_name = "TIME",
        env = "HIGHWATER_EXPONENTIAL_DELAY_RESET_BACKOFF_THRESHOLD",
        value_parser = parse_duration,
        help_heading = "Restarts"
    )]
    pub exponential_delay_reset_backoff_threshold: Option<Duration>,

    /// exponential-delay: how many restarts without a healthy run, or unlimited [default: 32,
    /// about 25 minutes]
    #[arg(
        long,
        value_name = "N",
        env = "HIGHWATER_EXPONENTIAL_DELAY_ATTEMPTS_BEFORE_RESET_BACKOFF",
        value_parser = parse_limit,
        help_heading = "Restarts"
    )]
    pub exponential_delay_attempts_before_reset_backoff: Option<u32>,

    /// failure-rate: how many failures within the interval are tolerated [default: 1]
    #[arg(
        long,
        value_name = "N",
        env = "HIGHWATER_FAILURE_RATE_MAX_FAILURES_PER_INTERVAL",
        help_heading = "Restarts"
    )]
    pub failure_rate_max_failures_per_interval: Option<u32>,

    /// failure-rate: the interval [default: 1min]
    #[arg(
        long,
        value_name = "TIME",
        env = "HIGHWATER_FAILURE_RATE_FAILURE_RATE_INTERVAL",
        value_parser = parse_positive_duration,
        help_heading = "Restarts"
    )]
    pub failure_rate_failure_rate_interval: Option<Duration>,

    /// failure-rate: the pause before a restart [default: 1s]
    #[arg(
        long,
        value_name = "TIME",
        env = "HIGHWATER_FAILURE_RATE_DELAY",
        value_parser = parse_positive_duration,
        help_heading = "Restarts"
    )]
    pub failure_rate_delay: Option<Duration>,
}

/// Takes over what is given.
fn set<T: Copy>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

impl RestartArgs {
    /// The strategy that is asked for, if one is; `default` is what the parameters of a strategy
    /// that is not named belong to.
    ///
    /// # Errors
    ///
    /// `Options` if there are parameters of another strategy.
    pub(super) fn strategy(&self, default: RestartStrategyName) -> Result<Option<RestartStrategy>> {
        let name = self.restart_strategy.unwrap_or(default);
        let given = self.given();
        if let Some((flag, value)) = given.iter().find(|(flag, _)| !belongs(flag, name)) {
            let owner = [
                RestartStrategyName::FixedDelay,
                RestartStrategyName::ExponentialDelay,
                RestartStrategyName::FailureRate,
            ];
            let owner = owner.into_iter().find(|owner| belongs(flag, *owner));
            let owner = owner.map_or("another", RestartStrategyName::as_str);
            return Err(Error::Options(format!(
                "--{flag} is {value} and the restart strategy is {}: it is a parameter of {owner}; \
                 choose that with --restart-strategy, or leave it out",
                name.as_str()
            )));
        }
        if self.restart_strategy.is_none() && given.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.filled(name)))
    }

    fn filled(&self, name: RestartStrategyName) -> RestartStrategy {
        let mut strategy = match name {
            RestartStrategyName::None => RestartStrategy::None,
            RestartStrategyName::FixedDelay => RestartStrategy::fixed_delay(),
            RestartStrategyName::ExponentialDelay => RestartStrategy::exponential_delay(),
            RestartStrategyName::FailureRate => RestartStrategy::failure_rate(),
        };
        match &mut strategy {
            RestartStrategy::None => {}
            RestartStrategy::FixedDelay { attempts, delay } => {
                set(attempts, self.fixed_delay_attempts);
                set(delay, self.fixed_delay_delay);
            }
            RestartStrategy::ExponentialDelay {
                initial_backoff,
                max_backoff,
                backoff_multiplier,
                jitter_factor,
                reset_backoff_threshold,
                attempts,
            } => {
                set(initial_backoff, self.exponential_delay_initial_backoff);
                set(max_backoff, self.exponential_delay_max_backoff);
                set(backoff_multiplier, self.exponential_delay_backoff_multiplier);
                set(jitter_factor, self.exponential_delay_jitter_factor);
                set(reset_backoff_threshold, self.exponential_delay_reset_backoff_threshold);
                set(attempts, self.exponential_delay_attempts_before_reset_backoff);
            }
            RestartStrategy::FailureRate { max_failures_per_interval, interval, delay } => {
                set(max_failures_per_interval, self.failure_rate_max_failures_per_interval);
                set(interval, self.failure_rate_failure_rate_interval);
                set(delay, self.failure_rate_delay);
            }
        }
        strategy
    }

    /// The parameters that are given: their flags and values.
    fn given(&self) -> Vec<(&'static str, String)> {
        fn show<T: Display>(value: Option<T>) -> Option<String> {
            value.map(|value| value.to_string())
        }
        let time = |value: Option<Duration>| {
            value.map(|value| humantime::format_duration(value).to_string())
        };
        let all = [
            ("fixed-delay-attempts", show(self.fixed_delay_attempts)),
            ("fixed-delay-delay", time(self.fixed_delay_delay)),
            ("exponential-delay-initial-backoff", time(self.exponential_delay_initial_backoff)),
            ("exponential-delay-max-backoff", time(self.exponential_delay_max_backoff)),
            (
                "exponential-delay-backoff-multiplier",
                show(self.exponential_delay_backoff_multiplier),
            ),
            ("exponential-delay-jitter-factor", show(self.exponential_delay_jitter_factor)),
            (
                "exponential-delay-reset-backoff-threshold",
                time(self.exponential_delay_reset_backoff_threshold),
            ),
            (
                "exponential-delay-attempts-before-reset-backoff",
                show(self.exponential_delay_attempts_before_reset_backoff),
            ),
            (
                "failure-rate-max-failures-per-interval",
                show(self.failure_rate_max_failures_per_interval),
            ),
            ("failure-rate-failure-rate-interval", time(self.failure_rate_failure_rate_interval)),
            ("failure-rate-delay", time(self.failure_rate_delay)),
        ];
        all.into_iter().filter_map(|(flag, value)| Some((flag, value?))).collect()
    }
}

fn belongs(flag: &str, name: RestartStrategyName) -> bool {
    name != RestartStrategyName::None && flag.starts_with(name.as_str())
}
