//! A program that is written against timely alone, made fault tolerant by the lines marked `// +`.
//!
//! ```text
//! cargo run --release --example plain_timely -- 10000000 -w 2 --checkpoint-dir checkpoints
//! ```
//!
//! Kill it and start it again, with any number of workers: it goes on from its last checkpoint, and
//! the counts are those of a run that was not killed. They are printed at the end of the input,
//! before that is checkpointed: at least once, should it be killed just then.
//!
//! What it was before is in `plain_timely_before.rs`; there is nothing here that is not there, but
//! for the marked lines. What they replace is the frame of the source, which needs no capability
//! and no rounds of its own now, and that of the operator that counts.

#![allow(clippy::print_stdout, reason = "it is the output")]

use clap::Parser;
use highwater_checkpoint::policy::CheckpointPolicy; // +
use highwater_checkpoint::run::{Run, RunOptions}; // +
use highwater_checkpoint::state::stable_hash; // +
use timely::Config;
use timely::dataflow::operators::Inspect;

/// Counts the numbers below N by the Collatz steps that they take to 1
#[derive(Parser)]
struct Args {
    /// How far to count
    #[arg(default_value_t = 1_000_000)]
    n: u64,

    /// Number of worker threads
    #[arg(short, default_value_t = 1)]
    workers: usize,

    /// Where checkpoints go: a directory, or a URL // +
    #[arg(long, default_value = "checkpoints")] // +
    checkpoint_dir: String, // +
}

/// The input is read in as many parts, whatever the number of workers.
const PARTS: u64 = 8;

#[rustfmt::skip] // +  or the marks would not stay at the ends of their lines
fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let args = Args::parse();
    let options = RunOptions::new("plain_timely", &args.checkpoint_dir)?; // +
    let interval = std::time::Duration::from_millis(100); // +
    let policy = CheckpointPolicy { interval, ..CheckpointPolicy::default() }; // +
    let run = Run::open(RunOptions { workers: args.workers, policy, ..options })?; // +
    eprintln!("goes on after epoch {}", run.start().epoch.0); // +
    let shared = run.clone(); // +
    timely::execute(Config::process(args.workers), move |worker| {
        shared.dataflow::<u64>(worker, |checkpoints| { // +
            // Each part is known by the next number that it yields.
            let steps = checkpoints.source("steps", 1..=PARTS, move |next, batch| { // +
                batch.extend((0..100).map_while(|_| steps_of_next(next, args.n)));
                *next < args.n
            })?; // +
            let counts = checkpoints.keyed("counts", steps, |steps| steps, |counts, batch, output| { // +
                let Some(batch) = batch else { // +
                    return output.extend(counts.iter().map(|(steps, count)| (*steps, *count))); // +
                }; // +
                for steps in batch.drain(..) {
                    counts.update(stable_hash(&steps), steps, || 0u64, |_, count| *count += 1); // +
                }
            });
            counts.inspect(|(steps, count)| println!("{steps} {count}"));
            Ok(()) // +
        });
    })?;
    run.outcome() // +
}

/// The Collatz steps of the number `next` of a part, which moves on; none at the end.
fn steps_of_next(next: &mut u64, n: u64) -> Option<u64> {
    let number = Some(*next).filter(|number| *number < n)?;
    *next += PARTS;
    let half_or_triple = |n: &u64| Some(if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 });
    let trajectory = std::iter::successors(Some(number), half_or_triple);
    Some(trajectory.take_while(|number| *number != 1).count() as u64)
}
