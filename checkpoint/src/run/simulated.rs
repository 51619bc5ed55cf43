//! Tasks and time that a simulation steps by hand, on one thread: the same choices, the same run.
//!
//! ```text
//!   woken by whatever --> [ ready ] --step: one of them, by choice--> polled once
//!   time stands still until it is told to go on
//! ```
//!
//! The tasks are tokio's, and so are their handles and timers; a gate before each lets it be
//! polled only when its turn has come.

use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Executor;
use crate::time::Epoch;

/// Where simulated time begins, since the Unix epoch.
const BEGIN: Duration = Duration::from_secs(1_700_000_000);

/// The tasks of one simulated process, and its clock. Dropping it drops all tasks where they are,
/// as the death of the process would.
#[derive(Debug)]
pub struct Simulated {
    runtime: Option<Arc<Runtime>>,
    tasks: Arc<Tasks>,
}

impl Simulated {
    /// A process without tasks. `choose` decides what happens next: it is given a number of
    /// possibilities, not 0, and returns one of them, from 0.
    ///
    /// # Panics
    ///
    /// If the system has no memory for a runtime.
    pub fn new(choose: impl FnMut(usize) -> usize + Send + 'static) -> Simulated {
        let runtime = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            // One turn of the runtime polls all that is woken, and so puts it among the ready.
            .event_interval(1 << 20)
            .build()
            .expect("a runtime without threads can be made");
        let runtime = Arc::new(runtime);
        let began = runtime.block_on(async { Instant::now() });
        let state = State {
            next: 0,
            alive: 0,
            ready: BTreeMap::new(),
            turn: None,
            driver: None,
            choose: Box::new(choose),
            on_seal: Box::new(|_, _, _| {}),
            read: Duration::ZERO,
        };
        let tasks = Tasks {
            runtime: Arc::downgrade(&runtime),
            handle: runtime.handle().clone(),
            began,
            state: Arc::new(Mutex::new(state)),
        };
        Simulated { runtime: Some(runtime), tasks: Arc::new(tasks) }
    }

    /// Runs the tasks of a run here.
    pub fn executor(&self) -> Executor {
        Executor::simulated(Arc::clone(&self.tasks))
    }

    /// Calls `look` with uid, worker and epoch whenever a participant ends an epoch.
    pub fn on_seal(&self, look: impl FnMut(&str, usize, Epoch) + Send + 'static) {
        lock(&self.tasks.state).on_seal = Box::new(look);
    }

