//! Values by another key, for each key.

use std::hash::Hash;
use std::ops::RangeBounds;

use highwater_checkpoint::Moment;
use highwater_checkpoint::dataflow::KeyedElements;
use highwater_checkpoint::state::typed::{At, Forever, Retention};
use highwater_checkpoint::state::{Bincode, SerdeCodec};

use super::Slot;
use crate::stream::{Data, Key};

/// A map from `E` to `V` for each key, in the order of `E`: the same on every worker, in every run.
///
/// To change an element writes that element to the next checkpoint, however large the map is.
///
/// Elements are in a hash table. The first call that needs their order, or all elements of a key (all but
/// [`insert`](Self::insert), [`get`](Self::get), [`contains`](Self::contains),
/// [`update`](Self::update) and [`remove`](Self::remove)), makes an index of it, which is kept from
/// then on, and takes the room of an `E` for each element. With millions of elements that first call takes
/// seconds: make it early, or never.
///
/// ```
/// # use highwater::prelude::*;
/// # use highwater::testing::{VecSource, collect_one};
/// // What is bid, best first, of which an auction keeps the best two.
/// let best = collect_one(|flow| {
///     let bids = [("pot", 5u32), ("pot", 9), ("pot", 7)].map(|(lot, bid)| (lot.to_string(), bid));
///     flow.source("bids", VecSource::new(bids)).keyed().process("best", |state| {
///         let bids = state.map::<u32, String>("bids");
///         move |ctx, bid| {
///             bids.insert(ctx, bid, format!("bid {bid}"));
///             if bids.len(ctx) > 2 {
///                 bids.pop_first(ctx);
///             }
///             ctx.emit(bids.keys(ctx));
///         }
///     })
/// });
/// assert_eq!(best, [vec![5], vec![5, 9], vec![7, 9]]);
/// ```
pub struct MapState<K, E, V: Data, M: Retention = Forever, C = Bincode>(
    pub(super) Slot<KeyedElements<Moment, K, E, V, M, C>>,
);

impl<K: Key, E: Data + Hash + Ord + Clone, V: Data, M: Retention, C: SerdeCodec>
    MapState<K, E, V, M, C>
{
    /// Sets the value of an element, and returns the one it had.
    pub fn insert(&self, at: &At<'_, K>, element: E, value: V) -> Option<V> {
        self.0.with(|state| state.elements().insert(*at, element, value))
    }

    /// The value of an element.
    pub fn get(&self, at: &At<'_, K>, element: &E) -> Option<V>
    where
        V: Clone,
    {
        self.0.with(|state| state.elements().get(*at, element).cloned())
    }

    /// Whether there is such an element. Counts as reading it.
    pub fn contains(&self, at: &At<'_, K>, element: &E) -> bool {
        self.0.with(|state| state.elements().get(*at, element).is_some())
    }

    /// Applies `update` to the value of an element, which begins as the default; `update` must not
    /// use this state.
    pub fn update<R>(&self, at: &At<'_, K>, element: E, update: impl FnOnce(&mut V) -> R) -> R
    where
        V: Default,
    {
        self.0.with(|state| state.elements().update(*at, element, V::default, update))
    }

    /// Removes an element and returns its value.
    pub fn remove(&self, at: &At<'_, K>, element: &E) -> Option<V> {
        self.0.with(|state| state.elements().remove(*at, element))
    }

    /// Lends each element within `range`, in order; `each` must not use this state.
    ///
    /// # Panics
    ///
    /// If the range ends before it begins.
    pub fn for_each(&self, at: &At<'_, K>, range: impl RangeBounds<E>, each: impl FnMut(&E, &V)) {
        self.0.with(|state| state.elements().for_each(*at, range, each));
    }

    /// All elements, in order.
    pub fn to_vec(&self, at: &At<'_, K>) -> Vec<(E, V)>
    where
        V: Clone,
    {
        let mut elements = Vec::new();
        self.for_each(at, .., |element, value| elements.push((element.clone(), value.clone())));
        elements
    }

    /// The keys of all elements, in order.
    pub fn keys(&self, at: &At<'_, K>) -> Vec<E> {
        let mut keys = Vec::new();
        self.for_each(at, .., |element, _| keys.push(element.clone()));
        keys
    }

    /// Keeps the elements for which `keep` holds; it must not use this state.
    pub fn retain(&self, at: &At<'_, K>, keep: impl FnMut(&E, &V) -> bool) {
        self.0.with(|state| state.elements().retain(*at, keep));
    }

    /// Removes the first element and returns it.
    pub fn pop_first(&self, at: &At<'_, K>) -> Option<(E, V)> {
        self.0.with(|state| {
            let mut elements = state.elements();
            let first = elements.first(*at).cloned()?;
            let value = elements.remove(*at, &first)?;
            Some((first, value))
        })
    }

    /// Removes the last element and returns it.
    pub fn pop_last(&self, at: &At<'_, K>) -> Option<(E, V)> {
        self.0.with(|state| {
            let mut elements = state.elements();
            let last = elements.last(*at).cloned()?;
            let value = elements.remove(*at, &last)?;
            Some((last, value))
        })
    }

    /// The key of the element that has `n` before it.
    pub(crate) fn nth_key(&self, at: &At<'_, K>, n: usize) -> Option<E> {
        self.0.with(|state| state.elements().nth(*at, n).cloned())
    }

    /// The key of the last element within `range`.
    pub(crate) fn last_key_in(&self, at: &At<'_, K>, range: impl RangeBounds<E>) -> Option<E> {
        self.0.with(|state| Some(state.elements().last_in(*at, range)?.0.clone()))
    }

    /// Lends the value of the last element within `range`; `read` must not use this state.
    pub(crate) fn with_last_in<T>(
        &self,
        at: &At<'_, K>,
        range: impl RangeBounds<E>,
        read: impl FnOnce(Option<&V>) -> T,
    ) -> T {
        self.0.with(|state| read(state.elements().last_in(*at, range).map(|(_, value)| value)))
    }

    /// Applies `change` to the value of an element, if it is there; it must not use this state.
    pub(crate) fn change(&self, at: &At<'_, K>, element: &E, change: impl FnOnce(&mut V)) {
        self.0.with(|state| state.elements().change_there(*at, element, change));
    }

    /// How many elements there are. With a time to live each is looked at.
    pub fn len(&self, at: &At<'_, K>) -> usize {
        self.0.with(|state| state.elements().len(*at))
    }

    /// Whether there is no element.
    pub fn is_empty(&self, at: &At<'_, K>) -> bool {
        self.0.with(|state| state.elements().is_empty(*at))
    }

    /// Removes all elements.
    pub fn clear(&self, at: &At<'_, K>) {
        self.0.with(|state| state.elements().clear(*at));
    }
}

impl<K, E, V: Data, M: Retention, C> Clone for MapState<K, E, V, M, C> {
    fn clone(&self) -> Self {
        MapState(self.0.clone())
    }
}

impl<K, E, V: Data, M: Retention, C> std::fmt::Debug for MapState<K, E, V, M, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MapState<{}>", std::any::type_name::<(K, E, V)>())
    }
}
