//! What an operator holds to act on event time: the watermark it has acted on, and capabilities to
//! say something when the next one comes.
//!
//! ```text
//!   input frontier (step, event time) --> due(): act on it --> acted(): capabilities follow,
//!                                                              and those downstream hear of it
//! ```
//!
//! # Invariants
//!
//! * **W1** The capabilities are in the running epoch: what is said when a watermark comes is in the
//!   epoch in which the state has changed for it.
//! * **W2** Their event time is the watermark that was acted on: downstream nothing that this operator
//!   says is late.
//! * **W3** Nobody begins to act on a watermark while there is a stash: what is in it came before. Who
//!   has begun goes on, whatever is stashed meanwhile, so that a checkpoint has all of it or nothing;
//!   unless the state says how far it has come.

use highwater_checkpoint::{Epoch, EventTime, Moment, Tick};
use timely::dataflow::operators::Capability;
use timely::progress::frontier::AntichainRef;

/// See the module.
pub(crate) struct EventClock {
    /// One an output; none when the input has ended and everything is said.
    held: Vec<Capability<Moment>>,
    acted_on: EventTime,
}

/// How far an operator may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// No record is expected whose event time is below this.
    Until(EventTime),
    /// No record will come.
    End,
}

impl Due {
    pub(crate) fn watermark(self) -> EventTime {
        match self {
            Due::Until(at) => at,
            Due::End => EventTime::MAX,
        }
    }
}

impl EventClock {
    /// `held` is one capability for each output on which something is said. `acted_on` is what a
    /// checkpoint says that the operator had acted on.
    pub(crate) fn new(held: Vec<Capability<Moment>>, acted_on: Option<EventTime>) -> Self {
        EventClock { held, acted_on: acted_on.unwrap_or(EventTime::MIN) }
    }

    /// The capability of output `port`.
    ///
    /// # Panics
    ///
    /// If the end has been acted on: nothing can be said after it.
    pub(crate) fn capability(&self, port: usize) -> &Capability<Moment> {
        &self.held[port]
    }

    /// Whether nothing can be said any more.
    pub(crate) fn is_over(&self) -> bool {
        self.held.is_empty()
    }

    /// How far the operator may act, its stash being empty. None at the end of the input until the last
    /// epoch runs, to which what is said then belongs.
    pub(crate) fn due(
        &self,
        frontier: AntichainRef<'_, Moment>,
        is_last_epoch: bool,
    ) -> Option<Due> {
        match frontier.iter().copied().reduce(Moment::meet) {
            Some(least) => Some(Due::Until(self.acted_on.max(least.event))),
            None => is_last_epoch.then_some(Due::End),
        }
    }

    /// Everything due has been said: those downstream may know.
    pub(crate) fn acted(&mut self, due: Due) {
        self.acted_on = due.watermark();
        if due == Due::End {
            self.held.clear();
        }
        for held in &mut self.held {
            let Moment { tick, event } = *held.time();
            // What was acted on before a restart may lie ahead.
            held.downgrade(&Moment { tick, event: event.max(self.acted_on) });
        }
    }

    /// Follows the steps of the input, within the running epoch.
    pub(crate) fn follow(&mut self, frontier: AntichainRef<'_, Moment>, running: Epoch) {
        let least = frontier.iter().map(|moment| moment.tick).min();
        for held in &mut self.held {
            let Moment { tick: old, event } = *held.time();
            let tick = tick_within(running, least, old);
            if tick > old {
                held.downgrade(&Moment { tick, event });
            }
        }
    }
}

/// Where a capability at `old` may go, with an input at `least`, without leaving the `running` epoch:
/// not beyond steps that have been, for who goes round a loop must be within the epoch as well.
pub(crate) fn tick_within(running: Epoch, least: Option<Tick>, old: Tick) -> Tick {
    let least = least.filter(|least| least.epoch() <= running).unwrap_or(old);
    // An operator without state has no epochs of its own.
    let first = if running == NO_EPOCH { least } else { Tick::new(running, 0) };
    least.max(first).max(old)
}

/// What [`NamedStates::running`](highwater_checkpoint::dataflow::NamedStates::running) says of no states.
const NO_EPOCH: Epoch = Epoch(u64::MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_stays_in_the_running_epoch() {
        let tick = |epoch, step| Tick::new(Epoch(epoch), step);
        assert_eq!(tick_within(Epoch(3), Some(tick(3, 7)), tick(3, 5)), tick(3, 7));
        assert_eq!(tick_within(Epoch(3), Some(tick(4, 0)), tick(3, 5)), tick(3, 5));
        assert_eq!(tick_within(Epoch(4), Some(tick(4, 2)), tick(3, 5)), tick(4, 2));
        assert_eq!(tick_within(Epoch(4), Some(tick(9, 2)), tick(3, 5)), tick(4, 0));
        assert_eq!(tick_within(Epoch(4), None, tick(3, 5)), tick(4, 0));
        assert_eq!(tick_within(NO_EPOCH, Some(tick(9, 2)), tick(3, 5)), tick(9, 2));
        assert_eq!(tick_within(NO_EPOCH, None, tick(3, 5)), tick(3, 5));
    }
}
