//! The `highwater` command, run as its users run it, on directories that small jobs have made.

#![expect(clippy::disallowed_methods, reason = "waits for a job that runs in a thread of its own")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use highwater::Summary;
use highwater::prelude::*;
use highwater::testing::{CollectSink, VecSource};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::trickle::Trickle;

const WORDS: u64 = 3_000;

fn word(at: u64) -> String {
    format!("word {}", at * at % 257)
}

/// [`WORDS`] words, a few a millisecond.
fn words() -> Trickle<String> {
    Trickle::new(VecSource::new((0..WORDS).map(word).collect::<Vec<_>>()), 16)
}

/// Counts the words, up to the end or to the record `stop_at`.
fn count(dir: &Path, name: &str, workers: usize, stop_at: u64) -> Summary {
    count_by(dir, name, workers, stop_at, String::clone)
}

/// As [`count`], by what `key` makes of a word.
fn count_by<K>(
    dir: &Path,
    name: &str,
    workers: usize,
    stop_at: u64,
    key: fn(&String) -> K,
) -> Summary
where
    K: std::hash::Hash + Eq + Clone + Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let read = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    Job::new(name)
        .quiet()
        .workers(workers)
        .retain(8)
        .checkpoint_dir(dir.to_str().unwrap())
        .checkpoint_interval(Duration::from_millis(20))
        .execute(move |flow| {
            let run = std::sync::Arc::clone(flow.checkpoints().run());
            let read = std::sync::Arc::clone(&read);
            flow.source("words", words())
                .inspect(move |_| {
                    if read.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1 == stop_at {
                        run.control().request_stop();
                    }
                })
                .key_by(key)
                .emit(Emit::AtEnd)
                .count("count")
                .sink("counts", CollectSink::<(K, u64)>::new());
        })
        .unwrap()
}

/// A directory of a job that was stopped half-way and then came to its end.
fn counted() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    count(dir.path(), "wordcount", 2, WORDS / 2);
    count(dir.path(), "wordcount", 3, u64::MAX);
    // A copy: the runs' sweeps go on in this process, and delete what no checkpoint names.
    let copy = tempfile::tempdir().unwrap();
    for (path, bytes) in files(dir.path()) {
        let path = copy.path().join(path.strip_prefix(dir.path()).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    copy
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        assert!(self.err.is_empty(), "{}", self.err);
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// Runs `highwater` with the words of `command`, `DIR` among them standing for `dir`.
fn highwater(command: &str, dir: &Path) -> Said {
    let dir = dir.to_str().unwrap();
    let args = command.split(' ').map(|word| word.replace("DIR", dir));
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    let output = command.args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap();
    Said { code, out: text(output.stdout), err: text(output.stderr) }
}

/// All files below `dir`, with what they hold; without those that are deleted meanwhile.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(bytes) = fs::read(&path) {
                found.insert(path, bytes);
            }
        }
    }
    found
}

fn ids(dir: &Path) -> Vec<u64> {
    let listed = highwater("checkpoints list DIR --json", dir).json();
    listed.as_array().unwrap().iter().map(|row| row["id"].as_u64().unwrap()).collect()
}

#[test]
fn list_and_show_say_what_the_metadata_says() {
    let dir = counted();
    let listed = highwater("checkpoints list DIR --json", dir.path()).json();
    let listed = listed.as_array().unwrap();
    let newest = listed.last().unwrap();
    assert!(listed.len() > 1);
    assert_eq!((&newest["job"], &newest["workers"]), (&"wordcount".into(), &3.into()));
    assert_eq!((&newest["origin"], &newest["input_ended"]), (&"end_of_input".into(), &true.into()));
    let table = highwater("checkpoints list DIR", dir.path());
    assert_eq!(table.out.lines().count(), listed.len() + 1, "{}", table.out);
    let last = table.out.lines().last().unwrap();
    for says in
        [&newest["id"].to_string(), "end of input", newest["completed_at"].as_str().unwrap()]
    {
        assert!(last.contains(says), "{says}: {last}");
    }
    assert!(!table.out.contains('\x1b'), "no colour but in a terminal");

    let shown = highwater("checkpoints show DIR --json --digest", dir.path()).json();
    let path =
        format!("wordcount/checkpoints/{:010}/metadata.json", newest["id"].as_u64().unwrap());
    let stored: Value = serde_json::from_slice(&fs::read(dir.path().join(path)).unwrap()).unwrap();
    assert_eq!(shown["crc32"], stored["crc32"]);
    let keyed = |shown: &Value| {
        let operators = shown["operators"].as_array().unwrap();
        operators.iter().find(|operator| operator["uid"] == "count").unwrap().clone()
    };
    let distinct = (0..WORDS).map(word).collect::<std::collections::BTreeSet<_>>().len();
    assert_eq!(keyed(&shown)["live"]["entries"], distinct);
    assert_eq!(keyed(&shown)["segments"], keyed(&stored)["segments"]);
    let text = highwater("checkpoints show DIR", dir.path()).out;
    for says in ["count: keyed operator", "split ", "end of input", "segments/", "bincode-1"] {
        assert!(text.contains(says), "{says}: {text}");
    }
    assert!(text.contains("  values are u64, fingerprint ") && !text.contains("_shape"), "{text}");
}

