//! What a job counts, for the status line and the summary.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::source::Progress;

/// Counters of a job, of all its workers in this process.
#[derive(Debug, Default)]
pub struct Metrics {
    records_in: AtomicU64,
    bytes_in: AtomicU64,
    records_out: AtomicU64,
    skipped: AtomicU64,
    late: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    progress: Mutex<Vec<Arc<ProgressCell>>>,
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

    /// Records that operators have dropped because they were late, by the uid of the operator: of all
    /// that may drop some, in the order of their uids. Counted again when they are read again.
    pub fn late(&self) -> Vec<(String, u64)> {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        late.iter().map(|(uid, count)| (uid.clone(), count.load(Ordering::Relaxed))).collect()
    }

    /// The count of late records of operator `uid`, which all its workers share.
    pub(crate) fn late_of(&self, uid: &str) -> Arc<AtomicU64> {
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(late.entry(uid.to_owned()).or_default())
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

    pub(crate) fn wrote(&self, records: u64) {
        self.records_out.fetch_add(records, Ordering::Relaxed);
    }
}
