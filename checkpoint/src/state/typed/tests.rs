//! All kinds of typed state against maps and vectors, over random operations, times, seals in
//! slices, and restores with other numbers of workers.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::metadata::SegmentKind;
use crate::state::{Bincode, Codec, KeyGroups, KeyedTable, SealSlice, Verified, stable_hash};

const GROUPS: u16 = 7;
const TTL_MS: u64 = 1000;

type Value = u64;
type Single<M> = KeyedTable<String, <M as Retention>::Stored<Value>, Bincode>;
type Many<M, E> = KeyedTable<Element<String, E>, <M as Retention>::Stored<Value>, Bincode>;

#[derive(Clone, Debug)]
enum Op {
    Get,
    Update,
    Set,
    Take,
    MapGet(u8),
    MapInsert(u8),
    MapUpdate(u8),
    MapRemove(u8),
    MapRange(u8, u8),
    MapRetain,
    MapClear,
    MapFirstLast,
    Push,
    ListAll,
    ListLen,
    ListPopFirst,
    ListRetain,
    ListClear,
}

#[derive(Clone, Debug)]
enum Step {
    Op(u8, Op),
    Pass(u64),
    Slices(usize),
    Sweep,
    Seal,
    Restart(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let op = prop_oneof![
        1 => Just(Op::Get),
        2 => Just(Op::Update),
        1 => Just(Op::Set),
        1 => Just(Op::Take),
        1 => (0u8..8).prop_map(Op::MapGet),
        2 => (0u8..8).prop_map(Op::MapInsert),
        1 => (0u8..8).prop_map(Op::MapUpdate),
        1 => (0u8..8).prop_map(Op::MapRemove),
        1 => (0u8..8, 0u8..8).prop_map(|(a, b)| Op::MapRange(a.min(b), a.max(b))),
        1 => Just(Op::MapRetain),
        1 => Just(Op::MapFirstLast),
        1 => Just(Op::MapClear),
        5 => Just(Op::Push),
        1 => Just(Op::ListAll),
        1 => Just(Op::ListLen),
        1 => Just(Op::ListPopFirst),
        1 => Just(Op::ListRetain),
        1 => Just(Op::ListClear),
    ];
    let step = prop_oneof![
        60 => (0u8..5, op).prop_map(|(key, op)| Step::Op(key, op)),
        8 => (0u64..400).prop_map(Step::Pass),
        4 => (1usize..20).prop_map(Step::Slices),
        2 => Just(Step::Sweep),
        4 => Just(Step::Seal),
        2 => (1usize..5).prop_map(Step::Restart),
    ];
    proptest::collection::vec(step, 0..250)
}

/// A value and when it was last used.
type Used = (Value, u64);

/// What the states should hold, in the simplest terms. Written without a look at `Ttl`.
#[derive(Clone, Default)]
struct Model {
    single: BTreeMap<u8, Used>,
    maps: BTreeMap<u8, BTreeMap<u8, Used>>,
    lists: BTreeMap<u8, Vec<Used>>,
}

/// Time to live, and whether reads count.
type Lives = Option<(u64, bool)>;

fn lives_on(lives: Lives, used: &Used, now: u64) -> bool {
    lives.is_none_or(|(ttl, _)| now < used.1 + ttl)
}

fn read(lives: Lives, used: &mut Used, now: u64) -> Value {
    if let Some((ttl, true)) = lives
        && now - used.1 > ttl / 16
    {
        used.1 = now;
    }
    used.0
}

impl Model {
    fn expire(&mut self, lives: Lives, now: u64) {
        self.single.retain(|_, used| lives_on(lives, used, now));
        self.maps.values_mut().for_each(|map| map.retain(|_, used| lives_on(lives, used, now)));
        self.lists.values_mut().for_each(|list| list.retain(|used| lives_on(lives, used, now)));
    }
}

/// What a store has of one state: encoded entries by group.
type Store = BTreeMap<u16, BTreeMap<Vec<u8>, Vec<u8>>>;

/// The three states on one worker.
struct Worker<M: Retention> {
    single: Single<M>,
    map: Many<M, u8>,
    map_index: Index<String, u8>,
    list: Many<M, Position>,
    list_index: Index<String, Position>,
    sweeps: [Sweep; 3],
}

fn key_groups() -> KeyGroups {
    KeyGroups::new(GROUPS).unwrap()
}

fn elements<E: std::hash::Hash + Ord + Persist, V: Persist>(
    owned: std::ops::Range<u16>,
) -> KeyedTable<Element<String, E>, V, Bincode> {
    KeyedTable::placed_by(key_groups(), owned, Element::table_hash)
}

fn restore<K, V>(store: &Store, mut table: KeyedTable<K, V, Bincode>) -> KeyedTable<K, V, Bincode>
where
    K: std::hash::Hash + Eq + Persist,
    V: Persist,
{
    for (group, entries) in store.range(table.owned_groups()) {
        for (key, value) in entries {
            let key: K = Bincode::decode(Verified::new(key)).unwrap();
            let hash = table.hash_of(&key);
            assert_eq!(key_groups().of_hash(hash), *group, "stored in the group of its key");
            table.restore(hash, key, Some(Bincode::decode(Verified::new(value)).unwrap()));
        }
    }
    table
}

/// Ends an epoch and writes it; returns how many entries that took.
fn seal<K, V>(table: &mut KeyedTable<K, V, Bincode>, store: &mut Store, slots: usize) -> usize
where
    K: std::hash::Hash + Eq + Persist,
    V: Persist,
{
    let kind = table.begin_seal();
    if kind == SegmentKind::Base {
        table.owned_groups().for_each(|group| drop(store.remove(&group)));
    }
    let mut written = 0;
    loop {
        let slice = table.seal_slice(slots, |group, block| {
            let entries = store.entry(group).or_default();
            for (key, value) in &block {
                written += 1;
                match value {
                    Some(value) => drop(entries.insert(key.to_vec(), value.to_vec())),
                    None => drop(entries.remove(key)),
                }
            }
        });
        if slice.unwrap() == SealSlice::Done {
            return written;
        }
    }
}

struct Harness<M: Retention> {
    retention: M,
    lives: Lives,
    now: u64,
    workers: Vec<Worker<M>>,
    stores: [Store; 3],
    model: Model,
    /// What the stores hold.
    sealed: Model,
    counter: u64,
    slots: usize,
}

impl<M: Retention> Harness<M> {
    fn new(retention: M, lives: Lives) -> Self {
        let mut harness = Harness {
            retention,
            lives,
            now: 1_000_000,
            workers: Vec::new(),
            stores: Default::default(),
            model: Model::default(),
            sealed: Model::default(),
            counter: 0,
            slots: usize::MAX,
        };
        harness.restart(2);
        harness
    }

