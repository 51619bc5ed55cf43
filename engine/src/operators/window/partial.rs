//! What a worker makes of its records before they go to the one that has their windows: of those of a
//! batch that are in the same slice one value, where what is kept merges.
//!
//! Nothing is kept from one batch to the next: what is made is in the epoch of its records, and nothing
//! of it is in a checkpoint.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::rc::Rc;

use highwater_checkpoint::EventTime;
use highwater_checkpoint::state::StableHasher;
use serde::{Deserialize, Serialize};

use super::fold::{Fold, Merge};
use super::gate::Clock;
use super::grid::{Grid, Slice, clamp};
use crate::stream::{Data, Key};
use crate::window::Window;

/// A record, or what some of them have come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Part<V, A> {
    One(V),
    Many(Merged<A>),
}

/// What records have come to that are in the same windows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Merged<A> {
    value: A,
    records: u64,
    /// The time of one of them.
    at: EventTime,
}

/// Makes parts of records.
pub(super) struct Combiner<K, F, T> {
    grid: Grid,
    clock: Clock<Rc<T>>,
    fold: Rc<F>,
    /// Where the part of a key and slice is, among those that are made of a batch.
    places: HashMap<(K, i64), usize, BuildHasherDefault<StableHasher>>,
}

impl<K: Key, F, T> Combiner<K, F, T> {
    pub(super) fn new(grid: Grid, clock: Clock<Rc<T>>, fold: Rc<F>) -> Self {
        Combiner { grid, clock, fold, places: HashMap::default() }
    }

    /// Makes parts of a batch that came when the watermark was `watermark`. What is late, or perhaps
    /// is, stays a record: each of those is judged by itself.
    pub(super) fn combine<V>(
        &mut self,
        watermark: EventTime,
        batch: &mut Vec<(K, V)>,
        made: &mut Vec<(K, Part<V, F::Kept>)>,
    ) where
        F: Merge<K, V>,
        T: Fn(&V) -> EventTime,
    {
        self.places.clear();
        let (fold, mut last) = (&*self.fold, Slice::NONE);
        for (key, value) in batch.drain(..) {
            let (at, slice) = match &self.clock {
                Clock::Event(time_of) => {
                    let at = time_of(&value);
                    if at < watermark {
                        made.push((key, Part::One(value)));
                        continue;
                    }
                    // Times are near each other, and to look for a slice is to divide.
                    if !last.holds(clamp(at.0)) {
                        last = self.grid.slice(clamp(at.0));
                    }
                    (at, last.end)
                }
                // All of a batch come at one time.
                Clock::Day => (watermark, 0),
            };
            let place = *self.places.entry((key.clone(), slice)).or_insert(made.len());
            let Some((_, part)) = made.get_mut(place) else {
                made.push((key, Part::One(value)));
                continue;
            };
            if let Part::Many(merged) = part {
                fold.add(&mut merged.value, value);
                merged.records += 1;
                continue;
            }
            let many = Part::Many(Merged { value: fold.init(), records: 2, at });
            let first = std::mem::replace(part, many);
            if let (Part::One(first), Part::Many(merged)) = (first, part) {
                fold.add(&mut merged.value, first);
                fold.add(&mut merged.value, value);
            }
        }
    }
}

/// Where the time of a part is.
pub(super) fn clock_of_parts<V: 'static, A: 'static, T: Fn(&V) -> EventTime + 'static>(
    clock: Clock<Rc<T>>,
) -> Clock<impl Fn(&Part<V, A>) -> EventTime + 'static> {
    match clock {
        Clock::Day => Clock::Day,
        Clock::Event(time_of) => Clock::Event(move |part: &Part<V, A>| match part {
            Part::One(value) => time_of(value),
            Part::Many(merged) => merged.at,
        }),
    }
}

/// A fold of records as one of parts.
pub(super) struct OfParts<F>(pub(super) Rc<F>);

impl<K, V: Data, F: Merge<K, V>> Fold<K, Part<V, F::Kept>> for OfParts<F> {
    type Kept = F::Kept;
    type Said = F::Said;

    fn init(&self) -> F::Kept {
        self.0.init()
    }

    fn add(&self, kept: &mut F::Kept, part: Part<V, F::Kept>) {
        match part {
            Part::One(value) => self.0.add(kept, value),
            Part::Many(merged) => self.0.merge(kept, merged.value),
        }
    }

    fn say(&self, key: &K, window: Window, kept: &F::Kept) -> F::Said {
        self.0.say(key, window, kept)
    }

    fn records(&self, part: &Part<V, F::Kept>) -> u64 {
        match part {
            Part::One(_) => 1,
            Part::Many(merged) => merged.records,
        }
    }
}

impl<K, V: Data, F: Merge<K, V>> Merge<K, Part<V, F::Kept>> for OfParts<F> {
    fn merge(&self, kept: &mut F::Kept, later: F::Kept) {
        self.0.merge(kept, later);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fold::Counted;
    use super::*;

    type Parts = Vec<((), Part<i64, u64>)>;

    #[test]
    fn records_of_a_slice_are_one_part_but_for_those_that_are_late() {
        let grid = Grid::Sliding { size: 20, slide: 10, offset: 0 };
        let clock = Clock::Event(Rc::new(|at: &i64| EventTime(*at)));
        let mut combiner = Combiner::new(grid, clock, Rc::new(Counted));
        let many = |at, records| {
            let (value, at) = (records, EventTime(at));
            ((), Part::Many(Merged { value, records, at }))
        };
        for _ in 0..2 {
            let mut batch: Vec<((), i64)> = [5, 11, 12, 3, 4, 19, 31, 6].map(|at| ((), at)).into();
            let mut made: Parts = Vec::new();
            combiner.combine(EventTime(5), &mut batch, &mut made);
            let one = |at| ((), Part::One(at));
            assert_eq!(made, [many(6, 2), many(12, 3), one(3), one(4), one(31)]);
        }
    }

    #[test]
    fn what_a_part_has_come_to_is_taken_as_its_records_are() {
        let fold = OfParts(Rc::new(Counted));
        let many = Part::Many(Merged { value: 5, records: 5, at: EventTime(1) });
        let mut kept = 2;
        for part in [Part::One(7i64), many] {
            assert_eq!(Fold::<(), _>::records(&fold, &part), if kept == 2 { 1 } else { 5 });
            Fold::<(), _>::add(&fold, &mut kept, part);
        }
        assert_eq!(kept, 8);
    }
}
