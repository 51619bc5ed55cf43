//! This program once more, in a process of its own: for what begins with `exec`, or ends with a kill.
//!
//! A child says what its parent waits for in lines of `name number`; where the number is a time, it is in
//! nanoseconds of the system's monotonic clock, which all processes share.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child as Process, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Time since some moment in the past that is the same for all processes.
pub(crate) fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Says that the child has come so far.
pub(crate) fn mark(name: &str) {
    say(name, now().as_nanos() as u64);
}

/// Says a number. A parent that has left is no reason to panic.
pub(crate) fn say(name: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{name} {number}").and_then(|()| out.flush());
}

/// A child that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
    started: Duration,
}

impl Child {
    /// Starts this program with these arguments.
    pub(crate) fn start(arguments: &[String]) -> Result<Child> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let started = now();
        let mut process = command.spawn()?;
        let out = process.stdout.take().ok_or("the child has no output")?;
        Ok(Child { process, lines: BufReader::new(out).lines(), started })
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Duration {
        self.started
    }

    /// Waits for a mark; returns when it was set. What it says before that is left out.
    pub(crate) fn wait_for(&mut self, name: &str) -> Result<Duration> {
        for line in &mut self.lines {
            if let Some((found, at)) = parse(&line?)
                && found == name
            {
                return Ok(Duration::from_nanos(at));
            }
        }
        let status = self.process.wait()?;
        Err(format!("a child ended, {status}, and had not come to {name:?}").into())
    }

    /// Waits for its end, which must be a good one; returns what it has said, of each name the first.
    pub(crate) fn said(mut self) -> Result<HashMap<String, u64>> {
        let mut all = HashMap::new();
        for line in &mut self.lines {
            if let Some((name, number)) = parse(&line?) {
                all.entry(name.to_owned()).or_insert(number);
            }
        }
        let status = self.process.wait()?;
        if status.success() { Ok(all) } else { Err(format!("a child failed: {status}").into()) }
    }

    /// Kills it as the system does; returns when.
    pub(crate) fn kill(mut self) -> Result<Duration> {
        let at = now();
        self.process.kill()?;
        self.process.wait()?;
        Ok(at)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn parse(line: &str) -> Option<(&str, u64)> {
    let (name, number) = line.rsplit_once(' ')?;
    Some((name, number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_a_name_and_a_number() {
        assert_eq!(parse("first record 17"), Some(("first record", 17)));
        assert_eq!(parse("warning: something"), None);
    }

    #[test]
    fn the_clock_goes_on() {
        let before = now();
        assert!(now() >= before);
    }
}
