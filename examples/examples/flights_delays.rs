//! When an airport keeps one waiting: mean departure delays by the hour, and of the last seven days
//! day by day, in windows of event time. Flights that come too late for theirs go to a file.
//!
//! ```text
//! cargo run --release --example flights_delays -- --output out -w 2
//! ```

#![expect(clippy::print_stdout, reason = "the tables are what the program is run for")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use highwater::prelude::*;
use highwater::window::{Sliding, Tumbling, Windowed};
use highwater_connectors::files::{FileSink, FileSource};
use highwater_examples::{rows, utc, utc_ms};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Mean departure delays of New York's airports, by the hour and of seven days
#[derive(Parser)]
struct Args {
    /// Files to read: CSV with a header, plain or gzip
    #[arg(long, value_name = "GLOB", default_value = "examples/data/flights.csv")]
    input: String,

    /// Directory for the rows `airport,from,minutes,flights` and for flights that are late
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    /// How far the file is out of order, in days: its months come as 1, 10, 11, 12, 2 and so on. A
    /// flight that is further behind is late
    #[arg(long, value_name = "DAYS", default_value_t = 366)]
    out_of_order: u32,

    #[command(flatten)]
    job: JobArgs,
}

/// The columns that are read, by their names in the header.
#[derive(Clone, serde::Deserialize)]
struct Row {
    origin: String,
    /// In minutes, negative before time; none for a flight that was cancelled.
    dep_delay: Option<i64>,
    #[serde(deserialize_with = "utc_ms")]
    time_hour: i64,
    /// Within the hour.
    minute: i64,
}

impl Row {
    /// When the flight should have left, in milliseconds.
    fn scheduled(&self) -> i64 {
        self.time_hour + self.minute * 60_000
    }
}

/// Of pairs of a time and minutes: the sum of the minutes, and of how many.
struct Delay;

impl Aggregator for Delay {
    type Input = (i64, i64);
    type Accumulator = (i64, u64);
    type Output = (i64, u64);

    fn init(&self) -> (i64, u64) {
        (0, 0)
    }
    fn add(&self, (sum, count): &mut (i64, u64), (_, minutes): (i64, i64)) {
        *sum += minutes;
        *count += 1;
    }
    fn output(&self, accumulator: &(i64, u64)) -> (i64, u64) {
        *accumulator
    }
}

impl MergeAggregator for Delay {
    fn merge(&self, (sum, count): &mut (i64, u64), later: (i64, u64)) {
        *sum += later.0;
        *count += later.1;
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Args { input, output, out_of_order, job } = Args::parse();
    let [by_hour, by_week, late] = ["by-hour", "by-week", "late"].map(|folder| output.join(folder));
    let (to_hours, to_weeks, to_late) = (by_hour.clone(), by_week.clone(), late.clone());
    Job::with_args("flights-delays", job).run(move |flow| {
        let by_time =
            Watermarks::bounded(DAY * out_of_order, |row: &Row| EventTime(row.scheduled()));
        let rows = FileSource::csv::<Row>(&input).null("NA").with_watermarks(by_time);
        let delays = flow.source("flights", rows).filter_map(|row| {
            let at = row.scheduled();
            Some((row.origin, (at, row.dep_delay?)))
        });
        let at = |(at, _): &(i64, i64)| EventTime(*at);
        let hours = delays.clone().keyed().window(Tumbling::of(HOUR), at).late_output();
        let (hours, late) = hours.aggregate("delay-of-hour", Delay);
        // What is too late for its hour is mostly not for its week; it would be said twice.
        let weeks = delays.keyed().window(Sliding::of(DAY * 7, DAY), at);
        let weeks = weeks.aggregate("delay-of-week", Delay);
        hours.map(row).sink("hours", FileSink::csv(&to_hours));
        weeks.map(row).sink("weeks", FileSink::csv(&to_weeks));
        let late = late.map(|(airport, (at, minutes))| (airport, utc(at), minutes));
        late.sink("too-late", FileSink::csv(&to_late));
    })?;

    println!("airport  hour (UTC)  minutes  flights");
    let mut by_hour_of_day: BTreeMap<(String, String), (i64, u64)> = BTreeMap::new();
    for row in rows(&by_hour)? {
        let [airport, from, minutes, flights] = row.split(',').collect::<Vec<_>>()[..] else {
            continue;
        };
        // `2013-01-01T10:00:00Z`
        let hour = from.get(11..13).unwrap_or_default();
        let sums = by_hour_of_day.entry((airport.to_owned(), hour.to_owned())).or_default();
        *sums = (sums.0 + minutes.parse::<i64>()?, sums.1 + flights.parse::<u64>()?);
    }
    for ((airport, hour), (minutes, flights)) in by_hour_of_day {
        println!("{airport:7}  {hour:>10}  {:7.2}  {flights:7}", minutes as f64 / flights as f64);
    }
    let mut worst = Vec::new();
    for row in rows(&by_week)? {
        let [airport, from, minutes, flights] = row.split(',').collect::<Vec<_>>()[..] else {
            continue;
        };
        let mean = minutes.parse::<f64>()? / flights.parse::<f64>()?;
        worst.push((mean, airport.to_owned(), from.to_owned(), flights.to_owned()));
    }
    worst.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| (&a.1, &a.2).cmp(&(&b.1, &b.2))));
    println!(
        "\nthe worst seven days, of {}\nairport  from                  minutes  flights",
        worst.len()
    );
    for (mean, airport, from, flights) in worst.into_iter().take(5) {
        println!("{airport:7}  {from}  {mean:7.2}  {flights:>7}");
    }
    println!("\n{} flights were late", rows(&late)?.len());
    Ok(())
}

/// A window's row: whole minutes, so that nothing depends on the order in which they are summed.
fn row(windowed: Windowed<String, (i64, u64)>) -> (String, String, i64, u64) {
    let Windowed { key, window, value: (minutes, flights) } = windowed;
    (key, utc(window.start.0), minutes, flights)
}
