//! Operators that look at one record at a time and remember nothing. They fuse: see `chain.rs`.

use timely::dataflow::operators::InputCapability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use super::{Kept, Mapped, Output, Stream};
use highwater_checkpoint::{EventTime, Moment};

impl<'scope, T: 'static> Stream<'scope, T> {
    fn mapped<U: 'static>(
        self,
        name: &'static str,
        mut step: impl FnMut(&mut Vec<T>, &mut Vec<U>) + 'static,
    ) -> Stream<'scope, U> {
        self.mapped_at(name, move |_, batch, made| step(batch, made))
    }

    /// Works on whole batches; `step` is also told the watermark that a batch comes at or before: what
    /// comes after it is not late if its time is that, or later.
    pub(crate) fn mapped_at<U: 'static>(
        self,
        name: &'static str,
        step: impl FnMut(EventTime, &mut Vec<T>, &mut Vec<U>) + 'static,
    ) -> Stream<'scope, U> {
        let (flow, before) = self.into_chain();
        Stream::of(flow, Mapped { before, name, step: Box::new(step) })
    }

    fn kept(self, name: &'static str, step: impl FnMut(&mut Vec<T>) + 'static) -> Self {
        let (flow, before) = self.into_chain();
        Stream::of(flow, Kept { before, name, step: Box::new(step) })
    }

    /// Makes one record of each.
    pub fn map<U: 'static>(self, mut map: impl FnMut(T) -> U + 'static) -> Stream<'scope, U> {
        self.mapped("Map", move |batch, made| made.extend(batch.drain(..).map(&mut map)))
    }

    /// Makes any number of records of each.
    pub fn flat_map<I: IntoIterator>(
        self,
        mut map: impl FnMut(T) -> I + 'static,
    ) -> Stream<'scope, I::Item>
    where
        I::Item: 'static,
    {
        self.mapped("FlatMap", move |batch, made| {
            batch.drain(..).for_each(|record| made.extend(map(record)));
        })
    }

    /// Makes one record or none of each.
    pub fn filter_map<U: 'static>(
        self,
        mut map: impl FnMut(T) -> Option<U> + 'static,
    ) -> Stream<'scope, U> {
        self.mapped("FilterMap", move |batch, made| {
            made.extend(batch.drain(..).filter_map(&mut map));
        })
    }

    /// Keeps the records for which `keep` holds.
    pub fn filter(self, mut keep: impl FnMut(&T) -> bool + 'static) -> Self {
        self.kept("Filter", move |batch| batch.retain(&mut keep))
    }

    /// Looks at each record that passes.
    ///
    /// After a crash, records since the last checkpoint pass again: whatever `look` does to the
    /// world happens at least once.
    pub fn inspect(self, mut look: impl FnMut(&T) + 'static) -> Self {
        self.kept("Inspect", move |batch| batch.iter().for_each(&mut look))
    }

    /// Sends each record to one of two streams, or to both, or to none: a typed side output.
    ///
    /// ```
    /// # use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect};
    /// let (numbers, errors) = collect(|flow| {
    ///     let words = flow.source("words", VecSource::new(["7", "x", "8"]));
    ///     words.split(|word, numbers: &mut Vec<u32>, errors: &mut Vec<String>| {
    ///         match word.parse() {
    ///             Ok(number) => numbers.push(number),
    ///             Err(error) => errors.push(format!("{word}: {error}")),
    ///         }
    ///     })
    /// });
    /// assert_eq!(numbers, [7, 8]);
    /// assert_eq!(errors, ["x: invalid digit found in string"]);
    /// ```
    pub fn split<A: 'static, B: 'static>(
        self,
        mut split: impl FnMut(T, &mut Vec<A>, &mut Vec<B>) + 'static,
    ) -> (Stream<'scope, A>, Stream<'scope, B>) {
        let (flow, chain) = self.into_chain();
        let mut names = Vec::new();
        chain.name(&mut names);
        names.push("Split");
        let mut builder = OperatorBuilder::new(names.join("+"), flow.scope());
        let (first, firsts) = builder.new_output_connection::<Vec<A>, _>([]);
        let (second, seconds) = builder.new_output_connection::<Vec<B>, _>([]);
        let (mut first, mut second) = (Output::<A>::from(first), Output::<B>::from(second));
        let (mut to_first, mut to_second) = (Vec::new(), Vec::new());
        let take = move |capability: &InputCapability<Moment>, batch: &mut Vec<T>| {
            batch.drain(..).for_each(|record| split(record, &mut to_first, &mut to_second));
            if !to_first.is_empty() {
                first.activate().session(capability).give_container(&mut to_first);
                to_first.clear();
            }
            if !to_second.is_empty() {
                second.activate().session(capability).give_container(&mut to_second);
                to_second.clear();
            }
        };
        let mut drain = chain.attach(&mut builder, Box::new(take));
        builder.build(move |capabilities| {
            drop(capabilities);
            move |_| drain()
        });
        (Stream::built(flow.clone(), firsts), Stream::built(flow, seconds))
    }
}
