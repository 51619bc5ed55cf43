//! Joins: what is kept of two streams, and which of their records meet.
//!
//! Each is the function of a process operator on both streams (`../process.rs`), with state by key in
//! the order of event time and, where it has an end, one timer a key for the next thing to do. None of
//! it knows timely.

mod as_of;
mod by_time;
mod evolved;
mod interval;
mod unbounded;
mod window;

use std::rc::Rc;

use highwater_checkpoint::EventTime;

pub(crate) use as_of::as_of_join;
pub(crate) use by_time::ByTime;
pub(crate) use evolved::Sides;
pub(crate) use interval::interval_join;
pub(crate) use unbounded::unbounded_join;
pub(crate) use window::{Windows, co_group};

use crate::state::{At, EventTimers};
use crate::stream::Key;

/// Of which sides records without a partner are said too.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outer {
    pub(crate) left: bool,
    pub(crate) right: bool,
}

/// The event times of the records of two streams.
pub(crate) struct Times<L, R> {
    pub(crate) left: Rc<dyn Fn(&L) -> EventTime>,
    pub(crate) right: Rc<dyn Fn(&R) -> EventTime>,
}

impl<L, R> Times<L, R> {
    fn of_left(&self, record: &L) -> EventTime {
        (self.left)(record)
    }

    fn of_right(&self, record: &R) -> EventTime {
        (self.right)(record)
    }
}

/// Sets the timer of the key, unless it is due before.
pub(crate) fn wake_by<K: Key>(wake: &EventTimers<K, ()>, key: &At<'_, K>, due: EventTime) {
    if wake.get(key, &()).is_none_or(|set| due < set) {
        wake.set(key, (), due);
    }
}
