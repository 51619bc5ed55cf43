//! How a run is told to stop, and how it says that it has failed.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread::Thread;

use tokio::sync::Notify;

use crate::error::BoxError;
use crate::pacing::BUDGET_START;
use crate::time::Epoch;

/// Shared by all threads of a process that take part in a run.
#[derive(Debug)]
pub struct Control {
    is_ready: AtomicBool,
    is_discarding: AtomicBool,
    is_stopping: AtomicBool,
    is_draining: AtomicBool,
    /// The last epoch in which sources may emit.
    last_epoch: AtomicU64,
    has_input_ended: AtomicBool,
    has_drained: AtomicBool,
    is_finished: AtomicBool,
    /// How many sinks have prepared output of an epoch that is not committed.
    commits_pending: Mutex<BTreeMap<Epoch, usize>>,
    answers_pending: AtomicUsize,
    /// Something has happened that a task may wait for.
    changed: Notify,
    failure: Mutex<Option<BoxError>>,
    has_failed: AtomicBool,
    threads: Mutex<Vec<Thread>>,
    budget: AtomicU32,
    is_budget_used_up: AtomicBool,
    has_emitted: AtomicBool,
    /// Wakes the clock.
    clock: OnceLock<Waker>,
    is_clock_resting: AtomicBool,
}

/// Wakes an operator, from any thread.
struct Waker(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Waker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Waker")
    }
}

impl Default for Control {
    fn default() -> Self {
        Control {
            is_ready: AtomicBool::new(false),
            is_discarding: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            is_draining: AtomicBool::new(false),
            last_epoch: AtomicU64::new(u64::MAX),
            has_input_ended: AtomicBool::new(false),
            has_drained: AtomicBool::new(false),
            is_finished: AtomicBool::new(false),
            commits_pending: Mutex::default(),
            answers_pending: AtomicUsize::new(0),
            changed: Notify::new(),
            failure: Mutex::new(None),
            has_failed: AtomicBool::new(false),
            threads: Mutex::default(),
            budget: AtomicU32::new(BUDGET_START),
            is_budget_used_up: AtomicBool::new(false),
            has_emitted: AtomicBool::new(false),
            clock: OnceLock::new(),
            is_clock_resting: AtomicBool::new(false),
        }
    }
}

impl Control {
    /// Lets the first epoch begin: everything that has to be done before the first record is done.
    pub fn set_ready(&self) {
        self.is_ready.store(true, Ordering::Release);
    }

