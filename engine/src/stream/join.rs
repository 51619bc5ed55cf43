//! Joins of two keyed streams.

use std::rc::Rc;
use std::time::Duration;

use highwater_checkpoint::{BoxError, EventTime};

use super::{Connected, Data, Key, Stream};
use crate::operators::join::{
    Outer, Sides, Times, Windows, as_of_join, co_group, interval_join, unbounded_join,
};
use crate::state::{Context, Ttl};
use crate::window::{ByTime, Plan, Window};

/// Two streams that are [connected](Connected), and the event times of their records: made by
/// [`Connected::event_times`].
///
/// A record is *late* if the watermark has passed its time, or for windows the end of its last window,
/// when it comes. Late records are dropped, and counted ([`Metrics::late`](crate::Metrics::late)). One
/// whose time is just the watermark is not late.
#[must_use = "a stream that does not end in a sink is not run"]
pub struct ConnectedByTime<'scope, K, L: 'static, R: 'static> {
    connected: Connected<'scope, K, L, R>,
    times: Times<L, R>,
}

impl<'scope, K: Key, L: Data, R: Data> Connected<'scope, K, L, R> {
    /// Says when the records of the two streams happened: what joins by time need to know, beside the
    /// watermarks of the sources.
    pub fn event_times(
        self,
        left: impl Fn(&L) -> EventTime + 'static,
        right: impl Fn(&R) -> EventTime + 'static,
    ) -> ConnectedByTime<'scope, K, L, R> {
        let times = Times { left: Rc::new(left), right: Rc::new(right) };
        ConnectedByTime { connected: self, times }
    }

    /// All pairs of records of a key, however far apart.
    ///
    /// Each pair comes once, when the later of its records comes. Everything is kept, for ever unless
    /// [`time_to_live`](UnboundedJoin::time_to_live) is set.
    ///
    /// ```
    /// use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// let mut lines = collect_one(|flow| {
    ///     let names = flow.source("names", VecSource::new([(7, "Ann".to_owned())]));
    ///     let orders = [(7, "tea"), (8, "rum"), (7, "milk")].map(|(id, what)| (id, what.to_owned()));
    ///     let orders = flow.source("orders", VecSource::new(orders));
    ///     orders
    ///         .keyed()
    ///         .connect(names.keyed())
    ///         .unbounded_join("named")
    ///         .inner(|_, order, name| format!("{name} wants {order}"))
    /// });
    /// lines.sort();
    /// assert_eq!(lines, ["Ann wants milk", "Ann wants tea"]);
    /// ```
    pub fn unbounded_join(self, uid: &str) -> UnboundedJoin<'scope, K, L, R> {
        UnboundedJoin {
            connected: self,
            uid: uid.to_owned(),
            sides: Sides::default(),
            time_to_live: None,
        }
    }
}

/// A join of all records of a key: made by [`Connected::unbounded_join`].
#[must_use = "it is nothing until it is said which rows it makes"]
pub struct UnboundedJoin<'scope, K, L: 'static, R: 'static> {
    connected: Connected<'scope, K, L, R>,
    uid: String,
    sides: Sides,
    time_to_live: Option<Duration>,
}

impl<'scope, K: Key, L: Data, R: Data> UnboundedJoin<'scope, K, L, R> {
    /// Drops a record so long after it has come, by the time of day; what comes later does not meet it.
    ///
    /// *Unit*: wall time, 1 ms resolution. *Default*: never; state then grows with the input. *Range*:
    /// above 0, or the job's `run` returns an error. A job that was started with one cannot go on
    /// without, nor the other way round: the state is of another type.
    pub fn time_to_live(mut self, duration: Duration) -> Self {
        self.time_to_live = Some(duration);
        self
    }

