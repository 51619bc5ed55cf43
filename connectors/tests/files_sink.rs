//! What the files sink refuses, and what it makes of a crash at each step.
//!
//! Method: each case plays the runtime by hand against a directory of its own.

// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use highwater::sink::{Sink, SinkRun, SinkWriter};
use highwater::{BoxError, Epoch};
use highwater_connectors::files::{CsvRows, FileSink, FilesError, FilesErrorKind, PreparedPart};
use serde::Serialize;
use tempfile::TempDir;

type Row = (String, u64);

fn run(generation: u64, restored: Option<u64>) -> SinkRun {
    SinkRun {
        job: "words".to_owned(),
        uid: "counts".to_owned(),
        generation,
        workers: 2,
        restored: restored.map(Epoch),
    }
}

fn begin(sink: &FileSink<CsvRows>, run: &SinkRun) -> Result<(), BoxError> {
    Sink::<Row>::begin(sink, run)
}

fn commit(sink: &FileSink<CsvRows>, parts: &[PreparedPart]) -> Result<(), BoxError> {
    Sink::<Row>::commit(sink, &run(1, None), parts.to_vec())
}

fn abort(sink: &FileSink<CsvRows>, run: &SinkRun) {
    Sink::<Row>::abort(sink, run).unwrap();
}

/// Writes one row for each word and prepares them.
fn prepared(
    sink: &FileSink<CsvRows>,
    run: &SinkRun,
    epoch: u64,
    words: &[&str],
) -> Vec<PreparedPart> {
    let mut writer = Sink::<Row>::open(sink, run, 1).unwrap();
    let mut rows: Vec<Row> = words.iter().zip(1..).map(|(word, n)| (word.to_string(), n)).collect();
    writer.write(&mut rows).unwrap();
    SinkWriter::<Row>::prepare(&mut writer, Epoch(epoch)).unwrap()().unwrap()
}

/// A sink that has begun, and its directory.
fn begun() -> (TempDir, FileSink<CsvRows>) {
    let directory = tempfile::tempdir().unwrap();
    let sink = FileSink::csv(directory.path());
    begin(&sink, &run(1, None)).unwrap();
    (directory, sink)
}

fn failure(result: Result<(), BoxError>) -> FilesError {
    *result.expect_err("this should have failed").downcast::<FilesError>().unwrap()
}

/// All names in a directory but that of the marker.
fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".highwater.json")
        .collect();
    names.sort();
    names
}

#[test]
fn rows_appear_in_a_file_named_by_epoch_generation_and_worker() {
    let (directory, sink) = begun();
    let parts = prepared(&sink, &run(3, None), 42, &["to", "be, or", "not"]);
    assert_eq!(names(directory.path()), [".part-3-1-0.csv.inprogress"]);
    commit(&sink, &parts).unwrap();
    assert_eq!(names(directory.path()), ["part-0000000042-3-1.csv"]);
    let text = fs::read_to_string(directory.path().join("part-0000000042-3-1.csv")).unwrap();
    assert_eq!(text, "to,1\n\"be, or\",2\nnot,3\n");
    assert_eq!((parts[0].rows, parts[0].bytes), (3, text.len() as u64));
}

#[test]
fn formats_and_header() {
    #[derive(Serialize)]
    struct Count {
        word: &'static str,
        count: u64,
    }
    fn written<T, S: Sink<T>>(directory: &Path, sink: &S, mut rows: Vec<T>) -> String {
        let run = run(1, None);
        sink.begin(&run).unwrap();
        let mut writer = sink.open(&run, 0).unwrap();
        writer.write(&mut rows).unwrap();
        let committables = writer.prepare(Epoch(1)).unwrap()().unwrap();
        sink.commit(&run, committables).unwrap();
        fs::read_to_string(directory.join(&names(directory)[0])).unwrap()
    }
    let root = tempfile::tempdir().unwrap();
    let count = |count| Count { word: "be", count };
    let path = root.path().join("new/and/deep");
    let text = written(&path, &FileSink::csv(&path).header(), vec![count(1), count(2)]);
    assert_eq!(text, "word,count\nbe,1\nbe,2\n");
    let path = root.path().join("delimiter");
    assert_eq!(written(&path, &FileSink::csv(&path).delimiter(b'\t'), vec![count(1)]), "be\t1\n");
    let path = root.path().join("json");
    let text = written(&path, &FileSink::json_lines(&path), vec![count(1), count(2)]);
    assert_eq!(text, "{\"word\":\"be\",\"count\":1}\n{\"word\":\"be\",\"count\":2}\n");
    let path = root.path().join("text");
    assert_eq!(written(&path, &FileSink::text(&path), vec![1.5, 2.0]), "1.5\n2\n");
}

