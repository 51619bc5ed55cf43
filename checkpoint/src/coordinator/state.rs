//! The coordinator's state and its one transition function.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::savepoints::Savepoints;
use super::{Action, Cause, Event};
use crate::metadata::{
    Acknowledgement, CheckpointId, CheckpointMetadata, FORMAT_VERSION, Generation,
    OperatorStateMetadata, Origin, SegmentKind, SegmentMetadata, StateSchema, live_segments,
};
use crate::policy::{CheckpointPolicy, ms};
use crate::state::StateDigest;
use crate::time::{Epoch, EventTime};

/// What does not change during a run.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    /// Name of the job.
    pub job: String,
    /// This run.
    pub generation: Generation,
    /// Number of workers.
    pub workers: usize,
    /// Number of key groups.
    pub key_groups: u16,
    /// When checkpoints are taken, how many are kept, and how many may fail.
    pub policy: CheckpointPolicy,
}

/// Where a run starts from.
#[derive(Clone, Debug)]
pub struct Start {
    /// The checkpoint that the run wrote when it began.
    pub checkpoint: CheckpointMetadata,
    /// Older checkpoints that are still there, oldest first.
    pub retained: Vec<CheckpointMetadata>,
    /// Operators of `checkpoint` that the program lacks, and whose state is dropped.
    pub dropped: BTreeSet<String>,
    /// When the run began, milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// Fold when what a restore reads of an operator is more than this many times its live state: what
/// a fold writes is then at most what was written since the fold before...
const FOLD_ABOVE_LIVE: u64 = 2;
/// ... or when there are more of them than this for each worker, however small.
const FOLD_SEGMENTS_PER_WORKER: usize = 16;

/// How many different metadata are tried under one id before the last is tried on: each is held
/// until the id is settled, and the store may stay away for days.
const UNSETTLED_MAX: usize = 8;

/// How many epochs that took too long may be waited for before no further one begins: their
/// changes are in memory until they are durable, and the store may stay away for days.
const LATE_MAX: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Coordinator {
    config: CoordinatorConfig,
    phase: Phase,
    /// The running epoch.
    epoch: Epoch,
    began_ms: u64,
    last_closed: Epoch,
    /// The last that was said of time.
    now_ms: u64,
    /// When the last checkpoint was complete or had failed.
    ended_ms: Option<u64>,
    /// Checkpoints that have failed since the last that was complete.
    failures: u32,
    /// Epochs that were closed and are not complete, with when and why. One that is late stays here
    /// until one that is not is durable as well.
    closed: VecDeque<Closed>,
    /// Acknowledgements of epochs that are not closed and durable yet.
    waiting: BTreeMap<Epoch, Vec<Acknowledgement>>,
    /// Every snapshot of every epoch before this one is durable; all epochs, if none.
    durable_before: Option<Epoch>,
    operators: BTreeMap<String, Operator>,
    /// What is durable and in no checkpoint: the newest such epoch.
    durable: Option<Closed>,
    writing: Option<CheckpointMetadata>,
    /// What is being written has taken too long.
    is_write_late: bool,
    /// What was tried under `next_id` before: any one of these may be there.
    unsettled: Vec<CheckpointMetadata>,
    next_id: CheckpointId,
    /// Complete checkpoints, oldest first, never none.
    retained: VecDeque<CheckpointMetadata>,
    bytes_since_checkpoint: u64,
    folded_since_checkpoint: u64,
    /// Every segment object that was durable in this run or named when it began, and was not
    /// deleted yet.
    known: BTreeSet<String>,
    savepoints: Savepoints,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// The last epoch is closed; its checkpoint is what the job waits for.
    Closing,
    Finished,
    Abandoned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Closed {
    epoch: Epoch,
    at_ms: u64,
    durable_ms: u64,
    origin: Origin,
    /// It has taken too long, which was said.
    is_late: bool,
}

#[derive(Debug, Default)]
struct Operator {
    schema: StateSchema,
    segments: Vec<SegmentMetadata>,
    /// Live entries, as the checkpoint says that the run began with.
    entries: Option<u64>,
    /// That of the live entries, likewise.
    digest: Option<StateDigest>,
    /// The watermark that all workers had acted on then; it only grows.
    watermark: Option<EventTime>,
    /// Splits, committables and items as each worker last said.
    by_worker: BTreeMap<usize, OperatorStateMetadata>,
    folding: BTreeSet<String>,
}

impl Coordinator {
    /// A coordinator whose first epoch follows that of `start`.
    pub fn new(config: CoordinatorConfig, start: Start) -> Coordinator {
        let now_ms = start.now_ms;
        let claimed =
            start.checkpoint.operators.iter().filter(|state| !start.dropped.contains(&state.uid));
        let operators = claimed.map(|state| {
            let operator = Operator {
                schema: state.schema.clone(),
                segments: state.segments.clone(),
                entries: state.entries,
                digest: state.digest,
                watermark: state.watermark,
                ..Operator::default()
            };
            (state.uid.clone(), operator)
        });
        let operators = operators.collect();
        let retained: VecDeque<_> = start.retained.into_iter().chain([start.checkpoint]).collect();
        let start = retained.back().expect("the start is retained");
        Coordinator {
            phase: Phase::Running,
            epoch: start.epoch.next(),
            began_ms: now_ms,
            last_closed: start.epoch,
            now_ms,
            ended_ms: None,
            failures: 0,
            closed: VecDeque::new(),
            waiting: BTreeMap::new(),
            durable_before: Some(start.epoch.next()),
            operators,
            durable: None,
            writing: None,
            is_write_late: false,
            unsettled: Vec::new(),
            next_id: CheckpointId(start.id.0 + 1),
            bytes_since_checkpoint: 0,
            folded_since_checkpoint: 0,
            known: retained.iter().flat_map(objects).map(str::to_owned).collect(),
            retained,
            savepoints: Savepoints::default(),
            config,
        }
    }

    /// The running epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether no further epoch will begin.
    pub fn is_closing(&self) -> bool {
        self.phase != Phase::Running
    }

    /// When the running epoch should end; none if only the end of the job ends it, or while as many
    /// as may be are not complete.
    pub fn next_begin_ms(&self) -> Option<u64> {
        let policy = &self.config.policy;
        let is_pinned = self.writing.is_some() && self.unsettled.len() >= UNSETTLED_MAX;
        let late = self.closed.iter().filter(|closed| closed.is_late && !self.is_durable(closed));
        let may_begin = self.phase == Phase::Running
            && self.under_way() < policy.max_concurrent
            && late.count() < LATE_MAX
            && !is_pinned;
        let due = self.began_ms.saturating_add(ms(policy.interval));
        let rested = self.ended_ms.map_or(0, |ended| ended.saturating_add(ms(policy.min_pause)));
        may_begin.then_some(due.max(rested))
    }

    /// C5: epochs that are closed and neither complete nor failed.
    fn under_way(&self) -> usize {
        let closed = self.closed.iter().chain(&self.durable).filter(|closed| !closed.is_late);
        closed.count() + usize::from(self.writing.is_some() && !self.is_write_late)
    }

    fn is_durable(&self, closed: &Closed) -> bool {
        self.durable_before.is_none_or(|before| closed.epoch < before)
    }

    /// Takes in what happened and says what to do.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        if matches!(self.phase, Phase::Abandoned | Phase::Finished) {
            return Vec::new();
        }
        match event {
            Event::Time { now_ms } => self.time(now_ms),
            Event::StopRequested { now_ms } if self.phase == Phase::Running => {
                let actions = self.begin(now_ms, Origin::Stop);
                self.phase = Phase::Closing;
                actions
            }
            Event::InputEnded { now_ms } if self.phase == Phase::Running => {
                self.end(now_ms, Origin::EndOfInput)
            }
            Event::DrainRequested { now_ms } if self.phase == Phase::Running => {
                self.end(now_ms, Origin::Drain)
            }
            Event::StopRequested { .. }
            | Event::InputEnded { .. }
            | Event::DrainRequested { .. } => Vec::new(),
            Event::SavepointRequested { request, now_ms } => {
                self.request_savepoint(request, now_ms)
            }
            Event::SavepointEnded { id } => {
                self.savepoints.ended(id);
                // What nothing else needs goes with the next checkpoint.
                Vec::new()
            }
            Event::Acknowledged(acknowledgement) => {
                self.waiting.entry(acknowledgement.epoch).or_default().push(*acknowledgement);
                Vec::new()
            }
            Event::Durable { before, now_ms } => {
                self.durable_before = before;
                self.settle(now_ms)
            }
            Event::Written { id, epoch } => self.written(id, epoch),
            Event::NotWritten { reason } => self.not_written(reason),
            Event::Fenced { newer } => {
                self.phase = Phase::Abandoned;
                vec![Action::Abandon { newer }]
            }
            Event::Folded { uid, replaced, with } => self.folded(&uid, &replaced, with),
        }
    }

