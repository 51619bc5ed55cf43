//! `state dump`: the entries of an operator, as JSON lines or as a Parquet file.

#[cfg(feature = "parquet")]
mod columns;
#[cfg(feature = "parquet")]
mod leaves;
#[cfg_attr(not(feature = "parquet"), path = "no_parquet.rs")]
mod parquet_file;

use std::fmt;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use highwater::checkpoint::Error;
use highwater::checkpoint::inspect::{self, LiveEntries, Stored, Which};
use highwater::checkpoint::metadata::{OperatorStateMetadata, StateKind};
use parquet_file::ParquetFile;
use serde_json::{Value, json};

use super::entries::Entries;
use super::output::{self, Output};
use super::partial::Partial;
use super::{BoxError, Outcome, Place, Verdict};

#[derive(Args)]
#[command(
    after_help = "One line an entry: {\"group\": 7, \"key\": .., \"value\": ..}, by key group, and by \
the bytes of the key within it. Of a source, its splits and offsets; of a sink, what it is to commit; of a list, its items. \
Keys and values are JSON; those of types that the checkpoint does not describe are the bytes of \
their encoding, in hexadecimal, and a note on stderr says so. The job need not run. Memory is bounded by the size of one key group.

In Parquet the columns are group, key and value, with the types that the checkpoint records: structs, \
tuples (fields 0, 1, ..), lists, and maps with texts or integers as keys. What Parquet has no type for \
is JSON in a column of text: enums with values in them, other maps, types that hold themselves, and what \
is beyond 1000 columns. Integers of 128 bits are their digits; NaN and infinities are null, as in JSON.

An entry that does not decode is left out: stderr names its key group and its number in there, from 0, \
and the exit code is 1.

Examples:
  highwater state dump out/checkpoints --operator count
  highwater state dump out/checkpoints --operator count --checkpoint before-upgrade --key-group 7
  highwater state dump out/checkpoints --operator count --format parquet --output counts.parquet"
)]
pub(super) struct DumpArgs {
    #[command(flatten)]
    place: Place,

    /// The uid of the operator
    #[arg(long, value_name = "UID")]
    operator: String,

    /// Which checkpoint: latest, an id, or the name of a savepoint
    #[arg(long, value_name = "latest|ID|NAME", default_value = "latest", value_parser = Which::from_str)]
    checkpoint: Which,

    /// One key group alone
    #[arg(long, value_name = "N")]
    key_group: Option<u16>,

    /// What is written; parquet needs --output, and a binary with the feature parquet
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Jsonl)]
    format: Format,

    /// Where to, in place of stdout; the file is there, or is replaced, when it is complete
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// JSON lines
    Jsonl,
    /// A Parquet file
    Parquet,
}

pub(super) async fn dump(args: DumpArgs, output: &mut Output) -> Outcome {
    args.check()?;
    let store = args.place.open().await?;
    let stored = inspect::read(&store, &args.checkpoint).await?;
    let operator = stored.operator(&args.operator)?;
    let groups = groups(&stored, args.key_group)?;
    let file = args.file(&stored, operator)?;
    let mut dump = Dump { output, file, written: 0, left_out: 0 };
    for (number, split) in operator.splits.iter().enumerate() {
        dump.row(&format_args!("split {number}"), serde_json::to_value(split)?)?;
    }
    for (number, item) in operator.committables.iter().chain(&operator.items).enumerate() {
        dump.row(&format_args!("item {number}"), item.clone())?;
    }
    if operator.schema.kind == StateKind::Keyed {
        dump.entries(LiveEntries::open(&stored.store, operator, groups).await?, operator).await?;
    }
    dump.end(args.output.as_deref())
}

fn groups(stored: &Stored, one: Option<u16>) -> Result<Range<u16>, Error> {
    let key_groups = stored.metadata.key_groups;
    match one {
        None => Ok(0..key_groups),
        Some(group) if group < key_groups => Ok(group..group + 1),
        Some(group) => Err(Error::invalid(format!(
            "there is no key group {group}: {stored} has {key_groups}, from 0 to {}",
            key_groups.saturating_sub(1)
        ))),
    }
}

