//! Reading keyed state back: for a worker that starts, and for folding deltas into bases.

mod fold;
mod load;

pub(crate) use fold::{FoldLimits, fold};
pub(crate) use load::{index, load};
