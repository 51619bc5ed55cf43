//! Proves that what the workers of a run have restored is, taken together, what was sealed.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use super::Run;
use crate::error::{Error, Result};
use crate::state::StateDigest;
use crate::store::layout;

/// The digests of what each worker has restored, by operator, until the last has.
#[derive(Debug, Default)]
pub(super) struct Restored {
    parts: BTreeMap<String, Vec<Option<StateDigest>>>,
}

impl Restored {
    /// Takes the digest of what one of `workers` has restored of `uid`. With the last, returns that
    /// of the whole, if each part has one.
    fn add(&mut self, uid: &str, part: Option<StateDigest>, workers: usize) -> Option<StateDigest> {
        let parts = self.parts.entry(uid.to_owned()).or_default();
        parts.push(part);
        if parts.len() < workers {
            return None;
        }
        self.parts.remove(uid).unwrap_or_default().into_iter().sum()
    }
}

impl Run {
    /// Takes note of what a worker has restored of operator `uid`. Pass no digest for entries that
    /// were not restored as they had been written, after a migration for instance.
    ///
    /// # Errors
    ///
    /// `Damaged`, on the worker that is the last, if it is not what the checkpoint says.
    pub(crate) fn restored_part(&self, uid: &str, part: Option<StateDigest>) -> Result<()> {
        let mut restored = self.restored_parts.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = restored.add(uid, part, self.options.workers);
        drop(restored);
        let state = self.start.operators.iter().find(|state| state.uid == uid);
        let (Some(found), Some(meant)) = (whole, state.and_then(|state| state.digest)) else {
            // Older checkpoints say none, and types whose encoding varies have none.
            return Ok(());
        };
        if found == meant {
            return Ok(());
        }
        // The run's own first checkpoint is a copy of that.
        let object = layout::checkpoint(self.restored().unwrap_or(self.start.id));
        let reason = format!("its entries should have digest {meant}, those read have {found}");
        Err(self.damaged(uid, Error::corrupt(object, reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_worker_learns_the_digest_of_the_whole() {
        let digest = |n: u8| StateDigest::of_entry(&[n], &[n]);
        let mut restored = Restored::default();
        assert_eq!(restored.add("count", Some(digest(1)), 2), None);
        assert_eq!(restored.add("other", Some(digest(1)), 2), None);
        assert_eq!(restored.add("other", None, 2), None);
        let whole = [digest(1), digest(2)].into_iter().sum();
        assert_eq!(restored.add("count", Some(digest(2)), 2), Some(whole));
    }
}
