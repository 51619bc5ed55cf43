//! Chains of stateless operators, fused into one timely operator.
//!
//! A stream is not built when it is made: it is a *chain* that ends in whatever the program does
//! next. Each link works on a whole batch, so that a chain of ten costs ten calls a batch and not
//! ten a record, and the batch stays in the cache.
//!
//! ```text
//!   timely stream --> [ input | map | filter | flat_map | output ] --> timely stream
//!                       one operator: attach() calls its way to the root, which owns the input
//! ```

use highwater_checkpoint::{EventTime, Moment};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::StreamVec;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::InputCapability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Antichain;
use timely::progress::operate::FrontierInterest;

use super::Flow;
use crate::room::Room;

/// Takes one batch of a chain's records; what it leaves in the batch is dropped.
pub(crate) type Take<T> = Box<dyn FnMut(&InputCapability<Moment>, &mut Vec<T>)>;

/// Handles all input that has come.
pub(crate) type Drain = Box<dyn FnMut()>;

/// An output of records.
pub(crate) type Output<T> = OutputBuilder<Moment, CapacityContainerBuilder<Vec<T>>>;

/// The connection of an input to output 0 and to nothing else.
pub(crate) fn to_first_output() -> [(usize, Antichain<highwater_checkpoint::dataflow::Delay>); 1] {
    [(0, Antichain::from_elem(highwater_checkpoint::dataflow::Delay::default()))]
}

/// A part of a dataflow that ends in records of `T` and is not built yet.
pub(crate) trait Chain<'scope, T: 'static> {
    /// Adds the input to an operator whose outputs are declared: it leads to all of them.
    fn attach(
        self: Box<Self>,
        builder: &mut OperatorBuilder<'scope, Moment>,
        take: Take<T>,
    ) -> Drain;

    /// Builds what is not built.
    fn into_timely(self: Box<Self>, flow: &Flow<'scope>) -> StreamVec<'scope, Moment, T>;

    /// Appends the names of what would be built.
    fn name(&self, name: &mut Vec<&'static str>);
}

/// A stream that is built.
pub(crate) struct Built<'scope, T: 'static>(pub(crate) StreamVec<'scope, Moment, T>);

impl<'scope, T: 'static> Chain<'scope, T> for Built<'scope, T> {
    fn attach(
        self: Box<Self>,
        builder: &mut OperatorBuilder<'scope, Moment>,
        mut take: Take<T>,
    ) -> Drain {
        let identity = highwater_checkpoint::dataflow::Delay::default();
        let outputs = builder.shape().outputs();
        let connection = (0..outputs).map(|port| (port, Antichain::from_elem(identity)));
        let mut input = builder.new_input_connection(self.0, Pipeline, connection);
        let port = builder.shape().inputs() - 1;
        builder.set_notify_for(port, FrontierInterest::Never);
        Box::new(move || input.for_each(|capability, batch| take(&capability, batch)))
    }

    fn into_timely(self: Box<Self>, _: &Flow<'scope>) -> StreamVec<'scope, Moment, T> {
        self.0
    }

    fn name(&self, _: &mut Vec<&'static str>) {}
}

/// A link that makes records of another type.
pub(crate) struct Mapped<'scope, T, U> {
    pub(crate) before: Box<dyn Chain<'scope, T> + 'scope>,
    pub(crate) name: &'static str,
    /// Called with the event time of the batch's message as well.
    pub(crate) step: Box<dyn FnMut(EventTime, &mut Vec<T>, &mut Vec<U>)>,
}

impl<'scope, T: 'static, U: 'static> Chain<'scope, U> for Mapped<'scope, T, U> {
    fn attach(
        self: Box<Self>,
        builder: &mut OperatorBuilder<'scope, Moment>,
        mut take: Take<U>,
    ) -> Drain {
        let Mapped { before, mut step, .. } = *self;
        let (mut made, mut room) = (Vec::new(), Room::default());
        let link = move |capability: &InputCapability<Moment>, batch: &mut Vec<T>| {
            room.make(&mut made);
            step(capability.time().event, batch, &mut made);
            room.note(made.len());
            if !made.is_empty() {
                take(capability, &mut made);
                made.clear();
            }
        };
        before.attach(builder, Box::new(link))
    }

    fn into_timely(self: Box<Self>, flow: &Flow<'scope>) -> StreamVec<'scope, Moment, U> {
        build(self, flow)
    }

    fn name(&self, name: &mut Vec<&'static str>) {
        self.before.name(name);
        name.push(self.name);
    }
}

/// A link that leaves records where they are, or drops them.
pub(crate) struct Kept<'scope, T> {
    pub(crate) before: Box<dyn Chain<'scope, T> + 'scope>,
    pub(crate) name: &'static str,
    pub(crate) step: Box<dyn FnMut(&mut Vec<T>)>,
}

impl<'scope, T: 'static> Chain<'scope, T> for Kept<'scope, T> {
    fn attach(
        self: Box<Self>,
        builder: &mut OperatorBuilder<'scope, Moment>,
        mut take: Take<T>,
    ) -> Drain {
        let Kept { before, mut step, .. } = *self;
        let link = move |capability: &InputCapability<Moment>, batch: &mut Vec<T>| {
            step(batch);
            if !batch.is_empty() {
                take(capability, batch);
            }
        };
        before.attach(builder, Box::new(link))
    }

    fn into_timely(self: Box<Self>, flow: &Flow<'scope>) -> StreamVec<'scope, Moment, T> {
        build(self, flow)
    }

    fn name(&self, name: &mut Vec<&'static str>) {
        self.before.name(name);
        name.push(self.name);
    }
}

/// Builds a chain as one operator.
fn build<'scope, T: 'static>(
    chain: Box<dyn Chain<'scope, T> + 'scope>,
    flow: &Flow<'scope>,
) -> StreamVec<'scope, Moment, T> {
    let mut names = Vec::new();
    chain.name(&mut names);
    let mut builder = OperatorBuilder::new(names.join("+"), flow.scope());
    let (output, stream) = builder.new_output_connection::<Vec<T>, _>([]);
    let mut output: Output<T> = Output::from(output);
    let take = move |capability: &InputCapability<Moment>, batch: &mut Vec<T>| {
        output.activate().session(capability).give_container(batch);
    };
    let mut drain = chain.attach(&mut builder, Box::new(take));
    builder.build(move |capabilities| {
        drop(capabilities);
        move |_| drain()
    });
    stream
}
