//! Every query, on both sides, comes to the result on record, on any number of workers.

use std::time::Duration;

use super::DIGESTS;
use super::generator::Generator;
use super::run::Setup;
use super::source::Events;
use super::table::QUERIES;
use crate::recorded::{Recorded, Size};

/// Forty seconds of event time: windows end, sessions too, auctions expire, blocks alternate.
const EVENTS: u64 = 40_000;
const EVENTS_PER_SECOND: u64 = 1_000;
const SEED: u64 = 1;

fn size() -> Size {
    let size = [("events", EVENTS), ("events_per_second", EVENTS_PER_SECOND), ("seed", SEED)];
    size.map(|(name, value)| (name.to_owned(), value)).into()
}

fn recorded() -> Recorded {
    Recorded::of_suite("nexmark", DIGESTS).unwrap()
}

fn events() -> Events {
    Events::new(Generator::new(SEED, EVENTS_PER_SECOND), EVENTS)
}

fn setup(workers: usize) -> Setup {
    Setup::new(events(), workers)
}

#[test]
fn all_results_are_on_record() {
    assert_eq!(recorded().known(&size()), QUERIES.len());
}

#[test]
fn the_engine_comes_to_the_results_on_record() {
    let recorded = recorded();
    for (workers, query) in [1, 2, 3].into_iter().flat_map(|n| QUERIES.iter().map(move |q| (n, q)))
    {
        let run = (query.engine)(&setup(workers), None).unwrap();
        assert_eq!(recorded.check(&size(), query.name, run.totals), Ok(()), "{workers} workers");
    }
}

#[test]
fn timely_comes_to_the_results_on_record() {
    let recorded = recorded();
    for (workers, query) in [1, 2, 3].into_iter().flat_map(|n| QUERIES.iter().map(move |q| (n, q)))
    {
        let run = (query.by_hand)(&setup(workers)).unwrap();
        assert_eq!(recorded.check(&size(), query.name, run.totals), Ok(()), "{workers} workers");
    }
}

#[test]
fn checkpoints_do_not_change_the_results() {
    let recorded = recorded();
    for query in &QUERIES {
        let run = (query.engine)(&setup(2), Some(Duration::from_secs(1))).unwrap();
        assert_eq!(recorded.check(&size(), query.name, run.totals), Ok(()));
        assert!(run.summary.is_some_and(|summary| summary.checkpoints > 0));
    }
}

#[test]
fn prepared_events_are_the_same() {
    let recorded = recorded();
    let setup = Setup::new(events().prepare(), 2);
    let q7 = &QUERIES[7];
    assert_eq!(recorded.check(&size(), q7.name, (q7.engine)(&setup, None).unwrap().totals), Ok(()));
    assert_eq!(recorded.check(&size(), q7.name, (q7.by_hand)(&setup).unwrap().totals), Ok(()));
}

#[test]
fn a_name_that_is_no_query_s_is_said_and_the_others_are_kept() {
    let (chosen, wrong) = super::chosen(&["q4", "q23", "q7"].map(String::from));
    let chosen: Vec<_> = chosen.iter().map(|query| query.name).collect();
    assert_eq!(chosen, ["q4", "q7"]);
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].contains("\"q23\""));
}

#[test]
fn another_result_is_an_error() {
    let recorded = recorded();
    let mut totals = (QUERIES[3].by_hand)(&setup(1)).unwrap().totals;
    totals.digest ^= 1;
    assert!(recorded.check(&size(), "q3", totals).unwrap_err().contains("on record"));
}
