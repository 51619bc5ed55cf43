//! Exactly-once checkpoints for timely dataflow.
//!
//! A timely program whose operators take part gets this: whatever happens to its process, the next
//! run finds all state as it was at the end of one epoch, the same for all operators and workers.
//! Records flow on while a checkpoint is taken. The number of workers may change between runs.
//!
//! # Contract
//!
//! The program
//!
//! * opens a [`run::Run`] before there are workers, and gives it to a
//!   [`dataflow::CheckpointScope`] on each: one dataflow, the same on each worker;
//! * gives every operator with state, every source and every sink a uid that stays the same, and
//!   lets it [`join`](dataflow::CheckpointScope::join);
//! * emits from sources only in the epoch that [`begin`](dataflow::CheckpointScope::begin) has come
//!   to, and reads again from the offsets in [`start`](run::Run::start) after a restore;
//! * makes output visible only when [`committed`](dataflow::CheckpointScope::committed) has passed
//!   its epoch, by an action that may be repeated, and announces it before it acknowledges the epoch
//!   ([`Control::commit_pending`](run::Control::commit_pending));
//! * is deterministic where it claims to be exactly once: what depends on the clock, or on the order
//!   of records that have none, may come out otherwise when it is done again.
//!
//! The crate
//!
//! * completes a checkpoint only when every snapshot of its epoch is durable, and commits only what
//!   is complete;
//! * lets one run of a job own its folder: an older one that is still alive commits nothing more and
//!   ends with [`Error::Fenced`];
//! * refuses what it cannot restore, with an [`ErrorKind`] that says what a caller can do, and never
//!   falls back to an older checkpoint by itself.
//!
//! # Terms
//!
//! *Epoch*: the unit of consistency. *Seal*: to end an epoch in an operator. *Snapshot*: what one
//! participant contributes, in *segments* (*base*: all entries; *delta*: what changed) or inline.
//! *Checkpoint*: an epoch whose *metadata* is in the store. *Generation*: one run of a job. *Key
//! group*: the unit in which keys are given to workers. `ARCHITECTURE.md` has all of them.
//!
//! # Use
//!
//! Engines do most of this for a program. Without one, two runs of a job, the second of which takes
//! over from the first:
//!
//! ```
//! use std::time::Duration;
//!
//! use highwater_checkpoint::metadata::Generation;
//! use highwater_checkpoint::policy::CheckpointPolicy;
//! use highwater_checkpoint::run::{BYTES_IN_FLIGHT_MAX, Restore, Run, RunOptions};
//! use highwater_checkpoint::state::KeyGroups;
//! use highwater_checkpoint::store::{BlobStore, Location};
//! use highwater_checkpoint::{Epoch, ErrorKind};
//!
//! let options = RunOptions {
//!     job: "wordcount".to_owned(),
//!     workers: 4,
//!     key_groups: KeyGroups::default(),
//!     store: Some(BlobStore::new(Location::parse("memory:///docs")?, "wordcount")),
//!     policy: CheckpointPolicy { interval: Duration::from_secs(5), ..Default::default() },
//!     restore: Restore::Latest,
//!     allow_non_restored_state: false,
//!     request_interval: Duration::from_secs(1),
//!     bytes_in_flight_max: BYTES_IN_FLIGHT_MAX,
//! };
//! let older = Run::open(options.clone())?;
//! assert_eq!((older.generation(), older.first_epoch()), (Generation(1), Epoch(1)));
//!
//! let newer = Run::open(RunOptions { workers: 2, ..options })?;
//! assert_eq!(newer.generation(), Generation(2));
//! let fenced = older.fenced().expect("a newer run has begun");
//! assert_eq!(fenced.kind(), ErrorKind::Stop);
//! # Ok::<(), highwater_checkpoint::Error>(())
//! ```
//!
//! `dataflow/participant.rs` says what an operator does to take part; `keyed_fold.rs` of the engine
//! is one that does. Design: `docs/store.md`, `docs/segment.md`, `ARCHITECTURE.md`.

mod background;
mod buffers;
pub mod coordinator;
pub mod dataflow;
pub mod error;
pub mod inspect;
pub mod metadata;
pub mod pacing;
#[doc(hidden)]
pub mod planted;
pub mod policy;
mod recovery;
pub mod run;
pub mod savepoint;
pub mod schema;
pub mod segment;
pub mod state;
pub mod store;
pub mod time;

pub use error::{BoxError, Error, ErrorKind, Result};
pub use time::{Epoch, EpochTime, EventTime, Moment, Tick};
