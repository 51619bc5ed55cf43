//! `windows`: what a sliding window costs beside a tumbling one.
//!
//! A sliding window says a result for each key and each slide in which the key has had records within
//! its size: 3600 an hour and key, where a tumbling one says one. That is work of its own, whatever the
//! records are, so the cost of a record depends on how many of them a result is of. Flink, whose
//! window functions also share slices, says as many results. The same results are therefore made of few
//! records and of many, and what a record costs and what a result costs is told apart.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater::prelude::*;
use highwater::window::{Assigner, Sliding, Tumbling};
use highwater_connectors::generator::GeneratorSource;

use crate::draws::mix;
use crate::report::{median, spread};
use crate::{kept, machine};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const HOUR: Duration = Duration::from_secs(3600);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Records of a key in each second of event time: as many are new in each result
    #[arg(long, value_delimiter = ',', default_values_t = [10, 40, 160])]
    density: Vec<u64>,

    /// Different keys
    #[arg(long, default_value_t = 100)]
    keys: u64,

    /// Hours of event time that the records are spread over
    #[arg(long, default_value_t = 2)]
    hours: u64,

    /// Worker threads
    #[arg(short, long, default_value_t = 2)]
    workers: usize,

    /// Alternating runs of each
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Measure only what sessions and interval joins keep
    #[arg(long)]
    only_kept: bool,
}

/// A record of a key, at a time in milliseconds.
type Record = (u64, i64);

/// What runs have taken.
#[derive(Default)]
struct Taken {
    records: u64,
    results: u64,
    /// Millions of records a second.
    rates: Vec<f64>,
    /// Of all threads, nanoseconds a record.
    cpu: Vec<f64>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    println!("{}", machine::describe());
    if !args.only_kept {
        println!(
            "windows: {} keys, {} hours, {} workers; CPU is of all threads, source and exchange \
             included\n",
            args.keys, args.hours, args.workers
        );
        let mut all = Vec::new();
        for density in &args.density {
            all.push(compare(args, *density)?);
        }
        tell_apart(&all);
    }
    kept::run(args.workers)
}

/// Runs both, with so many records of a key each second.
fn compare(args: &Args, density: u64) -> Result<(Taken, Taken)> {
    let (mut tumbling, mut sliding) = (Taken::default(), Taken::default());
    for _ in 0..args.rounds {
        counted(args, density, (Tumbling::of(HOUR), 1), &mut tumbling)?;
        let sliding_windows = Sliding::of(HOUR, Duration::from_secs(1));
        counted(args, density, (sliding_windows, 3600), &mut sliding)?;
    }
    println!(
        "{density} records of a key each second, {:.0} M in all",
        tumbling.records as f64 / 1e6
    );
    for (what, taken) in [("tumbling, 1 h", &tumbling), ("sliding, 1 h by 1 s", &sliding)] {
        println!(
            "  {what:<20} {} M/s, CPU {} ns a record; {} results, of {:.1} records each",
            spread(&taken.rates, 2),
            spread(&taken.cpu, 0),
            taken.results,
            taken.records as f64 / taken.results as f64
        );
    }
    let ratios = |of: fn(&Taken) -> &Vec<f64>, is_rate: bool| -> Vec<f64> {
        let pairs = of(&tumbling).iter().zip(of(&sliding));
        pairs.map(|(t, s)| if is_rate { t / s } else { s / t }).collect()
    };
    let (time, cpu) = (ratios(|taken| &taken.rates, true), ratios(|taken| &taken.cpu, false));
    println!(
        "  cost of a record     {} of the tumbling window's by time, {} by CPU\n",
        spread(&time, 2),
        spread(&cpu, 2)
    );
    Ok((tumbling, sliding))
}

/// What a record and a result cost, from the runs with the fewest records a result and the most.
fn tell_apart(all: &[(Taken, Taken)]) {
    let [(_, few), .., (tumbling, many)] = all else { return };
    let results_of = |taken: &Taken| taken.results as f64 / taken.records as f64;
    let result = (median(&few.cpu) - median(&many.cpu)) / (results_of(few) - results_of(many));
    let record = median(&many.cpu) - result * results_of(many);
    println!(
        "sliding: CPU {record:.0} ns a record, and {result:.0} ns a result; tumbling: {:.0} ns a \
         record\n",
        median(&tumbling.cpu)
    );
}

/// Counts by key and window, each record being in `overlap` windows.
fn counted<W: Assigner + Copy + Send + Sync>(
    args: &Args,
    density: u64,
    (assigner, overlap): (W, u64),
    taken: &mut Taken,
) -> Result<()> {
    let (keys, span_ms, workers) = (args.keys, args.hours * 3_600_000, args.workers);
    let records = density * keys * args.hours * 3600;
    let (results, sum) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
    let (to_results, to_sum) = (Arc::clone(&results), Arc::clone(&sum));
    let (started, cpu) = (Instant::now(), machine::cpu_seconds());
    Job::new("windows").workers(workers).quiet().execute(move |flow| {
        let record = move |i: u64| {
            (mix(i) % keys, (u128::from(i) * u128::from(span_ms) / u128::from(records)) as i64)
        };
        let by_time =
            Watermarks::bounded(Duration::from_secs(1), |(_, at): &Record| EventTime(*at));
        let records = GeneratorSource::new(records, record).with_watermarks(by_time);
        let mut tally = Tally::new(&to_results, &to_sum);
        flow.source("records", records)
            .keyed()
            .window(assigner, |at: &i64| EventTime(*at))
            .count("count")
            .for_each(move |windowed| tally.add(windowed.value));
    })?;
    let sum = sum.load(Ordering::Relaxed);
    if sum != records * overlap {
        return Err(format!("{sum} counted, of {records} in {overlap} windows each").into());
    }
    taken.records = records;
    taken.results = results.load(Ordering::Relaxed);
    taken.rates.push(records as f64 / started.elapsed().as_secs_f64() / 1e6);
    if let (Some(before), Some(after)) = (cpu, machine::cpu_seconds()) {
        taken.cpu.push((after - before) * 1e9 / records as f64);
    }
    Ok(())
}

/// Sums on the worker, adds up when it is dropped.
struct Tally {
    results: (u64, Arc<AtomicU64>),
    sum: (u64, Arc<AtomicU64>),
}

impl Tally {
    fn new(results: &Arc<AtomicU64>, sum: &Arc<AtomicU64>) -> Tally {
        Tally { results: (0, Arc::clone(results)), sum: (0, Arc::clone(sum)) }
    }

    fn add(&mut self, value: u64) {
        self.results.0 += 1;
        self.sum.0 += value;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        for (mine, all) in [&self.results, &self.sum] {
            all.fetch_add(*mine, Ordering::Relaxed);
        }
    }
}
