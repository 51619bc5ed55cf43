//! Puts a source through the contract of [`crate::source`].

#![expect(clippy::disallowed_methods, reason = "waits, as a worker would, for a source under test")]

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::thread;
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::Random;
use crate::source::{NamedSplit, ReadLimit, ReadStatus, Source, SplitReader};

/// How often a reader may say `Idle` in a row before it counts as stuck: with a wait of at most
/// 100 ms each, 30 s.
const IDLE_MAX: usize = 300;

/// The longest wait for a reader that is idle.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// How often each split is read with random limits.
const ROUNDS: usize = 4;

/// A split's id and its records, in order.
pub type SplitRecords<T> = Vec<(String, Vec<T>)>;

/// Checks a source against S1, S2 and S4, and that limits and progress are kept; returns what it
/// yields, for the caller to compare with what it should.
///
/// `make` makes the same source each time, as each run of a job does. The source must come to an
/// end. All splits are read in one go, then with random limits from `seed`, closing the reader
/// between calls and opening another at its offset; offsets and splits go through JSON as in a
/// checkpoint.
///
/// # Panics
///
/// If the source breaks the contract, or fails.
pub fn check_source<S>(make: impl Fn() -> S, seed: u64) -> SplitRecords<S::Item>
where
    S: Source,
    S::Item: PartialEq + Debug,
{
    let splits = discovered(&make);
    let records: SplitRecords<S::Item> =
        splits.iter().map(|named| (named.id.clone(), read_in_one_go(&make(), named))).collect();
    let mut random = Random::new(seed);
    for (named, (_, expected)) in splits.iter().zip(&records) {
        for _ in 0..ROUNDS {
            let case = Case { split: &named.id, seed };
            check_interrupted(&make, named, expected, &mut random, &case);
        }
    }
    records
}

/// What a failure message names.
struct Case<'a> {
    split: &'a str,
    seed: u64,
}

impl std::fmt::Display for Case<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "split {:?}, seed {}", self.split, self.seed)
    }
}

/// Discovers all splits, and checks their ids (S2).
fn discovered<S: Source>(make: &impl Fn() -> S) -> Vec<NamedSplit<S::Split>> {
    let discover = |known: &[NamedSplit<S::Split>]| {
        make().discover(known).unwrap_or_else(|error| panic!("discover failed: {error:?}"))
    };
    let splits: Vec<NamedSplit<S::Split>> = discover(&[])
        .into_iter()
        .map(|named| NamedSplit { split: through_json(&named.split), id: named.id })
        .collect();

    let ids: Vec<&str> = splits.iter().map(|named| named.id.as_str()).collect();
    let unique: BTreeSet<&str> = ids.iter().copied().collect();
    assert_eq!(unique.len(), ids.len(), "S2: split ids are not unique: {ids:?}");

    let again: Vec<String> = discover(&[]).into_iter().map(|named| named.id).collect();
    assert_eq!(again, ids, "S2: a second run names its splits differently");

    let beyond: Vec<String> = discover(&splits).into_iter().map(|named| named.id).collect();
    assert!(beyond.is_empty(), "discover returned more, though all splits are known: {beyond:?}");
    splits
}

fn read_in_one_go<S: Source>(source: &S, named: &NamedSplit<S::Split>) -> Vec<S::Item> {
    let mut reader = open(source, named, None);
    let mut out = Vec::new();
    let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
    while read(&mut reader, limit, &mut out, &named.id) != ReadStatus::Finished {}

    let status = read(&mut reader, limit, &mut Vec::new(), &named.id);
    assert_eq!(status, ReadStatus::Finished, "split {:?}: read on after its end", named.id);
    if let Some(progress) = reader.progress() {
        assert_eq!(
            progress.done, progress.total,
            "split {:?}: finished, and progress is {progress:?}",
            named.id
        );
    }
    out
}

/// Reads a split in small steps, mostly by a new reader for each.
fn check_interrupted<S>(
    make: &impl Fn() -> S,
    named: &NamedSplit<S::Split>,
    expected: &[S::Item],
    random: &mut Random,
    case: &Case<'_>,
) where
    S: Source,
    S::Item: PartialEq + Debug,
{
    // Steps of a size with which a split is read in a few dozen of them, so that long splits do not
    // make the test slow, and short ones are cut after each record.
    let step = expected.len() / 16 + 2;
    let mut source = make();
    let mut reader = open(&source, named, None);
    let mut done = 0;
    loop {
        let limit = match random.below(4) {
            0 => ReadLimit { records: usize::MAX, bytes: 1 },
            1 => ReadLimit { records: 1, bytes: usize::MAX },
            _ => ReadLimit { records: 1 + random.below(step), bytes: usize::MAX },
        };
        let mut out = Vec::new();
        let bytes_before = reader.bytes_read();
        let status = read(&mut reader, limit, &mut out, case.split);
        // Where bytes are not counted, one byte is no limit that could be checked.
        let bytes_count = reader.bytes_read() > bytes_before;
        let records_max = if limit.bytes == 1 && bytes_count { 1 } else { limit.records };
        assert!(out.len() <= records_max, "{case}: {limit:?} gave {} records", out.len());

        let end = done + out.len();
        assert!(end <= expected.len(), "S1: {case}: more records than in one go: {out:?}");
        for (at, (found, expected)) in (done..).zip(out.iter().zip(&expected[done..end])) {
            assert_eq!(found, expected, "S1: {case}: record {at} differs from that in one go");
        }
        done = end;
        if status == ReadStatus::Finished {
            break;
        }
        if random.below(3) > 0 {
            // S4: here, wherever this is.
            let offset = through_json(&reader.offset());
            drop(reader);
            source = make();
            reader = open(&source, named, Some(offset));
        }
    }
    assert_eq!(done, expected.len(), "S1: {case}: fewer records than in one go");

    let offset = through_json(&reader.offset());
    drop(source);
    let mut reader = open(&make(), named, Some(offset));
    let mut out = Vec::new();
    let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
    while read(&mut reader, limit, &mut out, case.split) != ReadStatus::Finished {}
    assert!(out.is_empty(), "S1: {case}: opened at its end it yields {out:?}");
}

fn open<S: Source>(
    source: &S,
    named: &NamedSplit<S::Split>,
    offset: Option<S::Offset>,
) -> S::Reader {
    source
        .open(&named.split, offset)
        .unwrap_or_else(|error| panic!("split {:?} could not be opened: {error:?}", named.id))
}

/// One call of `read` that is not idle, with checks of what it must not do to `out`.
fn read<R: SplitReader>(
    reader: &mut R,
    limit: ReadLimit,
    out: &mut Vec<R::Item>,
    split: &str,
) -> ReadStatus {
    for _ in 0..IDLE_MAX {
        let before = out.len();
        let status = reader
            .read(limit, out)
            .unwrap_or_else(|error| panic!("split {split:?} could not be read: {error:?}"));
        assert!(out.len() >= before, "split {split:?}: read took records away from `out`");
        if let Some(progress) = reader.progress() {
            let sane = progress.done <= progress.total;
            assert!(sane, "split {split:?}: more done than there is: {progress:?}");
        }
        match status {
            ReadStatus::Idle { retry_after } if out.len() == before => {
                thread::sleep(retry_after.min(WAIT_MAX));
            }
            _ => return status,
        }
    }
    panic!("split {split:?} says that it is idle, {IDLE_MAX} times in a row");
}

/// What a checkpoint makes of a value.
fn through_json<T: Serialize + DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).expect("splits and offsets can be written as JSON");
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{text} cannot be read back from JSON: {error}"))
}
