//! What aircraft do without a long rest: sessions of flights by tail number, that end when a plane has
//! not left New York for twelve hours.
//!
//! ```text
//! cargo run --release --example sessions -- --output out -w 2
//! ```

#![expect(clippy::print_stdout, reason = "the table is what the program is run for")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use highwater::prelude::*;
use highwater::window::{Session, Windowed};
use highwater_connectors::files::{FileSink, FileSource};
use highwater_examples::{rows, utc, utc_ms};

/// Sessions of each aircraft's departures
#[derive(Parser)]
struct Args {
    /// Files to read: CSV with a header, plain or gzip
    #[arg(long, value_name = "GLOB", default_value = "examples/data/flights.csv")]
    input: String,

    /// Directory for the rows `plane,first,last,flights`
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// Hours without a departure after which a session has ended
    #[arg(long, value_name = "HOURS", default_value_t = 12)]
    gap: u32,

    #[command(flatten)]
    job: JobArgs,
}

/// The columns that are read, by their names in the header.
#[derive(Clone, serde::Deserialize)]
struct Row {
    tailnum: Option<String>,
    /// None for a flight that was cancelled.
    dep_time: Option<u32>,
    #[serde(deserialize_with = "utc_ms")]
    time_hour: i64,
    /// Within the hour.
    minute: i64,
}

impl Row {
    fn scheduled(&self) -> i64 {
        self.time_hour + self.minute * 60_000
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Args { input, output, gap, job } = Args::parse();
    let to_output = output.clone();
    let gap = Duration::from_secs(3600) * gap;
    Job::with_args("sessions", job).run(move |flow| {
        // The months of the file come as 1, 10, 11, 12, 2 and so on.
        let year = Duration::from_secs(366 * 86_400);
        let by_time = Watermarks::bounded(year, |row: &Row| EventTime(row.scheduled()));
        let flights = FileSource::csv::<Row>(&input).null("NA").with_watermarks(by_time);
        let departures = flow.source("flights", flights).filter_map(|row| {
            row.dep_time?;
            Some((row.scheduled(), row.tailnum?))
        });
        let by_plane = departures.key_by(|(_, plane)| plane.clone());
        let sessions =
            by_plane.window(Session::gap(gap), |(at, _)| EventTime(*at)).count("flights-of");
        let sessions = sessions.map(move |Windowed { key, window, value }| {
            // A session's window ends a gap after its last record.
            let last = window.end.0 - gap.as_millis() as i64;
            (key, utc(window.start.0), utc(last), value)
        });
        sessions.sink("sessions", FileSink::csv(&to_output));
    })?;

    let mut lengths: BTreeMap<u64, u64> = BTreeMap::new();
    let mut longest: Option<(u64, String)> = None;
    for row in rows(&output)? {
        let Some((_, flights)) = row.rsplit_once(',') else { continue };
        let flights = flights.parse()?;
        *lengths.entry(flights).or_default() += 1;
        // Of those that are as long, the first by name.
        let is_longer = longest
            .as_ref()
            .is_none_or(|(most, other)| flights > *most || (flights == *most && row < *other));
        if is_longer {
            longest = Some((flights, row));
        }
    }
    println!("flights  sessions");
    for (flights, sessions) in lengths {
        println!("{flights:7}  {sessions:8}");
    }
    if let Some((_, longest)) = longest {
        println!("the longest: {longest}");
    }
    Ok(())
}
