//! Timers: for each key and tag a time, at which it is due.

use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::{At, Element, TimerQueue};
use crate::state::{Codec, KeyedTable};
use crate::time::EventTime;

/// A timer as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub struct Timer {
    at: i64,
    /// Where it is in the queue: there once, at its time or before it. A timer that is put off is found
    /// when its old time has come, so that one which is put off with each record costs nothing.
    queued: i64,
}

impl From<i64> for Timer {
    fn from(at: i64) -> Self {
        Timer { at, queued: at }
    }
}

impl From<Timer> for i64 {
    fn from(timer: Timer) -> Self {
        timer.at
    }
}

type Table<K, E, C> = KeyedTable<Element<K, E>, Timer, C>;

/// The timers of a table, with the queue of their times.
#[derive(Debug)]
pub struct Timers<'t, K, E, C> {
    table: &'t mut Table<K, E, C>,
    queue: &'t mut TimerQueue,
}

impl<'t, K, E, C> Timers<'t, K, E, C>
where
    K: Hash + Eq + Clone,
    E: Hash + Eq + Clone,
    C: Codec<Element<K, E>> + Codec<Timer>,
{
    /// The timers of `table`, and the queue of them.
    pub fn new(table: &'t mut Table<K, E, C>, queue: &'t mut TimerQueue) -> Self {
        Timers { table, queue }
    }

    /// The queue of the timers that a table holds.
    pub fn queue_of(table: &Table<K, E, C>) -> TimerQueue {
        let mut queue = TimerQueue::default();
        for (element, timer) in table.iter() {
            queue.push(timer.queued, table.hash_of(element));
        }
        queue
    }

    fn hash(&self, at: At<'_, K>, tag: &E) -> u64 {
        Element::<K, E>::hash_of(self.table.key_groups(), at.hash, tag)
    }

    /// Sets the timer of a key and tag, which takes the place of the one that was set.
    pub fn set(&mut self, at: At<'_, K>, tag: E, due: EventTime) {
        let (hash, is_it) = (self.hash(at, &tag), |there: &Element<K, E>| {
            there.key == *at.key && there.element == tag
        });
        let (queue, key) = (&mut *self.queue, at.key);
        match self.table.find(hash, is_it).copied() {
            Some(old) if old.at == due.0 => {}
            Some(old) => {
                let is_earlier = due.0 < old.queued;
                let queued = if is_earlier { queue.push(due.0, hash) } else { old.queued };
                let timer = Timer { at: due.0, queued };
                self.table.change(hash, is_it, |there| *there = timer);
            }
            None => {
                let timer = Timer { at: due.0, queued: queue.push(due.0, hash) };
                let key = Element { key: key.clone(), element: tag };
                self.table.put_new(hash, key, timer);
            }
        }
        self.forget_stale();
    }

    /// When the timer of a key and tag is due.
    pub fn get(&self, at: At<'_, K>, tag: &E) -> Option<EventTime> {
        let is_it = |there: &Element<K, E>| there.key == *at.key && there.element == *tag;
        self.table.find(self.hash(at, tag), is_it).map(|timer| EventTime(timer.at))
    }

    /// Removes the timer of a key and tag; returns when it was due.
    pub fn remove(&mut self, at: At<'_, K>, tag: &E) -> Option<EventTime> {
        let hash = self.hash(at, tag);
        let key = Element { key: at.key.clone(), element: tag.clone() };
        self.table.remove(hash, key).map(|timer| EventTime(timer.at))
    }

    /// How many are set.
    pub fn count(&self) -> u64 {
        self.table.len()
    }

    /// When the next one is due, or earlier.
    pub fn next_due(&self) -> Option<EventTime> {
        self.queue.first().map(EventTime)
    }

    /// Takes the next timer that is due at `until` or before.
    pub fn pop_due(&mut self, until: EventTime) -> Option<(Element<K, E>, EventTime)> {
        loop {
            let table = &*self.table;
            let (queued, hash) = self
                .queue
                .pop(until.0, |next| table.ask_for(next.iter().map(|(_, hash)| *hash)))?;
            let is_due = |_: &_, timer: &Timer| timer.queued == queued && timer.at <= queued;
            if let Some((element, timer)) = self.table.take(hash, is_due) {
                return Some((element, EventTime(timer.at)));
            }
            self.put_off(queued, hash);
        }
    }

    /// Queues a timer for its time that was found at an earlier one; if it is there: one that was removed
    /// is not.
    fn put_off(&mut self, queued: i64, hash: u64) {
        let found = self.table.find_entry(hash, |_, timer: &Timer| timer.queued == queued);
        let Some((element, at)) = found.map(|(element, timer)| (element.clone(), timer.at)) else {
            return;
        };
        let queued = self.queue.push(at, hash);
        self.table.change(hash, |there| *there == element, |there| there.queued = queued);
    }

    /// Removed timers stay in the queue until their time has come, unless they are most of it.
    fn forget_stale(&mut self) {
        if self.queue.len() as u64 > 2 * self.table.len() + 1024 {
            let mut queue = self.queue.emptied();
            for (element, timer) in self.table.iter() {
                queue.push(timer.queued, self.table.hash_of(element));
            }
            *self.queue = queue;
        }
    }
}
