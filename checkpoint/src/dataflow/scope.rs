//! What makes a dataflow one that is checkpointed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, Concatenate, Probe, probe};
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Timestamp;
use timely::scheduling::SyncActivator;

use super::KeyedState;
use super::clock::{Exhausted, epoch_clock};
use super::completion::completion;
use super::driver::Driver;
use super::participant::{AckOutput, Participant};
use super::share::SealShare;
use crate::error::{Error, Result};
use crate::metadata::{Acknowledgement, OperatorStateMetadata, StateSchema};
use crate::run::{Run, unclaimed_reason};
use crate::schema::Evolution;
use crate::state::{Codec, KeyedTable};
use crate::time::EpochTime;

/// What flows on a stream of which only the frontier matters: nothing.
#[derive(Clone, Copy, Debug)]
pub enum Signal {}

/// A stream of which only the frontier matters.
pub type Signals<'scope, T> = StreamVec<'scope, T, Signal>;

/// A probe on every sink. Before it is attached to one its frontier is empty and says nothing.
#[derive(Clone)]
pub(super) struct Tail<T: Timestamp> {
    pub(super) probe: probe::Handle<T>,
    attached: Rc<Cell<bool>>,
}

impl<T: Timestamp> Default for Tail<T> {
    fn default() -> Self {
        Tail { probe: probe::Handle::new(), attached: Rc::default() }
    }
}

impl<T: Timestamp> Tail<T> {
    /// Whether everything is out of the dataflow, for ever.
    pub(super) fn has_ended(&self) -> bool {
        self.attached.get() && self.probe.with_frontier(|frontier| frontier.is_empty())
    }
}

/// The checkpointing of one dataflow on one worker: made first, given to every operator that takes
/// part, finished last.
pub struct CheckpointScope<'scope, T: Timestamp> {
    scope: Scope<'scope, T>,
    run: Arc<Run>,
    driver: Rc<RefCell<Driver>>,
    begin: Signals<'scope, T>,
    committed: Signals<'scope, T>,
    acks: RefCell<Vec<StreamVec<'scope, T, Acknowledgement>>>,
    tail: Tail<T>,
    exhausted: Exhausted<T>,
    share: SealShare,
    /// Of everything that takes part.
    uids: RefCell<BTreeSet<String>>,
    /// Of operators whose states take part by names of their own.
    owners: RefCell<BTreeSet<String>>,
    /// The first thing that was wrong with an operator; said at the end, for timely cannot abandon
    /// an operator under construction.
    error: RefCell<Option<Error>>,
}

impl<'scope, T: Timestamp + EpochTime> CheckpointScope<'scope, T> {
    /// Begins the checkpointing of a dataflow, whose only one this is.
    pub fn new(scope: Scope<'scope, T>, run: Arc<Run>) -> Self {
        let (tail, exhausted) = (Tail::default(), Exhausted::default());
        let (driver, begin, committed) =
            epoch_clock(scope, Arc::clone(&run), tail.clone(), Rc::clone(&exhausted));
        CheckpointScope {
            scope,
            run,
            driver,
            begin,
            committed,
            acks: RefCell::default(),
            tail,
            exhausted,
            share: SealShare::default(),
            uids: RefCell::default(),
            owners: RefCell::default(),
            error: RefCell::default(),
        }
    }

