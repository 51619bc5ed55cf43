//! What becomes of a metadata write: the store is in memory, the other runs are real ones.

use std::sync::Arc;

use super::*;
use crate::metadata::{Generation, Origin};
use crate::policy::CheckpointPolicy;
use crate::run::{BYTES_IN_FLIGHT_MAX, Executor, Restore, RunOptions};
use crate::state::KeyGroups;
use crate::store::faulty::{Faults, FaultyStore};
use crate::store::{Location, RetryPolicy};

/// One attempt, which memory answers at once: shorter than the first pause.
const HASTY: RetryPolicy =
    RetryPolicy { deadline: Duration::from_millis(15), attempt_timeout: Duration::from_secs(1) };

fn block_on<F: Future>(task: F) -> F::Output {
    Executor::default().block_on(task)
}

fn open(store: &BlobStore) -> Arc<Run> {
    restore(store, Restore::Latest)
}

fn restore(store: &BlobStore, restore: Restore) -> Arc<Run> {
    try_to_restore(store, restore).expect("nothing keeps the run from starting")
}

fn try_to_restore(store: &BlobStore, restore: Restore) -> Result<Arc<Run>> {
    Run::open(RunOptions {
        job: "job".into(),
        workers: 1,
        key_groups: KeyGroups::default(),
        store: Some(store.clone()),
        policy: CheckpointPolicy::default(),
        restore,
        allow_non_restored_state: false,
        request_interval: Duration::from_secs(1),
        bytes_in_flight_max: BYTES_IN_FLIGHT_MAX,
    })
}

fn store() -> BlobStore {
    BlobStore::new(Location::memory(), "job")
}

/// A checkpoint of `epoch` under `id`, as `run` would write it.
fn metadata(run: &Run, id: u64, epoch: u64) -> CheckpointMetadata {
    CheckpointMetadata {
        id: CheckpointId(id),
        epoch: Epoch(epoch),
        origin: Origin::Interval,
        ..run.start().clone()
    }
}

fn write(run: &Run, metadata: &CheckpointMetadata) -> Event {
    block_on(run.write_metadata(metadata))
}

#[test]
fn a_checkpoint_is_written_once_and_its_reply_may_be_lost() {
    let (store, faults) = (Location::memory(), Faults::default());
    let store = BlobStore::new(FaultyStore::wrap(store, faults.clone()), "job");
    let run = open(&store);
    let next = faults.calls() + 1;
    let _ = faults.clone().lose_replies_to_calls(next..next + 1);
    let event = write(&run, &metadata(&run, 2, 1));
    assert!(matches!(event, Event::Written { id: CheckpointId(2), epoch: Epoch(1) }), "{event:?}");
}

#[test]
fn an_own_earlier_write_is_found_under_the_id() {
    let run = open(&store());
    write(&run, &metadata(&run, 2, 1));
    let event = write(&run, &metadata(&run, 2, 4));
    assert!(matches!(event, Event::Written { id: CheckpointId(2), epoch: Epoch(1) }), "{event:?}");
}

#[test]
fn an_older_run_meets_the_copy_of_a_newer_one() {
    let store = store();
    let (older, newer) = (open(&store), open(&store));
    assert_eq!(newer.start().id, CheckpointId(2));
    let event = write(&older, &metadata(&older, 2, 1));
    assert!(matches!(event, Event::Fenced { newer: Generation(2) }), "{event:?}");
}

/// Why the fence is checked after the write: the copy that would have been met is gone by now.
#[test]
fn an_older_run_that_slept_does_not_commit_what_it_then_writes() {
    let store = store();
    let (older, newer) = (open(&store), open(&store));
    write(&newer, &metadata(&newer, 3, 1));
    block_on(newer.delete(&[CheckpointId(1), CheckpointId(2)], &[]));
    let event = write(&older, &metadata(&older, 2, 1));
    assert!(matches!(event, Event::Fenced { newer: Generation(2) }), "{event:?}");
    // What it wrote is not the newest: nobody starts from it unasked.
    assert_eq!(open(&store).restored(), Some(CheckpointId(3)));
}

#[test]
fn a_metadata_of_an_older_run_is_not_taken_for_a_newer_run() {
    let store = store();
    let (older, newer) = (open(&store), open(&store));
    let foreign = metadata(&older, 3, 1);
    let name = layout::checkpoint(foreign.id);
    block_on(store.put(&name, foreign.to_bytes().into())).expect("memory does not fail");
    let event = write(&newer, &metadata(&newer, 3, 1));
    assert!(matches!(event, Event::NotWritten { .. }), "{event:?}");
    let failure = newer.control().take_failure().expect("the run has failed").to_string();
    assert!(failure.contains(&name) && failure.contains("(generation 1)"), "{failure}");
}

/// The check went on for ever, as fast as the store answered.
#[test]
fn regression_an_emptied_folder_ends_the_run() {
    let store = store();
    let run = open(&store);
    block_on(store.delete(&layout::generation(run.generation()))).expect("memory does not fail");
    let event = write(&run, &metadata(&run, 2, 1));
    assert!(matches!(event, Event::NotWritten { .. }), "{event:?}");
    let failure = run.control().take_failure().expect("the run has failed").to_string();
    assert_eq!(failure, "generations/0000000001 is missing");
}

