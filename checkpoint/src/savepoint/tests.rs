//! Copies of checkpoints, into savepoints and into other jobs, that break off at any request.
//!
//! A crash at request `k` is a store that is down from `k` on, before or after it took effect.

#![allow(clippy::unwrap_used)] // a panic is the report

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{
    CheckpointId, CheckpointMetadata, Generation, OperatorStateMetadata, Origin, SegmentKind,
    SegmentMetadata, StateKind, StateSchema, fixture,
};
use crate::run::{Elsewhere, Restore, Run, RunOptions};
use crate::segment::{EntryBlock, SegmentHeader, SegmentWriter};
use crate::state::KeyGroups;
use crate::store::faulty::{Faults, FaultyStore};
use crate::store::layout::{self, METADATA};
use crate::store::{BlobStore, Location, RetryPolicy};
use crate::time::Epoch;

const JOB: &str = "original";

/// One attempt for each request, which memory answers at once: shorter than the first pause.
const HASTY: RetryPolicy =
    RetryPolicy { deadline: Duration::from_millis(15), attempt_timeout: Duration::from_secs(1) };

fn block_on<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.unwrap().block_on(task)
}

fn segment(uid: &str, worker: usize, epoch: u64) -> (SegmentMetadata, Bytes) {
    let header = SegmentHeader {
        job: JOB.into(),
        uid: uid.into(),
        kind: SegmentKind::Delta,
        generation: Generation(1),
        worker,
        epoch: Epoch(epoch),
        key_groups: 8,
        first_group: 0,
        last_group: 7,
    };
    let name = Run::segment_name(&header);
    let (mut writer, mut block) = (SegmentWriter::new(header), EntryBlock::new());
    block.push_bytes(uid.as_bytes(), Some(&epoch.to_le_bytes())).unwrap();
    writer.block(3, &block);
    let (bytes, summary) = writer.finish();
    (summary.metadata(name), bytes)
}

/// A job with one checkpoint, of epoch 2, of four segments and with output to commit.
fn original(location: &Location) -> (BlobStore, CheckpointMetadata) {
    let store = BlobStore::new(location.clone(), JOB);
    let mut operators = Vec::new();
    for (uid, cut) in [("count", vec![(0, 1), (0, 2), (1, 2)]), ("sum", vec![(0, 2)])] {
        let mut state =
            OperatorStateMetadata { uid: uid.into(), ..OperatorStateMetadata::default() };
        for (worker, epoch) in cut {
            let (segment, bytes) = segment(uid, worker, epoch);
            block_on(store.put(&segment.object, bytes)).unwrap();
            state.segments.push(segment);
        }
        operators.push(state);
    }
    let schema = StateSchema { kind: StateKind::Sink, ..StateSchema::default() };
    let committables = vec![json!({"part": 1})];
    operators.push(OperatorStateMetadata {
        uid: "to".into(),
        schema,
        committables,
        ..OperatorStateMetadata::default()
    });
    let metadata = CheckpointMetadata {
        job: JOB.into(),
        id: CheckpointId(5),
        epoch: Epoch(2),
        generation: Generation(1),
        origin: Origin::Interval,
        key_groups: 8,
        operators,
        ..fixture()
    };
    block_on(store.put(&layout::checkpoint(metadata.id), metadata.to_bytes().into())).unwrap();
    (store, metadata)
}

fn name(name: &str) -> SavepointName {
    name.parse().unwrap()
}

/// All objects below a folder, with their bytes.
fn contents(store: &BlobStore) -> BTreeMap<String, Bytes> {
    block_on(async {
        let mut contents = BTreeMap::new();
        for (name, _) in store.list("").await.unwrap() {
            contents.insert(name.clone(), store.get(&name).await.unwrap());
        }
        contents
    })
}

/// What each segment of `metadata` holds, by operator.
fn segments(store: &BlobStore, metadata: &CheckpointMetadata) -> Vec<(String, Bytes)> {
    let operators = metadata.operators.iter();
    let named = operators.flat_map(|state| state.segments.iter().map(|s| (&state.uid, s)));
    named
        .map(|(uid, segment)| (uid.clone(), block_on(store.get(&segment.object)).unwrap()))
        .collect()
}