#[test]
fn verify_finds_a_flipped_byte_wherever_it_matters() {
    let dir = counted();
    let whole = highwater("checkpoints verify DIR --json", dir.path());
    assert_eq!((whole.code, &whole.json()["findings"]), (0, &Value::Array(Vec::new())));
    let (mut tried, mut segments) = (0, 0);
    let metadata = files(&dir.path().join("wordcount/checkpoints")).into_values();
    let named = metadata.map(|bytes| String::from_utf8(bytes).unwrap()).collect::<String>();
    for (path, bytes) in files(dir.path()) {
        let name = path.strip_prefix(dir.path().join("wordcount")).unwrap().to_str().unwrap();
        // Of the token of a generation only the name is ever read, and nothing of a segment that was
        // written for a checkpoint which the end of the run came before.
        let is_segment = name.starts_with("segments/");
        let matters = !name.starts_with("generations/") && (!is_segment || named.contains(name));
        segments += usize::from(is_segment && matters);
        // A prime in each, so that every part of every object is struck in one file or another.
        for at in (tried % 97..bytes.len()).step_by(97 * (1 + bytes.len() / 1_500)) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            fs::write(&path, damaged).unwrap();
            let said = highwater("checkpoints verify DIR", dir.path());
            assert_eq!(said.code, i32::from(matters), "byte {at} of {name}: {}", said.out);
            let file = name.rsplit('/').next().unwrap();
            assert_eq!(said.out.contains(file), matters, "byte {at} of {name}: {}", said.out);
            tried += 1;
        }
        fs::write(&path, bytes).unwrap();
    }
    assert!(segments > 1 && tried > 50, "{tried} bytes of {segments} segments");
    let said = highwater("checkpoints verify DIR", dir.path());
    assert!(said.code == 0 && said.out.starts_with("all is whole"), "{}", said.out);
}

#[test]
fn verify_lists_all_that_is_short_or_missing() {
    let dir = counted();
    let all: Vec<_> = files(dir.path()).into_keys().collect();
    let segment = |path: &&PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    let segments: Vec<_> = all.iter().filter(segment).collect();
    let bytes = fs::read(segments[0]).unwrap();
    fs::write(segments[0], &bytes[..bytes.len() - 1]).unwrap();
    fs::remove_file(segments[1]).unwrap();
    let said = highwater("checkpoints verify DIR --json", dir.path());
    let found = said.json()["findings"].to_string();
    for segment in &segments[..2] {
        let name = segment.file_name().unwrap().to_str().unwrap();
        assert!(found.contains(name), "{name}: {found}");
    }
    assert!(said.code == 1 && found.contains("missing"), "{found}");
    let text = highwater("checkpoints verify DIR", dir.path());
    assert!(text.out.contains("damaged: checkpoint "), "{}", text.out);

    // What is damaged is in the list, and hides nothing else.
    let newest = all.iter().rfind(|path| path.ends_with("metadata.json")).unwrap();
    let before = highwater("checkpoints list DIR", dir.path()).out;
    fs::write(newest, b"{}").unwrap();
    let after = highwater("checkpoints list DIR", dir.path());
    assert_eq!((after.code, after.out.lines().count()), (0, before.lines().count()));
    assert!(after.out.lines().last().unwrap().contains("damaged"), "{}", after.out);
}

/// What a plain loop counts in the first `records` words.
fn counts(records: u64) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    (0..records).for_each(|at| *counts.entry(word(at)).or_default() += 1);
    counts
}

