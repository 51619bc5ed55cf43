//! A block as it is stored: a header, then the packed entries, compressed where that helps.
//!
//! ```text
//!   frame   := magic: u32 | group: u16 | codec: u8 | 0: u8 | entries: u32
//!            | raw_len: u32 | packed_len: u32 | stored_len: u32 | crc32: u32 | stored bytes
//! ```
//!
//! The checksum covers all of the frame but itself. It is in the index too: a frame that is whole,
//! but not the one that the index means, is found out by it.

use std::ops::Range;

use bytes::Bytes;
use lz4_flex::block::{compress_into, decompress_into, get_maximum_output_size};

use super::block::{BLOCK_ENTRIES_LIMIT, EntryBlock, RAW_BYTES_LIMIT};
use super::fields::Fields;
use super::index::BlockEntry;
use super::pack::{PACK_OVERHEAD_MAX, pack, unpack};
use crate::buffers::Buffer;
use crate::error::{Error, Result};
use crate::state::Verified;

const MAGIC: u32 = u32::from_le_bytes(*b"HWbl");
const STORED: u8 = 0;
const LZ4: u8 = 1;

/// Size of a frame's header.
pub(super) const FRAME_HEADER_LEN: usize = 28;

/// LZ4 cannot express more than this many bytes in one.
const LZ4_RATIO_MAX: usize = 255;

/// How many pieces of a block are compressed to see what that saves.
const PROBES: usize = 8;

/// Bytes of each. Matches further apart are not seen: a piece takes a tenth more than it will.
const PROBE_LEN: usize = 4 << 10;

/// What pieces may take of their bytes.
const WORTH_IT_PERCENT: usize = 60;

/// Makes frames; keeps its buffers from one to the next.
#[derive(Debug, Default)]
pub(super) struct FrameWriter {
    packed: Buffer,
    compressed: Buffer,
}

impl FrameWriter {
    /// Appends the frame of `block` to `out`; returns its checksum.
    pub(super) fn write(&mut self, group: u16, block: &EntryBlock, out: &mut Vec<u8>) -> u32 {
        assert!(block.raw_bytes() <= RAW_BYTES_LIMIT, "`EntryBlock::push` keeps to the limits");
        self.packed.clear();
        let in_planes = pack(block, &mut self.packed);
        let (codec, stored) = self.compress(in_planes);

        let start = out.len();
        let [entries, raw_len, packed_len, stored_len] =
            [block.len(), block.raw_bytes(), self.packed.len(), stored].map(|len| len as u32);
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.extend_from_slice(&group.to_le_bytes());
        out.extend_from_slice(&[codec, 0]);
        for field in [entries, raw_len, packed_len, stored_len] {
            out.extend_from_slice(&field.to_le_bytes());
        }
        let stored = if codec == LZ4 { &self.compressed[..stored] } else { &self.packed[..] };
        let crc32 = checksum(&out[start..], stored);
        out.extend_from_slice(&crc32.to_le_bytes());
        out.extend_from_slice(stored);
        crc32
    }

    /// Compresses `packed` if that is worth its time; says how, and how many bytes that takes.
    fn compress(&mut self, in_planes: bool) -> (u8, usize) {
        if !in_planes && !self.is_worth_it() {
            return (STORED, self.packed.len());
        }
        let len = self.compress_range(0..self.packed.len());
        if len < self.packed.len() { (LZ4, len) } else { (STORED, self.packed.len()) }
    }

    /// Whether LZ4 makes it half as small, or nearly. Text that saves less takes it longer than a
    /// store takes to write what is saved: it runs at half a gigabyte a second there. Planes are noise
    /// or runs, which it passes over ten times as fast.
    fn is_worth_it(&mut self) -> bool {
        let len = self.packed.len();
        if len < PROBES * PROBE_LEN * 2 {
            return true;
        }
        let step = (len - PROBE_LEN) / (PROBES - 1);
        let compressed: usize = (0..PROBES)
            .map(|probe| self.compress_range(probe * step..probe * step + PROBE_LEN))
            .sum();
        compressed * 100 < PROBES * PROBE_LEN * WORTH_IT_PERCENT
    }

    /// Compresses a part of `packed`; returns how many bytes that takes.
    fn compress_range(&mut self, range: Range<usize>) -> usize {
        let room = get_maximum_output_size(range.len());
        if self.compressed.len() < room {
            self.compressed.resize(room, 0);
        }
        compress_into(&self.packed[range], &mut self.compressed)
            .expect("the buffer is as large as LZ4 asks for")
    }
}

