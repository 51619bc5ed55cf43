//! Copying an object: within a store by the store itself, else through this process in parts.

use std::sync::Arc;

use futures::FutureExt;
use futures::stream::{self, StreamExt};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::retry::{Failure, Request};
use super::{BlobStore, PART_BYTES};
use crate::error::{Error, Result};

/// The largest object that S3 copies in one request.
const COPY_BYTES_MAX: u64 = 5 << 30;

/// Parts that are read while one is written.
const PARTS_AHEAD: usize = 2;

impl BlobStore {
    /// Writes a copy of object `source` of `from` as `name`, in place of one with that name.
    ///
    /// Within one store no byte passes this process (in a directory the copy is a second link to
    /// the same file, which nobody ever writes to). Between stores three parts are in memory.
    ///
    /// # Errors
    ///
    /// `Missing` if there is no `source`; as [`BlobStore::get_range`] and [`BlobStore::put`].
    pub async fn copy(&self, name: &str, from: &BlobStore, source: &str) -> Result<()> {
        let bytes = from.size(source).await?;
        let is_one_store = Arc::ptr_eq(&self.location.objects, &from.location.objects);
        if is_one_store && bytes <= COPY_BYTES_MAX {
            let path = from.path(source)?;
            if self.copy_within(name, &path, source).await? {
                return Ok(());
            }
        }
        self.copy_through(name, from, source, bytes).await
    }

    /// Returns whether the store could.
    async fn copy_within(&self, name: &str, from: &Path, source: &str) -> Result<bool> {
        let path = self.path(name)?;
        let mut attempts = self.attempts(name, Request::Write);
        loop {
            match attempts.attempt(self.objects().copy(from, &path)).await {
                Ok(()) => return Ok(true),
                Err(Failure::Missing(_)) => {
                    return Err(Error::Missing { object: source.to_owned() });
                }
                // A file system without links, for one.
                Err(Failure::Impossible(_) | Failure::Denied(_)) => return Ok(false),
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        }
    }

    async fn copy_through(
        &self,
        name: &str,
        from: &BlobStore,
        source: &str,
        bytes: u64,
    ) -> Result<()> {
        let mut upload = self.writer(name);
        let ranges = (0..bytes).step_by(PART_BYTES).map(|start| {
            let end = bytes.min(start + PART_BYTES as u64);
            from.get_range(source, start..end).boxed()
        });
        let ranges: Vec<_> = ranges.collect();
        let mut parts = stream::iter(ranges).buffered(PARTS_AHEAD);
        while let Some(part) = parts.next().await {
            upload.write(part?).await?;
        }
        upload.finish().await.map(drop)
    }
}
