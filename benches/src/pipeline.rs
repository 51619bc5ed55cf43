//! `pipeline`: a chain of steps that remember nothing, from a generated number to a row.
//!
//! What the steps do is cheap, so what is measured is what it costs to have them. By hand they are
//! there twice: as operators of timely's, one a step, which is how one writes them, and as one operator
//! of one closure, which is how one rewrites them when that is too slow.

use highwater::Flow;
use highwater_connectors::generator::GeneratorSource;
use timely::dataflow::Scope;
use timely::dataflow::operators::vec::{Filter, Map};

use crate::by_hand::{discard, numbered};
use crate::digest::Digest;
use crate::draws::mix;
use crate::rounds::{Case, Comparison, Flags};
use crate::sides::{LOOP, TIMELY, Work};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Timely's operators, all steps in one closure.
const FUSED: &str = "fused";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Records of a run
    #[arg(long, default_value_t = 500_000_000)]
    records: u64,

    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { records, flags } = args;
    let what = format!("{} M records, made in the job", *records as f64 / 1e6);
    let mut comparison = Comparison::begin("pipeline", flags, &what)?
        .on_record(include_str!("../digests/pipeline.json"), &[("records", *records)])?;
    let work = Work { name: "pipeline", records: *records, workers: flags.workers };
    comparison.run(&sides(Case::new("six steps"), work, flags));
    comparison.end()
}

fn sides(case: Case<'static>, work: Work, flags: &Flags) -> Case<'static> {
    let records = work.records;
    case.side(LOOP, move || work.plain(|digest| in_a_loop(records, digest)))
        .side(TIMELY, move || work.timely(move |scope, digest| by_hand(scope, records, digest)))
        .side(FUSED, move || work.timely(move |scope, digest| fused(scope, records, digest)))
        .engine(flags, move |interval| {
            work.engine(interval, move |flow, digest| engine(flow, records, digest))
        })
}

fn engine(flow: &Flow<'_>, records: u64, mut digest: Digest) {
    flow.source("numbers", GeneratorSource::new(records, mix))
        .map(Reading::decode)
        .filter(|reading| reading.is_valid())
        .map(Reading::calibrate)
        .flat_map(Reading::axes)
        .filter(|axis| axis.is_of_interest())
        .map(Axis::row)
        .for_each(move |row| note(&mut digest, row));
}

fn by_hand(scope: Scope<'_, u64>, records: u64, digest: Digest) {
    let rows = numbered(scope, records, mix)
        .map(Reading::decode)
        .filter(|reading| reading.is_valid())
        .map(Reading::calibrate)
        .flat_map(Reading::axes)
        .filter(|axis| axis.is_of_interest())
        .map(Axis::row);
    discard(rows, digest, note);
}

fn fused(scope: Scope<'_, u64>, records: u64, digest: Digest) {
    discard(numbered(scope, records, mix).flat_map(rows_of), digest, note);
}

fn in_a_loop(records: u64, digest: &mut Digest) {
    (0..records).map(mix).flat_map(rows_of).for_each(|row| note(digest, row));
}

/// All steps.
#[inline]
fn rows_of(number: u64) -> impl Iterator<Item = (u32, u32)> {
    Some(Reading::decode(number))
        .filter(|reading| reading.is_valid())
        .map(Reading::calibrate)
        .into_iter()
        .flat_map(Reading::axes)
        .filter(|axis| axis.is_of_interest())
        .map(Axis::row)
}

#[inline]
fn note(digest: &mut Digest, (axis, level): (u32, u32)) {
    digest.hashed((u64::from(axis) << 32 | 1).wrapping_mul(u64::from(level)));
}

/// What a sensor says.
#[derive(Clone, Copy)]
struct Reading {
    sensor: u32,
    value: u32,
}

impl Reading {
    #[inline]
    fn decode(number: u64) -> Reading {
        Reading { sensor: (number >> 52) as u32, value: number as u32 }
    }

    /// Seven in eight are.
    #[inline]
    fn is_valid(self) -> bool {
        !self.value.is_multiple_of(8)
    }

    #[inline]
    fn calibrate(self) -> Reading {
        let offset = (self.sensor % 16) << 8;
        Reading { value: self.value.wrapping_add(offset), ..self }
    }

    /// Each value is two.
    #[inline]
    fn axes(self) -> [Axis; 2] {
        let axis = |number, level| Axis { axis: self.sensor * 2 + number, level };
        [axis(0, self.value >> 16), axis(1, self.value & 0xffff)]
    }
}

/// One axis of a reading.
#[derive(Clone, Copy)]
struct Axis {
    axis: u32,
    level: u32,
}

impl Axis {
    /// Three in four are.
    #[inline]
    fn is_of_interest(self) -> bool {
        self.level >= 0x4000
    }

    #[inline]
    fn row(self) -> (u32, u32) {
        (self.axis, self.level / 16)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_sides_come_to_one_result() {
        let checkpoints = Some(Duration::from_millis(50));
        let flags = Flags { checkpoints, ..Flags::on_workers(3) };
        let work = Work { name: "pipeline", records: 30_000, workers: flags.workers };
        let mut comparison = Comparison::begin("pipeline", &flags, "a test").unwrap();
        let totals = comparison.run(&sides(Case::new("steps"), work, &flags)).unwrap();
        // Seven in eight readings, of each three in four of two axes.
        assert!((39_000..39_800).contains(&totals.rows), "{totals}");
        comparison.end().unwrap();
    }
}
