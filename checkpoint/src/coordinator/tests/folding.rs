//! What a restore reads stays below twice the live state, whatever the changes: two workers insert,
//! update and remove at random, epoch by epoch, and folds take effect at once or some checkpoints
//! later. Sizes are counted by a model of segments, of which it knows only what they hold.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const WORKERS: usize = 2;

/// What every segment has, however few its entries.
const OVERHEAD: u64 = 300;
const KEY_BYTES: u64 = 8;

/// What happens in one epoch on one worker: keys inserted, keys changed, keys removed out of 100.
#[derive(Clone, Copy, Debug)]
struct Changes {
    inserted: u64,
    changed: u64,
    removed: u64,
}

fn changes() -> impl Strategy<Value = Changes> {
    let kind = prop_oneof![
        (0..400u64, 0..100u64, 0..3u64),
        (0..5u64, 0..20u64, 0..40u64),
        (0..3u64, 0..3u64, Just(0)),
    ];
    kind.prop_map(|(inserted, changed, removed)| Changes { inserted, changed, removed })
}

#[derive(Default)]
struct Worker {
    live: BTreeSet<u64>,
    next: u64,
}

impl Worker {
    /// Changes the state, and says what the segment holds: entries that live, and tombstones.
    fn epoch(&mut self, changes: Changes) -> (SegmentKind, u64, u64) {
        let removed: Vec<u64> =
            self.live.iter().copied().filter(|key| key * 37 % 100 < changes.removed).collect();
        self.live.retain(|key| !removed.contains(key));
        let updated = changes.changed.min(self.live.len() as u64);
        for _ in 0..changes.inserted {
            self.live.insert(self.next);
            self.next += 1;
        }
        let (tombstones, alive) = (removed.len() as u64, updated + changes.inserted);
        let live = self.live.len() as u64;
        if live > 0 && (tombstones + alive) * 5 >= live * 4 {
            (SegmentKind::Base, live, 0)
        } else {
            (SegmentKind::Delta, alive, tombstones)
        }
    }
}

struct Job {
    coordinator: Coordinator,
    workers: [Worker; WORKERS],
    value_bytes: u64,
    epoch: u64,
    folding: Option<(u32, Vec<String>, SegmentMetadata)>,
    folds: u64,
}

impl Job {
    fn new(value_bytes: u64) -> Job {
        let policy = CheckpointPolicy { fold_bytes_min: 4000, ..policy() };
        let config = CoordinatorConfig { workers: WORKERS, ..with(policy) };
        let (retained, dropped) = (Vec::new(), BTreeSet::new());
        let start = Start { checkpoint: empty(1), retained, dropped, now_ms: 0 };
        let coordinator = Coordinator::new(config, start);
        Job {
            coordinator,
            workers: Default::default(),
            value_bytes,
            epoch: 1,
            folding: None,
            folds: 0,
        }
    }

    fn live(&self) -> u64 {
        self.workers.iter().map(|worker| worker.live.len() as u64).sum()
    }

