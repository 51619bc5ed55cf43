//! What is kept of the records of a window, and what is said of it.

use std::marker::PhantomData;

use crate::stream::{Aggregator, Data, MergeAggregator};
use crate::window::Window;

/// See the module.
pub(crate) trait Fold<K, V>: 'static {
    type Kept: Data;
    type Said: 'static;
    fn init(&self) -> Self::Kept;
    fn add(&self, kept: &mut Self::Kept, value: V);
    fn say(&self, key: &K, window: Window, kept: &Self::Kept) -> Self::Said;

    /// How many records `value` is.
    fn records(&self, value: &V) -> u64 {
        let _ = value;
        1
    }
}

/// What is kept of parts of a window makes that of the whole.
pub(crate) trait Merge<K, V>: Fold<K, V, Kept: Clone> {
    /// Merges what is kept of later records.
    fn merge(&self, kept: &mut Self::Kept, later: Self::Kept);

    /// Whether merges are about as large as their parts: not if they keep all records.
    fn is_small(&self) -> bool {
        true
    }
}

/// A function and an accumulator of the program's.
pub(crate) struct Folded<A, F> {
    pub(crate) init: A,
    pub(crate) fold: F,
}

impl<K, V, A: Data + Clone, F: Fn(&mut A, V) + 'static> Fold<K, V> for Folded<A, F> {
    type Kept = A;
    type Said = A;

    fn init(&self) -> A {
        self.init.clone()
    }

    #[inline]
    fn add(&self, kept: &mut A, value: V) {
        (self.fold)(kept, value);
    }

    fn say(&self, _: &K, _: Window, kept: &A) -> A {
        kept.clone()
    }
}

/// Values that are combined two at a time.
pub(crate) struct Reduced<F>(pub(crate) F);

impl<K, V: Data + Clone, F: Fn(V, V) -> V + 'static> Fold<K, V> for Reduced<F> {
    type Kept = Option<V>;
    type Said = V;

    fn init(&self) -> Option<V> {
        None
    }

    #[inline]
    fn add(&self, kept: &mut Option<V>, value: V) {
        *kept = Some(match kept.take() {
            Some(kept) => (self.0)(kept, value),
            None => value,
        });
    }

    fn say(&self, _: &K, _: Window, kept: &Option<V>) -> V {
        kept.clone().expect("a window is said of once it has a value")
    }
}

impl<K, V: Data + Clone, F: Fn(V, V) -> V + 'static> Merge<K, V> for Reduced<F> {
    fn merge(&self, kept: &mut Option<V>, later: Option<V>) {
        if let Some(later) = later {
            Fold::<K, V>::add(self, kept, later);
        }
    }
}

/// An aggregator of the program's.
pub(crate) struct Aggregated<G>(pub(crate) G);

impl<K, V, G: Aggregator<Input = V>> Fold<K, V> for Aggregated<G> {
    type Kept = G::Accumulator;
    type Said = G::Output;

    fn init(&self) -> G::Accumulator {
        self.0.init()
    }

    #[inline]
    fn add(&self, kept: &mut G::Accumulator, value: V) {
        self.0.add(kept, value);
    }

    fn say(&self, _: &K, _: Window, kept: &G::Accumulator) -> G::Output {
        self.0.output(kept)
    }
}

impl<K, V, G: MergeAggregator<Input = V, Accumulator: Clone>> Merge<K, V> for Aggregated<G> {
    fn merge(&self, kept: &mut G::Accumulator, later: G::Accumulator) {
        self.0.merge(kept, later);
    }
}

/// How many records there are.
pub(crate) struct Counted;

impl<K, V> Fold<K, V> for Counted {
    type Kept = u64;
    type Said = u64;

    fn init(&self) -> u64 {
        0
    }

    #[inline]
    fn add(&self, kept: &mut u64, _: V) {
        *kept += 1;
    }

    fn say(&self, _: &K, _: Window, kept: &u64) -> u64 {
        *kept
    }
}

impl<K, V> Merge<K, V> for Counted {
    fn merge(&self, kept: &mut u64, later: u64) {
        *kept += later;
    }
}

/// All values, for a function of the program's.
pub(crate) struct Collected<F>(pub(crate) F);

impl<K, V, R, F> Fold<K, V> for Collected<F>
where
    V: Data,
    R: 'static,
    F: Fn(&K, Window, &[V]) -> R + 'static,
{
    type Kept = Vec<V>;
    type Said = R;

    fn init(&self) -> Vec<V> {
        Vec::new()
    }

    fn add(&self, kept: &mut Vec<V>, value: V) {
        kept.push(value);
    }

    fn say(&self, key: &K, window: Window, kept: &Vec<V>) -> R {
        (self.0)(key, window, kept)
    }
}

impl<K, V, R, F> Merge<K, V> for Collected<F>
where
    V: Data + Clone,
    R: 'static,
    F: Fn(&K, Window, &[V]) -> R + 'static,
{
    fn merge(&self, kept: &mut Vec<V>, later: Vec<V>) {
        kept.extend(later);
    }

    fn is_small(&self) -> bool {
        false
    }
}

/// All values, folded one after the other when something is said: for folds that cannot merge.
pub(crate) struct Replayed<F>(pub(crate) F);

impl<K, V: Data + Clone, F: Fold<K, V>> Fold<K, V> for Replayed<F> {
    type Kept = Vec<V>;
    type Said = F::Said;

    fn init(&self) -> Vec<V> {
        Vec::new()
    }

    fn add(&self, kept: &mut Vec<V>, value: V) {
        kept.push(value);
    }

    fn say(&self, key: &K, window: Window, kept: &Vec<V>) -> F::Said {
        let mut folded = self.0.init();
        for value in kept {
            self.0.add(&mut folded, value.clone());
        }
        self.0.say(key, window, &folded)
    }
}

impl<K, V: Data + Clone, F: Fold<K, V>> Merge<K, V> for Replayed<F> {
    fn merge(&self, kept: &mut Vec<V>, later: Vec<V>) {
        kept.extend(later);
    }

    fn is_small(&self) -> bool {
        false
    }
}

/// The values of the greatest ranks, the first of them first.
pub(crate) struct Ranked<F, O> {
    pub(crate) count: usize,
    pub(crate) rank: F,
    pub(crate) of: PhantomData<fn() -> O>,
}

impl<F, O: Ord> Ranked<F, O> {
    fn put<V>(&self, kept: &mut Vec<V>, value: V)
    where
        F: Fn(&V) -> O,
    {
        let rank = (self.rank)(&value);
        let at = kept.partition_point(|there| (self.rank)(there) >= rank);
        if at < self.count {
            kept.truncate(self.count - 1);
            kept.insert(at, value);
        }
    }
}

impl<K, V, O, F> Fold<K, V> for Ranked<F, O>
where
    V: Data + Clone,
    O: Ord + 'static,
    F: Fn(&V) -> O + 'static,
{
    type Kept = Vec<V>;
    type Said = Vec<V>;

    fn init(&self) -> Vec<V> {
        Vec::new()
    }

    fn add(&self, kept: &mut Vec<V>, value: V) {
        self.put(kept, value);
    }

    fn say(&self, _: &K, _: Window, kept: &Vec<V>) -> Vec<V> {
        kept.clone()
    }
}

impl<K, V, O, F> Merge<K, V> for Ranked<F, O>
where
    V: Data + Clone,
    O: Ord + 'static,
    F: Fn(&V) -> O + 'static,
{
    fn merge(&self, kept: &mut Vec<V>, later: Vec<V>) {
        for value in later {
            self.put(kept, value);
        }
    }
}
