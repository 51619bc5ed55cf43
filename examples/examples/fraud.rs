//! Payments that look like fraud: a small one to try a card, and within a minute a large one. A state
//! that a timer clears.
//!
//! ```text
//! cargo run --release --example fraud -- --output out -w 2
//! ```

#![expect(clippy::print_stdout, reason = "the alerts are what the program is run for")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use highwater::prelude::*;
use highwater::state::Event;
use highwater_connectors::files::FileSink;
use highwater_connectors::generator::GeneratorSource;

/// In cents.
const SMALL: u64 = 100;
const LARGE: u64 = 50_000;
const SOON: Duration = Duration::from_secs(60);

/// Alerts for pairs of a small payment and a large one on the same card
#[derive(Parser)]
struct Args {
    /// Payments to make
    #[arg(long, default_value_t = 200_000)]
    payments: u64,

    /// Directory for the rows `card,time,cents`
    #[arg(long, value_name = "DIR")]
    output: PathBuf,

    #[command(flatten)]
    job: JobArgs,
}

/// A payment: its card, when it was made (milliseconds), and how much it was.
type Payment = (u64, i64, u64);

/// The payment with this number: ten a second, on one of 500 cards, out of order by up to two seconds.
fn payment(number: u64) -> Payment {
    let dice = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let dice = (dice ^ dice >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 20;
    let at = number as i64 * 100 - (dice % 2_000) as i64;
    let cents = match dice % 100 {
        0..4 => 1 + dice % SMALL,
        4..8 => LARGE + dice % 100_000,
        _ => SMALL + dice % 10_000,
    };
    ((dice >> 12) % 500, at, cents)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Args { payments, output, job } = Args::parse();
    let to_output = output.clone();
    Job::with_args("fraud", job).run(move |flow| {
        let late = Duration::from_secs(2);
        let by_time = Watermarks::bounded(late, |(_, at, _): &Payment| EventTime(*at));
        let payments = GeneratorSource::new(payments, payment).with_watermarks(by_time);
        let by_card = flow.source("payments", payments).key_by(|(card, ..)| *card);
        let alerts = by_card.process_timed("alerts", |state| {
            // Payments come out of order: each waits until no earlier one is expected.
            let waiting = state.map::<(i64, u64), ()>("waiting");
            let tried = state.value::<i64>("tried");
            let timers = state.event_timers();
            move |ctx, event| match event {
                Event::Record((_, at, cents)) => {
                    waiting.insert(ctx, (at, cents), ());
                    timers.set(ctx, at, EventTime(at + 1));
                }
                Event::Timer { tag: at, .. } => {
                    let mut due = Vec::new();
                    let now = (at, 0)..=(at, u64::MAX);
                    waiting.for_each(ctx, now, |payment, ()| due.push(*payment));
                    for (at, cents) in due {
                        waiting.remove(ctx, &(at, cents));
                        let is_soon = |tried: i64| at - tried <= SOON.as_millis() as i64;
                        if cents > LARGE && tried.get(ctx).is_some_and(is_soon) {
                            ctx.emit((*ctx.key(), at, cents));
                        }
                        if cents < SMALL {
                            tried.set(ctx, at);
                        } else {
                            tried.remove(ctx);
                        }
                    }
                }
                Event::Alarm { .. } => {}
            }
        });
        alerts.sink("found", FileSink::csv(&to_output));
    })?;
    show(&output)
}

/// Prints the alerts, the first first.
fn show(directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let mut alerts = Vec::new();
    for part in fs::read_dir(directory)? {
        let part = part?.path();
        // Hidden files are the sink's own.
        if part.extension().is_none_or(|extension| extension != "csv") {
            continue;
        }
        for row in fs::read_to_string(part)?.lines() {
            let [card, at, cents] = row.split(',').collect::<Vec<_>>()[..] else { continue };
            alerts.push((at.parse::<i64>()?, card.parse::<u64>()?, cents.parse::<u64>()?));
        }
    }
    alerts.sort_unstable();
    for (at, card, cents) in alerts {
        println!("at {:9.1} s  card {card:3}  {:7.2}", at as f64 / 1e3, cents as f64 / 100.0);
    }
    Ok(())
}
