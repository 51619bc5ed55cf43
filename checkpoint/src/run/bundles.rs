//! Decides which small segments of one worker share an object, and when that is written.
//!
//! A pure state machine: [`Bundles::hand_in`] and [`Bundles::linger_over`] say what is to be done,
//! the caller has the clock and the store.
//!
//! ```text
//!   begin                --->   the seal is waited for
//!   hand in, small      ---> open bundle of the epoch ---> closed, when
//!   hand in, nothing    --->                               all participants have handed in the epoch,
//!                                                          or it lingered, or it is large
//! ```
//!
//! # Invariants
//!
//! * **B1** A bundle holds parts of one epoch, and of each operator at most one.
//! * **B2** Each part is in exactly one bundle, and each bundle is closed once: when all have handed
//!   in, or at the latest when its time to linger is over.

use std::collections::{BTreeMap, BTreeSet};

use crate::store::PART_BYTES;
use crate::time::Epoch;

/// Size below which a finished segment shares an object with others.
///
/// *Unit*: bytes, compressed. *Default and its reason*: 1 MiB. An object service takes some 30 ms for a
/// put and moves 50 to 100 MB/s: below this a request costs more than its bytes, in time as in money.
pub(super) const SMALL_BYTES_MAX: usize = 1 << 20;

/// Size at which a bundle is closed: what is written in one request.
const BUNDLE_BYTES_MAX: usize = PART_BYTES;

/// The bundles of one worker, with parts `P`.
#[derive(Debug)]
pub(super) struct Bundles<P> {
    participants: Vec<Participant>,
    open: BTreeMap<Epoch, Bundle<P>>,
    next: u64,
}

#[derive(Debug, Default)]
struct Participant {
    /// Seals that were begun and not handed in.
    under_way: BTreeSet<Epoch>,
    /// The last epoch of the seals that were handed in.
    through: Option<Epoch>,
}

impl Participant {
    /// The epoch through which it has handed in all. A later one may be in before an earlier one, for
    /// it may have less to compress.
    fn handed_in(&self) -> Option<Epoch> {
        match self.under_way.first() {
            Some(first) => first.0.checked_sub(1).map(Epoch),
            None => self.through,
        }
    }
}

/// Parts that are written together.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bundle<P> {
    /// The epoch of all its parts.
    pub(super) epoch: Epoch,
    /// Number of the bundle, of this worker in this run.
    pub(super) number: u64,
    /// In the order in which they were handed in.
    pub(super) parts: Vec<P>,
    bytes: usize,
}

/// What a hand-in leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct HandedIn<P> {
    /// To be written now.
    pub(super) closed: Vec<Bundle<P>>,
    /// A bundle that was opened: [`Bundles::linger_over`] is to be called for it in a while.
    pub(super) opened: Option<(Epoch, u64)>,
}

impl<P> Default for Bundles<P> {
    fn default() -> Self {
        Bundles { participants: Vec::new(), open: BTreeMap::new(), next: 0 }
    }
}

impl<P> Bundles<P> {
    /// Adds a participant, and returns its number.
    pub(super) fn join(&mut self) -> usize {
        self.participants.push(Participant::default());
        self.participants.len() - 1
    }

    /// `participant` begins to seal `epoch`, and will hand it in.
    pub(super) fn begin(&mut self, participant: usize, epoch: Epoch) {
        self.participants[participant].under_way.insert(epoch);
    }

    /// `participant` has sealed the epochs from `epoch` to `through`: what it adds is `part`, of so
    /// many bytes, or is nothing that could share an object.
    pub(super) fn hand_in(
        &mut self,
        participant: usize,
        (epoch, through): (Epoch, Epoch),
        part: Option<(P, usize)>,
    ) -> HandedIn<P> {
        let of_it = &mut self.participants[participant];
        of_it.under_way.remove(&epoch);
        of_it.through = of_it.through.max(Some(through));
        let (mut closed, mut opened) = (Vec::new(), None);
        if let Some((part, bytes)) = part {
            let number = self.next;
            let bundle = self.open.entry(epoch).or_insert_with(|| {
                opened = Some((epoch, number));
                Bundle { epoch, number, parts: Vec::new(), bytes: 0 }
            });
            self.next += u64::from(opened.is_some());
            bundle.parts.push(part);
            bundle.bytes += bytes;
            if bundle.bytes >= BUNDLE_BYTES_MAX {
                closed.extend(self.open.remove(&epoch));
            }
        }
        let all = self.participants.iter().map(Participant::handed_in).min().flatten();
        let is_whole = |epoch: &Epoch| all.is_some_and(|all| *epoch <= all);
        while let Some(first) = self.open.first_entry().filter(|entry| is_whole(entry.key())) {
            closed.push(first.remove());
        }
        opened = opened.filter(|(epoch, _)| self.open.contains_key(epoch));
        HandedIn { closed, opened }
    }

