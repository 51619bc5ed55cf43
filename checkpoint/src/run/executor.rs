//! Where a run's tasks run, and what time it is there: on the threads of the process and by its
//! clock, or in a simulation that decides both.

#![expect(clippy::disallowed_methods, reason = "is the one place that asks for the time of day")]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::JoinHandle;

use crate::background::yield_to_workers;
use crate::time::Epoch;

/// One runtime for the process, never shut down: a task may hold the last handle of a run, and a
/// runtime cannot be dropped on its own threads.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("highwater-io")
        .on_thread_start(yield_to_workers)
        .enable_all()
        .build()
        .expect("the process can start two threads")
});

/// A task of any type. What runs tasks is compiled once for each output then, and not once for each
/// task: there are hundreds of these in a program of some operators, for most know the types of keys
/// and values, and what they would bring with them was a third of its code.
type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Of its own, for a closure is compiled for each type that the function around it is.
fn spawn_blocking<T: Send + 'static>(task: Boxed<T>) -> JoinHandle<T> {
    RUNTIME.spawn_blocking(|| RUNTIME.block_on(task))
}

/// Runs the tasks of a run. The default is the threads of the process; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Executor {
    place: Place,
}

#[derive(Clone, Debug, Default)]
enum Place {
    #[default]
    Threads,
    #[cfg(feature = "testing")]
    Simulated(std::sync::Arc<super::simulated::Tasks>),
}

impl Executor {
    #[cfg(feature = "testing")]
    pub(super) fn simulated(tasks: std::sync::Arc<super::simulated::Tasks>) -> Executor {
        Executor { place: Place::Simulated(tasks) }
    }

    /// Runs `task` in the background.
    pub(super) fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task: Boxed<F::Output> = Box::pin(task);
        match &self.place {
            Place::Threads => RUNTIME.spawn(task),
            #[cfg(feature = "testing")]
            Place::Simulated(tasks) => tasks.spawn(task),
        }
    }

    /// Runs `task`, which computes for long between its requests, on a thread of its own.
    pub(super) fn spawn_heavy<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let task: Boxed<F::Output> = Box::pin(task);
        match &self.place {
            Place::Threads => spawn_blocking(task),
            #[cfg(feature = "testing")]
            Place::Simulated(tasks) => tasks.spawn(task),
        }
    }

    /// Blocks this thread, which must not be one of tokio's, until `task` is done.
    pub(super) fn block_on<F: Future>(&self, task: F) -> F::Output {
        let task: Pin<&mut dyn Future<Output = F::Output>> = pin!(task);
        match &self.place {
            Place::Threads => RUNTIME.block_on(task),
            #[cfg(feature = "testing")]
            Place::Simulated(tasks) => tasks.block_on(task),
        }
    }

    /// Time since the Unix epoch, as the process saw it when it began: never goes back, so that a
    /// clock that is set cannot stop the checkpoints.
    pub(super) fn now(&self) -> Duration {
        match &self.place {
            Place::Threads => {
                static BEGAN: LazyLock<(Instant, Duration)> = LazyLock::new(|| {
                    let since = SystemTime::now().duration_since(UNIX_EPOCH);
                    (Instant::now(), since.unwrap_or_default())
                });
                let (instant, began) = *BEGAN;
                began + instant.elapsed()
            }
            #[cfg(feature = "testing")]
            Place::Simulated(tasks) => tasks.now(),
        }
    }

    /// The clock that delayed activations come by; none in a simulation, where they come at once.
    #[cfg_attr(
        not(feature = "testing"),
        expect(clippy::unnecessary_wraps, reason = "a simulation has none")
    )]
    pub(super) fn timer(&self) -> Option<Duration> {
        match &self.place {
            Place::Threads => Some(self.now()),
            #[cfg(feature = "testing")]
            Place::Simulated(_) => None,
        }
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.now().as_millis() as u64
    }

    /// How much a seal does between two looks at the clock: `most`, but in a simulation, where states
    /// are small, and seals are to be interrupted.
    pub(super) fn slice_work(&self, most: usize) -> usize {
        match &self.place {
            Place::Threads => most,
            #[cfg(feature = "testing")]
            Place::Simulated(tasks) => tasks.slice_work(most),
        }
    }

    /// A participant ends an epoch: a simulation may want to die here.
    #[cfg_attr(not(feature = "testing"), expect(clippy::unused_self, reason = "a simulation's"))]
    pub(super) fn sealing(&self, uid: &str, worker: usize, epoch: Epoch) {
        #[cfg(feature = "testing")]
        if let Place::Simulated(tasks) = &self.place {
            tasks.sealing(uid, worker, epoch);
        }
        #[cfg(not(feature = "testing"))]
        let _ = (uid, worker, epoch);
    }
}
