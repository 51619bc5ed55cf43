//! What kinds of windows there are, and what they may be asked for.

use std::time::Duration;

use highwater_checkpoint::EventTime;

use crate::operators::window::{self, Grid, Merge, OVERLAP_MAX, SPAN_MAX, Streams, Windowing};
use crate::stream::{Data, Key, Stream};

/// A kind of windows. Closed: the engine knows them all.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no kind of windows",
    note = "those are in `highwater::window`: Tumbling, Days, Sliding, Session, Cumulating, Global, Count"
)]
pub trait Assigner: sealed::Sealed + 'static {
    #[doc(hidden)]
    fn plan(&self) -> Plan;
}

/// Windows that never merge, so that what is kept of one need not merge either.
#[diagnostic::on_unimplemented(
    message = "windows of `{Self}` merge, and what `fold` keeps does not",
    note = "use `aggregate` with a `MergeAggregator`, or `reduce`"
)]
pub trait Aligned: Assigner {}

/// Windows that the times of records decide on: two streams can be in the same ones.
#[diagnostic::on_unimplemented(
    message = "windows of `{Self}` are not by time, so that two streams have none in common",
    note = "those are: Tumbling, Days, Sliding, Session, Cumulating, Global"
)]
pub trait ByTime: Assigner {}

#[expect(private_bounds, private_interfaces, reason = "sealed: programs cannot name the trait")]
mod sealed {
    use super::{Data, EventTime, Key, Merge, Stream, Streams, Windowing, window};

    pub trait Sealed {
        /// Adds windows whose contents merge.
        #[doc(hidden)]
        fn merge<'scope, K: Key, V: Data + Clone, F: Merge<K, V>, T>(
            uid: &str,
            stream: Stream<'scope, (K, V)>,
            windowing: Windowing<T>,
            fold: F,
        ) -> Streams<'scope, K, V, F::Said>
        where
            T: Fn(&V) -> EventTime + 'static,
        {
            window::merge_windows(uid, stream, windowing, fold, false)
        }
    }

    impl<W: Sealed> Sealed for super::All<W> {
        fn merge<'scope, K: Key, V: Data + Clone, F: Merge<K, V>, T>(
            uid: &str,
            stream: Stream<'scope, (K, V)>,
            windowing: Windowing<T>,
            fold: F,
        ) -> Streams<'scope, K, V, F::Said>
        where
            T: Fn(&V) -> EventTime + 'static,
        {
            window::merge_windows(uid, stream, windowing, fold, true)
        }
    }
}

/// Windows that all records share, whatever their keys: made by
/// [`window_all`](crate::Stream::window_all).
#[derive(Clone, Copy, Debug)]
pub struct All<W>(pub(crate) W);

impl<W: Aligned> Aligned for All<W> {}
impl<W: Assigner> Assigner for All<W> {
    fn plan(&self) -> Plan {
        self.0.plan()
    }
}

/// What an assigner comes to; `Refused` says what is wrong with it.
#[doc(hidden)]
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Plan {
    #[doc(hidden)]
    Grid(GridPlan),
    #[doc(hidden)]
    Session { gap: i64 },
    #[doc(hidden)]
    Count { records: u64 },
    #[doc(hidden)]
    SlidingCount { size: i64, slide: i64 },
    #[doc(hidden)]
    Refused(String),
}

/// A grid, which programs cannot name.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct GridPlan(pub(crate) Grid);

/// A duration in whole milliseconds, as the error message says it if it is none or too long.
pub(crate) fn millis(what: &str, duration: Duration) -> Result<i64, String> {
    match i64::try_from(duration.as_millis()) {
        Ok(0) => Err(format!("{what} is {duration:?}: it must be at least 1 ms")),
        Ok(ms) if ms <= SPAN_MAX => Ok(ms),
        _ => Err(format!("{what} is {duration:?}: it must be at most a million years")),
    }
}

