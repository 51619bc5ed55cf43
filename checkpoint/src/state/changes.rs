//! What changed in the running epoch, what of the epoch before is not captured yet, and the digest.
//!
//! ```text
//!   first touch in an epoch:  captured, if a seal still wants it; taken off the digest
//!   capture:                  encoded into a block
//!   block full or handed out: its entries are added to the digest, and taken off it that were touched
//! ```
//!
//! A whole block is hashed in half the time that its entries would take one by one, each between
//! two records of a worker.

use super::parts::Part;
use super::prefetch::prefetch;
use super::table::{Entry, NEW, epoch_of};
use super::{Codec, StateDigest};
use crate::error::BoxError;
use crate::metadata::SegmentKind;
use crate::planted::{self, Bug};
use crate::segment::EntryBlock;

/// Size at which a block of captures is ended. Small, so that compressing one takes a fifth of a
/// millisecond and stays in a core's own cache; large beside what a block costs in the index.
const BLOCK_BYTES: usize = 256 << 10;

/// Bytes of blocks that are kept for the next captures, of one operator on one worker. Writing keeps
/// up with capturing, so a few blocks go round; a large state must not hold as many as it has.
const SPARE_BYTES_MAX: usize = 64 << 20;

/// Memory of a block that is made before it is needed: it is not to grow by the last entry.
pub(crate) const SPARE_BLOCK_BYTES: usize = BLOCK_BYTES + (8 << 10);

/// Changed buckets in 64 from which on a scan is as good as sequential, and asks for nothing ahead.
const DENSE: u32 = 24;

/// Words of 64 buckets between the one whose entries are captured and the one whose entries are asked
/// for: of a tenth that changed, a word has four entries, too few misses to overlap.
const WORDS_AHEAD: usize = 4;

/// See the module.
pub(super) struct Changes {
    /// Stamp of the running epoch; entries restored have 0.
    pub(super) stamp: u32,
    /// Entries that changed in it.
    pub(super) count: u64,
    /// Tombstones that are in the table.
    pub(super) dead: u64,
    pub(super) seal: Option<Seal>,
    /// What is captured and not handed out, per group.
    captured: Captured,
    spare: Spare,
    digest: Digest,
}

/// Per group. Kept from seal to seal, so that a slice allocates nothing.
#[derive(Default)]
struct Captured {
    blocks: Vec<Vec<EntryBlock>>,
    /// Which entries of the last block were captured because they were touched: a bit for each.
    touched: Vec<Vec<u64>>,
    /// Of the keys and values in each.
    bytes: Vec<usize>,
    all_bytes: usize,
}

/// The digest as of the last seal, and what has happened to it since.
struct Digest {
    /// Of the entries when the last seal began; while one is under way, of what it has captured.
    sealed: StateDigest,
    /// What to add to `sealed` for the entries that have not changed since.
    since: StateDigest,
    /// Not, after a restore of entries that do not encode to the bytes they came from.
    is_known: bool,
    scratch: (Vec<u8>, Vec<u8>),
}

/// A seal under way.
pub(super) struct Seal {
    pub(super) kind: SegmentKind,
    /// Stamp of the epoch that is being sealed.
    pub(super) stamp: u32,
    /// Position in the directory of the part that is being scanned, and the bucket within it.
    pub(super) position: usize,
    pub(super) bucket: usize,
    /// Number of that part.
    pub(super) part: usize,
    /// The first failure of an encoding; reported by the next slice.
    failed: Option<BoxError>,
}

/// Blocks whose memory is used again: to touch fresh pages is most of what a capture would cost.
#[derive(Default)]
struct Spare {
    blocks: Vec<EntryBlock>,
    bytes: usize,
}

impl Spare {
    fn put(&mut self, mut block: EntryBlock) {
        let bytes = block.capacity_bytes();
        if self.bytes + bytes <= SPARE_BYTES_MAX {
            block.clear();
            self.bytes += bytes;
            self.blocks.push(block);
        }
    }

    fn take(&mut self) -> EntryBlock {
        let Some(block) = self.blocks.pop() else { return EntryBlock::new() };
        self.bytes -= block.capacity_bytes();
        block
    }
}

impl Captured {
    fn begin(&mut self, groups: usize) {
        self.blocks.iter_mut().for_each(Vec::clear);
        self.blocks.resize_with(groups, Vec::new);
        self.touched.iter_mut().for_each(Vec::clear);
        self.touched.resize_with(groups, Vec::new);
        self.bytes.clear();
        self.bytes.resize(groups, 0);
        self.all_bytes = 0;
    }
}

