//! What a worker makes of its records before they go to the one that has their windows: of those of a
//! batch that are in the same slice one value, where what is kept merges.
//!
//! Nothing is kept from one batch to the next: what is made is in the epoch of its records, and nothing
//! of it is in a checkpoint. The records of a key stay in their order.
//!
//! To look for the part of a record costs a tenth of what it takes to send the record and to look for its
//! window. So it pays if one record in ten is merged; where that is not so, most batches are passed on as
//! they are.

use std::marker::PhantomData;
use std::rc::Rc;

use highwater_checkpoint::EventTime;
use highwater_checkpoint::state::stable_hash;
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
    records: u32,
    /// The time of one of them.
    at: EventTime,
}

/// Places that a combiner has: as many as there are records in a large batch.
const PLACES: usize = 1 << PLACES_BITS;
const PLACES_BITS: u32 = 10;

/// One record in so many is to be merged.
const MERGED_OF: usize = 8;

/// Batches that are passed on as they are, after one of which fewer were merged.
const PASSED_ON: u32 = 31;

/// No part.
const NOWHERE: u32 = u32::MAX;

/// Makes parts of records.
pub(super) struct Combiner<K, F, T> {
    grid: Grid,
    clock: Clock<Rc<T>>,
    fold: Rc<F>,
    /// Where the part of a key and slice may be, among those that are made of a batch: by the hash of the
    /// two, one for all that have it. What is there of the batch before is another's.
    places: Box<[u32; PLACES]>,
    /// The slices of the parts that are made of a batch.
    slices: Vec<i64>,
    /// Batches to pass on.
    passing: u32,
    of: PhantomData<fn(&K)>,
}

impl<K: Key, F, T> Combiner<K, F, T> {
    pub(super) fn new(grid: Grid, clock: Clock<Rc<T>>, fold: Rc<F>) -> Self {
        let places = Box::new([NOWHERE; PLACES]);
        Combiner { grid, clock, fold, places, slices: Vec::new(), passing: 0, of: PhantomData }
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
        if self.passing > 0 {
            self.passing -= 1;
            made.extend(batch.drain(..).map(|(key, value)| (key, Part::One(value))));
            return;
        }
        let (records, before) = (batch.len(), made.len());
        self.slices.clear();
        let mut last = Slice::NONE;
        for (key, value) in batch.drain(..) {
            // All of a batch come at one time, if that is the time of day.
            let (mut at, mut slice) = (watermark, 0);
            if let Clock::Event(time_of) = &self.clock {
                at = time_of(&value);
                // Times are near each other, and to look for a slice is to divide.
                if !last.holds(clamp(at.0)) {
                    last = self.grid.slice(clamp(at.0));
                }
                slice = last.end;
            }
            let place = &mut self.places[place_of(&key, slice)];
            let known = self.slices.get(*place as usize).filter(|there| **there == slice);
            let part = known.and_then(|_| made.get_mut(before + *place as usize));
            let is_late = at < watermark;
            match part {
                Some((there, part)) if *there == key && !is_late => {
                    part.add(&*self.fold, at, value);
                }
                _ => {
                    // What follows a late one is not merged with what was before it.
                    *place = if is_late { NOWHERE } else { self.slices.len() as u32 };
                    self.slices.push(slice);
                    made.push((key, Part::One(value)));
                }
            }
        }
        let merged = records - (made.len() - before);
        if merged < records.div_ceil(MERGED_OF) {
            self.passing = PASSED_ON;
        }
    }
}

#[inline]
fn place_of<K: Key>(key: &K, slice: i64) -> usize {
    let both = stable_hash(key) ^ slice as u64;
    (both.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACES_BITS)) as usize
}

impl<V, A> Part<V, A> {
    /// Takes a record more, whose time is `at`.
    #[inline]
    fn add<K, F: Merge<K, V, Kept = A>>(&mut self, fold: &F, at: EventTime, value: V) {
        if let Part::Many(merged) = self {
            fold.add(&mut merged.value, value);
            merged.records += 1;
            return;
        }
        let many = Part::Many(Merged { value: fold.init(), records: 2, at });
        let first = std::mem::replace(self, many);
        if let (Part::One(first), Part::Many(merged)) = (first, self) {
            fold.add(&mut merged.value, first);
            fold.add(&mut merged.value, value);
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
            Part::Many(merged) => u64::from(merged.records),
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
    use std::collections::BTreeMap;

    use proptest::collection::vec;

    use super::super::fold::{Collected, Counted};
    use super::*;

    type Parts = Vec<((), Part<i64, u64>)>;

    fn combiner<K: Key, F>(fold: F) -> Combiner<K, F, impl Fn(&i64) -> EventTime> {
        let grid = Grid::Sliding { size: 20, slide: 10, offset: 0 };
        Combiner::new(grid, Clock::Event(Rc::new(|at: &i64| EventTime(*at))), Rc::new(fold))
    }

    #[test]
    fn records_of_a_slice_are_one_part_but_for_those_that_are_late() {
        let mut combiner = combiner(Counted);
        let many = |at, records: u32| {
            let (value, at) = (u64::from(records), EventTime(at));
            ((), Part::Many(Merged { value, records, at }))
        };
        for _ in 0..2 {
            let mut batch: Vec<((), i64)> =
                [5, 11, 6, 12, 3, 4, 19, 31, 7].map(|at| ((), at)).into();
            let mut made: Parts = Vec::new();
            combiner.combine(EventTime(5), &mut batch, &mut made);
            let one = |at| ((), Part::One(at));
            let expected = [many(6, 2), many(12, 3), one(3), one(4), one(31), one(7)];
            assert_eq!(made, expected);
            assert!(batch.is_empty());
        }
    }

    #[test]
    fn batches_of_which_little_is_merged_are_mostly_passed_on() {
        let mut combiner = combiner(Counted);
        let mut merged_of = |keys: std::ops::Range<i64>, of: i64| {
            let mut batch: Vec<_> = keys.map(|key| (key % of, 1)).collect();
            let (records, mut made) = (batch.len(), Vec::new());
            combiner.combine::<i64>(EventTime(0), &mut batch, &mut made);
            records - made.len()
        };
        assert_eq!(merged_of(0..100, 10), 90);
        assert_eq!(merged_of(0..100, 95), 5);
        for _ in 0..PASSED_ON {
            assert_eq!(merged_of(0..100, 10), 0);
        }
        assert_eq!(merged_of(0..100, 10), 90);
    }

    proptest::proptest! {
        #[test]
        fn the_records_of_a_key_and_slice_keep_their_order(
            batches in vec(vec((0u64..5, 0i64..40), 0..60), 1..4), watermark in 0i64..20
        ) {
            let mut combiner = combiner(Collected(|_: &u64, _: Window, _: &[i64]| ()));
            for mut batch in batches {
                let mut expected = BTreeMap::<_, Vec<i64>>::new();
                for (key, at) in &batch {
                    expected.entry((*key, at / 10)).or_default().push(*at);
                }
                let (mut made, mut come_to) = (Vec::new(), BTreeMap::<_, Vec<i64>>::new());
                combiner.combine(EventTime(watermark), &mut batch, &mut made);
                for (key, part) in made {
                    let records = match part {
                        Part::One(at) => vec![at],
                        Part::Many(merged) => {
                            assert_eq!(merged.records as usize, merged.value.len());
                            assert!(merged.value.contains(&merged.at.0));
                            assert!(merged.value.iter().all(|at| *at >= watermark));
                            merged.value
                        }
                    };
                    come_to.entry((key, records[0] / 10)).or_default().extend(records);
                }
                assert_eq!(come_to, expected);
            }
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
