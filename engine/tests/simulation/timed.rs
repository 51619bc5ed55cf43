//! The operator of event time that a simulated job has, beside the others: a kind of window or of
//! join, or one that sorts or says each key once.

use std::time::Duration;

use highwater::prelude::*;
use highwater::window::{Assigner, Count, Cumulating, Global, Session, Sliding, Tumbling, Window};

use super::chance::Dice;
use super::input::Record;
use super::job::time_of;

/// Sizes and bounds in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Timed {
    Tumbling(i64),
    Sliding(i64, i64),
    Cumulating(i64, i64),
    Session(i64),
    /// Of all records: their key is 0.
    All(i64, i64),
    Global,
    /// Of the records of one split, whose order is known.
    Count(u64, u64),
    IntervalJoin(i64, i64),
    WindowJoin(i64, i64),
    SessionJoin(i64),
    AsOfJoin,
    UnboundedJoin,
    Distinct,
    Sorted,
}

/// A key, two numbers that say what is meant, and the serials of the records of which it is said.
pub(crate) type Row = (u64, i64, i64, Vec<u64>);

/// In the place of a record that there is not.
pub(crate) const NONE: i64 = -1;

impl Timed {
    pub(crate) fn of(dice: &Dice) -> Timed {
        let ms = |dice: &Dice| dice.among(20..=400) as i64;
        let slide = ms(dice) / 4 + 1;
        let bound = |dice: &Dice| ms(dice) - 200;
        match dice.below(14) {
            0 => Timed::Tumbling(ms(dice)),
            1 => Timed::Sliding(slide * dice.among(1..=5) as i64 + dice.below(3) as i64, slide),
            2 => Timed::Cumulating(slide * dice.among(1..=5) as i64, slide),
            3 => Timed::Session(ms(dice)),
            4 => Timed::Global,
            5 => {
                let (one, other) = (bound(dice), bound(dice));
                Timed::IntervalJoin(one.min(other), one.max(other))
            }
            6 => Timed::WindowJoin(slide * dice.among(1..=5) as i64, slide),
            7 => Timed::AsOfJoin,
            8 => Timed::UnboundedJoin,
            9 => Timed::Distinct,
            10 => Timed::SessionJoin(ms(dice) / 4),
            12 => Timed::All(slide * dice.among(1..=3) as i64, slide),
            11 => {
                let (one, other) = (dice.among(1..=9) as u64, dice.among(1..=9) as u64);
                Timed::Count(one.max(other), one.min(other))
            }
            _ => Timed::Sorted,
        }
    }
}

/// The serials of records, in order.
struct Serials;

impl Aggregator for Serials {
    type Input = Record;
    type Accumulator = Vec<u64>;
    type Output = Vec<u64>;

    fn init(&self) -> Vec<u64> {
        Vec::new()
    }
    fn add(&self, serials: &mut Vec<u64>, (_, serial): Record) {
        serials.push(serial);
    }
    fn output(&self, serials: &Vec<u64>) -> Vec<u64> {
        let mut sorted = serials.clone();
        sorted.sort_unstable();
        sorted
    }
}

impl MergeAggregator for Serials {
    fn merge(&self, serials: &mut Vec<u64>, later: Vec<u64>) {
        serials.extend(later);
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

fn windows<W: Assigner>(records: KeyedStream<'_, u64, Record>, assigner: W) -> Stream<'_, Row> {
    let windows = records.window(assigner, |(_, serial)| time_of(*serial));
    let serials = windows.process("timed", |_, _, records| {
        let mut serials: Vec<u64> = records.iter().map(|(_, serial)| *serial).collect();
        serials.sort_unstable();
        serials
    });
    serials.map(|said| (said.key, said.window.start.0, said.window.end.0, said.value))
}

/// Builds the operator, of both inputs of the job. The first split has the serials up to `first`.
pub(crate) fn build<'scope>(
    timed: Timed,
    first: u64,
    left: Stream<'scope, Record>,
    right: Stream<'scope, Record>,
) -> Stream<'scope, Row> {
    let key = |record: &Record| record.0;
    let all = |left: Stream<'scope, Record>, right| left.union(right).key_by(key);
    let joined = |left: Stream<'scope, Record>, right: Stream<'scope, Record>| {
        let at = |record: &Record| time_of(record.1);
        left.key_by(key).connect(right.key_by(key)).event_times(at, at)
    };
    let serial = |record: Option<&Record>| record.map_or(NONE, |(_, serial)| *serial as i64);
    let met = move |key: &u64, window: Window, left: Option<&Record>, right: Option<&Record>| {
        let serials = [left, right].into_iter().flatten().map(|(_, serial)| *serial);
        (*key, window.start.0, serial(left), serials.collect())
    };
    match timed {
        Timed::Tumbling(size) => windows(all(left, right), Tumbling::of(millis(size))),
        Timed::Sliding(size, slide) => {
            windows(all(left, right), Sliding::of(millis(size), millis(slide)))
        }
        Timed::Cumulating(max, step) => {
            windows(all(left, right), Cumulating::of(millis(max), millis(step)))
        }
        Timed::All(size, slide) => {
            let windows = Sliding::of(millis(size), millis(slide));
            let windows = left.union(right).window_all(windows, |(_, serial)| time_of(*serial));
            let merged = windows.aggregate("timed", Serials);
            merged.map(|said| (0, said.window.start.0, said.window.end.0, said.value))
        }
        Timed::Session(gap) => windows(all(left, right), Session::gap(millis(gap))),
        Timed::Global => windows(all(left, right), Global),
        Timed::Count(size, slide) => {
            let records = left.filter(move |(_, serial)| *serial <= first);
            windows(records.key_by(key), Count::sliding(size, slide))
        }
        Timed::IntervalJoin(lower, upper) => joined(left, right)
            .interval_join("timed", lower, upper)
            .full(move |key, left, right| (*key, serial(left), serial(right), Vec::new())),
        Timed::WindowJoin(size, slide) => joined(left, right)
            .window_join("timed", Sliding::of(millis(size), millis(slide)))
            .full(met),
        Timed::SessionJoin(gap) => {
            joined(left, right).window_join("timed", Session::gap(millis(gap))).full(met)
        }
        Timed::AsOfJoin => joined(left, right)
            .as_of_join("timed")
            .left(move |key, left, right| (*key, left.1 as i64, serial(right), Vec::new())),
        Timed::UnboundedJoin => left
            .key_by(key)
            .connect(right.key_by(key))
            .unbounded_join("timed")
            .inner(|key, left, right| (*key, left.1 as i64, right.1 as i64, Vec::new())),
        Timed::Distinct => {
            let keys = left.union(right).map(|(key, _)| key).distinct("timed");
            keys.map(|key| (key, 0, 0, Vec::new()))
        }
        Timed::Sorted => all(left, right)
            .sort_by_event_time("timed", |(_, serial)| time_of(*serial))
            .map(|(key, (_, serial))| (key, serial as i64, 0, Vec::new())),
    }
}
