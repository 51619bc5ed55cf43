//! The only code here that knows timely: the clock, the completion, and what operators hold.
//!
//! A program that is written against timely has it easiest with [`Run::dataflow`] and the
//! operators that `plain.rs` adds to [`CheckpointScope`]. Operators of its own take part by
//! [`CheckpointScope::join`].

mod clock;
mod completion;
mod driver;
mod keyed;
mod participant;
mod plain;
mod scope;
mod stash;
mod timestamp;

pub use keyed::{Again, KeyedState};
pub use participant::{AckOutput, Closed, Participant, frontier_epoch};
pub use scope::{CheckpointScope, Signal, Signals};
pub use stash::Stash;
pub use timestamp::Delay;

#[cfg(doc)]
use crate::run::Run;
