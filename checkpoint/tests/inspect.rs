//! What is seen of checkpoints from outside, against a plain model of their entries.
//!
//! Jobs are made up here, segment by segment, so that removed keys, bases of some groups and
//! damage are where a test wants them.

#![allow(clippy::unwrap_used)] // a panic is the report

use std::collections::BTreeMap;
use std::future::Future;

use bytes::Bytes;
use highwater_checkpoint::inspect::{
    Compared, LiveEntries, Verifier, Which, delete, diff, jobs, list, open, read, spread,
};
use highwater_checkpoint::metadata::{
    CheckpointId, CheckpointMetadata, FORMAT_VERSION, Generation, OperatorStateMetadata, Origin,
    SegmentKind, SegmentMetadata, SplitMetadata,
};
use highwater_checkpoint::segment::{EntryBlock, SegmentHeader, SegmentWriter};
use highwater_checkpoint::state::StateDigest;
use highwater_checkpoint::store::{BlobStore, Location, PutIfAbsent, layout};
use highwater_checkpoint::{Epoch, Error, Result};

const GROUPS: u16 = 8;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// As many pseudo-random numbers as one likes.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % end
    }
}

fn group_of(key: &[u8]) -> u16 {
    u16::from(key[0]) % GROUPS
}

/// A job with one keyed operator, `count`, and what its entries are by a plain map.
struct Made {
    store: BlobStore,
    entries: Entries,
    segments: Vec<SegmentMetadata>,
    epoch: u64,
}

impl Made {
    fn new(location: &Location, job: &str) -> Made {
        let store = BlobStore::new(location.clone(), job);
        wait(store.claim_generation()).unwrap();
        Made { store, entries: Entries::new(), segments: Vec::new(), epoch: 0 }
    }

    /// Writes a segment of the groups `groups` with `changes`, in their order.
    fn segment(
        &mut self,
        kind: SegmentKind,
        (first_group, last_group): (u16, u16),
        changes: &[(Vec<u8>, Option<Vec<u8>>)],
    ) {
        self.epoch += 1;
        let mut writer = SegmentWriter::new(SegmentHeader {
            job: "made".into(),
            uid: "count".into(),
            kind,
            generation: Generation(1),
            worker: 0,
            epoch: Epoch(self.epoch),
            key_groups: GROUPS,
            first_group,
            last_group,
        });
        for group in first_group..=last_group {
            // Two entries a block, so that a group has several.
            let of_group: Vec<_> =
                changes.iter().filter(|(key, _)| group_of(key) == group).collect();
            for part in of_group.chunks(2) {
                let mut block = EntryBlock::new();
                for (key, value) in part {
                    block.push_bytes(key, value.as_deref()).unwrap();
                }
                writer.block(group, &block);
            }
        }
        let (bytes, summary) = writer.finish();
        let object = format!("segments/count/made-{:04}.seg", self.epoch);
        wait(self.store.put(&object, bytes)).unwrap();
        self.segments.push(summary.metadata(object));
    }

    /// Changes some keys at random and writes what has changed, or all of some groups.
    fn step(&mut self, random: &mut Random) {
        let mut changes = BTreeMap::new();
        for _ in 0..random.below(30) {
            let key = vec![random.below(24) as u8; 1 + random.below(9) as usize];
            let value = (random.below(3) > 0).then(|| vec![random.below(200) as u8; 7]);
            match &value {
                Some(value) => drop(self.entries.insert(key.clone(), value.clone())),
                None => drop(self.entries.remove(&key)),
            }
            changes.insert(key, value);
        }
        let base = random.below(4) == 0;
        let (first, last) = if base { (2, 5) } else { (0, GROUPS - 1) };
        let of_base = |key: &[u8]| base && (first..=last).contains(&group_of(key));
        let changes: Vec<_> = changes.into_iter().filter(|(key, _)| !of_base(key)).collect();
        self.segment(SegmentKind::Delta, (0, GROUPS - 1), &changes);
        if base {
            let live = self.entries.iter().filter(|(key, _)| of_base(key));
            let live: Vec<_> =
                live.map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
            self.segment(SegmentKind::Base, (first, last), &live);
        }
    }

