//! Windows of keyed streams, and of all records.

use std::marker::PhantomData;
use std::time::Duration;

use highwater_checkpoint::{BoxError, EventTime};

use super::{Aggregator, Data, Key, KeyedStream, MergeAggregator, Stream};
use crate::operators::window::{
    Aggregated, Clock, Collected, Counted, Evolved, Fold, Folded, Merge, Ranked, Reduced,
    Windowing, fold_windows,
};
use crate::window::{Aligned, All, Assigner, Plan, Trigger, Tumbling, Window, Windowed, millis};

/// A keyed stream whose records are in [windows](crate::window). Made by [`KeyedStream::window`].
///
/// What follows, `count`, `reduce` and so on, has a *uid*, as operators on keyed streams have. Its state
/// is what the windows need that have not ended, or are kept for late records.
#[must_use = "a stream that does not end in a sink is not run"]
pub struct WindowedStream<'scope, K: 'static, V: 'static, W, T, L = LateDropped> {
    stream: Stream<'scope, (K, V)>,
    assigner: W,
    clock: Clock<T>,
    lateness: Duration,
    trigger: Trigger,
    evolved: Evolved,
    late: PhantomData<fn() -> L>,
}

/// Where records go that are too late.
pub trait LateTo: sealed::Sealed + 'static {
    /// What an operator makes: a stream of results, or that and one of late records.
    type Streams<'scope, K: 'static, V: 'static, R: 'static>;

    #[doc(hidden)]
    const IS_KEPT: bool;

    #[doc(hidden)]
    fn streams<'scope, K: 'static, V: 'static, R: 'static>(
        results: Stream<'scope, Windowed<K, R>>,
        late: Option<Stream<'scope, (K, V)>>,
    ) -> Self::Streams<'scope, K, V, R>;
}

mod sealed {
    pub trait Sealed {}
}

/// They are dropped, and [counted](crate::Metrics::late).
#[derive(Clone, Copy, Debug)]
pub struct LateDropped;

/// They go to a stream: see [`WindowedStream::late_output`].
#[derive(Clone, Copy, Debug)]
pub struct LateAside;

impl sealed::Sealed for LateDropped {}
impl LateTo for LateDropped {
    type Streams<'scope, K: 'static, V: 'static, R: 'static> = Stream<'scope, Windowed<K, R>>;
    const IS_KEPT: bool = false;

    fn streams<'scope, K: 'static, V: 'static, R: 'static>(
        results: Stream<'scope, Windowed<K, R>>,
        _: Option<Stream<'scope, (K, V)>>,
    ) -> Stream<'scope, Windowed<K, R>> {
        results
    }
}

impl sealed::Sealed for LateAside {}
impl LateTo for LateAside {
    type Streams<'scope, K: 'static, V: 'static, R: 'static> =
        (Stream<'scope, Windowed<K, R>>, Stream<'scope, (K, V)>);
    const IS_KEPT: bool = true;

    fn streams<'scope, K: 'static, V: 'static, R: 'static>(
        results: Stream<'scope, Windowed<K, R>>,
        late: Option<Stream<'scope, (K, V)>>,
    ) -> (Stream<'scope, Windowed<K, R>>, Stream<'scope, (K, V)>) {
        (results, late.expect("the operator was asked for it"))
    }
}