    fn time(&mut self, now_ms: u64) -> Vec<Action> {
        self.now_ms = self.now_ms.max(now_ms);
        let mut actions = self.expire();
        if self.next_begin_ms().is_some_and(|due| self.now_ms >= due) {
            actions.extend(self.begin(now_ms, Origin::Interval));
        }
        actions
    }

    /// Counts what has taken too long as failed; it goes into a later checkpoint. Not asked once the
    /// last epoch is closed: nothing would take that in.
    fn expire(&mut self) -> Vec<Action> {
        if self.phase != Phase::Running {
            return Vec::new();
        }
        let (now_ms, timeout_ms) = (self.now_ms, ms(self.config.policy.timeout));
        let is_over = |at_ms: u64| at_ms.saturating_add(timeout_ms) <= now_ms;
        let mut late = Vec::new();
        if let Some(metadata) = self.writing.as_ref().filter(|_| !self.is_write_late)
            && is_over(metadata.started_ms)
        {
            late.push((metadata.epoch, true));
            self.is_write_late = true;
        }
        let before = self.durable_before;
        for closed in self.durable.iter_mut().chain(&mut self.closed) {
            if !closed.is_late && is_over(closed.at_ms) {
                closed.is_late = true;
                late.push((closed.epoch, before.is_none_or(|before| closed.epoch < before)));
            }
        }
        let failed = late.into_iter().flat_map(|(epoch, is_durable)| {
            self.failed(epoch, Cause::Timeout { timeout_ms, is_durable })
        });
        failed.collect()
    }

