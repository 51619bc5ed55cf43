//! Which segments a checkpoint still needs, and which objects no checkpoint does.
//!
//! A base makes everything older in its key groups void, but a segment may cover more groups than
//! one base: it is needed until bases that are newer cover all of them. While it is needed, only
//! the groups that no newer base covers may be read from it. A base has no tombstones, so a key
//! that was removed before it would come back from what is below ([`segments_of_group`]).

use std::collections::BTreeSet;

use super::{CheckpointMetadata, SegmentKind, SegmentMetadata};
use crate::time::Epoch;

/// Drops the segments that newer bases hide entirely; oldest first, in and out.
///
/// The newer bases may be several, of different workers or epochs, and hide a segment together.
/// A base that follows a segment of a later epoch does not hide it: the order would be wrong, and
/// what is dropped here is lost.
pub fn live_segments(segments: Vec<SegmentMetadata>) -> Vec<SegmentMetadata> {
    let groups = segments.iter().map(|segment| usize::from(segment.last_group) + 1).max();
    // By group: the epoch of the newest base among those that follow.
    let mut hidden: Vec<Option<Epoch>> = vec![None; groups.unwrap_or(0)];
    let mut live = Vec::with_capacity(segments.len());
    for segment in segments.into_iter().rev() {
        let (first, last) = (usize::from(segment.first_group), usize::from(segment.last_group));
        // No groups at all is not a range that anything was written with: keep it, and let its
        // reader refuse it.
        let covered = hidden.get_mut(first..=last).unwrap_or_default();
        let is_hidden = covered.iter().all(|base| *base >= Some(segment.epoch));
        if !covered.is_empty() && is_hidden {
            continue;
        }
        if segment.kind == SegmentKind::Base {
            for base in covered {
                *base = (*base).max(Some(segment.epoch));
            }
        }
        live.push(segment);
    }
    live.reverse();
    live
}

/// The segments from which `group` is read: from the newest base that covers it on, oldest first.
///
/// `segments` are those of one operator, oldest first, as in the metadata.
pub fn segments_of_group(
    segments: &[SegmentMetadata],
    group: u16,
) -> impl DoubleEndedIterator<Item = &SegmentMetadata> {
    let covers = move |segment: &SegmentMetadata| {
        (segment.first_group..=segment.last_group).contains(&group)
    };
    let base = segments
        .iter()
        .rposition(|segment| segment.kind == SegmentKind::Base && covers(segment))
        .unwrap_or(0);
    segments[base..].iter().filter(move |segment| covers(segment))
}

/// Those of the objects `existing` that none of the checkpoints `retained` refers to, in order.
///
/// Names are below the job's folder, as [`SegmentMetadata::object`] is. A segment that was uploaded
/// for a checkpoint that is still under way is among them: whoever deletes must leave out what
/// the running generation has written since the newest checkpoint.
pub fn garbage(
    existing: impl IntoIterator<Item = String>,
    retained: &[&CheckpointMetadata],
) -> Vec<String> {
    let operators = retained.iter().flat_map(|checkpoint| &checkpoint.operators);
    let live: BTreeSet<&str> = operators
        .flat_map(|operator| &operator.segments)
        .map(|segment| segment.object.as_str())
        .collect();
    let unreferenced: BTreeSet<String> =
        existing.into_iter().filter(|name| !live.contains(name.as_str())).collect();
    unreferenced.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use SegmentKind::{Base, Delta};

    use super::*;
    use crate::metadata::codec::tests::fixture;

    fn segment(
        kind: SegmentKind,
        first_group: u16,
        last_group: u16,
        epoch: u64,
    ) -> SegmentMetadata {
        let object = format!("{kind:?} {first_group}-{last_group} e{epoch}");
        let epoch = Epoch(epoch);
        SegmentMetadata {
            object,
            offset: None,
            kind,
            first_group,
            last_group,
            epoch,
            entries: 1,
            bytes: 1,
            crc32: 0,
        }
    }

    fn live(segments: &[SegmentMetadata]) -> Vec<usize> {
        let live = live_segments(segments.to_vec());
        (0..segments.len()).filter(|at| live.contains(&segments[*at])).collect()
    }

    #[test]
    fn bases_hide_together_what_none_hides_alone() {
        let (old, delta) = (segment(Base, 0, 127, 1), segment(Delta, 0, 127, 2));
        let (left, right) = (segment(Base, 0, 63, 3), segment(Base, 64, 127, 4));
        assert_eq!(live(&[old.clone(), delta.clone(), left.clone()]), [0, 1, 2]);
        assert_eq!(live(&[old, delta, left, right]), [2, 3]);
    }

    #[test]
    fn bases_of_one_epoch_do_not_hide_each_other() {
        let bases: Vec<_> = (0..4).map(|n| segment(Base, n * 32, n * 32 + 31, 5)).collect();
        assert_eq!(live(&bases), [0, 1, 2, 3]);
    }

    #[test]
    fn a_delta_hides_nothing() {
        assert_eq!(live(&[segment(Base, 0, 9, 1), segment(Delta, 0, 9, 2)]), [0, 1]);
    }

    #[test]
    fn a_base_that_is_out_of_order_hides_nothing_newer() {
        assert_eq!(live(&[segment(Delta, 0, 9, 8), segment(Base, 0, 9, 7)]), [0, 1]);
    }

    #[test]
    fn a_segment_of_no_groups_is_kept_for_its_reader_to_refuse() {
        assert_eq!(live(&[segment(Delta, 9, 3, 1), segment(Base, 0, 9, 2)]), [0, 1]);
    }

    proptest! {
        /// The model asks of each group alone which segments it is read from.
        #[test]
        fn live_is_what_some_group_is_read_from(
            shapes in vec((any::<bool>(), 0..8u16, 0..8u16), 0..10),
        ) {
            let segments: Vec<_> = (1..).zip(&shapes).map(|(epoch, (base, a, b))| {
                segment(if *base { Base } else { Delta }, *a.min(b), *a.max(b), epoch)
            }).collect();
            let needed: BTreeSet<&str> = (0..8)
                .flat_map(|group| segments_of_group(&segments, group))
                .map(|segment| segment.object.as_str())
                .collect();
            let live = live_segments(segments.clone());
            let kept: BTreeSet<&str> =
                live.iter().map(|segment| segment.object.as_str()).collect();
            prop_assert_eq!(kept, needed);
            // And dropping them changes nothing for any group.
            for group in 0..8 {
                prop_assert!(
                    segments_of_group(&segments, group).eq(segments_of_group(&live, group))
                );
            }
        }
    }

    #[test]
    fn garbage_is_what_no_retained_checkpoint_names() {
        let (mut older, newer) = (fixture(), fixture());
        older.operators[1].segments[0].object = "segments/count/old.seg".into();
        let kept = newer.operators[1].segments[0].object.clone();
        let names = ["z", &kept, "segments/count/old.seg", "a"].map(String::from);
        assert_eq!(garbage(names.clone(), &[&older, &newer]), ["a", "z"]);
        assert_eq!(garbage(names, &[&newer]), ["a", "segments/count/old.seg", "z"]);
    }
}
