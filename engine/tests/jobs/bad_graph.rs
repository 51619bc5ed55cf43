//! A program whose dataflow cannot be, or cannot go on from its checkpoint, is told so before it
//! reads a record: the error names the operator and both sides of what does not match.
//!
//! Method: jobs in this process, with sources and sinks in memory and checkpoints in a directory.
//! The text of an error is compared as `main` would print it.

use std::path::Path;

use highwater::checkpoint::ErrorKind;
use highwater::checkpoint::state::KeyGroups;
use highwater::prelude::*;
use highwater::testing::{CollectSink, VecSource};
use highwater::{Error, Restore};

type Counts = CollectSink<(String, u64)>;

fn words() -> VecSource<String> {
    VecSource::new(["to", "be", "or", "not", "to", "be"].map(String::from))
}

fn job(directory: &Path) -> Job {
    Job::new("words").quiet().checkpoint_dir(directory.display().to_string())
}

/// Runs a count of words, with checkpoints in `directory`.
fn count(job: Job, sink: Counts) -> highwater::Result<()> {
    job.run(move |flow| {
        let words = flow.source("words", words()).key_by(Clone::clone).emit(Emit::AtEnd);
        words.count("count").sink("counts", sink.clone());
    })
}

/// What `main` prints of the error that a job ends with; it must not be a panic.
#[track_caller]
fn refusal(outcome: highwater::Result<()>) -> (ErrorKind, String) {
    let error = outcome.expect_err("the job must not run");
    assert!(!matches!(error, Error::Panicked { .. }), "{error:?}");
    let text = format!("{error:?}");
    assert_eq!(text.lines().count(), 1, "{text}");
    println!("Error: {text}");
    (error.kind(), text)
}

#[track_caller]
fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

#[test]
fn looking_ahead_by_values_of_another_type_is_refused() {
    let outcome = Job::new("words").quiet().run(|flow| {
        let words = flow.source("words", words()).key_by(Clone::clone);
        let seen = words.process("seen", |state| {
            let seen = state.map::<u64, ()>("seen");
            state.look_ahead(&seen, |length: &u64| Some(*length));
            move |ctx, word: String| {
                if seen.insert(ctx, word.len() as u64, ()).is_none() {
                    ctx.emit(word);
                }
            }
        });
        seen.for_each(drop);
    });
    let (kind, text) = refusal(outcome);
    assert_eq!(kind, ErrorKind::Invalid);
    assert_says(&text, &["operator \"seen\"", "values of u64", "values of alloc::string::String"]);
}

#[test]
fn regression_two_operators_with_one_uid_are_refused_without_a_panic() {
    for workers in [1, 3] {
        let outcome = Job::new("words").quiet().workers(workers).run(|flow| {
            let words = flow.source("words", words()).key_by(Clone::clone);
            words.count("words").for_each(drop);
        });
        let (kind, text) = refusal(outcome);
        assert_eq!(kind, ErrorKind::Invalid);
        let rule =
            "two operators have the uid \"words\": state is matched by it, so each needs its own";
        assert_eq!(text, rule);
    }
}

#[test]
fn an_empty_uid_is_refused() {
    let outcome = Job::new("words").quiet().run(|flow| {
        flow.source("", words()).for_each(drop);
    });
    let (kind, text) = refusal(outcome);
    assert_eq!(kind, ErrorKind::Invalid);
    assert_says(&text, &["needs a uid that is not empty"]);
}

#[test]
fn a_job_without_a_name_or_a_sink_is_refused() {
    let (_, text) = refusal(Job::new("").quiet().run(|_| {}));
    assert_says(&text, &["a job needs a name"]);
    let outcome = Job::new("words").quiet().run(|flow| drop(flow.source("words", words())));
    let (kind, text) = refusal(outcome);
    assert_eq!(kind, ErrorKind::Invalid);
    assert_says(&text, &["the dataflow has no sink", "`sink` or `for_each`"]);
}

