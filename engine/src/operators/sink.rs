//! The operator that writes: prepares at each epoch's end, commits when the checkpoint is complete.
//!
//! ```text
//!   data ------> [ Sink ] --done--> the tail, by which the clock paces
//!   committed -(no path)-^  +--acks--> committables
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use highwater_checkpoint::dataflow::{Closed, Participant, Stash, frontier_epoch, share};
use highwater_checkpoint::metadata::StateSchema;
use highwater_checkpoint::planted::{self, Bug};
use highwater_checkpoint::{BoxError, Epoch, Moment};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;
use tokio::sync::oneshot;

use crate::error::Error;
use crate::job::Shared;
use crate::sink::{Redistribution, Sink, SinkRun, SinkWriter};
use crate::stream::{Flow, to_first_output};

pub(crate) fn sink<'scope, T: 'static, S: Sink<T>>(
    flow: &Flow<'scope>,
    uid: &str,
    stream: StreamVec<'scope, Moment, T>,
    sink: S,
) {
    let sink = Arc::new(sink);
    let run = SinkRun {
        job: flow.run().job().to_owned(),
        uid: uid.to_owned(),
        generation: flow.run().generation().0,
        workers: flow.scope().peers(),
        restored: flow.run().restored().map(|_| flow.run().start().epoch),
    };
    recover_at_setup(flow, &sink, &run);

    let checkpoints = flow.checkpoints();
    let mut builder = OperatorBuilder::new(format!("Sink {uid}"), flow.scope());
    let (done_output, done) = builder.new_output_connection::<Vec<()>, _>([]);
    let mut input = builder.new_input_connection(stream, Pipeline, to_first_output());
    let mut committed = builder.new_input_connection(checkpoints.committed(), Pipeline, []);
    builder.set_notify_for(0, FrontierInterest::Always);
    builder.set_notify_for(1, FrontierInterest::Always);
    let schema = StateSchema::sink::<S::Committable>();
    let joined = checkpoints.join(&mut builder, uid, schema);
    done.probe_with(checkpoints.tail());
    let (shared, worker) = (Arc::clone(flow.shared()), flow.scope().index());
    let restored = restored_items(flow, uid, sink.redistribution());
    builder.build_reschedule(move |capabilities| {
        let participant = joined.participant(&capabilities);
        drop(capabilities);
        let mut writing = Writing {
            sink,
            run,
            worker,
            writer: None,
            restored,
            participant,
            prepared: Arc::new(Mutex::new(Pending::new())),
            before: None,
            shared: Arc::clone(&shared),
        };
        let mut stash: Stash<Moment, Vec<T>> = Stash::default();
        move |frontiers| {
            let _done_output = &done_output;
            committed.for_each(|_, _| {});
            let control = shared.run.control();
            let mut failed = None;
            input.for_each(|capability, batch| {
                if control.has_failed() || failed.is_some() {
                    batch.clear();
                } else if !writing.participant.admits(capability.time().tick.epoch()) {
                    stash.push(capability.retain(0), batch);
                } else {
                    failed = writing.write(batch).err();
                }
            });
            let outcome = failed.map_or(Ok(()), Err).and_then(|()| {
                writing.advance(frontier_epoch(frontiers[0].frontier()), &mut stash)?;
                let incomplete = frontier_epoch(frontiers[1].frontier());
                writing.commit(incomplete.filter(|_| !planted::is(Bug::CommitsBeforeCompletion)));
                writing.participant.acknowledge().map(drop)
            });
            if let Err(error) = outcome
                && !control.has_failed()
            {
                control.fail(Error::Sink { uid: writing.run.uid.clone(), error });
            }
            // Commits go on when there is no input left.
            !control.is_over()
        }
    });
}

/// What the writer of this worker gets of the items that the checkpoint holds.
fn restored_items(
    flow: &Flow<'_>,
    uid: &str,
    redistribution: Redistribution,
) -> Vec<serde_json::Value> {
    let restored = flow.run().start().operators.iter().find(|state| state.uid == uid);
    let items = restored.map(|state| state.items.clone()).unwrap_or_default();
    share(items, redistribution, flow.scope().index(), flow.scope().peers())
}

