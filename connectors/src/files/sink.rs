//! Writes part files that appear in a directory when their epoch is committed.

use std::fs::{File, OpenOptions};
use std::path::PathBuf;

use highwater::sink::{Prepare, Sink, SinkRun, SinkWriter};
use highwater::{BoxError, Epoch};

use super::committer::{PreparedPart, commit};
use super::directory::{Directory, show};
use super::error::FilesError;
use super::names;
use super::rows::{CsvRows, Encode, Encoder, JsonRows, RowError, RowFormat, TextRows};

/// Writes rows to the files of a directory, exactly once.
///
/// Each worker writes one file per epoch in which it has rows, named
/// `part-<epoch>-<generation>-<worker>` with an extension by the format. Files appear complete and
/// durable, when the checkpoint of their epoch is; while they are written they are hidden ones. The
/// directory belongs to one sink of one job, which a hidden file in it says; it is created if it
/// does not exist.
///
/// ```
/// use highwater_connectors::files::FileSink;
///
/// let counts = FileSink::csv("counts/");
/// let alerts = FileSink::json_lines("alerts/");
/// # let _ = (counts, alerts);
/// ```
#[derive(Clone, Debug)]
#[must_use = "a sink does nothing until a job writes to it"]
pub struct FileSink<F> {
    directory: Directory,
    format: F,
}

impl FileSink<CsvRows> {
    /// Writes CSV. Rows are tuples or structs; there is no header row, unless
    /// [`header`](FileSink::header) asks for one.
    pub fn csv(directory: impl Into<PathBuf>) -> FileSink<CsvRows> {
        FileSink::new(directory.into(), CsvRows { header: false, delimiter: b',' })
    }

    /// Writes the names of a struct's fields at the top of each file. Rows without names, such as
    /// tuples, get none.
    pub fn header(mut self) -> Self {
        self.format.header = true;
        self
    }

    /// Sets what stands between fields. *Default*: a comma.
    pub fn delimiter(mut self, delimiter: u8) -> Self {
        self.format.delimiter = delimiter;
        self
    }
}

impl FileSink<TextRows> {
    /// Writes each row as it displays itself, and a line break.
    pub fn text(directory: impl Into<PathBuf>) -> FileSink<TextRows> {
        FileSink::new(directory.into(), TextRows)
    }
}

impl FileSink<JsonRows> {
    /// Writes each row as a JSON document on a line of its own.
    pub fn json_lines(directory: impl Into<PathBuf>) -> FileSink<JsonRows> {
        FileSink::new(directory.into(), JsonRows)
    }
}

impl<F: RowFormat> FileSink<F> {
    fn new(directory: PathBuf, format: F) -> FileSink<F> {
        FileSink { directory: Directory::new(directory), format }
    }
}

impl<T, F> Sink<T> for FileSink<F>
where
    F: RowFormat,
    F::Encoder: Encode<T>,
{
    type Committable = PreparedPart;
    type Writer = FileWriter<F>;

    fn begin(&self, run: &SinkRun) -> Result<(), BoxError> {
        Ok(self.directory.claim(run)?)
    }

    fn commit(&self, _run: &SinkRun, parts: Vec<PreparedPart>) -> Result<(), BoxError> {
        Ok(commit(&self.directory, &parts)?)
    }

    fn abort(&self, run: &SinkRun) -> Result<(), BoxError> {
        Ok(self.directory.remove_hidden(run)?)
    }

    fn open(&self, run: &SinkRun, worker: usize) -> Result<FileWriter<F>, BoxError> {
        Ok(FileWriter {
            directory: self.directory.clone(),
            format: self.format.clone(),
            generation: run.generation,
            worker,
            sequence: 0,
            part: None,
        })
    }
}

/// Writes one worker's part files.
#[derive(Debug)]
pub struct FileWriter<F: RowFormat> {
    directory: Directory,
    format: F,
    generation: u64,
    worker: usize,
    /// Number of files that were opened; the epoch is not known while a file is written.
    sequence: u64,
    /// The file of the current epoch, opened at its first row.
    part: Option<Part<F::Encoder>>,
}

#[derive(Debug)]
struct Part<E> {
    encoder: E,
    hidden: String,
    path: PathBuf,
    rows: u64,
}

impl<F: RowFormat> FileWriter<F> {
    fn open_part(&mut self) -> Result<Part<F::Encoder>, FilesError> {
        let extension = self.format.extension();
        let hidden = names::hidden(self.generation, self.worker, self.sequence, extension);
        self.sequence += 1;
        let path = self.directory.file(&hidden);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|source| FilesError::Write { path: show(&path), source })?;
        Ok(Part { encoder: self.format.encoder(file), hidden, path, rows: 0 })
    }
}

impl<T, F> SinkWriter<T> for FileWriter<F>
where
    F: RowFormat,
    F::Encoder: Encode<T>,
{
    type Committable = PreparedPart;

    fn write(&mut self, batch: &mut Vec<T>) -> Result<(), BoxError> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.part.is_none() {
            self.part = Some(self.open_part()?);
        }
        let part = self.part.as_mut().expect("opened above");
        for row in batch.drain(..) {
            part.encoder.row(&row).map_err(|error| {
                let path = show(&part.path);
                match error {
                    RowError::Io(source) => FilesError::Write { path, source },
                    RowError::Encode(source) => {
                        FilesError::Encode { path, row: part.rows + 1, source }
                    }
                }
            })?;
            part.rows += 1;
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<Prepare<PreparedPart>, BoxError> {
        let Some(part) = self.part.take() else { return Ok(Box::new(|| Ok(Vec::new()))) };
        let extension = self.format.extension();
        let name = names::committed(epoch, self.generation, self.worker, extension);
        let directory = self.directory.clone();
        Ok(Box::new(move || Ok(vec![finish(part, name, &directory)?])))
    }
}

/// Makes a part file durable: its bytes, its length and its name.
fn finish<E: Encoder>(
    part: Part<E>,
    name: String,
    directory: &Directory,
) -> Result<PreparedPart, FilesError> {
    let Part { encoder, hidden, path, rows } = part;
    let synced = |file: File| file.sync_all().and_then(|()| file.metadata());
    let metadata = encoder
        .finish()
        .and_then(synced)
        .map_err(|source| FilesError::Write { path: show(&path), source })?;
    directory.sync()?;
    Ok(PreparedPart { hidden, name, bytes: metadata.len(), rows })
}
