//! What a person sees of a job: one live line in a terminal, log lines elsewhere, and a summary.

#![expect(clippy::disallowed_methods, reason = "shows rates and ages to people")]

use std::collections::BTreeMap;
use std::fmt;
use std::io::{IsTerminal, Write as _};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use highwater_checkpoint::run::{CheckpointReport, RestorePlan, StateSize};
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};

use super::{DryRun, Shared, SoFar};
use crate::error::{Error, Result};
use crate::metrics::{LateRecords, Metrics};

/// How often the live line is redrawn.
const LINE_EVERY: Duration = Duration::from_millis(250);

/// How often a log line is written where there is no terminal.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// All input was read and all output committed.
    Finished,
    /// It was asked to stop, and resumes from its last checkpoint.
    Stopped,
    /// It was asked to end as if its input had: windows have fired, totals were emitted.
    Drained,
    /// It was not run: a dry run has said what would be restored.
    DryRun,
    /// There was nothing to do: the restored checkpoint was taken after the end of the input.
    HadFinished,
}

/// What a job has done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// Name of the job.
    pub job: String,
    /// How it ended.
    pub outcome: Outcome,
    /// From the start of the run to its end.
    pub elapsed: Duration,
    /// How many times it was started again after a failure.
    pub restarts: u32,
    /// From each failure to the next beginning, added up.
    pub downtime: Duration,
    /// Records that sources have emitted, with those that were read again after a restart.
    pub records_in: u64,
    /// Bytes that sources have read, as far as they count them.
    pub bytes_in: u64,
    /// Records that sinks have been given, with those that were made again after a restart.
    pub records_out: u64,
    /// Records that sources have skipped as unreadable.
    pub skipped: u64,
    /// Records that came behind the watermark, by the uid of the operator, with those that came again
    /// after a restart.
    pub late: BTreeMap<String, LateRecords>,
    /// Checkpoints completed.
    pub checkpoints: u64,
    /// Bytes that they added to the store.
    pub checkpoint_bytes: u64,
    /// Checkpoints that took too long or could not be written; each is part of a later one.
    pub failed_checkpoints: u64,
    /// Durations of the checkpoints in their order.
    pub checkpoint_durations: Vec<Duration>,
    /// The longest time that a seal kept a worker at one go.
    pub stall_max: Duration,
    /// Keyed state at the end.
    pub state: StateSize,
    /// The newest checkpoint.
    pub last_checkpoint: Option<CheckpointReport>,
}

impl Summary {
    pub(super) fn of(
        job: &str,
        outcome: Outcome,
        elapsed: Duration,
        metrics: &Metrics,
        state: StateSize,
        so_far: &SoFar,
    ) -> Summary {
        Summary {
            job: job.to_owned(),
            outcome,
            elapsed,
            restarts: so_far.restarts,
            downtime: so_far.downtime,
            records_in: metrics.records_in(),
            bytes_in: metrics.bytes_in(),
            records_out: metrics.records_out(),
            skipped: metrics.skipped(),
            late: metrics.late(),
            checkpoints: so_far.completed,
            failed_checkpoints: so_far.failed,
            checkpoint_bytes: so_far.bytes_written,
            checkpoint_durations: so_far
                .durations_ms
                .iter()
                .map(|ms| Duration::from_millis(*ms))
                .collect(),
            stall_max: Duration::from_micros(so_far.stall_us_max),
            state,
            last_checkpoint: so_far.last,
        }
    }

    /// Of a job that was built and not run.
    pub(super) fn of_dry_run(shared: &Shared) -> Summary {
        let (metrics, state) = (&shared.metrics, StateSize::default());
        let (outcome, job) = (Outcome::DryRun, shared.run.job());
        Summary::of(job, outcome, Duration::ZERO, metrics, state, &SoFar::default())
    }

    fn rate(&self, records: u64) -> HumanCount {
        HumanCount((records as f64 / self.elapsed.as_secs_f64().max(1e-3)) as u64)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { job, elapsed, records_in, records_out, .. } = self;
        let seconds = elapsed.as_secs_f64();
        let resumes = self.last_checkpoint.map(|last| format!(" from checkpoint {}", last.id));
        match self.outcome {
            Outcome::Finished => write!(f, "{job} finished in {seconds:.2} s")?,
            Outcome::Stopped => match resumes {
                Some(resumes) => {
                    write!(f, "{job} stopped after {seconds:.2} s; it resumes{resumes}")?;
                }
                None => write!(f, "{job} stopped after {seconds:.2} s, without a checkpoint")?,
            },
            Outcome::Drained => {
                write!(f, "{job} was drained after {seconds:.2} s")?;
                if let Some(last) = self.last_checkpoint {
                    write!(f, "; it resumes only by --restore {}", last.id)?;
                }
            }
            Outcome::DryRun => return write!(f, "{job} was not run"),
            Outcome::HadFinished => {
                return write!(
                    f,
                    "{job} had finished before: nothing is left to do. To run it again use \
                     another checkpoint directory, or --restore none"
                );
            }
        }
        write!(
            f,
            "\n  in   {} records ({}/s), {}",
            HumanCount(*records_in),
            self.rate(*records_in),
            HumanBytes(self.bytes_in)
        )?;
        write!(f, "\n  out  {} records ({}/s)", HumanCount(*records_out), self.rate(*records_out))?;
        if self.state.entries > 0 {
            let StateSize { entries, bytes } = self.state;
            write!(f, "\n  state  {} keys, {}", HumanCount(entries), HumanBytes(bytes))?;
        }
        if self.skipped > 0 {
            write!(f, "\n  skipped  {} unreadable records", HumanCount(self.skipped))?;
        }
        for (uid, late) in &self.late {
            write!(f, "\n  late  {late} at {uid:?}")?;
        }
        if self.restarts > 0 {
            let (restarts, downtime) = (self.restarts, self.downtime.as_secs_f64());
            write!(f, "\n  restarts  {restarts}, down for {downtime:.1} s")?;
        }
        if self.failed_checkpoints > 0 {
            let failed = self.failed_checkpoints;
            write!(f, "\n  failed checkpoints  {failed}, each part of a later one")?;
        }
        if self.checkpoints > 0 {
            let mut sorted = self.checkpoint_durations.clone();
            sorted.sort_unstable();
            let median = sorted[sorted.len() / 2].as_millis();
            let longest = sorted[sorted.len() - 1].as_millis();
            write!(
                f,
                "\n  checkpoints  {}, {}, median {median} ms, longest {longest} ms, longest stall \
                 {:.1} ms",
                self.checkpoints,
                HumanBytes(self.checkpoint_bytes),
                self.stall_max.as_secs_f64() * 1e3
            )?;
        }
        Ok(())
    }
}

