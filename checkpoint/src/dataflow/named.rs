//! The states of one operator, each a participant by its own name, sealed at the same point of the
//! operator's input.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Again, Closed, KeyedState};
use crate::error::BoxError;
use crate::state::Codec;
use crate::time::{Epoch, EpochTime};

/// When to come again if what a sweep would capture has no room.
const SWEEP_AGAIN_MS: u64 = 100;

/// A state that an operator keeps beside others.
pub trait NamedState {
    /// The running epoch.
    fn running(&self) -> Epoch;

    /// Whether records of `epoch` may be applied now, as far as epochs go.
    fn admits(&self, epoch: Epoch) -> bool;

    /// As [`KeyedState::is_full`].
    fn is_full(&mut self) -> bool {
        false
    }

    /// Whether the input has ended and its last epoch is sealed.
    fn is_done(&self) -> bool;

    /// Whether the running epoch is known to be the last of the run.
    fn is_last_epoch(&self) -> bool;

    /// Whether a seal is under way on the worker's thread: the next epoch cannot end before.
    fn is_sealing(&self) -> bool;

    /// As [`KeyedState::advance`].
    fn advance(&mut self, frontier: Option<Epoch>, stashed: Option<Epoch>) -> Closed;

    /// As [`KeyedState::work`].
    ///
    /// # Errors
    ///
    /// As [`KeyedState::work`].
    fn work(&mut self) -> Result<Again, BoxError>;

    /// Removes some of what has expired at `now_ms`; returns when to come again, if ever.
    fn sweep(&mut self, now_ms: u64) -> Option<u64> {
        let _ = now_ms;
        None
    }
}

impl<T, K, V, C> NamedState for KeyedState<T, K, V, C>
where
    T: timely::progress::Timestamp + EpochTime,
    K: Eq + std::hash::Hash,
    C: Codec<K> + Codec<V>,
{
    fn running(&self) -> Epoch {
        KeyedState::running(self)
    }
    fn admits(&self, epoch: Epoch) -> bool {
        KeyedState::admits(self, epoch)
    }
    fn is_full(&mut self) -> bool {
        KeyedState::is_full(self)
    }
    fn is_done(&self) -> bool {
        KeyedState::is_done(self)
    }
    fn is_last_epoch(&self) -> bool {
        KeyedState::is_last_epoch(self)
    }
    fn is_sealing(&self) -> bool {
        KeyedState::is_sealing(self)
    }
    fn advance(&mut self, frontier: Option<Epoch>, stashed: Option<Epoch>) -> Closed {
        KeyedState::advance(self, frontier, stashed)
    }
    fn work(&mut self) -> Result<Again, BoxError> {
        KeyedState::work(self)
    }
}

/// The states of one operator. To be used as one [`KeyedState`] is.
///
/// An epoch ends in all of them at once: only when none has a seal under way, so that what a record
/// does to several of them is in one epoch in all.
pub struct NamedStates {
    states: Vec<Rc<RefCell<dyn NamedState>>>,
    /// The one to work on first: a seal takes its time of one state in a scheduling, not of each.
    turn: usize,
}

impl NamedStates {
    /// The states of one operator; there may be none.
    pub fn new(states: Vec<Rc<RefCell<dyn NamedState>>>) -> Self {
        NamedStates { states, turn: 0 }
    }

    /// The running epoch; beyond all others, if there is no state.
    pub fn running(&self) -> Epoch {
        self.states.first().map_or(Epoch(u64::MAX), |state| state.borrow().running())
    }

    /// As [`KeyedState::may_apply`], in all states.
    pub fn may_apply(&self, epoch: Epoch, stashed: Option<Epoch>) -> bool {
        let is_in_order = stashed.is_none_or(|stashed| stashed > epoch);
        is_in_order
            && self.states.iter().all(|state| state.borrow().admits(epoch))
            && !self.is_full()
    }

    /// Whether there is no room for what changes of any of them would capture.
    pub fn is_full(&self) -> bool {
        self.states.iter().any(|state| state.borrow_mut().is_full())
    }

    /// Whether the input has ended and its last epoch is sealed in all of them.
    pub fn is_done(&self) -> bool {
        self.states.iter().all(|state| state.borrow().is_done())
    }

    /// Whether the running epoch is known to be the last of the run, in all of them.
    pub fn is_last_epoch(&self) -> bool {
        self.states.iter().all(|state| state.borrow().is_last_epoch())
    }

