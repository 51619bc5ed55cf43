//! When a window says what it has come to.

use std::time::Duration;

use super::millis;

/// When a window says what it has come to: always when the watermark has come to its end, and as it
/// is asked here before and after that.
///
/// ```
/// use std::time::Duration;
/// use highwater::window::Trigger;
///
/// // Each second of event time while there is news, at the end, and with each late record.
/// let trigger = Trigger::watermark().early_every(Duration::from_secs(1));
/// # let _ = trigger;
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use = "give it to `trigger`"]
pub struct Trigger {
    every: Option<Duration>,
    every_by_day: Option<Duration>,
    count: Option<u32>,
    is_late_at_watermark: bool,
    is_purging: bool,
}

impl Trigger {
    /// When the watermark has come to the end of the window, and with each record that is late but
    /// [allowed](crate::stream::WindowedStream::allowed_lateness). The default.
    pub fn watermark() -> Trigger {
        Trigger::default()
    }

    /// Fires early too, when the watermark passes a multiple of `every` and there is news.
    /// *Range*: from 1 ms.
    pub fn early_every(mut self, every: Duration) -> Trigger {
        self.every = Some(every);
        self
    }

    /// Fires early too, `every` so long by the time of day if there is news. *Range*: from 1 ms.
    ///
    /// What is said early then depends on the speed of the job; what is said at last does not.
    pub fn early_every_by_processing_time(mut self, every: Duration) -> Trigger {
        self.every_by_day = Some(every);
        self
    }

    /// Fires early too, when `records` have come since it was said last. *Range*: from 1.
    pub fn early_after(mut self, records: u32) -> Trigger {
        self.count = Some(records);
        self
    }

    /// Fires for records that are late but allowed when the watermark moves on, for all together;
    /// *default*: for each when it comes.
    pub fn late_at_watermark(mut self) -> Trigger {
        self.is_late_at_watermark = true;
        self
    }

    /// Forgets what was said: each time it is the records since the last time. A window that has none
    /// says nothing. *Default*: a window accumulates, and says again what it has said with what has
    /// come.
    pub fn purge(mut self) -> Trigger {
        self.is_purging = true;
        self
    }

    pub(crate) fn plan(&self) -> Result<TriggerPlan, String> {
        let every = |what: &str, every: Option<Duration>| {
            every.map(|every| millis(what, every)).transpose()
        };
        if self.count == Some(0) {
            return Err("a trigger fires after 0 records: at least 1 is needed".to_owned());
        }
        Ok(TriggerPlan {
            every: every("the interval of the trigger", self.every)?,
            every_by_day: every("the processing-time interval of the trigger", self.every_by_day)?,
            count: self.count.unwrap_or(u32::MAX),
            is_late_at_watermark: self.is_late_at_watermark,
            is_purging: self.is_purging,
        })
    }
}

/// A trigger, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TriggerPlan {
    pub(crate) every: Option<i64>,
    pub(crate) every_by_day: Option<i64>,
    pub(crate) count: u32,
    pub(crate) is_late_at_watermark: bool,
    pub(crate) is_purging: bool,
}

impl TriggerPlan {
    /// Whether slices do: windows that fire once, and again for each late record.
    pub(crate) fn is_plain(&self) -> bool {
        self.every.is_none()
            && self.every_by_day.is_none()
            && self.count == u32::MAX
            && !self.is_late_at_watermark
            && !self.is_purging
    }
}
