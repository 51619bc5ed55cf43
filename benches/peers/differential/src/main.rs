//! Jobs of differential dataflow: collections that change, of which the changes are said.
//!
//! Changes of one time are said as one: a key that comes twice in a step changes once. The digests are
//! those of a side that says each count all the same, for they are sums that the change tells.

mod counts;
mod nexmark;

use std::error::Error;

use differential_dataflow::VecCollection;
use differential_dataflow::input::{Input, InputSession};
use peers_events::{Arguments, Job, Runs};
use timely::dataflow::Scope;
use timely::dataflow::operators::probe::Handle;

/// Records of a worker that come at one time: with fewer, times are what is measured.
const STEP: u64 = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::of_process();
    let job: Job = match arguments.get("suite")? {
        "keyed-count" => counts::keys(&arguments)?,
        "word-count" => counts::words(&arguments)?,
        "nexmark" => nexmark::query(&arguments)?,
        suite => return Err(format!("there is no suite {suite}").into()),
    };
    Runs::serve(&job)
}

/// Feeds each worker its share of `total` records, a step after the other, to what `build` builds.
fn run<T: differential_dataflow::ExchangeData>(
    workers: usize,
    total: u64,
    record: impl Fn(u64) -> T + Copy + Send + Sync + 'static,
    build: impl for<'s> Fn(VecCollection<'s, u64, T>, &Handle<u64>) + Send + Sync + 'static,
) {
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let (index, peers) = (worker.index() as u64, worker.peers() as u64);
        let probe = Handle::new();
        let mut input: InputSession<u64, T, isize> = worker.dataflow(|scope: Scope<'_, u64>| {
            let (input, records) = scope.new_collection();
            build(records, &probe);
            input
        });
        for (step, start) in (0..total).step_by((STEP * peers) as usize).enumerate() {
            let end = total.min(start + STEP * peers);
            for number in (start + index..end).step_by(peers as usize) {
                input.insert(record(number));
            }
            input.advance_to(step as u64 + 1);
            input.flush();
            // One step ahead of what is done, so that workers need not wait.
            worker.step_while(|| probe.less_than(&(step as u64)));
        }
    });
    drop(guards.expect("threads can be started"));
}
