//! Sliding windows of as many records of a key: a record updates one slice, whatever the overlap.
//!
//! Records of a key are numbered as they come, and numbers fall into windows and slices as times do
//! elsewhere.
//!
//! ```text
//!   (key, number after the slice) -> Slice     the state
//!   key -> its next number, slices, Running    in memory; found out again from the state
//! ```

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasherDefault;

use highwater_checkpoint::dataflow::KeyedState;
use highwater_checkpoint::state::typed::Element;
use highwater_checkpoint::state::{Bincode, KeyedTable, StableHasher, stable_hash};
use highwater_checkpoint::{BoxError, EventTime, Moment};
use serde::{Deserialize, Serialize};

use super::fold::Merge;
use super::gate::Gate;
use super::grid::Grid;
use super::running::Running;
use crate::operators::{Now, Work};
use crate::state::Slot;
use crate::stream::{Data, Key};
use crate::window::{Window, Windowed};

type Table<K, A> = KeyedTable<Element<K, i64>, Slice<A>, Bincode>;
type Slices<K, A> = Slot<KeyedState<Moment, Element<K, i64>, Slice<A>, Bincode>>;

/// Consecutive records of a key that are in the same windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Slice<A> {
    value: A,
    /// The number of the next record.
    next: i64,
    /// The least time of them, and the greatest.
    from: i64,
    until: i64,
}

impl<A> Slice<A> {
    pub(super) fn try_map<B>(
        self,
        map: impl FnOnce(A) -> Result<B, BoxError>,
    ) -> Result<Slice<B>, BoxError> {
        let Slice { value, next, from, until } = self;
        Ok(Slice { value: map(value)?, next, from, until })
    }
}

/// See the module.
pub(super) struct SlidingCount<K: Key, V, F: Merge<K, V>, T> {
    slices: Slices<K, F::Kept>,
    /// Of windows that end at each multiple of the slide: the first ones begin before the first record.
    grid: Grid,
    slide: i64,
    fold: F,
    gate: Gate<K, V, T>,
    keys: HashMap<K, Tracked<F::Kept>, BuildHasherDefault<StableHasher>>,
}

/// A key that has slices. It has had fewer than a slide of records, or has the last of them.
struct Tracked<A> {
    hash: u64,
    /// The number of its next record.
    next: i64,
    /// In order.
    slices: VecDeque<i64>,
    running: Running<Slice<A>>,
}

impl<A> Tracked<A> {
    fn new(hash: u64) -> Self {
        Tracked { hash, next: 0, slices: VecDeque::new(), running: Running::default() }
    }
}

fn merge<K, V, F: Merge<K, V>>(fold: &F, slice: &mut Slice<F::Kept>, later: Slice<F::Kept>) {
    fold.merge(&mut slice.value, later.value);
    slice.next = later.next;
    slice.from = slice.from.min(later.from);
    slice.until = slice.until.max(later.until);
}

impl<K, V, F, T> SlidingCount<K, V, F, T>
where
    K: Key,
    V: Data + Clone,
    F: Merge<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    pub(super) fn new(
        slices: Slices<K, F::Kept>,
        (size, slide): (i64, i64),
        fold: F,
        gate: Gate<K, V, T>,
    ) -> Self {
        let grid = Grid::Sliding { size, slide, offset: -(size % slide) };
        SlidingCount { slices, grid, slide, fold, gate, keys: HashMap::default() }
    }

    fn put(
        &mut self,
        table: &mut Table<K, F::Kept>,
        (key, value): (K, V),
        at: i64,
        made: &mut Vec<Windowed<K, F::Said>>,
    ) {
        if !self.keys.contains_key(&key) {
            self.keys.insert(key.clone(), Tracked::new(stable_hash(&key)));
        }
        let tracked = self.keys.get_mut(&key).expect("it was put there if it was not");
        let (slice, next) = (self.grid.slice(tracked.next).end, tracked.next + 1);
        tracked.next = next;
        if tracked.slices.back() != Some(&slice) {
            tracked.slices.push_back(slice);
        }
        let fires_for = (next % self.slide == 0).then(|| key.clone());
        let hash = Element::<K, i64>::hash_of(table.key_groups(), tracked.hash, &slice);
        let fold = &self.fold;
        let new = || Slice { value: fold.init(), next, from: at, until: at };
        table.update(hash, Element { key, element: slice }, new, |_, slice| {
            fold.add(&mut slice.value, value);
            slice.next = next;
            slice.from = slice.from.min(at);
            slice.until = slice.until.max(at);
        });
        let Some(key) = fires_for else { return };
        if let Some(whole) = tracked.fire(table, (&key, self.grid.start(next)), fold) {
            let window = Window::new(whole.from, whole.until + 1);
            let value = fold.say(&key, window, &whole.value);
            made.push(Windowed { key: key.clone(), window, value });
        }
        while let Some(slice) = tracked.slices.front().copied()
            && self.grid.last_of(slice) <= next
        {
            tracked.slices.pop_front();
            let element = Element { key: key.clone(), element: slice };
            table.remove(table.hash_of(&element), element);
        }
    }
}

impl<A: Data + Clone> Tracked<A> {
    /// What the window has come to that begins at number `start` and ends with the last record.
    fn fire<K: Key, V, F: Merge<K, V, Kept = A>>(
        &mut self,
        table: &Table<K, A>,
        (key, start): (&K, i64),
        fold: &F,
    ) -> Option<Slice<A>> {
        let (key_groups, key_hash) = (table.key_groups(), self.hash);
        let value = |slice: i64| {
            let hash = Element::<K, i64>::hash_of(key_groups, key_hash, &slice);
            table.find(hash, |there| there.element == slice && there.key == *key).cloned()
        };
        let slices = self.slices.iter().copied();
        if fold.is_small() {
            let bounds = (start, self.next);
            return self.running.window(bounds, slices, value, |kept, later| {
                merge::<K, V, F>(fold, kept, later);
            });
        }
        slices.filter(|slice| *slice > start).filter_map(value).reduce(|mut kept, later| {
            merge::<K, V, F>(fold, &mut kept, later);
            kept
        })
    }
}

impl<K, V, F, T> Work<(K, V), Windowed<K, F::Said>> for SlidingCount<K, V, F, T>
where
    K: Key,
    V: Data + Clone,
    F: Merge<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    fn start(&mut self) {
        let (slices, keys) = (self.slices.clone(), &mut self.keys);
        slices.with(|state| {
            for (element, slice) in state.table().iter() {
                let Element { key, element } = element;
                let new = || Tracked::new(stable_hash(key));
                let tracked = keys.entry(key.clone()).or_insert_with(new);
                tracked.next = tracked.next.max(slice.next);
                tracked.slices.push_back(*element);
            }
        });
        for tracked in keys.values_mut() {
            tracked.slices.make_contiguous().sort_unstable();
        }
    }

    fn batch(&mut self, now: &Now<'_, Windowed<K, F::Said>>, batch: &mut Vec<(K, V)>) {
        let (at_now, slices) = (self.gate.now(now), self.slices.clone());
        let mut made = now.made.borrow_mut();
        slices.with(|state| {
            for (key, value) in batch.drain(..) {
                let at = self.gate.time_of(at_now, &value);
                self.put(state.table(), (key, value), at, &mut made);
            }
        });
    }
}
