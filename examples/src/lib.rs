//! The examples are in `examples/`; here is what several of them share: nothing yet.
