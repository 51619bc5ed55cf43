//! Records in the order of their event times.

use highwater_checkpoint::EventTime;
use highwater_checkpoint::schema::Evolution;

use super::{Data, Key, KeyedStream, Stream};
use crate::operators::join::{ByTime, wake_by};
use crate::state::Event;

impl<'scope, K: Key, V: Data> KeyedStream<'scope, K, V> {
    /// The records of each key in the order of their event times; those of one time in the order in
    /// which they come.
    ///
    /// A record at `t` waits until the watermark is above `t`. One that comes below the watermark is
    /// late: it is dropped and counted ([`Metrics::late`](crate::Metrics::late)).
    ///
    /// ```
    /// use std::time::Duration;
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// let sorted = collect_one(|flow| {
    ///     let by_time = Watermarks::bounded(Duration::from_millis(5), |(_, at)| EventTime(*at));
    ///     let source = VecSource::new([("a", 3i64), ("b", 1), ("a", 2)]).with_watermarks(by_time);
    ///     let times = flow.source("times", source).map(|(key, at)| (key.to_owned(), at));
    ///     times.keyed().sort_by_event_time("sorted", |at| EventTime(*at)).filter(|(key, _)| key == "a")
    /// });
    /// assert_eq!(sorted, [("a".to_owned(), 2), ("a".to_owned(), 3)]);
    /// ```
    pub fn sort_by_event_time(
        self,
        uid: &str,
        time_of: impl Fn(&V) -> EventTime + 'static,
    ) -> Stream<'scope, (K, V)> {
        self.sort(uid, time_of, None)
    }

    /// As [`sort_by_event_time`](Self::sort_by_event_time), with the late records, which are counted as
    /// well, in a second stream.
    pub fn sort_by_event_time_with_late(
        self,
        uid: &str,
        time_of: impl Fn(&V) -> EventTime + 'static,
    ) -> (Stream<'scope, (K, V)>, Stream<'scope, (K, V)>) {
        let mut late = None;
        let sorted = self.sort(uid, time_of, Some(&mut late));
        (sorted, late.expect("declared with the operator"))
    }

    fn sort(
        self,
        uid: &str,
        time_of: impl Fn(&V) -> EventTime + 'static,
        late_stream: Option<&mut Option<Stream<'scope, (K, V)>>>,
    ) -> Stream<'scope, (K, V)> {
        let late = self.flow().late_of(uid);
        self.process_timed(uid, |state| {
            let waiting: ByTime<K, V> = ByTime::declare(state, "waiting", Evolution::new());
            let wake = state.event_timers();
            let to_late = late_stream.map(|stream| {
                let (to_late, late) = state.side_output();
                *stream = Some(late);
                to_late
            });
            let after = |at: EventTime| EventTime(at.0.saturating_add(1));
            move |ctx, event| match event {
                Event::Record(value) => {
                    let at = time_of(&value);
                    if at < ctx.watermark() {
                        match &to_late {
                            Some(to_late) => {
                                late.sent_aside(1);
                                to_late.emit((ctx.key().clone(), value));
                            }
                            None => late.dropped(1),
                        }
                        return;
                    }
                    waiting.push(ctx, at, value);
                    wake_by(&wake, ctx, after(at));
                }
                Event::Timer { .. } => {
                    let watermark = ctx.watermark();
                    let is_due = |at| at < watermark || watermark == EventTime::MAX;
                    while let Some((_, value)) = waiting.take_first_if(ctx, is_due) {
                        ctx.emit((ctx.key().clone(), value));
                    }
                    if let Some(first) = waiting.first(ctx) {
                        wake.set(ctx, (), after(first));
                    }
                }
                Event::Alarm { .. } => {}
            }
        })
    }
}

impl<'scope, T: Data> Stream<'scope, T> {
    /// All records in the order of their event times: as [`KeyedStream::sort_by_event_time`], of the
    /// whole stream.
    ///
    /// There is one order only where there is one worker: all records go to that which has the key `()`,
    /// and are on it afterwards. What can be sorted key by key should be.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// let sorted = collect_one(|flow| {
    ///     let by_time = Watermarks::bounded(Duration::from_millis(5), |at| EventTime(*at));
    ///     let source = VecSource::new([3i64, 1, 2, 7, 5, 9]).with_watermarks(by_time);
    ///     flow.source("times", source).sort_by_event_time("sorted", |at| EventTime(*at))
    /// });
    /// assert_eq!(sorted, [1, 2, 3, 5, 7, 9]);
    /// ```
    pub fn sort_by_event_time(
        self,
        uid: &str,
        time_of: impl Fn(&T) -> EventTime + 'static,
    ) -> Stream<'scope, T> {
        let records = self.map(|record| ((), record)).keyed();
        records.sort_by_event_time(uid, time_of).map(|((), record)| record)
    }
}
