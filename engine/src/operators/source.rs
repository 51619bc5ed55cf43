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
//! Its data capability has two coordinates: the step, by `begin`, and the event time, by the least of
//! its splits' watermarks (`event_time/`).
//!
//! It keeps its data capability until `begin` ends, even when all its splits are finished: so the
//! data of all sources ends in one epoch, the last, and what operators do at the end of their
//! input is in one checkpoint or in none.

use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::dataflow::{Closed, Participant, Signal, Wakeup};
use highwater_checkpoint::metadata::{SplitMetadata, StateSchema};
use highwater_checkpoint::pacing::STEP_BYTES_MAX;
use highwater_checkpoint::planted::{self, Bug};
use highwater_checkpoint::{BoxError, EventTime, Moment};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

use super::split::Split;
use crate::error::Error;
use crate::event_time::{Standing, Watermarks};
use crate::job::Shared;
use crate::metrics::ProgressCell;
use crate::source::{NamedSplit, Progress, ReadLimit, ReadStatus, Source};
use crate::stream::{Flow, Output};

/// Bytes of records in a batch, unless it has as many as are worth the trouble: large records in batches
/// as small as timely's own cost more to hand on than to work on.
const BATCH_BYTES: usize = 32 << 10;

/// Records of a batch, at most.
const BATCH_RECORDS_MAX: usize = 1024;

/// Bytes of records that are emitted in one scheduling: other operators get their turn while they are in
/// the cache. With a quarter as much a keyed count is a third slower: each is also a round of messages
/// between workers.
const BYTES_AT_ONCE: usize = 256 << 10;

/// Batches of one scheduling, at most, however small the records are.
const BATCHES_MAX: usize = 32;

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
            watermarks: source.watermarks(),
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
            now_ms: 0,
            slowest: None,
        };
        let timed = reading.watermarks.is_some();
        let standing = if timed { Standing::At(EventTime::MIN) } else { Standing::Untimed };
        shared.event_time.note(reading.participant.uid(), worker, standing);
        let (mut output, mut batch) = (Output::from(output), Vec::new());
        let mut wakeup = Wakeup::new(activator, Arc::clone(&shared.run));
        move |frontiers| {
            let _exhausted_output = &exhausted_output;
            begin.for_each(|_, _| {});
            let control = shared.run.control();
            if control.has_failed() {
                return false;
            }
            reading.now_ms = shared.run.now_ms();
            let advanced = reading
                .follow(frontiers[0].frontier().iter().min().copied())
                .and_then(|()| reading.read(&mut output, &mut batch, &mut wakeup))
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
            all.push(SplitMetadata { id, split, offset: None, finished: false, watermark: None });
        }
        shared.assign(&uid, all);
        Ok(())
    });
}

fn named<S: Source>(split: &SplitMetadata) -> std::result::Result<NamedSplit<S::Split>, BoxError> {
    let id = split.id.clone();
    Ok(NamedSplit { id, split: serde_json::from_value(split.split.clone())? })
}

