//! What is asked wrongly, and results that are wrong, are said on standard error, with an exit code that
//! is not 0; what else was asked for is run and kept. The program is run as a person would,
//! and as the script that alternates with peers does.

#![allow(clippy::unwrap_used)] // a panic is the report

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn benches(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_highwater-benches");
    Command::new(program).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The cases that have a line in this file, one for each.
fn cases(json: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(json).unwrap();
    let case = |line: &str| -> String {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["case"].as_str().unwrap().to_owned()
    };
    text.lines().map(case).collect()
}

const KEYED_COUNT: [&str; 9] = [
    "keyed-count",
    "--records",
    "20000",
    "--keys",
    "1000",
    "--keys-are",
    "uniform,zipf",
    "--rounds",
    "1",
];

#[test]
fn an_unknown_suite_is_said() {
    let output = benches(&["keyd-count"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("'keyd-count'"), "{}", stderr(&output));
    assert!(stderr(&output).contains("'keyed-count'"), "{}", stderr(&output));
}

#[test]
fn an_unknown_side_is_said() {
    let output = benches(&[&KEYED_COUNT[..], &["--only", "flink"]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = "error: keyed-count has no side \"flink\": they are loop, timely, engine\n";
    assert_eq!(stderr(&output), said);
}

#[test]
fn an_unknown_query_is_said_and_the_others_are_run() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("runs.json");
    let flags = ["--events", "1000", "--rounds", "1", "--json", json.to_str().unwrap()];
    let output = benches(&[&["nexmark", "--query", "q1,q23,q2"], &flags[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let said = "error: there is no query \"q23\": they are q0 to q22, and all\n";
    assert_eq!(stderr(&output), said);
    assert_eq!(cases(&json), ["q1", "q1", "q2", "q2"]);
}

#[test]
fn a_digest_that_is_not_the_one_on_record_is_said_and_the_other_results_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (json, recorded) = (folder.path().join("runs.json"), folder.path().join("digests.json"));
    std::fs::write(&recorded, "[]").unwrap();
    let recorded_flags = ["--recorded", recorded.to_str().unwrap()];
    let with = |more: &[&str]| benches(&[&KEYED_COUNT[..], &recorded_flags, more].concat());

    assert!(with(&["--record"]).status.success());
    assert!(with(&[]).status.success());
    let text = std::fs::read_to_string(&recorded).unwrap();
    let digest = text.lines().find(|line| line.len() > 20 && line.ends_with('"')).unwrap();
    std::fs::write(&recorded, text.replacen(digest, "\"0123456789abcdef\"", 1)).unwrap();

    let output = with(&["--json", json.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.starts_with("error: 0.001 M keys, uniform: the result is 20000 rows"), "{said}");
    assert!(said.contains("on record are 20000 rows, digest 0123456789abcdef"), "{said}");
    assert_eq!(said.lines().count(), 1, "the other case is as on record: {said}");
    let (uniform, zipf) = ("0.001 M keys, uniform", "0.001 M keys, zipf");
    assert_eq!(cases(&json), [uniform, uniform, uniform, zipf, zipf, zipf]);
}

#[test]
fn on_request_there_is_a_run_and_its_record_for_each_line() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater-benches"));
    command.args(&KEYED_COUNT[..5]).args([
        "--keys-are",
        "uniform",
        "--only",
        "engine",
        "--on-request",
    ]);
    let mut program = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    program.stdin.take().unwrap().write_all(b"\n\n").unwrap();
    let output = program.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let records = text.lines().filter(|line| line.starts_with('{'));
    let records = records.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let runs: Vec<_> = records.map(|run| (run["round"].as_u64(), run["rows"].as_u64())).collect();
    assert!(output.status.success() && runs.len() == 2 && runs[0].1 == runs[1].1, "{text}");
    assert_eq!((runs[0].0, runs[1].0), (Some(0), Some(1)));
}
