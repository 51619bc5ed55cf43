//! Declaring the states and timers of an operator, and firing the timers.

use std::hash::Hash;
use std::ops::{Deref, DerefMut};

use highwater_checkpoint::dataflow::KeyedTimers;
use highwater_checkpoint::state::typed::Element;
use highwater_checkpoint::state::{Bincode, stable_hash};
use highwater_checkpoint::{EventTime, Moment};

use super::timers::to_ms;
use super::{Alarms, Context, Declarations, Event, EventTimers, Lookahead, Slot, States};
use crate::operators::{Due, Now, TIMERS_AT_ONCE, Work};
use crate::stream::{Data, Key};

const EVENT_TIMERS: &str = "timers";
const ALARMS: &str = "alarms";

type Kept<K, T> = Slot<KeyedTimers<Moment, K, T, Bincode>>;

/// Declares the states of an operator that also has timers: what [`States`] does, and these. See
/// [`KeyedStream::process_timed`].
///
/// `T` is the type of the tags by which a key tells its timers apart; `()` if one is enough.
///
/// [`KeyedStream::process_timed`]: crate::KeyedStream::process_timed
pub struct TimedStates<'a, 'd, 'scope, K, T> {
    states: States<'a, 'd, 'scope, K>,
    timers: Option<Kept<K, T>>,
    alarms: Option<Kept<K, T>>,
    acted_on: Option<EventTime>,
}

impl<K: Key, T: Data + Hash + Eq + Clone> TimedStates<'_, '_, '_, K, T> {
    /// Timers by event time: the state `timers` of the operator.
    pub fn event_timers(&mut self) -> EventTimers<K, T> {
        let declarations = self.states.declarations();
        self.acted_on = declarations.acted_on(EVENT_TIMERS);
        let slot = self.timers.get_or_insert_with(|| declarations.timers(EVENT_TIMERS));
        EventTimers(slot.clone())
    }

    /// Timers by the time of day: the state `alarms` of the operator.
    pub fn alarms(&mut self) -> Alarms<K, T> {
        let declarations = self.states.declarations();
        Alarms(self.alarms.get_or_insert_with(|| declarations.timers(ALARMS)).clone())
    }
}

impl<'a, 'd, 'scope, K, T> Deref for TimedStates<'a, 'd, 'scope, K, T> {
    type Target = States<'a, 'd, 'scope, K>;

    fn deref(&self) -> &Self::Target {
        &self.states
    }
}

impl<K, T> DerefMut for TimedStates<'_, '_, '_, K, T> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.states
    }
}

impl<K, T> std::fmt::Debug for TimedStates<'_, '_, '_, K, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimedStates").field("states", &self.states).finish_non_exhaustive()
    }
}

/// Declares what `setup` does, and makes its function an operator's work.
pub(crate) fn timed_work<'scope, K, V, T, P>(
    declarations: &mut Declarations<'_, 'scope>,
    setup: impl FnOnce(&mut TimedStates<'_, '_, 'scope, K, T>) -> P,
) -> TimedWork<P, K, V, T>
where
    K: Key,
    V: 'static,
    T: Data + Hash + Eq + Clone,
{
    let states = States::new(declarations);
    let mut states = TimedStates { states, timers: None, alarms: None, acted_on: None };
    let process = setup(&mut states);
    let TimedStates { timers, alarms, acted_on, .. } = states;
    let lookahead = declarations.lookahead();
    TimedWork { process, lookahead, timers, alarms, acted_on, left_at_end: None }
}

/// A function with timers.
pub(crate) struct TimedWork<P, K, V, T> {
    process: P,
    lookahead: Lookahead<K, V>,
    timers: Option<Kept<K, T>>,
    alarms: Option<Kept<K, T>>,
    acted_on: Option<EventTime>,
    /// Once the input has ended: how many of the timers that were set then are left, at most.
    left_at_end: Option<u64>,
}

impl<K, V, T, R, P> Work<(K, V), R> for TimedWork<P, K, V, T>
where
    K: Key,
    T: Data + Hash + Eq + Clone,
    P: FnMut(&Context<'_, K, R>, Event<V, T>) + 'static,
{
    fn batch(&mut self, now: &Now<'_, R>, batch: &mut Vec<(K, V)>) {
        let TimedWork { process, lookahead, .. } = self;
        lookahead.each(batch, stable_hash, |key, hash, value| {
            process(&Context::new(&key, hash, now), Event::Record(value));
        });
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn acted_on(&self) -> Option<EventTime> {
        self.acted_on
    }

    fn due(&mut self, now: &Now<'_, R>, due: Due) -> bool {
        let Some(timers) = &self.timers else { return false };
        match due {
            // Now, for an epoch may end before all of them have fired: who comes after its checkpoint
            // is to take the same records for late.
            Due::Until(at) => timers.with(|state| state.set_watermark(at)),
            // Not at the end: who drains a job and starts it again goes on from where it was.
            Due::End => {
                let left = || timers.with(|state| state.timers().count());
                self.left_at_end.get_or_insert_with(left);
            }
        }
        let (process, left_at_end) = (&mut self.process, &mut self.left_at_end);
        fire(timers, due.watermark(), |key, tag, at| {
            process(&Context::new(key, stable_hash(key), now), Event::Timer { tag, at });
            if let Some(left) = left_at_end {
                *left = left.saturating_sub(1);
            }
        })
    }

    fn is_resumable(&self) -> bool {
        true
    }

    fn is_past_the_end(&self) -> bool {
        self.left_at_end == Some(0) && self.timers.as_ref().is_some_and(has_timers)
    }

    fn time_of_day(&mut self, now: &Now<'_, R>) -> Option<u64> {
        let alarms = self.alarms.as_ref()?;
        let until = EventTime(i64::try_from(now.now_ms).unwrap_or(i64::MAX));
        let process = &mut self.process;
        fire(alarms, until, |key, tag, at| {
            let at_ms = to_ms(at);
            process(&Context::new(key, stable_hash(key), now), Event::Alarm { tag, at_ms });
        });
        alarms.with(|state| state.timers().next_due()).map(to_ms)
    }
}

fn has_timers<K: Key, T: Data + Hash + Eq + Clone>(timers: &Kept<K, T>) -> bool {
    timers.with(|state| state.timers().count() > 0)
}

/// Fires some timers that are due at `until`; returns whether there are more of them.
fn fire<K: Key, T: Data + Hash + Eq + Clone>(
    timers: &Kept<K, T>,
    until: EventTime,
    mut each: impl FnMut(&K, T, EventTime),
) -> bool {
    for _ in 0..TIMERS_AT_ONCE {
        // Not lent while the function runs, which may set timers.
        let Some((Element { key, element }, at)) =
            timers.with(|state| state.timers().pop_due(until))
        else {
            return false;
        };
        each(&key, element, at);
    }
    timers.with(|state| state.timers().next_due()).is_some_and(|next| next <= until)
}
