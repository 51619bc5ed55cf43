//! `memory`: what a key takes, a window, a job that has nothing to do.
//!
//! Each run is a process of its own, for memory that was free again would be used again. *Each* is what the
//! process has grown by, divided by the number of them: that of a few is mostly what a job takes by
//! itself. Beside the engine stands what the tables of a dataflow by hand take.

mod alone;

use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::alone::Subject;
use crate::digest::Totals;
use crate::measure::Measured;
use crate::rounds::{Case, Comparison, Flags, Run};
use crate::sides::{CHECKPOINTS, LOOP, TIMELY};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Keys of 8 bytes with counts of 8 bytes
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000_000])]
    keys: Vec<u64>,

    /// Counts of 8 bytes by key and window, ten windows a key, all open at a time
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000])]
    windows: Vec<u64>,

    /// Jobs of one process that have nothing to do
    #[arg(long, value_delimiter = ',', default_values_t = [10])]
    jobs: Vec<u64>,

    /// Be the process of one run
    #[arg(long, value_enum, hide = true)]
    alone: Option<Subject>,

    #[command(flatten)]
    flags: Flags,
}

/// What a process says of its run.
#[derive(Debug, Serialize, Deserialize)]
struct Taken {
    count: u64,
    seconds: f64,
    cpu_seconds: Option<f64>,
    /// Of the process before the run, with all of them, and at most.
    before_bytes: u64,
    resident_bytes: u64,
    peak_bytes: u64,
    rows: u64,
    digest: u64,
    /// While nothing was to be done.
    idle_cpu_share: Option<f64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if let Some(subject) = args.alone {
        let counts = match subject {
            Subject::Keys => &args.keys,
            Subject::Windows => &args.windows,
            Subject::Jobs => &args.jobs,
        };
        let side = args.flags.only.as_deref().unwrap_or_default();
        let taken = alone::run(subject, counts.first().copied().unwrap_or(1), side, &args.flags)?;
        println!("{}", serde_json::to_string(&taken)?);
        return Ok(());
    }
    let flags = &args.flags;
    let what = "each run in a process of its own, its memory when all of them are there";
    let mut comparison = Comparison::begin("memory", flags, what)?;
    for count in &args.keys {
        let name = format!("{} M keys", *count as f64 / 1e6);
        comparison.run(&case(Subject::Keys, *count, name, flags));
    }
    for count in &args.windows {
        let name = format!("{} M windows", *count as f64 / 1e6);
        comparison.run(&case(Subject::Windows, *count, name, flags));
    }
    for count in &args.jobs {
        comparison.run(&case(Subject::Jobs, *count, format!("{count} idle jobs"), flags));
    }
    comparison.end()
}

fn case(subject: Subject, count: u64, name: String, flags: &Flags) -> Case<'_> {
    let alone = move |side, interval| alone_in_a_process(subject, count, side, interval, flags);
    let case =
        Case::new(name).shown("bytes_each", "bytes each").shown("peak_bytes_each", "at most");
    let case = match subject {
        Subject::Keys => case.side(LOOP, move || alone(LOOP, None)),
        Subject::Windows => case,
        Subject::Jobs => case.shown("idle_cpu_percent", "% of a core"),
    };
    case.side(TIMELY, move || alone(TIMELY, None)).engine(flags, move |interval| {
        let side = if interval.is_some() { CHECKPOINTS } else { crate::sides::ENGINE };
        alone(side, interval)
    })
}

fn alone_in_a_process(
    subject: Subject,
    count: u64,
    side: &str,
    interval: Option<Duration>,
    flags: &Flags,
) -> Result<Run> {
    let (what, count_flag) = match subject {
        Subject::Keys => ("keys", "--keys"),
        Subject::Windows => ("windows", "--windows"),
        Subject::Jobs => ("jobs", "--jobs"),
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["memory", "--alone", what, "--only", side, count_flag, &count.to_string()]);
    command.args(["--workers", &flags.workers.to_string()]);
    if let Some(interval) = interval {
        command.args(["--checkpoints", &format!("{}ms", interval.as_millis())]);
    }
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the process of the run ended with {}", output.status).into());
    }
    Ok(run_of(serde_json::from_slice(&output.stdout)?, side, interval, flags))
}

fn run_of(taken: Taken, side: &str, interval: Option<Duration>, flags: &Flags) -> Run {
    let threads = if side == LOOP { 1 } else { flags.workers };
    let measured = Measured {
        records: taken.count,
        seconds: taken.seconds,
        cpu_seconds: taken.cpu_seconds,
        peak_memory: Some(taken.peak_bytes),
    };
    let mut run = Run::new(measured, threads, Totals { rows: taken.rows, digest: taken.digest });
    run.interval = interval;
    let each = |bytes: u64| bytes.saturating_sub(taken.before_bytes) as f64 / taken.count as f64;
    let fields = [
        ("before_bytes", taken.before_bytes.into()),
        ("resident_bytes", taken.resident_bytes.into()),
        ("bytes_each", each(taken.resident_bytes).into()),
        ("peak_bytes_each", each(taken.peak_bytes).into()),
        ("idle_cpu_percent", taken.idle_cpu_share.map(|share| share * 100.0).into()),
    ];
    run.more.extend(fields.map(|(name, value)| (name.to_owned(), value)));
    run
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is divided by how many.
    #[test]
    fn each_is_what_the_process_has_grown_by() {
        let taken = Taken {
            count: 100,
            seconds: 1.0,
            cpu_seconds: None,
            before_bytes: 5_000,
            resident_bytes: 7_500,
            peak_bytes: 9_000,
            rows: 400,
            digest: 7,
            idle_cpu_share: None,
        };
        let run = run_of(taken, TIMELY, None, &Flags::on_workers(2));
        assert_eq!(
            (&run.more["bytes_each"], &run.more["peak_bytes_each"]),
            (&25.0.into(), &40.0.into())
        );
        assert_eq!(run.measured.peak_memory, Some(9_000));
    }

    #[test]
    fn all_sides_come_to_one_result() {
        for (subject, count, sides) in [
            (Subject::Keys, 3_000, &[LOOP, TIMELY, "engine", CHECKPOINTS][..]),
            (Subject::Windows, 3_000, &[TIMELY, "engine", CHECKPOINTS]),
        ] {
            let checkpoints = Some(Duration::from_millis(50));
            let flags = Flags { checkpoints, ..Flags::on_workers(2) };
            let totals = sides.iter().map(|side| {
                let taken = alone::run(subject, count, side, &flags).unwrap();
                (taken.rows, taken.digest)
            });
            let totals: Vec<_> = totals.collect();
            assert!(totals.iter().all(|other| *other == totals[0]), "{subject:?}: {totals:?}");
            assert!(totals[0].0 >= count);
        }
    }
}
