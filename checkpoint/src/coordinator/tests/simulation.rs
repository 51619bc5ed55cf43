//! Random interleavings of a job's runs: workers, a store that fails, folds, crashes, rescaling.
//!
//! A tape of random numbers chooses what happens next, one thing at a time: a worker changes its
//! state, seals, acknowledges; the store writes, refuses, writes and says that it did not, or
//! writes long after it was given up; a fold ends or fails; the input ends; the run is fenced, or
//! dies and another begins with other workers. The model keeps the objects with their entries, and
//! what each worker had at each of its seals. After each event all segments of all checkpoints in
//! the store must be there, and reading them must give the state at the end of the epoch.
//!
//! The reader is written out here: it shares no code with `live_segments` and the fold. That the
//! simulation finds mistakes was tried by planting some; `docs/protocol.md` lists them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const GROUPS: u16 = 4;
const UIDS: [&str; 2] = ["count", "join"];

type Key = (u16, u8);
type State = BTreeMap<(&'static str, Key), u8>;

/// What outlives a run.
#[derive(Default)]
struct Store {
    objects: BTreeMap<String, (SegmentMetadata, BTreeMap<Key, Option<u8>>)>,
    checkpoints: BTreeMap<CheckpointId, CheckpointMetadata>,
    /// The state at the end of each epoch for which a run wanted to write a checkpoint.
    truth: BTreeMap<(Generation, Epoch), State>,
}

impl Store {
    /// Reads `segments`, oldest first: in its groups a base hides what is older.
    fn read(&self, segments: &[SegmentMetadata]) -> BTreeMap<Key, u8> {
        let mut state = BTreeMap::new();
        for segment in segments {
            let object = &segment.object;
            let Some((written, entries)) = self.objects.get(object) else {
                panic!("C3: {object} was deleted and is needed");
            };
            assert_eq!(written, segment);
            if segment.kind == SegmentKind::Base {
                let covered = segment.first_group..=segment.last_group;
                state.retain(|(group, _), _| !covered.contains(group));
            }
            for (key, value) in entries {
                match value {
                    Some(value) => drop(state.insert(*key, *value)),
                    None => drop(state.remove(key)),
                }
            }
        }
        state
    }

    fn check(&self, metadata: &CheckpointMetadata) {
        let mut found = State::new();
        for operator in &metadata.operators {
            let uid = known(&operator.uid);
            let entries = self.read(&operator.segments);
            found.extend(entries.into_iter().map(|(key, value)| ((uid, key), value)));
        }
        let expected = &self.truth[&(metadata.generation, metadata.epoch)];
        assert_eq!(&found, expected, "checkpoint {} of {}", metadata.id, metadata.epoch);
    }

    /// Those that a run has completed, not the copies with which runs begin.
    fn completed(&self) -> usize {
        self.checkpoints.values().filter(|m| !m.origin.is_copy()).count()
    }
}

fn known(uid: &str) -> &'static str {
    UIDS.into_iter().find(|known| *known == uid).expect("an operator of the model")
}

/// One operator on one worker.
struct Part {
    uid: &'static str,
    worker: usize,
    groups: Range<u16>,
    /// Hears of the end of the input from the clock alone.
    is_source: bool,
    running: Epoch,
    live: BTreeMap<Key, u8>,
    changed: BTreeSet<Key>,
    /// What it had at each seal.
    sealed: BTreeMap<Epoch, BTreeMap<Key, u8>>,
    sealed_last: bool,
    /// On their way, with the epoch from which the capability is kept after them.
    acknowledgements: VecDeque<(Acknowledgement, Epoch)>,
    /// The acknowledgement capability; none when the last epoch is acknowledged.
    capability: Option<Epoch>,
}

impl Part {
    fn change(&mut self, arg: u32) {
        if self.sealed_last || self.groups.is_empty() {
            return;
        }
        let group = self.groups.start + (arg % self.groups.len() as u32) as u16;
        let key = (group, (arg >> 4) as u8 % 3);
        let value = (arg >> 8) as u8 % 5;
        if value == 0 {
            self.live.remove(&key)
        } else {
            self.live.insert(key, value)
        };
        self.changed.insert(key);
    }

