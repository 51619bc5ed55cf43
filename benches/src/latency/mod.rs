//! `latency`: a keyed count under a load that comes by the clock, from when an event was due to when its
//! count is at the end of the dataflow; beside the same by hand in timely.
//!
//! The load is the same however the job does: an event that could not be taken in time is late from when
//! it was due. The rate is given, or half of what the engine takes without checkpoints, measured first
//! with the same events. Each event carries its time through the state, so that it is noted for every one of
//! them and not for a sample.

mod by_hand;
mod clock;
mod events;
mod lags;
mod pace;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::{Job, Summary};
use serde_json::json;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use self::clock::Clock;
use self::events::Events;
use self::lags::{BAR_US, Lags, Watch};
use crate::by_hand::Batches;
use crate::facts::Facts;
use crate::report::{median, spread};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Events a second of all workers; half of the saturated rate if not given
    #[arg(long)]
    rate: Option<f64>,

    /// Different keys, all of which change all the time
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,

    /// How long events are due that count
    #[arg(long, default_value = "10s", value_parser = highwater::job::parse_duration)]
    lasts: Duration,

    /// How long events are due before that, which do not count: keys come into being
    #[arg(long, default_value = "3s", value_parser = highwater::job::parse_duration)]
    warm_up: Duration,

    /// Time from one checkpoint to the next
    #[arg(long, default_value = "1s", value_parser = highwater::job::parse_duration)]
    interval: Duration,

    /// Worker threads
    #[arg(short, long, default_value_t = 2)]
    workers: usize,

    /// Alternating runs of each
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Run only one side: for a profile
    #[arg(long, value_enum)]
    only: Option<Which>,

    /// Print the worst latency of each 50 ms
    #[arg(long)]
    timeline: bool,

    /// Where checkpoints go: a folder on the disk that is to be measured
    #[arg(long, default_value = ".")]
    dir: PathBuf,

    /// Append a line of JSON to this file for each run
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How the events are worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Which {
    /// The dataflow written by hand
    Timely,
    /// The engine without checkpoints
    Engine,
    /// The engine with checkpoints
    Checkpoints,
}

impl Which {
    const ALL: [Which; 3] = [Which::Timely, Which::Engine, Which::Checkpoints];

    fn name(self) -> &'static str {
        match self {
            Which::Timely => "timely",
            Which::Engine => "engine",
            Which::Checkpoints => "checkpoints",
        }
    }
}

/// What is asked of the engine at half of the saturated rate: within so many milliseconds.
const BARS: [(f64, f64); 2] = [(0.99, 5.0), (0.999, 20.0)];

const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut facts = Facts::open("latency", args.json.as_deref())?;
    let rate = match args.rate {
        Some(rate) if rate > 0.0 && rate.is_finite() => rate,
        Some(rate) => return Err(format!("--rate {rate}: not above 0").into()),
        None => half_of_saturated(args)?,
    };
    println!(
        "latency: {:.2} M events a second, {} k keys, {} workers, for {:?} after {:?}; checkpoints each {:?}",
        rate / 1e6,
        args.keys / 1000,
        args.workers,
        args.lasts,
        args.warm_up,
        args.interval
    );
    let case = format!("{:.1} M/s, {} k keys", rate / 1e6, args.keys / 1000);
    let mut runs: Vec<(Which, Vec<Lags>)> = Which::ALL.map(|which| (which, Vec::new())).into();
    runs.retain(|(which, _)| args.only.is_none_or(|only| only == *which));
    for round in 0..args.rounds.max(1) {
        for (which, all) in &mut runs {
            let (lags, summary) = measure(args, *which, Some(rate))?;
            println!("round {round}: {:<12}{}", which.name(), line(&lags));
            if args.timeline {
                println!("  worst of each {} ms: {:?}", BAR_US / 1000, lags.worst_ms());
            }
            facts.append(
                &case,
                which.name(),
                round,
                found(args, rate, &lags, summary.as_ref(), *which),
            )?;
            all.push(lags);
        }
    }
    println!();
    for (which, lags) in &runs {
        print_side(*which, lags);
    }
    Ok(())
}

/// Measures what the engine takes, and halves it.
fn half_of_saturated(args: &Args) -> Result<f64> {
    let rates = (0..3).map(|_| {
        let (lags, _) = measure(args, Which::Engine, None)?;
        Ok(lags.events() as f64 / args.lasts.as_secs_f64())
    });
    let rates = rates.collect::<Result<Vec<f64>>>()?;
    let millions: Vec<f64> = rates.iter().map(|rate| rate / 1e6).collect();
    println!("saturated: {} M/s", spread(&millions, 1));
    Ok((median(&rates) / 2.0).round())
}

fn measure(args: &Args, which: Which, rate: Option<f64>) -> Result<(Lags, Option<Summary>)> {
    let events = Events {
        clock: Arc::new(Clock::default()),
        keys: args.keys.max(1),
        rate,
        lasts: args.warm_up + args.lasts,
        sources: args.workers as u64,
    };
    let warm_up_us = args.warm_up.as_micros() as u64;
    let (lags, summary) = match which {
        Which::Timely => (by_hand::run(&events, args.workers, warm_up_us)?, None),
        Which::Engine => engine(args, &events, warm_up_us, false)?,
        Which::Checkpoints => engine(args, &events, warm_up_us, true)?,
    };
    let expected = rate.map(|rate| rate * args.lasts.as_secs_f64());
    match expected {
        // Half an event at either end, of each source.
        Some(expected) if (expected - lags.events() as f64).abs() > 1.0 + args.workers as f64 => {
            Err(format!("{} events came, {expected:.0} were due", lags.events()).into())
        }
        _ => Ok((lags, summary)),
    }
}

