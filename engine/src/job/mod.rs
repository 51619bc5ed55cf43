//! Running a job: arguments, workers, signals, the status line, the end.

#![expect(clippy::disallowed_methods, reason = "measures how long the job takes")]

mod args;
mod report;
mod runtime;
mod signals;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use args::{DryRun, JobArgs, parse_duration};
pub use report::{Outcome, Summary};

use highwater_checkpoint::metadata::SplitMetadata;
use highwater_checkpoint::policy::CheckpointPolicy;
use highwater_checkpoint::run::{Restore, RestorePlan, Run, RunOptions};
use highwater_checkpoint::state::KeyGroups;
use highwater_checkpoint::store::{BlobStore, Location, RetryPolicy};

use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::stream::Flow;

/// What all workers of this process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) run: Arc<Run>,
    pub(crate) metrics: Arc<Metrics>,
    assignments: Mutex<BTreeMap<String, Vec<SplitMetadata>>>,
}

impl Shared {
    pub(crate) fn new(run: Arc<Run>) -> Self {
        Shared { run, metrics: Arc::default(), assignments: Mutex::default() }
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
    policy: RetryPolicy,
    key_groups: KeyGroups,
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
            policy: RetryPolicy::default(),
            key_groups: KeyGroups::default(),
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
        self.policy = policy;
        self
    }

    /// Sets the time from one checkpoint to the next; `--checkpoint-interval`.
    ///
    /// *Unit*: wall time, at least 1 ms. *Default*: 10 s: what a crash makes a job read again, and
    /// how late exactly-once output appears, against a cost that at 10 s is in the noise.
    pub fn checkpoint_interval(mut self, interval: Duration) -> Job {
        self.args.checkpoint_interval = interval;
        self
    }

    /// Sets how many completed checkpoints are kept; `--retain`. *Default*: 3. *Range*: from 1.
    pub fn retain(mut self, checkpoints: usize) -> Job {
        self.args.retain = checkpoints;
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
    /// `build` is called once on each worker and must make the same dataflow on each.
    ///
    /// # Errors
    ///
    /// Whatever stops the job before that; [`Error::kind`] says what can be done about it.
    pub fn run<F>(self, build: F) -> Result<()>
    where
        F: for<'scope> Fn(&Flow<'scope>) + Send + Sync + 'static,
    {
        let is_silent = self.args.quiet || self.args.dry_run.is_some();
        let summary = self.execute(build)?;
        if !is_silent {
            report::show(&summary);
        }
        Ok(())
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
        if !self.args.quiet {
            report::log_to_stderr();
        }
        let started = Instant::now();
        if let Some(format) = self.args.dry_run {
            let shared = self.build_to_plan(build)?;
            let plan = planned(&shared);
            report::show_plan(&plan, format)?;
            plan.check()?;
            return Ok(Summary::of(&shared, started.elapsed()));
        }
        let run = Run::open(self.options()?)?;
        if let Some(id) = run.restored() {
            tracing::info!(checkpoint = id.0, epoch = run.start().epoch.0, "restored");
        }
        let shared = Arc::new(Shared::new(run));
        let start = |error: std::io::Error| Error::Start(error.to_string());
        let listen = || signals::listen(Arc::clone(&shared.run));
        let _signals = self.handles_signals.then(listen).transpose().map_err(start)?;
        let report = || report::Reporter::start(Arc::clone(&shared));
        let reporter = (!self.args.quiet).then(report).transpose().map_err(start)?;
        let outcome = runtime::run_workers(&shared, Arc::new(build));
        drop(reporter);
        shared.run.withdraw_unless_begun();
        outcome.map(|()| Summary::of(&shared, started.elapsed()))
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
        let run = Run::open_to_plan(self.options()?)?;
        let shared = Arc::new(Shared::new(run));
        runtime::run_workers(&shared, Arc::new(build))?;
        Ok(shared)
    }

    fn options(&self) -> Result<RunOptions> {
        if self.name.is_empty() {
            return Err(Error::Invalid("a job needs a name".to_owned()));
        }
        if self.args.workers > usize::from(self.key_groups.count()) {
            return Err(Error::Invalid(format!(
                "{} workers are more than the {} key groups of the job: some could never hold a key",
                self.args.workers,
                self.key_groups.count()
            )));
        }
        let location = match (&self.location, &self.args.checkpoint_dir) {
            (Some(location), _) => Some(location.clone()),
            (None, Some(text)) => Some(Location::parse(text)?),
            (None, None) => None,
        };
        let store = |location| BlobStore::new(location, &self.name).retry_policy(self.policy);
        Ok(RunOptions {
            job: self.name.clone(),
            workers: self.args.workers,
            key_groups: self.key_groups,
            store: location.map(store),
            policy: CheckpointPolicy {
                interval: self.args.checkpoint_interval,
                retain: self.args.retain,
                tolerable_failures: u32::MAX,
                ..CheckpointPolicy::default()
            },
            restore: self.args.restore.clone(),
            allow_non_restored_state: false,
            request_interval: self.args.request_interval,
            bytes_in_flight_max: highwater_checkpoint::run::BYTES_IN_FLIGHT_MAX,
        })
    }
}

fn planned(shared: &Shared) -> RestorePlan {
    shared.run.plan().expect("the run was opened to plan")
}
