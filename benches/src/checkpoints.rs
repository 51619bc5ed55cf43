//! `checkpoints`: what checkpoints cost, against the size of the state, the share of it that changes
//! from one to the next, and the interval.
//!
//! Keyed state is filled, then updated as fast as it goes; from one checkpoint to the next the same
//! share of the keys is touched, another share in each epoch. The same job runs in turn without
//! checkpoints and with them. Beside each row stands what the same bytes take when they are written
//! in sequence to one file, and flushed.

use std::cell::Cell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater::checkpoint::metadata::{CheckpointId, CheckpointMetadata};
use highwater::checkpoint::run::Run;
use highwater::checkpoint::store::layout::{self, SegmentMaker, SegmentName};
use highwater::{Flow, Job};
use highwater_connectors::generator::GeneratorSource;

use crate::draws::mix;
use crate::machine;
use crate::report::median;
use crate::turns::Turns;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Between two looks at what the job has done.
const LOOK: Duration = Duration::from_millis(20);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Keys of 8 bytes with values of 8 bytes, millions
    #[arg(long, value_delimiter = ',', default_value = "1,10,50")]
    keys: Vec<u64>,

    /// Percent of the keys that change from one checkpoint to the next
    #[arg(long, value_delimiter = ',', default_value = "1,10,100")]
    share: Vec<u64>,

    /// Times from one checkpoint to the next
    #[arg(long, value_delimiter = ',', default_value = "1s,10s", value_parser = highwater::job::parse_duration)]
    interval: Vec<Duration>,

    /// Only the rows with values of 8 bytes, or those with a million values of 1 KB
    #[arg(long, value_enum)]
    only: Option<Which>,

    /// Worker threads
    #[arg(short, long, default_value_t = 2)]
    workers: usize,

    /// Alternating runs of each
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Intervals that are measured in a run, after those in which the state is filled
    #[arg(long, default_value_t = 4)]
    intervals: u32,

    /// One round of two intervals: to see whether it works, not what it costs
    #[arg(long)]
    quick: bool,

    /// Where checkpoints go: a folder on the disk that is to be measured
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    Small,
    Kilobyte,
}

/// One row of the table.
#[derive(Clone, Copy)]
struct Row {
    keys: u64,
    /// Bytes of a value.
    value: usize,
    share: u64,
    interval: Duration,
}

impl Row {
    /// Keys that change from one checkpoint to the next.
    fn window(&self) -> u64 {
        (self.keys * self.share / 100).max(1)
    }