    /// Ends the running epoch in all states if it has closed, as [`KeyedState::advance`] does.
    pub fn advance(&mut self, frontier: Option<Epoch>, stashed: Option<Epoch>) -> Closed {
        if self.states.iter().any(|state| state.borrow().is_sealing()) {
            return Closed::No;
        }
        let mut closed = Closed::No;
        for state in &self.states {
            closed = state.borrow_mut().advance(frontier, stashed);
        }
        closed
    }

    /// Goes on with the seals under way, for a bounded time.
    ///
    /// # Errors
    ///
    /// As [`KeyedState::work`].
    pub fn work(&mut self) -> Result<Again, BoxError> {
        let (count, first) = (self.states.len(), self.turn);
        let mut again = Again::WhenWoken;
        for at in (0..count).map(|at| (first + at) % count) {
            match self.states[at].borrow_mut().work()? {
                Again::Now => {
                    self.turn = at;
                    return Ok(Again::Now);
                }
                Again::Soon => again = Again::Soon,
                Again::WhenWoken => {}
            }
        }
        Ok(again)
    }

    /// Removes some of what has expired at `now_ms`; returns when to come again, if ever.
    pub fn sweep(&mut self, now_ms: u64) -> Option<u64> {
        if self.is_full() {
            return Some(now_ms + SWEEP_AGAIN_MS);
        }
        self.states.iter().filter_map(|state| state.borrow_mut().sweep(now_ms)).min()
    }
}

impl std::fmt::Debug for NamedStates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NamedStates").field("states", &self.states.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A state that closes an epoch whenever it is asked, and has this many slices to a seal.
    struct Fake {
        running: Epoch,
        slices: u32,
        left: u32,
        is_full: bool,
    }

    impl NamedState for Fake {
        fn running(&self) -> Epoch {
            self.running
        }
        fn admits(&self, epoch: Epoch) -> bool {
            epoch <= self.running
        }
        fn is_full(&mut self) -> bool {
            self.is_full
        }
        fn is_done(&self) -> bool {
            false
        }
        fn is_last_epoch(&self) -> bool {
            true
        }
        fn is_sealing(&self) -> bool {
            self.left > 0
        }
        fn advance(&mut self, frontier: Option<Epoch>, _: Option<Epoch>) -> Closed {
            if self.left > 0 || frontier.is_some_and(|frontier| frontier <= self.running) {
                return Closed::No;
            }
            (self.running, self.left) = (self.running.next(), self.slices);
            Closed::Through(Epoch(self.running.0 - 1))
        }
        fn work(&mut self) -> Result<Again, BoxError> {
            let again = if self.left > 0 { Again::Now } else { Again::WhenWoken };
            self.left = self.left.saturating_sub(1);
            Ok(again)
        }
    }

    fn fakes(slices: [u32; 3]) -> ([Rc<RefCell<Fake>>; 3], NamedStates) {
        let fake = |slices| Fake { running: Epoch(1), slices, left: 0, is_full: false };
        let fakes = slices.map(|slices| Rc::new(RefCell::new(fake(slices))));
        let states = fakes.iter().map(|fake| Rc::clone(fake) as Rc<RefCell<dyn NamedState>>);
        (fakes.clone(), NamedStates::new(states.collect()))
    }

    #[test]
    fn an_epoch_ends_in_all_states_or_in_none() {
        let (fakes, mut states) = fakes([0, 7, 2]);
        for frontier in [2, 3, 4].map(Epoch) {
            let mut schedulings = 0;
            while states.advance(Some(frontier), None) == Closed::No {
                schedulings += 1;
                states.work().unwrap();
                let running = fakes.each_ref().map(|fake| fake.borrow().running);
                assert!(running.iter().all(|epoch| *epoch == running[0]), "{running:?}");
            }
            // One slice in each, of all states together.
            assert_eq!(schedulings, if frontier == Epoch(2) { 0 } else { 9 });
        }
        assert_eq!(states.running(), Epoch(4));
    }

    #[test]
    fn records_wait_for_their_epoch_for_room_and_for_those_before_them() {
        let (fakes, states) = fakes([0; 3]);
        assert!(states.may_apply(Epoch(1), None));
        assert!(states.may_apply(Epoch(1), Some(Epoch(2))));
        assert!(!states.may_apply(Epoch(2), None), "its epoch has not begun");
        assert!(!states.may_apply(Epoch(1), Some(Epoch(1))), "others are before it");
        fakes[1].borrow_mut().is_full = true;
        assert!(!states.may_apply(Epoch(1), None), "no room in one of them");
    }
}
