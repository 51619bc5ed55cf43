//! Folds a chain of bases and deltas into new bases, in the background.

use std::collections::BTreeMap;
use std::ops::Range;

use super::load::{index, read_groups, visible};
use crate::error::Result;
use crate::metadata::SegmentMetadata;
use crate::segment::{
    EntryBlock, Removed, SegmentHeader, SegmentIndex, SegmentWriter, fold as fold_group,
};
use crate::store::BlobStore;
use crate::store::layout::{SegmentMaker, SegmentName};

/// Key groups that are in memory at once: a fold takes this share of the state, not all of it.
const GROUPS_AT_ONCE: u16 = 16;

/// Writes one base that says what `segments`, oldest first, say together.
///
/// Memory is bounded by [`GROUPS_AT_ONCE`] groups of all segments; the object is written as it is
/// made. Merges and compresses between its requests: not for the threads that do I/O.
pub(crate) async fn fold(
    store: &BlobStore,
    header: SegmentHeader,
    segments: &[SegmentMetadata],
) -> Result<Vec<SegmentMetadata>> {
    let object = SegmentName {
        uid: header.uid.clone(),
        generation: header.generation,
        epoch: header.epoch,
        maker: SegmentMaker::Fold { part: 0 },
    }
    .to_string();
    let mut indexes = Vec::with_capacity(segments.len());
    for segment in segments {
        indexes.push(index(store, segment).await?);
    }
    let last_group = header.last_group;
    let mut writer = SegmentWriter::new(header);
    let mut upload = store.writer(&object);
    let mut first = 0;
    while first <= last_group {
        let last = last_group.min(first + GROUPS_AT_ONCE - 1);
        let chains = read(store, segments, &indexes, first..last + 1).await?;
        for (group, chain) in chains {
            for block in fold_group(&chain, Removed::Drop) {
                writer.block(group, &block);
            }
        }
        upload.write(writer.take_ready()).await?;
        first = last + 1;
    }
    let (rest, summary) = writer.finish();
    upload.write(rest).await?;
    upload.finish().await?;
    Ok(vec![summary.metadata(object)])
}

/// The blocks of `groups` by group; one list per segment, oldest first. What a newer base hides is
/// left out: it may hold keys that were removed before that base was cut.
async fn read(
    store: &BlobStore,
    segments: &[SegmentMetadata],
    indexes: &[SegmentIndex],
    groups: Range<u16>,
) -> Result<BTreeMap<u16, Vec<Vec<EntryBlock>>>> {
    let mut chains: BTreeMap<u16, Vec<Vec<EntryBlock>>> = BTreeMap::new();
    for (at, (segment, index)) in segments.iter().zip(indexes).enumerate() {
        let mut take = |_: &str, group: u16, block: &EntryBlock| {
            let chain = chains.entry(group).or_default();
            chain.resize_with(at + 1, Vec::new);
            chain[at].push(block.clone());
            Ok(())
        };
        for part in visible(segment, &segments[at + 1..], &groups) {
            read_groups(store, &segment.object, index, part, &mut take).await?;
        }
    }
    Ok(chains)
}