    fn state(&self) -> String {
        let values = if self.value == 8 { "8 B" } else { "1 KB" };
        format!("{} M of 8 B + {values}", self.keys / 1_000_000)
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut rows = Vec::new();
    for (value, keys) in args
        .keys
        .iter()
        .map(|millions| (8, millions * 1_000_000))
        .chain([(1024, 1_000_000)])
        .filter(|(value, _)| args.only.is_none_or(|only| (only == Which::Small) == (*value == 8)))
    {
        for interval in &args.interval {
            let shares = args.share.iter();
            rows.extend(shares.map(|share| Row {
                keys,
                value,
                share: *share,
                interval: *interval,
            }));
        }
    }
    println!("{}, {} workers\n", machine::describe(), args.workers);
    println!(
        "| state | interval | changed | checkpoint | longest | written | of the changes | with folds | \
         plain write | M/s without | with | loss | slice | turn without | with | by CPU without | with |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (at, row) in rows.iter().enumerate() {
        eprintln!(
            "row {} of {}: {}, {} %, each {:?}",
            at + 1,
            rows.len(),
            row.state(),
            row.share,
            row.interval
        );
        println!("{}", measure(args, *row)?);
    }
    println!(
        "\nMedians of {} alternating runs of {} intervals, the longest checkpoint and turn of all. \
         *Of the changes*: bytes of the segments, against those of the encoded entries that changed. \
         *Slice*: the longest of a seal, the first included. *Turn*: from one scheduling of a worker's operators to the next.",
        if args.quick { 1 } else { args.rounds },
        if args.quick { 2 } else { args.intervals },
    );
    Ok(())
}

/// What was seen of one run while it was watched.
#[derive(Default)]
struct Seen {
    rate: f64,
    turns: Arc<Turns>,
    checkpoints: Vec<Checkpoint>,
    /// The longest slice of a seal, by the wall clock.
    slice_ms: f64,
}

/// One checkpoint.
struct Checkpoint {
    duration_ms: u64,
    /// Bytes and entries of the segments that workers cut.
    snapshot_bytes: u64,
    entries: u64,
    /// Bytes that were added to the store, those of folds included.
    bytes: u64,
}

fn measure(args: &Args, row: Row) -> Result<String> {
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let rounds = if args.quick { 1 } else { args.rounds };
    for round in 0..rounds {
        for (durable, all) in [(false, &mut without), (true, &mut with)] {
            let seen = job(args, row, durable)?;
            eprintln!(
                "  round {round}, {}: {:.1} M/s, {} checkpoints, longest turn {:.1} ms, {:.1} by CPU, \
                 {:.0} in a million above 5 ms",
                if durable { "with" } else { "without" },
                seen.rate / 1e6,
                seen.checkpoints.len(),
                seen.turns.wall_max_ms(),
                seen.turns.cpu_max_ms(),
                seen.turns.long_per_million()
            );
            all.push(seen);
        }
    }
    let rate = |all: &[Seen]| median(&all.iter().map(|seen| seen.rate).collect::<Vec<_>>());
    let longest = |all: &[Seen], of: fn(&Turns) -> f64| {
        all.iter().map(|seen| of(&seen.turns)).fold(0.0, f64::max)
    };
    let checkpoints: Vec<_> = with.iter().flat_map(|seen| &seen.checkpoints).collect();
    if checkpoints.is_empty() {
        let (state, share, intervals) = (row.state(), row.share, args.intervals);
        return Ok(format!(
            "| {state} | {:?} | {share} % | none ended in {intervals} intervals: see --intervals |",
            row.interval
        ));
    }
    let medians = |of: fn(&Checkpoint) -> f64| {
        median(&checkpoints.iter().map(|checkpoint| of(checkpoint)).collect::<Vec<_>>())
    };
    let sum = |of: fn(&Checkpoint) -> u64| checkpoints.iter().map(|c| of(c)).sum::<u64>() as f64;
    let longest_ms = checkpoints.iter().map(|c| c.duration_ms).max().unwrap_or_default();
    let slice = with.iter().map(|seen| seen.slice_ms).fold(0.0, f64::max);
    let written = medians(|checkpoint| checkpoint.snapshot_bytes as f64);
    let encoded = sum(|c| c.entries).min(row.window() as f64 * checkpoints.len() as f64)
        * (8 + encoded_bytes(row.value)) as f64;
    Ok(format!(
        "| {} | {:?} | {} % | {:.0} ms | {longest_ms} ms | {:.1} MB | {:.2} | {:.2} | {:.0} ms | {:.1} | \
         {:.1} | {:.1} % | {slice:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms | {:.1} ms |",
        row.state(),
        row.interval,
        row.share,
        medians(|checkpoint| checkpoint.duration_ms as f64),
        written / 1e6,
        sum(|c| c.snapshot_bytes) / encoded,
        sum(|c| c.bytes) / encoded,
        plain_write(&args.dir, written as usize)?.as_secs_f64() * 1e3,
        rate(&without) / 1e6,
        rate(&with) / 1e6,
        (1.0 - rate(&with) / rate(&without)) * 100.0,
        longest(&without, Turns::wall_max_ms),
        longest(&with, Turns::wall_max_ms),
        longest(&without, Turns::cpu_max_ms),
        longest(&with, Turns::cpu_max_ms),
    ))
}

/// What bincode makes of a value.
fn encoded_bytes(value: usize) -> usize {
    if value == 8 { 8 } else { 8 + value }
}

/// The speed of light: as many bytes in sequence to one file, and flushed.
fn plain_write(dir: &Path, bytes: usize) -> Result<Duration> {
    let mut chunk = vec![0_u8; 1 << 20];
    chunk.iter_mut().enumerate().for_each(|(i, byte)| *byte = mix(i as u64) as u8);
    let times = (0..3).map(|_| {
        let mut file = tempfile::tempfile_in(dir)?;
        let started = Instant::now();
        let mut left = bytes;
        while left > 0 {
            let now = left.min(chunk.len());
            file.write_all(&chunk[..now])?;
            left -= now;
        }
        file.sync_all()?;
        Ok::<_, std::io::Error>(started.elapsed())
    });
    let mut times = times.collect::<std::result::Result<Vec<_>, _>>()?;
    times.sort();
    Ok(times[1])
}

/// What the bench and the job's threads share.
#[derive(Default)]
struct Shared {
    run: Mutex<Option<Arc<Run>>>,
    turns: Arc<Turns>,
    updates: Arc<AtomicU64>,
}

/// Runs the job once, and watches it from when its state is filled.
fn job(args: &Args, row: Row, durable: bool) -> Result<Seen> {
    let folder = tempfile::tempdir_in(&args.dir)?;
    let mut job = Job::new("checkpoints").workers(args.workers).quiet();
    job = job.checkpoint_interval(row.interval);
    if durable {
        job = job.checkpoint_dir(folder.path().to_string_lossy());
    }
    let shared = Arc::new(Shared::default());
    let for_job = Arc::clone(&shared);
    let job = std::thread::spawn(move || {
        job.execute(move |flow| build(flow, row, &for_job)).map_err(|error| error.to_string())
    });
    let run = loop {
        if job.is_finished() {
            job.join().map_err(|_| "the job panicked")??;
            return Err("the job ended by itself".into());
        }
        let run = shared.run.lock().expect("nobody panics with it").clone();
        if let Some(run) = run {
            break run;
        }
        std::thread::sleep(LOOK);
    };
    let seen = watch(args, row, durable.then(|| folder.path()), (&run, &shared));
    run.control().request_stop();
    job.join().map_err(|_| "the job panicked")??;
    seen
}

fn build(flow: &Flow<'_>, row: Row, shared: &Shared) {
    let run = Arc::clone(flow.checkpoints().run());
    *shared.run.lock().expect("nobody panics with it") = Some(Arc::clone(&run));
    let is_busy = shared.turns.join(flow);
    let (keys, window) = (row.keys, row.window());
    // All keys once, and then those of the epoch's window, in turn.
    // A worker reads a split to its end before the next: of more splits it would read a part.
    let source = GeneratorSource::endless(move |i| {
        let key = if i < keys { i } else { (run.status().epoch().0 * window + i % window) % keys };
        // Numbers that follow one another would be compressed to nothing.
        mix(key)
    })
    .splits(flow.scope().peers() as u64);
    let mut updates = Updates::new(Arc::clone(&shared.updates), is_busy);
    let by_key = flow.source("keys", source).key_by(|key| *key);
    if row.value == 8 {
        by_key.count("state").for_each(move |_| updates.add());
    } else {
        let value = row.value;
        let blob = KilobyteFold { value };
        by_key.aggregate("state", blob).for_each(move |_| updates.add());
    }
}

/// A value of noise, so that nothing is gained by compressing it; an update changes a word of it.
struct KilobyteFold {
    value: usize,
}

impl highwater::Aggregator for KilobyteFold {
    type Input = u64;
    type Accumulator = Vec<u8>;
    type Output = u8;

