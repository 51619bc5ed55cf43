//! Folds a chain of bases and deltas into new bases, in the background.
//!
//! ```text
//!   key groups  0 1 2 | 3 | 4 5 ... | ...      as many at once as fit in memory, at least one
//!   pieces      [ base 0 to 4      ] [ ... ]   each an object of its own, covering its groups
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use super::read::{index, read_groups, visible};
use crate::background::pause_if_due;
use crate::error::Result;
use crate::metadata::SegmentMetadata;
use crate::segment::{EntryBlock, Frame, SeenKeys, SegmentHeader, SegmentIndex, SegmentWriter};
use crate::store::layout::{SegmentMaker, SegmentName};
use crate::store::{BlobStore, SegmentUpload};

/// Size at which a block is ended, as those of captures are: what compresses it stays in a core's own
/// cache, and pauses often.
const BLOCK_BYTES: usize = 256 << 10;

/// How much a fold takes at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FoldLimits {
    /// Bytes of the segments that are read at once, counted as they are when unpacked, though they wait
    /// packed; a key group that has more is taken alone. The keys of one group come on top.
    ///
    /// *Default*: 32 MiB, some hundred blocks: enough for the store's latency not to matter.
    pub(crate) memory_bytes: u64,
    /// Size, packed, at which a base is ended and another begins with the next key group.
    ///
    /// *Default*: 256 MiB: small beside the largest object, large beside a request.
    pub(crate) piece_bytes: u64,
}

impl Default for FoldLimits {
    fn default() -> Self {
        FoldLimits { memory_bytes: 32 << 20, piece_bytes: 256 << 20 }
    }
}

/// Writes bases that say what `segments`, oldest first, say together, for the groups that `header`
/// covers.
///
/// Memory is bounded by `limits`; the objects are written as they are made. Merges and compresses
/// between its requests: not for the threads that do I/O.
pub(crate) async fn fold(
    store: &BlobStore,
    header: SegmentHeader,
    segments: &[SegmentMetadata],
    limits: FoldLimits,
) -> Result<Vec<SegmentMetadata>> {
    let mut indexes = Vec::with_capacity(segments.len());
    for segment in segments {
        indexes.push(index(store, segment).await?);
    }
    let mut folded = Vec::new();
    let (mut first, last_group) = (header.first_group, header.last_group);
    loop {
        // Where the piece ends is known only when it is written, and its header is at its front: so
        // it is planned by the sizes of what goes in, of which what comes out is at most the sum.
        let last = groups_of(segments, &indexes, first, last_group, limits.piece_bytes, packed);
        let header = SegmentHeader { first_group: first, last_group: last, ..header.clone() };
        let part = folded.len() as u32;
        folded.push(piece(store, header, part, segments, &indexes, limits.memory_bytes).await?);
        if last == last_group {
            return Ok(folded);
        }
        first = last + 1;
    }
}

async fn piece(
    store: &BlobStore,
    header: SegmentHeader,
    part: u32,
    segments: &[SegmentMetadata],
    indexes: &[SegmentIndex],
    memory_bytes: u64,
) -> Result<SegmentMetadata> {
    let object = SegmentName {
        uid: header.uid.clone(),
        generation: header.generation,
        epoch: header.epoch,
        maker: SegmentMaker::Fold { part },
    }
    .to_string();
    let (mut first, last_group) = (header.first_group, header.last_group);
    let mut writer = SegmentWriter::new(header);
    let mut merge = Merge::default();
    let mut upload: SegmentUpload = store.writer(&object);
    loop {
        let last = groups_of(segments, indexes, first, last_group, memory_bytes, unpacked);
        for (group, chain) in read_chains(store, segments, indexes, first..last + 1).await? {
            merge.group(&chain, |block| writer.block(group, block))?;
            upload.write(writer.take_ready()).await?;
        }
        if last == last_group {
            break;
        }
        first = last + 1;
    }
    let (rest, summary) = writer.finish();
    upload.write(rest).await?;
    upload.finish().await?;
    Ok(summary.metadata(object))
}

type SizeOf = fn(&crate::segment::BlockEntry) -> u64;

fn packed(block: &crate::segment::BlockEntry) -> u64 {
    u64::from(block.len)
}

fn unpacked(block: &crate::segment::BlockEntry) -> u64 {
    u64::from(block.raw_len)
}

/// The last of the groups from `first` on that may be in memory together, at least `first`.
pub(crate) fn last_in_memory(
    segments: &[SegmentMetadata],
    indexes: &[SegmentIndex],
    first: u16,
    last_group: u16,
) -> u16 {
    let bytes = FoldLimits::default().memory_bytes;
    groups_of(segments, indexes, first, last_group, bytes, unpacked)
}

