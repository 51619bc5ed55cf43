//! The same dataflow as a good timely programmer writes it: without steps, epochs or checkpoints.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OutputBuilderSession;
use timely::dataflow::operators::generic::operator::{Operator, source};

use super::events::{AGAIN, Event, Events, Rest};
use super::lags::{Lags, Watch};
use crate::by_hand::{Batches, HashMap, by_key};

/// Events that a source emits in one scheduling, as in the suite `keyed-count`.
const BATCH: u64 = 8192;

pub(crate) fn run(
    events: &Events,
    workers: usize,
    warm_up_us: u64,
) -> Result<Lags, Box<dyn std::error::Error>> {
    let total = Arc::new(Mutex::new(Lags::default()));
    let (events, seen) = (events.clone(), Arc::clone(&total));
    let config = match workers {
        1 => timely::Config::thread(),
        workers => timely::Config::process(workers),
    };
    let guards = timely::execute(config, move |worker| {
        let mut maker = events.maker(worker.index() as u64);
        let mut watch = Watch::new(Arc::clone(&events.clock), warm_up_us, Arc::clone(&seen));
        worker.dataflow::<u64, _, _>(|scope| {
            let made = source(scope, "Events", |capability, info| {
                let activator = scope.activator_for(info.address);
                let (mut capability, mut batch) = (Some(capability), Vec::<Event>::new());
                let (clock, mut due) = (Arc::clone(&events.clock), Duration::ZERO);
                move |output: &mut OutputBuilderSession<'_, u64, Batches<Event>>| {
                    let Some(held) = &capability else { return };
                    let rest = maker.make(BATCH, &mut batch);
                    output.session(held).give_iterator(batch.drain(..));
                    match rest {
                        Rest::More => activator.activate(),
                        // Timely keeps each that it is asked for: one is enough to be under way.
                        Rest::Later if clock.elapsed() < due => {}
                        Rest::Later => {
                            due = clock.elapsed() + AGAIN;
                            activator.activate_after(AGAIN);
                        }
                        Rest::Nothing => capability = None,
                    }
                }
            });
            made.unary::<Batches<(u64, u64, u64)>, _, _, _>(
                by_key(|event: &Event| event.0),
                "Count",
                |_, _| {
                    let mut counts: HashMap<u64, u64> = HashMap::default();
                    move |input, output| {
                        input.for_each(|time, batch| {
                            let mut session = output.session(&time);
                            for (key, due_us) in batch.drain(..) {
                                let count = counts.entry(key).or_insert(0);
                                *count += 1;
                                session.give((key, *count, due_us));
                            }
                        });
                    }
                },
            )
            .sink(Pipeline, "Watch", move |(input, _)| {
                input.for_each(|_, batch| {
                    watch.arrived(batch.drain(..).map(|(_, _, due_us)| due_us));
                });
            });
        });
    })?;
    for outcome in guards.join() {
        outcome?;
    }
    let lags = total.lock().map_err(|_| "a worker panicked")?.clone();
    Ok(lags)
}
