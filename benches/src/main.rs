//! Benchmarks of Highwater, each beside what it is measured against, in one process and one run.
//!
//! ```text
//! cargo run --release -p highwater-benches -- keyed-count
//! ```

#![allow(clippy::print_stdout)] // What a benchmark is for.

mod by_hand;
mod checkpoints;
mod digest;
mod draws;
mod join;
mod kept;
mod keyed_count;
mod lines;
mod machine;
mod measure;
mod memory;
mod nexmark;
mod pipeline;
mod record;
mod recorded;
mod report;
mod restore;
mod rounds;
mod sides;
mod slow_sink;
mod timers;
mod turns;
mod windows;
mod word_count;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Benchmarks of Highwater, each beside what it is measured against
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Subcommand)]
enum Suite {
    /// What checkpoints cost: duration, bytes, throughput, stalls; beside a plain write
    Checkpoints(checkpoints::Args),
    /// Two streams joined by key within an interval of event time
    Join(join::Args),
    /// Generated u64 keys, exchanged, counted by key, discarded; beside hand-written timely
    KeyedCount(keyed_count::Args),
    /// What a key takes, a window, an idle job; each run in a process of its own
    Memory(memory::Args),
    /// The queries q0 to q22 of Nexmark; beside hand-written timely
    Nexmark(nexmark::Args),
    /// A chain of steps that remember nothing
    Pipeline(pipeline::Args),
    /// How fast state is read back, beside a plain loop; on other numbers of workers
    Restore(restore::Args),
    /// A sink that takes little, under a source that could give much: peak memory
    SlowSink(slow_sink::Args),
    /// Millions of event-time timers, pending and fired: memory and speed
    Timers(timers::Args),
    /// Sliding beside tumbling windows; what sessions and interval joins keep
    Windows(windows::Args),
    /// Lines of ten words, split, counted by word
    WordCount(word_count::Args),
}

fn main() -> ExitCode {
    let outcome = match Args::parse().suite {
        Suite::Checkpoints(args) => checkpoints::run(&args),
        Suite::Join(args) => join::run(&args),
        Suite::KeyedCount(args) => keyed_count::run(&args),
        Suite::Memory(args) => memory::run(&args),
        Suite::Nexmark(args) => nexmark::run(&args),
        Suite::Pipeline(args) => pipeline::run(&args),
        Suite::Restore(args) => restore::run(&args),
        Suite::SlowSink(args) => slow_sink::run(&args),
        Suite::Timers(args) => timers::run(&args),
        Suite::Windows(args) => windows::run(&args),
        Suite::WordCount(args) => word_count::run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
