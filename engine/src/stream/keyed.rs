//! Keyed streams, and what can be kept for each key.

use std::hash::Hash;
use std::marker::PhantomData;

use highwater_checkpoint::BoxError;
use highwater_checkpoint::schema::Evolution;
use highwater_checkpoint::state::{Bincode, Codec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Flow, Stream};
use crate::operators::{Keyed, KeyedFold, keyed_fold};

/// What a type must be to be a key: every worker must see the same one in it.
///
/// `Hash` decides on the key group, and so on the worker, in this run and in every later one.
pub trait Key: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static {}
impl<K: Hash + Eq + Clone + Serialize + DeserializeOwned + Send + 'static> Key for K {}

/// What a type must be to be sent from one worker to another, or kept in a checkpoint.
pub trait Data: Serialize + DeserializeOwned + Send + 'static {}
impl<T: Serialize + DeserializeOwned + Send + 'static> Data for T {}

/// When a keyed operator says what it has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emit {
    /// With every record: the value after it. The default, because nothing is waited for.
    #[default]
    EachUpdate,
    /// The last value of each key that changed, once per pacing step (about a millisecond).
    LastPerStep,
    /// The last value of every key, when the input has ended.
    AtEnd,
}

/// Folds the records of one key into an accumulator.
///
/// ```
/// use highwater::prelude::*;
/// # use highwater::testing::{VecSource, collect_one};
///
/// struct Mean;
///
/// impl Aggregator for Mean {
///     type Input = f64;
///     type Accumulator = (f64, u64);
///     type Output = f64;
///
///     fn init(&self) -> (f64, u64) {
///         (0.0, 0)
///     }
///     fn add(&self, (sum, count): &mut (f64, u64), value: f64) {
///         *sum += value;
///         *count += 1;
///     }
///     fn output(&self, (sum, count): &(f64, u64)) -> f64 {
///         sum / *count as f64
///     }
/// }
///
/// let means = collect_one(|flow| {
///     let pairs = flow.source("pairs", VecSource::new([("a".to_owned(), 1.0), ("a".to_owned(), 2.0)]));
///     pairs.keyed().emit(Emit::AtEnd).aggregate("mean", Mean)
/// });
/// assert_eq!(means, [("a".to_owned(), 1.5)]);
/// ```
pub trait Aggregator: 'static {
    /// One record's value.
    type Input;
    /// What is kept for each key, in memory and in checkpoints.
    type Accumulator: Data;
    /// What is said of it.
    type Output: 'static;

    /// The accumulator of a key that has seen nothing.
    fn init(&self) -> Self::Accumulator;
    /// Takes in one record.
    fn add(&self, accumulator: &mut Self::Accumulator, input: Self::Input);
    /// What the accumulator has come to.
    fn output(&self, accumulator: &Self::Accumulator) -> Self::Output;
}

/// An [`Aggregator`] of which what is kept of some records and what is kept of others makes what is kept
/// of all: what sliding, cumulating and session windows are made of.
///
/// ```
/// use highwater::prelude::*;
///
/// struct Mean;
///
/// impl Aggregator for Mean {
/// #   type Input = f64;
/// #   type Accumulator = (f64, u64);
/// #   type Output = f64;
/// #   fn init(&self) -> (f64, u64) { (0.0, 0) }
/// #   fn add(&self, (sum, count): &mut (f64, u64), value: f64) { *sum += value; *count += 1 }
/// #   fn output(&self, (sum, count): &(f64, u64)) -> f64 { sum / *count as f64 }
///     // ...
/// }
///
/// impl MergeAggregator for Mean {
///     fn merge(&self, (sum, count): &mut (f64, u64), later: (f64, u64)) {
///         *sum += later.0;
///         *count += later.1;
///     }
/// }
/// ```
pub trait MergeAggregator: Aggregator {
    /// Merges what was kept of other records, later ones where there is an order, into `accumulator`.
    ///
    /// Contract: it does not matter how records are grouped, only their order may.
    fn merge(&self, accumulator: &mut Self::Accumulator, later: Self::Accumulator);
}

/// A stream of records of `V` with a key of `K` each: all records of a key meet on one worker.
///
/// Operators on it have a *uid*, by which a checkpoint's state is matched: it must be unique in
/// the job and stay the same from one version of the program to the next.
#[must_use = "a stream that does not end in a sink is not run"]
pub struct KeyedStream<'scope, K, V, C = Bincode> {
    pub(super) parts: Box<dyn Parts<'scope, K, V> + 'scope>,
    keep: Keep<C>,
}

