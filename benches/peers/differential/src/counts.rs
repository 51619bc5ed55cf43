//! Keys and words, counted.

use std::error::Error;

use differential_dataflow::operators::CountTotal;
use peers_events::{Arguments, Digest, Job, lines, mix};

use crate::run;

/// What a side that says each count has summed when it is at this one.
fn summed(hash: u64, count: isize) -> (u64, u64) {
    let count = count.cast_unsigned() as u64;
    (count, hash.wrapping_mul(count * (count + 1) / 2))
}

/// Notes a change of a count.
fn note(digest: &mut Digest, hash: u64, count: isize, diff: isize) {
    let (rows, digest_of_key) = summed(hash, count);
    let diff = diff.cast_unsigned() as u64;
    digest.add(rows.wrapping_mul(diff), digest_of_key.wrapping_mul(diff));
}

pub(crate) fn keys(arguments: &Arguments) -> Result<Job, Box<dyn Error>> {
    let (records, keys) = (arguments.number("records")?, arguments.number("case")?);
    let workers = arguments.number("workers")? as usize;
    Ok(Box::new(move |shared| {
        let digest = Digest::new(shared);
        run(
            workers,
            records,
            move |i| mix(i) % keys,
            move |keys, probe| {
                let mut digest = digest.clone();
                keys.count_total()
                    .inspect(move |((key, count), _, diff)| {
                        note(&mut digest, *key | 1 << 40, *count, *diff);
                    })
                    .probe_with(probe);
            },
        );
    }))
}

pub(crate) fn words(arguments: &Arguments) -> Result<Job, Box<dyn Error>> {
    let (records, lines) = (arguments.number("records")?, lines(arguments.get("file")?)?);
    let workers = arguments.number("workers")? as usize;
    Ok(Box::new(move |shared| {
        let digest = Digest::new(shared);
        let line = move |i: u64| lines[i as usize % lines.len()].clone();
        run(workers, records, line, move |lines, probe| {
            let mut digest = digest.clone();
            lines
                .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
                .count_total()
                .inspect(move |((word, count), _, diff)| {
                    let letters = word.bytes().fold(0, |word, byte| word << 8 | u64::from(byte));
                    note(&mut digest, letters, *count, *diff);
                })
                .probe_with(probe);
        });
    }))
}
