//! Keyed state in memory: key groups, the table, and how entries become bytes.
//!
//! ```text
//!   key --stable_hash--> 64 bits --high 32--> key group --> worker
//!          following bits of those --> part of the group, a table of bounded size
//!                                 --low 32--> bucket within the part
//! ```
//!
//! Nothing here knows timely, reads a clock or does I/O.

mod changes;
pub mod codec;
mod digest;
mod key_groups;
mod parts;
mod prefetch;
mod restore;
mod short_hash;
mod stable_hash;
mod table;
pub mod typed;

pub(crate) use changes::{SPARE_BLOCK_BYTES, spare_blocks};
pub(crate) use codec::serde_decoder;
pub use codec::{
    ABOMONATION, BINCODE, Bincode, Codec, Decode, MESSAGE_PACK, MessagePack, SerdeCodec, Verified,
};
#[cfg(feature = "abomonation")]
pub use codec::{Abomonation, Trusted};
pub use digest::StateDigest;
pub use key_groups::{KEY_GROUPS_DEFAULT, KEY_GROUPS_MAX, KeyGroups};
pub(crate) use short_hash::xxh3_64;
pub use stable_hash::{StableHasher, stable_hash};
pub use table::{Cursor, KeyedTable, Place, SealSlice};
