//! Keyed state that takes part in checkpoints: a table, and the seal that goes on beside it.
//!
//! An operator applies records to [`KeyedState::table`], and calls [`KeyedState::advance`] and
//! [`KeyedState::work`] whenever it is scheduled.
//!
//! ```text
//!   worker's thread                          elsewhere
//!   advance: epoch closed, begin_seal
//!   work: slice, slice, slice --blocks-->    compress, checksum --> upload --> acknowledge
//!         (batches between the slices)
//! ```

use std::hash::Hash;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use timely::progress::Timestamp;
use tokio::sync::mpsc as tokio_mpsc;

use super::participant::{Closed, Participant, Sealed};
use crate::error::{BoxError, Error, Result};
use crate::metadata::{OperatorStateMetadata, SegmentKind};
use crate::run::{Run, StateSize};
use crate::segment::{EntryBlock, SegmentHeader, SegmentSummary, SegmentWriter};
use crate::state::{Codec, KeyedTable, SealSlice, stable_hash};
use crate::time::{Epoch, EpochTime};

/// Slots scanned between two looks at the clock: about 60 us when every entry is captured.
const SLICE_SLOTS: usize = 4096;

/// How long one scheduling may spend on a seal. Short beside the 5 ms that a worker may stall,
/// long beside the scheduling itself, so that a seal ends soon on a busy worker.
const SLICE_BUDGET: Duration = Duration::from_millis(1);

/// Captured bytes that wait for compression before the scan pauses: compression keeps up with one
/// worker, so this bounds memory only when the machine is short of cores.
const CAPTURED_BYTES_MAX: usize = 64 << 20;

/// See the module.
pub struct KeyedState<T: Timestamp, K, V, C> {
    table: KeyedTable<K, V, C>,
    participant: Participant<T>,
    worker: usize,
    sealing: Option<Sealing>,
    /// Blocks that are written come back, for their memory.
    written: (mpsc::Sender<EntryBlock>, mpsc::Receiver<EntryBlock>),
}

/// A seal whose slices are not all cut.
struct Sealing {
    sealed: Sealed,
    blocks: tokio_mpsc::UnboundedSender<Captured>,
    waiting_bytes: Arc<AtomicUsize>,
    snapshot: Snapshot,
    stall: Duration,
}

/// What a slice hands over; [`Captured::All`] tells a seal that is whole from one whose dataflow
/// was stopped.
enum Captured {
    Block(u16, EntryBlock),
    All,
}

type Snapshot = tokio::task::JoinHandle<Result<OperatorStateMetadata>>;

impl<T, K, V, C> KeyedState<T, K, V, C>
where
    T: Timestamp + EpochTime,
    K: Eq + Hash,
    C: Codec<K> + Codec<V>,
{
    pub(super) fn new(
        participant: Participant<T>,
        table: KeyedTable<K, V, C>,
        worker: usize,
    ) -> Self {
        KeyedState { table, participant, worker, sealing: None, written: mpsc::channel() }
    }

    /// The entries.
    #[inline]
    pub fn table(&mut self) -> &mut KeyedTable<K, V, C> {
        &mut self.table
    }

    /// The running epoch.
    #[inline]
    pub fn running(&self) -> Epoch {
        self.participant.running()
    }

    /// Whether records of `epoch` may be applied now; if not, they are stashed.
    #[inline]
    pub fn admits(&self, epoch: Epoch) -> bool {
        self.participant.admits(epoch)
    }

    /// Whether the input has ended and its last epoch is sealed.
    pub fn is_done(&self) -> bool {
        self.participant.is_done()
    }

    /// Whether the running epoch is known to be the last of the run: what an operator does at the
    /// end of its input belongs to it.
    pub fn is_last_epoch(&self) -> bool {
        self.participant.is_last_epoch()
    }

    /// Ends the running epoch if it has closed, the input having come to `frontier` and the stash
    /// beginning at `stashed`. Waits, unasked, for the seal before it.
    ///
    /// To be called until it returns [`Closed::No`], after each time applying what was stashed for
    /// the epoch that runs then.
    pub fn advance(&mut self, frontier: Option<Epoch>, stashed: Option<Epoch>) -> Closed {
        if self.sealing.is_some() {
            return Closed::No;
        }
        let closed = self.participant.next_epoch(frontier, stashed);
        if closed == Closed::No {
            return closed;
        }
        let sealed = self.participant.pass(closed);
        let size = StateSize { entries: self.table.len(), bytes: self.table.memory_bytes() as u64 };
        self.participant.run().status().state_of(self.participant.uid(), self.worker, size);
        if !self.participant.run().is_durable() {
            let state = self.participant.state(|_| {});
            self.participant.submit(sealed, 0, async move { Ok(state) });
            return closed;
        }
        let start = self.participant.run().now();
        let kind = self.table.begin_seal();
        let (blocks, receiver) = tokio_mpsc::unbounded_channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let snapshot = self.snapshot(sealed.epoch, kind, receiver, Arc::clone(&waiting_bytes));
        let stall = self.participant.run().now().saturating_sub(start);
        self.sealing = Some(Sealing { sealed, blocks, waiting_bytes, snapshot, stall });
        closed
    }

    /// Compresses the blocks as they come, and uploads the segment.
    fn snapshot(
        &self,
        epoch: Epoch,
        kind: SegmentKind,
        blocks: tokio_mpsc::UnboundedReceiver<Captured>,
        waiting_bytes: Arc<AtomicUsize>,
    ) -> Snapshot {
        let run = Arc::clone(self.participant.run());
        let state = self.participant.state(|_| {});
        let owned = self.table.owned_groups();
        if owned.is_empty() {
            return run.spawn(async move { Ok(state) });
        }
        let header = run.segment_header(&state.uid, kind, (self.worker, epoch), &owned);
        let written = self.written.0.clone();
        run.clone().spawn(async move {
            let encode = write_segment(header, blocks, waiting_bytes, written);
            let encoded = run.spawn_heavy(encode).await.map_err(task_failed)?;
            let Some((parts, summary)) = encoded else { return Ok(state) };
            if summary.entries == 0 && kind == SegmentKind::Delta {
                return Ok(state);
            }
            let object = Run::segment_name(&summary.header);
            run.upload(&object, &parts).await?;
            Ok(OperatorStateMetadata { segments: vec![summary.metadata(object)], ..state })
        })
    }

    /// Goes on with the seal under way, for a bounded time, and acknowledges what is durable.
    ///
    /// Returns whether to be scheduled again without further cause.
    ///
    /// # Errors
    ///
    /// If an entry cannot be encoded, or a snapshot cannot be made durable.
    pub fn work(&mut self) -> std::result::Result<Again, BoxError> {
        let again = self.slices()?;
        self.participant.acknowledge()?;
        Ok(again)
    }

    fn slices(&mut self) -> std::result::Result<Again, BoxError> {
        let Some(sealing) = &mut self.sealing else { return Ok(Again::WhenWoken) };
        if sealing.waiting_bytes.load(Ordering::Relaxed) > CAPTURED_BYTES_MAX {
            return Ok(Again::Soon);
        }
        for block in self.written.1.try_iter() {
            self.table.recycle(block);
        }
        let run = self.participant.run();
        let (start, mut ready) = (run.now(), Vec::new());
        let slice = loop {
            let slice = self.table.seal_slice(SLICE_SLOTS, |group, block| {
                ready.push((group, block));
            })?;
            if slice == SealSlice::Done || run.now().saturating_sub(start) >= SLICE_BUDGET {
                break slice;
            }
        };
        sealing.stall = sealing.stall.max(run.now().saturating_sub(start));
        // Not before: a thread that wakes up to compress may take the core.
        for (group, block) in ready {
            sealing.waiting_bytes.fetch_add(block.raw_bytes(), Ordering::Relaxed);
            // The receiver is gone only if its task failed, which the outcome will say.
            let _ = sealing.blocks.send(Captured::Block(group, block));
        }
        if slice == SealSlice::More {
            return Ok(Again::Now);
        }
        if let Some(Sealing { sealed, snapshot, stall, blocks, .. }) = self.sealing.take() {
            let _ = blocks.send(Captured::All);
            let work = async move { snapshot.await.map_err(task_failed)? };
            self.participant.submit(sealed, stall.as_micros() as u64, work);
        }
        // The next epoch may have closed already.
        Ok(Again::Now)
    }
}

