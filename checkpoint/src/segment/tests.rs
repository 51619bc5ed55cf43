//! Proves that what is written is what is read, and that anything else is an error.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{Generation, SegmentKind};
use crate::time::Epoch;

type Entry = (Vec<u8>, Option<Vec<u8>>);

fn header() -> SegmentHeader {
    SegmentHeader {
        job: "wordcount".into(),
        uid: "count".into(),
        kind: SegmentKind::Delta,
        generation: Generation(7),
        worker: 3,
        epoch: Epoch(42),
        key_groups: 128,
        first_group: 10,
        last_group: 99,
    }
}

fn block_of(entries: &[Entry]) -> EntryBlock {
    let mut block = EntryBlock::new();
    for (key, value) in entries {
        block.push_bytes(key, value.as_deref()).unwrap();
    }
    block
}

fn entries_of(block: &EntryBlock) -> Vec<Entry> {
    block.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect()
}

fn write(blocks: &[(u16, Vec<Entry>)]) -> (Vec<u8>, SegmentSummary) {
    let mut writer = SegmentWriter::new(header());
    for (group, entries) in blocks {
        writer.block(*group, &block_of(entries));
    }
    let (bytes, summary) = writer.finish();
    (bytes.to_vec(), summary)
}

/// Reads as a restoring worker does: the tail, then the ranges of some groups.
fn read(
    object: &[u8],
    groups: std::ops::RangeInclusive<u16>,
    run_bytes: u64,
) -> Result<Vec<(u16, Vec<Entry>)>> {
    let tail = &object[object.len().saturating_sub(SegmentIndex::TAIL_HINT as usize)..];
    let trailer = Trailer::parse("o", tail, object.len() as u64)?;
    let range = trailer.index_range();
    let index = object.get(range.start as usize..range.end as usize).unwrap();
    let index = SegmentIndex::parse("o", &trailer, index)?;
    let mut blocks = Vec::new();
    for run in index.blocks_of(groups, run_bytes) {
        let range = run.bytes();
        assert!(run.blocks().len() == 1 || range.end - range.start <= run_bytes);
        for block in run.decode("o", &object[range.start as usize..range.end as usize]) {
            let (group, block) = block?;
            blocks.push((group, entries_of(&block)));
        }
    }
    Ok(blocks)
}

/// Three blocks that between them use every kind of column, tombstones, and both codecs.
fn small() -> Vec<(u16, Vec<Entry>)> {
    let number = |n: u64| n.to_le_bytes().to_vec();
    let fixed = (0..9).map(|n| (number(n * n), Some(number(n)))).collect();
    let mixed = vec![
        (b"".to_vec(), Some(b"empty key".to_vec())),
        (b"gone".to_vec(), None),
        (b"key".to_vec(), Some(vec![])),
    ];
    let wide = vec![(vec![1], Some(vec![9; 300])), (vec![2], Some(vec![8; 300])), (vec![3], None)];
    vec![(10, fixed), (10, mixed), (99, wide)]
}

#[test]
fn every_bit_flip_and_every_truncation_is_found() {
    let blocks = small();
    let (object, _) = write(&blocks);
    verify("o", &object).unwrap();

    for bit in 0..object.len() * 8 {
        let mut damaged = object.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let error = verify("o", &damaged).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "bit {bit}: {error}");
        // Not every reader looks at every byte: the front is for people, and for `verify`.
        if let Ok(read) = read(&damaged, 0..=127, u64::MAX) {
            assert_eq!(read, blocks, "bit {bit}");
        }
    }
    for len in 0..object.len() {
        let error = verify("o", &object[..len]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "length {len}: {error}");
        let error = read(&object[..len], 0..=127, u64::MAX).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Data, "length {len}: {error}");
    }
}

/// What has a valid checksum but was never written: the checks below the checksum hold as well.
#[test]
fn a_forged_block_is_an_error() {
    let (object, _) = write(&small());
    let index = verify("o", &object).unwrap();
    for block in index.blocks() {
        let frame = &object[block.offset as usize..][..block.len as usize];
        for at in (4..24).chain(28..frame.len()) {
            for change in [1, 0x10, 0x80, 0xff] {
                let mut forged = frame.to_vec();
                forged[at] ^= change;
                let crc32 = crc32fast::hash(&[&forged[..24], &forged[28..]].concat());
                forged[24..28].copy_from_slice(&crc32.to_le_bytes());
                let mut entry = BlockEntry { crc32, ..*block };
                entry.entries = u32::from_le_bytes(forged[8..12].try_into().unwrap());
                entry.raw_len = u32::from_le_bytes(forged[12..16].try_into().unwrap());
                // Other bytes may well be another block; they must not be a panic.
                if let Ok(decoded) = decode_block("o", &entry, &forged) {
                    assert_eq!(decoded.iter().count(), entry.entries as usize);
                    assert_eq!(decoded.raw_bytes(), entry.raw_len as usize);
                }
            }
        }
    }
}

