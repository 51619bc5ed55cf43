//! Folding the records of each key: the one operator behind fold, reduce, aggregate and count.
//!
//! A batch is worked on in chunks: hash all keys, prefetch their slots so that the cache misses
//! overlap, then update (`ahead.rs`). One miss a record is nearly the whole cost of a large state.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hash};
use std::marker::PhantomData;

use highwater_checkpoint::Moment;
use highwater_checkpoint::dataflow::{Again, Closed, KeyedState, Stash, Wakeup, frontier_epoch};
use highwater_checkpoint::metadata::StateSchema;
use highwater_checkpoint::state::{Codec, Cursor, KeyedTable, Place, StableHasher, stable_hash};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::OutputBuilderSession;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, CapabilityTrait};
use timely::progress::frontier::AntichainRef;
use timely::progress::operate::FrontierInterest;

use super::ahead::in_chunks;
use crate::error::Error;
use crate::stream::{Data, Emit, Flow, Keep, Key, Output, Stream, to_first_output};

/// Slots whose entries are emitted at the end of input before other operators get a turn.
const END_SLOTS: usize = 1 << 16;

/// A record that has a key.
pub(crate) trait Keyed {
    type Key;
    type Value;
    fn key(&self) -> &Self::Key;
    fn into_parts(self) -> (Self::Key, Self::Value);
}

impl<K, V> Keyed for (K, V) {
    type Key = K;
    type Value = V;

    #[inline]
    fn key(&self) -> &K {
        &self.0
    }

    #[inline]
    fn into_parts(self) -> (K, V) {
        self
    }
}

/// What to keep for each key, and what to say of it.
pub(crate) struct KeyedFold<I, F, O, V> {
    pub(crate) name: &'static str,
    pub(crate) init: I,
    pub(crate) add: F,
    pub(crate) output: O,
    pub(crate) input: PhantomData<fn(V)>,
}

type Session<'a, K, R> = OutputBuilderSession<'a, Moment, CapacityContainerBuilder<Vec<(K, R)>>>;

/// Adds the operator.
pub(crate) fn keyed_fold<'scope, D, K, V, A, R, C>(
    uid: &str,
    stream: Stream<'scope, D>,
    keep: Keep<C>,
    fold: KeyedFold<
        impl Fn() -> A + 'static,
        impl Fn(&mut A, V) + 'static,
        impl Fn(&A) -> R + 'static,
        V,
    >,
) -> Stream<'scope, (K, R)>
where
    D: Keyed<Key = K, Value = V> + Data,
    K: Key,
    V: 'static,
    A: Data,
    R: 'static,
    C: Codec<K> + Codec<A> + 'static,
{
    let flow = stream.flow().clone();
    let folded = build(&flow, uid, stream.into_timely(), keep, fold);
    Stream::built(flow, folded)
}

fn build<'scope, D, K, V, A, R, C>(
    flow: &Flow<'scope>,
    uid: &str,
    stream: StreamVec<'scope, Moment, D>,
    keep: Keep<C>,
    fold: KeyedFold<
        impl Fn() -> A + 'static,
        impl Fn(&mut A, V) + 'static,
        impl Fn(&A) -> R + 'static,
        V,
    >,
) -> StreamVec<'scope, Moment, (K, R)>
where
    D: Keyed<Key = K, Value = V> + Data,
    K: Key,
    V: 'static,
    A: Data,
    R: 'static,
    C: Codec<K> + Codec<A> + 'static,
{
    let mut builder = OperatorBuilder::new(format!("{} {uid}", fold.name), flow.scope());
    let (output, results) = builder.new_output_connection::<Vec<(K, R)>, _>([]);
    let key_groups = flow.run().key_groups();
    let owners = key_groups.owners(flow.scope().peers());
    let route = move |record: &D| {
        u64::from(owners[usize::from(key_groups.of_hash(stable_hash(record.key())))])
    };
    let mut input = builder.new_input_connection(stream, Exchange::new(route), to_first_output());
    builder.set_notify_for(0, FrontierInterest::Always);
    let Keep { emit, evolution, .. } = keep;
    if emit == Emit::AtEnd {
        flow.not_within_loop(uid, "the end of the input");
    }
    let schema = StateSchema::keyed::<K, A, C>(&evolution);
    let joined = flow.checkpoints().join(&mut builder, uid, schema);
    let table = flow.checkpoints().load_evolved::<K, A, C>(uid, &evolution);
    let activator = flow.scope().activator_for(builder.operator_info().address);
    let (run, uid) = (std::sync::Arc::clone(flow.run()), uid.to_owned());
    builder.build_reschedule(move |capabilities| {
        let mut output: Output<(K, R)> = Output::from(output);
        let state = joined.keyed(&capabilities, table);
        let emission = Emission::new(emit, &capabilities[0]);
        drop(capabilities);
        let mut operator = Operator { state, stash: Stash::default(), emission, fold };
        let mut wakeup = Wakeup::new(activator, std::sync::Arc::clone(&run));
        move |frontiers| {
            let mut output = output.activate();
            input.for_each(|capability, batch| {
                let epoch = capability.time().tick.epoch();
                if operator.state.may_apply(epoch, operator.stash.first()) {
                    operator.apply(&capability, capability.retain(0), batch, &mut output);
                } else {
                    operator.stash.push(capability.retain(0), batch);
                }
            });
            match operator.advance(frontiers[0].frontier(), &mut output) {
                Ok(again) => wakeup.again(again),
                Err(error) => run.control().fail(Error::Operator { uid: uid.clone(), error }),
            }
            !operator.state.is_done() && !run.control().is_over()
        }
    });
    results
}

