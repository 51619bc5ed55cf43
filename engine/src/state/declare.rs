//! Declaring the states of an operator, before it is built.

use std::any::{Any, type_name};
use std::cell::RefCell;
use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use highwater_checkpoint::dataflow::{
    self, Delay, KeyedElements, KeyedState, KeyedTimers, KeyedValues, NamedState, Redistribution,
    list_schema, state_uid,
};
use highwater_checkpoint::schema::Evolution;
use highwater_checkpoint::state::typed::{Forever, Retention, Ttl};
use highwater_checkpoint::state::{Bincode, KeyGroups, KeyedTable, SerdeCodec};
use highwater_checkpoint::{BoxError, EventTime, Moment};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Antichain;

use super::lookahead::{Ask, AskOfRecords, CHUNK};
use super::side_output::Flush;
use super::{
    AggregatingState, ListState, Lookahead, MapState, OperatorList, ReducingState, SideOutput,
    Slot, ValueState,
};
use crate::metrics::LateCell;
use crate::stream::{Aggregator, Data, Flow, Key, Output, Stream};

type Make = Box<dyn FnOnce(&[Capability<Moment>]) -> Rc<RefCell<dyn NamedState>>>;

/// An operator under construction, whose inputs and outputs are declared.
pub(crate) struct Declarations<'a, 'scope> {
    flow: &'a Flow<'scope>,
    builder: &'a mut OperatorBuilder<'scope, Moment>,
    uid: &'a str,
    makes: Vec<Make>,
    sides: Vec<(usize, Box<dyn Flush>)>,
    asks: Vec<Ask>,
    asks_of_records: Vec<AskOfSome>,
}

/// What asks for elements by records, of a type that is not known where it is declared.
struct AskOfSome {
    ask: Box<dyn Any>,
    records: &'static str,
}

impl<'a, 'scope> Declarations<'a, 'scope> {
    pub(crate) fn new(
        flow: &'a Flow<'scope>,
        builder: &'a mut OperatorBuilder<'scope, Moment>,
        uid: &'a str,
    ) -> Self {
        flow.checkpoints().own(uid);
        Declarations {
            flow,
            builder,
            uid,
            makes: Vec::new(),
            sides: Vec::new(),
            asks: Vec::new(),
            asks_of_records: Vec::new(),
        }
    }

    /// What makes the states, given the operator's capabilities, and the side outputs by port.
    pub(crate) fn finish(self) -> (Vec<Make>, Vec<(usize, Box<dyn Flush>)>) {
        (self.makes, self.sides)
    }

