//! A stop that somebody asks for, whichever run of the job is under way, or none.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use highwater_checkpoint::run::Run;

/// Shared by the thread that listens to signals and the one that runs the job.
#[derive(Debug, Default)]
pub(super) struct Stop {
    state: Mutex<State>,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_asked: bool,
    run: Option<Arc<Run>>,
}

impl Stop {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a stop; false if that was done before.
    pub(super) fn ask(&self) -> bool {
        let mut state = self.state();
        let is_stopping = state.run.as_ref().is_some_and(|run| run.control().is_stopping());
        let is_first = !state.is_asked && !is_stopping;
        state.is_asked = true;
        if let Some(run) = &state.run {
            run.control().request_stop();
        }
        self.asked.notify_all();
        is_first
    }

    /// From now on `run` is what is to be stopped.
    pub(super) fn watch(&self, run: Arc<Run>) {
        let mut state = self.state();
        if state.is_asked {
            run.control().request_stop();
        }
        state.run = Some(run);
    }

    /// No run is under way.
    pub(super) fn release(&self) {
        self.state().run = None;
    }

    pub(super) fn is_asked(&self) -> bool {
        self.state().is_asked
    }

    /// Waits for `pause`, or until a stop is asked for; returns whether it was.
    pub(super) fn wait(&self, pause: Duration) -> bool {
        let waited = self.asked.wait_timeout_while(self.state(), pause, |state| !state.is_asked);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_ends_the_wait_and_is_remembered() {
        let stop = Arc::new(Stop::default());
        assert!(!stop.wait(Duration::from_millis(1)));
        let asking = Arc::clone(&stop);
        let waiting = std::thread::Builder::new()
            .spawn(move || asking.wait(Duration::from_secs(3600)))
            .expect("a thread");
        assert!(stop.ask(), "the first");
        assert!(waiting.join().expect("it does not panic"));
        assert!(!stop.ask(), "the second");
        assert!(stop.wait(Duration::from_secs(3600)), "at once");
    }
}
