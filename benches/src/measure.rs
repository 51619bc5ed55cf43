//! What a run takes: time, CPU, memory.

use std::time::Instant;

use crate::machine;

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
