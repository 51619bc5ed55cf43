//! Savepoints of running jobs, asked for through the store, and what is started from them.
//!
//! A job counts keys; its source waits at a gate, so that there is something left to read whenever
//! something is asked for. The oracle counts the input in a plain loop, up to the offsets that the
//! savepoint says and beyond them.

#![expect(clippy::disallowed_methods, reason = "asks from another thread, and waits")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use highwater::Summary;
use highwater::checkpoint::ErrorKind;
use highwater::checkpoint::metadata::{CheckpointMetadata, Origin};
use highwater::checkpoint::run::{Elsewhere, Restore};
use highwater::checkpoint::savepoint::request::{self, Answer, Done, Outcome as Said, Patience};
use highwater::checkpoint::savepoint::{SavepointName, folder};
use highwater::checkpoint::store::{BlobStore, Location, layout};
use highwater::job::{DryRun, Outcome};
use highwater::prelude::*;
use highwater::testing::{CollectSink, VecSource};

use super::trickle::Trickle;
use super::waiting::{block_on, until};

const JOB: &str = "original";

const PATIENCE: Patience =
    Patience { taken_up: Duration::from_secs(60), answered: Duration::from_secs(120) };

type Row = (u64, u64);
type Collected = CollectSink<Row>;

/// Lets each split be read up to some record.
#[derive(Clone)]
struct Gate(Arc<AtomicUsize>);

impl Gate {
    fn at(records: usize) -> Gate {
        Gate(Arc::new(AtomicUsize::new(records)))
    }

    fn open(&self) {
        self.0.store(usize::MAX, Ordering::Release);
    }
}

fn gated(gate: &Gate) -> Trickle<u64> {
    let open = Arc::clone(&gate.0);
    Trickle::paced(VecSource::splits(input()), move |_, read| {
        Ok(open.load(Ordering::Acquire).saturating_sub(read))
    })
}

/// Four splits of unequal length, few keys.
fn input() -> Vec<Vec<u64>> {
    let key = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 101;
    (0..4).map(|split| (0..500 * (split + 1)).map(|n| key(n * 4 + split)).collect()).collect()
}

fn job(name: &str, store: &Location, workers: usize) -> Job {
    Job::new(name)
        .quiet()
        .workers(workers)
        .checkpoint_store(store.clone())
        .checkpoint_interval(Duration::from_millis(5))
        .request_interval(Duration::from_millis(5))
        .retain(1)
}

fn count(job: Job, gate: &Gate, emit: Emit, sink: &Collected) -> highwater::Result<Summary> {
    let (source, sink) = (gated(gate), sink.clone());
    job.execute(move |flow| {
        flow.source("numbers", source.clone())
            .key_by(|key| *key)
            .emit(emit)
            .count("count")
            .sink("counts", sink.clone());
    })
}

/// Runs a job in a thread of its own.
fn start(
    job: Job,
    gate: &Gate,
    emit: Emit,
    sink: &Collected,
) -> JoinHandle<highwater::Result<Summary>> {
    let (gate, sink) = (gate.clone(), sink.clone());
    std::thread::spawn(move || count(job, &gate, emit, &sink))
}

fn name(name: &str) -> SavepointName {
    name.parse().unwrap()
}

fn savepoint(store: &BlobStore, of: &str) -> Result<Done, highwater::checkpoint::Error> {
    block_on(request::request_savepoint(store, &name(of), PATIENCE))
}

fn stop(store: &BlobStore, of: Option<&str>) -> Result<Done, highwater::checkpoint::Error> {
    let savepoint = of.map(name);
    block_on(request::request_stop(store, savepoint.as_ref(), PATIENCE))
}

/// How much of each split `metadata` says was read.
fn offsets(metadata: &CheckpointMetadata) -> Vec<usize> {
    let source = metadata.operators.iter().find(|state| state.uid == "numbers").unwrap();
    let mut offsets = vec![0; input().len()];
    for split in &source.splits {
        let at = split.offset.as_ref().map_or(0, |offset| offset["records"].as_u64().unwrap());
        offsets[split.id.parse::<usize>().unwrap()] = usize::try_from(at).unwrap();
    }
    offsets
}

fn counts(read: &[usize]) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for (split, read) in input().iter().zip(read) {
        split[..*read].iter().for_each(|key| *counts.entry(*key).or_insert(0) += 1);
    }
    counts
}

fn all() -> Vec<usize> {
    input().iter().map(Vec::len).collect()
}

