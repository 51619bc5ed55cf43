//! Proves exactly once end to end: the real `wordcount` under SIGKILL, at every phase of its life.
//!
//! The job says the running count of a word with each occurrence. So whatever is lost, repeated or
//! restored wrongly shows: over all committed part files each word must have each number from 1 to
//! *n* exactly once, *n* being what a plain loop over the input counts. That loop and the check
//! share no code with the engine.
//!
//! The process is killed while the first checkpoint is under way, during recovery, at the moment
//! when a checkpoint's metadata appears, and at random; it is started again with another number of
//! workers. Where a kill struck is read off the disk afterwards, and the counts are asserted: a
//! phase that was aimed at and never hit fails the test.
//!
//! The short form runs with `cargo test`. The long form, by hand:
//!
//! ```text
//! cargo build --release -p highwater-examples --example wordcount
//! CRASH_MB=320 CRASH_KILLS=80 CRASH_WORDCOUNT=$PWD/target/release/examples/wordcount \
//!     cargo test --release -p highwater-examples --test crash -- --nocapture
//! ```
//!
//! `CRASH_SEED` repeats the choices of a run (not its timing); `CRASH_DIR` is where the files go, on
//! a disk with four times the input free.

#![expect(clippy::disallowed_methods, reason = "waits for another process, and kills it")]
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a panic is the report, the figures are for people

mod disk;
mod program;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use disk::{Disk, Places, Struck, names};

/// Longest that a run of the job may take which is not killed.
const RUN_MAX: Duration = Duration::from_secs(600);

/// How often the disk is looked at, while waiting for the moment to kill.
const LOOK_EVERY: Duration = Duration::from_micros(200);

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not what it takes")),
        Err(_) => default,
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Writes text of about `bytes` to three files: words of 1 to 24 letters in mixed case, a few of
/// them very frequent, most of them rare, and between them what is no letter.
fn write_input(directory: &Path, bytes: u64, random: &mut Random) {
    let vocabulary: Vec<Vec<u8>> = (0..60_000)
        .map(|_| {
            let length = 1 + random.below(6) + random.below(4) * random.below(7);
            (0..length).map(|_| b'a' + random.below(26) as u8).collect()
        })
        .collect();
    for file in 0..3_u64 {
        let path = directory.join(format!("{file}.txt"));
        let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
        // Files of different lengths, so that splits end at different times.
        let (mut left, mut line) = (bytes * (file + 1) / 6, Vec::new());
        while left > 0 {
            line.clear();
            for _ in 0..random.below(24) {
                // The product of three numbers below 1 is near 0 most of the time: a long tail.
                let unit =
                    |random: &mut Random| (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
                let place = unit(random) * unit(random) * unit(random) * vocabulary.len() as f64;
                let word = &vocabulary[place as usize];
                match random.below(8) {
                    0 => line.extend(word.iter().map(u8::to_ascii_uppercase)),
                    _ => line.extend_from_slice(word),
                }
                line.extend_from_slice(
                    [b" ".as_slice(), b", ", b"\t", b" 7 "][random.below(4) as usize],
                );
            }
            line.push(b'\n');
            out.write_all(&line).unwrap();
            left = left.saturating_sub(line.len() as u64);
        }
        out.flush().unwrap();
    }
}

/// What the output must be: the words and how often each occurs.
#[derive(Default)]
struct Expected {
    ids: HashMap<Box<[u8]>, usize>,
    counts: Vec<u64>,
}

impl Expected {
    fn of(directory: &Path) -> Expected {
        let mut expected = Expected::default();
        let mut word = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let mut file = File::open(entry.unwrap().path()).unwrap();
            let mut buffer = vec![0; 1 << 20];
            loop {
                let length = file.read(&mut buffer).unwrap();
                for byte in &buffer[..length] {
                    if byte.is_ascii_alphabetic() {
                        word.push(byte.to_ascii_lowercase());
                    } else {
                        expected.count(&mut word);
                    }
                }
                if length == 0 {
                    break;
                }
            }
            expected.count(&mut word);
        }
        expected
    }

    fn count(&mut self, word: &mut Vec<u8>) {
        if word.is_empty() {
            return;
        }
        if let Some(id) = self.ids.get(word.as_slice()) {
            self.counts[*id] += 1;
        } else {
            self.ids.insert(word.as_slice().into(), self.counts.len());
            self.counts.push(1);
        }
        word.clear();
    }

    fn words(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Checks the part files in `output`: one bit for each number that each word must have.
    fn check(&self, output: &Path, case: &str) -> u64 {
        let mut seen: Vec<Vec<u64>> =
            self.counts.iter().map(|n| vec![0; n.div_ceil(64) as usize]).collect();
        let (mut rows, mut wrong) = (0, Vec::new());
        for name in names(output) {
            assert!(!name.ends_with(".inprogress"), "{case}: {name} is left over");
            if !name.starts_with("part-") {
                continue;
            }
            let mut file =
                BufReader::with_capacity(1 << 20, File::open(output.join(&name)).unwrap());
            let mut line = Vec::new();
            loop {
                line.clear();
                if file.read_until(b'\n', &mut line).unwrap() == 0 {
                    break;
                }
                rows += 1;
                if let Err(why) = self.mark(&line, &mut seen)
                    && wrong.len() < 20
                {
                    wrong.push(format!("{name}: {:?} {why}", String::from_utf8_lossy(&line)));
                }
            }
        }
        let mut missing = 0;
        for (word, id) in &self.ids {
            let found: u64 = seen[*id].iter().map(|bits| u64::from(bits.count_ones())).sum();
            missing += self.counts[*id] - found;
            if found < self.counts[*id] && wrong.len() < 40 {
                let first = (0..self.counts[*id])
                    .find(|n| seen[*id][(n / 64) as usize] & (1 << (n % 64)) == 0)
                    .unwrap();
                wrong.push(format!(
                    "{:?} has {found} of {} rows; the first without is {}",
                    String::from_utf8_lossy(word),
                    self.counts[*id],
                    first + 1
                ));
            }
        }
        assert!(
            wrong.is_empty() && rows == self.words(),
            "{case}: {rows} rows for {} words, {missing} missing; {wrong:#?}",
            self.words()
        );
        rows
    }

    fn mark(&self, line: &[u8], seen: &mut [Vec<u64>]) -> Result<(), &'static str> {
        let line = line.strip_suffix(b"\n").ok_or("has no end")?;
        let comma = line.iter().position(|byte| *byte == b',').ok_or("has no comma")?;
        let id = *self.ids.get(&line[..comma]).ok_or("is of a word that is not in the input")?;
        let n: u64 = std::str::from_utf8(&line[comma + 1..])
            .ok()
            .and_then(|digits| digits.parse().ok())
            .ok_or("has no count")?;
        if n == 0 || n > self.counts[id] {
            return Err("is beyond the word's count");
        }
        let (at, bit) = (((n - 1) / 64) as usize, 1 << ((n - 1) % 64));
        if seen[id][at] & bit != 0 {
            return Err("is there twice");
        }
        seen[id][at] |= bit;
        Ok(())
    }
}

