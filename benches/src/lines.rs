//! What is printed of a case: a line for each side, with its ratios to those before it.

use std::fmt::Write as _;
use std::time::Duration;

use crate::report::{median, spread};
use crate::rounds::Run;
use crate::sides::{CHECKPOINTS, ENGINE};

/// All runs of one of the things that are compared, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) runs: Vec<Run>,
}

impl Side {
    pub(crate) fn new(name: &'static str) -> Side {
        Side { name, runs: Vec::new() }
    }

    fn rates(&self) -> Vec<f64> {
        self.runs.iter().map(|run| run.measured.rate()).collect()
    }

    /// The ratios of its rates to those of `other` in the same rounds.
    fn ratios(&self, other: &Side) -> Vec<f64> {
        self.rates().iter().zip(other.rates()).map(|(rate, other)| rate / other).collect()
    }
}

/// All sides of a case that were run.
pub(crate) fn print(case: &str, shown: &[(&str, &str)], sides: &[Side]) {
    println!("{case}");
    let sides: Vec<&Side> = sides.iter().filter(|side| !side.runs.is_empty()).collect();
    for (at, side) in sides.iter().enumerate() {
        println!("  {}{}", line(side, &sides[..at]), fields(side, shown));
    }
    let found = |name: &str| sides.iter().find(|side| side.name == name);
    if let Some(durable) = found(CHECKPOINTS) {
        println!("  {}", checkpoints(durable, found(ENGINE).copied()));
    }
}

/// One line: its rates, what it took, and how its rates are to those of each of the `others`.
fn line(side: &Side, others: &[&Side]) -> String {
    let millions: Vec<f64> = side.rates().iter().map(|rate| rate / 1e6).collect();
    let (name, rates) = (side.name, spread(&millions, 2));
    let threads = side.runs.first().map_or(1, |run| run.threads);
    let a_core = median(&millions) / threads as f64;
    let mut line = format!("{name:<12} {rates:>24} M/s  {a_core:6.2} a core");
    let cpu: Option<Vec<f64>> = side.runs.iter().map(|run| run.measured.cpu_seconds).collect();
    if let Some(cpu) = cpu {
        let _ = write!(line, "  {:6.2} s CPU", median(&cpu));
    }
    if let Some(peak) = side.runs.iter().filter_map(|run| run.measured.peak_memory).max() {
        let _ = write!(line, "  {:5} MB", peak >> 20);
    }
    for other in others {
        let _ = write!(line, "  {} of {}", spread(&side.ratios(other), 2), other.name);
    }
    line
}

/// What the suite has measured by itself.
fn fields(side: &Side, shown: &[(&str, &str)]) -> String {
    let mut fields = String::new();
    for (name, unit) in shown {
        let values = side.runs.iter().filter_map(|run| run.more.get(*name)?.as_f64());
        let values: Vec<f64> = values.collect();
        if !values.is_empty() {
            let _ = write!(fields, "  {} {unit}", spread(&values, 1));
        }
    }
    fields
}

/// What checkpoints were, and what they cost.
fn checkpoints(durable: &Side, engine: Option<&Side>) -> String {
    let mut line = "checkpoints".to_owned();
    if let Some(engine) = engine.filter(|engine| !engine.runs.is_empty()) {
        let cost = 1.0 - median(&durable.ratios(engine));
        let _ = write!(line, " cost {:.1} %", cost * 100.0);
    }
    let summaries: Vec<_> = durable.runs.iter().filter_map(|run| run.summary.as_ref()).collect();
    let all = |of: fn(&highwater::Summary) -> f64| -> Vec<f64> {
        summaries.iter().map(|summary| of(summary)).collect()
    };
    let durations: Vec<f64> = summaries
        .iter()
        .flat_map(|summary| summary.checkpoint_durations.iter().map(Duration::as_secs_f64))
        .collect();
    let longest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max) * 1e3;
    let bytes_each = |summary: &highwater::Summary| {
        summary.checkpoint_bytes as f64 / 1e6 / summary.checkpoints.max(1) as f64
    };
    let _ = write!(
        line,
        "; {:.0} a run, {:.1} MB each, median {:.0} ms, longest {:.0} ms; longest stall {:.2} ms",
        median(&all(|summary| summary.checkpoints as f64)),
        median(&all(bytes_each)),
        median(&durations) * 1e3,
        longest(&durations),
        longest(&all(|summary| summary.stall_max.as_secs_f64())),
    );
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Totals;
    use crate::measure::Measured;

    #[test]
    fn ratios_are_of_the_same_rounds() {
        let run = |seconds| {
            let measured = Measured { records: 6, seconds, cpu_seconds: None, peak_memory: None };
            Run::new(measured, 2, Totals::default())
        };
        let one = Side { name: "one", runs: vec![run(1.0), run(6.0)] };
        let other = Side { name: "other", runs: vec![run(2.0), run(3.0)] };
        assert_eq!(one.ratios(&other), [2.0, 0.5]);
        assert!(line(&one, &[&other]).contains("1.25 [0.50 .. 2.00] of other"));
    }

    #[test]
    fn what_the_suite_measures_is_shown_where_it_is_known() {
        let measured = Measured { records: 6, seconds: 1.0, cpu_seconds: None, peak_memory: None };
        let mut run = Run::new(measured, 2, Totals::default());
        run.more.insert("bytes_each".to_owned(), 24.25.into());
        let side = Side { name: "one", runs: vec![run] };
        let shown = [("bytes_each", "bytes each"), ("other", "of another")];
        assert_eq!(fields(&side, &shown), "  24.2 [24.2 .. 24.2] bytes each");
    }
}
