//! How threads in the background let workers go first: by priority, and by pauses.

#![expect(clippy::disallowed_methods, reason = "is for threads that are not workers, which pause")]

use std::cell::Cell;
use std::time::{Duration, Instant};

/// How long a thread works at one go. A worker that waits for its core waits that long, so short
/// beside the 5 ms that one may stall; long beside what it takes to change threads.
const WORK: Duration = Duration::from_micros(500);

/// How long it pauses then. That it sleeps at all gives the core to whoever waits; to yield does not,
/// where the kernel looks only at its clock's next tick whose turn it is.
const PAUSE: Duration = Duration::from_micros(20);

thread_local! {
    static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Pauses if this thread has worked for long enough. To be called now and then by what computes for
/// longer; never on a worker's thread.
///
/// Without it a thread that has got a core keeps it until the next tick of the kernel's clock, 4 to
/// 10 ms later, whatever its priority.
pub(crate) fn pause_if_due() {
    SINCE.with(|since| {
        let began = since.get().unwrap_or_else(Instant::now);
        if began.elapsed() < WORK {
            since.set(Some(began));
            return;
        }
        std::thread::sleep(PAUSE);
        since.set(Some(Instant::now()));
    });
}

/// Lets workers go first. A thread that wakes up to compress would else take the core from a worker
/// in the middle of a seal. Batch threads wait for the tick instead.
pub(crate) fn yield_to_workers() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{
            NormalThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
            set_thread_priority_and_policy, thread_native_id,
        };
        let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
        // Of 100, which is a nice value of 10: a tenth of a core that workers want as well. With the
        // least, 19, checkpoints of busy workers took up to two seconds instead of a fifth of one.
        let priority = ThreadPriorityValue::try_from(22).map(ThreadPriority::Crossplatform);
        let priority = priority.unwrap_or(ThreadPriority::Min);
        if let Err(error) = set_thread_priority_and_policy(thread_native_id(), priority, batch) {
            tracing::debug!(?error, "background threads may interrupt workers");
        }
    }
}
