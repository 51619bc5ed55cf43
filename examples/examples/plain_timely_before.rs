//! What `plain_timely.rs` was before it was made fault tolerant: a program that is written against
//! timely alone, which loses everything when it dies.
//!
//! ```text
//! cargo run --release --example plain_timely_before -- 10000000 -w 2
//! ```

#![allow(clippy::print_stdout, reason = "it is the output")]

use std::collections::HashMap;

use clap::Parser;
use timely::Config;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Inspect;
use timely::dataflow::operators::generic::{Operator, source};

/// Counts the numbers below N by the Collatz steps that they take to 1
#[derive(Parser)]
struct Args {
    /// How far to count
    #[arg(default_value_t = 1_000_000)]
    n: u64,

    /// Number of worker threads
    #[arg(short, default_value_t = 1)]
    workers: usize,
}

/// The input is read in as many parts, whatever the number of workers.
const PARTS: u64 = 8;

fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let args = Args::parse();
    timely::execute(Config::process(args.workers), move |worker| {
        let (index, peers) = (worker.index() as u64, worker.peers() as u64);
        worker.dataflow::<u64, _, _>(|scope| {
            // Each part is known by the next number that it yields.
            let parts = (1..=PARTS).filter(|part| part % peers == index);
            let mut parts: Vec<u64> = parts.collect();
            let steps = source(scope, "Steps", move |capability, info| {
                let activator = scope.activator_for(info.address);
                let mut capability = Some(capability);
                move |output| {
                    let Some(round) = &mut capability else { return };
                    let mut batch = Vec::new();
                    parts.retain_mut(|next| {
                        batch.extend((0..100).map_while(|_| steps_of_next(next, args.n)));
                        *next < args.n
                    });
                    output.session(&*round).give_container(&mut batch);
                    round.downgrade(&(*round.time() + 1));
                    if parts.is_empty() {
                        capability = None;
                    }
                    activator.activate();
                }
            });
            let by_steps = Exchange::new(|steps: &u64| *steps);
            let counts = steps.unary_frontier(by_steps, "Count", move |end, _| {
                let mut end = Some(end);
                let mut counts = HashMap::new();
                move |(input, frontier), output| {
                    input.for_each(|_, batch| {
                        for steps in batch.drain(..) {
                            *counts.entry(steps).or_insert(0u64) += 1;
                        }
                    });
                    if frontier.is_empty()
                        && let Some(end) = end.take()
                    {
                        output.session(&end).give_iterator(counts.drain());
                    }
                }
            });
            let counts = counts.container::<Vec<_>>();
            counts.inspect(|(steps, count)| println!("{steps} {count}"));
        });
    })?;
    Ok(())
}

/// The Collatz steps of the number `next` of a part, which moves on; none at the end.
fn steps_of_next(next: &mut u64, n: u64) -> Option<u64> {
    let number = Some(*next).filter(|number| *number < n)?;
    *next += PARTS;
    let half_or_triple = |n: &u64| Some(if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 });
    let trajectory = std::iter::successors(Some(number), half_or_triple);
    Some(trajectory.take_while(|number| *number != 1).count() as u64)
}