struct Reading<S: Source> {
    source: Arc<S>,
    /// None if records have no event times.
    watermarks: Option<Watermarks<S::Item>>,
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
    /// As read when the operator was scheduled.
    now_ms: u64,
    /// The split that is furthest behind on all workers, if that matters.
    slowest: Option<EventTime>,
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
            && begun.tick != data.time().tick
        {
            data.downgrade(&Moment { tick: begun.tick, event: data.time().event });
            self.records_left = self.shared.run.control().budget();
            self.bytes_left = STEP_BYTES_MAX;
        }
        Ok(())
    }

    fn assigned(&self) -> Vec<Split<S>> {
        let (worker, workers) = self.place;
        let all = self.shared.assignment(self.participant.uid());
        let mine = all.into_iter().enumerate().filter(|(at, _)| at % workers == worker);
        let now_ms = self.shared.run.now_ms();
        mine.map(|(_, metadata)| Split::new(metadata, now_ms)).collect()
    }

    /// Emits what the budget allows and the splits have.
    fn read(
        &mut self,
        output: &mut Output<S::Item>,
        batch: &mut Vec<S::Item>,
        wakeup: &mut Wakeup,
    ) -> std::result::Result<(), BoxError> {
        let control = self.shared.run.control();
        let (Some(splits), Some(data)) = (&mut self.splits, &self.data) else { return Ok(()) };
        if !control.may_emit(data.time().tick.epoch()) || control.is_stopping() {
            return Ok(());
        }
        let record_bytes = size_of::<S::Item>().max(1);
        let batch_records = (BATCH_BYTES / record_bytes).clamp(16, BATCH_RECORDS_MAX);
        let batches = BYTES_AT_ONCE.div_ceil(batch_records * record_bytes).min(BATCHES_MAX);
        for split in splits.iter_mut() {
            split.is_waiting = false;
        }
        let mut wake: Option<Duration> = None;
        for _ in 0..batches {
            if splits.iter().all(|split| split.metadata.finished) {
                self.exhausted = None;
                break;
            }
            if self.records_left == 0 || self.bytes_left == 0 {
                // The next step, by `begin`, brings a new budget.
                control.budget_used_up();
                break;
            }
            let Some(split) = next(splits, &mut self.turn, self.watermarks.is_some()) else {
                break;
            };
            if self.watermarks.as_ref().is_some_and(|w| is_ahead(w, split, self.slowest)) {
                (split.is_waiting, wake) = (true, Some(super::SOON));
                continue;
            }
            let limit =
                ReadLimit { records: batch_records.min(self.records_left), bytes: self.bytes_left };
            let (status, bytes, skipped) = split.read(&*self.source, limit, batch)?;
            self.shared.metrics.read(batch.len() as u64, bytes, skipped);
            let taken = (bytes as usize).max(batch.len() * size_of::<S::Item>());
            self.records_left = self.records_left.saturating_sub(batch.len());
            self.bytes_left = self.bytes_left.saturating_sub(taken);
            if !batch.is_empty() {
                if let Some(watermarks) = &self.watermarks {
                    split.watermark.observe(watermarks.observe(batch), self.now_ms);
                }
                control.emitted();
                output.activate().session(data).give_container(batch);
                batch.clear();
            }
            match status {
                ReadStatus::Ready => {}
                ReadStatus::Finished => split.finish()?,
                ReadStatus::Idle { retry_after } => {
                    split.is_waiting = true;
                    wake = Some(wake.map_or(retry_after, |wake| wake.min(retry_after)));
                    self.turn += 1;
                }
            }
        }
        if splits.iter().any(Split::is_ready) {
            if self.records_left > 0 && self.bytes_left > 0 {
                wakeup.now();
            }
        } else if let Some(wake) = wake {
            wakeup.after(wake);
        }
        self.progress.set(splits.iter().map(Split::progress).try_fold(
            Progress::default(),
            |sum, progress| {
                let Progress { done, total } = progress?;
                Some(Progress { done: sum.done + done, total: sum.total + total })
            },
        ));
        self.advance_event_time();
        Ok(())
    }

    /// Lets event time go on to where the splits are, or, with nothing to say, to where others are.
    fn advance_event_time(&mut self) {
        let (Some(splits), Some(data)) = (&self.splits, &mut self.data) else { return };
        let board = &self.shared.event_time;
        let standing = match &self.watermarks {
            None => Standing::Untimed,
            Some(watermarks) => standing(splits, watermarks, self.now_ms),
        };
        board.note(self.participant.uid(), self.place.0, standing);
        let event = match standing {
            Standing::At(at) => Some(at),
            Standing::Idle(_) | Standing::Finished(_) | Standing::Untimed => board.of_others(),
        };
        if self.watermarks.as_ref().is_some_and(|watermarks| watermarks.drift_max.is_some()) {
            self.slowest = board.of_source(self.participant.uid());
        }
        let Moment { tick, event: old } = *data.time();
        if let Some(event) = event.filter(|event| *event > old) {
            data.downgrade(&Moment { tick, event });
        }
    }
}

/// The split to read next: that which is furthest behind in event time, or where there is none, one
/// after the other. None if all wait.
fn next<'a, S: Source>(
    splits: &'a mut [Split<S>],
    turn: &mut usize,
    has_event_time: bool,
) -> Option<&'a mut Split<S>> {
    if has_event_time {
        let ready = splits.iter_mut().filter(|split| split.is_ready());
        return ready.min_by_key(|split| split.watermark.or_min());
    }
    let count = splits.len();
    let at = (0..count).map(|ahead| (*turn + ahead) % count).find(|at| splits[*at].is_ready())?;
    *turn = at;
    Some(&mut splits[at])
}

/// Whether a split is further ahead of the slowest than it may be.
fn is_ahead<S: Source>(
    watermarks: &Watermarks<S::Item>,
    split: &Split<S>,
    slowest: Option<EventTime>,
) -> bool {
    let latest = watermarks.drift_max.zip(slowest).map(|(drift, at)| at.saturating_add(drift));
    latest.is_some_and(|latest| split.watermark.or_min() > latest)
}

fn standing<S: Source>(
    splits: &[Split<S>],
    watermarks: &Watermarks<S::Item>,
    now_ms: u64,
) -> Standing {
    let furthest = splits.iter().map(|split| split.watermark.or_min()).max();
    let furthest = furthest.unwrap_or(EventTime::MIN);
    let mut unfinished = splits.iter().filter(|split| !split.metadata.finished).peekable();
    if unfinished.peek().is_none() {
        return Standing::Finished(furthest);
    }
    let pause = watermarks.idle_after;
    let awaited = unfinished.filter(|split| !split.watermark.is_idle(pause, now_ms));
    let slowest = awaited.map(|split| split.watermark.or_min()).min();
    slowest.map_or(Standing::Idle(furthest), Standing::At)
}
