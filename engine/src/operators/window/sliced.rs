//! Overlapping windows whose contents merge: a record updates one slice, whatever the overlap.
//!
//! ```text
//!   (key, end of slice) -> accumulator       the state
//!   key -> its slices, next window, Running  in memory; found out again from the state
//! ```

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash};

use highwater_checkpoint::dataflow::KeyedState;
use highwater_checkpoint::state::typed::{Element, TimerQueue};
use highwater_checkpoint::state::{
    Bincode, KeyGroups, KeyedTable, Place, StableHasher, stable_hash,
};
use highwater_checkpoint::{EventTime, Moment};

use super::fold::Merge;
use super::gate::Gate;
use super::grid::{Grid, Slice, clamp};
use super::running::Running;
use crate::operators::ahead::in_chunks;
use crate::operators::{Due, Now, TIMERS_AT_ONCE, Work};
use crate::state::Slot;
use crate::stream::{Data, Key};
use crate::window::{Window, Windowed};

type Table<K, A> = KeyedTable<Element<K, i64>, A, Bincode>;
type Slices<K, A> = Slot<KeyedState<Moment, Element<K, i64>, A, Bincode>>;

/// No window.
const NEVER: i64 = i64::MAX;

/// See the module.
pub(super) struct Sliced<K: Key, V, F: Merge<K, V>, T> {
    slices: Slices<K, F::Kept>,
    grid: Grid,
    fold: F,
    gate: Gate<K, V, T>,
    keys: Keys<K, F::Kept>,
    /// Keys by their numbers.
    queue: TimerQueue,
}

/// The keys that have slices, by numbers that are given again.
struct Keys<K, A> {
    numbers: HashMap<K, u32, BuildHasherDefault<StableHasher>>,
    tracked: Vec<Option<Tracked<K, A>>>,
    free: Vec<u32>,
}

/// A key that has slices.
struct Tracked<K, A> {
    key: K,
    hash: u64,
    /// In order, by their ends.
    slices: VecDeque<i64>,
    /// The last window with the first of them in it; or [`NEVER`].
    last: i64,
    /// The next window with one of them in it that has not fired; or [`NEVER`].
    next: i64,
    /// When it is queued: what is in the queue for another time is void.
    queued: i64,
    running: Running<A>,
}

impl<K: Key, A> Keys<K, A> {
    fn of(&mut self, key: &K, hash: u64) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let (slices, running) = (VecDeque::new(), Running::default());
        let (last, next, queued) = (NEVER, NEVER, NEVER);
        let tracked = Tracked { key: key.clone(), hash, slices, last, next, queued, running };
        let number = self.free.pop().unwrap_or(self.tracked.len() as u32);
        match self.tracked.get_mut(number as usize) {
            Some(free) => *free = Some(tracked),
            None => self.tracked.push(Some(tracked)),
        }
        self.numbers.insert(key.clone(), number);
        number
    }

    fn get(&mut self, number: u32) -> Option<&mut Tracked<K, A>> {
        self.tracked.get_mut(number as usize)?.as_mut()
    }

    fn forget(&mut self, number: u32) {
        if let Some(tracked) = self.tracked[number as usize].take() {
            self.numbers.remove(&tracked.key);
            self.free.push(number);
        }
    }
}

impl<K: Key, A: Data> Keys<K, A> {
    /// Asks for the slices that those keys will read and remove when they are looked at.
    fn ask_for(&self, table: &Table<K, A>, next: &[(u64, u64)]) {
        let mut hashes = Vec::with_capacity(2 * next.len());
        for (_, number) in next {
            let Some(Some(tracked)) = self.tracked.get(*number as usize) else { continue };
            let (first, last) = (tracked.slices.front(), tracked.next);
            // A window that is followed by others ends with a slice of its own, if there are records.
            hashes.extend(
                first.into_iter().chain([&last]).map(|of| tracked.hash_of(table.key_groups(), *of)),
            );
        }
        table.ask_for(hashes.iter().copied());
    }
}

