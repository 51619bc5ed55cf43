//! Columns of fixed width, stored byte by byte: all first bytes, then all second bytes, and so on.
//!
//! ```text
//!   rows    a0 a1 .. a7 | b0 b1 .. b7 | c0 ..        planes    a0 b0 c0 .. | a1 b1 c1 .. | ..
//!
//!   column  := constant: bitmap of `width` bits, one a plane
//!              constants: one byte for each constant plane
//!              planes: `rows` bytes for each other plane
//! ```
//!
//! The high bytes of counters, ids and times hardly vary: in planes they are constant, and cost
//! one byte a block. What is left is either noise or runs, both of which LZ4 passes over quickly.
//! As rows they are its worst case: a match of a few bytes in every entry. For a million
//! `(u64, u64)` of which the values are small, rows take LZ4 27 ns an entry for 7.7 bytes, planes
//! 1 ns for 4.1 bytes, and 1.2 ns more to transpose (`docs/segment.md`, "Measured").

// A loop over a stripe is fast only with its width, and all that it calls, known to the compiler.
#![expect(clippy::inline_always, reason = "a call in each loop costs half of the throughput")]

use super::fields::Fields;
use crate::error::Result;

/// Widest row that is stored as planes.
///
/// A row of a few words is a number or several, and similar from entry to entry. Beyond that it
/// is more likely a text or a list, whose repetitions lie within a row, and the planes would be
/// too many streams to write at a time.
pub(super) const WIDTH_MAX: usize = 64;

/// Bytes of a row that are transposed together: those of one machine word.
const STRIPE: usize = 8;

/// Appends `rows`, one or more of `width` bytes each, to `out`.
pub(super) fn write(rows: &[u8], width: usize, out: &mut Vec<u8>) {
    assert!((1..=WIDTH_MAX).contains(&width), "{width} bytes are no row of planes");
    assert!(!rows.is_empty() && rows.len().is_multiple_of(width), "there must be whole rows");
    let count = rows.len() / width;
    let constant = constant_planes(rows, width);
    out.extend_from_slice(&constant.to_le_bytes()[..width.div_ceil(8)]);
    out.extend((0..width).filter(|plane| constant >> plane & 1 == 1).map(|plane| rows[plane]));

    let varying = width - constant.count_ones() as usize;
    let start = out.len();
    out.resize(start + varying * count, 0);
    let mut free = out[start..].chunks_exact_mut(count);
    for first in (0..width).step_by(STRIPE) {
        let planes: [Option<&mut [u8]>; STRIPE] = std::array::from_fn(|at| {
            let plane = first + at;
            let varies = plane < width && constant >> plane & 1 == 0;
            if varies { free.next() } else { None }
        });
        match width - first {
            1 => stripe_to_planes::<1>(rows, width, first, planes),
            2 => stripe_to_planes::<2>(rows, width, first, planes),
            3 => stripe_to_planes::<3>(rows, width, first, planes),
            4 => stripe_to_planes::<4>(rows, width, first, planes),
            5 => stripe_to_planes::<5>(rows, width, first, planes),
            6 => stripe_to_planes::<6>(rows, width, first, planes),
            7 => stripe_to_planes::<7>(rows, width, first, planes),
            // Inlined with a width that the compiler knows: twice as fast, and the usual one.
            8 if width == 8 => stripe_to_planes::<8>(rows, 8, 0, planes),
            _ => stripe_to_planes::<8>(rows, width, first, planes),
        }
    }
}

