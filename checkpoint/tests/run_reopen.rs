//! A run that follows another in the same process, and the end of a job's checkpoints: neither ever
//! takes what is somebody else's, whichever request breaks off.
//!
//! Method: runs without a dataflow on a memory behind a `FaultyStore`. A run is made to have begun by
//! hand; its checkpoints are put there as it would write them.

#![cfg(feature = "testing")]
#![allow(clippy::unwrap_used)] // a panic is the report

use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::metadata::{
    CheckpointId, CheckpointMetadata, Generation, OperatorStateMetadata, Origin, SegmentKind,
    SegmentMetadata,
};
use highwater_checkpoint::run::{Restore, Run, RunOptions};
use highwater_checkpoint::store::faulty::{Faults, FaultyStore};
use highwater_checkpoint::store::layout::{self, SegmentMaker, SegmentName};
use highwater_checkpoint::store::{BlobStore, Location, RetryPolicy};
use highwater_checkpoint::{Epoch, ErrorKind};

const JOB: &str = "again";

/// One attempt for each request, which memory answers at once: shorter than the first pause.
const HASTY: RetryPolicy =
    RetryPolicy { deadline: Duration::from_millis(15), attempt_timeout: Duration::from_secs(1) };

fn open(location: &Location, restore: Restore) -> Arc<Run> {
    let run = Run::open(RunOptions {
        store: Some(BlobStore::new(location.clone(), JOB).retry_policy(HASTY)),
        restore,
        ..RunOptions::new(JOB, "memory:///unused").unwrap()
    });
    run.unwrap()
}

fn block_on<T>(task: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(task)
}

fn names(location: &Location, folder: &str) -> Vec<String> {
    let store = BlobStore::new(location.clone(), JOB);
    block_on(store.list(folder)).unwrap().into_iter().map(|(name, _)| name).collect()
}

fn ids(location: &Location) -> Vec<u64> {
    let names = names(location, layout::CHECKPOINTS);
    names.iter().map(|name| layout::parse_checkpoint(name).unwrap().0).collect()
}

/// Puts a checkpoint with a segment of its own there, as `run` would.
fn append(location: &Location, run: &Run, id: u64) {
    let store = BlobStore::new(location.clone(), JOB);
    let maker = SegmentMaker::Worker { worker: 0, kind: SegmentKind::Delta };
    let (uid, generation, epoch) = ("count".to_owned(), run.generation(), Epoch(id));
    let object = SegmentName { uid: uid.clone(), generation, epoch, maker }.to_string();
    block_on(store.put(&object, "x".into())).unwrap();
    let segment = SegmentMetadata {
        object,
        kind: SegmentKind::Delta,
        first_group: 0,
        last_group: 127,
        epoch,
        entries: 1,
        offset: None,
        bytes: 1,
        crc32: 0,
    };
    let state = OperatorStateMetadata { uid, segments: vec![segment], ..Default::default() };
    let metadata = CheckpointMetadata {
        id: CheckpointId(id),
        epoch,
        origin: Origin::Interval,
        operators: vec![state],
        ..run.start().clone()
    };
    block_on(store.put(&layout::checkpoint(metadata.id), metadata.to_bytes().into())).unwrap();
}

/// A run that has begun, with the checkpoints 2 and 3 behind its first.
fn begun(location: &Location) -> Arc<Run> {
    let run = open(location, Restore::Nothing);
    run.control().set_ready();
    append(location, &run, 2);
    append(location, &run, 3);
    run
}

#[test]
fn the_next_run_goes_on_from_the_newest_whatever_the_first_was_told() {
    let location = Location::memory();
    let next = begun(&location).reopen(Some(CheckpointId(3))).unwrap();
    assert_eq!((next.restored(), next.generation()), (Some(CheckpointId(3)), Generation(2)));
    assert_eq!(next.newest_checkpoint(), Some(CheckpointId(3)), "its own has not begun");
}

