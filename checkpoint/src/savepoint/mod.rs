//! Savepoints: checkpoints that people name, keep, move and start other jobs from.
//!
//! ```text
//! <root>/<job>/savepoints/before-upgrade/metadata.json       its presence makes the savepoint
//! <root>/<job>/savepoints/before-upgrade/segments/...        copies: nothing outside is referred to
//! ```
//!
//! The folder is whole by itself. It may be copied or moved anywhere and restored from there by
//! its path, by any job whose operators have the uids; no run deletes it.
//!
//! [`request`] asks a running job for one, through the store; [`folder`] lists, reads and deletes
//! them. Taking one is the run's (`run/requests.rs`).
//!
//! # Invariants
//!
//! * **V1** The metadata is put last, if absent: a savepoint that can be seen is whole, and a name
//!   is never given to a second one. What a crash leaves is no savepoint, and is replaced.
//! * **V2** A savepoint lists no output to commit: it is taken when the sinks of the job have
//!   committed what was prepared until its epoch. Else a fork would commit the original's output.

pub(crate) mod copy;
pub mod folder;
mod name;
pub mod request;

pub use name::SavepointName;

#[cfg(all(test, feature = "testing"))]
mod tests;
