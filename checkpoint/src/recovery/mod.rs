//! Reading keyed state back: for a worker that starts, and for folding deltas into bases.

mod fold;
mod load;
mod read;

pub(crate) use fold::{FoldLimits, fold, last_in_memory, read_chains};
pub(crate) use load::{LoadedBlock, load};
pub(crate) use read::{index, visible, within};
