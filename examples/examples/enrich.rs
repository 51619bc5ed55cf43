//! Flights with the names of their airlines, for which a service is asked: many requests at once, and
//! those under way at a crash are made again.
//!
//! ```text
//! cargo run --release --example enrich -- --output out -w 2
//! ```

#![expect(clippy::print_stdout, reason = "the table is what the program is run for")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use clap::Parser;
use highwater::AsyncOptions;
use highwater::prelude::*;
use highwater_connectors::files::{FileSink, FileSource};

/// Flights by the names of their airlines
#[derive(Parser)]
struct Args {
    /// Files to read: CSV with a header, plain or gzip
    #[arg(long, value_name = "GLOB", default_value = "examples/data/flights.csv")]
    input: String,

    /// Directory for the rows `airline,flights`
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// Requests of a worker that are under way at once
    #[arg(long, default_value_t = 200)]
    requests: usize,

    #[command(flatten)]
    job: JobArgs,
}

/// The columns that are read, by their names in the header.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Flight {
    carrier: String,
    flight: u32,
}

/// In place of a service: answers after some milliseconds, and not each of the first requests.
async fn airline(flight: Flight) -> Result<String, std::io::Error> {
    static REFUSED: AtomicU32 = AtomicU32::new(0);
    tokio::time::sleep(Duration::from_millis(u64::from(flight.flight % 5))).await;
    if flight.flight.is_multiple_of(97) && REFUSED.fetch_add(1, Ordering::Relaxed) < 5 {
        return Err(std::io::Error::other("the service is busy"));
    }
    let name = match flight.carrier.as_str() {
        "AA" => "American Airlines",
        "B6" => "JetBlue Airways",
        "DL" => "Delta Air Lines",
        "UA" => "United Air Lines",
        "US" => "US Airways",
        "WN" => "Southwest Airlines",
        _ => "another airline",
    };
    Ok(name.to_owned())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Args { input, output, requests, job } = Args::parse();
    let to_output = output.clone();
    Job::with_args("enrich", job).run(move |flow| {
        let options = AsyncOptions::unordered()
            .capacity(requests)
            .timeout(Duration::from_secs(5))
            .retries(5, Duration::from_millis(10));
        let flights = flow.source("flights", FileSource::csv::<Flight>(&input));
        let names = flights.rebalance().map_async("names", options, airline);
        let counts = names.key_by(String::clone).emit(Emit::AtEnd).count("count");
        counts.sink("counts", FileSink::csv(&to_output));
    })?;
    show(&output)
}

/// Prints what the sink has written.
fn show(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut counts = BTreeMap::new();
    for part in fs::read_dir(directory)? {
        let part = part?.path();
        // Hidden files are the sink's own.
        if part.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        for row in fs::read_to_string(part)?.lines() {
            let Some((airline, flights)) = row.split_once(',') else { continue };
            counts.insert(airline.to_owned(), flights.parse::<u64>()?);
        }
    }
    println!("airline             flights");
    for (airline, flights) in counts {
        println!("{airline:18}  {flights:7}");
    }
    Ok(())
}