    /// Writes a checkpoint of what there is.
    fn complete(&self, id: u64, generation: u64) {
        let split = SplitMetadata {
            id: "a".into(),
            split: serde_json::json!("a"),
            offset: Some(serde_json::json!(self.epoch)),
            finished: false,
            watermark: None,
        };
        let operators = vec![
            OperatorStateMetadata {
                uid: "count".into(),
                segments: self.segments.clone(),
                ..OperatorStateMetadata::default()
            },
            OperatorStateMetadata {
                uid: "lines".into(),
                splits: vec![split],
                ..OperatorStateMetadata::default()
            },
        ];
        self.put(CheckpointMetadata {
            format: FORMAT_VERSION,
            job: "made".into(),
            id: CheckpointId(id),
            epoch: Epoch(self.epoch),
            generation: Generation(generation),
            origin: Origin::Interval,
            input_ended: false,
            workers: 1,
            key_groups: GROUPS,
            started_ms: 0,
            completed_ms: 1,
            duration_ms: 1,
            bytes_written: 0,
            bytes_folded: 0,
            bytes_total: self.segments.iter().map(|segment| segment.bytes).sum(),
            operators,
            crc32: 0,
        });
    }

    fn put(&self, metadata: CheckpointMetadata) {
        let bytes = Bytes::from(metadata.to_bytes());
        let put = wait(self.store.put_if_absent(&layout::checkpoint(metadata.id), bytes)).unwrap();
        assert_eq!(put, PutIfAbsent::Created);
    }

    fn objects(&self) -> Vec<String> {
        let names = wait(self.store.list("")).unwrap();
        names.into_iter().map(|(name, _)| name).collect()
    }

    fn read(&self, id: u64) -> highwater_checkpoint::inspect::Stored {
        wait(read(&self.store, &Which::Id(CheckpointId(id)))).unwrap()
    }
}

fn random_job(seed: u64, steps: usize) -> Made {
    let mut made = Made::new(&Location::memory(), "made");
    let mut random = Random(seed);
    (0..steps).for_each(|_| made.step(&mut random));
    made
}

#[test]
fn live_entries_are_those_of_the_model() {
    let mut tombstones_won = 0;
    for seed in 0..40 {
        let made = random_job(seed, 1 + seed as usize % 9);
        made.complete(1, 1);
        let stored = made.read(1);
        let mut found = Entries::new();
        let mut groups = Vec::new();
        wait(async {
            let operator = stored.operator("count").unwrap();
            let mut live = LiveEntries::open(&stored.store, operator, 0..GROUPS).await.unwrap();
            while let Some((group, blocks)) = live.next_group().await.unwrap() {
                groups.push(group);
                for (key, value) in blocks.iter().flatten() {
                    assert_eq!(group_of(key), group);
                    let before = found.insert(key.to_vec(), value.unwrap().to_vec());
                    assert_eq!(before, None, "a key comes once");
                }
            }
        });
        assert!(groups.into_iter().eq(0..GROUPS), "each group comes once, in order");
        assert_eq!(found, made.entries, "seed {seed}");
        let written: u64 = made.segments.iter().map(|segment| segment.entries).sum();
        tombstones_won += usize::from(written > 2 * found.len() as u64);
    }
    assert!(tombstones_won > 5, "the cases hold what is older or removed");
}

fn findings(made: &Made, id: u64) -> Vec<String> {
    let stored = made.read(id);
    let mut verifier = Verifier::new(|_| {});
    wait(verifier.verify(&stored)).unwrap();
    verifier.findings().iter().map(|finding| finding.reason.clone()).collect()
}

