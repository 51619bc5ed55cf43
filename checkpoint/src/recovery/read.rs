//! Reads parts of segments: an index, the blocks of some key groups.

use std::ops::{Range, RangeInclusive};

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use crate::error::{Error, Result};
use crate::metadata::{SegmentKind, SegmentMetadata};
use crate::segment::{Frame, SegmentIndex, Trailer};
use crate::store::{BlobStore, Tail};

/// Largest range that is fetched at once.
pub(super) const RANGE_BYTES_MAX: u64 = 8 << 20;

/// Ranges that are fetched at a time: hides the store's latency.
const RANGES_AHEAD: usize = 4;

/// The parts of `segment` within `owned` that no base in `newer` covers.
pub(crate) fn visible(
    segment: &SegmentMetadata,
    newer: &[SegmentMetadata],
    owned: &Range<u16>,
) -> Vec<RangeInclusive<u16>> {
    let is_hidden = |group: u16| {
        newer.iter().any(|newer| {
            newer.kind == SegmentKind::Base
                && (newer.first_group..=newer.last_group).contains(&group)
        })
    };
    let mut ranges: Vec<RangeInclusive<u16>> = Vec::new();
    for group in segment.first_group..=segment.last_group {
        if !owned.contains(&group) || is_hidden(group) {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if *last.end() + 1 == group => *last = *last.start()..=group,
            _ => ranges.push(group..=group),
        }
    }
    ranges
}

/// Reads a segment's index and checks that it is the one that the checkpoint means.
pub(crate) async fn index(store: &BlobStore, segment: &SegmentMetadata) -> Result<SegmentIndex> {
    let object = &segment.object;
    let tail = if segment.offset.is_none() {
        store.get_tail(object, SegmentIndex::TAIL_HINT).await?
    } else {
        let start = segment.bytes.saturating_sub(SegmentIndex::TAIL_HINT);
        let bytes = store.get_range(object, within(segment, start..segment.bytes)?).await?;
        Tail { bytes, object_bytes: segment.bytes }
    };
    let trailer = Trailer::parse(object, &tail.bytes, tail.object_bytes)?;
    let index = if let Some(bytes) = trailer.index_in(&tail.bytes) {
        SegmentIndex::parse(object, &trailer, bytes)?
    } else {
        let range = within(segment, trailer.index_range())?;
        let bytes = store.get_range(object, range).await?;
        SegmentIndex::parse(object, &trailer, &bytes)?
    };
    index.check(segment)?;
    Ok(index)
}

/// Where the bytes `range` of a segment are in its object.
pub(crate) fn within(segment: &SegmentMetadata, range: Range<u64>) -> Result<Range<u64>> {
    let offset = segment.offset.unwrap_or(0);
    if let (Some(start), Some(end)) =
        (range.start.checked_add(offset), range.end.checked_add(offset))
    {
        return Ok(start..end);
    }
    Err(Error::corrupt(&segment.object, format!("a segment at {offset} has no bytes {range:?}")))
}

/// Reads the blocks of `groups`, which are decoded later.
pub(super) async fn read_groups<'a>(
    store: &BlobStore,
    segment: &'a SegmentMetadata,
    index: &'a SegmentIndex,
    groups: RangeInclusive<u16>,
    take: &mut impl FnMut(Frame<'a>),
) -> Result<()> {
    let object = &segment.object;
    let runs = index.blocks_of(groups, RANGE_BYTES_MAX);
    let ranges: Vec<_> =
        runs.iter().map(|run| within(segment, run.bytes())).collect::<Result<_>>()?;
    let fetches = ranges.into_iter().map(|range| store.get_range(object, range));
    let mut ahead = stream::iter(fetches).buffered(RANGES_AHEAD);
    for run in &runs {
        let bytes: Bytes = ahead.next().await.expect("one fetch for each run")?;
        for frame in run.frames(object, &bytes) {
            take(frame?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Epoch;

    fn segment(kind: SegmentKind, groups: RangeInclusive<u16>) -> SegmentMetadata {
        SegmentMetadata {
            object: "s".into(),
            offset: None,
            kind,
            first_group: *groups.start(),
            last_group: *groups.end(),
            epoch: Epoch(1),
            entries: 1,
            bytes: 1,
            crc32: 0,
        }
    }

    #[test]
    fn a_worker_reads_only_its_groups_that_no_newer_base_covers() {
        let old = segment(SegmentKind::Base, 0..=99);
        let newer = [segment(SegmentKind::Base, 40..=59), segment(SegmentKind::Delta, 0..=99)];
        assert_eq!(visible(&old, &newer, &(20..80)), [20..=39, 60..=79]);
        assert_eq!(visible(&old, &newer, &(45..50)), []);
        assert_eq!(visible(&old, &[], &(0..200)), [0..=99]);
    }
}