    /// Makes a row of each pair.
    pub fn inner<O: 'static>(
        self,
        mut row: impl FnMut(&K, &L, &R) -> O + 'static,
    ) -> Stream<'scope, O> {
        self.join(false, move |key, left, right| {
            row(key, left, right.expect("an inner join has pairs only"))
        })
    }

    /// Makes a row of each pair, and one of each left record that finds no right one when it comes.
    ///
    /// Rows are only added, never taken back: if a right record comes after a left one was said to have
    /// none, the pair is said too.
    pub fn left<O: 'static>(
        self,
        row: impl FnMut(&K, &L, Option<&R>) -> O + 'static,
    ) -> Stream<'scope, O> {
        self.join(true, row)
    }

    fn join<O: 'static>(
        self,
        is_outer: bool,
        row: impl FnMut(&K, &L, Option<&R>) -> O + 'static,
    ) -> Stream<'scope, O> {
        let UnboundedJoin { connected, uid, sides, time_to_live } = self;
        match time_to_live {
            None => connected.process(&uid, |state| unbounded_join(state, sides, is_outer, row)),
            Some(duration) => {
                if duration.as_millis() == 0 {
                    connected.both.flow().refuse(format!(
                        "join {uid:?} has a time to live of {duration:?}: it must be at least 1ms"
                    ));
                }
                let ttl = Ttl::on_write(duration);
                connected.process(&uid, |state| {
                    unbounded_join(&mut state.time_to_live(ttl), sides, is_outer, row)
                })
            }
        }
    }
}

