//! What dataflows by hand have in common: tables with a fast hasher, numbered records as a source, an
//! exchange by key. The allocator is mimalloc, which the engine brings.

use std::hash::{BuildHasher, Hash};

use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::OutputBuilderSession;
use timely::dataflow::operators::generic::operator::{Operator, source};
use timely::dataflow::{Scope, StreamVec};

use crate::digest::Digest;

/// A stream whose times are milliseconds of event time, or all zero.
pub(crate) type Stream<'s, T> = StreamVec<'s, u64, T>;

/// What operators build their output with.
pub(crate) type Batches<T> = CapacityContainerBuilder<Vec<T>>;

pub(crate) type Hasher = foldhash::fast::FixedState;
pub(crate) type HashMap<K, V> = hashbrown::HashMap<K, V, Hasher>;

/// Records that a source emits in one scheduling.
const AT_ONCE: u64 = 8192;

/// What `make` makes of the numbers below `total`. Each worker has every so manieth of them.
pub(crate) fn numbered<T: 'static>(
    scope: Scope<'_, u64>,
    total: u64,
    make: impl Fn(u64) -> T + 'static,
) -> Stream<'_, T> {
    let (index, peers) = (scope.index() as u64, scope.peers() as u64);
    let share = total / peers + u64::from(index < total % peers);
    source(scope, "Numbered", |capability, info| {
        let activator = scope.activator_for(info.address);
        let (mut capability, mut next) = (Some(capability), 0);
        move |output: &mut OutputBuilderSession<'_, u64, Batches<T>>| {
            let Some(held) = &capability else { return };
            let end = share.min(next + AT_ONCE);
            let mut session = output.session(held);
            (next..end).for_each(|i| session.give(make(i * peers + index)));
            drop(session);
            next = end;
            if next == share { capability = None } else { activator.activate() }
        }
    })
}

/// Sends each record to the worker of its key.
pub(crate) fn by_key<T: 'static, K: Hash>(
    key: impl Fn(&T) -> K + 'static,
) -> Exchange<T, impl FnMut(&T) -> u64> {
    let hasher = Hasher::with_seed(17);
    // Not the bits that the tables use.
    Exchange::new(move |record| hasher.hash_one(key(record)).rotate_left(29))
}

/// Counts the records of each key, and says the count with each of them.
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

/// Sums the rows and drops them.
pub(crate) fn discard<R: 'static>(
    rows: Stream<'_, R>,
    mut digest: Digest,
    note: impl Fn(&mut Digest, R) + 'static,
) {
    rows.sink(Pipeline, "Digest", move |(input, _)| {
        input.for_each(|_, batch| batch.drain(..).for_each(|row| note(&mut digest, row)));
    });
}