/// Each key must have each number once, from the one after its count in `from` to that in `to`.
fn check_updates(sink: &Collected, from: &[usize], to: &[usize], case: &str) {
    let (from, to) = (counts(from), counts(to));
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    sink.records().into_iter().for_each(|(key, n)| found.entry(key).or_default().push(n));
    for (key, last) in &to {
        let first = from.get(key).copied().unwrap_or(0) + 1;
        let mut numbers = found.remove(key).unwrap_or_default();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(first..=*last), "{case}: {key}: {numbers:?}");
    }
    assert!(found.is_empty(), "{case}: rows of keys that are not in the input: {found:?}");
}

fn check_totals(sink: &Collected, read: &[usize], case: &str) {
    let mut rows = sink.records();
    rows.sort_unstable();
    assert_eq!(rows, counts(read).into_iter().collect::<Vec<_>>(), "{case}");
}

const NOTHING: [usize; 4] = [0; 4];

#[test]
fn a_savepoint_of_a_running_job_outlives_its_checkpoints_and_restores_exactly() {
    for (from, to) in [(1, 3), (2, 1), (3, 2)] {
        let case = format!("from {from} to {to} workers");
        let location = Location::memory();
        let store = BlobStore::new(location.clone(), JOB);
        let (gate, collected) = (Gate::at(300), Collected::new());
        let running = start(job(JOB, &location, from), &gate, Emit::EachUpdate, &collected);
        let done = savepoint(&store, "half-way").unwrap();
        assert_eq!(done.savepoint, Some(name("half-way")), "{case}");
        let metadata = block_on(folder::read(&store, &name("half-way"))).unwrap();
        assert_eq!((metadata.epoch, metadata.job.as_str()), (done.epoch, JOB), "{case}");
        assert!(metadata.operators.iter().all(|state| state.committables.is_empty()), "{case}");

        // The job goes on; its one checkpoint is another one, long after.
        until("the checkpoint of the savepoint is gone", || {
            !block_on(store.list(layout::CHECKPOINTS))
                .unwrap()
                .iter()
                .any(|(object, _)| *object == layout::checkpoint(done.checkpoint))
        });
        gate.open();
        assert_eq!(running.join().unwrap().unwrap().outcome, Outcome::Finished, "{case}");
        check_updates(&collected, &NOTHING, &all(), &case);
        assert_eq!(block_on(store.list(layout::REQUESTS)).unwrap(), [], "{case}: nothing is left");

        let again = Collected::new();
        let restored = job(JOB, &location, to).restore(Restore::Savepoint(name("half-way")));
        count(restored, &gate, Emit::EachUpdate, &again).unwrap();
        check_updates(&again, &offsets(&metadata), &all(), &case);
        assert_eq!(block_on(folder::read(&store, &name("half-way"))).unwrap(), metadata, "{case}");
    }
}

#[test]
fn people_who_ask_at_once_all_get_their_answers_and_a_name_is_given_once() {
    let location = Location::memory();
    let store = BlobStore::new(location.clone(), JOB);
    let (gate, collected) = (Gate::at(300), Collected::new());
    let running = start(job(JOB, &location, 2), &gate, Emit::EachUpdate, &collected);
    let asking: Vec<_> = ["a", "b", "c", "b"]
        .map(|name| {
            let store = store.clone();
            std::thread::spawn(move || savepoint(&store, name))
        })
        .into_iter()
        .map(|asking| asking.join().unwrap())
        .collect();
    let refused: Vec<String> =
        asking.iter().filter_map(|answer| Some(answer.as_ref().err()?.to_string())).collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("a savepoint b already"), "{refused:?}");
    let error = savepoint(&store, "c").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("taken 20"), "with its date: {error}");
    // Also two at once, of one checkpoint, whose savepoints would be the same to the last byte.
    for round in 0..8 {
        let twins = [0, 1].map(|_| {
            let (store, name) = (store.clone(), format!("twin-{round}"));
            std::thread::spawn(move || savepoint(&store, &name))
        });
        let given = twins.into_iter().filter_map(|asking| asking.join().unwrap().ok()).count();
        assert_eq!(given, 1, "round {round}");
    }
    // A stop whose savepoint cannot be taken does not stop the job.
    assert!(stop(&store, Some("a")).unwrap_err().to_string().contains("a savepoint a already"));
    savepoint(&store, "d").expect("the job is still there");
    let there = block_on(folder::list(&store)).unwrap();
    assert_eq!(there[..4], ["a", "b", "c", "d"].map(name));
    assert_eq!(there.len(), 12);
    gate.open();
    running.join().unwrap().unwrap();
    check_updates(&collected, &NOTHING, &all(), "it went on");
}

