//! Which checkpoint a run starts from: one of its own, a savepoint, or one of another job.

use std::fmt;
use std::str::FromStr;

use super::RunOptions;
use crate::error::{Error, Result};
use crate::metadata::{CheckpointId, CheckpointMetadata, Origin};
use crate::savepoint::{SavepointName, folder};
use crate::store::layout::{self, METADATA};
use crate::store::{BlobStore, Location};

/// What a run starts from.
///
/// As text, in `--restore` and by [`FromStr`]:
///
/// | text | |
/// | --- | --- |
/// | `latest` | the job's newest checkpoint, or nothing if there is none yet |
/// | `none` | nothing |
/// | digits | the job's checkpoint of this id |
/// | with a `/` | a path or a URL, as [`Elsewhere`] has it |
/// | anything else | the job's savepoint of this name, which begins with a letter |
///
/// ```
/// use highwater_checkpoint::run::Restore;
///
/// assert!(matches!("latest".parse()?, Restore::Latest));
/// assert!(matches!("42".parse()?, Restore::Id(_)));
/// assert!(matches!("before-upgrade".parse()?, Restore::Savepoint(_)));
/// assert!(matches!("s3://bucket/jobs/wordcount".parse()?, Restore::From(_)));
/// # Ok::<(), highwater_checkpoint::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub enum Restore {
    /// The newest checkpoint, or nothing if there is none yet.
    ///
    /// Refused if that one was taken by a drain: the job has said already what it says at its end,
    /// and to go on from there is for a person to decide.
    #[default]
    Latest,
    /// This checkpoint.
    Id(CheckpointId),
    /// Nothing, though there may be checkpoints.
    Nothing,
    /// This savepoint of the job.
    Savepoint(SavepointName),
    /// A savepoint or checkpoint that is anywhere, of any job with the same uids: what it refers
    /// to is copied, and the original is neither changed nor needed any more.
    From(Elsewhere),
}

impl FromStr for Restore {
    type Err = Error;

    fn from_str(text: &str) -> Result<Restore> {
        Ok(match text {
            "latest" => Restore::Latest,
            "none" => Restore::Nothing,
            path if path.contains('/') => Restore::From(Elsewhere::text(path)),
            id if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => {
                let id = id.parse().map_err(|_| Error::invalid(format!("{id} is no id")))?;
                Restore::Id(CheckpointId(id))
            }
            name => Restore::Savepoint(name.parse().map_err(|error| {
                Error::invalid(format!(
                    "{text:?} is none of latest, none, the id of a checkpoint, the name of a \
                     savepoint, or a path or URL with a slash ({error})"
                ))
            })?),
        })
    }
}

/// A checkpoint or savepoint outside the job's own folder.
///
/// | path or URL | |
/// | --- | --- |
/// | `<root>/<job>` | the newest checkpoint of a job; `<job>` as the folder is called |
/// | `<root>/<job>/checkpoints/<id>` | the checkpoint of this id |
/// | `<root>/<job>/savepoints/<name>` | this savepoint |
/// | any folder with a `metadata.json` | a savepoint that was copied or moved there |
#[derive(Clone)]
pub struct Elsewhere(Place);

#[derive(Clone)]
enum Place {
    Text(String),
    Store(BlobStore, Which),
}

#[derive(Clone, Debug, PartialEq)]
enum Which {
    /// What it is shows when it is looked at.
    Any,
    Checkpoint(CheckpointId),
}

impl Elsewhere {
    /// What a path or a URL names; it is looked at when the run begins.
    pub fn text(path_or_url: impl Into<String>) -> Elsewhere {
        Elsewhere(Place::Text(path_or_url.into()))
    }

    /// The newest checkpoint of the job whose objects `store` are.
    pub fn newest(store: BlobStore) -> Elsewhere {
        Elsewhere(Place::Store(store, Which::Any))
    }

    /// Checkpoint `id` of the job whose objects `store` are.
    pub fn checkpoint(store: BlobStore, id: CheckpointId) -> Elsewhere {
        Elsewhere(Place::Store(store, Which::Checkpoint(id)))
    }

    /// Savepoint `name` of the job whose objects `store` are.
    pub fn savepoint(store: &BlobStore, name: &SavepointName) -> Elsewhere {
        Elsewhere(Place::Store(folder::folder(store, name), Which::Any))
    }

