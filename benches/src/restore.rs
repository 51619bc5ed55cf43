//! `restore`: how fast workers read their state back, beside a loop that reads and decodes the same
//! segments and keeps nothing; and the same state on other numbers of workers, by its digest.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater::Job;
use highwater::checkpoint::metadata::{CheckpointMetadata, SegmentMetadata};
use highwater::checkpoint::segment::{SegmentIndex, Trailer};
use highwater::checkpoint::state::{Bincode, Codec};
use highwater_connectors::generator::GeneratorSource;

use crate::checkpoints::mix;
use crate::machine;
use crate::report::{median, spread};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Keys of 8 bytes with values of 8 bytes, millions
    #[arg(long, default_value_t = 10)]
    keys: u64,

    /// Worker threads
    #[arg(short, long, default_value_t = 2)]
    workers: usize,

    /// Alternating runs of each
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Where checkpoints go: a folder on the disk that is to be measured
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

pub(crate) fn run(args: &Args) -> std::result::Result<(), Box<dyn std::error::Error>> {
    compare(args).map_err(|error| -> Box<dyn std::error::Error> { error })
}

fn compare(args: &Args) -> Result<()> {
    println!("{}", machine::describe());
    let keys = args.keys * 1_000_000;
    let folder = tempfile::tempdir_in(&args.dir)?;
    fill(args, keys, folder.path())?;
    let newest = newest(folder.path())?;
    let segments: Vec<_> = newest.operators.iter().flat_map(|o| o.segments.clone()).collect();
    let (bytes, entries) =
        segments.iter().fold((0, 0), |sum, s| (sum.0 + s.bytes, sum.1 + s.entries));
    println!(
        "restore: {} M keys, {} segments of {:.1} MB with {:.1} M entries",
        args.keys,
        segments.len(),
        bytes as f64 / 1e6,
        entries as f64 / 1e6
    );
    let (mut restored, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..args.rounds {
        restored.push(keys as f64 / restore(args.workers, folder.path())?.as_secs_f64() / 1e6);
        one.push(entries as f64 / plain_loop(folder.path(), &segments, 1)?.as_secs_f64() / 1e6);
        let plain = plain_loop(folder.path(), &segments, args.workers)?;
        many.push(entries as f64 / plain.as_secs_f64() / 1e6);
        eprintln!(
            "round {round}: restored {:.1} M/s, plain loop {:.1}, in {} threads {:.1}",
            restored[round], one[round], args.workers, many[round]
        );
    }
    let time = args.keys as f64 / median(&restored);
    println!(
        "restored by {} workers       {} M/s: {time:.2} s",
        args.workers,
        spread(&restored, 1)
    );
    println!("plain loop, one thread      {} M/s", spread(&one, 1));
    println!("plain loop, {} threads       {} M/s", args.workers, spread(&many, 1));
    let (to_one, to_many) = (median(&restored) / median(&one), median(&restored) / median(&many));
    println!("ratio to one thread {to_one:.2}, to as many threads as workers {to_many:.2}");
    rescale(folder.path())
}

/// The same state on 2, 3 and 1 workers.
fn rescale(folder: &Path) -> Result<()> {
    let mut digests = Vec::new();
    for workers in [2, 3, 1] {
        let took = restore(workers, folder)?;
        let newest = newest(folder)?;
        let state = newest.operators.iter().find(|state| state.uid == "state");
        let digest = state.and_then(|state| state.digest).ok_or("there is no digest")?;
        println!("on {workers} workers: restored in {:.2} s, digest {digest}", took.as_secs_f64());
        digests.push(digest);
    }
    let is_same = digests.windows(2).all(|two| two[0] == two[1]);
    if is_same { Ok(()) } else { Err("the digests differ".into()) }
}

/// Runs until each key was seen twice, and stops.
fn fill(args: &Args, keys: u64, folder: &Path) -> Result<()> {
    let job = Job::new("restore").workers(args.workers).quiet();
    let job = job.checkpoint_interval(Duration::from_secs(1));
    let (seen, workers) = (Arc::new(AtomicU64::new(0)), args.workers as u64);
    job.checkpoint_dir(folder.to_string_lossy()).execute(move |flow| {
        let (run, seen) = (Arc::clone(flow.checkpoints().run()), Arc::clone(&seen));
        let mut count = 0;
        // A worker reads a split to its end before the next: of more splits it would read a part.
        let source = GeneratorSource::endless(move |i| mix(i % keys)).splits(workers);
        flow.source("keys", source).key_by(|key| *key).count("state").for_each(move |_| {
            count += 1;
            let is_twice = count % 1024 == 0 && seen.fetch_add(1024, Ordering::Relaxed) >= keys * 2;
            if is_twice && run.status().state().entries >= keys {
                run.control().request_stop();
            }
        });
    })?;
    Ok(())
}

/// Starts the job again, which stops at once; returns how long the slowest worker took to load.
fn restore(workers: usize, folder: &Path) -> Result<Duration> {
    let slowest = Arc::new(Mutex::new(Duration::ZERO));
    let for_job = Arc::clone(&slowest);
    let job = Job::new("restore").workers(workers).quiet();
    job.checkpoint_dir(folder.to_string_lossy()).execute(move |flow| {
        let source = GeneratorSource::endless(|i| i).splits(1);
        let by_key = flow.source("keys", source).key_by(|key: &u64| *key);
        let started = Instant::now();
        let counted = by_key.count("state");
        let took = started.elapsed();
        counted.for_each(|_| {});
        let mut slowest = for_job.lock().expect("nobody panics with it");
        *slowest = took.max(*slowest);
        flow.checkpoints().run().control().request_stop();
    })?;
    let slowest = *slowest.lock().expect("nobody panics with it");
    Ok(slowest)
}

fn newest(folder: &Path) -> Result<CheckpointMetadata> {
    let folder = folder.join("restore").join("checkpoints");
    let mut all = std::fs::read_dir(folder)?.collect::<std::result::Result<Vec<_>, _>>()?;
    all.sort_by_key(std::fs::DirEntry::file_name);
    let newest = all.last().ok_or("there is no checkpoint")?.path().join("metadata.json");
    let bytes = std::fs::read(&newest)?;
    Ok(CheckpointMetadata::from_bytes(&newest.to_string_lossy(), &bytes)?)
}

/// The speed of light: reads and decodes all entries, and keeps nothing.
fn plain_loop(folder: &Path, segments: &[SegmentMetadata], threads: usize) -> Result<Duration> {
    let started = Instant::now();
    let sums = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| scope.spawn(move || decode_part(folder, segments, part, threads)))
            .collect();
        let sums = parts.into_iter().map(|part| part.join().map_err(|_| "a thread panicked")?);
        sums.collect::<Result<Vec<u64>>>()
    })?;
    let took = started.elapsed();
    if sums.iter().fold(0_u64, |all, sum| all.wrapping_add(*sum)) == 0 {
        return Err("nothing was read".into());
    }
    Ok(took)
}

