//! A run begins from the right checkpoint, alone, whatever it finds in the store and wherever an
//! earlier start broke off.
//!
//! The store is in memory; what runs of a dataflow would have left there is put there by hand. A
//! crash at request `k` is a store that is down from request `k` on, before or after it took effect.

#![expect(clippy::disallowed_methods, reason = "waits for what happens in the background")]

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater_checkpoint::metadata::{
    CheckpointId, CheckpointMetadata, Generation, OperatorStateMetadata, Origin, SegmentKind,
    SegmentMetadata, StateSchema,
};
use highwater_checkpoint::policy::CheckpointPolicy;
use highwater_checkpoint::run::{BYTES_IN_FLIGHT_MAX, Restore, Run, RunOptions};
use highwater_checkpoint::state::KeyGroups;
use highwater_checkpoint::store::faulty::{Faults, FaultyStore, Side};
use highwater_checkpoint::store::layout::{self, SegmentMaker, SegmentName};
use highwater_checkpoint::store::{BlobStore, Location, RetryPolicy};
use highwater_checkpoint::{Epoch, Error, ErrorKind};

const JOB: &str = "word count";

/// One attempt for each request, which memory answers at once: shorter than the first pause.
const HASTY: RetryPolicy =
    RetryPolicy { deadline: Duration::from_millis(15), attempt_timeout: Duration::from_secs(1) };

fn store(location: &Location) -> BlobStore {
    BlobStore::new(location.clone(), JOB)
}

fn options(store: &BlobStore) -> RunOptions {
    RunOptions {
        job: JOB.into(),
        workers: 2,
        key_groups: KeyGroups::new(8).expect("a number of groups"),
        store: Some(store.clone()),
        policy: CheckpointPolicy::default(),
        restore: Restore::Latest,
        allow_non_restored_state: false,
        request_interval: Duration::from_secs(1),
        bytes_in_flight_max: BYTES_IN_FLIGHT_MAX,
    }
}

/// A run that has begun.
fn open(store: &BlobStore) -> Arc<Run> {
    let run = Run::open(options(store)).expect("nothing keeps the run from starting");
    run.control().set_ready();
    run
}

fn restore(store: &BlobStore, restore: Restore) -> Result<Arc<Run>, Error> {
    Run::open(RunOptions { restore, ..options(store) })
}

fn block_on<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(task)
}

fn put(store: &BlobStore, name: &str, bytes: impl Into<Bytes>) {
    block_on(store.put(name, bytes.into())).expect("the store is healthy");
}

fn names(store: &BlobStore, folder: &str) -> Vec<String> {
    let objects = block_on(store.list(folder)).expect("the store is healthy");
    objects.into_iter().map(|(name, _)| name).collect()
}

fn ids(store: &BlobStore) -> Vec<u64> {
    let names = names(store, layout::CHECKPOINTS);
    names
        .iter()
        .map(|name| layout::parse_checkpoint(name).expect("a checkpoint's name").0)
        .collect()
}

/// The name of a segment that `generation` wrote at the end of `epoch`.
fn segment_name(generation: u64, epoch: u64) -> String {
    let maker = SegmentMaker::Worker { worker: 0, kind: SegmentKind::Delta };
    let (generation, epoch) = (Generation(generation), Epoch(epoch));
    SegmentName { uid: "count".into(), generation, epoch, maker }.to_string()
}

/// A checkpoint of `epoch` that refers to one segment, as a run of `generation` writes it.
fn checkpoint(id: u64, epoch: u64, generation: u64) -> CheckpointMetadata {
    let segment = SegmentMetadata {
        object: segment_name(generation, epoch),
        offset: None,
        kind: SegmentKind::Delta,
        first_group: 0,
        last_group: 7,
        epoch: Epoch(epoch),
        entries: 1,
        bytes: 1,
        crc32: 0,
    };
    let operator = OperatorStateMetadata {
        uid: "count".into(),
        schema: StateSchema::default(),
        segments: vec![segment],
        ..OperatorStateMetadata::default()
    };
    CheckpointMetadata {
        format: 1,
        job: JOB.into(),
        id: CheckpointId(id),
        epoch: Epoch(epoch),
        generation: Generation(generation),
        origin: Origin::Interval,
        input_ended: false,
        workers: 2,
        key_groups: 8,
        started_ms: 0,
        completed_ms: 0,
        duration_ms: 0,
        bytes_written: 1,
        bytes_folded: 0,
        bytes_total: 1,
        operators: vec![operator],
        crc32: 0,
    }
}

