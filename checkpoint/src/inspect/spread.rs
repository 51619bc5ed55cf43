//! How much of a checkpoint each worker would read, for a number of workers.

use serde::Serialize;

use super::catalog::Stored;
use crate::error::{Error, Result};
use crate::recovery::{index, visible};
use crate::segment::BlockRun;
use crate::state::KeyGroups;

/// What one worker would read when it starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerShare {
    /// The worker, from 0.
    pub worker: usize,
    /// First key group that it would own, of `groups`.
    pub first_group: u16,
    /// How many key groups it would own.
    pub groups: u16,
    /// Bytes that it would fetch from the store, without indexes.
    pub bytes: u64,
    /// Entries in them, older values and tombstones included.
    pub entries: u64,
}

/// The shares of `workers` workers, by the indexes of the segments.
///
/// # Errors
///
/// `Invalid` if there are no workers or more than key groups; `Corrupt` or `Missing` if a segment
/// is damaged; else as [`BlobStore::get_tail`](crate::store::BlobStore::get_tail).
pub async fn spread(checkpoint: &Stored, workers: usize) -> Result<Vec<WorkerShare>> {
    let metadata = &checkpoint.metadata;
    let key_groups = KeyGroups::new(metadata.key_groups)
        .filter(|groups| (1..=usize::from(groups.count())).contains(&workers))
        .ok_or_else(|| {
            Error::invalid(format!(
                "{workers} workers for {} key groups: at least one worker, and no more than groups",
                metadata.key_groups
            ))
        })?;
    let share = |worker| {
        let owned = key_groups.of_worker(worker, workers);
        let (first_group, groups) = (owned.start, owned.len() as u16);
        WorkerShare { worker, first_group, groups, ..WorkerShare::default() }
    };
    let mut shares: Vec<_> = (0..workers).map(share).collect();
    for operator in &metadata.operators {
        for (at, segment) in operator.segments.iter().enumerate() {
            let index = index(&checkpoint.store, segment).await?;
            let newer = &operator.segments[at + 1..];
            for part in visible(segment, newer, &(0..metadata.key_groups)) {
                for block in index.blocks_of(part, u64::MAX).iter().flat_map(BlockRun::blocks) {
                    let share = &mut shares[key_groups.worker_of(block.group, workers)];
                    share.bytes += u64::from(block.len);
                    share.entries += u64::from(block.entries);
                }
            }
        }
    }
    Ok(shares)
}
