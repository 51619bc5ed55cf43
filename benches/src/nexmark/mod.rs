//! `nexmark`: the queries q0 to q22, each beside a dataflow of the same semantics by hand.
//!
//! The sides of a query alternate in one process, over the same events, and must come to the same
//! result; where the result is on record for this number of events, to that one.

mod by_hand;
mod digest;
mod draws;
mod event;
mod generator;
mod queries;
mod recorded;
mod run;
mod source;
mod table;
mod text;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use self::digest::Totals;
use self::generator::Generator;
use self::recorded::{Recorded, Size};
use self::run::{Run, Setup};
use self::source::Events;
use self::table::{QUERIES, Query};
use crate::machine;
use crate::report::median;
use crate::rounds::{Side, line};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Queries to run: names such as q4, or all
    #[arg(long, value_delimiter = ',', default_value = "all")]
    query: Vec<String>,

    /// Events of a run
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,

    /// Events a second of event time; the standard's default
    #[arg(long, default_value_t = 10_000)]
    events_per_second: u64,

    /// Seed of the events
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Make the events before the clock starts, rather than in the job
    #[arg(long)]
    prepared: bool,

    /// Worker threads
    #[arg(short, long, default_value_t = 2)]
    workers: usize,

    /// Alternating runs of each side
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Run the engine with checkpoints as well, one each such time
    #[arg(long, value_name = "INTERVAL", value_parser = highwater::job::parse_duration)]
    checkpoints: Option<Duration>,

    /// Run only one side: for a profile, or for peak memory
    #[arg(long, value_enum)]
    only: Option<Which>,

    /// Append a line of JSON to this file for each run
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Put the results on record, for runs of this size to be compared with
    #[arg(long)]
    record: bool,
}

/// A side of a query.
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
    fn name(self) -> &'static str {
        match self {
            Which::Timely => "timely",
            Which::Engine => "engine",
            Which::Checkpoints => "checkpoints",
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut wrong = Vec::new();
    let queries = chosen(&args.query, &mut wrong);
    for error in &wrong {
        println!("error: {error}");
    }
    let size = Size::of(args);
    let generator = Generator::new(args.seed, args.events_per_second);
    let events = Events::new(generator, args.events);
    let events = if args.prepared { events.prepare() } else { events };
    let setup = Setup::new(events, args.workers, args.checkpoints);
    let head = Head::new(args);
    println!("{}\n{}\n{}", head.machine, head.versions, head.what);
    let mut recorded = Recorded::load()?;
    for query in queries {
        let mut sides = sides(args);
        let outcome = compare(args, &setup, query, &mut sides, &head);
        print_sides(args, query, &sides);
        match outcome {
            Ok(totals) => {
                if args.record {
                    recorded.put(size, query.name, totals);
                } else if let Err(error) = recorded.check(size, query.name, totals) {
                    println!("     error: {error}");
                    wrong.push(error);
                }
            }
            Err(error) => {
                println!("     error: {error}");
                wrong.push(format!("{}: {error}", query.name));
            }
        }
    }
    if args.record {
        recorded.save()?;
    }
    match wrong.as_slice() {
        [] => Ok(()),
        wrong => Err(format!("{} of the queries failed: {}", wrong.len(), wrong.join("; ")).into()),
    }
}

/// The queries with these names; what is no query's name is noted.
fn chosen(names: &[String], wrong: &mut Vec<String>) -> Vec<&'static Query> {
    let mut queries = Vec::new();
    for name in names {
        if name == "all" {
            queries.extend(&QUERIES);
        } else if let Some(query) = QUERIES.iter().find(|query| query.name == name) {
            queries.push(query);
        } else {
            wrong.push(format!("there is no query {name:?}: they are q0 to q22, and all"));
        }
    }
    queries
}

fn sides(args: &Args) -> Vec<(Which, Side)> {
    let all = [Which::Timely, Which::Engine, Which::Checkpoints];
    let wanted = all.into_iter().filter(|which| match args.only {
        Some(only) => *which == only,
        None => *which != Which::Checkpoints || args.checkpoints.is_some(),
    });
    wanted.map(|which| (which, Side::new(which.name()))).collect()
}