    fn restart(&mut self, workers: usize) {
        let groups = (0..workers).map(|worker| key_groups().of_worker(worker, workers));
        let [single, map, list] = &self.stores;
        self.workers = groups
            .map(|owned| {
                let map = restore(map, elements(owned.clone()));
                let list = restore(list, elements(owned.clone()));
                Worker {
                    single: restore(single, KeyedTable::new(key_groups(), owned)),
                    map_index: Index::default(),
                    list_index: Index::default(),
                    map,
                    list,
                    sweeps: Default::default(),
                }
            })
            .collect();
        self.model = self.sealed.clone();
    }

    fn seal(&mut self) {
        for worker in &mut self.workers {
            seal(&mut worker.single, &mut self.stores[0], self.slots);
            seal(&mut worker.map, &mut self.stores[1], self.slots);
            seal(&mut worker.list, &mut self.stores[2], self.slots);
        }
        self.sealed = self.model.clone();
    }

    fn sweep(&mut self) {
        let (retention, now) = (self.retention, self.now);
        for Worker { single, map, map_index, list, list_index, sweeps } in &mut self.workers {
            sweeps[0].slice::<_, Value, M, _>(single, retention, now);
            map_index.forget(&sweeps[1].slice::<_, Value, M, _>(map, retention, now));
            list_index.forget(&sweeps[2].slice::<_, Value, M, _>(list, retention, now));
        }
    }

