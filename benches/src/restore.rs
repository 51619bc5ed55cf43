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

use crate::draws::mix;
use crate::machine;
use crate::report::{median, spread};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The name of the job that is filled and restored.
pub(crate) const JOB: &str = "restore";

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
    fill(args.workers, keys, folder.path())?;
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
    let workers = args.workers;
    let (mut restored, mut one, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..args.rounds {
        restored.push(restore(workers, folder.path())?);
        one.push(plain_loop(folder.path(), &segments, 1)?);
        many.push(plain_loop(folder.path(), &segments, workers)?);
        eprintln!(
            "round {round}: restored in {}, plain loop {}, in {workers} threads {}",
            restored[round], one[round], many[round]
        );
    }
    let time = |took: &[Took]| median(&took.iter().map(|took| took.wall).collect::<Vec<_>>());
    let say = |what: &str, took: &[Took]| {
        let (wall, cpu): (Vec<_>, Vec<_>) = took.iter().map(|took| (took.wall, took.cpu)).unzip();
        let (wall_time, cpu) = (spread(&wall, 3), spread(&cpu, 3));
        let million = keys as f64 / median(&wall) / 1e6;
        println!("{what:<28}{wall_time} s, CPU {cpu} s: {million:.1} M keys/s");
    };
    say(&format!("restored by {workers} workers"), &restored);
    say("plain loop, one thread", &one);
    say(&format!("plain loop, {workers} threads"), &many);
    println!(
        "time of the loop / time of the restore: one thread {:.2}, {workers} threads {:.2}",
        time(&one) / time(&restored),
        time(&many) / time(&restored)
    );
    rescale(folder.path())
}

/// How long something took, in seconds.
#[derive(Clone, Copy, Default)]
struct Took {
    /// Until the slowest thread was done.
    wall: f64,
    /// Of all its threads together, which says more on a machine that others use as well.
    cpu: f64,
}

impl Took {
    /// Begins to measure this thread; what is returned ends it.
    fn measure() -> impl FnOnce() -> Took {
        let cpu = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
        };
        let (started, cpu_before) = (Instant::now(), cpu());
        move || Took { wall: started.elapsed().as_secs_f64(), cpu: cpu() - cpu_before }
    }

    /// Of this and of another thread at the same time.
    fn and(self, other: Took) -> Took {
        Took { wall: self.wall.max(other.wall), cpu: self.cpu + other.cpu }
    }
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.3} s (CPU {:.3})", self.wall, self.cpu)
    }
}

/// The same state on 2, 3 and 1 workers.
fn rescale(folder: &Path) -> Result<()> {
    let mut digests = Vec::new();
    for workers in [2, 3, 1] {
        let took = restore(workers, folder)?;
        let newest = newest(folder)?;
        let state = newest.operators.iter().find(|state| state.uid == "state");
        let digest = state.and_then(|state| state.digest).ok_or("there is no digest")?;
        println!("on {workers} workers: restored in {took}, digest {digest}");
        digests.push(digest);
    }
    let is_same = digests.windows(2).all(|two| two[0] == two[1]);
    if is_same { Ok(()) } else { Err("the digests differ".into()) }
}

/// Runs until each key was seen twice, and stops.
pub(crate) fn fill(workers: usize, keys: u64, folder: &Path) -> Result<()> {
    let job = Job::new(JOB).workers(workers).quiet();
    let job = job.checkpoint_interval(Duration::from_secs(1));
    let seen = Arc::new(AtomicU64::new(0));
    job.checkpoint_dir(folder.to_string_lossy()).execute(move |flow| {
        let (run, seen) = (Arc::clone(flow.checkpoints().run()), Arc::clone(&seen));
        let mut count = 0;
        // A worker reads a split to its end before the next: of more splits it would read a part.
        let source = GeneratorSource::endless(move |i| mix(i % keys)).splits(workers as u64);
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

/// Starts the job again, which stops at once; returns how long the workers took to load.
fn restore(workers: usize, folder: &Path) -> Result<Took> {
    let all = Arc::new(Mutex::new(Took::default()));
    let for_job = Arc::clone(&all);
    let job = Job::new(JOB).workers(workers).quiet();
    job.checkpoint_dir(folder.to_string_lossy()).execute(move |flow| {
        let source = GeneratorSource::endless(|i| i).splits(1);
        let by_key = flow.source("keys", source).key_by(|key: &u64| *key);
        let end = Took::measure();
        let counted = by_key.count("state");
        let took = end();
        counted.for_each(|_| {});
        let mut all = for_job.lock().expect("nobody panics with it");
        *all = all.and(took);
        flow.checkpoints().run().control().request_stop();
    })?;
    let all = *all.lock().expect("nobody panics with it");
    Ok(all)
}

pub(crate) fn newest(folder: &Path) -> Result<CheckpointMetadata> {
    let folder = folder.join(JOB).join("checkpoints");
    let mut all = std::fs::read_dir(folder)?.collect::<std::result::Result<Vec<_>, _>>()?;
    all.sort_by_key(std::fs::DirEntry::file_name);
    let newest = all.last().ok_or("there is no checkpoint")?.path().join("metadata.json");
    let bytes = std::fs::read(&newest)?;
    Ok(CheckpointMetadata::from_bytes(&newest.to_string_lossy(), &bytes)?)
}

/// Bytes of the segments of the newest checkpoint.
pub(crate) fn segment_bytes(folder: &Path) -> Result<u64> {
    let newest = newest(folder)?;
    Ok(newest.operators.iter().flat_map(|state| &state.segments).map(|segment| segment.bytes).sum())
}

/// The speed of light: reads and decodes all entries, and keeps nothing.
fn plain_loop(folder: &Path, segments: &[SegmentMetadata], threads: usize) -> Result<Took> {
    let parts = std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|part| {
                scope.spawn(move || {
                    let end = Took::measure();
                    Ok((decode_part(folder, segments, part, threads)?, end()))
                })
            })
            .collect();
        let parts = parts.into_iter().map(|part| part.join().map_err(|_| "a thread panicked")?);
        parts.collect::<Result<Vec<(u64, Took)>>>()
    })?;
    if parts.iter().fold(0_u64, |all, (sum, _)| all.wrapping_add(*sum)) == 0 {
        return Err("nothing was read".into());
    }
    Ok(parts.into_iter().fold(Took::default(), |all, (_, took)| all.and(took)))
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
        let file = std::fs::File::open(folder.join(JOB).join(name))?;
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
