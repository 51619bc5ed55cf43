//! Windows each of which keeps what it has come to: those that do not overlap, and those that do if
//! what is kept cannot be merged, or if they also fire early.
//!
//! ```text
//!   (key, end) -> pane     ends:    end             -> hashes of panes that have not fired
//!                          closing: end + lateness  -> of those that have, and are kept
//! ```

use std::cell::RefMut;

use highwater_checkpoint::dataflow::KeyedState;
use highwater_checkpoint::state::typed::Element;
use highwater_checkpoint::state::{Bincode, KeyedTable, Place, stable_hash};
use highwater_checkpoint::{BoxError, EventTime, Moment};
use serde::{Deserialize, Serialize};

use super::agenda::Agenda;
use super::fold::Fold;
use super::gate::Gate;
use super::grid::{Grid, Slice, clamp};
use super::{each_due, next_multiple};
use crate::operators::ahead::in_chunks;
use crate::operators::{Due, Now, TIMERS_AT_ONCE, Work};
use crate::state::Slot;
use crate::stream::{Data, Key};
use crate::window::{TriggerPlan, Window, Windowed};

/// A window of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pane<A> {
    value: A,
    /// Records since it was said last.
    unsaid: u32,
    /// Its end has come, and it has fired.
    has_fired: bool,
}

impl<A> Pane<A> {
    pub(super) fn try_map<B>(
        self,
        map: impl FnOnce(A) -> Result<B, BoxError>,
    ) -> Result<Pane<B>, BoxError> {
        let Pane { value, unsaid, has_fired } = self;
        Ok(Pane { value: map(value)?, unsaid, has_fired })
    }
}

pub(super) type Table<K, A> = KeyedTable<Element<K, i64>, Pane<A>, Bincode>;
pub(super) type Panes<K, A> = Slot<KeyedState<Moment, Element<K, i64>, Pane<A>, Bincode>>;

/// See the module.
pub(super) struct Whole<K: Key, V, F: Fold<K, V>, T> {
    pub(super) panes: Panes<K, F::Kept>,
    pub(super) grid: Grid,
    pub(super) fold: F,
    pub(super) trigger: TriggerPlan,
    pub(super) gate: Gate<K, V, T>,
    pub(super) agendas: Agendas,
}

/// What is to be done, and when.
#[derive(Default)]
pub(super) struct Agendas {
    ends: Agenda,
    closing: Agenda,
    early: Agenda,
    early_by_day: Agenda,
    /// Panes with news that came late, to be said when the watermark moves on.
    late: Vec<u64>,
    /// Where that was last.
    until: i64,
}

/// A record whose slot is on its way.
#[derive(Clone, Copy, Default)]
struct Ahead {
    key_hash: u64,
    hash: u64,
    place: Place,
    at: i64,
    /// The first window that takes it, and the last one; the other way round if none does.
    first: i64,
    last: i64,
    now: i64,
}

/// What has become of a pane.
struct Outcome<K> {
    is_new: bool,
    /// There is news, for the first time since it was said.
    has_news: bool,
    has_fired: bool,
    /// To be removed.
    purged: Option<K>,
}