#[test]
fn a_flipped_bit_anywhere_is_found_and_named() {
    let made = random_job(3, 2);
    made.complete(1, 1);
    let mut bytes = 0;
    let stored = made.read(1);
    let mut verifier = Verifier::new(|progress| bytes = progress.bytes);
    wait(verifier.verify(&stored)).unwrap();
    assert_eq!(verifier.findings(), []);
    drop(verifier);
    assert_eq!(bytes, stored.metadata.bytes_total, "every byte is read, once");
    for segment in &made.segments {
        let whole = wait(made.store.get(&segment.object)).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.to_vec();
            damaged[at] ^= 1 << (at % 8);
            wait(made.store.put(&segment.object, damaged.into())).unwrap();
            let found = findings(&made, 1);
            assert!(!found.is_empty(), "byte {at} of {} of {segment:?}", whole.len());
            assert!(found.iter().all(|reason| reason.contains(&segment.object)), "{found:?}");
        }
        wait(made.store.put(&segment.object, whole)).unwrap();
    }
}

#[test]
fn all_damage_is_listed_and_not_the_first_alone() {
    let made = random_job(3, 6);
    made.complete(1, 1);
    let largest = made.segments.iter().max_by_key(|segment| segment.entries).unwrap();
    let whole = wait(made.store.get(&largest.object)).unwrap();
    let mut damaged = whole.to_vec();
    let frames: Vec<_> = (0..whole.len() - 4).filter(|at| &whole[*at..at + 4] == b"HWbl").collect();
    assert!(frames.len() > 3);
    damaged[frames[0] + 8] ^= 1;
    damaged[frames[2] + 8] ^= 1;
    wait(made.store.put(&largest.object, damaged.into())).unwrap();
    let others: Vec<_> =
        made.segments.iter().filter(|segment| segment.object != largest.object).collect();
    wait(made.store.delete(&others[0].object)).unwrap();
    let short = wait(made.store.get(&others[1].object)).unwrap();
    wait(made.store.put(&others[1].object, short.slice(..short.len() - 1))).unwrap();
    let found = findings(&made, 1);
    assert_eq!(found.len(), 4, "{found:#?}");
    assert_eq!(found.iter().filter(|reason| reason.contains(&largest.object)).count(), 2);
    assert!(found.contains(&format!("{} is missing", others[0].object)), "{found:#?}");
}

#[test]
fn a_segment_of_another_operator_or_job_is_found() {
    let mut made = random_job(1, 2);
    made.complete(1, 1);
    let mut stored = made.read(1);
    stored.metadata.operators[0].uid = "other".into();
    let mut verifier = Verifier::new(|_| {});
    wait(verifier.verify(&stored)).unwrap();
    assert!(verifier.findings()[0].reason.contains("operator \"count\", not \"other\""));
    made.segment(SegmentKind::Base, (0, GROUPS - 1), &[]);
    made.complete(2, 1);
    let mut stored = made.read(2);
    stored.metadata.key_groups = 4;
    let mut verifier = Verifier::new(|_| {});
    wait(verifier.verify(&stored)).unwrap();
    let reason = &verifier.findings()[0].reason;
    assert!(reason.contains("8 key groups, the checkpoint has 4"), "{reason}");
}

#[test]
fn a_number_of_live_entries_that_is_not_theirs_is_found() {
    let made = random_job(4, 5);
    made.complete(1, 1);
    let mut stored = made.read(1);
    for (off, findings) in [(0, 0), (1, 1)] {
        let said = made.entries.len() as u64 + off;
        stored.metadata.operators[0].entries = Some(said);
        let mut verifier = Verifier::new(|_| {});
        wait(verifier.verify(&stored)).unwrap();
        let found = verifier.findings();
        assert_eq!(found.len(), findings, "{found:?}");
        let reason = format!("{} entries are live, it says {said}", made.entries.len());
        assert!(found.iter().all(|finding| finding.reason.contains(&reason)), "{found:?}");
    }
}

#[test]
fn a_digest_that_is_not_that_of_the_entries_is_found() {
    let made = random_job(4, 5);
    made.complete(1, 1);
    let mut stored = made.read(1);
    let entries = made.entries.iter();
    let right: StateDigest = entries.map(|(k, v)| StateDigest::of_entry(k, v)).sum();
    let mut wrong = right;
    wrong += StateDigest::of_entry(b"one", b"more");
    for (digest, findings) in [(right, 0), (wrong, 1)] {
        stored.metadata.operators[0].digest = Some(digest);
        let mut verifier = Verifier::new(|_| {});
        wait(verifier.verify(&stored)).unwrap();
        let found = verifier.findings();
        assert_eq!(found.len(), findings, "{found:?}");
        let reason = format!("its entries have digest {right}, it says {wrong}");
        assert!(found.iter().all(|finding| finding.reason.contains(&reason)), "{found:?}");
    }
}

