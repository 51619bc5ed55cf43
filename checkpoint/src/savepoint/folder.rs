//! The savepoints of a job, as they are in its folder.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{SavepointName, copy};
use crate::error::{Error, Result};
use crate::metadata::CheckpointMetadata;
use crate::store::layout::{self, METADATA};
use crate::store::{BlobStore, PutIfAbsent};

/// The names of all savepoints of the job, in their order.
///
/// # Errors
///
/// As [`BlobStore::list`].
pub async fn list(store: &BlobStore) -> Result<Vec<SavepointName>> {
    let objects = store.list(layout::SAVEPOINTS).await?;
    Ok(objects.iter().filter_map(|(name, _)| layout::parse_savepoint(name)).collect())
}

/// What a savepoint says of itself. Names of segments are relative to its folder.
///
/// # Errors
///
/// `Missing` if there is none; `Corrupt` if it is damaged; else as [`BlobStore::get`].
pub async fn read(store: &BlobStore, name: &SavepointName) -> Result<CheckpointMetadata> {
    read_folder(&folder(store, name)).await
}

/// Deletes a savepoint; one that is gone already is a success.
///
/// # Errors
///
/// As [`BlobStore::delete`]. What is left after an error is no savepoint any more, once its
/// metadata is gone, which goes first; it is safe to delete it again.
pub async fn delete(store: &BlobStore, name: &SavepointName) -> Result<()> {
    let folder = folder(store, name);
    folder.delete(METADATA).await?;
    for (object, _) in folder.list("").await? {
        folder.delete(&object).await?;
    }
    Ok(())
}

/// The folder of a savepoint: a small store of its own.
pub(crate) fn folder(store: &BlobStore, name: &SavepointName) -> BlobStore {
    store.subfolder(&layout::savepoint(name))
}

/// Reads the savepoint that `folder` is.
pub(crate) async fn read_folder(folder: &BlobStore) -> Result<CheckpointMetadata> {
    let bytes = folder.get(METADATA).await.map_err(|error| match error {
        Error::Missing { .. } => Error::Missing { object: folder.to_string() },
        other => other,
    })?;
    CheckpointMetadata::from_bytes(&format!("{METADATA} of {folder}"), &bytes)
}

/// Refuses a name that is taken.
pub(crate) async fn check_free(store: &BlobStore, name: &SavepointName) -> Result<()> {
    match read(store, name).await {
        Err(Error::Missing { .. }) => Ok(()),
        Err(Error::Corrupt { object, reason }) => Err(Error::invalid(format!(
            "there is a savepoint {name} already, and it is damaged ({object}: {reason}); give \
             another name, or delete it first"
        ))),
        Err(error) => Err(error),
        Ok(metadata) => Err(Error::invalid(format!(
            "there is a savepoint {name} already, of {}, taken {}; give another name, or delete \
             that one first",
            metadata.epoch,
            date(metadata.completed_ms)
        ))),
    }
}

/// Makes a savepoint of a complete checkpoint whose output is committed; says what it has written.
///
/// The caller sees to it that no segment is deleted meanwhile.
pub(crate) async fn take(
    store: &BlobStore,
    name: &SavepointName,
    mut metadata: CheckpointMetadata,
) -> Result<CheckpointMetadata> {
    check_free(store, name).await?;
    let folder = folder(store, name);
    // V2.
    metadata.operators.iter_mut().for_each(|operator| operator.committables.clear());
    metadata.bytes_written = metadata.bytes_total;
    let metadata = copy::copy(store, &folder, metadata, |_, _, s| s.object.clone()).await?;
    let bytes = Bytes::from(metadata.to_bytes());
    if let PutIfAbsent::Exists(_) = folder.put_if_absent(METADATA, bytes).await? {
        check_free(store, name).await?;
    }
    remove_leftovers(&folder, &metadata).await;
    Ok(metadata)
}

/// Deletes what an earlier attempt under the name has left. Not before the metadata is there: an
/// attempt of another run may be under way, and only one of the two is to be believed whole.
async fn remove_leftovers(folder: &BlobStore, metadata: &CheckpointMetadata) {
    let operators = metadata.operators.iter();
    let named = operators.flat_map(|operator| &operator.segments).map(|s| s.object.as_str());
    let named: BTreeSet<&str> = named.chain([METADATA]).collect();
    let Ok(objects) = folder.list("").await else { return };
    for (object, _) in objects {
        if !named.contains(object.as_str())
            && let Err(error) = folder.delete(&object).await
        {
            tracing::debug!(object, %error, "what an earlier attempt left is not deleted");
            return;
        }
    }
}

/// A moment as people write it, in UTC.
pub(crate) fn date(ms: u64) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
    humantime::format_rfc3339_seconds(at).to_string()
}
