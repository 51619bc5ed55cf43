//! Which records a window operator takes: where their times are, what is late, what becomes of that.

use std::rc::Rc;
use std::sync::Arc;

use highwater_checkpoint::EventTime;
use highwater_checkpoint::state::KeyGroups;

use super::floors::{Floor, Floors};
use super::grid::clamp;
use crate::metrics::LateCell;
use crate::operators::Now;
use crate::state::{OperatorList, SideOutput};

/// Where the time of a value is.
pub(crate) enum Clock<T> {
    /// In the value.
    Event(T),
    /// On the wall.
    Day,
}

impl<T> Clock<T> {
    pub(super) fn shared(self) -> Clock<Rc<T>> {
        match self {
            Clock::Event(time_of) => Clock::Event(Rc::new(time_of)),
            Clock::Day => Clock::Day,
        }
    }
}

impl<T> Clone for Clock<Rc<T>> {
    fn clone(&self) -> Self {
        match self {
            Clock::Event(time_of) => Clock::Event(Rc::clone(time_of)),
            Clock::Day => Clock::Day,
        }
    }
}

/// See the module.
pub(super) struct Gate<K, V, T> {
    clock: Clock<T>,
    /// For how long after their ends windows are kept, in milliseconds.
    pub(super) lateness: i64,
    floors: Floors,
    acted_on: OperatorList<Floor>,
    key_groups: KeyGroups,
    late_to: Option<SideOutput<(K, V)>>,
    late: Arc<LateCell>,
}

impl<K: 'static, V: 'static, T: Fn(&V) -> EventTime> Gate<K, V, T> {
    pub(super) fn new(
        (clock, lateness): (Clock<T>, i64),
        acted_on: OperatorList<Floor>,
        key_groups: KeyGroups,
        late_to: Option<SideOutput<(K, V)>>,
        late: Arc<LateCell>,
    ) -> Self {
        let floors = Floors::new(0..0, &[]);
        Gate { clock, lateness, floors, acted_on, key_groups, late_to, late }
    }

    /// Goes on from what the checkpoint says, for the groups `owned`.
    pub(super) fn start(&mut self, owned: std::ops::Range<u16>) {
        let floors = &mut self.floors;
        self.acted_on.with(|items| {
            *floors = Floors::new(owned, items);
            floors.written(items);
        });
    }

    pub(super) fn is_by_day(&self) -> bool {
        matches!(self.clock, Clock::Day)
    }

    /// The time of a value.
    #[inline]
    pub(super) fn time_of(&self, now: i64, value: &V) -> i64 {
        match &self.clock {
            Clock::Event(time_of) => clamp(time_of(value).0),
            Clock::Day => clamp(now),
        }
    }

    /// How far time has come: up to here windows have fired, or do just now.
    pub(super) fn now<R>(&self, now: &Now<'_, R>) -> i64 {
        let now = match self.clock {
            Clock::Event(_) => now.watermark.0,
            Clock::Day => i64::try_from(now.now_ms).unwrap_or(i64::MAX),
        };
        now.max(self.floors.least())
    }

    /// As [`now`](Self::now), for the key with this hash: `now` unless it was further before a restart.
    #[inline]
    pub(super) fn now_of(&self, now: i64, hash: u64) -> i64 {
        now.max(self.floors.of(|| self.key_groups.of_hash(hash)))
    }

    /// Up to where windows of all keys have fired.
    pub(super) fn floor(&self) -> i64 {
        self.floors.least()
    }

    /// Whether a window that ends at `end` is forgotten when time has come to `now`.
    #[inline]
    pub(super) fn is_over(&self, end: i64, now: i64) -> bool {
        end.saturating_add(self.lateness) <= now
    }

    /// Records that are late for every window.
    pub(super) fn refuse(&self, key: K, value: V, records: u64) {
        match &self.late_to {
            Some(aside) => {
                self.late.sent_aside(records);
                aside.emit((key, value));
            }
            None => self.late.dropped(records),
        }
    }

    /// Records behind the watermark were taken, for there is a window for them.
    pub(super) fn took_late(&self, records: u64) {
        if records > 0 {
            self.late.taken(records);
        }
    }

    /// Everything that is due at `at` has fired.
    pub(super) fn acted(&mut self, at: i64) {
        self.floors.raise(at);
        let floors = &self.floors;
        self.acted_on.with(|items| floors.written(items));
    }

    /// What the operator has acted on, all of its groups.
    pub(super) fn acted_on(&self) -> Option<EventTime> {
        let is_event_time = !self.is_by_day();
        is_event_time.then(|| EventTime(self.floors.least()))
    }
}