/// How an operator keeps its state, and when it emits.
pub(crate) struct Keep<C> {
    pub(crate) emit: Emit,
    pub(crate) evolution: Evolution,
    pub(crate) codec: PhantomData<fn() -> C>,
}

impl<C> Default for Keep<C> {
    fn default() -> Self {
        Keep { emit: Emit::default(), evolution: Evolution::new(), codec: PhantomData }
    }
}

/// A keyed stream may be asked for pairs or for keys alone: what is not asked for is not sent.
pub(super) trait Parts<'scope, K, V> {
    fn pairs(self: Box<Self>) -> Stream<'scope, (K, V)>;
    fn keys(self: Box<Self>) -> Stream<'scope, Alone<K>>;
    fn flow(&self) -> &Flow<'scope>;
}

/// A key without a value, with the encoding of the key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Alone<K>(pub(crate) K);

impl<K> Keyed for Alone<K> {
    type Key = K;
    type Value = ();

    #[inline]
    fn key(&self) -> &K {
        &self.0
    }

    #[inline]
    fn into_parts(self) -> (K, ()) {
        (self.0, ())
    }
}

struct ByKey<'scope, T: 'static, F> {
    stream: Stream<'scope, T>,
    key: F,
}

impl<'scope, K: 'static, T: 'static, F: FnMut(&T) -> K + 'static> Parts<'scope, K, T>
    for ByKey<'scope, T, F>
{
    fn pairs(self: Box<Self>) -> Stream<'scope, (K, T)> {
        let Self { stream, mut key } = *self;
        stream.map(move |record| (key(&record), record))
    }

    fn keys(self: Box<Self>) -> Stream<'scope, Alone<K>> {
        let Self { stream, mut key } = *self;
        stream.map(move |record| Alone(key(&record)))
    }

    fn flow(&self) -> &Flow<'scope> {
        self.stream.flow()
    }
}

struct Pairs<'scope, K: 'static, V: 'static>(Stream<'scope, (K, V)>);

impl<'scope, K: 'static, V: 'static> Parts<'scope, K, V> for Pairs<'scope, K, V> {
    fn pairs(self: Box<Self>) -> Stream<'scope, (K, V)> {
        self.0
    }

    fn keys(self: Box<Self>) -> Stream<'scope, Alone<K>> {
        self.0.map(|(key, _)| Alone(key))
    }

    fn flow(&self) -> &Flow<'scope> {
        self.0.flow()
    }
}

impl<'scope, T: 'static> Stream<'scope, T> {
    /// Gives each record a key.
    pub fn key_by<K: Key>(self, key: impl FnMut(&T) -> K + 'static) -> KeyedStream<'scope, K, T> {
        KeyedStream { parts: Box::new(ByKey { stream: self, key }), keep: Keep::default() }
    }
}

impl<'scope, K: Key, V: 'static> Stream<'scope, (K, V)> {
    /// Takes the first of each pair as the key, and sends only the second along with it.
    pub fn keyed(self) -> KeyedStream<'scope, K, V> {
        KeyedStream { parts: Box::new(Pairs(self)), keep: Keep::default() }
    }
}

impl<'scope, K, V, C> KeyedStream<'scope, K, V, C> {
    pub(super) fn flow(&self) -> &Flow<'scope> {
        self.parts.flow()
    }
}