/// Says what a job has done: to a person at a terminal, or to the log.
pub(super) fn show(summary: &Summary) {
    if std::io::stderr().is_terminal() {
        eprintln!("{summary}");
    } else {
        summary.to_string().lines().for_each(|line| tracing::info!("{}", line.trim_end()));
    }
}

/// Says what would be restored, on the standard output: it is what was asked for.
pub(super) fn show_plan(plan: &RestorePlan, format: DryRun) -> Result<()> {
    let text = match format {
        DryRun::Table => plan.to_string(),
        DryRun::Json => serde_json::to_string_pretty(plan)
            .map_err(|error| Error::Invalid(format!("the plan is not JSON: {error}")))?,
    };
    writeln!(std::io::stdout(), "{text}")
        .map_err(|error| Error::Start(format!("the plan could not be printed: {error}")))
}

/// Shows the job's progress until it is dropped.
pub(super) struct Reporter {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Reporter> {
        let (stop, stopped) = channel::<()>();
        let is_terminal = std::io::stderr().is_terminal();
        let every = if is_terminal { LINE_EVERY } else { LOG_EVERY };
        let mut line = is_terminal.then(new_line);
        let report = move || {
            let mut last = Sample::take(&shared);
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(every) {
                let now = Sample::take(&shared);
                let text = describe(&shared, &last, &now);
                if let Some(line) = &mut line {
                    line.set_message(text);
                    line.tick();
                } else {
                    tracing::info!("{text}");
                }
                last = now;
            }
            if let Some(line) = line {
                line.finish_and_clear();
            }
        };
        let name = "highwater-report".to_owned();
        let thread = std::thread::Builder::new().name(name).spawn(report)?;
        Ok(Reporter { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell but that it panicked, which the panic has said.
            let _ = thread.join();
        }
    }
}

fn new_line() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg}");
    let line = ProgressBar::new_spinner();
    line.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    line
}

struct Sample {
    at: Instant,
    records_in: u64,
    records_out: u64,
}

impl Sample {
    fn take(shared: &Shared) -> Sample {
        Sample {
            at: Instant::now(),
            records_in: shared.metrics.records_in(),
            records_out: shared.metrics.records_out(),
        }
    }
}

fn describe(shared: &Shared, last: &Sample, now: &Sample) -> String {
    let seconds = now.at.duration_since(last.at).as_secs_f64().max(1e-3);
    let rate = |now: u64, last: u64| HumanCount(((now - last) as f64 / seconds) as u64);
    let mut text = format!(
        "in {}/s  out {}/s  epoch {}",
        rate(now.records_in, last.records_in),
        rate(now.records_out, last.records_out),
        shared.run.status().epoch().0
    );
    if let Some(progress) = shared.metrics.progress() {
        text = format!("{:5.1} %  {text}", progress * 100.0);
    }
    if let Some(checkpoint) = shared.run.status().last() {
        let now_ms = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |now| now.as_millis() as u64);
        let age = now_ms.saturating_sub(checkpoint.completed_ms) as f64 / 1e3;
        let (id, bytes) = (checkpoint.id, HumanBytes(checkpoint.bytes_written));
        let duration_ms = checkpoint.duration_ms;
        text = format!("{text}  checkpoint {id} {age:.1} s ago, {bytes}, {duration_ms} ms");
    }
    let failed = shared.so_far.failed + shared.run.status().failed();
    for (count, what) in [(failed, "failed"), (shared.so_far.restarts.into(), "restarts")] {
        if count > 0 {
            text = format!("{text}  {what} {count}");
        }
    }
    text
}

/// Sends log lines to stderr, unless the program has a subscriber of its own.
pub(super) fn log_to_stderr() {
    // The live line is the terminal's: there only what goes wrong is logged beside it.
    let level = if std::io::stderr().is_terminal() { "warn" } else { "info" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("HIGHWATER_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // An error says that there is one already, which is as good.
    let _ = subscriber.try_init();
}
