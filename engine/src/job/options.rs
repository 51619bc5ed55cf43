//! What a job is run with: its knobs, checked against each other before anything happens.

use highwater_checkpoint::policy::{CheckpointMode, CheckpointPolicy, Retention};
use highwater_checkpoint::run::{Restore, RunOptions};
use highwater_checkpoint::store::{BlobStore, Location};

use super::Job;
use super::restart::RestartStrategy;
use super::restart_args::RestartStrategyName;
use crate::error::{Error, Result};

impl Job {
    /// The options of the first run, and what to do when it fails.
    ///
    /// # Errors
    ///
    /// `Options` if a knob is out of range or contradicts another, with the values and the rule;
    /// `Invalid` if the job has no name; as [`Location::parse`].
    pub(super) fn options(&self) -> Result<(RunOptions, RestartStrategy)> {
        if self.name.is_empty() {
            return Err(Error::Invalid("a job needs a name".to_owned()));
        }
        let (workers, key_groups) = (self.args.workers, self.key_groups.count());
        if workers == 0 {
            return Err(Error::Options("0 workers are asked for: at least 1".to_owned()));
        }
        if workers > usize::from(key_groups) {
            return Err(Error::Options(format!(
                "{workers} workers are more than the {key_groups} key groups of the job: some could \
                 never hold a key"
            )));
        }
        let policy = self.policy();
        policy.check().map_err(|error| Error::Options(error.to_string()))?;
        let restart = self.restart_strategy_checked()?;
        self.check_restore()?;
        let location = match (&self.location, &self.args.checkpoint_dir) {
            (Some(location), _) => Some(location.clone()),
            (None, Some(text)) => Some(Location::parse(text)?),
            (None, None) => None,
        };
        let store = |location| BlobStore::new(location, &self.name).retry_policy(self.retries);
        let options = RunOptions {
            job: self.name.clone(),
            workers,
            key_groups: self.key_groups,
            store: location.map(store),
            policy,
            restore: self.args.restore.clone(),
            allow_non_restored_state: self.args.allow_non_restored_state,
            request_interval: self.args.request_interval,
            bytes_in_flight_max: highwater_checkpoint::run::BYTES_IN_FLIGHT_MAX,
        };
        Ok((options, restart))
    }

    fn policy(&self) -> CheckpointPolicy {
        CheckpointPolicy {
            interval: self.args.checkpoint_interval,
            mode: self.args.checkpoint_mode,
            min_pause: self.args.min_pause_between_checkpoints,
            timeout: self.args.checkpoint_timeout,
            max_concurrent: self.args.max_concurrent_checkpoints,
            tolerable_failures: self.args.tolerable_failed_checkpoints,
            retain: self.args.retain,
            retention: self.args.externalized_checkpoint_retention,
            fold_bytes_min: self.fold_bytes_min,
        }
    }

    fn is_durable(&self) -> bool {
        self.location.is_some() || self.args.checkpoint_dir.is_some()
    }

    fn restart_strategy_checked(&self) -> Result<RestartStrategy> {
        let (default, if_unsaid) = if self.is_durable() {
            (RestartStrategy::exponential_delay(), RestartStrategyName::ExponentialDelay)
        } else {
            (RestartStrategy::None, RestartStrategyName::None)
        };
        let asked = match self.restart {
            Some(strategy) => Some(strategy),
            None => self.args.restart.strategy(if_unsaid)?,
        };
        let strategy = asked.unwrap_or(default);
        strategy.check()?;
        if strategy != RestartStrategy::None && !self.is_durable() {
            return Err(Error::Options(format!(
                "the restart strategy is {strategy} and there is no checkpoint directory: without \
                 checkpoints a restart would begin afresh and repeat the output; set \
                 --checkpoint-dir, or leave the strategy out"
            )));
        }
        Ok(strategy)
    }

