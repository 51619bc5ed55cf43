//! The table against a `BTreeMap`, with seals in slices between random changes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{Bincode, Verified, stable_hash};
use super::*;

type Table = KeyedTable<u32, u64, Bincode>;

fn table(groups: u16) -> Table {
    let groups = KeyGroups::new(groups).unwrap();
    let mut table = KeyedTable::new(groups, 0..groups.count());
    // Parts are split all the time.
    table.parts.buckets_max = 16;
    table
}

fn decode(block: &EntryBlock) -> Vec<(u32, Option<u64>)> {
    block
        .iter()
        .map(|(key, value)| {
            let value =
                value.map(|value| <Bincode as Codec<u64>>::decode(Verified::new(value)).unwrap());
            (<Bincode as Codec<u32>>::decode(Verified::new(key)).unwrap(), value)
        })
        .collect()
}

/// The digest, computed by its definition.
fn digest(entries: &BTreeMap<u32, u64>) -> StateDigest {
    let hash = |(key, value): (&u32, &u64)| {
        let seed = twox_hash::XxHash3_64::oneshot(&key.to_le_bytes());
        twox_hash::XxHash3_128::oneshot_with_seed(seed, &value.to_le_bytes())
    };
    let sum = entries.iter().map(hash).fold(0, u128::wrapping_add);
    format!("{sum:032x}").parse().unwrap()
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
        8 => (0u32..600).prop_map(Step::Add),
        3 => (0u32..600).prop_map(Step::Remove),
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
        assert_eq!(self.table.digest(), Some(digest(&at_begin)), "T5");
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
        // Keys of 4 bytes, values of 8 or none.
        let (bytes, entries) = (self.table.captured_bytes(), self.table.changes.captured_entries());
        assert!((4 * entries..=12 * entries).contains(&bytes), "{bytes} bytes of {entries}");
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
        for key in 0..600 {
            prop_assert_eq!(harness.table.get(stable_hash(&key), &key), harness.model.get(&key));
        }
    }

    /// As after a restart: with other groups, of a base and deltas above it.
    #[test]
    fn the_digest_of_what_is_restored_is_that_of_what_was_sealed(
        base in prop::collection::btree_map(0u32..300, any::<u64>(), 0..200),
        delta in prop::collection::btree_map(0u32..300, any::<Option<u64>>(), 0..200),
        steps in steps(),
        groups in 1u16..9,
    ) {
        let mut table = table(groups);
        for group in 0..groups {
            table.reserve(group, base.len() / usize::from(groups));
        }
        let mut model = base.clone();
        for (key, value) in delta {
            restore(&mut table, key, value);
            match value {
                Some(value) => drop(model.insert(key, value)),
                None => drop(model.remove(&key)),
            }
        }
        for (key, value) in base {
            restore(&mut table, key, Some(value));
        }
        table.restored();
        prop_assert_eq!(table.len(), model.len() as u64);
        prop_assert_eq!(table.changes.dead, 0);
        prop_assert_eq!(table.digest(), Some(digest(&model)));
        let mut harness = Harness { table, stored: model.clone(), model, sealing: None };
        for step in &steps {
            harness.step(step);
        }
        harness.step(&Step::BeginSeal);
        harness.slice(usize::MAX);
    }
}

/// As a load does it: newest first, and what is there counts.
fn restore(table: &mut Table, key: u32, value: Option<u64>) {
    let (hash, bytes) = (stable_hash(&key), value.unwrap_or_default().to_le_bytes());
    if !table.is_restored(table.place(hash), &key) {
        let encoded = (&key.to_le_bytes()[..], &bytes[..]);
        table.restore_newest(hash, key, value, Some(encoded));
    }
}

#[test]
fn restored_entries_are_not_changed_ones() {
    let mut table = table(4);
    table.restore(stable_hash(&5), 5, Some(2));
    table.restore(stable_hash(&6), 6, None);
    for key in 0..1000 {
        restore(&mut table, key, Some(1));
    }
    table.restored();
    assert_eq!(table.len(), 999);
    table.update(stable_hash(&7), 7, || 0, |_, n| *n += 1);
    assert_eq!(table.begin_seal(), SegmentKind::Delta);
    let mut entries = Vec::new();
    table.seal_slice(usize::MAX, |_, block| entries.extend(decode(&block))).unwrap();
    assert_eq!(entries, [(7, Some(2))]);
    assert_eq!(table.get(stable_hash(&5), &5), Some(&2));
}