#[test]
fn more_workers_than_key_groups_are_refused() {
    let job = Job::new("words").workers(5).key_groups(KeyGroups::new(4).unwrap());
    let (kind, text) = refusal(count(job.quiet(), Counts::new()));
    assert_eq!(kind, ErrorKind::Invalid);
    assert_says(&text, &["5 workers", "4 key groups"]);
    let (_, text) = refusal(count(Job::new("words").quiet().workers(0), Counts::new()));
    assert_says(&text, &["0 workers", "at least 1"]);
}

#[test]
fn another_number_of_key_groups_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Counts::new();
    count(job(directory.path()), sink.clone()).unwrap();
    let other = job(directory.path()).key_groups(KeyGroups::new(64).unwrap());
    let (kind, text) = refusal(count(other, sink));
    assert_eq!(kind, ErrorKind::Invalid);
    assert_says(&text, &["128 key groups", "the job has 64", "set it back to 128"]);
}

#[test]
fn state_of_another_type_is_refused_with_both_types() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Counts::new();
    count(job(directory.path()), sink.clone()).unwrap();
    let outcome = job(directory.path()).run(move |flow| {
        let words = flow.source("words", words()).key_by(Clone::clone).emit(Emit::AtEnd);
        let counts = words.fold("count", 0i32, |count, _| *count += 1);
        counts.map(|(word, count)| (word, count as u64)).sink("counts", sink.clone());
    });
    let (kind, text) = refusal(outcome);
    assert_eq!(kind, ErrorKind::Invalid);
    let theirs = "the checkpoint holds keyed state of (String, u64) in";
    let ours = "the program has keyed state of (String, i32) in";
    assert_says(&text, &["operator \"count\" has changed", theirs, ours, "--restore none"]);
}

#[test]
fn state_that_no_operator_claims_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Counts::new();
    count(job(directory.path()), sink.clone()).unwrap();
    let outcome = job(directory.path()).run(move |flow| {
        let words = flow.source("words", words()).key_by(Clone::clone).emit(Emit::AtEnd);
        words.count("tally").sink("counts", sink.clone());
    });
    let (kind, text) = refusal(outcome);
    assert_eq!(kind, ErrorKind::Invalid);
    let rule = "checkpoint 2 cannot be restored: it has state of operator \"count\" (4 entries in \
                segments), which the program lacks; the program has \"counts\", \"tally\", \
                \"words\"; bring the operator back, drop its state with \
                --allow-non-restored-state, or start afresh with --restore none";
    assert_eq!(text, rule);
}

#[test]
fn regression_a_start_that_is_refused_is_not_what_the_next_run_resumes_from() {
    let directory = tempfile::tempdir().unwrap();
    let sink = Counts::new();
    count(job(directory.path()), sink.clone()).unwrap();
    let before = sink.records();
    // The sink refuses: it holds the output of the run that this one would not continue.
    let afresh = job(directory.path()).restore(Restore::Nothing);
    let (_, text) = refusal(count(afresh, sink.clone()));
    assert_says(&text, &["sink \"counts\" failed", "goes on from None"]);
    count(job(directory.path()), sink.clone()).unwrap();
    assert_eq!(sink.records(), before);
    let checkpoints = std::fs::read_dir(directory.path().join("words/checkpoints")).unwrap();
    // Itself, and the copy that hides the refused start from an older run.
    assert_eq!(checkpoints.count(), 2, "each start that did nothing has left a checkpoint behind");
}

#[test]
fn causes_are_joined_in_one_line() {
    let io = std::io::Error::other("the disk is on fire");
    let error = Error::Sink { uid: "counts".into(), error: io.into() };
    assert_eq!(format!("{error:?}"), "sink \"counts\" failed: the disk is on fire");
    assert_eq!(error.to_string(), "sink \"counts\" failed");
}

#[test]
fn a_panic_of_the_program_ends_all_workers_and_names_one() {
    let outcome = Job::new("words").quiet().workers(3).run(|flow| {
        let words = flow.source("words", words()).inspect(|word| assert_ne!(word, "not", "a word"));
        words.for_each(drop);
    });
    let text = format!("{:?}", outcome.expect_err("it panics"));
    assert_says(&text, &["worker ", " panicked: ", "a word"]);
}