#[test]
fn a_diff_counts_what_the_model_counts() {
    for seed in 0..20 {
        let mut made = random_job(seed, 4);
        made.complete(1, 1);
        let before = made.entries.clone();
        let mut random = Random(seed + 100);
        made.step(&mut random);
        made.complete(2, 1);
        let mut keys = Vec::new();
        let diffs = wait(diff(&made.read(1), &made.read(2), |change| {
            let owned = |value: Option<&[u8]>| value.map(<[u8]>::to_vec);
            keys.push((change.key.to_vec(), owned(change.first), owned(change.second)));
            Ok(())
        }))
        .unwrap();
        let mut meant = Vec::new();
        let all: std::collections::BTreeSet<_> = before.keys().chain(made.entries.keys()).collect();
        for key in all {
            let (first, second) = (before.get(key), made.entries.get(key));
            if first != second {
                meant.push((key.clone(), first.cloned(), second.cloned()));
            }
        }
        keys.sort();
        assert_eq!(keys, meant, "seed {seed}");
        let Compared::Different(source) = &diffs[1].compared else { panic!("{diffs:?}") };
        assert_eq!((diffs[1].uid.as_str(), source.splits.len()), ("lines", 1));
        if meant.is_empty() {
            assert_eq!(diffs[0].compared, Compared::Equal);
            continue;
        }
        let Compared::Different(changes) = &diffs[0].compared else { panic!("{diffs:?}") };
        let states = changes.state.unwrap();
        let (entries, now) = (before.len() as u64, made.entries.len() as u64);
        assert_eq!((states.0.entries, states.1.entries), (entries, now));
        assert_eq!(changes.added + entries - changes.removed, now);
    }
}

#[test]
fn the_same_entries_in_other_segments_are_equal() {
    let mut made = random_job(5, 7);
    made.complete(1, 1);
    let live: Vec<_> =
        made.entries.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
    let epoch = made.epoch;
    made.segment(SegmentKind::Base, (0, GROUPS - 1), &live);
    made.segments = vec![made.segments.pop().unwrap()];
    made.epoch = epoch;
    made.complete(2, 1);
    let diffs = wait(diff(&made.read(1), &made.read(2), |_| panic!("no key differs"))).unwrap();
    assert!(diffs.iter().all(|diff| diff.compared == Compared::Equal), "{diffs:?}");
}

#[test]
fn shares_of_workers_are_all_that_is_visible() {
    let made = random_job(9, 8);
    made.complete(1, 1);
    let stored = made.read(1);
    let one = wait(spread(&stored, 1)).unwrap();
    for workers in 1..=usize::from(GROUPS) {
        let shares = wait(spread(&stored, workers)).unwrap();
        let sum = |of: fn(&highwater_checkpoint::inspect::WorkerShare) -> u64| {
            shares.iter().map(of).sum::<u64>()
        };
        assert_eq!((sum(|s| s.bytes), sum(|s| s.entries)), (one[0].bytes, one[0].entries));
        assert_eq!(sum(|s| u64::from(s.groups)), u64::from(GROUPS));
    }
    for workers in [0, usize::from(GROUPS) + 1] {
        let error = wait(spread(&stored, workers)).unwrap_err().to_string();
        assert!(error.contains(&format!("{workers} workers for 8 key groups")), "{error}");
    }
}

fn ids(numbers: &[u64]) -> Vec<CheckpointId> {
    numbers.iter().map(|id| CheckpointId(*id)).collect()
}