    /// Opens the folder, which must be there; touches nothing in it.
    fn open(&self) -> Result<(BlobStore, Which)> {
        match &self.0 {
            Place::Store(store, which) => Ok((store.clone(), which.clone())),
            Place::Text(text) => {
                let (path, which) = split(text);
                let location = Location::existing(path)?;
                let there = location.ok_or_else(|| {
                    Error::invalid(format!("there is no directory {path} to restore from"))
                })?;
                Ok((BlobStore::folder(there), which))
            }
        }
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Place::Text(text) => f.write_str(text),
            Place::Store(store, Which::Any) => write!(f, "{store}"),
            Place::Store(store, Which::Checkpoint(id)) => write!(f, "checkpoint {id} of {store}"),
        }
    }
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Elsewhere({self})")
    }
}

/// The folder to open, and what in it: `a/b/checkpoints/42` is checkpoint 42 in `a/b`.
fn split(text: &str) -> (&str, Which) {
    let path = text.trim_end_matches('/');
    let path = path.strip_suffix(METADATA).map_or(path, |path| path.trim_end_matches('/'));
    let checkpoint = path.rsplit_once('/').and_then(|(parent, last)| {
        let folder = parent.strip_suffix(layout::CHECKPOINTS)?;
        let id = CheckpointId(last.parse().ok()?);
        (folder.is_empty() || folder.ends_with('/')).then_some((folder, id))
    });
    match checkpoint {
        Some(("", id)) => (".", Which::Checkpoint(id)),
        Some((folder, id)) => (folder, Which::Checkpoint(id)),
        None if path.is_empty() => (text, Which::Any),
        None => (path, Which::Any),
    }
}

/// What a run starts from, and where the objects are that it names.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) metadata: CheckpointMetadata,
    /// The folder to copy them from; none if they are the job's own.
    pub(super) from: Option<BlobStore>,
    /// Somebody has named this very one, and not the newest, whichever that is.
    is_named: bool,
}

/// Chooses among the job's own checkpoints `ids`, or reads what is elsewhere.
pub(super) async fn choose(
    ids: &[CheckpointId],
    store: &BlobStore,
    options: &RunOptions,
) -> Result<Option<Chosen>> {
    let chosen = match &options.restore {
        Restore::Nothing => return Ok(None),
        Restore::Latest => match ids.last() {
            Some(id) => Chosen { is_named: false, ..own(*id, ids, store, options).await? },
            None => return Ok(None),
        },
        Restore::Id(id) => own(*id, ids, store, options).await?,
        Restore::Savepoint(name) => savepoint(name, store, options).await?,
        Restore::From(elsewhere) => foreign(elsewhere).await?,
    };
    let metadata = &chosen.metadata;
    if metadata.origin == Origin::Drain && !chosen.is_named {
        let again = match &options.restore {
            Restore::From(elsewhere) => format!("{elsewhere}/checkpoints/{}", metadata.id),
            _ => metadata.id.to_string(),
        };
        return Err(Error::Incompatible { id: metadata.id, reason: drained(&again) });
    }
    if metadata.key_groups != options.key_groups.count() {
        let (theirs, ours) = (metadata.key_groups, options.key_groups.count());
        let reason = format!(
            "it has {theirs} key groups and the job has {ours}, a number that is fixed for a job's \
             life; set it back to {theirs}, or start afresh with --restore none"
        );
        return Err(Error::Incompatible { id: metadata.id, reason });
    }
    Ok(Some(chosen))
}

fn drained(named: &str) -> String {
    format!(
        "the job was drained: windows have fired and totals were emitted as at the end of the \
         input, so what goes on from here says some of that again; if that is meant, say \
         --restore {named}, or an older checkpoint, or start afresh with --restore none"
    )
}

/// Ids of the checkpoints that are there, ascending.
pub(super) async fn ids(store: &BlobStore) -> Result<Vec<CheckpointId>> {
    let objects = store.list(layout::CHECKPOINTS).await?;
    Ok(objects.iter().filter_map(|(name, _)| layout::parse_checkpoint(name)).collect())
}

pub(super) async fn read(store: &BlobStore, id: CheckpointId) -> Result<CheckpointMetadata> {
    let name = layout::checkpoint(id);
    let bytes = store.get(&name).await?;
    let metadata = CheckpointMetadata::from_bytes(&name, &bytes)?;
    if metadata.id != id {
        return Err(Error::corrupt(name, format!("says that it is checkpoint {}", metadata.id)));
    }
    Ok(metadata)
}

/// Reads checkpoint `id` of those in `store`, which are `ids`.
async fn one_of(
    store: &BlobStore,
    id: CheckpointId,
    ids: &[CheckpointId],
    whose: &str,
) -> Result<CheckpointMetadata> {
    if !ids.contains(&id) {
        return Err(Error::invalid(format!(
            "there is no checkpoint {id} of {whose}; there are: {}",
            listed(ids)
        )));
    }
    read(store, id).await.map_err(|error| advise(error, id, ids))
}

