//! Event time: what sources know of it, and what operators are told.
//!
//! ```text
//!   record --time_of--> split's watermark --least of all splits--> the capability of the source
//!                                                                      |
//!   operator: watermark = least event time of its input's frontier  <--+   no message carries it
//! ```
//!
//! A *watermark* of `t` says that no record with an event time below `t` is expected any more; one
//! that comes nevertheless is *late*. It travels as the event coordinate of timely's timestamps, so
//! that all workers' and all sources' watermarks come together in one frontier.

mod board;
mod split;
mod watermarks;

pub(crate) use board::{Board, Standing};
pub(crate) use split::SplitWatermark;
pub use watermarks::{Watermarks, WithWatermarks};
