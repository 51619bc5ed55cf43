//! Proves that `fraud`, `enrich` and `connected_components` print what plain loops do, with any number
//! of workers, and when they are run again.

// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

mod program;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use program::{example, root};

fn prints(name: &str, args: &[&str], expected: &str) {
    for workers in ["1", "2", "3"] {
        let output = tempfile::tempdir().unwrap();
        let checkpoints = output.path().join("checkpoints");
        for run in 0..2 {
            let mut program = example(name);
            program.args(args).args(["-q", "-w", workers, "--checkpoint-interval", "20ms"]);
            program.arg("--output").arg(output.path().join("out"));
            let ran = program.arg("--checkpoint-dir").arg(&checkpoints).output().unwrap();
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
            let printed = String::from_utf8(ran.stdout).unwrap();
            assert_eq!(printed, expected, "{name}, {workers} workers, run {run}");
        }
    }
}

#[test]
fn alerts_are_those_of_a_loop_over_sorted_payments() {
    let count = 60_000_u64;
    let mut payments: Vec<_> = (0..count)
        .map(|number| {
            let dice = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let dice = (dice ^ dice >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20;
            let cents = match dice % 100 {
                0..4 => 1 + dice % 100,
                4..8 => 50_000 + dice % 100_000,
                _ => 100 + dice % 10_000,
            };
            let card = (dice >> 12) % 500;
            (card, number as i64 * 100 - (dice % 2_000) as i64, cents)
        })
        .collect();
    payments.sort_unstable();
    let (mut alerts, mut tried) = (Vec::new(), None);
    for (card, at, cents) in payments {
        let is_soon = tried.is_some_and(|(on, tried)| on == card && at - tried <= 60_000);
        if cents > 50_000 && is_soon {
            alerts.push((at, card, cents));
        }
        tried = (cents < 100).then_some((card, at));
    }
    alerts.sort_unstable();
    assert!(alerts.len() > 20, "{}", alerts.len());
    let mut expected = String::new();
    for (at, card, cents) in alerts {
        let (seconds, units) = (at as f64 / 1e3, cents as f64 / 100.0);
        let _ = writeln!(expected, "at {seconds:9.1} s  card {card:3}  {units:7.2}");
    }
    prints("fraud", &["--payments", &count.to_string()], &expected);
}

#[test]
fn airlines_have_the_flights_of_their_codes() {
    let csv = fs::read_to_string(root().join("examples/data/flights.csv")).unwrap();
    let mut counts = BTreeMap::new();
    for row in csv.lines().skip(1) {
        let name = match row.split(',').nth(9).unwrap() {
            "AA" => "American Airlines",
            "B6" => "JetBlue Airways",
            "DL" => "Delta Air Lines",
            "UA" => "United Air Lines",
            "US" => "US Airways",
            "WN" => "Southwest Airlines",
            _ => "another airline",
        };
        *counts.entry(name).or_insert(0) += 1;
    }
    let mut expected = "airline             flights\n".to_owned();
    for (name, count) in counts {
        let _ = writeln!(expected, "{name:18}  {count:7}");
    }
    prints("enrich", &[], &expected);
}

#[test]
fn components_have_the_nodes_of_their_remainders() {
    let (nodes, components) = (700_u64, 7);
    let mut expected = "component  others\n".to_owned();
    for component in 0..components {
        let others = (0..nodes).filter(|n| n % components == component).count() - 1;
        let _ = writeln!(expected, "{component:9}  {others:6}");
    }
    let args = ["--nodes", &nodes.to_string(), "--components", &components.to_string()];
    prints("connected_components", &args, &expected);
}
