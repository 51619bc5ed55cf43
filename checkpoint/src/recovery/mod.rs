//! Reading keyed state back: for a worker that starts, and for folding deltas into bases.

mod fold;
mod load;

pub(crate) use fold::{FoldLimits, fold, last_in_memory, read_chains};
pub(crate) use load::{LoadedBlock, index, load, visible, within};
