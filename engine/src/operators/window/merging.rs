//! Session windows: all sessions of a key are one entry, which is queued once.

use highwater_checkpoint::dataflow::KeyedState;
use highwater_checkpoint::state::typed::TimerQueue;
use highwater_checkpoint::state::{Bincode, KeyedTable, Place, stable_hash};
use highwater_checkpoint::{EventTime, Moment};

use super::agenda::Agenda;
use super::fold::Merge;
use super::gate::Gate;
use super::sessions::{Session, Sessions};
use super::{each_due, next_multiple};
use crate::operators::ahead::in_chunks;
use crate::operators::{Due, Now, TIMERS_AT_ONCE, Work};
use crate::state::Slot;
use crate::stream::{Data, Key};
use crate::window::{TriggerPlan, Window, Windowed};

type Table<K, A> = KeyedTable<K, Sessions<A>, Bincode>;
type State<K, A> = Slot<KeyedState<Moment, K, Sessions<A>, Bincode>>;

/// See the module.
pub(super) struct SessionWindows<K: Key, V, F: Merge<K, V>, T> {
    sessions: State<K, F::Kept>,
    gap: i64,
    fold: F,
    trigger: TriggerPlan,
    gate: Gate<K, V, T>,
    queue: TimerQueue,
    early: Agenda,
    early_by_day: Agenda,
    /// Keys with news that came late, to be said when the watermark moves on.
    late: Vec<u64>,
    until: i64,
}

/// A record whose slot is on its way.
#[derive(Clone, Copy, Default)]
struct Ahead {
    hash: u64,
    place: Place,
    at: i64,
    now: i64,
}

impl<K, V, F, T> SessionWindows<K, V, F, T>
where
    K: Key,
    V: Data + Clone,
    F: Merge<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    pub(super) fn new(
        sessions: State<K, F::Kept>,
        gap: i64,
        fold: F,
        trigger: TriggerPlan,
        gate: Gate<K, V, T>,
    ) -> Self {
        let (queue, early, early_by_day) = <_>::default();
        let (late, until) = (Vec::new(), i64::MIN);
        SessionWindows {
            sessions,
            gap,
            fold,
            trigger,
            gate,
            queue,
            early,
            early_by_day,
            late,
            until,
        }
    }

    /// Whether no session takes a record: its own would be over, and it touches none that is not.
    fn is_late(&self, table: &Table<K, F::Kept>, key: &K, ahead: Ahead) -> bool {
        let end = ahead.at + self.gap;
        self.gate.is_over(end, ahead.now) && {
            let sessions = table.get(ahead.hash, key);
            let end = sessions.map_or(end, |sessions| sessions.end_with(ahead.at, end));
            self.gate.is_over(end, ahead.now)
        }
    }

    fn put(
        &mut self,
        table: &mut Table<K, F::Kept>,
        ahead: Ahead,
        (key, value): (K, V),
        made: &mut Vec<Windowed<K, F::Said>>,
        now_ms: u64,
    ) {
        let Ahead { hash, place, at, now } = ahead;
        let (fold, trigger, queue) = (&self.fold, &self.trigger, &mut self.queue);
        let (lateness, mut news) = (self.gate.lateness, None);
        let new = || Sessions::from(Vec::new());
        table.update_at(place, key, new, |key, sessions| {
            let merge = |kept: &mut F::Kept, later| fold.merge(kept, later);
            let end = at + self.gap;
            let session = sessions.of(at, end, (|| fold.init(), end <= now), merge);
            fold.add(&mut session.value, value);
            session.unsaid = session.unsaid.saturating_add(1);
            // One that has grown fires again.
            session.has_fired &= session.end <= now;
            let is_said = if session.has_fired {
                !trigger.is_late_at_watermark
            } else {
                session.unsaid >= trigger.count
            };
            if is_said {
                say(fold, trigger, key, session, made);
            } else if session.unsaid == 1 {
                news = Some(session.has_fired);
            }
            let next = sessions.next(lateness).unwrap_or(i64::MAX);
            if next < sessions.queued {
                sessions.queued = queue.push(next, hash);
            }
        });
        if let Some(has_fired) = news {
            self.news(hash, has_fired, now, now_ms);
        }
    }

    fn news(&mut self, hash: u64, has_fired: bool, now: i64, now_ms: u64) {
        if has_fired {
            self.late.push(hash);
            return;
        }
        if let Some(every) = self.trigger.every {
            self.early.push(next_multiple(now, every), hash);
        }
        if let Some(every) = self.trigger.every_by_day {
            let now = i64::try_from(now_ms).unwrap_or(i64::MAX);
            self.early_by_day.push(next_multiple(now, every), hash);
        }
    }

    /// Does some of what is due at `until`; returns whether there is more of it.
    fn advance(&mut self, until: i64, made: &mut Vec<Windowed<K, F::Said>>) -> bool {
        let (mut budget, state) = (TIMERS_AT_ONCE, self.sessions.clone());
        state.with(|state| {
            let table = state.table();
            if until > self.until {
                let from = self.late.len().saturating_sub(budget);
                budget -= self.late.len() - from;
                for hash in self.late.split_off(from) {
                    self.say_news(table, hash, |session| session.has_fired, made);
                }
                if self.late.is_empty() {
                    self.until = until;
                }
            }
            let mut early = std::mem::take(&mut self.early);
            each_due(&mut early, until, &mut budget, table, |table, _, hash| {
                let which = |session: &Session<_>| !session.has_fired && session.end > until;
                self.say_news(table, hash, which, made);
            });
            self.early = early;
            while budget > 0 {
                let popped =
                    self.queue.pop(until, |next| table.ask_for(next.iter().map(|(_, hash)| *hash)));
                let Some((at, hash)) = popped else { break };
                budget -= 1;
                self.look_at(table, (at, hash), until, made);
            }
        });
        budget == 0
    }

    /// Does what is due for a key that was queued at `at`.
    fn look_at(
        &mut self,
        table: &mut Table<K, F::Kept>,
        (at, hash): (i64, u64),
        until: i64,
        made: &mut Vec<Windowed<K, F::Said>>,
    ) {
        let found = table.find_entry(hash, |_, sessions| sessions.queued == at);
        // It was queued again, for an earlier time.
        let Some((key, _)) = found else { return };
        let key = key.clone();
        let (fold, trigger, queue, gate) = (&self.fold, &self.trigger, &mut self.queue, &self.gate);
        let left = table.change(
            hash,
            |there| *there == key,
            |sessions| {
                for session in &mut sessions.open {
                    if !session.has_fired && session.end <= until {
                        session.has_fired = true;
                        if session.unsaid > 0 || !trigger.is_purging {
                            say(fold, trigger, &key, session, made);
                        }
                    }
                    if session.unsaid > 0 && gate.is_over(session.end, until) {
                        say(fold, trigger, &key, session, made);
                    }
                }
                sessions.open.retain(|session| !gate.is_over(session.end, until));
                let next = sessions.next(gate.lateness);
                sessions.queued = next.map_or(i64::MAX, |next| queue.push(next, hash));
                sessions.open.len()
            },
        );
        if left == Some(0) {
            table.remove(hash, key);
        }
    }

    /// Says what is new of those sessions of a key.
    fn say_news(
        &self,
        table: &mut Table<K, F::Kept>,
        hash: u64,
        which: impl Fn(&Session<F::Kept>) -> bool,
        made: &mut Vec<Windowed<K, F::Said>>,
    ) {
        let is_it = |session: &Session<_>| which(session) && session.unsaid > 0;
        let found = table.find_entry(hash, |_, sessions| sessions.open.iter().any(is_it));
        let Some((key, _)) = found else { return };
        let key = key.clone();
        table.change(
            hash,
            |there| *there == key,
            |sessions| {
                for session in sessions.open.iter_mut().filter(|session| is_it(session)) {
                    say(&self.fold, &self.trigger, &key, session, made);
                }
            },
        );
    }
}

