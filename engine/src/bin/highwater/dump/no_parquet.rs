//! In place of Parquet files, in a binary that was built without them: what to do about it.

use highwater::checkpoint::inspect::Stored;
use highwater::checkpoint::metadata::OperatorStateMetadata;
use highwater::checkpoint::{Error, Result};
use serde_json::Value;

use crate::partial::Partial;

/// There is none.
pub(super) enum ParquetFile {}

/// Whether this binary writes Parquet.
pub(super) fn check() -> Result<()> {
    Err(refusal())
}

fn refusal() -> Error {
    Error::invalid(
        "this binary does not write Parquet: build it with the cargo feature parquet, as in cargo \
         install --path engine --features parquet, or leave --format parquet out",
    )
}

impl ParquetFile {
    pub(super) fn begin(_: Partial, _: &Stored, _: &OperatorStateMetadata) -> Result<ParquetFile> {
        Err(refusal())
    }

    pub(super) fn push(&mut self, _: Value) -> Result<std::result::Result<(), String>> {
        match *self {}
    }

    pub(super) fn finish(self) -> Result<Partial> {
        match self {}
    }
}
