//! Two keyed streams in one operator: what joins are made of, and what a program makes its own of.

use std::hash::Hash;

use highwater_checkpoint::EventTime;
use serde::{Deserialize, Serialize};

use super::{Data, Key, KeyedStream, Stream};
use crate::state::{Context, Event, States, TimedStates};

/// A record of one of two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Either<L, R> {
    /// Of the first, that was connected.
    Left(L),
    /// Of the second, that it was connected with.
    Right(R),
}

/// What a timed operator on two streams is called with: see [`Connected::process_timed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectedEvent<L, R, T> {
    /// A value of the first stream has come.
    Left(L),
    /// A value of the second stream has come.
    Right(R),
    /// As [`Event::Timer`].
    Timer {
        /// Which of the timers of the key.
        tag: T,
        /// What it was set to.
        at: EventTime,
    },
    /// As [`Event::Alarm`].
    Alarm {
        /// Which of the timers of the key.
        tag: T,
        /// What it was set to, milliseconds since the Unix epoch.
        at_ms: u64,
    },
}

/// Two streams with one type of keys, whose records of a key meet on one worker: made by
/// [`KeyedStream::connect`].
///
/// Records of the two are in no order between them, unless event time gives them one. The watermark
/// is the lesser of both: a stream that stands still holds the other one's results back.
#[must_use = "a stream that does not end in a sink is not run"]
pub struct Connected<'scope, K, L: 'static, R: 'static> {
    pub(super) both: KeyedStream<'scope, K, Either<L, R>>,
}

impl<'scope, K: Key, L: Data> KeyedStream<'scope, K, L> {
    /// Puts another stream beside this one, to be worked on with the state of the same keys.
    ///
    /// How the next operator emits and keeps its state is for folds and is forgotten here.
    pub fn connect<R: Data>(self, other: KeyedStream<'scope, K, R>) -> Connected<'scope, K, L, R> {
        // One input: its frontier is that of both, and chains end in it as in any other.
        let lefts = self.parts.pairs().map(|(key, value)| (key, Either::Left(value)));
        let rights = other.parts.pairs().map(|(key, value)| (key, Either::Right(value)));
        Connected { both: lefts.union(rights).keyed() }
    }
}

impl<'scope, K: Key, L: Data, R: Data> Connected<'scope, K, L, R> {
    /// As [`KeyedStream::process`], on the values of both streams.
    ///
    /// ```
    /// use highwater::prelude::*;
    /// use highwater::stream::Either;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// // How much was ordered less how much was delivered, whichever comes first.
    /// let missing = collect_one(|flow| {
    ///     let ordered = flow.source("ordered", VecSource::new([("tea".to_owned(), 5)]));
    ///     let delivered = flow.source("delivered", VecSource::new([("tea".to_owned(), 3)]));
    ///     ordered.keyed().connect(delivered.keyed()).process("missing", |state| {
    ///         let missing = state.value::<i64>("missing");
    ///         move |ctx, event| {
    ///             let more = match event {
    ///                 Either::Left(ordered) => ordered,
    ///                 Either::Right(delivered) => -delivered,
    ///             };
    ///             ctx.emit(missing.update(ctx, |n| { *n += more; *n }));
    ///         }
    ///     })
    /// });
    /// assert_eq!(missing.last(), Some(&2));
    /// ```
    pub fn process<O, P>(
        self,
        uid: &str,
        setup: impl FnOnce(&mut States<'_, '_, 'scope, K>) -> P,
    ) -> Stream<'scope, O>
    where
        O: 'static,
        P: FnMut(&Context<'_, K, O>, Either<L, R>) + 'static,
    {
        self.both.process(uid, setup)
    }

    /// As [`KeyedStream::process_timed`], on the values of both streams.
    ///
    /// ```
    /// use highwater::prelude::*;
    /// use highwater::stream::ConnectedEvent;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// // Orders that are not paid for within ten seconds.
    /// let unpaid = collect_one(|flow| {
    ///     let by_time = || Watermarks::ascending(|(_, at): &(String, i64)| EventTime(*at));
    ///     let orders = [("tea", 1_000), ("rum", 2_000)].map(|(id, at)| (id.to_owned(), at));
    ///     let orders = flow.source("orders", VecSource::new(orders).with_watermarks(by_time()));
    ///     let payments = [("tea", 9_000), ("rum", 30_000)].map(|(id, at)| (id.to_owned(), at));
    ///     let payments = flow.source("paid", VecSource::new(payments).with_watermarks(by_time()));
    ///     orders.keyed().connect(payments.keyed()).process_timed("unpaid", |state| {
    ///         let ordered = state.value::<i64>("ordered");
    ///         let paid = state.value::<i64>("paid");
    ///         let looks = state.event_timers();
    ///         move |ctx, event| match event {
    ///             ConnectedEvent::Left(at) => {
    ///                 ordered.set(ctx, at);
    ///                 looks.set(ctx, (), EventTime(at + 10_000));
    ///             }
    ///             ConnectedEvent::Right(at) => drop(paid.set(ctx, at)),
    ///             ConnectedEvent::Timer { at: due, .. } => {
    ///                 ordered.remove(ctx);
    ///                 if paid.remove(ctx).is_none_or(|paid| paid > due.0) {
    ///                     ctx.emit(ctx.key().clone());
    ///                 }
    ///             }
    ///             ConnectedEvent::Alarm { .. } => {}
    ///         }
    ///     })
    /// });
    /// assert_eq!(unpaid, ["rum"]);
    /// ```
    pub fn process_timed<T, O, P>(
        self,
        uid: &str,
        setup: impl FnOnce(&mut TimedStates<'_, '_, 'scope, K, T>) -> P,
    ) -> Stream<'scope, O>
    where
        T: Data + Hash + Eq + Clone,
        O: 'static,
        P: FnMut(&Context<'_, K, O>, ConnectedEvent<L, R, T>) + 'static,
    {
        self.both.process_timed(uid, |state| {
            let mut process = setup(state);
            move |ctx: &Context<'_, K, O>, event: Event<Either<L, R>, T>| {
                let event = match event {
                    Event::Record(Either::Left(value)) => ConnectedEvent::Left(value),
                    Event::Record(Either::Right(value)) => ConnectedEvent::Right(value),
                    Event::Timer { tag, at } => ConnectedEvent::Timer { tag, at },
                    Event::Alarm { tag, at_ms } => ConnectedEvent::Alarm { tag, at_ms },
                };
                process(ctx, event);
            }
        })
    }
}

impl<K, L: 'static, R: 'static> std::fmt::Debug for Connected<'_, K, L, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = std::any::type_name::<(K, L, R)>();
        write!(f, "Connected<{name}>")
    }
}
