//! How much may be in flight: steps, and the budget that a source has in each.
//!
//! Timely has no back-pressure. The clock opens a *step* only while fewer than [`STEPS_AHEAD`] are
//! under way, and in each a source may emit one budget; so what is in flight is bounded by
//! `STEPS_AHEAD x budget x sources`, across workers and processes. The budget follows the time that
//! a step takes to pass the slowest sink: a step that takes long makes it smaller, a quick one that
//! the sources used up makes it larger.
//!
//! A pure state machine; the clock operator feeds it times.

use std::collections::VecDeque;
use std::time::Duration;

/// Steps under way at the most: enough that sources and sinks do not wait for each other.
pub const STEPS_AHEAD: usize = 4;

/// Records that a source may emit in a step, on one worker, at the least. A sink that takes a
/// second for this many is as slow as one can be and still stop within seconds.
pub const BUDGET_MIN: u32 = 16;

/// Records that a source may emit in a step at the most: four steps of it are 32 MB of `u64`s.
pub const BUDGET_MAX: u32 = 1 << 20;

/// Where the budget starts: small enough for any sink, and doubled in milliseconds for a fast one.
pub const BUDGET_START: u32 = 256;

/// Bytes of input that a source may emit in a step, whatever its records.
pub const STEP_BYTES_MAX: usize = 4 << 20;

/// The time within which a step should have passed every sink. Latency is at most about this where
/// sources are faster than the rest. Long enough that workers do not run dry where one of them loses
/// its core for a tick of the kernel's clock: at 8 ms they were idle for a tenth to a third of the time.
const STEP_TARGET: Duration = Duration::from_millis(32);

/// Steps begin at least this far apart, so that an idle job costs next to nothing.
pub const STEP_MIN: Duration = Duration::from_millis(1);

/// See the module.
#[derive(Debug)]
pub struct Pacing {
    /// Those that have not passed every sink, oldest first.
    open: VecDeque<Step>,
    next: u32,
    last_begin: Option<Duration>,
    budget: u32,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    number: u32,
    began: Duration,
    /// That of each source in it.
    budget: u32,
}

impl Default for Pacing {
    fn default() -> Self {
        Pacing { open: VecDeque::new(), next: 0, last_begin: None, budget: BUDGET_START }
    }
}

impl Pacing {
    /// Records that a source may emit in a step that begins now.
    pub fn budget(&self) -> u32 {
        self.budget
    }

    /// The oldest step that is under way.
    pub fn oldest(&self) -> Option<u32> {
        self.open.front().map(|step| step.number)
    }

    /// Whether no step is under way but the last, in which whatever comes next is.
    pub fn is_idle(&self) -> bool {
        self.open.len() <= 1
    }

    /// The oldest step has passed every sink; `was_used_up` if some source waits for budget.
    pub fn passed(&mut self, now: Duration, was_used_up: bool) {
        let Some(step) = self.open.pop_front() else { return };
        let took = now.saturating_sub(step.began);
        // What is held against a step is its own budget: one pause makes all steps late that are
        // under way, and must not make the budget smaller for each of them.
        self.budget = if took > STEP_TARGET * 4 {
            self.budget.min(step.budget / 4)
        } else if took > STEP_TARGET {
            self.budget.min(step.budget / 2)
        } else if was_used_up && took < STEP_TARGET / 2 {
            self.budget.max(step.budget.saturating_mul(2))
        } else {
            self.budget
        }
        .clamp(BUDGET_MIN, BUDGET_MAX);
    }

    /// The step to begin now, if it is time for one.
    pub fn begin(&mut self, now: Duration) -> Option<u32> {
        let is_due = self.last_begin.is_none_or(|last| now.saturating_sub(last) >= STEP_MIN);
        if !is_due || self.open.len() >= STEPS_AHEAD {
            return None;
        }
        self.next = self.next.checked_add(1)?;
        self.last_begin = Some(now);
        self.push(now);
        Some(self.next)
    }

    /// A new epoch began: its steps count from 0 again, and the older ones are under way no more,
    /// for they will pass before it does.
    pub fn epoch(&mut self, now: Duration) {
        self.open.clear();
        self.next = 0;
        self.last_begin = Some(now);
        self.push(now);
    }

    fn push(&mut self, began: Duration) {
        self.open.push_back(Step { number: self.next, began, budget: self.budget });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `steps` steps against a sink that takes `per_record`, all sources greedy.
    fn settle(per_record: Duration, steps: usize) -> Pacing {
        let mut pacing = Pacing::default();
        let mut now = Duration::ZERO;
        pacing.epoch(now);
        for _ in 0..steps {
            now += (per_record * pacing.budget()).max(STEP_MIN);
            pacing.passed(now, true);
            while pacing.begin(now).is_some() {}
        }
        pacing
    }

    #[test]
    fn a_slow_sink_gets_small_steps_and_a_fast_one_large() {
        assert_eq!(settle(Duration::from_millis(4), 50).budget(), BUDGET_MIN);
        assert_eq!(settle(Duration::from_nanos(1), 50).budget(), BUDGET_MAX);
    }

    #[test]
    fn regression_one_pause_makes_the_budget_smaller_once() {
        let mut pacing = settle(Duration::from_nanos(100), 50);
        let before = pacing.budget();
        let mut now = Duration::from_secs(100);
        pacing.epoch(now);
        for _ in 1..STEPS_AHEAD {
            now += STEP_MIN;
            pacing.begin(now);
        }
        // All workers stop for long while four steps are under way.
        now += STEP_TARGET * 10;
        (0..STEPS_AHEAD).for_each(|_| pacing.passed(now, true));
        assert_eq!(pacing.budget(), before / 4);
    }

    #[test]
    fn no_more_steps_begin_than_may_be_under_way() {
        let mut pacing = Pacing::default();
        let mut now = Duration::ZERO;
        pacing.epoch(now);
        assert!(pacing.is_idle());
        let mut begun = 1;
        for _ in 0..100 {
            now += STEP_MIN;
            begun += usize::from(pacing.begin(now).is_some());
        }
        assert_eq!(begun, STEPS_AHEAD);
        assert!(!pacing.is_idle());
        pacing.passed(now, true);
        now += STEP_MIN;
        assert_eq!(pacing.begin(now), Some(STEPS_AHEAD as u32));
    }
}
