//! Stream processing on timely dataflow, exactly once.
//!
//! A [`Job`] runs a dataflow on any number of workers. Its keyed state, the offsets of its sources
//! and the prepared output of its sinks are checkpointed to a directory or a blob store, and a job
//! that dies resumes from there, with any other number of workers, as if nothing had happened.
//!
//! ```
//! use highwater::prelude::*;
//! # use highwater::testing::{CollectSink, VecSource};
//! # let lines = VecSource::new(["to be or", "not to be"].map(String::from));
//! # let counts = CollectSink::new();
//! # let collected = counts.clone();
//! # fn split_words(line: String) -> Vec<String> { line.split(' ').map(String::from).collect() }
//!
//! Job::new("wordcount").workers(2).run(move |flow| {
//!     flow.source("lines", lines.clone())
//!         .flat_map(split_words)
//!         .key_by(|word| word.clone())
//!         .emit(Emit::AtEnd)
//!         .count("count")
//!         .sink("counts", counts.clone());
//! })?;
//! # let mut counts = collected.records();
//! # counts.sort();
//! # let expected = [("be", 2), ("not", 1), ("or", 1), ("to", 2)];
//! # assert_eq!(counts, expected.map(|(word, n)| (word.to_string(), n)));
//! # Ok::<(), highwater::Error>(())
//! ```
//!
//! | what | with `--checkpoint-dir` | without |
//! |---|---|---|
//! | keyed state | exactly once: as if each record had been applied once | lost when the process dies |
//! | sinks | exactly once: output appears when its checkpoint is complete | output appears at each interval; a run that dies may be repeated |
//! | `inspect`, `for_each` | at least once | at least once |
//! | a newer run of the same job | fences the older, which stops and says so | both run |
//! | memory | bounded by pacing, whatever the sinks take | the same |
//!
//! Sources and sinks of your own implement [`source::Source`] and [`sink::Sink`]; those for files
//! and others are in `highwater-connectors`.

#[cfg(feature = "mimalloc")]
mod allocator;
mod async_map;
mod error;
pub mod event_time;
pub mod job;
mod metrics;
mod operators;
pub mod prelude;
mod room;
pub mod sink;
pub mod source;
pub mod state;
pub mod stream;
#[cfg(feature = "testing")]
pub mod testing;
pub mod window;

#[cfg(feature = "mimalloc")]
pub use allocator::keep_freed_memory;
pub use async_map::AsyncOptions;
pub use error::{Error, Result};
pub use highwater_checkpoint as checkpoint;
pub use highwater_checkpoint::policy::{CheckpointMode, Retention};
pub use highwater_checkpoint::run::Restore;
pub use highwater_checkpoint::{BoxError, Epoch, EventTime};
pub use job::{Job, JobArgs, RestartStrategy, Summary};
pub use metrics::{LateRecords, Metrics};
pub use stream::{Aggregator, Data, Emit, Flow, Key, KeyedStream, MergeAggregator, Stream};
