//! Where the blocks of a segment are: its last part, read first.
//!
//! ```text
//!   index   := body_len: u32 | body of the header | blocks: u32 | blocks * entry
//!   entry   := group: u16 | entries: u32 | offset: u64 | len: u32 | raw_len: u32 | crc32: u32
//!   trailer := index_offset: u64 | index_len: u64 | index_crc32: u32
//!            | version: u32 | crc32 of the trailer so far: u32 | magic: 8 bytes
//! ```
//!
//! A reader fetches the last [`TAIL_HINT`](SegmentIndex::TAIL_HINT) bytes, parses the
//! [`Trailer`], fetches what is missing of the index, parses the [`SegmentIndex`], and then fetches
//! the [`BlockRun`]s of the groups that it wants. The trailer is the same in every version.

use std::ops::{Range, RangeInclusive};

use bytes::Bytes;

use super::fields::Fields;
use super::frame::{FRAME_HEADER_LEN, Frame, VerifiedBlock, decode_block};
use super::header::{SEGMENT_VERSION, SegmentHeader, check_version};
use crate::error::{Error, Result};
use crate::metadata::SegmentMetadata;

const MAGIC: &[u8; 8] = b"HWsegend";
const ENTRY_LEN: usize = 2 + 4 + 8 + 4 + 4 + 4;

/// The end of a segment: where its index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    /// Where the index begins.
    pub(super) offset: u64,
    /// Its size.
    pub(super) len: u64,
    /// Its checksum.
    pub(super) crc32: u32,
}

/// Where one block is, and what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// The key group of all its entries.
    pub group: u16,
    /// Entries, tombstones included.
    pub entries: u32,
    /// Where it begins in the object.
    pub offset: u64,
    /// Bytes that it takes there.
    pub len: u32,
    /// Bytes that it takes in memory, as [`EntryBlock::raw_bytes`](super::EntryBlock::raw_bytes) counts.
    pub raw_len: u32,
    /// Its checksum.
    pub crc32: u32,
}

/// What a segment is, and where its blocks are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentIndex {
    header: SegmentHeader,
    blocks: Vec<BlockEntry>,
    object_bytes: u64,
    crc32: u32,
}

/// Blocks that are next to each other, to be fetched in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRun<'a> {
    blocks: &'a [BlockEntry],
}

impl Trailer {
    /// Size of a trailer, in every version.
    pub const LEN: usize = 8 + 8 + 4 + 4 + 4 + 8;

    pub(super) fn to_bytes(self) -> [u8; Trailer::LEN] {
        let mut out = [0; Trailer::LEN];
        out[..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..16].copy_from_slice(&self.len.to_le_bytes());
        out[16..20].copy_from_slice(&self.crc32.to_le_bytes());
        out[20..24].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
        let crc32 = crc32fast::hash(&out[..24]);
        out[24..28].copy_from_slice(&crc32.to_le_bytes());
        out[28..].copy_from_slice(MAGIC);
        out
    }

    /// Reads the trailer from `tail`, the last bytes of an object of `object_bytes` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if `object` is of a version that this build does not read,
    /// [`Error::Corrupt`] if it was truncated or altered, or is no segment.
    pub fn parse(object: &str, tail: &[u8], object_bytes: u64) -> Result<Trailer> {
        let Some(bytes) = tail.last_chunk::<{ Trailer::LEN }>() else {
            let (len, needed) = (tail.len(), Trailer::LEN);
            let reason = format!("ends in {len} bytes, a trailer is {needed}");
            return Err(Error::corrupt(object, reason));
        };
        let mut fields = Fields::new(object, "trailer", bytes);
        let (offset, len) = (fields.u64()?, fields.u64()?);
        let (crc32, version, stored) = (fields.u32()?, fields.u32()?, fields.u32()?);
        let magic = fields.bytes(MAGIC.len())?;
        if magic != MAGIC {
            let (found, meant) = (magic.escape_ascii(), MAGIC.escape_ascii());
            return Err(fields.corrupt(format!("ends with {found}, not with {meant}")));
        }
        let computed = crc32fast::hash(&bytes[..24]);
        if stored != computed {
            let reason = format!("has crc {computed:#010x}, should have {stored:#010x}");
            return Err(fields.corrupt(reason));
        }
        check_version(object, version)?;
        let meant = u128::from(offset) + u128::from(len) + Trailer::LEN as u128;
        if meant != u128::from(object_bytes) {
            let reason = format!("belongs to {meant} bytes, the object has {object_bytes}");
            return Err(fields.corrupt(reason));
        }
        Ok(Trailer { offset, len, crc32 })
    }

    /// Where the index is within the object.
    pub fn index_range(&self) -> Range<u64> {
        self.offset..self.offset + self.len
    }