    /// Counts a failure, and gives up when there are too many; not of the last checkpoint.
    fn failed(&mut self, epoch: Epoch, cause: Cause) -> Vec<Action> {
        let failed = Action::Failed { epoch, cause: cause.clone() };
        match self.phase {
            Phase::Running => {}
            Phase::Closing => return vec![failed],
            Phase::Finished | Phase::Abandoned => return Vec::new(),
        }
        self.ended_ms = Some(self.now_ms);
        self.failures += 1;
        if self.failures <= self.config.policy.tolerable_failures {
            return vec![failed];
        }
        self.phase = Phase::Abandoned;
        vec![failed, Action::GiveUp { failures: self.failures, cause }]
    }

    fn close(&mut self, at_ms: u64, origin: Origin) {
        self.last_closed = self.epoch;
        let closed = Closed { epoch: self.epoch, at_ms, durable_ms: at_ms, origin, is_late: false };
        self.closed.push_back(closed);
    }

    fn begin(&mut self, now_ms: u64, origin: Origin) -> Vec<Action> {
        self.close(now_ms, origin);
        self.epoch = self.epoch.next();
        self.began_ms = now_ms;
        let mut actions = vec![Action::Begin(self.epoch)];
        actions.extend(self.settle(now_ms));
        actions
    }

    /// Ends the last epoch, and with it the input.
    fn end(&mut self, now_ms: u64, origin: Origin) -> Vec<Action> {
        self.close(now_ms, origin);
        self.phase = Phase::Closing;
        let mut actions = vec![Action::End];
        actions.extend(self.settle(now_ms));
        actions
    }