#[test]
fn a_block_in_the_place_of_another_is_found() {
    let (object, _) = write(&[(10, small()[0].1.clone()), (11, small()[0].1.clone())]);
    let index = verify("o", &object).unwrap();
    let [first, second] = index.blocks() else { panic!("two blocks") };
    let frame = &object[second.offset as usize..][..second.len as usize];
    let error = decode_block("o", first, frame).unwrap_err().to_string();
    assert!(error.contains("o is corrupt") && error.contains("is another"), "{error}");
}

#[test]
fn an_unknown_version_says_what_this_build_reads() {
    let (mut object, _) = write(&small());
    let end = object.len();
    object[end - 16..end - 12].copy_from_slice(&2u32.to_le_bytes());
    let crc32 = crc32fast::hash(&object[end - 36..end - 12]);
    object[end - 12..end - 8].copy_from_slice(&crc32.to_le_bytes());
    let error = Trailer::parse("a.seg", &object, end as u64).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let meant = "a.seg is of segment format version 2; this build reads version 1";
    assert_eq!(error.to_string(), meant);

    object[8..12].copy_from_slice(&2u32.to_le_bytes());
    let front_len = SegmentHeader::front_len(header().body().len());
    let crc32 = crc32fast::hash(&object[..front_len - 4]);
    object[front_len - 4..front_len].copy_from_slice(&crc32.to_le_bytes());
    assert_eq!(verify("a.seg", &object).unwrap_err().to_string(), meant);
}

#[test]
fn the_index_is_checked_against_the_metadata() {
    let (object, summary) = write(&small());
    let index = verify("a.seg", &object).unwrap();
    let meant = summary.metadata("a.seg");
    index.check(&meant).unwrap();
    assert_eq!((meant.first_group, meant.last_group, meant.entries), (10, 99, 15));
    let other = crate::metadata::SegmentMetadata { epoch: Epoch(41), ..meant };
    let error = index.check(&other).unwrap_err().to_string();
    assert!(error.contains("Epoch(42)") && error.contains("Epoch(41)"), "{error}");
}

#[test]
fn a_segment_without_blocks_still_covers_its_groups() {
    let (object, summary) = write(&[(10, vec![])]);
    let index = verify("o", &object).unwrap();
    assert!(index.blocks().is_empty() && index.blocks_of(0..=u16::MAX, 1).is_empty());
    let meant = summary.metadata("o");
    assert_eq!((meant.first_group, meant.last_group, meant.entries), (10, 99, 0));
}

#[test]
fn a_failed_entry_leaves_the_block_as_it_was() {
    let mut block = block_of(&small()[1].1);
    let before = entries_of(&block);
    let fail = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"half");
        Err(Error::invalid("no"))
    };
    block
        .push(
            |out| {
                out.push(1);
                Ok(())
            },
            fail,
        )
        .unwrap_err();
    block.push(fail, |_| Ok(())).unwrap_err();
    block.push_tombstone(fail).unwrap_err();
    assert_eq!(entries_of(&block), before);
    block.push_bytes(b"k", Some(b"v")).unwrap();
    assert_eq!(entries_of(&block).last(), Some(&(b"k".to_vec(), Some(b"v".to_vec()))));
}

#[test]
fn a_block_has_a_limit_even_for_entries_without_bytes() {
    let mut block = EntryBlock::new();
    for _ in 0..BLOCK_ENTRIES_LIMIT {
        block.push_bytes(b"", Some(b"")).unwrap();
    }
    let error = block.push_bytes(b"key", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().starts_with("an entry of 3 bytes does not fit"), "{error}");
    assert_eq!((block.len(), block.raw_bytes()), (BLOCK_ENTRIES_LIMIT, 0));
}

#[test]
fn entries_of_fixed_size_cost_nothing_else() {
    let mut block = EntryBlock::new();
    for n in 0..100u64 {
        block.push_bytes(&n.to_le_bytes(), Some(&n.to_le_bytes())).unwrap();
    }
    assert_eq!(block.raw_bytes(), 1600);
    block.push_bytes(&7u64.to_le_bytes(), None).unwrap();
    assert_eq!(block.raw_bytes(), 1608 + 101usize.div_ceil(8));
    block.clear();
    assert_eq!((block.len(), block.raw_bytes(), block.iter().count()), (0, 0, 0));
}

/// Keys and values of one size, of several, or none at all.
/// Blocks of `count` keys with `len` bytes each, of which every `noisy` of 100 are noise; the part that
/// is left of them.
fn stored_of_noise(count: u64, len: usize, noisy: u8) -> f64 {
    let mut state = 7_u64;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let entries: Vec<Entry> = (0..count)
        .map(|n| {
            let at = len * usize::from(noisy) / 100;
            let value = (0..len).map(|byte| if byte < at { next() } else { b'x' }).collect();
            (n.to_le_bytes().to_vec(), Some(value))
        })
        .collect();
    let (object, _) = write(&[(10, entries.clone())]);
    assert_eq!(read(&object, 10..=10, 1 << 20).unwrap(), [(10, entries)]);
    object.len() as f64 / (count as usize * (len + 8)) as f64
}