impl<'scope, K: Key, L: Data, R: Data> ConnectedByTime<'scope, K, L, R> {
    /// Pairs of records of a key whose times are near each other:
    /// `left + lower <= right <= left + upper`, both ends included.
    ///
    /// *Unit*: milliseconds; negative is before the left record. *Range*: `lower_ms <= upper_ms`, or the
    /// job's `run` returns an error.
    ///
    /// A pair comes as soon as both records have. A record is kept until the watermark is above the
    /// last time at which a partner may be.
    ///
    /// ```
    /// use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// // What was bought within a minute of a click, and clicks after which nothing was.
    /// let mut rows = collect_one(|flow| {
    ///     let by_time = || Watermarks::ascending(|(_, at): &(String, i64)| EventTime(*at));
    ///     let clicks = [("ann", 10_000), ("bob", 20_000)].map(|(who, at)| (who.to_owned(), at));
    ///     let clicks = flow.source("clicks", VecSource::new(clicks).with_watermarks(by_time()));
    ///     let orders = [("ann", 70_000), ("bob", 80_001)].map(|(who, at)| (who.to_owned(), at));
    ///     let orders = flow.source("orders", VecSource::new(orders).with_watermarks(by_time()));
    ///     clicks
    ///         .keyed()
    ///         .connect(orders.keyed())
    ///         .event_times(|click| EventTime(*click), |order| EventTime(*order))
    ///         .interval_join("bought", 0, 60_000)
    ///         .left(|who, _, order| format!("{who} {order:?}"))
    /// });
    /// rows.sort();
    /// assert_eq!(rows, ["ann Some(70000)", "bob None"]);
    /// ```
    pub fn interval_join(
        self,
        uid: &str,
        lower_ms: i64,
        upper_ms: i64,
    ) -> IntervalJoin<'scope, K, L, R> {
        if lower_ms > upper_ms {
            self.connected.both.flow().refuse(format!(
                "interval join {uid:?} is from {lower_ms} ms to {upper_ms} ms after the left record: \
                 it must not end before it begins"
            ));
        }
        IntervalJoin {
            by_time: self,
            uid: uid.to_owned(),
            sides: Sides::default(),
            within_ms: (lower_ms, upper_ms),
        }
    }

    /// Pairs of records of a key that are in the same [window](crate::window), of any kind but
    /// [`Count`](crate::window::Count).
    ///
    /// Rows come when the watermark has come to the window's end; until then its records are kept, once
    /// each however many windows they are in. Records of one side and of the other go into one
    /// [`Session`](crate::window::Session) if there is less than the gap between them: a pair has met in
    /// it even if a third record is what connects them.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::window::Tumbling;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// let mut rows = collect_one(|flow| {
    ///     let by_time = || Watermarks::ascending(|(_, at): &(String, i64)| EventTime(*at));
    ///     let bids = [("pot", 1_000), ("pot", 9_999), ("pot", 10_000)];
    ///     let asks = [("pot", 5_000), ("pan", 6_000)];
    ///     let owned = |(item, at): (&str, i64)| (item.to_owned(), at);
    ///     let bids = VecSource::new(bids.map(owned)).with_watermarks(by_time());
    ///     let asks = VecSource::new(asks.map(owned)).with_watermarks(by_time());
    ///     flow.source("bids", bids)
    ///         .keyed()
    ///         .connect(flow.source("asks", asks).keyed())
    ///         .event_times(|bid| EventTime(*bid), |ask| EventTime(*ask))
    ///         .window_join("met", Tumbling::of(Duration::from_secs(10)))
    ///         .inner(|item, window, bid, ask| format!("{window} {item} {bid} {ask}"))
    /// });
    /// rows.sort();
    /// assert_eq!(rows, ["0..10000 pot 1000 5000", "0..10000 pot 9999 5000"]);
    /// ```
    ///
    /// What was looked at and bought in one visit, and visits without either:
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::window::Session;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// let rows = collect_one(|flow| {
    ///     let by_time = || Watermarks::ascending(|(_, at): &(u8, i64)| EventTime(*at));
    ///     let views = VecSource::new([(7u8, 0), (7, 50), (7, 900)]).with_watermarks(by_time());
    ///     let orders = VecSource::new([(7u8, 25), (7, 400)]).with_watermarks(by_time());
    ///     flow.source("views", views)
    ///         .keyed()
    ///         .connect(flow.source("orders", orders).keyed())
    ///         .event_times(|view| EventTime(*view), |order| EventTime(*order))
    ///         .window_join("visits", Session::gap(Duration::from_millis(30)))
    ///         .full(|_, visit, view, order| format!("{visit} {view:?} {order:?}"))
    /// });
    /// assert_eq!(rows, [
    ///     "0..80 Some(0) Some(25)",
    ///     "0..80 Some(50) Some(25)",
    ///     "400..430 None Some(400)",
    ///     "900..930 Some(900) None",
    /// ]);
    /// ```
    pub fn window_join(self, uid: &str, windows: impl ByTime) -> WindowJoin<'scope, K, L, R> {
        let windows = match windows.plan() {
            Plan::Grid(grid) => Windows::Grid(grid.0),
            Plan::Session { gap } => Windows::Session { gap },
            Plan::Refused(reason) => {
                self.connected.both.flow().refuse(format!("operator {uid:?}: {reason}"));
                Windows::Session { gap: 1 }
            }
            Plan::Count { .. } | Plan::SlidingCount { .. } => {
                unreachable!("count windows are not `ByTime`")
            }
        };
        WindowJoin { by_time: self, uid: uid.to_owned(), sides: Sides::default(), windows }
    }

    /// What both streams have of a key in a window, at once: as [`window_join`](Self::window_join), for
    /// who makes something else of them than pairs.
    ///
    /// Called for each key and window in which there is a record, on either side, with the records in
    /// the order of their times, those of one time in order of arrival.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::window::Tumbling;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// let rows = collect_one(|flow| {
    ///     let by_time = || Watermarks::ascending(|(_, at): &(u8, i64)| EventTime(*at));
    ///     let ins = VecSource::new([(1u8, 100), (1, 900), (1, 1_100)]).with_watermarks(by_time());
    ///     let outs = VecSource::new([(1u8, 500)]).with_watermarks(by_time());
    ///     flow.source("ins", ins)
    ///         .keyed()
    ///         .connect(flow.source("outs", outs).keyed())
    ///         .event_times(|at| EventTime(*at), |at| EventTime(*at))
    ///         .co_group(
    ///             "balance",
    ///             Tumbling::of(Duration::from_secs(1)),
    ///             |_, window, ins, outs| [(window.start.0, ins.len(), outs.len())],
    ///         )
    /// });
    /// assert_eq!(rows, [(0, 2, 1), (1000, 1, 0)]);
    /// ```
    pub fn co_group<I>(
        self,
        uid: &str,
        windows: impl ByTime,
        group: impl FnMut(&K, Window, Vec<L>, Vec<R>) -> I + 'static,
    ) -> Stream<'scope, I::Item>
    where
        L: Clone,
        R: Clone,
        I: IntoIterator<Item: 'static>,
    {
        self.window_join(uid, windows).co_group(group)
    }

    /// Each left record with the right record of its key that was valid at its time: the last one
    /// whose time is not after it. Right records are *versions*, each valid until the next.
    ///
    /// A left record waits until the watermark is above its time. Versions are dropped when the
    /// watermark has come to the next one. Of two versions of one time the one that comes last counts.
    /// A late version is counted as late; it is taken in nevertheless if no newer one is valid at the
    /// watermark. To end what was valid, give `R` a value that says so.
    ///
    /// ```
    /// use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// let euros = collect_one(|flow| {
    ///     let rates = [("USD".to_owned(), (0, 0.5)), ("USD".to_owned(), (200, 0.25))];
    ///     let rates = VecSource::new(rates)
    ///         .with_watermarks(Watermarks::ascending(|(_, (at, _))| EventTime(*at)));
    ///     let paid = [(199, 8.0), (200, 8.0)].map(|paid| ("USD".to_owned(), paid));
    ///     let paid = VecSource::new(paid)
    ///         .with_watermarks(Watermarks::ascending(|(_, (at, _))| EventTime(*at)));
    ///     flow.source("paid", paid)
    ///         .keyed()
    ///         .connect(flow.source("rates", rates).keyed())
    ///         .event_times(|(at, _)| EventTime(*at), |(at, _)| EventTime(*at))
    ///         .as_of_join("in-euros")
    ///         .inner(|_, (_, amount), (_, rate)| amount * rate)
    /// });
    /// assert_eq!(euros, [4.0, 2.0]);
    /// ```
    pub fn as_of_join(self, uid: &str) -> AsOfJoin<'scope, K, L, R> {
        AsOfJoin { by_time: self, uid: uid.to_owned(), sides: Sides::default() }
    }
}

