//! Typed keyed state that takes part in checkpoints.

use std::hash::Hash;
use std::ops::Range;

use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Timestamp;

use super::{Again, CheckpointScope, Closed, Joined, KeyedState, NamedState, state_uid};
use crate::error::BoxError;
use crate::metadata::StateSchema;
use crate::schema::Evolution;
use crate::state::typed::{
    Element, Elements, Index, Persist, Retention, Sweep, Timer, TimerQueue, Timers, Values,
};
use crate::state::{Codec, KeyGroups, KeyedTable};
use crate::time::{Epoch, EpochTime, EventTime};

/// The schema of keyed state of these types.
pub fn keyed_schema<K, V, C: Codec<K> + Codec<V>>() -> StateSchema {
    StateSchema::keyed::<K, V, C>(&Evolution::new())
}

/// A keyed state that is declared and loaded, of an operator that is not built.
struct Declared<T: Timestamp, K, S, C> {
    joined: Joined<T>,
    table: KeyedTable<K, S, C>,
}

fn declare<'scope, T, K, S, C>(
    checkpoints: &CheckpointScope<'scope, T>,
    builder: &mut OperatorBuilder<'scope, T>,
    (uid, name): (&str, &str),
    evolution: &Evolution,
    empty: impl Fn(KeyGroups, Range<u16>) -> KeyedTable<K, S, C>,
) -> Declared<T, K, S, C>
where
    T: Timestamp + EpochTime,
    K: Eq + Hash,
    S: 'static,
    C: Codec<K> + Codec<S>,
{
    let schema = StateSchema::keyed::<K, S, C>(evolution);
    let joined = checkpoints.join_state(builder, uid, name, schema);
    let (run, worker) = (checkpoints.run(), checkpoints.scope().index());
    let groups = run.key_groups();
    let empty = || empty(groups, groups.of_worker(worker, run.workers()));
    let table = checkpoints.load_into(&state_uid(uid, name), evolution, empty);
    Declared { joined, table }
}

/// Declares and loads the state `name` of operator `uid`, which owns it ([`CheckpointScope::own`]), for
/// an operator that works on the table itself; what is returned makes it, given the operator's
/// capabilities. `evolution` is of the values as the table has them; `empty` makes a table for the groups
/// of a worker.
pub fn declare_table<'scope, T, K, V, C>(
    checkpoints: &CheckpointScope<'scope, T>,
    builder: &mut OperatorBuilder<'scope, T>,
    named: (&str, &str),
    evolution: &Evolution,
    empty: fn(KeyGroups, Range<u16>) -> KeyedTable<K, V, C>,
) -> impl FnOnce(&[Capability<T>]) -> KeyedState<T, K, V, C> + use<T, K, V, C>
where
    T: Timestamp + EpochTime,
    K: Persist + Hash + Eq,
    V: Persist,
    C: Codec<K> + Codec<V> + 'static,
{
    let Declared { joined, table } = declare(checkpoints, builder, named, evolution, empty);
    move |capabilities| joined.keyed(capabilities, table)
}

/// One value a key.
pub struct KeyedValues<T: Timestamp, K, V: Persist, M: Retention, C> {
    state: KeyedState<T, K, M::Stored<V>, C>,
    retention: M,
    sweep: Sweep,
}