struct Operator<K, A, C, D, I, F, O, V> {
    state: KeyedState<Moment, K, A, C>,
    stash: Stash<Moment, Vec<D>>,
    emission: Emission<K>,
    fold: KeyedFold<I, F, O, V>,
}

/// What is to be emitted later, and the capability to do so.
enum Emission<K> {
    EachUpdate,
    LastPerStep(BTreeMap<Moment, (Capability<Moment>, Changed<K>)>),
    AtEnd(Option<AtEnd>),
}

type Changed<K> = HashSet<K, BuildHasherDefault<StableHasher>>;

struct AtEnd {
    capability: Capability<Moment>,
    cursor: Cursor,
}

impl<K> Emission<K> {
    fn new(emit: Emit, initial: &Capability<Moment>) -> Self {
        match emit {
            Emit::EachUpdate => Emission::EachUpdate,
            Emit::LastPerStep => Emission::LastPerStep(BTreeMap::new()),
            Emit::AtEnd => {
                let (capability, cursor) = (initial.clone(), Cursor::default());
                Emission::AtEnd(Some(AtEnd { capability, cursor }))
            }
        }
    }
}

impl<K, A, C, D, I, F, O, V, R> Operator<K, A, C, D, I, F, O, V>
where
    D: Keyed<Key = K, Value = V>,
    K: Key,
    A: Data,
    C: Codec<K> + Codec<A>,
    I: Fn() -> A,
    F: Fn(&mut A, V),
    O: Fn(&A) -> R,
    R: 'static,
{
    fn apply<T: CapabilityTrait<Moment>>(
        &mut self,
        capability: &T,
        retained: Capability<Moment>,
        batch: &mut Vec<D>,
        output: &mut Session<'_, K, R>,
    ) {
        match &mut self.emission {
            Emission::EachUpdate => {
                drop(retained);
                let mut session = output.session_with_builder(capability);
                let say = &self.fold.output;
                update(self.state.table(), &self.fold, batch, |key, value| {
                    session.give((key.clone(), say(value)));
                });
            }
            Emission::LastPerStep(steps) => {
                let time = *retained.time();
                let (_, changed) = steps.entry(time).or_insert((retained, Changed::default()));
                update(self.state.table(), &self.fold, batch, |key, _| {
                    if !changed.contains(key) {
                        changed.insert(key.clone());
                    }
                });
            }
            Emission::AtEnd(_) => {
                drop(retained);
                update(self.state.table(), &self.fold, batch, |_, _| {});
            }
        }
    }

    /// Goes on with whatever the frontier allows.
    fn advance(
        &mut self,
        frontier: AntichainRef<'_, Moment>,
        output: &mut Session<'_, K, R>,
    ) -> std::result::Result<Again, highwater_checkpoint::BoxError> {
        loop {
            while !self.state.is_full()
                && let Some((capability, mut batch)) = self.stash.pop(self.state.running())
            {
                self.apply(&capability, capability.clone(), &mut batch, output);
            }
            if self.emit_later(frontier, output) == Again::Now {
                // The epoch ends when everything of it is said.
                self.state.work()?;
                return Ok(Again::Now);
            }
            let closed = self.state.advance(frontier_epoch(frontier), self.stash.first());
            if closed == Closed::No {
                return self.state.work();
            }
        }
    }

    /// Emits what its time has come for; `Again::Now` if there is more of it.
    fn emit_later(
        &mut self,
        frontier: AntichainRef<'_, Moment>,
        output: &mut Session<'_, K, R>,
    ) -> Again {
        let say = &self.fold.output;
        match &mut self.emission {
            Emission::EachUpdate => {}
            Emission::LastPerStep(steps) => {
                // What is stashed of this epoch may be of a step that the frontier has passed.
                if self.stash.first().is_some_and(|stashed| stashed <= self.state.running()) {
                    return Again::WhenWoken;
                }
                while let Some(entry) = steps.first_entry() {
                    if frontier.less_equal(entry.key()) {
                        break;
                    }
                    let (capability, changed) = entry.remove();
                    let mut session = output.session_with_builder(&capability);
                    for key in changed {
                        if let Some(value) = self.state.table().get(stable_hash(&key), &key) {
                            let value = say(value);
                            session.give((key, value));
                        }
                    }
                }
            }
            Emission::AtEnd(at_end) => {
                let Some(AtEnd { capability, cursor }) = at_end else { return Again::WhenWoken };
                if let Some(least) = frontier.iter().copied().reduce(Moment::meet) {
                    capability.downgrade(&least);
                    return Again::WhenWoken;
                }
                if !self.state.is_last_epoch() || self.stash.first().is_some() {
                    return Again::WhenWoken;
                }
                let mut session = output.session_with_builder(&*capability);
                let give = |key: &K, value: &A| session.give((key.clone(), say(value)));
                if self.state.table().scan(cursor, END_SLOTS, give) {
                    return Again::Now;
                }
                drop(session);
                *at_end = None;
            }
        }
        Again::WhenWoken
    }
}

#[inline]
fn update<D, K, V, A, C, I, F, O>(
    table: &mut KeyedTable<K, A, C>,
    fold: &KeyedFold<I, F, O, V>,
    batch: &mut Vec<D>,
    mut changed: impl FnMut(&K, &A),
) where
    D: Keyed<Key = K, Value = V>,
    K: Hash + Eq + Key,
    A: Data,
    C: Codec<K> + Codec<A>,
    I: Fn() -> A,
    F: Fn(&mut A, V),
{
    in_chunks(
        table,
        batch,
        |table, record| table.announce(stable_hash(record.key())),
        |table, place: &mut Place| table.locate(place),
        |table, place, record| {
            let (key, value) = record.into_parts();
            table.update_at(place, key, &fold.init, |key, accumulator| {
                (fold.add)(accumulator, value);
                changed(key, accumulator);
            });
        },
    );
}
