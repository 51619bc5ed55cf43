//! Reading and writing whole objects: one method, one kind of request, retried.

use std::fs::File;
use std::ops::Range;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
};

use super::BlobStore;
use super::local;
use super::retry::{Failure, Request, Turns};
use super::upload::SegmentUpload;
use crate::error::{Error, Result};

/// How a put-if-absent ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "who does not look may believe to own what another has created"]
pub enum PutIfAbsent {
    /// The object holds our bytes.
    Created,
    /// It holds these, put by somebody else.
    Exists(Bytes),
}

/// The end of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The last bytes: as many as were asked for, or the whole object if it is shorter.
    pub bytes: Bytes,
    /// Size of the whole object.
    pub object_bytes: u64,
}

impl BlobStore {
    /// Writes an object, in place of one with that name.
    ///
    /// # Errors
    ///
    /// `Indeterminate` if the store gave no clear answer until the deadline: the object may appear,
    /// even later. `Refused` or `Invalid` if nothing was written.
    pub async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        self.put_payload(name, bytes.into()).await
    }

    pub(super) async fn put_payload(&self, name: &str, payload: PutPayload) -> Result<()> {
        let path = self.path(name)?;
        let mut attempts = self.attempts(name, Request::Write);
        loop {
            let put = self.objects().put_opts(&path, payload.clone(), PutMode::Overwrite.into());
            match attempts.attempt(put).await {
                Ok(_) => return Ok(()),
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        }
    }

    /// Writes an object unless there is one with that name; of several who race for a name at most
    /// one is told [`PutIfAbsent::Created`].
    ///
    /// `bytes` must differ from what anybody else puts under the name (a run's id in it is enough):
    /// when the outcome is not clear, whose bytes the object holds is what settles it.
    ///
    /// # Errors
    ///
    /// `Indeterminate` if the outcome could not be settled until the deadline. `Refused` or
    /// `Invalid` if nothing was written.
    pub async fn put_if_absent(&self, name: &str, bytes: Bytes) -> Result<PutIfAbsent> {
        let path = self.path(name)?;
        let mut attempts = self.attempts(name, Request::Write);
        let mut turns = Turns::default();
        loop {
            let payload = PutPayload::from(bytes.clone());
            let put = self.objects().put_opts(&path, payload, PutMode::Create.into());
            let failure = match attempts.attempt(put).await {
                Ok(_) => return Ok(PutIfAbsent::Created),
                Err(failure @ (Failure::Exists(_) | Failure::Transient(_))) => failure,
                Err(failure) => return Err(attempts.settled(failure)),
            };
            if turns.write_again(&failure) {
                attempts.pause_or_fail(failure).await?;
                continue;
            }
            // SUBTLE: "exists" is not taken at its word. It is also the answer to a request that
            // was applied, lost its reply, and was made again here or in the client below us. An
            // absent object proves nothing either, the first request may still be under way: so
            // the put is repeated, and whichever of the two lands makes the object ours.
            loop {
                match attempts.attempt(self.read(&path)).await {
                    Ok(found) if found == bytes => return Ok(PutIfAbsent::Created),
                    Ok(found) => return Ok(PutIfAbsent::Exists(found)),
                    Err(Failure::Missing(_)) => break,
                    Err(unread) => attempts.pause_or_fail(unread).await?,
                }
            }
            attempts.pause_or_fail(failure).await?;
        }
    }

    /// Starts an object that is written piece by piece; it appears when it is finished.
    pub fn writer(&self, name: &str) -> SegmentUpload {
        SegmentUpload::new(self.clone(), name.to_owned())
    }

    /// Reads a whole object.
    ///
    /// # Errors
    ///
    /// `Missing`; `Refused` if the store gave no answer until the deadline.
    pub async fn get(&self, name: &str) -> Result<Bytes> {
        let path = self.path(name)?;
        let mut attempts = self.attempts(name, Request::Read);
        loop {
            match attempts.attempt(self.read(&path)).await {
                Ok(bytes) => return Ok(bytes),
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        }
    }

    /// Reads the bytes `range` of an object.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the object ends before `range` does; `Missing`; `Refused` if the store gave no
    /// answer until the deadline.
    pub async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let path = self.path(name)?;
        if let Some(bytes) = self.read_file(&path, |file| local::read_range(file, &range)) {
            return Ok(bytes);
        }
        let mut attempts = self.attempts(name, Request::Read);
        let mut is_long_enough = false;
        loop {
            let read = self.objects().get_range(&path, range.clone());
            let failure = match attempts.attempt(read).await {
                Ok(bytes) if bytes.len() as u64 == range.end - range.start => return Ok(bytes),
                Ok(bytes) => Failure::Transient(format!("got {} bytes", bytes.len()).into()),
                Err(failure) => failure,
            };
            // Stores say "the object is too short" in many ways, or give fewer bytes.
            // Looked at once: in turn with the read, it would be in step with a fault that strikes
            // every second request.
            if !is_long_enough
                && let Failure::Transient(_) = failure
                && let Ok(meta) = attempts.attempt(self.objects().head(&path)).await
            {
                if meta.size < range.end {
                    let size = meta.size;
                    let reason = format!("bytes {range:?} asked for, but it has only {size}");
                    return Err(Error::corrupt(name, reason));
                }
                is_long_enough = true;
            }
            attempts.pause_or_fail(failure).await?;
        }
    }

    /// The size of an object in bytes.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::get`].
    pub async fn size(&self, name: &str) -> Result<u64> {
        let path = self.path(name)?;
        let mut attempts = self.attempts(name, Request::Read);
        loop {
            match attempts.attempt(self.objects().head(&path)).await {
                Ok(meta) => return Ok(meta.size),
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        }
    }

    /// Reads the last `length` bytes of an object, in one request where the store can.
    ///
    /// # Errors
    ///
    /// As [`BlobStore::get`].
    pub async fn get_tail(&self, name: &str, length: u64) -> Result<Tail> {
        let path = self.path(name)?;
        if let Some(tail) = self.read_file(&path, |file| local::read_tail(file, length)) {
            return Ok(tail);
        }
        let mut attempts = self.attempts(name, Request::Read);
        loop {
            match attempts.attempt(self.read_tail(&path, length)).await {
                Ok(tail) => return Ok(tail),
                // Azure has no requests for a suffix.
                Err(Failure::Impossible(_)) => break,
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        }
        let object_bytes = self.size(name).await?;
        let start = object_bytes.saturating_sub(length);
        let bytes = self.get_range(name, start..object_bytes).await?;
        Ok(Tail { bytes, object_bytes })
    }

    /// All objects in the folder `folder`, at any depth, with their sizes; ordered by name. The
    /// empty name is the folder of all.
    ///
    /// # Errors
    ///
    /// `Refused` if the store gave no answer until the deadline. An empty folder, or none, is an
    /// empty list.
    pub async fn list(&self, folder: &str) -> Result<Vec<(String, u64)>> {
        let path = self.path(folder)?;
        let mut attempts = self.attempts(folder, Request::Read);
        let found: Vec<ObjectMeta> = loop {
            match attempts.attempt(self.objects().list(Some(&path)).try_collect()).await {
                Ok(found) => break found,
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        };
        let relative = |object: ObjectMeta| {
            let name = object.location.as_ref().strip_prefix(self.folder.as_ref())?;
            let name = if self.folder.as_ref().is_empty() { name } else { name.strip_prefix('/')? };
            Some((name.to_owned(), object.size))
        };
        let mut names: Vec<_> = found.into_iter().filter_map(relative).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The names of the folders right in the folder `folder`, in order.
    pub(crate) async fn folders(&self, folder: &str) -> Result<Vec<String>> {
        let path = self.path(folder)?;
        let mut attempts = self.attempts(folder, Request::Read);
        let found = loop {
            match attempts.attempt(self.objects().list_with_delimiter(Some(&path))).await {
                Ok(found) => break found.common_prefixes,
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        };
        let last = |path: &Path| path.parts().next_back().map(|part| part.as_ref().to_owned());
        let mut names: Vec<_> = found.iter().filter_map(last).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Deletes an object; one that is gone already is a success.
    ///
    /// # Errors
    ///
    /// `Indeterminate` if the store gave no clear answer until the deadline, else `Refused`.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let path = self.path(name)?;
        let mut attempts = self.attempts(name, Request::Write);
        loop {
            match attempts.attempt(self.objects().delete(&path)).await {
                Ok(()) | Err(Failure::Missing(_)) => return Ok(()),
                Err(failure) => attempts.pause_or_fail(failure).await?,
            }
        }
    }

    pub(super) fn objects(&self) -> &dyn ObjectStore {
        self.location.objects.as_ref()
    }

    /// The path of `name` in the store. Names of [`super::layout`] always have one.
    pub(super) fn path(&self, name: &str) -> Result<Path> {
        Path::parse(format!("{}/{name}", self.folder).trim_end_matches('/'))
            .map_err(|source| Error::invalid(format!("{name:?} cannot name an object: {source}")))
    }

    /// What `read` reads of an object that is a file, if that is to be done here. None if it
    /// fails: the store is asked then, which tries again, and says what is wrong.
    fn read_file<T>(
        &self,
        path: &Path,
        read: impl FnOnce(File) -> std::io::Result<T>,
    ) -> Option<T> {
        let directory = self.location.local.as_ref().filter(|_| self.reads_here)?;
        let file = File::open(directory.path_to_filesystem(path).ok()?).ok()?;
        self.counters.count_request();
        read(file).ok()
    }

    /// Says that the bytes `range` of an object will be read soon: where they are those of a file,
    /// the kernel begins to fetch them. Waits for nothing, and what fails has no effect.
    pub(crate) fn announce(&self, name: &str, range: &Range<u64>) {
        let Some(directory) = &self.location.local else { return };
        let path = self.path(name).ok().and_then(|path| directory.path_to_filesystem(&path).ok());
        if let Some(file) = path.and_then(|path| File::open(path).ok()) {
            local::announce(&file, range);
        }
    }

    async fn read(&self, path: &Path) -> object_store::Result<Bytes> {
        self.objects().get(path).await?.bytes().await
    }

    async fn read_tail(&self, path: &Path, length: u64) -> object_store::Result<Tail> {
        let options = GetOptions { range: Some(GetRange::Suffix(length)), ..GetOptions::default() };
        let answer = self.objects().get_opts(path, options).await?;
        let object_bytes = answer.meta.size;
        Ok(Tail { bytes: answer.bytes().await?, object_bytes })
    }
}