    /// Cuts a segment, unless a delta would be empty, and acknowledges it: of the epoch that was
    /// running, for nothing arrived in those that follow `through` to the last.
    fn seal(&mut self, run: Generation, through: Epoch, is_base: bool, store: &mut Store) {
        let epoch = self.running;
        let kind = if is_base { SegmentKind::Base } else { SegmentKind::Delta };
        let changed = std::mem::take(&mut self.changed);
        let entries: BTreeMap<Key, Option<u8>> = match kind {
            SegmentKind::Base => {
                self.live.iter().map(|(key, value)| (*key, Some(*value))).collect()
            }
            SegmentKind::Delta => {
                changed.iter().map(|key| (*key, self.live.get(key).copied())).collect()
            }
        };
        let mut state =
            OperatorStateMetadata { uid: self.uid.into(), ..OperatorStateMetadata::default() };
        let is_needed = is_base || !entries.is_empty();
        if is_needed && !self.groups.is_empty() {
            let object = format!("{run} {} worker {} {epoch} {kind:?}", self.uid, self.worker);
            state.segments.push(store.put(object, kind, self.groups.clone(), epoch, entries));
        }
        self.sealed.insert(epoch, self.live.clone());
        self.running = through.next();
        let acknowledgement = Acknowledgement { epoch, worker: self.worker, state, stall_us: 0 };
        self.acknowledgements.push_back((acknowledgement, self.running));
    }
}

impl Store {
    fn put(
        &mut self,
        object: String,
        kind: SegmentKind,
        groups: Range<u16>,
        epoch: Epoch,
        entries: BTreeMap<Key, Option<u8>>,
    ) -> SegmentMetadata {
        let segment = SegmentMetadata {
            object: object.clone(),
            offset: None,
            kind,
            first_group: groups.start,
            last_group: groups.end - 1,
            epoch,
            entries: entries.len() as u64,
            bytes: entries.len() as u64 + 1,
            crc32: 0,
        };
        let earlier = self.objects.insert(object, (segment.clone(), entries));
        assert!(earlier.is_none(), "one name, one content: {segment:?}");
        segment
    }
}

struct Run<'a> {
    store: &'a mut Store,
    coordinator: Coordinator,
    generation: Generation,
    policy: CheckpointPolicy,
    parts: Vec<Part>,
    now_ms: u64,
    /// The epoch that the clock has begun; none after the end.
    begun: Option<Epoch>,
    input_ended: bool,
    /// The acknowledgements' frontier, as the coordinator knows it.
    frontier: Option<Epoch>,
    writing: Option<CheckpointMetadata>,
    /// Attempts under the next id that were given up, and may still take effect.
    late: Vec<CheckpointMetadata>,
    folding: Vec<(&'static str, Vec<SegmentMetadata>)>,
    folds: u32,
    /// Complete checkpoints that are being copied.
    copying: Vec<CheckpointMetadata>,
    copied: u32,
    /// Requests that were not served yet, each with the epoch that was running.
    savepoints: Vec<(u64, Epoch)>,
    /// The newest checkpoint that the coordinator knows to be complete.
    newest: (CheckpointId, Epoch),
    /// Closed, and neither complete nor said to have failed.
    open: BTreeSet<Epoch>,
    /// When the last checkpoint was complete or failed.
    ended_ms: Option<u64>,
    failures: u32,
    is_closing: bool,
    /// The event under way is of a person who does not wait for the interval.
    is_asked_for: bool,
    end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Finished,
    /// Fenced, or given up.
    Abandoned,
}

/// Of all knobs, mostly such values that they matter.
fn random_policy(arg: u32) -> CheckpointPolicy {
    let pick = |shift: u32, of: [u64; 3]| of[(arg >> shift) as usize % 3];
    let max_concurrent = pick(8, [1, 2, 4]) as usize;
    let min_pause = if max_concurrent == 1 { pick(12, [0, 30, 250]) } else { 0 };
    CheckpointPolicy {
        retain: arg as usize % 3 + 1,
        max_concurrent,
        min_pause: Duration::from_millis(min_pause),
        timeout: Duration::from_millis(pick(16, [300, 1000, 600_000])),
        tolerable_failures: pick(20, [2, 9, 1_000_000]) as u32,
        fold_bytes_min: pick(22, [0, 20, 1 << 20]),
        ..policy()
    }
}

