//! How a segment gets to the store: compressed and uploaded while it is still being cut, or, when
//! it is small, in one object with others of its worker and epoch.
//!
//! ```text
//!   blocks --> compress --> up to 1 MiB: kept --end--> bundle of the worker and epoch --> one put
//!                             | more
//!                             +--> upload in parts, several at once
//! ```
//!
//! Every byte between the capture and the store's answer is counted ([`InFlight`]). Requests are
//! made again for as long as the run lives: the changes that a segment holds are in no other.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Run;
use super::bundles::{Bundle, Bundles, SMALL_BYTES_MAX};
use crate::background::pause_if_due;
use crate::error::{Error, Result};
use crate::metadata::{SegmentKind, SegmentMetadata};
use crate::planted::{self, Bug};
use crate::segment::{EntryBlock, SegmentHeader, SegmentSummary, SegmentWriter};
use crate::store::layout::BundleName;
use crate::store::{InFlight, Load, SegmentUpload};
use crate::time::Epoch;

/// How long a bundle waits for operators that are slower. That delays nothing, for a checkpoint is
/// complete only with the slowest of them, which has to be put by itself anyway; but what waits is in
/// memory, and a seal may take minutes. On a busy machine small seals are some 100 ms apart.
const LINGER: Duration = Duration::from_secs(2);

/// A small segment that waits for its bundle.
#[derive(Debug)]
pub(super) struct Part {
    bytes: Vec<Bytes>,
    summary: SegmentSummary,
    load: Load,
    done: oneshot::Sender<Result<SegmentMetadata>>,
}

/// The bundles of each worker.
#[derive(Debug)]
pub(super) struct Shared {
    workers: Vec<Mutex<Bundles<Part>>>,
    in_flight: Arc<InFlight>,
}

impl Shared {
    pub(super) fn new(workers: usize, bytes_in_flight_max: usize) -> Shared {
        let workers = (0..workers).map(|_| Mutex::default()).collect();
        Shared { workers, in_flight: InFlight::new(bytes_in_flight_max) }
    }
}

/// Whose segment it is, and of which epochs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sealed {
    pub(crate) worker: usize,
    /// Its number among those of the worker, from [`Run::join_bundles`].
    pub(crate) participant: usize,
    pub(crate) epoch: Epoch,
    pub(crate) through: Epoch,
}

/// A segment in the making.
pub(crate) struct SegmentStream {
    run: Arc<Run>,
    sealed: Sealed,
    object: String,
    kind: SegmentKind,
    /// None while it is elsewhere, to compress.
    writer: Option<SegmentWriter>,
    upload: Upload,
    /// A seal must be handed in, lest others wait for it.
    is_handed_in: bool,
}

enum Upload {
    Small { bytes: Vec<Bytes>, size: usize, load: Load },
    Large(Box<SegmentUpload>),
}

fn small(run: &Run) -> Upload {
    Upload::Small { bytes: Vec::new(), size: 0, load: run.in_flight().held(0) }
}

impl Run {
    /// Bytes of snapshots that are on their way to the store.
    pub fn in_flight(&self) -> &Arc<InFlight> {
        &self.snapshots.in_flight
    }

    /// Adds a participant with keyed state on `worker`; each of its seals is to become a
    /// [`SegmentStream`].
    pub(crate) fn join_bundles(&self, worker: usize) -> usize {
        self.bundles(worker).join()
    }

    fn bundles(&self, worker: usize) -> std::sync::MutexGuard<'_, Bundles<Part>> {
        self.snapshots.workers[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_in(self: &Arc<Self>, sealed: Sealed, part: Option<(Part, usize)>) {
        let Sealed { worker, participant, epoch, through } = sealed;
        let handed_in = self.bundles(worker).hand_in(participant, (epoch, through), part);
        for bundle in handed_in.closed {
            self.spawn(write_bundle(Arc::clone(self), worker, bundle));
        }
        if let Some(opened) = handed_in.opened {
            let run = Arc::clone(self);
            self.spawn(async move {
                tokio::time::sleep(LINGER).await;
                let over = run.bundles(worker).linger_over(opened);
                if let Some(bundle) = over {
                    write_bundle(Arc::clone(&run), worker, bundle).await;
                }
            });
        }
    }

    /// An object that is written however long the store stays away.
    fn persistent(self: &Arc<Self>, object: &str) -> SegmentUpload {
        let run = Arc::clone(self);
        self.store().writer(object).while_so(move || !run.control.is_over())
    }
}

impl SegmentStream {
    /// Begins a segment.
    pub(crate) fn new(run: &Arc<Run>, header: SegmentHeader, sealed: Sealed) -> SegmentStream {
        run.bundles(sealed.worker).begin(sealed.participant, sealed.epoch);
        SegmentStream {
            run: Arc::clone(run),
            sealed,
            object: Run::segment_name(&header),
            kind: header.kind,
            writer: Some(SegmentWriter::new(header)),
            upload: small(run),
            is_handed_in: false,
        }
    }

