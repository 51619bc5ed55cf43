//! Keyed state as objects: the format of a segment, as bytes in and bytes out.
//!
//! A segment holds entries of a range of key groups, in blocks that are compressed and checksummed
//! one by one, in the order of their groups. Its index is at its end, so that it can be written as
//! a stream, and a reader of some groups fetches the tail, then one range of bytes. Nothing here
//! does I/O or knows a user's types.
//!
//! ```text
//!   header   what the segment is                                   header.rs
//!   block    entries of one key group, compressed, crc32           frame.rs, pack.rs, planes.rs
//!   block    ..
//!   index    the header again; group, offset, crc32 of each block  index.rs
//!   trailer  where the index is, its crc32; fixed size             index.rs
//! ```
//!
//! # Invariants
//!
//! * **S1** Blocks are in the order of their groups, without a gap between them
//!   ([`SegmentWriter::block`] asserts the first, [`SegmentIndex::parse`] checks both).
//! * **S2** A segment says which groups it *covers*. A base that covers a group without having a
//!   block of it says that the group is empty, which what is older must not contradict.
//! * **S3** Any byte that differs from what was written is [`Error::Corrupt`](crate::Error::Corrupt)
//!   for whoever reads it, never a panic and never other data (`tests.rs`).
//! * **S4** Reading allocates no more than lengths that have been checked against a bound.
//! * **S5** A segment has at most one entry of a key. A seal captures each entry at most once, a fold
//!   writes each key once; a restore and a fold rely on it.
//!
//! # Versions
//!
//! The first bytes of the header and the whole trailer are the same in all versions, checksum
//! included. So a version that this build cannot read is told from one that was damaged: it is
//! [`Error::Invalid`](crate::Error::Invalid), for falling back to an older checkpoint would be
//! the wrong thing to do about it.
//!
//! Layout by the byte, alternatives and measurements: `docs/segment.md`. Golden files:
//! `tests/golden_segment.rs`.

mod block;
mod fields;
mod fold;
mod frame;
mod header;
mod index;
mod pack;
mod planes;
mod seen;
mod writer;

#[cfg(test)]
mod tests;

pub use block::{BLOCK_BYTES_LIMIT, BLOCK_BYTES_MAX, BLOCK_ENTRIES_LIMIT, Entries, EntryBlock};
pub use fold::{Removed, fold};
pub(crate) use frame::Frame;
pub use frame::{VerifiedBlock, decode_block};
pub use header::{SEGMENT_VERSION, SegmentHeader};
pub use index::{BlockEntry, BlockRun, SegmentIndex, Trailer, verify};
pub(crate) use seen::SeenKeys;
pub use writer::{SegmentSummary, SegmentWriter};
