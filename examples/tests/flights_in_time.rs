//! Proves that `flights_delays`, `flights_weather` and `sessions` find what plain loops over sorted rows
//! find, with any number of workers: of the flights that ship with the repository, and of the whole
//! year. The loops share no code with the engine, nor its CSV, nor how it reads times.

// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use program::{example, root};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A file's rows. None of their fields is quoted.
struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn of(csv: &str) -> Table {
        let split = |row: &str| row.split(',').map(str::to_owned).collect::<Vec<_>>();
        let mut rows = csv.lines().map(split);
        Table { header: rows.next().expect("a header"), rows: rows.collect() }
    }

    fn column<'a>(&'a self, name: &str) -> impl Fn(&'a Vec<String>) -> &'a str + use<'a> {
        let at = self.header.iter().position(|column| column == name).expect("a column");
        move |row| row[at].as_str()
    }
}

/// Seconds since 1970 of `2013-01-01T10:00:00Z`, day by day from that year on.
fn seconds(time: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| time[range].parse::<i64>().unwrap();
    let is_leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let year = number(0..4);
    let mut days: i64 = (1970..year).map(|year| 365 + i64::from(is_leap(year))).sum();
    let months = [31, 28 + i64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    days += months[..number(5..7) as usize - 1].iter().sum::<i64>() + number(8..10) - 1;
    days * DAY + number(11..13) * HOUR + number(14..16) * 60 + number(17..19)
}

/// The days of three years, by the second at which they begin.
static DAYS: LazyLock<BTreeMap<i64, String>> = LazyLock::new(|| {
    let months = (2012..=2014).flat_map(|year| (1..=12).map(move |month| (year, month)));
    let days = months.flat_map(|(year, month)| (1..=31).map(move |day| (year, month, day)));
    let texts = days.map(|(year, month, day)| format!("{year}-{month:02}-{day:02}"));
    // The 31st of June begins when the 1st of July does, which comes later and stays.
    texts.map(|day| (seconds(&format!("{day}T00:00:00Z")), day)).collect()
});

/// The reverse.
fn text(at: i64) -> String {
    let of_day = at % DAY;
    let (hour, minute, second) = (of_day / HOUR, of_day / 60 % 60, of_day % 60);
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", DAYS[&(at - of_day)])
}

/// Airport, time it should have left, delay; plane, if it left.
type Flight = (String, i64, Option<i64>, Option<String>);

fn flights(csv: &str) -> Vec<Flight> {
    let table = Table::of(csv);
    let [origin, hour, minute] = ["origin", "time_hour", "minute"].map(|name| table.column(name));
    let [delay, plane, left] = ["dep_delay", "tailnum", "dep_time"].map(|name| table.column(name));
    let rows = table.rows.iter().map(|row| {
        let at = seconds(hour(row)) + minute(row).parse::<i64>().unwrap() * 60;
        let plane = (left(row) != "NA" && plane(row) != "NA").then(|| plane(row).to_owned());
        (origin(row).to_owned(), at, delay(row).parse().ok(), plane)
    });
    rows.collect()
}

/// All rows of a sink's files, sorted.
fn written(directory: &Path) -> Vec<String> {
    let mut rows = Vec::new();
    for part in fs::read_dir(directory).unwrap().map(|part| part.unwrap().path()) {
        if !part.file_name().unwrap().to_str().unwrap().starts_with('.') {
            rows.extend(fs::read_to_string(part).unwrap().lines().map(str::to_owned));
        }
    }
    rows.sort();
    rows
}

/// Runs an example, and returns what it has written to each of some folders.
fn run(name: &str, args: &[(&str, &str)], workers: &str, folders: &[&str]) -> Vec<Vec<String>> {
    let output = tempfile::tempdir().unwrap();
    let mut program = example(name);
    for (flag, value) in args {
        program.args([flag, value]);
    }
    program.args(["-q", "-w", workers, "--checkpoint-interval", "100ms", "--checkpoint-dir"]);
    program.arg(output.path().join("checkpoints"));
    let ran = program.arg("--output").arg(output.path().join("out")).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    folders.iter().map(|folder| written(&output.path().join("out").join(folder))).collect()
}

fn assert_same(mut expected: Vec<String>, found: &[String], what: &str) {
    expected.sort();
    let different = expected.iter().zip(found).find(|(expected, found)| expected != found);
    assert_eq!(different, None, "{what}");
    assert_eq!(expected.len(), found.len(), "{what}");
}

fn delays(input: &str, csv: &str) {
    let mut windows = [BTreeMap::new(), BTreeMap::new()];
    for (airport, at, delay, _) in flights(csv) {
        let Some(minutes) = delay else { continue };
        let mut add = |which: usize, from: i64| {
            let sums = windows[which].entry((airport.clone(), from)).or_insert((0, 0));
            *sums = (sums.0 + minutes, sums.1 + 1);
        };
        add(0, at / HOUR * HOUR);
        // The seven days of which the flight's is one.
        (0..7).for_each(|before| add(1, (at / DAY - before) * DAY));
    }
    let expected = windows.map(|windows| {
        let row = |((airport, from), (minutes, count)): (_, (i64, u32))| {
            format!("{airport},{},{minutes},{count}", text(from))
        };
        windows.into_iter().map(row).collect::<Vec<_>>()
    });
    for workers in ["1", "2", "3"] {
        let folders = ["by-hour", "by-week", "late"];
        let found = run("flights_delays", &[("--input", input)], workers, &folders);
        assert_same(expected[0].clone(), &found[0], "hours");
        assert_same(expected[1].clone(), &found[1], "weeks");
        assert!(found[2].is_empty(), "nothing is late");
    }
}

fn weather(input: &str, csv: &str, weather: &str) {
    let table = Table::of(&fs::read_to_string(weather).unwrap());
    let [origin, hour] = ["origin", "time_hour"].map(|name| table.column(name));
    let [visibility, rain] = ["visib", "precip"].map(|name| table.column(name));
    let mut hours: Vec<_> = table
        .rows
        .iter()
        .map(|row| {
            let number = |field: &str| field.parse::<f64>().unwrap();
            (origin(row), seconds(hour(row)), number(visibility(row)), number(rain(row)))
        })
        .collect();
    hours.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let mut expected = Vec::new();
    for (airport, at, delay, _) in flights(csv) {
        let Some(minutes) = delay else { continue };
        let before = hours.partition_point(|(of, hour, ..)| (*of, *hour) <= (&*airport, at));
        let last = before.checked_sub(1).map(|last| &hours[last]).filter(|hour| hour.0 == airport);
        let (visibility, rain) = last.map_or_else(Default::default, |(.., visibility, rain)| {
            (format!("{visibility:?}"), format!("{rain:?}"))
        });
        expected.push(format!("{airport},{},{minutes},{visibility},{rain}", text(at)));
    }
    for workers in ["1", "2", "3"] {
        let args = [("--flights", input), ("--weather", weather)];
        let found = run("flights_weather", &args, workers, &[""]);
        assert_same(expected.clone(), &found[0], "departures");
    }
}

fn sessions(input: &str, csv: &str) {
    let mut departures: Vec<(String, i64)> =
        flights(csv).into_iter().filter_map(|(_, at, _, plane)| Some((plane?, at))).collect();
    departures.sort();
    let mut expected: Vec<(String, i64, i64, u32)> = Vec::new();
    for (plane, at) in departures {
        match expected.last_mut() {
            // A record a gap after the last one begins a new session.
            Some((of, _, last, count)) if *of == plane && at - *last < 12 * HOUR => {
                (*last, *count) = (at, *count + 1);
            }
            _ => expected.push((plane, at, at, 1)),
        }
    }
    let row =
        |(plane, first, last, count)| format!("{plane},{},{},{count}", text(first), text(last));
    let expected: Vec<_> = expected.into_iter().map(row).collect();
    for workers in ["1", "2", "3"] {
        let found = run("sessions", &[("--input", input)], workers, &[""]);
        assert_same(expected.clone(), &found[0], "sessions");
    }
}

/// The flights that ship with the repository.
fn slice() -> (PathBuf, String) {
    let input = root().join("examples/data/flights.csv");
    let csv = fs::read_to_string(&input).unwrap();
    (input, csv)
}

/// All flights of 2013, which lie beside the repository where it is developed.
fn whole_year() -> Option<(PathBuf, String)> {
    let input = root().join("../shared/data/flights.csv.gz");
    let Ok(file) = fs::File::open(&input) else {
        // Past the harness, which shows nothing of a test that passes.
        let mut errors = std::io::stderr();
        writeln!(errors, "SKIPPED: {} is not there", input.display()).unwrap();
        return None;
    };
    let mut csv = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut csv).unwrap();
    assert_eq!(csv.lines().count(), 336_777);
    Some((input, csv))
}

