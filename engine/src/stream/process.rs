//! Operators that a program brings itself, with state of any kind.

use std::collections::BTreeMap;
use std::hash::Hash;

use super::{Data, Key, KeyedStream, Stream};
use crate::operators;
use crate::state::{BroadcastMap, Context, OperatorStates, States};

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
        operators::process_keyed(uid, self.parts.pairs(), setup)
    }
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
        operators::process(uid, self, setup)
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
