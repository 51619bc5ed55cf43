//! The flags of a job: a clap group that a program flattens into its own parser.
//!
//! Each knob has its unit, default, reason and range in the docs of the method of
//! [`Job`](crate::Job) that sets it; what is said here is for `--help`.

use std::time::Duration;

use clap::{Args, ValueEnum};
use highwater_checkpoint::policy::{CheckpointMode, Retention};
use highwater_checkpoint::run::Restore;

use super::restart_args::RestartArgs;

/// What no flag says.
const AFTER_HELP: &str = "Exit codes:
  0    the job has finished, or was stopped by Ctrl-C or SIGTERM with a last checkpoint
  1    it has failed of something that a restart does not cure
  2    wrong flags, or flags that contradict each other
  3    it was started again as often as its restart strategy allows, and has failed again
  130  stopped at once, by a second Ctrl-C

HIGHWATER_LOG sets what is logged, such as debug or highwater_checkpoint=trace.";

/// How often a checkpoint is taken unless said.
const INTERVAL_DEFAULT: &str = "10s";

/// How often the job looks for requests unless said: a person waits for the answer.
const REQUEST_INTERVAL_DEFAULT: &str = "1s";

/// Checkpoints that are kept unless said: a damaged one is then no disaster.
const RETAIN_DEFAULT: usize = 3;

/// Failures in a row that are tolerated unless said: see [`Job`](crate::Job).
const TOLERABLE_DEFAULT: u32 = 3;

