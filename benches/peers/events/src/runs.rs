//! Runs a job each time that a line comes in, and says what it took as a line of JSON.

use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use crate::digest::Shared;

/// `suite=`, `case=`, `records=`, `workers=`, and, where it applies, `file=`.
#[derive(Debug)]
pub struct Arguments(HashMap<String, String>);

impl Arguments {
    /// Those of the process.
    pub fn of_process() -> Arguments {
        let arguments = std::env::args().skip(1);
        let pairs = arguments.filter_map(|argument| {
            argument.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
        });
        Arguments(pairs.collect())
    }

    /// The text of an argument.
    ///
    /// # Errors
    ///
    /// It is missing.
    pub fn get(&self, name: &str) -> Result<&str, Box<dyn Error>> {
        let value = self.0.get(name).ok_or_else(|| format!("the argument {name}= is missing"))?;
        Ok(value)
    }

    /// The number that an argument is.
    ///
    /// # Errors
    ///
    /// It is missing, or no number.
    pub fn number(&self, name: &str) -> Result<u64, Box<dyn Error>> {
        let value = self.get(name)?;
        value.parse().map_err(|error| format!("{name}={value}: {error}").into())
    }
}

/// The job, run once, with what sums its rows.
pub type Job = Box<dyn Fn(&Arc<Shared>)>;

/// The runs of a process.
#[derive(Debug)]
pub struct Runs;

impl Runs {
    /// Serves until there are no more lines.
    ///
    /// # Errors
    ///
    /// Standard input or output is closed.
    pub fn serve(job: &Job) -> Result<(), Box<dyn Error>> {
        let mut out = std::io::stdout();
        writeln!(out, "ready")?;
        for line in std::io::stdin().lock().lines() {
            line?;
            writeln!(out, "{}", run(job)?)?;
        }
        Ok(())
    }
}

fn run(job: &Job) -> Result<serde_json::Value, Box<dyn Error>> {
    std::fs::write("/proc/self/clear_refs", "5")?;
    let shared = Arc::new(Shared::default());
    let (cpu_before, started) = (cpu_seconds()?, Instant::now());
    job(&shared);
    let seconds = started.elapsed().as_secs_f64();
    let (rows, digest) = shared.totals();
    Ok(serde_json::json!({
        "seconds": seconds,
        "cpu_seconds": cpu_seconds()? - cpu_before,
        "peak_memory_bytes": peak_memory()?,
        "rows": rows,
        "digest": format!("{digest:016x}"),
    }))
}

fn peak_memory() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(peak.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
}

fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, rest) = stat.rsplit_once(')').ok_or("no stat")?;
    let ticks: Vec<&str> = rest.split_whitespace().skip(11).take(2).collect();
    let ticks: u64 = ticks.iter().map(|ticks| ticks.parse::<u64>()).sum::<Result<u64, _>>()?;
    Ok(ticks as f64 / 100.0)
}
