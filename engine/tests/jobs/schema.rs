//! State whose type has changed: refused with both sides shown, migrated entry by entry, or read by
//! the names of its fields; and no checkpoint ever holds entries of two versions.
//!
//! Method: sums by key. A first program is stopped in the middle of its input, and others go on
//! from its checkpoints with other types; at the end the sums must be those of a plain loop. A
//! program that is stopped soon after a migration leaves most entries untouched: the one after it,
//! which knows of no migration, finds what was left of the old version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater::checkpoint::ErrorKind;
use highwater::checkpoint::store::Location;
use highwater::prelude::*;
use highwater::testing::{CollectSink, VecSource};
use highwater::{BoxError, Error};
use serde::{Deserialize, Serialize};

use super::trickle::Trickle;

pub(super) const RECORDS: u64 = 6_000;
pub(super) const KEYS: u64 = 500;

/// One job through all its versions.
#[derive(Clone)]
pub(super) struct Versions {
    store: Location,
    sums: CollectSink<(u64, u64)>,
}

impl Versions {
    pub(super) fn new() -> Versions {
        Versions { store: Location::memory(), sums: CollectSink::new() }
    }

    /// Runs a version that keeps its state as `keep` says, until it has read `records` more.
    pub(super) fn run<F>(&self, workers: usize, records: u64, keep: F) -> highwater::Result<()>
    where
        F: for<'scope> Fn(KeyedStream<'scope, u64, u64>) -> Stream<'scope, (u64, u64)>,
        F: Send + Sync + 'static,
    {
        let numbers: Vec<u64> = (0..RECORDS).collect();
        let source = Trickle::new(VecSource::splits(vec![numbers]), 100);
        let (sums, seen) = (self.sums.clone(), Arc::new(AtomicU64::new(0)));
        Job::new("sums")
            .quiet()
            .workers(workers)
            .checkpoint_store(self.store.clone())
            .checkpoint_interval(Duration::from_millis(10))
            .run(move |flow| {
                let (run, seen) = (Arc::clone(flow.checkpoints().run()), Arc::clone(&seen));
                let numbers = flow.source("numbers", source.clone()).inspect(move |_| {
                    if seen.fetch_add(1, Ordering::Relaxed) + 1 == records {
                        run.control().request_stop();
                    }
                });
                let keyed = numbers.map(|n| (n % KEYS, n)).keyed().emit(Emit::AtEnd);
                keep(keyed).sink("sums", sums.clone());
            })
    }

    /// As [`run`](Self::run), of a version that must be refused: what its `main` would print.
    pub(super) fn refusal<F>(&self, keep: F) -> String
    where
        F: for<'scope> Fn(KeyedStream<'scope, u64, u64>) -> Stream<'scope, (u64, u64)>,
        F: Send + Sync + 'static,
    {
        let error = self.run(1, 1, keep).expect_err("the state must be refused");
        assert!(!matches!(error, Error::Panicked { .. }), "{error:?}");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        format!("{error:?}")
    }

    /// Whether all is as if one program had read all input.
    pub(super) fn check(&self) {
        let mut expected = BTreeMap::new();
        (0..RECORDS).for_each(|n| *expected.entry(n % KEYS).or_default() += n);
        let found: BTreeMap<u64, u64> = self.sums.records().into_iter().collect();
        assert_eq!(found, expected);
        assert_eq!(self.sums.records().len() as u64, KEYS, "once each");
    }
}

pub(super) const ALL: u64 = u64::MAX;

pub(super) type Keyed<'scope> = KeyedStream<'scope, u64, u64>;
pub(super) type Sums<'scope> = Stream<'scope, (u64, u64)>;

#[track_caller]
pub(super) fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

mod first {
    use super::{Deserialize, Serialize};

    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    pub(super) struct Sum {
        pub(super) total: u32,
    }
}

mod second {
    use super::{Deserialize, Serialize};

    /// Wider, and with a field that the first had not.
    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    pub(super) struct Sum {
        pub(super) total: u64,
        pub(super) records: u64,
    }

    pub(super) fn of(old: super::first::Sum) -> Sum {
        Sum { total: old.total.into(), records: 0 }
    }
}

/// As the second, moved to another module.
mod elsewhere {
    use super::{Deserialize, Serialize};

    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    pub(super) struct Sum {
        pub(super) total: u64,
        pub(super) records: u64,
    }
}

