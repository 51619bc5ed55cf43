//! The interval join: pairs of records of a key whose event times are near each other.
//!
//! ```text
//!   left at l meets right at r   if   l + lower <= r <= l + upper
//!   left is done with            when the watermark is above l + upper
//!   right is done with           when the watermark is above r - lower
//! ```
//!
//! Both sides are kept by time, so that what a record meets is one range of the other side. Each key
//! has one timer, for the first record that will be done with.

use std::sync::Arc;

use highwater_checkpoint::{BoxError, EventTime};
use serde::{Deserialize, Serialize};

use super::{ByTime, Outer, Sides, Times, wake_by};
use crate::metrics::LateCell;
use crate::state::{Context, EventTimers, TimedStates};
use crate::stream::{ConnectedEvent, Data, Key};

/// A record and, for outer joins, whether it has met any other.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept<V> {
    value: V,
    is_matched: bool,
}

impl<V> Kept<V> {
    pub(super) fn try_map<W>(
        self,
        map: impl FnOnce(V) -> Result<W, BoxError>,
    ) -> Result<Kept<W>, BoxError> {
        Ok(Kept { value: map(self.value)?, is_matched: self.is_matched })
    }
}

/// From when to when the other side's times may be, relative to one's own, in milliseconds.
#[derive(Clone, Copy)]
struct Reach {
    lower_ms: i64,
    upper_ms: i64,
}

impl Reach {
    fn of(self, at: EventTime) -> (EventTime, EventTime) {
        let by = |ms| EventTime(at.0.saturating_add(ms));
        (by(self.lower_ms), by(self.upper_ms))
    }

    fn of_the_other_side(self) -> Reach {
        Reach { lower_ms: self.upper_ms.saturating_neg(), upper_ms: self.lower_ms.saturating_neg() }
    }

    /// Whether nothing can be met any more by a record at `at`.
    fn is_over(self, at: EventTime, watermark: EventTime) -> bool {
        watermark == EventTime::MAX || self.of(at).1 < watermark
    }

    /// The watermark that says so.
    fn over_at(self, at: EventTime) -> EventTime {
        EventTime(self.of(at).1.0.saturating_add(1))
    }
}

/// One side of the join.
struct Side<K, V: Data> {
    kept: ByTime<K, Kept<V>>,
    reach: Reach,
    is_outer: bool,
}

impl<K: Key, V: Data> Side<K, V> {
    /// A record has come: meets those of the other side, and is kept for those that will come.
    fn arrive<O, W: Data>(
        &self,
        ctx: &Context<'_, K, O>,
        (at, value): (EventTime, V),
        others: &Side<K, W>,
        wake: &EventTimers<K, ()>,
        mut pair: impl FnMut(&V, Option<&W>) -> O,
    ) {
        let (mut is_matched, mut newly) = (false, Vec::new());
        others.kept.visit(ctx, self.reach.of(at), |place, other| {
            is_matched = true;
            ctx.emit(pair(&value, Some(&other.value)));
            if others.is_outer && !other.is_matched {
                newly.push(*place);
            }
        });
        for place in newly {
            others.kept.change(ctx, &place, |other| other.is_matched = true);
        }
        if !self.reach.is_over(at, ctx.watermark()) {
            self.kept.push(ctx, at, Kept { value, is_matched });
            wake_by(wake, ctx, self.reach.over_at(at));
        } else if self.is_outer && !is_matched {
            ctx.emit(pair(&value, None));
        }
    }

    /// Drops what can meet nothing any more; returns when the next one is done with.
    fn forget<O>(
        &self,
        ctx: &Context<'_, K, O>,
        mut alone: impl FnMut(&V) -> O,
    ) -> Option<EventTime> {
        let is_over = |at| self.reach.is_over(at, ctx.watermark());
        while let Some((_, Kept { value, is_matched })) = self.kept.take_first_if(ctx, is_over) {
            if self.is_outer && !is_matched {
                ctx.emit(alone(&value));
            }
        }
        self.kept.first(ctx).map(|first| self.reach.over_at(first))
    }
}

/// Declares the join; `pair` is called with what one side or both have.
pub(crate) fn interval_join<K, L, R, O, P>(
    state: &mut TimedStates<'_, '_, '_, K, ()>,
    (times, sides): (Times<L, R>, Sides),
    (lower_ms, upper_ms): (i64, i64),
    outer: Outer,
    late: Arc<LateCell>,
    mut pair: P,
) -> impl FnMut(&Context<'_, K, O>, ConnectedEvent<L, R, ()>) + use<K, L, R, O, P>
where
    K: Key,
    L: Data,
    R: Data,
    O: 'static,
    P: FnMut(&K, Option<&L>, Option<&R>) -> O + 'static,
{
    let reach = Reach { lower_ms, upper_ms };
    let lefts = Side {
        kept: ByTime::declare(state, "left", sides.left.matched),
        reach,
        is_outer: outer.left,
    };
    let rights = Side {
        kept: ByTime::declare(state, "right", sides.right.matched),
        reach: reach.of_the_other_side(),
        is_outer: outer.right,
    };
    let wake = state.event_timers();
    move |ctx, event| match event {
        ConnectedEvent::Left(value) => {
            let at = times.of_left(&value);
            if at < ctx.watermark() {
                late.dropped(1);
                return;
            }
            lefts.arrive(ctx, (at, value), &rights, &wake, |l, r| pair(ctx.key(), Some(l), r));
        }
        ConnectedEvent::Right(value) => {
            let at = times.of_right(&value);
            if at < ctx.watermark() {
                late.dropped(1);
                return;
            }
            rights.arrive(ctx, (at, value), &lefts, &wake, |r, l| pair(ctx.key(), l, Some(r)));
        }
        ConnectedEvent::Timer { .. } => {
            let left = lefts.forget(ctx, |l| pair(ctx.key(), Some(l), None));
            let right = rights.forget(ctx, |r| pair(ctx.key(), None, Some(r)));
            if let Some(next) = [left, right].into_iter().flatten().min() {
                wake.set(ctx, (), next);
            }
        }
        ConnectedEvent::Alarm { .. } => {}
    }
}
