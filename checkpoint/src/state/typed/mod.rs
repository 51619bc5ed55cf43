//! Typed state on top of [`KeyedTable`](super::KeyedTable): values, and collections of which a
//! change writes only the elements that changed.
//!
//! ```text
//!   value, reducing, aggregating    K            -> stored V          Values
//!   map, list                       K, element   -> stored V          Elements, with an Index by K
//!   timers                          K, tag       -> time              Timers, with a TimerQueue
//!
//!   stored: V alone, or V and when it was last used if it has a time to live (Retention)
//! ```
//!
//! An element of a collection is an entry of the table like any other, so a delta holds the
//! elements that changed and tombstones for those removed, and the key group of an element is that
//! of its key alone ([`Element`]). Which elements a key has is kept beside the table, in memory, and
//! found out again when the table is loaded ([`Index`]).
//!
//! Time is a parameter: milliseconds since the Unix epoch, as the shell has read them.

mod broadcast;
mod element;
mod elements;
mod retention;
mod sweep;
#[cfg(test)]
mod tests;
mod timer_queue;
mod timers;
mod values;

pub use broadcast::BroadcastMap;
pub use element::{Element, Position};
pub use elements::{Elements, Index};
pub use retention::{Forever, Persist, Plain, Retention, Stored, Timed, Ttl, TtlRefresh};
pub use sweep::Sweep;
pub use timer_queue::TimerQueue;
pub use timers::{Timer, Timers};
pub use values::Values;

/// The key that is worked on, and when.
#[derive(Debug)]
pub struct At<'a, K> {
    /// The key.
    pub key: &'a K,
    /// Its [`stable_hash`](super::stable_hash); it lies in an owned group.
    pub hash: u64,
    /// The time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl<K> Clone for At<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for At<'_, K> {}
