//! What can go wrong with a job, and what its user can do about it.

use std::fmt;
use std::time::Duration;

use highwater_checkpoint::{BoxError, Error as CheckpointError, ErrorKind};

use crate::job::RestartStrategy;

/// The result of running a job.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a job could not start, or stopped.
///
/// `Debug` prints what a person should read, causes included, because that is what the return of
/// an error from `main` prints.
#[non_exhaustive]
pub enum Error {
    /// The dataflow, the flags or the configuration ask for something that cannot be.
    Invalid(String),
    /// A flag, or the setting that is the same, is out of range or contradicts another.
    Options(String),
    /// A checkpoint could not be written or restored.
    Checkpoint(CheckpointError),
    /// A source failed.
    Source {
        /// Its uid.
        uid: String,
        /// What it said.
        error: BoxError,
    },
    /// A sink failed.
    Sink {
        /// Its uid.
        uid: String,
        /// What it said.
        error: BoxError,
    },
    /// An operator failed.
    Operator {
        /// Its uid.
        uid: String,
        /// What it said.
        error: BoxError,
    },
    /// A worker panicked, in the program's code or in the engine's.
    Panicked {
        /// The worker.
        worker: usize,
        /// What it said.
        message: String,
    },
    /// The workers could not be started.
    Start(String),
    /// It has failed more often than its restart strategy allows.
    GaveUp {
        /// How many times it was started again.
        restarts: u32,
        /// From its first start to its last failure.
        elapsed: Duration,
        /// What set the limit.
        strategy: RestartStrategy,
        /// What it failed of at last.
        last: Box<Error>,
    },
}

impl Error {
    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Invalid(_) | Error::Options(_) => ErrorKind::Invalid,
            // What the program does wrong with one record it may do right with another.
            Error::Operator { .. } | Error::Panicked { .. } => ErrorKind::Restart,
            Error::Checkpoint(error) => error.kind(),
            Error::GaveUp { last, .. } => last.kind(),
            // A source or sink may fail because a service is away: starting again may help.
            Error::Source { .. } | Error::Sink { .. } | Error::Start(_) => ErrorKind::Retry,
        }
    }
}

impl Error {
    /// What a program exits with that ends of this error: 2 for wrong flags, as clap does, 3 for a
    /// job that was started again as often as it may, else 1.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Options(_) => 2,
            Error::GaveUp { .. } => 3,
            _ => 1,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Invalid(reason) | Error::Options(reason) => f.write_str(reason),
            Error::Checkpoint(error) => write!(f, "{error}"),
            Error::Source { uid, .. } => write!(f, "source {uid:?} failed"),
            Error::Sink { uid, .. } => write!(f, "sink {uid:?} failed"),
            Error::Operator { uid, .. } => write!(f, "operator {uid:?} failed"),
            Error::Panicked { worker, message } => write!(f, "worker {worker} panicked: {message}"),
            Error::Start(reason) => write!(f, "the workers could not be started: {reason}"),
            Error::GaveUp { restarts, elapsed, strategy, .. } => write!(
                f,
                "gave up after {restarts} restarts in {elapsed:.1?} ({strategy}); the last failure"
            ),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Checkpoint(error) => std::error::Error::source(error),
            Error::Source { error, .. }
            | Error::Sink { error, .. }
            | Error::Operator { error, .. } => Some(error.as_ref()),
            Error::GaveUp { last, .. } => Some(last),
            Error::Invalid(_) | Error::Options(_) | Error::Panicked { .. } | Error::Start(_) => {
                None
            }
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        Error::Checkpoint(error)
    }
}

/// Takes an error out of the box in which the checkpoint layer keeps it.
pub(crate) fn unbox(error: BoxError) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => *error,
        Err(error) => match error.downcast::<CheckpointError>() {
            Ok(error) => Error::Checkpoint(*error),
            Err(error) => Error::Invalid(error.to_string()),
        },
    }
}