/// Puts a checkpoint and its segment there.
fn append(store: &BlobStore, metadata: &CheckpointMetadata) {
    for segment in metadata.operators.iter().flat_map(|operator| &operator.segments) {
        put(store, &segment.object, "x");
    }
    put(store, &layout::checkpoint(metadata.id), metadata.to_bytes());
}

/// A job with the checkpoints 2, 3 and 4, of epochs 5, 6 and 7, that its run 1 has left.
fn job() -> (Location, BlobStore) {
    let location = Location::memory();
    let store = store(&location);
    put(&store, &layout::generation(Generation(1)), "the first run");
    for id in 2..=4 {
        append(&store, &checkpoint(id, id + 3, 1));
    }
    (location, store)
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_first_run_starts_from_nothing() {
    let store = store(&Location::memory());
    let run = open(&store);
    assert_eq!((run.restored(), run.generation()), (None, Generation(1)));
    assert_eq!((run.start().id, run.start().epoch), (CheckpointId(1), Epoch(0)));
    assert_eq!(run.first_epoch(), Epoch(1));
    assert_eq!(ids(&store), [1]);
}

#[test]
fn a_run_without_a_store_keeps_nothing() {
    let run = Run::open(RunOptions { store: None, ..options(&store(&Location::memory())) });
    let run = run.expect("there is nothing to fail");
    assert!(!run.is_durable() && run.fenced().is_none());
    assert_eq!((run.generation(), run.first_epoch()), (Generation(0), Epoch(1)));
}

#[test]
fn the_newest_checkpoint_is_restored_and_its_copy_appended() {
    let (_, store) = job();
    let run = open(&store);
    assert_eq!((run.restored(), run.generation()), (Some(CheckpointId(4)), Generation(2)));
    assert_eq!(run.first_epoch(), Epoch(8));
    let name = layout::checkpoint(CheckpointId(5));
    let bytes = block_on(store.get(&name)).expect("the copy is there");
    let copy = CheckpointMetadata::from_bytes(&name, &bytes).expect("and whole");
    assert_eq!(copy.origin, Origin::Restore { from: Some(CheckpointId(4)) });
    assert_eq!(copy.operators, checkpoint(4, 7, 1).operators);
    assert_eq!((copy.generation, copy.bytes_written), (Generation(2), 0));
    assert_eq!(copy.to_bytes(), run.start().to_bytes());
}

#[test]
fn an_older_checkpoint_is_restored_by_its_id_and_becomes_the_newest() {
    let (_, store) = job();
    let run = restore(&store, Restore::Id(CheckpointId(3))).expect("it is there");
    assert_eq!((run.restored(), run.first_epoch()), (Some(CheckpointId(3)), Epoch(7)));
    assert_eq!(ids(&store), [2, 3, 4, 5]);
    assert_eq!(open(&store).first_epoch(), Epoch(7), "the newest is the copy");
}

#[test]
fn nothing_is_restored_where_that_is_asked_for() {
    let (_, store) = job();
    let run = restore(&store, Restore::Nothing).expect("that is always there");
    assert_eq!((run.restored(), run.first_epoch()), (None, Epoch(1)));
    assert!(run.start().operators.is_empty());
    assert_eq!(ids(&store), [2, 3, 4, 5]);
}

#[test]
fn ids_and_generations_are_dense_over_many_runs() {
    let store = store(&Location::memory());
    for n in 1..=20 {
        let run = open(&store);
        assert_eq!((run.start().id, run.generation()), (CheckpointId(n), Generation(n)));
    }
    assert_eq!(ids(&store), (1..=20).collect::<Vec<_>>());
}

#[test]
fn other_workers_may_restore() {
    let (_, store) = job();
    let run = Run::open(RunOptions { workers: 7, ..options(&store) }).expect("any number may");
    assert_eq!((run.workers(), run.start().workers), (7, 2));
}

#[test]
fn options_out_of_range_are_refused_before_the_store_is_touched() {
    let (store, zero) = (store(&Location::memory()), Duration::ZERO);
    let with = |policy| RunOptions { policy, ..options(&store) };
    let bad = [
        (RunOptions { workers: 0, ..options(&store) }, "worker"),
        (with(CheckpointPolicy { retain: 0, ..CheckpointPolicy::default() }), "retained"),
        (with(CheckpointPolicy { interval: zero, ..CheckpointPolicy::default() }), "interval"),
        (RunOptions { request_interval: zero, ..options(&store) }, "requests"),
        (
            RunOptions { store: None, restore: Restore::Id(CheckpointId(1)), ..options(&store) },
            "nowhere to keep",
        ),
    ];
    for (options, what) in bad {
        let error = Run::open(options).expect_err(what);
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains(what), "{error}");
    }
    assert_eq!(store.stats().requests, 0);
}

