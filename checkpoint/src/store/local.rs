//! What a directory can do beyond `LocalFileSystem`: uploads in parts, each of which can be written
//! again, and reads by the thread that asks.
//!
//! `LocalFileSystem` has uploads in parts, but gives the next position to whatever comes next: a
//! part that is sent again leaves a hole where the first one was. Here a part's number is its
//! position. Parts go to a staged file beside the destination, `<name>#<n>` as `LocalFileSystem`
//! calls its own and hides it from listings; completion flushes it, moves it into place, and
//! flushes the directory.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{Error, MultipartId, PutPayload, PutResult, Result};

use super::objects::Tail;
use super::upload::PART_BYTES;
use crate::background::pause_if_due;

/// Bytes that are written at one go: some 100 us.
const WRITE_BYTES: usize = 256 << 10;

/// The [`MultipartStore`] of a directory.
#[derive(Debug)]
pub(super) struct LocalParts {
    objects: LocalFileSystem,
}

impl LocalParts {
    pub(super) fn new(objects: LocalFileSystem) -> LocalParts {
        LocalParts { objects }
    }

    fn staged(&self, path: &Path, id: &str) -> Result<PathBuf> {
        let mut name = self.objects.path_to_filesystem(path)?.into_os_string();
        name.push("#");
        name.push(id);
        Ok(name.into())
    }
}

#[async_trait]
impl MultipartStore for LocalParts {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        let folder = self.objects.path_to_filesystem(&path.parent().unwrap_or_default())?;
        blocking(move || create_folder(&folder)).await?;
        for number in 1_u32.. {
            let id = number.to_string();
            let staged = self.staged(path, &id)?;
            let created = blocking(move || {
                match OpenOptions::new().write(true).create_new(true).open(staged) {
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
                    opened => opened.map(|_file| true),
                }
            });
            if created.await? {
                return Ok(id);
            }
        }
        Err(generic("every number of a staged file is taken"))
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        // Positions are multiples of the full size; only the last part may be shorter.
        assert!(data.content_length() <= PART_BYTES, "a part of {} bytes", data.content_length());
        let staged = self.staged(path, id)?;
        let position = part_idx as u64 * PART_BYTES as u64;
        blocking(move || {
            let mut file = OpenOptions::new().write(true).open(staged)?;
            file.seek(SeekFrom::Start(position))?;
            for bytes in data.iter().flat_map(|bytes| bytes.chunks(WRITE_BYTES)) {
                file.write_all(bytes)?;
                pause_if_due();
            }
            Ok(())
        })
        .await?;
        Ok(PartId { content_id: part_idx.to_string() })
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        _parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let staged = self.staged(path, id)?;
        let object = self.objects.path_to_filesystem(path)?;
        blocking(move || publish(&staged, &object)).await?;
        Ok(PutResult {
            e_tag: None,
            version: None,
            extensions: object_store::Extensions::default(),
        })
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        let staged = self.staged(path, id)?;
        blocking(move || std::fs::remove_file(staged)).await
    }
}

/// Makes a staged file the object. May be repeated after a lost reply.
fn publish(staged: &FilePath, object: &FilePath) -> std::io::Result<()> {
    match OpenOptions::new().write(true).open(staged) {
        Ok(file) => {
            if let Err(error) = file.sync_all() {
                // After a failed flush the next one may succeed although pages were dropped: the
                // file must not get a second chance.
                std::fs::remove_file(staged)?;
                return Err(error);
            }
            drop(file);
            std::fs::rename(staged, object)?;
        }
        Err(error) if error.kind() == ErrorKind::NotFound && object.exists() => {}
        Err(error) => return Err(error),
    }
    object.parent().map_or(Ok(()), sync_folder)
}

/// Makes `folder` and those above it, each of them durable.
fn create_folder(folder: &FilePath) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let Some(parent) = folder.parent() else { return Ok(()) };
    create_folder(parent)?;
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(parent),
    }
}

/// Flushes a directory's entries; other systems than Unix cannot, nor need to, open one for that.
fn sync_folder(folder: &FilePath) -> std::io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Reads the bytes `range` of a file.
pub(super) fn read_range(mut file: File, range: &Range<u64>) -> std::io::Result<Bytes> {
    let length = range.end.saturating_sub(range.start);
    // A range beyond the end is refused before memory is taken for it.
    if file.metadata()?.len() < range.end {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.seek(SeekFrom::Start(range.start))?;
    file.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length {
        Ok(bytes.into())
    } else {
        Err(ErrorKind::UnexpectedEof.into())
    }
}

/// Reads the last `length` bytes of a file, or all.
pub(super) fn read_tail(file: File, length: u64) -> std::io::Result<Tail> {
    let object_bytes = file.metadata()?.len();
    let bytes = read_range(file, &(object_bytes.saturating_sub(length)..object_bytes))?;
    Ok(Tail { bytes, object_bytes })
}

/// Has the kernel fetch the bytes `range` of a file, without waiting for it.
pub(super) fn announce(file: &File, range: &Range<u64>) {
    #[cfg(target_os = "linux")]
    {
        let length = std::num::NonZero::new(range.end.saturating_sub(range.start));
        let advice = rustix::fs::Advice::WillNeed;
        if let Err(error) = rustix::fs::fadvise(file, range.start, length, advice) {
            tracing::debug!(%error, "reads are not announced");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (file, range);
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?.map_err(|error| match error.kind() {
        // The staged file was deleted, and what it held is gone: no retry brings it back.
        ErrorKind::NotFound => {
            Error::NotFound { path: "staged upload".to_owned(), source: error.into() }
        }
        _ => generic(error),
    })
}

fn generic(source: impl Into<crate::error::BoxError>) -> Error {
    Error::Generic { store: "local parts", source: source.into() }
}