#[test]
fn no_rows_no_file() {
    let (directory, sink) = begun();
    assert!(prepared(&sink, &run(1, None), 1, &[]).is_empty());
    assert!(names(directory.path()).is_empty());
}

#[test]
fn refuses_a_directory_that_is_not_empty() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.txt"), "years of work").unwrap();
    let error = failure(begin(&FileSink::csv(directory.path()), &run(1, None)));
    assert_eq!(error.kind(), FilesErrorKind::Invalid);
    assert!(error.to_string().contains("is not empty (it holds thesis.txt)"), "{error}");
    assert_eq!(names(directory.path()), ["thesis.txt"], "and leaves it as it was");
    assert!(!directory.path().join(".highwater.json").exists());
}

#[test]
fn refuses_the_directory_of_another_job_or_sink() {
    let (_directory, sink) = begun();
    for other in [
        SinkRun { job: "letters".to_owned(), ..run(2, None) },
        SinkRun { uid: "totals".to_owned(), ..run(2, None) },
    ] {
        let said = failure(begin(&sink, &other)).to_string();
        assert!(said.contains("belongs to sink \"counts\" of job \"words\""), "{said}");
        assert!(said.contains("choose another directory"), "{said}");
    }
    begin(&sink, &run(2, None)).unwrap();
}

#[test]
fn refuses_a_marker_that_it_does_not_understand() {
    let (directory, sink) = begun();
    fs::write(directory.path().join(".highwater.json"), "?").unwrap();
    assert!(matches!(failure(begin(&sink, &run(2, None))), FilesError::Marker { .. }));
}

#[test]
fn begins_again_where_a_process_died_while_it_began() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(".highwater.json.new"), "{\"jo").unwrap();
    begin(&FileSink::csv(directory.path()), &run(1, None)).unwrap();
    assert!(names(directory.path()).is_empty());
}

#[test]
fn a_run_that_starts_afresh_refuses_output_of_an_earlier_one() {
    let (_directory, sink) = begun();
    commit(&sink, &prepared(&sink, &run(1, None), 1, &["a"])).unwrap();
    let said = failure(begin(&sink, &run(2, None))).to_string();
    assert!(said.contains("(part-0000000001-1-1.csv)"), "{said}");
    assert!(said.contains("restore its checkpoint"), "{said}");
}

#[test]
fn a_run_that_restores_an_older_checkpoint_refuses_later_output() {
    let (_directory, sink) = begun();
    let mut writer = Sink::<Row>::open(&sink, &run(1, None), 0).unwrap();
    for epoch in 1..=9 {
        writer.write(&mut vec![("a".to_owned(), epoch)]).unwrap();
        let prepared = SinkWriter::<Row>::prepare(&mut writer, Epoch(epoch)).unwrap();
        commit(&sink, &prepared().unwrap()).unwrap();
    }
    begin(&sink, &run(2, Some(9))).unwrap();
    let said = failure(begin(&sink, &run(2, Some(7)))).to_string();
    assert!(said.contains("epochs after e7"), "{said}");
    let files = "part-0000000008-1-0.csv, part-0000000009-1-0.csv; restore";
    assert!(said.contains(files), "{said}");
    let said = failure(begin(&sink, &run(2, Some(1)))).to_string();
    assert!(said.contains("part-0000000006-1-0.csv, and 3 more"), "{said}");
}

#[test]
fn refuses_what_is_not_a_directory_or_cannot_be_written() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = failure(begin(&FileSink::csv(&path), &run(1, None)));
        let expected = format!("{} is a file, and output needs a directory", file.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(error.kind(), FilesErrorKind::Invalid);
    }
}

