//! The only code here that knows timely: the clock, the completion, and what operators hold.

mod clock;
mod completion;
mod driver;
mod keyed;
mod participant;
mod scope;
mod stash;
mod timestamp;

pub use keyed::{Again, KeyedState};
pub use participant::{AckOutput, Closed, Participant, frontier_epoch};
pub use scope::{CheckpointScope, Signal, Signals};
pub use stash::Stash;
pub use timestamp::Delay;
