//! What nearly every program needs.

pub use crate::EventTime;
pub use crate::checkpoint::state::{Bincode, MessagePack};
pub use crate::event_time::Watermarks;
pub use crate::job::{Job, JobArgs};
pub use crate::source::Source;
pub use crate::stream::{Aggregator, Emit, Flow, KeyedStream, MergeAggregator, Stream};