impl<'a> Run<'a> {
    /// Restores the newest checkpoint of `store` and appends its copy.
    fn begin(store: &'a mut Store, generation: u64, arg: u32) -> Run<'a> {
        let (workers, policy) = (arg as usize % 3 + 1, random_policy(arg >> 4));
        let has_sources = !(arg >> 8).is_multiple_of(4);
        let generation = Generation(generation);
        let retained: Vec<_> = store.checkpoints.values().cloned().collect();
        let chosen = retained.last().cloned().unwrap_or_else(|| empty(0));
        let restored = store.truth.get(&(chosen.generation, chosen.epoch)).cloned();
        let restored = restored.unwrap_or_default();
        let copy = CheckpointMetadata {
            id: CheckpointId(chosen.id.0 + 1),
            generation,
            origin: Origin::Restore { from: Some(chosen.id) },
            ..chosen
        };
        let (start_epoch, first) = (copy.epoch, copy.epoch.next());
        store.truth.insert((generation, start_epoch), restored.clone());
        store.checkpoints.insert(copy.id, copy.clone());
        let parts = UIDS.into_iter().flat_map(|uid| (0..workers).map(move |worker| (uid, worker)));
        let part = |(uid, worker): (&'static str, usize)| {
            let bound = |worker| (worker * usize::from(GROUPS) / workers) as u16;
            let groups = bound(worker)..bound(worker + 1);
            let ours = restored.iter().filter(|((u, key), _)| *u == uid && groups.contains(&key.0));
            let live: BTreeMap<Key, u8> = ours.map(|((_, key), value)| (*key, *value)).collect();
            Part {
                uid,
                worker,
                groups,
                is_source: has_sources && uid == UIDS[0],
                running: first,
                sealed: BTreeMap::from([(start_epoch, live.clone())]),
                live,
                changed: BTreeSet::new(),
                sealed_last: false,
                acknowledgements: VecDeque::new(),
                capability: Some(first),
            }
        };
        let parts = parts.map(part).collect();
        let config =
            CoordinatorConfig { generation, workers, key_groups: GROUPS, ..with(policy.clone()) };
        let newest = (copy.id, copy.epoch);
        let start = Start { checkpoint: copy, retained, dropped: BTreeSet::new(), now_ms: 0 };
        Run {
            store,
            coordinator: Coordinator::new(config, start),
            generation,
            policy,
            parts,
            now_ms: 0,
            begun: Some(first),
            input_ended: false,
            frontier: Some(first),
            writing: None,
            late: Vec::new(),
            folding: Vec::new(),
            folds: 0,
            copying: Vec::new(),
            copied: 0,
            savepoints: Vec::new(),
            newest,
            open: BTreeSet::new(),
            ended_ms: None,
            failures: 0,
            is_closing: false,
            is_asked_for: false,
            end: None,
        }
    }

    fn feed(&mut self, event: Event) {
        self.is_closing |= matches!(
            event,
            Event::StopRequested { .. } | Event::DrainRequested { .. } | Event::InputEnded { .. }
        );
        self.is_asked_for = matches!(event, Event::SavepointRequested { .. }) || self.is_closing;
        let actions = self.coordinator.step(event);
        assert!(self.end.is_none() || actions.is_empty(), "C4: {actions:?}");
        for action in actions {
            self.perform(action);
        }
        let tolerable = self.policy.tolerable_failures;
        assert!(self.failures <= tolerable || self.end.is_some(), "{} have failed", self.failures);
        let copying = self.copying.iter();
        for metadata in self.store.checkpoints.values().chain(&self.writing).chain(copying) {
            self.store.check(metadata);
        }
        for (_, segments) in &self.folding {
            self.store.read(segments);
        }
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Begin(epoch) => {
                assert_eq!(self.begun.map(Epoch::next), Some(epoch));
                if !self.is_asked_for {
                    self.check_begin();
                }
                self.open.extend(self.begun);
                self.begun = Some(epoch);
            }
            Action::End => {
                let begun = self.begun.take();
                assert!(begun.is_some(), "ended twice");
                self.open.extend(begun);
            }
            Action::Write(metadata) => {
                assert!(self.writing.is_none(), "C2: one write at a time");
                assert_eq!(metadata.id.0, self.newest.0.0 + 1, "C1: ids are dense");
                assert!(metadata.epoch > self.newest.1, "C1: epochs increase");
                let state = self.state_at(metadata.epoch);
                self.store.truth.insert((self.generation, metadata.epoch), state);
                self.writing = Some(*metadata);
            }
            Action::Commit(epoch) => {
                let newest = self.store.checkpoints.values().next_back();
                assert_eq!(Some(epoch), newest.map(|newest| newest.epoch), "what is complete");
                assert!(epoch > self.newest.1, "commits go up");
                self.open.retain(|open| *open > epoch);
                (self.failures, self.ended_ms) = (0, Some(self.now_ms));
                self.newest = newest.map(|newest| (newest.id, newest.epoch)).expect("as above");
            }
            Action::Savepoint { requests, metadata } => self.copy(requests, *metadata),
            Action::Fold { uid, segments } => {
                assert!(self.folding.iter().all(|(other, _)| *other != uid), "one at a time");
                self.folding.push((known(&uid), segments));
            }
            Action::Delete { checkpoints, segments } => {
                for id in checkpoints {
                    assert!(self.store.checkpoints.remove(&id).is_some(), "{id} is not there");
                }
                for object in segments {
                    assert!(self.store.objects.remove(&object).is_some(), "{object} is not there");
                }
                assert!(
                    (1..=self.policy.retain).contains(&self.store.completed()),
                    "as many as to retain"
                );
            }
            Action::Finish => self.end = Some(End::Finished),
            Action::Abandon { .. } => self.end = Some(End::Abandoned),
            Action::Failed { epoch, .. } => self.failed(epoch),
            Action::GiveUp { failures, .. } => {
                assert_eq!(failures, self.failures);
                assert!(failures > self.policy.tolerable_failures, "they were tolerable");
                self.end = Some(End::Abandoned);
            }
        }
    }

