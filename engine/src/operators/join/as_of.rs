//! The as-of join: each record with the version of its key that was valid at the record's time.
//!
//! A record at `t` waits until the watermark is above `t`: then all versions up to `t` are known. Of
//! the versions up to the watermark the last one is still needed, and those after the watermark.

use std::sync::Arc;

use highwater_checkpoint::EventTime;

use super::{ByTime, Sides, Times, wake_by};
use crate::metrics::LateCell;
use crate::state::{At, Context, MapState, TimedStates};
use crate::stream::{ConnectedEvent, Data, Key};

/// The versions of each key by the time from which they are valid.
struct Versions<K, V: Data>(MapState<K, EventTime, V>);

impl<K: Key, V: Data> Versions<K, V> {
    /// Takes one in, unless a newer one is valid wherever records may still come.
    fn insert(&self, key: &At<'_, K>, from: EventTime, version: V, watermark: EventTime) {
        let newest = self.0.last_key_in(key, ..=watermark);
        if newest.is_none_or(|newest| newest <= from) {
            self.0.insert(key, from, version);
        }
    }

    /// Drops those that are not valid from the watermark on; returns which watermark ends the next.
    fn forget(&self, key: &At<'_, K>, watermark: EventTime) -> Option<EventTime> {
        while let Some(second) = self.0.nth_key(key, 1) {
            if second > watermark {
                return Some(second);
            }
            self.0.pop_first(key);
        }
        None
    }
}

/// Declares the join; `pair` is called with each record in its turn, and its version.
pub(crate) fn as_of_join<K, L, R, O, P>(
    state: &mut TimedStates<'_, '_, '_, K, ()>,
    (times, sides): (Times<L, R>, Sides),
    late: Arc<LateCell>,
    mut pair: P,
) -> impl FnMut(&Context<'_, K, O>, ConnectedEvent<L, R, ()>) + use<K, L, R, O, P>
where
    K: Key,
    L: Data,
    R: Data,
    O: 'static,
    P: FnMut(&K, L, Option<&R>) -> Option<O> + 'static,
{
    let waiting: ByTime<K, L> = ByTime::declare(state, "waiting", sides.left.plain);
    let versions: Versions<K, R> = Versions(state.evolved(sides.right.plain).map("versions"));
    let wake = state.event_timers();
    let after = |at: EventTime| EventTime(at.0.saturating_add(1));
    move |ctx, event| match event {
        ConnectedEvent::Left(record) => {
            let at = times.of_left(&record);
            if at < ctx.watermark() {
                late.dropped(1);
                return;
            }
            waiting.push(ctx, at, record);
            wake_by(&wake, ctx, after(at));
        }
        ConnectedEvent::Right(version) => {
            let from = times.of_right(&version);
            if from < ctx.watermark() {
                late.dropped(1);
            }
            versions.insert(ctx, from, version, ctx.watermark());
            if waiting.first(ctx).is_none_or(|first| first >= ctx.watermark())
                && let Some(next) = versions.forget(ctx, ctx.watermark())
            {
                wake_by(&wake, ctx, next);
            }
        }
        ConnectedEvent::Timer { .. } => {
            let watermark = ctx.watermark();
            let is_due = |at| at < watermark || watermark == EventTime::MAX;
            while let Some((at, record)) = waiting.take_first_if(ctx, is_due) {
                let made = versions.0.with_last_in(ctx, ..=at, |v| pair(ctx.key(), record, v));
                if let Some(made) = made {
                    ctx.emit(made);
                }
            }
            let next = waiting.first(ctx).map(after);
            let next_version = versions.forget(ctx, watermark);
            if let Some(next) = [next, next_version].into_iter().flatten().min() {
                wake.set(ctx, (), next);
            }
        }
        ConnectedEvent::Alarm { .. } => {}
    }
}
