//! Proves that `plain_timely` counts exactly once though it is killed, and that no more than 25
//! lines made it so.
//!
//! Method: the program is killed by SIGKILL at moments that are drawn at random, started again with
//! another number of workers each time, and what it prints in the end is compared with a plain loop.
//! Its text is compared with that of the program that it was before.

// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

mod program;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use program::{example, root};

/// Enough for a run of two seconds or more, so that kills find it at work.
const N: u64 = 6_000_000;

fn expected() -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for start in 1..N {
        let (mut number, mut steps) = (start, 0);
        while number != 1 {
            number = if number.is_multiple_of(2) { number / 2 } else { 3 * number + 1 };
            steps += 1;
        }
        *counts.entry(steps).or_default() += 1;
    }
    counts
}

/// What a run has printed, each key once.
fn counts(child: Child) -> (BTreeMap<u64, u64>, String) {
    let ended = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(ended.stderr).unwrap();
    assert!(ended.status.success(), "{stderr}");
    let mut counts = BTreeMap::new();
    for line in String::from_utf8(ended.stdout).unwrap().lines() {
        let (steps, count) = line.split_once(' ').unwrap();
        let before = counts.insert(steps.parse().unwrap(), count.parse().unwrap());
        assert!(before.is_none(), "{steps} is printed twice");
    }
    (counts, stderr)
}

fn start(mut command: Command, workers: usize) -> Child {
    command.args([&N.to_string(), "-w", &workers.to_string()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn resumed(checkpoints: &Path, workers: usize) -> Child {
    let mut command = example("plain_timely");
    command.arg("--checkpoint-dir").arg(checkpoints);
    start(command, workers)
}

#[test]
fn counts_are_exact_though_the_program_is_killed() {
    let expected = expected();
    let (before, _) = counts(start(example("plain_timely_before"), 2));
    assert_eq!(before, expected, "without checkpoints and without kills");

    let checkpoints = tempfile::tempdir().unwrap();
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (mut random, mut kills) = (seed, 0);
    for workers in [2, 1, 3, 2, 4] {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut child = resumed(checkpoints.path(), workers);
        // The moment is what is random here; nothing waits for the program.
        std::thread::sleep(Duration::from_millis(100 + (random >> 33) % 500));
        kills += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills >= 2, "seed {seed}: {kills} kills found the program at work; make N larger");

    for workers in [3, 1] {
        // The second time there is nothing left to do but to say it again.
        let (counts, stderr) = counts(resumed(checkpoints.path(), workers));
        assert_eq!(counts, expected, "seed {seed}, {kills} kills, {stderr}");
        let epoch: u64 = stderr.trim().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(epoch > 0, "seed {seed}: the program did not resume");
    }
}

/// The lines of an example, without the empty ones and the header.
fn lines(example: &str) -> Vec<String> {
    let path = root().join("examples/examples").join(example);
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.trim().to_owned());
    lines.filter(|line| !line.is_empty() && !line.starts_with("//!")).collect()
}

#[test]
fn no_more_than_25_lines_made_it_fault_tolerant() {
    let after = lines("plain_timely.rs");
    let (added, kept): (Vec<_>, Vec<_>) = after.into_iter().partition(|line| line.contains("// +"));
    assert!(added.len() <= 25, "{} lines: {added:#?}", added.len());
    // What is not marked is what was there before, in the same order.
    let before = lines("plain_timely_before.rs");
    let mut before = before.iter();
    for line in &kept {
        assert!(before.any(|was| was == line), "{line:?} was not there before and is not marked");
    }
}
