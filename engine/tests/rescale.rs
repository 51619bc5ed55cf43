//! Any number of workers resumes what any other number wrote, for each way of emitting, after a
//! stop and after a death.
//!
//! Each pair of numbers from 1 to 4 is tried, and chains of them; the oracle counts the input in a
//! plain loop. That state is really moved, and not rebuilt, shows in the number of records that the
//! second run reads.

#![allow(clippy::unwrap_used)] // a panic is the report

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater::checkpoint::run::Run;
use highwater::checkpoint::state::KeyGroups;
use highwater::checkpoint::store::Location;
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};
use highwater::testing::{CollectSink, Random, VecSource};
use highwater::{BoxError, Error, Summary};

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

/// Yields a few records of each split a millisecond, so that the input lasts for many checkpoints.
struct Trickle(VecSource<String>);

struct TrickleReader(<VecSource<String> as Source>::Reader);

impl Source for Trickle {
    type Item = String;
    type Split = <VecSource<String> as Source>::Split;
    type Offset = <VecSource<String> as Source>::Offset;
    type Reader = TrickleReader;

    fn discover(
        &self,
        known: &[NamedSplit<Self::Split>],
    ) -> Result<Vec<NamedSplit<Self::Split>>, BoxError> {
        self.0.discover(known)
    }

    fn open(
        &self,
        split: &Self::Split,
        at: Option<Self::Offset>,
    ) -> Result<TrickleReader, BoxError> {
        self.0.open(split, at).map(TrickleReader)
    }
}

impl SplitReader for TrickleReader {
    type Item = String;
    type Offset = <VecSource<String> as Source>::Offset;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<String>) -> Result<ReadStatus, BoxError> {
        let limit = ReadLimit { records: limit.records.min(FEW), ..limit };
        Ok(match self.0.read(limit, out)? {
            ReadStatus::Ready => ReadStatus::Idle { retry_after: Duration::from_millis(1) },
            other => other,
        })
    }

    fn offset(&self) -> Self::Offset {
        self.0.offset()
    }
}

fn check(emit: Emit, collected: &Collected, input: &[Vec<String>], case: &str) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    input.iter().flatten().for_each(|key| *counts.entry(key.clone()).or_default() += 1);
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    collected.records().into_iter().for_each(|(key, n)| found.entry(key).or_default().push(n));
    assert!(found.keys().eq(counts.keys()), "{case}: other keys than in the input");
    for (key, mut numbers) in found {
        let count = counts[&key];
        numbers.sort_unstable();
        match emit {
            Emit::EachUpdate => {
                assert!(numbers.iter().copied().eq(1..=count), "{case}: {key}: {numbers:?}");
            }
            Emit::LastPerStep => assert_eq!(numbers.last(), Some(&count), "{case}: {key}"),
            Emit::AtEnd => assert_eq!(numbers, [count], "{case}: {key}"),
        }
    }
}

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
        .execute(move |flow| {
            let run = Arc::clone(flow.checkpoints().run());
            let (each, seen) = (each.clone(), Arc::clone(&seen));
            flow.source("words", Trickle(source.clone()))
                .inspect(move |_| each(&run, seen.fetch_add(1, Ordering::Relaxed)))
                .key_by(String::clone)
                .emit(emit)
                .count("count")
                .sink("counts", sink.clone());
        })
}

fn nothing(_: &Run, _: u64) {}

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
            check(emit, &collected, &input, &case);
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
            check(emit, &collected, &input, &case);
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
                check(emit, &collected, &input, &case);
                break;
            }
        }
    }
}