/// Reads `count` rows of `width` bytes, as [`write`] left them.
///
/// Allocates `count * width` bytes, which the caller must have bounded: constant planes take no
/// room, so what is left to read does not bound it.
pub(super) fn read(fields: &mut Fields<'_>, count: usize, width: usize) -> Result<Vec<u8>> {
    if !(1..=WIDTH_MAX).contains(&width) {
        return Err(fields.corrupt(format!("has planes {width} wide, of {WIDTH_MAX} at most")));
    }
    let mut bitmap = [0; 8];
    let mask = fields.bytes(width.div_ceil(8))?;
    bitmap[..mask.len()].copy_from_slice(mask);
    let constant = u64::from_le_bytes(bitmap);
    if width < 64 && constant >> width != 0 {
        return Err(fields.corrupt(format!("marks planes beyond its {width}: {constant:#x}")));
    }
    let mut constants = fields.bytes(constant.count_ones() as usize)?.iter();
    let mut planes = Vec::with_capacity(width);
    for plane in 0..width {
        planes.push(match constant >> plane & 1 {
            1 => Plane::constant(constants.next().copied().unwrap_or_default()),
            _ => Plane::varying(fields.bytes(count)?),
        });
    }

    let mut rows = vec![0; count * width];
    for (stripe, planes) in planes.chunks(STRIPE).enumerate() {
        let first = stripe * STRIPE;
        match planes.len() {
            1 => stripe_to_rows::<1>(planes, width, first, &mut rows),
            2 => stripe_to_rows::<2>(planes, width, first, &mut rows),
            3 => stripe_to_rows::<3>(planes, width, first, &mut rows),
            4 => stripe_to_rows::<4>(planes, width, first, &mut rows),
            5 => stripe_to_rows::<5>(planes, width, first, &mut rows),
            6 => stripe_to_rows::<6>(planes, width, first, &mut rows),
            7 => stripe_to_rows::<7>(planes, width, first, &mut rows),
            8 if width == 8 => stripe_to_rows::<8>(planes, 8, 0, &mut rows),
            _ => stripe_to_rows::<8>(planes, width, first, &mut rows),
        }
    }
    Ok(rows)
}

/// One byte of every row, by eight rows.
enum Plane<'a> {
    Constant(u64),
    Varying { words: &'a [[u8; 8]], rest: u64 },
}

impl<'a> Plane<'a> {
    fn constant(byte: u8) -> Plane<'a> {
        Plane::Constant(u64::from_le_bytes([byte; 8]))
    }

    fn varying(bytes: &'a [u8]) -> Plane<'a> {
        let (words, rest) = bytes.as_chunks();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        Plane::Varying { words, rest: u64::from_le_bytes(last) }
    }

    /// The bytes of eight rows, or of those that are left.
    #[inline(always)]
    fn word(&self, at: usize) -> u64 {
        match self {
            Plane::Constant(word) => *word,
            Plane::Varying { words, rest } => {
                words.get(at).map_or(*rest, |w| u64::from_le_bytes(*w))
            }
        }
    }
}

/// Bit `p` is set if byte `p` is the same in all rows.
fn constant_planes(rows: &[u8], width: usize) -> u64 {
    let first_row = &rows[..width];
    let mut differs = [0u8; WIDTH_MAX];
    let differs = &mut differs[..width];
    if let Ok(first) = <[u8; 8]>::try_from(first_row) {
        // The width of `u64` deserves its own loop: it is most keys and many values.
        let first = u64::from_le_bytes(first);
        let (words, _) = rows.as_chunks::<8>();
        let bits = words.iter().fold(0, |bits, word| bits | (u64::from_le_bytes(*word) ^ first));
        differs.copy_from_slice(&bits.to_le_bytes());
    } else {
        for row in rows.chunks_exact(width) {
            for ((differs, byte), first) in differs.iter_mut().zip(row).zip(first_row) {
                *differs |= byte ^ first;
            }
        }
    }
    (0..width).filter(|plane| differs[*plane] == 0).fold(0, |mask, plane| mask | 1 << plane)
}

