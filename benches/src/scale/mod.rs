//! `scale`: what grows with what: throughput with workers and processes, with the size of the state and
//! the number of epochs a second, and what operators cost that have nothing to do.
//!
//! A job of the engine runs in one process. The row of two processes is of hand-written timely alone, and says
//! what an exchange over loopback costs.

mod counted;
mod idle;
mod meter;
mod processes;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use self::counted::{Checkpoints, Work};
use crate::facts::Facts;
use crate::report::{median, spread};

pub(crate) use self::processes::{Args as ProcessArgs, run as run_process};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What to look at; all of it if not said
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<What>,

    /// Records of a run, after those that fill the state, millions
    #[arg(long, default_value_t = 100)]
    records: u64,

    /// Keys, millions; ten times as many as well
    #[arg(long, default_value_t = 1)]
    keys: u64,

    /// Numbers of worker threads; 1 to as many as there are cores if not given
    #[arg(short, long, value_delimiter = ',')]
    workers: Vec<usize>,

    /// Idle operators
    #[arg(long, default_value_t = 1000)]
    operators: usize,

    /// How long an idle job is watched
    #[arg(long, default_value = "10s", value_parser = highwater::job::parse_duration)]
    idle: Duration,

    /// Alternating runs of each
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Where checkpoints go: a folder on the disk that is to be measured
    #[arg(long, default_value = ".")]
    dir: PathBuf,

    /// Append a line of JSON to this file for each run
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// 1 worker to as many as there are cores
    Workers,
    /// Two workers in one process and in two
    Processes,
    /// The state, once and ten times as large
    State,
    /// Operators that have nothing to do
    Idle,
    /// A hundred epochs a second
    Epochs,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let mut facts = Facts::open("scale", args.json.as_deref())?;
    let looks: [(What, fn(&Args, &mut Facts) -> Result<()>); 5] = [
        (What::Workers, by_workers),
        (What::Processes, by_processes),
        (What::State, by_state),
        (What::Idle, by_idle),
        (What::Epochs, by_epochs),
    ];
    for (what, look) in looks {
        if args.only.is_empty() || args.only.contains(&what) {
            println!();
            look(args, &mut facts)?;
        }
    }
    Ok(())
}

impl Args {
    fn most(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        self.workers.iter().copied().max().unwrap_or(cores)
    }

    fn all_workers(&self) -> Vec<usize> {
        if self.workers.is_empty() { (1..=self.most()).collect() } else { self.workers.clone() }
    }

    fn work(&self) -> Work {
        Work { keys: self.keys * 1_000_000, records: self.records * 1_000_000 }
    }
}

/// One row: how it is called, how many workers it has, and how its rate is measured.
struct Row<'a> {
    case: String,
    side: String,
    workers: usize,
    measure: Box<dyn Fn() -> Result<f64> + 'a>,
    rates: Vec<f64>,
}

impl<'a> Row<'a> {
    fn new(
        case: impl Into<String>,
        side: &str,
        workers: usize,
        measure: impl Fn() -> Result<f64> + 'a,
    ) -> Row<'a> {
        let (case, side) = (case.into(), side.to_owned());
        Row { case, side, workers, measure: Box::new(measure), rates: Vec::new() }
    }

    /// The ratios of its rates per worker to those of another in the same rounds.
    fn per_worker_of(&self, other: &Row<'_>) -> Vec<f64> {
        let share = other.workers as f64 / self.workers as f64;
        self.rates.iter().zip(&other.rates).map(|(rate, other)| rate / other * share).collect()
    }
}

/// Measures all rows in turn, and prints them, each beside the first of its side.
fn alternate(args: &Args, facts: &mut Facts, mut rows: Vec<Row<'_>>) -> Result<Vec<(String, f64)>> {
    for round in 0..args.rounds.max(1) {
        for row in &mut rows {
            let rate = (row.measure)()?;
            let found = json!({
                "workers": row.workers,
                "records": args.records * 1_000_000,
                "records_per_second": rate,
                "records_per_second_and_core": rate / row.workers as f64,
            });
            facts.append(&row.case, &row.side, round, found)?;
            row.rates.push(rate);
        }
    }
    let mut ratios = Vec::new();
    for row in &rows {
        let millions: Vec<f64> = row.rates.iter().map(|rate| rate / 1e6).collect();
        let first = rows.iter().find(|first| first.side == row.side).unwrap_or(row);
        let of_first = row.per_worker_of(first);
        println!(
            "{:<24}{:<12}{} M/s, {:.1} a worker, {} of the first a worker",
            row.case,
            row.side,
            spread(&millions, 1),
            median(&millions) / row.workers as f64,
            spread(&of_first, 2)
        );
        ratios.push((row.side.clone(), median(&of_first)));
    }
    Ok(ratios)
}

