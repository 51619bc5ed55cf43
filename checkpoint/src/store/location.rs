//! From the text of `--checkpoint-dir` to a store and a folder in it.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreScheme};

use super::local::LocalParts;
use crate::error::{Error, Result};

/// One for the process: a job that restarts within it must find what it wrote.
static MEMORY: LazyLock<Arc<InMemory>> = LazyLock::new(Arc::default);

/// A store, and the folder in it that jobs have theirs in.
#[derive(Clone)]
pub struct Location {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// None for a store that knows no uploads in parts: then each object is written in one piece.
    pub(super) parts: Option<Arc<dyn MultipartStore>>,
    pub(super) prefix: Path,
    /// The directory, if it is one: it holds files that no listing shows.
    pub(super) local: Option<LocalFileSystem>,
}

impl Location {
    /// Opens what `--checkpoint-dir` names.
    ///
    /// * a path, relative or absolute, or `file:///path`: a directory, made if it is not there.
    ///   Writes are flushed to the device before they are reported done.
    /// * `memory:///any/path`: memory of this process, lost when it ends. All locations of a
    ///   process share one store: give each job its own path or name.
    /// * `s3://bucket/path`, `gs://bucket/path`, `az://container/path` and the `https://` forms
    ///   that [`object_store`] knows, with the cargo features `aws`, `gcp`, `azure`. Credentials
    ///   and settings come from the environment (`AWS_*`, `GOOGLE_*`, `AZURE_*`).
    ///
    /// # Errors
    ///
    /// `Invalid`: the text is no such thing, the feature is missing, the directory cannot be made
    /// or written, or the service's settings are incomplete.
    pub fn parse(text: &str) -> Result<Location> {
        Location::parse_with(text, directory)
    }

    fn parse_with(
        text: &str,
        open: impl FnOnce(PathBuf, &str) -> Result<Location>,
    ) -> Result<Location> {
        if text.is_empty() {
            return Err(Error::invalid("the checkpoint directory is empty: give a path or a URL"));
        }
        if !text.contains("://") {
            return open(text.into(), text);
        }
        let unknown = |why: &dyn fmt::Display| {
            Error::invalid(format!(
                "{text} is not a checkpoint directory ({why}): give a path, or a URL such as \
                 file:///path, memory:///path, s3://bucket/path, gs://bucket/path, \
                 az://container/path"
            ))
        };
        // The URL's type is left to inference: naming it would take a dependency on `url` that is
        // to stay in step with that of `object_store`.
        let url = text.parse().map_err(|_| unknown(&"not a URL"))?;
        let (scheme, prefix) = ObjectStoreScheme::parse(&url).map_err(|why| unknown(&why))?;
        match scheme {
            ObjectStoreScheme::Local => match url.to_file_path() {
                Ok(path) => open(path, text),
                Err(()) => Err(unknown(&"a file URL needs an absolute path")),
            },
            ObjectStoreScheme::Memory => Ok(Location::of(Arc::clone(&MEMORY)).prefix(prefix)),
            ObjectStoreScheme::AmazonS3 => Ok(aws(text)?.prefix(prefix)),
            ObjectStoreScheme::GoogleCloudStorage => Ok(gcp(text)?.prefix(prefix)),
            ObjectStoreScheme::MicrosoftAzure => Ok(azure(text)?.prefix(prefix)),
            _ => Err(unknown(&"a web server is no blob store")),
        }
    }

    /// As [`parse`](Location::parse), to read from: a directory is neither made nor written to.
    /// None if there is no such directory.
    ///
    /// # Errors
    ///
    /// `Invalid`: the text is no location, or the directory cannot be read.
    pub fn existing(text: &str) -> Result<Option<Location>> {
        let mut is_missing = false;
        let located = Location::parse_with(text, |path, text| match std::fs::read_dir(&path) {
            Ok(_) => opened(&path, text),
            Err(error) => {
                is_missing = error.kind() == std::io::ErrorKind::NotFound;
                Err(Error::invalid(format!("cannot read the directory {text}: {error}")))
            }
        });
        if is_missing { Ok(None) } else { located.map(Some) }
    }

    /// All of `store`, which can take uploads in parts.
    pub fn of<S: ObjectStore + MultipartStore>(store: Arc<S>) -> Location {
        let parts: Arc<dyn MultipartStore> = Arc::clone(&store) as _;
        Location { objects: store, parts: Some(parts), prefix: Path::default(), local: None }
    }

    /// All of `store`, each object in one request: a segment is held in memory until its end.
    pub fn single_put(store: Arc<dyn ObjectStore>) -> Location {
        Location { objects: store, parts: None, prefix: Path::default(), local: None }
    }

    /// A memory of its own, unlike that of `memory:` URLs.
    pub fn memory() -> Location {
        Location::of(Arc::new(InMemory::new()))
    }

