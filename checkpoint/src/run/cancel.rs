//! Deleting the checkpoints of a job that was stopped, if that is how it is to be.
//!
//! ```text
//!   fence? --> metadata, oldest first --> fence? --> are there any? --> segments
//! ```
//!
//! The oldest first: whoever dies in the middle leaves the newest, from which the job goes on
//! without repeating output. The fence is looked at once more when all metadata is gone: a run that
//! claimed before that look may have chosen one of them, and needs its segments; one that claims
//! after it lists after it as well, and finds none.

use super::Run;
use crate::error::Result;
use crate::store::{BlobStore, layout};

impl Run {
    /// Deletes all checkpoints of the job and their segments, not its savepoints. To be called when
    /// the run is over. Blocks.
    ///
    /// # Errors
    ///
    /// `Fenced` if a newer run owns the job: then what is left is its. `Refused` or `Indeterminate`
    /// if the store does not answer: then some checkpoints may be left, and what is left is whole.
    pub fn delete_checkpoints(&self) -> Result<()> {
        let Some(store) = &self.options.store else { return Ok(()) };
        self.executor.block_on(self.delete_all(store))
    }

    async fn delete_all(&self, store: &BlobStore) -> Result<()> {
        store.check_fence(self.generation).await?;
        for id in super::choose::ids(store).await? {
            store.delete(&layout::checkpoint(id)).await?;
        }
        store.check_fence(self.generation).await?;
        if !super::choose::ids(store).await?.is_empty() {
            // Nobody of this run writes any more: it is of a run that is going to be fenced, or
            // of one that has just begun.
            return Ok(());
        }
        for (name, _) in store.list(layout::SEGMENTS).await? {
            if layout::segment_generation(&name).is_some() {
                store.delete(&name).await?;
            }
        }
        Ok(())
    }
}