impl<K, A> Tracked<K, A> {
    /// The first window from `window` on with a slice in it.
    fn from(&self, grid: &Grid, window: i64) -> i64 {
        let start = grid.start(window);
        let first = match self.slices.front() {
            Some(first) if *first > start => Some(first),
            _ => self.slices.get(self.slices.partition_point(|slice| *slice <= start)),
        };
        match first {
            Some(slice) if *slice <= window => window,
            Some(slice) => grid.first_of(*slice),
            None => NEVER,
        }
    }

    /// When the next thing is to be done.
    fn wakes(&self, lateness: i64) -> i64 {
        self.next.min(self.last.saturating_add(lateness))
    }

    fn note_first(&mut self, grid: &Grid) {
        self.last = self.slices.front().map_or(NEVER, |slice| grid.last_of(*slice));
    }
}

impl<K: Hash, A> Tracked<K, A> {
    fn hash_of(&self, key_groups: KeyGroups, slice: i64) -> u64 {
        Element::<K, i64>::hash_of(key_groups, self.hash, &slice)
    }
}

/// A record whose slot is on its way.
#[derive(Clone, Copy, Default)]
struct Ahead {
    hash: u64,
    place: Place,
    at: i64,
    slice: Slice,
    now: i64,
}

impl<K, V, F, T> Sliced<K, V, F, T>
where
    K: Key,
    V: Data + Clone,
    F: Merge<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    pub(super) fn new(
        slices: Slices<K, F::Kept>,
        grid: Grid,
        fold: F,
        gate: Gate<K, V, T>,
    ) -> Self {
        let (numbers, tracked, free) = <_>::default();
        let keys = Keys { numbers, tracked, free };
        Sliced { slices, grid, fold, gate, keys, queue: TimerQueue::default() }
    }

    fn put(
        &mut self,
        table: &mut Table<K, F::Kept>,
        ahead: Ahead,
        (key, value): (K, V),
        made: &mut Vec<Windowed<K, F::Said>>,
    ) {
        let Ahead { hash, place, slice, now, .. } = ahead;
        let element = slice.end;
        let (fold, keys, is_new) = (&self.fold, &mut self.keys, Cell::new(false));
        // A slice that is there, and that no window has fired with, is known and merged nowhere.
        let has_fired = slice.first <= now;
        let new = || {
            is_new.set(true);
            fold.init()
        };
        let number = table.update_at(place, Element { key, element }, new, |there, kept| {
            fold.add(kept, value);
            (is_new.get() || has_fired).then(|| keys.of(&there.key, hash))
        });
        if let Some(number) = number {
            self.track(table, number, (slice, is_new.get()), now, made);
        }
    }

    /// Notes that a slice of a key is new, or has changed after a window with it has fired; says the
    /// windows again that have.
    fn track(
        &mut self,
        table: &Table<K, F::Kept>,
        number: u32,
        (slice, is_new): (Slice, bool),
        now: i64,
        made: &mut Vec<Windowed<K, F::Said>>,
    ) {
        let Sliced { grid, fold, gate, keys, queue, .. } = self;
        let Some(tracked) = keys.get(number) else { return };
        let Slice { end, first, last, .. } = slice;
        if is_new {
            // From the back: few are later, and a search by halves comes by memory that was used long ago.
            let later = tracked.slices.iter().rev().take_while(|there| **there > end).count();
            tracked.slices.insert(tracked.slices.len() - later, end);
            tracked.last = tracked.last.min(last);
        }
        tracked.running.changed(end);
        let will_fire = tracked.next;
        let next = if first > now { first } else { grid.next(clamp(now)) };
        if next <= last {
            tracked.next = tracked.next.min(next);
        }
        let wakes = tracked.wakes(gate.lateness);
        if wakes < tracked.queued {
            tracked.queued = queue.push(wakes, u64::from(number));
        }
        if first > now {
            return;
        }
        let mut window = first.max(grid.next(clamp(now.saturating_sub(gate.lateness))));
        // The others are still to fire.
        while window <= now.min(last) && window < will_fire {
            let merged = tracked.merged(table, (grid.start(window), window), fold);
            made.extend(merged.map(|kept| tracked.windowed(grid, window, fold, &kept)));
            window = grid.following(window);
        }
    }

    /// Does some of what is due at `until`; returns whether there is more of it.
    fn advance(&mut self, until: i64, made: &mut Vec<Windowed<K, F::Said>>) -> bool {
        let slices = self.slices.clone();
        slices.with(|state| {
            let table = state.table();
            for _ in 0..TIMERS_AT_ONCE {
                let keys = &self.keys;
                let popped = self.queue.pop(until, |next| keys.ask_for(table, next));
                let Some((at, number)) = popped else { return false };
                self.look_at(table, at, number as u32, until, made);
            }
            self.queue.first().is_some_and(|next| next <= until)
        })
    }

    /// Does what is due for a key that was queued at `at`.
    fn look_at(
        &mut self,
        table: &mut Table<K, F::Kept>,
        at: i64,
        number: u32,
        until: i64,
        made: &mut Vec<Windowed<K, F::Said>>,
    ) {
        let Sliced { grid, fold, gate, keys, queue, .. } = self;
        // It was queued again, for an earlier time, or is gone.
        let Some(tracked) = keys.get(number).filter(|tracked| tracked.queued == at) else { return };
        let has_fired = tracked.next <= at;
        let mut next = tracked.next;
        if has_fired {
            let window = tracked.next;
            let kept = tracked.fire(table, (grid.start(window), window), fold);
            made.extend(kept.map(|kept| tracked.windowed(grid, window, fold, &kept)));
            next = grid.following(window);
        }
        while tracked.last < next && gate.is_over(tracked.last, until) {
            let Some(slice) = tracked.slices.pop_front() else { break };
            let hash = tracked.hash_of(table.key_groups(), slice);
            table.remove(hash, Element { key: tracked.key.clone(), element: slice });
            tracked.note_first(grid);
        }
        if has_fired {
            tracked.next = tracked.from(grid, next);
        }
        if tracked.slices.is_empty() {
            keys.forget(number);
        } else {
            tracked.queued = queue.push(tracked.wakes(gate.lateness), u64::from(number));
        }
    }
}

