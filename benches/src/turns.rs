//! How long a worker's turns take: from one scheduling of an operator to the next, while there is
//! something to do. A worker that waits, for room or for input, must be free to sleep: one that is
//! kept busy takes the core from the threads that it waits for.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use highwater::Flow;
use rustix::time::{ClockId, clock_gettime};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

/// What all workers have seen while they were watched.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    is_watching: AtomicBool,
    /// The longest by the wall clock, and by the worker's own CPU time, nanoseconds.
    wall_max: AtomicU64,
    cpu_max: AtomicU64,
    /// Turns, and those above 5 ms by the wall clock.
    count: AtomicU64,
    long: AtomicU64,
}

/// From one look at an idle worker to the next.
const IDLE: Duration = Duration::from_millis(1);

/// What is wished of the longest stall.
const LONG: Duration = Duration::from_millis(5);

impl Turns {
    /// From now on, or no more.
    pub(crate) fn watch(&self, is_watching: bool) {
        self.is_watching.store(is_watching, Ordering::Relaxed);
    }

    pub(crate) fn wall_max_ms(&self) -> f64 {
        self.wall_max.load(Ordering::Relaxed) as f64 / 1e6
    }

    pub(crate) fn cpu_max_ms(&self) -> f64 {
        self.cpu_max.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// Turns above 5 ms in a million.
    pub(crate) fn long_per_million(&self) -> f64 {
        let count = self.count.load(Ordering::Relaxed).max(1);
        self.long.load(Ordering::Relaxed) as f64 * 1e6 / count as f64
    }

    /// Adds the operator to this worker's dataflow; what it returns is to be set by whatever the worker
    /// does. Timely schedules each operator that has asked for it once a turn, so from one scheduling
    /// to the next everything else had its turn once.
    pub(crate) fn join(self: &Arc<Self>, flow: &Flow<'_>) -> Rc<Cell<bool>> {
        let (turns, is_busy) = (Arc::clone(self), Rc::new(Cell::new(false)));
        let run = Arc::clone(flow.checkpoints().run());
        let builder = OperatorBuilder::new("Turns".to_owned(), flow.scope());
        let activator = flow.scope().activator_for(builder.operator_info().address);
        let busy = Rc::clone(&is_busy);
        builder.build_reschedule(move |_capabilities| {
            activator.activate();
            let mut last: Option<(Instant, u64)> = None;
            move |_frontiers| {
                if run.control().is_over() {
                    return false;
                }
                if !busy.replace(false) {
                    last = None;
                    activator.activate_after(IDLE);
                    return true;
                }
                activator.activate();
                if turns.is_watching.load(Ordering::Relaxed) {
                    let now = (Instant::now(), thread_cpu_ns());
                    if let Some(last) = last {
                        turns.took(now.0 - last.0, now.1 - last.1);
                    }
                    last = Some(now);
                } else {
                    last = None;
                }
                true
            }
        });
        is_busy
    }

    fn took(&self, wall: Duration, cpu_ns: u64) {
        self.wall_max.fetch_max(wall.as_nanos() as u64, Ordering::Relaxed);
        self.cpu_max.fetch_max(cpu_ns, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.long.fetch_add(u64::from(wall > LONG), Ordering::Relaxed);
    }
}

fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