impl<'scope, K: Key, V: Data + Clone> KeyedStream<'scope, K, V> {
    /// Puts records into windows by their event times, which `time_of` says.
    ///
    /// The [watermark](crate::event_time) of the sources says when a window has ended. Without watermarks
    /// that is when the input ends.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::window::{Tumbling, Window, Windowed};
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// // Visits a minute, a page.
    /// let counts = collect_one(|flow| {
    ///     let visits = [("/", 1_000), ("/shop", 2_000), ("/", 59_999), ("/", 60_000)];
    ///     let visits = visits.map(|(page, at)| (page.to_owned(), EventTime(at)));
    ///     let by_time = Watermarks::ascending(|(_, at): &(String, EventTime)| *at);
    ///     let visits = flow.source("visits", VecSource::new(visits).with_watermarks(by_time));
    ///     let minutes = Tumbling::of(Duration::from_secs(60));
    ///     visits.keyed().window(minutes, |at| *at).count("visits-per-minute")
    /// });
    /// # let mut counts = counts;
    /// # counts.sort();
    /// let first = Window { start: EventTime(0), end: EventTime(60_000) };
    /// let second = Window { start: EventTime(60_000), end: EventTime(120_000) };
    /// assert_eq!(counts, [
    ///     Windowed { key: "/".to_owned(), window: first, value: 2 },
    ///     Windowed { key: "/".to_owned(), window: second, value: 1 },
    ///     Windowed { key: "/shop".to_owned(), window: first, value: 1 },
    /// ]);
    /// ```
    pub fn window<W: Assigner, T: Fn(&V) -> EventTime + 'static>(
        self,
        assigner: W,
        time_of: T,
    ) -> WindowedStream<'scope, K, V, W, T> {
        WindowedStream {
            stream: self.parts.pairs(),
            assigner,
            clock: Clock::Event(time_of),
            lateness: Duration::ZERO,
            trigger: Trigger::watermark(),
            evolved: Evolved::default(),
            late: PhantomData,
        }
    }

    /// As [`window`](KeyedStream::window), by the time of day at which a record comes to the operator:
    /// nothing is late, and windows fire as time goes by.
    ///
    /// Another run over the same input says something else. What was said before a crash and is in a
    /// checkpoint is said once nevertheless.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::window::Tumbling;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// let counts = collect_one(|flow| {
    ///     let words = flow.source("words", VecSource::new(["to", "be", "to"].map(String::from)));
    ///     let seconds = Tumbling::of(Duration::from_secs(1));
    ///     words.key_by(String::clone).window_by_processing_time(seconds).count("per-second")
    /// });
    /// assert_eq!(counts.iter().map(|windowed| windowed.value).sum::<u64>(), 3);
    /// ```
    pub fn window_by_processing_time<W: Assigner>(
        self,
        assigner: W,
    ) -> WindowedStream<'scope, K, V, W, fn(&V) -> EventTime> {
        WindowedStream {
            stream: self.parts.pairs(),
            assigner,
            clock: Clock::Day,
            lateness: Duration::ZERO,
            trigger: Trigger::watermark(),
            evolved: Evolved::default(),
            late: PhantomData,
        }
    }
}

impl<'scope, T: Data + Clone> Stream<'scope, T> {
    /// Puts all records into windows, whatever their keys: [`KeyedStream::window`] with the key `()`.
    ///
    /// One worker has the windows. What merges, that is [`count`](WindowedStream::count),
    /// [`reduce`](WindowedStream::reduce), [`aggregate`](WindowedStream::aggregate) and
    /// [`top`](WindowedStream::top), is merged on each worker first, batch by batch, so that the one gets
    /// a value for each slice rather than each record; `reduce` has records of different workers in no
    /// order anyhow. All records go there, one by one, for what needs them: `process` and `fold`,
    /// windows by [`Session`](crate::window::Session) or [`Count`](crate::window::Count),
    /// [`late_output`](WindowedStream::late_output) and
    /// [`early_after`](Trigger::early_after). Where that is too much, reduce by key first, in the same
    /// windows, and the results once more.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::window::Tumbling;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// let most = collect_one(|flow| {
    ///     let paid = flow.source("paid", VecSource::new([(1_000, 5), (2_000, 9), (61_000, 7)]));
    ///     let minutes = Tumbling::of(Duration::from_secs(60));
    ///     let paid = paid.window_all(minutes, |(at, _)| EventTime(*at));
    ///     paid.reduce("most", |one, other| if other.1 > one.1 { other } else { one })
    /// });
    /// let most: Vec<_> = most.into_iter().map(|windowed| windowed.value).collect();
    /// assert_eq!(most, [(2_000, 9), (61_000, 7)]);
    /// ```
    pub fn window_all<W: Assigner, F: Fn(&T) -> EventTime + 'static>(
        self,
        assigner: W,
        time_of: F,
    ) -> WindowedStream<'scope, (), T, All<W>, F> {
        self.key_by(|_| ()).window(All(assigner), time_of)
    }
}