    pub(crate) fn side_output<S: 'static>(&mut self) -> (SideOutput<S>, Stream<'scope, S>) {
        let port = self.builder.shape().outputs();
        let inputs = self.builder.shape().inputs();
        let connection = (0..inputs).map(|input| (input, Antichain::from_elem(Delay::default())));
        let (output, stream) = self.builder.new_output_connection::<Vec<S>, _>(connection);
        let (side, flush) = SideOutput::new(Output::from(output));
        self.sides.push((port, flush));
        (side, Stream::built(self.flow.clone(), stream))
    }

    /// Those of the states so far that can be asked for ahead, by an operator that is called with records
    /// of these types.
    pub(crate) fn lookahead<K: Key, V: 'static>(&mut self) -> Lookahead<K, V> {
        let mut of_records = Vec::new();
        for AskOfSome { ask, records } in std::mem::take(&mut self.asks_of_records) {
            match ask.downcast::<AskOfRecords<K, V>>() {
                Ok(ask) => of_records.push(*ask),
                Err(_) => self.flow.refuse(format!(
                    "operator {:?} is to look ahead by values of {records}, but is called with values of \
                     {}: give `look_ahead` a closure that takes a reference to that",
                    self.uid,
                    type_name::<V>()
                )),
            }
        }
        Lookahead::new(std::mem::take(&mut self.asks), of_records)
    }

    pub(crate) fn key_groups(&self) -> KeyGroups {
        self.flow.run().key_groups()
    }

    /// Where the operator counts records that come late.
    pub(crate) fn late(&self) -> Arc<LateCell> {
        self.flow.shared().metrics.late_of(self.uid)
    }

    /// A state whose table the operator works on itself; `empty` makes one for a worker's groups.
    pub(crate) fn table<K: Data + Hash + Eq, V: Data, C: SerdeCodec>(
        &mut self,
        name: &str,
        evolution: &Evolution,
        empty: fn(KeyGroups, Range<u16>) -> KeyedTable<K, V, C>,
    ) -> Slot<KeyedState<Moment, K, V, C>> {
        let (checkpoints, named) = (self.flow.checkpoints(), (self.uid, name));
        let make = dataflow::declare_table(checkpoints, self.builder, named, evolution, empty);
        self.keep(make)
    }

    pub(super) fn timers<K: Key, T: Data + Hash + Eq + Clone>(
        &mut self,
        name: &str,
    ) -> Slot<KeyedTimers<Moment, K, T, Bincode>> {
        let checkpoints = self.flow.checkpoints();
        let make = KeyedTimers::declare(checkpoints, self.builder, (self.uid, name));
        self.keep(make)
    }

    /// The watermark that the state `name` says was acted on before.
    pub(super) fn acted_on(&self, name: &str) -> Option<EventTime> {
        let uid = state_uid(self.uid, name);
        let start = self.flow.run().start();
        start.operators.iter().find(|state| state.uid == uid)?.watermark
    }

    fn keep<S, F>(&mut self, make: F) -> Slot<S>
    where
        S: NamedState + 'static,
        F: FnOnce(&[Capability<Moment>]) -> S + 'static,
    {
        let slot = Slot::new();
        let filled = slot.clone();
        self.makes.push(Box::new(move |capabilities| filled.fill(make(capabilities))));
        slot
    }

    pub(crate) fn list<I: Data>(
        &mut self,
        name: &str,
        redistribution: Redistribution,
    ) -> OperatorList<I> {
        self.list_from(name, redistribution, |items| items)
    }

    /// A list that begins with what `begin` makes of the items of the checkpoint.
    fn list_from<I: Data>(
        &mut self,
        name: &str,
        redistribution: Redistribution,
        begin: impl FnOnce(Vec<I>) -> Vec<I>,
    ) -> OperatorList<I> {
        let checkpoints = self.flow.checkpoints();
        let joined = checkpoints.join_state(self.builder, self.uid, name, list_schema::<I>());
        let items = begin(checkpoints.load_list(&state_uid(self.uid, name), redistribution));
        OperatorList(self.keep(move |capabilities| {
            dataflow::ListState::new(joined.participant(capabilities), items)
        }))
    }
}

/// Declares the states of an operator that works on keys: see [`KeyedStream::process`].
///
/// A name that is empty or is used twice, and a state that has another type in the checkpoint, are
/// what the job's `run` returns.
///
/// [`KeyedStream::process`]: crate::KeyedStream::process
pub struct States<'a, 'd, 'scope, K, M = Forever, C = Bincode> {
    declarations: &'a mut Declarations<'d, 'scope>,
    retention: M,
    /// Of the next state.
    evolution: Evolution,
    key: PhantomData<fn(K) -> C>,
}

impl<'a, 'd, 'scope, K: Key> States<'a, 'd, 'scope, K> {
    pub(super) fn declarations(&mut self) -> &mut Declarations<'d, 'scope> {
        self.declarations
    }

    /// Adds a stream of another type, beside that of the operator. The stream is returned with the
    /// handle, for the program to take out of the closure.
    ///
    /// ```
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect};
    /// let (even, odd) = collect(|flow| {
    ///     let numbers = flow.source("numbers", VecSource::new([1u64, 2, 3, 4]));
    ///     let mut odd = None;
    ///     let even = numbers.key_by(|n| n % 2).process("parity", |state| {
    ///         let (to_odd, stream) = state.side_output::<String>();
    ///         odd = Some(stream);
    ///         move |ctx, n| if n % 2 == 0 { ctx.emit(n) } else { to_odd.emit(format!("{n}!")) }
    ///     });
    ///     (even, odd.unwrap())
    /// });
    /// assert_eq!((even, odd), (vec![2, 4], vec!["1!".to_owned(), "3!".to_owned()]));
    /// ```
    pub fn side_output<S: 'static>(&mut self) -> (SideOutput<S>, Stream<'scope, S>) {
        self.declarations.side_output()
    }

    pub(crate) fn new(declarations: &'a mut Declarations<'d, 'scope>) -> Self {
        States { declarations, retention: Forever, evolution: Evolution::new(), key: PhantomData }
    }

    /// As [`OperatorStates::split_list`].
    pub fn split_list<I: Data>(&mut self, name: &str) -> OperatorList<I> {
        self.declarations.list(name, Redistribution::Split)
    }

    /// As [`OperatorStates::broadcast_list`].
    pub fn broadcast_list<I: Data>(&mut self, name: &str) -> OperatorList<I> {
        self.declarations.list(name, Redistribution::Broadcast)
    }
}

