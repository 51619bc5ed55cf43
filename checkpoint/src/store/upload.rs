//! An object that is written piece by piece, in bounded memory.
//!
//! ```text
//!   write, write, ...   held back up to 8 MiB
//!   more than that      create upload, then one part for every 8 MiB, a few at once
//!   finish              the rest as last part, complete   | or, if all was held back: one put
//! ```
//!
//! All parts but the last have the same size: Cloudflare's R2 asks for it, and a part's place in a
//! file follows from its number. Nothing is visible under the name before `finish`.
//!
//! A part is dropped when the store has it, so an upload cannot begin anew: each request is made
//! again by itself, by its part's number, for as long as [`SegmentUpload::while_so`] says.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{MultipartId, ObjectStoreExt, PutPayload};
use tokio::task::JoinSet;

use super::retry::{Attempts, Failure, Request, Turns};
use super::{BlobStore, InFlight, Load};
use crate::error::{BoxError, Error, ErrorKind, Result};

/// Size of a part, and of the largest object that is written in one request.
///
/// 8 MiB: stores ask for at least 5 MiB and allow 10,000 parts, so objects may have 78 GiB.
pub const PART_BYTES: usize = 8 << 20;

/// Parts of one object that are under way at once. An object service writes a part at 50 to 100 MB/s
/// and many at once, so four keep up with one worker's compression.
const PARTS_AT_ONCE: usize = 4;

/// Between a request that was given up and the next one like it: what the store refuses, it refuses
/// at once, and would be asked again as fast as it answers.
const PAUSE: Duration = Duration::from_secs(1);

/// An object in the making, from [`BlobStore::writer`].
///
/// After an error only [`abort`](Self::abort) is left. Dropping it aborts too, in the background, if
/// a tokio runtime is there. If the process dies, parts stay behind that no listing shows: give
/// buckets a rule that deletes incomplete uploads after some days.
#[must_use = "an upload that is not finished leaves no object"]
pub struct SegmentUpload {
    requests: Requests,
    held: VecDeque<Bytes>,
    held_bytes: usize,
    total_bytes: u64,
    in_flight: Option<Load>,
    open: Option<OpenUpload>,
    /// Parts that are under way, each with its number.
    putting: JoinSet<(usize, Result<PartId>)>,
    /// A part was lost.
    is_broken: bool,
}

/// What makes the requests about one object.
#[derive(Clone)]
struct Requests {
    store: BlobStore,
    name: String,
    goes_on: Option<Arc<dyn Fn() -> bool + Send + Sync>>,
}

#[derive(Clone)]
struct OpenUpload {
    parts: Arc<dyn MultipartStore>,
    path: Path,
    id: MultipartId,
    /// By number; none while it is under way.
    done: Vec<Option<PartId>>,
}

/// The store knows nothing of an upload any more, and the parts that it had cannot be sent again.
#[derive(Debug, thiserror::Error)]
#[error("the upload is gone, and with it the parts that were sent: {0}")]
struct UploadGone(BoxError);

impl SegmentUpload {
    pub(super) fn new(store: BlobStore, name: String) -> SegmentUpload {
        SegmentUpload {
            requests: Requests { store, name, goes_on: None },
            held: VecDeque::new(),
            held_bytes: 0,
            total_bytes: 0,
            in_flight: None,
            open: None,
            putting: JoinSet::new(),
            is_broken: false,
        }
    }

    /// Counts what is held and what is under way.
    pub(crate) fn counted(mut self, in_flight: &Arc<InFlight>) -> SegmentUpload {
        self.in_flight = Some(in_flight.held(0));
        self
    }

    /// Makes each request that was given up again, once a second, while `goes_on` says so.
    pub fn while_so(mut self, goes_on: impl Fn() -> bool + Send + Sync + 'static) -> SegmentUpload {
        self.requests.goes_on = Some(Arc::new(goes_on));
        self
    }

    /// Appends `bytes`. Waits for the store when several parts are under way: that is the
    /// back-pressure.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::put`], about this or an earlier part; nothing of the object will be visible.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.check_whole()?;
        if bytes.is_empty() {
            return Ok(());
        }
        if let Some(load) = &mut self.in_flight {
            load.grow(bytes.len());
        }
        self.total_bytes += bytes.len() as u64;
        self.held_bytes += bytes.len();
        self.held.push_back(bytes);
        if self.requests.store.location.parts.is_none() {
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
            while self.join_part().await? {}
            self.complete().await?;
        } else {
            let (payload, _load) = self.cut(self.held_bytes);
            let Requests { store, name, .. } = &self.requests;
            self.requests.until_done(|| store.put_payload(name, payload.clone())).await?;
        }
        Ok(self.total_bytes)
    }

    /// Gives the object up. What cannot be deleted is left to the bucket's rules, with a warning.
    pub async fn abort(mut self) {
        self.putting.shutdown().await;
        if let Some(open) = self.open.take() {
            self.requests.abort(open).await;
        }
    }

    fn check_whole(&self) -> Result<()> {
        if self.is_broken {
            let object = self.requests.name.clone();
            let source = "an earlier part of this upload failed".into();
            return Err(Error::Refused { object, source });
        }
        Ok(())
    }

    /// Takes the first `length` of the bytes that are held back, with their count; copies none.
    fn cut(&mut self, length: usize) -> (PutPayload, Option<Load>) {
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
        let load = self.in_flight.as_mut().map(|load| load.set_moving(length));
        (part.into_iter().collect(), load)
    }

    /// Sends the next part on its way, once there is room for it.
    async fn put_part(&mut self, length: usize) -> Result<()> {
        if self.open.is_none() {
            let opened = self.requests.until_done(|| self.requests.create()).await;
            self.is_broken = opened.is_err();
            self.open = Some(opened?);
        }
        while self.putting.len() >= PARTS_AT_ONCE {
            self.join_part().await?;
        }
        let (payload, load) = self.cut(length);
        let open = self.open.as_mut().expect("opened above");
        let number = open.done.len();
        open.done.push(None);
        let (parts, path, id) = (Arc::clone(&open.parts), open.path.clone(), open.id.clone());
        let requests = self.requests.clone();
        self.putting.spawn(async move {
            let put = || requests.put_part(&*parts, &path, &id, number, &payload);
            let part = requests.until_done(put).await;
            drop((payload, load));
            (number, part)
        });
        Ok(())
    }

    /// Waits for a part; false if none is under way.
    async fn join_part(&mut self) -> Result<bool> {
        let Some(joined) = self.putting.join_next().await else { return Ok(false) };
        let outcome = joined.unwrap_or_else(|panicked| {
            let object = self.requests.name.clone();
            (0, Err(Error::Indeterminate { object, source: panicked.into() }))
        });
        let (number, part) = outcome;
        self.is_broken |= part.is_err();
        let open = self.open.as_mut().expect("parts are put only of an open upload");
        open.done[number] = Some(part?);
        Ok(true)
    }

    async fn complete(&mut self) -> Result<()> {
        let open = self.open.as_ref().expect("only an open upload is completed");
        let total_bytes = self.total_bytes;
        let complete = || self.requests.complete(open, total_bytes);
        self.requests.until_done(complete).await?;
        self.open = None;
        Ok(())
    }
}