fn by_workers(args: &Args, facts: &mut Facts) -> Result<()> {
    println!("workers: keyed count of {} M keys", args.keys);
    let work = args.work();
    let rows = args.all_workers().into_iter().flat_map(|workers| {
        let case = format!("{workers} workers");
        [
            Row::new(&case, "timely", workers, move || counted::by_hand(work, workers)),
            Row::new(&case, "engine", workers, move || {
                counted::engine(work, workers, None).map(|counted| counted.rate)
            }),
        ]
    });
    alternate(args, facts, rows.collect()).map(drop)
}

fn by_processes(args: &Args, facts: &mut Facts) -> Result<()> {
    println!("processes: keyed count of {} M keys; the engine has jobs of one process", args.keys);
    let work = args.work();
    let rows = vec![
        Row::new("1 process of 2", "timely", 2, move || counted::by_hand(work, 2)),
        Row::new("2 processes of 1", "timely", 2, move || processes::by_hand(work, 2)),
        Row::new("1 process of 2", "engine", 2, move || {
            counted::engine(work, 2, None).map(|counted| counted.rate)
        }),
    ];
    alternate(args, facts, rows).map(drop)
}

fn by_state(args: &Args, facts: &mut Facts) -> Result<()> {
    let workers = args.most();
    println!("state: keyed count, {workers} workers; bar: 0.7 of the rate at a tenth of the state");
    let mut rows = Vec::new();
    for times in [1, 10] {
        let work = Work { keys: args.keys * 1_000_000 * times, ..args.work() };
        let case = format!("{} M keys", work.keys / 1_000_000);
        rows.push(Row::new(&case, "timely", workers, move || counted::by_hand(work, workers)));
        rows.push(Row::new(&case, "engine", workers, move || {
            counted::engine(work, workers, None).map(|counted| counted.rate)
        }));
    }
    let ratios = alternate(args, facts, rows)?;
    let ratio = ratios.iter().rfind(|(side, _)| side == "engine").map_or(f64::NAN, |(_, r)| *r);
    println!("bar: {}, {ratio:.2}", if ratio >= 0.7 { "met" } else { "missed" });
    Ok(())
}

fn by_epochs(args: &Args, facts: &mut Facts) -> Result<()> {
    const KEYS: u64 = 1000;
    let workers = args.most();
    println!(
        "epochs: keyed count of {KEYS} keys, {workers} workers; bar: under 10 % for 100 a second"
    );
    let work = Work { keys: KEYS, ..args.work() };
    let engine = |interval: Option<Duration>| {
        let dir = args.dir.clone();
        let checkpoints = interval.map(|interval| Checkpoints { interval, dir });
        move || {
            let counted = counted::engine(work, workers, checkpoints.as_ref())?;
            if let Some(at) = &checkpoints {
                eprintln!("  each {:?}: {} checkpoints", at.interval, counted.checkpoints);
            }
            Ok(counted.rate)
        }
    };
    let rows = vec![
        Row::new("no checkpoints", "engine", workers, engine(None)),
        Row::new("1 a second", "engine", workers, engine(Some(Duration::from_secs(1)))),
        Row::new("100 a second", "engine", workers, engine(Some(Duration::from_millis(10)))),
    ];
    let ratios = alternate(args, facts, rows)?;
    let cost = 1.0 - ratios.last().map_or(f64::NAN, |(_, ratio)| *ratio);
    let verdict = if cost < 0.1 { "met" } else { "missed" };
    println!("bar: {verdict}, 100 checkpoints a second cost {:.1} %", cost * 100.0);
    Ok(())
}

fn by_idle(args: &Args, facts: &mut Facts) -> Result<()> {
    let workers = args.most();
    println!(
        "idle: jobs of {workers} workers that have nothing to do for {:?}; bar: under 2 % of a core",
        args.idle
    );
    let rows = [(1, false), (args.operators, false), (1, true), (args.operators, true)];
    let mut all: Vec<Vec<f64>> = vec![Vec::new(); rows.len()];
    let name = |operators, is_durable| {
        let checkpoints = if is_durable { ", a checkpoint each 10 s" } else { "" };
        format!("{operators} operators{checkpoints}")
    };
    for round in 0..args.rounds.max(1) {
        for ((operators, is_durable), percents) in rows.iter().zip(&mut all) {
            let folder = tempfile::tempdir_in(&args.dir)?;
            let folder = is_durable.then(|| folder.path());
            let idle = idle::run(*operators, workers, args.idle, folder)?;
            let found = json!({
                "workers": workers,
                "operators": operators,
                "seconds": args.idle.as_secs_f64(),
                "percent_of_core": idle.cores * 100.0,
                "checkpoints": is_durable.then_some(idle.checkpoints),
            });
            facts.append(&name(*operators, *is_durable), "engine", round, found)?;
            percents.push(idle.cores * 100.0);
        }
    }
    for ((operators, is_durable), percents) in rows.iter().zip(&all) {
        let verdict = if median(percents) < 2.0 { "met" } else { "missed" };
        let name = name(*operators, *is_durable);
        println!("{name:<42}{} % of a core: {verdict}", spread(percents, 2));
    }
    Ok(())
}
