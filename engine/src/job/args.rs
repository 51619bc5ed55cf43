//! The flags of a job: a clap group that a program flattens into its own parser.

use std::time::Duration;

use clap::{Args, ValueEnum};
use highwater_checkpoint::run::Restore;

/// How often a checkpoint is taken unless said.
const INTERVAL_DEFAULT: &str = "10s";

/// How often the job looks for requests unless said: a person waits for the answer.
const REQUEST_INTERVAL_DEFAULT: &str = "1s";

/// Checkpoints that are kept unless said: a damaged one is then no disaster.
const RETAIN_DEFAULT: usize = 3;

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
        value_parser = parse_interval,
        help_heading = "Checkpoints"
    )]
    pub checkpoint_interval: Duration,

    /// Number of completed checkpoints to keep
    #[arg(
        long,
        value_name = "N",
        default_value_t = RETAIN_DEFAULT,
        env = "HIGHWATER_RETAIN",
        value_parser = parse_retain,
        help_heading = "Checkpoints"
    )]
    pub retain: usize,

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
        value_parser = parse_interval,
        help_heading = "Checkpoints"
    )]
    pub request_interval: Duration,
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
            retain: RETAIN_DEFAULT,
            restore: Restore::Latest,
            dry_run: None,
            request_interval: Duration::from_secs(1),
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

fn parse_retain(text: &str) -> Result<usize, String> {
    at_least_one(text)
}

/// Reads a time as people write it, such as `100ms`, `10s` or `5min`: a value parser for clap.
///
/// # Errors
///
/// What is wrong, and what it should look like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 100ms, 10s or 5min"))
}

fn parse_interval(text: &str) -> Result<Duration, String> {
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

    #[test]
    fn the_default_is_what_no_flags_give() {
        let (parsed, default) = (parse("").unwrap(), JobArgs::default());
        assert_eq!(format!("{parsed:?}"), format!("{default:?}"));
    }
}