    fn request_savepoint(&mut self, request: u64, now_ms: u64) -> Vec<Action> {
        // Once the last epoch is closed its checkpoint is what there is to take, and is not
        // complete: the phase would be another.
        let is_running = self.phase == Phase::Running;
        let epoch = if is_running { self.epoch } else { self.last_closed };
        self.savepoints.request(request, epoch);
        if is_running { self.begin(now_ms, Origin::Savepoint) } else { Vec::new() }
    }

    /// Takes up what is both closed and durable, in whichever order it became so: where no operator
    /// waits for the clock, the acknowledgements' frontier may be ahead of it for good.
    fn settle(&mut self, now_ms: u64) -> Vec<Action> {
        self.now_ms = self.now_ms.max(now_ms);
        let durable = self.closed.iter().take_while(|closed| self.is_durable(closed));
        // One that is late has failed: it waits for the next one, to be part of that.
        let in_time = durable.enumerate().filter(|(_, closed)| !closed.is_late);
        let count = in_time.last().map_or(0, |(at, _)| at + 1);
        for closed in self.closed.drain(..count).collect::<Vec<_>>() {
            self.durable = Some(Closed { durable_ms: now_ms, ..closed });
            let later = self.waiting.split_off(&closed.epoch.next());
            let now = std::mem::replace(&mut self.waiting, later);
            now.into_values().flatten().for_each(|acknowledgement| self.apply(acknowledgement));
        }
        self.write_next()
    }

    fn apply(&mut self, acknowledgement: Acknowledgement) {
        let state = acknowledgement.state;
        let operator = self.operators.entry(state.uid.clone()).or_default();
        operator.schema = state.schema.clone();
        self.bytes_since_checkpoint += state.segments.iter().map(|s| s.bytes).sum::<u64>();
        self.known.extend(state.segments.iter().map(|segment| segment.object.clone()));
        operator.segments.extend(state.segments.iter().cloned());
        let rest = OperatorStateMetadata { segments: Vec::new(), ..state };
        operator.by_worker.insert(acknowledgement.worker, rest);
    }

    /// C2: writes the newest durable epoch unless a write is under way.
    fn write_next(&mut self) -> Vec<Action> {
        if self.writing.is_some() {
            return Vec::new();
        }
        let Some(closed) = self.durable.take() else { return Vec::new() };
        let metadata = self.metadata(closed);
        self.is_write_late = closed.is_late;
        self.writing = Some(metadata.clone());
        vec![Action::Write(Box::new(metadata))]
    }

    fn metadata(&mut self, closed: Closed) -> CheckpointMetadata {
        let workers = self.config.workers;
        let operators: Vec<_> = self
            .operators
            .iter_mut()
            .map(|(uid, operator)| operator.metadata(uid, workers))
            .collect();
        let segments = operators.iter().flat_map(|operator| &operator.segments);
        CheckpointMetadata {
            format: FORMAT_VERSION,
            job: self.config.job.clone(),
            id: self.next_id,
            epoch: closed.epoch,
            generation: self.config.generation,
            origin: closed.origin,
            input_ended: closed.origin == Origin::EndOfInput,
            workers: self.config.workers,
            key_groups: self.config.key_groups,
            started_ms: closed.at_ms,
            completed_ms: closed.durable_ms,
            duration_ms: closed.durable_ms.saturating_sub(closed.at_ms),
            bytes_written: self.bytes_since_checkpoint,
            bytes_folded: self.folded_since_checkpoint,
            bytes_total: segments.map(|segment| segment.bytes).sum(),
            operators,
            crc32: 0,
        }
    }

