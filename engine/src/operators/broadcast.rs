//! The operator that has a map which all workers have whole, and reads it for each record.
//!
//! ```text
//!   updates --> worker 0, in an order --> all workers --(no path)--> [ Broadcast ] --> data
//!   data ------------------------------------------------------------^   +--acks-->
//! ```
//!
//! Updates go through one worker, so that all see them in one order, and the maps are the same.
//! SUBTLE: timely's own `broadcast` and `map` may change the order of batches of one time, each
//! worker in another way; between the one worker and the operator there must be channels alone. The
//! data does not wait for epochs: nothing that it does is state.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use highwater_checkpoint::dataflow::{
    BroadcastState, Closed, Wakeup, frontier_epoch, keyed_schema,
};
use highwater_checkpoint::state::Bincode;
use highwater_checkpoint::state::typed::BroadcastMap;
use highwater_checkpoint::{Epoch, Moment};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

use crate::error::Error;
use crate::stream::{Data, Flow, Output, Stream, to_first_output};

pub(crate) fn with_broadcast<'scope, T, U, K, V, I>(
    uid: &str,
    stream: Stream<'scope, T>,
    updates: Stream<'scope, U>,
    mut update: impl FnMut(&mut BroadcastMap<K, V>, U) + 'static,
    mut each: impl FnMut(&BTreeMap<K, V>, T) -> I + 'static,
) -> Stream<'scope, I::Item>
where
    T: 'static,
    U: Data + Clone,
    K: Data + Hash + Ord + Clone,
    V: Data + Clone,
    I: IntoIterator<Item: 'static>,
{
    let flow = stream.flow().clone();
    let updates = in_one_order(&flow, updates.into_timely());
    let change = move |state: &mut State<K, V>, batch: &mut Vec<U>| {
        state.change(|map| batch.drain(..).for_each(|record| update(map, record)));
    };
    let read = move |state: &State<K, V>, batch: &mut Vec<T>, made: &mut Vec<I::Item>| {
        batch.drain(..).for_each(|record| made.extend(each(state.map(), record)));
    };
    let made = build(&flow, uid, stream.into_timely(), updates, change, read);
    Stream::built(flow, made)
}

type State<K, V> = BroadcastState<Moment, K, V, Bincode>;

/// Takes all updates to worker 0, and says of each, for every worker, that it is for that worker.
fn in_one_order<'scope, U: Data + Clone>(
    flow: &Flow<'scope>,
    updates: StreamVec<'scope, Moment, U>,
) -> StreamVec<'scope, Moment, (u64, U)> {
    let mut builder = OperatorBuilder::new("Order".to_owned(), flow.scope());
    let (output, ordered) = builder.new_output_connection::<Vec<(u64, U)>, _>([]);
    let to_one = Exchange::new(|_: &U| 0);
    let mut input = builder.new_input_connection(updates, to_one, to_first_output());
    builder.set_notify_for(0, FrontierInterest::Never);
    let workers = flow.scope().peers() as u64;
    builder.build(move |capabilities| {
        drop(capabilities);
        let mut output = Output::<(u64, U)>::from(output);
        move |_| {
            input.for_each(|capability, batch| {
                let for_all = batch
                    .drain(..)
                    .flat_map(|update| (0..workers).map(move |worker| (worker, update.clone())));
                output.activate().session(&capability).give_iterator(for_all);
            });
        }
    });
    ordered
}

fn build<'scope, T: 'static, U: Data, K, V, R: 'static>(
    flow: &Flow<'scope>,
    uid: &str,
    data: StreamVec<'scope, Moment, T>,
    updates: StreamVec<'scope, Moment, (u64, U)>,
    mut change: impl FnMut(&mut State<K, V>, &mut Vec<U>) + 'static,
    mut read: impl FnMut(&State<K, V>, &mut Vec<T>, &mut Vec<R>) + 'static,
) -> StreamVec<'scope, Moment, R>
where
    K: Data + Hash + Ord + Clone,
    V: Data + Clone,
{
    let mut builder = OperatorBuilder::new(format!("Broadcast {uid}"), flow.scope());
    let (output, results) = builder.new_output_connection::<Vec<R>, _>([]);
    let mut input = builder.new_input_connection(data, Pipeline, to_first_output());
    let to_worker = Exchange::new(|(worker, _): &(u64, U)| *worker);
    let mut updates = builder.new_input_connection(updates, to_worker, []);
    builder.set_notify_for(0, FrontierInterest::Never);
    builder.set_notify_for(1, FrontierInterest::Always);
    let checkpoints = flow.checkpoints();
    let joined = checkpoints.join(&mut builder, uid, keyed_schema::<K, V, Bincode>());
    let load = State::<K, V>::load(checkpoints, joined, uid);
    let activator = flow.scope().activator_for(builder.operator_info().address);
    let (run, uid) = (Arc::clone(flow.run()), uid.to_owned());
    builder.build_reschedule(move |capabilities| {
        let mut state = load(&capabilities);
        drop(capabilities);
        let mut wakeup = Wakeup::new(activator, Arc::clone(&run));
        let (mut output, mut made) = (Output::<R>::from(output), Vec::new());
        // Without capabilities, for nothing is sent for them: epochs wait for the state alone.
        let mut stash: BTreeMap<Epoch, Vec<U>> = BTreeMap::new();
        move |frontiers| {
            updates.for_each(|capability, batch| {
                let mut batch = batch.drain(..).map(|(_, update)| update).collect();
                let epoch = capability.time().tick.epoch();
                if state.state().admits(epoch) {
                    change(&mut state, &mut batch);
                } else {
                    stash.entry(epoch).or_default().append(&mut batch);
                }
            });
            let frontier = frontier_epoch(frontiers[1].frontier());
            loop {
                let stashed = stash.first_key_value().map(|(epoch, _)| *epoch);
                if state.state().advance(frontier, stashed) == Closed::No {
                    break;
                }
                if let Some(mut batch) = stash.remove(&state.state().running()) {
                    change(&mut state, &mut batch);
                }
            }
            input.for_each(|capability, batch| {
                read(&state, batch, &mut made);
                if !made.is_empty() {
                    output.activate().session(&capability).give_container(&mut made);
                    made.clear();
                }
            });
            match state.state().work() {
                Ok(again) => wakeup.again(again),
                Err(error) => run.control().fail(Error::Operator { uid: uid.clone(), error }),
            }
            !state.state().is_done() && !run.control().is_over()
        }
    });
    results
}
