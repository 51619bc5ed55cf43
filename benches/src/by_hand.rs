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

/// What `make` makes of the numbers below `total`, all at one time. Each worker has every so manieth of
/// them.
pub(crate) fn numbered<T: 'static>(
    scope: Scope<'_, u64>,
    total: u64,
    make: impl Fn(u64) -> T + 'static,
) -> Stream<'_, T> {
    timed(scope, total, make, |_| 0)
}

/// As [`numbered`], of records in the order of their times: a message's is that of the last record that
/// came before it.
pub(crate) fn timed<T: 'static>(
    scope: Scope<'_, u64>,
    total: u64,
    make: impl Fn(u64) -> T + 'static,
    time_of: impl Fn(&T) -> u64 + 'static,
) -> Stream<'_, T> {
    let (index, peers) = (scope.index() as u64, scope.peers() as u64);
    let share = total / peers + u64::from(index < total % peers);
    source(scope, "Numbered", |capability, info| {
        let activator = scope.activator_for(info.address);
        let (mut capability, mut next) = (Some(capability), 0);
        move |output: &mut OutputBuilderSession<'_, u64, Batches<T>>| {
            let Some(held) = &mut capability else { return };
            let end = share.min(next + AT_ONCE);
            let (mut session, mut last) = (output.session(&*held), 0);
            for i in next..end {
                let record = make(i * peers + index);
                last = time_of(&record);
                session.give(record);
            }
            drop(session);
            next = end;
            if next == share {
                capability = None;
            } else {
                held.downgrade(&last);
                activator.activate();
            }
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

/// Sends each record to the worker of the record.
pub(crate) fn by_itself<T: Hash + 'static>() -> Exchange<T, impl FnMut(&T) -> u64> {
    let hasher = Hasher::with_seed(17);
    Exchange::new(move |record| hasher.hash_one(record).rotate_left(29))
}

/// Sums the rows and drops them.
pub(crate) fn discard<R: 'static>(
    rows: Stream<'_, R>,
    mut digest: Digest,
    mut note: impl FnMut(&mut Digest, R) + 'static,
) {
    rows.sink(Pipeline, "Digest", move |(input, _)| {
        input.for_each(|_, batch| batch.drain(..).for_each(|row| note(&mut digest, row)));
    });
}
