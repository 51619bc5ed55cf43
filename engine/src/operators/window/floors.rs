//! Up to where the windows of each key group have fired before a restart.
//!
//! The workers of a run end an epoch at different watermarks: what one has acted on may be due in the
//! next epoch on another, for records of that epoch were still on their way to it. One number for all
//! would make some of those late, or open windows again that had fired; and a key group may be
//! restored by any worker. So each worker writes what it has acted on with its groups.

use std::ops::Range;

/// A row of key groups and the watermark up to which they are done: an item of the state
/// `acted-on` of a window operator.
pub(super) type Floor = (u16, u16, i64);

/// See the module.
#[derive(Debug)]
pub(super) struct Floors {
    owned: Range<u16>,
    /// Of each owned group; empty if it is the same for all.
    of_group: Vec<i64>,
    least: i64,
}

impl Floors {
    /// Those of the groups `owned`, as the workers of the run before had written them.
    pub(super) fn new(owned: Range<u16>, written: &[Floor]) -> Self {
        let of = |group: u16| {
            let holds = |(first, end, _): &&Floor| (*first..*end).contains(&group);
            written.iter().filter(holds).map(|(_, _, at)| *at).max().unwrap_or(i64::MIN)
        };
        let of_group = owned.clone().map(of).collect();
        let mut floors = Floors { owned, of_group, least: i64::MIN };
        floors.settle();
        floors
    }

    fn settle(&mut self) {
        self.least = self.of_group.iter().copied().min().unwrap_or(self.least);
        if self.of_group.iter().all(|at| *at == self.least) {
            self.of_group.clear();
        }
    }

    /// That of the group that is behind the others.
    pub(super) fn least(&self) -> i64 {
        self.least
    }

    /// That of `group`, which is owned.
    #[inline]
    pub(super) fn of(&self, group: impl FnOnce() -> u16) -> i64 {
        if self.of_group.is_empty() {
            return self.least;
        }
        self.of_group[usize::from(group() - self.owned.start)]
    }

    /// All groups have come to `at`, if they were not further.
    pub(super) fn raise(&mut self, at: i64) {
        if self.of_group.is_empty() {
            self.least = self.least.max(at);
            return;
        }
        self.of_group.iter_mut().for_each(|floor| *floor = (*floor).max(at));
        self.settle();
    }

    /// What is to be written.
    pub(super) fn written(&self, items: &mut Vec<Floor>) {
        items.clear();
        if self.of_group.is_empty() && !self.owned.is_empty() {
            items.push((self.owned.start, self.owned.end, self.least));
        }
        for (group, at) in self.owned.clone().zip(&self.of_group) {
            match items.last_mut() {
                Some((_, end, last)) if last == at => *end = group + 1,
                _ => items.push((group, group + 1, *at)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(floors: &Floors) -> Vec<Floor> {
        let mut items = vec![(9, 9, 9)];
        floors.written(&mut items);
        items
    }

    #[test]
    fn each_group_goes_on_from_where_it_was_whoever_had_it() {
        let mut floors = Floors::new(2..8, &[(0, 3, 10), (3, 5, 30), (5, 7, 20)]);
        let of = |floors: &Floors| (2..8).map(|group| floors.of(|| group)).collect::<Vec<_>>();
        assert_eq!(of(&floors), [10, 30, 30, 20, 20, i64::MIN]);
        assert_eq!(floors.least(), i64::MIN);
        floors.raise(15);
        assert_eq!(of(&floors), [15, 30, 30, 20, 20, 15]);
        assert_eq!(written(&floors), [(2, 3, 15), (3, 5, 30), (5, 7, 20), (7, 8, 15)]);
        let again = Floors::new(2..8, &written(&floors));
        assert_eq!(of(&again), of(&floors));
        floors.raise(30);
        assert_eq!((of(&floors), floors.least()), (vec![30; 6], 30));
        assert_eq!(written(&floors), [(2, 8, 30)]);
    }

    #[test]
    fn who_owns_nothing_writes_nothing() {
        let mut floors = Floors::new(3..3, &[(0, 9, 5)]);
        floors.raise(8);
        assert_eq!((written(&floors), floors.least()), (vec![], 8));
    }
}
