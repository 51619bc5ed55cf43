//! How long a request is tried, and what its failure means to the caller.
//!
//! `object_store` says what went wrong, but not whether the request took effect. [`Attempts`] adds
//! that: it knows if the request writes, and if any attempt so far ended without a clear answer.
//!
//! ```text
//!   answer                      read               write
//!   not found                   Missing            Refused (no such bucket)
//!   cannot ever work            Invalid            Invalid, or Indeterminate after an unclear attempt
//!   not allowed                 Refused            Refused, or Indeterminate after an unclear attempt
//!   anything else, no answer    retried, Refused   retried, Indeterminate
//! ```
//!
//! The pauses follow a fixed schedule without jitter, so that a run under injected faults can be
//! repeated: few processes share a store, and they do not fail in step.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use object_store::Error as StoreError;
use tokio::time::Instant;

use crate::error::{BoxError, Error, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How long a request to the store is tried before it is reported as failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How long a request may take with all its attempts and the pauses between them.
    ///
    /// *Unit*: wall time. *Default*: 60 s, so that a store may restart or move; not measured.
    /// *Range*: any; zero allows one attempt without any waiting.
    pub deadline: Duration,
    /// How long one attempt may take before it is given up and made again.
    ///
    /// *Unit*: wall time. *Default*: 30 s, the request timeout of `object_store`'s own clients.
    /// *Range*: any; beyond `deadline` it has no effect. One attempt moves at most 8 MiB when it
    /// writes a segment, so 30 s is enough for 0.3 MB/s.
    pub attempt_timeout: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy { deadline: Duration::from_secs(60), attempt_timeout: Duration::from_secs(30) }
    }
}

/// What a [`BlobStore`](super::BlobStore) and its clones have asked of the store so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Requests made, retries included.
    pub requests: u64,
    /// Requests made again after one that failed.
    pub retries: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    retries: AtomicU64,
}

impl Counters {
    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn stats(&self) -> StoreStats {
        // Relaxed: figures for people, which order nothing.
        StoreStats {
            requests: self.requests.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }
}

/// Whether a request changes the store: decides what its failure leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Read,
    Write,
}

/// What one failed attempt says.
#[derive(Debug)]
pub(super) enum Failure {
    /// The object is not there.
    Missing(BoxError),
    /// A condition on the object did not hold: it exists.
    Exists(BoxError),
    /// It cannot ever work: the store lacks the operation, or the name is not possible.
    Impossible(BoxError),
    /// The store understood and said no.
    Denied(BoxError),
    /// Anything else, no answer included.
    Transient(BoxError),
}

impl Failure {
    /// What the store said, whatever it means.
    pub(super) fn into_source(self) -> BoxError {
        match self {
            Failure::Missing(source)
            | Failure::Exists(source)
            | Failure::Impossible(source)
            | Failure::Denied(source)
            | Failure::Transient(source) => source,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        match &error {
            StoreError::NotFound { .. } => Failure::Missing(error.into()),
            StoreError::AlreadyExists { .. } | StoreError::Precondition { .. } => {
                Failure::Exists(error.into())
            }
            StoreError::NotSupported { .. }
            | StoreError::NotImplemented { .. }
            | StoreError::InvalidPath { .. }
            | StoreError::UnknownConfigurationKey { .. } => Failure::Impossible(error.into()),
            StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
                Failure::Denied(error.into())
            }
            // `Error` is non-exhaustive in spirit: what we do not know may pass.
            _ if file_system_refuses(&error) => Failure::Denied(error.into()),
            _ => Failure::Transient(error.into()),
        }
    }
}

/// `LocalFileSystem` wraps what will not pass with time (no permission, read-only, a name that is
/// too long) in `Generic`, like everything else.
fn file_system_refuses(error: &StoreError) -> bool {
    use std::io::ErrorKind as Io;
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                Io::PermissionDenied
                    | Io::ReadOnlyFilesystem
                    | Io::NotADirectory
                    | Io::IsADirectory
                    | Io::InvalidFilename
                    | Io::CrossesDevices
                    | Io::TooManyLinks
                    | Io::Unsupported
            );
        }
        source = cause.source();
    }
    false
}

