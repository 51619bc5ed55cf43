//! How a run begins: probe, claim, choose, append.
//!
//! ```text
//!   probe the store --> claim the next generation --> choose a checkpoint n --> append a copy of it
//!                                                                              at the head's id + 1
//! ```
//!
//! A checkpoint that is not one of the job's own is chosen before the claim, and after it the
//! segments are copied into the job's folder.
//!
//! What a user got wrong is found before the claim, by choosing once for nothing: a start that
//! cannot succeed must not fence the run that works.
//!
//! The claim comes before the choice that counts: what an older run completes after it, that run finds out to
//! be fenced before it commits (`tasks.rs`). The copy takes the id that an older run would use
//! next. If that run is quicker, its checkpoint is complete and is what we start from instead.
//!
//! SUBTLE: the head must not be of a newer run. A start that was slow between its claim and its
//! choice would else append its copy behind that run's own, where that run wants to write next.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::choose::{Chosen, choose, ids, read};
use super::{Control, Executor, Restore, Run, RunOptions, Status};
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{
    CheckpointId, CheckpointMetadata, FORMAT_VERSION, Generation, Origin, SegmentMetadata, garbage,
};
use crate::savepoint::copy;
use crate::store::layout::{self, SegmentMaker, SegmentName};
use crate::store::{BlobStore, PutIfAbsent};
use crate::time::Epoch;

impl Run {
    /// Begins a run: fences older ones, and restores what [`RunOptions::restore`] says.
    ///
    /// # Errors
    ///
    /// `Invalid` if an option is out of range or the store cannot keep runs apart; `Incompatible`
    /// if the checkpoint is of another job or has another number of key groups; `Corrupt` or
    /// `Missing` if the checkpoint is damaged or is not there; `Refused` or `Indeterminate` if the
    /// store does not answer; `Fenced` if a newer run began at the same time.
    ///
    /// # Panics
    ///
    /// On a thread of a tokio runtime: it blocks. `tokio::task::spawn_blocking` has threads for it.
    pub fn open(options: RunOptions) -> Result<Arc<Run>> {
        Run::open_on(Executor::default(), options)
    }

    /// As [`open`](Run::open), with tasks that run elsewhere than on the threads of the process.
    ///
    /// # Errors
    ///
    /// As [`open`](Run::open).
    pub fn open_on(executor: Executor, options: RunOptions) -> Result<Arc<Run>> {
        check(&options)?;
        let opened = match &options.store {
            Some(store) => executor.block_on(open(store, &options, &executor))?,
            None => Opened::volatile(&options),
        };
        let Opened { generation, start, restored, retained, sweep } = opened;
        let (control, status) = (Control::default(), Status::default());
        let undeleted = tokio::sync::Mutex::default();
        let snapshots = super::snapshots::Shared::new(options.workers, options.bytes_in_flight_max);
        let run = Arc::new(Run {
            options,
            executor,
            generation,
            start,
            restored,
            retained,
            control,
            status,
            undeleted,
            requests: Mutex::default(),
            taking: tokio::sync::Mutex::default(),
            planned: None,
            snapshots,
            folding: tokio::sync::Mutex::default(),
            restored_parts: Mutex::default(),
        });
        if let Some(sweep) = sweep {
            sweep_when_begun(&run, sweep);
        }
        Ok(run)
    }

    /// A run that is not going to start: it knows what it would restore, and takes note of the
    /// operators that are built with it. The store is only read, not so much as tried out.
    ///
    /// Build the dataflow with it as with any run, do not let it begin, and ask for the
    /// [`plan`](Run::plan).
    ///
    /// # Errors
    ///
    /// As [`Run::open`], but for what a claim can meet.
    ///
    /// # Panics
    ///
    /// As [`Run::open`].
    pub fn open_to_plan(options: RunOptions) -> Result<Arc<Run>> {
        check(&options)?;
        let executor = Executor::default();
        let chosen = match &options.store {
            Some(store) => executor.block_on(async {
                let chosen = choose(&ids(store).await?, store, &options).await?;
                if let Some(Chosen { metadata, from, .. }) = &chosen {
                    copy::verify(from.as_ref().unwrap_or(store), metadata).await?;
                }
                Ok::<_, Error>(chosen)
            })?,
            None => None,
        };
        let restored = chosen.as_ref().map(|chosen| chosen.metadata.id);
        let start = chosen.map_or_else(|| empty(&options), |chosen| chosen.metadata);
        let snapshots = super::snapshots::Shared::new(options.workers, options.bytes_in_flight_max);
        Ok(Arc::new(Run {
            options,
            executor,
            generation: Generation(0),
            start,
            restored,
            retained: Vec::new(),
            control: Control::default(),
            status: Status::default(),
            undeleted: tokio::sync::Mutex::default(),
            requests: Mutex::default(),
            taking: tokio::sync::Mutex::default(),
            planned: Some(Mutex::default()),
            snapshots,
            folding: tokio::sync::Mutex::default(),
            restored_parts: Mutex::default(),
        }))
    }
}

