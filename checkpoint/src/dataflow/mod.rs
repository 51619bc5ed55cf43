//! The only code here that knows timely: the clock, the completion, and what operators hold.
//!
//! A program that is written against timely has it easiest with [`Run::dataflow`] and the
//! operators that `plain.rs` adds to [`CheckpointScope`]. Operators of its own take part by
//! [`CheckpointScope::join`].
//!
//! ```
//! use highwater_checkpoint::run::{Run, RunOptions};
//! use highwater_checkpoint::state::stable_hash;
//! use timely::dataflow::operators::Inspect;
//!
//! # let directory = tempfile::tempdir()?;
//! # let checkpoints = directory.path().display();
//! let run = Run::open(RunOptions::new("parity", &format!("{checkpoints}"))?)?;
//! # let after = std::sync::Arc::clone(&run);
//! timely::execute_directly(move |worker| {
//!     run.dataflow::<u64>(worker, |checkpoints| {
//!         // The state of the source is how far it has counted.
//!         let numbers = checkpoints.source("numbers", [0], |next: &mut u64, batch| {
//!             batch.push(*next);
//!             *next += 1;
//!             *next < 1000
//!         })?;
//!         let parity = numbers.map(|number| number % 2);
//! #       use timely::dataflow::operators::vec::Map;
//!         let counts = checkpoints.keyed("counts", parity, |key| key, |counts, batch, output| {
//!             let Some(batch) = batch else {
//!                 return output.extend(counts.iter().map(|(key, count)| (*key, *count)));
//!             };
//!             for key in batch.drain(..) {
//!                 counts.update(stable_hash(&key), key, || 0u64, |_, count| *count += 1);
//!             }
//!         });
//!         counts.inspect(|(_, count)| assert_eq!(*count, 500));
//!         Ok(())
//!     });
//! });
//! # after.outcome()?;
//! # assert!(after.status().last().is_some(), "a checkpoint is complete");
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```

mod broadcast;
mod clock;
mod completion;
mod driver;
mod keyed;
mod list;
mod named;
mod participant;
mod plain;
mod scope;
mod share;
mod stash;
mod timestamp;
mod typed;
mod wakeup;

pub use broadcast::BroadcastState;
pub use keyed::{Again, KeyedState};
pub use list::{ListState, Redistribution, list_schema, share};
pub use named::{NamedState, NamedStates};
pub use participant::{AckOutput, Closed, Participant, frontier_epoch};
pub use scope::{CheckpointScope, Joined, Signal, Signals, state_uid};
pub use stash::Stash;
pub use timestamp::Delay;
pub use typed::{KeyedElements, KeyedTimers, KeyedValues, declare_table, keyed_schema};
pub use wakeup::Wakeup;

#[cfg(doc)]
use crate::run::Run;