/// The flags of a job, each with an environment variable and a method of [`Job`](crate::Job).
///
/// ```
/// use clap::Parser;
/// use highwater::prelude::*;
///
/// #[derive(Parser)]
/// struct Args {
///     /// Files to read.
///     #[arg(long)]
///     input: String,
///     #[command(flatten)]
///     job: JobArgs,
/// }
///
/// let args = Args::parse_from(["wordcount", "--input", "books/*.txt", "-w", "2"]);
/// let job = Job::with_args("wordcount", args.job);
/// ```
#[derive(Args, Clone, Debug)]
#[command(after_help = AFTER_HELP)]
pub struct JobArgs {
    /// Number of worker threads
    #[arg(
        short,
        long,
        value_name = "N",
        default_value_t = 1,
        env = "HIGHWATER_WORKERS",
        value_parser = parse_workers,
        help_heading = "Running"
    )]
    pub workers: usize,

    /// No status line, no log and no summary: errors alone
    #[arg(short, long, env = "HIGHWATER_QUIET", help_heading = "Running")]
    pub quiet: bool,

    /// Where checkpoints go: a directory, or a URL such as <s3://bucket/path>
    ///
    /// A job that is started again with the same directory resumes from its newest checkpoint,
    /// whatever its number of workers. Without it nothing outlives the process.
    #[arg(
        long,
        value_name = "PATH|URL",
        env = "HIGHWATER_CHECKPOINT_DIR",
        help_heading = "Checkpoints"
    )]
    pub checkpoint_dir: Option<String>,

    /// Time from one checkpoint to the next, such as 100ms, 10s or 5min
    ///
    /// Output of exactly-once sinks appears at this interval.
    #[arg(
        long,
        value_name = "TIME",
        default_value = INTERVAL_DEFAULT,
        env = "HIGHWATER_CHECKPOINT_INTERVAL",
        value_parser = parse_positive_duration,
        help_heading = "Checkpoints"
    )]
    pub checkpoint_interval: Duration,

    /// What a restore may repeat: exactly-once, nothing; at-least-once, some records
    ///
    /// At least once no operator waits for the slowest of its inputs when an epoch ends, and what
    /// transactional sinks have committed may hold records that come again after a restore.
    #[arg(
        long,
        value_name = "MODE",
        default_value_t = CheckpointMode::ExactlyOnce,
        env = "HIGHWATER_CHECKPOINT_MODE",
        value_parser = parse_mode,
        help_heading = "Checkpoints"
    )]
    pub checkpoint_mode: CheckpointMode,

    /// Least time from the end of one checkpoint to the beginning of the next
    ///
    /// Must be shorter than the timeout, and 0 if several checkpoints may be under way.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "0s",
        env = "HIGHWATER_MIN_PAUSE_BETWEEN_CHECKPOINTS",
        value_parser = parse_duration,
        help_heading = "Checkpoints"
    )]
    pub min_pause_between_checkpoints: Duration,

    /// How long a checkpoint may take before it has failed, and its changes go into the next
    #[arg(
        long,
        value_name = "TIME",
        default_value = "10min",
        env = "HIGHWATER_CHECKPOINT_TIMEOUT",
        value_parser = parse_positive_duration,
        help_heading = "Checkpoints"
    )]
    pub checkpoint_timeout: Duration,

    /// How many checkpoints may be under way at once
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        env = "HIGHWATER_MAX_CONCURRENT_CHECKPOINTS",
        value_parser = at_least_one,
        help_heading = "Checkpoints"
    )]
    pub max_concurrent_checkpoints: usize,

    /// How many checkpoints in a row may fail before the job does, or unlimited
    ///
    /// A checkpoint has failed that took longer than the timeout, or that the store would not take.
    #[arg(
        long,
        value_name = "N",
        default_value_t = TOLERABLE_DEFAULT,
        env = "HIGHWATER_TOLERABLE_FAILED_CHECKPOINTS",
        value_parser = parse_limit,
        help_heading = "Checkpoints"
    )]
    pub tolerable_failed_checkpoints: u32,

    /// Number of completed checkpoints to keep
    #[arg(
        long,
        visible_alias = "num-retained",
        value_name = "N",
        default_value_t = RETAIN_DEFAULT,
        env = "HIGHWATER_RETAIN",
        value_parser = at_least_one,
        help_heading = "Checkpoints"
    )]
    pub retain: usize,

    /// What becomes of the checkpoints when the job is stopped: retain-on-cancellation or
    /// delete-on-cancellation
    ///
    /// Those of a job that failed, or whose input has ended, are retained in any case, and so are
    /// savepoints.
    #[arg(
        long,
        visible_alias = "on-cancel",
        value_name = "WHAT",
        default_value_t = Retention::RetainOnCancellation,
        env = "HIGHWATER_EXTERNALIZED_CHECKPOINT_RETENTION",
        value_parser = parse_retention,
        help_heading = "Checkpoints"
    )]
    pub externalized_checkpoint_retention: Retention,

    /// What to start from: latest, none, a checkpoint's id, a savepoint's name, or a path or URL
    ///
    /// `latest` is the newest checkpoint of this job, or a start afresh if there is none; `none` is
    /// always a start afresh. Digits are the id of a checkpoint of this job, and what begins with a
    /// letter is the name of a savepoint of this job. With a slash it is a path or URL: of a job's
    /// folder (its newest checkpoint), of a checkpoint in it, JOB/checkpoints/ID, or of a
    /// savepoint, wherever that is. What is restored from there is copied; the original is left
    /// alone. All but `latest` begin at that place again with every start.
    #[arg(
        long,
        value_name = "latest|none|ID|NAME|PATH|URL",
        default_value = "latest",
        env = "HIGHWATER_RESTORE",
        value_parser = parse_restore,
        help_heading = "Checkpoints"
    )]
    pub restore: Restore,

    /// Start though the checkpoint has state of operators that the program lacks, and drop it
    #[arg(long, env = "HIGHWATER_ALLOW_NON_RESTORED_STATE", help_heading = "Checkpoints")]
    pub allow_non_restored_state: bool,

    /// Say what would be restored, operator by operator, and change nothing
    ///
    /// The exit code is 0 if the job would start, and otherwise that of the error it would end with.
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "table",
        env = "HIGHWATER_DRY_RUN",
        help_heading = "Checkpoints"
    )]
    pub dry_run: Option<DryRun>,

    /// How often the job looks whether it is asked for a savepoint, or to stop
    #[arg(
        long,
        value_name = "TIME",
        default_value = REQUEST_INTERVAL_DEFAULT,
        env = "HIGHWATER_REQUEST_INTERVAL",
        value_parser = parse_positive_duration,
        help_heading = "Checkpoints"
    )]
    pub request_interval: Duration,

    #[allow(missing_docs)] // a doc comment would be the help of the group
    #[command(flatten)]
    pub restart: RestartArgs,
}

/// How a dry run says what it has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DryRun {
    /// A table, for people.
    Table,
    /// JSON, for programs.
    Json,
}

