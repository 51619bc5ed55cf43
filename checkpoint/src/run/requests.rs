//! What a running job does when it is asked for something: looks, obeys, answers.
//!
//! One task looks into `requests/` at an interval. Each request is obeyed by a task of its own,
//! which keeps the run from ending before the answer is given. When the run fails, nothing is
//! answered: the next run finds the request, and obeys it if somebody still waits.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::{Arc, PoisonError, Weak};

use futures::future::{Either, select};
use tokio::sync::oneshot;

use super::Run;
use crate::coordinator::Event;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{CheckpointMetadata, Origin};
use crate::savepoint::request::{self, Answer, Done, Outcome, Request, RequestKind, Taken};
use crate::savepoint::{SavepointName, folder};
use crate::store::layout::{self, RequestObject};

/// How long an answer is kept for somebody who does not come for it.
const ANSWER_KEPT_MS: u64 = 24 * 60 * 60 * 1000;

/// Feeds the coordinator, from any thread.
pub(crate) type Feed = Arc<dyn Fn(Event) + Send + Sync>;

/// A complete checkpoint, none of whose objects is deleted before this is dropped.
pub(crate) struct Pinned {
    pub(crate) metadata: CheckpointMetadata,
    pub(crate) feed: Feed,
}

impl Drop for Pinned {
    fn drop(&mut self) {
        (self.feed)(Event::SavepointEnded { id: self.metadata.id });
    }
}

/// Requests that were taken up in this run, and those among them that wait for a checkpoint.
#[derive(Default)]
pub(super) struct Requests {
    known: BTreeSet<String>,
    waiting: BTreeMap<u64, oneshot::Sender<Arc<Pinned>>>,
    next: u64,
}

