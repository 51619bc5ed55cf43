//! To come.

pub mod sink;
pub mod source;

pub use highwater_checkpoint::{BoxError, Epoch};