fn down_from(first: u64, takes_effect: bool) -> Faults {
    let down = if takes_effect { first + 1..u64::MAX } else { first..u64::MAX };
    Faults::default().down_for_calls(down).lose_replies_to_calls(first..first + 1)
}

fn failing(location: &Location, job: &str, faults: Faults) -> BlobStore {
    BlobStore::new(FaultyStore::wrap(location.clone(), faults), job).retry_policy(HASTY)
}

#[test]
fn a_savepoint_that_broke_off_at_any_request_is_none_or_whole_and_can_be_taken_again() {
    for takes_effect in [false, true] {
        let mut failed = 0;
        for first in 1..40 {
            let case = format!("request {first}, takes effect: {takes_effect}");
            let location = Location::memory();
            let (healthy, metadata) = original(&location);
            let expected = segments(&healthy, &metadata);
            let broken = failing(&location, JOB, down_from(first, takes_effect));
            let outcome = block_on(folder::take(&broken, &name("s"), metadata.clone()));
            failed += u64::from(outcome.is_err());

            let place = folder::folder(&healthy, &name("s"));
            let check = |metadata: &CheckpointMetadata| {
                assert_eq!(segments(&place, metadata), expected, "{case}");
                let lists_output = metadata.operators.iter().any(|o| !o.committables.is_empty());
                assert!(!lists_output, "{case}");
            };
            let left = place.subfolder("segments/old");
            block_on(left.put("part.seg", Bytes::from_static(b"of another attempt"))).unwrap();
            match block_on(folder::read(&healthy, &name("s"))) {
                Ok(metadata) => {
                    check(&metadata);
                    let again = block_on(folder::take(&healthy, &name("s"), metadata)).unwrap_err();
                    assert!(again.to_string().contains("already, of e2, taken 20"), "{again}");
                    continue;
                }
                Err(Error::Missing { .. }) => assert!(outcome.is_err(), "{case}"),
                Err(error) => panic!("{case}: {error}"),
            }
            let taken = block_on(folder::take(&healthy, &name("s"), metadata)).unwrap();
            check(&taken);
            let names: Vec<String> = contents(&place).into_keys().collect();
            assert_eq!(names.len(), 5, "{case}: the leftovers are gone: {names:?}");
        }
        assert!((6..30).contains(&failed), "{failed} of the requests matter");
    }
}

#[test]
fn a_name_is_given_once_however_many_ask_for_it_at_a_time() {
    let location = Location::memory();
    let (store, metadata) = original(&location);
    let later = CheckpointMetadata { id: CheckpointId(6), epoch: Epoch(3), ..metadata.clone() };
    let s = name("s");
    let both = futures::future::join(
        folder::take(&store, &s, metadata.clone()),
        folder::take(&store, &s, later.clone()),
    );
    let (first, second) = block_on(both);
    let won: Vec<_> = [first, second].into_iter().filter_map(Result::ok).collect();
    assert_eq!(won.len(), 1);
    let there = block_on(folder::read(&store, &name("s"))).unwrap();
    assert_eq!(there.epoch, won[0].epoch);
    segments(&folder::folder(&store, &name("s")), &there);
    assert_eq!(block_on(folder::list(&store)).unwrap(), [name("s")]);
    block_on(folder::delete(&store, &name("s"))).unwrap();
    assert_eq!(block_on(store.list(layout::SAVEPOINTS)).unwrap(), []);
}

