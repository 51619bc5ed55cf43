//! What children run: the job of `restore`, which counts keys, and what it is compared with. Each marks
//! how far it has come.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::checkpoint::run::Run;
use highwater::{Flow, Job};
use highwater_connectors::generator::GeneratorSource;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use crate::by_hand::numbered;
use crate::child::mark;
use crate::draws::mix;
use crate::keyed_count::counted;
use crate::restore::JOB;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to run
    #[arg(long, value_enum)]
    program: Program,

    /// Worker threads
    #[arg(long, default_value_t = 2)]
    workers: usize,

    /// Different keys
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,

    /// Where checkpoints go and come from
    #[arg(long)]
    dir: Option<PathBuf>,

    /// Go on after the first record, with a checkpoint each second, until killed
    #[arg(long)]
    goes_on: bool,

    /// Fail once, soon after the first record
    #[arg(long)]
    fails: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Program {
    /// Nothing but the beginning of a process
    Nothing,
    /// The dataflow written by hand
    Timely,
    /// The engine
    Engine,
}

/// Set when `main` is there.
pub(crate) const MAIN: &str = "main";
/// Set when the job asks for its dataflow, and when it has it, on worker 0.
pub(crate) const FLOW: &str = "flow";
pub(crate) const BUILT: &str = "built";
/// Set when the first record is at the end of the dataflow.
pub(crate) const FIRST: &str = "first";
/// Set when all keys are in a checkpoint.
pub(crate) const SAVED: &str = "saved";
/// Set before the job fails.
pub(crate) const FAILS: &str = "fails";

impl Args {
    /// What to start a child with.
    pub(crate) fn line(program: Program, workers: usize, keys: u64) -> Vec<String> {
        let program = match program {
            Program::Nothing => "nothing",
            Program::Timely => "timely",
            Program::Engine => "engine",
        };
        let line = format!("counting --program {program} --workers {workers} --keys {keys}");
        line.split(' ').map(String::from).collect()
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    mark(MAIN);
    match args.program {
        Program::Nothing => Ok(()),
        Program::Timely => timely(args),
        Program::Engine => engine(args),
    }
}

fn engine(args: &Args) -> Result<()> {
    let mut job = Job::new(JOB).workers(args.workers).quiet();
    job = job.checkpoint_interval(Duration::from_secs(1));
    if let Some(dir) = &args.dir {
        job = job.checkpoint_dir(dir.to_string_lossy());
    }
    if args.fails {
        let (attempts, delay) = (1, Duration::from_millis(1));
        job = job.restart_strategy(highwater::RestartStrategy::FixedDelay { attempts, delay });
    }
    let (keys, goes_on) = (args.keys, args.goes_on);
    let fails = Arc::new(AtomicBool::new(args.fails));
    job.execute(move |flow| {
        let is_told = flow.scope().index() == 0;
        if is_told {
            mark(FLOW);
        }
        let mut milestones = Milestones::new(flow, keys, goes_on, &fails);
        let source = GeneratorSource::endless(move |i| mix(i % keys));
        let source = source.splits(flow.scope().peers() as u64);
        let counted = flow.source("keys", source).key_by(|key| *key).count("state");
        if is_told {
            mark(BUILT);
        }
        counted.for_each(move |_| milestones.record());
    })?;
    Ok(())
}

/// Marks how far the job has come.
struct Milestones {
    run: Arc<Run>,
    records: u64,
    keys: u64,
    goes_on: bool,
    /// Whether it is to fail, which it does once in the process.
    fails: Arc<AtomicBool>,
    /// Checkpoints that were complete when all keys were there.
    filled_at: Option<u64>,
    is_saved: bool,
}

impl Milestones {
    fn new(flow: &Flow<'_>, keys: u64, goes_on: bool, fails: &Arc<AtomicBool>) -> Milestones {
        let (run, fails) = (Arc::clone(flow.checkpoints().run()), Arc::clone(fails));
        Milestones { run, records: 0, keys, goes_on, fails, filled_at: None, is_saved: false }
    }

    #[inline]
    fn record(&mut self) {
        if self.records.is_multiple_of(1024) {
            self.look();
        }
        self.records += 1;
    }

    /// Looks how far the job is; at the first record as well.
    fn look(&mut self) {
        if self.records == 0 {
            mark(FIRST);
            if !self.goes_on {
                std::process::exit(0);
            }
        }
        let completed = self.run.status().completed();
        if self.filled_at.is_none() && self.run.status().state().entries >= self.keys {
            self.filled_at = Some(completed);
        }
        // One may have been under way, with keys missing.
        if !self.is_saved && self.filled_at.is_some_and(|filled_at| completed > filled_at + 1) {
            self.is_saved = true;
            if self.fails.swap(false, Ordering::Relaxed) {
                mark(FAILS);
                panic!("fails as it was told to");
            }
            mark(SAVED);
        }
    }
}

fn timely(args: &Args) -> Result<()> {
    let config = match args.workers {
        1 => timely::Config::thread(),
        workers => timely::Config::process(workers),
    };
    let keys = args.keys;
    let guards = timely::execute(config, move |worker| {
        let is_told = worker.index() == 0;
        if is_told {
            mark(FLOW);
        }
        worker.dataflow::<u64, _, _>(|scope| {
            // More than it will come to.
            let counts = counted(numbered(scope, u64::MAX / 2, move |i| mix(i % keys)));
            counts.sink(Pipeline, "First", move |(input, _)| {
                input.for_each(|_, _| {
                    mark(FIRST);
                    std::process::exit(0);
                });
            });
        });
        if is_told {
            mark(BUILT);
        }
    })?;
    for outcome in guards.join() {
        outcome?;
    }
    Ok(())
}
