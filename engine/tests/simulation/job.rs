//! The job that is simulated, as a seed shapes it: sources with several splits and event time, a
//! union, keyed operators in a row, one that removes and one with timers, one of windows or joins, six
//! sinks.

use std::sync::Arc;
use std::time::Duration;

use highwater::checkpoint::state::KeyGroups;
use highwater::prelude::*;
use highwater::state::{Context, Event, TimedStates};
use highwater::stream::Flow;

use super::chance::Dice;
use super::fate::Fate;
use super::input::{Record, Trickle};
use super::target::Target;
use super::timed::{self, Row, Timed};
use super::toggle::toggle;

/// What stays the same in all runs of a job.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub left: Arc<Vec<Vec<Record>>>,
    pub right: Arc<Vec<Vec<Record>>>,
    pub first: Emit,
    /// Of the second keyed operator, if there is one.
    pub second: Option<Emit>,
    pub toggles: bool,
    pub buckets: bool,
    pub timed: Option<Timed>,
    pub key_groups: KeyGroups,
    pub interval: Duration,
    pub retain: usize,
    pub concurrent: usize,
    pub timeout: Duration,
    pub tolerable: u32,
}

const EMITS: [Emit; 3] = [Emit::EachUpdate, Emit::LastPerStep, Emit::AtEnd];

impl Shape {
    pub(crate) fn of(dice: &Dice) -> Shape {
        let keys = dice.among(1..=40);
        let mut serial = 0;
        let mut splits = |count: usize| {
            let split = |_| {
                let records = (0..dice.below(60)).map(|_| {
                    serial += 1;
                    (dice.below(keys) as u64, serial)
                });
                records.collect()
            };
            Arc::new((0..count).map(split).collect::<Vec<_>>())
        };
        Shape {
            left: splits(dice.among(1..=4)),
            right: splits(dice.below(3)),
            first: dice.one_of(&EMITS),
            second: dice.percent(60).then(|| dice.one_of(&EMITS)),
            toggles: dice.percent(60),
            buckets: dice.percent(60),
            timed: dice.percent(70).then(|| Timed::of(dice)),
            // With many groups a seal takes several slices, and records come in between.
            key_groups: KeyGroups::new(dice.one_of(&[8, 128, 1024])).unwrap(),
            interval: Duration::from_millis(dice.one_of(&[2, 5, 20, 60])),
            retain: dice.among(1..=3),
            concurrent: dice.one_of(&[1, 1, 2, 3]),
            timeout: Duration::from_millis(dice.one_of(&[100, 600_000])),
            tolerable: dice.one_of(&[0, 3, 1000]),
        }
    }
}

/// Where the job writes to.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    pub all: Target<Record>,
    pub toggled: Target<u64>,
    pub buckets: Target<Bucket>,
    pub timed: Target<Row>,
    pub firsts: Target<(u64, u64)>,
    pub seconds: Target<(u64, (u64, u64))>,
}

impl Targets {
    pub(crate) fn new() -> Targets {
        Targets {
            all: Target::new(),
            toggled: Target::new(),
            buckets: Target::new(),
            timed: Target::new(),
            firsts: Target::new(),
            seconds: Target::new(),
        }
    }

    pub(crate) fn breaches(&self) -> Vec<String> {
        let Targets { all, toggled, buckets, timed, firsts, seconds } = self;
        let counts = [firsts.breaches(), seconds.breaches()].concat();
        let by_time = [buckets.breaches(), timed.breaches()].concat();
        [all.breaches(), toggled.breaches(), by_time, counts].concat()
    }
}

/// A key, the number of a time span, and how many records of the key have their event times in it.
pub(crate) type Bucket = (u64, i64, u64);

/// Records of a split are out of order by less than this.
const DISORDER_MS: u64 = 30;

pub(crate) const BUCKET_MS: i64 = 50;

/// The event time of a record.
pub(crate) fn time_of(serial: u64) -> EventTime {
    EventTime((serial * 10 + serial * 7919 % DISORDER_MS) as i64 - 500)
}

/// Counts the records of each bucket, and says how many there were when it is over.
fn fill(
    state: &mut TimedStates<'_, '_, '_, u64, i64>,
) -> impl FnMut(&Context<'_, u64, Bucket>, Event<Record, i64>) + use<> {
    let (counts, ends) = (state.map::<i64, u64>("counts"), state.event_timers());
    move |ctx, event| match event {
        Event::Record((_, serial)) => {
            let bucket = time_of(serial).0.div_euclid(BUCKET_MS);
            counts.update(ctx, bucket, |count| *count += 1);
            ends.set(ctx, bucket, EventTime((bucket + 1) * BUCKET_MS));
        }
        Event::Timer { tag, .. } => {
            let count = counts.remove(ctx, &tag).unwrap_or_default();
            ctx.emit((*ctx.key(), tag, count));
        }
        Event::Alarm { .. } => unreachable!("none is set"),
    }
}

pub(crate) fn build(flow: &Flow<'_>, shape: &Shape, targets: &Targets, fate: &Fate, dice: &Dice) {
    let source = |splits| {
        let disorder = Duration::from_millis(DISORDER_MS);
        let watermarks = Watermarks::bounded(disorder, |(_, serial): &Record| time_of(*serial));
        Trickle { splits: Arc::clone(splits), dice: dice.clone() }.with_watermarks(watermarks)
    };
    let left = flow.source("left", source(&shape.left));
    let right = flow.source("right", source(&shape.right));
    if let Some(timed) = shape.timed {
        let first = shape.left[0].len() as u64;
        let said = timed::build(timed, first, left.clone(), right.clone());
        said.sink("said", targets.timed.sink(fate));
    }
    let all = left.union(right);
    all.clone().sink("all", targets.all.sink(fate));
    if shape.toggles {
        let keys = all.clone().map(|(key, _)| key);
        toggle(flow, "toggle", keys).sink("toggled", targets.toggled.sink(fate));
    }
    if shape.buckets {
        let by_key = all.clone().key_by(|(key, _)| *key);
        by_key.process_timed("fill", fill).sink("buckets", targets.buckets.sink(fate));
    }
    let firsts = all.key_by(|(key, _)| *key).emit(shape.first).count("first");
    let Some(emit) = shape.second else {
        return firsts.sink("firsts", targets.firsts.sink(fate));
    };
    firsts.clone().sink("firsts", targets.firsts.sink(fate));
    let thirds = firsts.map(|(key, count)| (key % 3, count)).keyed().emit(emit);
    let seconds = thirds.fold("second", (0, 0), |(records, sum), count| {
        *records += 1;
        *sum += count;
    });
    seconds.sink("seconds", targets.seconds.sink(fate));
}
