//! What a completed checkpoint says of itself: `metadata.json`, for recovery and for people.
//!
//! The presence of the object *is* completion. Its last field is a checksum over all the others,
//! and it is read back only in the exact form in which it was written: a flipped byte anywhere,
//! white space included, is an error that names the object.
//!
//! Checkpoint ids are dense: each run appends at the id after the newest one, by put-if-absent.
//! A run's first checkpoint is the state that it restored ([`Origin::Restore`]), appended before
//! it does anything else: whatever an older run of the job tries to complete after that collides
//! with it, so two runs can never both go on.

mod codec;
mod reachability;
mod schema;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use codec::FORMAT_VERSION;
#[cfg(test)]
pub(crate) use codec::tests::fixture;
pub use reachability::{garbage, live_segments, segments_of_group};
pub use schema::{Compatibility, JSON, StateSchema};

use crate::state::StateDigest;
use crate::time::{Epoch, EventTime};

/// Number of a completed checkpoint within its job: dense, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CheckpointId(pub u64);

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One incarnation of a job: the fencing token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {}", self.0)
    }
}

/// Why a checkpoint was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A run began: the state that it restored, or none. Holds nothing that its source did not.
    Restore {
        /// The checkpoint that was restored.
        from: Option<CheckpointId>,
    },
    /// A run began, from a savepoint or from a checkpoint elsewhere, whose segments were copied
    /// into the job's folder. Holds nothing that its source did not.
    Fork {
        /// The checkpoint's id where it was taken.
        from: CheckpointId,
    },
    /// The interval had passed.
    Interval,
    /// Somebody asked for a savepoint, and this is the checkpoint that it was copied from.
    Savepoint,
    /// The job was asked to stop; it resumes from here.
    Stop,
    /// The input had ended; nothing is left to do.
    EndOfInput,
    /// The job was asked to end as if its input had: windows have fired and totals were emitted,
    /// though there may be more to read.
    Drain,
}

impl Origin {
    /// Whether it is the first checkpoint of a run: a copy of what the run started from.
    pub fn is_copy(self) -> bool {
        matches!(self, Origin::Restore { .. } | Origin::Fork { .. })
    }
}

/// A completed checkpoint: everything needed to start from it with any number of workers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckpointMetadata {
    /// Version of this format, [`FORMAT_VERSION`].
    pub format: u32,
    /// Name of the job.
    pub job: String,
    /// Number of this checkpoint.
    pub id: CheckpointId,
    /// Every record of this epoch and of those before it is in the state; none of a later one is.
    pub epoch: Epoch,
    /// The run that wrote it.
    pub generation: Generation,
    /// Why it was taken.
    pub origin: Origin,
    /// All input was read and all output is in it: nothing is left to do but to commit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub input_ended: bool,
    /// Number of workers that took part.
    pub workers: usize,
    /// Number of key groups of the job; fixed for its life.
    pub key_groups: u16,
    /// When the epoch was closed, milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// When the last snapshot was durable, milliseconds since the Unix epoch.
    pub completed_ms: u64,
    /// `completed_ms - started_ms`.
    pub duration_ms: u64,
    /// Bytes that this checkpoint added to the store, but for those of folds.
    pub bytes_written: u64,
    /// Bytes of the bases that folds have made of older segments since the checkpoint before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes_folded: u64,
    /// Bytes of all segments that it refers to.
    pub bytes_total: u64,
    /// One for each operator that has state, by uid.
    pub operators: Vec<OperatorStateMetadata>,
    /// Checksum over all of the above.
    pub crc32: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// The state of one operator, of all workers together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OperatorStateMetadata {
    /// The name that the user gave; what state is matched by.
    pub uid: String,
    /// What the operator is, and how its entries are encoded.
    pub schema: StateSchema,
    /// Keyed state: how many entries were live; none if nobody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entries: Option<u64>,
    /// Keyed state, oldest first: a newer segment's entries win.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<SegmentMetadata>,
    /// Of all live entries that the segments say; none in checkpoints older than this field, and
    /// where entries do not encode to the same bytes each time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<StateDigest>,
    /// What a source has read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<SplitMetadata>,
    /// What a sink has prepared and must commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub committables: Vec<serde_json::Value>,
    /// What an operator keeps without keys: the items of all workers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<serde_json::Value>,
    /// The watermark that the operator has acted on, the least of all workers'; none if it acts on
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<EventTime>,
}

/// Kind of an operator's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateKind {
    /// Entries by key, in segments.
    #[default]
    Keyed,
    /// Splits with offsets.
    Source,
    /// Committables.
    Sink,
    /// Items without keys.
    List,
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StateKind::Keyed => "keyed operator",
            StateKind::Source => "source",
            StateKind::Sink => "sink",
            StateKind::List => "list",
        })
    }
}

/// Whether a segment holds everything of its key groups or only what changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SegmentKind {
    /// All live entries: what was before it in its key groups no longer matters.
    Base,
    /// What changed since the segments before it, with tombstones for what was removed.
    Delta,
}

/// One segment: an object, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentMetadata {
    /// Name of the object below the job's folder.
    pub object: String,
    /// Where it begins in the object, if that is a bundle of several; none if it is all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Base or delta.
    pub kind: SegmentKind,
    /// First key group that it covers.
    pub first_group: u16,
    /// Last key group that it covers, included.
    pub last_group: u16,
    /// The epoch at whose end it was cut.
    pub epoch: Epoch,
    /// Entries, tombstones included.
    pub entries: u64,
    /// Its size, which is that of the object if it is all of it.
    pub bytes: u64,
    /// Checksum of its index, which holds those of its blocks.
    pub crc32: u32,
}

/// How far a source has read one split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SplitMetadata {
    /// Names the split within its source.
    pub id: String,
    /// What to read, as the connector describes it.
    pub split: serde_json::Value,
    /// Where to go on; none if nothing was read.
    pub offset: Option<serde_json::Value>,
    /// Read to its end.
    pub finished: bool,
    /// How far its event times have come; none if they say nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<EventTime>,
}

/// What one worker's part of an operator says when its snapshot of an epoch is durable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The epoch.
    pub epoch: Epoch,
    /// The worker.
    pub worker: usize,
    /// The operator's state: for keyed state what this epoch added, for sources and sinks all.
    #[serde(with = "as_text")]
    pub state: OperatorStateMetadata,
    /// Longest time that the worker's thread spent on this snapshot at one go, microseconds.
    pub stall_us: u64,
}

/// JSON as a string: between processes acknowledgements travel in bincode, which cannot decode
/// values that describe themselves.
mod as_text {
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::OperatorStateMetadata;

    pub(super) fn serialize<S: Serializer>(
        state: &OperatorStateMetadata,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&serde_json::to_string(state).map_err(S::Error::custom)?)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<OperatorStateMetadata, D::Error> {
        let text = String::deserialize(deserializer)?;
        serde_json::from_str(&text).map_err(D::Error::custom)
    }
}
