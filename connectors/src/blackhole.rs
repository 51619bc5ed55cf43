//! Takes records and forgets them: for benches, and for tests of back-pressure.

#![expect(clippy::disallowed_methods, reason = "is slow on request")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use highwater::sink::{Prepare, Sink, SinkRun, SinkWriter};
use highwater::{BoxError, Epoch};

/// Counts records, and drops them.
///
/// It writes nothing, so it promises nothing: after a failure records count again. Clones share
/// their count.
///
/// ```
/// use highwater_connectors::blackhole::BlackholeSink;
///
/// let sink = BlackholeSink::new();
/// let counting = sink.clone();
/// // ... run a job that writes to `sink` ...
/// assert_eq!(counting.records(), 0);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a sink does nothing until a job writes to it"]
pub struct BlackholeSink {
    records: Arc<AtomicU64>,
    rate: Option<f64>,
}

impl BlackholeSink {
    /// Takes records as fast as they come.
    pub fn new() -> BlackholeSink {
        BlackholeSink::default()
    }

    /// Sets how fast records are taken, all workers together. The sink blocks its workers to keep
    /// to it, as a slow system would.
    ///
    /// *Unit*: records per second. *Default*: as fast as they come. *Range*: above 0.
    ///
    /// # Panics
    ///
    /// If the rate is not a number above 0.
    pub fn rate(mut self, records_per_second: f64) -> Self {
        assert!(
            records_per_second > 0.0 && records_per_second.is_finite(),
            "rate of a black hole: {records_per_second} records per second is not above 0"
        );
        self.rate = Some(records_per_second);
        self
    }

    /// How many records were taken so far, by all clones.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }
}

impl<T> Sink<T> for BlackholeSink {
    type Committable = ();
    type Writer = BlackholeWriter;

    fn begin(&self, _run: &SinkRun) -> Result<(), BoxError> {
        Ok(())
    }

    fn commit(&self, _run: &SinkRun, _committables: Vec<()>) -> Result<(), BoxError> {
        Ok(())
    }

    fn abort(&self, _run: &SinkRun) -> Result<(), BoxError> {
        Ok(())
    }

    fn open(&self, run: &SinkRun, _worker: usize) -> Result<BlackholeWriter, BoxError> {
        let record_seconds = self.rate.map(|rate| run.workers.max(1) as f64 / rate);
        Ok(BlackholeWriter {
            records: Arc::clone(&self.records),
            record_seconds,
            free_at: Instant::now(),
        })
    }
}

/// Takes one worker's records.
#[derive(Debug)]
pub struct BlackholeWriter {
    records: Arc<AtomicU64>,
    /// How long the writer is busy with one record.
    record_seconds: Option<f64>,
    /// When it is done with those before.
    free_at: Instant,
}

impl<T> SinkWriter<T> for BlackholeWriter {
    type Committable = ();

    fn write(&mut self, batch: &mut Vec<T>) -> Result<(), BoxError> {
        let records = batch.len();
        batch.clear();
        if let Some(seconds) = self.record_seconds {
            let now = Instant::now();
            // Time without records is lost, not saved for a burst.
            let begin = self.free_at.max(now);
            self.free_at = begin + Duration::from_secs_f64(seconds * records as f64);
            thread::sleep(self.free_at - now);
        }
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        Ok(())
    }

    fn prepare(&mut self, _epoch: Epoch) -> Result<Prepare<()>, BoxError> {
        Ok(Box::new(|| Ok(Vec::new())))
    }
}
