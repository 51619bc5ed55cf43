//! Proves that `departures` says each plane of an airport once, and finds the longest delays, as a
//! plain loop over the rows does, with any number of workers, and when it is run again.

// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use program::{example, root};

/// What the program should print: none of the file's fields is quoted.
fn expected(csv: &str) -> String {
    let mut rows = csv.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let header = rows.next().expect("a header");
    let column = |name| header.iter().position(|column| *column == name).expect("a column");
    let names = ["month", "day", "carrier", "flight", "tailnum", "origin", "dep_delay"];
    let [month, day, carrier, flight, plane, origin, delay] = names.map(column);
    let mut airports: BTreeMap<&str, (BTreeSet<&str>, Vec<(i64, String)>)> = BTreeMap::new();
    for row in rows {
        let (planes, delays) = airports.entry(row[origin]).or_default();
        if row[plane] != "NA" {
            planes.insert(row[plane]);
        }
        if row[delay] != "NA" {
            let flight = format!("{} {} on {}/{}", row[carrier], row[flight], row[month], row[day]);
            delays.push((row[delay].parse().expect("a number"), flight));
        }
    }
    let mut text = String::new();
    for (airport, (planes, mut delays)) in airports {
        let _ = writeln!(text, "\n{airport}: {} planes", planes.len());
        delays.sort_by(|a, b| b.cmp(a));
        for (minutes, flight) in &delays[..5] {
            let _ = writeln!(text, "  {minutes:5} minutes  {flight}");
        }
    }
    text
}

#[test]
fn planes_and_delays_are_those_of_a_plain_loop() {
    let input = "examples/data/flights.csv";
    let expected = expected(&fs::read_to_string(root().join(input)).unwrap());
    assert_eq!(expected.lines().count(), 3 * 7, "{expected}");
    for workers in ["1", "3"] {
        let output = tempfile::tempdir().unwrap();
        let checkpoints = output.path().join("checkpoints");
        for run in 0..2 {
            let mut departures = example("departures");
            departures.args(["--input", input, "-q", "-w", workers, "--output"]).arg(output.path());
            let ran = departures.arg("--checkpoint-dir").arg(&checkpoints).output().unwrap();
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
            let printed = String::from_utf8(ran.stdout).unwrap();
            assert_eq!(printed, expected, "{workers} workers, run {run}");
        }
    }
}
