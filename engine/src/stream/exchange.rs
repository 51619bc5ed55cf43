//! Moving records between workers, and streams together.

use serde::{Serialize, de::DeserializeOwned};
use timely::dataflow::operators::Exchange;
use timely::dataflow::operators::{Concat, vec::Broadcast};

use super::Stream;

impl<T: 'static> Stream<'_, T> {
    /// The records of both streams, in no order between them.
    pub fn union(self, other: Self) -> Self {
        let flow = self.flow().clone();
        let both = self.into_timely().concat(other.into_timely());
        Stream::built(flow, both)
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Stream<'_, T> {
    /// Spreads the records evenly over the workers, in turn.
    ///
    /// For a source with fewer splits than there are workers, before costly work.
    pub fn rebalance(self) -> Self {
        let flow = self.flow().clone();
        let turn = std::cell::Cell::new(flow.scope().index() as u64);
        let stream = self.into_timely().exchange(move |_| turn.replace(turn.get() + 1));
        Stream::built(flow, stream)
    }
}

impl<T: Serialize + DeserializeOwned + Clone + Send + 'static> Stream<'_, T> {
    /// Sends every record to every worker.
    pub fn broadcast(self) -> Self {
        let flow = self.flow().clone();
        let stream = self.into_timely().broadcast();
        Stream::built(flow, stream)
    }
}