impl Requests {
    fn attempts(&self) -> Attempts<'_> {
        self.store.attempts(&self.name, Request::Write)
    }

    async fn until_done<T, F: Future<Output = Result<T>>>(
        &self,
        request: impl Fn() -> F,
    ) -> Result<T> {
        loop {
            let error = match request().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let can_retry = match &error {
                Error::Refused { source, .. } | Error::Indeterminate { source, .. } => {
                    !source.is::<UploadGone>()
                }
                error => matches!(error.kind(), ErrorKind::Retry | ErrorKind::Reconcile),
            };
            if !can_retry || !self.goes_on.as_ref().is_some_and(|goes_on| goes_on()) {
                return Err(error);
            }
            let object = &self.name;
            tracing::warn!(object, %error, "a snapshot is not uploaded yet; trying on");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Opens the upload. One whose reply was lost stays behind, empty.
    async fn create(&self) -> Result<OpenUpload> {
        let parts = self.store.location.parts.clone().expect("`write` holds back without it");
        let path = self.store.path(&self.name)?;
        let mut attempts = self.attempts();
        loop {
            match attempts.attempt(parts.create_multipart(&path)).await {
                Ok(id) => return Ok(OpenUpload { parts, path, id, done: Vec::new() }),
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        }
    }

    async fn put_part(
        &self,
        parts: &dyn MultipartStore,
        path: &Path,
        id: &MultipartId,
        number: usize,
        payload: &PutPayload,
    ) -> Result<PartId> {
        let mut attempts = self.attempts();
        loop {
            match attempts.attempt(parts.put_part(path, id, number, payload.clone())).await {
                Ok(part) => return Ok(part),
                Err(failure) => attempts.pause_or_fail(gone(failure)).await?,
            }
        }
    }

    async fn complete(&self, open: &OpenUpload, total_bytes: u64) -> Result<()> {
        let done: Vec<PartId> =
            open.done.iter().map(|part| part.clone().expect("all parts were joined")).collect();
        let (mut attempts, mut turns) = (self.attempts(), Turns::default());
        loop {
            let complete = open.parts.complete_multipart(&open.path, &open.id, done.clone());
            let Err(failure) = attempts.attempt(complete).await else { return Ok(()) };
            if turns.write_again(&failure) {
                attempts.pause_or_fail(failure).await?;
                continue;
            }
            // If it was applied and only the reply was lost, the upload is gone and repeating it
            // fails, in a way that differs between stores. The object tells: by S1 one of this
            // name and size is ours.
            loop {
                match attempts.attempt(self.store.objects().head(&open.path)).await {
                    Ok(meta) if meta.size == total_bytes => return Ok(()),
                    Err(unread @ Failure::Transient(_)) => attempts.pause_or_fail(unread).await?,
                    _ => break,
                }
            }
            attempts.pause_or_fail(gone(failure)).await?;
        }
    }

    async fn abort(&self, open: OpenUpload) {
        let abort = open.parts.abort_multipart(&open.path, &open.id);
        if let Err(failure) = self.attempts().attempt(abort).await {
            let (object, error) = (&self.name, failure.into_source());
            tracing::warn!(object, %error, "parts of an upload that was given up stay behind");
        }
    }
}

/// Of an upload that was opened, "not found" says that no retry will do.
fn gone(failure: Failure) -> Failure {
    match failure {
        Failure::Missing(source) => Failure::Missing(Box::new(UploadGone(source))),
        other => other,
    }
}

impl Drop for SegmentUpload {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let requests = self.requests.clone();
            runtime.spawn(async move { requests.abort(open).await });
        }
    }
}

impl fmt::Debug for SegmentUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentUpload")
            .field("name", &self.requests.name)
            .field("total_bytes", &self.total_bytes)
            .field("parts", &self.open.as_ref().map(|open| open.done.len()))
            .field("broken", &self.is_broken)
            .finish_non_exhaustive()
    }
}
