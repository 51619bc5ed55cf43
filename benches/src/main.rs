//! Benchmarks of Highwater, each beside what it is measured against, in one process and one run.
//!
//! ```text
//! cargo run --release -p highwater-benches -- keyed-count
//! ```

#![allow(clippy::print_stdout)] // What a benchmark is for.

mod keyed_count;
mod machine;
mod report;
mod slow_sink;

use clap::{Parser, Subcommand};

/// Benchmarks of Highwater, each beside what it is measured against
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Subcommand)]
enum Suite {
    /// Generated u64 keys, exchanged, counted by key, discarded; beside hand-written timely
    KeyedCount(keyed_count::Args),
    /// A sink that takes little, under a source that could give much: peak memory
    SlowSink(slow_sink::Args),
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match Args::parse().suite {
        Suite::KeyedCount(args) => keyed_count::run(&args),
        Suite::SlowSink(args) => slow_sink::run(&args),
    }
}
