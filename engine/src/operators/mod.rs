//! The operators that take part in checkpoints, as timely sees them.

mod ahead;
mod async_map;
mod broadcast;
mod event_clock;
mod for_each;
pub(crate) mod join;
mod keyed_fold;
mod process;
mod rate_limit;
mod requests;
mod sink;
mod source;
mod split;
pub(crate) mod window;

pub(crate) use async_map::map_async;
pub(crate) use broadcast::with_broadcast;
pub(crate) use event_clock::Due;
pub(crate) use for_each::for_each;
pub(crate) use keyed_fold::{Keyed, KeyedFold, keyed_fold};
pub(crate) use process::{Now, TIMERS_AT_ONCE, Work, process_by_hash, process_here};
pub(crate) use rate_limit::rate_limit;
pub(crate) use sink::sink;
pub(crate) use source::source;

/// About the pacing step: when something elsewhere must catch up.
const SOON: std::time::Duration = std::time::Duration::from_millis(1);