impl Default for JobArgs {
    fn default() -> Self {
        JobArgs {
            workers: 1,
            quiet: false,
            checkpoint_dir: None,
            checkpoint_interval: Duration::from_secs(10),
            checkpoint_mode: CheckpointMode::ExactlyOnce,
            min_pause_between_checkpoints: Duration::ZERO,
            checkpoint_timeout: Duration::from_secs(600),
            max_concurrent_checkpoints: 1,
            tolerable_failed_checkpoints: TOLERABLE_DEFAULT,
            retain: RETAIN_DEFAULT,
            externalized_checkpoint_retention: Retention::RetainOnCancellation,
            restore: Restore::Latest,
            dry_run: None,
            request_interval: Duration::from_secs(1),
            allow_non_restored_state: false,
            restart: RestartArgs::default(),
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("a whole number of at least 1".to_owned()),
        Ok(number) => Ok(number),
    }
}

fn parse_workers(text: &str) -> Result<usize, String> {
    let workers = at_least_one(text)?;
    // More threads than key groups would leave some without state for ever.
    if workers > 128 {
        Err("at most 128, the number of key groups".to_owned())
    } else {
        Ok(workers)
    }
}

pub(super) fn parse_limit(text: &str) -> Result<u32, String> {
    match text {
        "unlimited" => Ok(u32::MAX),
        text => text.parse().map_err(|_| "a whole number, or unlimited".to_owned()),
    }
}

fn parse_mode(text: &str) -> Result<CheckpointMode, String> {
    let modes = [CheckpointMode::ExactlyOnce, CheckpointMode::AtLeastOnce];
    let mode = modes.into_iter().find(|mode| mode.to_string() == text);
    mode.ok_or_else(|| "exactly-once or at-least-once".to_owned())
}

fn parse_retention(text: &str) -> Result<Retention, String> {
    match text {
        "retain" | "retain-on-cancellation" => Ok(Retention::RetainOnCancellation),
        "delete" | "delete-on-cancellation" => Ok(Retention::DeleteOnCancellation),
        _ => Err("retain-on-cancellation or delete-on-cancellation".to_owned()),
    }
}

/// Reads a time as people write it, such as `100ms`, `10s` or `5min`: a value parser for clap.
///
/// # Errors
///
/// What is wrong, and what it should look like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 100ms, 10s or 5min"))
}

pub(super) fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < Duration::from_millis(1) {
        return Err("at least 1ms".to_owned());
    }
    Ok(interval)
}

