//! Overlapping windows whose contents merge: a record updates one slice, whatever the overlap.
//!
//! ```text
//!   (key, end of slice) -> accumulator     the state
//!   end of slice -> keys that have it      in memory; found out again from the state
//!   key -> its slices, and what those that have ended have come to
//! ```
//!
//! When a window ends, the slices that have ended with it are read, of all their keys; it fires for each
//! key that has a slice in it; and slices that no window needs any more are forgotten. So the keys of a
//! window are gone through in a row, and none is looked up to be told that it has nothing to say.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash};

use highwater_checkpoint::dataflow::KeyedState;
use highwater_checkpoint::state::typed::Element;
use highwater_checkpoint::state::{
    Bincode, KeyGroups, KeyedTable, Place, StableHasher, stable_hash,
};
use highwater_checkpoint::{EventTime, Moment};

use super::DUE_AHEAD;
use super::fold::Merge;
use super::gate::Gate;
use super::grid::{Grid, SPAN_MAX, Slice, TIME_MAX, clamp};
use super::running::Running;
use crate::operators::ahead::in_chunks;
use crate::operators::{Due, Now, TIMERS_AT_ONCE, Work};
use crate::state::Slot;
use crate::stream::{Data, Key};
use crate::window::{Window, Windowed};

type Table<K, A> = KeyedTable<Element<K, i64>, A, Bincode>;
type Slices<K, A> = Slot<KeyedState<Moment, Element<K, i64>, A, Bincode>>;

/// So many slices of a key in a window are merged anew for each window; of more it is kept what they have
/// come to, which takes about three merges a window and memory of its own.
const FEW: usize = 6;

/// Slices of a key that are looked at one by one from the last, before they are searched by halves: few are
/// later than what is asked for, and a search comes by memory that was used long ago.
const NEAR: usize = 4;

/// The place of a key that is not active.
const NOWHERE: u32 = u32::MAX;

/// See the module.
pub(super) struct Sliced<K: Key, V, F: Merge<K, V>, T> {
    slices: Slices<K, F::Kept>,
    grid: Grid,
    fold: F,
    gate: Gate<K, V, T>,
    keys: Keys<K, F::Kept>,
    /// The numbers of the keys that have each slice.
    rows: BTreeMap<i64, Vec<u32>>,
    /// Windows up to here have fired, what was over then is forgotten, and a key with a slice up to here that
    /// may be in a window to come is active.
    done: i64,
    doing: Option<Doing>,
}

/// What is being done, and how far that has come.
#[derive(Clone, Copy)]
struct Doing {
    /// The next window that a key had a slice in when this began, or where the watermark is if that does
    /// not end before: windows before it are passed over.
    until: i64,
    is_window: bool,
    step: Step,
    /// The keys of a row, or of those that are active, for which the step is done. If a late record makes a
    /// row before that which is half read, its key is active, and the other row is read once more.
    count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Of the slices that have ended; those up to here are read.
    Read(i64),
    Fire,
    Forget,
}

/// The keys that have slices, by numbers that are given again.
struct Keys<K, A> {
    numbers: HashMap<K, u32, BuildHasherDefault<StableHasher>>,
    tracked: Vec<Option<Tracked<K, A>>>,
    free: Vec<u32>,
    /// Those that have a slice which has ended, and is perhaps in the next window.
    active: Vec<u32>,
}

/// A key that has slices.
struct Tracked<K, A> {
    key: K,
    hash: u64,
    /// By their ends, in order; with what they have come to, if that was read and has not changed since.
    slices: VecDeque<(i64, Option<A>)>,
    /// Where it is among those that are active; or [`NOWHERE`].
    place: u32,
    /// Once there are more slices than a [`FEW`] in a window.
    running: Option<Box<Running<A>>>,
}

impl<K: Key, A> Keys<K, A> {
    fn of(&mut self, key: &K, hash: u64) -> u32 {
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        let (slices, place, running) = (VecDeque::new(), NOWHERE, None);
        let tracked = Tracked { key: key.clone(), hash, slices, place, running };
        let number = self.free.pop().unwrap_or(self.tracked.len() as u32);
        match self.tracked.get_mut(number as usize) {
            Some(free) => *free = Some(tracked),
            None => self.tracked.push(Some(tracked)),
        }
        self.numbers.insert(key.clone(), number);
        number
    }

    fn get(&mut self, number: u32) -> &mut Tracked<K, A> {
        self.tracked[number as usize].as_mut().expect("a key is forgotten after its last slice")
    }

    fn activate(&mut self, number: u32) {
        let place = self.active.len() as u32;
        let tracked = self.get(number);
        if tracked.place == NOWHERE {
            tracked.place = place;
            self.active.push(number);
        }
    }