impl Seal {
    /// Whether an entry in a part, last sealed at `sealed`, is still to be captured if it changed.
    #[inline]
    fn is_ahead(&self, sealed: u32, part: usize, bucket: usize) -> bool {
        sealed != self.stamp && (part != self.part || bucket >= self.bucket)
    }

    /// Whether an entry that last changed at `stamp` belongs into the segment.
    pub(super) fn wants(&self, stamp: u32) -> bool {
        match self.kind {
            SegmentKind::Delta => stamp == self.stamp,
            SegmentKind::Base => stamp <= self.stamp,
        }
    }
}

impl Changes {
    pub(super) fn new() -> Changes {
        let digest = Digest {
            sealed: StateDigest::default(),
            since: StateDigest::default(),
            is_known: true,
            scratch: Default::default(),
        };
        let (captured, spare) = (Captured::default(), Spare::default());
        Changes { stamp: 1, count: 0, dead: 0, seal: None, captured, spare, digest }
    }

    /// Moves on to the next epoch; what changed in the running one is to be captured.
    pub(super) fn begin_seal(&mut self, kind: SegmentKind, part: usize, groups: usize) {
        self.seal =
            Some(Seal { kind, stamp: self.stamp, position: 0, bucket: 0, part, failed: None });
        self.captured.begin(groups);
        self.stamp += 1;
        assert!(self.stamp < NEW, "2^31 epochs of one run");
        self.count = 0;
        let digest = &mut self.digest;
        let since = std::mem::take(&mut digest.since);
        match kind {
            SegmentKind::Delta => digest.sealed += since,
            // All entries will be captured, and so be known again.
            SegmentKind::Base => (digest.sealed, digest.is_known) = (StateDigest::default(), true),
        }
    }

    /// Bytes of blocks that are there for captures to come.
    pub(super) fn spare_bytes(&self) -> usize {
        self.spare.bytes
    }

    /// Takes a block back for its memory.
    pub(super) fn recycle(&mut self, block: EntryBlock) {
        self.spare.put(block);
    }

    /// The digest of the entries when the last seal began, which has ended; none if it is not known.
    pub(super) fn digest(&self) -> Option<StateDigest> {
        (self.digest.is_known && self.seal.is_none()).then_some(self.digest.sealed)
    }

    /// An entry that last changed at `old`, before the running epoch, is about to change; `None` is a
    /// tombstone, which is about to be replaced.
    #[cold]
    #[inline(never)]
    pub(super) fn before_first<K, V, C: Codec<K> + Codec<V>>(
        &mut self,
        (part, bucket, sealed, group): (usize, usize, u32, u16),
        old: u32,
        key: &K,
        value: Option<&V>,
    ) {
        self.count += 1;
        if let Some(seal) = &self.seal
            && seal.is_ahead(sealed, part, bucket)
            && seal.wants(old)
            && !planted::is(Bug::SkipsWhatIsTouched)
        {
            // A base needs no tombstones.
            if value.is_some() || seal.kind == SegmentKind::Delta {
                self.capture::<K, V, C>(usize::from(group), key, value, true);
            }
        } else if let Some(value) = value {
            self.take_off::<K, V, C>(key, value);
        }
    }

    /// Takes off the digest what an entry contributed to it when it was captured or restored.
    fn take_off<K, V, C: Codec<K> + Codec<V>>(&mut self, key: &K, value: &V) {
        if let Some(contributed) = self.digest.of::<K, V, C>(key, value) {
            self.digest.since -= contributed;
        }
    }

    /// An entry is restored that a segment has as `encoded`, or as something else, if that is none.
    #[inline]
    pub(super) fn restored<K, V, C: Codec<K> + Codec<V>>(
        &mut self,
        key: &K,
        value: &V,
        encoded: Option<Encoded<'_>>,
    ) {
        let Some(contributes) = self.digest.of::<K, V, C>(key, value) else { return };
        let (key, value) = &self.digest.scratch;
        let is_same =
            encoded.is_none_or(|encoded| is_equal(encoded.0, key) && is_equal(encoded.1, value));
        // Else it would be taken off by another hash than it was added by.
        self.digest.is_known = is_same;
        self.digest.sealed += contributes;
    }

