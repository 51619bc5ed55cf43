//! `metadata.json` as bytes, and back.
//!
//! ```text
//!   {
//!     "format": 1,
//!     ..
//!     "crc32": 3735928559          of the document with 0 in this place
//!   }
//! ```
//!
//! There is one serialisation of a document, and no other is read: it is parsed, serialised again
//! and compared. The checksum alone would not do, for a parser skips what it does not know.
//!
//! Every version ends with its checksum as this one does. So a document of a version that this
//! build cannot read is told from a damaged one, without understanding it.

use serde::Deserialize;

use super::CheckpointMetadata;
use crate::error::{Error, Result};

/// Version of `metadata.json` and of all that it refers to.
pub const FORMAT_VERSION: u32 = 1;

/// What is before and after the digits of the checksum.
const CRC32_FIELD: &str = "  \"crc32\": ";
const END: &str = "\n}\n";

impl CheckpointMetadata {
    /// Serialises the document: indented JSON, its checksum filled in, and a newline at the end.
    ///
    /// The bytes are a function of the fields alone, `crc32` excepted, which is computed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut document = self.clone();
        document.sort_keys();
        document.crc32 = 0;
        document.crc32 = crc32fast::hash(&document.serialise());
        document.serialise()
    }

    /// Reads a document that [`to_bytes`](CheckpointMetadata::to_bytes) made.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if it is whole, but of a version that this build does not read;
    /// [`Error::Corrupt`] if a single bit of it differs from what was written.
    pub fn from_bytes(object: &str, bytes: &[u8]) -> Result<CheckpointMetadata> {
        let found: FormatAlone = parse(object, bytes)?;
        let checksum = Checksum::of(bytes);
        if let Some(Checksum { stored, computed }) = checksum
            && stored != computed
        {
            let reason = format!("stored crc {stored:#010x}, computed {computed:#010x}");
            return Err(Error::corrupt(object, reason));
        }
        if found.format != FORMAT_VERSION {
            return Err(Error::invalid(format!(
                "{object} is of checkpoint format version {}; this build reads version \
                 {FORMAT_VERSION}",
                found.format
            )));
        }
        if checksum.is_none() {
            return Err(Error::corrupt(object, "it does not end with its checksum"));
        }
        let document: CheckpointMetadata = parse(object, bytes)?;
        let again = document.to_bytes();
        if again != bytes {
            let same = again.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            let (len, meant) = (bytes.len(), again.len());
            let reason = format!(
                "it is not in the form that is written: {len} bytes, should be {meant}, and \
                 differs from byte {same} on"
            );
            return Err(Error::corrupt(object, reason));
        }
        Ok(document)
    }

    fn serialise(&self) -> Vec<u8> {
        let mut bytes =
            serde_json::to_vec_pretty(self).expect("has no maps but those of JSON, and no writer");
        bytes.push(b'\n');
        bytes
    }

    /// Puts what connectors say into the one order of keys.
    ///
    /// Whether `serde_json` sorts by itself is a feature that any other crate of a build can
    /// switch; a document must not depend on who wrote it.
    fn sort_keys(&mut self) {
        for operator in &mut self.operators {
            for split in &mut operator.splits {
                split.split.sort_all_objects();
                if let Some(offset) = &mut split.offset {
                    offset.sort_all_objects();
                }
            }
            operator.committables.iter_mut().for_each(serde_json::Value::sort_all_objects);
        }
    }
}

/// All that is looked at before the version is known.
#[derive(Deserialize)]
struct FormatAlone {
    format: u32,
}

/// The checksum of a document of any version.
#[derive(Clone, Copy)]
struct Checksum {
    stored: u32,
    computed: u32,
}

impl Checksum {
    /// None if the document does not end in one.
    fn of(bytes: &[u8]) -> Option<Checksum> {
        let fields = bytes.strip_suffix(END.as_bytes())?;
        let digits = fields.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (before, stored) = fields.split_at(fields.len() - digits);
        let stored = std::str::from_utf8(stored).ok()?.parse().ok()?;
        if !before.ends_with(CRC32_FIELD.as_bytes()) {
            return None;
        }
        let mut hasher = crc32fast::Hasher::new();
        for part in [before, b"0", END.as_bytes()] {
            hasher.update(part);
        }
        Some(Checksum { stored, computed: hasher.finalize() })
    }
}