fn lines(said: &Said) -> Vec<Value> {
    let lines = said.out.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

/// Group, word and count of each line.
fn dumped(said: &Said) -> Vec<(u64, String, u64)> {
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    let line = |entry: &Value| {
        let number = |field: &str| entry[field].as_u64().unwrap_or_else(|| panic!("{entry}"));
        (number("group"), text(&entry["key"]), number("value"))
    };
    lines(said).iter().map(line).collect()
}

fn by_word(entries: &[(u64, String, u64)]) -> BTreeMap<String, u64> {
    let found: BTreeMap<_, _> =
        entries.iter().map(|(_, word, count)| (word.clone(), *count)).collect();
    assert_eq!(found.len(), entries.len(), "each key once");
    found
}

/// How many words had been read at checkpoint `id`.
fn records(dir: &Path, id: u64) -> u64 {
    let command = format!("state dump DIR --operator words --checkpoint {id}");
    highwater(&command, dir).json()["offset"]["records"].as_u64().unwrap()
}

#[test]
fn a_dump_is_what_a_plain_loop_counts() {
    let dir = counted();
    let entries = dumped(&highwater("state dump DIR --operator count", dir.path()));
    assert_eq!(by_word(&entries), counts(WORDS));

    let group = entries[0].0;
    let of_group: Vec<_> = entries.iter().filter(|entry| entry.0 == group).cloned().collect();
    let one = format!("state dump DIR --operator count --key-group {group}");
    assert_eq!(dumped(&highwater(&one, dir.path())), of_group);

    let first = ids(dir.path())[0];
    let older = format!("state dump DIR --operator count --checkpoint {first}");
    let earlier = by_word(&dumped(&highwater(&older, dir.path())));
    assert_eq!(earlier, counts(records(dir.path(), first)), "what was counted is what was read");
}

/// A key that is not known to serde without one of its values at hand.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
struct Checked(String);

impl TryFrom<String> for Checked {
    type Error = String;

    fn try_from(text: String) -> Result<Checked, String> {
        if text.starts_with("word ") { Ok(Checked(text)) } else { Err(format!("{text:?}")) }
    }
}

/// As bincode writes a text: a length of eight bytes and the text.
fn encoded(word: &str) -> String {
    let bytes = [&(word.len() as u64).to_le_bytes()[..], word.as_bytes()].concat();
    let digit = |nibble: u8| char::from(b"0123456789abcdef"[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[test]
fn what_has_no_shape_is_shown_in_hexadecimal_with_a_note() {
    let dir = tempfile::tempdir().unwrap();
    count_by(dir.path(), "checked", 2, u64::MAX, |word| Checked(word.clone()));
    let said = highwater("state dump DIR --operator count", dir.path());
    assert_eq!(said.code, 0, "{}", said.err);
    let entry = |entry: &Value| (text(&entry["key"]), entry["value"].as_u64().unwrap());
    let found: BTreeMap<_, _> = lines(&said).iter().map(entry).collect();
    let meant: BTreeMap<_, _> =
        counts(WORDS).into_iter().map(|(word, count)| (encoded(&word), count)).collect();
    assert_eq!(found, meant, "values have a shape, and stay numbers");
    assert!(said.err.starts_with("note: the keys of count are shown in hexadecimal"));
    assert_eq!(said.err.lines().count(), 1, "said once: {}", said.err);
}

#[test]
fn diff_shows_entries_by_their_types_and_types_in_short() {
    let dir = counted();
    let all = ids(dir.path());
    let (first, last) = (all[0], all[all.len() - 1]);
    let command = format!("checkpoints diff DIR {first} {last} --entries");
    let said = highwater(&command, dir.path());
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    let (before, after) = (counts(records(dir.path(), first)), counts(records(dir.path(), last)));
    let meant = after.iter().filter(|(word, count)| before.get(*word) != Some(count));
    let meant: BTreeMap<_, _> = meant
        .map(|(word, count)| (word.clone(), (json!(before.get(word)), json!(count))))
        .collect();
    let found = lines(&said);
    assert!(!meant.is_empty() && found.iter().all(|line| line["operator"] == "count"));
    let entry =
        |line: &Value| (text(&line["key"]), (line["first"].clone(), line["second"].clone()));
    assert_eq!(found.iter().map(entry).collect::<BTreeMap<_, _>>(), meant);

    let other = tempfile::tempdir().unwrap();
    count_by(other.path(), "lengths", 1, u64::MAX, |word| word.len() as u64);
    let command = format!("checkpoints diff DIR latest latest --other {}", other.path().display());
    let said = highwater(&command, dir.path());
    for says in [
        "schema A: keyed state of (String, u64) in bincode-1, version 1, fingerprint ",
        "schema B: keyed state of (u64, u64) in bincode-1, version 1, fingerprint ",
        "key: String -> u64",
    ] {
        assert!(said.out.contains(says), "{says}: {}", said.out);
    }
    assert!(!said.out.contains("value: ") && !said.out.contains('{'), "{}", said.out);

    // Each by its own schema.
    let said = highwater(&format!("{command} --entries"), dir.path());
    assert_eq!((said.code, said.err.as_str()), (1, ""));
    let lengths = (0..WORDS).map(|at| word(at).len()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(lines(&said).len(), counts(WORDS).len() + lengths.len());
    for line in &lines(&said) {
        assert_eq!(line["key"].is_string(), line["first"].is_u64(), "{line}");
        assert_eq!(line["key"].is_u64(), line["second"].is_u64(), "{line}");
    }
}

#[test]
fn diff_proves_two_states_equal_or_shows_every_key() {
    let dir = counted();
    let same = highwater("checkpoints diff DIR latest latest", dir.path());
    assert!(same.code == 0 && same.out.contains("the two hold the same"), "{}", same.out);

    let (all, other) = (ids(dir.path()), tempfile::tempdir().unwrap());
    count(other.path(), "replay", 1, u64::MAX);
    let command =
        format!("checkpoints diff DIR latest latest --json --other {}", other.path().display());
    let replay = highwater(&command, dir.path());
    let document = replay.json();
    let of = |uid: &str| {
        let operators = document["operators"].as_array().unwrap();
        operators.iter().find(|operator| operator["uid"] == uid).unwrap().clone()
    };
    assert_eq!(of("count")["result"], "equal", "3 workers and 1 come to the same: {document}");

    let (first, last) = (all[0], all[all.len() - 1]);
    let differ = highwater(&format!("checkpoints diff DIR {first} {last}"), dir.path());
    assert!(differ.code == 1 && differ.out.contains("the two differ"), "{}", differ.out);
    assert!(differ.out.contains("digest ") && differ.out.contains("split "), "{}", differ.out);
    let keys = highwater(&format!("checkpoints diff DIR {first} {last} --entries"), dir.path());
    let keys = keys.out.lines().filter(|line| line.starts_with('{')).count() as u64;
    let json = highwater(&format!("checkpoints diff DIR {first} {last} --json"), dir.path()).json();
    let operators = json["operators"].as_array().unwrap();
    let changes = &operators.iter().find(|one| one["uid"] == "count").unwrap();
    let of = |field: &str| changes[field].as_u64().unwrap();
    assert!(keys > 0 && keys == of("added") + of("removed") + of("changed"), "{keys}: {json}");
}

#[test]
fn delete_asks_and_refuses_before_it_deletes() {
    let dir = counted();
    let (all, before) = (ids(dir.path()), files(dir.path()));
    let (first, newest) = (all[0], all[all.len() - 1]);
    for (command, says) in [
        (format!("checkpoints delete DIR {first}"), "say --yes"),
        (format!("checkpoints delete DIR {newest} --yes"), "is the newest"),
        (format!("checkpoints delete DIR {first} 99 --yes"), "there is no checkpoint 99"),
        (format!("checkpoints delete DIR {first} old --yes"), "there is no savepoint old"),
    ] {
        let said = highwater(&command, dir.path());
        assert_eq!(said.code, 2, "{command}: {}", said.out);
        assert!(
            said.err.contains(says) && said.err.contains("nothing was deleted"),
            "{}",
            said.err
        );
        assert!(files(dir.path()) == before, "{command} has changed something");
    }
    let command = format!("checkpoints delete DIR {first} --yes --json");
    let deleted = highwater(&command, dir.path()).json();
    assert_eq!(deleted["deleted"]["checkpoints"], serde_json::json!([first]), "{deleted}");
    assert_eq!(ids(dir.path()), all[1..]);
    assert_eq!(highwater("checkpoints verify DIR", dir.path()).code, 0);
    let again = count(dir.path(), "wordcount", 2, u64::MAX);
    assert_eq!(again.outcome, highwater::job::Outcome::HadFinished);
}

#[test]
fn commands_that_read_change_nothing() {
    let dir = counted();
    let before = files(dir.path());
    for command in [
        "checkpoints list DIR",
        "checkpoints list DIR/wordcount --savepoints",
        "checkpoints show DIR --digest",
        "checkpoints verify DIR",
        "checkpoints diff DIR latest latest --entries",
        "state dump DIR --operator count",
        "restore DIR --dry-run",
        "restore DIR --dry-run --workers 5 --json",
    ] {
        let said = highwater(command, dir.path());
        assert_eq!(said.code, 0, "{command}: {}", said.err);
        assert!(!said.out.is_empty(), "{command}");
        assert!(files(dir.path()) == before, "{command} has changed something");
    }
    let none = dir.path().join("none");
    highwater("checkpoints list DIR", &none);
    assert!(!none.exists());
}

#[test]
fn a_mistake_is_answered_with_what_there_is() {
    let dir = counted();
    let newest = ids(dir.path()).pop().unwrap();
    let there = format!(", {newest}");
    for (command, says) in [
        ("checkpoints list DIR/none", "there is no directory"),
        ("checkpoints list DIR --job other", "there are: wordcount"),
        ("checkpoints show DIR 99", there.as_str()),
        ("checkpoints show DIR before-upgrade", "there is no savepoint before-upgrade"),
        ("checkpoints show DIR -- -1", "none of latest, the id of a checkpoint"),
        ("state dump DIR --operator sums", "has no operator \"sums\"; there are: "),
        ("state dump DIR --operator count --key-group 128", "128, from 0 to 127"),
        ("restore DIR", "--dry-run"),
        ("restore DIR --dry-run --workers 129", "129 workers for 128 key groups"),
        ("savepoint DIR --name 7up", "does not begin with a letter"),
        ("stop DIR --taken-up-within 1ms", "the job does not run"),
        ("checkpoints list ftp://host/path", "ftp://host/path"),
    ] {
        let said = highwater(command, dir.path());
        assert_eq!(said.code, 2, "{command}: {}", said.out);
        assert!(said.err.contains(says), "{command}: {}", said.err);
    }
    count(dir.path(), "other", 1, 10);
    let said = highwater("checkpoints list DIR", dir.path());
    assert!(said.err.contains("there are 2 jobs") && said.err.contains("other, wordcount"));
    assert_eq!(highwater("checkpoints list DIR --job other", dir.path()).code, 0);
}

#[test]
fn restore_says_who_would_read_how_much() {
    let dir = counted();
    let plan = highwater("restore DIR --dry-run --workers 2 --json", dir.path()).json();
    let workers = plan["workers"].as_array().unwrap();
    let groups: Vec<_> = workers.iter().map(|worker| worker["groups"].as_u64().unwrap()).collect();
    assert_eq!(groups, [64, 64]);
    assert!(workers.iter().all(|worker| worker["bytes"].as_u64().unwrap() > 0), "{plan}");
    let text = highwater("restore DIR --dry-run", dir.path()).out;
    for says in ["0 to 42", "keyed operator", "u64", "PROGRAM"] {
        assert!(text.contains(says), "{says}: {text}");
    }
}

#[test]
fn a_running_job_takes_a_savepoint_and_stops() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap().to_owned();
    let job = std::thread::spawn(move || {
        Job::new("endless")
            .quiet()
            .checkpoint_dir(path)
            .checkpoint_interval(Duration::from_millis(20))
            .request_interval(Duration::from_millis(20))
            .execute(|flow| {
                flow.source("words", words().endless())
                    .key_by(String::clone)
                    .count("count")
                    .sink("counts", CollectSink::<(String, u64)>::new());
            })
    });
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while highwater("checkpoints show DIR", dir.path()).code != 0 {
        assert!(std::time::Instant::now() < deadline, "the job never began");
    }
    let taken = highwater("savepoint DIR --name before-upgrade --json", dir.path());
    assert_eq!((taken.code, &taken.json()["savepoint"]), (0, &"before-upgrade".into()));
    let again = highwater("savepoint DIR --name before-upgrade", dir.path());
    assert!(again.code == 2 && again.err.contains("before-upgrade already"), "{}", again.err);
    let stopped = highwater("stop DIR --savepoint at-the-end", dir.path());
    assert!(stopped.out.contains("stopped the job, with savepoint at-the-end"), "{}", stopped.err);
    assert_eq!(job.join().unwrap().unwrap().outcome, highwater::job::Outcome::Stopped);

    let listed = highwater("checkpoints list DIR --savepoints --json", dir.path()).json();
    let names: Vec<_> = listed.as_array().unwrap().iter().map(|row| &row["savepoint"]).collect();
    assert_eq!(names, ["at-the-end", "before-upgrade"]);
    let same = highwater("checkpoints diff DIR at-the-end latest", dir.path());
    assert!(same.out.contains("count     equal"), "{}", same.out);
    assert_eq!(highwater("checkpoints verify DIR", dir.path()).code, 0);

    // A savepoint is whole by itself, wherever it is.
    let moved = dir.path().join("moved");
    fs::rename(dir.path().join("endless/savepoints/before-upgrade"), &moved).unwrap();
    assert_eq!(highwater("checkpoints verify DIR", &moved).code, 0);
    assert!(!dumped(&highwater("state dump DIR --operator count", &moved)).is_empty());
    assert_eq!(
        highwater("checkpoints delete DIR at-the-end --yes --job endless", dir.path()).code,
        0
    );
    assert!(!dir.path().join("endless/savepoints/at-the-end").exists());
}

/// Counts that are written as something else where they are odd.
#[derive(Clone, Default)]
struct Odd(u64);

impl Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(2) { to.serialize_u64(self.0) } else { to.serialize_u8(7) }
    }
}

impl<'de> Deserialize<'de> for Odd {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Odd, D::Error> {
        u64::deserialize(from).map(Odd)
    }
}

#[test]
fn an_entry_that_does_not_decode_is_named_and_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let job = Job::new("odd").quiet().checkpoint_dir(dir.path().to_str().unwrap());
    job.run(|flow| {
        let numbers = flow.source("numbers", VecSource::new((0..100_u64).collect::<Vec<_>>()));
        let pairs = numbers.map(|n| (n, n)).keyed().emit(Emit::AtEnd);
        pairs.fold("odd", Odd::default(), |state, n| *state = Odd(n)).for_each(drop);
    })
    .unwrap();
    let said = highwater("state dump DIR --operator odd", dir.path());
    assert_eq!(said.code, 1, "{}", said.err);
    let found: std::collections::BTreeSet<_> =
        lines(&said).iter().map(|line| line["value"].as_u64().unwrap()).collect();
    assert_eq!(found, (0..100).step_by(2).collect());
    let named: Vec<_> = said.err.lines().collect();
    let (end, named) = named.split_last().unwrap();
    assert_eq!(*end, "50 entries were left out, 50 were not");
    assert_eq!(named.len(), 20, "the others are only counted: {}", said.err);
    for line in named {
        assert!(line.starts_with("left out: key group ") && line.contains(", entry "), "{line}");
        let says = ": an entry among the values of odd, 07, is corrupt: its 1 bytes are no u64";
        assert!(line.contains(says), "{line}");
    }
}

#[test]
fn a_dump_to_a_file_is_what_is_printed() {
    let dir = counted();
    let printed = highwater("state dump DIR --operator count", dir.path());
    let file = dir.path().join("dump.jsonl");
    fs::write(&file, "of before").unwrap();
    let said = highwater("state dump DIR --operator count --output DIR/dump.jsonl", dir.path());
    assert_eq!((said.code, said.err.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(&file).unwrap(), printed.out);
    let entries = format!("{} entries, ", printed.out.lines().count());
    assert!(said.out.starts_with(&entries) && said.out.ends_with("/dump.jsonl\n"), "{}", said.out);

    // What fails leaves the file of before alone.
    for path in
        files(dir.path()).keys().filter(|path| path.extension().is_some_and(|is| is == "seg"))
    {
        fs::write(path, "damaged").unwrap();
    }
    let said = highwater("state dump DIR --operator count --output DIR/dump.jsonl", dir.path());
    assert_eq!(said.code, 2, "{}", said.out);
    assert_eq!(fs::read_to_string(&file).unwrap(), printed.out);
    assert_eq!(
        files(dir.path()).keys().filter(|path| path.to_string_lossy().contains("partial")).count(),
        0
    );
}

#[test]
fn parquet_is_refused_by_a_binary_without_it() {
    if cfg!(feature = "parquet") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let command = "state dump DIR --operator count --format parquet --output DIR/counts.parquet";
    let said = highwater(command, dir.path());
    assert_eq!(said.code, 2);
    assert!(said.err.contains("cargo install --path engine --features parquet"), "{}", said.err);
    assert_eq!(files(dir.path()).len(), 0);
}