    fn written(&mut self, id: CheckpointId, epoch: Epoch) -> Vec<Action> {
        let Some(metadata) = self.writing.take() else { return Vec::new() };
        let newest = self.retained.back().map_or(Epoch(0), |newest| newest.epoch);
        assert!(id == self.next_id && epoch > newest, "C1: {id} of {epoch} after {newest}");
        self.next_id = CheckpointId(id.0 + 1);
        let earlier = std::mem::take(&mut self.unsettled);
        let complete = if epoch == metadata.epoch {
            metadata
        } else {
            // Our own earlier write had taken effect. What is newer follows under the next id.
            self.durable.get_or_insert(Closed {
                epoch: metadata.epoch,
                at_ms: metadata.started_ms,
                durable_ms: metadata.completed_ms,
                origin: metadata.origin,
                is_late: self.is_write_late,
            });
            let complete = earlier.into_iter().find(|metadata| metadata.epoch == epoch);
            complete.expect("what this run wrote under an id is what it tried under it")
        };
        (self.failures, self.ended_ms) = (0, Some(self.now_ms));
        self.bytes_since_checkpoint -= complete.bytes_written;
        self.folded_since_checkpoint -= complete.bytes_folded;
        let mut actions = vec![Action::Commit(epoch)];
        actions.extend(self.savepoints.completed(&complete));
        actions.extend(self.folds());
        actions.extend(self.retire(complete));
        actions.extend(self.write_next());
        let is_last = self.closed.is_empty() && self.writing.is_none();
        if self.phase == Phase::Closing && is_last {
            self.phase = Phase::Finished;
            actions.push(Action::Finish);
        }
        actions
    }

    fn not_written(&mut self, reason: String) -> Vec<Action> {
        let Some(metadata) = self.writing.take() else { return Vec::new() };
        let mut actions = Vec::new();
        // One that was late has been counted.
        if !std::mem::take(&mut self.is_write_late) {
            actions = self.failed(metadata.epoch, Cause::NotWritten { reason });
            if self.phase == Phase::Abandoned {
                return actions;
            }
        }
        let is_last = self.phase == Phase::Closing && self.durable.is_none();
        if is_last || self.unsettled.len() >= UNSETTLED_MAX {
            // No later checkpoint will make up for this one, or none should be tried any more.
            self.writing = Some(metadata.clone());
            actions.push(Action::Write(Box::new(metadata)));
            return actions;
        }
        self.unsettled.push(metadata);
        actions.extend(self.write_next());
        actions
    }

    /// Takes up a complete checkpoint, and deletes what is beyond the number retained and what
    /// nothing needs any more.
    fn retire(&mut self, metadata: CheckpointMetadata) -> Option<Action> {
        // What a run writes when it begins is a copy: with a newer one it only takes up a place.
        let (copies, mut kept): (VecDeque<_>, VecDeque<_>) =
            self.retained.drain(..).partition(|metadata| metadata.origin.is_copy());
        kept.push_back(metadata);
        let excess = kept.len().saturating_sub(self.config.policy.retain.max(1));
        let checkpoints: Vec<_> =
            copies.into_iter().chain(kept.drain(..excess)).map(|m| m.id).collect();
        self.retained = kept;
        let needed = self.needed();
        let segments: Vec<_> =
            self.known.iter().filter(|object| !needed.contains(object.as_str())).cloned().collect();
        self.known.retain(|object| segments.binary_search(object).is_err());
        let is_nothing = checkpoints.is_empty() && segments.is_empty();
        (!is_nothing).then_some(Action::Delete { checkpoints, segments })
    }

    /// C3: every object that something may still read.
    fn needed(&self) -> BTreeSet<&str> {
        let running = self.operators.values().flat_map(|operator| {
            let current = operator.segments.iter().map(|segment| segment.object.as_str());
            current.chain(operator.folding.iter().map(String::as_str))
        });
        let retained = self.retained.iter().chain(&self.writing);
        let retained = retained.chain(self.savepoints.copying()).flat_map(objects);
        running.chain(retained).collect()
    }

    fn folds(&mut self) -> Vec<Action> {
        let config = &self.config;
        let fold = |(uid, operator): (&String, &mut Operator)| {
            let segments = operator.fold_candidates(config)?;
            operator.folding = segments.iter().map(|segment| segment.object.clone()).collect();
            Some(Action::Fold { uid: uid.clone(), segments })
        };
        self.operators.iter_mut().filter_map(fold).collect()
    }