/// A place is where somebody else's entry is, or where one was before its part was split.
#[test]
fn what_is_restored_is_found_however_old_the_place() {
    let mut table = table(1);
    let places: Vec<Place> = (0..2000u32).map(|key| table.place(stable_hash(&key))).collect();
    for key in (0..2000).step_by(2) {
        restore(&mut table, key, (key % 4 == 0).then_some(1));
    }
    for (key, before) in (0..2000).zip(places) {
        let is_there = key % 2 == 0;
        let place = table.place(stable_hash(&key));
        assert_eq!(table.is_restored(place, &key), is_there, "{key}");
        // Places of a table that was empty say that nothing was there then.
        assert!(!table.is_restored(before, &key));
        let elsewhere = Place { part: 0, bucket: 0, ..place };
        assert_eq!(table.is_restored(elsewhere, &key), is_there, "{key}");
    }
}

/// The base knows the digest again, for it is made of what is encoded now.
#[test]
fn entries_that_encode_otherwise_than_they_were_have_no_digest_until_the_next_base() {
    let mut table = table(4);
    for key in 0..10u32 {
        let encoded = (&key.to_le_bytes()[..], &b"the same value in other words"[..]);
        table.restore_newest(stable_hash(&key), key, Some(1), Some(encoded));
    }
    assert_eq!(table.digest(), None);
    let mut seal = |keys: std::ops::Range<u32>| {
        for key in keys {
            table.update(stable_hash(&key), key, || 0, |_, n| *n += 1);
        }
        let kind = table.begin_seal();
        assert_eq!(table.digest(), None, "a seal is under way");
        assert_eq!(table.seal_slice(usize::MAX, |_, _| ()).unwrap(), SealSlice::Done);
        (kind, table.digest())
    };
    assert_eq!(seal(0..1), (SegmentKind::Delta, None));
    let (kind, found) = seal(0..10);
    let model = (0..10).map(|key| (key, if key == 0 { 3 } else { 2 })).collect();
    assert_eq!((kind, found), (SegmentKind::Base, Some(digest(&model))));
}

/// Those of a full block are forgotten with it: of the next one, other entries were touched.
#[test]
fn the_digest_counts_what_was_touched_in_each_of_many_blocks() {
    let mut table: Table = KeyedTable::new(KeyGroups::new(1).unwrap(), 0..1);
    let mut model = BTreeMap::new();
    let add = |table: &mut Table, model: &mut BTreeMap<u32, u64>, key: u32| {
        table.update(stable_hash(&key), key, || 0, |_, n| *n += 1);
        *model.entry(key).or_default() += 1;
    };
    for round in 0..3_u32 {
        (0..100_000)
            .filter(|key| key % 3 >= round)
            .for_each(|key| add(&mut table, &mut model, key));
        let sealed = model.clone();
        // Of a base the digest is made anew.
        assert_eq!(table.begin_seal() == SegmentKind::Base, round == 0);
        let (mut touched, mut blocks, mut done) = (0..100_000_u32, 0, SealSlice::More);
        while done == SealSlice::More {
            touched.by_ref().take(700).filter(|key| key % 4 == 0).for_each(|key| {
                add(&mut table, &mut model, key);
            });
            done = table.seal_slice(500, |_, _| blocks += 1).unwrap();
        }
        assert!(blocks > 1, "{blocks}");
        assert_eq!(table.digest(), Some(digest(&sealed)), "round {round}");
    }
}