    fn op(&mut self, key: u8, op: &Op) {
        self.model.expire(self.lives, self.now);
        let (name, n) = (format!("key {key}"), key);
        let hash = stable_hash(&name);
        let at = At { key: &name, hash, now_ms: self.now };
        let owner = key_groups().worker_of(key_groups().of_hash(hash), self.workers.len());
        let worker = &mut self.workers[owner];
        self.counter += 1;
        let (new, now, lives) = (self.counter, self.now, self.lives);
        match *op {
            Op::Get | Op::Update | Op::Set | Op::Take => {
                let values = Values::<_, Value, _, _>::new(&mut worker.single, self.retention);
                let single = &mut self.model.single;
                match op {
                    Op::Get => {
                        let expected = single.get_mut(&n).map(|used| read(lives, used, now));
                        assert_eq!(values.get(at).copied(), expected);
                    }
                    Op::Update => {
                        let entry = single.entry(n).or_insert((100, now));
                        *entry = (entry.0 + new, now);
                        let sum = values.update(
                            at,
                            || 100,
                            |sum| {
                                *sum += new;
                                *sum
                            },
                        );
                        assert_eq!(sum, entry.0);
                    }
                    Op::Set => {
                        let old = single.insert(n, (new, now)).map(|used| used.0);
                        assert_eq!(values.set(at, new), old);
                    }
                    _ => assert_eq!(values.remove(at), single.remove(&n).map(|used| used.0)),
                }
            }
            _ => {
                let model = self.model.maps.entry(n).or_default();
                let list = self.model.lists.entry(n).or_default();
                let Worker { map, map_index, list: table, list_index, .. } = worker;
                let map = Elements::<_, _, Value, _, _>::new(map, map_index, self.retention);
                on_map(map, op, at, model, new, lives);
                let table = Elements::<_, _, Value, _, _>::new(table, list_index, self.retention);
                on_list(table, op, at, list, new, lives);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Op(key, op) => self.op(*key, op),
            Step::Pass(ms) => self.now += ms,
            Step::Slices(slots) => self.slots = *slots,
            Step::Sweep => self.sweep(),
            Step::Seal => self.seal(),
            Step::Restart(workers) => self.restart(*workers),
        }
    }
}

fn on_map<M: Retention>(
    mut map: Elements<'_, String, u8, Value, M, Bincode>,
    op: &Op,
    at: At<'_, String>,
    model: &mut BTreeMap<u8, Used>,
    new: Value,
    lives: Lives,
) {
    let now = at.now_ms;
    match *op {
        Op::MapGet(e) => {
            let expected = model.get_mut(&e).map(|used| read(lives, used, now));
            assert_eq!(map.get(at, &e).copied(), expected);
        }
        Op::MapInsert(e) => {
            let old = model.insert(e, (new, now)).map(|used| used.0);
            assert_eq!(map.insert(at, e, new), old);
        }
        Op::MapUpdate(e) => {
            let entry = model.entry(e).or_insert((7, now));
            *entry = (entry.0 * 3 + new, now);
            map.update(at, e, || 7, |value| *value = *value * 3 + new);
            assert_eq!(map.get(at, &e).copied(), Some(entry.0));
        }
        Op::MapRemove(e) => {
            assert_eq!(map.remove(at, &e), model.remove(&e).map(|used| used.0));
        }
        Op::MapRange(a, b) => {
            let expected: Vec<_> =
                model.range_mut(a..=b).map(|(e, used)| (*e, read(lives, used, now))).collect();
            let mut found = Vec::new();
            map.for_each(at, a..=b, |e, value| found.push((*e, *value)));
            assert_eq!(found, expected);
        }
        Op::MapRetain => {
            for used in model.values_mut() {
                read(lives, used, now);
            }
            model.retain(|e, used| (u64::from(*e) + used.0) % 3 > 0);
            map.retain(at, |e, value| (u64::from(*e) + value) % 3 > 0);
            assert_eq!(map.len(at), model.len());
        }
        Op::MapFirstLast => {
            assert_eq!(map.first(at).copied(), model.keys().next().copied());
            assert_eq!(map.last(at).copied(), model.keys().next_back().copied());
            assert_eq!(map.is_empty(at), model.is_empty());
        }
        Op::MapClear => {
            model.clear();
            map.clear(at);
            assert_eq!(map.len(at), 0);
        }
        _ => {}
    }
}

fn on_list<M: Retention>(
    mut list: Elements<'_, String, Position, Value, M, Bincode>,
    op: &Op,
    at: At<'_, String>,
    model: &mut Vec<Used>,
    new: Value,
    lives: Lives,
) {
    let now = at.now_ms;
    match op {
        Op::Push => {
            model.push((new, now));
            list.push(at, new);
        }
        Op::ListAll => {
            let expected: Vec<_> = model.iter_mut().map(|used| read(lives, used, now)).collect();
            let mut found = Vec::new();
            list.for_each(at, .., |_, value| found.push(*value));
            assert_eq!(found, expected);
        }
        Op::ListLen => assert_eq!(list.len(at), model.len()),
        Op::ListPopFirst => {
            let first = list.first(at).copied();
            let popped = first.and_then(|first| list.remove(at, &first));
            let expected = (!model.is_empty()).then(|| model.remove(0).0);
            assert_eq!(popped, expected);
        }
        Op::ListRetain => {
            for used in model.iter_mut() {
                read(lives, used, now);
            }
            model.retain(|used| used.0 % 4 > 0);
            list.retain(at, |_, value| value % 4 > 0);
        }
        Op::ListClear => {
            model.clear();
            list.clear(at);
        }
        _ => {}
    }
}

fn run<M: Retention>(retention: M, lives: Lives, steps: &[Step]) {
    let mut harness = Harness::new(retention, lives);
    for step in steps {
        harness.step(step);
    }
    // And all that is left, as three workers have it that restore the end.
    harness.seal();
    harness.restart(3);
    for key in 0..5 {
        for op in [Op::Get, Op::MapRange(0, 255), Op::ListAll] {
            harness.op(key, &op);
        }
    }
}

proptest! {
    #[test]
    fn typed_state_is_what_maps_and_vectors_are(steps in steps()) {
        run(Forever, None, &steps);
        let ttl = Duration::from_millis(TTL_MS);
        run(Ttl::on_write(ttl), Some((TTL_MS, false)), &steps);
        run(Ttl::on_read_and_write(ttl), Some((TTL_MS, true)), &steps);
    }
}

fn at(key: &String, now_ms: u64) -> At<'_, String> {
    At { key, hash: stable_hash(key), now_ms }
}

fn empty<K: std::hash::Hash + Eq + Persist, V: Persist>() -> KeyedTable<K, V, Bincode> {
    KeyedTable::new(key_groups(), 0..GROUPS)
}

#[test]
fn one_element_more_in_a_list_of_ten_thousand_is_one_entry_more() {
    let (key, mut store) = ("a".to_owned(), Store::new());
    let mut table: Many<Forever, Position> = elements(0..GROUPS);
    let mut index = Index::default();
    for n in 0..10_000 {
        Elements::new(&mut table, &mut index, Forever).push(at(&key, 0), n);
    }
    assert_eq!(seal(&mut table, &mut store, 100), 10_000);
    Elements::new(&mut table, &mut index, Forever).push(at(&key, 0), 1);
    assert_eq!(seal(&mut table, &mut store, 100), 1);
    let popped = Elements::new(&mut table, &mut index, Forever).remove(at(&key, 0), &Position(0));
    assert_eq!(popped, Some(0));
    assert_eq!(seal(&mut table, &mut store, 100), 1);
    assert_eq!(store.values().map(BTreeMap::len).sum::<usize>(), 10_000);
}

#[test]
fn what_has_expired_is_removed_from_memory_and_from_the_store() {
    const MINUTE: u64 = 60_000;
    let (ttl, mut store) = (Ttl::on_write(Duration::from_millis(MINUTE)), Store::new());
    let mut table: Single<Ttl> = empty();
    let keys: Vec<String> = (0..20_000).map(|n| format!("key {n}")).collect();
    for key in &keys {
        Values::new(&mut table, ttl).update(at(key, 0), || 0, |n| *n += 1);
    }
    // Every fourth is written again.
    for key in keys.iter().step_by(4) {
        Values::new(&mut table, ttl).update(at(key, MINUTE / 2), || 0, |n| *n += 1);
    }
    seal(&mut table, &mut store, usize::MAX);
    let (mut sweep, mut slices) = (Sweep::default(), 0);
    for now_ms in MINUTE..MINUTE + MINUTE / 2 {
        slices += usize::from(sweep.next_ms::<_, Value, _, _>(&table, ttl) <= Some(now_ms));
        sweep.slice::<_, Value, _, _>(&mut table, ttl, now_ms);
    }
    assert!((3..100).contains(&slices), "in slices, of which there were {slices}");
    assert_eq!(table.len(), 5_000, "expired entries are removed, live ones are not");
    seal(&mut table, &mut store, usize::MAX);
    assert_eq!(store.values().map(BTreeMap::len).sum::<usize>(), 5_000, "in the store as well");
}

#[test]
fn another_duration_takes_effect_on_old_entries() {
    let (key, mut table): (_, Single<Ttl>) = ("a".to_owned(), empty());
    let [short, long] = [10, 1000].map(|ms| Ttl::on_write(Duration::from_millis(ms)));
    Values::new(&mut table, short).update(at(&key, 0), || 5, |_| {});
    assert_eq!(Values::<_, Value, _, _>::new(&mut table, short).get(at(&key, 10)), None);
    assert_eq!(Values::<_, Value, _, _>::new(&mut table, long).get(at(&key, 10)), Some(&5));
    // A clock that was set back does not make it older.
    Values::new(&mut table, short).update(at(&key, 500), || 5, |_| {});
    assert_eq!(Values::<_, Value, _, _>::new(&mut table, short).get(at(&key, 3)), Some(&5));
}

/// Otherwise every read would go into the next delta.
#[test]
fn reads_soon_after_a_use_are_not_written() {
    let ttl = Ttl::on_read_and_write(Duration::from_millis(TTL_MS));
    let (key, mut store, mut table): (_, _, Single<Ttl>) = ("a".to_owned(), Store::new(), empty());
    for key in ["a", "b", "c"].map(String::from) {
        Values::new(&mut table, ttl).update(at(&key, 0), || 5, |_| {});
    }
    seal(&mut table, &mut store, usize::MAX);
    for (now_ms, written) in [(TTL_MS / 16, 0), (TTL_MS / 16 + 1, 1), (TTL_MS / 8, 0)] {
        Values::<_, Value, _, _>::new(&mut table, ttl).get(at(&key, now_ms)).unwrap();
        assert_eq!(seal(&mut table, &mut store, usize::MAX), written, "at {now_ms}");
    }
}
