//! Key groups: the unit in which keyed state is owned, stored and moved between workers.

use std::ops::Range;

/// Number of key groups of a job unless it says otherwise: Flink's default, and enough to spread
/// evenly over the workers of one machine.
pub const KEY_GROUPS_DEFAULT: u16 = 128;

/// The most key groups that a job can have: Flink's limit.
pub const KEY_GROUPS_MAX: u16 = 32_767;

/// How many key groups a job has; fixed for its life, because segments are cut by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyGroups(u16);

impl KeyGroups {
    /// A job with `count` key groups; `None` unless it is in `1..=KEY_GROUPS_MAX`.
    pub fn new(count: u16) -> Option<KeyGroups> {
        (1..=KEY_GROUPS_MAX).contains(&count).then_some(KeyGroups(count))
    }

    /// How many there are.
    pub fn count(self) -> u16 {
        self.0
    }

    /// The group of a key with this [`stable_hash`](super::stable_hash); from its high bits.
    #[inline]
    pub fn of_hash(self, hash: u64) -> u16 {
        (((hash >> 32) * u64::from(self.0)) >> 32) as u16
    }

    /// The worker, of `workers`, that owns `group`.
    #[inline]
    pub fn worker_of(self, group: u16, workers: usize) -> usize {
        usize::from(group) * workers / usize::from(self.0)
    }

    /// The groups that `worker`, of `workers`, owns: contiguous, so that it reads contiguous
    /// ranges of segments.
    pub fn of_worker(self, worker: usize, workers: usize) -> Range<u16> {
        let first = |worker: usize| (worker * usize::from(self.0)).div_ceil(workers) as u16;
        first(worker)..first(worker + 1)
    }
}

impl Default for KeyGroups {
    fn default() -> Self {
        KeyGroups(KEY_GROUPS_DEFAULT)
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
}
