//! How a run begins: probe, claim, choose, append.
//!
//! ```text
//!   probe the store --> claim the next generation --> choose a checkpoint n --> append a copy of it
//!                                                                              at the head's id + 1
//! ```
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

use std::sync::Arc;

use bytes::Bytes;

use super::{Control, Executor, Restore, Run, RunOptions, Status};
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{
    CheckpointId, CheckpointMetadata, FORMAT_VERSION, Generation, Origin, garbage,
};
use crate::store::layout::{self, SegmentName};
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
        if options.workers == 0 {
            return Err(Error::invalid("a job needs at least one worker"));
        }
        options.policy.check()?;
        let opened = match &options.store {
            Some(store) => executor.block_on(open(store, &options, &executor))?,
            None => Opened::volatile(&options),
        };
        let Opened { generation, start, restored, retained } = opened;
        let (control, status) = (Control::default(), Status::default());
        let undeleted = tokio::sync::Mutex::default();
        Ok(Arc::new(Run {
            options,
            executor,
            generation,
            start,
            restored,
            retained,
            control,
            status,
            undeleted,
        }))
    }
}

struct Opened {
    generation: Generation,
    start: CheckpointMetadata,
    restored: Option<CheckpointId>,
    retained: Vec<CheckpointMetadata>,
}

impl Opened {
    fn volatile(options: &RunOptions) -> Opened {
        let start = empty(options);
        Opened { generation: Generation(0), start, restored: None, retained: Vec::new() }
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
        bytes_total: 0,
        operators: Vec::new(),
        crc32: 0,
    }
}

async fn open(store: &BlobStore, options: &RunOptions, executor: &Executor) -> Result<Opened> {
    store.probe().await?;
    choose(&ids(store).await?, options.restore, store, options).await?;
    let generation = store.claim_generation().await?;
    loop {
        let ids = ids(store).await?;
        let head = ids.last().copied().unwrap_or(CheckpointId(0));
        check_head(store, generation, head).await?;
        let chosen = choose(&ids, options.restore, store, options).await?;
        let restored = chosen.as_ref().map(|metadata| metadata.id);
        let start = CheckpointMetadata {
            id: CheckpointId(head.0 + 1),
            generation,
            origin: Origin::Restore { from: restored },
            started_ms: executor.now_ms(),
            completed_ms: executor.now_ms(),
            duration_ms: 0,
            bytes_written: 0,
            ..chosen.unwrap_or_else(|| empty(options))
        };
        let name = layout::checkpoint(start.id);
        match store.put_if_absent(&name, Bytes::from(start.to_bytes())).await? {
            PutIfAbsent::Created => {
                store.check_fence(generation).await?;
                let others = retained(store, &ids).await;
                sweep(store, executor, &start, &others);
                let retained = others.into_iter().flatten().collect();
                return Ok(Opened { generation, start, restored, retained });
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

/// Ids of the checkpoints that are there, ascending.
async fn ids(store: &BlobStore) -> Result<Vec<CheckpointId>> {
    let objects = store.list(layout::CHECKPOINTS).await?;
    Ok(objects.iter().filter_map(|(name, _)| layout::parse_checkpoint(name)).collect())
}

async fn read(store: &BlobStore, id: CheckpointId) -> Result<CheckpointMetadata> {
    let name = layout::checkpoint(id);
    let bytes = store.get(&name).await?;
    let metadata = CheckpointMetadata::from_bytes(&name, &bytes)?;
    if metadata.id != id {
        return Err(Error::corrupt(name, format!("says that it is checkpoint {}", metadata.id)));
    }
    Ok(metadata)
}

async fn choose(
    ids: &[CheckpointId],
    restore: Restore,
    store: &BlobStore,
    options: &RunOptions,
) -> Result<Option<CheckpointMetadata>> {
    let id = match restore {
        Restore::Nothing => return Ok(None),
        Restore::Latest => match ids.last() {
            Some(id) => *id,
            None => return Ok(None),
        },
        Restore::Id(id) if ids.contains(&id) => id,
        Restore::Id(id) => {
            let there: Vec<_> = ids.iter().map(ToString::to_string).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            return Err(Error::invalid(format!(
                "there is no checkpoint {id} of job {:?}; there are: {there}",
                options.job
            )));
        }
    };
    let metadata = read(store, id).await.map_err(|error| advise(error, id, ids))?;
    if metadata.job != options.job {
        let reason = format!(
            "it is of job {:?}, not {:?}; give another --checkpoint-dir",
            metadata.job, options.job
        );
        return Err(Error::Incompatible { id, reason });
    }
    if metadata.key_groups != options.key_groups.count() {
        let (theirs, ours) = (metadata.key_groups, options.key_groups.count());
        let reason = format!(
            "it has {theirs} key groups and the job has {ours}, a number that is fixed for a job's \
             life; set it back to {theirs}, or start afresh with --restore none"
        );
        return Err(Error::Incompatible { id, reason });
    }
    Ok(Some(metadata))
}

/// Never falls back silently: an older checkpoint means that output already committed would be
/// written again, and that is for a person to decide.
fn advise(error: Error, id: CheckpointId, ids: &[CheckpointId]) -> Error {
    let Error::Corrupt { object, reason } = error else { return error };
    let older: Vec<_> = ids.iter().copied().filter(|older| *older < id).collect();
    Error::Corrupt { object, reason: format!("{reason}; {}", instead_of_damaged(&older)) }
}

/// What to do when an object is damaged, if there are the checkpoints `others` without it.
pub(super) fn instead_of_damaged(others: &[CheckpointId]) -> String {
    let there: Vec<_> = others.iter().map(ToString::to_string).collect();
    match others.last() {
        None => "no older checkpoint does without it: put it back from a copy, or start afresh \
                 with --restore none and an empty output directory"
            .to_owned(),
        Some(newest) => format!(
            "put it back from a copy, or start from an older checkpoint, such as with \
             --restore {newest} (there are: {})",
            there.join(", ")
        ),
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

/// Deletes, in the background, what runs that died left behind.
fn sweep(
    store: &BlobStore,
    executor: &Executor,
    start: &CheckpointMetadata,
    others: &[Option<CheckpointMetadata>],
) {
    // What a damaged checkpoint refers to is not known, and it may yet be repaired.
    let Some(mut all) = others.iter().cloned().collect::<Option<Vec<_>>>() else { return };
    all.push(start.clone());
    let (store, generation) = (store.clone(), start.generation);
    executor.spawn(async move {
        let Ok(objects) = store.list(layout::SEGMENTS).await else { return };
        // Objects of this run may be named by its next checkpoint.
        let is_older =
            |name: &str| SegmentName::parse(name).is_some_and(|name| name.generation < generation);
        let existing = objects.into_iter().map(|(name, _)| name).filter(|name| is_older(name));
        let retained: Vec<&CheckpointMetadata> = all.iter().collect();
        for name in garbage(existing, &retained) {
            if let Err(error) = store.delete(&name).await {
                tracing::debug!(object = name, %error, "garbage is left for the next run");
                return;
            }
        }
    });
}
