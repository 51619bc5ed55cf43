//! Whether it is the weather: each departure with what the weather was at its airport, as of that hour.
//!
//! ```text
//! cargo run --release --example flights_weather -- --output out -w 2
//! ```

#![expect(clippy::print_stdout, reason = "the table is what the program is run for")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use highwater::prelude::*;
use highwater_connectors::files::{FileSink, FileSource};
use highwater_examples::{rows, utc, utc_ms};

/// Departure delays by the visibility at the airport
#[derive(Parser)]
struct Args {
    /// Files of flights: CSV with a header, plain or gzip
    #[arg(long, value_name = "GLOB", default_value = "examples/data/flights.csv")]
    flights: String,

    /// Files of weather, hour by hour
    #[arg(long, value_name = "GLOB", default_value = "examples/data/weather.csv")]
    weather: String,

    /// Directory for the rows `airport,time,delay,visibility,rain`
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    job: JobArgs,
}

/// The columns of a flight that are read, by their names in the header.
#[derive(Clone, serde::Deserialize)]
struct Flight {
    origin: String,
    /// In minutes, negative before time; none for a flight that was cancelled.
    dep_delay: Option<i64>,
    #[serde(deserialize_with = "utc_ms")]
    time_hour: i64,
    /// Within the hour.
    minute: i64,
}

impl Flight {
    fn scheduled(&self) -> i64 {
        self.time_hour + self.minute * 60_000
    }
}

/// The columns of an hour's weather that are read.
#[derive(Clone, serde::Deserialize)]
struct Weather {
    origin: String,
    /// In miles.
    visib: f64,
    /// In inches.
    precip: f64,
    #[serde(deserialize_with = "utc_ms")]
    time_hour: i64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Args { flights, weather, output, job } = Args::parse();
    let to_output = output.clone();
    // Neither file is in the order of time: one has the airports one after the other, the other its
    // months as 1, 10, 11, 12, 2. So nothing is complete before their ends.
    let year = Duration::from_secs(366 * 86_400);
    Job::with_args("flights-weather", job).run(move |flow| {
        let by_time = Watermarks::bounded(year, |flight: &Flight| EventTime(flight.scheduled()));
        let flights = FileSource::csv::<Flight>(&flights).null("NA").with_watermarks(by_time);
        let departures = flow.source("flights", flights).filter_map(|flight| {
            let at = flight.scheduled();
            Some((flight.origin, (at, flight.dep_delay?)))
        });
        let by_time = Watermarks::bounded(year, |hour: &Weather| EventTime(hour.time_hour));
        let weather = FileSource::csv::<Weather>(&weather).null("NA").with_watermarks(by_time);
        let weather = flow
            .source("weather", weather)
            .map(|hour| (hour.origin, (hour.time_hour, hour.visib, hour.precip)));
        departures
            .keyed()
            .connect(weather.keyed())
            .event_times(|(at, _)| EventTime(*at), |(at, ..)| EventTime(*at))
            .as_of_join("weather-of")
            .left(|airport, (at, minutes), hour| {
                let (visibility, rain) =
                    hour.map(|(_, visibility, rain)| (visibility, rain)).unzip();
                (airport.clone(), utc(at), minutes, visibility.copied(), rain.copied())
            })
            .sink("departures", FileSink::csv(&to_output));
    })?;

    // Sums of minutes and numbers of flights, by the visibility in whole miles and whether it rained.
    let mut delays: BTreeMap<(i64, bool), (i64, u64)> = BTreeMap::new();
    let mut unknown = 0;
    for row in rows(&output)? {
        let [_, _, minutes, visibility, rain] = row.split(',').collect::<Vec<_>>()[..] else {
            continue;
        };
        let (Ok(visibility), Ok(rain)) = (visibility.parse::<f64>(), rain.parse::<f64>()) else {
            unknown += 1;
            continue;
        };
        let sums = delays.entry((visibility as i64, rain > 0.0)).or_default();
        *sums = (sums.0 + minutes.parse::<i64>()?, sums.1 + 1);
    }
    println!("miles  rain  minutes  flights");
    for ((miles, rains), (minutes, flights)) in delays {
        let rain = if rains { "yes" } else { "no" };
        println!("{miles:5}  {rain:4}  {:7.2}  {flights:7}", minutes as f64 / flights as f64);
    }
    println!("{unknown} flights before the first weather of their airport");
    Ok(())
}
