//! Keyed state in memory: key groups, the table, and how entries become bytes.
//!
//! ```text
//!   key --stable_hash--> 64 bits --high 32--> key group --> worker
//!                                 --low 32--> slot within the group's table
//! ```
//!
//! Nothing here knows timely, reads a clock or does I/O.

pub mod codec;
mod key_groups;
mod prefetch;
mod stable_hash;
mod table;

pub use codec::{Bincode, Codec};
pub use key_groups::{KEY_GROUPS_DEFAULT, KEY_GROUPS_MAX, KeyGroups};
pub use stable_hash::{StableHasher, stable_hash};
pub use table::{Cursor, KeyedTable, SealSlice};
