//! Which checkpoints there are, and what each says of itself.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::metadata::{CheckpointId, CheckpointMetadata, OperatorStateMetadata};
use crate::savepoint::{SavepointName, folder};
use crate::store::{BlobStore, layout};

/// Names a checkpoint, as a person does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest.
    Latest,
    /// That of this id.
    Id(CheckpointId),
    /// The savepoint of this name.
    Savepoint(SavepointName),
}

impl FromStr for Which {
    type Err = Error;

    fn from_str(text: &str) -> Result<Which> {
        match text {
            "latest" => Ok(Which::Latest),
            id if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => {
                let id = id.parse().map_err(|_| Error::invalid(format!("{id} is no id")))?;
                Ok(Which::Id(CheckpointId(id)))
            }
            name => name.parse().map(Which::Savepoint).map_err(|error| {
                Error::invalid(format!(
                    "{text:?} is none of latest, the id of a checkpoint, or the name of a savepoint \
                     ({error})"
                ))
            }),
        }
    }
}

/// A checkpoint that was read, and where the objects are that it names.
#[derive(Clone, Debug)]
pub struct Stored {
    /// What it is called.
    pub which: Which,
    /// The folder that names of objects are relative to.
    pub store: BlobStore,
    /// What it says.
    pub metadata: CheckpointMetadata,
}

/// For messages: `checkpoint 42 of wordcount`.
impl fmt::Display for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, job) = (self.metadata.id, &self.metadata.job);
        match &self.which {
            Which::Savepoint(name) => write!(f, "savepoint {name} of {job}"),
            Which::Latest | Which::Id(_) => write!(f, "checkpoint {id} of {job}"),
        }
    }
}

impl Stored {
    /// The state of operator `uid`.
    ///
    /// # Errors
    ///
    /// `Invalid` if there is none; the message lists those that are there.
    pub fn operator(&self, uid: &str) -> Result<&OperatorStateMetadata> {
        let operators = &self.metadata.operators;
        operators.iter().find(|operator| operator.uid == uid).ok_or_else(|| {
            let there: Vec<_> = operators.iter().map(|operator| operator.uid.as_str()).collect();
            let there = listed(&there);
            Error::invalid(format!("{self} has no operator {uid:?}; there are: {there}"))
        })
    }
}

/// A checkpoint as [`list`] finds it.
#[derive(Debug)]
pub struct Listed {
    /// Its id.
    pub id: CheckpointId,
    /// What it says; an error of a checkpoint that is damaged.
    pub metadata: Result<CheckpointMetadata>,
}

/// All checkpoints of a job, oldest first. One that the job deletes meanwhile is left out.
///
/// # Errors
///
/// As [`BlobStore::list`] and [`BlobStore::get`], when the store does not answer. A checkpoint that
/// cannot be read for another reason is in the list, with the reason.
pub async fn list(store: &BlobStore) -> Result<Vec<Listed>> {
    let mut listed = Vec::new();
    for id in ids(store).await? {
        match metadata(store, id).await {
            Err(Error::Missing { .. }) => {}
            Err(error @ Error::Refused { .. }) => return Err(error),
            metadata => listed.push(Listed { id, metadata }),
        }
    }
    Ok(listed)
}

/// A savepoint as [`savepoints`] finds it.
#[derive(Debug)]
pub struct ListedSavepoint {
    /// Its name.
    pub name: SavepointName,
    /// What it says; an error of one that is damaged.
    pub metadata: Result<CheckpointMetadata>,
}

/// All savepoints of a job, by name.
///
/// # Errors
///
/// As [`list`].
pub async fn savepoints(store: &BlobStore) -> Result<Vec<ListedSavepoint>> {
    let mut listed = Vec::new();
    for name in folder::list(store).await? {
        match folder::read(store, &name).await {
            Err(Error::Missing { .. }) => {}
            Err(error @ Error::Refused { .. }) => return Err(error),
            metadata => listed.push(ListedSavepoint { name, metadata }),
        }
    }
    Ok(listed)
}

/// Reads a checkpoint or a savepoint. Of a folder that is a savepoint itself, that one is the
/// newest.
///
/// # Errors
///
/// `Invalid` if it is not there; the message lists those that are. `Corrupt` if it is damaged.
/// Else as [`BlobStore::get`].
pub async fn read(store: &BlobStore, which: &Which) -> Result<Stored> {
    let ids = ids(store).await?;
    let id = match which {
        Which::Savepoint(name) => return savepoint(store, name).await,
        Which::Latest => match ids.last() {
            Some(newest) => *newest,
            None => return alone(store).await,
        },
        Which::Id(id) if ids.contains(id) => *id,
        Which::Id(id) => {
            let there = listed(&ids);
            return Err(Error::invalid(format!(
                "there is no checkpoint {id} at {store}; there are: {there}"
            )));
        }
    };
    let which = Which::Id(id);
    Ok(Stored { which, store: store.clone(), metadata: metadata(store, id).await? })
}

async fn savepoint(store: &BlobStore, name: &SavepointName) -> Result<Stored> {
    match folder::read(store, name).await {
        Ok(metadata) => {
            let (which, store) = (Which::Savepoint(name.clone()), folder::folder(store, name));
            Ok(Stored { which, store, metadata })
        }
        Err(Error::Missing { .. }) => {
            let there = listed(&folder::list(store).await?);
            Err(Error::invalid(format!(
                "there is no savepoint {name} at {store}; there are: {there}"
            )))
        }
        Err(error) => Err(error),
    }
}

/// A savepoint that was copied or moved out of its job's folder.
async fn alone(store: &BlobStore) -> Result<Stored> {
    match folder::read_folder(store).await {
        Ok(metadata) => Ok(Stored { which: Which::Latest, store: store.clone(), metadata }),
        Err(Error::Missing { .. }) => {
            Err(Error::invalid(format!("there are no checkpoints at {store}")))
        }
        Err(error) => Err(error),
    }
}

pub(super) fn listed<T: ToString>(all: &[T]) -> String {
    let all: Vec<_> = all.iter().map(ToString::to_string).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// Ids of the checkpoints that are there, ascending.
pub(super) async fn ids(store: &BlobStore) -> Result<Vec<CheckpointId>> {
    let objects = store.list(layout::CHECKPOINTS).await?;
    Ok(objects.iter().filter_map(|(name, _)| layout::parse_checkpoint(name)).collect())
}

async fn metadata(store: &BlobStore, id: CheckpointId) -> Result<CheckpointMetadata> {
    let name = layout::checkpoint(id);
    let metadata = CheckpointMetadata::from_bytes(&name, &store.get(&name).await?)?;
    if metadata.id != id {
        return Err(Error::corrupt(name, format!("says that it is checkpoint {}", metadata.id)));
    }
    Ok(metadata)
}
