//! Running a job: arguments, workers, signals, the status line, the end.

mod args;
mod report;
mod runtime;
mod signals;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

pub use args::JobArgs;
pub use report::Summary;

use highwater_checkpoint::metadata::SplitMetadata;
use highwater_checkpoint::run::Run;

use crate::metrics::Metrics;

/// What all workers of this process share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) run: Arc<Run>,
    pub(crate) metrics: Arc<Metrics>,
    assignments: Mutex<BTreeMap<String, Vec<SplitMetadata>>>,
}

impl Shared {
    pub(crate) fn new(run: Arc<Run>) -> Self {
        Shared { run, metrics: Arc::default(), assignments: Mutex::default() }
    }

    /// Sets the splits of source `uid`, before the first epoch begins.
    pub(crate) fn assign(&self, uid: &str, splits: Vec<SplitMetadata>) {
        let mut all = self.assignments.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(uid.to_owned(), splits);
    }

    /// The splits of source `uid`, once the first epoch has begun.
    pub(crate) fn assignment(&self, uid: &str) -> Vec<SplitMetadata> {
        let all = self.assignments.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(uid).cloned().unwrap_or_default()
    }
}
