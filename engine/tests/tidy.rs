//! The rules of the house that no lint checks, checked by reading the tree.
//!
//! `CONTRIBUTING.md` says why each of them is one.

#![allow(clippy::unwrap_used)] // a panic is the report

use std::fs;
use std::path::{Path, PathBuf};

/// Crates in the order in which they may depend on each other, and the folder of each.
const CRATES: [(&str, &str); 5] = [
    ("highwater-checkpoint", "checkpoint"),
    ("highwater", "engine"),
    ("highwater-connectors", "connectors"),
    ("highwater-examples", "examples"),
    ("highwater-benches", "benches"),
];

/// Lines of code, without tests, above which a file must say in its header why it is so long.
const LINES_MAX: usize = 800;

struct Source {
    /// Relative to the root, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn is_under_src(&self) -> bool {
        self.path.contains("/src/")
    }

    /// The file up to its first test module.
    fn production(&self) -> &str {
        self.text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default()
    }

    fn header(&self) -> impl Iterator<Item = &str> {
        self.text.lines().take_while(|line| line.starts_with("//!"))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a crate of the workspace").to_owned()
}

/// All Rust files of all crates.
fn sources() -> Vec<Source> {
    let (root, mut sources) = (root(), Vec::new());
    let mut folders: Vec<PathBuf> = CRATES.iter().map(|(_, folder)| root.join(folder)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).unwrap().display().to_string();
                let text = fs::read_to_string(&path).unwrap();
                sources.push(Source { path: relative.replace('\\', "/"), text });
            }
        }
    }
    assert!(sources.len() > 50, "only {} files found", sources.len());
    sources
}

/// Fails with all that is wrong, not with the first.
fn assert_none(rule: &str, breaches: Vec<String>) {
    assert!(breaches.is_empty(), "{rule}:\n  {}", breaches.join("\n  "));
}

fn breaches(is_breach: impl Fn(&Source) -> bool) -> Vec<String> {
    sources().into_iter().filter(|source| is_breach(source)).map(|source| source.path).collect()
}

/// Lines that hold one of `words`, by file and line.
fn lines_with(words: &[&str], is_looked_at: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources().iter().filter(|source| is_looked_at(source)) {
        for (at, line) in source.text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!("{}:{}: {}", source.path, at + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn every_file_says_what_it_decides_or_holds() {
    let is_bare = |source: &Source| !source.text.starts_with("//! ");
    assert_none("the first line is `//!`", breaches(is_bare));
}

#[test]
fn no_file_is_named_for_having_no_idea() {
    let names =
        ["utils.rs", "util.rs", "common.rs", "helpers.rs", "helper.rs", "types.rs", "misc.rs"];
    let is_one = |source: &Source| names.contains(&source.path.rsplit('/').next().unwrap());
    assert_none("a file is named for its idea", breaches(is_one));
}

#[test]
fn a_long_file_says_why() {
    let is_long = |source: &Source| {
        let lines = source.production().lines().count();
        let says_why = source.header().any(|line| line.contains("long because"));
        source.is_under_src() && lines > LINES_MAX && !says_why
    };
    let rule = "a file of more than 800 lines says in its header `long because`, or is split";
    assert_none(rule, breaches(is_long));
}

#[test]
fn only_the_dataflow_of_checkpoint_knows_timely() {
    let is_pure = |source: &Source| {
        source.path.starts_with("checkpoint/src/") && !source.path.contains("/dataflow/")
    };
    let uses = lines_with(&["use timely", "timely::"], is_pure);
    let is_doc = |line: &String| line.split(": ").nth(1).is_some_and(|code| code.starts_with("//"));
    let uses = uses.into_iter().filter(|line| !is_doc(line)).collect();
    assert_none("checkpoint uses timely in src/dataflow/ alone", uses);
}

#[test]
fn connectors_do_not_know_the_coordinator() {
    let words = ["coordinator", "Coordinator", "highwater_checkpoint", "highwater::checkpoint"];
    let found = lines_with(&words, |source| source.path.starts_with("connectors/src/"));
    assert_none("connectors see the traits of sources and sinks alone", found);
}

#[test]
fn sources_are_ascii() {
    let is_not = |source: &Source| !source.text.is_ascii();
    assert_none("sources are ASCII; write \\u{..} in strings", breaches(is_not));
}

#[test]
fn nothing_is_left_to_be_done() {
    // Put together, for this file is read as well.
    let words: Vec<String> =
        ["todo", "unimplemented", "dbg"].iter().map(|word| format!("{word}!(")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    assert_none("no placeholders", lines_with(&words, |_| true));
}

#[test]
fn crates_depend_one_way() {
    let mut found = Vec::new();
    for (at, (_, folder)) in CRATES.iter().enumerate() {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        // A crate may test itself, and examples and benches know nothing of each other.
        let forbidden = CRATES.iter().enumerate().filter(|(other, _)| *other > at || *other == 3);
        for (_, (name, _)) in forbidden.filter(|(other, _)| *other != at) {
            let names = |line: &str| {
                line.split(['.', ' ', '=']).next() == Some(name) && line.len() > name.len()
            };
            if let Some(line) = manifest.lines().find(|line| names(line)) {
                found.push(format!("{folder}/Cargo.toml: {line}"));
            }
        }
    }
    assert_none("checkpoint <- engine <- connectors <- examples, benches", found);
}

/// What has no place in a program that somebody runs: no crate asks for it but in its tests, and
/// no default contains it.
#[test]
fn bugs_are_planted_for_tests_alone() {
    let (mut found, mut mentions) = (Vec::new(), 0);
    for (_, folder) in CRATES {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let mut section = "";
        for line in manifest.lines().filter(|line| !line.starts_with('#')) {
            section = if line.starts_with('[') { line } else { section };
            if !line.contains("planted-bugs") {
                continue;
            }
            mentions += 1;
            let declares = section == "[features]" && line.starts_with("planted-bugs = ");
            if !declares && section != "[dev-dependencies]" {
                found.push(format!("{folder}/Cargo.toml, {section}: {line}"));
            }
        }
    }
    assert!(mentions > 0, "the feature has another name now");
    assert_none("only tests ask for planted bugs", found);
}