    /// Compresses blocks, on a thread for that, and sends on what is ready. Waits for the store when
    /// that does not keep up. The blocks go to `recycle`, for their memory.
    pub(crate) async fn blocks(
        &mut self,
        blocks: Vec<(u16, EntryBlock, Load)>,
        mut recycle: impl FnMut(EntryBlock),
    ) -> Result<()> {
        let mut writer = self.writer.take().expect("it comes back from each compression");
        let compressed = self.run.spawn_blocking(move || {
            for (group, block, _) in &blocks {
                writer.block(*group, block);
                pause_if_due();
            }
            let ready = writer.take_ready();
            (writer, ready, blocks)
        });
        let (writer, ready, blocks) = compressed.await.map_err(task_failed)?;
        self.writer = Some(writer);
        // Counted until what came out is.
        let mut loads = Vec::with_capacity(blocks.len());
        for (_, block, load) in blocks {
            recycle(block);
            loads.push(load);
        }
        self.push(ready).await
    }

    async fn push(&mut self, ready: Bytes) -> Result<()> {
        match &mut self.upload {
            Upload::Large(upload) => return upload.write(ready).await,
            Upload::Small { bytes, size, load } => {
                load.grow(ready.len());
                *size += ready.len();
                bytes.push(ready);
                if *size <= SMALL_BYTES_MAX {
                    return Ok(());
                }
            }
        }
        // Nobody needs to wait for this one.
        self.run.hand_in(self.sealed, None);
        self.is_handed_in = true;
        let upload = self.run.persistent(&self.object).counted(self.run.in_flight());
        let small = std::mem::replace(&mut self.upload, Upload::Large(Box::new(upload)));
        if let (Upload::Small { bytes, .. }, Upload::Large(upload)) = (small, &mut self.upload) {
            for bytes in bytes {
                upload.write(bytes).await?;
            }
        }
        Ok(())
    }

    /// Ends the segment, and waits until the store has it. None if there is nothing to write.
    pub(crate) async fn finish(mut self) -> Result<Option<SegmentMetadata>> {
        let writer = self.writer.take().expect("it comes back from each compression");
        let (rest, summary) = writer.finish();
        if summary.entries == 0 && self.kind == SegmentKind::Delta {
            return Ok(None);
        }
        self.push(rest).await?;
        let (bytes, mut load) = match std::mem::replace(&mut self.upload, small(&self.run)) {
            Upload::Small { bytes, load, .. } => (bytes, load),
            Upload::Large(upload) => {
                upload.finish().await?;
                return Ok(Some(summary.metadata(&self.object)));
            }
        };
        let (done, outcome) = oneshot::channel();
        let size = summary.bytes as usize;
        let load = load.set_moving(size);
        self.is_handed_in = true;
        self.run.hand_in(self.sealed, Some((Part { bytes, summary, load, done }, size)));
        let lost = |_| Error::invalid("the bundle of a segment was lost with its task");
        outcome.await.map_err(lost)?.map(Some)
    }
}

impl Drop for SegmentStream {
    fn drop(&mut self) {
        if !self.is_handed_in {
            self.run.hand_in(self.sealed, None);
        }
    }
}

/// Writes a bundle, or the only segment of one as an object of its own.
async fn write_bundle(run: Arc<Run>, worker: usize, bundle: Bundle<Part>) {
    let is_one = bundle.parts.len() == 1;
    let Bundle { epoch, number, .. } = bundle;
    let object = match bundle.parts.first() {
        Some(part) if is_one => Run::segment_name(&part.summary.header),
        _ => BundleName { generation: run.generation, worker, epoch, number }.to_string(),
    };
    let bytes: Vec<Bytes> = bundle.parts.iter().flat_map(|part| part.bytes.clone()).collect();
    let mut upload = run.persistent(&object);
    let outcome = async move {
        for bytes in bytes {
            upload.write(bytes).await?;
        }
        upload.finish().await
    };
    let failed = if planted::is(Bug::AcknowledgesBeforeUpload) {
        run.spawn(outcome);
        None
    } else {
        outcome.await.err().map(Arc::new)
    };
    let mut offset = 0;
    for Part { summary, load, done, .. } in bundle.parts {
        let mut metadata = summary.metadata(&object);
        metadata.offset = (!is_one).then_some(offset);
        offset += metadata.bytes;
        drop(load);
        // A receiver that is gone belongs to a dataflow that was stopped.
        let _ = done.send(match &failed {
            None => Ok(metadata),
            Some(error) => {
                let (object, source) = (object.clone(), Box::new(Arc::clone(error)));
                Err(Error::Indeterminate { object, source })
            }
        });
    }
}

fn task_failed(error: tokio::task::JoinError) -> Error {
    Error::invalid(format!("a snapshot's task failed: {error}"))
}
