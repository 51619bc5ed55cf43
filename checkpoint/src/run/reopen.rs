//! How a run that has failed is followed by another one in the same process.
//!
//! As a person would start it, with two differences. It never takes the job away from somebody
//! else: a run that was started meanwhile is the job's, and this process gives up. And it never
//! goes back: the newest checkpoint that this process knows to be complete is the oldest that it
//! goes on from, whatever the first run was told to restore.

use std::sync::Arc;

use super::{Restore, Run, RunOptions};
use crate::error::{Error, Result};
use crate::metadata::CheckpointId;
use crate::store::{BlobStore, layout};

impl Run {
    /// Whether the first epoch has begun: everything that has to be done before the first record
    /// was done.
    pub fn has_begun(&self) -> bool {
        self.control.is_ready()
    }

    /// The newest checkpoint that this run knows to be complete: from it, or from a later one, the
    /// job goes on. None if it began with nothing, and has not come to its first epoch.
    pub fn newest_checkpoint(&self) -> Option<CheckpointId> {
        let own = self.has_begun().then_some(self.start.id);
        let completed = self.status.last().map(|last| last.id);
        completed.or(own.filter(|_| self.is_durable())).or(self.restored)
    }

    /// Begins the run that follows this one, which has failed, with the same options but that it
    /// goes on from the newest checkpoint if this one had begun.
    ///
    /// `floor` is the newest checkpoint that any run of this process knew to be complete.
    ///
    /// # Errors
    ///
    /// As [`Run::open`]. `Fenced` if another process has taken over the job; `Damaged` if there is
    /// no checkpoint as new as `floor`.
    pub fn reopen(&self, floor: Option<CheckpointId>) -> Result<Arc<Run>> {
        if let Some(store) = &self.options.store {
            self.executor.block_on(self.check_succession(store, floor))?;
        }
        let restore = if self.has_begun() { Restore::Latest } else { self.options.restore.clone() };
        let options = RunOptions { restore, ..self.options.clone() };
        Run::open_on(self.executor.clone(), options)
    }

    /// Whether the job is still ours, and is not behind what was complete.
    async fn check_succession(&self, store: &BlobStore, floor: Option<CheckpointId>) -> Result<()> {
        if let Some(newer) = store.claimed_by_another(self.generation).await? {
            return Err(Error::Fenced { ours: self.generation, newer });
        }
        let ids = super::choose::ids(store).await?;
        let Some(floor) = floor.filter(|floor| ids.last() < Some(floor)) else { return Ok(()) };
        let advice = super::choose::instead_of_damaged(&ids);
        let cause = Box::new(Error::Missing { object: layout::checkpoint(floor) });
        Err(Error::Damaged { id: floor, advice, cause })
    }
}
