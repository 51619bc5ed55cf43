//! Any number of workers resumes what any other number wrote, for each way of emitting, after a
//! stop and after a death.
//!
//! Each pair of numbers from 1 to 4 is tried, and chains of them; the oracle counts the input in a
//! plain loop. That state is really moved, and not rebuilt, shows in the number of records that the
//! second run reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater::checkpoint::metadata::CheckpointMetadata;
use highwater::checkpoint::run::Run;
use highwater::checkpoint::state::KeyGroups;
use highwater::checkpoint::store::{BlobStore, Location, layout};
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::testing::{CollectSink, Random, VecSource};
use highwater::{Error, Summary};

use super::counts::check;
use super::trickle::Trickle;

const RECORDS: u64 = 8_000;

type Collected = CollectSink<(String, u64)>;

/// Five splits, so that no number of workers divides them evenly but one; keys are text.
fn input(seed: u64) -> Vec<Vec<String>> {
    let mut random = Random::new(seed);
    let mut splits = vec![Vec::new(); 5];
    for _ in 0..RECORDS {
        let key = format!("key {}", random.below(1 + random.clone().below(700)));
        splits[random.below(5)].push(key);
    }
    splits
}

/// Records of a split that are read at once.
const FEW: usize = 64;

fn count(
    (store, workers, key_groups): (&Location, usize, u16),
    input: &[Vec<String>],
    emit: Emit,
    collected: &Collected,
    each: impl Fn(&Run, u64) + Clone + Send + Sync + 'static,
) -> highwater::Result<Summary> {
    let (source, sink) = (VecSource::splits(input.to_vec()), collected.clone());
    let seen = Arc::new(AtomicU64::new(0));
    Job::new("rescale")
        .quiet()
        .workers(workers)
        .key_groups(KeyGroups::new(key_groups).unwrap())
        .checkpoint_store(store.clone())
        .checkpoint_interval(Duration::from_millis(1))
        .restart_strategy(highwater::RestartStrategy::None)
        .execute(move |flow| {
            let run = Arc::clone(flow.checkpoints().run());
            let (each, seen) = (each.clone(), Arc::clone(&seen));
            flow.source("words", Trickle::new(source.clone(), FEW))
                .inspect(move |_| each(&run, seen.fetch_add(1, Ordering::Relaxed)))
                .key_by(String::clone)
                .emit(emit)
                .count("count")
                .sink("counts", sink.clone());
        })
}

fn nothing(_: &Run, _: u64) {}

/// The checkpoints of the job that are there, as their names and contents.
struct Store {
    store: BlobStore,
    runtime: tokio::runtime::Runtime,
}

impl Store {
    fn of(location: &Location) -> Store {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Store { store: BlobStore::new(location.clone(), "rescale"), runtime }
    }

    fn newest(&self) -> CheckpointMetadata {
        let names = self.runtime.block_on(self.store.list(layout::CHECKPOINTS)).unwrap();
        let newest = names.iter().filter_map(|(name, _)| layout::parse_checkpoint(name)).max();
        let name = layout::checkpoint(newest.unwrap());
        let bytes = self.runtime.block_on(self.store.get(&name)).unwrap();
        CheckpointMetadata::from_bytes(&name, &bytes).unwrap()
    }

    fn put(&self, metadata: &CheckpointMetadata) {
        let (name, bytes) = (layout::checkpoint(metadata.id), metadata.to_bytes());
        self.runtime.block_on(self.store.put(&name, bytes.into())).unwrap();
    }

    fn digest(&self) -> Option<String> {
        let newest = self.newest();
        let state = newest.operators.iter().find(|state| state.uid == "count").unwrap();
        state.digest.map(|digest| digest.to_string())
    }
}

/// The digest by its definition, of what a plain loop counts.
fn digest_of(input: &[Vec<String>]) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    input.iter().flatten().for_each(|key| *counts.entry(key).or_default() += 1);
    let hash = |(key, count): (&str, u64)| {
        let encoded = [&(key.len() as u64).to_le_bytes()[..], key.as_bytes()].concat();
        let seed = twox_hash::XxHash3_64::oneshot(&encoded);
        twox_hash::XxHash3_128::oneshot_with_seed(seed, &count.to_le_bytes())
    };
    format!("{:032x}", counts.into_iter().map(hash).fold(0, u128::wrapping_add))
}

fn stop_at(at: u64) -> impl Fn(&Run, u64) + Clone + Send + Sync + 'static {
    move |run, n| {
        if n == at {
            run.control().request_stop();
        }
    }
}

const ALL: [Emit; 3] = [Emit::EachUpdate, Emit::LastPerStep, Emit::AtEnd];

