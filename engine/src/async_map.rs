//! Asking something outside: how many requests at once, for how long, how often.

use std::future::Future;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use highwater_checkpoint::BoxError;

/// How [`Stream::map_async`](crate::Stream::map_async) asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "give it to `map_async`"]
pub struct AsyncOptions {
    /// Requests of a worker that run at once, 1 to 100,000. Others wait.
    ///
    /// *Default*: 100, as Flink's: enough for 10,000 a second at 10 ms each.
    pub capacity: usize,
    /// Whether results are in the order of their records, on each worker; else in that of the answers.
    ///
    /// *Default*: true. Where order does not matter, one slow answer then holds up nobody.
    pub ordered: bool,
    /// How long one attempt may take.
    ///
    /// *Default*: 30 s.
    pub timeout: Duration,
    /// How often a request that fails, or takes too long, is made again. If the last attempt fails, so
    /// does the job, and its restart strategy decides.
    ///
    /// *Default*: 3.
    pub retries: u32,
    /// The pause before the first of them; it doubles with each.
    ///
    /// *Default*: 100 ms.
    pub pause: Duration,
}

/// More requests at once than any service wants of one worker.
const CAPACITY_MAX: usize = 100_000;

impl Default for AsyncOptions {
    fn default() -> Self {
        AsyncOptions {
            capacity: 100,
            ordered: true,
            timeout: Duration::from_secs(30),
            retries: 3,
            pause: Duration::from_millis(100),
        }
    }
}

impl AsyncOptions {
    /// Results come in the order of the answers.
    pub fn unordered() -> Self {
        AsyncOptions { ordered: false, ..Self::default() }
    }

    /// Sets [`capacity`](AsyncOptions::capacity).
    pub fn capacity(self, capacity: usize) -> Self {
        AsyncOptions { capacity, ..self }
    }

    /// Sets [`timeout`](AsyncOptions::timeout).
    pub fn timeout(self, timeout: Duration) -> Self {
        AsyncOptions { timeout, ..self }
    }

    /// Sets [`retries`](AsyncOptions::retries) and [`pause`](AsyncOptions::pause).
    pub fn retries(self, retries: u32, pause: Duration) -> Self {
        AsyncOptions { retries, pause, ..self }
    }

    pub(crate) fn check(&self, uid: &str) -> Result<(), String> {
        if !(1..=CAPACITY_MAX).contains(&self.capacity) {
            let capacity = self.capacity;
            return Err(format!(
                "operator {uid:?}: a capacity of {capacity} is out of range: 1 to {CAPACITY_MAX}"
            ));
        }
        if self.timeout.is_zero() {
            return Err(format!("operator {uid:?}: a timeout of 0 s leaves no time for an answer"));
        }
        Ok(())
    }
}

/// Runs requests, of all jobs of the process. Never shut down, for a request may hold what cannot be
/// dropped there.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("highwater-async")
        .enable_all()
        .build()
        .expect("the process can start two threads")
});

pub(crate) fn spawn(request: impl Future<Output = ()> + Send + 'static) {
    RUNTIME.spawn(request);
}

/// Asks until there is an answer, or as often as the options say.
pub(crate) async fn with_retries<T, R, E, F>(
    options: AsyncOptions,
    ask: Arc<impl Fn(T) -> F + Send + Sync>,
    record: T,
) -> Result<R, BoxError>
where
    T: Clone,
    E: Into<BoxError>,
    F: Future<Output = Result<R, E>>,
{
    let mut pause = options.pause;
    let mut attempt = 0;
    loop {
        let error: BoxError = match tokio::time::timeout(options.timeout, ask(record.clone())).await
        {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.into(),
            Err(_) => format!("no answer within {:?}", options.timeout).into(),
        };
        if attempt == options.retries {
            let attempts = attempt + 1;
            return Err(format!("a request failed {attempts} times, the last time: {error}").into());
        }
        tracing::debug!(%error, attempt, "a request failed and is made again");
        tokio::time::sleep(pause).await;
        (attempt, pause) = (attempt + 1, pause.saturating_mul(2));
    }
}
