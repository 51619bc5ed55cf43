//! What nearly every program needs.

pub use crate::checkpoint::state::{Bincode, MessagePack};
pub use crate::job::{Job, JobArgs};
pub use crate::stream::{Aggregator, Emit, Flow, KeyedStream, Stream};