    /// The scope of the dataflow.
    pub fn scope(&self) -> Scope<'scope, T> {
        self.scope
    }

    /// The run.
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Its frontier is the epoch, and the step, in which sources may emit. Connect it to a source
    /// by an input without a path to the data output.
    pub fn begin(&self) -> Signals<'scope, T> {
        self.begin.clone()
    }

    /// When its frontier has passed an epoch, the checkpoint of that epoch is complete.
    pub fn committed(&self) -> Signals<'scope, T> {
        self.committed.clone()
    }

    /// To be attached, as a probe, behind every sink: what it has passed is out of the dataflow.
    pub fn tail(&self) -> &probe::Handle<T> {
        self.tail.attached.set(true);
        &self.tail.probe
    }

    /// Tells the clock when a source has nothing more: when all such streams have ended, `begin`
    /// ends, and only then the sources drop their data capabilities, in one epoch.
    ///
    /// A source that does not take part in this just drops its capability; the input has then
    /// ended when nothing is left in the dataflow.
    pub fn ends_with(&self, exhausted: Signals<'scope, T>) {
        let mut probe = self.exhausted.borrow_mut();
        exhausted.probe_with(probe.get_or_insert_with(probe::Handle::new));
    }

    /// Adds the acknowledgement output to an operator whose inputs are all declared.
    ///
    /// Never fails itself: a uid that is empty, has a slash or is taken, and state of another schema
    /// in the checkpoint, are what [`finish`](CheckpointScope::finish) returns.
    pub fn join(
        &self,
        builder: &mut OperatorBuilder<'scope, T>,
        uid: &str,
        schema: StateSchema,
    ) -> Joined<T> {
        if let Err(error) = self.check(uid, &schema) {
            self.fail(error);
        }
        self.joined(builder, uid.to_owned(), schema)
    }

    fn joined(
        &self,
        builder: &mut OperatorBuilder<'scope, T>,
        uid: String,
        schema: StateSchema,
    ) -> Joined<T> {
        let port = builder.shape().outputs();
        let (output, acks) = builder.new_output_connection::<Vec<Acknowledgement>, _>([]);
        self.acks.borrow_mut().push(acks);
        let address = builder.operator_info().address.to_vec();
        Joined {
            identity: (uid, schema.recorded()),
            worker: self.scope.index(),
            run: Arc::clone(&self.run),
            output: AckOutput::from(output),
            port,
            waker: self.scope.worker().sync_activator_for(address),
            share: self.share.clone(),
        }
    }

    /// Notes what is wrong with an operator that is being built, for [`finish`](Self::finish) to return.
    pub fn fail(&self, error: Error) {
        self.error.borrow_mut().get_or_insert(error);
    }

    fn check(&self, uid: &str, schema: &StateSchema) -> Result<()> {
        check_uid(uid)?;
        self.claim(uid)?;
        self.check_state(uid, schema)
    }

    /// Checks the state that goes by `uid` in checkpoints, or plans what would become of it.
    fn check_state(&self, uid: &str, schema: &StateSchema) -> Result<()> {
        if self.run.plan_operator(uid, schema) {
            return Ok(());
        }
        self.run.check_schema(uid, schema).map(drop)
    }

    fn claim(&self, uid: &str) -> Result<()> {
        let is_new = self.uids.borrow_mut().insert(uid.to_owned());
        if is_new && !self.owners.borrow().contains(uid) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "two operators have the uid {uid:?}: state is matched by it, so each needs its own"
        )))
    }

    /// Takes the uid of an operator that joins for each of its states, by [`join_state`].
    ///
    /// [`join_state`]: CheckpointScope::join_state
    pub fn own(&self, uid: &str) {
        let taken = check_uid(uid).and_then(|()| {
            self.claim(uid)?;
            // It has no state by that name alone: what a checkpoint has by it nobody claims.
            self.uids.borrow_mut().remove(uid);
            self.owners.borrow_mut().insert(uid.to_owned());
            Ok(())
        });
        taken.unwrap_or_else(|error| self.fail(error));
    }

    /// As [`join`](CheckpointScope::join), for the state `name` of operator `uid`, which owns it
    /// ([`own`](CheckpointScope::own)). In checkpoints it goes by [`state_uid`].
    pub fn join_state(
        &self,
        builder: &mut OperatorBuilder<'scope, T>,
        uid: &str,
        name: &str,
        schema: StateSchema,
    ) -> Joined<T> {
        let named = state_uid(uid, name);
        let checked = match name {
            "" => Err(Error::invalid(format!("a state of operator {uid:?} has no name"))),
            _ if !self.uids.borrow_mut().insert(named.clone()) => Err(Error::invalid(format!(
                "operator {uid:?} has two states with the name {name:?}: each needs its own"
            ))),
            _ => self.check_state(&named, &schema),
        };
        checked.unwrap_or_else(|error| self.fail(error));
        self.joined(builder, named, schema)
    }

    /// Loads the keyed state of `uid` on this worker, as the restored checkpoint has it.
    ///
    /// Entries that cannot be read are what [`finish`](CheckpointScope::finish) returns, with the
    /// name of the object; the table is empty then.
    pub fn load<K, V, C>(&self, uid: &str) -> KeyedTable<K, V, C>
    where
        K: Eq + std::hash::Hash,
        V: 'static,
        C: Codec<K> + Codec<V>,
    {
        self.load_evolved(uid, &Evolution::new())
    }

    /// As [`load`](Self::load), of a type whose older versions `evolution` migrates. If it had to,
    /// the first snapshot holds all entries: no checkpoint has entries of two versions.
    ///
    /// The schema that was given to [`join`](Self::join) is [`StateSchema::keyed`] of the same.
    pub fn load_evolved<K, V, C>(&self, uid: &str, evolution: &Evolution) -> KeyedTable<K, V, C>
    where
        K: Eq + std::hash::Hash,
        V: 'static,
        C: Codec<K> + Codec<V>,
    {
        self.load_into(uid, evolution, || {
            let (groups, worker) = (self.run.key_groups(), self.scope.index());
            KeyedTable::new(groups, groups.of_worker(worker, self.run.workers()))
        })
    }

    /// As [`load_evolved`](Self::load_evolved), into a table that `empty` makes: of other groups, or
    /// of keys that are placed by another hash than their own.
    pub fn load_into<K, V, C>(
        &self,
        uid: &str,
        evolution: &Evolution,
        empty: impl Fn() -> KeyedTable<K, V, C>,
    ) -> KeyedTable<K, V, C>
    where
        K: Eq + std::hash::Hash,
        V: 'static,
        C: Codec<K> + Codec<V>,
    {
        if let Err(reason) = evolution.check::<V>() {
            self.fail(Error::invalid(format!("operator {uid:?}: {reason}")));
        }
        let load = || super::keyed::load(&self.run, uid, empty(), evolution);
        let loaded = self.may_load().then(load);
        let table = loaded.and_then(|loaded| loaded.map_err(|error| self.fail(error)).ok());
        table.unwrap_or_else(empty)
    }

    /// The entries of `uid` on all workers, once this one's are loaded.
    pub(super) fn read_all<K, V, C>(&self, uid: &str) -> Option<KeyedTable<K, V, C>>
    where
        K: Eq + std::hash::Hash,
        C: Codec<K> + Codec<V>,
    {
        let all = self.may_load().then(|| super::keyed::read_all(&self.run, uid))?;
        all.map_err(|error| self.fail(error)).ok()
    }

    /// Whether state is to be read: where something was wrong it may be of another type than the
    /// program's, which has been said.
    pub(super) fn may_load(&self) -> bool {
        self.error.borrow().is_none() && !self.run.is_planned()
    }

    /// Completes the construction: checks that the checkpoint has no state that nobody claims, or
    /// drops it if that is allowed, and gathers all acknowledgements.
    ///
    /// The first epoch begins when the program calls [`Control::set_ready`](crate::run::Control).
    ///
    /// # Errors
    ///
    /// The first that occurred: `Invalid` if a uid is empty, has a slash or is that of two operators;
    /// `Incompatible` if the checkpoint has state of another schema for an operator, or, unless
    /// [allowed](crate::run::RunOptions), the state of one that the dataflow lacks; `Corrupt`,
    /// `Missing` or `Refused` if state cannot be
    /// loaded; `Invalid` if nothing would say when the input has ended.
    pub fn finish(self) -> Result<()> {
        let acks = self.scope.concatenate(self.acks.into_inner());
        let driver = Rc::clone(&self.driver);
        completion(acks, Arc::clone(&self.run), self.driver);
        if let Some(error) = self.error.into_inner() {
            return Err(error);
        }
        if !self.tail.attached.get() && self.exhausted.borrow().is_none() {
            return Err(Error::invalid(
                "nothing says when the input has ended: attach `tail` behind the sinks, or give \
                 `ends_with` a stream of each source",
            ));
        }
        if self.run.is_planned() {
            return Ok(());
        }
        let uids = self.uids.into_inner();
        let start = self.run.start();
        let unclaimed: Vec<_> =
            start.operators.iter().filter(|state| !uids.contains(&state.uid)).collect();
        if unclaimed.is_empty() {
            return Ok(());
        }
        if !self.run.options().allow_non_restored_state {
            let there = uids.iter().map(String::as_str);
            let reason = unclaimed_reason(&describe(&unclaimed), there);
            return Err(self.run.incompatible(reason));
        }
        if self.scope.index() == 0 {
            let dropped = describe(&unclaimed);
            tracing::warn!("state that no operator of the program claims is dropped: {dropped}");
        }
        let dropped = unclaimed.into_iter().map(|state| state.uid.clone()).collect();
        driver.borrow_mut().drop_state_of(dropped);
        Ok(())
    }
}

