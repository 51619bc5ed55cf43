//! Keyed state that takes part in checkpoints: a table, and the seal that goes on beside it.
//!
//! An operator applies records to [`KeyedState::table`], and calls [`KeyedState::advance`] and
//! [`KeyedState::work`] whenever it is scheduled.
//!
//! ```text
//!   worker's thread                          elsewhere
//!   advance: epoch closed, begin_seal
//!   work: slice, slice, slice --blocks-->    compress, upload (run/snapshots.rs) --> acknowledge
//!         (batches between the slices)
//! ```
//!
//! What is captured counts as in flight until the store has it. At the limit the scan pauses, and as a
//! batch may capture too, [`KeyedState::may_apply`] has it stashed until there is room or the seal
//! is over.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use timely::progress::Timestamp;
use tokio::sync::mpsc as queue;

use super::participant::{Closed, Participant, Sealed};
use super::share::SealShare;
use crate::background::pause_if_due;
use crate::error::{BoxError, Error, Result};
use crate::metadata::{OperatorStateMetadata, SegmentKind, StateSchema};
use crate::planted::{self, Bug};
use crate::recovery::LoadedBlock;
use crate::run::{Run, Sealed as SealedBy, SegmentStream, StateSize};
use crate::schema::Evolution;
use crate::segment::EntryBlock;
use crate::state::{
    Codec, KeyedTable, Place, SPARE_BLOCK_BYTES, SealSlice, Verified, spare_blocks,
};
use crate::store::Load;
use crate::time::{Epoch, EpochTime, EventTime};

/// Work between two looks at the clock, in the table's units: entries of two words, of which a capture
/// takes some ten nanoseconds each. The shortest slice, so short beside a turn of the worker.
const SLICE_WORK: usize = 1024;

/// Captured bytes that are compressed at one go: a full block, or many small ones, so that what is
/// handed to another thread is worth it, and is not long in coming back.
const COMPRESS_BYTES: usize = 1 << 20;

/// Blocks are made ahead for so many bytes at a time; a state below it is small. A slice captures
/// less.
const SPARE_STEP: usize = 1 << 20;

/// See the module.
pub struct KeyedState<T: Timestamp, K, V, C> {
    table: KeyedTable<K, V, C>,
    participant: Participant<T>,
    worker: usize,
    share: SealShare,
    sealing: Option<Sealing>,
    /// What the operator has acted on, if it acts on event time.
    watermark: Option<EventTime>,
    /// Number of this operator among those with keyed state on this worker.
    number: usize,
    /// What is captured and not handed out.
    captured: Load,
    /// Blocks that are written come back, for their memory.
    written: (mpsc::Sender<Spare>, mpsc::Receiver<Spare>),
    /// Bytes of blocks that are being made.
    asked: usize,
    /// What a slice has finished; empty between slices, and kept for its memory.
    ready: Vec<(u16, EntryBlock)>,
}

/// A block for captures, and how much of its memory was asked for.
type Spare = (EntryBlock, usize);

/// A seal whose slices are not all cut.
struct Sealing {
    sealed: Sealed,
    blocks: queue::UnboundedSender<Captured>,
    snapshot: Snapshot,
    began: Duration,
    stall: Duration,
}

