//! The clock of a run, which all its workers share.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Starts when it is first read: by the first source that is asked for an event, so that what came before
/// that, which is the suite `start`'s to measure, is no backlog.
#[derive(Debug, Default)]
pub(crate) struct Clock(OnceLock<Instant>);

impl Clock {
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.get_or_init(Instant::now).elapsed()
    }
}
