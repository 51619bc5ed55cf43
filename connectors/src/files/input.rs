//! The bytes of one file, decompressed, in a block in which records are found without copying.
//!
//! ```text
//!   file --read--> buffer: [ consumed | unread ........ | free ]
//!                            position() ^                ^ fill() appends here
//! ```
//!
//! The block grows only while a single record is longer than it.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};

use flate2::read::MultiGzDecoder;
use memchr::memchr;

use super::error::FilesError;
use super::splits::{Compression, FileSplit};

/// Large enough that system calls cost nothing beside the copying they do, small enough to stay in
/// a core's second-level cache: 256 KiB.
const BLOCK_BYTES: usize = 256 * 1024;

/// Compressed bytes are read in pieces of 64 KiB, a quarter of a block.
const COMPRESSED_BYTES: usize = 64 * 1024;

/// A file that is read forwards.
#[derive(Debug)]
pub struct Input {
    path: String,
    stream: Stream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    position: u64,
    record_bytes_max: usize,
}

#[derive(Debug)]
enum Stream {
    Plain(File),
    Gzip(Box<MultiGzDecoder<BufReader<Counted>>>),
}

/// Counts what was read of a compressed file; its progress is measured on disk.
#[derive(Debug)]
struct Counted {
    file: File,
    bytes: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.file.read(buffer)?;
        self.bytes += bytes as u64;
        Ok(bytes)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(file) => file.read(buffer),
            Stream::Gzip(decoder) => decoder.read(buffer),
        }
    }
}

impl Input {
    /// Opens the file of a split at its beginning.
    pub(super) fn open(split: &FileSplit, record_bytes_max: usize) -> Result<Input, FilesError> {
        let path = split.path.clone();
        let file = File::open(&path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => FilesError::Gone { path: path.clone() },
            _ => FilesError::Read { path: path.clone(), source },
        })?;
        let metadata =
            file.metadata().map_err(|source| FilesError::Read { path: path.clone(), source })?;
        if metadata.len() < split.size {
            return Err(FilesError::Shrunk { path, found: split.size, now: metadata.len() });
        }
        let stream = match split.compression {
            Compression::Plain => Stream::Plain(file),
            Compression::Gzip => Stream::Gzip(Box::new(MultiGzDecoder::new(
                BufReader::with_capacity(COMPRESSED_BYTES, Counted { file, bytes: 0 }),
            ))),
        };
        let buffer = Vec::new();
        Ok(Input { path, stream, buffer, start: 0, end: 0, position: 0, record_bytes_max })
    }

    /// The file's name.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Where the first unread byte stands in the decompressed file.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes of the compressed file that were read; none of a plain one.
    pub(super) fn compressed_bytes(&self) -> Option<u64> {
        match &self.stream {
            Stream::Plain(_) => None,
            Stream::Gzip(decoder) => Some(decoder.get_ref().get_ref().bytes),
        }
    }

    /// What is in the block and was not consumed.
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Moves on by `bytes` of what is unread.
    #[inline]
    pub(super) fn consume(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.end - self.start, "more consumed than is unread");
        self.start += bytes;
        self.position += bytes as u64;
    }

    /// Reads more behind what is unread; false at the end of the file.
    #[cold]
    pub(super) fn fill(&mut self) -> Result<bool, FilesError> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            // Allocated at the first read, so that a job may hold many files open before it.
            self.buffer.resize((self.buffer.len() * 2).max(BLOCK_BYTES), 0);
        }
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(bytes) => {
                    self.end += bytes;
                    return Ok(bytes > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(source) => return Err(FilesError::Read { path: self.path.clone(), source }),
            }
        }
    }

    /// Length of the unread line with its terminator, if there is a line; it is in the block then.
    #[inline]
    pub(super) fn line(&mut self) -> Result<Option<usize>, FilesError> {
        match memchr(b'\n', self.unread()) {
            Some(at) if at < self.record_bytes_max => Ok(Some(at + 1)),
            _ => self.long_line(),
        }
    }

    /// [`line`](Input::line), where the line does not end in the block.
    #[cold]
    fn long_line(&mut self) -> Result<Option<usize>, FilesError> {
        let mut scanned = 0;
        loop {
            let found = memchr(b'\n', &self.unread()[scanned..]).map(|at| scanned + at + 1);
            scanned = self.unread().len();
            self.check_record(self.position, found.unwrap_or(scanned))?;
            if found.is_some() {
                return Ok(found);
            }
            if !self.fill()? {
                return Ok((scanned > 0).then_some(scanned));
            }
        }
    }

    /// Checks the length of a record that begins at `byte` against the limit.
    pub(super) fn check_record(&self, byte: u64, length: usize) -> Result<(), FilesError> {
        let max = self.record_bytes_max;
        if length <= max {
            return Ok(());
        }
        Err(FilesError::RecordTooLong { path: self.path.clone(), byte, max })
    }

    /// Moves to the byte at `to`, which is not behind.
    pub(super) fn advance(&mut self, to: u64) -> Result<(), FilesError> {
        assert!(to >= self.position, "{} is read forwards", self.path);
        let ahead = to - self.position;
        if ahead <= (self.end - self.start) as u64 {
            self.consume(ahead as usize);
            return Ok(());
        }
        if let Stream::Plain(file) = &mut self.stream {
            let read_error = |source| FilesError::Read { path: self.path.clone(), source };
            let length = file.metadata().map_err(read_error)?.len();
            if length < to {
                return Err(self.offset_beyond_end(to, length));
            }
            let file_at = file.seek(SeekFrom::Start(to)).map_err(read_error)?;
            (self.start, self.end, self.position) = (0, 0, file_at);
            return Ok(());
        }
        // A compressed file has no other way than to decompress what lies before.
        while self.position < to {
            if self.unread().is_empty() && !self.fill()? {
                return Err(self.offset_beyond_end(to, self.position));
            }
            self.consume(self.unread().len().min((to - self.position) as usize));
        }
        Ok(())
    }

    fn offset_beyond_end(&self, offset: u64, length: u64) -> FilesError {
        FilesError::OffsetBeyondEnd { path: self.path.clone(), offset, length }
    }

    /// Moves behind the line that is unread, but not far beyond `end`.
    pub(super) fn pass_line(&mut self, end: u64) -> Result<(), FilesError> {
        while self.position < end {
            if let Some(at) = memchr(b'\n', self.unread()) {
                self.consume(at + 1);
                return Ok(());
            }
            self.consume(self.unread().len());
            if !self.fill()? {
                return Ok(());
            }
        }
        Ok(())
    }
}
