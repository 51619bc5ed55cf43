//! Windows: which records belong together by their times, and when something is said of them.
//!
//! A [`KeyedStream`](crate::KeyedStream) becomes a [`WindowedStream`](crate::stream::WindowedStream)
//! by [`window`](crate::KeyedStream::window), which takes an assigner of this module and says where the
//! event time of a value is:
//!
//! | assigner | windows |
//! | --- | --- |
//! | [`Tumbling`] | one after the other, all of one size |
//! | [`Days`] | one after the other, from midnight to midnight in a time zone |
//! | [`Sliding`] | of one size, one of which begins every slide: they overlap |
//! | [`Cumulating`] | from a common beginning, each a step longer than the one before |
//! | [`Session`] | as long as records of a key come with less than a gap between them |
//! | [`Global`] | one, of everything |
//! | [`Count`] | of as many records, whatever their times; one after the other, or sliding |
//!
//! Two streams meet in the same windows by
//! [`window_join`](crate::stream::ConnectedByTime::window_join) and
//! [`co_group`](crate::stream::ConnectedByTime::co_group).
//!
//! # At the edges
//!
//! * A window has its start and not its end: a record at 10:00:00.000 is in the window that begins then.
//! * It fires when the watermark has come to its end, once for each key that has a record in it.
//!   Windows without records are not there, and nothing is said of them.
//! * A record is *late* for a window if the watermark had come to the end of the window, even by a
//!   millisecond. What has come to an operator counts, not what its source has read. With
//!   [allowed lateness](crate::stream::WindowedStream::allowed_lateness) the window is kept, and fires
//!   again. A record that is late for all its windows is dropped and counted, or
//!   [sent aside](crate::stream::WindowedStream::late_output).
//! * A record that came late for some of its sliding windows is in the others.
//! * When the input ends, or the job is [drained](crate::job::Outcome::Drained), every window fires. After a
//!   drain they begin anew, with what comes then.
//! * Times before 1970 are like any others. Those more than 146 million years from it count as that
//!   far; a window there fires when the input ends.
//! * Results of one key come in the order of the ends of their windows, but for those that fire
//!   early or late.

mod assigners;
mod trigger;

use highwater_checkpoint::EventTime;
use serde::{Deserialize, Serialize};

pub use assigners::{
    Aligned, All, Assigner, ByTime, Count, Cumulating, Days, Global, Session, Sliding, Tumbling,
};
pub(crate) use assigners::{Plan, millis};
pub use trigger::Trigger;
pub(crate) use trigger::TriggerPlan;

/// A span of time: from its start, to just before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first time that is in it.
    pub start: EventTime,
    /// The first time after it.
    pub end: EventTime,
}

impl Window {
    pub(crate) fn new(start: i64, end: i64) -> Window {
        Window { start: EventTime(start), end: EventTime(end) }
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// What a window has come to for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Windowed<K, R> {
    /// The key of its records.
    pub key: K,
    /// The window.
    pub window: Window,
    /// What is said of them.
    pub value: R,
}