    /// Encodes an entry into its group's block, because it was touched or scanned; returns how many
    /// bytes it takes.
    #[inline]
    fn capture<K, V, C: Codec<K> + Codec<V>>(
        &mut self,
        group: usize,
        key: &K,
        value: Option<&V>,
        is_touched: bool,
    ) -> usize {
        let Some(seal) = &mut self.seal else { return 0 };
        let Captured { blocks, touched, bytes, all_bytes } = &mut self.captured;
        let (blocks, touched) = (&mut blocks[group], &mut touched[group]);
        if blocks.last().is_none_or(|block| block.raw_bytes() >= BLOCK_BYTES) {
            self.digest.captured(blocks.last(), touched);
            blocks.push(self.spare.take());
        }
        let block = blocks.last_mut().expect("one was pushed if there was none");
        let before = block.bytes();
        let encode_key = |bytes: &mut Vec<u8>| <C as Codec<K>>::encode_key(key, bytes);
        let pushed = match value {
            Some(value) => block.push(encode_key, |bytes| <C as Codec<V>>::encode(value, bytes)),
            None => block.push_tombstone(encode_key),
        };
        if let Err(error) = pushed {
            seal.failed.get_or_insert(error);
            return 0;
        }
        if is_touched {
            let at = block.len() - 1;
            if touched.len() <= at / 64 {
                touched.resize(at / 64 + 1, 0);
            }
            touched[at / 64] |= 1 << (at % 64);
        }
        let taken = block.bytes() - before;
        bytes[group] += taken;
        *all_bytes += taken;
        taken
    }

    /// Captures on from the cursor in its part, as much as `work` allows; returns whether the part is
    /// done. A unit of work is about what an entry of two words takes.
    pub(super) fn scan<K, V, C: Codec<K> + Codec<V>>(
        &mut self,
        part: &mut Part<Entry<K, V>>,
        work: &mut usize,
    ) -> bool {
        let Some(seal) = &self.seal else { return true };
        let (kind, mut bucket) = (seal.kind, seal.bucket);
        let buckets = part.buckets();
        let mut asked = bucket / 64;
        while bucket < buckets && *work > 0 {
            if kind == SegmentKind::Delta {
                let end = bucket / 64 + WORDS_AHEAD;
                (asked..=end).for_each(|word| ask_for_changes(part, word));
                asked = end + 1;
            }
            let all = match kind {
                SegmentKind::Delta => part.changed[bucket / 64],
                SegmentKind::Base => u64::MAX >> (64 - buckets.min(64)),
            };
            let bits = all & (u64::MAX << (bucket % 64));
            bucket = self.scan_word::<K, V, C>(part, bucket, bits, work);
            *work = work.saturating_sub(1);
        }
        let is_done = bucket >= buckets;
        if let Some(seal) = &mut self.seal {
            seal.bucket = if is_done { 0 } else { bucket };
            if is_done {
                part.sealed = seal.stamp;
            }
        }
        is_done
    }

    /// Captures those buckets of the word of `bucket` that `bits` names, but for what has changed
    /// again since; returns the bucket to go on with.
    #[inline]
    fn scan_word<K, V, C: Codec<K> + Codec<V>>(
        &mut self,
        part: &mut Part<Entry<K, V>>,
        bucket: usize,
        mut bits: u64,
        work: &mut usize,
    ) -> usize {
        let Some(Seal { kind, .. }) = self.seal else { return usize::MAX };
        let (first, group) = (bucket / 64 * 64, usize::from(part.group));
        let (mut captured, mut erased) = (0_u64, 0_u64);
        while bits != 0 && *work > 0 {
            let bit = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let bytes = match part.entries.get_bucket(first + bit) {
                Some(Entry::Live { stamp, key, value }) if epoch_of(*stamp) != self.stamp => {
                    captured |= 1 << bit;
                    self.capture::<K, V, C>(group, key, Some(value), false)
                }
                Some(Entry::Dead { stamp, key }) if *stamp != self.stamp => {
                    erased |= 1 << bit;
                    let is_kept = kind == SegmentKind::Delta && !planted::is(Bug::LosesTombstones);
                    if is_kept { self.capture::<K, V, C>(group, key, None, false) } else { 0 }
                }
                _ => 0,
            };
            *work = work.saturating_sub((bytes / 16).max(1));
        }
        part.changed[first / 64] &= !(captured | erased);
        // T2: it is in a delta now, or what would need it is below a base.
        each_bit(erased, |bit| {
            if let Ok(dead) = part.entries.get_bucket_entry(first + bit) {
                dead.remove();
                self.dead -= 1;
            }
        });
        if bits == 0 { first + 64 } else { first + bits.trailing_zeros() as usize }
    }

