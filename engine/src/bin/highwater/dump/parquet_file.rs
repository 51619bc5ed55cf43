//! The state of an operator as a Parquet file, a row group at a time.

use std::sync::Arc;

use highwater::checkpoint::Error;
use highwater::checkpoint::inspect::Stored;
use highwater::checkpoint::metadata::{OperatorStateMetadata, StateKind};
use highwater::checkpoint::schema::TypeShape;
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::Result;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use serde_json::{Map, Value};

use super::columns::{Cell, Columns};
use super::leaves::{Leaf, Values};
use crate::partial::Partial;

/// Values in memory at which a row group is written: with what they are encoded to, some 100 MB.
const GROUP_BYTES: usize = 32 << 20;

/// Rows of a group: the default of this and other writers.
const GROUP_ROWS: u64 = 1 << 20;

/// Whether this binary writes Parquet.
#[expect(clippy::unnecessary_wraps, reason = "without the feature it does not")]
pub(super) fn check() -> std::result::Result<(), Error> {
    Ok(())
}

/// See the module.
pub(super) struct ParquetFile {
    columns: Columns,
    /// The only column of rows that are not objects of columns.
    only: Option<&'static str>,
    /// Rows in `columns`.
    rows: u64,
    writer: SerializedFileWriter<Partial>,
}

impl ParquetFile {
    /// Begins a file for the rows of `operator`.
    pub(super) fn begin(
        file: Partial,
        stored: &Stored,
        operator: &OperatorStateMetadata,
    ) -> Result<ParquetFile> {
        let cells = cells(operator);
        let only = if let [(name, ..)] = cells[..] { Some(name) } else { None };
        let columns = Columns::new(&cells);
        let about = [
            ("highwater.job", stored.metadata.job.clone()),
            ("highwater.checkpoint", stored.metadata.id.to_string()),
            ("highwater.operator", operator.uid.clone()),
            ("highwater.schema", operator.schema.to_string()),
        ];
        let about = about.map(|(key, value)| KeyValue::new(key.to_owned(), value));
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_key_value_metadata(Some(about.into()))
            .build();
        let writer = SerializedFileWriter::new(file, columns.schema()?, Arc::new(properties))?;
        Ok(ParquetFile { columns, only, rows: 0, writer })
    }

    /// Adds a row; says if it is not as its schema says, and is left out.
    pub(super) fn push(&mut self, row: Value) -> Result<std::result::Result<(), String>> {
        let row = match (row, self.only) {
            (Value::Object(row), None) => row,
            (row, name) => Map::from_iter([(name.unwrap_or_default().to_owned(), row)]),
        };
        if let Err(reason) = self.columns.push(&row) {
            return Ok(Err(reason));
        }
        self.rows += 1;
        if self.columns.bytes() >= GROUP_BYTES || self.rows >= GROUP_ROWS {
            self.write_group()?;
        }
        Ok(Ok(()))
    }

    /// Writes what is left and the footer.
    pub(super) fn finish(mut self) -> Result<Partial> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.writer.into_inner()
    }

    fn write_group(&mut self) -> Result<()> {
        let mut group = self.writer.next_row_group()?;
        for Leaf { values, definitions, repetitions } in &self.columns.leaves {
            let mut column = group.next_column()?.expect("the schema is of these columns");
            let (defined, repeated) = (Some(&definitions[..]), Some(&repetitions[..]));
            match values {
                Values::Bool(all) => {
                    column.typed::<BoolType>().write_batch(all, defined, repeated)?
                }
                Values::I32(all) => {
                    column.typed::<Int32Type>().write_batch(all, defined, repeated)?
                }
                Values::I64(all) => {
                    column.typed::<Int64Type>().write_batch(all, defined, repeated)?
                }
                Values::F32(all) => {
                    column.typed::<FloatType>().write_batch(all, defined, repeated)?
                }
                Values::F64(all) => {
                    column.typed::<DoubleType>().write_batch(all, defined, repeated)?
                }
                Values::Bytes(all) => {
                    column.typed::<ByteArrayType>().write_batch(all, defined, repeated)?
                }
            };
            column.close()?;
        }
        group.close()?;
        self.columns.clear();
        self.rows = 0;
        Ok(())
    }
}

/// What is JSON in the metadata: without a shape it stays that.
fn in_json(shape: Option<&TypeShape>) -> Cell<'_> {
    shape.map_or(Cell::Json, Cell::Typed)
}

/// The columns of an operator's rows, whether they may be missing, and what they hold.
fn cells(operator: &OperatorStateMetadata) -> Vec<(&'static str, bool, Cell<'_>)> {
    let schema = &operator.schema;
    let (key, value) = (schema.key_shape.as_deref(), schema.value_shape.as_deref());
    match schema.kind {
        StateKind::Keyed => {
            // What only the program can read is shown in hexadecimal.
            let typed = |shape, example| match (shape, example) {
                (_, Err(Error::Invalid { .. })) | (None, _) => Cell::Text,
                (Some(shape), _) => Cell::Typed(shape),
            };
            let key = typed(key, schema.key_to_json(&[]));
            let value = typed(value, schema.value_to_json(&[]));
            vec![("group", false, Cell::U16), ("key", false, key), ("value", false, value)]
        }
        StateKind::Source => vec![
            ("id", false, Cell::Text),
            ("split", false, in_json(key)),
            ("offset", true, in_json(value)),
            ("finished", false, Cell::Bool),
            ("watermark", true, Cell::I64),
        ],
        StateKind::Sink => vec![("committable", false, in_json(value))],
        StateKind::List => vec![("item", false, in_json(value))],
    }
}