    fn checkpoint(&mut self, changes: [Changes; WORKERS], fold_takes: u32) -> CheckpointMetadata {
        let epoch = Epoch(self.epoch);
        self.epoch += 1;
        let now_ms = self.epoch * INTERVAL_MS;
        self.coordinator.step(Event::Time { now_ms });
        for (worker, changes) in changes.into_iter().enumerate() {
            let (kind, alive, tombstones) = self.workers[worker].epoch(changes);
            let groups = (worker as u16 * 4, worker as u16 * 4 + 3);
            let segment = SegmentMetadata {
                first_group: groups.0,
                last_group: groups.1,
                entries: alive + tombstones,
                bytes: OVERHEAD + alive * (KEY_BYTES + self.value_bytes) + tombstones * KEY_BYTES,
                ..segment(kind, &format!("{epoch} of {worker}"), epoch.0)
            };
            let is_empty = segment.entries == 0 && kind == SegmentKind::Delta;
            let state = OperatorStateMetadata {
                uid: "count".into(),
                entries: Some(self.workers[worker].live.len() as u64),
                segments: if is_empty { Vec::new() } else { vec![segment] },
                ..OperatorStateMetadata::default()
            };
            let acknowledgement = Acknowledgement { epoch, worker, state, stall_us: 0 };
            self.coordinator.step(Event::Acknowledged(Box::new(acknowledgement)));
        }
        let actions = self.coordinator.step(Event::Durable { before: Some(epoch.next()), now_ms });
        let Some(Action::Write(metadata)) = actions.last() else { panic!("{actions:?}") };
        let written = Event::Written { id: metadata.id, epoch };
        for action in self.coordinator.step(written) {
            let Action::Fold { segments, .. } = action else { continue };
            let live = self.live();
            let base = SegmentMetadata {
                entries: live,
                bytes: OVERHEAD + live * (KEY_BYTES + self.value_bytes),
                ..base(&format!("fold of {epoch}"), epoch.0)
            };
            let replaced = segments.into_iter().map(|segment| segment.object).collect();
            self.folding = Some((fold_takes, replaced, base));
            self.folds += 1;
        }
        self.fold_on();
        (**metadata).clone()
    }

    fn fold_on(&mut self) {
        let Some((takes, replaced, base)) = self.folding.take() else { return };
        if takes > 0 {
            self.folding = Some((takes - 1, replaced, base));
            return;
        }
        let (uid, with) = ("count".to_owned(), Some(vec![base]));
        self.coordinator.step(Event::Folded { uid, replaced, with });
    }
}

proptest! {
    #[test]
    fn a_restore_reads_less_than_twice_the_live_state(
        epochs in vec((changes(), changes(), 0..3u32), 1..80),
        value_bytes in prop_oneof![Just(8u64), Just(1000)],
    ) {
        let mut job = Job::new(value_bytes);
        let (mut written, mut folded) = (0, 0);
        for (one, other, fold_takes) in epochs {
            let (was_folding, folds) = (job.folding.is_some(), job.folds);
            let metadata = job.checkpoint([one, other], fold_takes);
            written += metadata.bytes_written;
            folded += metadata.bytes_folded;
            let segments = &metadata.operators[0].segments;
            prop_assert!(segments.len() <= 16 * WORKERS + 1 + 6, "{} segments", segments.len());
            if was_folding || job.folds > folds {
                continue; // It is being seen to.
            }
            let reads: u64 = segments.iter().map(|segment| segment.bytes).sum();
            let live = job.live() * (KEY_BYTES + value_bytes);
            let overhead = OVERHEAD * segments.len() as u64;
            prop_assert!(
                reads <= 2 * live + 4000 + overhead,
                "a restore reads {reads} bytes in {} segments for {live} live", segments.len()
            );
        }
        // Each byte was inserted once before it could be removed.
        prop_assert!(folded <= 3 * written + 4000, "{folded} bytes folded of {written} written");
    }
}

/// A scan that only ever reads cannot show it: the fold must have been asked for.
#[test]
fn removals_alone_make_a_fold_worth_it() {
    let mut job = Job::new(1000);
    let nothing = Changes { inserted: 0, changed: 0, removed: 0 };
    let grown = Changes { inserted: 500, ..nothing };
    let shrinks = Changes { removed: 30, ..nothing };
    job.checkpoint([grown; 2], 0);
    job.checkpoint([shrinks; 2], 0);
    assert_eq!(job.folds, 0, "a base of 1000 entries for 700 is within bounds");
    job.workers.iter_mut().for_each(|worker| worker.live.retain(|key| key % 2 == 0));
    job.checkpoint([nothing; 2], 0);
    assert_eq!(job.folds, 1);
    let metadata = job.checkpoint([nothing; 2], 0);
    assert_eq!(metadata.operators[0].segments.len(), 1);
    assert!(metadata.bytes_folded > 0 && metadata.bytes_written == 0, "{metadata:?}");
}
