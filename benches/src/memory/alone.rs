//! One run, in a process that does nothing else: fills state, and looks at its memory when all is there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::Job;
use highwater::prelude::*;
use highwater::window::Tumbling;
use highwater_connectors::generator::GeneratorSource;
use timely::dataflow::Scope;
use timely::dataflow::operators::generic::OutputBuilderSession;
use timely::dataflow::operators::generic::operator::{Operator, source};

use super::{Result, Taken};
use crate::by_hand::{Batches, HashMap, Stream, by_key, discard, numbered};
use crate::digest::{Digest, Totals};
use crate::draws::mix;
use crate::keyed_count::counted;
use crate::machine;
use crate::measure::Measured;
use crate::rounds::{Flags, Run};
use crate::sides::{CHECKPOINTS, ENGINE, LOOP, TIMELY, Work};

/// What memory is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Subject {
    Keys,
    Windows,
    Jobs,
}

/// How often each key comes.
const TIMES: u64 = 4;

/// Windows of a key that are open at a time.
const OPEN: u64 = 10;

const HOUR_MS: u64 = 3_600_000;

/// How long jobs are left alone until they have started, and while their CPU time is measured.
const STARTING: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_secs(5);

/// How often the idle source by hand looks for something.
const LOOK_FOR_INPUT: Duration = Duration::from_millis(100);

/// Records a second of the engine's idle source: none while it is looked at, but for the first.
const IDLE_RATE: f64 = 0.001;

/// Records between two looks at the memory, which take a few microseconds each.
const TICKS: u64 = 1 << 14;

pub(super) fn run(subject: Subject, count: u64, side: &str, flags: &Flags) -> Result<Taken> {
    let before_bytes = machine::resident_memory().ok_or("this system does not tell its memory")?;
    let looks = Looks::default();
    let work = |records| Work { name: "memory", records, workers: flags.workers };
    let interval = flags.checkpoints.filter(|_| side == CHECKPOINTS);
    let (run, idle_cpu_share) = match subject {
        Subject::Keys => (keys(work(count * TIMES), count, side, interval, &looks)?, None),
        Subject::Windows => (windows(work(count), side, interval, &looks)?, None),
        Subject::Jobs => jobs(work(count), side, interval, &looks)?,
    };
    Ok(Taken {
        count,
        seconds: run.measured.seconds,
        cpu_seconds: run.measured.cpu_seconds,
        before_bytes,
        resident_bytes: looks.last(),
        peak_bytes: machine::peak_memory().unwrap_or_default(),
        rows: run.totals.rows,
        digest: run.totals.digest,
        idle_cpu_share,
    })
}

fn no_such_side(side: &str) -> Box<dyn std::error::Error> {
    format!("there is no side {side:?}").into()
}

/// Counts so many keys, each a few times.
fn keys(
    work: Work,
    keys: u64,
    side: &str,
    interval: Option<Duration>,
    looks: &Looks,
) -> Result<Run> {
    let (records, mut looks) = (work.records, looks.clone());
    // Numbers that follow one another would be hashed and compressed too well.
    let key = move |i| mix(i % keys);
    match side {
        LOOP => work.plain(|digest| {
            let mut counts: HashMap<u64, u64> = HashMap::default();
            for key in (0..records).map(key) {
                let count = counts.entry(key).or_insert(0);
                *count += 1;
                looks.tick();
                note(digest, (key, *count));
            }
            looks.look();
        }),
        TIMELY => work.timely(move |scope, digest| {
            let mut looks = looks.clone();
            let counts = counted(numbered(scope, records, key));
            discard(counts, digest, move |digest, row| {
                looks.tick();
                note(digest, row);
            });
        }),
        ENGINE | CHECKPOINTS => work.engine(interval, move |flow, mut digest| {
            let mut looks = looks.clone();
            flow.source("keys", GeneratorSource::new(records, key))
                .key_by(|key| *key)
                .count("count")
                .for_each(move |row| {
                    looks.tick();
                    note(&mut digest, row);
                });
        }),
        _ => Err(no_such_side(side)),
    }
}

#[inline]
fn note(digest: &mut Digest, (key, count): (u64, u64)) {
    digest.hashed(key.wrapping_mul(count));
}

/// Counts one record in each of so many windows, all of which are open until the input ends.
fn windows(work: Work, side: &str, interval: Option<Duration>, looks: &Looks) -> Result<Run> {
    let (records, looks) = (work.records, looks.clone());
    let keys = (records / OPEN).max(1);
    let record = move |i: u64| (mix(i % keys), i / keys * HOUR_MS);
    match side {
        TIMELY => work.timely(move |scope, digest| {
            by_hand_windows(scope, (records, record), digest, looks.clone());
        }),
        ENGINE | CHECKPOINTS => work.engine(interval, move |flow, mut digest| {
            let mut looks = looks.clone();
            let all = Duration::from_millis(HOUR_MS * (OPEN + 2));
            let by_time = Watermarks::bounded(all, |(_, at): &(u64, u64)| EventTime(*at as i64));
            let records = GeneratorSource::new(records, record).with_watermarks(by_time);
            flow.source("records", records)
                .keyed()
                .window(Tumbling::of(Duration::from_millis(HOUR_MS)), |at| EventTime(*at as i64))
                .count("count")
                .for_each(move |counted| {
                    looks.first();
                    digest.row((counted.key, counted.window.end.0 as u64, counted.value));
                });
        }),
        _ => Err(no_such_side(side)),
    }
}

