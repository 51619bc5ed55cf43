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
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn documents_come_back() {
        let bytes = fixture().to_bytes();
        let read = CheckpointMetadata::from_bytes("o", &bytes).unwrap();
        assert_eq!(CheckpointMetadata { crc32: 0, ..read.clone() }, fixture());
        assert_eq!(read.to_bytes(), bytes);
    }
}