    fn init(&self) -> Vec<u8> {
        Vec::new()
    }

    fn add(&self, accumulator: &mut Vec<u8>, key: u64) {
        if accumulator.is_empty() {
            let words = (0..self.value as u64 / 8).map(|i| mix(key ^ i << 32));
            accumulator.extend(words.flat_map(u64::to_le_bytes));
        }
        accumulator[0] = accumulator[0].wrapping_add(1);
    }

    fn output(&self, accumulator: &Vec<u8>) -> u8 {
        accumulator[0]
    }
}

/// Waits until the state is filled, then counts for some intervals.
fn watch(
    args: &Args,
    row: Row,
    folder: Option<&Path>,
    (run, shared): (&Run, &Shared),
) -> Result<Seen> {
    let wait_for = |what: &dyn Fn() -> bool| {
        while !what() {
            if run.control().is_over() {
                return Err("the job failed".into());
            }
            std::thread::sleep(LOOK);
        }
        Ok::<(), Box<dyn std::error::Error>>(())
    };
    let updates = || shared.updates.load(Ordering::Relaxed);
    wait_for(&|| run.status().state().entries >= row.keys)?;
    // One checkpoint holds all, the next one what was left of that.
    let filled = run.status().completed();
    if folder.is_some() {
        wait_for(&|| run.status().completed() >= filled + 2)?;
    } else {
        std::thread::sleep(row.interval.min(Duration::from_secs(2)));
    }
    let first = run.status().last().map_or(CheckpointId(0), |last| last.id);
    let intervals = if args.quick { 2 } else { args.intervals };
    let (started, before) = (Instant::now(), updates());
    shared.turns.watch(true);
    let mut checkpoints = Vec::new();
    let mut next = CheckpointId(first.0 + 1);
    while started.elapsed() < row.interval * intervals {
        std::thread::sleep(LOOK);
        let newest = run.status().last().map_or(first, |last| last.id);
        while let Some(folder) = folder.filter(|_| next <= newest) {
            checkpoints.extend(read(folder, next)?);
            next = CheckpointId(next.0 + 1);
        }
        if run.control().is_over() {
            return Err("the job failed".into());
        }
    }
    shared.turns.watch(false);
    let rate = (updates() - before) as f64 / started.elapsed().as_secs_f64();
    let slice_ms = run.status().stall_us_max() as f64 / 1e3;
    Ok(Seen { rate, turns: Arc::clone(&shared.turns), checkpoints, slice_ms })
}

/// What a checkpoint says of itself; none, if it was retired already.
fn read(folder: &Path, id: CheckpointId) -> Result<Option<Checkpoint>> {
    let name = layout::checkpoint(id);
    let Ok(bytes) = std::fs::read(folder.join("checkpoints").join(&name)) else { return Ok(None) };
    let metadata = CheckpointMetadata::from_bytes(&name, &bytes)?;
    let segments = metadata.operators.iter().flat_map(|operator| &operator.segments);
    let newest = segments.clone().map(|segment| segment.epoch).max();
    let (mut snapshot_bytes, mut entries) = (0, 0);
    for segment in segments.filter(|segment| Some(segment.epoch) == newest) {
        let is_fold = SegmentName::parse(&segment.object)
            .is_some_and(|name| matches!(name.maker, SegmentMaker::Fold { .. }));
        if !is_fold {
            snapshot_bytes += segment.bytes;
            entries += segment.entries;
        }
    }
    let duration_ms = metadata.duration_ms;
    let bytes = metadata.bytes_written + metadata.bytes_folded;
    Ok(Some(Checkpoint { duration_ms, snapshot_bytes, entries, bytes }))
}

/// Counts updates, for others to see now and then.
struct Updates {
    count: u64,
    total: Arc<AtomicU64>,
    is_busy: Rc<Cell<bool>>,
}

impl Updates {
    fn new(total: Arc<AtomicU64>, is_busy: Rc<Cell<bool>>) -> Updates {
        Updates { count: 0, total, is_busy }
    }

    #[inline]
    fn add(&mut self) {
        self.count += 1;
        self.is_busy.set(true);
        if self.count == 1024 {
            self.total.fetch_add(self.count, Ordering::Relaxed);
            self.count = 0;
        }
    }
}
