//! Where a job runs and what it starts from, whom it listens to, and what it says.

#![expect(clippy::disallowed_methods, reason = "waits for jobs, and measures how long they try")]

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use highwater::checkpoint::ErrorKind;
use highwater::checkpoint::savepoint::request::{Patience, request_stop};
use highwater::checkpoint::state::KeyGroups;
use highwater::checkpoint::store::faulty::{Fault, Faults, FaultyStore};
use highwater::checkpoint::store::{BlobStore, Location, RetryPolicy, layout};
use highwater::job::{DryRun, Outcome};
use highwater::prelude::*;
use highwater::testing::VecSource;
use highwater::{RestartStrategy, Restore};

use super::super::waiting::{PATIENCE, block_on, until};
use super::{JOB, after, by_interval, job, ms, names, run, run_with};

/// Reads a few numbers.
fn read(flow: &Flow<'_>, read: &Arc<AtomicU64>) {
    let read = Arc::clone(read);
    flow.source("numbers", VecSource::new(vec![1_u64, 2, 3])).for_each(move |_| {
        read.fetch_add(1, Ordering::Relaxed);
    });
}

#[test]
fn workers() {
    for workers in [1, 3] {
        let seen: Arc<Mutex<BTreeSet<_>>> = Arc::default();
        let to_seen = Arc::clone(&seen);
        let job = job(&Location::memory()).workers(workers);
        job.run(move |flow| {
            let scope = flow.scope();
            to_seen.lock().unwrap().insert((scope.index(), scope.peers()));
            read(flow, &Arc::default());
        })
        .unwrap();
        let meant = (0..workers).map(|worker| (worker, workers));
        assert_eq!(*seen.lock().unwrap(), meant.collect());
    }
}

/// The part of `quiet` that runs in a process of its own.
#[test]
fn child() {
    let Ok(role) = std::env::var("KNOBS_CHILD") else { return };
    let job = Job::new("talker");
    let job = if role == "quiet" { job.quiet() } else { job };
    job.run(|flow| read(flow, &Arc::default())).unwrap();
}

#[test]
fn quiet() {
    let said = |role: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "knobs::running::child", "--nocapture"]);
        command.env("KNOBS_CHILD", role).env_remove("HIGHWATER_LOG").stdin(Stdio::null());
        let Output { status, stderr, .. } = command.output().unwrap();
        let said = String::from_utf8(stderr).unwrap();
        assert!(status.success(), "{said}");
        said
    };
    assert_eq!(said("quiet"), "");
    let loud = said("loud");
    assert!(loud.contains("talker finished in"), "{loud}");
}

#[test]
fn checkpoint_dir() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("of jobs");
    let job = Job::new(JOB).quiet().checkpoint_dir(path.to_str().unwrap());
    job.run(|flow| read(flow, &Arc::default())).unwrap();
    let checkpoints = path.join(JOB).join("checkpoints");
    assert!(std::fs::read_dir(&checkpoints).unwrap().count() > 0, "{}", checkpoints.display());
}

#[test]
fn checkpoint_store() {
    let store = Location::memory();
    run(job(&store), after(2));
    assert!(!names(&store, layout::CHECKPOINTS).is_empty());
}

#[test]
fn restore() {
    let store = Location::memory();
    run(job(&store).retain(100), after(4));
    let first = by_interval(&store)[0].id;
    let restored = |restore| {
        let restored = Arc::new(Mutex::new(None));
        let to_restored = Arc::clone(&restored);
        run(job(&store).retain(100).restore(restore), move |run| {
            *to_restored.lock().unwrap() = run.restored();
            run.status().completed() > 1
        });
        *restored.lock().unwrap()
    };
    assert!(restored(Restore::Latest) > Some(first));
    assert_eq!(restored(Restore::Id(first)), Some(first));
    assert_eq!(restored(Restore::Nothing), None);
}

#[test]
fn dry_run() {
    let (store, records) = (Location::memory(), Arc::new(AtomicU64::new(0)));
    let to_records = Arc::clone(&records);
    let summary = job(&store).dry_run(DryRun::Json).execute(move |flow| read(flow, &to_records));
    assert_eq!(summary.unwrap().outcome, Outcome::DryRun);
    assert_eq!(records.load(Ordering::Relaxed), 0);
    assert_eq!(names(&store, layout::CHECKPOINTS), Vec::<String>::new());
}

/// Asks a job for a stop that looks for requests so often; returns whether that was taken up.
fn is_taken_up(request_interval: Duration, within: Duration) -> bool {
    let (store, is_enough) = (Location::memory(), Arc::new(AtomicBool::new(false)));
    let (enough, job) = (Arc::clone(&is_enough), job(&store).request_interval(request_interval));
    let running = move || run_with(job, |_, _| {}, move |_| enough.load(Ordering::Acquire));
    let running = std::thread::Builder::new().spawn(running).unwrap();
    until("it takes checkpoints", || !by_interval(&store).is_empty());
    let patience = Patience { taken_up: within, answered: PATIENCE };
    let answer = block_on(request_stop(&BlobStore::new(store, JOB), None, patience));
    is_enough.store(true, Ordering::Release);
    running.join().unwrap().unwrap();
    if let Err(error) = &answer {
        assert_eq!(error.kind(), ErrorKind::Retry, "{error:?}");
    }
    answer.is_ok()
}

#[test]
fn request_interval() {
    assert!(is_taken_up(ms(5), PATIENCE));
    assert!(!is_taken_up(Duration::from_secs(3600), ms(2500)), "the default is a second");
}

#[test]
fn key_groups() {
    let store = Location::memory();
    run(job(&store).key_groups(KeyGroups::new(7).unwrap()), after(2));
    assert!(by_interval(&store).iter().all(|metadata| metadata.key_groups == 7));
}

/// A store that is away is not asked for a minute, which is the default.
#[test]
fn store_retries() {
    let faults = Faults::default().decide(|_| Fault::Refuse);
    let job = job(&FaultyStore::wrap(Location::memory(), faults));
    let once = RetryPolicy { deadline: Duration::ZERO, ..RetryPolicy::default() };
    let started = Instant::now();
    let job = job.store_retries(once).restart_strategy(RestartStrategy::None);
    job.run(|flow| read(flow, &Arc::default())).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}
