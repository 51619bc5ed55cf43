//! How a source's watermarks follow from its records.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::EventTime;

use crate::BoxError;
use crate::source::{NamedSplit, Source};

/// What is called with each batch of a split: the greatest watermark that it allows.
type Observe<T> = Arc<dyn Fn(&[T]) -> Option<EventTime> + Send + Sync>;

/// How the watermark of each split of a source follows from its records.
///
/// The watermark of a source is the least of its splits'; a split that has not yielded anything
/// holds it back, unless it is [idle](Watermarks::idle_after). Those of several sources come
/// together where their streams do. When all splits of all sources with event time have been read
/// to their ends, the watermark is at [`EventTime::MAX`].
///
/// A source without watermarks says nothing of event time: it holds nobody back.
///
/// ```
/// use std::time::Duration;
/// use highwater::event_time::Watermarks;
/// use highwater::EventTime;
///
/// struct Reading { at_ms: i64, celsius: f32 }
///
/// let watermarks = Watermarks::bounded(Duration::from_secs(5), |r: &Reading| EventTime(r.at_ms))
///     .idle_after(Duration::from_secs(60));
/// # let _ = watermarks;
/// ```
#[must_use = "give it to a source with `with_watermarks`"]
pub struct Watermarks<T> {
    observe: Observe<T>,
    pub(crate) idle_after: Option<Duration>,
    pub(crate) drift_max: Option<Duration>,
}

impl<T: 'static> Watermarks<T> {
    /// Records of a split are out of order by at most `out_of_order`: the watermark is that much below
    /// the greatest event time so far. A record further behind is late.
    ///
    /// Too little makes records late; too much makes results wait, and their state take room.
    pub fn bounded(
        out_of_order: Duration,
        time_of: impl Fn(&T) -> EventTime + Send + Sync + 'static,
    ) -> Self {
        Self::observed_by(move |batch| {
            let greatest = batch.iter().map(&time_of).max()?;
            Some(greatest.saturating_sub(out_of_order))
        })
    }

    /// Records of a split are in the order of their event times. One that is not is late.
    pub fn ascending(time_of: impl Fn(&T) -> EventTime + Send + Sync + 'static) -> Self {
        Self::bounded(Duration::ZERO, time_of)
    }

    /// Some records say what the watermark is: none below the returned time follow in the split.
    /// Those for which the function returns none say nothing. It never goes back.
    pub fn punctuated(
        watermark_of: impl Fn(&T) -> Option<EventTime> + Send + Sync + 'static,
    ) -> Self {
        Self::observed_by(move |batch| batch.iter().filter_map(&watermark_of).max())
    }

    fn observed_by(observe: impl Fn(&[T]) -> Option<EventTime> + Send + Sync + 'static) -> Self {
        Watermarks { observe: Arc::new(observe), idle_after: None, drift_max: None }
    }

    /// A split that has yielded nothing for `pause`, by the time of day, holds nobody back until it
    /// yields again; what it yields then may be late.
    ///
    /// *Default*: never. A split that is slow is then waited for, and nothing is late because of it.
    pub fn idle_after(mut self, pause: Duration) -> Self {
        self.idle_after = Some(pause);
        self
    }

    /// A split whose watermark is ahead of the slowest split of the source by more than `drift` is
    /// not read until that has come closer. Bounds what windows and joins keep for the fast ones.
    ///
    /// *Default*: unbounded between workers. A worker always reads that of its own splits which is
    /// furthest behind.
    pub fn aligned_within(mut self, drift: Duration) -> Self {
        self.drift_max = Some(drift);
        self
    }

    pub(crate) fn observe(&self, batch: &[T]) -> Option<EventTime> {
        (self.observe)(batch)
    }
}

impl<T> Clone for Watermarks<T> {
    fn clone(&self) -> Self {
        Watermarks { observe: Arc::clone(&self.observe), ..*self }
    }
}

impl<T> fmt::Debug for Watermarks<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watermarks")
            .field("idle_after", &self.idle_after)
            .field("drift_max", &self.drift_max)
            .finish_non_exhaustive()
    }
}

/// A source with event time: made by [`Source::with_watermarks`].
#[derive(Debug)]
#[must_use = "a source does nothing until a job reads it"]
pub struct WithWatermarks<S: Source> {
    source: S,
    watermarks: Watermarks<S::Item>,
}

impl<S: Source> WithWatermarks<S> {
    pub(crate) fn new(source: S, watermarks: Watermarks<S::Item>) -> Self {
        WithWatermarks { source, watermarks }
    }
}

impl<S: Source + Clone> Clone for WithWatermarks<S> {
    fn clone(&self) -> Self {
        WithWatermarks { source: self.source.clone(), watermarks: self.watermarks.clone() }
    }
}

impl<S: Source> Source for WithWatermarks<S> {
    type Item = S::Item;
    type Split = S::Split;
    type Offset = S::Offset;
    type Reader = S::Reader;

    fn discover(
        &self,
        known: &[NamedSplit<S::Split>],
    ) -> Result<Vec<NamedSplit<S::Split>>, BoxError> {
        self.source.discover(known)
    }

    fn open(&self, split: &S::Split, offset: Option<S::Offset>) -> Result<S::Reader, BoxError> {
        self.source.open(split, offset)
    }

    fn watermarks(&self) -> Option<Watermarks<S::Item>> {
        Some(self.watermarks.clone())
    }
}