/// The program to kill.
fn wordcount() -> Command {
    match std::env::var("CRASH_WORDCOUNT") {
        Ok(path) => Command::new(path),
        Err(_) => program::example("wordcount"),
    }
}

/// One job's directories: its checkpoints and its output.
struct Round {
    directory: PathBuf,
    input: PathBuf,
    places: Places,
}

impl Round {
    fn new(directory: PathBuf, input: PathBuf) -> Round {
        let job = directory.join("checkpoints/wordcount");
        let outputs = BTreeMap::from([("counts".to_owned(), directory.join("output"))]);
        Round { directory, input, places: Places { job, outputs } }
    }

    fn output(&self) -> PathBuf {
        self.directory.join("output")
    }

    fn start(&self, workers: u64) -> Child {
        let log = File::options().create(true).append(true).open(self.directory.join("log"));
        wordcount()
            .args(["--input", self.input.join("*.txt").to_str().unwrap()])
            .args(["--output", self.output().to_str().unwrap()])
            .args(["--emit", "updates", "--checkpoint-interval", "100ms"])
            .args(["-w", &workers.to_string()])
            .arg("--checkpoint-dir")
            .arg(self.directory.join("checkpoints"))
            .env_remove("HIGHWATER_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.unwrap())
            .spawn()
            .unwrap()
    }

    fn log_tail(&self) -> String {
        let log = fs::read(self.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(3000)..]).into_owned()
    }
}

/// When to kill.
#[derive(Clone, Copy, Debug)]
enum Aim {
    /// Soon after the run has begun, before a checkpoint of its own.
    First {
        after: Duration,
    },
    /// As long after the start as recovery takes, or less.
    Start {
        after: Duration,
    },
    /// When the run has taken its generation, or appended the copy of what it restores.
    Recovery {
        copied: bool,
        after: Duration,
    },
    /// When metadata appears.
    Commit {
        after: Duration,
    },
    Random {
        after: Duration,
    },
}

