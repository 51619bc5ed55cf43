//! Streams without repetitions.

use std::time::Duration;

use highwater_checkpoint::EventTime;

use super::{Data, Key, Stream};
use crate::operators::join::wake_by;
use crate::state::{Event, Ttl, ValueState};

impl<'scope, T: Key> Stream<'scope, T> {
    /// Each record once, when it comes first.
    ///
    /// Every one is kept, for ever: for streams of few different records, or that end.
    ///
    /// ```
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// let distinct = collect_one(|flow| {
    ///     flow.source("numbers", VecSource::new([3, 1, 3, 2, 1])).distinct("distinct")
    /// });
    /// assert_eq!(distinct, [3, 1, 2]);
    /// ```
    pub fn distinct(self, uid: &str) -> Stream<'scope, T> {
        self.map(|record| (record, ())).keyed().process(uid, |state| {
            let seen = state.value::<()>("seen");
            move |ctx, ()| {
                if is_first(&seen, ctx) {
                    ctx.emit(ctx.key().clone());
                }
            }
        })
    }
}

/// Notes that the key was seen, unless it was before.
fn is_first<K: Key, M: crate::state::Retention>(
    seen: &ValueState<K, (), M>,
    key: &crate::state::At<'_, K>,
) -> bool {
    let is_first = seen.read(key, |seen| seen.is_none());
    if is_first {
        seen.set(key, ());
    }
    is_first
}

impl<'scope, T: Data> Stream<'scope, T> {
    /// The first record of each key. Every key is kept, for ever.
    ///
    /// ```
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// let firsts = collect_one(|flow| {
    ///     let orders = flow.source("orders", VecSource::new([(7, 1.5), (8, 2.0), (7, 1.5)]));
    ///     orders.deduplicate("once", |(id, _)| *id)
    /// });
    /// assert_eq!(firsts, [(7, 1.5), (8, 2.0)]);
    /// ```
    pub fn deduplicate<K: Key>(
        self,
        uid: &str,
        key: impl FnMut(&T) -> K + 'static,
    ) -> Stream<'scope, T> {
        self.key_by(key).process(uid, |state| {
            let seen = state.value::<()>("seen");
            move |ctx, record| {
                if is_first(&seen, ctx) {
                    ctx.emit(record);
                }
            }
        })
    }

    /// As [`deduplicate`](Stream::deduplicate), forgetting a key so long after its first record: the
    /// next one is a first again.
    ///
    /// *Unit*: wall time, 1 ms resolution. *Range*: above 0, or the job's `run` returns an error. What
    /// passes may be others when records are read again after a crash, as with any
    /// [time to live](Ttl); [`deduplicate_within`](Stream::deduplicate_within) goes by event time.
    pub fn deduplicate_for<K: Key>(
        self,
        uid: &str,
        key: impl FnMut(&T) -> K + 'static,
        time_to_live: Duration,
    ) -> Stream<'scope, T> {
        if time_to_live.as_millis() == 0 {
            self.flow().refuse(format!(
                "deduplication {uid:?} has a time to live of {time_to_live:?}: it must be at least 1ms"
            ));
        }
        self.key_by(key).process(uid, |state| {
            let seen = state.time_to_live(Ttl::on_write(time_to_live)).value::<()>("seen");
            move |ctx, record| {
                if is_first(&seen, ctx) {
                    ctx.emit(record);
                }
            }
        })
    }

    /// Drops each record for which one of its key has passed whose event time is less than `within`
    /// away, before or after it.
    ///
    /// Which of several comes first, and passes, is a matter of the order in which they come. State is
    /// kept until the watermark has come to `within` after it. A record below the watermark is late: it
    /// is dropped and counted ([`Metrics::late`](crate::Metrics::late)).
    ///
    /// *Unit*: event time, 1 ms resolution. *Range*: above 0, or the job's `run` returns an error.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// let once = collect_one(|flow| {
    ///     let clicks = VecSource::new([("ann", 0), ("ann", 999), ("ann", 1_000), ("bob", 1_001)]);
    ///     let by_time = Watermarks::ascending(|(_, at): &(&str, i64)| EventTime(*at));
    ///     flow.source("clicks", clicks.with_watermarks(by_time))
    ///         .map(|(who, at)| (who.to_owned(), at))
    ///         .deduplicate_within(
    ///             "once",
    ///             |(who, _)| who.clone(),
    ///             |(_, at)| EventTime(*at),
    ///             Duration::from_secs(1),
    ///         )
    ///         .map(|(_, at)| at)
    /// });
    /// assert_eq!(once, [0, 1_000, 1_001]);
    /// ```
    pub fn deduplicate_within<K: Key>(
        self,
        uid: &str,
        key: impl FnMut(&T) -> K + 'static,
        time_of: impl Fn(&T) -> EventTime + 'static,
        within: Duration,
    ) -> Stream<'scope, T> {
        let within_ms = i64::try_from(within.as_millis()).unwrap_or(i64::MAX);
        if within_ms == 0 {
            self.flow().refuse(format!(
                "deduplication {uid:?} is within {within:?}: it must be at least 1ms"
            ));
        }
        let late = self.flow().late_of(uid);
        self.key_by(key).process_timed(uid, |state| {
            let passed = state.map::<EventTime, ()>("passed");
            let wake = state.event_timers();
            let over_at = move |at: EventTime| EventTime(at.0.saturating_add(within_ms));
            move |ctx, event| match event {
                Event::Record(record) => {
                    let at = time_of(&record);
                    if at < ctx.watermark() {
                        late.dropped(1);
                        return;
                    }
                    let first = EventTime(at.0.saturating_sub(within_ms - 1));
                    let last = EventTime(at.0.saturating_add(within_ms - 1));
                    if passed.last_key_in(ctx, first..=last).is_none() {
                        passed.insert(ctx, at, ());
                        wake_by(&wake, ctx, over_at(at));
                        ctx.emit(record);
                    }
                }
                Event::Timer { .. } => {
                    while let Some(first) = passed.nth_key(ctx, 0) {
                        if over_at(first) > ctx.watermark() {
                            return wake.set(ctx, (), over_at(first));
                        }
                        passed.remove(ctx, &first);
                    }
                }
                Event::Alarm { .. } => {}
            }
        })
    }
}