#[test]
fn deleting_takes_what_nothing_else_names_and_nothing_more() {
    let mut made = random_job(2, 3);
    made.complete(1, 1);
    let only_first = made.segments.remove(0).object;
    made.step(&mut Random(1));
    made.complete(2, 1);
    let bystander = "segments/count/not-named.seg";
    wait(made.store.put(bystander, Bytes::from_static(b"of the next checkpoint"))).unwrap();
    let before = made.objects();

    for (doomed, says) in [(&[7][..], "no checkpoint 7"), (&[1, 2], "checkpoint 2 is the newest")] {
        let error = wait(delete(&made.store, &ids(doomed), false)).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("nothing was deleted"), "{error}");
        assert_eq!(made.objects(), before);
    }
    let deleted = wait(delete(&made.store, &ids(&[1]), false)).unwrap();
    assert_eq!((deleted.segments, deleted.left), (1, None));
    let gone = [layout::checkpoint(CheckpointId(1)), only_first];
    let left: Vec<_> = before.into_iter().filter(|name| !gone.contains(name)).collect();
    assert_eq!(made.objects(), left);
    assert_eq!(findings(&made, 2), [""; 0]);
}

#[test]
fn segments_stay_where_somebody_may_name_them() {
    let two = || {
        let mut made = random_job(2, 3);
        made.complete(1, 1);
        made.segments.remove(0);
        made.complete(2, 1);
        made
    };
    let segments = |made: &Made| {
        made.objects().into_iter().filter(|name| name.starts_with("segments/")).count()
    };
    let left = |made: &Made, doomed: &[u64], force| {
        let before = segments(made);
        let deleted = wait(delete(&made.store, &ids(doomed), force)).unwrap();
        assert_eq!((deleted.segments, deleted.checkpoints.len()), (0, doomed.len()));
        assert_eq!(segments(made), before);
        deleted.left.unwrap()
    };
    let made = two();
    assert!(left(&made, &[1, 2], true).contains("newest checkpoint was deleted"));

    let made = two();
    wait(made.store.claim_generation()).unwrap();
    assert!(left(&made, &[1], false).contains("may be about to begin"));

    let made = two();
    let name = layout::checkpoint(CheckpointId(3));
    wait(made.store.put(&name, Bytes::from_static(b"{}"))).unwrap();
    assert!(left(&made, &[1], false).contains("checkpoint 3 cannot be read"));
    let listed = wait(list(&made.store)).unwrap();
    assert!(matches!(&listed[..], [two, three] if two.metadata.is_ok() && three.metadata.is_err()));
}

#[test]
fn a_job_is_found_by_its_name_or_by_being_the_only_one() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_str().unwrap();
    let location = Location::parse(path).unwrap();
    let error = wait(open(path, None)).unwrap_err().to_string();
    assert!(error.contains("there are no checkpoints in"), "{error}");
    drop(Made::new(&location, "clicks/hour"));
    std::fs::create_dir(root.path().join("other files")).unwrap();
    std::fs::create_dir(root.path().join("lost+found")).unwrap();
    let folder = |found: Result<BlobStore>| found.unwrap().to_string();
    let only = folder(wait(open(path, None)));
    assert!(only.starts_with("clicks%2Fhour in"), "{only}");
    let direct = root.path().join("clicks%2Fhour");
    wait(async {
        let opened = open(direct.to_str().unwrap(), None).await.unwrap();
        assert_eq!(opened.list("generations").await.unwrap().len(), 1);
    });
    drop(Made::new(&location, "b"));
    assert_eq!(wait(jobs(&location)).unwrap(), ["b", "clicks/hour"]);
    let error = wait(open(path, None)).unwrap_err().to_string();
    assert!(error.contains("there are 2 jobs") && error.contains("b, clicks/hour"), "{error}");
    assert_eq!(folder(wait(open(path, Some("clicks/hour")))), only);
    let error = wait(open(path, Some("c"))).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(error.to_string().contains("there are: b, clicks/hour"), "{error}");
    let none = root.path().join("none");
    let error = wait(open(none.to_str().unwrap(), None)).unwrap_err().to_string();
    assert!(error.contains("there is no directory") && !none.exists(), "{error}");
}
