//! Items that an operator keeps on each worker, without keys.

use highwater_checkpoint::Moment;
use highwater_checkpoint::dataflow::ListState;

use super::Slot;
use crate::stream::Data;

/// Some items on each worker, that are dealt out, or given to all, when a job is started again.
///
/// All items are written, as JSON, into the metadata of every checkpoint: meant for hundreds of
/// them. An example is at [`Stream::process`](crate::Stream::process).
pub struct OperatorList<I: Data>(pub(super) Slot<ListState<Moment, I>>);

impl<I: Data> OperatorList<I> {
    /// Lends the items on this worker, to be read or changed; `work` must not use this list itself.
    ///
    /// # Panics
    ///
    /// If it is called while the operator is declared, before any record has come.
    pub fn with<R>(&self, work: impl FnOnce(&mut Vec<I>) -> R) -> R {
        self.0.with(|state| work(state.items()))
    }
}

impl<I: Data> Clone for OperatorList<I> {
    fn clone(&self) -> Self {
        OperatorList(self.0.clone())
    }
}

impl<I: Data> std::fmt::Debug for OperatorList<I> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OperatorList<{}>", std::any::type_name::<I>())
    }
}