fn parse<'a, T: Deserialize<'a>>(object: &str, bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::corrupt(object, format!("it cannot be parsed: {error}")))
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;
    use crate::metadata::{
        CheckpointId, Generation, OperatorStateMetadata, Origin, SegmentKind, SegmentMetadata,
        SplitMetadata, StateKind, StateSchema,
    };
    use crate::time::Epoch;

    /// A checkpoint of a source, a keyed operator and a sink.
    pub(crate) fn fixture() -> CheckpointMetadata {
        let schema = |kind, key: &str, value: &str, codec: &str| StateSchema {
            kind,
            key_type: key.into(),
            value_type: value.into(),
            codec: codec.into(),
            version: 1,
            ..StateSchema::default()
        };
        let segment = |kind, epoch, crc32| SegmentMetadata {
            object: format!("segments/count/0000000007-0003-{epoch:010}-{kind:?}.seg"),
            offset: None,
            kind,
            first_group: 0,
            last_group: 127,
            epoch: Epoch(epoch),
            entries: 1000,
            bytes: 16384,
            crc32,
        };
        let lines = OperatorStateMetadata {
            uid: "lines".into(),
            schema: schema(StateKind::Source, "FileSplit", "FileOffset", "json"),
            splits: vec![SplitMetadata {
                id: "books/a \"quoted\" caf\u{e9}.txt".into(),
                split: json!({"path": "books/a.txt", "nested": {"z": 1, "a": [null, true]}}),
                offset: Some(json!({"byte": u64::MAX, "ratio": 0.123_456_789_012_345_67})),
                finished: false,
                watermark: None,
            }],
            ..OperatorStateMetadata::default()
        };
        let count = OperatorStateMetadata {
            uid: "count".into(),
            schema: schema(StateKind::Keyed, "String", "u64", "bincode-1"),
            segments: vec![
                segment(SegmentKind::Base, 40, 0xdead_beef),
                segment(SegmentKind::Delta, 42, 7),
            ],
            ..OperatorStateMetadata::default()
        };
        let counts = OperatorStateMetadata {
            uid: "counts".into(),
            schema: schema(StateKind::Sink, "", "Part", "json"),
            committables: vec![json!({"part": "counts/.part-3", "bytes": -1})],
            ..OperatorStateMetadata::default()
        };
        CheckpointMetadata {
            format: FORMAT_VERSION,
            job: "wordcount".into(),
            id: CheckpointId(42),
            epoch: Epoch(42),
            generation: Generation(7),
            origin: Origin::Restore { from: Some(CheckpointId(41)) },
            input_ended: false,
            workers: 4,
            key_groups: 128,
            started_ms: 1_700_000_000_000,
            completed_ms: 1_700_000_000_120,
            duration_ms: 120,
            bytes_written: 16384,
            bytes_folded: 0,
            bytes_total: 32768,
            operators: vec![lines, count, counts],
            crc32: 0,
        }
    }

    #[test]
    fn documents_come_back() {
        let bytes = fixture().to_bytes();
        let read = CheckpointMetadata::from_bytes("o", &bytes).unwrap();
        assert_eq!(CheckpointMetadata { crc32: 0, ..read.clone() }, fixture());
        assert_eq!(read.to_bytes(), bytes);
        assert!(bytes.ends_with(b"\n}\n"));
    }

    #[test]
    fn every_bit_flip_and_every_truncation_is_found() {
        let bytes = fixture().to_bytes();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let error = CheckpointMetadata::from_bytes("a.json", &damaged).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data, "bit {bit}: {error}");
            assert!(error.to_string().starts_with("a.json is corrupt: "), "bit {bit}: {error}");
        }
        for len in 0..bytes.len() {
            let error = CheckpointMetadata::from_bytes("a.json", &bytes[..len]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data, "length {len}: {error}");
        }
    }

    /// A checksum that was made to fit does not make another form of the document readable.
    #[test]
    fn another_form_of_the_same_document_is_an_error() {
        let text = String::from_utf8(fixture().to_bytes()).unwrap();
        let (unindented, unknown) = (
            text.replacen("  \"job\"", " \"job\"", 1),
            text.replacen("  \"job\"", "  \"new\": 1,\n  \"job\"", 1),
        );
        for other in [unindented, unknown] {
            assert_ne!(other, text);
            let other = resealed(&other);
            let error = CheckpointMetadata::from_bytes("o", other.as_bytes()).unwrap_err();
            let found = error.to_string();
            assert!(found.contains("not in the form that is written"), "{found}");
        }
    }

    #[test]
    fn an_unknown_version_says_what_this_build_reads() {
        let text = String::from_utf8(fixture().to_bytes()).unwrap();
        let newer = text.replacen("\"format\": 1", "\"format\": 2", 1);
        let damaged = CheckpointMetadata::from_bytes("o", newer.as_bytes()).unwrap_err();
        assert_eq!(damaged.kind(), ErrorKind::Data, "the version is what was damaged");

        // It may have other fields, as long as it ends with its checksum.
        let newer = resealed(&newer.replacen("\"job\"", "\"task\"", 1));
        let error = CheckpointMetadata::from_bytes("o", newer.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let meant = "o is of checkpoint format version 2; this build reads version 1";
        assert_eq!(error.to_string(), meant);
    }

    /// `text` with the checksum that it should have.
    fn resealed(text: &str) -> String {
        let computed = Checksum::of(text.as_bytes()).unwrap().computed;
        let at = text.rfind(CRC32_FIELD).unwrap() + CRC32_FIELD.len();
        format!("{}{computed}{END}", &text[..at])
    }
}
