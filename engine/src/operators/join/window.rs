//! Windows of two streams: the records of a key on both sides, window by window.
//!
//! Each record is kept once, by its time, however many windows it is in. A window is complete when the
//! watermark has come to its end; what is in no later one is dropped then. Sessions are not kept: their
//! records say how far they go. Each key has one timer, for the first window that is not complete, or
//! as far as it was known to go.

use std::sync::Arc;

use highwater_checkpoint::EventTime;

use super::{ByTime, Sides, Times, wake_by};
use crate::metrics::LateCell;
use crate::operators::window::{Grid, clamp};
use crate::state::{At, Context, TimedStates};
use crate::stream::{ConnectedEvent, Data, Key};
use crate::window::Window;

/// Windows by the times of records: of two streams those are the same.
#[derive(Clone, Debug)]
pub(crate) enum Windows {
    /// Their bounds do not depend on the records.
    Grid(Grid),
    /// As long as records come with less than a gap between them, in milliseconds.
    Session { gap: i64 },
}

impl Grid {
    /// The first window that `at` is in and that ends after `after`; none if all end before.
    fn first_after(&self, at: i64, after: i64) -> Option<i64> {
        let slice = self.slice(at);
        if slice.first > after {
            return Some(slice.first);
        }
        let next = self.next(clamp(after));
        (after < next && next <= slice.last).then_some(next)
    }
}

/// The records of both sides that are in a window which is not complete.
struct Both<K, L: Data, R: Data> {
    lefts: ByTime<K, L>,
    rights: ByTime<K, R>,
    windows: Windows,
}

impl<K: Key, L: Data + Clone, R: Data + Clone> Both<K, L, R> {
    /// The end of the first window that a record would be in; none if it is late for all of them.
    fn due(&self, key: &At<'_, K>, at: i64, watermark: i64) -> Option<i64> {
        match &self.windows {
            Windows::Grid(grid) => grid.first_after(at, watermark),
            Windows::Session { gap } => {
                let end = at + gap;
                let is_open = end > watermark || self.session_end(key, *gap, end) > watermark;
                is_open.then_some(end)
            }
        }
    }

    /// How far a session goes that is known to go to `end`.
    fn session_end(&self, key: &At<'_, K>, gap: i64, mut end: i64) -> i64 {
        loop {
            let sides = [self.lefts.last_before(key, end), self.rights.last_before(key, end)];
            let last = sides.into_iter().flatten().max();
            let Some(further) = last.map(|last| last + gap).filter(|further| *further > end) else {
                return end;
            };
            end = further;
        }
    }

    /// The first window with a record in it, those up to `complete` being over.
    fn first(&self, key: &At<'_, K>, complete: i64) -> Option<Window> {
        let first = [self.lefts.first(key), self.rights.first(key)].into_iter().flatten().min()?.0;
        match &self.windows {
            Windows::Grid(grid) => {
                let end = grid.first_after(first, complete)?;
                Some(Window::new(grid.start(end), end))
            }
            Windows::Session { gap } => {
                // What is not over when a timer is due is known to go to there.
                let end = (first + gap).max(complete.saturating_add(1));
                Some(Window::new(first, self.session_end(key, *gap, end)))
            }
        }
    }

    /// The records of one side that are in a window; those that are in no later one are not kept.
    fn gather<V: Data + Clone>(
        &self,
        kept: &ByTime<K, V>,
        key: &At<'_, K>,
        window: Window,
    ) -> Vec<V> {
        let is_last = |at: EventTime| match &self.windows {
            Windows::Grid(grid) => grid.slice(at.0).last <= window.end.0,
            Windows::Session { .. } => at < window.end,
        };
        let mut records = Vec::new();
        while let Some((_, value)) = kept.take_first_if(key, is_last) {
            records.push(value);
        }
        let within = (window.start, EventTime(window.end.0 - 1));
        kept.visit(key, within, |_, value| records.push(value.clone()));
        records
    }
}

/// Declares the join; `group` is called with each window of each key in which there is a record.
pub(crate) fn co_group<K, L, R, O, P>(
    state: &mut TimedStates<'_, '_, '_, K, ()>,
    (times, sides): (Times<L, R>, Sides),
    windows: Windows,
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
    let lefts: ByTime<K, L> = ByTime::declare(state, "left", sides.left.plain);
    let rights: ByTime<K, R> = ByTime::declare(state, "right", sides.right.plain);
    let both = Both { lefts, rights, windows };
    let wake = state.event_timers();
    move |ctx, event| {
        let at = match &event {
            ConnectedEvent::Left(value) => clamp(times.of_left(value).0),
            ConnectedEvent::Right(value) => clamp(times.of_right(value).0),
            ConnectedEvent::Timer { at, .. } => at.0,
            ConnectedEvent::Alarm { .. } => return,
        };
        let watermark = ctx.watermark();
        if !matches!(event, ConnectedEvent::Timer { .. }) {
            let Some(due) = both.due(ctx, at, watermark.0) else {
                late.dropped(1);
                return;
            };
            match event {
                ConnectedEvent::Left(value) => both.lefts.push(ctx, EventTime(at), value),
                ConnectedEvent::Right(value) => both.rights.push(ctx, EventTime(at), value),
                _ => {}
            }
            return wake_by(&wake, ctx, EventTime(due));
        }
        // Several, where the watermark has come a long way: at the end of the input to all of them.
        let mut complete = at.saturating_sub(1);
        while let Some(window) = both.first(ctx, complete) {
            if window.end > watermark {
                return wake.set(ctx, (), window.end);
            }
            let left = both.gather(&both.lefts, ctx, window);
            let right = both.gather(&both.rights, ctx, window);
            group(ctx, window, left, right);
            complete = window.end.0;
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
            let grid = Grid::Sliding { size, slide, offset };
            // All starts near, by counting.
            let mut starts = (-500..500).map(|n| n * slide + offset);
            let found = starts.find(|start| {
                *start <= at && at < start + size && start + size > after
            });
            prop_assert_eq!(grid.first_after(at, after), found.map(|start| start + size));
        }
    }

    #[test]
    fn windows_at_the_ends_of_time_are_cut_off() {
        let hours = Grid::Sliding { size: 3_600_000, slide: 3_600_000, offset: 0 };
        let (first, last) = (clamp(i64::MIN), clamp(i64::MAX));
        assert!(hours.first_after(first, i64::MIN).is_some_and(|end| end > first));
        assert!(hours.first_after(last, 0).is_some_and(|end| end > last));
        assert_eq!(hours.first_after(last, i64::MAX), None);
        assert_eq!(hours.first_after(0, 3_600_000), None);
        assert_eq!(Grid::Global.first_after(first, last), Some(i64::MAX));
    }
}