/// A join of records whose times are near each other: made by [`ConnectedByTime::interval_join`].
#[must_use = "it is nothing until it is said which rows it makes"]
pub struct IntervalJoin<'scope, K, L: 'static, R: 'static> {
    by_time: ConnectedByTime<'scope, K, L, R>,
    uid: String,
    sides: Sides,
    within_ms: (i64, i64),
}

impl<'scope, K: Key, L: Data, R: Data> IntervalJoin<'scope, K, L, R> {
    /// Makes a row of each pair.
    pub fn inner<O: 'static>(
        self,
        mut row: impl FnMut(&K, &L, &R) -> O + 'static,
    ) -> Stream<'scope, O> {
        self.join(Outer::default(), move |key, left, right| {
            row(key, left.expect(PAIRS), right.expect(PAIRS))
        })
    }

    /// Makes a row of each pair, and of each left record without a partner: when the watermark says
    /// that none can come.
    pub fn left<O: 'static>(
        self,
        mut row: impl FnMut(&K, &L, Option<&R>) -> O + 'static,
    ) -> Stream<'scope, O> {
        let outer = Outer { left: true, right: false };
        self.join(outer, move |key, left, right| row(key, left.expect(LEFTS), right))
    }

    /// Makes a row of each pair, and of each right record without a partner.
    pub fn right<O: 'static>(
        self,
        mut row: impl FnMut(&K, Option<&L>, &R) -> O + 'static,
    ) -> Stream<'scope, O> {
        let outer = Outer { left: false, right: true };
        self.join(outer, move |key, left, right| row(key, left, right.expect(RIGHTS)))
    }

    /// Makes a row of each pair, and of each record without a partner.
    pub fn full<O: 'static>(
        self,
        row: impl FnMut(&K, Option<&L>, Option<&R>) -> O + 'static,
    ) -> Stream<'scope, O> {
        self.join(Outer { left: true, right: true }, row)
    }

    fn join<O: 'static>(
        self,
        outer: Outer,
        row: impl FnMut(&K, Option<&L>, Option<&R>) -> O + 'static,
    ) -> Stream<'scope, O> {
        let IntervalJoin { by_time, uid, sides, within_ms } = self;
        let ConnectedByTime { connected, times } = by_time;
        let late = connected.both.flow().late_of(&uid);
        connected.process_timed(&uid, |state| {
            interval_join(state, (times, sides), within_ms, outer, late, row)
        })
    }
}

