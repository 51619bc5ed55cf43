//! Benchmarks of Highwater, each beside what it is measured against, in one process and one run.
//!
//! ```text
//! cargo run --release -p highwater-benches -- keyed-count
//! ```

#![allow(clippy::print_stdout)] // What a benchmark is for.

mod by_hand;
mod checkpoints;
mod child;
mod counting;
mod digest;
mod draws;
mod facts;
mod instructions;
mod join;
mod kept;
mod keyed_count;
mod latency;
mod lines;
mod machine;
mod measure;
mod memory;
mod nexmark;
mod page;
mod pipeline;
mod record;
mod recorded;
mod recovery;
mod report;
mod restore;
mod rounds;
mod scale;
mod sides;
mod slow_sink;
mod start;
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
    /// Instructions a record of keyed-count and q5, by callgrind; a line for each commit
    Instructions(instructions::Args),
    /// Two streams joined by key within an interval of event time
    Join(join::Args),
    /// Generated u64 keys, exchanged, counted by key, discarded; beside hand-written timely
    KeyedCount(keyed_count::Args),
    /// Events by the clock: how late their results are, with and without checkpoints; beside timely
    Latency(latency::Args),
    /// What a key takes, a window, an idle job; each run in a process of its own
    Memory(memory::Args),
    /// The queries q0 to q22 of Nexmark; beside hand-written timely
    Nexmark(nexmark::Args),
    /// A chain of steps that remember nothing
    Pipeline(pipeline::Args),
    /// From the kill or failure of a run to the first record of the next
    Recovery(recovery::Args),
    /// One page of charts of what suites have written with --json
    Report(page::Args),
    /// How fast state is read back, beside a plain loop; on other numbers of workers
    Restore(restore::Args),
    /// What grows with workers, processes, state, epochs, and operators that have nothing to do
    Scale(scale::Args),
    /// A sink that takes little, under a source that could give much: peak memory
    SlowSink(slow_sink::Args),
    /// From exec to the first record, afresh and with a checkpoint to restore; beside timely
    Start(start::Args),
    /// Millions of event-time timers, pending and fired: memory and speed
    Timers(timers::Args),
    /// Sliding beside tumbling windows; what sessions and interval joins keep
    Windows(windows::Args),
    /// Lines of ten words, split, counted by word
    WordCount(word_count::Args),
    /// What some suites start in a process of its own
    #[command(hide = true)]
    Counting(counting::Args),
    /// One of the processes of a dataflow of `scale`
    #[command(hide = true)]
    Process(scale::ProcessArgs),
}

fn main() -> ExitCode {
    // For every side, whichever comes first.
    highwater::keep_freed_memory();
    let outcome = match Args::parse().suite {
        Suite::Checkpoints(args) => checkpoints::run(&args),
        Suite::Instructions(args) => instructions::run(&args),
        Suite::Join(args) => join::run(&args),
        Suite::KeyedCount(args) => keyed_count::run(&args),
        Suite::Latency(args) => latency::run(&args),
        Suite::Memory(args) => memory::run(&args),
        Suite::Nexmark(args) => nexmark::run(&args),
        Suite::Pipeline(args) => pipeline::run(&args),
        Suite::Recovery(args) => recovery::run(&args),
        Suite::Report(args) => page::run(&args),
        Suite::Restore(args) => restore::run(&args),
        Suite::Scale(args) => scale::run(&args),
        Suite::SlowSink(args) => slow_sink::run(&args),
        Suite::Start(args) => start::run(&args),
        Suite::Timers(args) => timers::run(&args),
        Suite::Windows(args) => windows::run(&args),
        Suite::WordCount(args) => word_count::run(&args),
        Suite::Counting(args) => counting::run(&args),
        Suite::Process(args) => scale::run_process(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