/// When an operator wants to be scheduled again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// At once: there is work left.
    Now,
    /// In about a millisecond: something elsewhere must catch up.
    Soon,
    /// Whenever there is input, or the participant's waker says so.
    WhenWoken,
}

fn task_failed(error: tokio::task::JoinError) -> Error {
    Error::invalid(format!("a snapshot's task failed: {error}"))
}

type Encoded = (Vec<bytes::Bytes>, SegmentSummary);

/// The entries of operator `uid` in the key groups `owned`, as the restored checkpoint has them.
pub(super) fn load<K, V, C>(run: &Run, uid: &str, owned: Range<u16>) -> Result<KeyedTable<K, V, C>>
where
    K: Eq + Hash,
    C: Codec<K> + Codec<V>,
{
    let key_groups = run.key_groups();
    let mut table = KeyedTable::new(key_groups, owned.clone());
    run.load(uid, owned, |object, group, block| {
        let undecodable = |what: &str, error: BoxError| {
            Error::corrupt(object, format!("{what} cannot be decoded: {error}"))
        };
        table.reserve(group, block.len());
        for (key, value) in block {
            let key = <C as Codec<K>>::decode(key).map_err(|error| undecodable("a key", error))?;
            let value = value.map(<C as Codec<V>>::decode).transpose();
            let value = value.map_err(|error| undecodable("a value", error))?;
            let hash = stable_hash(&key);
            let now = key_groups.of_hash(hash);
            if now != group {
                let reason = format!(
                    "a key of group {group} now hashes to group {now}: its type's `Hash` has changed"
                );
                return Err(Error::corrupt(object, reason));
            }
            table.restore(hash, key, value);
        }
        Ok(())
    })?;
    Ok(table)
}

/// None, if the dataflow was stopped in the middle of the seal.
async fn write_segment(
    header: SegmentHeader,
    mut blocks: tokio_mpsc::UnboundedReceiver<Captured>,
    waiting_bytes: Arc<AtomicUsize>,
    written: mpsc::Sender<EntryBlock>,
) -> Option<Encoded> {
    let mut writer = SegmentWriter::new(header);
    let mut parts = Vec::new();
    while let Some(captured) = blocks.recv().await {
        match captured {
            Captured::Block(group, block) => {
                writer.block(group, &block);
                waiting_bytes.fetch_sub(block.raw_bytes(), Ordering::Relaxed);
                parts.push(writer.take_ready());
                // Nobody takes it when the dataflow was stopped.
                let _ = written.send(block);
            }
            Captured::All => {
                let (rest, summary) = writer.finish();
                parts.push(rest);
                return Some((parts, summary));
            }
        }
    }
    None
}

impl<T: Timestamp, K, V, C> std::fmt::Debug for KeyedState<T, K, V, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedState").field("table", &self.table).finish_non_exhaustive()
    }
}
