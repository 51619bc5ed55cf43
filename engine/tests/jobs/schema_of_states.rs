//! State that has a name, windows and joins are restored from what another version of the program kept,
//! as what folds keep is (`schema.rs`): with a time to live, in another codec, and in all the types that
//! windows and joins wrap it in.
//!
//! Method: that of `schema.rs`. A first program keeps sums in `u32`, and is stopped; one that keeps them
//! in `u64` goes on with another number of workers and says what a plain loop says.

use std::marker::PhantomData;
use std::time::Duration;

use highwater::prelude::*;
use highwater::state::{Event, Ttl};
use highwater::window::{Assigner, Count, Global, Session, Sliding, Tumbling};

use super::schema::{ALL, KEYS, Keyed, RECORDS, Sums, Versions, assert_says};

const HOUR: Duration = Duration::from_secs(3600);

/// Sums in a value, in the elements of a map and in those of a list, all of which must be the same.
macro_rules! named {
    ($name:ident, $sum:ty, $(.$set:ident($($to:expr),*))*) => {
        fn $name(keyed: Keyed<'_>) -> Sums<'_> {
            keyed.process_timed("sum", |state| {
                let end = state.event_timers();
                let total = state$(.$set($($to),*))*.value::<$sum>("total");
                let hour = Ttl::on_write(HOUR);
                let thirds = state.time_to_live(hour)$(.$set($($to),*))*.map::<u64, $sum>("thirds");
                let all = state$(.$set($($to),*))*.list::<$sum>("all");
                move |ctx, event| match event {
                    Event::Record(n) => {
                        total.update(ctx, |sum| *sum += n as $sum);
                        thirds.update(ctx, n % 3, |sum| *sum += n as $sum);
                        all.push(ctx, n as $sum);
                        end.set(ctx, (), EventTime(1));
                    }
                    Event::Timer { .. } => {
                        let total = u64::from(total.get(ctx).unwrap());
                        let thirds = thirds.to_vec(ctx).into_iter().map(|(_, sum)| u64::from(sum));
                        assert_eq!(thirds.sum::<u64>(), total);
                        assert_eq!(all.to_vec(ctx).into_iter().map(u64::from).sum::<u64>(), total);
                        ctx.emit((*ctx.key(), total));
                    }
                    Event::Alarm { .. } => {}
                }
            })
        }
    };
}

named!(first, u32, .schema_version(1));
named!(second, u64, .schema_version(2).migrate_from(1, |sum: u32| u64::from(sum)));
named!(
    in_message_pack, u64,
    .codec(MessagePack).schema_version(2).migrate_from(1, |sum: u32| u64::from(sum))
);

#[test]
fn named_states_are_migrated_and_read_in_another_codec() {
    let versions = Versions::new();
    versions.run(2, 2_000, first).unwrap();
    versions.run(3, 100, second).unwrap();
    versions.run(1, 1_000, in_message_pack).unwrap();
    versions.run(2, ALL, second).unwrap();
    versions.check();
}

named!(without_migration, u64, .schema_version(2));

#[test]
fn a_named_state_that_has_changed_is_refused() {
    let versions = Versions::new();
    versions.run(2, 1_000, first).unwrap();
    let text = versions.refusal(without_migration);
    let says = "its version is 1 in the checkpoint, 2, and no migration from 1 in the";
    assert_says(&text, &["\"sum/total\"", says]);
    let text = versions.refusal(|keyed| {
        keyed.process("sum", |state| {
            let ttl = Ttl::on_write(HOUR);
            let of_first = |sum: u32| u64::from(sum);
            let total = state
                .schema_version(2)
                .migrate_from(1, of_first)
                .time_to_live(ttl)
                .value::<u64>("total");
            move |ctx, n| ctx.emit((*ctx.key(), total.update(ctx, |sum| *sum + n)))
        })
    });
    assert_says(&text, &["operator \"sum\": a state has migrations before its time to live"]);
    versions.run(1, ALL, first).unwrap();
    versions.check();
}

/// Adds up in a `T`.
struct Sum<T>(PhantomData<T>);

impl Aggregator for Sum<u32> {
    type Input = u64;
    type Accumulator = u32;
    type Output = u64;

    fn init(&self) -> u32 {
        0
    }
    fn add(&self, sum: &mut u32, n: u64) {
        *sum += n as u32;
    }
    fn output(&self, sum: &u32) -> u64 {
        (*sum).into()
    }
}

impl MergeAggregator for Sum<u32> {
    fn merge(&self, sum: &mut u32, later: u32) {
        *sum += later;
    }
}

impl Aggregator for Sum<u64> {
    type Input = u64;
    type Accumulator = u64;
    type Output = u64;

    fn init(&self) -> u64 {
        0
    }
    fn add(&self, sum: &mut u64, n: u64) {
        *sum += n;
    }
    fn output(&self, sum: &u64) -> u64 {
        *sum
    }
}

impl MergeAggregator for Sum<u64> {
    fn merge(&self, sum: &mut u64, later: u64) {
        *sum += later;
    }
}

/// All records are in the window, and one more if windows overlap, which is left out.
fn windows_are_migrated<W: Assigner + Copy + Send + Sync>(windows: W) {
    let versions = Versions::new();
    versions
        .run(2, 2_000, move |keyed| {
            let sums = keyed.window(windows, |_| EventTime(0));
            let sums = sums.aggregate("sum", Sum::<u32>(PhantomData));
            sums.filter(|sum| sum.window.end.0 > 1).map(|sum| (sum.key, sum.value))
        })
        .unwrap();
    for (workers, records) in [(3, 100), (1, ALL)] {
        versions
            .run(workers, records, move |keyed| {
                let sums = keyed.window(windows, |_| EventTime(0));
                let sums = sums.schema_version(2).migrate_from(1, |sum: u32| u64::from(sum));
                let sums = sums.aggregate("sum", Sum::<u64>(PhantomData));
                sums.filter(|sum| sum.window.end.0 > 1).map(|sum| (sum.key, sum.value))
            })
            .unwrap();
    }
    versions.check();
}

#[test]
fn what_windows_keep_is_migrated_whatever_their_kind() {
    let ms = Duration::from_millis;
    windows_are_migrated(Tumbling::of(ms(2)));
    windows_are_migrated(Global);
    windows_are_migrated(Sliding::of(ms(2), ms(1)));
    windows_are_migrated(Session::gap(ms(2)));
}

/// The window ends at 1, and is the only one.
#[test]
fn what_count_windows_keep_is_migrated() {
    let each = RECORDS / KEYS;
    for windows in [Count::of(each), Count::sliding(2 * each, each)] {
        let versions = Versions::new();
        versions
            .run(2, 2_000, move |keyed| {
                let sums = keyed.window(windows, |_| EventTime(0));
                let sums = sums.aggregate("sum", Sum::<u32>(PhantomData));
                sums.map(|sum| (sum.key, sum.value))
            })
            .unwrap();
        versions
            .run(3, ALL, move |keyed| {
                let sums = keyed.window(windows, |_| EventTime(0));
                let sums = sums.schema_version(2).migrate_from(1, |sum: u32| u64::from(sum));
                let sums = sums.aggregate("sum", Sum::<u64>(PhantomData));
                sums.map(|sum| (sum.key, sum.value))
            })
            .unwrap();
        versions.check();
    }
}

/// The records as the left side, and of each key the last as the right side, whose rows thus come at
/// the end, of what was kept.
macro_rules! joined {
    ($name:ident, $number:ty, |$both:ident| $join:expr) => {
        fn $name(keyed: Keyed<'_>) -> Sums<'_> {
            let pairs = keyed.process("pairs", |_| |ctx, n| ctx.emit((*ctx.key(), n)));
            let lefts = pairs.clone().map(|(key, n)| (key, n as $number)).keyed();
            let $both = lefts.connect(pairs.filter(|(_, n)| *n >= RECORDS - KEYS).keyed());
            let rows: Stream<'_, (u64, $number)> = $join;
            let sums = rows.map(|(key, n)| (key, u64::from(n))).keyed().emit(Emit::AtEnd);
            sums.fold("rows", 0, |sum, n| *sum += n)
        }
    };
}

macro_rules! joins {
    ($test:ident, |$both:ident| $join:expr, |$made:ident| $rows:expr) => {
        #[test]
        fn $test() {
            joined!(first, u32, |$both| {
                let $made = $join;
                $rows
            });
            joined!(second, u64, |$both| {
                let join = $join.left_schema_version(2);
                let $made = join.migrate_left_from(1, |n: u32| Ok(u64::from(n)));
                $rows
            });
            let versions = Versions::new();
            versions.run(2, 2_000, first).unwrap();
            versions.run(3, 100, second).unwrap();
            versions.run(1, ALL, second).unwrap();
            versions.check();
        }
    };
}

joins!(unbounded_joins_are_migrated, |both| both.unbounded_join("join"), |join| join
    .inner(|key, left, _| (*key, *left)));
joins!(
    unbounded_joins_with_a_time_to_live_are_migrated,
    |both| both.unbounded_join("join").time_to_live(HOUR),
    |join| join.inner(|key, left, _| (*key, *left))
);
joins!(
    interval_joins_are_migrated,
    |both| both.event_times(|_| EventTime(0), |_| EventTime(0)).interval_join("join", 0, 0),
    |join| join.inner(|key, left, _| (*key, *left))
);
joins!(
    window_joins_are_migrated,
    |both| both.event_times(|_| EventTime(0), |_| EventTime(0)).window_join("join", Global),
    |join| join.co_group(|key, _, lefts, rights| {
        assert_eq!(rights.len(), 1);
        let key = *key;
        lefts.into_iter().map(move |left| (key, left))
    })
);
joins!(
    as_of_joins_are_migrated,
    |both| both.event_times(|_| EventTime(0), |_| EventTime(0)).as_of_join("join"),
    |join| join.inner(|key, left, _| (*key, left))
);