impl<'d, 'scope, K: Key, C: SerdeCodec> States<'_, 'd, 'scope, K, Forever, C> {
    /// Declares the states that follow with a time to live, for each value or element on its own.
    ///
    /// Migrations come after it, or the job's `run` returns an error: they are of what is kept.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use highwater::prelude::*;
    /// # use highwater::state::Ttl;
    /// # use highwater::testing::{VecSource, collect_one};
    /// let firsts = collect_one(|flow| {
    ///     let clicks = flow.source("clicks", VecSource::new(["ann", "bob", "ann"].map(String::from)));
    ///     clicks.key_by(|user| user.clone()).process("firsts", |state| {
    ///         let day = Ttl::on_write(Duration::from_secs(86_400));
    ///         let seen = state.time_to_live(day).value::<bool>("seen");
    ///         move |ctx, _click| {
    ///             if seen.set(ctx, true).is_none() {
    ///                 ctx.emit(ctx.key().clone());
    ///             }
    ///         }
    ///     })
    /// });
    /// assert_eq!(firsts, ["ann", "bob"]);
    /// ```
    pub fn time_to_live(&mut self, ttl: Ttl) -> States<'_, 'd, 'scope, K, Ttl, C> {
        let evolution = std::mem::take(&mut self.evolution);
        if evolution.older().next().is_some() {
            let uid = self.declarations.uid;
            self.declarations.flow.refuse(format!(
                "operator {uid:?}: a state has migrations before its time to live: say that first"
            ));
        }
        States { declarations: self.declarations, retention: ttl, evolution, key: PhantomData }
    }
}

