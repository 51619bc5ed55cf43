//! Checkpoints for a program that is written against timely itself: a source, a keyed operator and
//! the workers' loop, of which the program writes only what is its own. An example is in `mod.rs`.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::AntichainRef;
use timely::progress::operate::FrontierInterest;
use timely::progress::timestamp::Refines;
use timely::progress::{Antichain, Timestamp};
use timely::scheduling::Activator;
use timely::worker::Worker;

use super::{
    Again, CheckpointScope, Closed, KeyedState, Participant, Signal, Stash, Wakeup, frontier_epoch,
};
use crate::error::{BoxError, Error, Result};
use crate::metadata::{SplitMetadata, StateSchema};
use crate::run::Run;
use crate::schema::Evolution;
use crate::state::{Bincode, KeyedTable, stable_hash};
use crate::time::EpochTime;

/// How long a worker sleeps at most when it has nothing to do. Whatever it waits for wakes it;
/// this bounds the harm of a wake-up that is lost.
const PARK: Duration = Duration::from_millis(100);

type Output<T, D> = OutputBuilder<T, CapacityContainerBuilder<Vec<D>>>;

impl Run {
    /// Builds a dataflow whose checkpoints are this run's, in place of timely's
    /// [`dataflow`](Worker::dataflow), and steps the worker until the run is over.
    ///
    /// To be called on all workers, as many as [`RunOptions::workers`](crate::run::RunOptions)
    /// says. What stops the run, on any worker, is returned by [`outcome`](Run::outcome).
    ///
    /// A run that restores the end of its input sees that end again.
    pub fn dataflow<T: Timestamp + EpochTime + Refines<()>>(
        self: &Arc<Self>,
        worker: &mut Worker,
        build: impl for<'scope> FnOnce(&CheckpointScope<'scope, T>) -> Result<()>,
    ) {
        let control = self.control();
        control.register_thread();
        // A panic must not leave the other workers waiting for this one for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| -> Result<()> {
            if worker.peers() != self.workers() {
                let (run, timely) = (self.workers(), worker.peers());
                let reason = format!("the run is one of {run} workers, and timely has {timely}");
                return Err(Error::invalid(reason));
            }
            worker.dataflow::<T, _, _>(|scope| {
                let checkpoints = CheckpointScope::new(scope, Arc::clone(self));
                build(&checkpoints)?;
                checkpoints.finish()
            })?;
            if worker.index() == 0 {
                control.set_ready();
            }
            while !control.is_over() {
                worker.step_or_park(Some(PARK));
            }
            Ok(())
        }));
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => control.fail(error),
            // What it said is on the standard error already.
            Err(_) => control.fail(format!("worker {} panicked", worker.index())),
        }
        for dataflow in worker.installed_dataflows() {
            // What a panic has left behind may panic again.
            let _ = catch_unwind(AssertUnwindSafe(|| worker.drop_dataflow(dataflow)));
        }
    }
}

impl<'scope, T: Timestamp + EpochTime> CheckpointScope<'scope, T> {
    /// Adds a source that goes on where the checkpoint says, in place of timely's `source`.
    ///
    /// `splits` are the parts of the input, the same on all workers; each is as much of a value as
    /// says how far the part is read, and is what checkpoints hold. They are dealt out to the
    /// workers, however many there are. `read` appends the next records of a split, moves it on,
    /// and returns whether there is more; it should return soon, after a thousand records or so.
    ///
    /// Records are sent at the time to which the clock has come. Times without pacing steps, such
    /// as `u64`, do not bound what is in flight within an epoch.
    ///
    /// # Errors
    ///
    /// `Incompatible` if the checkpoint's splits are no `S`.
    pub fn source<S, D>(
        &self,
        uid: &str,
        splits: impl IntoIterator<Item = S>,
        read: impl FnMut(&mut S, &mut Vec<D>) -> bool + 'static,
    ) -> Result<StreamVec<'scope, T, D>>
    where
        S: Serialize + DeserializeOwned + 'static,
        D: 'static,
    {
        let mut builder = OperatorBuilder::new(format!("Source {uid}"), self.scope());
        let (output, data) = builder.new_output_connection::<Vec<D>, _>([]);
        let (exhausted_output, exhausted) = builder.new_output_connection::<Vec<Signal>, _>([]);
        let mut begin = builder.new_input_connection(self.begin(), Pipeline, []);
        builder.set_notify_for(0, FrontierInterest::Always);
        let joined = self.join(&mut builder, uid, StateSchema::source::<usize, S>());
        self.ends_with(exhausted);
        let splits = self.splits(uid, splits)?;
        let (run, activator) =
            (Arc::clone(self.run()), self.scope().activator_for(builder.operator_info().address));
        builder.build_reschedule(move |mut capabilities| {
            let participant = joined.participant(&capabilities);
            let exhausted = Some(capabilities.swap_remove(1));
            let data = Some(capabilities.swap_remove(0));
            let mut reading = Reading { participant, splits, read, data, exhausted };
            let (mut output, mut batch) = (Output::from(output), Vec::new());
            move |frontiers| {
                let _exhausted_output = &exhausted_output;
                begin.for_each(|_, _| {});
                let time = frontiers[0].frontier().iter().min().cloned();
                let advanced = reading.follow(time).and_then(|may_emit| {
                    if may_emit {
                        reading.emit(&mut output, &mut batch, &activator);
                    }
                    reading.participant.acknowledge()
                });
                if let Err(error) = advanced {
                    run.control().fail(error);
                }
                !reading.participant.is_done() && !run.control().is_over()
            }
        });
        Ok(data)
    }