/// Reads the block that `entry` describes from its frame.
///
/// Checks the frame against `entry`, its checksum, and every length and count within. Whatever the
/// bytes are this does not panic, and it allocates no more than the frame declares, which is
/// bounded by [`BLOCK_BYTES_LIMIT`](super::BLOCK_BYTES_LIMIT).
///
/// # Errors
///
/// [`Error::Corrupt`] about `object`, if `frame` is anything but what was written.
pub fn decode_block(object: &str, entry: &BlockEntry, frame: &[u8]) -> Result<VerifiedBlock> {
    let place = |what: &str| {
        let BlockEntry { group, offset, .. } = entry;
        Error::corrupt(object, format!("its block at {offset}, of key group {group}, {what}"))
    };
    if frame.len() != entry.len as usize {
        return Err(place(&format!("is {} bytes, should be {}", frame.len(), entry.len)));
    }
    let mut fields = Fields::new(object, "block header", frame);
    let magic = fields.u32()?;
    let (group, codec, reserved) = (fields.u16()?, fields.u8()?, fields.u8()?);
    let (entries, raw_len) = (fields.u32()?, fields.u32()?);
    let (packed_len, stored_len) = (fields.u32()? as usize, fields.u32()? as usize);
    let crc32 = fields.u32()?;
    let stored = fields.bytes(fields.remaining())?;

    let computed = checksum(&frame[..FRAME_HEADER_LEN - 4], stored);
    if computed != crc32 {
        let reason = format!("has crc {computed:#010x}, should have {crc32:#010x}");
        return Err(place(&reason));
    }
    let found = [magic, u32::from(group), u32::from(reserved), entries, raw_len, crc32];
    let meant = [MAGIC, u32::from(entry.group), 0, entry.entries, entry.raw_len, entry.crc32];
    if found != meant || stored.len() != stored_len {
        let reason = format!("is another: it says {found:?}, the index {meant:?}");
        return Err(place(&reason));
    }
    let (entries, raw_len) = (entries as usize, raw_len as usize);
    let fits = entries <= BLOCK_ENTRIES_LIMIT
        && raw_len <= RAW_BYTES_LIMIT
        && packed_len <= raw_len + PACK_OVERHEAD_MAX;
    if !fits {
        let reason = format!("declares {entries} entries, {raw_len} bytes and {packed_len} packed");
        return Err(place(&format!("{reason}: beyond the limits of the format")));
    }
    match codec {
        STORED if packed_len == stored_len => {
            unpack(object, stored, entries, raw_len).map(VerifiedBlock)
        }
        LZ4 if packed_len / LZ4_RATIO_MAX <= stored_len => {
            let mut packed = vec![0; packed_len];
            match decompress_into(stored, &mut packed) {
                Ok(len) if len == packed_len => {
                    unpack(object, &packed, entries, raw_len).map(VerifiedBlock)
                }
                Ok(len) => Err(place(&format!("unpacks to {len} bytes, not {packed_len}"))),
                Err(error) => Err(place(&format!("cannot be decompressed: {error}"))),
            }
        }
        codec => {
            let reason = format!("has codec {codec}, {stored_len} bytes for {packed_len}");
            Err(place(&reason))
        }
    }
}

/// A block that was read and is not decoded yet: as long as it waits, it takes what it does in the
/// store.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    pub(super) object: &'a str,
    pub(super) block: &'a BlockEntry,
    pub(super) bytes: Bytes,
}

impl Frame<'_> {
    pub(crate) fn group(&self) -> u16 {
        self.block.group
    }

    /// As [`decode_block`].
    pub(crate) fn decode(&self) -> Result<VerifiedBlock> {
        decode_block(self.object, self.block, &self.bytes)
    }
}

/// A block that was read back, and is byte for byte what was written: [`decode_block`] alone makes
/// it, from a frame whose checksum it has verified.
#[derive(Clone, Debug)]
pub struct VerifiedBlock(EntryBlock);

impl VerifiedBlock {
    /// The entries, for codecs to decode; `None` is a tombstone.
    pub fn entries(&self) -> impl Iterator<Item = (Verified<'_>, Option<Verified<'_>>)> {
        self.0.iter().map(|(key, value)| (Verified::new(key), value.map(Verified::new)))
    }
}

impl From<VerifiedBlock> for EntryBlock {
    fn from(block: VerifiedBlock) -> EntryBlock {
        block.0
    }
}

impl std::ops::Deref for VerifiedBlock {
    type Target = EntryBlock;

    fn deref(&self) -> &EntryBlock {
        &self.0
    }
}

fn checksum(header: &[u8], stored: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(stored);
    hasher.finalize()
}
