//! A job in a simulation: all its workers, its tasks and its clock on one thread, stepped in an
//! order that a seed decides, while requests, sinks and whole processes fail.
//!
//! Everything is the engine's own but for what it stands on: the executor, which polls one task at a
//! time and owns the time; the store, in memory behind `FaultyStore`; the sinks, which keep what was
//! prepared and committed when a process dies. Each seed chooses the job, the input, the workers
//! of each process, how often a request is refused, applied but answered with an error, slow, or
//! torn, when the process dies (at any request, on either side of it or in its middle; when a
//! participant seals; at what a sink does; between two turns), and when a second process starts
//! beside the first, which may be suspended for long. The job goes on until it has finished. The
//! output must then be what plain loops over the input say, each record once; one more run
//! must find the job finished and its checkpoint whole; every error must have a cause; no task may
//! be left, and no job may take for ever: neither may turns go by in which nothing reaches the store or a
//! sink and no epoch ends, nor may one turn not end.
//!
//! The same seed gives the same log, to the last line. A failure prints the seed and how to see its
//! log:
//!
//! ```sh
//! SIMULATION_SEEDS=10000 cargo test -p highwater --test simulation
//! SIMULATION_SEED=17 cargo test -p highwater --test simulation -- --nocapture seeds
//! ```
//!
//! That bugs are found is shown by planting some: `highwater_checkpoint::planted`.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a panic is the report, the log is for people

mod chance;
mod fate;
mod input;
mod job;
mod oracle;
mod process;
mod said;
mod target;
mod timed;
mod toggle;
mod watch;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use highwater::checkpoint::planted::{Bug, plant};
use world::{Told, simulate};

/// Seeds that are tried unless `SIMULATION_SEEDS` says how many: some seconds' worth.
const SEEDS: u64 = 300;

/// Seeds within which a planted bug must be found.
const SEEDS_TO_FIND: u64 = 3000;

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// As [`simulate`]; a panic is a failure like any other.
fn tried(seed: u64, prints: bool) -> Result<Told, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| simulate(seed, prints)));
    outcome.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Err(format!("panicked: {}", text.unwrap_or_default()))
    })
}

fn how_to_see(seed: u64) -> String {
    format!(
        "to see its log: SIMULATION_SEED={seed} cargo test -p highwater --test simulation -- \
         --nocapture seeds"
    )
}

fn fail(seed: u64, complaint: &str) -> ! {
    panic!("seed {seed}: {complaint}\n\n{}", how_to_see(seed))
}

#[test]
fn output_is_exactly_once_for_all_seeds() {
    if let Some(seed) = setting("SIMULATION_SEED") {
        match simulate(seed, true) {
            Ok(told) => println!("{told:?}"),
            Err(complaint) => fail(seed, &complaint),
        }
        return;
    }
    let seeds = setting("SIMULATION_SEEDS").unwrap_or(SEEDS);
    let mut sum = Told::default();
    let mut refused = 0;
    for seed in 0..seeds {
        let told = tried(seed, false).unwrap_or_else(|complaint| fail(seed, &complaint));
        sum.turns += told.turns;
        sum.processes += told.processes;
        sum.deaths += told.deaths;
        sum.fenced += told.fenced;
        sum.stopped += told.stopped;
        sum.silence_max = sum.silence_max.max(told.silence_max);
        refused += u64::from(told.refused);
    }
    println!("{seeds} seeds, {refused} of them refused a damaged store: {sum:?}");
    if seeds >= SEEDS {
        // A simulation in which nothing happens finds nothing.
        let is_eventful = sum.deaths as u64 > seeds / 2 && sum.fenced > 10 && sum.stopped > 10;
        assert!(is_eventful && refused > 0, "{refused} refused, {sum:?}");
    }
}

#[test]
fn a_seed_gives_the_same_log_each_time() {
    for seed in 0..10 {
        let [first, second] = [0, 1].map(|_| tried(seed, false).unwrap());
        assert_eq!(first.digest, second.digest, "seed {seed}: {first:?}, {second:?}");
        assert_ne!(first.digest, tried(seed + 1, false).unwrap().digest, "seed {seed}");
    }
}

/// That `bug` is found: by the seed `last`, which found it when it was looked for last, or by another.
///
/// A change of the engine or of the simulation makes another job of each seed; the search from the
/// first one on takes minutes then, until the seed that it prints is put here.
fn is_found(bug: Bug, last: u64) {
    let found = std::iter::once(last).chain(0..SEEDS_TO_FIND).find_map(|seed| {
        let complaint = plant(Some(bug), || tried(seed, false)).err()?;
        Some((seed, complaint))
    });
    let Some((seed, complaint)) = found else {
        panic!("{bug:?} was not found in {SEEDS_TO_FIND} seeds")
    };
    let without = tried(seed, false);
    assert!(without.is_ok(), "seed {seed} fails without {bug:?}, too: {without:?}");
    let complaint: String = complaint.chars().take(100).collect();
    println!("{bug:?}: found by seed {seed}: {complaint}");
}

/// A test for each planted bug, so that they are looked for at the same time.
macro_rules! planted {
    ($($test:ident: $bug:ident, $last:literal;)*) => {
        $(
            #[test]
            fn $test() {
                is_found(Bug::$bug, $last);
            }
        )*

        #[test]
        fn every_planted_bug_is_looked_for() {
            assert_eq!(Bug::ALL, [$(Bug::$bug),*]);
        }
    };
}

planted! {
    finds_an_acknowledgement_before_the_upload: AcknowledgesBeforeUpload, 318;
    finds_who_does_not_look_at_the_fence: DoesNotLookAtTheFence, 3;
    finds_who_applies_the_next_epoch: AppliesTheNextEpoch, 88;
    finds_who_forgets_restored_output: ForgetsRestoredOutput, 8;
    finds_who_skips_what_is_touched: SkipsWhatIsTouched, 1;
    finds_offsets_that_are_recorded_late: RecordsOffsetsLate, 1;
    finds_a_commit_before_completion: CommitsBeforeCompletion, 0;
    finds_lost_tombstones: LosesTombstones, 6;
}