    fn failed(&mut self, epoch: Epoch) {
        self.open.remove(&epoch);
        if !self.is_closing {
            self.failures += 1;
            self.ended_ms = Some(self.now_ms);
        }
    }

    /// What must hold when an epoch ends because its interval is over.
    fn check_begin(&self) {
        let is_sealing = |epoch: &&Epoch| self.frontier.is_some_and(|before| **epoch >= before);
        let sealing = self.open.iter().filter(is_sealing).count();
        assert!(sealing < self.policy.max_concurrent, "C5: {:?}", self.open);
        let rest = self.ended_ms.map_or(u64::MAX, |ended_ms| self.now_ms - ended_ms);
        assert!(rest >= self.policy.min_pause.as_millis() as u64, "a pause of {rest} ms");
    }

    fn copy(&mut self, requests: Vec<u64>, metadata: CheckpointMetadata) {
        assert_eq!(metadata.epoch, self.newest.1, "of what is complete");
        for request in requests {
            let at = self.savepoints.iter().position(|(asked, _)| *asked == request);
            let (_, epoch) = self.savepoints.remove(at.expect("served once"));
            assert!(metadata.epoch >= epoch, "what was there when it was asked for");
        }
        self.copying.push(metadata);
        self.copied += 1;
    }

    fn state_at(&self, epoch: Epoch) -> State {
        let parts = self.parts.iter().flat_map(|part| {
            let (_, sealed) = part.sealed.range(..=epoch).next_back().expect("what was restored");
            sealed.iter().map(|(key, value)| ((part.uid, *key), *value))
        });
        parts.collect()
    }

