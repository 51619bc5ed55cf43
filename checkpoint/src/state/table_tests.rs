//! The table against a `BTreeMap`, with seals in slices between random changes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Bincode, stable_hash};
use super::*;

type Table = KeyedTable<u32, u64, Bincode>;

fn table(groups: u16) -> Table {
    let groups = KeyGroups::new(groups).unwrap();
    KeyedTable::new(groups, 0..groups.count())
}

fn decode(block: &EntryBlock) -> Vec<(u32, Option<u64>)> {
    block
        .iter()
        .map(|(key, value)| {
            let value = value.map(|value| <Bincode as Codec<u64>>::decode(value).unwrap());
            (<Bincode as Codec<u32>>::decode(key).unwrap(), value)
        })
        .collect()
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32),
    Remove(u32),
    BeginSeal,
    Slice(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0u32..200).prop_map(Step::Add),
        3 => (0u32..200).prop_map(Step::Remove),
        1 => Just(Step::BeginSeal),
        2 => (1usize..40).prop_map(Step::Slice),
    ];
    proptest::collection::vec(step, 0..600)
}

/// A table, its model, and what a store holding all segments in order would restore.
struct Harness {
    table: Table,
    model: BTreeMap<u32, u64>,
    stored: BTreeMap<u32, u64>,
    /// The state at the moment of the seal under way, and its kind and entries so far.
    sealing: Option<(BTreeMap<u32, u64>, SegmentKind, BTreeMap<u32, Option<u64>>)>,
}

impl Harness {
    fn slice(&mut self, slots: usize) {
        let Some((at_begin, kind, mut entries)) = self.sealing.take() else { return };
        let mut last_group = 0;
        let mut written = Vec::new();
        let slice = self
            .table
            .seal_slice(slots, |group, block| {
                assert!(group >= last_group, "groups are handed out in order");
                last_group = group;
                for (key, value) in decode(&block) {
                    assert!(entries.insert(key, value).is_none(), "T3: {key} captured twice");
                }
                written.push(block);
            })
            .unwrap();
        for block in written {
            self.table.recycle(block);
        }
        if slice == SealSlice::More {
            self.sealing = Some((at_begin, kind, entries));
            return;
        }
        if kind == SegmentKind::Base {
            self.stored.clear();
        }
        for (key, value) in entries {
            match value {
                Some(value) => drop(self.stored.insert(key, value)),
                None => drop(self.stored.remove(&key)),
            }
        }
        assert_eq!(self.stored, at_begin, "the segments say what the table held");
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Add(key) => {
                let n = self.table.update(
                    stable_hash(&key),
                    key,
                    || 0,
                    |_, n| {
                        *n += 1;
                        *n
                    },
                );
                let expected = self.model.entry(key).or_insert(0);
                *expected += 1;
                assert_eq!(n, *expected);
            }
            Step::Remove(key) => {
                let removed = self.table.remove(stable_hash(&key), key);
                assert_eq!(removed, self.model.remove(&key));
            }
            Step::BeginSeal => {
                while self.sealing.is_some() {
                    self.slice(7);
                }
                let kind = self.table.begin_seal();
                self.sealing = Some((self.model.clone(), kind, BTreeMap::new()));
            }
            Step::Slice(slots) => self.slice(slots),
        }
        assert_eq!(self.table.len(), self.model.len() as u64);
    }
}

proptest! {
    #[test]
    fn segments_restore_what_the_table_held_when_the_seal_began(steps in steps(), groups in 1u16..9) {
        let mut harness = Harness {
            table: table(groups),
            model: BTreeMap::new(),
            stored: BTreeMap::new(),
            sealing: None,
        };
        for step in &steps {
            harness.step(step);
        }
        harness.step(&Step::BeginSeal);
        harness.slice(usize::MAX);
        let live: BTreeMap<u32, u64> = harness.table.iter().map(|(k, v)| (*k, *v)).collect();
        prop_assert_eq!(&live, &harness.model);
        for key in 0..200 {
            prop_assert_eq!(harness.table.get(stable_hash(&key), &key), harness.model.get(&key));
        }
    }
}

#[test]
fn restored_entries_are_not_changed_ones() {
    let mut table = table(4);
    for key in 0..1000u32 {
        table.restore(stable_hash(&key), key, Some(1));
    }
    table.restore(stable_hash(&5), 5, Some(2));
    table.restore(stable_hash(&6), 6, None);
    assert_eq!(table.len(), 999);
    table.update(stable_hash(&7), 7, || 0, |_, n| *n += 1);
    assert_eq!(table.begin_seal(), SegmentKind::Delta);
    let mut entries = Vec::new();
    table.seal_slice(usize::MAX, |_, block| entries.extend(decode(&block))).unwrap();
    assert_eq!(entries, [(7, Some(2))]);
    assert_eq!(table.get(stable_hash(&5), &5), Some(&2));
}

#[test]
fn ten_million_small_entries_fit_in_64_bytes_each() {
    // The entry is what is multiplied: a tag, a stamp and the entry, with no padding between.
    assert_eq!(size_of::<Entry<u64, u64>>(), 24);
    let mut table: KeyedTable<u64, u64, Bincode> = KeyedTable::new(KeyGroups::default(), 0..128);
    for key in 0..300_000u64 {
        table.update(stable_hash(&key), key, || 0, |_, n| *n += 1);
        if key > 20_000 {
            let bytes = table.memory_bytes() as u64 / table.len();
            assert!(bytes <= 64, "{bytes} bytes an entry at {key}");
        }
    }
}