/// Once and on worker 0: looks at the target, finishes what the checkpoint lists, and when all sinks
/// have, discards the rest.
fn recover_at_setup<T: 'static, S: Sink<T>>(flow: &Flow<'_>, sink: &Arc<S>, run: &SinkRun) {
    if flow.scope().index() != 0 {
        return;
    }
    let (last_sink, last_run) = (Arc::clone(sink), run.clone());
    let (sink, run, shared) = (Arc::clone(sink), run.clone(), Arc::clone(flow.shared()));
    let control = Arc::clone(flow.run());
    // Only when no sink refuses the start any more: a start that fails should change nothing.
    flow.setup_last(move || {
        control.control().set_discarding();
        let failed = |error: BoxError| Error::Sink { uid: last_run.uid.clone(), error };
        last_sink.abort(&last_run).map_err(failed)
    });
    flow.setup(move || {
        let failed = |error: BoxError| Error::Sink { uid: run.uid.clone(), error };
        let restored = shared.run.start().operators.iter().find(|state| state.uid == run.uid);
        let prepared = restored.map(|state| state.committables.clone()).unwrap_or_default();
        let prepared: Vec<S::Committable> = prepared
            .into_iter()
            .map(serde_json::from_value)
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| failed(error.into()))?;
        sink.begin(&run).map_err(failed)?;
        if !prepared.is_empty() && !planted::is(Bug::ForgetsRestoredOutput) {
            sink.commit(&run, prepared).map_err(failed)?;
        }
        Ok(())
    });
}

/// What is prepared and not known to be committed, by epoch.
type Prepared<C> = Arc<Mutex<Pending<C>>>;

struct Pending<C> {
    by_epoch: BTreeMap<Epoch, Vec<C>>,
    /// Epochs before this one are complete; none when all are.
    incomplete: Option<Epoch>,
    /// A task takes up, one after the other, whatever is complete.
    is_committing: bool,
}

impl<C: Clone> Pending<C> {
    fn new() -> Self {
        Pending { by_epoch: BTreeMap::new(), incomplete: Some(Epoch(0)), is_committing: false }
    }

    /// What is complete, in the order of epochs. If that is nothing, the task that asks has ended.
    fn next_commit(&mut self) -> Option<(Vec<Epoch>, Vec<C>)> {
        let is_complete =
            |epoch: Epoch| self.incomplete.is_none_or(|incomplete| epoch < incomplete);
        let complete = self.by_epoch.iter().take_while(|(epoch, _)| is_complete(**epoch));
        let (epochs, committables): (Vec<_>, Vec<_>) =
            complete.map(|(epoch, committables)| (*epoch, committables.clone())).unzip();
        self.is_committing = !epochs.is_empty();
        self.is_committing.then(|| (epochs, committables.into_iter().flatten().collect()))
    }
}

struct Writing<T, S: Sink<T>> {
    sink: Arc<S>,
    run: SinkRun,
    worker: usize,
    /// None until there is something to write.
    writer: Option<S::Writer>,
    /// Items for the writer, until it is opened.
    restored: Vec<serde_json::Value>,
    participant: Participant<Moment>,
    prepared: Prepared<S::Committable>,
    /// Ends when what the last epoch prepared is taken up.
    before: Option<oneshot::Receiver<()>>,
    shared: Arc<Shared>,
}

