//! `EpochClock`: the operator whose capabilities are the trigger of epochs and of commits.
//!
//! It sends nothing. That its `begin` capability moves is what every source, on every worker, sees
//! as the beginning of a step or an epoch; that its `committed` capability moves is what every
//! sink sees as the permission to commit. Worker 0 holds them; the others drop theirs at once.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe;
use timely::dataflow::{Scope, StreamVec};
use timely::progress::Timestamp;

use super::driver::{Driver, Signalled};
use super::scope::{Signal, Tail};
use super::wakeup::Wakeup;
use crate::coordinator::Event;
use crate::pacing::{Pacing, STEP_MIN};
use crate::run::Run;
use crate::time::{Epoch, EpochTime};

/// Ticks in a row in which nothing was under way, after which the clock rests: more than a source that
/// gets some records each few milliseconds leaves.
const IDLE_TICKS: u32 = 32;

/// Between two ticks of a clock that rests, unless an epoch is to begin before. Records and requests to
/// stop wake it, so this is how late the end of the input is noticed after a pause. A worker takes some
/// 30 us to wake up, and 100 us after a longer sleep: each millisecond that would be 3 % of a core.
const REST: Duration = Duration::from_millis(20);

type Signals<'scope, T> = StreamVec<'scope, T, Signal>;

/// A probe on the sources that say when they have nothing more; none if there is no such source.
pub(super) type Exhausted<T> = Rc<RefCell<Option<probe::Handle<T>>>>;

/// Builds the operator; returns the driver, `begin` and `committed`.
pub(super) fn epoch_clock<T: Timestamp + EpochTime>(
    scope: Scope<'_, T>,
    run: Arc<Run>,
    tail: Tail<T>,
    exhausted: Exhausted<T>,
) -> (Rc<RefCell<Driver>>, Signals<'_, T>, Signals<'_, T>) {
    let mut builder = OperatorBuilder::new("EpochClock".to_owned(), scope);
    let (begin_output, begin) = builder.new_output::<Vec<Signal>>();
    let (committed_output, committed) = builder.new_output::<Vec<Signal>>();
    let address = builder.operator_info().address;
    if scope.index() == 0 {
        let clock = scope.worker().sync_activator_for(address.to_vec());
        run.control().set_clock(move || {
            // It fails when the worker has gone.
            let _ = clock.activate();
        });
    }
    let activator = scope.activator_for(address);
    let driver = Rc::new(RefCell::new(Driver::new(Arc::clone(&run), activator.clone())));
    let mut wakeup = Wakeup::new(activator, Arc::clone(&run));
    let is_clock = scope.index() == 0;
    let shared = Rc::clone(&driver);
    builder.build(move |mut capabilities| {
        let outputs = (begin_output, committed_output);
        let committed = capabilities.pop();
        let begin = capabilities.pop();
        let mut clock = is_clock.then(|| Clock {
            begin,
            committed,
            driver: shared,
            pacing: Pacing::default(),
            tail,
            exhausted,
            epoch: run.first_epoch(),
            started: run.now(),
            idle_ticks: 0,
            run,
        });
        move |_| {
            // Kept for as long as the operator is.
            let _ = &outputs;
            if let Some(clock) = &mut clock
                && clock.tick()
            {
                wakeup.after(clock.pause());
            }
        }
    });
    (driver, begin, committed)
}

struct Clock<T: Timestamp> {
    begin: Option<Capability<T>>,
    committed: Option<Capability<T>>,
    driver: Rc<RefCell<Driver>>,
    pacing: Pacing,
    tail: Tail<T>,
    exhausted: Exhausted<T>,
    epoch: Epoch,
    started: Duration,
    idle_ticks: u32,
    run: Arc<Run>,
}

impl<T: Timestamp + EpochTime> Clock<T> {
    /// Returns whether to be scheduled again.
    fn tick(&mut self) -> bool {
        let now = self.run.now().saturating_sub(self.started);
        if !self.driver.borrow().has_started() {
            if self.run.control().is_ready() {
                self.start(now);
            }
            return true;
        }
        self.watch();
        while let Some(signal) = self.next_signal() {
            self.obey(signal, now);
        }
        if self.begin.is_some() {
            self.pace(now);
        }
        self.committed.is_some()
    }

    /// How long until the next tick.
    fn pause(&mut self) -> Duration {
        let (driver, control) = (self.driver.borrow(), self.run.control());
        let is_idle = driver.has_started() && self.pacing.is_idle() && !control.has_emitted();
        self.idle_ticks = if is_idle { self.idle_ticks.saturating_add(1) } else { 0 };
        if self.idle_ticks <= IDLE_TICKS || !control.rest_clock() {
            return STEP_MIN;
        }
        let now_ms = self.run.now_ms();
        let until = |due_ms: u64| Duration::from_millis(due_ms.saturating_sub(now_ms));
        driver.next_begin_ms().map_or(REST, |due_ms| until(due_ms).clamp(STEP_MIN, REST))
    }

    fn start(&mut self, now: Duration) {
        self.driver.borrow_mut().start();
        let first = T::first_of(self.epoch);
        for capability in [&mut self.begin, &mut self.committed].into_iter().flatten() {
            capability.downgrade(&first);
        }
        self.pacing.epoch(now);
    }

    fn next_signal(&self) -> Option<Signalled> {
        self.driver.borrow_mut().next_signal()
    }

    /// Tells the coordinator what has become of time, input and the job.
    fn watch(&mut self) {
        let mut driver = self.driver.borrow_mut();
        if driver.is_closing() {
            return;
        }
        let now_ms = self.run.now_ms();
        let is_empty =
            |probe: &probe::Handle<T>| probe.with_frontier(|frontier| frontier.is_empty());
        let sources_ended = self.exhausted.borrow().as_ref().is_some_and(is_empty);
        if sources_ended || self.tail.has_ended() {
            driver.feed(Event::InputEnded { now_ms });
        } else if self.run.control().is_stopping() {
            driver.feed(Event::StopRequested { now_ms });
        } else if self.run.control().is_draining() {
            driver.feed(Event::DrainRequested { now_ms });
        } else {
            driver.feed(Event::Time { now_ms });
        }
    }

    fn obey(&mut self, signal: Signalled, now: Duration) {
        match signal {
            Signalled::Begin(epoch) => {
                self.epoch = epoch;
                if let Some(begin) = &mut self.begin {
                    begin.downgrade(&T::first_of(epoch));
                }
                self.pacing.epoch(now);
            }
            Signalled::End => self.begin = None,
            Signalled::Commit(epoch) => {
                if let Some(committed) = &mut self.committed {
                    committed.downgrade(&T::first_of(epoch.next()));
                }
            }
        }
    }

    fn pace(&mut self, now: Duration) {
        let control = self.run.control();
        while let Some(step) = self.pacing.oldest() {
            if T::of_step(self.epoch, step).is_none() {
                return;
            }
            // Ticks alone: event time may be ahead in what is still under way.
            let is_in_step = |time: &T| (time.epoch(), time.step()) <= (self.epoch, step);
            if self.tail.probe.with_frontier(|frontier| frontier.iter().any(is_in_step)) {
                break;
            }
            self.pacing.passed(now, control.take_budget_used_up());
        }
        // Without records there is nothing that a new step would let pass.
        if !control.has_emitted() {
            return;
        }
        if let Some(step) = self.pacing.begin(now) {
            control.clear_emitted();
            control.set_budget(self.pacing.budget());
            if let (Some(begin), Some(time)) = (&mut self.begin, T::of_step(self.epoch, step)) {
                begin.downgrade(&time);
            }
        }
    }
}