#[test]
fn nothing_is_made_of_a_checkpoint_whose_segments_are_damaged() {
    let location = Location::memory();
    let (store, metadata) = original(&location);
    let object = metadata.operators[0].segments[0].object.clone();
    let mut bytes = block_on(store.get(&object)).unwrap().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    block_on(store.put(&object, bytes.into())).unwrap();
    let error = block_on(folder::take(&store, &name("s"), metadata)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
    assert!(error.to_string().contains(&object), "{error}");
    assert_eq!(block_on(folder::list(&store)).unwrap(), []);
}

fn fork(store: BlobStore, from: Elsewhere) -> Result<Arc<Run>> {
    let options = RunOptions::new("fork", "memory:///unused")?;
    let key_groups = KeyGroups::new(8).unwrap();
    let restore = Restore::From(from);
    Run::open(RunOptions { store: Some(store), key_groups, restore, ..options })
}

/// Into a job that has a past: its own segments must not be written over.
#[test]
fn a_fork_that_broke_off_at_any_request_can_be_made_again_and_the_original_is_as_it_was() {
    for takes_effect in [false, true] {
        let mut failed = 0;
        for first in 1..40 {
            let case = format!("request {first}, takes effect: {takes_effect}");
            let (there, here) = (Location::memory(), Location::memory());
            let (from, metadata) = original(&there);
            let (before, expected) = (contents(&from), segments(&from, &metadata));
            let healthy = BlobStore::new(here.clone(), "fork");
            let broken = failing(&here, "fork", down_from(first, takes_effect));
            failed += u64::from(fork(broken, Elsewhere::newest(from.clone())).is_err());

            let id = CheckpointId(5);
            let run = fork(healthy.clone(), Elsewhere::checkpoint(from.clone(), id));
            let run = run.unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(contents(&from), before, "{case}");
            let start = run.start();
            assert_eq!((&*start.job, start.epoch), ("fork", Epoch(2)), "{case}");
            assert_eq!(start.origin, Origin::Fork { from: id }, "{case}");
            assert_eq!(segments(&healthy, start), expected, "{case}");
            let output = start.operators.iter().flat_map(|state| &state.committables).count();
            assert_eq!(output, 0, "{case}: the original's output is the original's");
        }
        assert!((8..35).contains(&failed), "{failed} of the requests matter");
    }
}

/// The original's checkpoint 5 is not the job's own.
#[test]
fn a_fork_that_cannot_start_does_not_hide_the_job_s_own_checkpoints() {
    let (from, metadata) = original(&Location::memory());
    let here = BlobStore::new(Location::memory(), "fork");
    let own = CheckpointMetadata { job: "fork".into(), epoch: Epoch(9), ..metadata };
    block_on(here.put(&layout::checkpoint(own.id), own.to_bytes().into())).unwrap();
    fork(here.clone(), Elsewhere::newest(from)).unwrap().withdraw_unless_begun();
    let options = RunOptions::new("fork", "memory:///unused").unwrap();
    let key_groups = KeyGroups::new(8).unwrap();
    let run = Run::open(RunOptions { store: Some(here), key_groups, ..options }).unwrap();
    assert_eq!(run.start().epoch, Epoch(9));
}

#[test]
fn a_savepoint_is_restored_from_wherever_it_was_moved() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (store, metadata) = original(&Location::parse(&path("a")).unwrap());
    block_on(folder::take(&store, &name("s"), metadata.clone())).unwrap();
    std::fs::rename(path("a/original/savepoints/s"), path("moved")).unwrap();
    std::fs::remove_dir_all(path("a")).unwrap();
    for text in [path("moved"), path("moved/metadata.json"), format!("file://{}/", path("moved"))] {
        let store = BlobStore::new(Location::memory(), "fork");
        let run = fork(store.clone(), Elsewhere::text(&text)).unwrap();
        assert_eq!(run.restored(), Some(metadata.id), "{text}");
        assert_eq!(segments(&store, run.start()).len(), 4, "{text}");
    }
    assert!(root.path().join("moved").join(METADATA).exists());
}

#[test]
fn what_cannot_be_restored_from_elsewhere_is_said_before_anything_is_claimed() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let (store, metadata) = original(&Location::parse(&path("a")).unwrap());
    let drained = CheckpointMetadata { id: CheckpointId(6), origin: Origin::Drain, ..metadata };
    block_on(store.put(&layout::checkpoint(drained.id), drained.to_bytes().into())).unwrap();
    let here = BlobStore::new(Location::memory(), "fork");
    for (text, why) in [
        (path("none"), "no directory"),
        (path("a"), "nothing to restore"),
        (path("a/original/checkpoints/7"), "there are: 5, 6"),
        (path("a/original"), "was drained"),
    ] {
        let error = fork(here.clone(), Elsewhere::text(&text)).unwrap_err().to_string();
        assert!(error.contains(why), "{text}: {error}");
        assert_eq!(block_on(here.list(layout::GENERATIONS)).unwrap(), [], "{text}");
    }
    assert!(!root.path().join("none").exists());
    fork(here, Elsewhere::text(path("a/original/checkpoints/6"))).expect("it was named");
}