    /// A bundle has waited for long enough; it may have been closed meanwhile.
    pub(super) fn linger_over(&mut self, (epoch, number): (Epoch, u64)) -> Option<Bundle<P>> {
        let is_it = self.open.get(&epoch).is_some_and(|bundle| bundle.number == number);
        is_it.then(|| self.open.remove(&epoch)).flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn one(epoch: u64) -> (Epoch, Epoch) {
        (Epoch(epoch), Epoch(epoch))
    }

    fn parts(handed_in: &HandedIn<&'static str>) -> Vec<Vec<&'static str>> {
        handed_in.closed.iter().map(|bundle| bundle.parts.clone()).collect()
    }

    #[test]
    fn a_bundle_is_closed_when_all_have_handed_in_its_epoch() {
        let mut bundles = Bundles::default();
        let (a, b, c) = (bundles.join(), bundles.join(), bundles.join());
        let first = bundles.hand_in(a, one(1), Some(("a1", 10)));
        assert_eq!((parts(&first).len(), first.opened), (0, Some((Epoch(1), 0))));
        let second = bundles.hand_in(b, one(1), None);
        assert_eq!((parts(&second).len(), second.opened), (0, None));
        let last = bundles.hand_in(c, one(1), Some(("c1", 10)));
        assert_eq!(parts(&last), [["a1", "c1"]]);
        assert_eq!(bundles.linger_over((Epoch(1), 0)), None);
    }

    #[test]
    fn who_passes_over_epochs_has_handed_them_in() {
        let mut bundles = Bundles::default();
        let (a, b) = (bundles.join(), bundles.join());
        bundles.hand_in(a, (Epoch(1), Epoch(3)), None);
        assert_eq!(parts(&bundles.hand_in(b, one(1), Some(("b1", 1)))), [["b1"]]);
        assert_eq!(parts(&bundles.hand_in(b, one(3), Some(("b3", 1)))), [["b3"]]);
        assert_eq!(parts(&bundles.hand_in(b, one(4), Some(("b4", 1)))).len(), 0);
    }

    #[test]
    fn a_bundle_does_not_linger_for_longer_than_it_may_nor_grow_larger() {
        let mut bundles = Bundles::default();
        let (a, _slow) = (bundles.join(), bundles.join());
        let opened = bundles.hand_in(a, one(1), Some(("a1", 1))).opened.expect("it is the first");
        assert_eq!(bundles.linger_over(opened).map(|bundle| bundle.parts), Some(vec!["a1"]));
        let large = bundles.hand_in(a, one(2), Some(("a2", BUNDLE_BYTES_MAX)));
        assert_eq!((parts(&large), large.opened), (vec![vec!["a2"]], None));
        // What opens under the same epoch later is another one.
        let opened = bundles.hand_in(a, one(2), Some(("late", 1))).opened;
        assert_eq!(opened, Some((Epoch(2), 2)));
        assert_eq!(bundles.linger_over((Epoch(2), 1)), None);
    }

    /// The last epoch of a run, in which nothing changes, was handed in before the one that had to
    /// be compressed: each operator then got an object of its own.
    #[test]
    fn regression_an_epoch_that_is_handed_in_early_does_not_stand_for_those_before() {
        let mut bundles = Bundles::default();
        let all = [bundles.join(), bundles.join()];
        for participant in all {
            bundles.begin(participant, Epoch(1));
            bundles.begin(participant, Epoch(2));
            bundles.hand_in(participant, (Epoch(2), Epoch(u64::MAX)), None);
        }
        assert_eq!(parts(&bundles.hand_in(all[0], one(1), Some(("a1", 1)))).len(), 0);
        let last = bundles.hand_in(all[1], one(1), Some(("b1", 1)));
        assert_eq!(parts(&last), [["a1", "b1"]]);
    }

    proptest! {
        /// Participants hand in their epochs in any interleaving, and timers ring at any time.
        #[test]
        fn every_part_is_closed_once_and_when_all_are_in_nothing_is_open(
            turns in vec(
                (0..4usize, 1..4u64, prop::option::of(1..3_000_000usize), any::<bool>(), 0..3usize),
                0..60,
            ),
        ) {
            let mut bundles = Bundles::default();
            for _ in 0..4 {
                bundles.join();
            }
            let (mut at, mut handed, mut closed) = ([0u64; 4], Vec::new(), Vec::new());
            let (mut timers, mut under_way) = (Vec::new(), Vec::new());
            for (who, skip, bytes, rings, late) in turns {
                let (epoch, through) = (at[who] + 1, at[who] + skip);
                at[who] = through;
                bundles.begin(who, Epoch(epoch));
                under_way.push((who, epoch, through, bytes));
                // Some are handed in later than others that began later.
                while under_way.len() > late {
                    let (who, epoch, through, bytes) = under_way.swap_remove(0);
                    let part = bytes.map(|bytes| ((who, epoch), bytes));
                    handed.extend(part.map(|(part, _)| part));
                    let done = bundles.hand_in(who, (Epoch(epoch), Epoch(through)), part);
                    closed.extend(done.closed);
                    timers.extend(done.opened);
                }
                if rings && let Some(timer) = timers.pop() {
                    closed.extend(bundles.linger_over(timer));
                }
                let first = under_way.iter().map(|(_, epoch, ..)| epoch - 1).min();
                let all = at.iter().copied().chain(first).min().unwrap_or(0);
                prop_assert!(bundles.open.keys().all(|epoch| epoch.0 > all));
            }
            closed.extend(timers.into_iter().filter_map(|timer| bundles.linger_over(timer)));
            prop_assert!(bundles.open.is_empty(), "a bundle without a timer stays for ever");
            let mut numbers: Vec<_> = closed.iter().map(|bundle| bundle.number).collect();
            numbers.sort_unstable();
            prop_assert!(numbers.windows(2).all(|two| two[0] < two[1]));
            for bundle in &closed {
                prop_assert!(bundle.parts.iter().all(|(_, epoch)| Epoch(*epoch) == bundle.epoch));
            }
            let mut written: Vec<_> = closed.into_iter().flat_map(|bundle| bundle.parts).collect();
            written.sort_unstable();
            handed.sort_unstable();
            prop_assert_eq!(written, handed);
        }
    }
}
