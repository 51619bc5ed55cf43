//! Asking a running job for something, through the store alone.
//!
//! ```text
//!   who asks                                            the run
//!   requests/<id>.json           --->   lists `requests/`, once a second
//!                                <---   requests/<id>.taken.json     it has begun with it
//!                                <---   requests/<id>.answer.json    done, or why not
//!   deletes all three
//! ```
//!
//! There is no server to talk to and no port to open: whoever may write the job's folder may ask.
//! A request says until when somebody waits for it. Until then whichever run of the job comes to
//! see it obeys, so a job that is just restarting loses none; after that it is answered as expired,
//! so that a stop which nobody waits for any more does not end a run of tomorrow.

#![expect(clippy::disallowed_methods, reason = "waits for the answer of another process")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::SavepointName;
use super::folder::date;
use crate::error::{Error, Result};
use crate::metadata::{CheckpointId, Generation, Origin};
use crate::store::{BlobStore, PutIfAbsent, layout, unique};
use crate::time::Epoch;

/// How often who asks looks for the answer.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a job can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestKind {
    /// A savepoint; the job goes on.
    Savepoint {
        /// Its name.
        name: SavepointName,
    },
    /// To stop with a last checkpoint, without firing windows: the job resumes from there.
    Stop {
        /// A savepoint to make of the last checkpoint.
        savepoint: Option<SavepointName>,
    },
    /// To end as if the input had ended: everything fires, then the last checkpoint is taken.
    Drain {
        /// A savepoint to make of the last checkpoint.
        savepoint: Option<SavepointName>,
    },
}

impl RequestKind {
    /// The savepoint that is asked for, if one is.
    pub fn savepoint(&self) -> Option<&SavepointName> {
        match self {
            RequestKind::Savepoint { name } => Some(name),
            RequestKind::Stop { savepoint } | RequestKind::Drain { savepoint } => {
                savepoint.as_ref()
            }
        }
    }
}

/// A request as it is in the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What is asked for.
    pub kind: RequestKind,
    /// When it was asked, milliseconds since the Unix epoch.
    pub asked_ms: u64,
    /// Until when somebody waits for the answer, milliseconds since the Unix epoch.
    pub until_ms: u64,
}

/// What a run said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The run that answered.
    pub generation: Generation,
    /// When, milliseconds since the Unix epoch.
    pub answered_ms: u64,
    /// What has become of the request.
    pub outcome: Outcome,
}

/// What has become of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Done(Done),
    /// It was not done.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The savepoint that was taken.
    pub savepoint: Option<SavepointName>,
    /// The checkpoint that it was made of, or from which a job that was stopped resumes.
    pub checkpoint: CheckpointId,
    /// Its epoch.
    pub epoch: Epoch,
    /// Why that checkpoint was taken.
    pub origin: Origin,
    /// Bytes of all state in it.
    pub bytes: u64,
    /// From the request's being taken up to its end.
    pub duration_ms: u64,
}

/// That a run has begun with a request: for who asked, so that it may wait for longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Taken {
    pub(crate) generation: Generation,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Until a run has begun with the request: if none has by then, none is there.
    ///
    /// *Default*: 30 s: a run looks once a second, and a job that restarts should be waited for.
    pub taken_up: Duration,
    /// Until the answer, in all.
    ///
    /// *Default*: 1 h: a savepoint is a copy of all state.
    pub answered: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { taken_up: Duration::from_secs(30), answered: Duration::from_secs(3600) }
    }
}

/// Asks the running job, whose objects `store` are, for a savepoint, and waits until it is taken.
///
/// # Errors
///
/// As [`ask`]; also if there is a savepoint of that name.
pub async fn request_savepoint(
    store: &BlobStore,
    name: &SavepointName,
    patience: Patience,
) -> Result<Done> {
    ask(store, RequestKind::Savepoint { name: name.clone() }, patience).await
}

/// Asks the running job to stop with a last checkpoint, and makes a savepoint of that if it has a
/// name; waits until the job has stopped. Windows do not fire.
///
/// # Errors
///
/// As [`ask`]. A job whose savepoint's name is taken is not stopped; one whose savepoint fails
/// later has stopped all the same, which the error says.
pub async fn request_stop(
    store: &BlobStore,
    savepoint: Option<&SavepointName>,
    patience: Patience,
) -> Result<Done> {
    ask(store, RequestKind::Stop { savepoint: savepoint.cloned() }, patience).await
}