#[test]
fn what_the_store_refuses_is_not_written_and_the_run_goes_on() {
    let (store, faults) = (Location::memory(), Faults::default());
    let store = BlobStore::new(FaultyStore::wrap(store, faults.clone()), "job");
    let run = open(&store);
    let _ = faults.clone().deny();
    let event = write(&run, &metadata(&run, 2, 1));
    assert!(matches!(event, Event::NotWritten { .. }), "{event:?}");
    assert!(!run.control().has_failed());
    faults.heal();
    let event = write(&run, &metadata(&run, 2, 2));
    assert!(matches!(event, Event::Written { epoch: Epoch(2), .. }), "{event:?}");
}

/// They were deleted although the delete of the checkpoint had failed: it was there, and not whole.
#[test]
fn regression_segments_stay_while_their_checkpoint_does() {
    let (store, faults) = (Location::memory(), Faults::default());
    let healthy = BlobStore::new(store.clone(), "job");
    let hasty = BlobStore::new(FaultyStore::wrap(store, faults.clone()), "job");
    let run = open(&hasty.retry_policy(HASTY));
    block_on(healthy.put("segments/x", "x".into())).expect("memory does not fail");
    let next = faults.calls() + 1;
    let _ = faults.clone().down_for_calls(next..next + 1);
    block_on(run.delete(&[CheckpointId(1)], &["segments/x".into()]));
    assert!(block_on(healthy.get("segments/x")).is_ok());
    block_on(run.delete(&[CheckpointId(1)], &["segments/x".into()]));
    assert!(block_on(healthy.get("segments/x")).is_err());
}

/// While a checkpoint cannot be deleted every segment stays, those of later calls too.
#[test]
fn regression_no_segment_is_deleted_before_the_checkpoints_that_may_name_it() {
    let faults = Faults::default();
    let store = BlobStore::new(FaultyStore::wrap(Location::memory(), faults.clone()), "job");
    let run = open(&store.clone().retry_policy(HASTY));
    let (old, newer) = ("segments/count/old", "segments/count/newer");
    let are_there = || {
        let names = [old.to_owned(), newer.to_owned(), layout::checkpoint(CheckpointId(1))];
        names.map(|name| block_on(store.size(&name)).is_ok())
    };
    for name in [old, newer] {
        block_on(store.put(name, Bytes::from_static(b"bytes"))).expect("nothing is wrong yet");
    }
    for (checkpoints, segments) in
        [(vec![CheckpointId(1)], vec![old.to_owned()]), (vec![], vec![newer.to_owned()])]
    {
        let next = faults.calls() + 1;
        let _ = faults.clone().down_for_calls(next..next + 1);
        block_on(run.delete(&checkpoints, &segments));
        assert_eq!(are_there(), [true, true, true]);
    }
    block_on(run.delete(&[], &[]));
    assert_eq!(are_there(), [false, false, false]);
}

/// A start that fails when a sink has begun to discard what older runs left.
fn fails_late(run: &Run) {
    run.control().set_discarding();
    run.withdraw_unless_begun();
}

/// What the older run has prepared may be discarded: nobody may start from what it writes now.
#[test]
fn regression_a_run_that_cannot_start_leaves_its_id_to_nobody() {
    for refused in [Restore::Latest, Restore::Nothing] {
        let store = store();
        let older = open(&store);
        write(&older, &metadata(&older, 2, 1));
        fails_late(&restore(&store, refused.clone()));
        let event = write(&older, &metadata(&older, 3, 2));
        assert!(matches!(event, Event::Fenced { .. }), "{refused:?}: {event:?}");
        assert_eq!(open(&store).start().epoch, Epoch(1), "{refused:?}");
    }
}

#[test]
fn a_run_that_cannot_start_afresh_does_not_hide_the_checkpoints() {
    let store = store();
    let done = open(&store);
    write(&done, &metadata(&done, 2, 1));
    for _ in 0..3 {
        fails_late(&restore(&store, Restore::Nothing));
        fails_late(&open(&store));
    }
    let next = open(&store);
    assert_eq!(next.start().epoch, Epoch(1));
    // The first run's own copy, its checkpoint, and one copy of that.
    assert_eq!(next.retained().len(), 3);
}

/// Nothing was discarded, so what an older run writes under the id is whole.
#[test]
fn a_run_that_cannot_start_and_has_touched_nothing_leaves_nothing() {
    for refused in [Restore::Latest, Restore::Nothing] {
        let store = store();
        let older = open(&store);
        write(&older, &metadata(&older, 2, 1));
        restore(&store, refused.clone()).withdraw_unless_begun();
        let next = open(&store);
        assert_eq!((next.start().id, next.start().epoch), (CheckpointId(3), Epoch(1)));
    }
}

#[test]
fn a_first_run_that_cannot_start_leaves_nothing() {
    let store = store();
    open(&store).withdraw_unless_begun();
    assert_eq!(open(&store).restored(), None);
}

/// A drain is forgotten by a run that goes on from it, not by one that cannot start.
#[test]
fn a_drained_checkpoint_stays_one_until_somebody_goes_on_from_it() {
    let store = store();
    let done = open(&store);
    let drained = metadata(&done, 2, 1);
    write(&done, &CheckpointMetadata { origin: Origin::Drain, ..drained });
    let named = Restore::Id(CheckpointId(2));
    for refused in [named.clone(), Restore::Nothing, named.clone()] {
        fails_late(&restore(&store, refused.clone()));
        let error = try_to_restore(&store, Restore::Latest).expect_err("nobody has named it");
        assert!(error.to_string().contains("was drained"), "{refused:?}: {error}");
    }
    restore(&store, named).control().set_ready();
    assert_eq!(open(&store).start().epoch, Epoch(1), "it goes on");
}
