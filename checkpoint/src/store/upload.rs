//! An object that is written piece by piece, in bounded memory.
//!
//! ```text
//!   write, write, ...   held back up to 8 MiB
//!   more than that      create upload, then one part for every 8 MiB
//!   finish              the rest as last part, complete   | or, if all was held back: one put
//! ```
//!
//! All parts but the last have the same size: Cloudflare's R2 asks for it, and a part's place in a
//! file follows from its number. Nothing is visible under the name before `finish`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, ObjectStoreExt, PutPayload};

use super::BlobStore;
use super::retry::{Failure, Request};
use crate::error::{Error, Result};

/// Size of a part, and of the largest object that is written in one request.
///
/// 8 MiB: stores ask for at least 5 MiB and allow 10,000 parts, so objects may have 78 GiB.
pub const PART_BYTES: usize = 8 << 20;

/// An object in the making, from [`BlobStore::writer`].
///
/// After an error, or when a future of it was dropped half-way, only [`abort`](Self::abort) is
/// left. Dropping it aborts too, in the background, if a tokio runtime is there. If the process
/// dies, parts stay behind that no listing shows: give buckets a rule that deletes incomplete
/// uploads after some days.
#[must_use = "an upload that is not finished leaves no object"]
pub struct SegmentUpload {
    store: BlobStore,
    name: String,
    held: VecDeque<Bytes>,
    held_bytes: usize,
    total_bytes: u64,
    open: Option<OpenUpload>,
    /// Set while a part is under way: whoever finds it set knows that one was lost.
    broken: bool,
}

struct OpenUpload {
    parts: Arc<dyn MultipartStore>,
    path: Path,
    id: MultipartId,
    done: Vec<PartId>,
}

impl SegmentUpload {
    pub(super) fn new(store: BlobStore, name: String) -> SegmentUpload {
        let held = VecDeque::new();
        let (held_bytes, total_bytes, open, broken) = (0, 0, None, false);
        SegmentUpload { store, name, held, held_bytes, total_bytes, open, broken }
    }

    /// Appends `bytes`. Waits for the store whenever a part is full: that is the back-pressure.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::put`]; nothing of the object will be visible.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.check_whole()?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.total_bytes += bytes.len() as u64;
        self.held_bytes += bytes.len();
        self.held.push_back(bytes);
        if self.store.location.parts.is_none() {
            return Ok(());
        }
        // Not `>=`: the rest is never empty, for some stores refuse an empty last part.
        while self.held_bytes > PART_BYTES {
            self.put_part(PART_BYTES).await?;
        }
        Ok(())
    }

    /// Makes the object visible and returns its size in bytes.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::put`].
    pub async fn finish(mut self) -> Result<u64> {
        self.check_whole()?;
        if self.open.is_some() {
            self.put_part(self.held_bytes).await?;
            self.complete().await?;
        } else {
            let payload = self.cut(self.held_bytes);
            self.store.put_payload(&self.name, payload).await?;
        }
        Ok(self.total_bytes)
    }

    /// Gives the object up. What cannot be deleted is left to the bucket's rules, with a warning.
    pub async fn abort(mut self) {
        if let Some(open) = self.open.take() {
            open.abort(&self.store, &self.name).await;
        }
    }

    fn check_whole(&self) -> Result<()> {
        if self.broken {
            let object = self.name.clone();
            let source = "an earlier part of this upload failed".into();
            return Err(Error::Refused { object, source });
        }
        Ok(())
    }

    /// Takes the first `length` of the bytes that are held back; copies none.
    fn cut(&mut self, length: usize) -> PutPayload {
        self.held_bytes -= length;
        let mut part = Vec::new();
        let mut missing = length;
        while missing > 0 {
            let mut chunk = self.held.pop_front().expect("`held` holds `held_bytes`");
            if chunk.len() > missing {
                self.held.push_front(chunk.split_off(missing));
            }
            missing -= chunk.len();
            part.push(chunk);
        }
        part.into_iter().collect()
    }

    async fn put_part(&mut self, length: usize) -> Result<()> {
        self.broken = true;
        if self.open.is_none() {
            self.open = Some(self.create().await?);
        }
        let payload = self.cut(length);
        let open = self.open.as_mut().expect("opened above");
        let number = open.done.len();
        let mut attempts = self.store.attempts(&self.name, Request::Write);
        let part = loop {
            let put = open.parts.put_part(&open.path, &open.id, number, payload.clone());
            match attempts.attempt(put).await {
                Ok(part) => break part,
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        };
        open.done.push(part);
        self.broken = false;
        Ok(())
    }

    /// Opens the upload. One whose reply was lost stays behind, empty.
    async fn create(&self) -> Result<OpenUpload> {
        let parts = self.store.location.parts.clone().expect("`write` holds back without it");
        let path = self.store.path(&self.name)?;
        let mut attempts = self.store.attempts(&self.name, Request::Write);
        loop {
            match attempts.attempt(parts.create_multipart(&path)).await {
                Ok(id) => return Ok(OpenUpload { parts, path, id, done: Vec::new() }),
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        }
    }

    async fn complete(&mut self) -> Result<()> {
        let open = self.open.as_ref().expect("only an open upload is completed");
        let mut attempts = self.store.attempts(&self.name, Request::Write);
        loop {
            let complete = open.parts.complete_multipart(&open.path, &open.id, open.done.clone());
            let Err(failure) = attempts.attempt(complete).await else { break };
            // If it was applied and only the reply was lost, the upload is gone and repeating it
            // fails, in a way that differs between stores. The object tells: by S1 one of this
            // name and size is ours.
            match attempts.attempt(self.store.objects().head(&open.path)).await {
                Ok(meta) if meta.size == self.total_bytes => break,
                Err(unread @ Failure::Transient(_)) => attempts.pause_or_fail(unread).await?,
                _ => attempts.pause_or_fail(failure).await?,
            }
        }
        self.open = None;
        Ok(())
    }
}

impl OpenUpload {
    async fn abort(self, store: &BlobStore, name: &str) {
        let mut attempts = store.attempts(name, Request::Write);
        if let Err(failure) =
            attempts.attempt(self.parts.abort_multipart(&self.path, &self.id)).await
        {
            let error = failure.into_source();
            tracing::warn!(object = name, %error, "parts of an upload that was given up stay behind");
        }
    }
}

impl Drop for SegmentUpload {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (store, name) = (self.store.clone(), std::mem::take(&mut self.name));
            runtime.spawn(async move { open.abort(&store, &name).await });
        }
    }
}

impl fmt::Debug for SegmentUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentUpload")
            .field("name", &self.name)
            .field("total_bytes", &self.total_bytes)
            .field("parts", &self.open.as_ref().map(|open| open.done.len()))
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}