fn offset_ms(offset: Offset) -> Result<i64, String> {
    let Offset { by, is_back } = offset;
    let ms = if by.is_zero() { 0 } else { millis("the offset of the windows", by)? };
    Ok(if is_back { -ms } else { ms })
}

fn planned(grid: Result<Grid, String>) -> Plan {
    grid.map_or_else(Plan::Refused, |grid| Plan::Grid(GridPlan(grid)))
}

#[derive(Clone, Copy, Debug, Default)]
struct Offset {
    by: Duration,
    is_back: bool,
}

macro_rules! with_offset {
    ($name:ident) => {
        impl $name {
            /// Moves all windows on by `offset`: those of a day begin at 2:00 UTC by one of two hours.
            ///
            /// *Default*: none: windows begin at 1970-01-01 00:00 UTC and in whole steps from there.
            /// *Range*: up to a million years.
            pub fn offset(mut self, offset: Duration) -> Self {
                self.offset = Offset { by: offset, is_back: false };
                self
            }

            /// As [`offset`](Self::offset), the other way: for days east of Greenwich.
            pub fn offset_back(mut self, offset: Duration) -> Self {
                self.offset = Offset { by: offset, is_back: true };
                self
            }
        }
    };
}

/// Windows one after the other, all of one size: each record is in one.
///
/// ```
/// use std::time::Duration;
/// use highwater::window::Tumbling;
///
/// let hours = Tumbling::of(Duration::from_secs(3600));
/// let days_of_new_york = Tumbling::of(Duration::from_secs(86_400))
///     .offset(Duration::from_secs(5 * 3600)); // in winter
/// # let _ = (hours, days_of_new_york);
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "give it to `window`"]
pub struct Tumbling {
    size: Duration,
    offset: Offset,
}

impl Tumbling {
    /// Windows of `size`: in milliseconds, from 1 to a million years.
    pub fn of(size: Duration) -> Tumbling {
        Tumbling { size, offset: Offset::default() }
    }
}

with_offset!(Tumbling);

impl sealed::Sealed for Tumbling {}
impl ByTime for Tumbling {}
impl Aligned for Tumbling {}
impl Assigner for Tumbling {
    fn plan(&self) -> Plan {
        let grid = || {
            let size = millis("the size of the tumbling windows", self.size)?;
            Ok(Grid::Sliding { size, slide: size, offset: offset_ms(self.offset)? })
        };
        planned(grid())
    }
}

/// Calendar days, one after the other: each record is in one.
///
/// A day goes from midnight to midnight by the clocks of a time zone, so that two days of a year are
/// 23 and 25 hours long in most of them. A day begins when its midnight is first on the clocks. The
/// zones' rules are those of the IANA database that is compiled in, the same on all machines; a
/// program that is built with newer rules may see days in the future in another way.
///
/// ```
/// use highwater::prelude::*;
/// use highwater::window::Days;
/// # use highwater::testing::{VecSource, collect_one};
///
/// let hours = collect_one(|flow| {
///     // In New York, clocks went an hour on at 2013-03-10 02:00.
///     let at = [1_362_891_600_000, 1_362_974_399_999, 1_362_974_400_000];
///     let visits = flow.source("visits", VecSource::new(at.map(|at| ("/".to_owned(), at))));
///     let days = Days::of("America/New_York");
///     visits
///         .keyed()
///         .window(days, |at| EventTime(*at))
///         .count("visits-of-day")
///         .map(|day| ((day.window.end.0 - day.window.start.0) / 3_600_000, day.value))
/// });
/// assert_eq!(hours, [(23, 2), (24, 1)]);
/// ```
#[derive(Clone, Debug)]
#[must_use = "give it to `window`"]
pub struct Days {
    zone: String,
}

impl Days {
    /// Days of the time zone with this name in the IANA database, such as `America/New_York`. If there
    /// is none, the job's `run` returns an error.
    pub fn of(zone: impl Into<String>) -> Days {
        Days { zone: zone.into() }
    }
}

