//! One value a key: what value, reducing and aggregating state are made of.

use std::cell::Cell;
use std::hash::Hash;

use super::{At, Persist, Retention, Stored};
use crate::state::{Codec, KeyedTable};

/// The values of a table, with their retention.
#[derive(Debug)]
pub struct Values<'t, K, V: Persist, M: Retention, C> {
    table: &'t mut KeyedTable<K, M::Stored<V>, C>,
    retention: M,
}

impl<'t, K, V, M, C> Values<'t, K, V, M, C>
where
    K: Hash + Eq + Clone,
    V: Persist,
    M: Retention,
    C: Codec<K> + Codec<M::Stored<V>>,
{
    /// The values of `table`.
    pub fn new(table: &'t mut KeyedTable<K, M::Stored<V>, C>, retention: M) -> Self {
        Values { table, retention }
    }

    /// The value of the key, if it has one.
    pub fn get(self, at: At<'_, K>) -> Option<&'t V> {
        let Values { table, retention } = self;
        let is_key = |key: &K| key == at.key;
        let notes = |stored: &M::Stored<V>| {
            !retention.is_expired(stored, at.now_ms) && retention.notes_read(stored, at.now_ms)
        };
        if retention.ttl().is_some() && table.find(at.hash, is_key).is_some_and(notes) {
            table.change(at.hash, is_key, |stored| retention.written(stored, at.now_ms));
        }
        let stored = table.find(at.hash, is_key)?;
        (!retention.is_expired(stored, at.now_ms)).then(|| stored.value())
    }

    /// Applies `change` to the value, which is made by `init` if there is none.
    pub fn update<R>(
        self,
        at: At<'_, K>,
        init: impl Fn() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> R {
        let Values { table, retention } = self;
        let new = || (at.key.clone(), retention.store(init(), at.now_ms));
        table.update_or_make(
            at.hash,
            |key| key == at.key,
            new,
            |stored| {
                if retention.is_expired(stored, at.now_ms) {
                    *stored = retention.store(init(), at.now_ms);
                } else {
                    retention.written(stored, at.now_ms);
                }
                change(stored.value_mut())
            },
        )
    }

    /// Sets the value, and returns the one there was.
    pub fn set(self, at: At<'_, K>, value: V) -> Option<V> {
        let Values { table, retention } = self;
        // Either of the two takes it.
        let value = Cell::new(Some(value));
        let store = || Some(retention.store(value.take()?, at.now_ms));
        table.update_or_make(
            at.hash,
            |key| key == at.key,
            || (at.key.clone(), store().expect("nothing has taken it")),
            |stored| {
                let old = std::mem::replace(stored, store()?);
                (!retention.is_expired(&old, at.now_ms)).then(|| old.into_value())
            },
        )
    }

    /// Removes the value and returns it.
    pub fn remove(self, at: At<'_, K>) -> Option<V> {
        let removed = self.table.remove(at.hash, at.key.clone())?;
        (!self.retention.is_expired(&removed, at.now_ms)).then(|| removed.into_value())
    }
}
