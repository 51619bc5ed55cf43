//! `slow-sink`: a sink that takes a thousand records a second, under a source that could give
//! millions. What is measured is memory: pacing must keep it where it is.

use std::time::{Duration, Instant};

use highwater::Job;
use highwater_connectors::blackhole::BlackholeSink;
use highwater_connectors::generator::GeneratorSource;

use crate::machine;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Records a second that the sink takes, of all workers together
    #[arg(long, default_value_t = 1000.0)]
    rate: f64,

    /// How long to run
    #[arg(long, default_value = "60s", value_parser = highwater::job::parse_duration)]
    time: Duration,

    /// Worker threads
    #[arg(short, long, default_value_t = 2)]
    workers: usize,

    /// Resident memory that must not be exceeded, MB
    #[arg(long, default_value_t = 300)]
    limit_mb: u64,
}

pub(crate) fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    println!("{}", machine::describe());
    println!("slow-sink: {} records/s for {:?}, {} workers", args.rate, args.time, args.workers);
    let sink = BlackholeSink::new().rate(args.rate);
    let seen = sink.clone();
    let folder = tempfile::tempdir()?;
    let deadline = Instant::now() + args.time;
    let started = Instant::now();
    let job = Job::new("slow-sink")
        .workers(args.workers)
        .checkpoint_dir(folder.path().to_string_lossy())
        .checkpoint_interval(Duration::from_secs(1))
        .quiet();
    let summary = job.execute(move |flow| {
        // The source ends at the deadline, so that the job, and what is in flight, ends by itself.
        let run = flow.checkpoints().run().clone();
        let number = move |i: u64| {
            if i.is_multiple_of(16) && Instant::now() > deadline {
                run.control().request_stop();
            }
            format!("record {i:>100}")
        };
        let key = |record: &String| record[record.len() - 3..].to_owned();
        flow.source("records", GeneratorSource::endless(number))
            .key_by(key)
            .fold("last", String::new(), |last, record| *last = record)
            .sink("slow", sink.clone());
    })?;
    let peak = machine::peak_memory().ok_or("this system does not tell its memory")?;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "emitted {}, taken {} in {seconds:.1} s ({:.0}/s), {} checkpoints, peak memory {} MB",
        summary.records_in,
        seen.records(),
        seen.records() as f64 / seconds,
        summary.checkpoints,
        peak >> 20
    );
    if peak >> 20 > args.limit_mb {
        return Err(format!("{} MB is more than {} MB", peak >> 20, args.limit_mb).into());
    }
    Ok(())
}
