//! Which airlines, and which airports, keep one waiting: mean departure delays, exactly once.
//!
//! ```text
//! cargo run --release --example flights -- --output out -w 2
//! ```

#![expect(clippy::print_stdout, reason = "the table is what the program is run for")]

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;
use highwater::prelude::*;
use highwater_connectors::files::{FileSink, FileSource};

/// Mean departure delays of flights, by carrier and by origin airport
#[derive(Parser)]
struct Args {
    /// Files to read: CSV with a header, plain or gzip
    #[arg(long, value_name = "GLOB", default_value = "examples/data/flights.csv")]
    input: String,

    /// Directory for the rows `carrier,minutes,flights` and `airport,minutes,flights`
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    job: JobArgs,
}

/// The columns that are read, by their names in the header.
#[derive(Clone, serde::Deserialize)]
struct Flight {
    carrier: String,
    origin: String,
    /// In minutes, negative before time; none for a flight that was cancelled.
    dep_delay: Option<i64>,
}

/// The mean, and of how many. The sum is kept in whole minutes, so it has no rounding that would
/// depend on the order of the flights.
struct Mean;

impl Aggregator for Mean {
    type Input = i64;
    type Accumulator = (i64, u64);
    type Output = (f64, u64);

    fn init(&self) -> (i64, u64) {
        (0, 0)
    }
    fn add(&self, (sum, count): &mut (i64, u64), minutes: i64) {
        *sum += minutes;
        *count += 1;
    }
    fn output(&self, (sum, count): &(i64, u64)) -> (f64, u64) {
        (*sum as f64 / *count as f64, *count)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Args { input, output, job } = Args::parse();
    let (by_carrier, by_airport) = (output.join("by-carrier"), output.join("by-airport"));
    let (carriers, airports) = (by_carrier.clone(), by_airport.clone());
    Job::with_args("flights", job).run(move |flow| {
        let flights = flow.source("flights", FileSource::csv::<Flight>(&input).null("NA"));
        let carrier = |flight: Flight| Some((flight.carrier, flight.dep_delay?));
        let origin = |flight: Flight| Some((flight.origin, flight.dep_delay?));
        let by_carrier = flights.clone().filter_map(carrier).keyed().emit(Emit::AtEnd);
        by_carrier.aggregate("carrier-delay", Mean).sink("carriers", FileSink::csv(&carriers));
        let by_airport = flights.filter_map(origin).keyed().emit(Emit::AtEnd);
        by_airport.aggregate("airport-delay", Mean).sink("airports", FileSink::csv(&airports));
    })?;
    show("carrier", &by_carrier)?;
    show("airport", &by_airport)
}

/// Prints what a sink has written, the longest delay first.
fn show(title: &str, directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut rows = Vec::new();
    for part in fs::read_dir(directory)? {
        let part = part?.path();
        // Hidden files are the sink's own.
        if part.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        for row in fs::read_to_string(part)?.lines() {
            let [key, minutes, flights] = row.split(',').collect::<Vec<_>>()[..] else { continue };
            rows.push((minutes.parse::<f64>()?, key.to_owned(), flights.to_owned()));
        }
    }
    rows.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("\n{title}  minutes  flights");
    for (minutes, key, flights) in rows {
        println!("{key:7}  {minutes:7.2}  {flights:>7}");
    }
    Ok(())
}
