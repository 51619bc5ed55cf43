//! Streams: what a program writes its dataflow with.
//!
//! A [`Stream`] is consumed by what is done with it; `clone` makes a second consumer. Nothing that
//! does not end in a sink is run.

mod async_map;
mod chain;
mod connect;
mod deduplicate;
mod exchange;
mod flow;
mod iterate;
mod join;
mod keyed;
mod output;
mod process;
mod rate_limit;
mod sample;
mod sort;
mod stateless;
mod window;

pub(crate) use chain::{Built, Chain, Kept, Mapped, Output, to_first_output};
pub use connect::{Connected, ConnectedEvent, Either};
pub use flow::Flow;
pub use join::{AsOfJoin, ConnectedByTime, IntervalJoin, UnboundedJoin, WindowJoin};
pub(crate) use keyed::Keep;
pub use keyed::{Aggregator, Data, Emit, Key, KeyedStream, MergeAggregator};
pub use process::Arrival;
pub use window::{LateAside, LateDropped, LateTo, WindowedStream};

use std::cell::RefCell;

use highwater_checkpoint::Moment;
use timely::dataflow::StreamVec;

/// A stream of records of `T`, spread over the workers.
#[must_use = "a stream that does not end in a sink is not run"]
pub struct Stream<'scope, T: 'static> {
    flow: Flow<'scope>,
    /// None only while `clone` swaps it.
    chain: RefCell<Option<Box<dyn Chain<'scope, T> + 'scope>>>,
}

impl<'scope, T: 'static> Stream<'scope, T> {
    pub(crate) fn built(flow: Flow<'scope>, stream: StreamVec<'scope, Moment, T>) -> Self {
        Stream::of(flow, Built(stream))
    }

    pub(crate) fn of(flow: Flow<'scope>, chain: impl Chain<'scope, T> + 'scope) -> Self {
        Stream { flow, chain: RefCell::new(Some(Box::new(chain))) }
    }

    pub(crate) fn into_chain(self) -> (Flow<'scope>, Box<dyn Chain<'scope, T> + 'scope>) {
        let chain = self.chain.into_inner().expect("taken only within `clone`");
        (self.flow, chain)
    }

    pub(crate) fn flow(&self) -> &Flow<'scope> {
        &self.flow
    }

    /// The timely stream of these records: the way out of the escape hatch.
    ///
    /// What flows in it is timely's to work on; to be checkpointed it must come back by
    /// [`Flow::from_timely`], or take part through [`Flow::checkpoints`].
    pub fn into_timely(self) -> StreamVec<'scope, Moment, T> {
        let (flow, chain) = self.into_chain();
        chain.into_timely(&flow)
    }
}

/// A second consumer of the same records; each batch is cloned once.
impl<T: Clone + 'static> Clone for Stream<'_, T> {
    fn clone(&self) -> Self {
        let chain = self.chain.borrow_mut().take().expect("taken only within `clone`");
        let stream = chain.into_timely(&self.flow);
        *self.chain.borrow_mut() = Some(Box::new(Built(stream.clone())));
        Stream::built(self.flow.clone(), stream)
    }
}

impl<T: 'static> std::fmt::Debug for Stream<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream<{}>", std::any::type_name::<T>())
    }
}
