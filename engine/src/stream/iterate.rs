//! Loops.

use highwater_checkpoint::dataflow::Delay;
use timely::dataflow::operators::{ConnectLoop, Feedback};

use super::Stream;

/// A record that has gone round once is a pacing step later: within its epoch, as an epoch has four
/// thousand million of them.
const ROUND: Delay = Delay { ticks: 1, event_ms: 0 };

impl<'scope, T: 'static> Stream<'scope, T> {
    /// Works on records again and again: `body` gets the records of this stream and those that it sends
    /// back, and returns the ones to send back and the ones to send on.
    ///
    /// Exactly once, through the loop: an epoch ends when nothing of it is left inside, so a checkpoint
    /// holds the state of the operators in the loop and no record. A record that never leaves keeps its
    /// epoch, and with it all checkpoints, from ending: bound the rounds, or send back only what is news.
    ///
    /// Operators that wait for event time or for the end of the input (timers, windows,
    /// [`Emit::AtEnd`](super::Emit)) are refused in the body. They may follow the loop.
    ///
    /// ```
    /// use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    /// // How many halvings and 3n+1 until 1 (Collatz).
    /// let mut steps = collect_one(|flow| {
    ///     let numbers = flow.source("numbers", VecSource::new([6u64, 7, 1]));
    ///     numbers.map(|n| (n, n, 0u32)).iterate(|numbers| {
    ///         numbers.split(|(first, n, steps), again, done| match n {
    ///             1 => done.push((first, steps)),
    ///             n if n % 2 == 0 => again.push((first, n / 2, steps + 1)),
    ///             n => again.push((first, 3 * n + 1, steps + 1)),
    ///         })
    ///     })
    /// });
    /// steps.sort();
    /// assert_eq!(steps, [(1, 0), (6, 8), (7, 16)]);
    /// ```
    pub fn iterate<R: 'static>(
        self,
        body: impl FnOnce(Stream<'scope, T>) -> (Stream<'scope, T>, Stream<'scope, R>),
    ) -> Stream<'scope, R> {
        let flow = self.flow().clone();
        let (handle, again) = flow.scope().feedback::<Vec<T>>(ROUND);
        let entering = self.union(Stream::built(flow.clone(), again));
        let (back, on) = flow.within_loop(|| body(entering));
        back.into_timely().connect_loop(handle);
        on
    }
}
