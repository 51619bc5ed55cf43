//! Copies what a checkpoint refers to from one folder into another.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use futures::{FutureExt, TryFutureExt};

use crate::error::{Error, Result};
use crate::metadata::{CheckpointMetadata, SegmentMetadata};
use crate::recovery;
use crate::store::BlobStore;

/// Objects that are copied, or whose index is checked, at once: hides the latency of a store, and
/// bounds the memory of a copy between stores to as many parts.
const AT_ONCE: usize = 4;

/// Checks that every segment of `metadata` is in `from`, by its index, which the checkpoint has
/// the checksum of. Blocks are checked by whoever reads them.
pub(crate) async fn verify(from: &BlobStore, metadata: &CheckpointMetadata) -> Result<()> {
    let segments = metadata.operators.iter().flat_map(|operator| &operator.segments);
    let checks = segments.map(|segment| recovery::index(from, segment).map_ok(drop).boxed());
    all(checks.collect()).await
}

/// Copies every object that `metadata` names from `from` into `to`, each once, however many
/// segments it holds. `rename` gives the copy's name, for the object's number and its first
/// segment's uid and metadata. Returns the metadata that names the copies.
///
/// # Errors
///
/// As [`verify`], and whatever the stores say.
pub(crate) async fn copy(
    from: &BlobStore,
    to: &BlobStore,
    mut metadata: CheckpointMetadata,
    rename: impl Fn(usize, &str, &SegmentMetadata) -> String,
) -> Result<CheckpointMetadata> {
    verify(from, &metadata).await?;
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for operator in &metadata.operators {
        for segment in &operator.segments {
            if !names.contains_key(&segment.object) {
                let name = rename(names.len(), &operator.uid, segment);
                names.insert(segment.object.clone(), name);
            }
        }
    }
    all(names.iter().map(|(source, name)| to.copy(name, from, source).boxed()).collect()).await?;
    for operator in &mut metadata.operators {
        for segment in &mut operator.segments {
            segment.object = names.get(&segment.object).cloned().ok_or_else(|| {
                Error::invalid("a segment was copied under no name: this is a bug")
            })?;
        }
    }
    Ok(metadata)
}

/// Does all of `work`, some at once; ends with the first error.
async fn all(work: Vec<BoxFuture<'_, Result<()>>>) -> Result<()> {
    stream::iter(work).buffer_unordered(AT_ONCE).try_collect().await
}
