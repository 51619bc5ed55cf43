//! The blob store of one job: named objects that survive the process, and who may write them.
//!
//! A directory, S3, GCS, Azure and memory are one code path ([`Location`]); names below the job's
//! folder are those of [`layout`]. Every request is retried until a deadline ([`RetryPolicy`]), and
//! every error says whether anything can have changed.
//!
//! ```
//! use bytes::Bytes;
//! use highwater_checkpoint::store::{BlobStore, Location};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! # runtime.block_on(async {
//! let store = BlobStore::new(Location::parse("memory:///checkpoints")?, "wordcount");
//! store.probe().await?;
//! let generation = store.claim_generation().await?;
//! store.put("segments/count/a.seg", Bytes::from_static(b"state")).await?;
//! store.check_fence(generation).await?;
//! # Ok::<(), highwater_checkpoint::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//!
//! * **S1** One name, one content: a caller never writes different bytes under the same name. All
//!   retries rest on it, for a write that timed out can still land after its retry.
//! * **S2** Of all who put the same name if absent, at most one is told `Created`. A store that
//!   cannot promise this is refused by [`BlobStore::probe`].
//! * **S3** A generation is claimed by one run only, and a run that is not the newest finds out in
//!   [`BlobStore::check_fence`].
//!
//! # When the store does not answer
//!
//! Reads end as `Refused`, writes as `Indeterminate`; `retry.rs` has the table. Put-if-absent is
//! settled by reading back.
//!
//! Design: `docs/store.md`. Tests: `tests/store_contract.rs`.

mod copy;
#[cfg(feature = "testing")]
pub mod faulty;
mod generation;
mod in_flight;
pub mod layout;
mod leftovers;
mod local;
mod location;
mod objects;
mod retry;
mod upload;

use std::fmt;
use std::sync::Arc;

use object_store::path::Path;

pub(crate) use generation::unique;
pub use in_flight::InFlight;
pub(crate) use in_flight::Load;
pub use location::Location;
pub use objects::{PutIfAbsent, Tail};
pub use retry::{RetryPolicy, StoreStats};
pub use upload::{PART_BYTES, SegmentUpload};

pub(crate) use retry::is_exhausted;
use retry::{Attempts, Counters, Request};

/// The objects of one job. Cheap to clone; clones share their counters.
///
/// Names are relative to the job's folder, as in [`layout`] and in `SegmentMetadata::object`. All
/// methods need a tokio runtime with its timer.
#[derive(Clone)]
pub struct BlobStore {
    location: Location,
    /// `<root>/<job>`.
    folder: Path,
    policy: RetryPolicy,
    counters: Arc<Counters>,
    /// Told in tokens of generations: those that this and its clones have claimed are known by it.
    claimant: Arc<str>,
    /// Whether files of a directory are read by the thread that asks.
    reads_here: bool,
}

impl BlobStore {
    /// The objects of `job` at `location`. Touches nothing yet.
    pub fn new(location: Location, job: &str) -> BlobStore {
        let root = location.prefix.as_ref();
        let separator = if root.is_empty() { "" } else { "/" };
        let folder = Path::parse(format!("{root}{separator}{}", layout::encode(job)))
            .expect("a parsed prefix and an encoded segment make a path");
        BlobStore { folder, ..BlobStore::folder(location) }
    }

    /// The objects right at `location`: of a folder that is not a job's, such as a savepoint that
    /// was moved, or of a job's by its path.
    pub fn folder(location: Location) -> BlobStore {
        let folder = location.prefix.clone();
        let (policy, counters) = (RetryPolicy::default(), Arc::default());
        let claimant = generation::unique().into();
        BlobStore { location, folder, policy, counters, claimant, reads_here: false }
    }

    /// The objects of the folder `name` in this one.
    pub(crate) fn subfolder(&self, name: &str) -> BlobStore {
        let folder = name.split('/').fold(self.folder.clone(), Path::join);
        BlobStore { folder, ..self.clone() }
    }

    /// The same objects, for a thread that waits for what it reads and has nothing else to do: ranges
    /// of a directory's files are read by that thread itself. Those of tokio that would do it for
    /// it give way to everybody, so on a machine that is busy it would wait for long.
    pub(crate) fn read_here(&self) -> BlobStore {
        BlobStore { reads_here: true, ..self.clone() }
    }

    /// Whether objects are files of a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.location.local.is_some()
    }

    /// The same objects with another patience.
    #[must_use]
    pub fn retry_policy(mut self, policy: RetryPolicy) -> BlobStore {
        self.policy = policy;
        self
    }

    /// How much has been asked of the store, by this and all its clones.
    pub fn stats(&self) -> StoreStats {
        self.counters.stats()
    }

    fn attempts<'a>(&'a self, object: &'a str, request: Request) -> Attempts<'a> {
        Attempts::new(self.policy, &self.counters, object, request)
    }
}

impl fmt::Debug for BlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobStore")
            .field("location", &self.location)
            .field("folder", &self.folder.as_ref())
            .field("policy", &self.policy)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Where the objects are, for people.
impl fmt::Display for BlobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.folder, self.location.objects)
    }
}