impl<T: 'static, S: Sink<T>> Writing<T, S> {
    fn open(&mut self) -> std::result::Result<(), BoxError> {
        if self.writer.is_none() {
            let writer = self.writer.insert(self.sink.open(&self.run, self.worker)?);
            if !self.restored.is_empty() {
                writer.restore(std::mem::take(&mut self.restored))?;
            }
        }
        Ok(())
    }

    fn write(&mut self, batch: &mut Vec<T>) -> std::result::Result<(), BoxError> {
        self.open()?;
        let writer = self.writer.as_mut().expect("it was opened");
        self.shared.metrics.wrote(batch.len() as u64);
        writer.write(batch)?;
        batch.clear();
        Ok(())
    }

    fn advance(
        &mut self,
        frontier: Option<Epoch>,
        stash: &mut Stash<Moment, Vec<T>>,
    ) -> std::result::Result<(), BoxError> {
        loop {
            let closed = self.participant.next_epoch(frontier, stash.first());
            if closed == Closed::No {
                return Ok(());
            }
            self.prepare(closed)?;
            for (_capability, mut batch) in stash.take(self.participant.running()) {
                self.write(&mut batch)?;
            }
        }
    }

    fn prepare(&mut self, closed: Closed) -> std::result::Result<(), BoxError> {
        let epoch = self.participant.running();
        if !self.restored.is_empty() {
            // Only a writer can tell what is still to be remembered of them.
            self.open()?;
        }
        let (prepare, items) = match &mut self.writer {
            Some(writer) => (Some(writer.prepare(epoch)?), writer.items()?),
            None => (None, Vec::new()),
        };
        let control = Arc::clone(&self.shared.run);
        control.control().commit_pending(epoch);
        let (prepared, uid) = (Arc::clone(&self.prepared), self.run.uid.clone());
        let finish = self.shared.run.spawn_blocking(move || {
            let committables = prepare.map_or_else(|| Ok(Vec::new()), |prepare| prepare());
            committables.map_err(|error| Error::Sink { uid, error })
        });
        let rest = self.participant.state(|state| state.items = items);
        let (run, uid) = (Arc::clone(&self.shared.run), self.run.uid.clone());
        let (taken_up, next) = oneshot::channel();
        let before = self.before.replace(next);
        self.participant.seal(closed, 0, async move {
            let failed = |error: BoxError| {
                run.control().fail(error);
                highwater_checkpoint::Error::invalid("a sink could not prepare its output")
            };
            let committables = match finish.await {
                Ok(Ok(committables)) => committables,
                Ok(Err(error)) => return Err(failed(error.into())),
                // It has panicked.
                Err(error) => {
                    let error = error.into();
                    return Err(failed(Error::Sink { uid, error }.into()));
                }
            };
            // SUBTLE: the checkpoint of this epoch must name what those before have prepared, too,
            // for there may be none of theirs; and theirs may take longer to prepare.
            if let Some(before) = before {
                // Gone means that it has failed, and then no checkpoint will be made of this one.
                let _ = before.await;
            }
            let all = snapshot(&prepared, epoch, committables).map_err(|e| failed(e.into()))?;
            let _ = taken_up.send(());
            Ok(highwater_checkpoint::metadata::OperatorStateMetadata { committables: all, ..rest })
        });
        Ok(())
    }

    /// Commits, elsewhere, what the frontier of complete checkpoints has passed: one commit at a
    /// time, so that they are made in the order of epochs, and what is complete meanwhile is one.
    fn commit(&mut self, incomplete: Option<Epoch>) {
        let mut pending = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        pending.incomplete = incomplete;
        if pending.is_committing {
            return;
        }
        let Some(mut next) = pending.next_commit() else { return };
        drop(pending);
        let (sink, run) = (Arc::clone(&self.sink), self.run.clone());
        let (prepared, shared) = (Arc::clone(&self.prepared), Arc::clone(&self.shared));
        let committing = self.shared.run.spawn_blocking(move || {
            let control = shared.run.control();
            loop {
                let (epochs, committables) = next;
                let outcome =
                    if committables.is_empty() { Ok(()) } else { sink.commit(&run, committables) };
                if let Err(error) = outcome {
                    control.fail(Error::Sink { uid: run.uid, error });
                    return;
                }
                let mut pending = prepared.lock().unwrap_or_else(PoisonError::into_inner);
                for epoch in epochs {
                    pending.by_epoch.remove(&epoch);
                    control.commit_done(epoch);
                }
                next = match pending.next_commit() {
                    Some(next) => next,
                    None => return,
                };
            }
        });
        // A commit that panics is never done: without this the run would wait for it.
        let (uid, shared) = (self.run.uid.clone(), Arc::clone(&self.shared));
        self.shared.run.spawn(async move {
            if let Err(error) = committing.await {
                shared.run.control().fail(Error::Sink { uid, error: error.into() });
            }
        });
    }
}

/// Takes up the committables of `epoch`, and says all that are not known to be committed: a
/// checkpoint may be complete before the commit of the one before it.
fn snapshot<C: serde::Serialize>(
    prepared: &Prepared<C>,
    epoch: Epoch,
    committables: Vec<C>,
) -> serde_json::Result<Vec<serde_json::Value>> {
    let mut pending = prepared.lock().unwrap_or_else(PoisonError::into_inner);
    pending.by_epoch.insert(epoch, committables);
    let until = pending.by_epoch.range(..=epoch).flat_map(|(_, committables)| committables);
    until.map(serde_json::to_value).collect()
}
