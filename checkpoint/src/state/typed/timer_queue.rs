//! Times and what is due at them, least first: a radix heap, a sorted row of what is next, and a binary
//! heap of what was put among that.
//!
//! ```text
//!   row     ... 19 12 9 7      what was in the first bucket, the next one last
//!   near    8 14               put since then, for a time at which something is in the row, or before
//!   buckets 21 | 30 25 | ..    after all of those
//! ```
//!
//! Times are taken in order, so what is left lies ahead of the last one taken, and an item is put by
//! the highest bit in which its time differs from that. An item moves from bucket to lower bucket,
//! at most 64 times and in sequence through memory, and takes 16 bytes. A bucket that has become
//! small is sorted: from then on its items do not move. What is put in between would have to be moved
//! from bucket to bucket down to its own time, which costs many times what a small heap does.
//!
//! Ahuja, Mehlhorn, Orlin, Tarjan: Faster algorithms for the shortest path problem, 1990.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Items of a chunk: a bucket grows by chunks, so that it never takes twice what is in it.
const CHUNK: usize = 512;

/// Chunks of a bucket that is sorted rather than spread: its items stay in a core's own cache.
const SORTED_CHUNKS: usize = 2;

/// Items that may be near: as many as stay in a core's own cache.
const NEAR_MAX: usize = 4 * CHUNK;

/// Items that are announced together, while as many that were are still to be taken.
const ANNOUNCED: usize = 32;

/// A time, as an unsigned number in the order of times, and a hash that says what it is of.
type Item = (u64, u64);

/// See the module. Items of equal times are taken in the order of their hashes, but for those that
/// were put when that time had come.
#[derive(Debug)]
pub struct TimerQueue {
    /// The last time that was taken; what is put is not earlier.
    last: u64,
    /// The next items, the first of them last.
    row: Vec<Item>,
    /// Items that were put when there was a row, for no later time than its last.
    near: BinaryHeap<Reverse<Item>>,
    /// The last time of the row when that was made.
    horizon: u64,
    /// How many of those have not been announced.
    unannounced: usize,
    /// What the buckets are counted from; nothing in them is earlier.
    base: u64,
    buckets: Vec<Bucket>,
    /// The least time in a bucket, if there is any.
    least: u64,
    len: usize,
}

#[derive(Debug)]
struct Bucket {
    chunks: Vec<Vec<Item>>,
    least: u64,
}

impl Default for Bucket {
    fn default() -> Self {
        Bucket { chunks: Vec::new(), least: u64::MAX }
    }
}

impl Bucket {
    fn push(&mut self, item: Item) {
        self.least = self.least.min(item.0);
        match self.chunks.last_mut() {
            Some(chunk) if chunk.len() < CHUNK => chunk.push(item),
            _ => {
                // Small ones stay small.
                let mut chunk = Vec::with_capacity(if self.chunks.is_empty() { 4 } else { CHUNK });
                chunk.push(item);
                self.chunks.push(chunk);
            }
        }
    }
}

impl Default for TimerQueue {
    fn default() -> Self {
        let buckets = std::iter::repeat_with(Bucket::default).take(65).collect();
        TimerQueue {
            last: 0,
            row: Vec::new(),
            near: BinaryHeap::new(),
            horizon: 0,
            unannounced: 0,
            base: 0,
            buckets,
            least: u64::MAX,
            len: 0,
        }
    }
}

fn ordered(at: i64) -> u64 {
    (at as u64) ^ (1 << 63)
}

fn signed(at: u64) -> i64 {
    (at ^ (1 << 63)) as i64
}

impl TimerQueue {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts an item; returns its time, which is later than `at` if that has passed: then it is due
    /// at once.
    pub fn push(&mut self, at: i64, hash: u64) -> i64 {
        let at = ordered(at).max(self.last);
        self.len += 1;
        if at <= self.horizon && self.next().is_some() {
            self.near.push(Reverse((at, hash)));
            if self.near.len() > NEAR_MAX {
                self.spread_out();
            }
        } else {
            self.put((at, hash));
        }
        signed(at)
    }

    /// One without items that has come as far.
    #[must_use]
    pub fn emptied(&self) -> TimerQueue {
        TimerQueue { last: self.last, ..TimerQueue::default() }
    }