fn engine(
    args: &Args,
    events: &Events,
    warm_up_us: u64,
    is_durable: bool,
) -> Result<(Lags, Option<Summary>)> {
    let folder = tempfile::tempdir_in(&args.dir)?;
    let mut job = Job::new("latency").workers(args.workers).quiet();
    if is_durable {
        job = job.checkpoint_interval(args.interval);
        job = job.checkpoint_dir(folder.path().to_string_lossy());
    }
    let total = Arc::new(Mutex::new(Lags::default()));
    let (events, seen) = (events.clone(), Arc::clone(&total));
    let summary = job.execute(move |flow| {
        let mut watch = Watch::new(Arc::clone(&events.clock), warm_up_us, Arc::clone(&seen));
        let counts = flow.source("events", events.clone()).keyed().fold(
            "count",
            (0_u64, 0_u64),
            |(count, due_us), due| {
                *count += 1;
                *due_us = due;
            },
        );
        // Whole batches, for to read the clock for each event costs as much as the event does.
        let watched =
            counts.into_timely().unary::<Batches<()>, _, _, _>(Pipeline, "Watch", |_, _| {
                move |input, _| {
                    input.for_each(|_, batch| {
                        watch.arrived(batch.drain(..).map(|(_, (_, due_us))| due_us));
                    });
                }
            });
        flow.from_timely(watched).for_each(|()| {});
    })?;
    let lags = total.lock().map_err(|_| "a worker panicked")?.clone();
    Ok((lags, Some(summary)))
}

fn line(lags: &Lags) -> String {
    let mut line = String::new();
    for (name, share) in SHARES {
        let _ = write!(line, "{name} {:8.3} ms  ", lags.within_ms(share));
    }
    let _ = write!(line, "max {:8.3} ms", lags.max_ms());
    line
}

fn print_side(which: Which, runs: &[Lags]) {
    print!("{:<12}", which.name());
    for (name, share) in SHARES {
        let all: Vec<f64> = runs.iter().map(|lags| lags.within_ms(share)).collect();
        print!("  {name} {} ms", spread(&all, 2));
    }
    let all: Vec<f64> = runs.iter().map(Lags::max_ms).collect();
    println!("  max {} ms", spread(&all, 1));
    if which == Which::Timely {
        return;
    }
    for (share, bar_ms) in BARS {
        let within = median(&runs.iter().map(|lags| lags.within_ms(share)).collect::<Vec<_>>());
        let verdict = if within < bar_ms { "met" } else { "missed" };
        println!("  {} % within {bar_ms} ms: {verdict}, {within:.2} ms", share * 100.0);
    }
}

fn found(
    args: &Args,
    rate: f64,
    lags: &Lags,
    summary: Option<&Summary>,
    which: Which,
) -> serde_json::Value {
    let durable = summary.filter(|_| which == Which::Checkpoints);
    let durations = |summary: &Summary| -> Vec<f64> {
        summary.checkpoint_durations.iter().map(Duration::as_secs_f64).collect()
    };
    json!({
        "workers": args.workers,
        "records": lags.events(),
        "seconds": args.lasts.as_secs_f64(),
        "offered_per_second": rate,
        "p50_ms": lags.within_ms(0.5),
        "p99_ms": lags.within_ms(0.99),
        "p99_9_ms": lags.within_ms(0.999),
        "max_ms": lags.max_ms(),
        "timeline_bar_ms": BAR_US / 1000,
        "timeline_worst_ms": lags.worst_ms(),
        "checkpoint_interval_seconds": durable.map(|_| args.interval.as_secs_f64()),
        "checkpoints": durable.map(|summary| summary.checkpoints),
        "checkpoint_seconds": durable.map(durations),
        "checkpoint_bytes": durable.map(|summary| summary.checkpoint_bytes),
        "stall_seconds_max": durable.map(|summary| summary.stall_max.as_secs_f64()),
        "state_bytes": summary.map(|summary| summary.state.bytes),
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    /// Each side sees every event that is due after the warm-up, at the rate that was asked for.
    #[test]
    fn every_event_that_is_due_is_noted_on_all_sides() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_string_lossy().into_owned();
        let args = [
            "p",
            "--keys",
            "100",
            "--lasts",
            "200ms",
            "--warm-up",
            "100ms",
            "--interval",
            "50ms",
            "--dir",
            &dir,
        ];
        let args = Program::parse_from(args).args;
        for which in Which::ALL {
            let (lags, summary) = measure(&args, which, Some(20_000.0)).unwrap();
            assert!(lags.events().abs_diff(4_000) <= 2, "{which:?}: {}", lags.events());
            assert!(lags.within_ms(0.5) <= lags.max_ms());
            assert_eq!(summary.is_some(), which != Which::Timely);
            if which == Which::Checkpoints {
                assert!(summary.unwrap().checkpoints > 0);
            }
        }
    }
}
