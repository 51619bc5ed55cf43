//! An [`EntryBlock`] as the bytes that are compressed, and back.
//!
//! ```text
//!   packed  := tombstones: u32 | keys: column | [bitmap, if tombstones > 0] | values: column
//!   column  := 0 | lengths: planes, 4 wide | bytes      lengths differ
//!            | 1 | width: u32 | bytes                   one length, of none or of many bytes
//!            | 2 | width: u8  | planes                  one length, of a few words
//! ```
//!
//! How many entries there are is in the frame; the values are those of entries that are no
//! tombstones. All of it is checked on the way back: the memory that a block takes was declared in
//! its frame, and nothing is allocated beyond that.

use super::block::{Column, EntryBlock, Lengths, Tombstones};
use super::fields::Fields;
use super::planes;
use crate::error::Result;

const EACH: u8 = 0;
const ROWS: u8 = 1;
const PLANES: u8 = 2;

/// More bytes than packing can add to those of the entries.
pub(super) const PACK_OVERHEAD_MAX: usize = 256;

/// Appends `block` to `out`; returns whether keys and values are both in planes.
pub(super) fn pack(block: &EntryBlock, out: &mut Vec<u8>) -> bool {
    out.extend_from_slice(&(block.tombstones.count as u32).to_le_bytes());
    pack_column(&block.keys, out);
    if block.tombstones.count > 0 {
        let end = out.len() + block.entries.div_ceil(8);
        out.extend_from_slice(&block.tombstones.bits);
        out.resize(end, 0);
    }
    pack_column(&block.values, out);
    block.keys.is_planes() && block.values.is_planes()
}

impl Column {
    fn is_planes(&self) -> bool {
        matches!(self.lengths, Lengths::Same(width) if (1..=planes::WIDTH_MAX).contains(&(width as usize)))
    }
}

fn pack_column(column: &Column, out: &mut Vec<u8>) {
    match &column.lengths {
        Lengths::Each(lengths) => {
            out.push(EACH);
            let bytes: Vec<u8> = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
            planes::write(&bytes, 4, out);
            out.extend_from_slice(&column.bytes);
        }
        Lengths::Same(width) if column.is_planes() => {
            out.push(PLANES);
            out.push(*width as u8);
            planes::write(&column.bytes, *width as usize, out);
        }
        Lengths::Same(width) => {
            out.push(ROWS);
            out.extend_from_slice(&width.to_le_bytes());
            out.extend_from_slice(&column.bytes);
        }
    }
}

/// Reads back a block of `entries` entries that take `raw_bytes` in memory.
pub(super) fn unpack(
    object: &str,
    packed: &[u8],
    entries: usize,
    raw_bytes: usize,
) -> Result<EntryBlock> {
    let mut fields = Fields::new(object, "block", packed);
    let count = fields.u32()? as usize;
    if count > entries {
        return Err(fields.corrupt(format!("has {count} tombstones among {entries} entries")));
    }
    let keys = unpack_column(&mut fields, entries, raw_bytes)?;
    let tombstones = unpack_tombstones(&mut fields, entries, count)?;
    let values = unpack_column(&mut fields, entries - count, raw_bytes)?;
    let block = EntryBlock { entries, keys, values, tombstones };
    if block.raw_bytes() != raw_bytes {
        let unpacked = block.raw_bytes();
        return Err(fields.corrupt(format!("declares {raw_bytes} bytes, holds {unpacked}")));
    }
    fields.end()?;
    Ok(block)
}

fn unpack_column(fields: &mut Fields<'_>, count: usize, raw_bytes: usize) -> Result<Column> {
    let declared = |fields: &Fields<'_>, width: usize| {
        let needed = count as u128 * width as u128;
        if needed > raw_bytes as u128 {
            return Err(fields.corrupt(format!("declares {raw_bytes} bytes, holds {needed}")));
        }
        Ok(needed as usize)
    };
    match fields.u8()? {
        EACH => {
            declared(fields, 4)?;
            let column = planes::read(fields, count, 4)?;
            let (lengths, _) = column.as_chunks::<4>();
            let lengths: Vec<u32> = lengths.iter().map(|len| u32::from_le_bytes(*len)).collect();
            let len: u64 = lengths.iter().map(|len| u64::from(*len)).sum();
            // Fields refuse what is not there, so a sum that is too large allocates nothing.
            let bytes = fields.bytes(usize::try_from(len).unwrap_or(usize::MAX))?.to_vec();
            Ok(Column { bytes, lengths: Lengths::Each(lengths) })
        }
        ROWS => {
            let width = fields.u32()?;
            let len = declared(fields, width as usize)?;
            Ok(Column { bytes: fields.bytes(len)?.to_vec(), lengths: Lengths::Same(width) })
        }
        PLANES => {
            let width = fields.u8()?;
            declared(fields, usize::from(width))?;
            let bytes = planes::read(fields, count, usize::from(width))?;
            Ok(Column { bytes, lengths: Lengths::Same(u32::from(width)) })
        }
        other => Err(fields.corrupt(format!("has a column of kind {other}, not 0, 1 or 2"))),
    }
}

fn unpack_tombstones(fields: &mut Fields<'_>, entries: usize, count: usize) -> Result<Tombstones> {
    if count == 0 {
        return Ok(Tombstones::default());
    }
    let bits = fields.bytes(entries.div_ceil(8))?.to_vec();
    let set: usize = bits.iter().map(|byte| byte.count_ones() as usize).sum();
    let beyond = match entries % 8 {
        0 => 0,
        used => bits.last().copied().unwrap_or_default() >> used,
    };
    if set != count || beyond != 0 {
        return Err(fields.corrupt(format!("counts {count} tombstones, marks {set}")));
    }
    Ok(Tombstones { bits, count })
}
