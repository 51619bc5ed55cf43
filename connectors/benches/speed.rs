//! How fast connectors are on one thread, without an engine; the speed of light beside each number.
//!
//! `cargo bench -p highwater-connectors --bench speed [-- flights.csv.gz]`. Files are in the page
//! cache. Each number is the best of five.

#![expect(clippy::disallowed_methods, reason = "measures")]
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::time::Instant;

use highwater::Epoch;
use highwater::sink::{Sink, SinkRun, SinkWriter};
use highwater::source::{ReadLimit, ReadStatus, Source, SplitReader};
use highwater_connectors::files::{BadRecord, FileSink, FileSource};
use highwater_connectors::generator::GeneratorSource;
use serde::Deserialize;

/// As much as a runtime takes at a time.
const LIMIT: ReadLimit = ReadLimit { records: 4096, bytes: 1 << 20 };

/// The columns of the flights of 2013 that examples use.
#[derive(Deserialize)]
#[allow(dead_code)]
struct Flight {
    carrier: String,
    dep_delay: Option<f64>,
    origin: String,
    dest: String,
    time_hour: String,
}

#[derive(Deserialize)]
#[allow(dead_code)]
struct FlightTexts {
    carrier: String,
    dep_delay: String,
    origin: String,
    dest: String,
    time_hour: String,
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    for length in [10, 80, 1000] {
        lines(directory.path(), length);
    }
    generator();
    sinks(directory.path());
    let flights = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    if let Some(path) = flights {
        csv(&path);
    }
}

/// The best of five runs of `work`, in seconds.
fn seconds(mut work: impl FnMut()) -> f64 {
    let one = |()| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64()
    };
    [(); 5].map(one).into_iter().fold(f64::INFINITY, f64::min)
}

fn report(what: &str, records: u64, bytes: u64, seconds: f64) {
    let (records, bytes) = (records as f64 / seconds / 1e6, bytes as f64 / seconds / 1e9);
    println!("{what:<52} {records:>9.1} M records/s  {bytes:>6.2} GB/s");
}

/// Reads a source to its end; the number of records.
fn read<S: Source>(source: &S) -> u64 {
    let mut out = Vec::new();
    let mut records = 0;
    for named in source.discover(&[]).unwrap() {
        let mut reader = source.open(&named.split, None).unwrap();
        loop {
            let status = reader.read(LIMIT, &mut out).unwrap();
            records += black_box(&out).len() as u64;
            out.clear();
            if status == ReadStatus::Finished {
                break;
            }
        }
    }
    records
}

fn lines(directory: &Path, length: usize) {
    let path = directory.join(format!("{length}.txt"));
    let records = (256 << 20) / (length as u64 + 1);
    let line = "x".repeat(length) + "\n";
    fs::write(&path, line.repeat(records as usize)).unwrap();
    let bytes = records * (length as u64 + 1);

    let light = seconds(|| {
        let mut file = File::open(&path).unwrap();
        let (mut block, mut found) = (vec![0; 256 * 1024], 0);
        loop {
            let read = file.read(&mut block).unwrap();
            if read == 0 {
                break;
            }
            found += memchr::memchr_iter(b'\n', &block[..read]).count() as u64;
        }
        assert_eq!(found, records);
    });
    report(&format!("lines of {length}: read and count, no records"), records, bytes, light);
    let std = seconds(|| {
        let lines = BufReader::with_capacity(256 * 1024, File::open(&path).unwrap()).lines();
        assert_eq!(lines.filter(|line| black_box(line).is_ok()).count() as u64, records);
    });
    report(&format!("lines of {length}: BufRead::lines"), records, bytes, std);
    let source = FileSource::lines(path.to_str().unwrap());
    let ours = seconds(|| assert_eq!(read(&source), records));
    report(&format!("lines of {length}: FileSource::lines"), records, bytes, ours);
    // Each line is found and checked, and none is made a `String`.
    let bad = path.with_extension("bad");
    fs::write(&bad, [&line.as_bytes()[..length - 1], b"\xff\n"].concat().repeat(records as usize))
        .unwrap();
    let source = FileSource::lines(bad.to_str().unwrap()).on_bad_record(BadRecord::Skip);
    let scan = seconds(|| assert_eq!(read(&source), 0));
    report(&format!("lines of {length}: all skipped"), records, bytes, scan);
}