/// The last of the groups from `first` on that have at most `bytes_max` together, at least `first`.
fn groups_of(
    segments: &[SegmentMetadata],
    indexes: &[SegmentIndex],
    first: u16,
    last_group: u16,
    bytes_max: u64,
    size: SizeOf,
) -> u16 {
    let bytes_of = |group: u16| -> u64 {
        let visible = |(at, index): (usize, &SegmentIndex)| -> u64 {
            let newer = &segments[at + 1..];
            if visible(&segments[at], newer, &(group..group + 1)).is_empty() {
                return 0;
            }
            let blocks = index.blocks();
            let from = blocks.partition_point(|block| block.group < group);
            blocks[from..].iter().take_while(|block| block.group == group).map(size).sum()
        };
        indexes.iter().enumerate().map(visible).sum()
    };
    let mut bytes = bytes_of(first);
    let mut last = first;
    while last < last_group {
        bytes += bytes_of(last + 1);
        if bytes > bytes_max {
            break;
        }
        last += 1;
    }
    last
}

/// What segments say of one key group: a list of blocks for each of them, oldest first. Of those that
/// say nothing there may be none.
pub(crate) type Chain<'a> = Vec<Vec<Frame<'a>>>;

/// The chains of `groups`. What a newer base hides is left out: it may hold keys that were removed
/// before that base was cut.
pub(crate) async fn read_chains<'a>(
    store: &BlobStore,
    segments: &'a [SegmentMetadata],
    indexes: &'a [SegmentIndex],
    groups: Range<u16>,
) -> Result<BTreeMap<u16, Chain<'a>>> {
    let mut chains: BTreeMap<u16, Chain<'a>> = BTreeMap::new();
    for (at, (segment, index)) in segments.iter().zip(indexes).enumerate() {
        let mut take = |frame: Frame<'a>| {
            let chain = chains.entry(frame.group()).or_default();
            chain.resize_with(at + 1, Vec::new);
            chain[at].push(frame);
        };
        for part in visible(segment, &segments[at + 1..], &groups) {
            read_groups(store, segment, index, part, &mut take).await?;
        }
    }
    Ok(chains)
}

/// Merges chains, one key group after the other, and uses its memory again: to touch fresh pages was
/// a fifth of what a fold took.
#[derive(Default)]
struct Merge {
    seen: SeenKeys,
    merged: EntryBlock,
}

impl Merge {
    /// Hands out what holds now of a key group, in blocks: of each key the newest value, and no key
    /// that was removed.
    ///
    /// The entries of the newest segment come first, in the order in which it has them: the same
    /// segments make the same base.
    fn group(&mut self, chain: &Chain<'_>, mut out: impl FnMut(&EntryBlock)) -> Result<()> {
        self.seen.clear();
        let mut newest_first = chain.iter().rev().filter(|frames| !frames.is_empty()).peekable();
        while let Some(frames) = newest_first.next() {
            let is_oldest = newest_first.peek().is_none();
            for frame in frames {
                for (key, value) in &*frame.decode()? {
                    // Nothing will ask for the keys of the oldest (S5), which are most.
                    let is_newest =
                        if is_oldest { !self.seen.contains(key) } else { self.seen.insert(key) };
                    if is_newest && value.is_some() {
                        self.merged.push_bytes(key, value)?;
                    }
                    if self.merged.raw_bytes() >= BLOCK_BYTES {
                        self.hand_out(&mut out);
                    }
                }
                pause_if_due();
            }
        }
        self.hand_out(&mut out);
        Ok(())
    }

