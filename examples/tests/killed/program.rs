//! The program that is killed: one operator, by its name, between two slow sources and files.

use std::path::Path;
use std::time::Duration;

use highwater::prelude::*;
use highwater::state::Event;
use highwater::stream::{Arrival, Either};
use highwater::window::{Count, Cumulating, Global, Session, Sliding, Trigger, Tumbling, Windowed};
use highwater::{AsyncOptions, RestartStrategy};
use highwater_connectors::files::FileSink;

use super::input::{DISORDER_MS, Record, Side, Slow};

/// Sizes in milliseconds, which the oracle knows as well.
pub(crate) const SIZE: i64 = 200;
pub(crate) const SLIDE: i64 = 60;
pub(crate) const STEP: i64 = 50;
pub(crate) const GAP: i64 = 70;
pub(crate) const REACH: (i64, i64) = (-60, 110);
pub(crate) const EARLY: u32 = 5;
pub(crate) const FULL: u64 = 4;
pub(crate) const TOP: usize = 3;
pub(crate) const PACKET: usize = 7;
pub(crate) const SHARE: f64 = 0.3;
/// Keys of the joins whose pairs are many.
pub(crate) const MANY: u64 = 97;
/// Keys whose updates are all in one split.
pub(crate) const LOOKED_UP: u64 = 12;

type Rows<'scope> = Stream<'scope, String>;

const fn ms(ms: i64) -> Duration {
    Duration::from_millis(ms.unsigned_abs())
}

fn at(record: &Record) -> EventTime {
    EventTime(record.1)
}

fn id(record: Option<&Record>) -> String {
    record.map_or("-".to_owned(), |record| record.2.to_string())
}

/// The numbers of records, in order.
fn ids(records: &[Record]) -> String {
    let mut ids: Vec<u64> = records.iter().map(|record| record.2).collect();
    ids.sort_unstable();
    format!("{ids:?}")
}

/// Runs the operator `name` to its end, in `directory`.
pub(crate) fn run(
    name: &str,
    directory: &Path,
    workers: usize,
    records: u64,
) -> highwater::Result<()> {
    let (operator, output) = (name.to_owned(), directory.join("output"));
    Job::new("killed")
        .quiet()
        .workers(workers)
        .checkpoint_dir(directory.join("checkpoints").to_str().expect("made of ASCII").to_owned())
        .checkpoint_interval(Duration::from_millis(20))
        .restart_strategy(RestartStrategy::None)
        .run(move |flow| {
            let source = |uid, side| {
                let by_time = Watermarks::bounded(ms(DISORDER_MS), at);
                flow.source(uid, Slow { side, records }.with_watermarks(by_time))
            };
            let side = if operator == "late" { Side::Stragglers } else { Side::Left };
            let (left, right) = (source("left", side), source("right", Side::Right));
            let rows = match operator.split_once(' ') {
                None => alone(&operator, left, right),
                Some(("join", kind)) => joined(kind, left, right),
                Some(("map_async", kind)) => asked(kind, left, right),
                Some(_) => panic!("no operator is called {operator:?}"),
            };
            rows.sink("main", FileSink::text(&output));
        })
}

