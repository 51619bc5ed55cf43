//! The operator whose function and states a program brings itself.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::dataflow::{Again, Closed, NamedStates, Stash, Wakeup, frontier_epoch};
use highwater_checkpoint::{BoxError, EventTime, Moment};
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::{Exchange, ParallelizationContract, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::{Capability, CapabilityTrait};
use timely::progress::frontier::AntichainRef;
use timely::progress::operate::FrontierInterest;
use timely::scheduling::Activator;

use super::event_clock::{Due, EventClock};
use crate::error::Error;
use crate::room::Room;
use crate::state::{Declarations, Flush};
use crate::stream::{Data, Flow, Output, to_first_output};

/// Timers that fire before other operators get a turn.
pub(crate) const TIMERS_AT_ONCE: usize = 4096;

/// What a function is called with: the times, and where what is to be sent on goes.
#[expect(clippy::struct_field_names, reason = "is called so everywhere")]
pub(crate) struct Now<'a, R> {
    pub(crate) now_ms: u64,
    pub(crate) watermark: EventTime,
    pub(crate) made: &'a RefCell<Vec<R>>,
}

/// The work of an operator.
pub(crate) trait Work<D, R> {
    /// The states are there; nothing has come.
    fn start(&mut self) {}

    /// Works on records.
    fn batch(&mut self, now: &Now<'_, R>, batch: &mut Vec<D>);

    /// Whether it wants to know of watermarks and the time of day: else nothing that follows is
    /// called.
    fn is_timed(&self) -> bool {
        false
    }

    /// The watermark that the checkpoint says was acted on.
    fn acted_on(&self) -> Option<EventTime> {
        None
    }

    /// Does some of what is due; returns whether there is more of it.
    ///
    /// What has more is called again until it has not: in the same epoch, unless it
    /// [is resumable](Work::is_resumable), and with a later watermark only then, or at the end.
    fn due(&mut self, now: &Now<'_, R>, due: Due) -> bool {
        let _ = (now, due);
        false
    }

    /// Whether an epoch may end when some of what is due is done: the rest, and how far the watermark
    /// has come, is in its states.
    fn is_resumable(&self) -> bool {
        false
    }

    /// Whether at the end of the input everything is done that was due then, and what is left has come
    /// of that.
    fn is_past_the_end(&self) -> bool {
        false
    }

    /// Does some of what is due by the time of day; returns when to come again, if ever.
    fn time_of_day(&mut self, now: &Now<'_, R>) -> Option<u64> {
        let _ = now;
        None
    }
}

/// Adds an operator to which records go by the hash of their keys.
pub(crate) fn process_by_hash<'scope, D: Data, R: 'static, W: Work<D, R> + 'static>(
    flow: &Flow<'scope>,
    uid: &str,
    stream: StreamVec<'scope, Moment, D>,
    hash: impl Fn(&D) -> u64 + 'static,
    declare: impl FnOnce(&mut Declarations<'_, 'scope>) -> W,
) -> StreamVec<'scope, Moment, R> {
    let key_groups = flow.run().key_groups();
    let owners = key_groups.owners(flow.scope().peers());
    let route = move |record: &D| u64::from(owners[usize::from(key_groups.of_hash(hash(record)))]);
    build(flow, uid, stream, Exchange::new(route), declare)
}

/// Adds an operator whose records stay on their workers.
pub(crate) fn process_here<'scope, D: 'static, R: 'static, W: Work<D, R> + 'static>(
    flow: &Flow<'scope>,
    uid: &str,
    stream: StreamVec<'scope, Moment, D>,
    declare: impl FnOnce(&mut Declarations<'_, 'scope>) -> W,
) -> StreamVec<'scope, Moment, R> {
    build(flow, uid, stream, Pipeline, declare)
}

