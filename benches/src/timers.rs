//! `timers`: millions of event-time timers, all pending at once, which then fire: what memory they
//! take, and how fast they fire.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use highwater::prelude::*;
use highwater::state::Event;
use highwater_connectors::generator::GeneratorSource;

use crate::machine;
use crate::report::spread;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Timers between two looks at the clock.
const LOOK: u64 = 1024;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Timers, each of a key of its own
    #[arg(long, default_value_t = 10_000_000)]
    timers: u64,

    /// Worker threads
    #[arg(short, long, default_value_t = 2)]
    workers: usize,

    /// Runs of each
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// What one worker has seen.
struct Fired {
    count: u64,
    first: Instant,
    last: Instant,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    println!("{}", machine::describe());
    let Args { timers, workers, rounds } = *args;
    println!("timers: {timers} pending, {workers} workers, fired when the input ends\n");
    let (mut rates, mut bytes) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (fired, taken) = once(timers, workers)?;
        let total: u64 = fired.iter().map(|fired| fired.count).sum();
        if total != timers {
            return Err(format!("{total} timers fired, of {timers}").into());
        }
        for fired in &fired {
            rates.push(fired.count as f64 / (fired.last - fired.first).as_secs_f64() / 1e6);
        }
        let each = taken as f64 / timers as f64;
        // Memory that is free again is used again: only the first run says what timers take.
        if round == 0 {
            bytes.push(each);
        }
        let rates: Vec<_> =
            rates.iter().rev().take(workers).map(|rate| format!("{rate:.2}")).collect();
        println!(
            "round {round}: {} M/s by worker, {each:.0} bytes a timer more than before",
            rates.join(", ")
        );
    }
    println!("\nfired by a worker  {} M/s", spread(&rates, 2));
    println!("resident memory    {} bytes a timer", spread(&bytes, 0));
    Ok(())
}

/// Sets all timers and lets them fire; returns what each worker fired, and how much resident memory
/// there was when the first one did, above what there was before.
fn once(timers: u64, workers: usize) -> Result<(Vec<Fired>, u64)> {
    let before = machine::resident_memory().ok_or("this system does not tell its memory")?;
    let peak = Arc::new(AtomicU64::new(0));
    let seen: Arc<Mutex<Vec<Fired>>> = Arc::default();
    let (to_peak, to_seen) = (Arc::clone(&peak), Arc::clone(&seen));
    Job::new("timers").workers(workers).quiet().execute(move |flow| {
        // A record's time is always the same: nothing fires while there are more.
        let by_time = Watermarks::ascending(|_: &u64| EventTime(0));
        let keys = GeneratorSource::new(timers, |i| i).with_watermarks(by_time);
        let (peak, seen) = (Arc::clone(&to_peak), Arc::clone(&to_seen));
        flow.source("keys", keys)
            .key_by(|key| *key)
            .process_timed("timers", move |state| {
                let due = state.event_timers();
                let mut worker = Worker { fired: None, seen: Arc::clone(&seen) };
                let peak = Arc::clone(&peak);
                move |ctx, event| match event {
                    Event::Record(key) => {
                        // In no order, over eleven days.
                        let at = 1 + (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 34) as i64;
                        due.set(ctx, (), EventTime(at));
                    }
                    Event::Timer { .. } => {
                        if worker.fire() {
                            let now = machine::resident_memory().unwrap_or_default();
                            peak.fetch_max(now, Ordering::Relaxed);
                        }
                        if *ctx.key() == u64::MAX {
                            ctx.emit(());
                        }
                    }
                    Event::Alarm { .. } => {}
                }
            })
            .for_each(|()| {});
    })?;
    let fired = std::mem::take(&mut *seen.lock().map_err(|_| "a worker panicked")?);
    Ok((fired, peak.load(Ordering::Relaxed).saturating_sub(before)))
}

/// Counts, and says so when it is dropped.
struct Worker {
    fired: Option<Fired>,
    seen: Arc<Mutex<Vec<Fired>>>,
}

impl Worker {
    /// Returns whether it was the first.
    fn fire(&mut self) -> bool {
        let Some(fired) = &mut self.fired else {
            let now = Instant::now();
            self.fired = Some(Fired { count: 1, first: now, last: now });
            return true;
        };
        fired.count += 1;
        if fired.count.is_multiple_of(LOOK) {
            fired.last = Instant::now();
        }
        false
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let (Some(fired), Ok(mut seen)) = (self.fired.take(), self.seen.lock()) {
            seen.push(fired);
        }
    }
}