    fn deactivate(&mut self, number: u32) {
        let place = std::mem::replace(&mut self.get(number).place, NOWHERE);
        if place != NOWHERE {
            self.active.swap_remove(place as usize);
            if let Some(moved) = self.active.get(place as usize).copied() {
                self.get(moved).place = place;
            }
        }
    }

    fn forget(&mut self, number: u32) {
        self.deactivate(number);
        if let Some(tracked) = self.tracked[number as usize].take() {
            self.numbers.remove(&tracked.key);
            self.free.push(number);
        }
    }
}

impl<K: Key, A: Data> Keys<K, A> {
    /// Asks for a slice of each of those keys.
    fn ask_for(&self, table: &Table<K, A>, numbers: &[u32], slice: i64) {
        let key_groups = table.key_groups();
        let tracked = numbers.iter().filter_map(|number| self.tracked[*number as usize].as_ref());
        table.ask_for(tracked.map(|tracked| tracked.hash_of(key_groups, slice)));
    }
}

impl<K, A: Clone> Tracked<K, A> {
    /// Notes that a slice is new.
    fn add(&mut self, slice: i64) {
        match self.slices.back() {
            // Before a later one, which is rare.
            Some((last, _)) if *last > slice => {
                self.slices.insert(self.until(slice), (slice, None));
            }
            _ => self.slices.push_back((slice, None)),
        }
        if let Some(running) = &mut self.running {
            running.changed(slice);
        }
    }

    /// Notes that a slice has changed that may have been read.
    fn changed(&mut self, slice: i64) {
        if let Some(running) = &mut self.running {
            running.changed(slice);
        }
        if let Some(read) = self.place_of(slice).and_then(|at| self.slices.get_mut(at)) {
            read.1 = None;
        }
    }

    fn remove(&mut self, slice: i64) {
        if self.slices.front().is_some_and(|(first, _)| *first == slice) {
            // Nearly always.
            self.slices.pop_front();
        } else if let Some(at) = self.place_of(slice) {
            self.slices.remove(at);
        }
    }

    /// How many slices end at `end` or before.
    #[inline]
    fn until(&self, end: i64) -> usize {
        if self.slices.back().is_none_or(|(last, _)| *last <= end) {
            return self.slices.len();
        }
        let last = self.slices.iter().rev().take(NEAR);
        let later = last.take_while(|(slice, _)| *slice > end).count();
        if later < NEAR {
            return self.slices.len() - later;
        }
        self.slices.partition_point(|(slice, _)| *slice <= end)
    }

    fn place_of(&self, slice: i64) -> Option<usize> {
        let at = self.until(slice).checked_sub(1)?;
        (self.slices[at].0 == slice).then_some(at)
    }

    /// Which slices are in the window with these bounds.
    #[inline]
    fn within(&self, (start, end): (i64, i64)) -> std::ops::Range<usize> {
        let from = match self.slices.front() {
            Some((first, _)) if *first > start => 0,
            _ => self.slices.partition_point(|(slice, _)| *slice <= start),
        };
        from..self.until(end).max(from)
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
        let (numbers, tracked, free, active) = <_>::default();
        let keys = Keys { numbers, tracked, free, active };
        let (rows, done, doing) = (BTreeMap::new(), i64::MIN, None);
        Sliced { slices, grid, fold, gate, keys, rows, done, doing }
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
        // A slice that is there, and that has not ended, is known and read nowhere.
        let has_ended = slice.end <= now;
        let new = || {
            is_new.set(true);
            fold.init()
        };
        let number = table.update_at(place, Element { key, element }, new, |there, kept| {
            fold.add(kept, value);
            (is_new.get() || has_ended).then(|| keys.of(&there.key, hash))
        });
        let Some(number) = number else { return };
        let tracked = self.keys.get(number);
        if is_new.get() {
            tracked.add(slice.end);
            self.rows.entry(slice.end).or_default().push(number);
        } else {
            tracked.changed(slice.end);
        }
        if has_ended {
            self.changed_late(table, number, slice, now, made);
        }
    }

