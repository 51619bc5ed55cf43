//! A malformed row stops the job and is named, or is left out and counted, as the program says.

#![allow(clippy::unwrap_used)] // a panic is the report

use highwater::prelude::*;
use highwater::testing::CollectSink;
use highwater_connectors::files::{BadRecord, FileSource};

type Row = (String, u64);

/// Runs a job over one good, one malformed and one more good row.
fn run(on_bad_record: BadRecord) -> (highwater::Result<highwater::Summary>, Vec<Row>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.csv");
    std::fs::write(&path, "name,count\na,1\nb,many\nc,3\n").unwrap();
    let (sink, path) = (CollectSink::<Row>::new(), path.display().to_string());
    let into = sink.clone();
    let outcome = Job::new("rows").quiet().execute(move |flow| {
        let rows = FileSource::csv::<Row>(&path).on_bad_record(on_bad_record);
        flow.source("rows", rows).sink("collected", into.clone());
    });
    (outcome, sink.records())
}

#[test]
fn a_malformed_row_stops_the_job_and_is_named() {
    let (outcome, _) = run(BadRecord::Fail);
    let text = format!("{:?}", outcome.expect_err("a row is malformed"));
    assert!(text.starts_with("source \"rows\" failed: "), "{text}");
    assert!(text.contains("rows.csv, line 3: column count, \"many\": invalid digit"), "{text}");
}

#[test]
fn malformed_rows_are_left_out_and_counted_if_asked() {
    let (outcome, rows) = run(BadRecord::Skip);
    assert_eq!(rows, [("a".to_owned(), 1), ("c".to_owned(), 3)]);
    let summary = outcome.unwrap();
    assert_eq!((summary.records_in, summary.skipped), (2, 1));
    assert!(summary.to_string().contains("skipped  1 unreadable records"), "{summary}");
}
