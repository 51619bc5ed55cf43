//! The programs are in `examples/`; this library only sees to it that the one in the README compiles.

/// The program in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
