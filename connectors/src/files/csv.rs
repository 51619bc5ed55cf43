//! CSV records: fields found by `csv-core`, which says at which byte a record ends, and decoded by
//! serde through `csv`.

use std::marker::PhantomData;

use csv::ByteRecord;
use csv_core::ReadRecordResult;
use memchr::memchr_iter;
use serde::de::DeserializeOwned;

use super::error::{FilesError, Place};
use super::format::{Bad, Decoder, Format, Next, Reason};
use super::input::Input;

/// Every CSV record is a `T`, by the names in the header row.
#[derive(Debug)]
pub struct Csv<T> {
    pub(super) options: CsvOptions,
    item: PhantomData<fn() -> T>,
}

#[derive(Clone, Debug)]
pub(super) struct CsvOptions {
    pub(super) delimiter: u8,
    pub(super) header: bool,
    pub(super) one_line_records: bool,
    pub(super) null: Option<Vec<u8>>,
}

impl<T> Csv<T> {
    pub(super) fn new() -> Csv<T> {
        let options =
            CsvOptions { delimiter: b',', header: true, one_line_records: false, null: None };
        Csv { options, item: PhantomData }
    }
}

impl<T> Clone for Csv<T> {
    fn clone(&self) -> Csv<T> {
        Csv { options: self.options.clone(), item: PhantomData }
    }
}

/// Decodes [`Csv`].
#[derive(Debug)]
pub struct CsvDecoder<T> {
    framing: Framing,
    header: Option<ByteRecord>,
    record: ByteRecord,
    null: Option<Vec<u8>>,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + 'static> Format for Csv<T> {
    type Item = T;
    type Decoder = CsvDecoder<T>;

    fn splittable(&self) -> bool {
        self.options.one_line_records
    }

    fn decoder(&self, input: &mut Input) -> Result<CsvDecoder<T>, FilesError> {
        let CsvOptions { delimiter, header, one_line_records, null } = self.options.clone();
        let mut decoder = CsvDecoder {
            framing: Framing::new(delimiter, one_line_records),
            header: None,
            record: ByteRecord::new(),
            null: None,
            item: PhantomData,
        };
        if header {
            match decoder.framing.next(input, u64::MAX)? {
                Frame::End => {}
                Frame::Record { .. } => {
                    decoder.take_fields();
                    decoder.header = Some(decoder.record.clone());
                }
                Frame::Bad { line, reason, .. } => {
                    return Err(FilesError::BadRecord {
                        path: input.path().to_owned(),
                        place: Place::Line(line + 1),
                        reason: format!("in the header row, {reason}"),
                    });
                }
            }
        }
        // Set after the header, whose names are taken as they are.
        decoder.null = null;
        Ok(decoder)
    }
}

impl<T: DeserializeOwned> Decoder for CsvDecoder<T> {
    type Item = T;

    fn next(&mut self, input: &mut Input, end: u64) -> Result<Next<T>, FilesError> {
        let (byte, line, decoded) = match self.framing.next(input, end)? {
            Frame::End => return Ok(Next::End),
            Frame::Record { byte, line } => (byte, line, self.decode()),
            Frame::Bad { byte, line, reason } => (byte, line, Err(reason.to_owned())),
        };
        Ok(match decoded {
            Ok(item) => Next::Item(item),
            Err(reason) => Next::Bad(Bad { byte, line, reason: Reason::Text(reason) }),
        })
    }

    fn lines(&self) -> u64 {
        self.framing.lines
    }
}

impl<T: DeserializeOwned> CsvDecoder<T> {
    fn decode(&mut self) -> Result<T, String> {
        self.take_fields();
        if let Some(header) = &self.header
            && header.len() != self.record.len()
        {
            let (found, expected) = (self.record.len(), header.len());
            return Err(format!("{found} fields, and the header has {expected}"));
        }
        self.record.deserialize(self.header.as_ref()).map_err(|error| self.what_is_wrong(&error))
    }

    fn what_is_wrong(&self, error: &csv::Error) -> String {
        let csv::ErrorKind::Deserialize { err, .. } = error.kind() else {
            return error.to_string();
        };
        let Some(index) = err.field().map(|index| index as usize) else {
            return err.kind().to_string();
        };
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let column = match self.header.as_ref().and_then(|header| header.get(index)) {
            Some(name) => format!("column {}", show(name)),
            None => format!("field {}", index + 1),
        };
        let value = self.record.get(index).map(show).unwrap_or_default();
        format!("{column}, {value:?}: {}", err.kind())
    }
}