    /// A slice of a key that has ended is new, or has changed: says the windows that have fired, or have been
    /// passed over.
    fn changed_late(
        &mut self,
        table: &Table<K, F::Kept>,
        number: u32,
        slice: Slice,
        now: i64,
        made: &mut Vec<Windowed<K, F::Said>>,
    ) {
        if slice.end <= self.doing.map_or(self.done, |doing| doing.until) {
            self.keys.activate(number);
        }
        let Sliced { grid, fold, gate, keys, done, doing, .. } = self;
        let tracked = keys.get(number);
        let fired = match doing {
            None => *done,
            Some(Doing { until, is_window: true, step: Step::Read(_), .. }) => *until - 1,
            Some(Doing { until, is_window: true, step: Step::Fire, count, .. })
                if tracked.place as usize >= *count =>
            {
                *until - 1
            }
            Some(Doing { until, .. }) => *until,
        };
        // Or before a restart.
        let fired = gate.now_of(fired, tracked.hash).min(slice.last);
        if slice.first > fired {
            return;
        }
        let mut window = slice.first.max(grid.next(clamp(now.saturating_sub(gate.lateness))));
        while window <= fired {
            let merged = tracked.merged(table, (grid.start(window), window), fold);
            made.extend(merged.map(|kept| tracked.windowed(grid, window, fold, &kept)));
            window = grid.following(window);
        }
    }

    /// The next window that a key has a slice in.
    fn next_window(&self) -> Option<i64> {
        if !self.keys.active.is_empty() {
            // No window ends later.
            let after = self.done.clamp(-TIME_MAX, TIME_MAX + SPAN_MAX);
            return Some(self.grid.next(after)).filter(|window| *window > self.done);
        }
        let next = self.rows.range(self.done.saturating_add(1)..).next();
        next.map(|(slice, _)| self.grid.first_of(*slice))
    }

    /// Does some of what is due at `until`; returns whether there is more of it.
    fn advance(&mut self, until: i64, made: &mut Vec<Windowed<K, F::Said>>) -> bool {
        let slices = self.slices.clone();
        slices.with(|state| {
            let (table, mut budget) = (state.table(), TIMERS_AT_ONCE);
            while self.done < until {
                let mut doing = self.doing.take().unwrap_or_else(|| {
                    let window = self.next_window().filter(|window| *window <= until);
                    let (is_window, until) = (window.is_some(), window.unwrap_or(until));
                    Doing { until, is_window, step: Step::Read(self.done), count: 0 }
                });
                let is_done = match doing.step {
                    Step::Read(_) => self.read(table, &mut doing, &mut budget),
                    Step::Fire => self.fire(table, &mut doing, &mut budget, made),
                    Step::Forget => self.forget(table, &mut doing, &mut budget),
                };
                let step = match doing.step {
                    Step::Forget if is_done => {
                        self.done = doing.until;
                        continue;
                    }
                    step if !is_done => step,
                    Step::Read(_) if doing.is_window => Step::Fire,
                    _ => Step::Forget,
                };
                let count = if is_done { 0 } else { doing.count };
                self.doing = Some(Doing { step, count, ..doing });
                if !is_done {
                    return true;
                }
            }
            false
        })
    }

    /// Reads the slices that have ended, and notes their keys; returns whether that is all.
    fn read(&mut self, table: &Table<K, F::Kept>, doing: &mut Doing, budget: &mut usize) -> bool {
        let Step::Read(read) = &mut doing.step else { return true };
        while *read < doing.until
            && let Some((slice, row)) = self.rows.range(*read + 1..=doing.until).next()
        {
            while let Some(rest) = row.get(doing.count..).filter(|rest| !rest.is_empty()) {
                if *budget == 0 {
                    return false;
                }
                let chunk = &rest[..rest.len().min(DUE_AHEAD).min(*budget)];
                (*budget, doing.count) = (*budget - chunk.len(), doing.count + chunk.len());
                if self.fold.is_small() {
                    self.keys.ask_for(table, chunk, *slice);
                }
                for number in chunk {
                    self.keys.activate(*number);
                    self.keys.get(*number).read::<V, F>(table, *slice, &self.fold);
                }
            }
            (*read, doing.count) = (*slice, 0);
        }
        true
    }

    /// Says what a window has come to, for each key that has a slice in it; returns whether that is all.
    fn fire(
        &mut self,
        table: &Table<K, F::Kept>,
        doing: &mut Doing,
        budget: &mut usize,
        made: &mut Vec<Windowed<K, F::Said>>,
    ) -> bool {
        let Sliced { grid, fold, gate, keys, .. } = self;
        let window = doing.until;
        let bounds = (grid.start(window), window);
        while let Some(number) = keys.active.get(doing.count).copied() {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            let tracked = keys.get(number);
            let within = tracked.within(bounds);
            if within.is_empty() {
                // Another one comes to its place.
                keys.deactivate(number);
                continue;
            }
            doing.count += 1;
            // Not if it had fired before a restart.
            if gate.now_of(i64::MIN, tracked.hash) < window {
                let kept = tracked.fire(table, within, bounds, fold);
                made.extend(kept.map(|kept| tracked.windowed(grid, window, fold, &kept)));
            }
        }
        true
    }

