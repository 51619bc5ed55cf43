//! Running a job: arguments, workers, signals, the status line, the end.

mod args;
mod options;
mod report;
mod restart;
mod restart_args;
mod runtime;
mod signals;
#[cfg(feature = "testing")]
mod stepped;
mod stop;
mod supervise;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

pub use args::{DryRun, JobArgs, parse_duration};
pub use report::{Outcome, Summary};
pub use restart::RestartStrategy;
pub use restart_args::{RestartArgs, RestartStrategyName};
#[cfg(feature = "testing")]
pub use stepped::SteppedJob;

use highwater_checkpoint::metadata::SplitMetadata;
use highwater_checkpoint::policy::{CheckpointMode, CheckpointPolicy, Retention};
use highwater_checkpoint::run::{CheckpointReport, Restore, RestorePlan, Run};
use highwater_checkpoint::state::KeyGroups;
use highwater_checkpoint::store::{Location, RetryPolicy};
use restart::Restarts;
use stop::Stop;
use supervise::Supervisor;

use crate::error::{Error, Result};
use crate::event_time::Board;
use crate::metrics::Metrics;
use crate::stream::Flow;

/// What all workers of this process share during a run.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) run: Arc<Run>,
    /// Of all runs of the job in this process.
    pub(crate) metrics: Arc<Metrics>,
    so_far: SoFar,
    assignments: Mutex<BTreeMap<String, Vec<SplitMetadata>>>,
    /// Workers of this process that have built their dataflows.
    built: AtomicUsize,
    began_at: OnceLock<Instant>,
    pub(crate) event_time: Board,
}

/// What the runs of a job in this process have done that are over.
#[derive(Clone, Debug, Default)]
struct SoFar {
    restarts: u32,
    /// From each failure to the next first record.
    downtime: Duration,
    completed: u64,
    failed: u64,
    bytes_written: u64,
    stall_us_max: u64,
    durations_ms: Vec<u64>,
    last: Option<CheckpointReport>,
}

impl Shared {
    fn new(run: Arc<Run>, metrics: Arc<Metrics>, so_far: SoFar) -> Self {
        let (assignments, began_at) = (Mutex::default(), OnceLock::new());
        let (built, event_time) = (AtomicUsize::new(0), Board::default());
        Shared { run, metrics, so_far, assignments, built, began_at, event_time }
    }

    /// When everything was done that has to be done before the first record, if it was.
    fn began_at(&self) -> Option<Instant> {
        self.began_at.get().copied()
    }

    /// Sets the splits of source `uid`, before the first epoch begins.
    pub(crate) fn assign(&self, uid: &str, splits: Vec<SplitMetadata>) {
        let mut all = self.assignments.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(uid.to_owned(), splits);
    }

    /// The splits of source `uid`, once the first epoch has begun.
    pub(crate) fn assignment(&self, uid: &str) -> Vec<SplitMetadata> {
        let all = self.assignments.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(uid).cloned().unwrap_or_default()
    }
}

/// A dataflow and how to run it.
///
/// ```no_run
/// use highwater::prelude::*;
/// # use highwater::testing::VecSource;
///
/// fn main() -> highwater::Result<()> {
///     Job::from_args("shout")?.run(|flow| {
///         flow.source("words", VecSource::new(["a", "b"])).for_each(|word| println!("{word}!"));
///     })
/// }
/// ```
#[derive(Debug)]
#[must_use = "a job does nothing until it is run"]
pub struct Job {
    name: String,
    args: JobArgs,
    location: Option<Location>,
    retries: RetryPolicy,
    /// In place of what the flags say.
    restart: Option<RestartStrategy>,
    key_groups: KeyGroups,
    fold_bytes_min: u64,
    handles_signals: bool,
}

impl Job {
    /// A job with the defaults of all flags, which reads neither arguments nor the environment.
    ///
    /// `name` is the job's folder within the checkpoint directory: runs with the same name are
    /// runs of the same job.
    pub fn new(name: &str) -> Job {
        Job {
            name: name.to_owned(),
            args: JobArgs::default(),
            location: None,
            retries: RetryPolicy::default(),
            restart: None,
            key_groups: KeyGroups::default(),
            fold_bytes_min: CheckpointPolicy::default().fold_bytes_min,
            handles_signals: false,
        }
    }

