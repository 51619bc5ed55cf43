//! One value a key: value, reducing and aggregating state.

use std::rc::Rc;

use highwater_checkpoint::Moment;
use highwater_checkpoint::dataflow::KeyedValues;
use highwater_checkpoint::state::typed::{At, Forever, Retention};
use highwater_checkpoint::state::{Bincode, SerdeCodec};

use super::Slot;
use crate::stream::{Aggregator, Data, Key};

/// One value for each key.
///
/// ```
/// # use highwater::prelude::*;
/// # use highwater::testing::{VecSource, collect_one};
/// // How much more than the last time, for each meter.
/// let used = collect_one(|flow| {
///     let readings = flow.source("readings", VecSource::new([(1u8, 10u64), (2, 7), (1, 14)]));
///     readings.keyed().process("used", |state| {
///         let last = state.value::<u64>("last");
///         move |ctx, reading| {
///             if let Some(last) = last.set(ctx, reading) {
///                 ctx.emit((*ctx.key(), reading - last));
///             }
///         }
///     })
/// });
/// assert_eq!(used, [(1, 4)]);
/// ```
pub struct ValueState<K, V: Data, M: Retention = Forever, C = Bincode>(
    pub(super) Slot<KeyedValues<Moment, K, V, M, C>>,
);

impl<K: Key, V: Data, M: Retention, C: SerdeCodec> ValueState<K, V, M, C> {
    /// The value.
    pub fn get(&self, at: &At<'_, K>) -> Option<V>
    where
        V: Clone,
    {
        self.0.with(|state| state.values().get(*at).cloned())
    }

    /// Lends the value to `read`, which must not use this state.
    pub fn read<R>(&self, at: &At<'_, K>, read: impl FnOnce(Option<&V>) -> R) -> R {
        self.0.with(|state| read(state.values().get(*at)))
    }

    /// Sets the value, and returns the one there was.
    pub fn set(&self, at: &At<'_, K>, value: V) -> Option<V> {
        self.0.with(|state| state.values().set(*at, value))
    }

    /// Applies `update` to the value, which begins as the default; `update` must not use this state.
    pub fn update<R>(&self, at: &At<'_, K>, update: impl FnOnce(&mut V) -> R) -> R
    where
        V: Default,
    {
        self.update_or_else(at, V::default, update)
    }

    /// Applies `update` to the value, which `init` makes if there is none; neither may use this
    /// state.
    pub fn update_or_else<R>(
        &self,
        at: &At<'_, K>,
        init: impl Fn() -> V,
        update: impl FnOnce(&mut V) -> R,
    ) -> R {
        self.0.with(|state| state.values().update(*at, init, update))
    }

    /// Removes the value and returns it.
    pub fn remove(&self, at: &At<'_, K>) -> Option<V> {
        self.0.with(|state| state.values().remove(*at))
    }
}

/// The values that were added for each key, reduced to one.
///
/// ```
/// # use highwater::prelude::*;
/// # use highwater::testing::{VecSource, collect_one};
/// let records = collect_one(|flow| {
///     let jumps = flow.source("jumps", VecSource::new([("a", 5), ("a", 3), ("a", 6)]));
///     jumps.map(|(name, cm)| (name.to_string(), cm)).keyed().process("records", |state| {
///         let best = state.reducing::<u32>("best", u32::max);
///         move |ctx, cm| {
///             if best.get(ctx).is_none_or(|best| best < cm) {
///                 ctx.emit(cm);
///             }
///             best.add(ctx, cm);
///         }
///     })
/// });
/// assert_eq!(records, [5, 6]);
/// ```
pub struct ReducingState<K, V: Data, M: Retention = Forever, C = Bincode> {
    /// None only while two are combined.
    pub(super) kept: ValueState<K, Option<V>, M, C>,
    pub(super) reduce: Rc<dyn Fn(V, V) -> V>,
}

impl<K: Key, V: Data, M: Retention, C: SerdeCodec> ReducingState<K, V, M, C> {
    /// Adds a value.
    pub fn add(&self, at: &At<'_, K>, value: V) {
        self.kept.update(at, |kept| {
            *kept = Some(match kept.take() {
                Some(kept) => (self.reduce)(kept, value),
                None => value,
            });
        });
    }

    /// What the values have come to; none if none was added.
    pub fn get(&self, at: &At<'_, K>) -> Option<V>
    where
        V: Clone,
    {
        self.kept.get(at).flatten()
    }

    /// Forgets the values.
    pub fn clear(&self, at: &At<'_, K>) {
        self.kept.remove(at);
    }
}

/// An accumulator for each key, worked on by an [`Aggregator`].
///
/// ```
/// # use highwater::prelude::*;
/// # use highwater::testing::{VecSource, collect_one};
/// struct Mean;
///
/// impl Aggregator for Mean {
/// #   type Input = f64;
/// #   type Accumulator = (f64, u64);
/// #   type Output = f64;
/// #   fn init(&self) -> (f64, u64) { (0.0, 0) }
/// #   fn add(&self, (sum, count): &mut (f64, u64), value: f64) { *sum += value; *count += 1; }
/// #   fn output(&self, (sum, count): &(f64, u64)) -> f64 { sum / *count as f64 }
///     // As with `KeyedStream::aggregate`.
/// }
///
/// // Values that are more than twice the mean of those before them.
/// let spikes = collect_one(|flow| {
///     let values = flow.source("values", VecSource::new([1.0, 2.0, 9.0, 3.0]));
///     values.key_by(|_| 0).process("spikes", |state| {
///         let mean = state.aggregating("mean", Mean);
///         move |ctx, value| {
///             if mean.get(ctx).is_some_and(|mean| value > 2.0 * mean) {
///                 ctx.emit(value);
///             }
///             mean.add(ctx, value);
///         }
///     })
/// });
/// assert_eq!(spikes, [9.0]);
/// ```
pub struct AggregatingState<K, G: Aggregator, M: Retention = Forever, C = Bincode> {
    pub(super) kept: ValueState<K, G::Accumulator, M, C>,
    pub(super) aggregator: Rc<G>,
}

impl<K: Key, G: Aggregator, M: Retention, C: SerdeCodec> AggregatingState<K, G, M, C> {
    /// Takes in one value.
    pub fn add(&self, at: &At<'_, K>, input: G::Input) {
        let add = |accumulator: &mut G::Accumulator| self.aggregator.add(accumulator, input);
        self.kept.update_or_else(at, || self.aggregator.init(), add);
    }

    /// What the accumulator has come to; none if nothing was added.
    pub fn get(&self, at: &At<'_, K>) -> Option<G::Output> {
        self.kept.read(at, |kept| kept.map(|kept| self.aggregator.output(kept)))
    }

    /// Forgets what was added.
    pub fn clear(&self, at: &At<'_, K>) {
        self.kept.remove(at);
    }
}

impl<K, V: Data, M: Retention, C> Clone for ValueState<K, V, M, C> {
    fn clone(&self) -> Self {
        ValueState(self.0.clone())
    }
}

impl<K, V: Data, M: Retention, C> Clone for ReducingState<K, V, M, C> {
    fn clone(&self) -> Self {
        ReducingState { kept: self.kept.clone(), reduce: Rc::clone(&self.reduce) }
    }
}

impl<K, G: Aggregator, M: Retention, C> Clone for AggregatingState<K, G, M, C> {
    fn clone(&self) -> Self {
        AggregatingState { kept: self.kept.clone(), aggregator: Rc::clone(&self.aggregator) }
    }
}

impl<K, V: Data, M: Retention, C> std::fmt::Debug for ValueState<K, V, M, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ValueState<{}>", std::any::type_name::<(K, V)>())
    }
}

impl<K, V: Data, M: Retention, C> std::fmt::Debug for ReducingState<K, V, M, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ReducingState<{}>", std::any::type_name::<(K, V)>())
    }
}

impl<K, G: Aggregator, M: Retention, C> std::fmt::Debug for AggregatingState<K, G, M, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AggregatingState<{}>", std::any::type_name::<(K, G)>())
    }
}
