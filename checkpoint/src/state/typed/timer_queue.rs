//! Times and what is due at them, least first: a radix heap.
//!
//! Times are taken in order, so what is left lies ahead of the last one taken, and an item is put by
//! the highest bit in which its time differs from that. An item moves from bucket to lower bucket,
//! at most 64 times and in sequence through memory, and takes 16 bytes.
//!
//! Ahuja, Mehlhorn, Orlin, Tarjan: Faster algorithms for the shortest path problem, 1990.

/// Items of a chunk: a bucket grows by chunks, so that it never takes twice what is in it.
const CHUNK: usize = 512;

/// Buckets of up to so many items are announced before they are taken.
const ANNOUNCED: usize = 1024;

/// A time, as an unsigned number in the order of times, and a hash that says what it is of.
type Item = (u64, u64);

/// See the module. Items of equal times are taken in the order of their hashes, but for those that
/// were put when that time had come.
#[derive(Debug)]
pub struct TimerQueue {
    /// The last time that was taken; nothing is earlier.
    last: u64,
    buckets: Vec<Bucket>,
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

    fn pop(&mut self) -> Option<Item> {
        let chunk = self.chunks.last_mut()?;
        let item = chunk.pop();
        if chunk.is_empty() {
            self.chunks.pop();
        }
        item
    }
}

impl Default for TimerQueue {
    fn default() -> Self {
        let buckets = std::iter::repeat_with(Bucket::default).take(65).collect();
        TimerQueue { last: 0, buckets, len: 0 }
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
        self.bucket_of(at).push((at, hash));
        self.len += 1;
        signed(at)
    }

    /// One without items that has come as far.
    #[must_use]
    pub fn emptied(&self) -> TimerQueue {
        TimerQueue { last: self.last, ..TimerQueue::default() }
    }

    /// The least time.
    pub fn first(&self) -> Option<i64> {
        let least = self.buckets.iter().find(|bucket| !bucket.chunks.is_empty())?.least;
        Some(signed(least))
    }

    /// Takes an item of the least time, if that is not after `until`. `announce` is told the hashes of
    /// items that will be next.
    pub fn pop(&mut self, until: i64, announce: impl FnMut(u64)) -> Option<(i64, u64)> {
        let at = self.buckets.iter().position(|bucket| !bucket.chunks.is_empty())?;
        if self.buckets[at].least > ordered(until) {
            return None;
        }
        if at > 0 {
            self.spread(at, announce);
        }
        let (at, hash) = self.buckets[0].pop()?;
        self.len -= 1;
        Some((signed(at), hash))
    }

    /// Moves the items of a bucket to lower ones; those of the least time come to the lowest.
    fn spread(&mut self, at: usize, mut announce: impl FnMut(u64)) {
        let mut bucket = std::mem::take(&mut self.buckets[at]);
        let is_small = bucket.chunks.len() <= ANNOUNCED / CHUNK;
        self.last = bucket.least;
        self.buckets[0].least = self.last;
        let mut now = Vec::new();
        while let Some(chunk) = bucket.chunks.pop() {
            for item in chunk {
                if is_small {
                    announce(item.1);
                }
                if item.0 == self.last {
                    now.push(item);
                } else {
                    self.bucket_of(item.0).push(item);
                }
            }
        }
        now.sort_unstable_by_key(|item| std::cmp::Reverse(item.1));
        self.buckets[0].chunks = vec![now];
    }

    fn bucket_of(&mut self, at: u64) -> &mut Bucket {
        &mut self.buckets[64 - (at ^ self.last).leading_zeros() as usize]
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
