//! The operator that asks something outside for each record, and does not wait for one answer before
//! it asks for the next.
//!
//! What is asked and not sent on when an epoch ends is in the checkpoint, and is asked again after a
//! restore; its result belongs to the epoch that runs when it comes. So no checkpoint waits for an
//! answer, and only the end of the input does.

use std::future::Future;
use std::sync::{Arc, mpsc};

use highwater_checkpoint::dataflow::{
    Again, Closed, ListState, NamedState, Redistribution, Stash, Wakeup, frontier_epoch,
    list_schema, state_uid,
};
use highwater_checkpoint::{BoxError, EventTime, Moment};
use serde::{Deserialize, Serialize};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::frontier::AntichainRef;
use timely::progress::operate::FrontierInterest;
use timely::scheduling::SyncActivator;

use super::event_clock::tick_within;
use super::requests::Requests;
use crate::async_map::{AsyncOptions, spawn, with_retries};
use crate::error::Error;
use crate::stream::{Data, Output, Stream, to_first_output};

/// The state that holds what is under way.
const UNDER_WAY: &str = "under-way";

/// A record that is asked about.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Asked<T> {
    /// What the watermark may not pass before its result is sent on.
    event: EventTime,
    record: T,
}

type Answer<R> = (u64, Result<R, BoxError>);

pub(crate) fn map_async<'scope, T, R, E, F>(
    uid: &str,
    stream: Stream<'scope, T>,
    options: AsyncOptions,
    ask: impl Fn(T) -> F + Send + Sync + 'static,
) -> Stream<'scope, R>
where
    T: Data + Clone + Send + Sync,
    R: Send + 'static,
    E: Into<BoxError> + 'static,
    F: Future<Output = Result<R, E>> + Send + 'static,
{
    let flow = stream.flow().clone();
    flow.not_within_loop(uid, "answers");
    if let Err(reason) = options.check(uid) {
        flow.refuse(reason);
    }
    let mut builder = OperatorBuilder::new(format!("MapAsync {uid}"), flow.scope());
    let (output, results) = builder.new_output_connection::<Vec<R>, _>([]);
    let mut input = builder.new_input_connection(stream.into_timely(), Pipeline, to_first_output());
    builder.set_notify_for(0, FrontierInterest::Always);
    let checkpoints = flow.checkpoints();
    checkpoints.own(uid);
    let schema = list_schema::<Asked<T>>();
    let joined = checkpoints.join_state(&mut builder, uid, UNDER_WAY, schema);
    let under_way =
        checkpoints.load_list::<Asked<T>>(&state_uid(uid, UNDER_WAY), Redistribution::Split);
    let address = builder.operator_info().address;
    let activator = flow.scope().activator_for(address.clone());
    let waker = flow.scope().worker().sync_activator_for(address.to_vec());
    let (run, uid) = (Arc::clone(flow.run()), uid.to_owned());
    let ask = Arc::new(ask);
    builder.build_reschedule(move |capabilities| {
        let mut requests = Requests::new(options.capacity, options.ordered);
        for asked in under_way {
            requests.push(asked);
        }
        let state = ListState::new(joined.participant(&capabilities), Vec::new());
        let (answered, answers) = mpsc::channel();
        let mut wakeup = Wakeup::new(activator, Arc::clone(&run));
        let mut operator = Operator {
            state,
            stash: Stash::default(),
            requests,
            answers,
            held: capabilities.into_iter().next(),
            output: Output::from(output),
            made: Vec::new(),
        };
        move |frontiers| {
            input.for_each(|capability, batch| {
                operator.take(capability.retain(0), batch);
            });
            let frontier = frontiers[0].frontier();
            let advanced = operator.advance(frontier, |number, asked| {
                let request = with_retries(options, Arc::clone(&ask), asked.record.clone());
                send_back(number, request, answered.clone(), waker.clone());
            });
            match advanced {
                Ok(again) => wakeup.again(again),
                Err(error) => run.control().fail(Error::Operator { uid: uid.clone(), error }),
            }
            !operator.is_done() && !run.control().is_over()
        }
    });
    Stream::built(flow, results)
}