    /// Polls one of the tasks that are ready; none is, if it returns false.
    pub fn step(&self) -> bool {
        self.settle();
        let state = &self.tasks.state;
        let Some(turn) = lock(state).open() else { return false };
        self.block_on(poll_fn(|cx| {
            let mut state = lock(state);
            if state.turn == Some(turn) {
                state.driver = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        }));
        true
    }

    /// Lets `time` pass at once.
    pub fn advance(&self, time: Duration) {
        self.block_on(tokio::time::advance(time));
        self.settle();
    }

    /// Lets time pass until a task is ready, at most `time`.
    pub fn advance_until_ready(&self, time: Duration) {
        self.settle();
        let state = &self.tasks.state;
        let ready = poll_fn(|cx| {
            let mut state = lock(state);
            if state.ready.is_empty() {
                state.driver = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        });
        // The timer belongs to the runtime that it is made in.
        let _ = self.block_on(async { tokio::time::timeout(time, ready).await });
    }

    /// Number of tasks that are not done.
    pub fn alive(&self) -> usize {
        lock(&self.tasks.state).alive
    }

    /// Puts all that is woken among the ready.
    fn settle(&self) {
        // The first turn wakes what timers are due for, the second polls that.
        for _ in 0..2 {
            self.block_on(tokio::task::yield_now());
        }
    }

    fn block_on<F: Future>(&self, task: F) -> F::Output {
        self.runtime.as_ref().expect("there until it is dropped").block_on(task)
    }
}

impl Drop for Simulated {
    fn drop(&mut self) {
        // Tasks hold the other half, which knows the runtime by a weak reference only.
        drop(self.runtime.take());
    }
}

/// What an [`Executor`] holds of a simulation.
pub(super) struct Tasks {
    runtime: Weak<Runtime>,
    handle: Handle,
    began: Instant,
    state: Arc<Mutex<State>>,
}

struct State {
    next: u64,
    alive: usize,
    /// Woken, and waiting for its turn.
    ready: BTreeMap<u64, Waker>,
    turn: Option<u64>,
    /// Waits for a task to become ready, or for the end of a turn.
    driver: Option<Waker>,
    choose: Box<dyn FnMut(usize) -> usize + Send>,
    on_seal: Box<dyn FnMut(&str, usize, Epoch) + Send>,
    /// By how much the clock has moved because it was read.
    read: Duration,
}

impl State {
    /// Gives one of the ready tasks its turn.
    fn open(&mut self) -> Option<u64> {
        if self.ready.is_empty() {
            return None;
        }
        let at = (self.choose)(self.ready.len());
        let turn = *self.ready.keys().nth(at).expect("chosen among those that are ready");
        let waker = self.ready.remove(&turn)?;
        self.turn = Some(turn);
        waker.wake();
        Some(turn)
    }

    fn wake_driver(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tasks {
    pub(super) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let mut state = lock(&self.state);
        let id = state.next;
        (state.next, state.alive) = (id + 1, state.alive + 1);
        drop(state);
        let state = Arc::clone(&self.state);
        self.handle.spawn(Gated { id, task: Box::pin(task), state })
    }

    /// Drives the other tasks as well, in the order that is chosen.
    pub(super) fn block_on<F: Future>(&self, task: F) -> F::Output {
        let runtime = self.runtime.upgrade().expect("a process that is dead runs no code");
        let mut task = pin!(task);
        runtime.block_on(poll_fn(|cx| {
            if let Poll::Ready(output) = task.as_mut().poll(cx) {
                return Poll::Ready(output);
            }
            let mut state = lock(&self.state);
            state.driver = Some(cx.waker().clone());
            if state.turn.is_none() {
                state.open();
            }
            Poll::Pending
        }))
    }

    pub(super) fn sealing(&self, uid: &str, worker: usize, epoch: Epoch) {
        (lock(&self.state).on_seal)(uid, worker, epoch);
    }

    pub(super) fn slice_work(&self, most: usize) -> usize {
        [1, 16, most][(lock(&self.state).choose)(3)]
    }

    /// Each look takes up to a millisecond or so, for what is bounded by time must end some time.
    pub(super) fn now(&self) -> Duration {
        let _context = self.handle.enter();
        let passed = self.began.elapsed();
        let mut state = lock(&self.state);
        let took = [0, 1, 30, 1500][(state.choose)(4)];
        state.read += Duration::from_micros(took);
        BEGIN + passed + state.read
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tasks").field("alive", &lock(&self.state).alive).finish_non_exhaustive()
    }
}

/// A task that waits for its turn.
struct Gated<F> {
    id: u64,
    task: Pin<Box<F>>,
    state: Arc<Mutex<State>>,
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let id = self.id;
        let mut state = lock(&self.state);
        if state.turn != Some(id) {
            state.ready.insert(id, cx.waker().clone());
            state.wake_driver();
            return Poll::Pending;
        }
        drop(state);
        let polled = self.task.as_mut().poll(cx);
        let mut state = lock(&self.state);
        state.turn = None;
        state.wake_driver();
        polled
    }
}

impl<F> Drop for Gated<F> {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.alive -= 1;
        state.ready.remove(&self.id);
        if state.turn == Some(self.id) {
            // It has panicked.
            state.turn = None;
            state.wake_driver();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What three tasks that sleep and hand on did, in what order, by always choosing as `choose`.
    fn order(choose: fn(usize) -> usize) -> Vec<(u64, u128)> {
        let (simulated, log) = (Simulated::new(choose), Arc::new(Mutex::new(Vec::new())));
        let began = simulated.tasks.began;
        for id in 0..3 {
            let log = Arc::clone(&log);
            simulated.tasks.spawn(async move {
                for round in 0..2 {
                    log.lock().unwrap().push((id, began.elapsed().as_millis()));
                    tokio::time::sleep(Duration::from_millis(10 * (id + round))).await;
                }
            });
        }
        while simulated.alive() > 0 {
            if !simulated.step() {
                simulated.advance_until_ready(Duration::from_secs(1));
            }
        }
        let log = log.lock().unwrap();
        log.clone()
    }

    #[test]
    fn choices_decide_the_order_and_time_passes_when_nothing_is_ready() {
        let first = order(|_| 0);
        assert_eq!(first, [(0, 0), (0, 0), (1, 0), (2, 0), (1, 10), (2, 20)]);
        let last = order(|ready| ready - 1);
        assert_eq!(last, [(2, 0), (1, 0), (0, 0), (0, 0), (1, 10), (2, 20)]);
    }

    #[test]
    fn whoever_blocks_drives_the_others() {
        let simulated = Simulated::new(|_| 0);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        simulated.tasks.spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let _ = sender.send(7);
        });
        assert_eq!(simulated.executor().block_on(receiver), Ok(7));
        assert_eq!(simulated.alive(), 0);
    }

    #[test]
    fn what_is_dropped_leaves_no_task() {
        let simulated = Simulated::new(|_| 0);
        let (held, token) = (Arc::new(()), simulated.executor());
        let in_task = Arc::clone(&held);
        token.spawn(async move {
            std::future::pending::<()>().await;
            drop(in_task);
        });
        assert!(simulated.step());
        drop(simulated);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
