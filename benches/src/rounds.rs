//! Runs that alternate, so that what the machine does to one of them it does to all.

use std::fmt::Write as _;
use std::time::Instant;

use crate::machine;
use crate::report::{median, spread};

/// What a run has taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) records: u64,
    pub(crate) seconds: f64,
    /// None where the system does not tell, as with the peak.
    pub(crate) cpu_seconds: Option<f64>,
    /// The most memory of this process during the run: what it held before is in it.
    pub(crate) peak_memory: Option<u64>,
}

impl Measured {
    /// Runs `run`, which works on so many records.
    pub(crate) fn of<T, E>(
        records: u64,
        run: impl FnOnce() -> Result<T, E>,
    ) -> Result<(Measured, T), E> {
        let has_reset = machine::reset_peak_memory();
        let (cpu_before, started) = (machine::cpu_seconds(), Instant::now());
        let outcome = run()?;
        let seconds = started.elapsed().as_secs_f64();
        let cpu_seconds =
            machine::cpu_seconds().zip(cpu_before).map(|(after, before)| after - before);
        let peak_memory = machine::peak_memory().filter(|_| has_reset);
        Ok((Measured { records, seconds, cpu_seconds, peak_memory }, outcome))
    }

    /// Records a second.
    pub(crate) fn rate(&self) -> f64 {
        self.records as f64 / self.seconds
    }
}

/// All runs of one of the things that are compared, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) name: &'static str,
    pub(crate) runs: Vec<Measured>,
}

impl Side {
    pub(crate) fn new(name: &'static str) -> Side {
        Side { name, runs: Vec::new() }
    }

    pub(crate) fn rates(&self) -> Vec<f64> {
        self.runs.iter().map(Measured::rate).collect()
    }

    /// The ratios of its rates to those of `other` in the same rounds.
    pub(crate) fn ratios(&self, other: &Side) -> Vec<f64> {
        self.rates().iter().zip(other.rates()).map(|(rate, other)| rate / other).collect()
    }
}

/// One line: its rates, what it took, and how its rates are to those of each of the `others`.
pub(crate) fn line(side: &Side, workers: usize, others: &[&Side]) -> String {
    let millions: Vec<f64> = side.rates().iter().map(|rate| rate / 1e6).collect();
    let (name, rates) = (side.name, spread(&millions, 2));
    let a_core = median(&millions) / workers as f64;
    let mut line = format!("{name:<12} {rates:>24} M/s  {a_core:6.2} a core");
    let cpu: Option<Vec<f64>> = side.runs.iter().map(|run| run.cpu_seconds).collect();
    if let Some(cpu) = cpu {
        let _ = write!(line, "  {:6.2} s CPU", median(&cpu));
    }
    if let Some(peak) = side.runs.iter().filter_map(|run| run.peak_memory).max() {
        let _ = write!(line, "  {:5} MB", peak >> 20);
    }
    for other in others {
        let _ = write!(line, "  {} of {}", spread(&side.ratios(other), 2), other.name);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_the_same_rounds() {
        let run = |seconds| Measured { records: 6, seconds, cpu_seconds: None, peak_memory: None };
        let one = Side { name: "one", runs: vec![run(1.0), run(6.0)] };
        let other = Side { name: "other", runs: vec![run(2.0), run(3.0)] };
        assert_eq!(one.ratios(&other), [2.0, 0.5]);
        assert!(line(&one, 2, &[&other]).contains("1.25 [0.50 .. 2.00] of other"));
    }
}