/// What operators have in a checkpoint, for people.
fn describe(operators: &[&OperatorStateMetadata]) -> String {
    let describe = |state: &&OperatorStateMetadata| {
        let counts = [
            (state.segments.iter().map(|segment| segment.entries).sum(), "entries in segments"),
            (state.splits.len() as u64, "splits"),
            (state.committables.len() as u64, "prepared outputs"),
        ];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<_> = counts.map(|(count, what)| format!("{count} {what}")).collect();
        let counts = if counts.is_empty() { "nothing".to_owned() } else { counts.join(", ") };
        format!("operator {:?} ({counts})", state.uid)
    };
    operators.iter().map(describe).collect::<Vec<_>>().join(", ")
}

impl<T: Timestamp> std::fmt::Debug for CheckpointScope<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CheckpointScope").field("uids", &self.uids).finish_non_exhaustive()
    }
}

/// The name by which checkpoints know the state `name` of operator `uid`. No operator's uid is like
/// it, for those have no slash.
pub fn state_uid(uid: &str, name: &str) -> String {
    format!("{uid}/{name}")
}

fn check_uid(uid: &str) -> Result<()> {
    if uid.is_empty() {
        return Err(Error::invalid("an operator with state needs a uid that is not empty"));
    }
    if uid.contains('/') {
        return Err(Error::invalid(format!(
            "the uid {uid:?} has a slash, which stands between an operator and the name of its state"
        )));
    }
    Ok(())
}