    /// One thing happens, if it can.
    fn step(&mut self, tape: u32) {
        let (what, arg) = (tape % 32, tape >> 5);
        let at = arg as usize % self.parts.len();
        match what {
            0..8 => self.parts[at].change(arg >> 4),
            8..13 => self.seal(at, arg >> 4),
            13..18 => self.acknowledge(at),
            18..21 => self.tell_frontier(),
            21..23 => {
                self.now_ms += u64::from(arg % 150);
                self.feed(Event::Time { now_ms: self.now_ms });
            }
            23..27 => self.end_write(arg),
            27 => self.land_late(arg as usize),
            28..30 => self.end_fold(arg),
            30 if arg % 16 == 3 => self.request_savepoint(u64::from(arg)),
            30 if arg % 8 == 4 && !self.copying.is_empty() => {
                let ended = self.copying.swap_remove(arg as usize % self.copying.len());
                self.feed(Event::SavepointEnded { id: ended.id });
            }
            30 if arg % 64 == 0 => self.input_ended = true,
            30 if arg % 64 == 1 => self.feed(Event::StopRequested { now_ms: self.now_ms }),
            30 if arg % 256 == 2 => self.feed(Event::Fenced { newer: Generation(u64::MAX) }),
            31 if self.input_ended => self.feed(Event::InputEnded { now_ms: self.now_ms }),
            31 if arg % 512 == 0 => self.feed(Event::DrainRequested { now_ms: self.now_ms }),
            _ => {}
        }
    }

    fn request_savepoint(&mut self, arg: u64) {
        let request = arg << 32 | self.savepoints.len() as u64;
        if self.end.is_none() {
            // After the end it is the last epoch that ran.
            let running = self.coordinator.epoch();
            let epoch = if self.coordinator.is_closing() { Epoch(0) } else { running };
            self.savepoints.push((request, epoch));
        }
        self.feed(Event::SavepointRequested { request, now_ms: self.now_ms });
    }

    fn seal(&mut self, at: usize, arg: u32) {
        let part = &mut self.parts[at];
        let is_last = self.begun.is_none() || (self.input_ended && !part.is_source);
        let through = if part.sealed_last {
            return;
        } else if is_last {
            part.sealed_last = true;
            part.running
        } else {
            // A worker that was late may see several epochs end at once.
            let closed = self.begun.map_or(0, |begun| begun.0 - part.running.0);
            if closed == 0 {
                return;
            }
            Epoch(part.running.0 + u64::from(arg >> 2) % closed)
        };
        part.seal(self.generation, through, arg.is_multiple_of(3), self.store);
    }

    fn acknowledge(&mut self, at: usize) {
        let part = &mut self.parts[at];
        let Some((acknowledgement, next)) = part.acknowledgements.pop_front() else { return };
        let is_last = part.sealed_last && part.acknowledgements.is_empty();
        part.capability = (!is_last).then_some(next);
        self.feed(Event::Acknowledged(Box::new(acknowledgement)));
    }

    fn tell_frontier(&mut self) {
        let before = self.parts.iter().filter_map(|part| part.capability).min();
        if before != self.frontier {
            self.frontier = before;
            self.feed(Event::Durable { before, now_ms: self.now_ms });
        }
    }

    fn end_write(&mut self, arg: u32) {
        let Some(metadata) = self.writing.take() else { return };
        let id = metadata.id;
        match arg % 8 {
            0 => self.feed(Event::NotWritten { reason: "refused".into() }),
            1 => {
                self.store.checkpoints.entry(id).or_insert(metadata);
                self.feed(Event::NotWritten { reason: "refused".into() });
            }
            2 => {
                self.late.push(metadata);
                self.feed(Event::NotWritten { reason: "refused".into() });
            }
            _ => {
                let epoch = self.store.checkpoints.entry(id).or_insert(metadata).epoch;
                self.late.clear();
                self.feed(Event::Written { id, epoch });
            }
        }
    }

    fn land_late(&mut self, arg: usize) {
        if !self.late.is_empty() {
            let metadata = self.late.swap_remove(arg % self.late.len());
            self.store.checkpoints.entry(metadata.id).or_insert(metadata);
        }
    }

