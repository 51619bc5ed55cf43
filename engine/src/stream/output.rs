//! Where streams end.

use super::Stream;
use crate::operators;
use crate::sink::Sink;

impl<T: 'static> Stream<'_, T> {
    /// Writes the records to a sink, exactly once.
    ///
    /// `uid` names the sink in checkpoints and in messages; it must be unique in the job, and stay
    /// the same from one run to the next.
    pub fn sink<S: Sink<T>>(self, uid: &str, sink: S) {
        let flow = self.flow().clone();
        flow.count_sink();
        operators::sink(&flow, uid, self.into_timely(), sink);
    }

    /// Does something with each record, and ends the stream.
    ///
    /// After a crash, records since the last checkpoint come again: at least once.
    pub fn for_each(self, each: impl FnMut(T) + 'static) {
        let flow = self.flow().clone();
        flow.count_sink();
        operators::for_each(&flow, self.into_timely(), each);
    }
}