fn check(options: &RunOptions) -> Result<()> {
    if options.workers == 0 {
        return Err(Error::invalid("a job needs at least one worker"));
    }
    if options.bytes_in_flight_max == 0 {
        return Err(Error::invalid("bytes_in_flight_max must be at least 1 byte, not 0"));
    }
    options.policy.check()?;
    let is_named =
        matches!(options.restore, Restore::Id(_) | Restore::Savepoint(_) | Restore::From(_));
    if options.store.is_none() && is_named {
        return Err(Error::invalid(
            "there is something to restore and nowhere to keep checkpoints: give a checkpoint \
             directory",
        ));
    }
    if options.request_interval.is_zero() {
        return Err(Error::invalid(
            "the interval of looking for requests must be longer than zero",
        ));
    }
    Ok(())
}

struct Opened {
    generation: Generation,
    start: CheckpointMetadata,
    restored: Option<CheckpointId>,
    retained: Vec<CheckpointMetadata>,
    sweep: Option<Sweep>,
}

impl Opened {
    fn volatile(options: &RunOptions) -> Opened {
        let start = empty(options);
        Opened {
            generation: Generation(0),
            start,
            restored: None,
            retained: Vec::new(),
            sweep: None,
        }
    }
}

/// The state of a job that has seen nothing.
fn empty(options: &RunOptions) -> CheckpointMetadata {
    CheckpointMetadata {
        format: FORMAT_VERSION,
        job: options.job.clone(),
        id: CheckpointId(0),
        epoch: Epoch(0),
        generation: Generation(0),
        origin: Origin::Restore { from: None },
        input_ended: false,
        workers: options.workers,
        key_groups: options.key_groups.count(),
        started_ms: 0,
        completed_ms: 0,
        duration_ms: 0,
        bytes_written: 0,
        bytes_folded: 0,
        bytes_total: 0,
        operators: Vec::new(),
        crc32: 0,
    }
}

async fn open(store: &BlobStore, options: &RunOptions, executor: &Executor) -> Result<Opened> {
    store.probe().await?;
    let first = choose(&ids(store).await?, store, options).await?;
    if let Some(Chosen { metadata, from: Some(from), .. }) = &first {
        copy::verify(from, metadata).await?;
    }
    let generation = store.claim_generation().await?;
    let copied = match first {
        Some(Chosen { metadata, from: Some(from), .. }) => {
            Some(adopt(metadata, &from, store, options, generation).await?)
        }
        _ => None,
    };
    loop {
        let ids = ids(store).await?;
        let head = ids.last().copied().unwrap_or(CheckpointId(0));
        check_head(store, generation, head).await?;
        let chosen = match &copied {
            Some(copied) => Some(copied.clone()),
            None => choose(&ids, store, options).await?.map(|chosen| chosen.metadata),
        };
        let restored = chosen.as_ref().map(|metadata| metadata.id);
        let origin = match restored {
            Some(from) if copied.is_some() => Origin::Fork { from },
            from => Origin::Restore { from },
        };
        let start = CheckpointMetadata {
            id: CheckpointId(head.0 + 1),
            generation,
            origin,
            started_ms: executor.now_ms(),
            completed_ms: executor.now_ms(),
            duration_ms: 0,
            bytes_written: copied.as_ref().map_or(0, |copied| copied.bytes_total),
            bytes_folded: 0,
            ..chosen.unwrap_or_else(|| empty(options))
        };
        let name = layout::checkpoint(start.id);
        match store.put_if_absent(&name, Bytes::from(start.to_bytes())).await? {
            PutIfAbsent::Created => {
                store.check_fence(generation).await?;
                let others = retained(store, &ids).await;
                let is_whole = others.iter().all(Option::is_some);
                let retained = others.into_iter().flatten().collect();
                let sweep = Some(Sweep { is_whole });
                return Ok(Opened { generation, start, restored, retained, sweep });
            }
            // An older run has completed one more, or a newer one has begun.
            PutIfAbsent::Exists(bytes) => {
                let theirs = CheckpointMetadata::from_bytes(&name, &bytes)?.generation;
                if theirs > generation {
                    return Err(Error::Fenced { ours: generation, newer: theirs });
                }
            }
        }
    }
}