fn windowed(windows: Stream<'_, Windowed<u64, String>>) -> Rows<'_> {
    windows.map(|said| format!("{} {} {}", said.key, said.window.start.0, said.value))
}

fn alone<'scope>(
    name: &str,
    left: Stream<'scope, Record>,
    right: Stream<'scope, Record>,
) -> Rows<'scope> {
    let all = left.clone().union(right.clone());
    let keyed = |all: Stream<'scope, Record>| all.key_by(|record| record.0);
    macro_rules! windows {
        ($assigner:expr) => {{
            let windows = keyed(all).window($assigner, at);
            windowed(windows.process("windows", |_, _, records| ids(records)))
        }};
    }
    match name {
        "tumbling" => windows!(Tumbling::of(ms(SIZE))),
        "sliding" => windows!(Sliding::of(ms(SIZE), ms(SLIDE))),
        "cumulating" => {
            let windows = keyed(all).window(Cumulating::of(ms(SIZE), ms(STEP)), at);
            let said = windows.process("windows", |_, window, records| {
                format!("{} {}", window.end.0, ids(records))
            });
            windowed(said)
        }
        "session" => windows!(Session::gap(ms(GAP))),
        "count" => windows!(Count::of(FULL)),
        "by_day" => {
            let windows = keyed(all).window_by_processing_time(Tumbling::of(ms(15)));
            windowed(windows.process("windows", |_, _, records| ids(records)))
        }
        "global" => {
            let windows =
                keyed(all).window(Global, at).trigger(Trigger::watermark().early_after(EARLY));
            windows.count("windows").map(|said| format!("{} {}", said.key, said.value))
        }
        "late" => late(left),
        "window_all" => {
            let windows = all.window_all(Tumbling::of(ms(SIZE)), at);
            let said = windows.process("windows", |(), _, records| ids(records));
            said.map(|said| format!("{} {}", said.window.start.0, said.value))
        }
        "top" => {
            let top =
                keyed(all).window(Tumbling::of(ms(SIZE)), at).top("top", TOP, |record| record.2);
            top.map(|said| format!("{} {} {}", said.key, said.window.start.0, ids(&said.value)))
        }
        "broadcast" => broadcast(left, right),
        "timers" => timers(all),
        "iterate" => iterate(all),
        "deduplicate" => all
            .deduplicate("first", |record| record.0)
            .map(|record| format!("{} {}", record.0, record.2)),
        "distinct" => {
            all.map(|record| record.1.div_euclid(25)).distinct("seen").map(|n| n.to_string())
        }
        "sort" => {
            let sorted = keyed(all).sort_by_event_time("sorted", at);
            sorted.map(|(key, record)| format!("{key} {} {}", record.1, record.2))
        }
        "sample" => all.sample(SHARE, 7).map(|record| record.2.to_string()),
        "zip_with_index" => {
            all.zip_with_index("numbers").map(|(number, record)| format!("{number} {}", record.2))
        }
        "rate_limit" => all.rate_limit(3_000.0).map(|record| record.2.to_string()),
        "plain" => packets(all),
        _ => panic!("no operator is called {name:?}"),
    }
}