    fn folded(
        &mut self,
        uid: &str,
        replaced: &[String],
        with: Option<Vec<SegmentMetadata>>,
    ) -> Vec<Action> {
        let Some(operator) = self.operators.get_mut(uid) else { return Vec::new() };
        operator.folding.clear();
        let Some(with) = with else { return Vec::new() };
        self.folded_since_checkpoint += with.iter().map(|segment| segment.bytes).sum::<u64>();
        self.known.extend(with.iter().map(|segment| segment.object.clone()));
        let gone: BTreeSet<&str> = replaced.iter().map(String::as_str).collect();
        // What was folded was the oldest part of the list, so its base goes to the front; newer
        // bases of single workers that came since still hide what they cover.
        let newer = operator.segments.drain(..).filter(|s| !gone.contains(s.object.as_str()));
        let segments: Vec<_> = with.into_iter().chain(newer).collect();
        operator.segments = live_segments(segments);
        // What was folded is deleted when the last checkpoint that names it is.
        Vec::new()
    }
}

impl Operator {
    /// Live entries of all workers; none if one has not said how many it has.
    fn entries(&self, workers: usize) -> Option<u64> {
        if self.by_worker.len() < workers {
            return self.entries;
        }
        self.by_worker.values().map(|state| state.entries).sum()
    }

    fn digest(&self, workers: usize) -> Option<StateDigest> {
        if self.by_worker.len() < workers {
            return self.digest;
        }
        self.by_worker.values().map(|state| state.digest).sum()
    }

    /// How far all workers have acted. A worker that has nothing of the next epoch in its stash may
    /// be ahead of one that has: to the other workers' records, which come again, its watermark does
    /// not apply.
    fn acted_on(&self, workers: usize) -> Option<EventTime> {
        if self.by_worker.len() < workers {
            return self.watermark;
        }
        self.by_worker.values().map(|state| state.watermark.max(self.watermark)).min()?
    }

    fn metadata(&mut self, uid: &str, workers: usize) -> OperatorStateMetadata {
        self.segments = live_segments(std::mem::take(&mut self.segments));
        OperatorStateMetadata {
            uid: uid.to_owned(),
            schema: self.schema.clone(),
            entries: self.entries(workers),
            segments: self.segments.clone(),
            digest: self.digest(workers),
            splits: self.by_worker.values().flat_map(|state| state.splits.clone()).collect(),
            committables: self
                .by_worker
                .values()
                .flat_map(|state| state.committables.clone())
                .collect(),
            items: self.by_worker.values().flat_map(|state| state.items.clone()).collect(),
            watermark: self.acted_on(workers),
        }
    }

    /// Everything, when a restore would read too much; one fold at a time.
    fn fold_candidates(&self, config: &CoordinatorConfig) -> Option<Vec<SegmentMetadata>> {
        let bytes: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        let is_heavy = bytes > config.policy.fold_bytes_min
            && bytes / FOLD_ABOVE_LIVE > self.live_bytes(config.workers)
            && self.segments.iter().any(|segment| segment.kind == SegmentKind::Delta);
        let is_long = self.segments.len() > FOLD_SEGMENTS_PER_WORKER * config.workers;
        (self.folding.is_empty() && (is_heavy || is_long)).then(|| self.segments.clone())
    }

    /// About what a fold would write.
    fn live_bytes(&self, workers: usize) -> u64 {
        let sum = |size: fn(&SegmentMetadata) -> u64| self.segments.iter().map(size).sum::<u64>();
        let Some(live) = self.entries(workers) else {
            return sum(|s| if s.kind == SegmentKind::Base { s.bytes } else { 0 });
        };
        // As many as are live, of the size that entries have. Tombstones are smaller than others, so
        // this is rather too little, and folds too early.
        let (bytes, entries) = (sum(|segment| segment.bytes), sum(|segment| segment.entries));
        (u128::from(bytes) * u128::from(live.min(entries)) / u128::from(entries.max(1))) as u64
    }
}

fn objects(metadata: &CheckpointMetadata) -> impl Iterator<Item = &str> {
    let segments = metadata.operators.iter().flat_map(|operator| &operator.segments);
    segments.map(|segment| segment.object.as_str())
}