impl<K: Key, V: Clone + 'static, F: Fold<K, V>, T: Fn(&V) -> EventTime> Whole<K, V, F, T> {
    /// `slice` is that of the record before.
    #[inline]
    fn ahead(
        &self,
        now: i64,
        table: &Table<K, F::Kept>,
        (key, value): &(K, V),
        slice: &mut Slice,
    ) -> Ahead {
        let key_hash = stable_hash(key);
        let (at, now) = (self.gate.time_of(now, value), self.gate.now_of(now, key_hash));
        if !slice.holds(at) {
            *slice = self.grid.slice(at);
        }
        let Slice { mut first, mut last, .. } = *slice;
        if self.gate.is_over(first, now) {
            // Or of those that are not over.
            first = self.grid.next(clamp(now.saturating_sub(self.gate.lateness))).max(first);
            if self.gate.is_over(last, now) {
                last = i64::MIN;
            }
        }
        let hash = Element::<K, i64>::hash_of(table.key_groups(), key_hash, &first);
        Ahead { key_hash, hash, place: table.announce(hash), at, first, last, now }
    }

    fn windowed(&self, key: &K, end: i64, kept: &F::Kept) -> Windowed<K, F::Said> {
        let window = Window::new(self.grid.start(end), end);
        Windowed { key: key.clone(), window, value: self.fold.say(key, window, kept) }
    }

    /// Puts a record into its windows.
    fn put(
        &mut self,
        table: &mut Table<K, F::Kept>,
        ahead: Ahead,
        (key, value): (K, V),
        made: &mut Vec<Windowed<K, F::Said>>,
        now_ms: u64,
    ) {
        let (mut end, mut hash, mut place) = (ahead.first, ahead.hash, ahead.place);
        while end < ahead.last {
            let outcome =
                self.add(table, place, (key.clone(), end), value.clone(), ahead.now, made);
            self.note(table, (hash, end), outcome, ahead.now, now_ms);
            end = self.grid.following(end);
            hash = Element::<K, i64>::hash_of(table.key_groups(), ahead.key_hash, &end);
            place = table.place(hash);
        }
        let outcome = self.add(table, place, (key, end), value, ahead.now, made);
        self.note(table, (hash, end), outcome, ahead.now, now_ms);
    }

    /// Puts a record into the one window that takes it, which has not ended and fires when it does: what
    /// nearly all records come to.
    #[inline]
    fn put_plainly(&mut self, table: &mut Table<K, F::Kept>, ahead: Ahead, (key, value): (K, V)) {
        let (end, fold, mut is_new) = (ahead.first, &self.fold, false);
        let new = || {
            is_new = true;
            Pane { value: fold.init(), unsaid: 0, has_fired: false }
        };
        table.update_at(ahead.place, Element { key, element: end }, new, |_, pane| {
            fold.add(&mut pane.value, value);
            pane.unsaid = pane.unsaid.saturating_add(1);
        });
        if is_new {
            self.agendas.ends.push(end, ahead.hash);
        }
    }

    #[inline]
    fn add(
        &self,
        table: &mut Table<K, F::Kept>,
        place: Place,
        (key, end): (K, i64),
        value: V,
        now: i64,
        made: &mut Vec<Windowed<K, F::Said>>,
    ) -> Outcome<K> {
        let (mut is_new, has_ended) = (false, end <= now);
        let new = || {
            is_new = true;
            Pane { value: self.fold.init(), unsaid: 0, has_fired: has_ended }
        };
        let change = |element: &Element<K, i64>, pane: &mut Pane<F::Kept>| {
            self.fold.add(&mut pane.value, value);
            pane.unsaid = pane.unsaid.saturating_add(1);
            let (has_news, has_fired) = (pane.unsaid == 1, pane.has_fired);
            let is_said = if has_fired {
                !self.trigger.is_late_at_watermark
            } else {
                pane.unsaid >= self.trigger.count
            };
            let mut purged = None;
            if is_said {
                made.push(self.windowed(&element.key, end, &pane.value));
                pane.unsaid = 0;
                purged = self.trigger.is_purging.then(|| element.key.clone());
            }
            Outcome { is_new: false, has_news: has_news && !is_said, has_fired, purged }
        };
        let outcome = table.update_at(place, Element { key, element: end }, new, change);
        Outcome { is_new, ..outcome }
    }

    /// Notes when the pane is to be looked at.
    #[inline]
    fn note(
        &mut self,
        table: &mut Table<K, F::Kept>,
        (hash, end): (u64, i64),
        outcome: Outcome<K>,
        now: i64,
        now_ms: u64,
    ) {
        if let Some(key) = outcome.purged {
            table.remove(hash, Element { key, element: end });
            return;
        }
        if outcome.is_new {
            self.agendas.schedule((hash, end), outcome.has_fired, self.gate.lateness);
        }
        if outcome.has_news {
            self.agendas.news((hash, end), outcome.has_fired, &self.trigger, now, now_ms);
        }
    }

    /// Does some of what is due at `until`; returns whether there is more of it.
    fn advance(&mut self, until: i64, made: &mut Vec<Windowed<K, F::Said>>) -> bool {
        let (mut budget, panes) = (TIMERS_AT_ONCE, self.panes.clone());
        panes.with(|state| {
            let table = state.table();
            let mut agendas = std::mem::take(&mut self.agendas);
            if until > agendas.until {
                let from = agendas.late.len().saturating_sub(budget);
                budget -= agendas.late.len() - from;
                for hash in agendas.late.drain(from..) {
                    self.say_news(table, hash, |pane| pane.has_fired, made);
                }
                if agendas.late.is_empty() {
                    agendas.until = until;
                }
            }
            each_due(&mut agendas.early, until, &mut budget, table, |table, _, hash| {
                self.say_news(table, hash, |pane| !pane.has_fired, made);
            });
            let Agendas { ends, closing, .. } = &mut agendas;
            each_due(ends, until, &mut budget, table, |table, end, hash| {
                if self.fire(table, (hash, end), until, made) {
                    closing.push(end.saturating_add(self.gate.lateness), hash);
                }
            });
            each_due(closing, until, &mut budget, table, |table, at, hash| {
                self.close(table, hash, at, made);
            });
            self.agendas = agendas;
        });
        budget == 0
    }

    /// Says what is new of a pane, between its firings.
    fn say_news(
        &self,
        table: &mut Table<K, F::Kept>,
        hash: u64,
        which: impl Fn(&Pane<F::Kept>) -> bool,
        made: &mut Vec<Windowed<K, F::Said>>,
    ) {
        let found = table.find_entry(hash, |_, pane| which(pane) && pane.unsaid > 0);
        let Some((element, pane)) = found else { return };
        made.push(self.windowed(&element.key, element.element, &pane.value));
        let element = element.clone();
        if self.trigger.is_purging {
            table.remove(hash, element);
        } else {
            table.change(hash, |there| *there == element, |pane| pane.unsaid = 0);
        }
    }

    /// Fires a pane whose end has come; returns whether it is kept.
    fn fire(
        &self,
        table: &mut Table<K, F::Kept>,
        (hash, end): (u64, i64),
        until: i64,
        made: &mut Vec<Windowed<K, F::Said>>,
    ) -> bool {
        let found =
            table.find_entry(hash, |element, pane| element.element == end && !pane.has_fired);
        // Or it was purged.
        let Some((element, pane)) = found else { return false };
        if !self.trigger.is_purging || pane.unsaid > 0 {
            made.push(self.windowed(&element.key, end, &pane.value));
        }
        let element = element.clone();
        let is_kept = !self.gate.is_over(end, until) && !self.trigger.is_purging;
        if is_kept {
            let fired = |pane: &mut Pane<_>| (pane.has_fired, pane.unsaid) = (true, 0);
            table.change(hash, |there| *there == element, fired);
        } else {
            table.remove(hash, element);
        }
        is_kept
    }

    /// Forgets a pane, once its last news is said.
    fn close(
        &self,
        table: &mut Table<K, F::Kept>,
        hash: u64,
        at: i64,
        made: &mut Vec<Windowed<K, F::Said>>,
    ) {
        let closes = |end: i64| end.saturating_add(self.gate.lateness) == at;
        let found =
            table.find_entry(hash, |element, pane| closes(element.element) && pane.has_fired);
        let Some((element, pane)) = found else { return };
        if pane.unsaid > 0 {
            made.push(self.windowed(&element.key, element.element, &pane.value));
        }
        let element = element.clone();
        table.remove(hash, element);
    }
}