    /// The splits of this worker: those of the checkpoint, and those that it does not know.
    fn splits<S: DeserializeOwned>(
        &self,
        uid: &str,
        given: impl IntoIterator<Item = S>,
    ) -> Result<Vec<Split<S>>> {
        let start = self.run().start();
        let mut all: BTreeMap<usize, Split<S>> = given
            .into_iter()
            .enumerate()
            .map(|(id, position)| (id, Split { id, position, finished: false }))
            .collect();
        let restored = start.operators.iter().filter(|state| state.uid == uid);
        for metadata in restored.flat_map(|state| &state.splits) {
            let incompatible = |reason: &dyn std::fmt::Display| Error::Incompatible {
                id: start.id,
                reason: format!("split {:?} of source {uid:?}: {reason}", metadata.id),
            };
            let id = metadata.id.parse().map_err(|error| incompatible(&error))?;
            let position = metadata.offset.clone().unwrap_or_default();
            let position =
                serde_json::from_value(position).map_err(|error| incompatible(&error))?;
            all.insert(id, Split { id, position, finished: metadata.finished });
        }
        let (worker, workers) = (self.scope().index(), self.scope().peers());
        Ok(all.into_values().filter(|split| split.id % workers == worker).collect())
    }

    /// Adds an operator that keeps a value for each key, in place of timely's `unary_frontier`.
    ///
    /// All records of a key meet on one worker. `work` is given the entries of that worker, and
    /// either a batch of records or, once and last, none: the input has ended. What it appends to
    /// its third argument is sent on, at the time of the batch or at the end.
    ///
    /// What is sent at the end may be sent again by a run that restores: at least once.
    pub fn keyed<D, K, V, R>(
        &self,
        uid: &str,
        stream: StreamVec<'scope, T, D>,
        key: impl Fn(&D) -> &K + 'static,
        work: impl FnMut(&mut KeyedTable<K, V, Bincode>, Option<&mut Vec<D>>, &mut Vec<R>) + 'static,
    ) -> StreamVec<'scope, T, R>
    where
        D: timely::ExchangeData,
        K: Hash + Eq + Serialize + DeserializeOwned + 'static,
        V: Serialize + DeserializeOwned + 'static,
        R: 'static,
    {
        let mut builder = OperatorBuilder::new(format!("Keyed {uid}"), self.scope());
        let (output, results) = builder.new_output_connection::<Vec<R>, _>([]);
        let key_groups = self.run().key_groups();
        let owners = key_groups.owners(self.scope().peers());
        let route = move |record: &D| {
            u64::from(owners[usize::from(key_groups.of_hash(stable_hash(key(record))))])
        };
        let to_output = [(0, Antichain::from_elem(T::Summary::default()))];
        let mut input = builder.new_input_connection(stream, Exchange::new(route), to_output);
        builder.set_notify_for(0, FrontierInterest::Always);
        let schema = StateSchema::keyed::<K, V, Bincode>(&Evolution::new());
        let joined = self.join(&mut builder, uid, schema);
        let table = self.load::<K, V, Bincode>(uid);
        let (run, activator) =
            (Arc::clone(self.run()), self.scope().activator_for(builder.operator_info().address));
        builder.build_reschedule(move |capabilities| {
            let state = joined.keyed(&capabilities, table);
            let end = capabilities.into_iter().next();
            let (stash, output, made) = (Stash::default(), Output::from(output), Vec::new());
            let mut operator = Operator { state, stash, end, work, output, made };
            let mut wakeup = Wakeup::new(activator, Arc::clone(&run));
            move |frontiers| {
                input.for_each(|capability, batch| {
                    operator.take(capability.retain(0), batch);
                });
                match operator.advance(frontiers[0].frontier(), &run) {
                    Ok(again) => wakeup.again(again),
                    Err(error) => run.control().fail(error),
                }
                !operator.state.is_done() && !run.control().is_over()
            }
        });
        results
    }
}

struct Split<S> {
    id: usize,
    position: S,
    finished: bool,
}

impl<S: Serialize> Split<S> {
    fn snapshot(&self) -> serde_json::Result<SplitMetadata> {
        Ok(SplitMetadata {
            id: self.id.to_string(),
            split: serde_json::Value::Null,
            offset: Some(serde_json::to_value(&self.position)?),
            finished: self.finished,
            watermark: None,
        })
    }
}

