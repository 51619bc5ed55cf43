//! Where the sources of a job say how far their event times are, for those that have nothing to say.
//!
//! A source whose splits are all idle or finished, and one without event time, must not hold the
//! watermark back, but cannot let go of its capability: it follows the others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use highwater_checkpoint::EventTime;

/// How a source stands on one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its slowest split is here.
    At(EventTime),
    /// All of its splits that are not finished are idle.
    Idle,
    /// Nothing will come.
    Finished,
    /// It says nothing of event time, ever.
    Untimed,
}

/// See the module. Shared by the workers of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Board {
    standings: Arc<Mutex<BTreeMap<(String, usize), Standing>>>,
}

impl Board {
    /// Notes how source `uid` stands on `worker`.
    pub(crate) fn note(&self, uid: &str, worker: usize, standing: Standing) {
        let mut standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        match standings.iter_mut().find(|((of, on), _)| of == uid && *on == worker) {
            Some((_, old)) => *old = standing,
            None => drop(standings.insert((uid.to_owned(), worker), standing)),
        }
    }

    /// What those that have nothing to say follow: the slowest of the others; the end of time if all
    /// that have event time are finished; none if that is not known.
    pub(crate) fn of_others(&self) -> Option<EventTime> {
        let standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        let mut timed = standings.values().filter(|standing| **standing != Standing::Untimed);
        let at = timed.clone().filter_map(|standing| match standing {
            Standing::At(at) => Some(*at),
            _ => None,
        });
        let is_over = timed.clone().next().is_some() && timed.all(|s| *s == Standing::Finished);
        at.min().or(is_over.then_some(EventTime::MAX))
    }

    /// The slowest split of source `uid` on all workers, of those that are waited for.
    pub(crate) fn of_source(&self, uid: &str) -> Option<EventTime> {
        let standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = standings.iter().filter(|((of, _), _)| of == uid);
        let at = of_source.filter_map(|(_, standing)| match standing {
            Standing::At(at) => Some(*at),
            _ => None,
        });
        at.min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_nothing_to_say_follows_the_slowest_of_the_others() {
        let board = Board::default();
        assert_eq!(board.of_others(), None);
        board.note("untimed", 0, Standing::Untimed);
        assert_eq!(board.of_others(), None);
        board.note("bids", 0, Standing::At(EventTime(5)));
        board.note("bids", 1, Standing::At(EventTime(3)));
        board.note("asks", 0, Standing::At(EventTime(9)));
        assert_eq!(board.of_others(), Some(EventTime(3)));
        assert_eq!(board.of_source("asks"), Some(EventTime(9)));
        board.note("bids", 1, Standing::Idle);
        assert_eq!(board.of_others(), Some(EventTime(5)));
        board.note("bids", 0, Standing::Finished);
        board.note("asks", 0, Standing::Finished);
        assert_eq!(board.of_others(), None);
        board.note("bids", 1, Standing::Finished);
        assert_eq!(board.of_others(), Some(EventTime::MAX));
    }
}