    /// Removes slices that no window needs any more; returns whether that is all.
    fn forget(
        &mut self,
        table: &mut Table<K, F::Kept>,
        doing: &mut Doing,
        budget: &mut usize,
    ) -> bool {
        while let Some(mut row) = self.rows.first_entry()
            && self.gate.is_over(self.grid.last_of(*row.key()), doing.until)
        {
            let (slice, numbers) = (*row.key(), row.get_mut());
            while !numbers.is_empty() {
                if *budget == 0 {
                    return false;
                }
                let from = numbers.len().saturating_sub(DUE_AHEAD.min(*budget));
                *budget -= numbers.len() - from;
                self.keys.ask_for(table, &numbers[from..], slice);
                for number in numbers.drain(from..) {
                    let tracked = self.keys.get(number);
                    tracked.remove(slice);
                    let hash = tracked.hash_of(table.key_groups(), slice);
                    table.remove(hash, Element { key: tracked.key.clone(), element: slice });
                    if tracked.slices.is_empty() {
                        self.keys.forget(number);
                    }
                }
            }
            row.remove();
        }
        true
    }
}

impl<K: Key, A: Data + Clone> Tracked<K, A> {
    /// What a slice has come to.
    fn slice(&self, table: &Table<K, A>, slice: i64) -> Option<A> {
        let hash = self.hash_of(table.key_groups(), slice);
        let is_it = |there: &Element<K, i64>| there.element == slice && there.key == self.key;
        table.find(hash, is_it).cloned()
    }

    /// As that, of what was read if it was.
    fn value(&self, table: &Table<K, A>, (slice, read): &(i64, Option<A>)) -> Option<A> {
        read.clone().or_else(|| self.slice(table, *slice))
    }

    /// Keeps what a slice has come to, if windows will be merged of that.
    fn read<V, F: Merge<K, V, Kept = A>>(&mut self, table: &Table<K, A>, slice: i64, fold: &F) {
        if !fold.is_small() {
            return;
        }
        let value = self.slice(table, slice);
        if let Some(read) = self.place_of(slice).and_then(|at| self.slices.get_mut(at)) {
            read.1 = value;
        }
    }

    /// The merge of the slices of a window, all of them.
    fn merged<V, F: Merge<K, V, Kept = A>>(
        &self,
        table: &Table<K, A>,
        bounds: (i64, i64),
        fold: &F,
    ) -> Option<A> {
        self.merged_within(table, self.within(bounds), fold)
    }

    fn merged_within<V, F: Merge<K, V, Kept = A>>(
        &self,
        table: &Table<K, A>,
        within: std::ops::Range<usize>,
        fold: &F,
    ) -> Option<A> {
        let values = self.slices.range(within).filter_map(|slice| self.value(table, slice));
        values.reduce(|mut merged, later| {
            fold.merge(&mut merged, later);
            merged
        })
    }

    /// What a window has come to, after the one before it.
    fn fire<V, F: Merge<K, V, Kept = A>>(
        &mut self,
        table: &Table<K, A>,
        within: std::ops::Range<usize>,
        bounds: (i64, i64),
        fold: &F,
    ) -> Option<A> {
        // What was read of slices before is of no use any more.
        for (_, read) in self.slices.range_mut(..within.start).rev() {
            if read.take().is_none() {
                break;
            }
        }
        if !fold.is_small() || within.len() <= FEW && self.running.is_none() {
            return self.merged_within(table, within, fold);
        }
        let mut running = self.running.take().unwrap_or_default();
        let slices = self.slices.iter().map(|(slice, _)| *slice);
        let value = |slice| self.value(table, &self.slices[self.place_of(slice)?]);
        let kept = running.window(bounds, slices, value, |kept, later| fold.merge(kept, later));
        self.running = Some(running);
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
            let Sliced { gate, keys, rows, done, .. } = self;
            gate.start(table.owned_groups());
            *done = gate.floor();
            for (element, _) in table.iter() {
                let number = keys.of(&element.key, stable_hash(&element.key));
                keys.get(number).slices.push_back((element.element, None));
                rows.entry(element.element).or_default().push(number);
                if element.element <= *done {
                    keys.activate(number);
                }
            }
            for tracked in keys.tracked.iter_mut().flatten() {
                tracked.slices.make_contiguous().sort_unstable_by_key(|(slice, _)| *slice);
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
        let over = self
            .rows
            .first_key_value()
            .map(|(slice, _)| self.grid.last_of(*slice).saturating_add(self.gate.lateness));
        let next = [self.next_window(), over].into_iter().flatten().min();
        next.map(|at| u64::try_from(at).unwrap_or(0))
    }
}