fn parse_restore(text: &str) -> Result<Restore, String> {
    text.parse().map_err(|error: highwater_checkpoint::Error| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::job::{RestartStrategy, RestartStrategyName};

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        job: JobArgs,
    }

    fn parse(args: &str) -> Result<JobArgs, clap::Error> {
        Ok(Program::try_parse_from(std::iter::once("p").chain(args.split_whitespace()))?.job)
    }

    #[test]
    fn flags_are_read_in_the_units_people_write() {
        let args = parse("-w 3 --checkpoint-interval 100ms --retain 5 --restore 42").unwrap();
        assert_eq!((args.workers, args.retain), (3, 5));
        assert_eq!(args.checkpoint_interval, Duration::from_millis(100));
        assert!(matches!(args.restore, Restore::Id(id) if id.0 == 42));
        assert_eq!(args.dry_run, None);
        assert_eq!(parse("--dry-run").unwrap().dry_run, Some(DryRun::Table));
        assert_eq!(parse("--dry-run=json").unwrap().dry_run, Some(DryRun::Json));
    }

    #[test]
    fn values_out_of_range_are_refused_with_the_rule() {
        for (args, says) in [
            ("-w 0", "at least 1"),
            ("-w 129", "at most 128"),
            ("--retain 0", "at least 1"),
            ("--checkpoint-interval 0s", "at least 1ms"),
            ("--checkpoint-interval soon", "100ms, 10s or 5min"),
            ("--restore 2026_11_21", "latest, none, the id"),
            ("--request-interval 0s", "at least 1ms"),
            ("--no-such-flag", "--no-such-flag"),
        ] {
            let error = parse(args).unwrap_err().to_string();
            assert!(error.contains(says), "{args}: {error}");
        }
    }

    const TESTS: &str = concat!(
        include_str!("../../tests/jobs/knobs/checkpoints.rs"),
        include_str!("../../tests/jobs/knobs/restarts.rs"),
        include_str!("../../tests/jobs/knobs/running.rs"),
    );

    #[test]
    fn every_method_that_sets_a_knob_has_a_test_of_its_name() {
        let mut methods = 0;
        for method in include_str!("mod.rs").split("    pub fn ").skip(1) {
            let signature = method.lines().next().unwrap_or_default();
            let Some((name, _)) = signature.split_once("(mut self") else { continue };
            assert!(TESTS.contains(&format!("\nfn {name}() {{")), "no test {name}");
            methods += 1;
        }
        assert!(methods >= 19, "{methods} methods");
    }

    #[test]
    fn every_flag_has_an_environment_variable_a_heading_a_method_and_a_test() {
        let methods = include_str!("mod.rs");
        let command = <Program as clap::CommandFactory>::command();
        let mut flags = 0;
        for arg in command.get_arguments().filter(|arg| arg.get_id() != "help") {
            let name = arg.get_id().as_str();
            let expected = format!("HIGHWATER_{}", name.to_uppercase());
            let variable = arg.get_env().and_then(|name| name.to_str()).map(str::to_owned);
            assert_eq!(variable, Some(expected), "{name}");
            assert!(arg.get_help_heading().is_some(), "{name}");
            let strategies = ["fixed_delay", "exponential_delay", "failure_rate"];
            let is_of_strategy = strategies.iter().any(|strategy| name.starts_with(strategy));
            let method = if is_of_strategy { "restart_strategy" } else { name };
            assert!(methods.contains(&format!("pub fn {method}(mut self")), "no method {method}");
            assert!(TESTS.contains(&format!("\nfn {name}() {{")), "no test {name}");
            flags += 1;
        }
        assert!(flags >= 24, "{flags} flags");
    }

    #[test]
    fn checkpoint_flags_are_read() {
        let args = parse(
            "--checkpoint-mode at-least-once --min-pause-between-checkpoints 5s \
             --checkpoint-timeout 1min --max-concurrent-checkpoints 2 \
             --tolerable-failed-checkpoints unlimited --num-retained 7 --on-cancel delete \
             --allow-non-restored-state",
        )
        .unwrap();
        assert_eq!(args.checkpoint_mode, CheckpointMode::AtLeastOnce);
        assert_eq!(args.min_pause_between_checkpoints, Duration::from_secs(5));
        assert_eq!(args.checkpoint_timeout, Duration::from_secs(60));
        assert_eq!(args.max_concurrent_checkpoints, 2);
        assert_eq!(args.tolerable_failed_checkpoints, u32::MAX);
        assert_eq!(args.retain, 7);
        assert_eq!(args.externalized_checkpoint_retention, Retention::DeleteOnCancellation);
        assert!(args.allow_non_restored_state);
    }

    #[test]
    fn restart_flags_make_a_strategy() {
        let strategy = |args: &str| {
            parse(args).unwrap().restart.strategy(RestartStrategyName::ExponentialDelay)
        };
        assert_eq!(strategy("").unwrap(), None);
        assert_eq!(strategy("--restart-strategy none").unwrap(), Some(RestartStrategy::None));
        let fixed =
            "--restart-strategy fixed-delay --fixed-delay-attempts 9 --fixed-delay-delay 2s";
        let delay = Duration::from_secs(2);
        let expected = RestartStrategy::FixedDelay { attempts: 9, delay };
        assert_eq!(strategy(fixed).unwrap(), Some(expected));
        // Parameters of the default need not name it.
        let jitter = strategy("--exponential-delay-jitter-factor 0.5").unwrap();
        assert!(
            matches!(jitter, Some(RestartStrategy::ExponentialDelay { jitter_factor: 0.5, .. })),
            "{jitter:?}"
        );
        let rate = "--restart-strategy failure-rate --failure-rate-delay 2s \
                    --failure-rate-failure-rate-interval 1h \
                    --failure-rate-max-failures-per-interval 4";
        let interval = Duration::from_secs(3600);
        let expected =
            RestartStrategy::FailureRate { max_failures_per_interval: 4, interval, delay };
        assert_eq!(strategy(rate).unwrap(), Some(expected));
    }

    #[test]
    fn the_help_says_the_exit_codes() {
        let mut command = <Program as clap::CommandFactory>::command();
        for help in [command.render_help(), command.render_long_help()] {
            let help = help.to_string();
            assert!(help.contains("3    it was started again as often as"), "{help}");
            assert!(help.contains("Restarts:") && help.contains("Checkpoints:"), "{help}");
        }
    }

    #[test]
    fn the_default_is_what_no_flags_give() {
        let (parsed, default) = (parse("").unwrap(), JobArgs::default());
        assert_eq!(format!("{parsed:?}"), format!("{default:?}"));
    }
}