/// Kills at the aim; says how the process ended if it did so before.
fn kill_at(round: &Round, child: &mut Child, aim: Aim) -> Option<ExitStatus> {
    let started = Instant::now();
    let places = &round.places;
    let (generation, newest) = (places.generations(), places.newest());
    let mut reached: Option<Instant> = None;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        let is_begun = || places.generations() > generation && places.newest() > newest;
        let (is_reached, after) = match aim {
            Aim::First { after } | Aim::Recovery { copied: true, after } => (is_begun(), after),
            Aim::Recovery { copied: false, after } => (places.generations() > generation, after),
            // The first is the copy of what was restored.
            Aim::Commit { after } => (places.newest() > newest + 1, after),
            Aim::Start { after } | Aim::Random { after } => (true, after),
        };
        if is_reached && reached.is_none() {
            reached = Some(Instant::now());
        }
        if reached.is_some_and(|reached| reached.elapsed() >= after) {
            child.kill().unwrap();
            child.wait().unwrap();
            return None;
        }
        if started.elapsed() > RUN_MAX {
            child.kill().unwrap();
            panic!("{aim:?} was not reached; {}", round.log_tail());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn wait(round: &Round, child: &mut Child, case: &str) {
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > RUN_MAX {
            child.kill().unwrap();
            panic!("{case}: hangs; {}", round.log_tail());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(status.success(), "{case}: {status}; {}", round.log_tail());
}

/// Kills, by where they struck and at how many workers.
#[derive(Default)]
struct Kills {
    struck: Struck,
    by_workers: BTreeMap<u64, u64>,
}

impl std::fmt::Display for Kills {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Struck { first, recovery, before_claim, commit, other } = self.struck;
        write!(
            f,
            "{} kills ({first} in the first checkpoint, {recovery} in recovery, {before_claim} of \
             these before the claim, {commit} in a commit, {other} elsewhere; by workers {:?})",
            self.struck.total(),
            self.by_workers
        )
    }
}

impl Kills {
    /// Whether each phase was hit and the number is reached. Aiming is not hitting: the phases may
    /// take more kills than were asked for.
    fn are_enough(&self, kills_min: u64) -> bool {
        let total = self.struck.total();
        total >= kills_min && (self.all_phases() || total >= kills_min * 8)
    }

    fn all_phases(&self) -> bool {
        self.struck.first > 0 && self.struck.recovery > 0 && self.struck.commit > 0
    }
}

fn aim(kill: u64, start: u64, random: &mut Random, run_ms: u64) -> Aim {
    let ms = |random: &mut Random, below: u64| Duration::from_micros(random.below(below * 1000));
    match start % 6 {
        _ if kill < 4 => Aim::First { after: ms(random, 60) },
        0 => Aim::Start { after: ms(random, 30) },
        1 => Aim::Recovery { copied: random.below(2) == 0, after: ms(random, 4) },
        2 | 4 => Aim::Commit { after: ms(random, 2) },
        _ => Aim::Random { after: ms(random, run_ms) },
    }
}

#[test]
fn each_word_is_counted_exactly_once_whenever_the_process_is_killed() {
    let seed = setting("CRASH_SEED", u64::from(std::process::id()));
    let megabytes: u64 = setting("CRASH_MB", 4);
    let kills_min: u64 = setting("CRASH_KILLS", 8);
    let case = format!("CRASH_SEED={seed} CRASH_MB={megabytes} CRASH_KILLS={kills_min}");
    let parent: PathBuf = setting("CRASH_DIR", std::env::temp_dir());
    let directory = tempfile::tempdir_in(parent).unwrap();
    let mut random = Random(seed);
    let started = Instant::now();

    let input = directory.path().join("input");
    fs::create_dir(&input).unwrap();
    write_input(&input, megabytes << 20, &mut random);
    let expected = Expected::of(&input);
    let run_ms = (megabytes * 8).clamp(100, 1500);

    let (mut kills, mut rounds, mut rows, mut starts) = (Kills::default(), 0, 0, 0);
    let mut last = Duration::ZERO;
    while rounds == 0 || !kills.are_enough(kills_min) {
        let round = Round::new(directory.path().join(rounds.to_string()), input.clone());
        fs::create_dir(&round.directory).unwrap();
        let mut before = Disk::default();
        for kill in 0.. {
            let workers = 1 + random.below(4);
            let aim = aim(kill, starts, &mut random, run_ms);
            let case =
                format!("{case}, round {rounds}, start {kill} with {workers} workers, {aim:?}");
            let mut child = round.start(workers);
            starts += 1;
            let enough = kills.are_enough(kills_min);
            let began = Instant::now();
            let ended = if enough {
                wait(&round, &mut child, &case);
                last = began.elapsed();
                true
            } else if let Some(status) = kill_at(&round, &mut child, aim) {
                assert!(status.success(), "{case}: {status}; {}", round.log_tail());
                true
            } else {
                false
            };
            if ended {
                break;
            }
            *kills.by_workers.entry(workers).or_default() += 1;
            let after = round.places.look();
            assert!(after.newest >= before.newest, "{case}: {after:?} after {before:?}");
            kills.struck.count(&before, &after);
            before = after;
        }
        let case = format!("{case}, round {rounds}");
        rows += expected.check(&round.output(), &case);
        // A job that had finished does nothing.
        wait(&round, &mut round.start(1 + random.below(4)), &case);
        expected.check(&round.output(), &case);
        fs::remove_dir_all(&round.directory).unwrap();
        rounds += 1;
    }
    println!(
        "crash: {kills}; {starts} starts, {rounds} rounds, {megabytes} MB and {} words, {rows} rows \
         checked, last run {:.1} s, {:.1} s in all; seed {seed}",
        expected.words(),
        last.as_secs_f64(),
        started.elapsed().as_secs_f64(),
    );
    assert!(kills.all_phases(), "{case}: a phase was never hit: {kills}");
}
