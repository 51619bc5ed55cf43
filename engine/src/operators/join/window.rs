//! Windows of two streams: the records of a key on both sides, window by window.
//!
//! Each record is kept once, by its time, however many windows it is in. A window is complete when the
//! watermark has come to its end; what is in no later one is dropped then. Each key has one timer, for
//! the first window that is not complete.

use std::sync::Arc;

use highwater_checkpoint::EventTime;

use super::{ByTime, Times, wake_by};
use crate::metrics::LateCell;
use crate::state::{Context, TimedStates};
use crate::stream::{ConnectedEvent, Data, Key, Window};

/// Windows of one size, each beginning a slide after the one before. In milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fixed {
    /// Above 0.
    pub(crate) size: i64,
    /// From 1 to the size.
    pub(crate) slide: i64,
    pub(crate) offset: i64,
}

impl Fixed {
    fn starting(self, start: i128) -> Window {
        let fit = |at: i128| EventTime(at.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
        Window { start: fit(start), end: fit(start + i128::from(self.size)) }
    }

    /// The start of the last window that begins at `at` or before.
    fn start_before(self, at: i128) -> i128 {
        let (slide, offset) = (i128::from(self.slide), i128::from(self.offset));
        (at - offset).div_euclid(slide) * slide + offset
    }

    /// The first window that `at` is in and that ends after `after`; none if all end before.
    fn first_of(self, at: EventTime, after: EventTime) -> Option<Window> {
        // Of all that end after both, the one that begins first.
        let least_end = i128::from(at.0.max(after.0)) + 1;
        let slide = i128::from(self.slide);
        let start = self.start_before(least_end - i128::from(self.size) - 1) + slide;
        (start <= i128::from(at.0)).then(|| self.starting(start))
    }

    /// The window after one.
    fn next_start(self, window: Window) -> EventTime {
        EventTime(window.start.0.saturating_add(self.slide))
    }
}

/// The records of one side that are in a window; those that are in no later one are not kept.
fn gather<K: Key, V: Data + Clone, O>(
    kept: &ByTime<K, V>,
    ctx: &Context<'_, K, O>,
    window: Window,
    next_start: EventTime,
) -> Vec<V> {
    let mut records = Vec::new();
    let last = if window.end == EventTime::MAX { i64::MAX } else { window.end.0 - 1 };
    let is_last = |at: EventTime| at < next_start || window.end == EventTime::MAX;
    while let Some((_, value)) = kept.take_first_if(ctx, |at| at.0 <= last && is_last(at)) {
        records.push(value);
    }
    if next_start.0 <= last {
        kept.visit(ctx, (next_start, EventTime(last)), |_, value| records.push(value.clone()));
    }
    records
}

/// Declares the join; `group` is called with each window of each key in which there is a record.
pub(crate) fn co_group<K, L, R, O, P>(
    state: &mut TimedStates<'_, '_, '_, K, ()>,
    times: Times<L, R>,
    windows: Fixed,
    late: Arc<LateCell>,
    mut group: P,
) -> impl FnMut(&Context<'_, K, O>, ConnectedEvent<L, R, ()>) + use<K, L, R, O, P>
where
    K: Key,
    L: Data + Clone,
    R: Data + Clone,
    O: 'static,
    P: FnMut(&Context<'_, K, O>, Window, Vec<L>, Vec<R>) + 'static,
{
    let lefts: ByTime<K, L> = ByTime::declare(state, "left");
    let rights: ByTime<K, R> = ByTime::declare(state, "right");
    let wake = state.event_timers();
    move |ctx, event| {
        let at = match &event {
            ConnectedEvent::Left(value) => times.of_left(value),
            ConnectedEvent::Right(value) => times.of_right(value),
            ConnectedEvent::Timer { at, .. } => *at,
            ConnectedEvent::Alarm { .. } => return,
        };
        let watermark = ctx.watermark();
        if !matches!(event, ConnectedEvent::Timer { .. }) {
            let Some(first) = windows.first_of(at, watermark) else {
                late.dropped(1);
                return;
            };
            match event {
                ConnectedEvent::Left(value) => lefts.push(ctx, at, value),
                ConnectedEvent::Right(value) => rights.push(ctx, at, value),
                _ => {}
            }
            return wake_by(&wake, ctx, first.end);
        }
        // Several, where the watermark has come a long way: at the end of the input to all of them.
        let mut complete = EventTime(at.0.saturating_sub(1));
        loop {
            let first = [lefts.first(ctx), rights.first(ctx)].into_iter().flatten().min();
            let Some(window) = first.and_then(|first| windows.first_of(first, complete)) else {
                return;
            };
            if window.end > watermark {
                return wake.set(ctx, (), window.end);
            }
            let next_start = windows.next_start(window);
            let left = gather(&lefts, ctx, window, next_start);
            let right = gather(&rights, ctx, window, next_start);
            group(ctx, window, left, right);
            complete = window.end;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_window_is_that_of_a_search(
            (size, slide) in (1_i64..40).prop_flat_map(|size| (Just(size), 1..=size)),
            offset in -50_i64..50,
            at in -200_i64..200,
            after in -200_i64..200,
        ) {
            let windows = Fixed { size, slide, offset };
            // All starts near, by counting.
            let mut starts = (-500..500).map(|n| n * slide + offset);
            let found = starts.find(|start| {
                *start <= at && at < start + size && start + size > after
            });
            let expected = found.map(|start| (start, start + size));
            let first = windows.first_of(EventTime(at), EventTime(after));
            prop_assert_eq!(first.map(|w| (w.start.0, w.end.0)), expected);
        }
    }

    #[test]
    fn windows_at_the_ends_of_time_are_cut_off() {
        let hours = Fixed { size: 3_600_000, slide: 3_600_000, offset: 0 };
        let first = hours.first_of(EventTime::MIN, EventTime::MIN).unwrap();
        assert_eq!(first.start, EventTime::MIN);
        let last = hours.first_of(EventTime::MAX, EventTime(0)).unwrap();
        assert_eq!(last.end, EventTime::MAX);
        assert_eq!(hours.first_of(EventTime(0), EventTime(3_600_000)), None);
    }
}