    /// A job with the flags that the program was started with.
    ///
    /// `--help` and flags that are wrong end the process, as clap does it. Ctrl-C and SIGTERM stop
    /// the job.
    ///
    /// # Errors
    ///
    /// None today; the signature leaves room for configuration that can fail.
    pub fn from_args(name: &str) -> Result<Job> {
        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            job: JobArgs,
        }
        let command = <Program as clap::CommandFactory>::command().name(name.to_owned());
        let program = <Program as clap::FromArgMatches>::from_arg_matches(&command.get_matches());
        match program {
            Ok(program) => Ok(Job::with_args(name, program.job)),
            Err(error) => error.exit(),
        }
    }

    /// A job with flags that the program has parsed. Ctrl-C and SIGTERM stop the job.
    pub fn with_args(name: &str, args: JobArgs) -> Job {
        Job { args, handles_signals: true, ..Job::new(name) }
    }

    /// Sets the number of worker threads; `--workers`. *Default*: 1.
    pub fn workers(mut self, workers: usize) -> Job {
        self.args.workers = workers;
        self
    }

    /// Sets where checkpoints go, a path or a URL; `--checkpoint-dir`. *Default*: nowhere.
    pub fn checkpoint_dir(mut self, path_or_url: impl Into<String>) -> Job {
        self.args.checkpoint_dir = Some(path_or_url.into());
        self
    }

    /// Sets a store that the program has opened itself, in place of a directory.
    pub fn checkpoint_store(mut self, location: Location) -> Job {
        self.location = Some(location);
        self
    }

    /// Sets how long requests to the store are tried.
    pub fn store_retries(mut self, policy: RetryPolicy) -> Job {
        self.retries = policy;
        self
    }

    /// Sets the time from one checkpoint to the next; `--checkpoint-interval`.
    ///
    /// *Unit*: wall time. *Default*: 10 s: what a crash makes a job read again, and how late
    /// exactly-once output appears, against a cost that at 10 s is in the noise. *Range*: from 1 ms.
    pub fn checkpoint_interval(mut self, interval: Duration) -> Job {
        self.args.checkpoint_interval = interval;
        self
    }

    /// Sets what a restore may repeat; `--checkpoint-mode`.
    ///
    /// *Default*: exactly once. At least once no operator waits for the slowest of its inputs, and
    /// what sinks have committed may hold records that come again after a restore.
    pub fn checkpoint_mode(mut self, mode: CheckpointMode) -> Job {
        self.args.checkpoint_mode = mode;
        self
    }

    /// Sets the least time between the end of a checkpoint, complete or failed, and the beginning
    /// of the next; `--min-pause-between-checkpoints`.
    ///
    /// *Unit*: wall time. *Default*: 0: nothing stops while a checkpoint is taken. *Range*: below
    /// the timeout; 0 if several checkpoints may be under way.
    pub fn min_pause_between_checkpoints(mut self, pause: Duration) -> Job {
        self.args.min_pause_between_checkpoints = pause;
        self
    }

    /// Sets how long a checkpoint may take before it has failed, and its changes go into the next;
    /// `--checkpoint-timeout`.
    ///
    /// *Unit*: wall time. *Default*: 10 min, Flink's: what takes longer than 60 intervals is stuck.
    /// *Range*: from 1 ms.
    pub fn checkpoint_timeout(mut self, timeout: Duration) -> Job {
        self.args.checkpoint_timeout = timeout;
        self
    }

    /// Sets how many checkpoints may be under way at once; `--max-concurrent-checkpoints`.
    ///
    /// *Default*: 1, so that the store is not asked for more than it can take. *Range*: from 1.
    pub fn max_concurrent_checkpoints(mut self, checkpoints: usize) -> Job {
        self.args.max_concurrent_checkpoints = checkpoints;
        self
    }

    /// Sets how many checkpoints in a row may fail before the job does;
    /// `--tolerable-failed-checkpoints`.
    ///
    /// *Default*: 3: a store that is away for some minutes is no reason to begin again, one that
    /// stays away must not go unnoticed. *Range*: any; `u32::MAX` for no limit.
    pub fn tolerable_failed_checkpoints(mut self, checkpoints: u32) -> Job {
        self.args.tolerable_failed_checkpoints = checkpoints;
        self
    }

    /// Sets how many completed checkpoints are kept; `--retain`.
    ///
    /// *Default*: 3: a damaged one is no disaster then. *Range*: from 1.
    pub fn retain(mut self, checkpoints: usize) -> Job {
        self.args.retain = checkpoints;
        self
    }

    /// Sets how large an operator's segments may be together before what is void among them is a
    /// reason to fold them.
    ///
    /// *Unit*: bytes. *Default*: 1 MiB: to read less void bytes takes no longer than a request, and
    /// a fold is one. *Range*: any.
    pub fn fold_bytes_min(mut self, bytes: u64) -> Job {
        self.fold_bytes_min = bytes;
        self
    }

    /// Sets what becomes of the checkpoints when the job is stopped;
    /// `--externalized-checkpoint-retention`.
    ///
    /// *Default*: they are retained: who stops a job mostly starts it again. Those of a job that
    /// failed or whose input has ended are retained in any case.
    pub fn externalized_checkpoint_retention(mut self, retention: Retention) -> Job {
        self.args.externalized_checkpoint_retention = retention;
        self
    }

    /// Lets the job start though its checkpoint has state of operators that the program lacks: it
    /// is dropped, and the log says how much; `--allow-non-restored-state`.
    ///
    /// *Default*: no: an operator whose uid was mistyped would lose its state.
    pub fn allow_non_restored_state(mut self) -> Job {
        self.args.allow_non_restored_state = true;
        self
    }

    /// Sets what to do when the job fails; `--restart-strategy` and its parameters.
    ///
    /// *Default*: exponential delay for a job with checkpoints, none for one without.
    pub fn restart_strategy(mut self, strategy: RestartStrategy) -> Job {
        self.restart = Some(strategy);
        self
    }

    /// Sets what to start from; `--restore`. *Default*: the newest checkpoint.
    pub fn restore(mut self, restore: Restore) -> Job {
        self.args.restore = restore;
        self
    }

    /// Only says what would be restored, and changes nothing; `--dry-run`. See
    /// [`plan`](Job::plan) for the same as a value.
    pub fn dry_run(mut self, format: DryRun) -> Job {
        self.args.dry_run = Some(format);
        self
    }

    /// Sets how often the job looks whether it is asked for a savepoint, or to stop;
    /// `--request-interval`.
    ///
    /// *Unit*: wall time, at least 1 ms. *Default*: 1 s, for a person who waits. Each look is one
    /// list request to the store.
    pub fn request_interval(mut self, interval: Duration) -> Job {
        self.args.request_interval = interval;
        self
    }

    /// Sets the number of key groups: fixed for the job's life, the most workers it can ever use.
    ///
    /// *Default*: 128, Flink's; plenty for one machine.
    pub fn key_groups(mut self, key_groups: KeyGroups) -> Job {
        self.key_groups = key_groups;
        self
    }

    /// No status line, no log and no summary; `--quiet`.
    pub fn quiet(mut self) -> Job {
        self.args.quiet = true;
        self
    }

    /// Runs the dataflow that `build` makes, until its input ends or it is stopped.
    ///
    /// `build` is called once on each worker, for each [restart](RestartStrategy) again, and must
    /// make the same dataflow each time.
    ///
    /// A job that was made of the program's flags ends the process itself where the error has an
    /// [exit code](Error::exit_code) of its own.
    ///
    /// # Errors
    ///
    /// Whatever stops the job before that; [`Error::kind`] says what can be done about it.
    pub fn run<F>(self, build: F) -> Result<()>
    where
        F: for<'scope> Fn(&Flow<'scope>) + Send + Sync + 'static,
    {
        let is_silent = self.args.quiet || self.args.dry_run.is_some();
        let is_program = self.handles_signals;
        match self.execute(build) {
            Ok(summary) => {
                if !is_silent {
                    report::show(&summary);
                }
                Ok(())
            }
            Err(error) if is_program && error.exit_code() != 1 => {
                eprintln!("Error: {error:?}");
                std::process::exit(error.exit_code());
            }
            Err(error) => Err(error),
        }
    }

    /// As [`run`](Job::run), and returns what the job has done rather than print it.
    ///
    /// # Errors
    ///
    /// As [`run`](Job::run).
    pub fn execute<F>(self, build: F) -> Result<Summary>
    where
        F: for<'scope> Fn(&Flow<'scope>) + Send + Sync + 'static,
    {
        #[cfg(feature = "mimalloc")]
        crate::keep_freed_memory();
        if !self.args.quiet {
            report::log_to_stderr();
        }
        if let Some(format) = self.args.dry_run {
            let shared = self.build_to_plan(build)?;
            let plan = planned(&shared);
            report::show_plan(&plan, format)?;
            plan.check()?;
            return Ok(Summary::of_dry_run(&shared));
        }
        let (options, strategy) = self.options()?;
        let stop = Arc::new(Stop::default());
        let listen = || signals::listen(Arc::clone(&stop));
        let listener = self.handles_signals.then(listen).transpose();
        let _listener = listener.map_err(|error| Error::Start(error.to_string()))?;
        let supervisor = Supervisor {
            options,
            restarts: Restarts::new(strategy),
            build: Arc::new(build),
            stop,
            quiet: self.args.quiet,
            metrics: Arc::default(),
            so_far: SoFar::default(),
            last: None,
            has_begun: false,
            newest: None,
            down_since: None,
        };
        supervisor.run()
    }

    /// What the job would restore if it were run, operator by operator; `--dry-run`.
    ///
    /// Builds the dataflow and does not run it. Nothing changes in the store, whatever there is.
    ///
    /// # Errors
    ///
    /// What would keep the job from coming so far as to compare: a checkpoint that is not there or
    /// is damaged, two operators with one uid. That the program does not fit is
    /// [`RestorePlan::check`]'s to say.
    pub fn plan<F>(self, build: F) -> Result<RestorePlan>
    where
        F: for<'scope> Fn(&Flow<'scope>) + Send + Sync + 'static,
    {
        self.build_to_plan(build).map(|shared| planned(&shared))
    }

    fn build_to_plan<F>(mut self, build: F) -> Result<Arc<Shared>>
    where
        F: for<'scope> Fn(&Flow<'scope>) + Send + Sync + 'static,
    {
        if let (None, Some(text)) = (&self.location, &self.args.checkpoint_dir) {
            // To parse it for a run would make the directory.
            let there = Location::existing(text)?;
            self.location = Some(there.unwrap_or_else(Location::memory));
        }
        let run = Run::open_to_plan(self.options()?.0)?;
        let shared = Arc::new(Shared::new(run, Arc::default(), SoFar::default()));
        runtime::run_workers(&shared, Arc::new(build))?;
        Ok(shared)
    }
}

fn planned(shared: &Shared) -> RestorePlan {
    shared.run.plan().expect("the run was opened to plan")
}