/// Transposes the `R` bytes from `first` on of every row into `planes`, skipping absent ones.
#[inline(always)]
fn stripe_to_planes<const R: usize>(
    rows: &[u8],
    width: usize,
    first: usize,
    mut planes: [Option<&mut [u8]>; STRIPE],
) {
    let mut eights = rows.chunks_exact(width * 8);
    for (at, eight_rows) in eights.by_ref().enumerate() {
        let mut words = [0; 8];
        for (word, row) in words.iter_mut().zip(eight_rows.chunks_exact(width)) {
            *word = load::<R>(&row[first..]);
        }
        for (plane, word) in planes.iter_mut().zip(transpose(words)) {
            let Some(plane) = plane else { continue };
            plane[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
        }
    }
    let left = eights.remainder();
    let mut words = [0; 8];
    for (word, row) in words.iter_mut().zip(left.chunks_exact(width)) {
        *word = load::<R>(&row[first..]);
    }
    let start = (rows.len() - left.len()) / width;
    for (plane, word) in planes.into_iter().zip(transpose(words)) {
        let Some(plane) = plane else { continue };
        let end = &mut plane[start..];
        end.copy_from_slice(&word.to_le_bytes()[..end.len()]);
    }
}

/// The inverse of [`stripe_to_planes`].
#[inline(always)]
fn stripe_to_rows<const R: usize>(
    planes: &[Plane<'_>],
    width: usize,
    first: usize,
    rows: &mut [u8],
) {
    let full = rows.len() / (width * 8);
    let mut eights = rows.chunks_exact_mut(width * 8);
    for (at, eight_rows) in eights.by_ref().enumerate() {
        let mut words = [0; 8];
        for (word, plane) in words.iter_mut().zip(planes) {
            *word = plane.word(at);
        }
        let words = transpose(words);
        for (row, word) in words.iter().enumerate() {
            let start = row * width + first;
            eight_rows[start..start + R].copy_from_slice(&word.to_le_bytes()[..R]);
        }
    }
    let mut words = [0; 8];
    for (word, plane) in words.iter_mut().zip(planes) {
        *word = plane.word(full);
    }
    let words = transpose(words);
    for (word, row) in words.iter().zip(eights.into_remainder().chunks_exact_mut(width)) {
        row[first..first + R].copy_from_slice(&word.to_le_bytes()[..R]);
    }
}

/// The first `R` bytes as the low ones of a word.
#[inline(always)]
fn load<const R: usize>(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..R].copy_from_slice(&bytes[..R]);
    u64::from_le_bytes(word)
}

/// Transposes an 8 by 8 matrix of bytes: swaps halves, then quarters, then neighbours.
#[inline(always)]
fn transpose(mut words: [u64; 8]) -> [u64; 8] {
    let mut swap = |lower: usize, upper: usize, shift: u32, mask: u64| {
        let moved = ((words[lower] >> shift) ^ words[upper]) & mask;
        words[lower] ^= moved << shift;
        words[upper] ^= moved;
    };
    for row in [0, 1, 2, 3] {
        swap(row, row + 4, 32, 0x0000_0000_ffff_ffff);
    }
    for row in [0, 1, 4, 5] {
        swap(row, row + 2, 16, 0x0000_ffff_0000_ffff);
    }
    for row in [0, 2, 4, 6] {
        swap(row, row + 1, 8, 0x00ff_00ff_00ff_00ff);
    }
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Rows of any width and number come back, whichever of their planes are constant.
        #[test]
        fn rows_come_back(width in 1..=WIDTH_MAX, count in 1..40usize, seed in any::<u64>()) {
            let constant = seed.rotate_left(17);
            let rows: Vec<u8> = (0..count * width)
                .map(|at| match constant >> (at % width) & 1 {
                    1 => 7,
                    _ => (seed ^ at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()[7],
                })
                .collect();
            let mut stored = Vec::new();
            write(&rows, width, &mut stored);
            let mut fields = Fields::new("o", "column", &stored);
            prop_assert_eq!(read(&mut fields, count, width).unwrap(), rows);
            fields.end().unwrap();
        }
    }

    #[test]
    fn a_constant_plane_costs_one_byte() {
        let rows: Vec<u8> = (0..1000u64).flat_map(u64::to_le_bytes).collect();
        let mut stored = Vec::new();
        write(&rows, 8, &mut stored);
        assert_eq!(stored.len(), 1 + 6 + 2 * 1000);
    }
}