impl<'scope, K, V, W, T, L> WindowedStream<'scope, K, V, W, T, L>
where
    K: Key,
    V: Data + Clone,
    W: Assigner,
    T: Fn(&V) -> EventTime + 'static,
    L: LateTo,
{
    /// Keeps windows for `lateness` after their ends: records that are late by less are taken, and the
    /// window fires again, with them.
    ///
    /// A window is forgotten when the watermark has come to its end and `lateness`: a record that comes
    /// then is too late. One that comes between two sessions that have fired makes them one, which
    /// fires: what was said of the two stands beside it.
    ///
    /// *Default*: none. *Range*: up to a million years, in milliseconds.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use highwater::prelude::*;
    /// # use highwater::window::Tumbling;
    /// # use highwater::testing::{VecSource, collect_one};
    /// # let _ = collect_one(|flow| {
    /// # let clicks = flow.source("clicks", VecSource::new([("ann".to_owned(), 1)])).keyed();
    /// clicks
    ///     .window(Tumbling::of(Duration::from_secs(60)), |at| EventTime(*at))
    ///     .allowed_lateness(Duration::from_secs(3600))
    ///     .count("clicks-per-minute")
    /// # });
    /// ```
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness = lateness;
        self
    }

    /// Sets when windows fire besides; [`Trigger::watermark`] unless said.
    ///
    /// Overlapping windows that fire in another way than that keep a value each, rather than share
    /// slices: an update costs as much as there are windows.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// use highwater::window::{Global, Trigger};
    ///
    /// // How many so far, after each second one.
    /// let so_far = collect_one(|flow| {
    ///     let words = flow.source("words", VecSource::new([("a", 1), ("b", 2), ("c", 3), ("d", 4)]));
    ///     let words = words.map(|(_, at)| at);
    ///     let all = words.window_all(Global, |at| EventTime(*at));
    ///     all.trigger(Trigger::watermark().early_after(2)).count("so-far")
    /// });
    /// let so_far: Vec<u64> = so_far.into_iter().map(|windowed| windowed.value).collect();
    /// assert_eq!(so_far, [2, 4, 4]);
    /// ```
    pub fn trigger(mut self, trigger: Trigger) -> Self {
        self.trigger = trigger;
        self
    }

    /// Sends records that are late for all their windows to a stream of their own, with their keys:
    /// what follows returns it beside the results.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::window::Tumbling;
    /// # use highwater::testing::{VecSource, collect};
    ///
    /// let (counts, late) = collect(|flow| {
    ///     let clicks = [1_000, 2_000, 3_000].map(|at| ("ann".to_owned(), at));
    ///     let by_time = Watermarks::ascending(|(_, at): &(String, i64)| EventTime(*at));
    ///     let clicks = flow.source("clicks", VecSource::new(clicks).with_watermarks(by_time));
    ///     let seconds = Tumbling::of(Duration::from_secs(1));
    ///     clicks.keyed().window(seconds, |at| EventTime(*at)).late_output().count("counts")
    /// });
    /// assert_eq!((counts.len(), late.len()), (3, 0));
    /// ```
    pub fn late_output(self) -> WindowedStream<'scope, K, V, W, T, LateAside> {
        let WindowedStream { stream, assigner, clock, lateness, trigger, evolved, .. } = self;
        WindowedStream { stream, assigner, clock, lateness, trigger, evolved, late: PhantomData }
    }

    /// Sets the version of the type of what is kept of each window, which checkpoints record: to be
    /// raised when the type changes, or what it means.
    ///
    /// That is the accumulator of `aggregate` and `fold`, `Option<V>` for `reduce`, `Vec<V>` for
    /// `process` and `top`, and `u64` for `count`. Folds over [sliding](crate::window::Count::sliding)
    /// count windows keep `Vec<V>`. *Default*: 1. *Range*: at least 1, and above that of every migration.
    pub fn schema_version(mut self, version: u32) -> Self {
        self.evolved = self.evolved.schema_version(version);
        self
    }

    /// Restores windows of an older version, in which `O` was kept of each, through `migrate`. Keys are
    /// not migrated, nor windows to others: those that are open stay as they are. See
    /// [`KeyedStream::migrate_from`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use highwater::prelude::*;
    /// # use highwater::window::Tumbling;
    /// # use highwater::testing::{VecSource, collect_one};
    /// # let _ = collect_one(|flow| {
    /// # let clicks = flow.source("clicks", VecSource::new([("ann".to_owned(), 1)])).keyed();
    /// // Clicks were counted in a u32 once.
    /// clicks
    ///     .window(Tumbling::of(Duration::from_secs(60)), |at| EventTime(*at))
    ///     .schema_version(2)
    ///     .migrate_from(1, |clicks: u32| u64::from(clicks))
    ///     .fold("clicks-per-minute", 0, |clicks: &mut u64, _at| *clicks += 1)
    /// # });
    /// ```
    pub fn migrate_from<O: Data, N: Data>(
        self,
        version: u32,
        migrate: impl Fn(O) -> N + 'static,
    ) -> Self {
        self.try_migrate_from(version, move |old| Ok(migrate(old)))
    }

    /// As [`migrate_from`](Self::migrate_from), for what may fail: the job does not start then.
    pub fn try_migrate_from<O: Data, N: Data>(
        mut self,
        version: u32,
        migrate: impl Fn(O) -> Result<N, BoxError> + 'static,
    ) -> Self {
        self.evolved = self.evolved.migrate_from(version, migrate);
        self
    }

    /// What is to be built; what is wrong is noted for the job's run to return.
    fn planned(self, uid: &str) -> (Stream<'scope, (K, V)>, Windowing<T>) {
        let refuse = |reason: String| {
            let error = format!("operator {uid:?}: {reason}");
            let error = highwater_checkpoint::Error::Invalid { reason: error };
            self.stream.flow().checkpoints().fail(error);
        };
        let lateness = match self.lateness {
            Duration::ZERO => Ok(0),
            lateness => millis("the allowed lateness", lateness),
        };
        let is_by_day = matches!(self.clock, Clock::Day);
        let (plan, trigger) = (self.assigner.plan(), self.trigger.plan());
        if let (Ok(trigger), true) = (&trigger, is_by_day)
            && (trigger.every.is_some() || self.lateness > Duration::ZERO)
        {
            let what = "windows by processing time know no lateness and no interval of event time";
            refuse(format!("{what}: set neither, or use `window`"));
        }
        if let (Plan::Count { .. } | Plan::SlidingCount { .. }, Ok(trigger)) = (&plan, &trigger)
            && (!trigger.is_plain() || self.lateness > Duration::ZERO)
        {
            let what = "count windows fire when they are full, and know no lateness";
            refuse(format!("{what}: set no trigger and no allowed lateness"));
        }
        let plan = match plan {
            Plan::Refused(reason) => {
                refuse(reason);
                Tumbling::of(Duration::from_millis(1)).plan()
            }
            plan => plan,
        };
        let lateness = lateness.unwrap_or_else(|reason| {
            refuse(reason);
            0
        });
        let trigger = trigger.or_else(|reason| {
            refuse(reason);
            Trigger::watermark().plan()
        });
        let trigger = trigger.expect("the default trigger is right");
        let WindowedStream { stream, clock, evolved, .. } = self;
        let is_late_kept = L::IS_KEPT;
        (stream, Windowing { plan, trigger, clock, lateness, is_late_kept, evolved })
    }

    fn folded<F: Fold<K, V>>(self, uid: &str, fold: F) -> L::Streams<'scope, K, V, F::Said> {
        let (stream, windowing) = self.planned(uid);
        let (results, late) = fold_windows(uid, stream, windowing, fold);
        L::streams(results, late)
    }

    fn merged<F: Merge<K, V>>(self, uid: &str, fold: F) -> L::Streams<'scope, K, V, F::Said> {
        let (stream, windowing) = self.planned(uid);
        let (results, late) = W::merge(uid, stream, windowing, fold);
        L::streams(results, late)
    }

    /// Counts the records of each window.
    pub fn count(self, uid: &str) -> L::Streams<'scope, K, V, u64> {
        self.merged(uid, Counted)
    }

    /// Combines the values of each window, two at a time.
    ///
    /// `reduce` also combines what parts of a window have come to: it must be associative. Workers do so
    /// with what they have before they send it, where they find that it pays.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::window::Sliding;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// // The highest of the last two seconds, each second.
    /// let highest = collect_one(|flow| {
    ///     let readings = [(500, 7), (1_500, 9), (2_500, 3), (3_500, 4)];
    ///     let readings = flow.source("readings", VecSource::new(readings));
    ///     let (size, slide) = (Duration::from_secs(2), Duration::from_secs(1));
    ///     let windows = readings.window_all(Sliding::of(size, slide), |(at, _)| EventTime(*at));
    ///     windows.reduce("highest", |one, other| if other.1 > one.1 { other } else { one })
    /// });
    /// let highest: Vec<_> =
    ///     highest.into_iter().map(|windowed| (windowed.window.end.0, windowed.value.1)).collect();
    /// assert_eq!(highest, [(1_000, 7), (2_000, 9), (3_000, 9), (4_000, 4), (5_000, 4)]);
    /// ```
    pub fn reduce(
        self,
        uid: &str,
        reduce: impl Fn(V, V) -> V + 'static,
    ) -> L::Streams<'scope, K, V, V> {
        self.merged(uid, Reduced(reduce))
    }

    /// Aggregates the values of each window.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::window::Session;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// /// From the first to the last.
    /// struct Length;
    ///
    /// impl Aggregator for Length {
    ///     type Input = i64;
    ///     type Accumulator = Option<(i64, i64)>;
    ///     type Output = i64;
    ///
    ///     fn init(&self) -> Option<(i64, i64)> {
    ///         None
    ///     }
    ///     fn add(&self, span: &mut Option<(i64, i64)>, at: i64) {
    ///         self.merge(span, Some((at, at)));
    ///     }
    ///     fn output(&self, span: &Option<(i64, i64)>) -> i64 {
    ///         span.map_or(0, |(first, last)| last - first)
    ///     }
    /// }
    ///
    /// impl MergeAggregator for Length {
    ///     fn merge(&self, span: &mut Option<(i64, i64)>, later: Option<(i64, i64)>) {
    ///         let both = [*span, later].into_iter().flatten();
    ///         *span = both.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)));
    ///     }
    /// }
    ///
    /// let lengths = collect_one(|flow| {
    ///     let clicks = flow.source("clicks", VecSource::new([1_000, 4_000, 6_000, 60_000, 61_000]));
    ///     let visits = clicks.window_all(Session::gap(Duration::from_secs(10)), |at| EventTime(*at));
    ///     visits.aggregate("lengths", Length)
    /// });
    /// let lengths: Vec<_> = lengths.into_iter().map(|windowed| windowed.value).collect();
    /// assert_eq!(lengths, [5_000, 1_000]);
    /// ```
    pub fn aggregate<G>(self, uid: &str, aggregator: G) -> L::Streams<'scope, K, V, G::Output>
    where
        G: MergeAggregator<Input = V, Accumulator: Clone>,
    {
        self.merged(uid, Aggregated(aggregator))
    }

    /// Calls `process` with all values of each window that fires, in no particular order but that of
    /// arrival within a slice.
    ///
    /// All of them are kept until then: what can be said of a few numbers is better said by
    /// [`aggregate`](Self::aggregate).
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::window::Tumbling;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// let medians = collect_one(|flow| {
    ///     let readings = flow.source("readings", VecSource::new([(1, 30), (2, 10), (3, 20)]));
    ///     let seconds = Tumbling::of(Duration::from_secs(1));
    ///     let windows = readings.window_all(seconds, |(at, _)| EventTime(*at));
    ///     windows.process("medians", |(), _window, readings| {
    ///         let mut sorted: Vec<i32> = readings.iter().map(|(_, reading)| *reading).collect();
    ///         sorted.sort();
    ///         sorted[sorted.len() / 2]
    ///     })
    /// });
    /// assert_eq!(medians[0].value, 20);
    /// ```
    pub fn process<R: 'static>(
        self,
        uid: &str,
        process: impl Fn(&K, Window, &[V]) -> R + 'static,
    ) -> L::Streams<'scope, K, V, R> {
        self.merged(uid, Collected(process))
    }

    /// The `count` values of the greatest ranks in each window, the greatest first; of equal ranks those
    /// that came first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::window::Tumbling;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// let top = collect_one(|flow| {
    ///     let bids = flow.source("bids", VecSource::new([(1, 30), (2, 10), (3, 20), (4, 5)]));
    ///     let seconds = Tumbling::of(Duration::from_secs(1));
    ///     bids.window_all(seconds, |(at, _)| EventTime(*at)).top("top", 2, |(_, price)| *price)
    /// });
    /// assert_eq!(top[0].value, [(1, 30), (3, 20)]);
    /// ```
    pub fn top<O: Ord + 'static>(
        self,
        uid: &str,
        count: usize,
        rank: impl Fn(&V) -> O + 'static,
    ) -> L::Streams<'scope, K, V, Vec<V>> {
        if count == 0 {
            let reason = format!("operator {uid:?}: the top 0 of a window: at least 1 is needed");
            let error = highwater_checkpoint::Error::Invalid { reason };
            self.stream.flow().checkpoints().fail(error);
        }
        self.merged(uid, Ranked { count: count.max(1), rank, of: PhantomData })
    }

    /// Folds the values of each window into an accumulator that begins as `init`.
    ///
    /// What has been folded cannot be merged, so that a window that overlaps others is folded by itself:
    /// an update of [sliding](crate::window::Sliding) windows costs as much as there are windows. Use
    /// [`aggregate`](Self::aggregate) or [`reduce`](Self::reduce) for those.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::window::Count;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// let pairs = collect_one(|flow| {
    ///     let words = ["to", "be", "or", "not", "to"].map(String::from);
    ///     let pairs = flow.source("words", VecSource::new(words));
    ///     let pairs = pairs.window_all(Count::of(2), |_| EventTime(0));
    ///     pairs.fold("pairs", String::new(), |text, word| text.extend([&*word, "."]))
    /// });
    /// let pairs: Vec<_> = pairs.into_iter().map(|windowed| windowed.value).collect();
    /// assert_eq!(pairs, ["to.be.", "or.not."]);
    /// ```
    pub fn fold<A: Data + Clone>(
        self,
        uid: &str,
        init: A,
        fold: impl Fn(&mut A, V) + 'static,
    ) -> L::Streams<'scope, K, V, A>
    where
        W: Aligned,
    {
        self.folded(uid, Folded { init, fold })
    }

    /// As [`aggregate`](Self::aggregate), for an aggregator that cannot merge: as [`fold`](Self::fold), that
    /// is.
    pub fn aggregate_alone<G>(self, uid: &str, aggregator: G) -> L::Streams<'scope, K, V, G::Output>
    where
        G: Aggregator<Input = V>,
        W: Aligned,
    {
        self.folded(uid, Aggregated(aggregator))
    }
}

impl<K: 'static, V: 'static, W: std::fmt::Debug, T, L> std::fmt::Debug
    for WindowedStream<'_, K, V, W, T, L>
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, value) = (std::any::type_name::<K>(), std::any::type_name::<V>());
        write!(f, "WindowedStream<{key}, {value}>({:?})", self.assigner)
    }
}
