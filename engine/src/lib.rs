//! To come.

pub mod sink;
pub mod source;
#[cfg(feature = "testing")]
pub mod testing;

pub use highwater_checkpoint::{BoxError, Epoch};