fn csv(path: &str) {
    let bytes = fs::metadata(path).unwrap().len();
    let source = FileSource::csv::<Flight>(path).null("NA");
    let mut records = 0;
    let ours = seconds(|| records = read(&source));
    report("flights: FileSource::csv, bytes on disk", records, bytes, ours);
    let peer = seconds(|| {
        let file = flate2::read::MultiGzDecoder::new(File::open(path).unwrap());
        // With the columns as text: the crate has no word for `NA`.
        let rows = csv::Reader::from_reader(file).into_deserialize();
        assert_eq!(
            rows.map(|row: csv::Result<FlightTexts>| row.unwrap())
                .fold(0, |n, row| n + u64::from(!black_box(row).origin.is_empty())),
            records
        );
    });
    report("flights: csv::Reader, delays as text", records, bytes, peer);
    let light = seconds(|| {
        let mut file = flate2::read::MultiGzDecoder::new(File::open(path).unwrap());
        std::io::copy(&mut file, &mut std::io::sink()).unwrap();
    });
    report("flights: decompress alone", records, bytes, light);
}

fn generator() {
    let total = 200_000_000;
    let mut out: Vec<u64> = Vec::with_capacity(LIMIT.records);
    let light = seconds(|| {
        for block in 0..total / LIMIT.records as u64 {
            let first = block * LIMIT.records as u64;
            out.clear();
            out.extend(first..first + LIMIT.records as u64);
            black_box(&out);
        }
    });
    report("numbers: extend a vector", total, total * 8, light);
    let source = GeneratorSource::new(total, |n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40);
    let ours = seconds(|| assert_eq!(read(&source), total));
    report("numbers: GeneratorSource, a hash of each", total, total * 8, ours);
}

fn sinks(directory: &Path) {
    let words: Vec<String> = (0..4096).map(|n| format!("word-{n}")).collect();
    let rows = 4_000_000u64;
    let row = |n: u64| (words[(n % 4096) as usize].clone(), n);
    let bytes: u64 = (0..rows).map(|n| format!("{},{n}\n", row(n).0).len() as u64).sum();

    let light = seconds(|| {
        let mut file = std::io::BufWriter::with_capacity(
            256 * 1024,
            File::create(directory.join("light.csv")).unwrap(),
        );
        for n in 0..rows {
            let (word, n) = row(n);
            writeln!(file, "{word},{n}").unwrap();
        }
        file.into_inner().unwrap().sync_all().unwrap();
    });
    report("rows (String, u64): writeln, and sync", rows, bytes, light);
    let csv = FileSink::csv(directory.join("csv"));
    report("rows (String, u64): FileSink::csv, with prepare", rows, bytes, write(&csv, rows, row));
    let json = FileSink::json_lines(directory.join("json"));
    report("rows (String, u64): FileSink::json_lines", rows, bytes, write(&json, rows, row));
    let text = FileSink::text(directory.join("text"));
    let line = |n| row(n).0;
    report("rows String: FileSink::text", rows, bytes, write(&text, rows, line));
}

/// Seconds to write and prepare rows, those to make them included.
fn write<T, S: Sink<T>>(sink: &S, rows: u64, row: impl Fn(u64) -> T) -> f64 {
    let (job, uid) = ("speed".to_owned(), "sink".to_owned());
    let run = SinkRun { job, uid, generation: 1, workers: 1, restored: None };
    sink.begin(&run).unwrap();
    seconds(|| {
        sink.abort(&run).unwrap();
        let mut writer = sink.open(&run, 0).unwrap();
        let mut batch = Vec::new();
        for block in 0..rows.div_ceil(4096) {
            batch.extend((block * 4096..rows.min((block + 1) * 4096)).map(&row));
            writer.write(&mut batch).unwrap();
        }
        black_box(writer.prepare(Epoch(1)).unwrap()().unwrap());
    })
}