#[test]
fn a_stop_with_a_savepoint_fires_nothing_and_a_drain_fires_everything() {
    let location = Location::memory();
    let store = BlobStore::new(location.clone(), JOB);
    let (gate, collected) = (Gate::at(300), Collected::new());
    let running = start(job(JOB, &location, 2), &gate, Emit::AtEnd, &collected);
    until("something is read", || {
        block_on(store.list(layout::CHECKPOINTS))
            .unwrap()
            .iter()
            .any(|(object, _)| layout::parse_checkpoint(object).is_some_and(|id| id.0 > 3))
    });
    let stopped = stop(&store, Some("stopped")).unwrap();
    assert_eq!(stopped.origin, Origin::Stop);
    let summary = running.join().unwrap().unwrap();
    assert_eq!(summary.outcome, Outcome::Stopped);
    assert_eq!(summary.last_checkpoint.map(|last| last.id), Some(stopped.checkpoint));
    assert_eq!(collected.records(), [], "a stop fires nothing");
    let savepoint = block_on(folder::read(&store, &name("stopped"))).unwrap();
    assert_eq!(savepoint.epoch, stopped.epoch);

    // The savepoint alone gives all the totals.
    let fork = job("fork", &location, 3)
        .restore(Restore::From(Elsewhere::savepoint(&store, &name("stopped"))));
    let (open, forked) = (Gate::at(usize::MAX), Collected::new());
    let summary = count(fork, &open, Emit::AtEnd, &forked).unwrap();
    check_totals(&forked, &all(), "of the fork");
    let before: usize = offsets(&savepoint).iter().sum();
    assert_eq!(summary.records_in as usize, all().iter().sum::<usize>() - before);

    // The job goes on, and is drained.
    let running = start(job(JOB, &location, 1), &gate, Emit::AtEnd, &collected);
    let drained = block_on(async {
        request::request_drain(&store, Some(&name("drained")), PATIENCE).await.unwrap()
    });
    assert_eq!(drained.origin, Origin::Drain);
    assert_eq!(running.join().unwrap().unwrap().outcome, Outcome::Drained);
    let read = offsets(&block_on(folder::read(&store, &name("drained"))).unwrap());
    check_totals(&collected, &read, "a drain fires everything");

    // To go on from there is for a person to decide.
    let error = count(job(JOB, &location, 1), &open, Emit::AtEnd, &collected).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let says = format!("--restore {}", drained.checkpoint);
    assert!(error.to_string().contains(&says), "{error}");
    let explicit = job(JOB, &location, 1).restore(Restore::Id(drained.checkpoint));
    let outcome = count(explicit, &open, Emit::AtEnd, &collected).unwrap().outcome;
    assert_eq!(outcome, Outcome::Finished);
}

/// All files below `folder`, with their bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.display().to_string(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn a_fork_leaves_the_original_alone_and_does_not_need_it() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let a = Location::parse(&path("a")).unwrap();
    let b = Location::parse(&path("b")).unwrap();
    let (gate, collected) = (Gate::at(300), Collected::new());
    let running = start(job(JOB, &a, 2), &gate, Emit::EachUpdate, &collected);
    let original = BlobStore::new(a.clone(), JOB);
    savepoint(&original, "s").unwrap();
    let stopped = stop(&original, None).unwrap();
    running.join().unwrap().unwrap();
    let before = files(&root.path().join("a"));
    let ids = block_on(original.list(layout::CHECKPOINTS)).unwrap();
    let metadata = block_on(original.get(&ids.last().unwrap().0)).unwrap();
    let read = offsets(&CheckpointMetadata::from_bytes("it", &metadata).unwrap());

    for (fork, text) in [
        ("newest", path("a/original")),
        ("named", path(&format!("a/original/checkpoints/{}", stopped.checkpoint))),
    ] {
        let (forked, store) = (Collected::new(), BlobStore::new(b.clone(), fork));
        let fork = |workers| job(fork, &b, workers);
        let first = fork(3).restore(text.parse().unwrap());
        let running = start(first, &Gate::at(350), Emit::EachUpdate, &forked);
        stop(&store, None).unwrap();
        running.join().unwrap().unwrap();
        assert_eq!(files(&root.path().join("a")), before, "{text}");

        std::fs::rename(path("a"), path("away")).unwrap();
        count(fork(2), &Gate::at(usize::MAX), Emit::EachUpdate, &forked).unwrap();
        check_updates(&forked, &read, &all(), &text);
        std::fs::rename(path("away"), path("a")).unwrap();
    }
    assert_eq!(files(&root.path().join("a")), before);
    gate.open();
    count(job(JOB, &a, 1), &gate, Emit::EachUpdate, &collected).unwrap();
    check_updates(&collected, &NOTHING, &all(), "the original goes on");
}

