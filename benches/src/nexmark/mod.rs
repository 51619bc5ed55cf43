//! `nexmark`: the queries q0 to q22, each beside a dataflow of the same semantics by hand.
//!
//! The sides of a query alternate in one process, over the same events, and must come to the same
//! result; where the result is on record for this number of events, to that one.

mod by_hand;
mod event;
mod export;
mod generator;
mod queries;
mod run;
mod source;
mod table;
mod text;

use std::path::PathBuf;

use self::generator::Generator;
use self::run::Setup;
use self::source::Events;
use self::table::{QUERIES, Query};
use crate::rounds::{Case, Comparison, Flags};
use crate::sides::TIMELY;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Results on record.
const DIGESTS: &str = include_str!("../../digests/nexmark.json");

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Queries to run: names such as q4, or all
    #[arg(long, value_delimiter = ',', default_value = "all")]
    query: Vec<String>,

    /// Events of a run
    #[arg(long, default_value_t = 10_000_000)]
    events: u64,

    /// Events a second of event time; the standard's default
    #[arg(long, default_value_t = 10_000)]
    events_per_second: u64,

    /// Seed of the events
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Make the events before the clock starts, rather than in the job
    #[arg(long)]
    prepared: bool,

    /// Write the events to this file, for programs that are not this one, and run nothing
    #[arg(long, value_name = "FILE", hide = true)]
    write: Option<PathBuf>,

    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let generator = Generator::new(args.seed, args.events_per_second);
    if let Some(path) = &args.write {
        return export::write(&generator, args.events, path);
    }
    let events = Events::new(generator, args.events);
    let events = if args.prepared { events.prepare() } else { events };
    let setup = Setup::new(events, args.flags.workers);
    let mut comparison = Comparison::begin("nexmark", &args.flags, &what(args))?.on_record(
        DIGESTS,
        &[
            ("events", args.events),
            ("events_per_second", args.events_per_second),
            ("seed", args.seed),
        ],
    )?;
    let (queries, wrong) = chosen(&args.query);
    for error in wrong {
        comparison.wrong(error);
    }
    for query in queries {
        let case = Case::new(query.name)
            .field("events_per_second_of_event_time", args.events_per_second)
            .field("seed", args.seed)
            .field("prepared", args.prepared)
            .side(TIMELY, || (query.by_hand)(&setup))
            .engine(&args.flags, |interval| (query.engine)(&setup, interval));
        comparison.run(&case);
    }
    comparison.end()
}

fn what(args: &Args) -> String {
    let made = if args.prepared {
        "made before the clock starts"
    } else {
        "made in the job, which is in the figures"
    };
    let (events, per_second) = (args.events as f64 / 1e6, args.events_per_second);
    format!("{events} M events, {per_second} a second of event time, {made}")
}

/// The queries with these names, and what is no query's name.
fn chosen(names: &[String]) -> (Vec<&'static Query>, Vec<String>) {
    let (mut queries, mut wrong) = (Vec::new(), Vec::new());
    for name in names {
        if name == "all" {
            queries.extend(&QUERIES);
        } else if let Some(query) = QUERIES.iter().find(|query| query.name == name) {
            queries.push(query);
        } else {
            wrong.push(format!("there is no query {name:?}: they are q0 to q22, and all"));
        }
    }
    (queries, wrong)
}

#[cfg(test)]
mod tests;
