//! Deletes checkpoints by hand, and the segments that are of no use then.
//!
//! ```text
//!   delete the metadata --> look who owns the job --> list again --> delete segments, or leave them
//! ```
//!
//! A run may be alive, or about to begin: nothing here can know. The metadata goes first, so a run
//! that claims the job afterwards does not find it, and one that has claimed it before is seen in
//! the second look. A segment is deleted only if
//!
//! * **D1** a deleted checkpoint named it, and no checkpoint that is there now does;
//! * **D2** all of these can be read, for what a damaged one names is not known;
//! * **D3** the newest is still there: a running job's next one names what that names, and nothing
//!   older;
//! * **D4** the newest generation has a checkpoint: the copy with which a run begins. Before it a
//!   run may have chosen what was just deleted;
//! * **D5** nobody has asked the job for anything that is not answered: a savepoint may be copied
//!   just now from a checkpoint that is not the newest any more.
//!
//! What is left is swept by the next run of the job.

use std::collections::BTreeMap;

use serde::Serialize;

use super::catalog::{Listed, ids, list, listed};
use crate::error::{Error, Result};
use crate::metadata::{CheckpointId, CheckpointMetadata, garbage};
use crate::store::{BlobStore, layout};

/// What was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// The checkpoints.
    pub checkpoints: Vec<CheckpointId>,
    /// Segments that none of the others names.
    pub segments: u64,
    /// Bytes of these segments.
    pub bytes: u64,
    /// Why segments were left for the next run of the job to sweep, if they were.
    pub left: Option<String>,
}

/// Deletes the checkpoints `doomed`; the newest only if `force` is set.
///
/// # Errors
///
/// `Invalid`, before anything is deleted, if one of them is not there or is the newest; else as
/// [`BlobStore::delete`], after which it may be repeated without those that are gone.
pub async fn delete(store: &BlobStore, doomed: &[CheckpointId], force: bool) -> Result<Deleted> {
    let there = ids(store).await?;
    check(store, doomed, &there, force)?;
    let before = list(store).await?;
    let is_doomed = |listed: &&Listed| doomed.contains(&listed.id);
    let bytes: BTreeMap<String, u64> = before
        .iter()
        .filter(is_doomed)
        .filter_map(|listed| listed.metadata.as_ref().ok())
        .flat_map(|metadata| &metadata.operators)
        .flat_map(|operator| &operator.segments)
        .map(|segment| (segment.object.clone(), segment.bytes))
        .collect();
    let mut deleted = Deleted::default();
    for id in &there {
        if doomed.contains(id) {
            store.delete(&layout::checkpoint(*id)).await?;
            deleted.checkpoints.push(*id);
        }
    }
    match superfluous(store, &there, bytes.keys().cloned()).await? {
        Ok(objects) => {
            for object in objects {
                store.delete(&object).await?;
                deleted.segments += 1;
                deleted.bytes += bytes.get(&object).copied().unwrap_or(0);
            }
        }
        Err(reason) => deleted.left = Some(reason),
    }
    Ok(deleted)
}

fn check(
    store: &BlobStore,
    doomed: &[CheckpointId],
    there: &[CheckpointId],
    force: bool,
) -> Result<()> {
    if let Some(absent) = doomed.iter().find(|id| !there.contains(id)) {
        let there = listed(there);
        return Err(Error::invalid(format!(
            "there is no checkpoint {absent} at {store}; there are: {there}; nothing was deleted"
        )));
    }
    match there.last() {
        Some(newest) if doomed.contains(newest) && !force => Err(Error::invalid(format!(
            "checkpoint {newest} is the newest, from which the job would resume; nothing was \
             deleted. To delete it all the same, while the job does not run, say --force"
        ))),
        _ => Ok(()),
    }
}

/// Those of `objects` that may be deleted, or why none may.
async fn superfluous(
    store: &BlobStore,
    before: &[CheckpointId],
    objects: impl Iterator<Item = String>,
) -> Result<std::result::Result<Vec<String>, String>> {
    let owner = store.newest_generation().await?;
    let mut there: Vec<CheckpointMetadata> = Vec::new();
    for Listed { id, metadata } in list(store).await? {
        let Ok(metadata) = metadata else {
            return Ok(Err(format!("checkpoint {id} cannot be read, and may name them")));
        };
        there.push(metadata);
    }
    let newest = there.last().map(|metadata| metadata.id);
    if newest < before.last().copied() {
        let reason = "the newest checkpoint was deleted, and a run that is alive may name them";
        return Ok(Err(reason.to_owned()));
    }
    if !store.list(layout::REQUESTS).await?.is_empty() {
        return Ok(Err("the job was asked for something, and may be copying them".to_owned()));
    }
    let has_begun = there.iter().any(|metadata| Some(metadata.generation) == owner);
    if owner.is_some() && !has_begun {
        return Ok(Err("a run of the job may be about to begin, and may name them".to_owned()));
    }
    Ok(Ok(garbage(objects, &there.iter().collect::<Vec<_>>())))
}
