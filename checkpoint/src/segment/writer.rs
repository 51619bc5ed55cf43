//! Writes a segment, front to end, without looking back.

use bytes::Bytes;

use super::block::EntryBlock;
use super::frame::FrameWriter;
use super::header::SegmentHeader;
use super::index::{BlockEntry, Trailer, encode_index};
use crate::buffers::Buffer;
use crate::metadata::SegmentMetadata;

/// Makes the bytes of one segment.
///
/// What is finished can be taken at any time ([`take_ready`](SegmentWriter::take_ready)), so a
/// segment never has to be in memory as a whole. The bytes are a function of the header and the
/// blocks alone; when they are taken does not matter.
///
/// ```
/// # use highwater_checkpoint::{Epoch, Error, metadata::{Generation, SegmentKind}, segment::*};
/// # let header = SegmentHeader { job: "j".into(), uid: "count".into(), kind: SegmentKind::Base,
/// #     generation: Generation(1), worker: 0, epoch: Epoch(3), key_groups: 128,
/// #     first_group: 0, last_group: 127 };
/// # let mut entries = EntryBlock::new();
/// # entries.push::<Error>(|key| Ok(key.push(1)), |value| Ok(value.push(2)))?;
/// let mut writer = SegmentWriter::new(header);
/// writer.block(5, &entries);
/// let mut object = writer.take_ready().to_vec();
/// let (rest, summary) = writer.finish();
/// object.extend_from_slice(&rest);
///
/// let index = verify("a.seg", &object)?;
/// assert_eq!((index.entries(), object.len() as u64), (1, summary.bytes));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a segment is whole only with what `finish` returns"]
pub struct SegmentWriter {
    header: SegmentHeader,
    body: Vec<u8>,
    blocks: Vec<BlockEntry>,
    frames: FrameWriter,
    ready: Buffer,
    /// Bytes that have been taken.
    taken: u64,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// What the segment is.
    pub header: SegmentHeader,
    /// Entries, tombstones included.
    pub entries: u64,
    /// Size of the object.
    pub bytes: u64,
    /// Checksum of the index.
    pub crc32: u32,
}

impl SegmentWriter {
    /// Begins a segment.
    ///
    /// # Panics
    ///
    /// If the groups of `header` are no range within the job's.
    pub fn new(header: SegmentHeader) -> SegmentWriter {
        assert!(header.is_in_range(), "{header:?} must cover groups of its job");
        let body = header.body();
        let mut ready = Buffer::new();
        ready.extend_from_slice(&SegmentHeader::front(&body));
        let (blocks, frames) = (Vec::new(), FrameWriter::default());
        SegmentWriter { header, body, blocks, frames, ready, taken: 0 }
    }

    /// Appends a block with entries of `group`; does nothing if it is empty.
    ///
    /// A group may have several blocks. End one when it [`is_full`](EntryBlock::is_full): a reader
    /// has a whole block in memory.
    ///
    /// # Panics
    ///
    /// If the segment does not cover `group`, or a block of a higher group was written before.
    pub fn block(&mut self, group: u16, entries: &EntryBlock) {
        assert!(self.header.covers(group), "group {group} is not one of {:?}", self.header);
        if let Some(last) = self.blocks.last() {
            assert!(last.group <= group, "group {group} comes after group {}", last.group);
        }
        if entries.is_empty() {
            return;
        }
        let start = self.ready.len();
        let crc32 = self.frames.write(group, entries, &mut self.ready);
        self.blocks.push(BlockEntry {
            group,
            entries: entries.len() as u32,
            offset: self.taken + start as u64,
            len: (self.ready.len() - start) as u32,
            raw_len: entries.raw_bytes() as u32,
            crc32,
        });
    }

    /// Number of bytes that [`take_ready`](SegmentWriter::take_ready) would return.
    pub fn ready_bytes(&self) -> usize {
        self.ready.len()
    }

    /// Takes the bytes that are finished and have not been taken: the next part of the object.
    pub fn take_ready(&mut self) -> Bytes {
        self.taken += self.ready.len() as u64;
        std::mem::take(&mut self.ready).into_bytes()
    }

    /// Ends the segment: returns the last part of the object, and what all of it is.
    pub fn finish(mut self) -> (Bytes, SegmentSummary) {
        let index = encode_index(&self.body, &self.blocks);
        let trailer = Trailer {
            offset: self.taken + self.ready.len() as u64,
            len: index.len() as u64,
            crc32: crc32fast::hash(&index),
        };
        self.ready.extend_from_slice(&index);
        self.ready.extend_from_slice(&trailer.to_bytes());
        let summary = SegmentSummary {
            header: self.header,
            entries: self.blocks.iter().map(|block| u64::from(block.entries)).sum(),
            bytes: self.taken + self.ready.len() as u64,
            crc32: trailer.crc32,
        };
        (self.ready.into_bytes(), summary)
    }
}

impl SegmentSummary {
    /// What a checkpoint says of this segment, once it is stored as `object`.
    pub fn metadata(&self, object: impl Into<String>) -> SegmentMetadata {
        SegmentMetadata {
            object: object.into(),
            offset: None,
            kind: self.header.kind,
            first_group: self.header.first_group,
            last_group: self.header.last_group,
            epoch: self.header.epoch,
            entries: self.entries,
            bytes: self.bytes,
            crc32: self.crc32,
        }
    }
}
