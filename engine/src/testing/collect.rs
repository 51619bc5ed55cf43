//! Runs a small dataflow in this thread's place and returns what comes out: for doc tests.

use serde::{Serialize, de::DeserializeOwned};

use super::CollectSink;
use crate::stream::{Flow, Stream};
use crate::{Job, Result};

/// What comes out of the stream that `build` makes, run on one worker.
///
/// # Panics
///
/// If the job fails.
pub fn collect_one<T, F>(build: F) -> Vec<T>
where
    T: Serialize + DeserializeOwned + Clone + Send + 'static,
    F: for<'scope> Fn(&Flow<'scope>) -> Stream<'scope, T> + Send + Sync + 'static,
{
    let (records, ()) = run(move |flow, sink| build(flow).sink("collected", sink), |()| ());
    records
}

/// What comes out of the two streams that `build` makes, run on one worker.
///
/// # Panics
///
/// If the job fails.
pub fn collect<A, B, F>(build: F) -> (Vec<A>, Vec<B>)
where
    A: Serialize + DeserializeOwned + Clone + Send + 'static,
    B: Serialize + DeserializeOwned + Clone + Send + 'static,
    F: for<'scope> Fn(&Flow<'scope>) -> (Stream<'scope, A>, Stream<'scope, B>)
        + Send
        + Sync
        + 'static,
{
    let others = CollectSink::<B>::new();
    let to_others = others.clone();
    run(
        move |flow, sink| {
            let (first, second) = build(flow);
            first.sink("collected", sink);
            second.sink("collected-too", to_others.clone());
        },
        move |()| others.records(),
    )
}

fn run<A, R>(
    build: impl Fn(&Flow<'_>, CollectSink<A>) + Send + Sync + 'static,
    rest: impl FnOnce(()) -> R,
) -> (Vec<A>, R)
where
    A: Serialize + DeserializeOwned + Clone + Send + 'static,
{
    let sink = CollectSink::<A>::new();
    let to_sink = sink.clone();
    let outcome: Result<()> =
        Job::new("collect").quiet().run(move |flow| build(flow, to_sink.clone()));
    outcome.expect("a dataflow in a doc test runs");
    (sink.records(), rest(()))
}