fn build<'scope, D: 'static, R: 'static, W: Work<D, R> + 'static>(
    flow: &Flow<'scope>,
    uid: &str,
    stream: StreamVec<'scope, Moment, D>,
    pact: impl ParallelizationContract<Moment, Vec<D>>,
    declare: impl FnOnce(&mut Declarations<'_, 'scope>) -> W,
) -> StreamVec<'scope, Moment, R> {
    let mut builder = OperatorBuilder::new(format!("Process {uid}"), flow.scope());
    let (output, results) = builder.new_output_connection::<Vec<R>, _>([]);
    let mut input = builder.new_input_connection(stream, pact, to_first_output());
    builder.set_notify_for(0, FrontierInterest::Always);
    let mut declarations = Declarations::new(flow, &mut builder, uid);
    let mut work = declare(&mut declarations);
    let (makes, sides) = declarations.finish();
    if work.is_timed() {
        flow.not_within_loop(uid, "event time");
    }
    let activator = flow.scope().activator_for(builder.operator_info().address);
    let (run, uid) = (Arc::clone(flow.run()), uid.to_owned());
    builder.build_reschedule(move |capabilities| {
        let states = makes.into_iter().map(|make| make(&capabilities)).collect();
        let ports: Vec<usize> = sides.iter().map(|(port, _)| *port).collect();
        let outputs = std::iter::once(&0).chain(&ports);
        let held = outputs.map(|port| capabilities[*port].clone()).collect();
        drop(capabilities);
        work.start();
        let mut wakeup = Wakeup::new(activator.clone(), Arc::clone(&run));
        let mut operator = Operator {
            states: NamedStates::new(states),
            stash: Stash::default(),
            clock: work.is_timed().then(|| EventClock::new(held, work.acted_on())),
            watermark: work.acted_on().unwrap_or(EventTime::MIN),
            work,
            output: Output::from(output),
            sides: sides.into_iter().map(|(_, flush)| flush).collect(),
            made: RefCell::default(),
            room: Room::default(),
            acting_on: None,
            is_draining: false,
            now_ms: 0,
            waking_ms: None,
        };
        move |frontiers| {
            operator.now_ms = run.now_ms();
            operator.is_draining = run.control().has_drained();
            input.for_each(|capability, batch| {
                let epoch = capability.time().tick.epoch();
                if operator.states.may_apply(epoch, operator.stash.first()) {
                    operator.apply(&capability, batch);
                    for (side, port) in operator.sides.iter_mut().zip(&ports) {
                        side.flush(|| capability.retain(*port));
                    }
                } else {
                    let sides = ports.iter().map(|port| capability.retain(*port)).collect();
                    let mut parked = Parked { batch: std::mem::take(batch), sides };
                    operator.stash.push(capability.retain(0), &mut parked);
                }
            });
            match operator.advance(frontiers[0].frontier()) {
                Ok(again) => wakeup.again(again),
                Err(error) => run.control().fail(Error::Operator { uid: uid.clone(), error }),
            }
            if run.control().is_stopping() && operator.work.is_past_the_end() {
                run.control().fail(Error::Invalid(format!(
                    "operator {uid:?} was stopped while timers that fire at the end of the input set \
                     others: what the last epoch has of that is not committed, and the job goes on from \
                     the checkpoint before it; let its function set no timer when the watermark is \
                     EventTime::MAX"
                )));
            }
            operator.by_time_of_day(&activator);
            !operator.states.is_done() && !run.control().is_over()
        }
    });
    results
}

/// A batch that came before its epoch, with the capabilities of the side outputs.
struct Parked<D> {
    batch: Vec<D>,
    sides: Vec<Capability<Moment>>,
}

impl<D> Default for Parked<D> {
    fn default() -> Self {
        Parked { batch: Vec::new(), sides: Vec::new() }
    }
}

struct Operator<D, R: 'static, W> {
    states: NamedStates,
    stash: Stash<Moment, Parked<D>>,
    work: W,
    /// None if nothing is to be done when time passes.
    clock: Option<EventClock>,
    watermark: EventTime,
    /// What is due and not all done.
    acting_on: Option<Due>,
    /// Sources end one after the other: the frontier of those that are left is no watermark, for who
    /// goes on from the last checkpoint reads on in all of them.
    is_draining: bool,
    output: Output<R>,
    sides: Vec<Box<dyn Flush>>,
    made: RefCell<Vec<R>>,
    room: Room,
    /// As read when the operator was scheduled.
    now_ms: u64,
    /// When it has asked to be woken up.
    waking_ms: Option<u64>,
}

impl<D: 'static, R: 'static, W: Work<D, R>> Operator<D, R, W> {
    fn apply<C: CapabilityTrait<Moment>>(&mut self, capability: &C, batch: &mut Vec<D>) {
        self.room.make(self.made.get_mut());
        let now = Now { now_ms: self.now_ms, watermark: self.watermark, made: &self.made };
        self.work.batch(&now, batch);
        self.room.note(self.made.get_mut().len());
        send(&mut self.output, &mut self.made, capability);
    }