impl<'d, 'scope, K: Key, M: Retention, C: SerdeCodec> States<'_, 'd, 'scope, K, M, C> {
    /// Declares the states that follow with another encoding in checkpoints; [`Bincode`] unless said.
    ///
    /// [`MessagePack`](crate::checkpoint::state::MessagePack) keeps the names of fields, so that a
    /// later program may have other fields. State in one of the two is restored by the other.
    pub fn codec<D: SerdeCodec>(&mut self, _codec: D) -> States<'_, 'd, 'scope, K, M, D> {
        let (retention, evolution) = (self.retention, std::mem::take(&mut self.evolution));
        States { declarations: self.declarations, retention, evolution, key: PhantomData }
    }

    /// Sets the version of the type of the next state: of its values, or of its elements.
    ///
    /// *Default*: 1. *Range*: at least 1, and above that of every migration. See
    /// [`KeyedStream::schema_version`](crate::KeyedStream::schema_version).
    ///
    /// ```
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// # let _ = collect_one(|flow| {
    /// # let payments = flow.source("payments", VecSource::new([("a".to_owned(), 1.0)]));
    /// payments.keyed().process("spending", |state| {
    ///     // Sums were kept as u32 once, then as u64.
    ///     let sums = state
    ///         .schema_version(3)
    ///         .migrate_from(1, |sum: u32| u64::from(sum))
    ///         .migrate_from(2, |sum: u64| sum as f64)
    ///         .value::<f64>("sum");
    ///     // This one is of version 1 still.
    ///     let count = state.codec(MessagePack).value::<u64>("count");
    ///     move |ctx, amount| {
    ///         let count = count.update(ctx, |count| { *count += 1; *count });
    ///         ctx.emit(sums.update(ctx, |sum| { *sum += amount; *sum }) / count as f64);
    ///     }
    /// })
    /// # });
    /// ```
    pub fn schema_version(&mut self, version: u32) -> States<'_, 'd, 'scope, K, M, C> {
        self.evolving(|evolution| evolution.schema_version(version))
    }

    /// Restores the next state through `migrate` if it is of an older version, whose values or elements
    /// were of the type `O`. Keys are not migrated, those of a map neither. See
    /// [`KeyedStream::migrate_from`](crate::KeyedStream::migrate_from).
    ///
    /// What is kept by a reducing state is an `Option` of its values, and by an aggregating one the
    /// accumulator.
    pub fn migrate_from<O: Data, N: Data>(
        &mut self,
        version: u32,
        migrate: impl Fn(O) -> N + 'static,
    ) -> States<'_, 'd, 'scope, K, M, C> {
        self.try_migrate_from(version, move |old| Ok(migrate(old)))
    }

    /// As [`migrate_from`](Self::migrate_from), for what may fail: the job does not start then.
    pub fn try_migrate_from<O: Data, N: Data>(
        &mut self,
        version: u32,
        migrate: impl Fn(O) -> Result<N, BoxError> + 'static,
    ) -> States<'_, 'd, 'scope, K, M, C> {
        self.evolving(|evolution| {
            evolution
                .migrate_from(version, move |old: M::Stored<O>| M::try_map::<O, N>(old, &migrate))
        })
    }

    pub(crate) fn retention(&self) -> M {
        self.retention
    }

    /// The next state is as `evolution` says: of values as they are stored.
    pub(crate) fn evolved(&mut self, evolution: Evolution) -> States<'_, 'd, 'scope, K, M, C> {
        self.evolving(|_| evolution)
    }

    fn evolving(
        &mut self,
        evolve: impl FnOnce(Evolution) -> Evolution,
    ) -> States<'_, 'd, 'scope, K, M, C> {
        let evolution = evolve(std::mem::take(&mut self.evolution));
        let retention = self.retention;
        States { declarations: self.declarations, retention, evolution, key: PhantomData }
    }

    fn values<V: Data>(&mut self, name: &str) -> ValueState<K, V, M, C> {
        let kept = (self.retention, &std::mem::take(&mut self.evolution));
        let Declarations { flow, builder, uid, .. } = &mut *self.declarations;
        let (checkpoints, named) = (flow.checkpoints(), (*uid, name));
        let make = KeyedValues::declare(checkpoints, builder, named, kept);
        let values = self.declarations.keep(make);
        let ahead = values.clone();
        let ask = move |hashes: &[u64]| ahead.with(|state| state.ask_for(hashes));
        self.declarations.asks.push(Box::new(ask));
        ValueState(values)
    }

    /// One value a key.
    pub fn value<V: Data>(&mut self, name: &str) -> ValueState<K, V, M, C> {
        self.values(name)
    }

    /// Values in order of arrival.
    pub fn list<V: Data>(&mut self, name: &str) -> ListState<K, V, M, C> {
        let kept = (self.retention, &std::mem::take(&mut self.evolution));
        let Declarations { flow, builder, uid, .. } = &mut *self.declarations;
        let (checkpoints, named) = (flow.checkpoints(), (*uid, name));
        let make = KeyedElements::declare(checkpoints, builder, named, kept);
        ListState(self.declarations.keep(make))
    }

    /// Values by another key, in the order of that.
    pub fn map<E: Data + Hash + Ord + Clone, V: Data>(
        &mut self,
        name: &str,
    ) -> MapState<K, E, V, M, C> {
        let kept = (self.retention, &std::mem::take(&mut self.evolution));
        let Declarations { flow, builder, uid, .. } = &mut *self.declarations;
        let (checkpoints, named) = (flow.checkpoints(), (*uid, name));
        let make = KeyedElements::declare(checkpoints, builder, named, kept);
        MapState(self.declarations.keep(make))
    }

    /// Says which element of `map` the function will come to with a value, if that is known before: its
    /// memory is asked for some values ahead.
    ///
    /// A map of millions of elements costs a cache miss or two with each value; asked for ahead, those of
    /// many values overlap. It is a hint: a function may come to other elements, at the old price.
    /// States with one value a key need no such hint, for a value's key is known.
    ///
    /// The closure is called with a reference to what the function is called with, by value: the job's `run`
    /// returns an error if its type is another.
    ///
    /// ```
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// // Who visits a page for the first time.
    /// let firsts = collect_one(|flow| {
    ///     let visits = [("/shop", 7u64), ("/shop", 8), ("/shop", 7)];
    ///     let visits = visits.map(|(page, user)| (page.to_owned(), user));
    ///     flow.source("visits", VecSource::new(visits)).keyed().process("firsts", |state| {
    ///         let seen = state.map::<u64, ()>("seen");
    ///         state.look_ahead(&seen, |user: &u64| Some(*user));
    ///         move |ctx, user| {
    ///             if seen.insert(ctx, user, ()).is_none() {
    ///                 ctx.emit((ctx.key().clone(), user));
    ///             }
    ///         }
    ///     })
    /// });
    /// assert_eq!(firsts, [("/shop".to_owned(), 7), ("/shop".to_owned(), 8)]);
    /// ```
    pub fn look_ahead<T, E, V, N, D>(
        &mut self,
        map: &MapState<K, E, V, N, D>,
        element_of: impl Fn(&T) -> Option<E> + 'static,
    ) where
        T: 'static,
        E: Data + Hash + Ord + Clone,
        V: Data,
        N: Retention,
        D: SerdeCodec,
    {
        let map = map.clone();
        let ask: AskOfRecords<K, T> = Box::new(move |ahead, hashes| {
            let elements = hashes.iter().zip(ahead);
            let elements = elements.filter_map(|(hash, (_, of))| Some((*hash, element_of(of)?)));
            map.0.with(|state| state.ask_for::<CHUNK>(elements));
        });
        let ask = AskOfSome { ask: Box::new(ask), records: type_name::<T>() };
        self.declarations.asks_of_records.push(ask);
    }

    /// The values that are added, combined two at a time; the first stands as it is.
    pub fn reducing<V: Data>(
        &mut self,
        name: &str,
        reduce: impl Fn(V, V) -> V + 'static,
    ) -> ReducingState<K, V, M, C> {
        ReducingState { kept: self.values(name), reduce: Rc::new(reduce) }
    }

    /// An accumulator, and what the aggregator says of it.
    pub fn aggregating<G: Aggregator>(
        &mut self,
        name: &str,
        aggregator: G,
    ) -> AggregatingState<K, G, M, C> {
        AggregatingState { kept: self.values(name), aggregator: Rc::new(aggregator) }
    }
}