/// Each thread takes its share of the key groups of every segment.
fn decode_part(
    folder: &Path,
    segments: &[SegmentMetadata],
    part: usize,
    parts: usize,
) -> Result<u64> {
    use std::os::unix::fs::FileExt;
    let mut sum = 0_u64;
    let mut fetched = Vec::new();
    for segment in segments {
        let name = &segment.object;
        let file = std::fs::File::open(folder.join("restore").join(name))?;
        let bytes = file.metadata()?.len();
        let mut tail = vec![0; bytes.min(SegmentIndex::TAIL_HINT * 16) as usize];
        let start = bytes - tail.len() as u64;
        file.read_exact_at(&mut tail, start)?;
        let trailer = Trailer::parse(name, &tail, bytes)?;
        let index = trailer.index_in(&tail).ok_or("the index is larger than its end")?;
        let index = SegmentIndex::parse(name, &trailer, index)?;
        let share = |part: usize| (part * usize::from(index.header().key_groups) / parts) as u16;
        for run in index.blocks_of(share(part)..=share(part + 1) - 1, 8 << 20) {
            fetched.resize((run.bytes().end - run.bytes().start) as usize, 0);
            file.read_exact_at(&mut fetched, run.bytes().start)?;
            for block in run.decode(name, &fetched) {
                for (key, value) in block?.1.entries() {
                    let key = <Bincode as Codec<u64>>::decode(key)?;
                    let value = value.map(<Bincode as Codec<u64>>::decode).transpose()?;
                    sum = sum.wrapping_add(key ^ value.unwrap_or_default());
                }
            }
        }
    }
    Ok(sum)
}