impl Run {
    /// Begins to look for requests.
    pub(crate) fn serve_requests(self: &Arc<Self>, feed: Feed) {
        if !self.is_durable() {
            return;
        }
        let (run, every) = (Arc::downgrade(self), self.options.request_interval);
        self.spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                if !look(&run, &feed).await {
                    return;
                }
            }
        });
    }

    /// Gives a complete checkpoint to the `requests` that wait for one.
    pub(crate) fn hand_over(&self, requests: &[u64], pinned: Pinned) {
        let pinned = Arc::new(pinned);
        let mut all = self.requests();
        for request in requests {
            if let Some(waiting) = all.waiting.remove(request) {
                // Who does not wait any more belongs to a run that has failed.
                let _ = waiting.send(Arc::clone(&pinned));
            }
        }
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what is new in the folder of requests.
    async fn take_requests(self: &Arc<Self>, feed: &Feed) -> Result<()> {
        let store = self.store();
        let objects = store.list(layout::REQUESTS).await?;
        let all = objects.iter().filter_map(|(name, _)| layout::parse_request(name));
        let all: Vec<_> = all.collect();
        let answered = all.iter().filter(|(_, what)| *what == RequestObject::Answer);
        let answered: BTreeSet<&str> = answered.map(|(id, _)| *id).collect();
        for (id, what) in &all {
            if *what == RequestObject::Request && !answered.contains(id) {
                self.take_request(id, feed).await?;
            }
        }
        for id in answered {
            let asked_ms = id.split('-').next().and_then(|ms| ms.parse::<u64>().ok());
            if asked_ms.is_some_and(|asked_ms| asked_ms + ANSWER_KEPT_MS < self.now_ms()) {
                store.delete(&layout::request_answer(id)).await?;
            }
        }
        Ok(())
    }

    async fn take_request(self: &Arc<Self>, id: &str, feed: &Feed) -> Result<()> {
        if self.requests().known.contains(id) {
            return Ok(());
        }
        let store = self.store();
        let request = match request::read(store, id, self.now_ms()).await {
            Err(Error::Missing { .. }) => return Ok(()),
            outcome => outcome?,
        };
        // A run that was replaced leaves it to the one that goes on.
        store.check_fence(self.generation).await?;
        self.requests().known.insert(id.to_owned());
        let request = match request {
            Ok(request) => request,
            Err(reason) => {
                self.answer(id, Outcome::Failed { reason }).await;
                return Ok(());
            }
        };
        let taken = Taken { generation: self.generation };
        if let Err(error) = request::put(store, &layout::request_taken(id), &taken).await {
            tracing::debug!(%error, "who asked does not hear that it was taken up");
        }
        tracing::info!(request = id, kind = ?request.kind, "asked");
        let (run, feed, id) = (Arc::clone(self), Arc::clone(feed), id.to_owned());
        self.spawn(async move {
            let _pending = run.control.answer_pending();
            if let Some(outcome) = run.obey(request, &feed).await {
                run.answer(&id, outcome).await;
            }
        });
        Ok(())
    }

    /// Nothing if the run has failed: then the next one is to answer.
    async fn obey(self: &Arc<Self>, request: Request, feed: &Feed) -> Option<Outcome> {
        let began_ms = self.now_ms();
        let outcome = match &request.kind {
            RequestKind::Savepoint { name } => self.take_savepoint(name, feed).await,
            RequestKind::Stop { savepoint } => {
                let end = (Event::StopRequested { now_ms: began_ms }, Origin::Stop);
                self.end(savepoint.as_ref(), end, feed).await
            }
            RequestKind::Drain { savepoint } => {
                let end = (Event::DrainRequested { now_ms: began_ms }, Origin::Drain);
                self.end(savepoint.as_ref(), end, feed).await
            }
        };
        if self.control.has_failed() {
            return None;
        }
        Some(match outcome {
            Ok(done) => {
                Outcome::Done(Done { duration_ms: self.now_ms().saturating_sub(began_ms), ..done })
            }
            Err(error) => {
                tracing::warn!(%error, "what the job was asked for has failed");
                Outcome::Failed { reason: chain(&error) }
            }
        })
    }

    async fn take_savepoint(self: &Arc<Self>, name: &SavepointName, feed: &Feed) -> Result<Done> {
        folder::check_free(self.store(), name).await?;
        let (request, checkpoint) = self.await_checkpoint();
        feed(Event::SavepointRequested { request, now_ms: self.now_ms() });
        self.copy_savepoint(name, checkpoint).await
    }

    /// Stops or drains the run, as `end` says.
    async fn end(
        self: &Arc<Self>,
        savepoint: Option<&SavepointName>,
        (event, origin): (Event, Origin),
        feed: &Feed,
    ) -> Result<Done> {
        if let Some(name) = savepoint {
            // Found out before anything ends.
            folder::check_free(self.store(), name).await?;
        }
        if origin == Origin::Drain {
            self.control.request_drain();
        } else {
            self.control.request_stop();
        }
        // In this order, so that the savepoint is of the last checkpoint.
        feed(event);
        let taken = match savepoint {
            Some(name) => {
                let (request, checkpoint) = self.await_checkpoint();
                feed(Event::SavepointRequested { request, now_ms: self.now_ms() });
                Some(self.copy_savepoint(name, checkpoint).await)
            }
            None => None,
        };
        self.control.until(|control| control.has_failed() || control.is_idle()).await;
        let Some(last) = self.status.last() else {
            return Err(Error::invalid("the job has ended without a checkpoint of this run"));
        };
        if let Some(Err(error)) = taken {
            return Err(Error::invalid(format!(
                "the job has stopped with checkpoint {}, but the savepoint has failed: {}",
                last.id,
                chain(&error)
            )));
        }
        if origin == Origin::Drain && last.origin == Origin::Stop {
            return Err(Error::invalid(format!(
                "the job was stopped by somebody else, without a drain; it resumes from checkpoint \
                 {}",
                last.id
            )));
        }
        Ok(Done {
            savepoint: savepoint.cloned(),
            checkpoint: last.id,
            epoch: last.epoch,
            origin: last.origin,
            bytes: last.bytes_total,
            duration_ms: 0,
        })
    }

    fn await_checkpoint(&self) -> (u64, oneshot::Receiver<Arc<Pinned>>) {
        let (sender, receiver) = oneshot::channel();
        let mut all = self.requests();
        all.next += 1;
        let request = all.next;
        all.waiting.insert(request, sender);
        (request, receiver)
    }

    async fn copy_savepoint(
        &self,
        name: &SavepointName,
        mut checkpoint: oneshot::Receiver<Arc<Pinned>>,
    ) -> Result<Done> {
        let over = self.control.until(|control| control.has_failed() || control.is_finished());
        let pinned = match select(&mut checkpoint, pin!(over)).await {
            Either::Left((pinned, _)) => pinned.ok(),
            // The last checkpoint is handed over before the run is finished.
            Either::Right(_) => checkpoint.try_recv().ok(),
        };
        let ended = || Error::invalid("the job ended before a checkpoint could be taken");
        let pinned = pinned.ok_or_else(ended)?;
        let metadata = pinned.metadata.clone();
        let epoch = metadata.epoch;
        // What is committed need not be listed, and what a fork would commit must not be.
        self.control.until(|control| control.has_failed() || control.has_committed(epoch)).await;
        if self.control.has_failed() {
            return Err(ended());
        }
        // Two of one name and of one checkpoint would write the same bytes, and both have won.
        let _turn = self.taking.lock().await;
        let taken = folder::take(self.store(), name, metadata).await?;
        let CheckpointMetadata { id, origin, bytes_total, .. } = taken;
        tracing::info!(%name, checkpoint = id.0, epoch = epoch.0, bytes_total, "savepoint taken");
        let savepoint = Some(name.clone());
        Ok(Done { savepoint, checkpoint: id, epoch, origin, bytes: bytes_total, duration_ms: 0 })
    }

    /// The first answer counts; a request that cannot be answered is left to expire.
    async fn answer(&self, id: &str, outcome: Outcome) {
        let answer = Answer { generation: self.generation, answered_ms: self.now_ms(), outcome };
        let store = self.store();
        match request::put(store, &layout::request_answer(id), &answer).await {
            Ok(()) => {
                for name in [layout::request(id), layout::request_taken(id)] {
                    if let Err(error) = store.delete(&name).await {
                        tracing::debug!(%error, "an answered request is left behind");
                    }
                }
            }
            Err(error) => tracing::warn!(request = id, %error, "an answer could not be given"),
        }
    }
}

/// Returns whether to look again.
async fn look(run: &Weak<Run>, feed: &Feed) -> bool {
    let Some(run) = run.upgrade() else { return false };
    if run.control.is_finished() || run.control.has_failed() {
        return false;
    }
    match run.take_requests(feed).await {
        Ok(()) => true,
        // The coordinator finds out by itself, and ends the run.
        Err(error) if error.kind() == ErrorKind::Stop => false,
        Err(error) => {
            tracing::warn!(%error, "requests to the job are not looked at; trying on");
            true
        }
    }
}

/// An error with its causes: who reads it has no other way to ask for them.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