/// All attempts at one request.
pub(super) struct Attempts<'a> {
    policy: RetryPolicy,
    counters: &'a Counters,
    object: &'a str,
    request: Request,
    started: Instant,
    number: u32,
    pause: Duration,
    /// An attempt to write ended without a clear answer: "nothing changed" can no longer be said.
    unclear: bool,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(
        policy: RetryPolicy,
        counters: &'a Counters,
        object: &'a str,
        request: Request,
    ) -> Attempts<'a> {
        let started = Instant::now();
        let pause = FIRST_PAUSE;
        Attempts { policy, counters, object, request, started, number: 0, pause, unclear: false }
    }

    /// Makes one attempt, which ends when its time is over.
    pub(super) async fn attempt<T>(
        &mut self,
        request: impl Future<Output = object_store::Result<T>>,
    ) -> std::result::Result<T, Failure> {
        self.number += 1;
        self.counters.count_request();
        let left = self.policy.deadline.saturating_sub(self.started.elapsed());
        let limit = self.policy.attempt_timeout.min(left);
        let failure = match tokio::time::timeout(limit, request).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => Failure::from(error),
            Err(_elapsed) => Failure::Transient(format!("no answer within {limit:?}").into()),
        };
        if self.request == Request::Write {
            // `Exists` is unclear too: what exists may be ours, from an attempt without an answer
            // or from one that the client below us made again.
            self.unclear |= matches!(failure, Failure::Exists(_) | Failure::Transient(_));
        }
        Err(failure)
    }

    /// Waits until the next attempt may be made.
    ///
    /// # Errors
    ///
    /// When no time is left for one: `Refused` for a read, `Indeterminate` for a write.
    pub(super) async fn pause(&mut self, source: BoxError) -> Result<()> {
        if self.started.elapsed() + self.pause >= self.policy.deadline {
            return Err(self.exhausted(source));
        }
        self.counters.retries.fetch_add(1, Ordering::Relaxed);
        let (object, attempt) = (self.object, self.number);
        tracing::warn!(object, attempt, error = %source, "request to the store failed, will retry");
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }

    /// Retries what may pass with time; everything else is the error to report.
    pub(super) async fn pause_or_fail(&mut self, failure: Failure) -> Result<()> {
        match failure {
            Failure::Exists(source) | Failure::Transient(source) => self.pause(source).await,
            settled => Err(self.settled(settled)),
        }
    }

    /// The error for a failure that no retry mends.
    pub(super) fn settled(&self, failure: Failure) -> Error {
        let object = self.object.to_owned();
        match failure {
            Failure::Missing(_) if self.request == Request::Read => Error::Missing { object },
            _ if self.unclear => Error::Indeterminate { object, source: failure.into_source() },
            Failure::Impossible(source) => {
                Error::invalid(format!("the store cannot do what {object} needs: {source}"))
            }
            _ => Error::Refused { object, source: failure.into_source() },
        }
    }

    fn exhausted(&self, source: BoxError) -> Error {
        let attempts = self.number;
        let elapsed = self.started.elapsed();
        let source = Box::new(Exhausted { attempts, elapsed, source });
        let object = self.object.to_owned();
        match self.request {
            Request::Read => Error::Refused { object, source },
            Request::Write => Error::Indeterminate { object, source },
        }
    }
}

/// Whose turn it is where a write is settled by reading: one write, a read; two writes, a read; ...
///
/// A write and a read in strict turn would be in step with a fault that strikes every second
/// request, and no write would ever get through; so would any other fixed number of writes be with
/// some other fault. With one more each time, no fault that strikes in a rhythm stays in step.
#[derive(Debug, Default)]
pub(super) struct Turns {
    reads: u32,
    writes: u32,
}

impl Turns {
    /// After a write that failed: whether to write again at once, and not to read first. What is
    /// not plainly a failure on the way is always looked into.
    pub(super) fn write_again(&mut self, failure: &Failure) -> bool {
        let again = matches!(failure, Failure::Transient(_)) && self.writes < self.reads;
        if again {
            self.writes += 1;
        } else {
            self.reads += 1;
            self.writes = 0;
        }
        again
    }
}

/// Whether `source`, of an error of a request, says that all attempts were in vain.
pub(crate) fn is_exhausted(source: &BoxError) -> bool {
    source.is::<Exhausted>()
}

/// The deadline passed; the source is the last failure.
#[derive(Debug)]
struct Exhausted {
    attempts: u32,
    elapsed: Duration,
    source: BoxError,
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gave up after {} attempts in {:.1?}", self.attempts, self.elapsed)
    }
}

impl std::error::Error for Exhausted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.source.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes take their turns with reads that are repeated until they succeed.
    fn requests_until_a_write_succeeds(succeeds: impl Fn(u32) -> bool) -> Option<u32> {
        let (mut turns, mut request) = (Turns::default(), 0..2000);
        loop {
            if succeeds(request.next()?) {
                return Some(request.start);
            }
            if !turns.write_again(&Failure::Transient("refused".into())) {
                while !succeeds(request.next()?) {}
            }
        }
    }

    #[test]
    fn a_write_gets_through_any_rhythm_that_lets_some_request_through() {
        for period in 1..=8 {
            for pattern in 1..1_u32 << period {
                for phase in 0..period {
                    let succeeds = |request: u32| pattern >> ((request + phase) % period) & 1 == 1;
                    let found = requests_until_a_write_succeeds(succeeds);
                    assert!(found.is_some_and(|n| n < 200), "{pattern:b} of {period}: {found:?}");
                }
            }
        }
    }
}
