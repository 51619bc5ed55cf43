//! Proves of each stateful operator what `crash` proves of a word count: that a real process which runs it, and
//! is killed at random moments and started again with other numbers of workers, says what a run says
//! that nothing happened to.
//!
//! The program is this one, started again for one operator: two slow sources, the operator, files. It
//! is killed a moment after some checkpoint of its own, or while it recovers, as often as is asked for,
//! and then runs to its end. What its committed files hold must be the rows that plain loops over the
//! input make, which share no code with the engine; where rows depend on the order in which records
//! come, what must hold of them whatever that was.
//!
//! The short form kills each operator twice. The long form, by hand:
//!
//! ```text
//! KILLED_KILLS=20 KILLED_RECORDS=3000 cargo test -p highwater-examples --test killed -- --nocapture
//! KILLED_ONLY='join as_of' KILLED_SEED=17 cargo test -p highwater-examples --test killed -- --nocapture
//! ```
//!
//! `KILLED_SEED` repeats the choices of a run (not its timing); `KILLED_DIR` is where the files go.

#![expect(clippy::disallowed_methods, reason = "waits for other processes, and kills them")]
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a panic is the report, the figures are for people

#[path = "../disk/mod.rs"]
mod disk;
mod input;
mod oracle;
mod program;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use disk::{Disk, Places, Struck, names};
use oracle::{Input, OPERATORS, Right};

/// Longest that a run may take which is not killed, on a machine that does much else.
const RUN_MAX: Duration = Duration::from_secs(120);

/// How often the disk is looked at, while waiting for the moment to kill.
const LOOK_EVERY: Duration = Duration::from_micros(500);

/// Operators that are killed at the same time: their processes sleep more than they work.
const AT_ONCE: usize = 3;

fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not what it takes")),
        Err(_) => default,
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// The process that is killed: a test that does nothing unless it is told which operator to run.
#[test]
fn an_operator_in_a_process_of_its_own() {
    let Ok(operator) = std::env::var("KILLED_OPERATOR") else { return };
    let directory: PathBuf = setting("KILLED_AT", PathBuf::new());
    let (workers, records) = (setting("KILLED_WORKERS", 1), setting("KILLED_RECORDS", 1));
    program::run(&operator, &directory, workers, records).unwrap();
}

/// A job of one operator, with its directories.
struct Round<'a> {
    operator: &'a str,
    directory: PathBuf,
    records: u64,
    places: Places,
}

