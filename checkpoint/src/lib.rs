//! Exactly-once checkpoints for timely dataflow.

pub mod coordinator;
pub mod dataflow;
pub mod error;
pub mod metadata;
pub mod pacing;
mod recovery;
pub mod run;
pub mod segment;
pub mod state;
pub mod store;
pub mod time;

pub use error::{BoxError, Error, ErrorKind, Result};
pub use time::{Epoch, EpochTime, EventTime, Moment, Tick};