    /// What asks for something of checkpoints needs some.
    fn check_restore(&self) -> Result<()> {
        let args = &self.args;
        let asks = [
            (
                !matches!(args.restore, Restore::Latest | Restore::Nothing),
                "a checkpoint is to be restored (--restore)",
            ),
            (
                args.checkpoint_mode == CheckpointMode::AtLeastOnce,
                "the mode is at-least-once (--checkpoint-mode)",
            ),
            (
                args.externalized_checkpoint_retention == Retention::DeleteOnCancellation,
                "the retention is delete-on-cancellation (--externalized-checkpoint-retention)",
            ),
            (args.allow_non_restored_state, "state may be dropped (--allow-non-restored-state)"),
        ];
        let asked = asks.into_iter().find(|(is_asked, _)| *is_asked);
        if let Some((_, what)) = asked.filter(|_| !self.is_durable()) {
            return Err(Error::Options(format!(
                "{what} and there is no checkpoint directory: it has no meaning without checkpoints; \
                 set --checkpoint-dir, or leave it out"
            )));
        }
        if matches!(args.restore, Restore::Nothing) && args.allow_non_restored_state {
            return Err(Error::Options(
                "the job is to start afresh (--restore none) and state may be dropped \
                 (--allow-non-restored-state): where nothing is restored, nothing can be dropped; \
                 leave one of the two out"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;
    use crate::job::JobArgs;

    /// Each flag, a value, and what the job is then run with.
    const FLAGS: [(&str, &str, &str); 27] = [
        ("workers", "7", " workers: 7,"),
        ("quiet", "", "quiet: true"),
        ("checkpoint-dir", "DIR", "is durable"),
        ("checkpoint-interval", "7s", " interval: 7s"),
        ("checkpoint-mode", "at-least-once", " mode: AtLeastOnce"),
        ("min-pause-between-checkpoints", "7s", " min_pause: 7s"),
        ("checkpoint-timeout", "7s", " timeout: 7s"),
        ("max-concurrent-checkpoints", "7", " max_concurrent: 7,"),
        ("tolerable-failed-checkpoints", "7", " tolerable_failures: 7,"),
        ("retain", "7", " retain: 7,"),
        ("externalized-checkpoint-retention", "delete", " retention: DeleteOnCancellation"),
        ("restore", "none", " restore: Nothing"),
        ("allow-non-restored-state", "", " allow_non_restored_state: true"),
        ("dry-run", "json", "dry run: Some(Json)"),
        ("request-interval", "7s", " request_interval: 7s"),
        ("restart-strategy", "none", "restart: None"),
        ("fixed-delay-attempts", "7", "FixedDelay { attempts: 7,"),
        ("fixed-delay-delay", "7s", "attempts: 1, delay: 7s"),
        ("exponential-delay-initial-backoff", "7s", " initial_backoff: 7s"),
        ("exponential-delay-max-backoff", "7s", " max_backoff: 7s"),
        ("exponential-delay-backoff-multiplier", "7", " backoff_multiplier: 7.0"),
        ("exponential-delay-jitter-factor", "0.7", " jitter_factor: 0.7"),
        ("exponential-delay-reset-backoff-threshold", "7s", " reset_backoff_threshold: 7s"),
        ("exponential-delay-attempts-before-reset-backoff", "7", "threshold: 3600s, attempts: 7"),
        ("failure-rate-max-failures-per-interval", "7", " max_failures_per_interval: 7,"),
        ("failure-rate-failure-rate-interval", "7s", "_per_interval: 1, interval: 7s"),
        ("failure-rate-delay", "7s", "interval: 60s, delay: 7s"),
    ];

    /// What a job is run with that has these flags.
    fn run_with(flags: &[String]) -> String {
        let command = JobArgs::augment_args(Command::new("job").no_binary_name(true));
        let matches = command.try_get_matches_from(flags).unwrap_or_else(|error| panic!("{error}"));
        let args = JobArgs::from_arg_matches(&matches).unwrap();
        let quiet = format!("quiet: {}, dry run: {:?}", args.quiet, args.dry_run);
        let (options, restart) = Job::with_args("flags", args).options().unwrap();
        let durable = if options.store.is_some() { "is durable" } else { "is not" };
        format!("{quiet}, {durable}, {options:?}, restart: {restart:?}")
    }

    #[test]
    fn every_flag_sets_its_knob() {
        let directory = tempfile::tempdir().unwrap();
        let directory = format!("--checkpoint-dir={}", directory.path().display());
        let strategies = ["fixed-delay", "exponential-delay", "failure-rate"];
        for (flag, value, says) in FLAGS {
            let strategy = strategies.into_iter().find(|strategy| flag.starts_with(strategy));
            let strategy = strategy.map(|strategy| format!("--restart-strategy={strategy}"));
            let is_directory = flag == "checkpoint-dir";
            let mut flags: Vec<_> = strategy.into_iter().collect();
            flags.extend((!is_directory).then(|| directory.clone()));
            let without = run_with(&flags);
            assert!(!without.contains(says), "--{flag} makes no difference: {without}");
            flags.push(match value {
                _ if is_directory => directory.clone(),
                "" => format!("--{flag}"),
                value => format!("--{flag}={value}"),
            });
            let with = run_with(&flags);
            assert!(with.contains(says), "{flags:?} is ignored, {says:?} is not in {with}");
        }
        let command = JobArgs::augment_args(Command::new("job"));
        let all: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        assert_eq!(all, FLAGS.map(|(flag, ..)| flag));
    }
}