/// Runs the sides in turn; their common result, if they have one.
fn compare(
    args: &Args,
    setup: &Setup,
    query: &Query,
    sides: &mut [(Which, Side)],
    head: &Head,
) -> Result<Totals> {
    let mut common: Option<(&'static str, Totals)> = None;
    for round in 0..args.rounds.max(1) {
        for (which, side) in &mut *sides {
            let run = match which {
                Which::Timely => (query.by_hand)(setup)?,
                Which::Engine => (query.engine)(setup, false)?,
                Which::Checkpoints => (query.engine)(setup, true)?,
            };
            side.runs.push(run.measured);
            if let Some(json) = &args.json {
                append(json, &head.json(args, query, *which, round, &run))?;
            }
            match common {
                Some((name, totals)) if totals != run.totals => {
                    return Err(format!(
                        "the results differ: {name} has {totals}, {} has {}",
                        side.name, run.totals
                    )
                    .into());
                }
                _ => common = Some((side.name, run.totals)),
            }
        }
    }
    common.map(|(_, totals)| totals).ok_or_else(|| "nothing was run".into())
}

fn append(path: &PathBuf, line: &serde_json::Value) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    Ok(writeln!(file, "{line}")?)
}

fn print_sides(args: &Args, query: &Query, sides: &[(Which, Side)]) {
    let mut before: Vec<&Side> = Vec::new();
    for (_, side) in sides.iter().filter(|(_, side)| !side.runs.is_empty()) {
        let name = if before.is_empty() { query.name } else { "" };
        println!("{name:<4} {}", line(side, args.workers, &before));
        before.push(side);
    }
    let found = |which| sides.iter().find(|(side, _)| *side == which).map(|(_, side)| side);
    if let (Some(engine), Some(durable)) = (found(Which::Engine), found(Which::Checkpoints))
        && !durable.runs.is_empty()
    {
        let cost = 1.0 - median(&durable.ratios(engine));
        println!("     checkpoints cost {:.1} %", cost * 100.0);
    }
}

/// What is the same for all runs.
struct Head {
    machine: String,
    versions: String,
    what: String,
}

impl Head {
    fn new(args: &Args) -> Head {
        let source = if args.prepared {
            "made before the clock starts"
        } else {
            "made in the job, which is in the figures"
        };
        let checkpoints = match args.checkpoints {
            Some(interval) => format!("a checkpoint each {interval:?}"),
            None => "no checkpoints".to_owned(),
        };
        let what = format!(
            "nexmark: {} M events, {} a second of event time, {source}; {} workers, {checkpoints}, {} rounds",
            args.events as f64 / 1e6,
            args.events_per_second,
            args.workers,
            args.rounds
        );
        Head { machine: machine::describe(), versions: machine::versions(), what }
    }

    fn json(
        &self,
        args: &Args,
        query: &Query,
        which: Which,
        round: usize,
        run: &Run,
    ) -> serde_json::Value {
        let summary = run.summary.as_ref();
        serde_json::json!({
            "suite": "nexmark",
            "machine": self.machine,
            "versions": self.versions,
            "query": query.name,
            "side": which.name(),
            "round": round,
            "events": run.measured.records,
            "events_per_second_of_event_time": args.events_per_second,
            "prepared": args.prepared,
            "workers": args.workers,
            "seconds": run.measured.seconds,
            "events_per_second": run.measured.rate(),
            "events_per_second_and_core": run.measured.rate() / args.workers as f64,
            "cpu_seconds": run.measured.cpu_seconds,
            "peak_memory_bytes": run.measured.peak_memory,
            "rows": run.totals.rows,
            "digest": format!("{:016x}", run.totals.digest),
            "checkpoint_interval_seconds": args.checkpoints.map(|interval| interval.as_secs_f64()),
            "checkpoints": summary.map(|summary| summary.checkpoints),
            "checkpoint_bytes": summary.map(|summary| summary.checkpoint_bytes),
            "checkpoint_seconds": summary.map(|summary| {
                summary.checkpoint_durations.iter().map(Duration::as_secs_f64).collect::<Vec<_>>()
            }),
            "state_bytes": summary.map(|summary| summary.state.bytes),
        })
    }
}

#[cfg(test)]
mod tests;