impl<K: Key, A: Data + Clone> Tracked<K, A> {
    fn slice(&self, table: &Table<K, A>, slice: i64) -> Option<A> {
        let hash = self.hash_of(table.key_groups(), slice);
        let is_it = |there: &Element<K, i64>| there.element == slice && there.key == self.key;
        table.find(hash, is_it).cloned()
    }

    /// The merge of the slices of a window, all of them.
    fn merged<V, F: Merge<K, V, Kept = A>>(
        &self,
        table: &Table<K, A>,
        (start, end): (i64, i64),
        fold: &F,
    ) -> Option<A> {
        let from = self.slices.partition_point(|slice| *slice <= start);
        let slices = self.slices.range(from..).take_while(|slice| **slice <= end);
        let values = slices.filter_map(|slice| self.slice(table, *slice));
        values.reduce(|mut merged, later| {
            fold.merge(&mut merged, later);
            merged
        })
    }

    /// What a window has come to, after the one before it.
    fn fire<V, F: Merge<K, V, Kept = A>>(
        &mut self,
        table: &Table<K, A>,
        bounds: (i64, i64),
        fold: &F,
    ) -> Option<A> {
        if !fold.is_small() {
            return self.merged(table, bounds, fold);
        }
        let mut running = std::mem::take(&mut self.running);
        let slices = self.slices.iter().copied();
        let value = |slice| self.slice(table, slice);
        let kept = running.window(bounds, slices, value, |kept, later| fold.merge(kept, later));
        self.running = running;
        kept
    }