impl Round<'_> {
    fn new(operator: &str, directory: PathBuf, records: u64) -> Round<'_> {
        fs::create_dir(&directory).unwrap();
        let job = directory.join("checkpoints/killed");
        let outputs = BTreeMap::from([("main".to_owned(), directory.join("output"))]);
        Round { operator, directory, records, places: Places { job, outputs } }
    }

    fn start(&self, workers: u64) -> Child {
        let log =
            File::options().create(true).append(true).open(self.directory.join("log")).unwrap();
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "an_operator_in_a_process_of_its_own", "--nocapture"])
            .env("KILLED_OPERATOR", self.operator)
            .env("KILLED_AT", &self.directory)
            .env("KILLED_WORKERS", workers.to_string())
            .env("KILLED_RECORDS", self.records.to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    fn log_tail(&self) -> String {
        let log = fs::read(self.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(3000)..]).into_owned()
    }

    /// Waits until `is_reached`, or until the process has ended, which it must have done well.
    fn wait(
        &self,
        child: &mut Child,
        case: &str,
        mut is_reached: impl FnMut() -> bool,
    ) -> Option<ExitStatus> {
        let started = Instant::now();
        while !is_reached() {
            if let Some(status) = child.try_wait().unwrap() {
                assert!(status.success(), "{case}: {status}; {}", self.log_tail());
                return Some(status);
            }
            if started.elapsed() > RUN_MAX {
                child.kill().unwrap();
                panic!("{case}: hangs; {}", self.log_tail());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        None
    }

    /// Runs to the end.
    fn finish(&self, workers: u64, case: &str) {
        self.wait(&mut self.start(workers), case, || false);
    }

    /// Starts it and kills it; returns whether it had ended before.
    ///
    /// A machine that is busy makes fewer checkpoints while the sources go on by the clock, so `most`
    /// says how many are waited for at most.
    fn kill(&self, random: &mut Random, (workers, most): (u64, u64), case: &str) -> bool {
        let mut child = self.start(workers);
        let (generation, newest) = (self.places.generations(), self.places.newest());
        let after = Duration::from_micros(random.below(15_000));
        // The first checkpoint of a run is the copy of what it restores. Early once: then there is
        // nothing to restore yet.
        let (checkpoints, is_early) = (random.below(most) + 1, newest > 0 && random.below(4) == 0);
        let mut reached = None;
        let ended = self.wait(&mut child, case, || {
            let is_there = self.places.generations() > generation
                && (is_early || self.places.newest() > newest + checkpoints);
            if is_there {
                reached.get_or_insert_with(Instant::now);
            }
            reached.is_some_and(|reached| reached.elapsed() >= after)
        });
        if ended.is_some() {
            return true;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }

    /// The rows of each part file.
    fn parts(&self, case: &str) -> Vec<Vec<String>> {
        let output = self.directory.join("output");
        let names = names(&output).into_iter();
        let parts = names.filter(|name| {
            assert!(!name.ends_with(".inprogress"), "{case}: {name} is left over");
            name.starts_with("part-")
        });
        let read = |name: String| {
            let text = fs::read_to_string(output.join(name)).unwrap();
            text.lines().map(str::to_owned).collect()
        };
        parts.map(read).collect()
    }
}

/// What befell one operator.
#[derive(Default)]
struct Told {
    struck: Struck,
    rounds: u64,
    rows: usize,
    /// Entries and items of state in the checkpoint that a kill left, at most.
    held_max: u64,
    workers: Vec<u64>,
}

fn sorted(parts: &[Vec<String>]) -> Vec<String> {
    let mut rows: Vec<String> = parts.iter().flatten().cloned().collect();
    rows.sort_unstable();
    rows
}

/// Panics with what differs, if anything does.
fn compare(found: &[String], right: &[String], case: &str) {
    if found == right {
        return;
    }
    let twice = found.windows(2).find(|two| two[0] == two[1]);
    let missing: Vec<_> =
        right.iter().filter(|row| found.binary_search(row).is_err()).take(5).collect();
    let wrong: Vec<_> =
        found.iter().filter(|row| right.binary_search(row).is_err()).take(5).collect();
    panic!(
        "{case}: {} rows, should be {}; missing {missing:?}, wrong {wrong:?}, a row that is there \
         twice, perhaps rightly: {twice:?}",
        found.len(),
        right.len()
    );
}

/// Kills one operator, and compares what it has said.
fn strike(operator: &str, directory: &Path, (kills, records): (u64, u64), seed: u64) -> Told {
    let (mut random, mut told) = (Random(seed), Told::default());
    let input = Input::of(operator, records);
    let name = operator.replace(' ', "-");
    while told.struck.total() < kills {
        let of_round = format!("{name}-{}", told.rounds);
        let round = Round::new(operator, directory.join(of_round), records);
        let (mut before, mut has_ended, mut last) = (Disk::default(), false, 0);
        while told.struck.total() < kills && !has_ended {
            // Another number than before.
            let workers = 1 + (last + random.below(3)) % 4;
            last = workers;
            let case = format!("{operator}, round {}, {workers} workers", told.rounds);
            let most = 5_u64.saturating_sub(told.rounds).max(1);
            has_ended = round.kill(&mut random, (workers, most), &case);
            if !has_ended {
                let after = round.places.look();
                told.struck.count(&before, &after);
                told.held_max = told.held_max.max(after.held);
                told.workers.push(workers);
                before = after;
            }
        }
        let case = format!("{operator}, round {}, seed {seed}", told.rounds);
        if !has_ended {
            round.finish(1 + (last + random.below(3)) % 4, &case);
        }
        let parts = round.parts(&case);
        let found = sorted(&parts);
        told.rows += found.len();
        let holds = match input.right(operator) {
            Right::Rows(mut right) => {
                right.sort_unstable();
                compare(&found, &right, &case);
                Ok(())
            }
            Right::Holds(holds) => holds(&input, &parts),
            Right::Repeats(holds) => {
                let whole = Round::new(operator, directory.join(format!("{name}-whole")), records);
                whole.finish(1, &case);
                compare(&found, &sorted(&whole.parts(&case)), &case);
                fs::remove_dir_all(&whole.directory).unwrap();
                holds(&input, &parts)
            }
        };
        if let Err(why) = holds {
            panic!("{case}: {why}");
        }
        fs::remove_dir_all(&round.directory).unwrap();
        told.rounds += 1;
        assert!(told.rounds < 20 + kills, "{case}: it ends before it is killed: {:?}", told.struck);
    }
    told
}

fn print(all: &BTreeMap<usize, (&str, Told)>, seed: u64, elapsed: Duration) {
    println!(
        "{:20} {:>5}  {:>5} {:>8} {:>6} {:>9}  {:>5} {:>6}  workers",
        "operator", "kills", "first", "recovery", "commit", "elsewhere", "rows", "state"
    );
    for (operator, told) in all.values() {
        let Told { struck, rows, held_max, workers, .. } = told;
        let Struck { first, recovery, commit, other, .. } = struck;
        println!(
            "{operator:20} {:>5}  {first:>5} {recovery:>8} {commit:>6} {other:>9}  {rows:>5} \
             {held_max:>6}  {workers:?}",
            struck.total()
        );
    }
    println!("{:.1} s in all; KILLED_SEED={seed}", elapsed.as_secs_f64());
}

#[test]
fn each_operator_says_what_it_would_have_said_whenever_its_process_is_killed() {
    if std::env::var("KILLED_OPERATOR").is_ok() {
        return;
    }
    let seed = setting("KILLED_SEED", u64::from(std::process::id()));
    let asked = (setting("KILLED_KILLS", 2), setting("KILLED_RECORDS", 900));
    let only: String = setting("KILLED_ONLY", String::new());
    let directory = tempfile::tempdir_in(setting("KILLED_DIR", std::env::temp_dir())).unwrap();
    let started = Instant::now();
    let chosen: Vec<_> = OPERATORS
        .iter()
        .enumerate()
        .filter(|(_, name)| only.is_empty() || **name == only)
        .collect();
    assert!(!chosen.is_empty(), "no operator is called {only:?}: {OPERATORS:?}");
    let (left, told) = (Mutex::new(chosen.into_iter()), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().next();
                    let Some((number, operator)) = next else { return };
                    let seed = seed.wrapping_add(number as u64 * 1_000);
                    let of_one = strike(operator, directory.path(), asked, seed);
                    told.lock().unwrap().insert(number, (*operator, of_one));
                }
            });
        }
    });
    let told = told.into_inner().unwrap();
    print(&told, seed, started.elapsed());
    let in_the_middle = told.values().filter(|(_, t)| t.struck.commit + t.struck.other > 0).count();
    assert!(in_the_middle * 2 >= told.len(), "{in_the_middle} of {} in the middle", told.len());
}
