//! What can go wrong with a checkpoint, and what a caller can do about it.

use crate::metadata::{CheckpointId, Generation};

/// A source error of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of a checkpoint operation.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a checkpoint operation failed. Callers branch on [`Error::kind`]; people read `Display`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The caller asked for something that cannot be done as asked.
    #[error("{reason}")]
    Invalid {
        /// What is wrong, and what to do.
        reason: String,
    },

    /// The store refused, and nothing changed.
    #[error("the store refused {object}")]
    Refused {
        /// Name of the object within the store.
        object: String,
        /// What the store said.
        source: BoxError,
    },

    /// The store did not answer: the write may or may not have taken effect.
    #[error("the outcome of writing {object} is unknown")]
    Indeterminate {
        /// Name of the object within the store.
        object: String,
        /// What the store said.
        source: BoxError,
    },

    /// A newer run of the same job owns the checkpoint directory.
    #[error(
        "this run ({ours}) was fenced by a newer run ({newer}) of the same job, which goes on in its \
         place; to have both, give each a checkpoint directory or a name of its own"
    )]
    Fenced {
        /// The generation of this run.
        ours: Generation,
        /// The generation that took over.
        newer: Generation,
    },

    /// Stored bytes are not the bytes that were written.
    #[error("{object} is corrupt: {reason}")]
    Corrupt {
        /// Name of the object within the store.
        object: String,
        /// What does not fit, with both numbers where there are two.
        reason: String,
    },

    /// An object that should be there is not.
    #[error("{object} is missing")]
    Missing {
        /// Name of the object within the store.
        object: String,
    },

    /// An object that a checkpoint refers to is damaged or missing.
    #[error("checkpoint {id} is damaged: {cause}; {advice}")]
    Damaged {
        /// The checkpoint.
        id: CheckpointId,
        /// What to do, with the older checkpoints that do without the object.
        advice: String,
        /// What is wrong with which object: a part of the message, since the advice is about it.
        cause: Box<Error>,
    },

    /// More checkpoints in a row have failed than the run tolerates.
    #[error(
        "{failures} checkpoints in a row have failed and {tolerable} are tolerable; the last: {cause}"
    )]
    TooManyFailures {
        /// How many have failed.
        failures: u32,
        /// How many may.
        tolerable: u32,
        /// Why the last did.
        cause: String,
    },

    /// A running job was asked for something and has not answered.
    #[error("{reason}")]
    Unanswered {
        /// How long was waited, and what that may mean.
        reason: String,
    },

    /// A checkpoint is whole but is not one that this job can start from.
    #[error("checkpoint {id} cannot be restored: {reason}")]
    Incompatible {
        /// The checkpoint.
        id: CheckpointId,
        /// What does not match, with both sides of it.
        reason: String,
    },
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Change the code or the configuration.
    Invalid,
    /// Nothing changed: issuing the same request again is safe.
    Retry,
    /// Read the store back before doing anything else.
    Reconcile,
    /// Stop: this process must not write again.
    Stop,
    /// Fall back to an older checkpoint, and tell an operator.
    Data,
    /// Begin a new run: it goes on from the newest checkpoint.
    Restart,
}

impl Error {
    /// Classifies the error. No wildcard arm: a new variant has to choose.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Invalid { .. } | Error::Incompatible { .. } => ErrorKind::Invalid,
            Error::Refused { .. } | Error::Unanswered { .. } => ErrorKind::Retry,
            Error::Indeterminate { .. } => ErrorKind::Reconcile,
            Error::Fenced { .. } => ErrorKind::Stop,
            Error::TooManyFailures { .. } => ErrorKind::Restart,
            Error::Corrupt { .. } | Error::Missing { .. } | Error::Damaged { .. } => {
                ErrorKind::Data
            }
        }
    }

    /// Whether the store may just be away: it did not answer, or not with a plain no.
    pub fn may_pass(&self) -> bool {
        match self {
            Error::Refused { source, .. } => crate::store::is_exhausted(source),
            Error::Indeterminate { .. } | Error::TooManyFailures { .. } => true,
            _ => false,
        }
    }

    /// An [`Error::Invalid`] that says `reason`.
    pub fn invalid(reason: impl Into<String>) -> Error {
        Error::Invalid { reason: reason.into() }
    }

    /// An [`Error::Corrupt`] about `object`.
    pub fn corrupt(object: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Corrupt { object: object.into(), reason: reason.into() }
    }
}
