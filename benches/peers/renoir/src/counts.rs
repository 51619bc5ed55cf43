//! Keys and words, counted; each count is said.

use std::error::Error;
use std::hash::BuildHasher;

use peers_events::{Arguments, Digest, Job, lines, mix};
use renoir::{Replication, StreamContext};

use crate::batches;

pub(crate) fn keys(
    arguments: &Arguments,
    context: impl Fn() -> StreamContext + 'static,
) -> Result<Job, Box<dyn Error>> {
    let (records, keys) = (arguments.number("records")?, arguments.number("case")?);
    Ok(Box::new(move |shared| {
        let (context, mut digest) = (context(), Digest::new(shared));
        context
            .stream_par_iter(move |index, peers| {
                (index..records).step_by(peers as usize).map(move |i| mix(i) % keys)
            })
            .batch_mode(batches())
            .group_by(|key| *key)
            .rich_map(count())
            .for_each(move |(key, count)| digest.add(1, (key | 1 << 40).wrapping_mul(count)));
        context.execute_blocking();
    }))
}

/// What counts the records of a key: each key has a copy of it.
fn count<K, V>() -> impl FnMut((&K, V)) -> u64 + Clone + Send {
    let mut count = 0;
    move |_| {
        count += 1;
        count
    }
}

pub(crate) fn words(
    arguments: &Arguments,
    context: impl Fn() -> StreamContext + 'static,
) -> Result<Job, Box<dyn Error>> {
    let (records, lines) = (arguments.number("records")?, lines(arguments.get("file")?)?);
    let hasher = foldhash::fast::FixedState::with_seed(17);
    Ok(Box::new(move |shared| {
        let (context, mut digest, hasher) = (context(), Digest::new(shared), hasher.clone());
        context
            .stream_par_iter(move |index, peers| {
                let numbers = (index..records).step_by(peers as usize);
                numbers.map(|i| lines[i as usize % lines.len()].clone())
            })
            .batch_mode(batches())
            .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
            // `group_by` would clone each word.
            .repartition_by(Replication::Unlimited, move |word| hasher.hash_one(word))
            .map(|word| (word, ()))
            .to_keyed()
            .rich_map(count())
            .for_each(move |(word, count)| {
                let letters = word.bytes().fold(0, |word, byte| word << 8 | u64::from(byte));
                digest.add(1, letters.wrapping_mul(count));
            });
        context.execute_blocking();
    }))
}
