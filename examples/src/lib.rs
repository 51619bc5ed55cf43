//! The examples are in `examples/`; here is what several of them share: nothing yet.

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
