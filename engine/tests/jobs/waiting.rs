//! Waiting for what other threads and tasks do.

#![expect(clippy::disallowed_methods, reason = "waits for jobs that run beside it")]

use std::time::{Duration, Instant};

/// What takes longer than this never comes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done`; a test that waits for longer than [`PATIENCE`] has failed.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub(crate) fn block_on<T>(task: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(task)
}