/// A source. It keeps its data capability until `begin` ends, even when all its splits are
/// finished, so that the data of all sources ends in one epoch.
struct Reading<T: Timestamp, S, F> {
    participant: Participant<T>,
    splits: Vec<Split<S>>,
    read: F,
    data: Option<Capability<T>>,
    exhausted: Option<Capability<T>>,
}

impl<T: Timestamp + EpochTime, S: Serialize, F> Reading<T, S, F> {
    /// Follows `begin` to where it has come; none is the end. Returns whether to emit.
    fn follow(&mut self, begun: Option<T>) -> std::result::Result<bool, BoxError> {
        let Some(data) = &mut self.data else { return Ok(false) };
        let epoch = begun.as_ref().map(EpochTime::epoch);
        if epoch.is_some_and(|epoch| epoch < self.participant.running()) {
            return Ok(false); // The run has not begun.
        }
        loop {
            let closed = self.participant.next_epoch(epoch, None);
            if closed == Closed::No {
                break;
            }
            let splits =
                self.splits.iter().map(Split::snapshot).collect::<serde_json::Result<_>>()?;
            let state = self.participant.state(|state| state.splits = splits);
            self.participant.seal(closed, 0, async move { Ok(state) });
            if matches!(closed, Closed::Last(_)) {
                (self.data, self.exhausted) = (None, None);
                return Ok(false);
            }
        }
        let Some(begun) = begun else { return Ok(false) };
        data.downgrade(&begun);
        let control = self.participant.run().control();
        Ok(control.may_emit(begun.epoch()) && !control.is_stopping())
    }

    /// Reads on in each split.
    fn emit<D>(&mut self, output: &mut Output<T, D>, batch: &mut Vec<D>, activator: &Activator)
    where
        D: 'static,
        F: FnMut(&mut S, &mut Vec<D>) -> bool,
    {
        let Some(data) = &self.data else { return };
        for split in self.splits.iter_mut().filter(|split| !split.finished) {
            split.finished = !(self.read)(&mut split.position, batch);
            if !batch.is_empty() {
                self.participant.run().control().emitted();
                output.activate().session(data).give_container(batch);
                batch.clear();
            }
        }
        if self.splits.iter().all(|split| split.finished) {
            self.exhausted = None;
        } else {
            activator.activate();
        }
    }
}

struct Operator<T: Timestamp, D, K, V, R: 'static, F> {
    state: KeyedState<T, K, V, Bincode>,
    stash: Stash<T, Vec<D>>,
    /// To send at the end; none once that is done.
    end: Option<Capability<T>>,
    work: F,
    output: Output<T, R>,
    made: Vec<R>,
}

impl<T, D, K, V, R, F> Operator<T, D, K, V, R, F>
where
    T: Timestamp + EpochTime,
    K: Hash + Eq + Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
    F: FnMut(&mut KeyedTable<K, V, Bincode>, Option<&mut Vec<D>>, &mut Vec<R>),
{
    /// Takes a batch that has come: for now, or for later.
    fn take(&mut self, capability: Capability<T>, batch: &mut Vec<D>) {
        if self.state.may_apply(capability.time().epoch(), self.stash.first()) {
            self.apply(&capability, Some(batch));
        } else {
            self.stash.push(capability, batch);
        }
    }

    fn apply(&mut self, capability: &Capability<T>, batch: Option<&mut Vec<D>>) {
        (self.work)(self.state.table(), batch, &mut self.made);
        if !self.made.is_empty() {
            self.output.activate().session(capability).give_container(&mut self.made);
            self.made.clear();
        }
    }

    /// Goes on with whatever the frontier allows.
    fn advance(
        &mut self,
        frontier: AntichainRef<'_, T>,
        run: &Run,
    ) -> std::result::Result<Again, BoxError> {
        loop {
            while !self.state.is_full()
                && let Some((capability, mut batch)) = self.stash.pop(self.state.running())
            {
                self.apply(&capability, Some(&mut batch));
            }
            self.end(frontier, run);
            let closed = self.state.advance(frontier_epoch(frontier), self.stash.first());
            if closed == Closed::No {
                return self.state.work();
            }
        }
    }

    /// Says that the input has ended, if it has: in the last epoch, before that is sealed.
    fn end(&mut self, frontier: AntichainRef<'_, T>, run: &Run) {
        let Some(end) = &mut self.end else { return };
        if let Some(epoch) = frontier_epoch(frontier) {
            end.downgrade(&T::first_of(epoch));
            return;
        }
        // A run that was stopped ends its input as well, but not before it is over.
        let is_end = self.state.is_last_epoch() && self.stash.first().is_none();
        if is_end && !run.control().is_over() {
            let end = self.end.take().expect("looked at above");
            self.apply(&end, None);
        }
    }
}
