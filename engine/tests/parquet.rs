//! `highwater state dump --format parquet` writes what `--format jsonl` says, in columns that have the
//! types of the state.
//!
//! Method: a job leaves a checkpoint with state of many shapes; the command dumps it twice, and the
//! reader of the `parquet` crate reads the one back to be compared with the other, row by row. What
//! is in the state is compared with the function that made it.

#![allow(clippy::unwrap_used)] // a panic is the report

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use highwater::checkpoint::state::MessagePack;
use highwater::prelude::*;
use highwater::testing::{CollectSink, VecSource};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row, RowAccessor};
use parquet::schema::printer::print_schema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};
use tempfile::TempDir;

const RECORDS: u64 = 300;

#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Key {
    region: String,
    number: Option<u32>,
    pair: (i64, bool),
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Record {
    count: u64,
    tiny: i8,
    small: u16,
    big: u128,
    ratio: f64,
    rough: f32,
    letter: char,
    name: Option<String>,
    last: Option<Point>,
    tags: Vec<String>,
    nested: Vec<Vec<Option<u16>>>,
    code: [u8; 6],
    by_name: BTreeMap<String, u64>,
    by_number: BTreeMap<i32, Vec<Point>>,
    by_pair: BTreeMap<(u8, bool), u8>,
    kind: Kind,
    event: Event,
    maybe: Option<Event>,
    nothing: (),
    tree: Tree,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Point {
    x: i32,
    y: Option<f64>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
enum Kind {
    #[default]
    Slow,
    Fast,
}

#[derive(Clone, Default, Serialize, Deserialize)]
enum Event {
    #[default]
    Gone,
    Seen(u64),
    Moved {
        to: Point,
    },
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Tree {
    leaf: u8,
    below: Vec<Tree>,
}

fn key(n: u64) -> Key {
    let number = (!n.is_multiple_of(3)).then_some(n as u32 % 40);
    Key {
        region: format!("region \"{}\"", n % 7),
        number,
        pair: (-(n as i64), n.is_multiple_of(2)),
    }
}

/// Lists that are empty, of one and of several; options that are there and not, in each other.
fn record(n: u64) -> Record {
    let some = |every: u64| n.is_multiple_of(every);
    let point = |x: u64| Point { x: -(x as i32), y: some(2).then_some(x as f64 / 3.0) };
    let event = |n: u64| match n % 3 {
        0 => Event::Gone,
        1 => Event::Seen(n),
        _ => Event::Moved { to: point(n) },
    };
    let leaf = |leaf: u64| Tree { leaf: leaf as u8, below: Vec::new() };
    Record {
        count: u64::MAX - n,
        tiny: -(n as i8 & 0x7f),
        small: u16::MAX - n as u16,
        big: u128::MAX - u128::from(n),
        ratio: if some(50) { f64::NAN } else { n as f64 * 1.1 },
        rough: n as f32 * 0.1,
        letter: char::from_u32(0x3b1 + n as u32 % 24).unwrap(),
        name: some(4).then(|| format!("name {n}")),
        last: some(5).then(|| point(n)),
        tags: (0..n % 4).map(|tag| format!("tag {tag}")).collect(),
        nested: (0..n % 3)
            .map(|row| (0..(n + row) % 3).map(|at| some(at + 1).then_some(at as u16)).collect())
            .collect(),
        code: [n as u8; 6],
        by_name: (0..n % 3).map(|at| (format!("key {at}"), at + n)).collect(),
        by_number: (0..n % 3).map(|at| (at as i32 - 1, (0..at).map(&point).collect())).collect(),
        by_pair: (0..n % 2).map(|at| ((at as u8, true), 7)).collect(),
        kind: if some(2) { Kind::Fast } else { Kind::Slow },
        event: event(n),
        maybe: some(2).then(|| event(n)),
        nothing: (),
        tree: Tree { leaf: 1, below: (0..n % 3).map(leaf).collect() },
    }
}

/// Numbers, some of which are written as something else.
#[derive(Clone, Default)]
struct Odd(u64);

fn is_odd(n: u64) -> bool {
    n % 50 == 13
}

impl Serialize for Odd {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        // In bincode it is too short, in MessagePack of another type.
        if is_odd(self.0) { to.serialize_char('?') } else { to.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Odd, D::Error> {
        u64::deserialize(from).map(Odd)
    }
}

const LARGE: u64 = 40;

fn large(n: u64) -> String {
    char::from(b'a' + n as u8 % 26).to_string().repeat(1 << 20)
}

/// A directory with a checkpoint of operators `record`, `empty`, `odd`, `strange` and `large`.
fn checkpoint() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    Job::new("shapes")
        .quiet()
        .workers(2)
        .checkpoint_dir(dir.path().to_str().unwrap())
        .run(|flow| {
            let numbers = flow.source("numbers", VecSource::new((0..RECORDS).collect::<Vec<_>>()));
            let below = |limit: u64| numbers.clone().filter(move |n| *n < limit);
            let pairs = |limit| below(limit).map(|n| (n, n));
            let records = |limit| below(limit).map(|n| (key(n), n));
            let set = |state: &mut Record, n| *state = record(n);
            let odd = |state: &mut Odd, n| *state = Odd(n);
            let record = records(u64::MAX).keyed().emit(Emit::AtEnd);
            record.fold("record", Record::default(), set).for_each(drop);
            records(0).keyed().fold("empty", Record::default(), set).for_each(drop);
            pairs(u64::MAX).keyed().fold("odd", Odd::default(), odd).for_each(drop);
            let strange = pairs(u64::MAX).keyed().codec(MessagePack);
            strange.fold("strange", Odd::default(), odd).for_each(drop);
            let set = |state: &mut String, n| *state = large(n);
            let large = pairs(LARGE).keyed().emit(Emit::AtEnd);
            large.fold("large", String::new(), set).for_each(drop);
            numbers.sink("out", CollectSink::<u64>::new());
        })
        .unwrap();
    dir
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

fn dump(dir: &Path, operator: &str, format: &str, to: &Path) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    command.args(["state", "dump", "--operator", operator, "--format", format, "--output"]);
    let output = command.arg(to).arg(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    Said { code, out: text(output.stdout), err: text(output.stderr) }
}

/// The rows of `operator` by both formats, and what was said of the Parquet file, which is at `path`.
fn dump_both(dir: &Path, operator: &str) -> (Vec<Value>, PathBuf, Said) {
    let (lines, path) = (dir.join("dump.jsonl"), dir.join(format!("{operator}.parquet")));
    let said = dump(dir, operator, "jsonl", &lines);
    assert!(said.code < 2, "{}", said.err);
    let lines = std::fs::read_to_string(lines).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said = dump(dir, operator, "parquet", &path);
    (lines, path, said)
}

fn open(path: &Path) -> SerializedFileReader<File> {
    SerializedFileReader::new(File::open(path).unwrap()).unwrap()
}

fn rows(path: &Path) -> Vec<Row> {
    open(path).get_row_iter(None).unwrap().map(Result::unwrap).collect()
}

fn schema(path: &Path) -> String {
    let mut text = Vec::new();
    print_schema(&mut text, open(path).metadata().file_metadata().schema());
    String::from_utf8(text).unwrap()
}

/// Whether a field holds what is said in JSON.
#[track_caller]
fn check(field: &Field, json: &Value, place: &str) {
    let of_group = |row: &Row, place: &str| {
        for (at, (name, field)) in row.get_column_iter().enumerate() {
            // A tuple is an array in JSON.
            let json = json.get(name).or_else(|| json.get(at)).unwrap_or(&Value::Null);
            check(field, json, &format!("{place}.{name}"));
        }
    };
    let found = match field {
        Field::Null => Value::Null,
        Field::Bool(value) => json!(value),
        Field::Byte(value) => json!(value),
        Field::Int(value) => json!(value),
        Field::Long(value) => json!(value),
        Field::UByte(value) => json!(value),
        Field::UShort(value) => json!(value),
        Field::UInt(value) => json!(value),
        Field::ULong(value) => json!(value),
        Field::Float(value) => json!(value),
        Field::Double(value) => json!(value),
        Field::Str(text) if json.as_str() == Some(text) => return,
        Field::Str(text) => serde_json::from_str(text).unwrap(),
        Field::Group(row) => return of_group(row, place),
        Field::ListInternal(list) => {
            assert_eq!(list.elements().len(), json.as_array().unwrap().len(), "{place}");
            for (at, field) in list.elements().iter().enumerate() {
                check(field, &json[at], &format!("{place}[{at}]"));
            }
            return;
        }
        Field::MapInternal(map) => {
            assert_eq!(map.entries().len(), json.as_object().unwrap().len(), "{place}");
            for (key, field) in map.entries() {
                let key = key.to_string();
                let key = key.trim_matches('"');
                check(field, &json[key], &format!("{place}[{key}]"));
            }
            return;
        }
        other => panic!("{place} is a {other:?}"),
    };
    assert_eq!(found, *json, "{place}");
}

#[track_caller]
fn check_rows(path: &Path, lines: &[Value]) {
    let rows = rows(path);
    assert_eq!(rows.len(), lines.len());
    for (row, line) in rows.into_iter().zip(lines) {
        check(&Field::Group(row), line, &line["key"].to_string());
    }
}

#[test]
fn a_file_holds_what_the_lines_say() {
    let dir = checkpoint();
    let dir = dir.path();
    shapes(dir);
    nothing(dir);
    left_out(dir);
    row_groups(dir);
    sources_and_sinks(dir);
    let left = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().contains("partial")).collect();
    assert!(left.is_empty(), "{left:?}");
}

fn shapes(dir: &Path) {
    let (lines, path, said) = dump_both(dir, "record");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let bytes = std::fs::metadata(&path).unwrap().len();
    assert!(said.out.starts_with("300 entries, ") && said.out.contains(" in "), "{}", said.out);
    assert!(said.out.trim_end().ends_with("record.parquet") && bytes > 1000, "{}", said.out);
    let keys: BTreeSet<_> = lines.iter().map(|line| line["key"].to_string()).collect();
    let meant = (0..RECORDS).map(|n| serde_json::to_value(key(n)).unwrap().to_string());
    assert_eq!(keys, meant.collect());
    check_rows(&path, &lines);

    let schema = schema(&path);
    for column in [
        "REQUIRED INT32 group (INTEGER(16,false))",
        "REQUIRED BYTE_ARRAY region (STRING)",
        "OPTIONAL INT32 number (INTEGER(32,false))",
        "REQUIRED group pair {",
        "REQUIRED BOOLEAN 1;",
        "REQUIRED INT64 count (INTEGER(64,false))",
        "REQUIRED INT32 tiny (INTEGER(8,true))",
        "REQUIRED BYTE_ARRAY big (STRING)",
        "OPTIONAL DOUBLE ratio;",
        "OPTIONAL FLOAT rough;",
        "OPTIONAL group last {",
        "REQUIRED group nested (LIST)",
        "REQUIRED group element (LIST)",
        "OPTIONAL INT32 element (INTEGER(16,false))",
        "REQUIRED group by_number (MAP)",
        "REQUIRED INT32 key (INTEGER(32,true))",
        "REQUIRED BYTE_ARRAY by_pair (JSON)",
        "REQUIRED BYTE_ARRAY kind (STRING)",
        "REQUIRED BYTE_ARRAY event (JSON)",
        "OPTIONAL BYTE_ARRAY maybe (JSON)",
        "REQUIRED BYTE_ARRAY element (JSON)",
    ] {
        assert!(schema.contains(column), "no {column:?} in {schema}");
    }
    // Numbers are not only the same when both are read as JSON.
    let rows = rows(&path);
    let value = rows[0].get_column_iter().find(|(name, _)| *name == "value").unwrap().1;
    let Field::Group(value) = value else { panic!("{value:?}") };
    let count = value.get_column_iter().find(|(name, _)| *name == "count").unwrap().1;
    assert!(matches!(count, Field::ULong(count) if *count > u64::MAX - RECORDS), "{count:?}");
    let about = open(&path).metadata().file_metadata().key_value_metadata().unwrap().clone();
    let operator = about.iter().find(|about| about.key == "highwater.operator").unwrap();
    assert_eq!(operator.value.as_deref(), Some("record"));
}

fn nothing(dir: &Path) {
    let (lines, path, said) = dump_both(dir, "empty");
    assert_eq!((said.code, lines.len(), rows(&path).len()), (0, 0, 0), "{}", said.err);
    assert!(said.out.starts_with("0 entries, "), "{}", said.out);
    let full = schema(&dir.join("record.parquet"));
    assert_eq!(schema(&path), full, "the schema is that of the types, not of the values");
}

fn left_out(dir: &Path) {
    let odd = (0..RECORDS).filter(|n| is_odd(*n)).count();
    for operator in ["odd", "strange"] {
        let says = format!("an entry among the values of {operator}, ");
        let (lines, path, said) = dump_both(dir, operator);
        assert_eq!(said.code, 1, "{operator}: {}", said.err);
        let numbers = |values: &[u64]| values.iter().copied().collect::<BTreeSet<_>>();
        let found: Vec<u64> = rows(&path).iter().map(|row| row.get_ulong(2).unwrap()).collect();
        let meant: Vec<u64> = (0..RECORDS).filter(|n| !is_odd(*n)).collect();
        assert_eq!(numbers(&found), numbers(&meant), "{operator}");
        let lines: Vec<_> = lines.into_iter().filter(|line| line["value"].is_u64()).collect();
        check_rows(&path, &lines);
        let named: Vec<_> =
            said.err.lines().filter(|line| line.starts_with("left out: ")).collect();
        assert_eq!(named.len(), odd, "{}", said.err);
        for line in named {
            assert!(
                line.starts_with("left out: key group ") && line.contains(", entry "),
                "{line}"
            );
            assert!(line.contains(&says), "{line}");
        }
        let end = format!("{odd} entries were left out, {} were not", RECORDS as usize - odd);
        assert!(said.err.trim_end().ends_with(&end), "{}", said.err);
    }
}

fn row_groups(dir: &Path) {
    let (lines, path, said) = dump_both(dir, "large");
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    check_rows(&path, &lines);
    assert_eq!(lines.len() as u64, LARGE);
    let groups = open(&path).metadata().num_row_groups();
    assert!(groups > 1, "40 MB are in {groups} row group");
    let size = std::fs::metadata(&path).unwrap().len();
    assert!(size < 8 << 20, "{size} bytes: it is compressed");
}

fn sources_and_sinks(dir: &Path) {
    for operator in ["numbers", "out"] {
        let (lines, path, said) = dump_both(dir, operator);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{operator}");
        let rows = rows(&path);
        assert_eq!(rows.len(), lines.len(), "{operator}");
        for (row, line) in rows.into_iter().zip(&lines) {
            let line =
                if operator == "out" { json!({ "committable": line }) } else { line.clone() };
            check(&Field::Group(row), &line, operator);
        }
    }
    let schema = schema(&dir.join("numbers.parquet"));
    assert!(schema.contains("REQUIRED BOOLEAN finished;"), "{schema}");
}

#[test]
fn a_file_is_asked_for_and_never_half_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    command.args(["state", "dump", "--operator", "count", "--format", "parquet"]).arg(dir.path());
    let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
    assert!(said.contains("say where with --output FILE"), "{said}");
    let file = dir.path().join("file.parquet");
    let said = dump(&dir.path().join("none"), "count", "parquet", &file);
    assert!(said.code == 2 && !file.exists(), "{}", said.err);
}
