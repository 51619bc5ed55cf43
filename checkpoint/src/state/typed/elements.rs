//! Many elements a key, in order: what map and list state are made of.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hash};
use std::ops::RangeBounds;

use super::{At, Element, Persist, Position, Retention, Stored};
use crate::state::{Codec, KeyedTable, StableHasher};

/// Which elements each key has, in order, those that have expired and are not removed included: from
/// the first time that this is asked for.
///
/// In memory alone: every element is an entry of the table, which is what checkpoints hold. Who only
/// asks for elements by their keys has the table alone, which is half as much to touch and to keep.
#[derive(Debug)]
pub struct Index<K, E> {
    elements: Option<Ordered<K, E>>,
}

type Ordered<K, E> = HashMap<K, BTreeSet<E>, BuildHasherDefault<StableHasher>>;

impl<K, E> Default for Index<K, E> {
    fn default() -> Self {
        Index { elements: None }
    }
}

impl<K: Hash + Eq + Clone, E: Ord + Clone> Index<K, E> {
    /// Forgets elements that the table has no more.
    pub fn forget<'a>(&mut self, removed: impl IntoIterator<Item = &'a Element<K, E>>)
    where
        K: 'a,
        E: 'a,
    {
        for Element { key, element } in removed {
            self.remove(key, element);
        }
    }

    /// Makes it, if it was not asked for before, of the elements that there are.
    fn make<'a>(&mut self, elements: impl Iterator<Item = &'a Element<K, E>>)
    where
        K: 'a,
        E: 'a,
    {
        if self.elements.is_none() {
            self.elements = Some(HashMap::default());
            elements.for_each(|Element { key, element }| self.insert(key, element));
        }
    }

    fn insert(&mut self, key: &K, element: &E) {
        let Some(all) = &mut self.elements else { return };
        match all.get_mut(key) {
            Some(elements) => drop(elements.insert(element.clone())),
            None => drop(all.insert(key.clone(), BTreeSet::from([element.clone()]))),
        }
    }

    fn remove(&mut self, key: &K, element: &E) {
        let Some(all) = &mut self.elements else { return };
        if let Some(elements) = all.get_mut(key) {
            elements.remove(element);
            if elements.is_empty() {
                all.remove(key);
            }
        }
    }

    fn set_of(&self, key: &K) -> Option<&BTreeSet<E>> {
        self.elements.as_ref()?.get(key)
    }

    fn of_key(&self, key: &K) -> impl DoubleEndedIterator<Item = &E> {
        self.set_of(key).into_iter().flatten()
    }
}

type Table<K, E, V, M, C> = KeyedTable<Element<K, E>, <M as Retention>::Stored<V>, C>;

/// The elements of a table, with their retention.
///
/// They are in the order of `E`, on every worker and in every run.
#[derive(Debug)]
pub struct Elements<'t, K, E, V: Persist, M: Retention, C> {
    table: &'t mut Table<K, E, V, M, C>,
    index: &'t mut Index<K, E>,
    retention: M,
}

