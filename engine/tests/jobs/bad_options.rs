//! Knobs that are out of range, or contradict each other, are refused before anything runs: the
//! error has the values and the rule, and neither the checkpoint directory nor the sink was touched.
//!
//! Method: jobs in this process. The directory must not come into being, and the dataflow must not
//! be built.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Parser;
use highwater::checkpoint::ErrorKind;
use highwater::checkpoint::metadata::CheckpointId;
use highwater::prelude::*;
use highwater::testing::VecSource;
use highwater::{CheckpointMode, RestartStrategy, Restore, Retention};

const S: Duration = Duration::from_secs(1);

/// Runs a job that must be refused with all of `says`.
#[track_caller]
fn refused(change: impl FnOnce(Job) -> Job, says: &[&str]) {
    refused_job(|directory| change(Job::new("refused").quiet().checkpoint_dir(directory)), says);
}

#[track_caller]
fn refused_job(job: impl FnOnce(String) -> Job, says: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let checkpoints = directory.path().join("checkpoints");
    let is_built = Arc::new(AtomicBool::new(false));
    let to_built = Arc::clone(&is_built);
    let outcome = job(checkpoints.display().to_string()).execute(move |flow| {
        to_built.store(true, Ordering::Relaxed);
        flow.source("numbers", VecSource::new(vec![1])).for_each(drop);
    });
    let error = outcome.expect_err("it contradicts itself");
    let text = format!("{error:?}");
    println!("Error: {text}");
    assert_eq!((error.kind(), error.exit_code()), (ErrorKind::Invalid, 2), "{text}");
    for part in says {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(!is_built.load(Ordering::Relaxed), "the dataflow was built: {text}");
    assert!(!checkpoints.exists(), "the store was touched: {text}");
}

/// As [`refused`], by the flags of a program.
#[track_caller]
fn refused_flags(flags: &str, says: &[&str]) {
    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        job: JobArgs,
    }
    let flags = std::iter::once("program").chain(flags.split_whitespace());
    let args = Program::try_parse_from(flags).unwrap().job;
    refused_job(
        |directory| {
            Job::with_args("refused", JobArgs { checkpoint_dir: Some(directory), ..args }).quiet()
        },
        says,
    );
}

#[test]
fn values_out_of_range() {
    refused(|job| job.workers(0), &["0 workers", "at least 1"]);
    refused(|job| job.workers(129), &["129 workers", "128 key groups"]);
    refused(|job| job.checkpoint_interval(Duration::ZERO), &["interval is 0ns", "at least 1ms"]);
    refused(|job| job.checkpoint_timeout(Duration::ZERO), &["timeout is 0ns", "at least 1ms"]);
    refused(|job| job.max_concurrent_checkpoints(0), &["0 concurrent", "at least 1"]);
    refused(|job| job.retain(0), &["at least 1 checkpoint must be retained, not 0"]);
}

#[test]
fn a_pause_as_long_as_the_timeout() {
    let change = |job: Job| job.min_pause_between_checkpoints(10 * S).checkpoint_timeout(10 * S);
    refused(change, &["pause between checkpoints is 10s", "timeout 10s", "must be shorter"]);
}

#[test]
fn a_pause_between_checkpoints_that_overlap() {
    let change = |job: Job| job.max_concurrent_checkpoints(2).min_pause_between_checkpoints(S);
    refused(change, &["up to 2 concurrent", "pause between checkpoints is 1s", "overlap"]);
}

#[test]
fn restarts_out_of_range() {
    let with = |strategy| move |job: Job| job.restart_strategy(strategy);
    let fixed = |attempts, delay| RestartStrategy::FixedDelay { attempts, delay };
    refused(with(fixed(0, S)), &["0 restarts", "at least 1"]);
    refused(with(fixed(1, Duration::ZERO)), &["fixed delay is 0ns", "at least 1ms"]);
    let exponential = |initial_backoff, backoff_multiplier, jitter_factor| {
        with(RestartStrategy::ExponentialDelay {
            initial_backoff,
            max_backoff: 5 * S,
            backoff_multiplier,
            jitter_factor,
            reset_backoff_threshold: S,
            attempts: 1,
        })
    };
    refused(exponential(6 * S, 2.0, 0.0), &["initial backoff is 6s", "maximum backoff 5s"]);
    refused(exponential(S, 1.0, 0.0), &["multiplier is 1", "above 1"]);
    refused(exponential(S, f64::NAN, 0.0), &["multiplier is NaN", "above 1"]);
    refused(exponential(S, 2.0, 1.5), &["jitter factor is 1.5", "from 0 to 1"]);
    let rate = |max_failures_per_interval, interval, delay| {
        with(RestartStrategy::FailureRate { max_failures_per_interval, interval, delay })
    };
    refused(rate(0, 60 * S, S), &["0 failures per interval", "at least 1"]);
    refused(rate(3, 30 * S, 10 * S), &["3 failures per 30s", "10s apart", "never be too many"]);
}

#[test]
fn parameters_of_another_strategy() {
    refused_flags(
        "--fixed-delay-attempts 5",
        &[
            "--fixed-delay-attempts is 5",
            "strategy is exponential-delay",
            "a parameter of fixed-delay",
        ],
    );
    refused_flags(
        "--restart-strategy none --exponential-delay-max-backoff 3s",
        &["--exponential-delay-max-backoff is 3s", "strategy is none"],
    );
    refused_flags(
        "--restart-strategy fixed-delay --failure-rate-delay 2s",
        &["--failure-rate-delay is 2s", "strategy is fixed-delay", "a parameter of failure-rate"],
    );
}

#[test]
fn knobs_of_checkpoints_without_checkpoints() {
    let without = |change: fn(Job) -> Job, says: &[&str]| {
        let says = [says, &["no checkpoint directory", "--checkpoint-dir"]].concat();
        refused_job(|_| change(Job::new("refused").quiet()), &says);
    };
    without(|job| job.restore(Restore::Id(CheckpointId(7))), &["--restore"]);
    without(|job| job.checkpoint_mode(CheckpointMode::AtLeastOnce), &["at-least-once"]);
    without(
        |job| job.externalized_checkpoint_retention(Retention::DeleteOnCancellation),
        &["delete-on-cancellation"],
    );
    without(Job::allow_non_restored_state, &["--allow-non-restored-state"]);
    without(
        |job| job.restart_strategy(RestartStrategy::fixed_delay()),
        &["fixed-delay: at most 1 restarts", "begin afresh"],
    );
}

#[test]
fn nothing_to_restore_and_state_to_drop() {
    refused(
        |job| job.restore(Restore::Nothing).allow_non_restored_state(),
        &["--restore none", "--allow-non-restored-state", "leave one of the two out"],
    );
}
