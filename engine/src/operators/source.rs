//! The operator that reads splits: emits within the budget, and records offsets at each epoch's
//! end.
//!
//! ```text
//!   begin ----(no path)----+
//!                          v
//!                      [ Source ] --data--> ...
//!                          | --exhausted--> the clock: nothing more will come
//!                          +--acks-->       offsets
//! ```
//!
//! It keeps its data capability until `begin` ends, even when all its splits are finished: so the
//! data of all sources ends in one epoch, the last, and what operators do at the end of their
//! input is in one checkpoint or in none.

use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::dataflow::{Closed, Participant, Signal};
use highwater_checkpoint::metadata::{SplitMetadata, StateSchema};
use highwater_checkpoint::pacing::STEP_BYTES_MAX;
use highwater_checkpoint::planted::{self, Bug};
use highwater_checkpoint::{BoxError, Moment};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;
use timely::scheduling::Activator;

use crate::error::Error;
use crate::job::Shared;
use crate::metrics::ProgressCell;
use crate::source::{NamedSplit, Progress, ReadLimit, ReadStatus, Source, SplitReader};
use crate::stream::{Flow, Output};

/// Bytes of records in a batch: what timely's own containers hold, and what stays in the cache.
const BATCH_BYTES: usize = 8 << 10;

/// Batches emitted in one scheduling, so that other operators get their turn.
const BATCHES_AT_ONCE: usize = 32;

pub(crate) fn source<'scope, S: Source>(
    flow: &Flow<'scope>,
    uid: &str,
    source: S,
) -> StreamVec<'scope, Moment, S::Item> {
    let source = Arc::new(source);
    discover_at_setup(flow, uid, &source);

    let checkpoints = flow.checkpoints();
    let mut builder = OperatorBuilder::new(format!("Source {uid}"), flow.scope());
    let (output, data) = builder.new_output_connection::<Vec<S::Item>, _>([]);
    let (exhausted_output, exhausted) = builder.new_output_connection::<Vec<Signal>, _>([]);
    let mut begin = builder.new_input_connection(checkpoints.begin(), Pipeline, []);
    builder.set_notify_for(0, FrontierInterest::Always);
    let schema = StateSchema::source::<S::Split, S::Offset>();
    let joined = checkpoints.join(&mut builder, uid, schema);
    checkpoints.ends_with(exhausted);
    let activator = flow.scope().activator_for(builder.operator_info().address);
    let shared = Arc::clone(flow.shared());
    let (worker, workers) = (flow.scope().index(), flow.scope().peers());
    builder.build_reschedule(move |mut capabilities| {
        let participant = joined.participant(&capabilities);
        let exhausted = capabilities.swap_remove(1);
        let mut reading = Reading {
            source,
            participant,
            splits: None,
            turn: 0,
            data: Some(capabilities.swap_remove(0)),
            exhausted: Some(exhausted),
            records_left: 0,
            bytes_left: 0,
            progress: shared.metrics.progress_cell(),
            shared: Arc::clone(&shared),
            place: (worker, workers),
        };
        let (mut output, mut batch) = (Output::from(output), Vec::new());
        move |frontiers| {
            let _exhausted_output = &exhausted_output;
            begin.for_each(|_, _| {});
            let control = shared.run.control();
            if control.has_failed() {
                return false;
            }
            let advanced = reading
                .follow(frontiers[0].frontier().iter().min().copied())
                .and_then(|()| reading.read(&mut output, &mut batch, &activator))
                .and_then(|()| reading.participant.acknowledge().map(drop));
            if let Err(error) = advanced {
                let uid = reading.participant.uid().to_owned();
                control.fail(Error::Source { uid, error });
            }
            !reading.participant.is_done() && !control.is_over()
        }
    });
    data
}