#[test]
fn delays_are_those_of_a_plain_loop() {
    let (input, csv) = slice();
    delays(input.to_str().unwrap(), &csv);
}

#[test]
fn delays_of_the_whole_year_are_those_of_a_plain_loop() {
    if let Some((input, csv)) = whole_year() {
        delays(input.to_str().unwrap(), &csv);
    }
}

#[test]
fn weather_is_that_of_a_plain_loop() {
    let (input, csv) = slice();
    weather(
        input.to_str().unwrap(),
        &csv,
        root().join("examples/data/weather.csv").to_str().unwrap(),
    );
}

#[test]
fn weather_of_the_whole_year_is_that_of_a_plain_loop() {
    if let Some((input, csv)) = whole_year() {
        let all = root().join("../shared/data/weather.csv");
        weather(input.to_str().unwrap(), &csv, all.to_str().unwrap());
    }
}

#[test]
fn sessions_are_those_of_a_plain_loop() {
    let (input, csv) = slice();
    sessions(input.to_str().unwrap(), &csv);
}

#[test]
fn sessions_of_the_whole_year_are_those_of_a_plain_loop() {
    if let Some((input, csv)) = whole_year() {
        sessions(input.to_str().unwrap(), &csv);
    }
}

/// With a bound that the file does not keep to, flights are late; none is lost, and none counts twice.
#[test]
fn a_flight_is_in_its_hour_or_among_the_late_ones() {
    let (input, csv) = slice();
    let mut all: BTreeMap<String, u32> = BTreeMap::new();
    for (airport, ..) in flights(&csv).into_iter().filter(|(_, _, delay, _)| delay.is_some()) {
        *all.entry(airport).or_default() += 1;
    }
    let args = [("--input", input.to_str().unwrap()), ("--out-of-order", "1")];
    let found = run("flights_delays", &args, "2", &["by-hour", "late"]);
    assert!(found[1].len() > 100, "{} are late: months come as 1, 10, 11, 12, 2", found[1].len());
    let mut said: BTreeMap<String, u32> = BTreeMap::new();
    for (rows, column) in [(&found[0], Some(3)), (&found[1], None)] {
        for row in rows {
            let fields: Vec<_> = row.split(',').collect();
            let count = column.map_or(1, |column| fields[column].parse::<u32>().unwrap());
            *said.entry(fields[0].to_owned()).or_default() += count;
        }
    }
    assert_eq!(said, all);
}