impl<T, K, V, M, C> KeyedValues<T, K, V, M, C>
where
    T: Timestamp + EpochTime,
    K: Persist + Hash + Eq + Clone,
    V: Persist,
    M: Retention,
    C: Codec<K> + Codec<M::Stored<V>> + 'static,
{
    /// Declares and loads the state `name` of operator `uid`, which owns it
    /// ([`CheckpointScope::own`]); what is returned makes it, given the operator's capabilities.
    /// `evolution` is of values as the retention stores them.
    pub fn declare<'scope>(
        checkpoints: &CheckpointScope<'scope, T>,
        builder: &mut OperatorBuilder<'scope, T>,
        named: (&str, &str),
        (retention, evolution): (M, &Evolution),
    ) -> impl FnOnce(&[Capability<T>]) -> Self + use<T, K, V, M, C> {
        let empty = KeyedTable::new;
        let Declared { joined, table } = declare(checkpoints, builder, named, evolution, empty);
        move |capabilities| KeyedValues {
            state: joined.keyed(capabilities, table),
            retention,
            sweep: Sweep::default(),
        }
    }

    /// The values.
    #[inline]
    pub fn values(&mut self) -> Values<'_, K, V, M, C> {
        Values::new(self.state.table(), self.retention)
    }

    /// Asks for the memory of keys with these hashes, for who will come to them soon.
    pub fn ask_for(&mut self, hashes: &[u64]) {
        self.state.table().ask_for(hashes.iter().copied());
    }
}

/// Many elements a key.
pub struct KeyedElements<T: Timestamp, K, E, V: Persist, M: Retention, C> {
    state: KeyedState<T, Element<K, E>, M::Stored<V>, C>,
    index: Index<K, E>,
    retention: M,
    sweep: Sweep,
}

impl<T, K, E, V, M, C> KeyedElements<T, K, E, V, M, C>
where
    T: Timestamp + EpochTime,
    K: Persist + Hash + Eq + Clone,
    E: Persist + Hash + Ord + Clone,
    V: Persist,
    M: Retention,
    C: Codec<Element<K, E>> + Codec<M::Stored<V>> + 'static,
{
    /// As [`KeyedValues::declare`].
    pub fn declare<'scope>(
        checkpoints: &CheckpointScope<'scope, T>,
        builder: &mut OperatorBuilder<'scope, T>,
        named: (&str, &str),
        (retention, evolution): (M, &Evolution),
    ) -> impl FnOnce(&[Capability<T>]) -> Self + use<T, K, E, V, M, C> {
        let empty = |groups, owned| KeyedTable::placed_by(groups, owned, Element::table_hash);
        let Declared { joined, table } = declare(checkpoints, builder, named, evolution, empty);
        move |capabilities| KeyedElements {
            index: Index::default(),
            state: joined.keyed(capabilities, table),
            retention,
            sweep: Sweep::default(),
        }
    }

    /// The elements.
    #[inline]
    pub fn elements(&mut self) -> Elements<'_, K, E, V, M, C> {
        Elements::new(self.state.table(), &mut self.index, self.retention)
    }

    /// Asks for the memory of elements, each with the hash of its key, for who will come to them soon.
    /// Up to as many are asked for at a time as `N` says; fewer than some tens overlap too little.
    pub fn ask_for<const N: usize>(&mut self, elements: impl Iterator<Item = (u64, E)>) {
        let table = self.state.table();
        if !table.is_out_of_cache() {
            return;
        }
        let key_groups = table.key_groups();
        let (mut hashes, mut count) = ([0; N], 0);
        for (place, (key_hash, element)) in hashes.iter_mut().zip(elements) {
            *place = Element::<K, E>::hash_of(key_groups, key_hash, &element);
            count += 1;
        }
        table.ask_for(hashes[..count].iter().copied());
    }
}

/// Timers by key and tag, and the watermark that their operator has acted on.
pub struct KeyedTimers<T: Timestamp, K, E, C> {
    state: KeyedState<T, Element<K, E>, Timer, C>,
    queue: TimerQueue,
}

