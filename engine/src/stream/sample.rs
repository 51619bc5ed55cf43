//! A part of a stream, chosen by hash; and numbers for its records.

use std::hash::Hash;

use highwater_checkpoint::state::stable_hash;

use super::Stream;
use crate::state::OperatorStates;

impl<'scope, T: 'static> Stream<'scope, T> {
    /// Keeps about this share of the records: of equal records all or none, the same in every run.
    ///
    /// *Range*: `fraction` from 0, which keeps none, to 1, which keeps all, or the job's `run` returns
    /// an error. Another `seed` keeps others.
    ///
    /// ```
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// let some = collect_one(|flow| {
    ///     let numbers: Vec<u32> = (0..10_000).collect();
    ///     flow.source("numbers", VecSource::new(numbers)).sample(0.01, 7)
    /// });
    /// assert!((50..200).contains(&some.len()));
    /// ```
    pub fn sample(self, fraction: f64, seed: u64) -> Self
    where
        T: Hash,
    {
        self.check_fraction(fraction);
        self.filter(move |record| is_chosen(record, fraction, seed))
    }

    /// As [`sample`](Stream::sample), by a part of the record: of those in which it is equal all or
    /// none are kept.
    pub fn sample_by<K: Hash>(
        self,
        fraction: f64,
        seed: u64,
        mut key: impl FnMut(&T) -> K + 'static,
    ) -> Self {
        self.check_fraction(fraction);
        self.filter(move |record| is_chosen(&key(record), fraction, seed))
    }

    fn check_fraction(&self, fraction: f64) {
        if !(0.0..=1.0).contains(&fraction) {
            self.flow().refuse(format!("a sample of {fraction} of all records: it must be 0 to 1"));
        }
    }

    /// Numbers the records: no two of a job get the same number, in whatever runs, on however many
    /// workers.
    ///
    /// Worker `w` of `n` deals out `base + w`, `base + w + n`, `base + w + 2 n`, and so on, in the order
    /// in which records come to it. `base` is 0 in the first run and above all numbers so far in a run
    /// that goes on. So numbers rise on each worker, and all are used but for gaps: where workers have
    /// had different numbers of records, and after a restart.
    ///
    /// ```
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// let numbered = collect_one(|flow| {
    ///     flow.source("words", VecSource::new(["to", "be"].map(String::from))).zip_with_index("n")
    /// });
    /// assert_eq!(numbered, [(0, "to".to_owned()), (1, "be".to_owned())]);
    /// ```
    pub fn zip_with_index(self, uid: &str) -> Stream<'scope, (u64, T)> {
        let (worker, workers) = (self.flow().scope().index(), self.flow().scope().peers());
        self.process(uid, |state: &mut OperatorStates<'_, '_, 'scope>| {
            // One number a worker, above all that it has dealt out.
            let above = state.broadcast_list_from("above", |all: Vec<u64>| {
                vec![all.into_iter().max().unwrap_or(0)]
            });
            move |ctx, record| {
                let base = above.with(|above| {
                    let base = above[0];
                    above[0] += workers as u64;
                    base
                });
                ctx.emit((base + worker as u64, record));
            }
        })
    }
}

fn is_chosen<K: Hash>(key: &K, fraction: f64, seed: u64) -> bool {
    // As many bits as a float has: even the greatest is below 1.
    let hash = stable_hash(&(seed, key)) >> 11;
    (hash as f64) * (0.5_f64).powi(53) < fraction
}