/// Declares the states of an operator that does not work on keys: see [`Stream::process`].
///
/// [`Stream::process`]: crate::Stream::process
pub struct OperatorStates<'a, 'd, 'scope> {
    declarations: &'a mut Declarations<'d, 'scope>,
}

impl<'a, 'd, 'scope> OperatorStates<'a, 'd, 'scope> {
    pub(crate) fn new(declarations: &'a mut Declarations<'d, 'scope>) -> Self {
        OperatorStates { declarations }
    }

    /// As [`States::side_output`].
    pub fn side_output<S: 'static>(&mut self) -> (SideOutput<S>, Stream<'scope, S>) {
        self.declarations.side_output()
    }

    /// Items that are dealt out to the workers in turn when a job is started again, with the same
    /// number of workers or with another.
    pub fn split_list<I: Data>(&mut self, name: &str) -> OperatorList<I> {
        self.declarations.list(name, Redistribution::Split)
    }

    /// Items all of which every worker gets when a job is started again.
    ///
    /// A worker keeps of them what it has a use for: whatever it keeps, it writes, so that an item
    /// that all keep is there once for each of them after the next start.
    pub fn broadcast_list<I: Data>(&mut self, name: &str) -> OperatorList<I> {
        self.declarations.list(name, Redistribution::Broadcast)
    }
}

impl OperatorStates<'_, '_, '_> {
    /// As [`broadcast_list`](Self::broadcast_list), beginning with what `begin` makes of all items.
    pub(crate) fn broadcast_list_from<I: Data>(
        &mut self,
        name: &str,
        begin: impl FnOnce(Vec<I>) -> Vec<I>,
    ) -> OperatorList<I> {
        self.declarations.list_from(name, Redistribution::Broadcast, begin)
    }
}

impl<K, M: Retention, C> std::fmt::Debug for States<'_, '_, '_, K, M, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (uid, retention) = (self.declarations.uid, &self.retention);
        f.debug_struct("States").field("uid", &uid).field("retention", retention).finish()
    }
}

impl std::fmt::Debug for OperatorStates<'_, '_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorStates").field("uid", &self.declarations.uid).finish()
    }
}