impl<'scope, K: Key, V: Data, C: 'static> KeyedStream<'scope, K, V, C> {
    /// Sets when the next operator emits; [`Emit::EachUpdate`] unless said.
    pub fn emit(mut self, emit: Emit) -> Self {
        self.keep.emit = emit;
        self
    }

    /// Sets how the state of the next operator is encoded in checkpoints; [`Bincode`] unless said.
    ///
    /// [`MessagePack`](crate::checkpoint::state::MessagePack) keeps the names of fields, so that a
    /// later program may have other fields. State in one of these two is restored by the other.
    pub fn codec<D>(self, _codec: D) -> KeyedStream<'scope, K, V, D> {
        let Keep { emit, evolution, .. } = self.keep;
        KeyedStream { parts: self.parts, keep: Keep { emit, evolution, codec: PhantomData } }
    }

    /// Sets the version of the state's type, which checkpoints record: to be raised when the type
    /// changes, or what it means.
    ///
    /// *Default*: 1. *Range*: at least 1, and above that of every migration.
    pub fn schema_version(mut self, version: u32) -> Self {
        self.keep.evolution = self.keep.evolution.schema_version(version);
        self
    }

    /// Restores state of an older version, whose values were of the type `O`, through `migrate`:
    /// to what the next migration reads, or to what the operator keeps. Keys are not migrated.
    ///
    /// Migrations are given in the order of their versions. Each entry is migrated when it is
    /// loaded, and the first checkpoint after that has all of them in the new version.
    ///
    /// ```
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// # let _ = collect_one(|flow| {
    /// # let payments = flow.source("payments", VecSource::new([("a".to_owned(), 1.0)]));
    /// // Sums were kept as u32 once, then as u64.
    /// payments
    ///     .keyed()
    ///     .schema_version(3)
    ///     .migrate_from(1, |sum: u32| u64::from(sum))
    ///     .migrate_from(2, |sum: u64| sum as f64)
    ///     .fold("sums", 0.0, |sum, amount| *sum += amount)
    /// # });
    /// ```
    pub fn migrate_from<O: Data, N: 'static>(
        self,
        version: u32,
        migrate: impl Fn(O) -> N + 'static,
    ) -> Self {
        self.try_migrate_from(version, move |old| Ok(migrate(old)))
    }

    /// As [`migrate_from`](Self::migrate_from), for what may fail: the job does not start then.
    pub fn try_migrate_from<O: Data, N: 'static>(
        mut self,
        version: u32,
        migrate: impl Fn(O) -> Result<N, BoxError> + 'static,
    ) -> Self {
        self.keep.evolution = self.keep.evolution.migrate_from(version, migrate);
        self
    }

    /// Folds the values of each key into an accumulator that begins as `init`.
    ///
    /// ```
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// let sums = collect_one(|flow| {
    ///     let numbers = flow.source("numbers", VecSource::new([1u64, 2, 3, 4]));
    ///     numbers.key_by(|n| n % 2).fold("sum", 0, |sum, n| *sum += n)
    /// });
    /// assert_eq!(sums, [(1, 1), (0, 2), (1, 4), (0, 6)]);
    /// ```
    pub fn fold<A: Data + Clone>(
        self,
        uid: &str,
        init: A,
        fold: impl Fn(&mut A, V) + 'static,
    ) -> Stream<'scope, (K, A)>
    where
        C: Codec<K> + Codec<A>,
    {
        keyed_fold(
            uid,
            self.parts.pairs(),
            self.keep,
            KeyedFold {
                name: "Fold",
                init: move || init.clone(),
                add: fold,
                output: A::clone,
                input: PhantomData,
            },
        )
    }

    /// Combines the values of each key, two at a time; the first stands as it is.
    pub fn reduce(self, uid: &str, reduce: impl Fn(V, V) -> V + 'static) -> Stream<'scope, (K, V)>
    where
        V: Clone,
        C: Codec<K> + Codec<Option<V>>,
    {
        let add = move |kept: &mut Option<V>, value| {
            *kept = Some(match kept.take() {
                Some(kept) => reduce(kept, value),
                None => value,
            });
        };
        let output = |kept: &Option<V>| kept.clone().expect("a key is there once it has a value");
        let reduce = KeyedFold { name: "Reduce", init: || None, add, output, input: PhantomData };
        keyed_fold(uid, self.parts.pairs(), self.keep, reduce)
    }

    /// Aggregates the values of each key; what is emitted may be of another type than what is kept.
    pub fn aggregate<G: Aggregator<Input = V>>(
        self,
        uid: &str,
        aggregator: G,
    ) -> Stream<'scope, (K, G::Output)>
    where
        C: Codec<K> + Codec<G::Accumulator>,
    {
        let shared = std::rc::Rc::new(aggregator);
        let (init, add) = (std::rc::Rc::clone(&shared), std::rc::Rc::clone(&shared));
        let aggregate = KeyedFold {
            name: "Aggregate",
            init: move || init.init(),
            add: move |accumulator: &mut G::Accumulator, value| add.add(accumulator, value),
            output: move |accumulator: &G::Accumulator| shared.output(accumulator),
            input: PhantomData,
        };
        keyed_fold(uid, self.parts.pairs(), self.keep, aggregate)
    }

    /// Counts the records of each key. Only the keys are sent between workers.
    pub fn count(self, uid: &str) -> Stream<'scope, (K, u64)>
    where
        C: Codec<K> + Codec<u64>,
    {
        let count = KeyedFold {
            name: "Count",
            init: || 0,
            add: |count: &mut u64, ()| *count += 1,
            output: |count: &u64| *count,
            input: PhantomData,
        };
        keyed_fold(uid, self.parts.keys(), self.keep, count)
    }
}

impl<K, V, C> std::fmt::Debug for KeyedStream<'_, K, V, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, value) = (std::any::type_name::<K>(), std::any::type_name::<V>());
        write!(f, "KeyedStream<{key}, {value}>")
    }
}