fn late(left: Stream<'_, Record>) -> Rows<'_> {
    let windows = left.key_by(|record| record.0).window(Tumbling::of(ms(SIZE)), at).late_output();
    let (said, late) = windows.process("windows", |_, _, records| ids(records));
    windowed(said).union(late.map(|(_, record)| format!("late {}", record.2)))
}

/// Each left record with the newest right one of its key that is known.
fn broadcast<'scope>(left: Stream<'scope, Record>, right: Stream<'scope, Record>) -> Rows<'scope> {
    let update = |versions: &mut highwater::state::BroadcastMap<u64, u64>, record: Record| {
        versions.insert(record.2 % LOOKED_UP, record.2);
    };
    left.with_broadcast("versions", right, update, |versions, record| {
        let version = versions.get(&(record.2 % LOOKED_UP));
        Some(format!("{} {}", record.2, version.map_or(0, |version| *version)))
    })
}

/// Counts by key and span of time; each record goes to the side.
fn timers(all: Stream<'_, Record>) -> Rows<'_> {
    let mut aside = None;
    let said = all.key_by(|record| record.0).process_timed("timers", |state| {
        let (counts, ends) = (state.map::<i64, u64>("counts"), state.event_timers());
        let (to_aside, stream) = state.side_output::<String>();
        aside = Some(stream);
        move |ctx, event| match event {
            Event::Record(record) => {
                let span = record.1.div_euclid(SIZE);
                counts.update(ctx, span, |count| *count += 1);
                ends.set(ctx, span, EventTime((span + 1) * SIZE));
                to_aside.emit(format!("aside {}", record.2));
            }
            Event::Timer { tag, .. } => {
                let count = counts.remove(ctx, &tag).unwrap_or_default();
                ctx.emit(format!("{} {tag} {count}", ctx.key()));
            }
            Event::Alarm { .. } => {}
        }
    });
    said.union(aside.expect("declared with the operator"))
}

/// Each record goes round up to four times, and is counted in the loop each time.
fn iterate(all: Stream<'_, Record>) -> Rows<'_> {
    let entering = all.map(|record| (record.2, record.2 % 5));
    entering.iterate(|again| {
        let counted = again.keyed().process("rounds", |state| {
            let rounds = state.value::<u64>("rounds");
            move |ctx, left: u64| {
                let round = rounds.update(ctx, |rounds| {
                    *rounds += 1;
                    *rounds
                });
                ctx.emit((*ctx.key(), left, round));
            }
        });
        counted.split(|(id, left, round), back: &mut Vec<(u64, u64)>, done: &mut Vec<String>| {
            if left > 0 {
                back.push((id, left - 1));
            } else {
                done.push(format!("{id} {round}"));
            }
        })
    })
}

/// Packets of what a worker has got; what waits at the end is one that is not full.
fn packets(all: Stream<'_, Record>) -> Rows<'_> {
    all.process_watermarks("packets", |state| {
        let waiting = state.split_list::<Record>("waiting");
        move |ctx, arrival| {
            waiting.with(|waiting| {
                let is_over = match arrival {
                    Arrival::Record(record) => {
                        waiting.push(record);
                        waiting.len() >= PACKET
                    }
                    Arrival::Watermark(watermark) => watermark == EventTime::MAX,
                };
                if is_over && !waiting.is_empty() {
                    ctx.emit(ids(&std::mem::take(waiting)));
                }
            });
        }
    })
}

fn joined<'scope>(
    kind: &str,
    left: Stream<'scope, Record>,
    right: Stream<'scope, Record>,
) -> Rows<'scope> {
    if kind == "unbounded" {
        let key = |record: &Record| record.2 % MANY;
        let join = left.key_by(key).connect(right.key_by(key)).unbounded_join("join");
        return join
            .time_to_live(Duration::from_secs(3_600))
            .inner(|_, left, right| format!("{} {}", left.2, right.2));
    }
    let key = |record: &Record| record.0;
    let both = left.key_by(key).connect(right.key_by(key));
    if kind == "connected" {
        return both.process("both", |state| {
            let (total, lefts) = (state.value::<u64>("total"), state.value::<u64>("lefts"));
            move |ctx, record| {
                let add = |n: &mut u64| {
                    *n += 1;
                    *n
                };
                let total = total.update(ctx, add);
                let side = match record {
                    Either::Left(_) => format!("left {}", lefts.update(ctx, add)),
                    Either::Right(_) => "right".to_owned(),
                };
                ctx.emit(format!("{} {total} {side}", ctx.key()));
            }
        });
    }
    let both = both.event_times(at, at);
    let windows = Tumbling::of(ms(SIZE));
    match kind {
        "inner" => both
            .window_join("join", windows)
            .inner(|_, window, l, r| format!("{} {} {}", window.start.0, id(Some(l)), id(Some(r)))),
        "left" => both
            .window_join("join", windows)
            .left(|_, window, l, r| format!("{} {} {}", window.start.0, id(Some(l)), id(r))),
        "right" => both
            .window_join("join", windows)
            .right(|_, window, l, r| format!("{} {} {}", window.start.0, id(l), id(Some(r)))),
        "full" => both
            .window_join("join", windows)
            .full(|_, window, l, r| format!("{} {} {}", window.start.0, id(l), id(r))),
        "interval" => both
            .interval_join("join", REACH.0, REACH.1)
            .full(|_, l, r| format!("{} {}", id(l), id(r))),
        "as_of" => {
            both.as_of_join("join").left(|_, left, right| format!("{} {}", left.2, id(right)))
        }
        "co_group" => both.co_group("join", windows, |key, window, lefts, rights| {
            Some(format!("{key} {} {} {}", window.start.0, ids(&lefts), ids(&rights)))
        }),
        _ => panic!("no join is called {kind:?}"),
    }
}

/// Answers take up to forty milliseconds: whenever it is killed, some are under way.
fn asked<'scope>(
    kind: &str,
    left: Stream<'scope, Record>,
    right: Stream<'scope, Record>,
) -> Rows<'scope> {
    let options = AsyncOptions { ordered: kind == "ordered", ..AsyncOptions::default() };
    left.union(right).map_async("ask", options.capacity(64), |record: Record| async move {
        tokio::time::sleep(Duration::from_millis(record.2 % 41)).await;
        Ok::<_, std::io::Error>(record.2.to_string())
    })
}
