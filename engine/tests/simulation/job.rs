//! The job that is simulated, as a seed shapes it: sources with several splits, a union, keyed
//! operators in a row and one that removes, four sinks.

use std::sync::Arc;
use std::time::Duration;

use highwater::checkpoint::state::KeyGroups;
use highwater::prelude::*;
use highwater::stream::Flow;

use super::chance::Dice;
use super::fate::Fate;
use super::input::{Record, Trickle};
use super::target::Target;
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
    pub firsts: Target<(u64, u64)>,
    pub seconds: Target<(u64, (u64, u64))>,
}

impl Targets {
    pub(crate) fn new() -> Targets {
        let (all, toggled) = (Target::new(), Target::new());
        Targets { all, toggled, firsts: Target::new(), seconds: Target::new() }
    }

    pub(crate) fn breaches(&self) -> Vec<String> {
        let Targets { all, toggled, firsts, seconds } = self;
        [all.breaches(), toggled.breaches(), firsts.breaches(), seconds.breaches()].concat()
    }
}

pub(crate) fn build(flow: &Flow<'_>, shape: &Shape, targets: &Targets, fate: &Fate, dice: &Dice) {
    let source = |splits| Trickle { splits: Arc::clone(splits), dice: dice.clone() };
    let left = flow.source("left", source(&shape.left));
    let all = left.union(flow.source("right", source(&shape.right)));
    all.clone().sink("all", targets.all.sink(fate));
    if shape.toggles {
        let keys = all.clone().map(|(key, _)| key);
        toggle(flow, "toggle", keys).sink("toggled", targets.toggled.sink(fate));
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
