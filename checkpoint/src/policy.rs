//! How a job is checkpointed: the knobs, by the names that Flink gave them, and what contradicts.

use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};

/// What a checkpoint promises of the records between two barriers; Flink's
/// `execution.checkpointing.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckpointMode {
    /// State and output are as if each record had been processed once.
    ///
    /// An operator keeps what it gets of the next epoch until the running one has ended.
    #[default]
    ExactlyOnce,
    /// No record is lost, and after a restore some are processed once more.
    ///
    /// Operators do not wait for the slowest of their inputs: what they get of the next epoch goes
    /// into the snapshot of the running one, and is read again by whoever restores that.
    /// Transactional sinks keep committing whole epochs, but an epoch's output then holds records
    /// of the next one, which come out again after a restore.
    AtLeastOnce,
}

impl fmt::Display for CheckpointMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CheckpointMode::ExactlyOnce => "exactly-once",
            CheckpointMode::AtLeastOnce => "at-least-once",
        })
    }
}

/// What becomes of a job's checkpoints when it is stopped; Flink's
/// `execution.checkpointing.externalized-checkpoint-retention`.
///
/// A job that fails, and one whose input has ended, keep theirs in any case: the first is to be
/// started again, and the second must find out that it has finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// They stay, and the job resumes from them.
    #[default]
    RetainOnCancellation,
    /// They are deleted with the segments that they refer to. Savepoints stay.
    DeleteOnCancellation,
}

impl fmt::Display for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Retention::RetainOnCancellation => "retain-on-cancellation",
            Retention::DeleteOnCancellation => "delete-on-cancellation",
        })
    }
}

/// The knobs of checkpointing, as Flink's users know them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// Time from the beginning of one epoch to that of the next.
    ///
    /// *Unit*: wall time, 1 ms resolution. *Default*: 10 s: what a crash makes a job read again,
    /// and how late exactly-once output appears, against a cost that at 10 s is in the noise.
    /// *Range*: from 1 ms.
    pub interval: Duration,
    /// What a restore may repeat.
    ///
    /// *Default*: exactly once, which costs at most the memory of one stash.
    pub mode: CheckpointMode,
    /// Time from the end of one checkpoint, complete or failed, to the beginning of the next.
    ///
    /// *Unit*: wall time, 1 ms resolution. *Default*: 0, for nothing stops while a checkpoint is
    /// taken, and an interval is already the least distance. *Range*: below `timeout`; not with
    /// `max_concurrent` above 1, for there is no pause between checkpoints that overlap.
    pub min_pause: Duration,
    /// How long a checkpoint may take from the end of its epoch until it is complete.
    ///
    /// One that takes longer has failed: it is counted, the next one no longer waits for it, and
    /// takes its changes in. The last one of a run has no next, and no timeout.
    ///
    /// *Unit*: wall time, 1 ms resolution. *Default*: 10 min, Flink's: what takes longer than 60
    /// intervals is stuck. *Range*: from 1 ms.
    pub timeout: Duration,
    /// Checkpoints under way at once: epochs that have ended and are neither complete nor failed.
    ///
    /// *Default*: 1, so that the store is never asked for more than it can take. More are of use
    /// where the store has a long latency and plenty of throughput. *Range*: from 1.
    pub max_concurrent: usize,
    /// Consecutive checkpoints that may fail before the run does.
    ///
    /// Failed is what took longer than `timeout`, and what the store would not take for as long as
    /// requests to it are tried. A checkpoint that is complete sets the count back to 0.
    ///
    /// *Default*: 3: a store that is away for some minutes is no reason to begin again, while one
    /// that stays away must not go unnoticed. Flink's is 0, and its users raise it.
    /// *Range*: any; `u32::MAX` for a run that goes on without checkpoints.
    pub tolerable_failures: u32,
    /// Completed checkpoints to keep.
    ///
    /// *Default*: 3, so that a damaged one is no disaster. *Range*: from 1.
    pub retain: usize,
    /// What becomes of the checkpoints of a job that is stopped.
    ///
    /// *Default*: they are retained: who stops a job mostly starts it again.
    pub retention: Retention,
    /// Bytes that an operator's segments may have together before what is void among them is a reason
    /// to fold; below, only their number is.
    ///
    /// *Unit*: bytes in the store. *Default*: 1 MiB, which an object service delivers in some 20 ms,
    /// hardly longer than it takes to answer: less void bytes would not make a restore faster, and
    /// each fold is a request. *Range*: any; 0 folds as soon as a restore would read twice the live
    /// state.
    pub fold_bytes_min: u64,
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        CheckpointPolicy {
            interval: Duration::from_secs(10),
            mode: CheckpointMode::ExactlyOnce,
            min_pause: Duration::ZERO,
            timeout: Duration::from_secs(600),
            max_concurrent: 1,
            tolerable_failures: 3,
            retain: 3,
            retention: Retention::RetainOnCancellation,
            fold_bytes_min: 1 << 20,
        }
    }
}