    fn hand_out(&mut self, out: &mut impl FnMut(&EntryBlock)) {
        if !self.merged.is_empty() {
            out(&self.merged);
            self.merged.clear();
            pause_if_due();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::metadata::{Generation, SegmentKind};
    use crate::recovery::LoadedBlock;
    use crate::store::Location;
    use crate::time::Epoch;

    const GROUPS: u16 = 16;

    type Entries = BTreeMap<(u16, u32), Option<u64>>;

    fn header(kind: SegmentKind, epoch: u64) -> SegmentHeader {
        SegmentHeader {
            job: "job".into(),
            uid: "count".into(),
            kind,
            generation: Generation(1),
            worker: 0,
            epoch: Epoch(epoch),
            key_groups: GROUPS,
            first_group: 0,
            last_group: GROUPS - 1,
        }
    }

    async fn put(
        store: &BlobStore,
        kind: SegmentKind,
        epoch: u64,
        entries: &Entries,
    ) -> SegmentMetadata {
        let mut writer = SegmentWriter::new(header(kind, epoch));
        for group in 0..GROUPS {
            let mut block = EntryBlock::new();
            for ((_, key), value) in entries.range((group, 0)..=(group, u32::MAX)) {
                let value = value.map(u64::to_le_bytes);
                block
                    .push_bytes(&key.to_le_bytes(), value.as_ref().map(|value| &value[..]))
                    .unwrap();
            }
            writer.block(group, &block);
        }
        let (bytes, summary) = writer.finish();
        let object = format!("segments/count/{epoch}");
        store.put(&object, bytes).await.unwrap();
        summary.metadata(object)
    }

    async fn load(store: &BlobStore, segments: &[SegmentMetadata]) -> Entries {
        let mut entries = Entries::new();
        let take = |loaded: LoadedBlock<'_>| {
            let group = loaded.group;
            for (key, value) in &**loaded.block {
                let key = u32::from_le_bytes(key.try_into().unwrap());
                let value = value.map(|value| u64::from_le_bytes(value.try_into().unwrap()));
                entries.entry((group, key)).or_insert(value);
            }
            Ok(())
        };
        crate::recovery::load(store, segments, None, 0..GROUPS, take).await.unwrap();
        entries.retain(|_, value| value.is_some());
        entries
    }

    /// Of many segments, of which each may change, remove or bring back what older ones say.
    #[test]
    fn of_each_key_the_newest_entry_counts() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = BlobStore::new(Location::memory(), "job");
            let (mut segments, mut model) = (Vec::new(), Entries::new());
            for epoch in 1..=7_u64 {
                let every = if epoch == 1 { 1 } else { epoch as u32 };
                let changes: Entries = (0..3000_u32)
                    .filter(|n| n.is_multiple_of(every))
                    .map(|n| {
                        let is_removed = epoch > 1 && (u64::from(n) + epoch).is_multiple_of(3);
                        (((n % 16) as u16, n), (!is_removed).then_some(u64::from(n) << epoch))
                    })
                    .collect();
                model.extend(&changes);
                let kind = if epoch == 1 { SegmentKind::Base } else { SegmentKind::Delta };
                segments.push(put(&store, kind, epoch, &changes).await);
            }
            model.retain(|_, value| value.is_some());
            let header = header(SegmentKind::Base, 7);
            let folded = fold(&store, header, &segments, FoldLimits::default()).await.unwrap();
            assert_eq!(load(&store, &folded).await, model);
            let entries: u64 = folded.iter().map(|base| base.entries).sum();
            assert_eq!(entries, model.len() as u64, "no key twice, and none that was removed");
        });
    }

    /// However small the memory and the pieces, what is folded reads as what went in.
    #[test]
    fn a_fold_in_pieces_says_what_its_segments_said() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = BlobStore::new(Location::memory(), "job");
            let all: Entries =
                (0..4000).map(|n: u32| (((n % 16) as u16, n), Some(u64::from(n)))).collect();
            let changes: Entries = (0..4000)
                .filter(|n| n % 3 == 0)
                .map(|n: u32| {
                    (((n % 16) as u16, n), n.is_multiple_of(2).then_some(u64::from(n) * 7))
                })
                .collect();
            let segments = [
                put(&store, SegmentKind::Base, 1, &all).await,
                put(&store, SegmentKind::Delta, 2, &changes).await,
            ];
            let meant = load(&store, &segments).await;
            let limits = |memory_bytes, piece_bytes| FoldLimits { memory_bytes, piece_bytes };
            for (limits, pieces) in [
                (FoldLimits::default(), 1),
                (limits(1, 1), usize::from(GROUPS)),
                (limits(20_000, u64::MAX), 1),
            ] {
                let header = header(SegmentKind::Base, 2);
                let folded = fold(&store, header, &segments, limits).await.unwrap();
                assert_eq!(folded.len(), pieces, "{limits:?}");
                let covered: Vec<u16> =
                    folded.iter().flat_map(|base| base.first_group..=base.last_group).collect();
                assert_eq!(covered, (0..GROUPS).collect::<Vec<_>>(), "{limits:?}");
                assert_eq!(load(&store, &folded).await, meant, "{limits:?}");
                let names: std::collections::BTreeSet<_> =
                    folded.iter().map(|base| &base.object).collect();
                assert_eq!(names.len(), pieces, "one name, one content");
            }
        });
    }
}