#[test]
fn an_unknown_id_is_an_error_that_lists_those_there() {
    let (_, store) = job();
    let error = restore(&store, Restore::Id(CheckpointId(9))).expect_err("it is not there");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = "there is no checkpoint 9 of job \"word count\"; there are: 2, 3, 4";
    assert_eq!(error.to_string(), text);
}

#[test]
fn a_damaged_checkpoint_is_named_and_older_ones_are_for_a_person_to_choose() {
    let (_, store) = job();
    let name = layout::checkpoint(CheckpointId(4));
    let mut bytes = checkpoint(4, 7, 1).to_bytes();
    bytes[40] ^= 1;
    put(&store, &name, bytes);
    let error = restore(&store, Restore::Latest).expect_err("never silently an older one");
    assert_eq!(error.kind(), ErrorKind::Data);
    let text = error.to_string();
    assert!(text.contains(&name) && text.contains("--restore 3 (there are: 2, 3)"), "{text}");
    let run = restore(&store, Restore::Id(CheckpointId(3))).expect("it is whole");
    assert_eq!((run.start().id, run.first_epoch()), (CheckpointId(5), Epoch(7)));
}

#[test]
fn a_damaged_only_checkpoint_has_no_older_one() {
    let store = store(&Location::memory());
    put(&store, &layout::checkpoint(CheckpointId(1)), "{}");
    let text = restore(&store, Restore::Latest).expect_err("it is damaged").to_string();
    assert!(text.contains("no older checkpoint does without it"), "{text}");
}

#[test]
fn a_checkpoint_that_was_copied_to_another_id_is_damaged() {
    let (_, store) = job();
    put(&store, &layout::checkpoint(CheckpointId(5)), checkpoint(4, 7, 1).to_bytes());
    let text = restore(&store, Restore::Latest).expect_err("4 is not 5").to_string();
    assert!(text.contains("says that it is checkpoint 4"), "{text}");
}

