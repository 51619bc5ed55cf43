//! Looks into the checkpoints of a job from outside, whether the job runs or not.
//!
//! ```text
//!   path or URL --open--> job's folder --catalog--> checkpoint --entries--> live entries by group
//!                                          |             |                     |
//!                                        delete        verify, spread         diff
//! ```
//!
//! Only [`delete`] writes anything: the rest claims, probes and creates nothing, so that it may be
//! used on a copy that is read-only and beside a job that runs. A checkpoint that a job deletes
//! while it is being read ends as [`Error::Missing`](crate::Error::Missing).
//!
//! Nothing here prints: `engine/src/bin/highwater/` does.

mod catalog;
mod delete;
mod diff;
mod entries;
mod open;
mod spread;
mod verify;

pub use catalog::{Listed, ListedSavepoint, Stored, Which, list, read, savepoints};
pub use delete::{Deleted, delete};
pub use diff::{Changes, Compared, KeyChange, OperatorDiff, SplitMove, diff};
pub use entries::{LiveEntries, LiveState};
pub use open::{jobs, open};
pub use spread::{WorkerShare, spread};
pub use verify::{Finding, Progress, Verifier};