    /// The folder `prefix` of the same store.
    #[must_use]
    pub fn prefix(mut self, prefix: Path) -> Location {
        self.prefix = prefix;
        self
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Location")
            .field("objects", &self.objects)
            .field("parts", &self.parts.is_some())
            .field("prefix", &self.prefix.as_ref())
            .finish_non_exhaustive()
    }
}

/// Opens a directory, and finds out now whether it can be written: the first checkpoint may be
/// minutes away.
fn directory(path: PathBuf, text: &str) -> Result<Location> {
    let refuse = |doing: &str, source: &dyn fmt::Display| {
        Error::invalid(format!(
            "cannot {doing} the checkpoint directory {text}: {source}; give a directory that this \
             process may write, or one that it may create"
        ))
    };
    std::fs::create_dir_all(&path).map_err(|source| refuse("create", &source))?;
    // A staged upload's name: if the process dies just here, no listing shows the file.
    let trial = path.join(format!("write-test#{}", std::process::id()));
    std::fs::write(&trial, b"").map_err(|source| refuse("write to", &source))?;
    std::fs::remove_file(&trial).map_err(|source| refuse("delete from", &source))?;
    opened(&path, text)
}

/// Opens a directory that is there.
fn opened(path: &std::path::Path, text: &str) -> Result<Location> {
    // Without `fsync` a checkpoint that was reported complete could be gone after a power loss.
    let objects = LocalFileSystem::new_with_prefix(path)
        .map_err(|source| Error::invalid(format!("cannot open the directory {text}: {source}")))?
        .with_fsync(true)
        // A checkpoint is a folder: without this every one ever taken would leave an empty one.
        .with_automatic_cleanup(true);
    let parts = Some(Arc::new(LocalParts::new(objects.clone())) as Arc<dyn MultipartStore>);
    let local = Some(objects.clone());
    Ok(Location { objects: Arc::new(objects), parts, prefix: Path::default(), local })
}

/// `service!(function, feature, Builder)`: a function that opens a URL with settings from the
/// environment, or names the feature that is missing.
macro_rules! service {
    ($open:ident, $feature:literal, $builder:path) => {
        #[cfg(feature = $feature)]
        fn $open(url: &str) -> Result<Location> {
            use $builder as Builder;
            let store = Builder::from_env().with_url(url).build().map_err(|source| {
                Error::invalid(format!("cannot open the checkpoint directory {url}: {source}"))
            })?;
            Ok(Location::of(Arc::new(store)))
        }

        #[cfg(not(feature = $feature))]
        fn $open(url: &str) -> Result<Location> {
            Err(Error::invalid(format!(
                "this program cannot open {url}: build it with the cargo feature `{}`",
                $feature
            )))
        }
    };
}

service!(aws, "aws", object_store::aws::AmazonS3Builder);
service!(gcp, "gcp", object_store::gcp::GoogleCloudStorageBuilder);
service!(azure, "azure", object_store::azure::MicrosoftAzureBuilder);

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        Location::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_directory_is_created() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a b/c%d");
        Location::parse(path.to_str().unwrap()).unwrap();
        assert!(path.is_dir());
        let url = format!("file://{}/url%20path", root.path().display());
        Location::parse(&url).unwrap();
        assert!(root.path().join("url path").is_dir());
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 0, "nothing is left of the trial");
    }

    #[test]
    fn what_is_only_read_is_neither_made_nor_written_to() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("none");
        assert!(Location::existing(path.to_str().unwrap()).unwrap().is_none());
        let url = format!("file://{}", path.display());
        assert!(Location::existing(&url).unwrap().is_none());
        assert!(!path.exists());
        assert!(Location::existing(root.path().to_str().unwrap()).unwrap().is_some());
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Location::existing(file.path().to_str().unwrap()).unwrap_err().to_string();
        assert!(error.contains("cannot read"), "{error}");
        assert!(Location::existing("ftp://host/path").is_err());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().join("checkpoints");
        let reason = reason(path.to_str().unwrap());
        assert!(reason.contains(path.to_str().unwrap()) && reason.contains("create"), "{reason}");
    }

    #[test]
    fn the_path_of_a_url_is_the_prefix() {
        let location = Location::parse("memory:///a/b").unwrap();
        assert_eq!(location.prefix.as_ref(), "a/b");
    }

    #[test]
    fn what_is_no_location_says_what_would_be() {
        for text in ["", "ftp://host/path", "file://host/path", "https://example.com/x", "s3://"] {
            let reason = reason(text);
            assert!(reason.contains("give a path"), "{text}: {reason}");
        }
    }

    #[cfg(not(any(feature = "aws", feature = "gcp", feature = "azure")))]
    #[test]
    fn a_missing_feature_is_named() {
        for (text, feature) in [("s3://b/p", "aws"), ("gs://b/p", "gcp"), ("az://c/p", "azure")] {
            let reason = reason(text);
            assert!(reason.contains(&format!("`{feature}`")) && reason.contains(text), "{reason}");
        }
    }
}
