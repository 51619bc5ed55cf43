//! A file that is there when it is complete, and not before.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes beside the file under a name of its own; dropped before it is complete, it leaves nothing.
#[derive(Debug)]
pub(super) struct Partial {
    path: PathBuf,
    temporary: PathBuf,
    /// None when the file has its name.
    file: Option<BufWriter<File>>,
    bytes: u64,
}

impl Partial {
    /// Begins what is to be at `path`, where there may be a file to be replaced.
    pub(super) fn create(path: &Path) -> io::Result<Partial> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{} cannot be written: {error}", path.display()))
        };
        let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
            return Err(named(io::ErrorKind::IsADirectory.into()));
        };
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}.partial", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let file = Some(BufWriter::new(File::create(&temporary).map_err(named)?));
        Ok(Partial { path: path.to_owned(), temporary, file, bytes: 0 })
    }

    /// Gives the file its name; returns its size.
    pub(super) fn complete(mut self) -> io::Result<u64> {
        self.flush()?;
        let file = self.file.take();
        let named = file.map_or(Ok(()), |file| file.get_ref().sync_all());
        let named = named.and_then(|()| fs::rename(&self.temporary, &self.path));
        if named.is_err() {
            self.remove();
        }
        named.map(|()| self.bytes)
    }

    /// What cannot be removed is of no use to anybody, and says by its name what it is.
    fn remove(&self) {
        let _ = fs::remove_file(&self.temporary);
    }
}

impl Write for Partial {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.as_mut().map_or(Ok(0), |file| file.write(bytes))?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            self.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let names = || fs::read_dir(directory.path()).unwrap().count();
        let mut dropped = Partial::create(&path).unwrap();
        dropped.write_all(b"half").unwrap();
        assert!(!path.exists() && names() == 1);
        drop(dropped);
        assert_eq!(names(), 0);

        fs::write(&path, "of before").unwrap();
        let mut whole = Partial::create(&path).unwrap();
        whole.write_all(b"all of it").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"of before");
        assert_eq!(whole.complete().unwrap(), 9);
        assert_eq!((fs::read(&path).unwrap().as_slice(), names()), (b"all of it".as_slice(), 1));
    }

    #[test]
    fn a_directory_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let error = Partial::create(directory.path()).unwrap_err().to_string();
        assert!(error.contains("cannot be written: is a directory"), "{error}");
        let nowhere = directory.path().join("none/file");
        let error = Partial::create(&nowhere).unwrap_err().to_string();
        assert!(error.contains("none/file cannot be written"), "{error}");
    }
}