#[test]
fn what_was_prepared_is_committed_by_the_next_run() {
    let (directory, sink) = begun();
    let mut writer = Sink::<Row>::open(&sink, &run(1, None), 1).unwrap();
    writer.write(&mut vec![("a".to_owned(), 1)]).unwrap();
    let parts = SinkWriter::<Row>::prepare(&mut writer, Epoch(1)).unwrap()().unwrap();
    // After the checkpoint, and lost with the process.
    writer.write(&mut vec![("b".to_owned(), 2)]).unwrap();
    std::mem::forget((sink, writer));

    let sink = FileSink::csv(directory.path());
    let next = run(2, Some(1));
    begin(&sink, &next).unwrap();
    commit(&sink, &parts).unwrap();
    abort(&sink, &next);
    assert_eq!(names(directory.path()), ["part-0000000001-1-1.csv"]);
}

#[test]
fn commit_says_what_was_lost_and_overwrites_nothing() {
    let (directory, sink) = begun();
    let parts = prepared(&sink, &run(1, None), 1, &["a"]);
    let (hidden, committed) =
        (directory.path().join(&parts[0].hidden), directory.path().join(&parts[0].name));

    // Something else has the name: of another length, it stays, and so does ours.
    fs::write(&committed, "somebody else's").unwrap();
    let error = failure(commit(&sink, &parts));
    let expected = format!("{} has 15 bytes and the checkpoint says 4", committed.display());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert_eq!(fs::read_to_string(&committed).unwrap(), "somebody else's");
    assert_eq!(fs::read_to_string(&hidden).unwrap(), "a,1\n");

    // Both names, and the same length: a directory that was copied. One goes.
    fs::write(&committed, "a,1\n").unwrap();
    commit(&sink, &parts).unwrap();
    assert_eq!(names(directory.path()), [parts[0].name.as_str()]);

    // Cut off behind our back.
    fs::write(&hidden, "a").unwrap();
    fs::remove_file(&committed).unwrap();
    assert!(matches!(failure(commit(&sink, &parts)), FilesError::Conflict { found: 1, .. }));

    fs::remove_file(&hidden).unwrap();
    let error = failure(commit(&sink, &parts));
    assert_eq!(error.kind(), FilesErrorKind::Changed);
    let said = error.to_string();
    assert!(said.contains(hidden.to_str().unwrap()), "{said}");
    assert!(said.contains(committed.to_str().unwrap()), "{said}");
}

#[test]
fn abort_removes_only_what_this_job_and_no_later_run_wrote() {
    let (directory, sink) = begun();
    let keep = [
        ".part-9-1-0.csv.inprogress",
        ".part-x.csv.inprogress",
        "README.txt",
        "part-0000000001-1-1.csv",
    ];
    for name in keep {
        fs::write(directory.path().join(name), "").unwrap();
    }
    for name in [".part-1-0-7.csv.inprogress", ".part-8-1-0.jsonl.inprogress"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    abort(&sink, &run(8, Some(1)));
    assert_eq!(names(directory.path()), keep);
}

#[test]
fn errors_while_writing_name_the_file() {
    let (directory, sink) = begun();
    let mut writer = Sink::<(u64, Vec<u64>)>::open(&sink, &run(1, None), 0).unwrap();
    writer.write(&mut vec![(1, vec![1])]).unwrap();
    let error = failure(writer.write(&mut vec![(2, vec![2]), (3, vec![3, 4])]));
    let path = directory.path().join(".part-1-0-0.csv.inprogress");
    assert_eq!(error.to_string(), format!("could not write row 3 of {}", path.display()));

    let mut writer = Sink::<Row>::open(&sink, &run(1, None), 1).unwrap();
    fs::remove_dir_all(directory.path()).unwrap();
    let mut rows = vec![("a".to_owned(), 1)];
    let error = failure(writer.write(&mut rows));
    assert_eq!(error.kind(), FilesErrorKind::System);
    assert!(error.to_string().contains(".part-1-1-0.csv.inprogress"), "{error}");
    assert_eq!(rows.len(), 1, "records that were not taken are still there");
}

#[test]
fn a_directory_that_disappears_before_its_part_is_durable_is_an_error() {
    let (directory, sink) = begun();
    let mut writer = Sink::<Row>::open(&sink, &run(1, None), 0).unwrap();
    writer.write(&mut vec![("a".to_owned(), 1)]).unwrap();
    let prepared = SinkWriter::<Row>::prepare(&mut writer, Epoch(1)).unwrap();
    let path = directory.path().to_owned();
    drop(directory);
    let error = failure(prepared().map(drop));
    assert_eq!(error.to_string(), format!("could not write {}", path.display()));
}