/// Decides, once and on worker 0, which splits there are.
fn discover_at_setup<S: Source>(flow: &Flow<'_>, uid: &str, source: &Arc<S>) {
    if flow.scope().index() != 0 {
        return;
    }
    let (source, uid, shared) = (Arc::clone(source), uid.to_owned(), Arc::clone(flow.shared()));
    flow.setup(move || {
        let failed = |error: BoxError| Error::Source { uid: uid.clone(), error };
        let restored = shared.run.start().operators.iter().find(|state| state.uid == uid);
        let mut all = restored.map(|state| state.splits.clone()).unwrap_or_default();
        let known = all.iter().map(named::<S>).collect::<std::result::Result<Vec<_>, _>>();
        let found = source.discover(&known.map_err(failed)?).map_err(failed)?;
        for NamedSplit { id, split } in found {
            if all.iter().any(|known| known.id == id) {
                return Err(failed(format!("two splits have the id {id:?}").into()));
            }
            let split = serde_json::to_value(&split).map_err(|error| failed(error.into()))?;
            all.push(SplitMetadata { id, split, offset: None, finished: false });
        }
        shared.assign(&uid, all);
        Ok(())
    });
}

fn named<S: Source>(split: &SplitMetadata) -> std::result::Result<NamedSplit<S::Split>, BoxError> {
    let id = split.id.clone();
    Ok(NamedSplit { id, split: serde_json::from_value(split.split.clone())? })
}

/// A split and how far it is read.
struct Split<S: Source> {
    metadata: SplitMetadata,
    /// None until its turn comes, and when it is finished.
    reader: Option<S::Reader>,
    bytes_seen: u64,
    skipped_seen: u64,
    /// Of a split that is finished, and before it was opened.
    progress: Option<Progress>,
}

struct Reading<S: Source> {
    source: Arc<S>,
    participant: Participant<Moment>,
    /// None until the first epoch begins: before that nobody knows them.
    splits: Option<Vec<Split<S>>>,
    turn: usize,
    data: Option<Capability<Moment>>,
    exhausted: Option<Capability<Moment>>,
    records_left: usize,
    bytes_left: usize,
    progress: Arc<ProgressCell>,
    shared: Arc<Shared>,
    /// The worker, of how many.
    place: (usize, usize),
}

impl<S: Source> Reading<S> {
    /// Follows `begin` to where its frontier is now; none is the end of the run.
    fn follow(&mut self, begun: Option<Moment>) -> std::result::Result<(), BoxError> {
        if self.data.is_none() {
            return Ok(());
        }
        if begun.is_some_and(|begun| begun.tick.epoch() < self.participant.running()) {
            return Ok(()); // The run has not begun.
        }
        if self.splits.is_none() {
            self.splits = Some(self.assigned());
        }
        let emits_in = self.data.as_ref().map(|data| data.time().tick.epoch());
        let is_next = begun.is_some_and(|begun| Some(begun.tick.epoch()) > emits_in);
        while !(is_next && planted::is(Bug::RecordsOffsetsLate)) {
            let epoch = begun.map(|begun| begun.tick.epoch());
            let closed = self.participant.next_epoch(epoch, None);
            if closed == Closed::No {
                break;
            }
            let splits = self.splits.iter().flatten().map(Split::snapshot);
            let splits = splits.collect::<std::result::Result<Vec<_>, _>>()?;
            let state = self.participant.state(|state| state.splits = splits);
            self.participant.seal(closed, 0, async move { Ok(state) });
            if matches!(closed, Closed::Last(_)) {
                (self.data, self.exhausted) = (None, None);
                return Ok(());
            }
        }
        if let (Some(begun), Some(data)) = (begun, &mut self.data)
            && begun != *data.time()
        {
            data.downgrade(&begun);
            self.records_left = self.shared.run.control().budget();
            self.bytes_left = STEP_BYTES_MAX;
        }
        Ok(())
    }

    fn assigned(&self) -> Vec<Split<S>> {
        let (worker, workers) = self.place;
        let all = self.shared.assignment(self.participant.uid());
        let mine = all.into_iter().enumerate().filter(|(at, _)| at % workers == worker);
        mine.map(|(_, metadata)| Split {
            metadata,
            reader: None,
            bytes_seen: 0,
            skipped_seen: 0,
            progress: None,
        })
        .collect()
    }