impl sealed::Sealed for Days {}
impl ByTime for Days {}
impl Aligned for Days {}
impl Assigner for Days {
    fn plan(&self) -> Plan {
        planned(window::Days::of(&self.zone).map(Grid::Days))
    }
}

/// Windows of one size, one of which begins every slide: each record is in several.
///
/// An update costs the same however many there are: records are kept by slices, which windows share.
/// See [`MergeAggregator`](crate::stream::MergeAggregator).
///
/// ```
/// use std::time::Duration;
/// use highwater::window::Sliding;
///
/// // The last hour, each minute.
/// let windows = Sliding::of(Duration::from_secs(3600), Duration::from_secs(60));
/// # let _ = windows;
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "give it to `window`"]
pub struct Sliding {
    size: Duration,
    slide: Duration,
    offset: Offset,
}

impl Sliding {
    /// Windows of `size`, which need not be a multiple of `slide`. *Range*: both from 1 ms to a million
    /// years; `slide` at most `size`, or records would be in no window (filter them instead), and at
    /// least a 100,000th of it.
    pub fn of(size: Duration, slide: Duration) -> Sliding {
        Sliding { size, slide, offset: Offset::default() }
    }
}

with_offset!(Sliding);

impl sealed::Sealed for Sliding {}
impl ByTime for Sliding {}
impl Aligned for Sliding {}
impl Assigner for Sliding {
    fn plan(&self) -> Plan {
        let grid = || {
            let size = millis("the size of the sliding windows", self.size)?;
            let slide = millis("the slide of the sliding windows", self.slide)?;
            if slide > size {
                return Err(format!(
                    "the slide of the windows, {slide} ms, is longer than their size, {size} ms: \
                     records between two of them would be in none"
                ));
            }
            if size / slide > OVERLAP_MAX {
                return Err(format!(
                    "sliding windows of {size} ms each {slide} ms overlap {} times: at most \
                     {OVERLAP_MAX} times is allowed",
                    size / slide
                ));
            }
            Ok(Grid::Sliding { size, slide, offset: offset_ms(self.offset)? })
        };
        planned(grid())
    }
}

/// Windows from a common beginning, each a step longer than the one before, up to the longest; then
/// from the next beginning: the visitors of a day so far, each hour.
///
/// ```
/// use std::time::Duration;
/// use highwater::window::Cumulating;
///
/// let so_far = Cumulating::of(Duration::from_secs(86_400), Duration::from_secs(3600));
/// # let _ = so_far;
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "give it to `window`"]
pub struct Cumulating {
    max: Duration,
    step: Duration,
    offset: Offset,
}

impl Cumulating {
    /// Windows up to `max`, in steps of `step`. *Range*: both from 1 ms to a million years; `max` is a
    /// multiple of `step`, up to the 100,000th.
    pub fn of(max: Duration, step: Duration) -> Cumulating {
        Cumulating { max, step, offset: Offset::default() }
    }
}

with_offset!(Cumulating);

impl sealed::Sealed for Cumulating {}
impl ByTime for Cumulating {}
impl Aligned for Cumulating {}
impl Assigner for Cumulating {
    fn plan(&self) -> Plan {
        let grid = || {
            let max = millis("the longest of the cumulating windows", self.max)?;
            let step = millis("the step of the cumulating windows", self.step)?;
            if max % step != 0 || max / step > OVERLAP_MAX {
                return Err(format!(
                    "cumulating windows up to {max} ms in steps of {step} ms: the first must be a \
                     multiple of the second, at most the {OVERLAP_MAX}th"
                ));
            }
            Ok(Grid::Cumulating { max, step, offset: offset_ms(self.offset)? })
        };
        planned(grid())
    }
}

/// Windows that last as long as records of a key come with less than a gap between them.
///
/// A session goes from its first record to the gap after its last one; a record at that time, or
/// later, begins another session. One that comes between two sessions and is near to both makes
/// them one.
///
/// ```
/// use std::time::Duration;
/// use highwater::window::Session;
///
/// let visits = Session::gap(Duration::from_secs(30 * 60));
/// # let _ = visits;
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "give it to `window`"]
pub struct Session {
    gap: Duration,
}

