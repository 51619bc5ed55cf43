//! Values in order of arrival, for each key.

use highwater_checkpoint::Moment;
use highwater_checkpoint::dataflow::KeyedElements;
use highwater_checkpoint::state::typed::{At, Forever, Position, Retention};
use highwater_checkpoint::state::{Bincode, SerdeCodec};

use super::Slot;
use crate::stream::{Data, Key};

/// A list of values for each key.
///
/// To append a value writes that value to the next checkpoint, however long the list is; to remove
/// some writes as much as their places. A list that has no elements takes no room.
///
/// Which elements a key has is in memory alone. After a restore the first call on any key makes it anew, from
/// all elements of the operator on this worker: the more there are, the longer it takes.
///
/// ```
/// # use highwater::prelude::*;
/// # use highwater::testing::{VecSource, collect_one};
/// // In packets of three.
/// let packets = collect_one(|flow| {
///     let numbers = flow.source("numbers", VecSource::new([1, 2, 3, 4, 5, 6, 7]));
///     numbers.key_by(|_| 0).process("packets", |state| {
///         let waiting = state.list::<i32>("waiting");
///         move |ctx, number| {
///             waiting.push(ctx, number);
///             if waiting.len(ctx) == 3 {
///                 ctx.emit(waiting.to_vec(ctx));
///                 waiting.clear(ctx);
///             }
///         }
///     })
/// });
/// assert_eq!(packets, [[1, 2, 3], [4, 5, 6]]);
/// ```
pub struct ListState<K, V: Data, M: Retention = Forever, C = Bincode>(
    pub(super) Slot<KeyedElements<Moment, K, Position, V, M, C>>,
);

impl<K: Key, V: Data, M: Retention, C: SerdeCodec> ListState<K, V, M, C> {
    /// Appends a value.
    pub fn push(&self, at: &At<'_, K>, value: V) {
        self.0.with(|state| state.elements().push(*at, value));
    }

    /// Appends values; the iterator must not use this state.
    pub fn extend(&self, at: &At<'_, K>, values: impl IntoIterator<Item = V>) {
        self.0.with(|state| {
            let mut elements = state.elements();
            values.into_iter().for_each(|value| elements.push(*at, value));
        });
    }

    /// All values, in order.
    pub fn to_vec(&self, at: &At<'_, K>) -> Vec<V>
    where
        V: Clone,
    {
        let mut values = Vec::new();
        self.for_each(at, |value| values.push(value.clone()));
        values
    }

    /// Lends each value, in order; `each` must not use this state.
    pub fn for_each(&self, at: &At<'_, K>, mut each: impl FnMut(&V)) {
        self.0.with(|state| state.elements().for_each(*at, .., |_, value| each(value)));
    }

    /// Keeps the values for which `keep` holds; it must not use this state.
    pub fn retain(&self, at: &At<'_, K>, mut keep: impl FnMut(&V) -> bool) {
        self.0.with(|state| state.elements().retain(*at, |_, value| keep(value)));
    }

    /// Removes the oldest value and returns it.
    pub fn pop_front(&self, at: &At<'_, K>) -> Option<V> {
        self.0.with(|state| {
            let mut elements = state.elements();
            let first = elements.first(*at).copied()?;
            elements.remove(*at, &first)
        })
    }

    /// Removes the newest value and returns it.
    pub fn pop_back(&self, at: &At<'_, K>) -> Option<V> {
        self.0.with(|state| {
            let mut elements = state.elements();
            let last = elements.last(*at).copied()?;
            elements.remove(*at, &last)
        })
    }

    /// How many values there are. With a time to live each is looked at.
    pub fn len(&self, at: &At<'_, K>) -> usize {
        self.0.with(|state| state.elements().len(*at))
    }

    /// Whether there is no value.
    pub fn is_empty(&self, at: &At<'_, K>) -> bool {
        self.0.with(|state| state.elements().is_empty(*at))
    }

    /// Removes all values.
    pub fn clear(&self, at: &At<'_, K>) {
        self.0.with(|state| state.elements().clear(*at));
    }
}

impl<K, V: Data, M: Retention, C> Clone for ListState<K, V, M, C> {
    fn clone(&self) -> Self {
        ListState(self.0.clone())
    }
}

impl<K, V: Data, M: Retention, C> std::fmt::Debug for ListState<K, V, M, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ListState<{}>", std::any::type_name::<(K, V)>())
    }
}