/// Copies what `metadata` refers to into the job's folder, under names that only this run gives.
///
/// A start that breaks off leaves copies that no checkpoint names; a later run sweeps them.
async fn adopt(
    metadata: CheckpointMetadata,
    from: &BlobStore,
    store: &BlobStore,
    options: &RunOptions,
    generation: Generation,
) -> Result<CheckpointMetadata> {
    let rename = |number: usize, uid: &str, segment: &SegmentMetadata| {
        let part = u32::try_from(number).unwrap_or(u32::MAX);
        let maker = SegmentMaker::Copy { part };
        SegmentName { uid: uid.to_owned(), generation, epoch: segment.epoch, maker }.to_string()
    };
    let mut copied = copy::copy(from, store, metadata, rename).await?;
    if copied.job != options.job {
        // It is the original that commits its output, when it goes on.
        let operators = copied.operators.iter_mut();
        let left: usize =
            operators.map(|state| std::mem::take(&mut state.committables).len()).sum();
        if left > 0 {
            tracing::warn!(
                original = copied.job,
                left,
                "the checkpoint lists output that the original may not have committed; it is not \
                 committed here"
            );
        }
    }
    options.job.clone_into(&mut copied.job);
    Ok(copied)
}

/// Whether everything up to the `head` is of this run or of older ones: if a newer one appends to it
/// meanwhile, it does so under the id that we are going to put.
async fn check_head(store: &BlobStore, ours: Generation, head: CheckpointId) -> Result<()> {
    if head == CheckpointId(0) {
        return Ok(());
    }
    match read(store, head).await {
        Ok(metadata) if metadata.generation > ours => {
            Err(Error::Fenced { ours, newer: metadata.generation })
        }
        Ok(_) => Ok(()),
        // Damaged, or deleted meanwhile: then the tokens are all there is to ask.
        Err(error) if error.kind() != ErrorKind::Retry => store.check_fence(ours).await,
        Err(error) => Err(error),
    }
}

/// The checkpoints `ids`; `None` for one that cannot be read. One that an older run has deleted
/// meanwhile is left out.
async fn retained(store: &BlobStore, ids: &[CheckpointId]) -> Vec<Option<CheckpointMetadata>> {
    let mut retained = Vec::with_capacity(ids.len());
    for id in ids {
        match read(store, *id).await {
            Ok(metadata) => retained.push(Some(metadata)),
            Err(Error::Missing { .. }) => {}
            Err(error) => {
                tracing::warn!(
                    checkpoint = id.0,
                    %error,
                    "a retained checkpoint cannot be read; nothing is swept while it is there"
                );
                retained.push(None);
            }
        }
    }
    retained
}

/// What a run may delete that older ones left behind.
struct Sweep {
    /// Every checkpoint could be read. What a damaged one refers to is not known, and it may yet be
    /// repaired.
    is_whole: bool,
}

/// Between two looks whether the run has begun.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);

/// Deletes, in the background, what runs that died left behind.
///
/// Not before the run has begun: one that cannot start leaves everything as it was.
fn sweep_when_begun(run: &Arc<Run>, sweep: Sweep) {
    let weak = Arc::downgrade(run);
    run.spawn(async move {
        let run = loop {
            let Some(run) = weak.upgrade() else { return };
            if run.control.is_ready() {
                break run;
            }
            if run.control.is_over() {
                return;
            }
            drop(run);
            tokio::time::sleep(SWEEP_PAUSE).await;
        };
        let Some(store) = run.options.store.clone() else { return };
        let (ours, now_ms) = (run.generation, run.now_ms());
        let start = sweep.is_whole.then(|| run.start.clone());
        let others = run.retained.clone();
        drop(run);
        if let Err(error) = store.sweep_leftovers(ours, now_ms).await {
            tracing::debug!(%error, "leftovers are left for the next run");
        }
        let Some(start) = start else { return };
        let Ok(objects) = store.list(layout::SEGMENTS).await else { return };
        // Objects of this run may be named by its next checkpoint.
        let is_older =
            |name: &str| layout::segment_generation(name).is_some_and(|theirs| theirs < ours);
        let existing = objects.into_iter().map(|(name, _)| name).filter(|name| is_older(name));
        let retained: Vec<&CheckpointMetadata> = others.iter().chain([&start]).collect();
        for name in garbage(existing, &retained) {
            if let Err(error) = store.delete(&name).await {
                tracing::debug!(object = name, %error, "garbage is left for the next run");
                return;
            }
        }
    });
}