#[test]
fn a_checkpoint_of_another_job_is_refused_with_both_names() {
    let (_, store) = job();
    let theirs = CheckpointMetadata { job: "clicks".into(), ..checkpoint(5, 8, 1) };
    append(&store, &theirs);
    let error = restore(&store, Restore::Latest).expect_err("it is of another job");
    assert!(matches!(error, Error::Incompatible { id: CheckpointId(5), .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("\"clicks\"") && text.contains("\"word count\""), "{text}");
}

#[test]
fn another_number_of_key_groups_is_refused_with_both_numbers() {
    let (_, store) = job();
    let key_groups = KeyGroups::new(16).expect("a number of groups");
    let error = Run::open(RunOptions { key_groups, ..options(&store) }).expect_err("8 is not 16");
    assert!(matches!(error, Error::Incompatible { id: CheckpointId(4), .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("has 8 key groups and the job has 16"), "{text}");
}

/// It was fenced, by a mistake on somebody's command line.
#[test]
fn regression_a_start_that_cannot_succeed_does_not_fence_the_run_that_works() {
    let (_, store) = job();
    let works = open(&store);
    restore(&store, Restore::Id(CheckpointId(99))).expect_err("there is no such checkpoint");
    let key_groups = KeyGroups::new(16).expect("a number of groups");
    Run::open(RunOptions { key_groups, ..options(&store) }).expect_err("8 is not 16");
    assert!(works.fenced().is_none());
}

#[test]
fn an_older_run_is_fenced_by_a_newer_one() {
    let (_, store) = job();
    let older = open(&store);
    assert!(older.fenced().is_none());
    let newer = open(&store);
    assert!(newer.fenced().is_none());
    let fenced = older.fenced().expect("there is a newer run");
    let (ours, theirs) = (Generation(2), Generation(3));
    assert!(matches!(fenced, Error::Fenced { ours: o, newer: n } if (o, n) == (ours, theirs)));
    assert_eq!(newer.restored(), Some(older.start().id));
}

#[test]
fn of_runs_that_start_at_once_one_is_left() {
    for _ in 0..20 {
        let (_, store) = job();
        let opened: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> =
                (0..4).map(|_| scope.spawn(|| restore(&store, Restore::Latest))).collect();
            starts.into_iter().map(|start| start.join().expect("no start panics")).collect()
        });
        let (runs, errors): (Vec<_>, Vec<_>) = opened.into_iter().partition(Result::is_ok);
        for error in errors {
            assert!(matches!(error, Err(Error::Fenced { .. })), "{error:?}");
        }
        let runs: Vec<_> = runs.into_iter().flatten().collect();
        let left: Vec<_> = runs.iter().filter(|run| run.fenced().is_none()).collect();
        assert_eq!(left.len(), 1, "{runs:?}");
        assert_eq!(left[0].first_epoch(), Epoch(8));
        assert!(runs.iter().all(|run| run.generation() <= left[0].generation()));
        let ids = ids(&store);
        assert_eq!(ids, (2..2 + ids.len() as u64).collect::<Vec<_>>(), "dense");
        assert_eq!(left[0].start().id.0, *ids.last().expect("there are some"));
    }
}

/// A start that was slow between its claim and its choice appended its copy behind that of the newer
/// run, which found it where it wanted to write its first checkpoint, and gave up.
#[test]
fn regression_a_newer_run_may_begin_at_any_request_of_a_start() {
    for number in 1..40 {
        for side in [Side::Before, Side::After] {
            let (location, healthy) = job();
            let newer = Arc::new(Mutex::new(None));
            let (theirs, shared) = (Arc::clone(&newer), healthy.clone());
            // Of its own thread: this one is blocked on the start that is interrupted.
            let begin = move || {
                let open = || restore(&shared, Restore::Latest);
                let opened = std::thread::scope(|scope| scope.spawn(open).join());
                *theirs.lock().expect("no start panics") = opened.ok();
            };
            let faults = Faults::default().crash_at(number, side, begin);
            let older = restore(&store(&FaultyStore::wrap(location, faults)), Restore::Latest);
            let newer = newer.lock().expect("no start panics").take();
            let Some(newer) = newer else { continue };

            let case = format!("at request {number}, {side:?}");
            let runs = [older, newer].into_iter().filter_map(|opened| match opened {
                Ok(run) => Some(run),
                Err(Error::Fenced { .. }) => None,
                Err(error) => panic!("{case}: {error}"),
            });
            let runs: Vec<_> = runs.filter(|run| run.fenced().is_none()).collect();
            assert_eq!(runs.len(), 1, "{case}: {runs:?}");
            assert_eq!(runs[0].first_epoch(), Epoch(8), "{case}");
            let ids = ids(&healthy);
            assert_eq!(ids, (2..2 + ids.len() as u64).collect::<Vec<_>>(), "{case}: dense");
            assert_eq!(Some(&runs[0].start().id.0), ids.last(), "{case}: the next id is free");
        }
    }
}

/// Starts, while the store fails from request `first` on, the first one maybe after it took effect;
/// then again on the healthy store. Whether the first start came through.
fn crash(first: u64, takes_effect: bool, choice: &Restore) -> bool {
    let (location, healthy) = job();
    let down = if takes_effect { first + 1..u64::MAX } else { first..u64::MAX };
    let faults = Faults::default().down_for_calls(down).lose_replies_to_calls(first..first + 1);
    let failing = store(&FaultyStore::wrap(location, faults)).retry_policy(HASTY);
    let crashed = restore(&failing, choice.clone());
    let case = format!("request {first}, takes effect: {takes_effect}, {choice:?}");

    let before = ids(&healthy);
    let run = restore(&healthy, choice.clone());
    let run = run.unwrap_or_else(|error| panic!("{case}: {error}"));
    let epoch = if matches!(choice, Restore::Latest) { Epoch(8) } else { Epoch(7) };
    assert_eq!(run.first_epoch(), epoch, "{case}");
    let head = *before.last().expect("there are some");
    assert!(matches!(head, 4 | 5), "{case}: {before:?}");
    assert_eq!(run.start().id.0, head + 1, "{case}: dense");
    assert!(run.fenced().is_none(), "{case}");
    if let Ok(crashed) = &crashed {
        assert!(crashed.generation() < run.generation(), "{case}");
    }
    // What checkpoints refer to is there, whatever was swept.
    for id in 5..=7 {
        assert!(names(&healthy, layout::SEGMENTS).contains(&segment_name(1, id)), "{case}");
    }
    crashed.is_ok()
}

#[test]
fn a_start_that_broke_off_at_any_request_can_be_made_again() {
    for choice in [Restore::Latest, Restore::Id(CheckpointId(3))] {
        for takes_effect in [false, true] {
            let mut failed = 0;
            // The reads of what is retained, and the sweep, may fail without consequence.
            for first in 1..40 {
                failed += u64::from(!crash(first, takes_effect, &choice));
            }
            assert!((8..30).contains(&failed), "{failed} of the requests matter");
        }
    }
}

#[test]
fn a_store_that_is_down_is_an_error_that_says_so() {
    let faults = Faults::default().down_for_calls(0..u64::MAX);
    let store = store(&FaultyStore::wrap(Location::memory(), faults)).retry_policy(HASTY);
    let error = restore(&store, Restore::Latest).expect_err("nothing answers");
    assert!(matches!(error.kind(), ErrorKind::Retry | ErrorKind::Reconcile), "{error}");
}

#[test]
fn a_store_that_keeps_no_runs_apart_is_refused() {
    let faults = Faults::default().ignore_create();
    let store = store(&FaultyStore::wrap(Location::memory(), faults));
    let error = restore(&store, Restore::Latest).expect_err("two runs could own the job");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(names(&store, layout::GENERATIONS).is_empty(), "nothing was claimed");
}

#[test]
fn a_store_that_fails_now_and_then_is_no_hindrance() {
    let (location, _) = job();
    let faults = Faults::default().refuse_every(3).lose_reply_every(4);
    let run = open(&store(&FaultyStore::wrap(location, faults)));
    assert_eq!(run.first_epoch(), Epoch(8));
}

#[test]
fn what_runs_that_died_left_is_swept() {
    let (_, store) = job();
    // Of a run that died, of this very run as far as anybody knows, and nobody's.
    let (garbage, ours) = (segment_name(1, 99), segment_name(2, 99));
    for name in [&garbage, &ours, "segments/notes.txt"] {
        put(&store, name, "x");
    }
    let _run = open(&store);
    eventually("garbage is swept", || !names(&store, layout::SEGMENTS).contains(&garbage));
    let mut left: Vec<_> = (5..=7).map(|epoch| segment_name(1, epoch)).collect();
    left.push(ours);
    left.push("segments/notes.txt".into());
    assert_eq!(names(&store, layout::SEGMENTS), left);
}

#[test]
fn nothing_is_swept_while_a_retained_checkpoint_is_damaged() {
    let (location, healthy) = job();
    let garbage = segment_name(1, 99);
    put(&healthy, &garbage, "x");
    let name = layout::checkpoint(CheckpointId(2));
    put(&healthy, &name, "damaged");
    let faults = Faults::default();
    let watched = store(&FaultyStore::wrap(location, faults.clone()));
    let first = open(&watched);
    assert_eq!(first.restored(), Some(CheckpointId(4)), "an older one does not matter");

    // Repaired, and opened again: what is garbage goes, and the sweep was the first one.
    put(&healthy, &name, checkpoint(2, 5, 1).to_bytes());
    let _run = open(&watched);
    eventually("garbage is swept", || !names(&healthy, layout::SEGMENTS).contains(&garbage));
    let is_sweep = |path: &str| path.ends_with(layout::SEGMENTS);
    let log = faults.log();
    let sweeps = log.iter().filter(|call| call.operation == "list" && is_sweep(&call.path));
    assert_eq!(sweeps.count(), 1);
    assert!(names(&healthy, layout::SEGMENTS).contains(&segment_name(1, 5)));
}

#[test]
fn a_sweep_that_fails_is_left_to_the_next_run() {
    let (location, healthy) = job();
    let garbage = segment_name(1, 99);
    put(&healthy, &garbage, "x");
    let faults = Faults::default();
    let watched = store(&FaultyStore::wrap(location, faults.clone())).retry_policy(HASTY);
    // Nothing of a start deletes after it has put its copy, but the sweep.
    let is_copy = |call: &highwater_checkpoint::store::faulty::Call| {
        call.operation == "create" && call.path.contains(layout::CHECKPOINTS)
    };
    let run = open(&watched);
    let copied = faults.log().iter().find(|call| is_copy(call)).map(|call| call.number);
    let copied = copied.expect("a start puts its copy");
    eventually("garbage is swept", || !names(&healthy, layout::SEGMENTS).contains(&garbage));
    drop(run);

    let (location, healthy) = job();
    put(&healthy, &garbage, "x");
    let deletes =
        faults.log().iter().filter(|c| c.number > copied && c.operation == "delete").count();
    assert_eq!(deletes, 1);
    let at = faults.log().iter().rfind(|call| call.operation == "delete").map(|call| call.number);
    let at = at.expect("the sweep's");
    let faults = Faults::default().down_for_calls(at..at + 1);
    let run = open(&store(&FaultyStore::wrap(location, faults.clone())).retry_policy(HASTY));
    eventually("the sweep has failed", || faults.calls() >= at);
    assert!(!run.control().has_failed());
    assert!(names(&healthy, layout::SEGMENTS).contains(&garbage));
    let _next = open(&healthy);
    eventually("garbage is swept", || !names(&healthy, layout::SEGMENTS).contains(&garbage));
}
