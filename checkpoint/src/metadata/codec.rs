//! `metadata.json` as bytes, and back.

/// Version of `metadata.json` and of all that it refers to.
pub const FORMAT_VERSION: u32 = 1;