    /// The least time.
    pub fn first(&self) -> Option<i64> {
        self.least_time().map(signed)
    }

    fn least_time(&self) -> Option<u64> {
        let next = self.next().map(|(at, _)| at);
        next.or((self.len > 0).then_some(self.least))
    }

    /// The next item of the row and of those near.
    fn next(&self) -> Option<Item> {
        let near = self.near.peek().map(|Reverse(item)| item);
        self.row.last().into_iter().chain(near).min().copied()
    }

    /// Takes an item of the least time, if that is not after `until`. `announce` is told some items,
    /// of which the hashes are of interest, that will be next.
    pub fn pop(&mut self, until: i64, mut announce: impl FnMut(&[Item])) -> Option<(i64, u64)> {
        self.least_time().filter(|least| *least <= ordered(until))?;
        if self.row.is_empty() && self.near.is_empty() {
            self.fill_row();
        }
        while self.unannounced > 0 && self.row.len() < self.unannounced + ANNOUNCED {
            let rest = self.unannounced.saturating_sub(ANNOUNCED);
            announce(&self.row[rest..self.unannounced]);
            self.unannounced = rest;
        }
        let (at, hash) = match (self.row.last(), self.near.peek()) {
            (Some(next), Some(Reverse(near))) if near < next => self.near.pop()?.0,
            (None, _) => self.near.pop()?.0,
            _ => self.row.pop()?,
        };
        if self.row.is_empty() && self.row.capacity() > 2 * SORTED_CHUNKS * CHUNK {
            self.row = Vec::new();
        }
        self.last = at;
        self.len -= 1;
        Some((signed(at), hash))
    }

    /// Moves the items of the first bucket to the row if they are few; else those of the least time, the
    /// others to lower buckets.
    fn fill_row(&mut self) {
        let first = self.buckets.iter_mut().find(|bucket| !bucket.chunks.is_empty());
        let bucket = first.map(std::mem::take).unwrap_or_default();
        self.base = bucket.least;
        let is_small = bucket.chunks.len() <= SORTED_CHUNKS;
        for item in bucket.chunks.into_iter().flatten() {
            if is_small || item.0 == self.base {
                self.row.push(item);
            } else {
                self.bucket_of(item.0).push(item);
            }
        }
        self.row.sort_unstable_by(|one, other| other.cmp(one));
        self.unannounced = self.row.len();
        self.horizon = self.row.first().map_or(0, |(at, _)| *at);
        let first = self.buckets.iter().find(|bucket| !bucket.chunks.is_empty());
        self.least = first.map_or(u64::MAX, |bucket| bucket.least);
    }

    /// Moves the row and what is near to the buckets: the row goes so far that most of what is put falls
    /// into it.
    fn spread_out(&mut self) {
        let (row, near) = (std::mem::take(&mut self.row), std::mem::take(&mut self.near));
        self.unannounced = 0;
        let near = near.into_iter().map(|Reverse(item)| item);
        row.into_iter().chain(near).for_each(|item| self.put(item));
    }

    /// Puts an item into its bucket.
    fn put(&mut self, item: Item) {
        self.least = self.least.min(item.0);
        self.bucket_of(item.0).push(item);
    }

