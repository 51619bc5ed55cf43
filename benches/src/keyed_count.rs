//! `keyed-count`: generated `u64` keys, exchanged, counted by key, discarded.
//!
//! All sides generate the same keys as part of the job: the loop on one thread, without a dataflow; what
//! a good timely programmer writes (hashbrown, foldhash, mimalloc); the engine, without checkpoints and
//! with them. Each says the new count with every record, as a job does whose counts go somewhere.

use timely::dataflow::Scope;
use timely::dataflow::operators::generic::Operator;

use highwater::Flow;
use highwater_connectors::generator::GeneratorSource;

use crate::by_hand::{Batches, HashMap, Stream, by_key, discard, numbered};
use crate::digest::Digest;
use crate::draws::Keys;
use crate::rounds::{Case, Comparison, Flags};
use crate::sides::{LOOP, TIMELY, Work};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Records of a run
    #[arg(long, default_value_t = 300_000_000)]
    records: u64,

    /// Different keys
    #[arg(long, value_delimiter = ',', default_values_t = [1_000_000, 10_000_000])]
    keys: Vec<u64>,

    /// How keys are drawn
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Drawn::Uniform, Drawn::Zipf, Drawn::Hot])]
    keys_are: Vec<Drawn>,

    #[command(flatten)]
    flags: Flags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Drawn {
    /// All alike
    Uniform,
    /// The n-th most frequent one n times as seldom as the first
    Zipf,
    /// Three in four records are of a hundred keys
    Hot,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let Args { records, flags, .. } = args;
    let what = format!("{} M records, keys made in the job", *records as f64 / 1e6);
    let mut comparison = Comparison::begin("keyed-count", flags, &what)?
        .on_record(include_str!("../digests/keyed-count.json"), &[("records", *records)])?;
    for (count, drawn) in
        args.keys.iter().flat_map(|count| args.keys_are.iter().map(move |drawn| (*count, *drawn)))
    {
        let (keys, name) = match drawn {
            Drawn::Uniform => (Keys::uniform(count), "uniform"),
            Drawn::Zipf => (Keys::zipf(count), "zipf"),
            Drawn::Hot => (Keys::hot(count), "hot"),
        };
        let work = Work { name: "keyed-count", records: *records, workers: flags.workers };
        let case = Case::new(format!("{} M keys, {name}", count as f64 / 1e6))
            .field("keys", count)
            .field("keys_are", name);
        comparison.run(&sides(case, work, keys, flags));
    }
    comparison.end()
}

fn sides(case: Case<'static>, work: Work, keys: Keys, flags: &Flags) -> Case<'static> {
    let records = work.records;
    case.side(LOOP, move || work.plain(|digest| count(records, keys, digest)))
        .side(TIMELY, move || {
            work.timely(move |scope, digest| by_hand(scope, records, keys, digest))
        })
        .engine(flags, move |interval| {
            work.engine(interval, move |flow, digest| engine(flow, records, keys, digest))
        })
}

fn engine(flow: &Flow<'_>, records: u64, keys: Keys, mut digest: Digest) {
    flow.source("keys", GeneratorSource::new(records, move |i| keys.draw(i)))
        .key_by(|key| *key)
        .count("count")
        .for_each(move |counted| note(&mut digest, counted));
}

fn by_hand(scope: Scope<'_, u64>, records: u64, keys: Keys, digest: Digest) {
    discard(counted(numbered(scope, records, move |i| keys.draw(i))), digest, note);
}

/// Each key with how often it has come.
pub(crate) fn counted(keys: Stream<'_, u64>) -> Stream<'_, (u64, u64)> {
    keys.unary::<Batches<(u64, u64)>, _, _, _>(by_key(|key: &u64| *key), "Count", |_, _| {
        let mut counts: HashMap<u64, u64> = HashMap::default();
        move |input, output| {
            input.for_each(|time, batch| {
                let mut session = output.session(&time);
                for key in batch.drain(..) {
                    let count = counts.entry(key).or_insert(0);
                    *count += 1;
                    session.give((key, *count));
                }
            });
        }
    })
}

fn count(records: u64, keys: Keys, digest: &mut Digest) {
    let mut counts: HashMap<u64, u64> = HashMap::default();
    for key in (0..records).map(|i| keys.draw(i)) {
        let count = counts.entry(key).or_insert(0);
        *count += 1;
        note(digest, (key, *count));
    }
}

/// A product is enough of a hash: which of its updates a key is at is what could be wrong.
#[inline]
fn note(digest: &mut Digest, (key, count): (u64, u64)) {
    digest.hashed((key | (1 << 40)).wrapping_mul(count));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn all_sides_come_to_one_result_however_keys_are_drawn() {
        let checkpoints = Some(Duration::from_millis(50));
        let flags = Flags { checkpoints, ..Flags::on_workers(3) };
        let work = Work { name: "keyed-count", records: 30_000, workers: flags.workers };
        let mut comparison = Comparison::begin("keyed-count", &flags, "a test").unwrap();
        for keys in [Keys::uniform(1_000), Keys::zipf(1_000), Keys::hot(1_000)] {
            let totals = comparison.run(&sides(Case::new("keys"), work, keys, &flags)).unwrap();
            assert_eq!(totals.rows, 30_000);
        }
        comparison.end().unwrap();
    }
}
