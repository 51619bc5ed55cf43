//! Proves that what version 1 wrote is still read, and that it is still what is written.
//!
//! The files in `golden/v1` were written once and never change. Every kind of column, tombstones
//! and both codecs are among the segment's blocks. A new version of the format gets a folder of
//! its own, and this one stays for as long as version 1 is read.
//!
//! That the written bytes are equal is stricter than the format needs: LZ4 leaves a compressor
//! its choices. If an update of `lz4_flex` alone makes `the_writer_*` fail, the new bytes are as
//! good; add them beside the old ones.

use std::path::{Path, PathBuf};

use highwater_checkpoint::metadata::{
    CheckpointId, CheckpointMetadata, FORMAT_VERSION, Generation, OperatorStateMetadata, Origin,
    SegmentKind, SplitMetadata, StateKind, StateSchema,
};
use highwater_checkpoint::segment::{
    EntryBlock, SEGMENT_VERSION, SegmentHeader, SegmentSummary, SegmentWriter, verify,
};
use highwater_checkpoint::{Epoch, Result};
use serde_json::json;

type Entry = (Vec<u8>, Option<Vec<u8>>);

const SEGMENT: &str = "count-base.seg";
const METADATA: &str = "metadata.json";

fn header() -> SegmentHeader {
    SegmentHeader {
        job: "wordcount".into(),
        uid: "count".into(),
        kind: SegmentKind::Base,
        generation: Generation(7),
        worker: 3,
        epoch: Epoch(42),
        key_groups: 128,
        first_group: 32,
        last_group: 63,
    }
}

/// Group by group: numbers, texts of many lengths with tombstones, wide values, random bytes.
fn blocks() -> Vec<(u16, Vec<Entry>)> {
    let number = |n: u64| n.to_le_bytes().to_vec();
    let noise = |n: u64| number(n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29));
    let numbers = (0..100).map(|n| (number(n * 3), Some(number(n % 7)))).collect();
    let words = ["", "checkpoint", "epoch", "frontier", "generation", "segment", "tombstone"];
    let texts =
        words.map(|word| (word.into(), (word.len() != 5).then(|| word.repeat(3).into()))).to_vec();
    let wide = (0..3).map(|n| (vec![n], Some(vec![n; 100]))).collect();
    let random = (0..9).map(|n| (noise(n), Some(noise(n + 9)))).collect();
    let removed = (0..3).map(|n| (number(n), None)).collect();
    vec![(32, numbers), (32, texts), (40, wide), (41, random), (63, removed)]
}

fn segment() -> Result<(Vec<u8>, SegmentSummary)> {
    let mut writer = SegmentWriter::new(header());
    for (group, entries) in blocks() {
        let mut block = EntryBlock::new();
        for (key, value) in &entries {
            block.push_bytes(key, value.as_deref())?;
        }
        writer.block(group, &block);
    }
    let (bytes, summary) = writer.finish();
    Ok((bytes.to_vec(), summary))
}

fn metadata(segment: &SegmentSummary) -> CheckpointMetadata {
    let schema = |kind, key: &str, value: &str, codec: &str| StateSchema {
        kind,
        key_type: key.into(),
        value_type: value.into(),
        codec: codec.into(),
        version: 1,
        ..StateSchema::default()
    };
    let lines = OperatorStateMetadata {
        uid: "lines".into(),
        schema: schema(StateKind::Source, "FileSplit", "FileOffset", "json"),
        splits: vec![SplitMetadata {
            id: "books/caf\u{e9}.txt".into(),
            split: json!({"path": "books/caf\u{e9}.txt", "glob": null}),
            offset: Some(json!({"byte": 123_456, "share": 0.1})),
            finished: false,
            watermark: None,
        }],
        ..OperatorStateMetadata::default()
    };
    let count = OperatorStateMetadata {
        uid: "count".into(),
        schema: schema(StateKind::Keyed, "alloc::string::String", "u64", "bincode-1"),
        segments: vec![segment.metadata("segments/count/0000000007-0003-0000000042-base.seg")],
        ..OperatorStateMetadata::default()
    };
    let counts = OperatorStateMetadata {
        uid: "counts".into(),
        schema: schema(StateKind::Sink, "", "FilePart", "json"),
        committables: vec![json!({"part": "counts/.part-42-3"})],
        ..OperatorStateMetadata::default()
    };
    CheckpointMetadata {
        format: FORMAT_VERSION,
        job: "wordcount".into(),
        id: CheckpointId(12),
        epoch: Epoch(42),
        generation: Generation(7),
        origin: Origin::Interval,
        input_ended: false,
        workers: 4,
        key_groups: 128,
        started_ms: 1_700_000_000_000,
        completed_ms: 1_700_000_000_120,
        duration_ms: 120,
        bytes_written: segment.bytes,
        bytes_folded: 0,
        bytes_total: segment.bytes,
        operators: vec![lines, count, counts],
        crc32: 0,
    }
}

fn golden(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Compares, and leaves what differs in a file to be looked at.
fn assert_written_as_ever(name: &str, written: &[u8]) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, written).expect("the target folder can be written to");
    assert!(golden(name) == written, "golden/v1/{name} differs from {}", path.display());
}

#[test]
fn a_segment_of_version_1_is_read() {
    let object = golden(SEGMENT);
    let index = verify(SEGMENT, &object).unwrap();
    assert_eq!(index.header(), &header());
    let mut read = Vec::new();
    for run in index.blocks_of(0..=127, 1 << 20) {
        let range = run.bytes();
        for block in run.decode(SEGMENT, &object[range.start as usize..range.end as usize]) {
            let (group, block) = block.unwrap();
            let entries: Vec<Entry> =
                block.iter().map(|(key, value)| (key.into(), value.map(Into::into))).collect();
            read.push((group, entries));
        }
    }
    assert_eq!(read, blocks());
}

#[test]
fn metadata_of_version_1_are_read_and_refer_to_the_segment() {
    let read = CheckpointMetadata::from_bytes(METADATA, &golden(METADATA)).unwrap();
    let (_, summary) = segment().unwrap();
    assert_eq!(CheckpointMetadata { crc32: 0, ..read.clone() }, metadata(&summary));
    let index = verify(SEGMENT, &golden(SEGMENT)).unwrap();
    index.check(&read.operators[1].segments[0]).unwrap();
}

#[test]
fn the_writer_makes_the_segment_of_version_1() {
    assert_eq!(SEGMENT_VERSION, 1, "a new version needs golden files of its own");
    assert_written_as_ever(SEGMENT, &segment().unwrap().0);
}

#[test]
fn the_writer_makes_the_metadata_of_version_1() {
    assert_eq!(FORMAT_VERSION, 1, "a new version needs golden files of its own");
    let (_, summary) = segment().unwrap();
    assert_written_as_ever(METADATA, &metadata(&summary).to_bytes());
}