impl<T> CsvDecoder<T> {
    /// Copies the fields that were found into the record that serde reads.
    fn take_fields(&mut self) {
        self.record.clear();
        let mut start = 0;
        for &end in &self.framing.ends[..self.framing.fields] {
            let field = &self.framing.bytes[start..end];
            let absent = self.null.as_deref() == Some(field);
            self.record.push_field(if absent { b"" } else { field });
            start = end;
        }
    }
}

/// Finds where records end, and takes their fields apart.
#[derive(Debug)]
struct Framing {
    core: csv_core::Reader,
    one_line_records: bool,
    lines: u64,
    /// Fields of the last record, unquoted, one behind the other.
    bytes: Vec<u8>,
    /// Where each of them ends in `bytes`.
    ends: Vec<usize>,
    fields: usize,
}

enum Frame {
    Record {
        byte: u64,
        line: u64,
    },
    /// A line that is not one record, where it has to be.
    Bad {
        byte: u64,
        line: u64,
        reason: &'static str,
    },
    End,
}

impl Framing {
    fn new(delimiter: u8, one_line_records: bool) -> Framing {
        let core = csv_core::ReaderBuilder::new().delimiter(delimiter).build();
        // Grown to what the records need, by doubling.
        let (bytes, ends) = (vec![0; 1024], vec![0; 32]);
        Framing { core, one_line_records, lines: 0, bytes, ends, fields: 0 }
    }

    /// Takes the next record that begins before `end`.
    fn next(&mut self, input: &mut Input, end: u64) -> Result<Frame, FilesError> {
        // Done here, not by `csv-core`, to know where the record begins. Also the `\n` of `\r\n` is
        // still unread, since a record ends at its `\r`.
        if !self.pass_blank_lines(input)? || input.position() >= end {
            return Ok(Frame::End);
        }
        let (byte, line) = (input.position(), self.lines);
        let (mut bytes, mut fields) = (0, 0);
        loop {
            let chunk = if self.one_line_records {
                let length = input.line()?.unwrap_or(0);
                &input.unread()[..length]
            } else {
                input.unread()
            };
            let line_before = self.core.line();
            let length = chunk.len();
            let ended = chunk.last() == Some(&b'\n');
            let (result, taken, unquoted, found) =
                self.core.read_record(chunk, &mut self.bytes[bytes..], &mut self.ends[fields..]);
            self.lines += self.core.line() - line_before;
            (bytes, fields) = (bytes + unquoted, fields + found);
            input.consume(taken);
            match result {
                // A lone `\r` ends a record too; with it a record could begin within a line, which
                // belongs to no split if the line begins in the split before.
                ReadRecordResult::Record
                    if self.one_line_records && taken + usize::from(ended) < length =>
                {
                    input.consume(length - taken);
                    self.lines += u64::from(ended);
                    let reason = "a carriage return stands within the line";
                    return Ok(Frame::Bad { byte, line, reason });
                }
                ReadRecordResult::Record => {
                    self.fields = fields;
                    input.check_record(byte, (input.position() - byte) as usize)?;
                    return Ok(Frame::Record { byte, line });
                }
                ReadRecordResult::End => return Ok(Frame::End),
                ReadRecordResult::OutputFull => self.bytes.resize(self.bytes.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::InputEmpty if self.one_line_records && ended => {
                    self.core.reset();
                    let reason = "the line ends within a quoted field";
                    return Ok(Frame::Bad { byte, line, reason });
                }
                ReadRecordResult::InputEmpty => {
                    // Feeding nothing at the end of the file completes the last record.
                    input.check_record(byte, (input.position() - byte) as usize)?;
                    input.fill()?;
                }
            }
        }
    }

    /// Moves to the first byte of a record; false if there is none.
    fn pass_blank_lines(&mut self, input: &mut Input) -> Result<bool, FilesError> {
        loop {
            let unread = input.unread();
            let blank = unread.iter().take_while(|&&byte| byte == b'\n' || byte == b'\r').count();
            self.lines += memchr_iter(b'\n', &unread[..blank]).count() as u64;
            let found = blank < unread.len();
            input.consume(blank);
            if found {
                return Ok(true);
            }
            if !input.fill()? {
                return Ok(false);
            }
        }
    }
}
