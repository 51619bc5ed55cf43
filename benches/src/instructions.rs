//! `instructions`: how many instructions a record costs, counted by callgrind, which does not depend on
//! what else the machine does; and a history of them, a line for each commit and suite.
//!
//! This program runs itself on one worker under valgrind, with few records and with more. What the two
//! counts differ by is of the records that there were more of: start and end of the process cancel out.

use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::{median, spread};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Counts of each, of which the median is kept: the threads beside the workers, and what happens by the
    /// clock, make them differ by some tenths of a percent
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// The history that a line is appended to
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.csv"))]
    history: PathBuf,
}

/// What is counted: the flags of this program, and two numbers of records.
struct Counted {
    suite: &'static str,
    line: &'static str,
    few: u64,
    many: u64,
}

const SUITES: [Counted; 2] = [
    Counted {
        suite: "keyed-count",
        line: "keyed-count --keys 100000 --keys-are uniform --records",
        few: 2_000_000,
        many: 6_000_000,
    },
    Counted { suite: "q5", line: "nexmark --query q5 --events", few: 500_000, many: 1_500_000 },
];

/// For every suite: the engine once, on the thread that callgrind lets run.
const ONCE: &str = "--only engine --workers 1 --rounds 1";

const HEADER: &str = "date,commit,suite,instructions_per_record";

pub(crate) fn run(args: &Args) -> Result<()> {
    check_valgrind()?;
    let here = Commit::here();
    let known = known(&args.history)?;
    for counted in SUITES {
        let per_record = (0..args.rounds.max(1)).map(|_| {
            let (few, many) = (count(&counted, counted.few)?, count(&counted, counted.many)?);
            Ok(slope((counted.few, few), (counted.many, many)))
        });
        let per_record = per_record.collect::<Result<Vec<f64>>>()?;
        println!("{:<12}{} instructions a record", counted.suite, spread(&per_record, 1));
        let Commit::Whole { date, commit } = &here else { continue };
        if known.contains(&(commit.clone(), counted.suite.to_owned())) {
            println!("  {commit} has its line already");
        } else {
            let line = format!("{date},{commit},{},{:.2}", counted.suite, median(&per_record));
            append(&args.history, &line)?;
        }
    }
    if let Commit::No { why } = here {
        println!("nothing is added to {}: {why}", args.history.display());
    }
    Ok(())
}

fn check_valgrind() -> Result<()> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => {
            println!("{}", String::from_utf8_lossy(&output.stdout).trim());
            Ok(())
        }
        Ok(output) => Err(format!("valgrind does not run: {}", output.status).into()),
        Err(error) => Err(format!(
            "valgrind, whose callgrind counts instructions, cannot be started: {error}; on Debian it is \
             in the package valgrind"
        )
        .into()),
    }
}

/// Instructions of a whole process that works on so many records.
fn count(counted: &Counted, records: u64) -> Result<u64> {
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", &format!("--callgrind-out-file={}", out.display())])
        .arg(std::env::current_exe()?)
        .args(counted.line.split(' '))
        .arg(records.to_string())
        .args(ONCE.split(' '))
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let printed = String::from_utf8_lossy(&output.stdout);
        return Err(format!(
            "{} under valgrind: {}\n{printed}{said}",
            counted.suite, output.status
        )
        .into());
    }
    collected(&said)
        .ok_or_else(|| format!("valgrind does not say what it has collected:\n{said}").into())
}

/// What callgrind says at the end: `==17== Collected : 123456`.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().rfind(|line| line.contains("Collected :"))?;
    line.rsplit_once(':')?.1.trim().parse().ok()
}

/// Instructions of each record that there are more of.
fn slope(few: (u64, u64), many: (u64, u64)) -> f64 {
    (many.1 as f64 - few.1 as f64) / (many.0 as f64 - few.0 as f64)
}

/// What the counts are of.
#[derive(Debug)]
enum Commit {
    Whole { date: String, commit: String },
    No { why: String },
}

impl Commit {
    fn here() -> Commit {
        let changed =
            match git(&["status", "--porcelain", "--", ":/", ":(exclude)instructions.csv"]) {
                Ok(changed) => changed,
                Err(why) => return Commit::No { why },
            };
        if !changed.is_empty() {
            return Commit::No { why: "the sources are not those of a commit".to_owned() };
        }
        match git(&["show", "--no-patch", "--format=%cs %h", "HEAD"]) {
            Ok(line) => match line.split_once(' ') {
                Some((date, commit)) => {
                    Commit::Whole { date: date.to_owned(), commit: commit.to_owned() }
                }
                None => Commit::No { why: format!("git says {line:?} of the commit") },
            },
            Err(why) => Commit::No { why },
        }
    }
}

fn git(arguments: &[&str]) -> std::result::Result<String, String> {
    let output =
        Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.map_err(|error| format!("git cannot be started: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("git: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Commits and suites that have a line.
fn known(history: &Path) -> Result<HashSet<(String, String)>> {
    let text = match std::fs::read_to_string(history) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(format!("{}: {error}", history.display()).into()),
    };
    let field = |line: &str, at: usize| line.split(',').nth(at).unwrap_or_default().to_owned();
    Ok(text.lines().map(|line| (field(line, 1), field(line, 2))).collect())
}

fn append(history: &Path, line: &str) -> Result<()> {
    let is_new = !history.exists();
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(history)?;
    if is_new {
        writeln!(file, "{HEADER}")?;
    }
    Ok(writeln!(file, "{line}")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_callgrind_says_last_is_read() {
        let said = "==7== Events    : Ir\n==7== Collected : 1234567\n==7== \n==7== I   refs:      1,234,567\n";
        assert_eq!(collected(said), Some(1_234_567));
        assert_eq!(collected("==7== done"), None);
    }

    #[test]
    fn start_and_end_cancel_out() {
        assert!((slope((100, 5_000), (300, 9_000)) - 20.0).abs() < 1e-9);
    }

    #[test]
    fn a_history_begins_with_its_header_and_knows_its_lines() {
        let folder = tempfile::tempdir().unwrap();
        let history = folder.path().join("instructions.csv");
        assert!(known(&history).unwrap().is_empty());
        append(&history, "2026-11-22,abc,q5,1.0").unwrap();
        append(&history, "2026-11-23,def,q5,1.0").unwrap();
        let text = std::fs::read_to_string(&history).unwrap();
        assert_eq!((text.lines().next(), text.lines().count()), (Some(HEADER), 3));
        assert!(known(&history).unwrap().contains(&("def".to_owned(), "q5".to_owned())));
    }
}
