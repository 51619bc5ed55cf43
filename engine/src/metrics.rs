//! What a job counts, for the status line and the summary.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::HumanCount;

use crate::source::Progress;

/// Counters of a job, of all its workers in this process.
#[derive(Debug, Default)]
pub struct Metrics {
    records_in: AtomicU64,
    bytes_in: AtomicU64,
    records_out: AtomicU64,
    skipped: AtomicU64,
    progress: Mutex<Vec<Arc<ProgressCell>>>,
    late: Mutex<BTreeMap<String, Arc<LateCell>>>,
}

/// Records of one operator that came behind the watermark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LateRecords {
    /// Taken nevertheless, for there was a window for them.
    pub taken: u64,
    /// Too late, and dropped.
    pub dropped: u64,
    /// Too late, and sent to the stream of late records.
    pub sent_aside: u64,
}

impl fmt::Display for LateRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LateRecords { taken, dropped, sent_aside } = *self;
        let counts = [(taken, "taken"), (dropped, "dropped"), (sent_aside, "sent aside")];
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts: Vec<_> =
            counts.map(|(count, what)| format!("{} {what}", HumanCount(*count))).collect();
        f.write_str(&counts.join(", "))
    }
}

/// The counters behind [`LateRecords`].
#[derive(Debug, Default)]
pub(crate) struct LateCell {
    taken: AtomicU64,
    dropped: AtomicU64,
    sent_aside: AtomicU64,
}

impl LateCell {
    pub(crate) fn taken(&self, records: u64) {
        self.taken.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self, records: u64) {
        self.dropped.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn sent_aside(&self, records: u64) {
        self.sent_aside.fetch_add(records, Ordering::Relaxed);
    }

    fn get(&self) -> LateRecords {
        LateRecords {
            taken: self.taken.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            sent_aside: self.sent_aside.load(Ordering::Relaxed),
        }
    }
}

/// How far the splits of one source are read on one worker.
#[derive(Debug, Default)]
pub(crate) struct ProgressCell {
    done: AtomicU64,
    total: AtomicU64,
    is_known: AtomicU64,
}

impl ProgressCell {
    pub(crate) fn set(&self, progress: Option<Progress>) {
        let known = progress.is_some();
        let Progress { done, total } = progress.unwrap_or_default();
        self.done.store(done, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        self.is_known.store(u64::from(known), Ordering::Relaxed);
    }
}

impl Metrics {
    /// Records that sources have emitted.
    pub fn records_in(&self) -> u64 {
        self.records_in.load(Ordering::Relaxed)
    }

    /// Bytes that sources have read, as far as they count them.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in.load(Ordering::Relaxed)
    }

    /// Records that sinks have been given.
    pub fn records_out(&self) -> u64 {
        self.records_out.load(Ordering::Relaxed)
    }

    /// Records that sources have skipped as unreadable.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// The share of the input that was read, 0 to 1; none unless every source knows its size.
    pub fn progress(&self) -> Option<f64> {
        let cells = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut done, mut total) = (0, 0);
        for cell in cells.iter() {
            if cell.is_known.load(Ordering::Relaxed) == 0 {
                return None;
            }
            done += cell.done.load(Ordering::Relaxed);
            total += cell.total.load(Ordering::Relaxed);
        }
        (total > 0).then(|| done as f64 / total as f64)
    }

    /// The sources of a run that is over are read by those of the next.
    pub(crate) fn forget_progress(&self) {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(crate) fn progress_cell(&self) -> Arc<ProgressCell> {
        let cell = Arc::new(ProgressCell::default());
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&cell));
        cell
    }

    pub(crate) fn read(&self, records: u64, bytes: u64, skipped: u64) {
        self.records_in.fetch_add(records, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
        self.skipped.fetch_add(skipped, Ordering::Relaxed);
    }

    /// Records that came late, by the uid of the operator: of those that had any. After a restart,
    /// those that come again are counted again.
    pub fn late(&self) -> BTreeMap<String, LateRecords> {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let counts = late.iter().map(|(uid, cell)| (uid.clone(), cell.get()));
        counts.filter(|(_, late)| *late != LateRecords::default()).collect()
    }

    pub(crate) fn late_of(&self, uid: &str) -> Arc<LateCell> {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(late.entry(uid.to_owned()).or_default())
    }

    pub(crate) fn wrote(&self, records: u64) {
        self.records_out.fetch_add(records, Ordering::Relaxed);
    }
}
