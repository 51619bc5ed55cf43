//! What state looks like, and how state that looks otherwise becomes it.
//!
//! ```text
//!   type --trace--> shape --> fingerprint          in the metadata, beside version and codec
//!                     |
//!                     +--compare--> the same | migrates | has changed, and where
//!                     +--to_json--> entries, for who has no type
//! ```
//!
//! What may differ, and what to do about the rest: `docs/schema.md`.

mod compare;
mod evolution;
mod json;
mod shape;
mod trace;

pub use compare::{Difference, Fitting, differences};
pub use evolution::{Evolution, Migrate, OlderVersion};
pub use json::to_json;
pub use shape::{Body, Field, Fields, Fingerprint, NamedShape, Shape, TypeShape, Variant};
pub use trace::{Readable, Untraceable, trace};
