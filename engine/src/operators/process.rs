//! The operator whose function and states a program brings itself.

use std::cell::RefCell;
use std::sync::Arc;

use highwater_checkpoint::Moment;
use highwater_checkpoint::dataflow::{Again, Closed, NamedStates, Stash, frontier_epoch};
use highwater_checkpoint::state::stable_hash;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::CapabilityTrait;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::AntichainRef;
use timely::progress::operate::FrontierInterest;
use timely::scheduling::Activator;

use super::reschedule;
use crate::error::Error;
use crate::state::{At, Context, Declarations, OperatorStates, States};
use crate::stream::{Data, Flow, Key, Output, Stream, to_first_output};

/// Works on a batch at a time of day, and appends what is to be sent on.
type Work<D, R> = Box<dyn FnMut(&mut Vec<D>, u64, &RefCell<Vec<R>>)>;

/// Adds an operator with state for each key.
pub(crate) fn process_keyed<'scope, K, V, R, P>(
    uid: &str,
    stream: Stream<'scope, (K, V)>,
    setup: impl FnOnce(&mut States<'_, '_, 'scope, K>) -> P,
) -> Stream<'scope, R>
where
    K: Key,
    V: Data,
    R: 'static,
    P: FnMut(&Context<'_, K, R>, V) + 'static,
{
    let flow = stream.flow().clone();
    let (key_groups, peers) = (flow.run().key_groups(), flow.scope().peers());
    let route = move |(key, _): &(K, V)| {
        key_groups.worker_of(key_groups.of_hash(stable_hash(key)), peers) as u64
    };
    let processed = build(&flow, uid, stream.into_timely(), Exchange::new(route), |declarations| {
        let mut process = setup(&mut States::new(declarations));
        Box::new(move |batch, now_ms, made| {
            for (key, value) in batch.drain(..) {
                let at = At { key: &key, hash: stable_hash(&key), now_ms };
                process(&Context::new(at, made), value);
            }
        })
    });
    Stream::built(flow, processed)
}

/// Adds an operator with state for each worker.
pub(crate) fn process<'scope, T, R, P>(
    uid: &str,
    stream: Stream<'scope, T>,
    setup: impl FnOnce(&mut OperatorStates<'_, '_, 'scope>) -> P,
) -> Stream<'scope, R>
where
    T: 'static,
    R: 'static,
    P: FnMut(&Context<'_, (), R>, T) + 'static,
{
    let flow = stream.flow().clone();
    let processed = build(&flow, uid, stream.into_timely(), Pipeline, |declarations| {
        let mut process = setup(&mut OperatorStates::new(declarations));
        Box::new(move |batch, now_ms, made| {
            let at = At { key: &(), hash: 0, now_ms };
            let context = Context::new(at, made);
            batch.drain(..).for_each(|record| process(&context, record));
        })
    });
    Stream::built(flow, processed)
}

fn build<'scope, D: 'static, R: 'static>(
    flow: &Flow<'scope>,
    uid: &str,
    stream: StreamVec<'scope, Moment, D>,
    pact: impl ParallelizationContract<Moment, Vec<D>>,
    declare: impl FnOnce(&mut Declarations<'_, 'scope>) -> Work<D, R>,
) -> StreamVec<'scope, Moment, R> {
    let mut builder = OperatorBuilder::new(format!("Process {uid}"), flow.scope());
    let (output, results) = builder.new_output_connection::<Vec<R>, _>([]);
    let mut input = builder.new_input_connection(stream, pact, to_first_output());
    builder.set_notify_for(0, FrontierInterest::Always);
    let mut declarations = Declarations::new(flow, &mut builder, uid);
    let work = declare(&mut declarations);
    let makes = declarations.finish();
    let activator = flow.scope().activator_for(builder.operator_info().address);
    let (run, uid) = (Arc::clone(flow.run()), uid.to_owned());
    builder.build_reschedule(move |capabilities| {
        let states = makes.into_iter().map(|make| make(&capabilities)).collect();
        drop(capabilities);
        let mut operator = Operator {
            states: NamedStates::new(states),
            stash: Stash::default(),
            work,
            output: Output::from(output),
            made: RefCell::default(),
            now_ms: 0,
            waking_ms: None,
        };
        move |frontiers| {
            operator.now_ms = run.now_ms();
            input.for_each(|capability, batch| {
                let epoch = capability.time().tick.epoch();
                if operator.states.may_apply(epoch, operator.stash.first()) {
                    operator.apply(&capability, batch);
                } else {
                    operator.stash.push(capability.retain(0), batch);
                }
            });
            match operator.advance(frontiers[0].frontier()) {
                Ok(again) => reschedule(&activator, again),
                Err(error) => run.control().fail(Error::Operator { uid: uid.clone(), error }),
            }
            operator.sweep(&activator);
            !operator.states.is_done() && !run.control().is_over()
        }
    });
    results
}

struct Operator<D, R: 'static> {
    states: NamedStates,
    stash: Stash<Moment, Vec<D>>,
    work: Work<D, R>,
    output: Output<R>,
    made: RefCell<Vec<R>>,
    /// As read when the operator was scheduled.
    now_ms: u64,
    /// When it has asked to be woken up.
    waking_ms: Option<u64>,
}

impl<D: 'static, R: 'static> Operator<D, R> {
    fn apply<C: CapabilityTrait<Moment>>(&mut self, capability: &C, batch: &mut Vec<D>) {
        (self.work)(batch, self.now_ms, &self.made);
        let made = self.made.get_mut();
        if !made.is_empty() {
            self.output.activate().session(capability).give_container(made);
            made.clear();
        }
    }

    /// Goes on with whatever the frontier allows.
    fn advance(
        &mut self,
        frontier: AntichainRef<'_, Moment>,
    ) -> std::result::Result<Again, highwater_checkpoint::BoxError> {
        loop {
            while !self.states.is_full()
                && let Some((capability, mut batch)) = self.stash.pop(self.states.running())
            {
                self.apply(&capability, &mut batch);
            }
            let closed = self.states.advance(frontier_epoch(frontier), self.stash.first());
            if closed == Closed::No {
                return self.states.work();
            }
        }
    }

    /// Removes what has expired, and comes again for the rest.
    fn sweep(&mut self, activator: &Activator) {
        let Some(next_ms) = self.states.sweep(self.now_ms) else { return };
        let is_asleep = self.waking_ms.is_none_or(|waking| waking <= self.now_ms);
        if is_asleep || self.waking_ms > Some(next_ms) {
            let pause = next_ms.saturating_sub(self.now_ms).max(1);
            activator.activate_after(std::time::Duration::from_millis(pause));
            self.waking_ms = Some(self.now_ms + pause);
        }
    }
}
