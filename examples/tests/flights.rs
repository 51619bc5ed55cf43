//! Proves that `flights` computes the means that a plain loop over the rows computes, with any
//! number of workers. The loop shares no code with the engine, nor its CSV.

// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use program::{example, root};

/// Sum of minutes and number of flights, by carrier or airport.
type Sums = BTreeMap<String, (i64, u64)>;

/// None of the file's fields is quoted.
fn expected(csv: &str) -> [Sums; 2] {
    let mut rows = csv.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let header = rows.next().expect("a header");
    let column = |name| header.iter().position(|column| *column == name).expect("a column");
    let [carrier, origin, delay] = ["carrier", "origin", "dep_delay"].map(column);
    let mut sums = [Sums::new(), Sums::new()];
    for row in rows.filter(|row| row[delay] != "NA") {
        let minutes: i64 = row[delay].parse().expect("a number");
        for (sums, key) in sums.iter_mut().zip([row[carrier], row[origin]]) {
            let (sum, count) = sums.entry(key.to_owned()).or_default();
            *sum += minutes;
            *count += 1;
        }
    }
    sums
}

/// All rows of a sink's files, with each key once.
fn written(directory: &Path) -> BTreeMap<String, (f64, u64)> {
    let mut means = BTreeMap::new();
    for part in fs::read_dir(directory).unwrap().map(|part| part.unwrap().path()) {
        if part.file_name().unwrap().to_str().unwrap().starts_with('.') {
            continue;
        }
        for row in fs::read_to_string(part).unwrap().lines() {
            let fields: Vec<_> = row.split(',').collect();
            let mean = (fields[1].parse().unwrap(), fields[2].parse().unwrap());
            assert!(means.insert(fields[0].to_owned(), mean).is_none(), "{row} is there twice");
        }
    }
    means
}

fn compare(input: &str, expected: &[Sums; 2], workers: &str) {
    let output = tempfile::tempdir().unwrap();
    let mut flights = example("flights");
    flights.args(["--input", input, "-q", "-w", workers, "--output"]).arg(output.path());
    let ran = flights.output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let table = String::from_utf8(ran.stdout).unwrap();
    for (sums, folder) in expected.iter().zip(["by-carrier", "by-airport"]) {
        let means = sums.iter().map(|(key, &(sum, count))| {
            let mean = sum as f64 / count as f64;
            let line = format!("{key:7}  {mean:7.2}  {count:>7}");
            assert!(table.lines().any(|shown| shown == line), "{line} is not in\n{table}");
            (key.clone(), (mean, count))
        });
        assert_eq!(written(&output.path().join(folder)), means.collect(), "{workers} workers");
    }
}

#[test]
fn means_are_those_of_a_plain_loop_with_any_number_of_workers() {
    let expected = expected(&fs::read_to_string(root().join("examples/data/flights.csv")).unwrap());
    assert_eq!(expected.each_ref().map(BTreeMap::len), [16, 3]);
    for workers in ["1", "2", "3"] {
        compare("examples/data/flights.csv", &expected, workers);
    }
}

/// The whole year lies beside the repository where it is developed, and is too large to be in it.
#[test]
fn means_of_the_whole_year_are_those_of_a_plain_loop() {
    let whole = root().join("../shared/data/flights.csv.gz");
    let Ok(file) = fs::File::open(&whole) else {
        // Past the harness, which shows nothing of a test that passes.
        writeln!(std::io::stderr(), "SKIPPED: {} is not there", whole.display()).unwrap();
        return;
    };
    let mut csv = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut csv).unwrap();
    let expected = expected(&csv);
    assert_eq!(csv.lines().count(), 336_777);
    compare(whole.to_str().unwrap(), &expected, "2");
}