const PAIRS: &str = "an inner join has pairs only";
const LEFTS: &str = "each row of a left join has a left record";
const RIGHTS: &str = "each row of a right join has a right record";

/// A join of records that are in the same window: made by [`ConnectedByTime::window_join`].
#[must_use = "it is nothing until it is said which rows it makes"]
pub struct WindowJoin<'scope, K, L: 'static, R: 'static> {
    by_time: ConnectedByTime<'scope, K, L, R>,
    uid: String,
    sides: Sides,
    windows: Windows,
}

impl<'scope, K: Key, L: Data + Clone, R: Data + Clone> WindowJoin<'scope, K, L, R> {
    /// Makes a row of each pair.
    pub fn inner<O: 'static>(
        self,
        mut row: impl FnMut(&K, Window, &L, &R) -> O + 'static,
    ) -> Stream<'scope, O> {
        self.join(Outer::default(), move |key, window, left, right| {
            row(key, window, left.expect(PAIRS), right.expect(PAIRS))
        })
    }

    /// Makes a row of each pair, and of each left record in whose window there is no right one.
    pub fn left<O: 'static>(
        self,
        mut row: impl FnMut(&K, Window, &L, Option<&R>) -> O + 'static,
    ) -> Stream<'scope, O> {
        let outer = Outer { left: true, right: false };
        self.join(outer, move |key, window, l, r| row(key, window, l.expect(LEFTS), r))
    }

    /// Makes a row of each pair, and of each right record in whose window there is no left one.
    pub fn right<O: 'static>(
        self,
        mut row: impl FnMut(&K, Window, Option<&L>, &R) -> O + 'static,
    ) -> Stream<'scope, O> {
        let outer = Outer { left: false, right: true };
        self.join(outer, move |key, window, l, r| row(key, window, l, r.expect(RIGHTS)))
    }

    /// Makes a row of each pair, and of each record in whose window there is none of the other side.
    pub fn full<O: 'static>(
        self,
        row: impl FnMut(&K, Window, Option<&L>, Option<&R>) -> O + 'static,
    ) -> Stream<'scope, O> {
        self.join(Outer { left: true, right: true }, row)
    }

    /// As [`ConnectedByTime::co_group`], which this is: for what is to be set before.
    pub fn co_group<I: IntoIterator<Item: 'static>>(
        self,
        mut group: impl FnMut(&K, Window, Vec<L>, Vec<R>) -> I + 'static,
    ) -> Stream<'scope, I::Item> {
        self.grouped(move |ctx, window, lefts, rights| {
            group(ctx.key(), window, lefts, rights).into_iter().for_each(|row| ctx.emit(row));
        })
    }

    fn join<O: 'static>(
        self,
        outer: Outer,
        mut row: impl FnMut(&K, Window, Option<&L>, Option<&R>) -> O + 'static,
    ) -> Stream<'scope, O> {
        self.grouped(move |ctx, window, lefts, rights| {
            if rights.is_empty() && outer.left {
                for left in &lefts {
                    ctx.emit(row(ctx.key(), window, Some(left), None));
                }
            }
            if lefts.is_empty() && outer.right {
                for right in &rights {
                    ctx.emit(row(ctx.key(), window, None, Some(right)));
                }
            }
            for left in &lefts {
                for right in &rights {
                    ctx.emit(row(ctx.key(), window, Some(left), Some(right)));
                }
            }
        })
    }

    fn grouped<O: 'static>(
        self,
        group: impl FnMut(&Context<'_, K, O>, Window, Vec<L>, Vec<R>) + 'static,
    ) -> Stream<'scope, O> {
        let WindowJoin { by_time, uid, sides, windows } = self;
        let ConnectedByTime { connected, times } = by_time;
        let late = connected.both.flow().late_of(&uid);
        connected.process_timed(&uid, |state| co_group(state, (times, sides), windows, late, group))
    }
}

