//! `windows`: what a sliding window costs beside a tumbling one, and how much state sessions and
//! interval joins keep beside what the watermark still needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater::Summary;
use highwater::prelude::*;
use highwater::window::{Assigner, Session, Sliding, Tumbling};
use highwater_connectors::generator::GeneratorSource;

use crate::machine;
use crate::report::spread;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const HOUR: Duration = Duration::from_secs(3600);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Records of a run
    #[arg(long, default_value_t = 50_000_000)]
    records: u64,

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
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// A record of a key, at a time in milliseconds.
type Record = (u64, i64);

/// A well-mixed number for each `i` (splitmix64; Steele, Lea, Flood 2014).
fn mix(i: u64) -> u64 {
    let mut z = i.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn by_time() -> Watermarks<Record> {
    Watermarks::bounded(Duration::from_secs(1), |(_, at): &Record| EventTime(*at))
}

pub(crate) fn run(args: &Args) -> Result<()> {
    println!("{}", machine::describe());
    println!(
        "windows: {} M records of {} keys in {} hours, {} workers\n",
        args.records / 1_000_000,
        args.keys,
        args.hours,
        args.workers
    );
    let (mut tumbling, mut sliding) = (Vec::new(), Vec::new());
    let mut results = (0, 0);
    for _ in 0..args.rounds {
        let (rate, said) = counted(args, Tumbling::of(HOUR), 1)?;
        tumbling.push(rate);
        results.0 = said;
        let (rate, said) = counted(args, Sliding::of(HOUR, Duration::from_secs(1)), 3600)?;
        sliding.push(rate);
        results.1 = said;
    }
    let ratios: Vec<_> = tumbling.iter().zip(&sliding).map(|(t, s)| t / s).collect();
    println!("tumbling, 1 h        {} M/s, {} results", spread(&tumbling, 2), results.0);
    println!("sliding, 1 h by 1 s  {} M/s, {} results", spread(&sliding, 2), results.1);
    println!("cost of a record     {} of the tumbling window's\n", spread(&ratios, 2));
    sessions(args)?;
    joins(args)
}

/// Counts by key and window, each record being in `overlap` windows; returns millions of records a
/// second, and how many results there were.
fn counted<W: Assigner + Copy + Send + Sync>(
    args: &Args,
    assigner: W,
    overlap: u64,
) -> Result<(f64, u64)> {
    let Args { records, keys, hours, workers, .. } = *args;
    let (results, counted) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (to_results, to_counted) = (Arc::clone(&results), Arc::clone(&counted));
    let started = Instant::now();
    let span_ms = hours * 3_600_000;
    Job::new("windows").workers(workers).quiet().execute(move |flow| {
        let record = move |i: u64| {
            (mix(i) % keys, (u128::from(i) * u128::from(span_ms) / u128::from(records)) as i64)
        };
        let records = GeneratorSource::new(records, record).with_watermarks(by_time());
        let mut tally = Tally::new(&to_results, &to_counted);
        flow.source("records", records)
            .keyed()
            .window(assigner, |at: &i64| EventTime(*at))
            .count("count")
            .for_each(move |windowed| tally.add(windowed.value));
    })?;
    let rate = records as f64 / started.elapsed().as_secs_f64() / 1e6;
    let counted = counted.load(Ordering::Relaxed);
    if counted != records * overlap {
        return Err(format!("{counted} counted, of {records} in {overlap} windows each").into());
    }
    Ok((rate, results.load(Ordering::Relaxed)))
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

/// The most entries that an operator held at the end of an epoch, of those looked at.
struct Peak(Arc<AtomicU64>);

impl Peak {
    fn new() -> Peak {
        Peak(Arc::default())
    }

    /// Looks now and then, when a result comes.
    fn watch(&self, flow: &highwater::Flow<'_>) -> impl FnMut() + use<> {
        let (run, peak, mut calls) =
            (Arc::clone(flow.checkpoints().run()), Arc::clone(&self.0), 0_u32);
        move || {
            calls = calls.wrapping_add(1);
            if calls.is_multiple_of(256) {
                peak.fetch_max(run.status().state().entries, Ordering::Relaxed);
            }
        }
    }

    fn entries(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Epochs are what the state is looked at by.
fn looked_at(name: &str, workers: usize) -> Job {
    Job::new(name).workers(workers).checkpoint_interval(Duration::from_millis(20)).quiet()
}

/// A session a millisecond, each of ten records within ten seconds, that ends after thirty.
fn sessions(args: &Args) -> Result<()> {
    let count = 1_000_000;
    let peak = Peak::new();
    let watched = Peak(Arc::clone(&peak.0));
    let summary = looked_at("sessions", args.workers).execute(move |flow| {
        let record = move |i: u64| {
            // In the order of time: of each session the n-th record comes n seconds after its first.
            let (at, nth) = (i / 10, i % 10);
            (at.wrapping_sub(nth * 1000), at as i64)
        };
        let records = GeneratorSource::new(count * 10, record).with_watermarks(by_time());
        let mut look = watched.watch(flow);
        flow.source("records", records)
            .keyed()
            .window(Session::gap(Duration::from_secs(30)), |at: &i64| EventTime(*at))
            .count("sessions")
            .for_each(move |_| look());
    })?;
    // Ten seconds of records, the gap, the second that records may be out of order.
    report("sessions", &peak, 10_000 + 30_000 + 1_000, &summary);
    Ok(())
}

/// Two records a millisecond, one on each side, of keys that meet within thirty seconds.
fn joins(args: &Args) -> Result<()> {
    let count = 1_000_000;
    let peak = Peak::new();
    let watched = Peak(Arc::clone(&peak.0));
    let summary = looked_at("interval-join", args.workers).execute(move |flow| {
        let record = |i: u64| (i, i as i64);
        let lefts = GeneratorSource::new(count, record).with_watermarks(by_time());
        let rights = GeneratorSource::new(count, record).with_watermarks(by_time());
        let rights = flow.source("rights", rights);
        let mut look = watched.watch(flow);
        flow.source("lefts", lefts)
            .keyed()
            .connect(rights.keyed())
            .event_times(|at| EventTime(*at), |at| EventTime(*at))
            .interval_join("join", 0, 30_000)
            .inner(|key, _, _| *key)
            .for_each(move |_| look());
    })?;
    // A left record waits thirty seconds for its right one, a right one for none that is later; both
    // for a second more. Each has an entry, and a timer of its key.
    report("interval join", &peak, (30_000 + 1_000 + 1_000) * 2, &summary);
    Ok(())
}

fn report(what: &str, peak: &Peak, needed: u64, summary: &Summary) {
    println!(
        "{what}: {} records, at most {} entries at the end of an epoch; the watermark needs about \
         {needed}, and what is under way",
        summary.records_in,
        peak.entries()
    );
}