#[test]
fn rows_are_compressed_if_that_makes_them_about_half_as_small() {
    let (half, less) = (stored_of_noise(2_000, 300, 40), stored_of_noise(2_000, 300, 80));
    assert!(half < 0.55, "{half}");
    assert!((0.95..1.05).contains(&less), "{less}");
    // So little that it is not worth asking, and words, which cost next to nothing.
    let (few, words) = (stored_of_noise(100, 300, 80), stored_of_noise(50_000, 8, 75));
    assert!(few < 0.9, "{few}");
    assert!(words < 0.6, "{words}");
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let bytes = |len: std::ops::RangeInclusive<usize>| vec(0..4u8, len);
    let entries = |key, value| vec((key, option::weighted(0.8, value)), 1..50);
    prop_oneof![
        entries(bytes(8..=8).boxed(), bytes(8..=8).boxed()),
        entries(bytes(3..=3).boxed(), bytes(0..=0).boxed()),
        entries(bytes(0..=9).boxed(), bytes(0..=200).boxed()),
        entries(bytes(70..=70).boxed(), vec(any::<u8>(), 65..=65).boxed()),
    ]
}

fn blocks() -> impl Strategy<Value = Vec<(u16, Vec<Entry>)>> {
    vec((10..100u16, entries()), 0..12).prop_map(|mut blocks| {
        blocks.sort_by_key(|(group, _)| *group);
        blocks
    })
}

proptest! {
    #[test]
    fn segments_come_back(
        blocks in blocks(),
        groups in (0..128u16, 0..128u16),
        run_bytes in 0..2000u64,
        takes in any::<u64>(),
    ) {
        let (object, summary) = write(&blocks);
        let index = verify("o", &object).unwrap();
        prop_assert_eq!(index.header(), &header());
        prop_assert_eq!(index.entries(), summary.entries);
        prop_assert_eq!(object.len() as u64, summary.bytes);
        prop_assert_eq!(read(&object, 0..=127, u64::MAX).unwrap(), blocks.clone());

        let some = groups.0..=groups.1;
        let meant: Vec<_> =
            blocks.iter().filter(|(group, _)| some.contains(group)).cloned().collect();
        prop_assert_eq!(read(&object, some, run_bytes).unwrap(), meant);

        // When bytes are taken does not show in them.
        let mut writer = SegmentWriter::new(header());
        let mut streamed = Vec::new();
        for (at, (group, entries)) in blocks.iter().enumerate() {
            writer.block(*group, &block_of(entries));
            if takes >> at & 1 == 1 {
                streamed.extend_from_slice(&writer.take_ready());
            }
        }
        let (rest, again) = writer.finish();
        streamed.extend_from_slice(&rest);
        prop_assert_eq!(again, summary);
        prop_assert!(streamed == object);
    }

    /// Whatever bytes are given to the parsers, they return.
    #[test]
    fn noise_is_an_error(noise in vec(any::<u8>(), 0..300)) {
        prop_assert!(verify("o", &noise).is_err());
        prop_assert!(Trailer::parse("o", &noise, noise.len() as u64).is_err());
        let entry =
            BlockEntry { group: 0, entries: 1, offset: 0, len: noise.len() as u32, raw_len: 9, crc32: 0 };
        prop_assert!(decode_block("o", &entry, &noise).is_err());
        if let Ok(block) = pack::unpack("o", &noise, 1 << 20, 1 << 20) {
            prop_assert_eq!(block.iter().count(), 1 << 20);
        }
    }

    /// The model is a map that is written to in order.
    #[test]
    fn fold_is_a_map(
        segments in vec(vec(vec((vec(0..3u8, 0..3), option::of(vec(any::<u8>(), 0..4))), 1..9), 0..4), 0..5),
        keep in any::<bool>(),
    ) {
        let mut model = BTreeMap::new();
        for (key, value) in segments.iter().flatten().flatten() {
            model.insert(key.clone(), value.clone());
        }
        model.retain(|_, value| keep || value.is_some());

        let input: Vec<Vec<EntryBlock>> =
            segments.iter().map(|blocks| blocks.iter().map(|block| block_of(block)).collect()).collect();
        let removed = if keep { Removed::Keep } else { Removed::Drop };
        let folded: Vec<Entry> = fold(&input, removed).iter().flat_map(entries_of).collect();
        prop_assert_eq!(folded, model.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn fold_cuts_blocks() {
    let large = |key: u8| vec![block_of(&[(vec![key], Some(vec![key; BLOCK_BYTES_MAX / 2 + 1]))])];
    let folded = fold(&[large(2), large(1), large(2), large(3)], Removed::Drop);
    let keys: Vec<_> = folded.iter().map(|block| block.iter().next().unwrap().0[0]).collect();
    assert_eq!(keys, [1, 2, 3]);
}