#[test]
fn a_run_that_had_not_begun_is_followed_by_one_like_it() {
    let location = Location::memory();
    begun(&location);
    let first = open(&location, Restore::Id(CheckpointId(2)));
    let next = first.reopen(None).unwrap();
    assert_eq!(next.restored(), Some(CheckpointId(2)));
}

#[test]
fn it_does_not_go_back_behind_what_was_complete() {
    let location = Location::memory();
    let run = begun(&location);
    let behind = BlobStore::new(location.clone(), JOB);
    block_on(behind.delete(&layout::checkpoint(CheckpointId(3)))).unwrap();
    let error = run.reopen(Some(CheckpointId(3))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    let text = error.to_string();
    assert!(text.contains("checkpoint 3 is damaged") && text.contains("is missing"), "{text}");
    assert!(text.contains("--restore 2"), "{text}");
    assert_eq!(ids(&location), [1, 2], "nothing was added");
}

#[test]
fn a_job_that_somebody_else_has_taken_over_is_left_alone() {
    let location = Location::memory();
    let run = begun(&location);
    let newer = open(&location, Restore::Latest);
    let error = run.reopen(Some(CheckpointId(3))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stop, "{error}");
    assert!(newer.fenced().is_none(), "the newer run was fenced");
}

/// What this process has claimed itself, by an attempt of which it did not learn the end, is no
/// other's.
#[test]
fn an_attempt_that_broke_off_anywhere_can_be_made_again() {
    let mut broken = 0;
    for lost in [false, true] {
        for at in 0..24 {
            let (memory, faults) = (Location::memory(), Faults::default());
            let location = FaultyStore::wrap(memory.clone(), faults.clone());
            let run = begun(&location);
            let call = faults.calls() + at;
            let once = call..call + 3;
            let script = faults.clone();
            drop(if lost {
                script.lose_replies_to_calls(once)
            } else {
                script.down_for_calls(once)
            });
            let case = format!("request {at}, reply lost: {lost}");
            if let Err(error) = run.reopen(Some(CheckpointId(3))) {
                let again = matches!(error.kind(), ErrorKind::Retry | ErrorKind::Reconcile);
                assert!(again, "{case}: {error}");
                broken += 1;
                faults.heal();
                let next = run.reopen(Some(CheckpointId(3))).expect(&case);
                assert!(next.restored() >= Some(CheckpointId(3)), "{case}");
            }
        }
    }
    assert!(broken > 10, "{broken} attempts broke off");
}

#[test]
fn all_checkpoints_of_a_stopped_job_are_deleted() {
    let location = Location::memory();
    let run = begun(&location);
    run.delete_checkpoints().unwrap();
    assert_eq!(ids(&location), [0; 0]);
    assert_eq!(names(&location, layout::SEGMENTS), [""; 0]);
    let next = open(&location, Restore::Latest);
    assert_eq!((next.restored(), next.generation()), (None, Generation(2)), "the fence stays");
}

#[test]
fn checkpoints_of_a_job_with_a_newer_run_are_not_deleted() {
    let location = Location::memory();
    let run = begun(&location);
    let _newer = open(&location, Restore::Latest);
    assert_eq!(run.delete_checkpoints().unwrap_err().kind(), ErrorKind::Stop);
    assert_eq!(ids(&location), [1, 2, 3, 4]);
}

/// What is left is whole, and is the newest.
#[test]
fn deleting_may_break_off_anywhere() {
    let mut broken = 0;
    for at in 0..16 {
        let (memory, faults) = (Location::memory(), Faults::default());
        let run = begun(&FaultyStore::wrap(memory.clone(), faults.clone()));
        let call = faults.calls() + at;
        drop(faults.clone().down_for_calls(call..u64::MAX));
        if run.delete_checkpoints().is_ok() {
            continue;
        }
        broken += 1;
        let left = ids(&memory);
        assert!(left.is_empty() || left.contains(&3), "request {at}: {left:?}");
        let segments = names(&memory, layout::SEGMENTS).len();
        assert!(left.is_empty() || segments == 2, "request {at}: {left:?}, {segments} segments");
    }
    assert!(broken >= 6, "{broken}");
}
