//! Every source and sink keeps the contract of the engine.
//!
//! Method: the engine's own conformance tests. `BlackholeSink` is not among them: it makes nothing
//! visible, so there is nothing to keep.

// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::Compression;
use flate2::write::GzEncoder;
use highwater::sink::Sink;
use highwater::testing::{
    CollectSink, Random, SinkTarget, SplitRecords, VecSource, check_sink, check_source,
};
use highwater_connectors::files::{BadRecord, FileSink, FileSource};
use highwater_connectors::generator::GeneratorSource;
use serde::{Deserialize, Serialize};

const SEED: u64 = 7;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Row {
    id: u64,
    name: String,
    delay: Option<i64>,
}

fn rows(count: u64) -> Vec<Row> {
    (0..count)
        .map(|id| Row {
            id,
            name: "x".repeat((id * id % 23) as usize),
            delay: (id % 3 > 0).then_some(id as i64 - 50),
        })
        .collect()
}

fn all<T>(splits: SplitRecords<T>) -> Vec<T> {
    splits.into_iter().flat_map(|(_, records)| records).collect()
}

fn pattern(directory: &Path, name: &str) -> String {
    directory.join(name).to_str().unwrap().to_owned()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn lines_of_plain_and_gzip_files() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = Random::new(SEED);
    let lines: Vec<String> =
        (0..600).map(|n| format!("{n} {}", "y".repeat(random.below(90)))).collect();
    fs::write(directory.path().join("a.txt"), lines[..200].join("\n")).unwrap();
    fs::write(directory.path().join("b.txt"), lines[200..400].join("\r\n") + "\r\n").unwrap();
    fs::write(directory.path().join("c.txt"), gzip(lines[400..].join("\n").as_bytes())).unwrap();

    let pattern = pattern(directory.path(), "*.txt");
    let records = check_source(|| FileSource::lines(&pattern).split_bytes(1000), SEED);
    assert!(records.len() > 10, "several splits");
    assert_eq!(all(records), lines);
}

#[test]
fn lines_with_bad_ones_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.txt");
    let mut file = File::create(&path).unwrap();
    for n in 0..300 {
        file.write_all(if n % 3 == 0 { b"bad \xff\n" } else { b"good\n" }).unwrap();
    }
    let source =
        || FileSource::lines(path.to_str().unwrap()).split_bytes(99).on_bad_record(BadRecord::Skip);
    assert_eq!(all(check_source(source, SEED)).len(), 200);
}

#[test]
fn csv_with_quotes_in_plain_and_gzip_files() {
    let directory = tempfile::tempdir().unwrap();
    let mut rows = rows(300);
    for row in rows.iter_mut().filter(|row| row.id % 5 == 0) {
        row.name = "line one\r\nline \"two\", the last".to_owned();
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in &rows {
        writer.serialize(row).unwrap();
    }
    let text = writer.into_inner().unwrap();
    fs::write(directory.path().join("a.csv"), &text).unwrap();
    fs::write(directory.path().join("b.csv"), gzip(&text)).unwrap();

    let pattern = pattern(directory.path(), "?.csv");
    let records = check_source(|| FileSource::csv::<Row>(&pattern).split_bytes(100), SEED);
    assert_eq!(records.len(), 2, "a file that may hold line breaks in fields is one split");
    assert_eq!(all(records), [rows.clone(), rows].concat());
}

#[test]
fn csv_in_splits() {
    let directory = tempfile::tempdir().unwrap();
    let rows = rows(300);
    for (name, terminator) in [("a.csv", "\n"), ("b.csv", "\r\n")] {
        let mut text = format!("id,name,delay{terminator}");
        for Row { id, name, delay } in &rows {
            let delay = delay.map_or("NA".to_owned(), |delay| delay.to_string());
            write!(text, "{id},\"{name}\",{delay}{terminator}").unwrap();
        }
        fs::write(directory.path().join(name), text).unwrap();
        let pattern = pattern(directory.path(), name);
        let source =
            || FileSource::csv::<Row>(&pattern).null("NA").one_line_records().split_bytes(333);
        let records = check_source(source, SEED);
        assert!(records.len() > 10, "several splits");
        assert_eq!(all(records), rows);
    }
}

#[test]
fn json_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.jsonl");
    let rows = rows(300);
    let text: String =
        rows.iter().map(|row| serde_json::to_string(row).unwrap() + "\n\n").collect();
    fs::write(&path, text).unwrap();
    let source = || FileSource::json_lines::<Row>(path.to_str().unwrap()).split_bytes(1000);
    assert_eq!(all(check_source(source, SEED)), rows);
}

