//! How rows are written: CSV, text, JSON lines.

use std::fmt::{Debug, Display};
use std::fs::File;
use std::io::{self, BufWriter, Write};

use highwater::BoxError;
use serde::Serialize;

/// Rows are collected to this many bytes for one system call, 256 KiB: where the cost of the call
/// vanishes beside that of copying.
const BUFFER_BYTES: usize = 256 * 1024;

/// A format of rows in files; implemented by [`CsvRows`], [`TextRows`] and [`JsonRows`].
pub trait RowFormat: Debug + Clone + Send + Sync + 'static {
    /// Writes the rows of one file.
    #[doc(hidden)]
    type Encoder: Encoder + 'static;

    /// The last part of the names of the files.
    #[doc(hidden)]
    fn extension(&self) -> &'static str;

    /// Makes an encoder that writes to `file`.
    #[doc(hidden)]
    fn encoder(&self, file: File) -> Self::Encoder;
}

/// Writes to a file through a buffer.
pub trait Encoder: Debug + Send {
    /// Writes out the buffer.
    fn finish(self) -> io::Result<File>;
}

/// Writes rows of type `T`.
pub trait Encode<T>: Encoder {
    /// Takes one row.
    fn row(&mut self, row: &T) -> Result<(), RowError>;
}

/// Why a row could not be written.
#[derive(Debug)]
pub enum RowError {
    /// The system refused.
    Io(io::Error),
    /// The row cannot be expressed in the format.
    Encode(BoxError),
}

/// CSV, by serde: tuples, structs and what else has fields.
#[derive(Clone, Debug)]
pub struct CsvRows {
    pub(super) header: bool,
    pub(super) delimiter: u8,
}

impl RowFormat for CsvRows {
    type Encoder = csv::Writer<File>;

    fn extension(&self) -> &'static str {
        "csv"
    }

    fn encoder(&self, file: File) -> csv::Writer<File> {
        csv::WriterBuilder::new()
            .has_headers(self.header)
            .delimiter(self.delimiter)
            .buffer_capacity(BUFFER_BYTES)
            .from_writer(file)
    }
}

impl Encoder for csv::Writer<File> {
    fn finish(self) -> io::Result<File> {
        self.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

impl<T: Serialize> Encode<T> for csv::Writer<File> {
    #[inline]
    fn row(&mut self, row: &T) -> Result<(), RowError> {
        self.serialize(row).map_err(|error| {
            if !error.is_io_error() {
                return RowError::Encode(error.into());
            }
            match error.into_kind() {
                csv::ErrorKind::Io(error) => RowError::Io(error),
                _ => RowError::Io(io::ErrorKind::Other.into()),
            }
        })
    }
}

/// One line a row, by `Display`.
#[derive(Clone, Debug)]
pub struct TextRows;

/// One JSON document a line, by serde.
#[derive(Clone, Debug)]
pub struct JsonRows;

/// Writes [`TextRows`].
#[derive(Debug)]
pub struct TextEncoder(BufWriter<File>);

/// Writes [`JsonRows`].
#[derive(Debug)]
pub struct JsonEncoder(BufWriter<File>);

impl RowFormat for TextRows {
    type Encoder = TextEncoder;

    fn extension(&self) -> &'static str {
        "txt"
    }

    fn encoder(&self, file: File) -> TextEncoder {
        TextEncoder(BufWriter::with_capacity(BUFFER_BYTES, file))
    }
}

impl RowFormat for JsonRows {
    type Encoder = JsonEncoder;

    fn extension(&self) -> &'static str {
        "jsonl"
    }

    fn encoder(&self, file: File) -> JsonEncoder {
        JsonEncoder(BufWriter::with_capacity(BUFFER_BYTES, file))
    }
}

impl Encoder for TextEncoder {
    fn finish(self) -> io::Result<File> {
        self.0.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl Encoder for JsonEncoder {
    fn finish(self) -> io::Result<File> {
        self.0.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

impl<T: Display> Encode<T> for TextEncoder {
    #[inline]
    fn row(&mut self, row: &T) -> Result<(), RowError> {
        writeln!(self.0, "{row}").map_err(RowError::Io)
    }
}

impl<T: Serialize> Encode<T> for JsonEncoder {
    #[inline]
    fn row(&mut self, row: &T) -> Result<(), RowError> {
        serde_json::to_writer(&mut self.0, row).map_err(|error| match error.io_error_kind() {
            Some(_) => RowError::Io(error.into()),
            None => RowError::Encode(error.into()),
        })?;
        self.0.write_all(b"\n").map_err(RowError::Io)
    }
}