#[test]
fn any_number_of_workers_resumes_what_any_other_stopped() {
    for emit in ALL {
        for (from, to) in (1..=4).flat_map(|from| (1..=4).map(move |to| (from, to))) {
            let case = format!("{emit:?}, from {from} to {to} workers");
            let input = input((from * 7 + to) as u64);
            let (store, collected) = (Location::memory(), Collected::new());
            let stop = |run: &Run, n: u64| {
                if n == RECORDS / 3 {
                    run.control().request_stop();
                }
            };
            let first = count((&store, from, 128), &input, emit, &collected, stop).unwrap();
            let second = count((&store, to, 128), &input, emit, &collected, nothing).unwrap();
            assert_eq!(first.records_in + second.records_in, RECORDS, "{case}");
            assert_eq!(first.outcome, Outcome::Stopped, "{case}");
            assert!(second.records_in > RECORDS / 3, "{case}: {second:?}");
            check(emit, collected.records(), &input, &case);
        }
    }
}

#[test]
fn any_number_of_workers_takes_over_from_one_that_died() {
    for emit in ALL {
        for (from, to) in (1..=4).flat_map(|from| (1..=4).map(move |to| (from, to))) {
            let case = format!("{emit:?}, from {from} to {to} workers");
            let input = input((from * 5 + to) as u64);
            let (store, collected) = (Location::memory(), Collected::new());
            let dies = |_: &Run, n: u64| assert!(n != RECORDS * 3 / 4, "dies on purpose");
            let outcome = count((&store, from, 128), &input, emit, &collected, dies);
            assert!(matches!(outcome, Err(Error::Panicked { .. })), "{case}: {outcome:?}");
            count((&store, to, 128), &input, emit, &collected, nothing).unwrap();
            check(emit, collected.records(), &input, &case);
        }
    }
}

/// Segments of many runs, each cut for another number of workers, lie on top of each other.
#[test]
fn workers_change_in_every_run() {
    for seed in 0..6 {
        let emit = ALL[seed as usize % 3];
        // As few groups as workers, too: each worker then has one.
        let key_groups = [4, 128, 1000][seed as usize / 2];
        let (mut random, input) = (Random::new(seed), input(seed));
        let (store, collected) = (Location::memory(), Collected::new());
        let (mut runs, mut chain) = (0, Vec::new());
        loop {
            let workers = 1 + random.below(4);
            chain.push(workers);
            let case = format!("{emit:?}, {key_groups} groups, seed {seed}, workers {chain:?}");
            let stop_at = 200 + random.next_u64() % 900;
            let stop = move |run: &Run, n: u64| {
                if n == stop_at {
                    run.control().request_stop();
                }
            };
            let this = (&store, workers, key_groups);
            let summary = count(this, &input, emit, &collected, stop).unwrap();
            runs += 1;
            assert!(runs < 1000, "{case}: nothing gets on");
            if summary.outcome != Outcome::Stopped {
                check(emit, collected.records(), &input, &case);
                break;
            }
        }
    }
}

/// Whatever workers there were on the way, state of the same input has the same digest.
#[test]
fn the_digest_does_not_depend_on_the_number_of_workers() {
    let input = input(3);
    let digests = [&[1][..], &[2, 3, 1]].map(|chain| {
        let (store, collected) = (Location::memory(), Collected::new());
        for (run, workers) in chain.iter().enumerate() {
            let at = if run + 1 == chain.len() { u64::MAX } else { RECORDS / 4 };
            let this = (&store, *workers, 128);
            count(this, &input, Emit::EachUpdate, &collected, stop_at(at)).unwrap();
        }
        Store::of(&store).digest()
    });
    assert_eq!(digests[0], Some(digest_of(&input)));
    assert_eq!(digests[1], digests[0]);
}

/// Entries that are whole, but not those that the checkpoint means.
#[test]
fn a_checkpoint_with_another_digest_than_its_entries_is_refused() {
    let (input, location, collected) = (input(4), Location::memory(), Collected::new());
    let run = |workers, at| {
        count((&location, workers, 128), &input, Emit::EachUpdate, &collected, stop_at(at))
    };
    run(2, RECORDS / 3).unwrap();
    let store = Store::of(&location);
    let (mut newest, right) = (store.newest(), store.digest().unwrap());
    let other = "0123456789abcdef0123456789abcdef";
    for state in &mut newest.operators {
        state.digest = state.digest.map(|_| other.parse().unwrap());
    }
    store.put(&newest);
    let error = run(3, u64::MAX).unwrap_err();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    for part in ["\"count\"", other, &right, &format!("checkpoint {}", newest.id)] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    // Those of before the digest was invented are read as they are.
    let mut newest = store.newest();
    newest.operators.iter_mut().for_each(|state| state.digest = None);
    store.put(&newest);
    run(3, u64::MAX).unwrap();
    assert_eq!(store.digest(), Some(digest_of(&input)));
}