/// Runs a request elsewhere, and wakes the operator when it is answered.
fn send_back<R: Send + 'static>(
    number: u64,
    request: impl Future<Output = Result<R, BoxError>> + Send + 'static,
    answered: mpsc::Sender<Answer<R>>,
    waker: SyncActivator,
) {
    spawn(async move {
        let answer = request.await;
        // Nobody waits for it if the dataflow was stopped.
        if answered.send((number, answer)).is_ok() {
            let _ = waker.activate();
        }
    });
}

struct Operator<T: Data, R: 'static> {
    state: ListState<Moment, Asked<T>>,
    stash: Stash<Moment, Vec<T>>,
    requests: Requests<Asked<T>, R>,
    answers: mpsc::Receiver<Answer<R>>,
    /// In the running epoch, at the least event time of what is under way. None at the end.
    held: Option<Capability<Moment>>,
    output: Output<R>,
    made: Vec<R>,
}

impl<T: Data + Clone, R: 'static> Operator<T, R> {
    fn take(&mut self, capability: Capability<Moment>, batch: &mut Vec<T>) {
        let epoch = capability.time().tick.epoch();
        let is_in_order = self.stash.first().is_none_or(|stashed| stashed > epoch);
        if is_in_order && self.state.admits(epoch) {
            self.push(capability.time().event, batch);
        } else {
            self.stash.push(capability, batch);
        }
    }

    fn push(&mut self, event: EventTime, batch: &mut Vec<T>) {
        batch.drain(..).for_each(|record| self.requests.push(Asked { event, record }));
    }

    fn is_done(&self) -> bool {
        self.state.is_done()
    }

    /// Goes on with whatever the frontier and the answers allow; `start` makes a request.
    fn advance(
        &mut self,
        frontier: AntichainRef<'_, Moment>,
        mut start: impl FnMut(u64, &Asked<T>),
    ) -> Result<Again, BoxError> {
        loop {
            while let Some((capability, mut batch)) = self.stash.pop(self.state.running()) {
                self.push(capability.time().event, &mut batch);
            }
            self.answers(frontier)?;
            while let Some((number, asked)) = self.requests.start() {
                start(number, asked);
            }
            let is_end = frontier.is_empty() && self.state.is_last_epoch();
            if is_end && !self.requests.is_empty() {
                // An answer wakes the operator.
                return self.state.work();
            }
            let epoch = frontier_epoch(frontier);
            if epoch.is_none_or(|epoch| epoch > self.state.running()) {
                // The epoch may end here.
                *self.state.items() = self.requests.open().cloned().collect();
            }
            let closed = self.state.advance(epoch, self.stash.first());
            match closed {
                Closed::No => return self.state.work(),
                Closed::Last(_) => self.held = None,
                Closed::Through(_) => {}
            }
        }
    }

    /// Sends on what has been answered, and lets the watermark go on to where it may.
    fn answers(&mut self, frontier: AntichainRef<'_, Moment>) -> Result<(), BoxError> {
        let Some(held) = &mut self.held else { return Ok(()) };
        let running = self.state.running();
        let Moment { tick, event } = *held.time();
        let tick = tick_within(running, frontier.iter().map(|moment| moment.tick).min(), tick);
        held.downgrade(&Moment { tick, event });
        for (number, answer) in self.answers.try_iter() {
            self.requests.done(number, answer?);
        }
        self.requests.take(|result| self.made.push(result));
        if !self.made.is_empty() {
            self.output.activate().session(&*held).give_container(&mut self.made);
            self.made.clear();
        }
        let waiting = self.requests.open().map(|asked| asked.event);
        // What is stashed holds capabilities of its own.
        let arriving = frontier.iter().map(|moment| moment.event);
        let least = waiting.chain(arriving).min().unwrap_or(event);
        held.downgrade(&Moment { tick, event: least.max(event) });
        Ok(())
    }
}