impl DumpArgs {
    fn check(&self) -> Result<(), Error> {
        if self.format == Format::Jsonl {
            return Ok(());
        }
        parquet_file::check()?;
        if self.output.is_none() {
            return Err(Error::invalid(
                "a Parquet file is not for a terminal or a pipe: say where with --output FILE",
            ));
        }
        Ok(())
    }

    fn file(
        &self,
        stored: &Stored,
        operator: &OperatorStateMetadata,
    ) -> Result<Option<RowFile>, BoxError> {
        let Some(path) = &self.output else { return Ok(None) };
        let file = Partial::create(path)?;
        Ok(Some(match self.format {
            Format::Jsonl => RowFile::Lines(file),
            Format::Parquet => {
                RowFile::Parquet(Box::new(ParquetFile::begin(file, stored, operator)?))
            }
        }))
    }
}

/// A file that rows go to.
enum RowFile {
    Lines(Partial),
    Parquet(Box<ParquetFile>),
}

impl RowFile {
    /// Adds a row; says if the file cannot take it as it is.
    fn push(&mut self, row: Value) -> Result<Result<(), String>, BoxError> {
        match self {
            RowFile::Lines(file) => {
                serde_json::to_writer(&mut *file, &row)?;
                writeln!(file)?;
                Ok(Ok(()))
            }
            RowFile::Parquet(file) => Ok(file.push(row)?),
        }
    }

    /// Completes the file; returns its size.
    fn complete(self) -> Result<u64, BoxError> {
        match self {
            RowFile::Lines(file) => Ok(file.complete()?),
            RowFile::Parquet(file) => Ok(file.finish()?.complete()?),
        }
    }
}

/// Entries that are left out and named: beyond that they are counted.
const NAMED_MAX: u64 = 20;

/// Where rows go, and what became of them.
struct Dump<'o> {
    output: &'o mut Output,
    /// In place of the output.
    file: Option<RowFile>,
    written: u64,
    left_out: u64,
}

impl Dump<'_> {
    /// All entries of keyed state.
    async fn entries(
        &mut self,
        mut entries: LiveEntries<'_>,
        operator: &OperatorStateMetadata,
    ) -> Result<(), BoxError> {
        let mut shown = Entries::default();
        while let Some((group, blocks)) = entries.next_group().await? {
            for (number, (key, value)) in blocks.iter().flatten().enumerate() {
                let place = format_args!("key group {group}, entry {number}");
                let (uid, schema) = (&operator.uid, &operator.schema);
                let key = shown.key(uid, schema, key);
                let value = shown.value(uid, schema, value.unwrap_or_default());
                match key.and_then(|key| Ok((key, value?))) {
                    Ok((key, value)) => {
                        self.row(&place, json!({ "group": group, "key": key, "value": value }))?;
                    }
                    Err(error @ Error::Corrupt { .. }) => self.leave_out(&place, &error),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn row(&mut self, place: &dyn fmt::Display, row: Value) -> Result<(), BoxError> {
        let taken = match &mut self.file {
            Some(file) => file.push(row)?,
            None => Ok(self.output.json_line(&row)?),
        };
        match taken {
            Ok(()) => self.written += 1,
            Err(misfit) => self.leave_out(place, &misfit),
        }
        Ok(())
    }

    fn leave_out(&mut self, place: &dyn fmt::Display, reason: &dyn fmt::Display) {
        self.left_out += 1;
        if self.left_out <= NAMED_MAX {
            eprintln!("left out: {place}: {reason}");
        }
    }

    fn end(self, path: Option<&Path>) -> Outcome {
        if let (Some(file), Some(path)) = (self.file, path) {
            let size = output::bytes(file.complete()?);
            let (written, path) = (self.written, path.display());
            self.output.line(format!("{written} entries, {size}, in {path}"))?;
        }
        if self.left_out > 0 {
            let (left_out, written) = (self.left_out, self.written);
            eprintln!("{left_out} entries were left out, {written} were not");
        }
        Ok(Verdict::good_if(self.left_out == 0))
    }
}
