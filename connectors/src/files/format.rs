//! What a record is: where it ends, and how it becomes an item. Lines and JSON lines are here, CSV
//! is in `csv.rs`.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use super::error::FilesError;
use super::input::Input;

/// A format of records in files; implemented by [`Lines`], [`Csv`](super::Csv) and [`JsonLines`].
pub trait Format: Clone + Send + Sync + 'static {
    /// What a record becomes.
    type Item: 'static;
    /// Finds and decodes the records of one split.
    #[doc(hidden)]
    type Decoder: Decoder<Item = Self::Item> + 'static;

    /// Whether every line break ends a record, so that a file can be cut anywhere.
    #[doc(hidden)]
    fn splittable(&self) -> bool;

    /// Makes a decoder; `input` stands at the beginning of the file, and is left where the first
    /// record may begin.
    #[doc(hidden)]
    fn decoder(&self, input: &mut Input) -> Result<Self::Decoder, FilesError>;
}

/// Finds and decodes records one by one.
pub trait Decoder {
    /// What a record becomes.
    type Item;

    /// Takes the next record that begins before `end`.
    fn next(&mut self, input: &mut Input, end: u64) -> Result<Next<Self::Item>, FilesError>;

    /// Lines that were taken since the decoder was made, those of a header included.
    fn lines(&self) -> u64;
}

/// What [`Decoder::next`] found.
#[derive(Debug)]
pub enum Next<T> {
    /// A record.
    Item(T),
    /// A record that is not what the format says. It was passed over.
    Bad(Bad),
    /// Nothing more.
    End,
}

/// A record that could not be decoded.
#[derive(Debug)]
pub struct Bad {
    /// Where it begins.
    pub(super) byte: u64,
    /// How many lines were taken before it.
    pub(super) line: u64,
    /// What is wrong with it.
    pub(super) reason: Reason,
}

/// What is wrong with a record; put into words only where it stops a job.
#[derive(Debug)]
pub(super) enum Reason {
    /// It is not UTF-8 after so many bytes.
    NotUtf8(usize),
    /// In words.
    Text(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NotUtf8(valid) => write!(f, "invalid UTF-8 after {valid} bytes of the line"),
            Reason::Text(text) => f.write_str(text),
        }
    }
}

/// Every line is a record: a `String` without its `\n` or `\r\n`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines;

/// Decodes [`Lines`].
#[derive(Debug)]
pub struct LineDecoder {
    lines: u64,
}

impl Format for Lines {
    type Item = String;
    type Decoder = LineDecoder;

    fn splittable(&self) -> bool {
        true
    }

    fn decoder(&self, _input: &mut Input) -> Result<LineDecoder, FilesError> {
        Ok(LineDecoder { lines: 0 })
    }
}

impl Decoder for LineDecoder {
    type Item = String;

    #[inline]
    fn next(&mut self, input: &mut Input, end: u64) -> Result<Next<String>, FilesError> {
        let byte = input.position();
        if byte >= end {
            return Ok(Next::End);
        }
        let Some(length) = input.line()? else { return Ok(Next::End) };
        let next = match std::str::from_utf8(without_terminator(&input.unread()[..length])) {
            Ok(line) => Next::Item(line.to_owned()),
            Err(error) => Next::Bad(Bad {
                byte,
                line: self.lines,
                reason: Reason::NotUtf8(error.valid_up_to()),
            }),
        };
        input.consume(length);
        self.lines += 1;
        Ok(next)
    }

    fn lines(&self) -> u64 {
        self.lines
    }
}

/// Every line is a JSON document that becomes a `T`. Blank lines are no records.
#[derive(Debug)]
pub struct JsonLines<T>(PhantomData<fn() -> T>);

impl<T> JsonLines<T> {
    pub(super) fn new() -> JsonLines<T> {
        JsonLines(PhantomData)
    }
}

impl<T> Clone for JsonLines<T> {
    fn clone(&self) -> JsonLines<T> {
        JsonLines::new()
    }
}

/// Decodes [`JsonLines`].
#[derive(Debug)]
pub struct JsonDecoder<T> {
    lines: u64,
    item: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned + 'static> Format for JsonLines<T> {
    type Item = T;
    type Decoder = JsonDecoder<T>;

    fn splittable(&self) -> bool {
        true
    }

    fn decoder(&self, _input: &mut Input) -> Result<JsonDecoder<T>, FilesError> {
        Ok(JsonDecoder { lines: 0, item: PhantomData })
    }
}

impl<T: DeserializeOwned> Decoder for JsonDecoder<T> {
    type Item = T;

    fn next(&mut self, input: &mut Input, end: u64) -> Result<Next<T>, FilesError> {
        loop {
            let byte = input.position();
            if byte >= end {
                return Ok(Next::End);
            }
            let Some(length) = input.line()? else { return Ok(Next::End) };
            let mut line = without_terminator(&input.unread()[..length]);
            if byte == 0 {
                line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
            }
            let next = if line.iter().all(u8::is_ascii_whitespace) {
                None
            } else {
                Some(match serde_json::from_slice(line) {
                    Ok(item) => Next::Item(item),
                    Err(error) => Next::Bad(Bad {
                        byte,
                        line: self.lines,
                        reason: Reason::Text(json(&error)),
                    }),
                })
            };
            input.consume(length);
            self.lines += 1;
            if let Some(next) = next {
                return Ok(next);
            }
        }
    }

    fn lines(&self) -> u64 {
        self.lines
    }
}

/// What JSON says is wrong, without its own line number, which is always 1.
fn json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.strip_suffix(&format!(" at line {} column {}", error.line(), error.column()));
    match what {
        Some(what) => format!("{what} at column {}", error.column()),
        None => text,
    }
}

#[inline]
fn without_terminator(line: &[u8]) -> &[u8] {
    match line {
        [line @ .., b'\r', b'\n'] | [line @ .., b'\n'] => line,
        _ => line,
    }
}