impl Agendas {
    fn schedule(&mut self, (hash, end): (u64, i64), has_fired: bool, lateness: i64) {
        if has_fired {
            self.closing.push(end.saturating_add(lateness), hash);
        } else {
            self.ends.push(end, hash);
        }
    }

    fn news(
        &mut self,
        (hash, end): (u64, i64),
        has_fired: bool,
        trigger: &TriggerPlan,
        now: i64,
        now_ms: u64,
    ) {
        if has_fired {
            // Said at once otherwise.
            self.late.push(hash);
            return;
        }
        if let Some(at) = trigger.every.map(|every| next_multiple(now, every))
            && at < end
        {
            self.early.push(at, hash);
        }
        if let Some(every) = trigger.every_by_day {
            let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
            self.early_by_day.push(next_multiple(now, every), hash);
        }
    }
}

impl<K, V, F, T> Work<(K, V), Windowed<K, F::Said>> for Whole<K, V, F, T>
where
    K: Key,
    V: Data + Clone,
    F: Fold<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    fn start(&mut self) {
        let panes = self.panes.clone();
        panes.with(|state| {
            let table = state.table();
            self.gate.start(table.owned_groups());
            self.agendas.until = i64::MIN;
            for (element, pane) in table.iter() {
                let (hash, end) = (table.hash_of(element), element.element);
                self.agendas.schedule((hash, end), pane.has_fired, self.gate.lateness);
                if pane.unsaid > 0 {
                    let now = self.gate.now_of(i64::MIN, stable_hash(&element.key));
                    self.agendas.news((hash, end), pane.has_fired, &self.trigger, now, 0);
                }
            }
        });
    }

    fn batch(&mut self, now: &Now<'_, Windowed<K, F::Said>>, batch: &mut Vec<(K, V)>) {
        let (at_now, panes, mut late) = (self.gate.now(now), self.panes.clone(), 0);
        let (mut made, is_plain) = (now.made.borrow_mut(), self.trigger.is_plain());
        panes.with(|state| {
            let mut slice = Slice::NONE;
            in_chunks(
                &mut (&mut *self, state.table()),
                batch,
                |(this, table), record| this.ahead(at_now, table, record, &mut slice),
                |(_, table), ahead| table.locate(&mut ahead.place),
                |(this, table), ahead, (key, value)| {
                    if ahead.first > ahead.last {
                        let records = this.fold.records(&value);
                        return this.gate.refuse(key, value, records);
                    }
                    late += if ahead.at < ahead.now { this.fold.records(&value) } else { 0 };
                    let record = (key, value);
                    if is_plain && ahead.first == ahead.last && ahead.first > ahead.now {
                        this.put_plainly(table, ahead, record);
                    } else {
                        this.put(table, ahead, record, &mut made, now.now_ms);
                    }
                },
            );
        });
        self.gate.took_late(late);
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn acted_on(&self) -> Option<EventTime> {
        self.gate.acted_on()
    }

    fn due(&mut self, now: &Now<'_, Windowed<K, F::Said>>, due: Due) -> bool {
        if self.gate.is_by_day() && due != Due::End {
            return false;
        }
        let until = due.watermark().0;
        let mut made: RefMut<'_, _> = now.made.borrow_mut();
        let has_more = self.advance(until, &mut made);
        if !has_more && due != Due::End {
            // Not the end: who drains a job and starts it again goes on from where it was.
            self.gate.acted(until);
            self.panes.with(|state| state.set_watermark(EventTime(until)));
        }
        has_more
    }

    fn time_of_day(&mut self, now: &Now<'_, Windowed<K, F::Said>>) -> Option<u64> {
        let mut made = now.made.borrow_mut();
        let (mut has_more, mut next) = (false, None);
        if self.gate.is_by_day() {
            let until = self.gate.now(now);
            has_more = self.advance(until, &mut made);
            if !has_more {
                self.gate.acted(until);
            }
            next = [self.agendas.ends.first(), self.agendas.closing.first()]
                .into_iter()
                .flatten()
                .min();
        }
        let (mut budget, panes) = (TIMERS_AT_ONCE, self.panes.clone());
        let now_ms = i64::try_from(now.now_ms).unwrap_or(i64::MAX);
        panes.with(|state| {
            let mut early = std::mem::take(&mut self.agendas.early_by_day);
            each_due(&mut early, now_ms, &mut budget, state.table(), |table, _, hash| {
                self.say_news(table, hash, |pane| !pane.has_fired, &mut made);
            });
            self.agendas.early_by_day = early;
        });
        if has_more || budget == 0 {
            return Some(now.now_ms);
        }
        let next = [next, self.agendas.early_by_day.first()].into_iter().flatten().min();
        // Not the end of all time, which comes with the end of the input.
        next.filter(|at| *at < i64::MAX).map(|at| u64::try_from(at).unwrap_or(0))
    }
}