    /// Emits what the budget allows and the splits have.
    fn read(
        &mut self,
        output: &mut Output<S::Item>,
        batch: &mut Vec<S::Item>,
        activator: &Activator,
    ) -> std::result::Result<(), BoxError> {
        let control = self.shared.run.control();
        let (Some(splits), Some(data)) = (&mut self.splits, &self.data) else { return Ok(()) };
        if !control.may_emit(data.time().tick.epoch()) || control.is_stopping() {
            return Ok(());
        }
        let batch_records = (BATCH_BYTES / size_of::<S::Item>().max(1)).clamp(16, 1024);
        let mut idle: Option<Duration> = None;
        let mut idle_splits = 0;
        for _ in 0..BATCHES_AT_ONCE {
            let unfinished = splits.iter().filter(|split| !split.metadata.finished).count();
            if unfinished == 0 {
                self.exhausted = None;
                break;
            }
            if idle_splits >= unfinished {
                activator.activate_after(idle.unwrap_or(super::SOON));
                break;
            }
            if self.records_left == 0 || self.bytes_left == 0 {
                // The next step, by `begin`, brings a new budget.
                control.budget_used_up();
                break;
            }
            let split = next_unfinished(splits, &mut self.turn);
            let limit =
                ReadLimit { records: batch_records.min(self.records_left), bytes: self.bytes_left };
            let (status, bytes, skipped) = split.read(&*self.source, limit, batch)?;
            self.shared.metrics.read(batch.len() as u64, bytes, skipped);
            let taken = (bytes as usize).max(batch.len() * size_of::<S::Item>());
            self.records_left = self.records_left.saturating_sub(batch.len());
            self.bytes_left = self.bytes_left.saturating_sub(taken);
            if !batch.is_empty() {
                control.emitted();
                output.activate().session(data).give_container(batch);
                batch.clear();
            }
            match status {
                ReadStatus::Ready => idle_splits = 0,
                ReadStatus::Finished => split.finish()?,
                ReadStatus::Idle { retry_after } => {
                    idle_splits += 1;
                    idle = Some(idle.map_or(retry_after, |idle| idle.min(retry_after)));
                    self.turn += 1;
                }
            }
        }
        let has_more = idle_splits == 0 && splits.iter().any(|split| !split.metadata.finished);
        if has_more && self.records_left > 0 && self.bytes_left > 0 {
            activator.activate();
        }
        self.progress.set(splits.iter().map(Split::progress).try_fold(
            Progress::default(),
            |sum, progress| {
                let Progress { done, total } = progress?;
                Some(Progress { done: sum.done + done, total: sum.total + total })
            },
        ));
        Ok(())
    }
}

/// The split at `turn`, or the next one after it that has more.
fn next_unfinished<'a, S: Source>(
    splits: &'a mut [Split<S>],
    turn: &mut usize,
) -> &'a mut Split<S> {
    let count = splits.len();
    while splits[*turn % count].metadata.finished {
        *turn += 1;
    }
    *turn %= count;
    &mut splits[*turn]
}

impl<S: Source> Split<S> {
    /// Reads on, opening the split if it was not; returns bytes read and records skipped as well.
    fn read(
        &mut self,
        source: &S,
        limit: ReadLimit,
        batch: &mut Vec<S::Item>,
    ) -> std::result::Result<(ReadStatus, u64, u64), BoxError> {
        let reader = if let Some(reader) = &mut self.reader {
            reader
        } else {
            let split = serde_json::from_value(self.metadata.split.clone())?;
            let offset = self.metadata.offset.clone().map(serde_json::from_value).transpose()?;
            self.reader.insert(source.open(&split, offset)?)
        };
        let status = reader.read(limit, batch)?;
        let (bytes, skipped) = (reader.bytes_read(), reader.skipped());
        let new = (bytes - self.bytes_seen, skipped - self.skipped_seen);
        (self.bytes_seen, self.skipped_seen) = (bytes, skipped);
        Ok((status, new.0, new.1))
    }

    /// Closes a split that is read to its end.
    fn finish(&mut self) -> std::result::Result<(), BoxError> {
        self.progress = self.progress();
        self.metadata = self.snapshot()?;
        self.metadata.finished = true;
        self.reader = None;
        Ok(())
    }

    fn snapshot(&self) -> std::result::Result<SplitMetadata, BoxError> {
        let mut metadata = self.metadata.clone();
        if let Some(reader) = &self.reader {
            metadata.offset = Some(serde_json::to_value(reader.offset())?);
        }
        Ok(metadata)
    }

    fn progress(&self) -> Option<Progress> {
        match &self.reader {
            Some(reader) => reader.progress(),
            // Finished before this run began: nothing of it is to be read.
            None if self.metadata.finished => Some(self.progress.unwrap_or_default()),
            None => self.progress,
        }
    }
}