async fn own(
    id: CheckpointId,
    ids: &[CheckpointId],
    store: &BlobStore,
    options: &RunOptions,
) -> Result<Chosen> {
    let metadata = one_of(store, id, ids, &format!("job {:?}", options.job)).await?;
    if metadata.job != options.job {
        let reason = format!(
            "it is of job {:?}, not {:?}; give another --checkpoint-dir",
            metadata.job, options.job
        );
        return Err(Error::Incompatible { id, reason });
    }
    Ok(Chosen { metadata, from: None, is_named: true })
}

async fn savepoint(
    name: &SavepointName,
    store: &BlobStore,
    options: &RunOptions,
) -> Result<Chosen> {
    let from = folder::folder(store, name);
    match folder::read_folder(&from).await {
        Ok(metadata) => Ok(Chosen { metadata, from: Some(from), is_named: true }),
        Err(Error::Missing { .. }) => {
            let there = folder::list(store).await?;
            Err(Error::invalid(format!(
                "there is no savepoint {name} of job {:?}; there are: {}",
                options.job,
                listed(&there)
            )))
        }
        Err(error) => Err(error),
    }
}

/// Finds out what is there, and reads it.
async fn foreign(elsewhere: &Elsewhere) -> Result<Chosen> {
    let (from, which) = elsewhere.open()?;
    if which == Which::Any {
        match folder::read_folder(&from).await {
            Ok(metadata) => return Ok(Chosen { metadata, from: Some(from), is_named: true }),
            Err(Error::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let ids = ids(&from).await?;
    let id = match which {
        Which::Checkpoint(id) => id,
        Which::Any => *ids.last().ok_or_else(|| {
            Error::invalid(format!(
                "there is nothing to restore in {elsewhere}: give the folder of a job, \
                 <root>/<job>, or of one of its checkpoints, <root>/<job>/checkpoints/<id>, or of a \
                 savepoint, <root>/<job>/savepoints/<name>"
            ))
        })?,
    };
    let metadata = one_of(&from, id, &ids, &from.to_string()).await?;
    let is_named = which != Which::Any;
    Ok(Chosen { metadata, from: Some(from), is_named })
}

fn listed<T: ToString>(all: &[T]) -> String {
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Never falls back silently: an older checkpoint means that output already committed would be
/// written again, and that is for a person to decide.
fn advise(error: Error, id: CheckpointId, ids: &[CheckpointId]) -> Error {
    let Error::Corrupt { object, reason } = error else { return error };
    let older: Vec<_> = ids.iter().copied().filter(|older| *older < id).collect();
    Error::Corrupt { object, reason: format!("{reason}; {}", instead_of_damaged(&older)) }
}

/// What to do when an object is damaged, if there are the checkpoints `others` without it.
pub(super) fn instead_of_damaged(others: &[CheckpointId]) -> String {
    match others.last() {
        None => "no older checkpoint does without it: put it back from a copy, or start afresh \
                 with --restore none and an empty output directory"
            .to_owned(),
        Some(newest) => format!(
            "put it back from a copy, or start from an older checkpoint, such as with \
             --restore {newest} (there are: {})",
            listed(others)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_means_one_thing() {
        let shown = |text: &str| format!("{:?}", text.parse::<Restore>().unwrap());
        for (text, means) in [
            ("latest", "Latest"),
            ("none", "Nothing"),
            ("42", "Id(CheckpointId(42))"),
            ("a42", "Savepoint(SavepointName(\"a42\"))"),
            ("./42", "From(Elsewhere(./42))"),
            ("s3://bucket/job", "From(Elsewhere(s3://bucket/job))"),
        ] {
            assert_eq!(shown(text), means, "{text}");
        }
        for text in ["", "yester day", "-1", "99999999999999999999999"] {
            text.parse::<Restore>().expect_err(text);
        }
    }

    #[test]
    fn a_path_is_of_a_folder_or_of_a_checkpoint_in_it() {
        let id = |id| Which::Checkpoint(CheckpointId(id));
        for (text, folder, which) in [
            ("a/b", "a/b", Which::Any),
            ("a/b/", "a/b", Which::Any),
            ("/", "/", Which::Any),
            ("a/checkpoints/42", "a/", id(42)),
            ("checkpoints/42", ".", id(42)),
            ("a/checkpoints/0000000042/metadata.json", "a/", id(42)),
            ("s3://b/a/checkpoints/7/", "s3://b/a/", id(7)),
            ("a/checkpoints/x", "a/checkpoints/x", Which::Any),
            ("a/my-checkpoints/42", "a/my-checkpoints/42", Which::Any),
            ("a/savepoints/x/metadata.json", "a/savepoints/x", Which::Any),
        ] {
            assert_eq!(split(text), (folder, which), "{text}");
        }
    }
}
