//! What a segment says of itself, at its front and again in its index.
//!
//! ```text
//!   front   := magic: 8 bytes | version: u32 | body_len: u32 | body | crc32: u32
//!   body    := kind: u8 | key_groups: u16 | first_group: u16 | last_group: u16 | generation: u64
//!            | worker: u64 | epoch: u64 | job: string | uid: string
//!   string  := length: u32 | UTF-8
//! ```
//!
//! All but the body is the same in every version.

use super::fields::Fields;
use crate::error::{Error, Result};
use crate::metadata::{Generation, SegmentKind};
use crate::time::Epoch;

/// Version of the format that is written; the only one so far, and the only one that is read.
pub const SEGMENT_VERSION: u32 = 1;

const MAGIC: &[u8; 8] = b"HWsegmt\n";
const BASE: u8 = 1;
const DELTA: u8 = 2;

/// Bytes of the front before and after its body.
const FRONT_FRAME_LEN: usize = 8 + 4 + 4 + 4;

/// What a segment is: enough to tell, from the object alone, where it belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Name of the job.
    pub job: String,
    /// The operator.
    pub uid: String,
    /// Base or delta.
    pub kind: SegmentKind,
    /// The run that wrote it.
    pub generation: Generation,
    /// The worker that wrote it.
    pub worker: usize,
    /// The epoch at whose end it was cut.
    pub epoch: Epoch,
    /// Number of key groups of the job.
    pub key_groups: u16,
    /// First key group that it covers, whether or not it has entries there.
    pub first_group: u16,
    /// Last key group that it covers, included.
    pub last_group: u16,
}

impl SegmentHeader {
    /// Whether the range of groups is one, and within the job's.
    pub(super) fn is_in_range(&self) -> bool {
        self.first_group <= self.last_group && self.last_group < self.key_groups
    }

    /// Whether `group` is among those that the segment covers.
    pub(super) fn covers(&self, group: u16) -> bool {
        (self.first_group..=self.last_group).contains(&group)
    }

    /// The body: the same bytes at the front and in the index.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.push(match self.kind {
            SegmentKind::Base => BASE,
            SegmentKind::Delta => DELTA,
        });
        for groups in [self.key_groups, self.first_group, self.last_group] {
            out.extend_from_slice(&groups.to_le_bytes());
        }
        for number in [self.generation.0, self.worker as u64, self.epoch.0] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for name in [&self.job, &self.uid] {
            out.extend_from_slice(&(name.len() as u32).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
        }
        out
    }

    pub(super) fn from_body(object: &str, body: &[u8]) -> Result<SegmentHeader> {
        let mut fields = Fields::new(object, "header", body);
        let kind = match fields.u8()? {
            BASE => SegmentKind::Base,
            DELTA => SegmentKind::Delta,
            other => {
                let reason = format!("has kind {other}, not {BASE} (base) or {DELTA} (delta)");
                return Err(fields.corrupt(reason));
            }
        };
        let (key_groups, first_group, last_group) = (fields.u16()?, fields.u16()?, fields.u16()?);
        let generation = Generation(fields.u64()?);
        let worker = fields.u64()?;
        let Ok(worker) = usize::try_from(worker) else {
            return Err(fields.corrupt(format!("names worker {worker}")));
        };
        let epoch = Epoch(fields.u64()?);
        let (job, uid) = (fields.string()?, fields.string()?);
        let header = SegmentHeader {
            job,
            uid,
            kind,
            generation,
            worker,
            epoch,
            key_groups,
            first_group,
            last_group,
        };
        if !header.is_in_range() {
            let reason = format!("covers groups {first_group} to {last_group} of {key_groups}");
            return Err(fields.corrupt(reason));
        }
        fields.end()?;
        Ok(header)
    }

    /// The front of an object, with `body`.
    pub(super) fn front(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(SegmentHeader::front_len(body.len()));
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out.extend_from_slice(body);
        let crc32 = crc32fast::hash(&out);
        out.extend_from_slice(&crc32.to_le_bytes());
        out
    }

    /// Size of the front with a body of `body_len` bytes: where the first block is.
    pub(super) fn front_len(body_len: usize) -> usize {
        FRONT_FRAME_LEN + body_len
    }

    /// Reads the front of a segment, of which `bytes` are the first or all.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if `object` is of a version that this build does not read,
    /// [`Error::Corrupt`] if it is not what was written or is no segment.
    pub fn parse(object: &str, bytes: &[u8]) -> Result<SegmentHeader> {
        let mut fields = Fields::new(object, "front", bytes);
        let magic = fields.bytes(MAGIC.len())?;
        if magic != MAGIC {
            let (found, meant) = (magic.escape_ascii(), MAGIC.escape_ascii());
            return Err(fields.corrupt(format!("begins with {found}, not with {meant}")));
        }
        let version = fields.u32()?;
        let body_len = fields.u32()? as usize;
        let body = fields.bytes(body_len)?;
        let stored = fields.u32()?;
        let computed = crc32fast::hash(&bytes[..FRONT_FRAME_LEN - 4 + body_len]);
        if stored != computed {
            let reason = format!("has crc {computed:#010x}, should have {stored:#010x}");
            return Err(fields.corrupt(reason));
        }
        check_version(object, version)?;
        SegmentHeader::from_body(object, body)
    }
}

/// Refuses what this build does not read. The version's own checksum must have been checked.
pub(super) fn check_version(object: &str, version: u32) -> Result<()> {
    if version == SEGMENT_VERSION {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "{object} is of segment format version {version}; this build reads version \
         {SEGMENT_VERSION}"
    )))
}