/// An operator that will take part, before it is built.
pub struct Joined<T: Timestamp> {
    identity: (String, StateSchema),
    worker: usize,
    run: Arc<Run>,
    output: AckOutput<T>,
    port: usize,
    waker: SyncActivator,
    share: SealShare,
}

impl<T: Timestamp + EpochTime> Joined<T> {
    /// The participant, given the capabilities that the operator is built with. The operator drops
    /// those that it does not need itself.
    pub fn participant(self, capabilities: &[Capability<T>]) -> Participant<T> {
        let Joined { identity, worker, run, output, port, waker, share: _ } = self;
        Participant::new(identity, worker, run, output, capabilities[port].clone(), waker)
    }

    /// The participant that seals `table`.
    pub fn keyed<K, V, C>(
        self,
        capabilities: &[Capability<T>],
        table: KeyedTable<K, V, C>,
    ) -> KeyedState<T, K, V, C>
    where
        K: Eq + std::hash::Hash,
        C: Codec<K> + Codec<V>,
    {
        let share = (self.worker, self.share.clone());
        KeyedState::new(self.participant(capabilities), table, share)
    }
}

impl<T: Timestamp> std::fmt::Debug for Joined<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joined").field("uid", &self.identity.0).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::CheckpointPolicy;
    use crate::run::{BYTES_IN_FLIGHT_MAX, Restore, RunOptions};
    use crate::state::KeyGroups;

    /// The clock took it for empty, said that all input was read, and it never was.
    #[test]
    fn regression_a_tail_that_is_attached_to_nothing_is_not_the_end_of_input() {
        let options = RunOptions {
            job: "tail".to_owned(),
            workers: 1,
            key_groups: KeyGroups::default(),
            store: None,
            policy: CheckpointPolicy::default(),
            restore: Restore::Nothing,
            allow_non_restored_state: false,
            request_interval: std::time::Duration::from_secs(1),
            bytes_in_flight_max: BYTES_IN_FLIGHT_MAX,
        };
        let run = Run::open(options).unwrap();
        let error = timely::execute_directly(move |worker| {
            let finished =
                worker.dataflow::<u64, _, _>(|scope| CheckpointScope::new(scope, run).finish());
            worker.installed_dataflows().into_iter().for_each(|index| worker.drop_dataflow(index));
            finished.unwrap_err().to_string()
        });
        assert!(error.contains("when the input has ended"), "{error}");
    }
}