/// A join of records with what was valid at their times: made by [`ConnectedByTime::as_of_join`].
#[must_use = "it is nothing until it is said which rows it makes"]
pub struct AsOfJoin<'scope, K, L: 'static, R: 'static> {
    by_time: ConnectedByTime<'scope, K, L, R>,
    uid: String,
    sides: Sides,
}

impl<'scope, K: Key, L: Data, R: Data> AsOfJoin<'scope, K, L, R> {
    /// Makes a row of each record for which there is a version.
    pub fn inner<O: 'static>(
        self,
        mut row: impl FnMut(&K, L, &R) -> O + 'static,
    ) -> Stream<'scope, O> {
        self.join(move |key, record, version| version.map(|version| row(key, record, version)))
    }

    /// Makes a row of each record.
    pub fn left<O: 'static>(
        self,
        mut row: impl FnMut(&K, L, Option<&R>) -> O + 'static,
    ) -> Stream<'scope, O> {
        self.join(move |key, record, version| Some(row(key, record, version)))
    }

    fn join<O: 'static>(
        self,
        row: impl FnMut(&K, L, Option<&R>) -> Option<O> + 'static,
    ) -> Stream<'scope, O> {
        let AsOfJoin { by_time, uid, sides } = self;
        let ConnectedByTime { connected, times } = by_time;
        let late = connected.both.flow().late_of(&uid);
        connected.process_timed(&uid, |state| as_of_join(state, (times, sides), late, row))
    }
}

macro_rules! evolving {
    ($($name:ident),*) => {$(
        impl<K, L: 'static, R: 'static> $name<'_, K, L, R> {
            /// Sets the version of the type of the left records that are kept: to be raised when it
            /// changes, or what it means.
            ///
            /// *Default*: 1. *Range*: at least 1, and above that of every migration.
            pub fn left_schema_version(mut self, version: u32) -> Self {
                self.sides.left = self.sides.left.schema_version(version);
                self
            }

            /// As [`left_schema_version`](Self::left_schema_version), of right records.
            pub fn right_schema_version(mut self, version: u32) -> Self {
                self.sides.right = self.sides.right.schema_version(version);
                self
            }

            /// Restores left records of an older version, which were of the type `O`, through `migrate`:
            /// the job does not start if that fails. See
            /// [`KeyedStream::migrate_from`](super::KeyedStream::migrate_from).
            pub fn migrate_left_from<O: Data, N: Data>(
                mut self,
                version: u32,
                migrate: impl Fn(O) -> Result<N, BoxError> + 'static,
            ) -> Self {
                self.sides.left = self.sides.left.migrate_from(version, migrate);
                self
            }

            /// As [`migrate_left_from`](Self::migrate_left_from), for right records.
            pub fn migrate_right_from<O: Data, N: Data>(
                mut self,
                version: u32,
                migrate: impl Fn(O) -> Result<N, BoxError> + 'static,
            ) -> Self {
                self.sides.right = self.sides.right.migrate_from(version, migrate);
                self
            }
        }
    )*};
}

evolving!(UnboundedJoin, IntervalJoin, WindowJoin, AsOfJoin);

macro_rules! debug {
    ($($name:ident),*) => {$(
        impl<K, L: 'static, R: 'static> std::fmt::Debug for $name<'_, K, L, R> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let types = std::any::type_name::<(K, L, R)>();
                write!(f, concat!(stringify!($name), "<{}>"), types)
            }
        }
    )*};
}

debug!(ConnectedByTime, UnboundedJoin, IntervalJoin, WindowJoin, AsOfJoin);
