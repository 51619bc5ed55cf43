//! No execution of the checkpoint protocol loses a committed epoch, commits one twice, or completes
//! a checkpoint from two runs.
//!
//! A model of the protocol (`docs/protocol.md`) in which runs begin, end epochs, upload, write metadata,
//! look at the fence, commit, delete, stop and die in every order that there is, within bounds; a
//! model checker visits every state. It shares no code with what it is a model of. A protocol with
//! a flaw planted in it has to be found out, each by a shortest way or nearly so.
//!
//! Read `model/incarnation.rs` for what a run does, `model/protocol.rs` for what must hold.
//! `--nocapture` shows how many states there were, and the way to each flaw;
//! `HIGHWATER_LONG_TESTS=1` takes wider bounds.

#![expect(clippy::disallowed_methods, reason = "says how long it took")]
#![expect(clippy::print_stdout, reason = "how many states there were is part of the result")]

mod model {
    pub(crate) mod flaw;
    pub(crate) mod incarnation;
    pub(crate) mod outside;
    pub(crate) mod protocol;
}

use std::time::Instant;

use model::flaw::Flaw;
use model::protocol::{Protocol, Question};
use stateright::{Checker, HasDiscoveries, Model};

const TWO_RUNS: Protocol = Protocol {
    runs: 2,
    records: 2,
    faults: 0,
    retain: 1,
    stops: true,
    folds: false,
    flaw: None,
    question: Question::Safe,
};
const UNCLEAR_ANSWERS: Protocol = Protocol { records: 1, faults: 2, ..TWO_RUNS };
const THREE_RUNS: Protocol = Protocol { runs: 3, records: 1, stops: false, ..TWO_RUNS };

fn bounds(protocol: &Protocol) -> String {
    let Protocol { runs, records, faults, retain, stops, folds, .. } = protocol;
    format!(
        "{runs} runs, {records} records, {faults} unclear answers, {retain} retained, \
         stops: {stops}, folds: {folds}"
    )
}

/// Visits every state.
fn check(protocol: Protocol) {
    let began = Instant::now();
    let checker = protocol.checker().spawn_bfs().join();
    println!(
        "{}: {} states, {} steps, depth {}, {:.1} s",
        bounds(&protocol),
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    );
    checker.assert_properties();
}

fn is_long() -> bool {
    std::env::var_os("HIGHWATER_LONG_TESTS").is_some()
}

/// What property is broken by a flaw, and how.
fn check_found(flaw: Flaw, protocol: Protocol, property: &'static str) {
    let protocol = Protocol { flaw: Some(flaw), ..protocol };
    let checker = protocol.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let states = checker.unique_state_count();
    let mut found = checker.discoveries();
    let names: Vec<_> = found.keys().copied().collect();
    let way = found.remove(property);
    let way = way.unwrap_or_else(|| panic!("{flaw:?}: not {property:?} is broken but {names:?}"));
    println!("{flaw:?} is found among {states} states, broken: {property}");
    way.into_actions().iter().for_each(|action| println!("    {action:?}"));
}

#[test]
fn two_runs_are_safe() {
    check(TWO_RUNS);
    if is_long() {
        check(Protocol { records: 3, stops: false, ..TWO_RUNS });
    }
}

#[test]
fn puts_without_an_answer_are_safe() {
    check(UNCLEAR_ANSWERS);
    if is_long() {
        check(Protocol { faults: 1, ..TWO_RUNS });
    }
}

#[test]
fn three_runs_are_safe() {
    check(THREE_RUNS);
    if is_long() {
        check(Protocol { stops: true, ..THREE_RUNS });
    }
}

#[test]
fn folds_and_retained_checkpoints_are_safe() {
    check(Protocol { stops: false, folds: true, ..TWO_RUNS });
    if is_long() {
        check(Protocol { retain: 2, folds: true, ..TWO_RUNS });
    }
}

/// Else the above would prove little.
#[test]
fn the_scenes_that_the_protocol_is_for_are_reached() {
    let question = Question::Reachable;
    for protocol in [TWO_RUNS, Protocol { faults: 1, ..TWO_RUNS }] {
        check(Protocol { question, ..protocol });
    }
}

/// One test for each flaw, with the property that it breaks.
macro_rules! finds {
    ($($test:ident: $flaw:ident in $protocol:expr, $property:literal;)*) => {
        $(#[test]
        fn $test() {
            check_found(Flaw::$flaw, $protocol, $property);
        })*
    };
}

finds! {
    finds_a_run_that_never_looks_at_the_fence:
        NeverLooks in TWO_RUNS, "what is restored is whole";
    finds_a_look_at_the_fence_before_the_write_only:
        LooksTooEarly in TWO_RUNS, "one run completes";
    finds_a_put_that_replaces:
        PutsOver in TWO_RUNS, "what is restored is whole";
    finds_a_commit_before_the_metadata:
        CommitsDurable in TWO_RUNS, "what is committed is restored";
    finds_an_acknowledgement_before_the_upload:
        AcknowledgesSealed in TWO_RUNS, "what is restored is whole";
    finds_a_commit_that_is_not_idempotent:
        CommitsAgain in TWO_RUNS, "no output twice";
    finds_a_checkpoint_that_lists_one_epoch:
        ListsOneEpoch in TWO_RUNS, "no output lost";
    finds_an_earlier_write_that_is_taken_for_the_newest:
        TakesEarlierForNewest in Protocol { faults: 1, ..TWO_RUNS },
        "what is committed is restored";
    finds_a_choice_before_the_claim:
        ChoosesThenClaims in TWO_RUNS, "what is committed is restored";
    finds_a_slow_start_that_ignores_the_head:
        IgnoresHead in TWO_RUNS, "the last run finishes the job";
    finds_a_start_without_a_copy:
        AppendsNoCopy in TWO_RUNS, "what is restored is whole";
    finds_a_restore_that_does_not_commit:
        RestoresWithoutCommit in TWO_RUNS, "what is restored is whole";
    finds_an_abort_before_the_commit:
        AbortsThenCommits in TWO_RUNS, "what is restored is whole";
    finds_an_abort_of_what_newer_runs_prepared:
        AbortsNewer in TWO_RUNS, "what is restored is whole";
    finds_a_sweep_of_what_newer_runs_uploaded:
        SweepsNewer in TWO_RUNS, "what is restored is whole";
    finds_a_deletion_before_the_look_at_the_fence:
        RetiresUnconfirmed in Protocol { stops: false, folds: true, ..TWO_RUNS },
        "what is restored is whole";
    finds_an_id_that_is_given_back:
        GivesBackId in THREE_RUNS, "what is restored is whole";
}
