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
    /// All of its splits that are not finished are idle; so far had it come.
    Idle(EventTime),
    /// Nothing will come; so far had it come.
    Finished(EventTime),
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

    /// What those that have nothing to say follow: the slowest of the others. If nobody is waited for,
    /// where the furthest had come; the end of time if all that have event time are finished.
    pub(crate) fn of_others(&self) -> Option<EventTime> {
        let standings = self.standings.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut slowest, mut furthest, mut is_over) = (None, None, true);
        for standing in standings.values() {
            match *standing {
                Standing::At(at) => {
                    slowest = Some(slowest.map_or(at, |least: EventTime| least.min(at)));
                }
                Standing::Idle(at) => (furthest, is_over) = (furthest.max(Some(at)), false),
                Standing::Finished(at) => furthest = furthest.max(Some(at)),
                Standing::Untimed => {}
            }
        }
        slowest.or(if is_over { furthest.and(Some(EventTime::MAX)) } else { furthest })
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
        board.note("bids", 1, Standing::Idle(EventTime(4)));
        assert_eq!(board.of_others(), Some(EventTime(5)));
        board.note("bids", 0, Standing::Finished(EventTime(6)));
        assert_eq!(board.of_others(), Some(EventTime(9)));
        board.note("asks", 0, Standing::Finished(EventTime(10)));
        assert_eq!(board.of_others(), Some(EventTime(10)), "of those that are not waited for");
        board.note("bids", 1, Standing::Finished(EventTime(4)));
        assert_eq!(board.of_others(), Some(EventTime::MAX));
    }
}