#[test]
fn who_asks_a_job_that_does_not_run_is_told_so_and_nothing_is_left() {
    let store = BlobStore::new(Location::memory(), JOB);
    let hasty = Patience { taken_up: Duration::from_millis(50), ..PATIENCE };
    let error = block_on(request::request_savepoint(&store, &name("s"), hasty)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Retry);
    assert!(error.to_string().contains("does not run"), "{error}");
    assert_eq!(block_on(store.list("")).unwrap(), []);
}

/// A stop that somebody asked for yesterday does not end the job of today; one that somebody waits
/// for while the job restarts does.
#[test]
fn a_request_is_obeyed_for_as_long_as_somebody_waits_for_it() {
    let location = Location::memory();
    let store = BlobStore::new(location.clone(), JOB);
    let stale = r#"{"kind": {"stop": {"savepoint": null}}, "asked_ms": 1, "until_ms": 2}"#;
    let odd = r#"{"kind": "dance", "asked_ms": 1, "until_ms": 2}"#;
    let put = |id: &str, text: &'static str| {
        block_on(store.put(&layout::request(id), text.as_bytes().into())).unwrap();
    };
    // Ids of today: answers that nobody comes for are dropped after a day.
    put("9999999999999-a", stale);
    put("9999999999999-b", odd);
    let (gate, collected) = (Gate::at(300), Collected::new());
    let asking = {
        let store = store.clone();
        std::thread::spawn(move || stop(&store, None))
    };
    until("somebody waits", || block_on(store.list(layout::REQUESTS)).unwrap().len() == 3);
    let running = start(job(JOB, &location, 1), &gate, Emit::EachUpdate, &collected);
    asking.join().unwrap().unwrap();
    assert_eq!(running.join().unwrap().unwrap().outcome, Outcome::Stopped);
    for (id, why) in [("9999999999999-a", "expired at 1970"), ("9999999999999-b", "cannot be read")]
    {
        let answer = block_on(store.get(&layout::request_answer(id))).unwrap();
        match serde_json::from_slice::<Answer>(&answer).unwrap().outcome {
            Said::Failed { reason } => assert!(reason.contains(why), "{reason}"),
            Said::Done(done) => panic!("{id} was obeyed: {done:?}"),
        }
    }
}

#[test]
fn a_dry_run_says_what_would_be_restored_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("checkpoints").to_str().unwrap().to_owned();
    let job = |restore: &str| {
        Job::new(JOB).quiet().workers(3).checkpoint_dir(&path).restore(restore.parse().unwrap())
    };
    // Before there is anything, not even the directory is made.
    let gate = Gate::at(usize::MAX);
    let plan = job("latest").plan(|flow| {
        flow.source("numbers", VecSource::new(vec![1u64])).for_each(|_| {});
    });
    assert_eq!(plan.unwrap().restored, None);
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);

    count(job("latest"), &gate, Emit::EachUpdate, &Collected::new()).unwrap();
    let before = files(root.path());
    let (seen, sink) = (Arc::new(AtomicU64::new(0)), CollectSink::<(u64, i64)>::new());
    let changed = {
        let seen = Arc::clone(&seen);
        move |flow: &highwater::Flow<'_>| {
            let (seen, source) = (Arc::clone(&seen), gated(&Gate::at(9)));
            flow.source("numbers", source)
                .inspect(move |_| {
                    seen.fetch_add(1, Ordering::Relaxed);
                })
                .key_by(|key| *key)
                .fold("count", 0i64, |n, _| *n += 1)
                .sink("others", sink.clone());
        }
    };
    let plan = job("latest").plan(changed.clone()).unwrap();
    let text = plan.to_string();
    for (uid, says) in
        [("numbers", "matched"), ("count", "changed"), ("counts", "unclaimed"), ("others", "new")]
    {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(uid));
        assert!(line.unwrap().contains(says), "{uid}: {text}");
    }
    assert!(text.contains("workers 3, key groups 128"), "{text}");
    assert!(text.contains("(u64, u64)") && text.contains("(u64, i64)"), "{text}");
    assert_eq!(plan.operators.iter().find(|o| o.uid == "numbers").unwrap().splits, 4);

    let error = job("latest").dry_run(DryRun::Json).run(changed.clone()).unwrap_err();
    assert!(error.to_string().contains("\"count\" has changed"), "{error}");
    let dry =
        count(job("latest").dry_run(DryRun::Table), &gate, Emit::EachUpdate, &Collected::new());
    assert_eq!(dry.unwrap().outcome, Outcome::DryRun);
    count(job("none").dry_run(DryRun::Table), &gate, Emit::EachUpdate, &Collected::new()).unwrap();
    let error = job("77").plan(changed).unwrap_err();
    assert!(error.to_string().contains("there is no checkpoint 77"), "{error}");
    assert_eq!(seen.load(Ordering::Relaxed), 0, "nothing was run");
    assert_eq!(files(root.path()), before, "nothing was written");
}
