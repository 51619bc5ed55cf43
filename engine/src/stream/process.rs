//! Operators that a program brings itself, with state of any kind.

use std::collections::BTreeMap;
use std::hash::Hash;

use highwater_checkpoint::EventTime;
use highwater_checkpoint::state::stable_hash;

use super::{Data, Key, KeyedStream, Stream};
use crate::operators::{self, Due, Now, Work};
use crate::state::{
    BroadcastMap, Context, Event, Lookahead, OperatorStates, States, TimedStates, timed_work,
};

impl<'scope, K: Key, V: Data> KeyedStream<'scope, K, V> {
    /// Works on the values of each key with a function and states of the program's own.
    ///
    /// `setup` declares the states, and returns the function that is called with each value, in
    /// order of arrival. In the function, the handles are those of the key that the value has.
    ///
    /// All states are in one epoch together: what the function does for one record is in a
    /// checkpoint as a whole or not at all.
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::state::Ttl;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// let greetings = collect_one(|flow| {
    ///     let visits = [("ann", "/home"), ("ann", "/shop"), ("bob", "/home"), ("ann", "/home")];
    ///     let visits = visits.map(|(user, page)| (user.to_owned(), page.to_owned()));
    ///     flow.source("visits", VecSource::new(visits)).keyed().process("greet", |state| {
    ///         let visits = state.value::<u64>("visits");
    ///         let hour = Ttl::on_write(Duration::from_secs(3600));
    ///         let seen = state.time_to_live(hour).map::<String, u64>("seen");
    ///         move |ctx, page| {
    ///             let visits = visits.update(ctx, |n| { *n += 1; *n });
    ///             if seen.insert(ctx, page.clone(), visits).is_none() {
    ///                 ctx.emit(format!("{} is at {page}, visit {visits}", ctx.key()));
    ///             }
    ///         }
    ///     })
    /// });
    /// assert_eq!(greetings, [
    ///     "ann is at /home, visit 1",
    ///     "ann is at /shop, visit 2",
    ///     "bob is at /home, visit 1",
    /// ]);
    /// ```
    pub fn process<R, P>(
        self,
        uid: &str,
        setup: impl FnOnce(&mut States<'_, '_, 'scope, K>) -> P,
    ) -> Stream<'scope, R>
    where
        R: 'static,
        P: FnMut(&Context<'_, K, R>, V) + 'static,
    {
        let stream = self.parts.pairs();
        let flow = stream.flow().clone();
        let processed =
            operators::process_by_hash(&flow, uid, stream.into_timely(), hash_of, |d| {
                let process = setup(&mut States::new(d));
                Untimed { process, lookahead: d.lookahead() }
            });
        Stream::built(flow, processed)
    }

    /// As [`process`](KeyedStream::process), with timers: the function is also called when one that
    /// it has set is due, with the key of that.
    ///
    /// Timers are told apart by tags of the type `T`. A timer fires when the watermark has come to its
    /// time; see [`EventTimers`](crate::state::EventTimers).
    ///
    /// ```
    /// use std::time::Duration;
    /// use highwater::prelude::*;
    /// use highwater::state::Event;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// // Who has not come back for ten seconds has left.
    /// let left = collect_one(|flow| {
    ///     let clicks = [("ann", 1_000), ("bob", 2_000), ("ann", 9_000), ("bob", 30_000)];
    ///     let clicks = clicks.map(|(user, at)| (user.to_owned(), EventTime(at)));
    ///     let by_time = Watermarks::ascending(|(_, at): &(String, EventTime)| *at);
    ///     let clicks = flow.source("clicks", VecSource::new(clicks).with_watermarks(by_time));
    ///     clicks.keyed().process_timed("left", |state| {
    ///         let leaves = state.event_timers();
    ///         let left = |user: &String, at| format!("{user} left at {at}");
    ///         move |ctx, event| match event {
    ///             Event::Record(at) => {
    ///                 // Watermarks come between batches: she may be back before it is noticed.
    ///                 if let Some(due) = leaves.get(ctx, &()).filter(|due| *due <= at) {
    ///                     ctx.emit(left(ctx.key(), due));
    ///                 }
    ///                 // Setting it again puts it off.
    ///                 leaves.set(ctx, (), at.saturating_add(Duration::from_secs(10)));
    ///             }
    ///             Event::Timer { at, .. } => ctx.emit(left(ctx.key(), at)),
    ///             Event::Alarm { .. } => {}
    ///         }
    ///     })
    /// });
    /// assert_eq!(left, ["bob left at 12000", "ann left at 19000", "bob left at 40000"]);
    /// ```
    pub fn process_timed<T, R, P>(
        self,
        uid: &str,
        setup: impl FnOnce(&mut TimedStates<'_, '_, 'scope, K, T>) -> P,
    ) -> Stream<'scope, R>
    where
        T: Data + Hash + Eq + Clone,
        R: 'static,
        P: FnMut(&Context<'_, K, R>, Event<V, T>) + 'static,
    {
        let stream = self.parts.pairs();
        let flow = stream.flow().clone();
        let processed =
            operators::process_by_hash(&flow, uid, stream.into_timely(), hash_of, |d| {
                timed_work(d, setup)
            });
        Stream::built(flow, processed)
    }
}

#[inline]
fn hash_of<K: Key, V>((key, _): &(K, V)) -> u64 {
    stable_hash(key)
}

/// A function that is called with records alone.
struct Untimed<P, K, V> {
    process: P,
    lookahead: Lookahead<K, V>,
}

impl<K: Key, V, R, P: FnMut(&Context<'_, K, R>, V)> Work<(K, V), R> for Untimed<P, K, V> {
    fn batch(&mut self, now: &Now<'_, R>, batch: &mut Vec<(K, V)>) {
        let Untimed { process, lookahead } = self;
        lookahead.each(batch, stable_hash, |key, hash, value| {
            process(&Context::new(&key, hash, now), value);
        });
    }
}

/// A function that is called with records alone, which have no keys.
struct Keyless<P>(P);

impl<T, R, P: FnMut(&Context<'_, (), R>, T)> Work<T, R> for Keyless<P> {
    fn batch(&mut self, now: &Now<'_, R>, batch: &mut Vec<T>) {
        let context = Context::new(&(), 0, now);
        batch.drain(..).for_each(|record| (self.0)(&context, record));
    }
}

/// A function that is called with records that have no keys, and with watermarks.
struct Watermarked<P> {
    process: P,
    /// The watermark that it was called with last.
    told: EventTime,
}

impl<T, R, P: FnMut(&Context<'_, (), R>, Arrival<T>)> Work<T, R> for Watermarked<P> {
    fn batch(&mut self, now: &Now<'_, R>, batch: &mut Vec<T>) {
        let context = Context::new(&(), 0, now);
        batch.drain(..).for_each(|record| (self.process)(&context, Arrival::Record(record)));
    }

    fn is_timed(&self) -> bool {
        true
    }

    fn due(&mut self, now: &Now<'_, R>, _: Due) -> bool {
        if now.watermark > self.told {
            self.told = now.watermark;
            (self.process)(&Context::new(&(), 0, now), Arrival::Watermark(now.watermark));
        }
        false
    }
}

/// What an operator without keys is called with: see [`Stream::process_watermarks`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival<T> {
    /// A record has come.
    Record(T),
    /// The watermark has moved on: no record is expected whose event time is below it.
    Watermark(EventTime),
}

impl<'scope, T: 'static> Stream<'scope, T> {
    /// Works on records where they are, with a function and lists of the program's own: state that
    /// belongs to no key.
    ///
    /// As [`KeyedStream::process`], but each worker has its own part of a list, which is dealt out
    /// anew, or given to all, when the job is started again.
    ///
    /// ```
    /// use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// // Packets of four, each of what one worker has got. What waits for a packet is not lost.
    /// let packets = collect_one(|flow| {
    ///     let numbers = flow.source("numbers", VecSource::new([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
    ///     numbers.process("packets", |state| {
    ///         let waiting = state.split_list::<i32>("waiting");
    ///         move |ctx, number| {
    ///             waiting.with(|waiting| {
    ///                 waiting.push(number);
    ///                 if waiting.len() == 4 {
    ///                     ctx.emit(std::mem::take(waiting));
    ///                 }
    ///             });
    ///         }
    ///     })
    /// });
    /// assert_eq!(packets, [[0, 1, 2, 3], [4, 5, 6, 7]]);
    /// ```
    pub fn process<R, P>(
        self,
        uid: &str,
        setup: impl FnOnce(&mut OperatorStates<'_, '_, 'scope>) -> P,
    ) -> Stream<'scope, R>
    where
        R: 'static,
        P: FnMut(&Context<'_, (), R>, T) + 'static,
    {
        let flow = self.flow().clone();
        let processed = operators::process_here(&flow, uid, self.into_timely(), |declarations| {
            Keyless(setup(&mut OperatorStates::new(declarations)))
        });
        Stream::built(flow, processed)
    }

    /// As [`process`](Stream::process), called with watermarks as well: whenever the watermark moves on,
    /// and with [`EventTime::MAX`] when the input ends. After a restore it is told anew.
    ///
    /// ```
    /// use highwater::prelude::*;
    /// use highwater::stream::Arrival;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// // Records in the order of their event times.
    /// let sorted = collect_one(|flow| {
    ///     let by_time = Watermarks::bounded(std::time::Duration::from_millis(5), |at| EventTime(*at));
    ///     let source = VecSource::new([3i64, 1, 2, 7, 5, 9]).with_watermarks(by_time);
    ///     flow.source("times", source).process_watermarks("sort", |state| {
    ///         let waiting = state.split_list::<i64>("waiting");
    ///         move |ctx, arrival| waiting.with(|waiting| match arrival {
    ///             Arrival::Record(at) => waiting.push(at),
    ///             Arrival::Watermark(watermark) => {
    ///                 waiting.sort();
    ///                 let due = waiting.partition_point(|at| *at < watermark.0);
    ///                 waiting.drain(..due).for_each(|at| ctx.emit(at));
    ///             }
    ///         })
    ///     })
    /// });
    /// assert_eq!(sorted, [1, 2, 3, 5, 7, 9]);
    /// ```
    pub fn process_watermarks<R, P>(
        self,
        uid: &str,
        setup: impl FnOnce(&mut OperatorStates<'_, '_, 'scope>) -> P,
    ) -> Stream<'scope, R>
    where
        R: 'static,
        P: FnMut(&Context<'_, (), R>, Arrival<T>) + 'static,
    {
        let flow = self.flow().clone();
        let processed = operators::process_here(&flow, uid, self.into_timely(), |declarations| {
            let process = setup(&mut OperatorStates::new(declarations));
            Watermarked { process, told: EventTime::MIN }
        });
        Stream::built(flow, processed)
    }

    /// Works on records beside a map that all workers have whole: rules, rates, models.
    ///
    /// `update` is called on every worker with each of the `updates`, in one order, and changes the
    /// map; it must depend on nothing else. `each` is called with each record on the worker where
    /// that is, and reads the map. The map is in every checkpoint, once, and comes back on any
    /// number of workers.
    ///
    /// Records and updates are in no order between them: a record sees the map as it is when the
    /// record comes, another one perhaps when it comes again after a crash.
    ///
    /// ```
    /// use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// let euros = collect_one(|flow| {
    ///     let rates = flow.source("rates", VecSource::new([("USD".to_owned(), 0.5)]));
    ///     let paid = flow.source("paid", VecSource::new([("USD".to_owned(), 8.0)]));
    ///     paid.with_broadcast(
    ///         "in-euros",
    ///         rates,
    ///         |rates, (currency, rate)| drop(rates.insert(currency, rate)),
    ///         |rates, (currency, amount)| rates.get(&currency).map(|rate| amount * rate),
    ///     )
    /// });
    /// // What comes before its rate is dropped.
    /// assert!(euros.is_empty() || euros == [4.0]);
    /// ```
    pub fn with_broadcast<U, K, V, I>(
        self,
        uid: &str,
        updates: Stream<'scope, U>,
        update: impl FnMut(&mut BroadcastMap<K, V>, U) + 'static,
        each: impl FnMut(&BTreeMap<K, V>, T) -> I + 'static,
    ) -> Stream<'scope, I::Item>
    where
        U: Data + Clone,
        K: Data + Hash + Ord + Clone,
        V: Data + Clone,
        I: IntoIterator<Item: 'static>,
    {
        operators::with_broadcast(uid, self, updates, update, each)
    }
}