    /// Whether the first record may come: what older runs have left is discarded.
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
    }

    /// Says that what an older run has written and not completed may be gone from now on: a sink is
    /// about to discard it.
    pub fn set_discarding(&self) {
        self.is_discarding.store(true, Ordering::Release);
    }

    pub(crate) fn is_discarding(&self) -> bool {
        self.is_discarding.load(Ordering::Acquire)
    }

    /// Asks the run to stop: sources emit nothing more, the running epoch ends, and when its
    /// checkpoint is complete the run is finished. Windows do not fire.
    pub fn request_stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        self.wake_clock();
    }

    /// Whether a stop was asked for.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Asks the run to end as if its input had: sources emit nothing more, windows fire, operators
    /// say what they say at the end, and the last checkpoint is taken of that.
    ///
    /// For a job that will not go on, or not with this state: a job that resumes where it drained
    /// has said already what it would say at its end.
    pub fn request_drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        self.wake_clock();
    }

    /// Whether a drain was asked for.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Whether sources may emit in `epoch`.
    #[inline]
    pub fn may_emit(&self, epoch: Epoch) -> bool {
        epoch.0 <= self.last_epoch.load(Ordering::Acquire)
    }

    /// The last epoch of the run, once it is known.
    pub(crate) fn last_epoch(&self) -> Option<Epoch> {
        let last = self.last_epoch.load(Ordering::Acquire);
        (last != u64::MAX).then_some(Epoch(last))
    }

    pub(crate) fn emit_until(&self, epoch: Epoch) {
        self.last_epoch.store(epoch.0, Ordering::Release);
    }

    pub(crate) fn set_input_ended(&self) {
        self.has_input_ended.store(true, Ordering::Release);
    }

    /// Whether the run ends, or has ended, because there is no more input; a stop that is asked for
    /// after that changes nothing.
    pub fn has_input_ended(&self) -> bool {
        self.has_input_ended.load(Ordering::Acquire)
    }

    pub(crate) fn set_drained(&self) {
        self.has_drained.store(true, Ordering::Release);
    }

    /// Whether the run ends, or has ended, because it was asked to drain.
    pub fn has_drained(&self) -> bool {
        self.has_drained.load(Ordering::Acquire)
    }

    /// The last checkpoint is complete, or there is nothing to do at all.
    pub fn set_finished(&self) {
        self.is_finished.store(true, Ordering::Release);
        self.unpark();
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Acquire)
    }

    /// A sink has prepared output of `epoch` that is to be committed: the run is not over, and no
    /// savepoint of that epoch is taken, before it is.
    pub fn commit_pending(&self, epoch: Epoch) {
        *self.commits().entry(epoch).or_default() += 1;
    }

    /// What [`commit_pending`](Control::commit_pending) announced is committed.
    pub fn commit_done(&self, epoch: Epoch) {
        let mut commits = self.commits();
        if let Some(pending) = commits.get_mut(&epoch) {
            *pending -= 1;
            if *pending == 0 {
                commits.remove(&epoch);
            }
        }
        drop(commits);
        self.unpark();
    }

    /// Whether all output that was prepared in `epoch` and before it is committed.
    pub(crate) fn has_committed(&self, epoch: Epoch) -> bool {
        self.commits().range(..=epoch).next().is_none()
    }

    fn commits(&self) -> std::sync::MutexGuard<'_, BTreeMap<Epoch, usize>> {
        self.commits_pending.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The run is not over before what this returns is dropped: somebody waits for an answer.
    pub(crate) fn answer_pending(&self) -> AnswerPending<'_> {
        self.answers_pending.fetch_add(1, Ordering::AcqRel);
        AnswerPending(self)
    }

    /// Whether workers should leave: everything is complete and committed and whoever asked for
    /// something has an answer, or the run has failed.
    pub fn is_over(&self) -> bool {
        self.has_failed() || (self.is_idle() && self.answers_pending.load(Ordering::Acquire) == 0)
    }

    /// Whether everything is complete and committed.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_finished() && self.commits().is_empty()
    }

    /// Waits until `is_so`, which is looked at whenever something finishes, fails or is committed.
    pub(crate) async fn until(&self, is_so: impl Fn(&Control) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if is_so(self) {
                return;
            }
            changed.await;
        }
    }

    /// Ends the run with an error. The first one counts.
    pub fn fail(&self, error: impl Into<BoxError>) {
        let error = error.into();
        let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if failure.is_none() {
            *failure = Some(error);
        } else {
            tracing::debug!(%error, "a further failure");
        }
        drop(failure);
        self.has_failed.store(true, Ordering::Release);
        self.unpark();
    }

    /// Whether the run has failed.
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// What it failed of.
    pub fn take_failure(&self) -> Option<BoxError> {
        self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    }

    /// Wakes this thread when the run is over.
    pub fn register_thread(&self) {
        let mut threads = self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        threads.push(std::thread::current());
    }

    fn unpark(&self) {
        self.changed.notify_waiters();
        let threads = self.threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        threads.iter().for_each(Thread::unpark);
    }

    /// Records that a source may emit, on one worker, in one pacing step.
    #[inline]
    pub fn budget(&self) -> usize {
        self.budget.load(Ordering::Relaxed) as usize
    }

    /// A source has emitted all that it may in this step, and has more.
    pub fn budget_used_up(&self) {
        self.is_budget_used_up.store(true, Ordering::Relaxed);
    }

    /// A source has emitted records: the step that they belong to must end some time.
    #[inline]
    pub fn emitted(&self) {
        self.has_emitted.store(true, Ordering::SeqCst);
        self.wake_clock();
    }

    pub(crate) fn has_emitted(&self) -> bool {
        self.has_emitted.load(Ordering::Relaxed)
    }

    /// By this the clock is woken when it rests.
    pub(crate) fn set_clock(&self, wake: impl Fn() + Send + Sync + 'static) {
        let _ = self.clock.set(Waker(Box::new(wake)));
    }

    /// Lets the clock rest, unless there is something for it to do; returns whether it does.
    pub(crate) fn rest_clock(&self) -> bool {
        // Whoever has something for it notes that first and then looks whether it rests.
        self.is_clock_resting.store(true, Ordering::SeqCst);
        let noted = [&self.has_emitted, &self.is_stopping, &self.is_draining];
        let is_wanted = noted.into_iter().any(|noted| noted.load(Ordering::SeqCst));
        if is_wanted {
            self.is_clock_resting.store(false, Ordering::SeqCst);
        }
        !is_wanted
    }

    #[inline]
    fn wake_clock(&self) {
        if self.is_clock_resting.load(Ordering::SeqCst)
            && self.is_clock_resting.swap(false, Ordering::SeqCst)
            && let Some(Waker(wake)) = self.clock.get()
        {
            wake();
        }
    }

    pub(crate) fn clear_emitted(&self) {
        self.has_emitted.store(false, Ordering::Relaxed);
    }

    pub(crate) fn set_budget(&self, records: u32) {
        self.budget.store(records, Ordering::Relaxed);
    }

    pub(crate) fn take_budget_used_up(&self) -> bool {
        self.is_budget_used_up.swap(false, Ordering::Relaxed)
    }
}

/// Somebody waits for an answer, from [`Control::answer_pending`].
pub(crate) struct AnswerPending<'a>(&'a Control);

impl Drop for AnswerPending<'_> {
    fn drop(&mut self) {
        self.0.answers_pending.fetch_sub(1, Ordering::AcqRel);
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn the_clock_rests_unless_there_is_something_for_it_to_do() {
        let note: [fn(&Control); 3] =
            [Control::emitted, Control::request_stop, Control::request_drain];
        for note in note {
            let control = Control::default();
            assert!(control.rest_clock() && control.rest_clock());
            note(&control);
            assert!(!control.rest_clock());
        }
        let control = Control::default();
        control.emitted();
        control.clear_emitted();
        assert!(control.rest_clock());
    }

    #[test]
    fn a_clock_that_rests_is_woken_once() {
        let (control, woken) = (Control::default(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&woken);
        control.set_clock(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        control.emitted();
        control.clear_emitted();
        assert_eq!(woken.load(Ordering::SeqCst), 0, "it does not rest");
        assert!(control.rest_clock());
        std::thread::scope(|scope| {
            for wake in [Control::emitted, Control::request_stop] {
                let control = &control;
                let thread = std::thread::Builder::new().name("wakes".to_owned());
                thread.spawn_scoped(scope, move || wake(control)).unwrap();
            }
        });
        assert_eq!(woken.load(Ordering::SeqCst), 1);
        assert!(!control.rest_clock());
    }
}