/// Whatever is left to do, a slice does no more than it was told to, by a word of buckets.
#[test]
fn a_slice_captures_no_more_than_its_share() {
    let mut table: KeyedTable<u32, Vec<u8>, Bincode> = KeyedTable::new(KeyGroups::default(), 0..4);
    let keys = || (0..4000u32).filter(|key| KeyGroups::default().of_hash(stable_hash(key)) < 4);
    for (value_bytes, entries_max) in [(8, 40), (1 << 10, 1), (100 << 10, 1)] {
        for key in keys() {
            table.update(stable_hash(&key), key, Vec::new, |_, v| *v = vec![7; value_bytes]);
        }
        table.begin_seal();
        let (mut captured, mut blocks) = (0, Vec::new());
        loop {
            let slice = table.seal_slice(40, |_, block| blocks.push(block)).unwrap();
            let so_far = table.changes.captured_entries()
                + blocks.iter().map(EntryBlock::len).sum::<usize>();
            assert!(
                so_far - captured <= entries_max,
                "{} of {value_bytes} bytes",
                so_far - captured
            );
            captured = so_far;
            if slice == SealSlice::Done {
                break;
            }
        }
        assert_eq!(captured, keys().count());
    }
}

/// What a scan of all buckets would cost, whatever changed.
#[test]
fn a_seal_looks_only_at_what_has_changed() {
    let mut table: KeyedTable<u64, u64, Bincode> = KeyedTable::new(KeyGroups::default(), 0..128);
    let add = |table: &mut KeyedTable<u64, u64, Bincode>, key: u64| {
        table.update(stable_hash(&key), key, || 0, |_, n| *n += 1);
    };
    (0..100_000).for_each(|key| add(&mut table, key));
    let seal = |table: &mut KeyedTable<u64, u64, Bincode>| {
        table.begin_seal();
        (1..10_000).find(|_| table.seal_slice(64, |_, _| ()).unwrap() == SealSlice::Done).unwrap()
    };
    let all: u32 = seal(&mut table);
    (0..100).for_each(|key| add(&mut table, key));
    let few = seal(&mut table);
    assert!(all > 1500 && few < all / 10, "{few} slices for a hundred changes, {all} for all");
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

/// Nothing of the old encoding may be read under the new one, not even by who holds no entries.
#[test]
fn a_table_that_is_to_be_rewritten_seals_a_base_once_even_if_it_is_empty() {
    let groups = KeyGroups::new(4).unwrap();
    let mut table = KeyedTable::<u32, u64, Bincode>::new(groups, 0..4);
    let mut kinds = Vec::new();
    table.rewrite();
    for _ in 0..2 {
        kinds.push(table.begin_seal());
        while table.seal_slice(100, |_, _| panic!("it is empty")).unwrap() == SealSlice::More {}
    }
    assert_eq!(kinds, [SegmentKind::Base, SegmentKind::Delta]);
}

/// A job without checkpoints never seals, so whatever it removed would stay for ever.
#[test]
fn regression_what_comes_and_goes_in_one_epoch_leaves_nothing() {
    let mut table = table(4);
    let add = |table: &mut Table, key: u32| {
        table.update(stable_hash(&key), key, || 0, |_, n| *n += 1);
    };
    (0..50).for_each(|key| add(&mut table, key));
    table.begin_seal();
    table.seal_slice(usize::MAX, |_, _| {}).unwrap();
    let before = table.memory_bytes();
    for key in 50..50_000 {
        add(&mut table, key);
        add(&mut table, key);
        assert_eq!(table.remove(stable_hash(&key), key), Some(2));
    }
    assert_eq!((table.len(), table.changes.dead, table.changes.count), (50, 0, 0));
    assert!(table.memory_bytes() <= before * 2, "{} of {before}", table.memory_bytes());
    // One that a segment has leaves a tombstone, also when it has come again meanwhile.
    table.remove(stable_hash(&7), 7);
    add(&mut table, 7);
    table.remove(stable_hash(&7), 7);
    assert_eq!(table.changes.dead, 1);
    assert_eq!(table.begin_seal(), SegmentKind::Delta);
    let mut entries = Vec::new();
    table.seal_slice(usize::MAX, |_, block| entries.extend(decode(&block))).unwrap();
    assert_eq!(entries, [(7, None)]);
    assert_eq!(table.changes.dead, 0);
}