/// What is shorter is zero in the unit of the clock.
const SHORTEST: Duration = Duration::from_millis(1);

impl CheckpointPolicy {
    /// Whether all values are in their ranges and none contradicts another.
    ///
    /// # Errors
    ///
    /// `Invalid`, with the values and the rule.
    pub fn check(&self) -> Result<()> {
        let CheckpointPolicy { interval, min_pause, timeout, max_concurrent, retain, .. } = self;
        for (name, value) in [("checkpoint interval", interval), ("checkpoint timeout", timeout)] {
            if *value < SHORTEST {
                return Err(Error::invalid(format!("the {name} is {value:?}: at least 1ms")));
            }
        }
        if *max_concurrent == 0 {
            return Err(Error::invalid("0 concurrent checkpoints are allowed: at least 1"));
        }
        if *retain == 0 {
            return Err(Error::invalid("at least 1 checkpoint must be retained, not 0"));
        }
        if min_pause >= timeout {
            return Err(Error::invalid(format!(
                "the minimum pause between checkpoints is {min_pause:?} and their timeout \
                 {timeout:?}: the pause must be shorter than the timeout"
            )));
        }
        if *max_concurrent > 1 && !min_pause.is_zero() {
            return Err(Error::invalid(format!(
                "up to {max_concurrent} concurrent checkpoints are allowed and the minimum pause \
                 between checkpoints is {min_pause:?}: checkpoints that overlap have no pause \
                 between them, so set one of the two to its default"
            )));
        }
        Ok(())
    }
}

/// Whole milliseconds; what is longer than can be said is for ever.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a policy that `change` makes of the default.
    fn refused(change: impl FnOnce(&mut CheckpointPolicy)) -> String {
        let mut policy = CheckpointPolicy::default();
        change(&mut policy);
        policy.check().expect_err("it is to be refused").to_string()
    }

    #[test]
    fn the_default_is_in_range() {
        CheckpointPolicy::default().check().expect("the default");
    }

    #[test]
    fn contradictions_are_refused_with_both_values() {
        let overlap = refused(|policy| {
            (policy.max_concurrent, policy.min_pause) = (2, Duration::from_secs(5));
        });
        assert!(overlap.contains("up to 2") && overlap.contains("5s"), "{overlap}");
        let pause = refused(|policy| policy.min_pause = Duration::from_secs(600));
        assert!(pause.contains("600s and their timeout 600s"), "{pause}");
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let zero = Duration::ZERO;
        assert!(refused(|policy| policy.interval = zero).contains("interval is 0ns"));
        assert!(refused(|policy| policy.timeout = zero).contains("timeout is 0ns"));
        assert!(refused(|policy| policy.max_concurrent = 0).contains("at least 1"));
        assert!(refused(|policy| policy.retain = 0).contains("not 0"));
    }
}
