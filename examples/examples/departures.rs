//! Which planes use New York's airports, each said once, and their longest delays: state of the
//! program's own, a map with a time to live and one that is kept in order.
//!
//! ```text
//! cargo run --release --example departures -- --output out -w 2
//! ```

#![expect(clippy::print_stdout, reason = "the table is what the program is run for")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use highwater::prelude::*;
use highwater::state::Ttl;
use highwater_connectors::files::{FileSink, FileSource};

/// How many of an airport's delays are kept.
const LONGEST: usize = 5;

/// Planes and longest delays of each airport
#[derive(Parser)]
struct Args {
    /// Files to read: CSV with a header, plain or gzip
    #[arg(long, value_name = "GLOB", default_value = "examples/data/flights.csv")]
    input: String,

    /// Directory for the rows `airport,plane` and `airport,minutes,flight`
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    job: JobArgs,
}

/// The columns that are read, by their names in the header.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Row {
    month: u8,
    day: u8,
    carrier: String,
    flight: u32,
    tailnum: Option<String>,
    origin: String,
    /// In minutes, negative before time; none for a flight that was cancelled.
    dep_delay: Option<i64>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Args { input, output, job } = Args::parse();
    let (planes, delays) = (output.join("planes"), output.join("delays"));
    let (to_planes, to_delays) = (planes.clone(), delays.clone());
    Job::with_args("departures", job).run(move |flow| {
        let flights = flow.source("flights", FileSource::csv::<Row>(&input).null("NA"));
        let first_seen =
            flights.clone().key_by(|flight| flight.origin.clone()).process("planes", |state| {
                // A plane that was away for so long is new again.
                let month = Ttl::on_read_and_write(Duration::from_secs(30 * 86_400));
                let seen = state.time_to_live(month).map::<String, ()>("seen");
                move |ctx, flight| {
                    let Some(plane) = flight.tailnum else { return };
                    if !seen.contains(ctx, &plane) {
                        seen.insert(ctx, plane.clone(), ());
                        ctx.emit((ctx.key().clone(), plane));
                    }
                }
            });
        first_seen.sink("planes-seen", FileSink::csv(&to_planes));
        let delays = flights.key_by(|flight| flight.origin.clone()).process("delays", |state| {
            let longest = state.map::<(i64, String), ()>("longest");
            move |ctx, flight| {
                let Row { month, day, carrier, flight, dep_delay, .. } = flight;
                let Some(minutes) = dep_delay else { return };
                let delay = (minutes, format!("{carrier} {flight} on {month}/{day}"));
                longest.insert(ctx, delay.clone(), ());
                let shortest = (longest.len(ctx) > LONGEST).then(|| longest.pop_first(ctx));
                if shortest.flatten().is_none_or(|(shortest, ())| shortest != delay) {
                    ctx.emit((ctx.key().clone(), delay.0, delay.1));
                }
            }
        });
        delays.sink("delays-seen", FileSink::csv(&to_delays));
    })?;
    show(&planes, &delays)
}

/// All rows of a sink's files. Hidden files are the sink's own.
fn rows(directory: &Path) -> Result<Vec<String>, Box<dyn std::error::Error>> {
    let mut rows = Vec::new();
    for part in fs::read_dir(directory)? {
        let part = part?.path();
        if part.extension().is_some_and(|extension| extension == "csv") {
            rows.extend(fs::read_to_string(part)?.lines().map(str::to_owned));
        }
    }
    Ok(rows)
}

/// Prints how many planes each airport has, and what was in its list of delays at the end.
fn show(planes: &Path, delays: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut airports: BTreeMap<String, (usize, Vec<(i64, String)>)> = BTreeMap::new();
    for row in rows(planes)? {
        let Some((airport, _)) = row.split_once(',') else { continue };
        airports.entry(airport.to_owned()).or_default().0 += 1;
    }
    for row in rows(delays)? {
        let [airport, minutes, flight] = row.split(',').collect::<Vec<_>>()[..] else { continue };
        let (_, delays) = airports.entry(airport.to_owned()).or_default();
        delays.push((minutes.parse()?, flight.to_owned()));
    }
    for (airport, (planes, mut delays)) in airports {
        println!("\n{airport}: {planes} planes");
        delays.sort_by(|a, b| b.cmp(a));
        for (minutes, flight) in delays.into_iter().take(LONGEST) {
            println!("  {minutes:5} minutes  {flight}");
        }
    }
    Ok(())
}