#[test]
fn generator() {
    let mut numbers = all(check_source(|| GeneratorSource::new(1003, |n| n * n), SEED));
    numbers.sort_unstable();
    assert_eq!(numbers, (0..1003).map(|n| n * n).collect::<Vec<u64>>());
    // Fast enough to be done soon, slow enough to be idle at times.
    let paced = || GeneratorSource::new(300, |n| n).splits(2).rate(20_000.0);
    assert_eq!(all(check_source(paced, SEED)).len(), 300);
}

#[test]
fn vectors() {
    let splits = vec![rows(100), Vec::new(), rows(7)];
    let records = check_source(|| VecSource::splits(splits.clone()), SEED);
    assert_eq!(all(records), splits.concat());
}

/// Checks a sink of files, each target in a directory of its own.
fn check_file_sink<S: Sink<Row>>(
    make: fn(PathBuf) -> S,
    read: impl Fn(String) -> Vec<Row> + Copy + 'static,
) {
    let root = tempfile::tempdir().unwrap();
    let targets = AtomicU64::new(0);
    check_sink(
        || {
            let target = targets.fetch_add(1, Ordering::Relaxed);
            let directory = root.path().join(target.to_string());
            let visible = directory.clone();
            SinkTarget::new(
                move || make(directory.clone()),
                move || {
                    // Like a consumer: what a shell's `*` matches.
                    let mut rows = Vec::new();
                    for entry in fs::read_dir(&visible).unwrap() {
                        let path = entry.unwrap().path();
                        if !path.file_name().unwrap().to_str().unwrap().starts_with('.') {
                            rows.extend(read(fs::read_to_string(path).unwrap()));
                        }
                    }
                    rows
                },
            )
        },
        |id| Row { id, name: format!("n, {id}"), delay: None },
    );
}

#[test]
fn csv_files() {
    check_file_sink(
        |directory| FileSink::csv(directory).header(),
        |text| {
            csv::Reader::from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect()
        },
    );
    check_file_sink(
        |directory| FileSink::csv(directory).delimiter(b';'),
        |text| {
            let mut reader = csv::ReaderBuilder::new();
            reader.has_headers(false).delimiter(b';');
            reader.from_reader(text.as_bytes()).deserialize().map(Result::unwrap).collect()
        },
    );
}

#[test]
fn json_files() {
    check_file_sink(FileSink::json_lines, |text| {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    });
}

#[test]
fn text_files() {
    let root = tempfile::tempdir().unwrap();
    let targets = AtomicU64::new(0);
    check_sink(
        || {
            let target = targets.fetch_add(1, Ordering::Relaxed);
            let directory = root.path().join(target.to_string());
            let visible = pattern(&directory, "*.txt");
            SinkTarget::new(
                move || FileSink::text(directory.clone()),
                // Read by our own source, which must not see what is hidden.
                move || match FileSource::lines(&visible).split_bytes(10) {
                    _ if glob_is_empty(&visible) => Vec::new(),
                    source => all(check_source(|| source.clone(), SEED)),
                },
            )
        },
        |n| format!("line {n}"),
    );
}

/// Whether no visible file is there, which the source takes as an error.
fn glob_is_empty(pattern: &str) -> bool {
    let directory = Path::new(pattern).parent().unwrap();
    let mut names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.all(|name| name.to_str().unwrap().starts_with('.'))
}

#[test]
fn collecting() {
    check_sink(
        || {
            let sink = CollectSink::<Row>::new();
            let visible = sink.clone();
            SinkTarget::new(move || sink.clone(), move || visible.records())
        },
        |id| Row { id, name: String::new(), delay: Some(-1) },
    );
}
