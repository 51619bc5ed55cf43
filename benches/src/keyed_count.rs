//! `keyed-count`: generated `u64` keys, exchanged, counted by key, discarded.
//!
//! The engine without checkpoints, the engine with them, and the dataflow that a good timely
//! programmer writes (hashbrown, foldhash, mimalloc) alternate in one process. All three generate
//! the same keys as part of the job, and their digests must agree.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater::{Job, Summary};
use highwater_connectors::generator::GeneratorSource;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Operator;
use timely::dataflow::operators::generic::OutputBuilderSession;
use timely::dataflow::operators::generic::operator::source;

use crate::machine;
use crate::mix::mix;
use crate::report::{median, spread};

type Counts = hashbrown::HashMap<u64, u64, foldhash::fast::FixedState>;
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Records that the hand-written source emits in one scheduling.
const TIMELY_BATCH: u64 = 8192;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Records of a run
    #[arg(long, default_value_t = 300_000_000)]
    records: u64,

    /// Different keys, uniformly drawn
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,

    /// Worker threads
    #[arg(short, long, default_value_t = 2)]
    workers: usize,

    /// Time from one checkpoint to the next
    #[arg(long, default_value = "1s", value_parser = highwater::job::parse_duration)]
    interval: Duration,

    /// Alternating runs of each
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Run only one of them, once: for a profile, or for peak memory
    #[arg(long, value_enum)]
    only: Option<Which>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// The dataflow written by hand
    Timely,
    /// The engine without checkpoints
    Engine,
    /// The engine with checkpoints
    Checkpoints,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    println!("{}", machine::describe());
    println!(
        "keyed-count: {} M records, {} k keys, {} workers, a checkpoint each {:?}",
        args.records / 1_000_000,
        args.keys / 1000,
        args.workers,
        args.interval
    );
    match args.only {
        None => compare(args)?,
        Some(Which::Timely) => {
            println!("hand-written timely  {:.1} M/s", hand_written(args)?.0 / 1e6);
        }
        Some(Which::Engine) => {
            println!(
                "engine, no checkpoints  {:.1} M/s",
                engine(args, Checkpoints::No)?.rate / 1e6
            );
        }
        Some(Which::Checkpoints) => {
            let run = engine(args, Checkpoints::Yes)?;
            println!("engine, checkpoints  {:.1} M/s", run.rate / 1e6);
            describe(&run.summary);
        }
    }
    print_process(args);
    Ok(())
}

/// Runs all three in turn, and compares.
fn compare(args: &Args) -> Result<()> {
    let (mut plain, mut bare, mut durable) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..args.rounds {
        let by_hand = hand_written(args)?;
        let without = engine(args, Checkpoints::No)?;
        let with = engine(args, Checkpoints::Yes)?;
        if without.digest != by_hand.1 || with.digest != by_hand.1 {
            return Err(format!(
                "the digests differ: timely {:x}, engine {:x}, with checkpoints {:x}",
                by_hand.1, without.digest, with.digest
            )
            .into());
        }
        println!(
            "round {round}: timely {:.1} M/s, engine {:.1}, with checkpoints {:.1}",
            by_hand.0 / 1e6,
            without.rate / 1e6,
            with.rate / 1e6
        );
        describe(&with.summary);
        plain.push(by_hand.0);
        bare.push(without.rate);
        durable.push(with.rate);
    }
    let millions = |rates: &[f64]| rates.iter().map(|rate| rate / 1e6).collect::<Vec<_>>();
    let ratios = |rates: &[f64]| rates.iter().zip(&plain).map(|(r, p)| r / p).collect::<Vec<_>>();
    println!("\nhand-written timely     {} M/s", spread(&millions(&plain), 1));
    println!("engine, no checkpoints  {} M/s", spread(&millions(&bare), 1));
    println!("engine, checkpoints     {} M/s", spread(&millions(&durable), 1));
    println!("ratio, no checkpoints   {}", spread(&ratios(&bare), 2));
    println!("ratio, checkpoints      {}", spread(&ratios(&durable), 2));
    println!("cost of checkpoints     {:.1} %", (1.0 - median(&durable) / median(&bare)) * 100.0);
    Ok(())
}

fn print_process(args: &Args) {
    if let Some(peak) = machine::peak_memory() {
        let per_key = peak as f64 / args.keys as f64;
        println!("peak memory of the process  {} MB, {per_key:.0} bytes a key", peak >> 20);
    }
    if let Some(cpu) = machine::cpu_seconds() {
        println!("CPU  {cpu:.1} s");
    }
}