    /// The index, if all of it is in `tail`: the last bytes of the object, trailer included.
    pub fn index_in<'a>(&self, tail: &'a [u8]) -> Option<&'a [u8]> {
        let end = tail.len().checked_sub(Trailer::LEN)?;
        let start = end.checked_sub(usize::try_from(self.len).ok()?)?;
        tail.get(start..end)
    }

    /// Checksum of the index: that of the segment in a checkpoint's metadata.
    pub fn index_crc32(&self) -> u32 {
        self.crc32
    }
}

/// The index of a segment with these blocks.
pub(super) fn encode_index(body: &[u8], blocks: &[BlockEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + body.len() + blocks.len() * ENTRY_LEN);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(&(blocks.len() as u32).to_le_bytes());
    for block in blocks {
        out.extend_from_slice(&block.group.to_le_bytes());
        out.extend_from_slice(&block.entries.to_le_bytes());
        out.extend_from_slice(&block.offset.to_le_bytes());
        for field in [block.len, block.raw_len, block.crc32] {
            out.extend_from_slice(&field.to_le_bytes());
        }
    }
    out
}

impl SegmentIndex {
    /// How much of a segment's end to fetch first: enough for the index of about 2500 blocks.
    ///
    /// *Unit*: bytes. *Default and where it comes from*: not tuned here; a request of this size
    /// costs an object service no more than a smaller one.
    pub const TAIL_HINT: u64 = 64 << 10;

    /// Reads the index from `bytes`, those at [`Trailer::index_range`].
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if `bytes` are not those that were written.
    pub fn parse(object: &str, trailer: &Trailer, bytes: &[u8]) -> Result<SegmentIndex> {
        let mut fields = Fields::new(object, "index", bytes);
        let (crc32, meant) = (crc32fast::hash(bytes), trailer.crc32);
        if bytes.len() as u64 != trailer.len || crc32 != meant {
            let (len, meant_len) = (bytes.len(), trailer.len);
            return Err(fields.corrupt(format!(
                "is {len} bytes with crc {crc32:#010x}, should be {meant_len} with {meant:#010x}"
            )));
        }
        let body_len = fields.u32()? as usize;
        let header = SegmentHeader::from_body(object, fields.bytes(body_len)?)?;
        let count = fields.u32()? as usize;
        if count as u128 * ENTRY_LEN as u128 != fields.remaining() as u128 {
            let left = fields.remaining();
            return Err(fields.corrupt(format!("has {count} blocks in {left} bytes")));
        }
        let mut blocks = Vec::with_capacity(count);
        for _ in 0..count {
            blocks.push(BlockEntry {
                group: fields.u16()?,
                entries: fields.u32()?,
                offset: fields.u64()?,
                len: fields.u32()?,
                raw_len: fields.u32()?,
                crc32: fields.u32()?,
            });
        }
        let object_bytes = trailer.index_range().end + Trailer::LEN as u64;
        let index = SegmentIndex { header, blocks, object_bytes, crc32 };
        index.check_blocks(object, SegmentHeader::front_len(body_len) as u64, trailer)?;
        fields.end()?;
        Ok(index)
    }

    /// Checks that blocks are in order, and fill the object from `start` to the index.
    fn check_blocks(&self, object: &str, start: u64, trailer: &Trailer) -> Result<()> {
        let (mut end, mut group) = (start, 0);
        for block in &self.blocks {
            let in_order = block.group >= group && self.header.covers(block.group);
            let a_block = block.len as usize >= FRAME_HEADER_LEN && block.entries > 0;
            if block.offset != end || !in_order || !a_block {
                let reason = format!("has {block:?} after group {group}, which ends at {end}");
                return Err(Error::corrupt(object, reason));
            }
            // Cannot overflow: fewer than 2^32 blocks of less than 2^32 bytes.
            (end, group) = (end + u64::from(block.len), block.group);
        }
        if end != trailer.offset {
            let index = trailer.offset;
            let reason = format!("its blocks end at {end}, its index begins at {index}");
            return Err(Error::corrupt(object, reason));
        }
        Ok(())
    }

    /// What the segment is.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// All blocks, in the order of their groups.
    pub fn blocks(&self) -> &[BlockEntry] {
        &self.blocks
    }

    /// Number of entries, tombstones included.
    pub fn entries(&self) -> u64 {
        self.blocks.iter().map(|block| u64::from(block.entries)).sum()
    }