    fn end_fold(&mut self, arg: u32) {
        if self.folding.is_empty() {
            return;
        }
        let (uid, segments) = self.folding.swap_remove(arg as usize % self.folding.len());
        let replaced = segments.iter().map(|segment| segment.object.clone()).collect();
        if (arg >> 3).is_multiple_of(3) {
            self.feed(Event::Folded { uid: uid.into(), replaced, with: None });
            return;
        }
        let state = self.store.read(&segments);
        let epoch = segments.iter().map(|segment| segment.epoch).max().expect("a fold of some");
        self.folds += 1;
        let middle = u16::from((arg >> 5).is_multiple_of(2));
        let parts = [0..middle, middle..GROUPS].into_iter().filter(|groups| !groups.is_empty());
        let put = |groups: Range<u16>| {
            let entries = state.iter().filter(|((group, _), _)| groups.contains(group));
            let entries = entries.map(|(key, value)| (*key, Some(*value))).collect();
            let name = format!("{} {uid} fold {} {groups:?}", self.generation, self.folds);
            self.store.put(name, SegmentKind::Base, groups, epoch, entries)
        };
        let with = Some(parts.map(put).collect());
        self.feed(Event::Folded { uid: uid.into(), replaced, with });
    }

    /// Nothing goes wrong any more and the input ends: the job must come to its end.
    fn finish(&mut self) {
        self.input_ended = true;
        for _ in 0..20 {
            self.feed(Event::InputEnded { now_ms: self.now_ms });
            for at in 0..self.parts.len() {
                self.seal(at, 1);
                self.acknowledge(at);
            }
            self.tell_frontier();
            self.end_write(7);
            self.end_fold(u32::MAX);
            if self.end.is_some() {
                return;
            }
        }
        panic!("the job does not end: {:?}", self.coordinator);
    }

    fn check_end(&self) {
        let checkpoints = &self.store.checkpoints;
        let last = checkpoints.values().next_back().expect("never none");
        assert_eq!((last.id, last.epoch), self.newest, "the last is known to be complete");
        assert_eq!(self.store.completed(), checkpoints.len(), "no copies are left");
        assert!(checkpoints.len() <= self.policy.retain);
        assert!(self.savepoints.is_empty(), "every request is served: {:?}", self.savepoints);
        if self.copied > 0 || self.folds > 0 || self.generation > Generation(1) {
            // What a copy held back, a fold made last, or a run that died had not acknowledged, is the sweep's.
            return;
        }
        let operators = checkpoints.values().flat_map(|metadata| &metadata.operators);
        let named = operators.flat_map(|operator| &operator.segments);
        let named: BTreeSet<&str> = named.map(|segment| segment.object.as_str()).collect();
        let there = self.store.objects.values().map(|(segment, _)| segment);
        // After a stop some may seal an epoch that no checkpoint follows.
        let there = there.filter(|segment| segment.epoch <= last.epoch);
        assert_eq!(named, there.map(|segment| segment.object.as_str()).collect(), "no garbage");
    }
}

/// One run, which dies or comes to its end.
fn simulate(store: &mut Store, generation: u64, tape: &[u32], dies: bool) {
    let (setup, tape) = tape.split_first().unwrap_or((&0, &[]));
    let mut run = Run::begin(store, generation, *setup);
    for step in tape {
        run.step(*step);
    }
    if dies {
        // Of a write that was under way nobody knows.
        if let Some(metadata) = run.writing.take().filter(|_| setup.is_multiple_of(2)) {
            run.store.checkpoints.entry(metadata.id).or_insert(metadata);
        }
        return;
    }
    run.finish();
    if run.end == Some(End::Finished) {
        run.check_end();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_checkpoint_reads_as_the_state_at_its_epoch(
        runs in vec(vec(any::<u32>(), 0..1000), 1..4),
    ) {
        let mut store = Store::default();
        for (at, tape) in runs.iter().enumerate() {
            simulate(&mut store, at as u64 + 1, tape, at + 1 < runs.len());
        }
    }
}
