//! The watermark of one split: how far it has come, and whether it is waited for.

use std::time::Duration;

use highwater_checkpoint::EventTime;

/// See the module. Time of day is a parameter, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SplitWatermark {
    at: Option<EventTime>,
    /// When it yielded something last, or was opened.
    active_ms: u64,
}

impl SplitWatermark {
    /// That of a split which goes on from `at`.
    pub(crate) fn new(at: Option<EventTime>, now_ms: u64) -> Self {
        SplitWatermark { at, active_ms: now_ms }
    }

    /// Follows a batch that was read, which allows `watermark`. Never goes back.
    pub(crate) fn observe(&mut self, watermark: Option<EventTime>, now_ms: u64) {
        self.at = self.at.max(watermark);
        self.active_ms = now_ms;
    }

    /// None until it has said anything.
    pub(crate) fn at(&self) -> Option<EventTime> {
        self.at
    }

    /// Where it stands for others: at the beginning until it has said anything.
    pub(crate) fn or_min(&self) -> EventTime {
        self.at.unwrap_or(EventTime::MIN)
    }

    /// Whether it has yielded nothing for `pause`.
    pub(crate) fn is_idle(&self, pause: Option<Duration>, now_ms: u64) -> bool {
        let silent = Duration::from_millis(now_ms.saturating_sub(self.active_ms));
        pause.is_some_and(|pause| silent >= pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back() {
        let mut split = SplitWatermark::new(None, 0);
        assert_eq!(split.or_min(), EventTime::MIN);
        split.observe(Some(EventTime(7)), 1);
        split.observe(Some(EventTime(3)), 2);
        split.observe(None, 3);
        assert_eq!(split.at(), Some(EventTime(7)));
    }

    #[test]
    fn it_is_idle_from_the_pause_on_until_it_yields() {
        let mut split = SplitWatermark::new(Some(EventTime(7)), 1_000);
        let pause = Some(Duration::from_millis(500));
        assert!(!split.is_idle(pause, 1_499));
        assert!(split.is_idle(pause, 1_500));
        assert!(!split.is_idle(None, u64::MAX));
        split.observe(None, 1_600);
        assert!(!split.is_idle(pause, 2_099));
    }
}