    /// The blocks of `groups`, as few ranges of bytes as `bytes_max` allows.
    ///
    /// As blocks are in the order of their groups, what is wanted is one range of bytes. It is cut
    /// into runs of at most `bytes_max` bytes, or of a single block that is larger.
    pub fn blocks_of(&self, groups: RangeInclusive<u16>, bytes_max: u64) -> Vec<BlockRun<'_>> {
        let start = self.blocks.partition_point(|block| block.group < *groups.start());
        let end = self.blocks.partition_point(|block| block.group <= *groups.end());
        let mut left = self.blocks.get(start..end).unwrap_or_default();
        let mut runs = Vec::new();
        while let Some(first) = left.first() {
            let fitting = left.partition_point(|block| {
                block.offset + u64::from(block.len) - first.offset <= bytes_max
            });
            let (blocks, rest) = left.split_at(fitting.max(1));
            runs.push(BlockRun { blocks });
            left = rest;
        }
        runs
    }

    /// Checks that this is the segment that a checkpoint refers to.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] if it is another.
    pub fn check(&self, meant: &SegmentMetadata) -> Result<()> {
        let found = SegmentMetadata {
            object: meant.object.clone(),
            offset: meant.offset,
            kind: self.header.kind,
            first_group: self.header.first_group,
            last_group: self.header.last_group,
            epoch: self.header.epoch,
            entries: self.entries(),
            bytes: self.object_bytes,
            crc32: self.crc32,
        };
        if found == *meant {
            return Ok(());
        }
        let reason = format!("it is {found:?}, the checkpoint refers to {meant:?}");
        Err(Error::corrupt(&meant.object, reason))
    }
}

impl<'a> BlockRun<'a> {
    /// The bytes to fetch.
    pub fn bytes(&self) -> Range<u64> {
        match (self.blocks.first(), self.blocks.last()) {
            (Some(first), Some(last)) => first.offset..last.offset + u64::from(last.len),
            _ => 0..0,
        }
    }

    /// The blocks, in order.
    pub fn blocks(&self) -> &'a [BlockEntry] {
        self.blocks
    }

    /// Decodes the blocks from `fetched`, the bytes at [`bytes`](BlockRun::bytes), one by one.
    ///
    /// Each item is a key group and a block of it, or [`Error::Corrupt`].
    pub fn decode(
        self,
        object: &'a str,
        fetched: &'a [u8],
    ) -> impl Iterator<Item = Result<(u16, VerifiedBlock)>> + 'a {
        self.blocks.iter().map(move |block| {
            let frame = &fetched[self.within(object, block, fetched)?];
            Ok((block.group, decode_block(object, block, frame)?))
        })
    }

    /// The blocks as they are stored, for who decodes them later.
    pub(crate) fn frames<'f>(
        self,
        object: &'a str,
        fetched: &'f Bytes,
    ) -> impl Iterator<Item = Result<Frame<'a>>> + use<'a, 'f> {
        self.blocks.iter().map(move |block| {
            let bytes = fetched.slice(self.within(object, block, fetched)?);
            Ok(Frame { object, block, bytes })
        })
    }

    /// Where a block of the run is in `fetched`.
    fn within(self, object: &str, block: &BlockEntry, fetched: &[u8]) -> Result<Range<usize>> {
        let from = usize::try_from(block.offset - self.bytes().start).unwrap_or(usize::MAX);
        let to = from.saturating_add(block.len as usize);
        if to <= fetched.len() {
            return Ok(from..to);
        }
        let (needed, len) = (self.bytes(), fetched.len());
        Err(Error::corrupt(object, format!("bytes {needed:?} were asked for, {len} were read")))
    }
}

/// Reads all of a segment: `bytes` are the whole object.
///
/// # Errors
///
/// As [`Trailer::parse`], [`SegmentIndex::parse`] and [`decode_block`]; [`Error::Corrupt`] also if
/// front and index do not agree on what the segment is.
pub fn verify(object: &str, bytes: &[u8]) -> Result<SegmentIndex> {
    let front = SegmentHeader::parse(object, bytes)?;
    let trailer = Trailer::parse(object, bytes, bytes.len() as u64)?;
    let Some(index_bytes) = trailer.index_in(bytes) else {
        let (len, needed) = (bytes.len(), trailer.len);
        return Err(Error::corrupt(object, format!("{len} bytes hold no index of {needed}")));
    };
    let index = SegmentIndex::parse(object, &trailer, index_bytes)?;
    if front != index.header {
        let reason = format!("it begins as {front:?}, its index is of {:?}", index.header);
        return Err(Error::corrupt(object, reason));
    }
    for run in index.blocks_of(0..=u16::MAX, u64::MAX) {
        let range = run.bytes();
        let fetched = usize::try_from(range.start).ok().and_then(|start| bytes.get(start..));
        for block in run.decode(object, fetched.unwrap_or_default()) {
            block?;
        }
    }
    Ok(index)
}
