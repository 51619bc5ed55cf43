//! What peers written in Rust have in common: the records, the digest, the runs.

mod digest;
mod event;
mod file;
mod runs;
mod text;

pub use digest::{Digest, Shared, hash, hash_of_key, mix};
pub use event::{Auction, Bid, Event, Person};
pub use file::{events, lines};
pub use runs::{Arguments, Job, Runs};
pub use text::Text;

/// As the project has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
