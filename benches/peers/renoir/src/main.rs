//! Jobs of Renoir.

mod counts;
mod nexmark;

use std::error::Error;

use peers_events::{Arguments, Job, Runs};
use renoir::{BatchMode, RuntimeConfig, StreamContext};

/// As in Renoir's own benchmark of Nexmark.
fn batches() -> BatchMode {
    BatchMode::fixed(16 << 10)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::of_process();
    let config = RuntimeConfig::local(arguments.number("workers")?)?;
    let context = move || StreamContext::new(config.clone());
    let job: Job = match arguments.get("suite")? {
        "keyed-count" => counts::keys(&arguments, context)?,
        "word-count" => counts::words(&arguments, context)?,
        "nexmark" => nexmark::query(&arguments, context)?,
        suite => return Err(format!("there is no suite {suite}").into()),
    };
    Runs::serve(&job)
}
