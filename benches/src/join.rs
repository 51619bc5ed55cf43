//! `join`: who has viewed something buys it within some time, or does not. Two streams, joined by key
//! within an interval of event time; what cannot meet anything any more is forgotten.
//!
//! On average each order meets the views that its key had within the interval: with the defaults, one.

use std::collections::VecDeque;

use highwater::prelude::*;
use highwater_connectors::generator::GeneratorSource;
use serde::{Deserialize, Serialize};
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::Operator;
use timely::progress::frontier::MutableAntichain;

use crate::by_hand::{self, Batches, HashMap, by_key, discard};
use crate::digest::Digest;
use crate::draws::mix;
use crate::rounds::{Case, Comparison, Flags};
use crate::sides::{LOOP, TIMELY, Work};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Records of a run, of both streams together
    #[arg(long, default_value_t = 40_000_000)]
    records: u64,

    /// Different keys
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000])]
    keys: Vec<u64>,

    /// Milliseconds of event time between a view and the last order that meets it
    #[arg(long, default_value_t = 10_000)]
    within_ms: u64,

    /// Records of each stream in a millisecond of event time
    #[arg(long, default_value_t = 100)]
    per_ms: u64,

    #[command(flatten)]
    flags: Flags,
}

/// A view or an order of a key.
type Record = (u64, Seen);

/// What is kept of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    at_ms: u64,
    number: u64,
}

/// A key, and the numbers of the view and the order that met.
type Row = (u64, u64, u64);

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { records, keys, within_ms, per_ms, flags } = args;
    let what = format!(
        "{} M records of two streams, made in the job, {per_ms} of each a ms of event time, joined within {within_ms} ms",
        *records as f64 / 1e6
    );
    let mut comparison = Comparison::begin("join", flags, &what)?.on_record(
        include_str!("../digests/join.json"),
        &[("records", *records), ("within_ms", *within_ms), ("per_ms", *per_ms)],
    )?;
    for keys in keys {
        let streams =
            Streams { each: records / 2, keys: *keys, per_ms: *per_ms, within_ms: *within_ms };
        let work = Work { name: "join", records: streams.each * 2, workers: flags.workers };
        let case = Case::new(format!("{} M keys", *keys as f64 / 1e6));
        comparison.run(&sides(case, work, streams, flags));
    }
    comparison.end()
}

