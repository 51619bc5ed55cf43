//! Key groups: the unit in which keyed state is owned, stored and moved between workers.

use std::ops::Range;

/// Number of key groups of a job unless it says otherwise: Flink's default, and enough to spread
/// evenly over the workers of one machine.
pub const KEY_GROUPS_DEFAULT: u16 = 128;

/// The most key groups that a job can have: Flink's limit.
pub const KEY_GROUPS_MAX: u16 = 32_767;

/// How many key groups a job has; fixed for its life, because segments are cut by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyGroups {
    count: u16,
    /// 2^63 / count, for who would have to divide for each record.
    width: u64,
}

impl KeyGroups {
    /// A job with `count` key groups; `None` unless it is in `1..=KEY_GROUPS_MAX`.
    pub fn new(count: u16) -> Option<KeyGroups> {
        (1..=KEY_GROUPS_MAX).contains(&count).then(|| KeyGroups::of(count))
    }

    const fn of(count: u16) -> KeyGroups {
        KeyGroups { count, width: (1 << 63) / count as u64 }
    }

    /// How many there are.
    pub fn count(self) -> u16 {
        self.count
    }

    /// A hash of `group` that is as far within it as `hash` is within all.
    #[inline]
    pub(crate) fn hash_within(self, group: u16, hash: u64) -> u64 {
        // Of the high halves that belong to a group, all but one at either end, at most.
        let first = |group: u64| ((group * self.width) >> 31) + 1;
        let (from, to) = (first(u64::from(group)), first(u64::from(group) + 1) - 1);
        let high = from + (((hash >> 32) * (to - from)) >> 32);
        high << 32 | hash & 0xffff_ffff
    }

    /// The worker of each group, of `workers`: for who would have to divide for each record.
    pub fn owners(self, workers: usize) -> Vec<u32> {
        (0..self.count).map(|group| self.worker_of(group, workers) as u32).collect()
    }

    /// The group of a key with this [`stable_hash`](super::stable_hash); from its high bits.
    #[inline]
    pub fn of_hash(self, hash: u64) -> u16 {
        (((hash >> 32) * u64::from(self.count)) >> 32) as u16
    }

    /// The worker, of `workers`, that owns `group`.
    #[inline]
    pub fn worker_of(self, group: u16, workers: usize) -> usize {
        usize::from(group) * workers / usize::from(self.count)
    }

    /// The groups that `worker`, of `workers`, owns: contiguous, so that it reads contiguous
    /// ranges of segments.
    pub fn of_worker(self, worker: usize, workers: usize) -> Range<u16> {
        let first = |worker: usize| (worker * usize::from(self.count)).div_ceil(workers) as u16;
        first(worker)..first(worker + 1)
    }
}

impl Default for KeyGroups {
    fn default() -> Self {
        KeyGroups::of(KEY_GROUPS_DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_has_the_owner_whose_range_holds_it() {
        for count in [1, 2, 7, 128, 1000, KEY_GROUPS_MAX] {
            let groups = KeyGroups::new(count).unwrap();
            for workers in 1..40 {
                let mut next = 0;
                for worker in 0..workers {
                    let range = groups.of_worker(worker, workers);
                    assert_eq!(range.start, next);
                    next = range.end;
                    for group in range {
                        assert_eq!(groups.worker_of(group, workers), worker);
                    }
                }
                assert_eq!(next, count);
            }
        }
    }

    #[test]
    fn counts_out_of_range_are_refused() {
        assert_eq!(KeyGroups::new(0), None);
        assert_eq!(KeyGroups::new(KEY_GROUPS_MAX + 1), None);
    }

    #[test]
    fn a_hash_within_a_group_is_of_that_group_however_many_there_are() {
        for count in (1..300).chain([999, 1000, 1024, 16_383, KEY_GROUPS_MAX - 1, KEY_GROUPS_MAX]) {
            let groups = KeyGroups::new(count).unwrap();
            for group in (0..count).step_by(1 + usize::from(count) / 97).chain([count - 1]) {
                let ends = [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX];
                let within = ends.map(|hash| groups.hash_within(group, hash));
                assert!(
                    within.iter().all(|hash| groups.of_hash(*hash) == group),
                    "{group}/{count}"
                );
                // They are spread over nearly all of it.
                let width = (1_u64 << 32) / u64::from(count);
                assert!((within[4] >> 32) - (within[0] >> 32) >= width - 3, "{group}/{count}");
            }
        }
    }
}