impl<T, K, E, C> KeyedTimers<T, K, E, C>
where
    T: Timestamp + EpochTime,
    K: Persist + Hash + Eq + Clone,
    E: Persist + Hash + Eq + Clone,
    C: Codec<Element<K, E>> + Codec<Timer> + 'static,
{
    /// As [`KeyedValues::declare`].
    pub fn declare<'scope>(
        checkpoints: &CheckpointScope<'scope, T>,
        builder: &mut OperatorBuilder<'scope, T>,
        named: (&str, &str),
    ) -> impl FnOnce(&[Capability<T>]) -> Self + use<T, K, E, C> {
        let empty = |groups, owned| KeyedTable::placed_by(groups, owned, Element::table_hash);
        let evolution = Evolution::new();
        let Declared { joined, table } = declare(checkpoints, builder, named, &evolution, empty);
        move |capabilities| KeyedTimers {
            queue: Timers::queue_of(&table),
            state: joined.keyed(capabilities, table),
        }
    }

    /// The timers.
    #[inline]
    pub fn timers(&mut self) -> Timers<'_, K, E, C> {
        Timers::new(self.state.table(), &mut self.queue)
    }

    /// As [`KeyedState::set_watermark`].
    pub fn set_watermark(&mut self, watermark: EventTime) {
        self.state.set_watermark(watermark);
    }
}

impl<T: Timestamp, K, E, C> std::fmt::Debug for KeyedTimers<T, K, E, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedTimers").field("state", &self.state).finish_non_exhaustive()
    }
}

/// All but the sweep is what the keyed state does.
macro_rules! as_keyed_state {
    () => {
        fn running(&self) -> Epoch {
            self.state.running()
        }
        fn admits(&self, epoch: Epoch) -> bool {
            self.state.admits(epoch)
        }
        fn is_full(&mut self) -> bool {
            self.state.is_full()
        }
        fn is_done(&self) -> bool {
            self.state.is_done()
        }
        fn is_last_epoch(&self) -> bool {
            self.state.is_last_epoch()
        }
        fn is_sealing(&self) -> bool {
            self.state.is_sealing()
        }
        fn advance(&mut self, frontier: Option<Epoch>, stashed: Option<Epoch>) -> Closed {
            self.state.advance(frontier, stashed)
        }
        fn work(&mut self) -> Result<Again, BoxError> {
            self.state.work()
        }
    };
}

impl<T, K, E, C> NamedState for KeyedTimers<T, K, E, C>
where
    T: Timestamp + EpochTime,
    K: Persist + Hash + Eq + Clone,
    E: Persist + Hash + Eq + Clone,
    C: Codec<Element<K, E>> + Codec<Timer>,
{
    as_keyed_state!();
}

impl<T, K, V, M, C> NamedState for KeyedValues<T, K, V, M, C>
where
    T: Timestamp + EpochTime,
    K: Persist + Hash + Eq + Clone,
    V: Persist,
    M: Retention,
    C: Codec<K> + Codec<M::Stored<V>>,
{
    as_keyed_state!();

    fn sweep(&mut self, now_ms: u64) -> Option<u64> {
        let (table, retention) = (self.state.table(), self.retention);
        self.sweep.slice::<K, V, M, C>(table, retention, now_ms);
        self.sweep.next_ms::<K, V, M, C>(table, retention)
    }
}

impl<T, K, E, V, M, C> NamedState for KeyedElements<T, K, E, V, M, C>
where
    T: Timestamp + EpochTime,
    K: Persist + Hash + Eq + Clone,
    E: Persist + Hash + Ord + Clone,
    V: Persist,
    M: Retention,
    C: Codec<Element<K, E>> + Codec<M::Stored<V>>,
{
    as_keyed_state!();

    fn sweep(&mut self, now_ms: u64) -> Option<u64> {
        let (table, retention) = (self.state.table(), self.retention);
        let gone = self.sweep.slice::<_, V, M, C>(table, retention, now_ms);
        self.index.forget(&gone);
        self.sweep.next_ms::<_, V, M, C>(table, retention)
    }
}

impl<T: Timestamp, K, V: Persist, M: Retention, C> std::fmt::Debug for KeyedValues<T, K, V, M, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedValues").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<T: Timestamp, K, E, V: Persist, M: Retention, C> std::fmt::Debug
    for KeyedElements<T, K, E, V, M, C>
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedElements").field("state", &self.state).finish_non_exhaustive()
    }
}