/// As [`request_stop`], but the job ends as if its input had: everything fires first.
///
/// # Errors
///
/// As [`request_stop`].
pub async fn request_drain(
    store: &BlobStore,
    savepoint: Option<&SavepointName>,
    patience: Patience,
) -> Result<Done> {
    ask(store, RequestKind::Drain { savepoint: savepoint.cloned() }, patience).await
}

/// Asks the running job for something and waits for the answer.
///
/// Needs a tokio runtime with its timer.
///
/// # Errors
///
/// `Invalid` with the reason if the run has refused, or failed to do it; `Retry`
/// ([`Error::Unanswered`]) if no run has answered in time: the request is taken back then. Else as
/// [`BlobStore::put`].
pub async fn ask(store: &BlobStore, kind: RequestKind, patience: Patience) -> Result<Done> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let asked_ms = since.as_millis() as u64;
    let id = format!("{asked_ms:013}-{}", unique());
    let until_ms = asked_ms.saturating_add(patience.answered.as_millis() as u64);
    let request = Request { kind, asked_ms, until_ms };
    put(store, &layout::request(&id), &request).await?;
    let answer = wait(store, &id, patience).await;
    // Whatever happened nobody waits any more.
    let mut left = Ok(());
    for name in [layout::request(&id), layout::request_taken(&id), layout::request_answer(&id)] {
        left = left.and(store.delete(&name).await);
    }
    if let Err(error) = left {
        tracing::warn!(request = id, %error, "a request is left behind; the job drops it later");
    }
    match answer?.outcome {
        Outcome::Done(done) => Ok(done),
        Outcome::Failed { reason } => Err(Error::invalid(reason)),
    }
}

async fn wait(store: &BlobStore, id: &str, patience: Patience) -> Result<Answer> {
    let began = std::time::Instant::now();
    let (taken, answer) = (layout::request_taken(id), layout::request_answer(id));
    loop {
        // The time is looked at first: an answer that has come since is found all the same.
        let waited = began.elapsed();
        let there = store.list(layout::REQUESTS).await?;
        let is_there = |name: &str| there.iter().any(|(there, _)| there == name);
        if is_there(&answer) {
            return get(store, &answer).await;
        }
        if !is_there(&taken) && waited >= patience.taken_up {
            return Err(Error::Unanswered {
                reason: format!(
                    "no run of the job at {store} has taken the request up within {:?}, and it is \
                     taken back: the job does not run, or keeps its checkpoints elsewhere",
                    patience.taken_up
                ),
            });
        }
        if waited >= patience.answered {
            return Err(Error::Unanswered {
                reason: format!(
                    "the job at {store} has taken the request up, but not answered within {:?}; \
                     what was asked for may still be done",
                    patience.answered
                ),
            });
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The request `id`, as a run reads it; why not, if it cannot be obeyed.
pub(crate) async fn read(
    store: &BlobStore,
    id: &str,
    now_ms: u64,
) -> Result<std::result::Result<Request, String>> {
    let request = match get::<Request>(store, &layout::request(id)).await {
        Ok(request) => request,
        Err(Error::Corrupt { reason, .. }) => {
            return Ok(Err(format!("the request cannot be read: {reason}")));
        }
        Err(error) => return Err(error),
    };
    if now_ms > request.until_ms {
        return Ok(Err(format!(
            "the request expired at {}, and it is {} now: ask again, and if that is wrong compare \
             the clocks",
            date(request.until_ms),
            date(now_ms)
        )));
    }
    Ok(Ok(request))
}

/// Writes what is small and read by programs and people; the first of several counts.
pub(crate) async fn put(store: &BlobStore, name: &str, document: &impl Serialize) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(document).expect("numbers and strings are JSON");
    json.push(b'\n');
    match store.put_if_absent(name, Bytes::from(json)).await? {
        PutIfAbsent::Created | PutIfAbsent::Exists(_) => Ok(()),
    }
}

async fn get<T: DeserializeOwned>(store: &BlobStore, name: &str) -> Result<T> {
    let bytes = store.get(name).await?;
    serde_json::from_slice(&bytes).map_err(|error| Error::corrupt(name, error.to_string()))
}