fn sides(case: Case<'static>, work: Work, streams: Streams, flags: &Flags) -> Case<'static> {
    case.field("keys", streams.keys)
        .field("within_ms", streams.within_ms)
        .field("per_ms", streams.per_ms)
        .side(LOOP, move || work.plain(|digest| in_a_loop(streams, digest)))
        .side(TIMELY, move || work.timely(move |scope, digest| timely(scope, streams, digest)))
        .engine(flags, move |interval| {
            work.engine(interval, move |flow, digest| engine(flow, streams, digest))
        })
}

/// The two streams, as functions of a record's number.
#[derive(Clone, Copy, Debug)]
struct Streams {
    /// Records of each.
    each: u64,
    keys: u64,
    per_ms: u64,
    within_ms: u64,
}

impl Streams {
    #[inline]
    fn view(self, number: u64) -> Record {
        (mix(number * 2) % self.keys, Seen { at_ms: number / self.per_ms, number })
    }

    #[inline]
    fn order(self, number: u64) -> Record {
        (mix(number * 2 + 1) % self.keys, Seen { at_ms: number / self.per_ms, number })
    }
}

fn engine(flow: &Flow<'_>, streams: Streams, mut digest: Digest) {
    let by_time = || Watermarks::ascending(|(_, seen): &Record| at(seen));
    let views = GeneratorSource::new(streams.each, move |i| streams.view(i));
    let orders = GeneratorSource::new(streams.each, move |i| streams.order(i));
    let views = flow.source("views", views.with_watermarks(by_time()));
    let orders = flow.source("orders", orders.with_watermarks(by_time()));
    views
        .keyed()
        .connect(orders.keyed())
        .event_times(at, at)
        .interval_join("bought", 0, streams.within_ms as i64)
        .inner(|key, view, order| (*key, view.number, order.number))
        .for_each(move |row| note(&mut digest, row));
}

fn at(seen: &Seen) -> EventTime {
    EventTime(seen.at_ms as i64)
}

fn timely(scope: Scope<'_, u64>, streams: Streams, digest: Digest) {
    let time_of = |(_, seen): &Record| seen.at_ms;
    let views = by_hand::timed(scope, streams.each, move |i| streams.view(i), time_of);
    let orders = by_hand::timed(scope, streams.each, move |i| streams.order(i), time_of);
    let (by_view, by_order) = (by_key(|(key, _): &Record| *key), by_key(|(key, _): &Record| *key));
    let rows = views.binary_frontier::<_, Batches<Row>, _, _, _, _>(
        orders,
        by_view,
        by_order,
        "Bought",
        |_, _| {
            let mut tables = Tables::within(streams.within_ms);
            move |(views, views_frontier), (orders, orders_frontier), output| {
                views.for_each(|time, batch| {
                    let mut session = output.session(&time);
                    batch.drain(..).for_each(|view| tables.view(view, |row| session.give(row)));
                });
                orders.for_each(|time, batch| {
                    let mut session = output.session(&time);
                    batch.drain(..).for_each(|order| tables.order(order, |row| session.give(row)));
                });
                tables.forget(least(views_frontier), least(orders_frontier));
            }
        },
    );
    discard(rows, digest, note);
}

/// The least time at which something can come.
fn least(frontier: &MutableAntichain<u64>) -> u64 {
    frontier.frontier().first().copied().unwrap_or(u64::MAX)
}

fn in_a_loop(streams: Streams, digest: &mut Digest) {
    let mut tables = Tables::within(streams.within_ms);
    for number in 0..streams.each {
        tables.view(streams.view(number), |row| note(digest, row));
        tables.order(streams.order(number), |row| note(digest, row));
        if number.is_multiple_of(streams.per_ms) {
            let now = number / streams.per_ms;
            tables.forget(now, now);
        }
    }
}

#[inline]
fn note(digest: &mut Digest, row: Row) {
    digest.row(row);
}

/// What both streams have said that something may still meet.
struct Tables {
    within_ms: u64,
    views: Kept,
    orders: Kept,
}

impl Tables {
    fn within(within_ms: u64) -> Tables {
        Tables { within_ms, views: Kept::default(), orders: Kept::default() }
    }

    #[inline]
    fn view(&mut self, (key, view): Record, mut row: impl FnMut(Row)) {
        for order in self.orders.of(key) {
            if (view.at_ms..=view.at_ms + self.within_ms).contains(&order.at_ms) {
                row((key, view.number, order.number));
            }
        }
        self.views.keep(key, view);
    }

    #[inline]
    fn order(&mut self, (key, order): Record, mut row: impl FnMut(Row)) {
        for view in self.views.of(key) {
            if (view.at_ms..=view.at_ms + self.within_ms).contains(&order.at_ms) {
                row((key, view.number, order.number));
            }
        }
        self.orders.keep(key, order);
    }

    /// No view comes any more before the one time, and no order before the other.
    fn forget(&mut self, views_from: u64, orders_from: u64) {
        self.views.forget_before(orders_from.saturating_sub(self.within_ms));
        self.orders.forget_before(views_from);
    }
}

/// The records of one stream that may still meet one of the other.
#[derive(Default)]
struct Kept {
    by_key: HashMap<u64, Vec<Seen>>,
    /// When there was a record of which key, as they came: nearly in the order of time.
    by_time: VecDeque<(u64, u64)>,
}

impl Kept {
    #[inline]
    fn of(&self, key: u64) -> &[Seen] {
        self.by_key.get(&key).map_or(&[], Vec::as_slice)
    }

    #[inline]
    fn keep(&mut self, key: u64, seen: Seen) {
        self.by_key.entry(key).or_default().push(seen);
        self.by_time.push_back((seen.at_ms, key));
    }

    fn forget_before(&mut self, at_ms: u64) {
        while let Some((_, key)) = self.by_time.front().copied().filter(|(at, _)| *at < at_ms) {
            self.by_time.pop_front();
            if let hashbrown::hash_map::Entry::Occupied(mut seen) = self.by_key.entry(key) {
                seen.get_mut().retain(|seen| seen.at_ms >= at_ms);
                if seen.get().is_empty() {
                    seen.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const STREAMS: Streams = Streams { each: 10_000, keys: 100, per_ms: 10, within_ms: 50 };

    /// Every pair, without forgetting anything.
    fn expected() -> crate::digest::Totals {
        let shared = std::sync::Arc::default();
        let mut digest = Digest::new(std::sync::Arc::clone(&shared));
        let mut views: HashMap<u64, Vec<Seen>> = HashMap::default();
        for (key, view) in (0..STREAMS.each).map(|number| STREAMS.view(number)) {
            views.entry(key).or_default().push(view);
        }
        for (key, order) in (0..STREAMS.each).map(|number| STREAMS.order(number)) {
            for view in views.get(&key).into_iter().flatten() {
                let is_met = order.at_ms >= view.at_ms && order.at_ms - view.at_ms <= 50;
                if is_met {
                    digest.row((key, view.number, order.number));
                }
            }
        }
        drop(digest);
        shared.totals()
    }

    #[test]
    fn all_sides_come_to_one_result() {
        let checkpoints = Some(Duration::from_millis(50));
        for workers in [1, 3] {
            let flags = Flags { checkpoints, ..Flags::on_workers(workers) };
            let work = Work { name: "join", records: STREAMS.each * 2, workers };
            let mut comparison = Comparison::begin("join", &flags, "a test").unwrap();
            let totals = comparison.run(&sides(Case::new("keys"), work, STREAMS, &flags));
            assert_eq!(totals, Some(expected()));
            comparison.end().unwrap();
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut tables = Tables::within(STREAMS.within_ms);
        for number in 0..STREAMS.each {
            tables.view(STREAMS.view(number), |_| {});
            tables.order(STREAMS.order(number), |_| {});
            let now = number / STREAMS.per_ms;
            tables.forget(now, now);
            let kept = |kept: &Kept| kept.by_key.values().map(Vec::len).sum::<usize>();
            assert!(kept(&tables.views) <= 51 * 10, "{} views", kept(&tables.views));
            assert!(kept(&tables.orders) <= 10, "{} orders", kept(&tables.orders));
        }
    }
}