fn describe(summary: &Summary) {
    let mut durations: Vec<_> =
        summary.checkpoint_durations.iter().map(|d| d.as_secs_f64() * 1e3).collect();
    durations.sort_by(f64::total_cmp);
    println!(
        "  {} checkpoints, median {:.0} ms, longest {:.0} ms, {:.1} MB each, longest stall {:.2} ms",
        summary.checkpoints,
        median(&durations),
        durations.last().copied().unwrap_or(f64::NAN),
        summary.checkpoint_bytes as f64 / 1e6 / summary.checkpoints.max(1) as f64,
        summary.stall_max.as_secs_f64() * 1e3
    );
    let highwater::checkpoint::run::StateSize { entries, bytes } = summary.state;
    println!(
        "  state of {entries} keys in {:.1} MB, {:.1} bytes a key",
        bytes as f64 / 1e6,
        bytes as f64 / entries.max(1) as f64
    );
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Checkpoints {
    Yes,
    No,
}

struct Run {
    rate: f64,
    /// Sum over all updates of `key * count`: independent of their order.
    digest: u64,
    summary: Summary,
}

fn engine(args: &Args, checkpoints: Checkpoints) -> Result<Run> {
    let folder = tempfile::tempdir()?;
    let (records, keys) = (args.records, args.keys);
    let mut job = Job::new("keyed-count").workers(args.workers).quiet();
    job = job.checkpoint_interval(args.interval);
    if checkpoints == Checkpoints::Yes {
        job = job.checkpoint_dir(folder.path().to_string_lossy());
    }
    let digest = Arc::new(AtomicU64::new(0));
    let summed = Arc::clone(&digest);
    let started = Instant::now();
    let summary = job.execute(move |flow| {
        let mut discard = Digest::new(Arc::clone(&summed));
        flow.source("keys", GeneratorSource::new(records, move |i| mix(i) % keys))
            .key_by(|key| *key)
            .count("count")
            .for_each(move |(key, count)| discard.add(key, count));
    })?;
    let rate = records as f64 / started.elapsed().as_secs_f64();
    Ok(Run { rate, digest: digest.load(Ordering::Relaxed), summary })
}

/// The natural dataflow by hand; returns records a second and the digest.
fn hand_written(args: &Args) -> Result<(f64, u64)> {
    let (records, keys) = (args.records, args.keys);
    let digest = Arc::new(AtomicU64::new(0));
    let summed = Arc::clone(&digest);
    let config = match args.workers {
        1 => timely::Config::thread(),
        workers => timely::Config::process(workers),
    };
    let started = Instant::now();
    let guards = timely::execute(config, move |worker| {
        let (index, peers) = (worker.index() as u64, worker.peers() as u64);
        let share = records / peers + u64::from(index < records % peers);
        let mut discard = Digest::new(Arc::clone(&summed));
        worker.dataflow::<u64, _, _>(|scope| {
            let numbers = source(scope, "Keys", |capability, info| {
                let activator = scope.activator_for(info.address);
                let (mut capability, mut next) = (Some(capability), 0);
                move |output: &mut OutputBuilderSession<
                    '_,
                    u64,
                    CapacityContainerBuilder<Vec<u64>>,
                >| {
                    let Some(held) = &capability else { return };
                    let end = share.min(next + TIMELY_BATCH);
                    let mut session = output.session(held);
                    (next..end).for_each(|i| session.give(mix(i * peers + index) % keys));
                    drop(session);
                    next = end;
                    if next == share { capability = None } else { activator.activate() }
                }
            });
            let by_key = Exchange::new(|key: &u64| mix(*key));
            numbers
                .unary::<CapacityContainerBuilder<Vec<(u64, u64)>>, _, _, _>(
                    by_key,
                    "Count",
                    |_, _| {
                        let mut counts = Counts::default();
                        move |input, output| {
                            input.for_each(|time, batch| {
                                let mut session = output.session(&time);
                                for key in batch.drain(..) {
                                    let count = counts.entry(key).or_insert(0);
                                    *count += 1;
                                    session.give((key, *count));
                                }
                            });
                        }
                    },
                )
                .sink(Pipeline, "Discard", move |(input, _)| {
                    input.for_each(|_, batch| {
                        batch.drain(..).for_each(|(key, count)| discard.add(key, count));
                    });
                });
        });
    })?;
    for outcome in guards.join() {
        outcome?;
    }
    let rate = records as f64 / started.elapsed().as_secs_f64();
    Ok((rate, digest.load(Ordering::Relaxed)))
}

/// Sums on the worker, adds up when it is dropped.
struct Digest {
    sum: u64,
    total: Arc<AtomicU64>,
}

impl Digest {
    fn new(total: Arc<AtomicU64>) -> Digest {
        Digest { sum: 0, total }
    }

    #[inline]
    fn add(&mut self, key: u64, count: u64) {
        self.sum = self.sum.wrapping_add(key.wrapping_mul(count));
    }
}

impl Drop for Digest {
    fn drop(&mut self) {
        self.total.fetch_add(self.sum, Ordering::Relaxed);
    }
}