fn keep_first(keyed: Keyed<'_>) -> Sums<'_> {
    let sums = keyed.fold("sum", first::Sum::default(), |sum, n| sum.total += n as u32);
    sums.map(|(key, sum)| (key, sum.total.into()))
}

fn keep_second(keyed: Keyed<'_>) -> Sums<'_> {
    let keyed = keyed.schema_version(2);
    let sums = keyed.fold("sum", second::Sum::default(), |sum, n| {
        sum.total += n;
        sum.records += 1;
    });
    sums.map(|(key, sum)| (key, sum.total))
}

#[test]
fn a_changed_type_is_refused_with_both_shown() {
    let versions = Versions::new();
    versions.run(2, 1_000, keep_first).unwrap();
    let text = versions.refusal(|keyed| {
        let sums = keyed.fold("sum", second::Sum::default(), |sum, n| sum.total += n);
        sums.map(|(key, sum)| (key, sum.total))
    });
    assert_says(
        &text,
        &[
            "operator \"sum\" has changed: the value differs (Sum.total: u32 in the checkpoint, u64 \
             in the program; Sum.records: nothing in the checkpoint, u64 in the program)",
            "the checkpoint holds keyed state of (u64, Sum) in bincode-1, version 1, fingerprint ",
            "the program has keyed state of (u64, Sum) in bincode-1, version 1, fingerprint ",
            "give it schema_version(2) and migrate_from(1, ..), bring the old type back, or start \
             afresh with --restore none",
        ],
    );
    let text = versions.refusal(keep_second);
    assert_says(&text, &["its version is 1 in the checkpoint, 2, and no migration from 1 in the"]);
    versions.run(3, ALL, keep_first).unwrap();
    versions.check();
}

fn migrate_to_second(keyed: Keyed<'_>) -> Sums<'_> {
    keep_second(keyed.migrate_from(1, second::of))
}

#[test]
fn a_migration_is_run_and_leaves_nothing_of_the_old_version() {
    for (before, between, after) in [(1, 1, 1), (3, 2, 4)] {
        let versions = Versions::new();
        versions.run(before, 2_000, keep_first).unwrap();
        // Stops soon: most entries are as the migration made them.
        versions.run(between, 100, migrate_to_second).unwrap();
        versions.run(after, 1_000, keep_second).unwrap();
        // A program that would migrate, but need not any more.
        versions.run(before, ALL, migrate_to_second).unwrap();
        versions.check();
    }
}

type Third = (String, u64);

fn keep_third(keyed: Keyed<'_>) -> Sums<'_> {
    let keyed = keyed.schema_version(3);
    let sums = keyed.fold("sum", Third::default(), |(_, sum), n| *sum += n);
    sums.map(|(key, (_, sum))| (key, sum))
}

fn third_of_second(sum: second::Sum) -> Third {
    (format!("{} records", sum.records), sum.total)
}

fn by_way_of_second(keyed: Keyed<'_>) -> Sums<'_> {
    keep_third(keyed.migrate_from(1, second::of).migrate_from(2, third_of_second))
}

fn directly(keyed: Keyed<'_>) -> Sums<'_> {
    let of_first = |sum: first::Sum| (String::new(), u64::from(sum.total));
    keep_third(keyed.migrate_from(1, of_first).migrate_from(2, third_of_second))
}

#[test]
fn migrations_lead_from_1_to_3_by_way_of_2_or_directly() {
    for migrate in [by_way_of_second, directly] {
        let versions = Versions::new();
        versions.run(2, 2_000, keep_first).unwrap();
        versions.run(1, 100, migrate).unwrap();
        versions.run(2, ALL, keep_third).unwrap();
        versions.check();

        let versions = Versions::new();
        versions.run(2, 2_000, keep_second).unwrap();
        versions.run(1, ALL, migrate).unwrap();
        versions.check();
    }
}

#[test]
fn a_type_that_moved_to_another_module_is_the_same() {
    let versions = Versions::new();
    versions.run(2, 2_000, keep_second).unwrap();
    let outcome = versions.run(2, ALL, |keyed| {
        let keyed = keyed.schema_version(2);
        let sums = keyed.fold("sum", elsewhere::Sum::default(), |sum, n| {
            (sum.total, sum.records) = (sum.total + n, sum.records + 1);
        });
        sums.map(|(key, sum)| (key, sum.total))
    });
    outcome.unwrap();
    versions.check();
}

/// Fields as they come and go, of one struct in MessagePack.
mod named {
    use super::{Deserialize, Serialize};

    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    #[serde(rename = "Sum")]
    pub(super) struct First {
        pub(super) total: u64,
        pub(super) note: u8,
    }

    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    #[serde(rename = "Sum")]
    pub(super) struct Added {
        #[serde(default)]
        pub(super) records: u64,
        pub(super) total: u64,
        pub(super) last: Option<u64>,
    }

    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    #[serde(rename = "Sum")]
    pub(super) struct AddedAgain {
        pub(super) total: u64,
        #[serde(default)]
        pub(super) note: String,
    }

    #[derive(Clone, Debug, Default, Serialize, Deserialize)]
    #[serde(rename = "Sum")]
    pub(super) struct Renamed {
        pub(super) sum: u64,
    }
}

fn in_message_pack(keyed: Keyed<'_>) -> Sums<'_> {
    let keyed = keyed.codec(MessagePack);
    let sums = keyed.fold("sum", named::First { total: 0, note: 7 }, |sum, n| sum.total += n);
    sums.map(|(key, sum)| (key, sum.total))
}

#[test]
fn in_message_pack_fields_come_with_defaults_and_go_and_are_not_renamed() {
    let versions = Versions::new();
    versions.run(2, 2_000, in_message_pack).unwrap();
    let text = versions.refusal(|keyed| {
        let keyed = keyed.codec(MessagePack);
        let sums = keyed.fold("sum", named::Renamed::default(), |sum, n| sum.sum += n);
        sums.map(|(key, sum)| (key, sum.sum))
    });
    let rule = "Sum.sum: nothing in the checkpoint, u64 without a default in the program";
    assert_says(&text, &[rule]);
    // Without `note`, which comes back as a text: an entry that still had the number would not do.
    let outcome = versions.run(1, 100, |keyed| {
        let keyed = keyed.codec(MessagePack);
        let sums = keyed.fold("sum", named::Added::default(), |sum, n| {
            (sum.total, sum.records, sum.last) = (sum.total + n, sum.records + 1, Some(n));
        });
        sums.map(|(key, sum)| (key, sum.total))
    });
    outcome.unwrap();
    let outcome = versions.run(3, ALL, |keyed| {
        let keyed = keyed.codec(MessagePack);
        let sums = keyed.fold("sum", named::AddedAgain::default(), |sum, n| sum.total += n);
        sums.map(|(key, sum)| {
            assert_eq!(sum.note, "");
            (key, sum.total)
        })
    });
    outcome.unwrap();
    versions.check();
}

fn plain(keyed: Keyed<'_>) -> Sums<'_> {
    keyed.fold("sum", 0, |sum, n| *sum += n)
}

fn plain_in_message_pack(keyed: Keyed<'_>) -> Sums<'_> {
    keyed.codec(MessagePack).fold("sum", 0, |sum, n| *sum += n)
}

#[test]
fn another_codec_of_the_same_type_needs_no_migration() {
    let versions = Versions::new();
    versions.run(2, 2_000, plain).unwrap();
    versions.run(1, 100, plain_in_message_pack).unwrap();
    versions.run(2, 100, plain_in_message_pack).unwrap();
    versions.run(3, 100, plain).unwrap();
    versions.run(1, ALL, plain).unwrap();
    versions.check();
}

#[test]
fn a_migration_that_fails_names_operator_group_and_cause() {
    let versions = Versions::new();
    versions.run(2, 2_000, keep_first).unwrap();
    let text = versions.refusal(|keyed| {
        let checked = |sum: first::Sum| {
            Err::<second::Sum, _>(BoxError::from(format!("{} is too much", sum.total)))
        };
        keep_second(keyed.try_migrate_from(1, checked))
    });
    let parts = ["the migration of operator \"sum\" from version 1 fails", "of key group "];
    assert_says(&text, &parts);
    assert_says(&text, &["is too much", "in segments/sum/"]);
    // Nothing has changed by it.
    versions.run(2, ALL, keep_first).unwrap();
    versions.check();
}

#[test]
fn contradictory_settings_are_refused_without_any_checkpoint() {
    let text = Versions::new()
        .refusal(|keyed| keep_second(keyed.schema_version(2).migrate_from(2, second::of)));
    assert_says(&text, &["operator \"sum\": a migration from version 2 is given", "above 2"]);
    let text =
        Versions::new().refusal(|keyed| keep_second(keyed.migrate_from(1, |old: u8| old + 1)));
    assert_says(&text, &["the migration from version 1 leads to u8, which is neither the state"]);
}

#[test]
fn what_is_newer_or_not_what_the_migration_reads_is_refused() {
    let versions = Versions::new();
    versions.run(2, 2_000, keep_second).unwrap();
    let text = versions.refusal(keep_first);
    assert_says(&text, &["its version is 2 in the checkpoint, 1, which is older in the program"]);

    let versions = Versions::new();
    versions.run(2, 2_000, keep_first).unwrap();
    let text = versions.refusal(|keyed| {
        keep_second(keyed.migrate_from(1, |old: u64| second::Sum { total: old, records: 0 }))
    });
    let rule = "the value that is migrated from version 1 differs (Sum in the checkpoint, u64 in";
    assert_says(&text, &[rule]);
}

#[cfg(feature = "abomonation")]
mod in_memory {
    use highwater::checkpoint::state::Abomonation;

    use super::*;

    type Kept = (String, Option<u64>);

    fn add(kept: &mut Kept, n: u64) {
        kept.0.push('x');
        kept.1 = Some(kept.1.unwrap_or_default() + n);
    }

    fn sum((key, (text, sum)): (u64, Kept)) -> (u64, u64) {
        assert_eq!(text.len() as u64, RECORDS / KEYS);
        (key, sum.unwrap())
    }

    fn in_memory(keyed: Keyed<'_>) -> Sums<'_> {
        keyed.codec(Abomonation).fold("sum", Kept::default(), add).map(sum)
    }

    #[test]
    fn values_as_they_are_in_memory_survive_and_are_refused_by_others() {
        let versions = Versions::new();
        versions.run(2, 2_000, in_memory).unwrap();
        versions.run(3, 2_000, in_memory).unwrap();
        // Only a program that has the codec reads it.
        let text = versions.refusal(|keyed| keyed.fold("sum", Kept::default(), add).map(sum));
        assert_says(&text, &["the codec is abomonation-0.7 of rustc ", "bincode-1 in the program"]);
        versions.run(1, ALL, in_memory).unwrap();
        versions.check();
    }
}