/// What a slice hands over; [`Captured::All`] tells a seal that is whole from one whose dataflow
/// was stopped.
enum Captured {
    Block(u16, EntryBlock, Load),
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
        (worker, share): (usize, SealShare),
    ) -> Self {
        let run = participant.run();
        let (number, captured) = (run.join_bundles(worker), run.in_flight().held(0));
        let written = mpsc::channel();
        let (sealing, watermark) = (None, None);
        let (asked, ready) = (0, Vec::with_capacity(64));
        KeyedState {
            table,
            participant,
            worker,
            share,
            sealing,
            watermark,
            number,
            captured,
            written,
            asked,
            ready,
        }
    }

    /// The entries.
    #[inline]
    pub fn table(&mut self) -> &mut KeyedTable<K, V, C> {
        &mut self.table
    }

    /// Notes the watermark that the operator has acted on, for checkpoints from the running epoch on:
    /// who restores one goes on from there.
    pub fn set_watermark(&mut self, watermark: EventTime) {
        self.watermark = Some(watermark);
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

    /// Whether a seal is under way on the worker's thread: the next epoch cannot end before.
    pub fn is_sealing(&self) -> bool {
        self.sealing.is_some()
    }

    /// Whether the running epoch is known to be the last of the run: what an operator does at the
    /// end of its input belongs to it.
    pub fn is_last_epoch(&self) -> bool {
        self.participant.is_last_epoch()
    }

    /// Whether a batch of `epoch` may be applied now, the stash beginning at `stashed`. If not it goes
    /// into the stash, from where it is taken, in order, as soon as this is said of `running`.
    ///
    /// It may not if the epoch does not run yet, or if it would capture more while there is no room
    /// for it: a store that is slow must not fill the memory. What is stashed of the running epoch
    /// goes first.
    #[inline]
    pub fn may_apply(&mut self, epoch: Epoch, stashed: Option<Epoch>) -> bool {
        let is_in_order = stashed.is_none_or(|stashed| stashed > epoch);
        let is_its_turn = self.participant.admits(epoch) || planted::is(Bug::AppliesTheNextEpoch);
        is_in_order && is_its_turn && !self.is_full()
    }

    /// Whether there is no room for what changes would capture.
    #[inline]
    pub fn is_full(&mut self) -> bool {
        self.sealing.is_some() && {
            self.captured.resize(self.table.captured_bytes());
            self.participant.run().in_flight().is_full()
        }
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
            let state = self.participant.state(|state| state.watermark = self.watermark);
            self.participant.submit(sealed, 0, async move { Ok(state) });
            return closed;
        }
        let start = self.participant.run().now();
        self.recycle();
        let kind = self.table.begin_seal();
        let (blocks, receiver) = queue::unbounded_channel();
        let through = if let Closed::Through(through) = closed { through } else { Epoch(u64::MAX) };
        let snapshot = self.snapshot((sealed.epoch, through), kind, receiver);
        let stall = self.participant.run().now().saturating_sub(start);
        self.sealing = Some(Sealing { sealed, blocks, snapshot, began: start, stall });
        closed
    }

    /// Compresses and uploads the blocks as they come.
    fn snapshot(
        &self,
        (epoch, through): (Epoch, Epoch),
        kind: SegmentKind,
        mut blocks: queue::UnboundedReceiver<Captured>,
    ) -> Snapshot {
        let run = Arc::clone(self.participant.run());
        let entries = self.table.len();
        let state = self.participant.state(|state| {
            (state.entries, state.watermark) = (Some(entries), self.watermark);
        });
        let owned = self.table.owned_groups();
        if owned.is_empty() {
            return run.spawn(async move { Ok(state) });
        }
        let (worker, participant) = (self.worker, self.number);
        let header = run.segment_header(&state.uid, kind, (worker, epoch), &owned);
        let sealed = SealedBy { worker, participant, epoch, through };
        let mut segment = SegmentStream::new(&run, header, sealed);
        let written = self.written.0.clone();
        run.spawn(async move {
            let mut is_all = false;
            while !is_all {
                // None, if the dataflow was stopped in the middle of the seal.
                let Some(captured) = blocks.recv().await else { return Ok(state) };
                let (mut some, mut bytes, mut next) = (Vec::new(), 0, Some(captured));
                while let Some(captured) = next {
                    match captured {
                        Captured::Block(group, block, load) => {
                            bytes += block.raw_bytes();
                            some.push((group, block, load));
                        }
                        Captured::All => is_all = true,
                    }
                    next = if bytes < COMPRESS_BYTES { blocks.try_recv().ok() } else { None };
                }
                if !some.is_empty() {
                    // Nobody takes a block back when the dataflow was stopped.
                    let recycle = |mut block: EntryBlock| {
                        block.clear_and_touch();
                        drop(written.send((block, 0)));
                    };
                    segment.blocks(some, recycle).await?;
                }
            }
            let segments = segment.finish().await?.into_iter().collect();
            Ok(OperatorStateMetadata { segments, ..state })
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
        self.recycle();
        self.provide();
        let again = self.slices()?;
        self.participant.acknowledge()?;
        Ok(again)
    }

    /// Has memory made for what a seal will capture: as the state grows, and when a seal has taken
    /// what there was. Captures must not wait for the kernel to find pages.
    fn provide(&mut self) {
        let wanted = self.table.wanted_bytes();
        let least = if self.is_sealing() { wanted.min(SPARE_STEP * 4) } else { wanted };
        let there = self.table.spare_bytes() + self.asked;
        if there + SPARE_STEP > least || !self.participant.run().is_durable() {
            return;
        }
        let (bytes, written) = (least - there, self.written.0.clone());
        drop(self.participant.run().spawn_blocking(move || {
            for block in spare_blocks(bytes) {
                let bytes = block.capacity_bytes();
                // Nobody takes it when the dataflow was stopped.
                if written.send((block, bytes)).is_err() {
                    return;
                }
                pause_if_due();
            }
        }));
        self.asked += bytes;
    }

    fn recycle(&mut self) {
        let is_small = self.table.wanted_bytes() < SPARE_STEP;
        for (block, made) in self.written.1.try_iter() {
            self.asked = self.asked.saturating_sub(made);
            // One that has grown while the state was small would do so again.
            if is_small || block.capacity_bytes() >= SPARE_BLOCK_BYTES {
                self.table.recycle(block);
            }
        }
    }

    fn slices(&mut self) -> std::result::Result<Again, BoxError> {
        let Some(sealing) = &mut self.sealing else { return Ok(Again::WhenWoken) };
        let in_flight = self.participant.run().in_flight();
        let is_short = self.asked > 0 && self.table.spare_bytes() < SPARE_STEP;
        if in_flight.must_wait() || is_short {
            return Ok(Again::Soon);
        }
        let run = self.participant.run();
        let (start, ready) = (run.now(), &mut self.ready);
        let Some(budget) = self.share.budget(sealing.began, start) else { return Ok(Again::Now) };
        let (slice, took) = loop {
            let work = run.slice_work(SLICE_WORK);
            let slice = self.table.seal_slice(work, |group, block| {
                ready.push((group, block));
            })?;
            let took = run.now().saturating_sub(start);
            if slice == SealSlice::Done || took >= budget {
                break (slice, took);
            }
        };
        self.share.ended(start + took, took);
        sealing.stall = sealing.stall.max(took);
        // Not before: a thread that wakes up to compress may take the core.
        for (group, block) in ready.drain(..) {
            let load = in_flight.moving(block.raw_bytes());
            // The receiver is gone only if its task failed, which the outcome will say.
            let _ = sealing.blocks.send(Captured::Block(group, block, load));
        }
        self.captured.resize(self.table.captured_bytes());
        if slice == SealSlice::More {
            return Ok(Again::Now);
        }
        if let Some(Sealing { sealed, snapshot, stall, blocks, .. }) = self.sealing.take() {
            let _ = blocks.send(Captured::All);
            let digest = self.table.digest();
            let work = async move {
                let state = snapshot.await.map_err(task_failed)??;
                Ok(OperatorStateMetadata { digest, ..state })
            };
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

/// The entries of operator `uid` in the key groups of `table`, which is empty, as the restored
/// checkpoint has them, or as `evolution` makes them.
pub(super) fn load<K, V, C>(
    run: &Run,
    uid: &str,
    mut table: KeyedTable<K, V, C>,
    evolution: &Evolution,
) -> Result<KeyedTable<K, V, C>>
where
    K: Eq + Hash,
    V: 'static,
    C: Codec<K> + Codec<V>,
{
    let Some(state) = run.restored_state(uid) else { return Ok(table) };
    if !run.check_schema(uid, &StateSchema::keyed::<K, V, C>(evolution))? {
        fill((run, uid, true), &mut table, <C as Codec<K>>::decode_key, |_, _, value| {
            <C as Codec<V>>::decode(value).map_err(Undecodable::Value)
        })?;
        run.restored_part(uid, table.digest())?;
        return Ok(table);
    }
    let (codec, version) = (&state.schema.codec, state.schema.version);
    let unknown = || Error::invalid(format!("this build has no codec {codec:?} for {uid:?}"));
    let key = <C as Codec<K>>::key_decoder(codec).ok_or_else(unknown)?;
    if version == evolution.version() {
        let value = <C as Codec<V>>::decoder(codec).ok_or_else(unknown)?;
        fill((run, uid, false), &mut table, key, |_, _, bytes| {
            value(bytes).map_err(Undecodable::Value)
        })?;
    } else {
        let migrate = evolution.migrate::<V>(version, codec).ok_or_else(unknown)?;
        fill((run, uid, false), &mut table, key, |object, group, bytes| {
            migrate(bytes).map_err(|error| {
                let reason = format!(
                    "the migration of operator {uid:?} from version {version} fails for an entry of \
                     key group {group} in {object}: {error}"
                );
                Undecodable::Migration(run.incompatible(reason))
            })
        })?;
    }
    tracing::info!(uid, entries = table.len(), from = %state.schema, "state was migrated");
    table.rewrite();
    Ok(table)
}

/// The entries of operator `uid` in all key groups, whose schema [`load`] has found to be ours: for
/// who reads, but does not restore, what other workers do.
pub(super) fn read_all<K, V, C>(run: &Run, uid: &str) -> Result<KeyedTable<K, V, C>>
where
    K: Eq + Hash,
    C: Codec<K> + Codec<V>,
{
    let mut all = KeyedTable::new(run.key_groups(), 0..run.key_groups().count());
    fill((run, uid, true), &mut all, <C as Codec<K>>::decode_key, |_, _, value| {
        <C as Codec<V>>::decode(value).map_err(Undecodable::Value)
    })?;
    Ok(all)
}

/// Why there is no value.
enum Undecodable {
    Value(BoxError),
    Migration(Error),
}

/// Puts the entries of the checkpoint into `table`; `is_as_encoded` says whether they are encoded as
/// the table will encode them.
fn fill<K, V, C>(
    (run, uid, is_as_encoded): (&Run, &str, bool),
    table: &mut KeyedTable<K, V, C>,
    decode_key: impl Fn(Verified<'_>) -> std::result::Result<K, BoxError>,
    decode_value: impl Fn(&str, u16, Verified<'_>) -> std::result::Result<V, Undecodable>,
) -> Result<()>
where
    K: Eq + Hash,
    C: Codec<K> + Codec<V>,
{
    run.load(uid, table.owned_groups(), |loaded| {
        restore_block(table, &loaded, is_as_encoded, &decode_key, &decode_value)
    })?;
    table.restored();
    Ok(())
}

/// Entries whose places in the table are asked for before the first of them is put there.
const AHEAD: usize = 64;

fn restore_block<K, V, C>(
    table: &mut KeyedTable<K, V, C>,
    loaded: &LoadedBlock<'_>,
    is_as_encoded: bool,
    decode_key: impl Fn(Verified<'_>) -> std::result::Result<K, BoxError>,
    decode_value: impl Fn(&str, u16, Verified<'_>) -> std::result::Result<V, Undecodable>,
) -> Result<()>
where
    K: Eq + Hash,
    C: Codec<K> + Codec<V>,
{
    let LoadedBlock { object, group, block, is_newest, is_oldest, .. } = *loaded;
    if is_newest {
        table.reserve(group, loaded.group_entries);
    }
    let key_groups = table.key_groups();
    let (mut entries, mut ahead) = (block.entries(), Vec::with_capacity(AHEAD));
    loop {
        for (key_bytes, value_bytes) in entries.by_ref().take(AHEAD) {
            let key = decode_key(key_bytes).map_err(|error| undecodable(object, "a key", error))?;
            let hash = table.hash_of(&key);
            let now = key_groups.of_hash(hash);
            if now != group {
                return Err(moved(object, group, now));
            }
            let place = if is_newest { Place::of_hash(hash) } else { table.place(hash) };
            if place.is_nowhere() {
                table.ask_for_slot(hash);
            }
            ahead.push((place, key, key_bytes, value_bytes));
        }
        if ahead.is_empty() {
            return Ok(());
        }
        for (place, key, key_bytes, value_bytes) in ahead.drain(..) {
            let is_needless = value_bytes.is_none() && is_oldest;
            if is_needless || (!is_newest && table.is_restored(place, &key)) {
                continue;
            }
            let value = value_bytes.map(|value| decode_value(object, group, value)).transpose();
            let value = value.map_err(|error| match error {
                Undecodable::Value(error) => undecodable(object, "a value", error),
                Undecodable::Migration(error) => error,
            })?;
            let value_bytes = value_bytes.map_or(&[][..], Verified::bytes);
            let encoded = is_as_encoded.then_some((key_bytes.bytes(), value_bytes));
            table.restore_newest(place.hash(), key, value, encoded);
        }
    }
}

#[cold]
fn undecodable(object: &str, what: &str, error: BoxError) -> Error {
    Error::corrupt(object, format!("{what} cannot be decoded: {error}"))
}

#[cold]
fn moved(object: &str, group: u16, now: u16) -> Error {
    let reason =
        format!("a key of group {group} now hashes to group {now}: its type's `Hash` has changed");
    Error::corrupt(object, reason)
}

impl<T: Timestamp, K, V, C> std::fmt::Debug for KeyedState<T, K, V, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedState").field("table", &self.table).finish_non_exhaustive()
    }
}
