//! A keyed operator that removes: a record enters its key, the next one takes it out and is passed
//! on. Written against timely, as the engine's operators have no reason to remove anything.

use highwater::Stream;
use highwater::checkpoint::Moment;
use highwater::checkpoint::dataflow::{Again, Closed, Delay, KeyedState, Stash, frontier_epoch};
use highwater::checkpoint::metadata::StateSchema;
use highwater::checkpoint::schema::Evolution;
use highwater::checkpoint::state::{Bincode, stable_hash};
use highwater::stream::Flow;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::generic::{OutputBuilder, OutputBuilderSession};
use timely::progress::Antichain;
use timely::progress::operate::FrontierInterest;

type State = KeyedState<Moment, u64, u64, Bincode>;
type Session<'a> = OutputBuilderSession<'a, Moment, CapacityContainerBuilder<Vec<u64>>>;

pub(crate) fn toggle<'scope>(
    flow: &Flow<'scope>,
    uid: &str,
    keys: Stream<'scope, u64>,
) -> Stream<'scope, u64> {
    let mut builder = OperatorBuilder::new(uid.to_owned(), flow.scope());
    let (output, passed) = builder.new_output_connection::<Vec<u64>, _>([]);
    let checkpoints = flow.checkpoints();
    let (groups, peers) = (checkpoints.run().key_groups(), flow.scope().peers());
    let route = move |key: &u64| groups.worker_of(groups.of_hash(stable_hash(key)), peers) as u64;
    let to_output = [(0, Antichain::from_elem(Delay::default()))];
    let mut input =
        builder.new_input_connection(keys.into_timely(), Exchange::new(route), to_output);
    builder.set_notify_for(0, FrontierInterest::Always);
    let schema = StateSchema::keyed::<u64, u64, Bincode>(&Evolution::new());
    let joined = checkpoints.join(&mut builder, uid, schema);
    let table = checkpoints.load::<u64, u64, Bincode>(uid);
    let activator = flow.scope().activator_for(builder.operator_info().address);
    let run = std::sync::Arc::clone(checkpoints.run());
    builder.build_reschedule(move |capabilities| {
        let mut output = OutputBuilder::<_, CapacityContainerBuilder<Vec<u64>>>::from(output);
        let mut state: State = joined.keyed(&capabilities, table);
        drop(capabilities);
        let mut stash: Stash<Moment, Vec<u64>> = Stash::default();
        move |frontiers| {
            let mut output = output.activate();
            input.for_each(|capability, batch| {
                if state.may_apply(capability.time().tick.epoch(), stash.first()) {
                    apply(&mut state, &capability.retain(0), batch, &mut output);
                } else {
                    stash.push(capability.retain(0), batch);
                }
            });
            let frontier = frontier_epoch(frontiers[0].frontier());
            loop {
                while !state.is_full()
                    && let Some((capability, mut batch)) = stash.pop(state.running())
                {
                    apply(&mut state, &capability, &mut batch, &mut output);
                }
                if state.advance(frontier, stash.first()) == Closed::No {
                    break;
                }
            }
            match state.work() {
                Ok(Again::WhenWoken) => {}
                Ok(Again::Now | Again::Soon) => activator.activate(),
                Err(error) => run.control().fail(error),
            }
            !state.is_done() && !run.control().is_over()
        }
    });
    flow.from_timely(passed)
}

fn apply(
    state: &mut State,
    capability: &Capability<Moment>,
    batch: &mut Vec<u64>,
    output: &mut Session<'_>,
) {
    let mut session = output.session_with_builder(capability);
    for key in batch.drain(..) {
        let hash = stable_hash(&key);
        if state.table().remove(hash, key).is_some() {
            session.give(key);
        } else {
            state.table().update(hash, key, || 0, |_, times| *times += 1);
        }
    }
}