    /// Entries that are captured and not handed out.
    #[cfg(test)]
    pub(super) fn captured_entries(&self) -> usize {
        let blocks = self.captured.blocks.iter().flatten();
        blocks.map(EntryBlock::len).sum()
    }

    /// The first failure to encode.
    pub(super) fn failure(&mut self) -> Option<BoxError> {
        self.seal.as_mut().and_then(|seal| seal.failed.take())
    }

    /// Hands out what was captured of a group.
    pub(super) fn hand_out(&mut self, group: usize, out: impl FnMut(EntryBlock)) {
        let Captured { blocks, touched, bytes, all_bytes } = &mut self.captured;
        self.digest.captured(blocks[group].last(), &mut touched[group]);
        *all_bytes -= std::mem::take(&mut bytes[group]);
        blocks[group].drain(..).for_each(out);
    }

    /// Bytes of the keys and values that are captured and not handed out.
    pub(super) fn captured_bytes(&self) -> usize {
        self.captured.all_bytes
    }
}

/// Makes blocks for captures, to be [recycled](super::KeyedTable::recycle): for `bytes` of them.
///
/// Memory that is touched for the first time stops a thread for milliseconds, so this is for a thread
/// in the background.
pub(crate) fn spare_blocks(bytes: usize) -> impl Iterator<Item = EntryBlock> {
    (0..bytes.div_ceil(SPARE_BLOCK_BYTES)).map(|_| EntryBlock::touched(SPARE_BLOCK_BYTES))
}

/// Bytes of blocks that captures of a table may take, where it holds `entries` of a size.
pub(super) fn wanted_bytes(entries: u64, size: usize) -> usize {
    usize::try_from(entries).map_or(usize::MAX, |n| n.saturating_mul(size)).min(SPARE_BYTES_MAX)
}

/// An entry as it is in a segment: key and value.
pub(super) type Encoded<'a> = (&'a [u8], &'a [u8]);

impl Digest {
    /// Counts the entries of a block to which none will come, and forgets which of them were `touched`:
    /// those have changed since, and will contribute something else.
    fn captured(&mut self, block: Option<&EntryBlock>, touched: &mut Vec<u64>) {
        if let Some(block) = block.filter(|_| self.is_known) {
            let (all, changed) = StateDigest::of_block(block, touched);
            self.sealed += all;
            self.since -= changed;
        }
        touched.clear();
    }

    /// What an entry contributes, encoding it into `scratch`; none if the digest is not known.
    #[inline]
    fn of<K, V, C: Codec<K> + Codec<V>>(&mut self, key: &K, value: &V) -> Option<StateDigest> {
        if !self.is_known {
            return None;
        }
        let (key_bytes, value_bytes) = &mut self.scratch;
        key_bytes.clear();
        value_bytes.clear();
        let encoded = <C as Codec<K>>::encode_key(key, key_bytes)
            .and_then(|()| <C as Codec<V>>::encode(value, value_bytes));
        if encoded.is_err() {
            self.is_known = false;
            return None;
        }
        Some(StateDigest::of_entry(key_bytes, value_bytes))
    }
}

/// As `==`, which calls a function even for a word: most keys and values are one.
#[inline]
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    match (<&[u8; 8]>::try_from(one), <&[u8; 8]>::try_from(other)) {
        (Ok(one), Ok(other)) => u64::from_le_bytes(*one) == u64::from_le_bytes(*other),
        _ => one == other,
    }
}

/// Asks for the entries that changed among the 64 of a word, if there is one.
#[inline]
fn ask_for_changes<K, V>(part: &Part<Entry<K, V>>, word: usize) {
    let bits = part.changed.get(word).copied().unwrap_or_default();
    if bits.count_ones() < DENSE {
        each_bit(bits, |bit| {
            if let Some(entry) = part.entries.get_bucket(word * 64 + bit) {
                prefetch(entry);
            }
        });
    }
}

#[inline]
fn each_bit(mut bits: u64, mut visit: impl FnMut(usize)) {
    while bits != 0 {
        visit(bits.trailing_zeros() as usize);
        bits &= bits - 1;
    }
}
