//! Sources and sinks for Highwater: one folder or file a system, one feature each.
//!
//! | system        | source                                   | sink                                     | guarantee    | feature     |
//! |---------------|------------------------------------------|------------------------------------------|--------------|-------------|
//! | files         | [`FileSource`](files::FileSource)        | [`FileSink`](files::FileSink)            | exactly once | `files`     |
//! | numbers       | [`GeneratorSource`](generator::GeneratorSource) | -                                 | exactly once | `generator` |
//! | nothing       | -                                        | [`BlackholeSink`](blackhole::BlackholeSink) | none: counts | `blackhole` |
//!
//! "Exactly once" holds with a checkpoint directory; without one a job that fails starts over. All
//! features are on by default. Connectors of your own implement `highwater::source::Source` and
//! `highwater::sink::Sink`, and test themselves by `highwater::testing`.

#[cfg(feature = "blackhole")]
pub mod blackhole;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "generator")]
pub mod generator;