    /// Goes on with whatever the frontier allows.
    fn advance(
        &mut self,
        frontier: AntichainRef<'_, Moment>,
    ) -> std::result::Result<Again, BoxError> {
        loop {
            while !self.states.is_full()
                && let Some((capability, mut parked)) = self.stash.pop(self.states.running())
            {
                self.apply(&capability, &mut parked.batch);
                for (side, capability) in self.sides.iter_mut().zip(parked.sides) {
                    side.flush(|| capability);
                }
            }
            let has_more = self.event_time(frontier);
            // What is said at the end is in the last epoch.
            if !has_more || self.work.is_resumable() && self.acting_on != Some(Due::End) {
                let closed = self.states.advance(frontier_epoch(frontier), self.stash.first());
                if !has_more && closed == Closed::No {
                    return self.states.work();
                }
            }
            if has_more {
                // Others have their turn.
                self.states.work()?;
                return Ok(Again::Now);
            }
        }
    }

    /// Does what is due by event time; returns whether there is more of it.
    fn event_time(&mut self, frontier: AntichainRef<'_, Moment>) -> bool {
        loop {
            let Some(clock) = self.clock.as_mut().filter(|clock| !clock.is_over()) else {
                if self.stash.first().is_none() {
                    let least = frontier.iter().map(|moment| moment.event).min();
                    self.watermark = self.watermark.max(least.unwrap_or(EventTime::MAX));
                }
                return false;
            };
            clock.follow(frontier, self.states.running());
            if self.states.is_full() {
                // There is room when a seal has ended, and before that the epoch does not end.
                return false;
            }
            let begun = self.acting_on;
            let due = if self.stash.first().is_none() {
                let is_told = !self.is_draining || frontier.is_empty();
                let next = is_told.then(|| clock.due(frontier, self.states.is_last_epoch()));
                let next = next.flatten();
                begun.filter(|_| next != Some(Due::End)).or(next)
            } else {
                // What is stashed came after the watermark that is acted on.
                begun
            };
            let Some(due) = due else { return false };
            self.watermark = due.watermark();
            let now = Now { now_ms: self.now_ms, watermark: self.watermark, made: &self.made };
            let has_more = self.work.due(&now, due);
            send(&mut self.output, &mut self.made, clock.capability(0));
            for (at, side) in self.sides.iter_mut().enumerate() {
                side.flush(|| clock.capability(at + 1).clone());
            }
            self.acting_on = has_more.then_some(due);
            if has_more {
                return true;
            }
            clock.acted(due);
            if begun.is_none() {
                return false;
            }
            // The watermark may have moved on meanwhile.
        }
    }

    /// Does what is due by the time of day, and comes again for the rest.
    fn by_time_of_day(&mut self, activator: &Activator) {
        let mut next_ms = self.states.sweep(self.now_ms);
        if let Some(clock) = self.clock.as_ref().filter(|clock| !clock.is_over())
            && self.stash.first().is_none()
            && !self.states.is_full()
        {
            let now = Now { now_ms: self.now_ms, watermark: self.watermark, made: &self.made };
            let mut due_ms = self.work.time_of_day(&now);
            // A checkpoint is to have all of it or nothing, and what is running may end before the
            // operator is scheduled again.
            while !self.work.is_resumable() && due_ms.is_some_and(|due| due <= self.now_ms) {
                due_ms = self.work.time_of_day(&now);
            }
            send(&mut self.output, &mut self.made, clock.capability(0));
            for (at, side) in self.sides.iter_mut().enumerate() {
                side.flush(|| clock.capability(at + 1).clone());
            }
            next_ms = [next_ms, due_ms].into_iter().flatten().min();
        }
        let Some(next_ms) = next_ms else { return };
        let is_asleep = self.waking_ms.is_none_or(|waking| waking <= self.now_ms);
        if is_asleep || self.waking_ms > Some(next_ms) {
            let pause = next_ms.saturating_sub(self.now_ms).max(1);
            activator.activate_after(Duration::from_millis(pause));
            self.waking_ms = Some(self.now_ms + pause);
        }
    }
}

fn send<R: 'static, C: CapabilityTrait<Moment>>(
    output: &mut Output<R>,
    made: &mut RefCell<Vec<R>>,
    capability: &C,
) {
    let made = made.get_mut();
    if !made.is_empty() {
        output.activate().session(capability).give_container(made);
        made.clear();
    }
}
