//! Asking something outside for each record.

use std::future::Future;

use super::{Data, Stream};
use crate::operators;
use crate::{AsyncOptions, BoxError};

impl<'scope, T: Data + Clone + Send + Sync> Stream<'scope, T> {
    /// Asks something outside, a database or a service, for each record: many requests at once, as
    /// `options` say.
    ///
    /// `ask` makes a future, which runs on threads of a tokio runtime. It is called again for a record
    /// whose request failed, took too long, or was under way at the checkpoint that a run is restored
    /// from: the service sees some requests twice, the stream has each result once.
    ///
    /// What is under way when an epoch ends is written, as JSON, into the checkpoint's metadata: the
    /// capacity, and what waits for it, is meant to be hundreds or thousands, not millions. A failure
    /// that should not stop the job is a result: let the future return one.
    ///
    /// ```
    /// use highwater::AsyncOptions;
    /// use highwater::prelude::*;
    /// # use highwater::testing::{VecSource, collect_one};
    ///
    /// async fn name_of(id: u32) -> Result<String, std::io::Error> {
    ///     Ok(format!("customer {id}"))
    /// }
    ///
    /// let names = collect_one(|flow| {
    ///     let ids = flow.source("ids", VecSource::new([7u32, 3]));
    ///     ids.map_async("names", AsyncOptions::default(), name_of)
    /// });
    /// assert_eq!(names, ["customer 7", "customer 3"]);
    /// ```
    pub fn map_async<R, E, F>(
        self,
        uid: &str,
        options: AsyncOptions,
        ask: impl Fn(T) -> F + Send + Sync + 'static,
    ) -> Stream<'scope, R>
    where
        R: Send + 'static,
        E: Into<BoxError> + 'static,
        F: Future<Output = Result<R, E>> + Send + 'static,
    {
        operators::map_async(uid, self, options, ask)
    }
}