impl Session {
    /// Sessions that end when nothing has come for `gap`: in milliseconds, from 1 to a million years.
    pub fn gap(gap: Duration) -> Session {
        Session { gap }
    }
}

impl sealed::Sealed for Session {}
impl ByTime for Session {}
impl Assigner for Session {
    fn plan(&self) -> Plan {
        let gap = millis("the gap of the session windows", self.gap);
        gap.map_or_else(Plan::Refused, |gap| Plan::Session { gap })
    }
}

/// One window, of everything: it fires when the input ends, or as its
/// [trigger](crate::stream::WindowedStream::trigger) says.
#[derive(Clone, Copy, Debug)]
pub struct Global;

impl sealed::Sealed for Global {}
impl ByTime for Global {}
impl Aligned for Global {}
impl Assigner for Global {
    fn plan(&self) -> Plan {
        Plan::Grid(GridPlan(Grid::Global))
    }
}

/// Windows of as many records of a key, in the order of their arrival: each fires with its last.
///
/// The result's [`Window`](super::Window) is from the least event time of the records to just after the
/// greatest. A window that is not full when the input ends says nothing. Nothing is late.
///
/// ```
/// use highwater::window::Count;
///
/// let tens = Count::of(10);
/// # let _ = tens;
/// ```
#[derive(Clone, Copy, Debug)]
#[must_use = "give it to `window`"]
pub struct Count {
    size: u64,
    slide: u64,
}

impl Count {
    /// Windows of `records`, one after the other. *Range*: at least 1.
    pub fn of(records: u64) -> Count {
        Count::sliding(records, records)
    }

    /// Windows of the last `size` records of a key, one of which fires with each `slide`th record.
    ///
    /// The first ones, until there are `size` records, are of as many as there are: Flink's
    /// `countWindow(size, slide)`. What comes after the last firing is in no window that fires. The last
    /// records of a key are kept for good, as slices that windows share; with
    /// [`fold`](crate::stream::WindowedStream::fold), which cannot merge those, as records.
    ///
    /// *Range*: both from 1 to 10^16; `slide` at most `size`, or records would be in no window.
    ///
    /// ```
    /// use highwater::prelude::*;
    /// use highwater::window::Count;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// // The sum of the last three, with each second one.
    /// let sums = collect_one(|flow| {
    ///     let numbers = flow.source("numbers", VecSource::new([1, 2, 3, 4, 5, 6, 7]));
    ///     let last = numbers.window_all(Count::sliding(3, 2), |_| EventTime(0));
    ///     last.reduce("sums", |one, other| one + other).map(|windowed| windowed.value)
    /// });
    /// assert_eq!(sums, [1 + 2, 2 + 3 + 4, 4 + 5 + 6]);
    /// ```
    pub fn sliding(size: u64, slide: u64) -> Count {
        Count { size, slide }
    }
}

impl sealed::Sealed for Count {}
impl Aligned for Count {}
impl Assigner for Count {
    fn plan(&self) -> Plan {
        let Count { size, slide } = *self;
        let whole = |records: u64| i64::try_from(records).ok().filter(|of| *of <= SPAN_MAX);
        if size == 0 || slide == 0 {
            Plan::Refused(format!(
                "count windows of {size} records each {slide} records: at least 1 is needed"
            ))
        } else if slide > size {
            Plan::Refused(format!(
                "the slide of the count windows, {slide}, is longer than their size, {size}: records \
                 between two of them would be in none"
            ))
        } else if slide == size {
            Plan::Count { records: size }
        } else if let (Some(size), Some(slide)) = (whole(size), whole(slide)) {
            Plan::SlidingCount { size, slide }
        } else {
            Plan::Refused(format!("count windows of {size} records: at most {SPAN_MAX} is allowed"))
        }
    }
}
