//! Conformance tests for sources and sinks: the contracts of `source.rs` and `sink.rs` as code.
//!
//! A connector's author calls [`check_source`] and [`check_sink`] from a test. Both panic at the
//! first breach and name the rule of the contract.

mod collect;
mod memory;
mod random;
mod sink;
mod source;
#[cfg(test)]
mod tests;

pub use collect::{collect, collect_one};
pub use memory::{CollectSink, MemoryError, VecSource};
pub use random::Random;
pub use sink::{SinkTarget, check_sink};
pub use source::{SplitRecords, check_source};