fn by_hand_windows(
    scope: Scope<'_, u64>,
    (records, record): (u64, impl Fn(u64) -> (u64, u64) + 'static),
    digest: Digest,
    mut looks: Looks,
) {
    let by_window = by_key(|(key, _): &(u64, u64)| *key);
    let counts = numbered(scope, records, record)
        .unary_frontier::<Batches<(u64, u64, u64)>, _, _, _>(
            by_window,
            "Count",
            |capability, _| {
                let mut windows: BTreeMap<u64, HashMap<u64, u64>> = BTreeMap::new();
                let mut capability = Some(capability);
                move |(input, frontier), output| {
                    input.for_each(|_, batch| {
                        for (key, at) in batch.drain(..) {
                            let end = at / HOUR_MS * HOUR_MS + HOUR_MS;
                            *windows.entry(end).or_default().entry(key).or_default() += 1;
                        }
                    });
                    if frontier.is_empty()
                        && let Some(capability) = capability.take()
                    {
                        looks.first();
                        let mut session = output.session(&capability);
                        for (end, counts) in std::mem::take(&mut windows) {
                            counts
                                .into_iter()
                                .for_each(|(key, count)| session.give((key, end, count)));
                        }
                    }
                }
            },
        );
    discard(counts, digest, Digest::row);
}

/// Starts so many jobs, and leaves them alone; the share of a core that each then takes.
fn jobs(
    work: Work,
    side: &str,
    interval: Option<Duration>,
    looks: &Looks,
) -> Result<(Run, Option<f64>)> {
    let (measured, share) = Measured::of(work.records, || match side {
        TIMELY => idle_by_hand(work, looks),
        ENGINE | CHECKPOINTS => idle_engine(work, interval, looks),
        _ => Err(no_such_side(side)),
    })?;
    let share = share.map(|share| share / work.records as f64);
    Ok((Run::new(measured, work.workers, Totals::default()), share))
}

/// Waits until they have started, and then a while: the share of a core that all of them take.
fn watch(looks: &Looks) -> Option<f64> {
    std::thread::sleep(STARTING);
    looks.look();
    let before = machine::cpu_seconds();
    std::thread::sleep(IDLE);
    let cpu_seconds = machine::cpu_seconds().zip(before).map(|(after, before)| after - before);
    cpu_seconds.map(|cpu_seconds| cpu_seconds / IDLE.as_secs_f64())
}

fn idle_by_hand(work: Work, looks: &Looks) -> Result<Option<f64>> {
    let is_over = Arc::new(AtomicBool::new(false));
    let mut all = Vec::new();
    for _ in 0..work.records {
        let is_over = Arc::clone(&is_over);
        all.push(timely::execute(work.timely_config(), move |worker| {
            let is_over = Arc::clone(&is_over);
            worker.dataflow::<u64, _, _>(|scope| discard_counts(nothing(scope, is_over)));
        })?);
    }
    let share = watch(looks);
    is_over.store(true, Ordering::Relaxed);
    for guards in all {
        for outcome in guards.join() {
            outcome?;
        }
    }
    Ok(share)
}

/// A source that looks now and then whether there is something, and finds nothing.
fn nothing(scope: Scope<'_, u64>, is_over: Arc<AtomicBool>) -> Stream<'_, u64> {
    source(scope, "Nothing", |capability, info| {
        let (activator, mut capability) = (scope.activator_for(info.address), Some(capability));
        move |_: &mut OutputBuilderSession<'_, u64, Batches<u64>>| {
            if is_over.load(Ordering::Relaxed) {
                capability = None;
            } else if capability.is_some() {
                activator.activate_after(LOOK_FOR_INPUT);
            }
        }
    })
}

fn discard_counts(keys: Stream<'_, u64>) {
    discard(counted(keys), Digest::new(Arc::default()), note);
}

fn idle_engine(work: Work, interval: Option<Duration>, looks: &Looks) -> Result<Option<f64>> {
    let folder = tempfile::tempdir()?;
    let runs = Mutex::new(Vec::new());
    let runs = Arc::new(runs);
    std::thread::scope(|scope| {
        let start = |number: u64| {
            let mut job = Job::new(&format!("idle-{number}")).workers(work.workers).quiet();
            if let Some(interval) = interval {
                let folder = folder.path().to_string_lossy();
                job = job.checkpoint_interval(interval).checkpoint_dir(folder);
            }
            let runs = Arc::clone(&runs);
            scope.spawn(move || {
                job.execute(move |flow| {
                    let run = Arc::clone(flow.checkpoints().run());
                    runs.lock().expect("nobody panics with it").push(run);
                    flow.source("keys", GeneratorSource::endless(|i| i).rate(IDLE_RATE))
                        .key_by(|key| *key)
                        .count("count")
                        .for_each(|_| {});
                })
            })
        };
        let all: Vec<_> = (0..work.records).map(start).collect();
        let share = watch(looks);
        for run in runs.lock().expect("nobody panics with it").iter() {
            run.control().request_stop();
        }
        for job in all {
            job.join().map_err(|_| "a job panicked")??;
        }
        Ok(share)
    })
}

/// Looks at the resident memory of the process. The last look is what is kept.
#[derive(Clone, Debug, Default)]
struct Looks {
    resident: Arc<AtomicU64>,
    ticks: u64,
}

impl Looks {
    fn last(&self) -> u64 {
        self.resident.load(Ordering::Relaxed)
    }

    fn look(&self) {
        self.resident.store(machine::resident_memory().unwrap_or_default(), Ordering::Relaxed);
    }

    /// Looks once in so many times.
    #[inline]
    fn tick(&mut self) {
        self.ticks += 1;
        if self.ticks.is_multiple_of(TICKS) {
            self.look();
        }
    }

    /// Looks the first time.
    #[inline]
    fn first(&mut self) {
        if self.ticks == 0 {
            self.look();
        }
        self.ticks += 1;
    }
}