impl<'t, K, E, V, M, C> Elements<'t, K, E, V, M, C>
where
    K: Hash + Eq + Clone,
    E: Hash + Ord + Clone,
    V: Persist,
    M: Retention,
    C: Codec<Element<K, E>> + Codec<M::Stored<V>>,
{
    /// The elements of `table`, and the index of them.
    pub fn new(
        table: &'t mut Table<K, E, V, M, C>,
        index: &'t mut Index<K, E>,
        retention: M,
    ) -> Self {
        Elements { table, index, retention }
    }

    fn hash(&self, at: At<'_, K>, element: &E) -> u64 {
        Element::<K, E>::hash_of(self.table.key_groups(), at.hash, element)
    }

    fn find(&self, at: At<'_, K>, element: &E) -> Option<&M::Stored<V>> {
        let hash = self.hash(at, element);
        let stored = self.table.find(hash, |there| is_it(there, at.key, element))?;
        (!self.retention.is_expired(stored, at.now_ms)).then_some(stored)
    }

    fn change<R>(
        &mut self,
        at: At<'_, K>,
        element: &E,
        change: impl FnOnce(&mut M::Stored<V>) -> R,
    ) -> Option<R> {
        let hash = self.hash(at, element);
        self.table.change(hash, |there| is_it(there, at.key, element), change)
    }

    fn note_read(&mut self, at: At<'_, K>, element: &E) {
        let retention = self.retention;
        self.change(at, element, |stored| retention.written(stored, at.now_ms));
    }

    /// Asks for the order of elements.
    fn order(&mut self) {
        self.index.make(self.table.iter().map(|(element, _)| element));
    }

    /// The value of an element.
    pub fn get(mut self, at: At<'_, K>, element: &E) -> Option<&'t V> {
        let notes = |stored| self.retention.notes_read(stored, at.now_ms);
        if self.retention.ttl().is_some() && self.find(at, element).is_some_and(notes) {
            self.note_read(at, element);
        }
        let (hash, retention) = (self.hash(at, element), self.retention);
        let stored = self.table.find(hash, |there| is_it(there, at.key, element))?;
        (!retention.is_expired(stored, at.now_ms)).then(|| stored.value())
    }

    /// Applies `change` to the value of an element, which is made by `init` if there is none.
    pub fn update<R>(
        &mut self,
        at: At<'_, K>,
        element: E,
        init: impl Fn() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> R {
        let retention = self.retention;
        let new = || retention.store(init(), at.now_ms);
        self.update_or_make(at, &element, new, |stored| {
            if retention.is_expired(stored, at.now_ms) {
                *stored = retention.store(init(), at.now_ms);
            } else {
                retention.written(stored, at.now_ms);
            }
            change(stored.value_mut())
        })
    }

    /// Sets the value of an element, and returns the one it had.
    pub fn insert(&mut self, at: At<'_, K>, element: E, value: V) -> Option<V> {
        let retention = self.retention;
        // Either of the two takes it.
        let value = Cell::new(Some(value));
        let store = || Some(retention.store(value.take()?, at.now_ms));
        let new = || store().expect("nothing has taken it");
        self.update_or_make(at, &element, new, |stored| {
            let old = std::mem::replace(stored, store()?);
            (!retention.is_expired(&old, at.now_ms)).then(|| old.into_value())
        })
    }

    fn update_or_make<R>(
        &mut self,
        at: At<'_, K>,
        element: &E,
        new: impl FnOnce() -> M::Stored<V>,
        change: impl FnOnce(&mut M::Stored<V>) -> R,
    ) -> R {
        let hash = self.hash(at, element);
        let make = || {
            self.index.insert(at.key, element);
            (Element { key: at.key.clone(), element: element.clone() }, new())
        };
        self.table.update_or_make(hash, |there| is_it(there, at.key, element), make, change)
    }

    /// Removes an element and returns its value.
    pub fn remove(&mut self, at: At<'_, K>, element: &E) -> Option<V> {
        let hash = self.hash(at, element);
        let key = Element { key: at.key.clone(), element: element.clone() };
        let removed = self.table.remove(hash, key)?;
        self.index.remove(at.key, element);
        (!self.retention.is_expired(&removed, at.now_ms)).then(|| removed.into_value())
    }

    /// Visits the elements within `range`, in order.
    ///
    /// # Panics
    ///
    /// If the range ends before it begins.
    pub fn for_each(
        &mut self,
        at: At<'_, K>,
        range: impl RangeBounds<E>,
        mut visit: impl FnMut(&E, &V),
    ) {
        self.order();
        let mut read = Vec::new();
        let elements = self.index.set_of(at.key).map(|elements| elements.range(range));
        for element in elements.into_iter().flatten() {
            let Some(stored) = self.find(at, element) else { continue };
            visit(element, stored.value());
            if self.retention.notes_read(stored, at.now_ms) {
                read.push(element.clone());
            }
        }
        for element in read {
            self.note_read(at, &element);
        }
    }

    /// Removes the elements for which `keep` does not hold; those of which it holds are read.
    pub fn retain(&mut self, at: At<'_, K>, mut keep: impl FnMut(&E, &V) -> bool) {
        let mut gone = Vec::new();
        self.for_each(at, .., |element, value| {
            if !keep(element, value) {
                gone.push(element.clone());
            }
        });
        for element in gone {
            self.remove(at, &element);
        }
    }

    /// Removes all elements of the key.
    pub fn clear(&mut self, at: At<'_, K>) {
        self.order();
        let elements = self.index.elements.as_mut().and_then(|all| all.remove(at.key));
        for element in elements.unwrap_or_default() {
            let hash = self.hash(at, &element);
            self.table.remove(hash, Element { key: at.key.clone(), element });
        }
    }

    /// Applies `change` to the value of an element, which writes it, if it is there.
    pub fn change_there<R>(
        &mut self,
        at: At<'_, K>,
        element: &E,
        change: impl FnOnce(&mut V) -> R,
    ) -> Option<R> {
        let retention = self.retention;
        let change = |stored: &mut M::Stored<V>| {
            let is_there = !retention.is_expired(stored, at.now_ms);
            is_there.then(|| {
                retention.written(stored, at.now_ms);
                change(stored.value_mut())
            })
        };
        self.change(at, element, change).flatten()
    }

    /// How many elements the key has. With a time to live each is looked at.
    pub fn len(&mut self, at: At<'_, K>) -> usize {
        self.order();
        if self.retention.ttl().is_none() {
            return self.index.set_of(at.key).map_or(0, BTreeSet::len);
        }
        self.index.of_key(at.key).filter(|element| self.find(at, element).is_some()).count()
    }

    /// Whether the key has no element.
    pub fn is_empty(&mut self, at: At<'_, K>) -> bool {
        self.first(at).is_none()
    }

    /// The first element of the key.
    pub fn first(&mut self, at: At<'_, K>) -> Option<&E> {
        self.order();
        self.index.of_key(at.key).find(|element| self.find(at, element).is_some())
    }

    /// The element of the key that has `n` before it.
    pub fn nth(&mut self, at: At<'_, K>, n: usize) -> Option<&E> {
        self.order();
        self.index.of_key(at.key).filter(|element| self.find(at, element).is_some()).nth(n)
    }

    /// The last element of the key within `range`, and its value. Does not count as reading it.
    ///
    /// # Panics
    ///
    /// If the range ends before it begins.
    pub fn last_in(&mut self, at: At<'_, K>, range: impl RangeBounds<E>) -> Option<(&E, &V)> {
        self.order();
        let elements = self.index.set_of(at.key)?.range(range);
        elements.rev().find_map(|element| Some((element, self.find(at, element)?.value())))
    }

    /// The last element of the key.
    pub fn last(&mut self, at: At<'_, K>) -> Option<&E> {
        self.order();
        self.index.of_key(at.key).rev().find(|element| self.find(at, element).is_some())
    }
}

impl<K, V, M, C> Elements<'_, K, Position, V, M, C>
where
    K: Hash + Eq + Clone,
    V: Persist,
    M: Retention,
    C: Codec<Element<K, Position>> + Codec<M::Stored<V>>,
{
    /// Appends an element behind all others.
    pub fn push(&mut self, at: At<'_, K>, value: V) {
        self.order();
        let last = self.index.of_key(at.key).next_back();
        let next = last.map_or(Position(0), |last| Position(last.0 + 1));
        self.insert(at, next, value);
    }
}

fn is_it<K: Eq, E: Eq>(there: &Element<K, E>, key: &K, element: &E) -> bool {
    there.element == *element && there.key == *key
}
