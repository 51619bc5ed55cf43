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
