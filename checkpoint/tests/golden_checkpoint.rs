//! Proves that a whole checkpoint of this version is read: by a program with its types, by one that
//! migrates, and by no program at all.
//!
//! `golden/checkpoint-v1` is a job's folder as this version writes it: a source, a sink, keyed state
//! in bincode (a base, and a delta with tombstones over it) and in MessagePack. It was written once
//! and never changes; another version of the format gets a folder of its own. To write one, remove
//! the folder, run `it_is_written_only_when_asked` with `WRITE_GOLDEN_CHECKPOINT=1`, and look at what
//! it wrote before it is committed. Nothing is written over.

// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use highwater_checkpoint::dataflow::CheckpointScope;
use highwater_checkpoint::metadata::{
    CheckpointId, CheckpointMetadata, FORMAT_VERSION, Generation, OperatorStateMetadata, Origin,
    SegmentKind, SegmentMetadata, SplitMetadata, StateSchema,
};
use highwater_checkpoint::run::{Run, RunOptions};
use highwater_checkpoint::schema::Evolution;
use highwater_checkpoint::segment::{SegmentHeader, SegmentWriter, verify};
use highwater_checkpoint::state::{
    Bincode, Codec, KeyGroups, KeyedTable, MessagePack, SealSlice, stable_hash,
};
use highwater_checkpoint::store::layout::{self, SegmentMaker, SegmentName};
use highwater_checkpoint::{Epoch, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const JOB: &str = "golden";
const GROUPS: u16 = 16;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Status {
    New,
    Paid { cents: i64, by: Option<String> },
    Sent(u32, String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    number: u64,
    status: Status,
    lines: Vec<(String, u16)>,
    tags: BTreeMap<String, bool>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Profile {
    visits: u64,
    last: Option<i64>,
}

/// As a later program has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename = "Profile")]
struct LaterProfile {
    visits: u64,
    #[serde(default)]
    name: String,
}

fn order(number: u64) -> Order {
    let status = match number % 3 {
        0 => Status::New,
        1 => Status::Paid { cents: -5 * number as i64, by: Some("card".to_owned()) },
        _ => Status::Sent(number as u32, "caf\u{e9}".to_owned()),
    };
    let lines = (0..number % 4).map(|n| (format!("item {n}"), n as u16)).collect();
    Order {
        number,
        status,
        lines,
        tags: BTreeMap::from([("gift".to_owned(), number.is_multiple_of(2))]),
    }
}

fn profile(number: u64) -> Profile {
    Profile { visits: number * number, last: number.is_multiple_of(2).then_some(-(number as i64)) }
}

/// What the base has of orders, and what is left of that after the delta.
fn orders() -> (BTreeMap<String, Order>, BTreeMap<String, Order>) {
    let base: BTreeMap<_, _> = (0..40).map(|n| (format!("order {n}"), order(n))).collect();
    let mut after = base.clone();
    (0..5).for_each(|n| drop(after.remove(&format!("order {n}"))));
    after.extend((37..45).map(|n| (format!("order {n}"), order(n + 100))));
    (base, after)
}

fn profiles() -> BTreeMap<(u32, char), Profile> {
    (0..30u32).map(|n| ((n, 'p'), profile(n.into()))).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/checkpoint-v1")
}

fn groups() -> KeyGroups {
    KeyGroups::new(GROUPS).unwrap()
}

/// Cuts what has changed in `table` into a segment below `root`.
fn cut<K, V, C>(
    root: &Path,
    uid: &str,
    epoch: u64,
    table: &mut KeyedTable<K, V, C>,
) -> SegmentMetadata
where
    K: Eq + Hash,
    C: Codec<K> + Codec<V>,
{
    let kind = table.begin_seal();
    let header = SegmentHeader {
        job: JOB.to_owned(),
        uid: uid.to_owned(),
        kind,
        generation: Generation(1),
        worker: 0,
        epoch: Epoch(epoch),
        key_groups: GROUPS,
        first_group: 0,
        last_group: GROUPS - 1,
    };
    let name = SegmentName {
        uid: uid.to_owned(),
        generation: Generation(1),
        epoch: Epoch(epoch),
        maker: SegmentMaker::Worker { worker: 0, kind },
    };
    let mut writer = SegmentWriter::new(header);
    while table.seal_slice(100, |group, block| writer.block(group, &block)).unwrap()
        != SealSlice::Done
    {}
    let (bytes, summary) = writer.finish();
    put(&root.join(JOB).join(name.to_string()), &bytes);
    summary.metadata(name.to_string())
}

fn put(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn set<K: Eq + Hash + Clone, V: Clone, C: Codec<K> + Codec<V>>(
    table: &mut KeyedTable<K, V, C>,
    entries: &BTreeMap<K, V>,
) {
    for (key, value) in entries {
        let set = |_: &K, kept: &mut V| *kept = value.clone();
        table.update(stable_hash(key), key.clone(), || value.clone(), set);
    }
}

fn write(root: &Path) {
    let evolution = Evolution::new();
    let (base, after) = orders();
    let mut table = KeyedTable::<String, Order, Bincode>::new(groups(), 0..GROUPS);
    set(&mut table, &base);
    let mut segments = vec![cut(root, "orders", 1, &mut table)];
    base.keys().filter(|key| !after.contains_key(*key)).for_each(|key| {
        table.remove(stable_hash(key), key.clone());
    });
    set(
        &mut table,
        &after.into_iter().filter(|(key, order)| base.get(key) != Some(order)).collect(),
    );
    segments.push(cut(root, "orders", 2, &mut table));
    assert_eq!(segments[1].kind, SegmentKind::Delta);
    let keyed = OperatorStateMetadata {
        uid: "orders".to_owned(),
        schema: StateSchema::keyed::<String, Order, Bincode>(&evolution),
        segments,
        ..OperatorStateMetadata::default()
    };
    let mut table = KeyedTable::<(u32, char), Profile, MessagePack>::new(groups(), 0..GROUPS);
    set(&mut table, &profiles());
    let named = OperatorStateMetadata {
        uid: "profiles".to_owned(),
        schema: StateSchema::keyed::<(u32, char), Profile, MessagePack>(&evolution),
        segments: vec![cut(root, "profiles", 2, &mut table)],
        ..OperatorStateMetadata::default()
    };
    let source = OperatorStateMetadata {
        uid: "clicks".to_owned(),
        schema: StateSchema::source::<String, u64>(),
        splits: vec![SplitMetadata {
            id: "part 0".to_owned(),
            split: json!("part 0"),
            offset: Some(json!(4711)),
            finished: false,
            watermark: None,
        }],
        ..OperatorStateMetadata::default()
    };
    let sink = OperatorStateMetadata {
        uid: "out".to_owned(),
        schema: StateSchema::sink::<String>(),
        committables: vec![json!("part-2-0")],
        ..OperatorStateMetadata::default()
    };
    let operators = vec![source, keyed, named, sink];
    let bytes = operators.iter().flat_map(|state| &state.segments).map(|s| s.bytes).sum();
    let metadata = CheckpointMetadata {
        format: FORMAT_VERSION,
        job: JOB.to_owned(),
        id: CheckpointId(2),
        epoch: Epoch(2),
        generation: Generation(1),
        origin: Origin::Interval,
        input_ended: false,
        workers: 1,
        key_groups: GROUPS,
        started_ms: 1_700_000_000_000,
        completed_ms: 1_700_000_000_120,
        duration_ms: 120,
        bytes_written: bytes,
        bytes_folded: 0,
        bytes_total: bytes,
        operators,
        crc32: 0,
    };
    put(&root.join(JOB).join(layout::checkpoint(CheckpointId(2))), &metadata.to_bytes());
}

#[test]
fn it_is_written_only_when_asked() {
    if std::env::var_os("WRITE_GOLDEN_CHECKPOINT").is_some() {
        let folder = folder();
        assert!(!folder.exists(), "{} is there; nothing is written over", folder.display());
        write(&folder);
    }
    assert_eq!(FORMAT_VERSION, 1, "a new version needs golden files of its own");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Restores a copy of the checkpoint on `workers` workers, and gives what `load` finds on each.
fn restored<T, F>(workers: usize, load: F) -> std::result::Result<Vec<T>, Error>
where
    T: Send + 'static,
    F: Fn(&CheckpointScope<'_, u64>) -> T + Send + Sync + 'static,
{
    let directory = tempfile::tempdir().unwrap();
    copy(&folder(), directory.path());
    let path = directory.path().to_str().expect("temporary folders have plain names");
    let options = RunOptions { workers, key_groups: groups(), ..RunOptions::new(JOB, path)? };
    let run = Run::open(options)?;
    let found = Arc::new(Mutex::new(Vec::new()));
    let (shared, all) = (Arc::clone(&run), Arc::clone(&found));
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        shared.dataflow::<u64>(worker, |checkpoints| {
            all.lock().unwrap().push(load(checkpoints));
            // All that was wanted: the error of a load comes first.
            Err(Error::invalid("enough"))
        });
    });
    guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
    Ok(std::mem::take(&mut *found.lock().unwrap()))
}

fn entries<K, V, C>(table: &KeyedTable<K, V, C>) -> Vec<(K, V)>
where
    K: Eq + Hash + Clone,
    V: Clone,
    C: Codec<K> + Codec<V>,
{
    table.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[test]
fn the_types_that_it_was_written_with_are_read_by_any_number_of_workers() {
    for workers in [1, 3] {
        let found = restored(workers, |checkpoints| {
            let start = checkpoints.run().start();
            assert_eq!((start.epoch, start.operators.len()), (Epoch(2), 4));
            let split = &start.operators[0].splits[0];
            assert_eq!((&split.id[..], &split.offset), ("part 0", &Some(json!(4711))));
            assert_eq!(start.operators[3].committables, [json!("part-2-0")]);
            let orders = checkpoints.load::<String, Order, Bincode>("orders");
            let profiles = checkpoints.load::<(u32, char), Profile, MessagePack>("profiles");
            (entries(&orders), entries(&profiles))
        });
        let (found_orders, found_profiles): (Vec<_>, Vec<_>) = found.unwrap().into_iter().unzip();
        let found_orders: BTreeMap<_, _> = found_orders.into_iter().flatten().collect();
        let found_profiles: BTreeMap<_, _> = found_profiles.into_iter().flatten().collect();
        assert_eq!((found_orders, found_profiles), (orders().1, profiles()));
    }
}

#[test]
fn later_types_are_read_through_a_migration_or_by_name() {
    let found = restored(1, |checkpoints| {
        let evolution = Evolution::new().schema_version(2);
        let evolution = evolution.migrate_from(1, |order: Order| Ok(order.number.to_string()));
        let orders = checkpoints.load_evolved::<String, String, MessagePack>("orders", &evolution);
        let profiles = checkpoints.load::<(u32, char), LaterProfile, MessagePack>("profiles");
        (entries(&orders), entries(&profiles))
    });
    let (found_orders, found_profiles) = found.unwrap().pop().unwrap();
    let expected: BTreeMap<_, _> =
        orders().1.into_iter().map(|(key, order)| (key, order.number.to_string())).collect();
    assert_eq!(found_orders.into_iter().collect::<BTreeMap<_, _>>(), expected);
    let later = |old: Profile| LaterProfile { visits: old.visits, name: String::new() };
    let expected: BTreeMap<_, _> =
        profiles().into_iter().map(|(key, old)| (key, later(old))).collect();
    assert_eq!(found_profiles.into_iter().collect::<BTreeMap<_, _>>(), expected);
}

/// As `state dump` does it: newer segments win, a tombstone removes.
fn dumped(state: &OperatorStateMetadata) -> Result<BTreeMap<String, Value>> {
    let mut dumped = BTreeMap::new();
    for segment in &state.segments {
        let object = std::fs::read(folder().join(JOB).join(&segment.object)).unwrap();
        let index = verify(&segment.object, &object)?;
        for run in index.blocks_of(0..=GROUPS - 1, 1 << 20) {
            let range = run.bytes();
            let bytes = &object[range.start as usize..range.end as usize];
            for block in run.decode(&segment.object, bytes) {
                for (key, value) in block?.1.iter() {
                    let key = state.schema.key_to_json(key)?.to_string();
                    match value {
                        Some(value) => {
                            dumped.insert(key, state.schema.value_to_json(value)?);
                        }
                        None => drop(dumped.remove(&key)),
                    }
                }
            }
        }
    }
    Ok(dumped)
}

#[test]
fn it_is_read_without_any_type() {
    let name = layout::checkpoint(CheckpointId(2));
    let bytes = std::fs::read(folder().join(JOB).join(&name)).unwrap();
    let metadata = CheckpointMetadata::from_bytes(&name, &bytes).unwrap();
    let expected: BTreeMap<_, _> =
        orders().1.iter().map(|(key, order)| (json!(key).to_string(), json!(order))).collect();
    assert_eq!(dumped(&metadata.operators[1]).unwrap(), expected);
    let expected: BTreeMap<_, _> =
        profiles().iter().map(|(key, value)| (json!(key).to_string(), json!(value))).collect();
    assert_eq!(dumped(&metadata.operators[2]).unwrap(), expected);
    let kinds: Vec<_> = metadata.operators[1].segments.iter().map(|s| s.kind).collect();
    assert_eq!(kinds, [SegmentKind::Base, SegmentKind::Delta]);
}
