//! Typed state: what the operators that a program writes itself keep.
//!
//! A program declares the states of an operator when it builds the operator, and uses the handles
//! that it gets when records come ([`KeyedStream::process`], [`Stream::process`]). Every state has
//! a name within its operator, by which checkpoints know it: state `total` of operator `spending` is
//! `spending/total` in metadata and in messages. A name stays the same from one version of a program
//! to the next, as a uid does.
//!
//! | kind | for each key | a change writes |
//! | --- | --- | --- |
//! | [`ValueState`] | one value | the value |
//! | [`ListState`] | values in order of arrival | the elements that were added or removed |
//! | [`MapState`] | values by another key, in its order | the elements that changed |
//! | [`ReducingState`] | the values that were added, reduced to one | the one |
//! | [`AggregatingState`] | an accumulator | the accumulator |
//! | [`EventTimers`], [`Alarms`] | a time for each tag | the times that changed |
//! | [`OperatorList`] | no key: some items on each worker | all items of the operator |
//!
//! Each keyed kind may have a [time to live](States::time_to_live). Reading returns clones; where
//! those would cost too much, the methods that take a closure lend.
//!
//! A map that all workers have whole is [broadcast state](crate::Stream::with_broadcast).
//!
//! [`KeyedStream::process`]: crate::KeyedStream::process
//! [`Stream::process`]: crate::Stream::process
//! [`Stream::with_broadcast`]: crate::Stream::with_broadcast

mod declare;
mod list;
mod lookahead;
mod map;
mod operator_list;
mod side_output;
mod timed;
mod timers;
mod value;

use std::cell::{OnceCell, RefCell};
use std::ops::Deref;
use std::rc::Rc;

use highwater_checkpoint::EventTime;

use crate::operators::Now;

pub(crate) use declare::Declarations;
pub use declare::{OperatorStates, States};
pub use highwater_checkpoint::dataflow::Redistribution;
pub use highwater_checkpoint::state::typed::{
    At, BroadcastMap, Forever, Retention, Ttl, TtlRefresh,
};
pub use list::ListState;
pub(crate) use lookahead::Lookahead;
pub use map::MapState;
pub use operator_list::OperatorList;
pub(crate) use side_output::Flush;
pub use side_output::SideOutput;
pub use timed::TimedStates;
pub(crate) use timed::timed_work;
pub use timers::{Alarms, Event, EventTimers};
pub use value::{AggregatingState, ReducingState, ValueState};

/// What the function of an operator is called with: the key that a record is of, and the way out.
///
/// Handles of keyed state take it, and are then those of this key.
#[derive(Debug)]
pub struct Context<'a, K, R> {
    at: At<'a, K>,
    watermark: EventTime,
    made: &'a RefCell<Vec<R>>,
}

impl<'a, K, R> Context<'a, K, R> {
    pub(crate) fn new(key: &'a K, hash: u64, now: &Now<'a, R>) -> Self {
        let at = At { key, hash, now_ms: now.now_ms };
        Context { at, watermark: now.watermark, made: now.made }
    }

    /// The watermark of the operator: no record is expected whose event time is below it.
    pub fn watermark(&self) -> EventTime {
        self.watermark
    }

    /// The key of the record.
    pub fn key(&self) -> &'a K {
        self.at.key
    }

    /// The time of day, in milliseconds since the Unix epoch, as read when the operator was
    /// scheduled. Another when the record is read again after a crash.
    pub fn processing_time_ms(&self) -> u64 {
        self.at.now_ms
    }

    /// Sends a record on.
    pub fn emit(&self, record: R) {
        self.made.borrow_mut().push(record);
    }
}

impl<'a, K, R> Deref for Context<'a, K, R> {
    type Target = At<'a, K>;

    fn deref(&self) -> &At<'a, K> {
        &self.at
    }
}

/// A state that is declared when its operator is, and there when the operator runs.
pub(crate) struct Slot<S>(Rc<OnceCell<Rc<RefCell<S>>>>);

impl<S> Slot<S> {
    fn new() -> Self {
        Slot(Rc::default())
    }

    fn fill(&self, state: S) -> Rc<RefCell<S>> {
        Rc::clone(self.0.get_or_init(|| Rc::new(RefCell::new(state))))
    }

    /// Lends the state to `work`.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut S) -> R) -> R {
        let state = self.0.get().expect("a context exists when the operator runs");
        let lent = state.try_borrow_mut();
        work(&mut lent.expect("a closure that a state has lent to must not use that state itself"))
    }
}

impl<S> Clone for Slot<S> {
    fn clone(&self) -> Self {
        Slot(Rc::clone(&self.0))
    }
}