    fn bucket_of(&mut self, at: u64) -> &mut Bucket {
        &mut self.buckets[64 - (at ^ self.base).leading_zeros() as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_yields_what_a_sorted_set_yields(
            steps in prop::collection::vec((any::<bool>(), -2_000_i64..2_000, 0_u64..50), 1..400),
            far in prop::collection::vec(any::<i64>(), 0..40),
        ) {
            let (mut queue, mut model) = (TimerQueue::default(), BTreeSet::new());
            for (number, at) in far.into_iter().enumerate() {
                model.insert((queue.push(at, 1_000 + number as u64), 1_000 + number as u64));
            }
            let mut unique = 10_000;
            for (is_push, at, count) in steps {
                if is_push {
                    unique += 1;
                    let put = queue.push(at, unique);
                    prop_assert!(put >= at);
                    model.insert((put, unique));
                    continue;
                }
                for _ in 0..count {
                    let least = model.first().map(|(at, _)| *at);
                    prop_assert_eq!(queue.first(), least);
                    let popped = queue.pop(at, |_| {});
                    match least {
                        Some(least) if least <= at => {
                            let item = popped.expect("one is due");
                            prop_assert_eq!(item.0, least);
                            prop_assert!(model.remove(&item));
                        }
                        _ => prop_assert_eq!(popped, None),
                    }
                }
            }
            prop_assert_eq!(queue.len(), model.len());
        }
    }

    #[test]
    fn equal_times_are_in_the_order_of_their_hashes() {
        let mut queue = TimerQueue::default();
        for hash in [5, 3, 9, 1] {
            queue.push(100, hash);
        }
        let taken: Vec<_> = std::iter::from_fn(|| queue.pop(100, |_| {})).collect();
        assert_eq!(taken, [(100, 1), (100, 3), (100, 5), (100, 9)]);
    }

    /// What is put between the items of the row, at the times of some of them, and of as many as are not
    /// sorted at one go.
    #[test]
    fn what_is_put_meanwhile_has_its_place_in_the_order() {
        let mut queue = TimerQueue::default();
        let mut model = BTreeSet::new();
        let put = |queue: &mut TimerQueue, model: &mut BTreeSet<_>, at, hash| {
            model.insert((queue.push(at, hash), hash));
        };
        for hash in 0..5_000 {
            put(&mut queue, &mut model, (hash % 700) as i64 * 10, hash * 2);
        }
        for round in 0..5_000_u64 {
            let popped = queue.pop(i64::MAX, |_| {});
            assert_eq!(popped, model.pop_first());
            let Some((at, _)) = popped else { break };
            if round % 3 == 0 {
                put(&mut queue, &mut model, at + 1 + (round % 90) as i64, 20_000 + round);
            }
        }
    }

    /// More than may be near, before an item that is next and far away, and some at its own time.
    #[test]
    fn many_that_are_put_before_what_is_next_have_their_places() {
        let (mut queue, mut model) = (TimerQueue::default(), BTreeSet::new());
        let put = |queue: &mut TimerQueue, model: &mut BTreeSet<_>, at, hash| {
            model.insert((queue.push(at, hash), hash));
        };
        put(&mut queue, &mut model, 0, 1);
        put(&mut queue, &mut model, 1_000_000, 2);
        assert_eq!(queue.pop(0, |_| {}), model.pop_first());
        assert_eq!((queue.row.len(), queue.near.len()), (1, 0));
        for number in 0..3 * NEAR_MAX as u64 {
            let at = if number % 5 == 0 { 1_000_000 } else { (number * 7919 % 100_000) as i64 };
            put(&mut queue, &mut model, at, 10 + number);
            assert!(queue.near.len() <= NEAR_MAX);
            if number % 3 == 0 {
                assert_eq!(queue.pop(i64::MAX, |_| {}), model.pop_first());
            }
        }
        while !model.is_empty() {
            assert_eq!(queue.pop(i64::MAX, |_| {}), model.pop_first());
        }
        assert!(queue.is_empty());
    }

    /// All of them, once, unless they are a few that were put among others: those come at once.
    #[test]
    fn items_are_announced_before_they_are_taken() {
        for times in [1, 10, 3_000] {
            let (mut queue, mut announced) = (TimerQueue::default(), BTreeSet::new());
            for hash in 0..3_000 {
                queue.push((hash % times) as i64, hash);
            }
            while let Some((_, hash)) = queue.pop(i64::MAX, |next| {
                for (_, hash) in next {
                    assert!(announced.insert(*hash), "{hash} again");
                }
            }) {
                assert!(announced.contains(&hash));
            }
            assert_eq!(announced.len(), 3_000);
        }
    }

    #[test]
    fn what_is_put_for_a_time_that_has_passed_is_due_at_once() {
        let mut queue = TimerQueue::default();
        queue.push(i64::MIN, 1);
        queue.push(7, 2);
        assert_eq!(queue.pop(6, |_| {}), Some((i64::MIN, 1)));
        assert_eq!(queue.pop(6, |_| {}), None);
        assert_eq!(queue.pop(7, |_| {}), Some((7, 2)));
        assert_eq!(queue.push(3, 3), 7);
        assert_eq!(queue.pop(7, |_| {}), Some((7, 3)));
    }
}