fn say<K: Key, V, F: Merge<K, V>>(
    fold: &F,
    trigger: &TriggerPlan,
    key: &K,
    session: &mut Session<F::Kept>,
    made: &mut Vec<Windowed<K, F::Said>>,
) {
    let window = Window::new(session.start, session.end);
    let value = fold.say(key, window, &session.value);
    made.push(Windowed { key: key.clone(), window, value });
    session.unsaid = 0;
    if trigger.is_purging {
        session.value = fold.init();
    }
}

impl<K, V, F, T> Work<(K, V), Windowed<K, F::Said>> for SessionWindows<K, V, F, T>
where
    K: Key,
    V: Data + Clone,
    F: Merge<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    fn start(&mut self) {
        let state = self.sessions.clone();
        state.with(|state| {
            let table = state.table();
            self.gate.start(table.owned_groups());
            for (key, sessions) in table.iter() {
                let hash = stable_hash(key);
                self.queue.push(sessions.queued, hash);
                let now = self.gate.now_of(i64::MIN, hash);
                for session in sessions.open.iter().filter(|session| session.unsaid > 0) {
                    self.news(hash, session.has_fired, now, 0);
                }
            }
        });
    }

    fn batch(&mut self, now: &Now<'_, Windowed<K, F::Said>>, batch: &mut Vec<(K, V)>) {
        let (at_now, state, mut late) = (self.gate.now(now), self.sessions.clone(), 0);
        let mut made = now.made.borrow_mut();
        state.with(|state| {
            in_chunks(
                &mut (&mut *self, state.table()),
                batch,
                |(this, table), (key, value)| {
                    let hash = stable_hash(key);
                    let (at, now) =
                        (this.gate.time_of(at_now, value), this.gate.now_of(at_now, hash));
                    Ahead { hash, place: table.announce(hash), at, now }
                },
                |(_, table), ahead| table.locate(&mut ahead.place),
                |(this, table), ahead, (key, value)| {
                    if this.is_late(table, &key, ahead) {
                        let records = this.fold.records(&value);
                        return this.gate.refuse(key, value, records);
                    }
                    late += u64::from(ahead.at < ahead.now);
                    this.put(table, ahead, (key, value), &mut made, now.now_ms);
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
        let has_more = self.advance(until, &mut now.made.borrow_mut());
        if !has_more && due != Due::End {
            // Not the end: who drains a job and starts it again goes on from where it was.
            self.gate.acted(until);
            self.sessions.with(|state| state.set_watermark(EventTime(until)));
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
            next = self.queue.first();
        }
        let (mut budget, state) = (TIMERS_AT_ONCE, self.sessions.clone());
        let now_ms = i64::try_from(now.now_ms).unwrap_or(i64::MAX);
        state.with(|state| {
            let mut early = std::mem::take(&mut self.early_by_day);
            each_due(&mut early, now_ms, &mut budget, state.table(), |table, _, hash| {
                self.say_news(table, hash, |session| !session.has_fired, &mut made);
            });
            self.early_by_day = early;
        });
        if has_more || budget == 0 {
            return Some(now.now_ms);
        }
        let next = [next, self.early_by_day.first()].into_iter().flatten().min();
        next.map(|at| u64::try_from(at).unwrap_or(0))
    }
}