    fn windowed<V, F: Merge<K, V, Kept = A>>(
        &self,
        grid: &Grid,
        window: i64,
        fold: &F,
        kept: &A,
    ) -> Windowed<K, F::Said> {
        let window = Window::new(grid.start(window), window);
        Windowed { key: self.key.clone(), window, value: fold.say(&self.key, window, kept) }
    }
}

impl<K, V, F, T> Work<(K, V), Windowed<K, F::Said>> for Sliced<K, V, F, T>
where
    K: Key,
    V: Data + Clone,
    F: Merge<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    fn start(&mut self) {
        let slices = self.slices.clone();
        slices.with(|state| {
            let table = state.table();
            let Sliced { grid, gate, keys, queue, .. } = self;
            gate.start(table.owned_groups());
            for (element, _) in table.iter() {
                let number = keys.of(&element.key, stable_hash(&element.key));
                keys.get(number)
                    .expect("it was tracked just now")
                    .slices
                    .push_back(element.element);
            }
            for (number, tracked) in keys.tracked.iter_mut().flatten().enumerate() {
                tracked.slices.make_contiguous().sort_unstable();
                let now = clamp(gate.now_of(i64::MIN, tracked.hash));
                tracked.next = tracked.from(grid, grid.next(now));
                tracked.note_first(grid);
                tracked.queued = queue.push(tracked.wakes(gate.lateness), number as u64);
            }
        });
    }

    fn batch(&mut self, now: &Now<'_, Windowed<K, F::Said>>, batch: &mut Vec<(K, V)>) {
        let (at_now, slices, mut late) = (self.gate.now(now), self.slices.clone(), 0);
        let mut made = now.made.borrow_mut();
        slices.with(|state| {
            let mut slice = Slice::NONE;
            in_chunks(
                &mut (&mut *self, state.table()),
                batch,
                |(this, table), (key, value)| {
                    let hash = stable_hash(key);
                    let (at, now) =
                        (this.gate.time_of(at_now, value), this.gate.now_of(at_now, hash));
                    if !slice.holds(at) {
                        slice = this.grid.slice(at);
                    }
                    let of_slice = Element::<K, i64>::hash_of(table.key_groups(), hash, &slice.end);
                    Ahead { hash, place: table.announce(of_slice), at, slice, now }
                },
                |(_, table), ahead| table.locate(&mut ahead.place),
                |(this, table), ahead, (key, value)| {
                    if this.gate.is_over(ahead.slice.last, ahead.now) {
                        let records = this.fold.records(&value);
                        return this.gate.refuse(key, value, records);
                    }
                    late += if ahead.at < ahead.now { this.fold.records(&value) } else { 0 };
                    this.put(table, ahead, (key, value), &mut made);
                },
            );
        });
        self.gate.took_late(late);
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn acted_on(&self) -> Option<EventTime> {
        self.gate.acted_on()
    }

    fn due(&mut self, now: &Now<'_, Windowed<K, F::Said>>, due: Due) -> bool {
        if self.gate.is_by_day() && due != Due::End {
            return false;
        }
        let until = due.watermark().0;
        let has_more = self.advance(until, &mut now.made.borrow_mut());
        if !has_more && due != Due::End {
            // Not the end: who drains a job and starts it again goes on from where it was.
            self.gate.acted(until);
            self.slices.with(|state| state.set_watermark(EventTime(until)));
        }
        has_more
    }

    fn time_of_day(&mut self, now: &Now<'_, Windowed<K, F::Said>>) -> Option<u64> {
        if !self.gate.is_by_day() {
            return None;
        }
        let until = self.gate.now(now);
        if self.advance(until, &mut now.made.borrow_mut()) {
            return Some(now.now_ms);
        }
        self.gate.acted(until);
        self.queue.first().map(|at| u64::try_from(at).unwrap_or(0))
    }
}
