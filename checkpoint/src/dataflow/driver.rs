//! Performs what the coordinator decides; on worker 0, shared by the clock and the completion.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use timely::scheduling::{Activator, SyncActivator};

use crate::coordinator::{Action, Coordinator, CoordinatorConfig, Event, Start};
use crate::error::Error;
use crate::metadata::CheckpointMetadata;
use crate::run::{CheckpointReport, Feed, Pinned, Run};
use crate::time::Epoch;

/// What the clock operator has to do, for it holds the capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signalled {
    Begin(Epoch),
    End,
    Commit(Epoch),
}

/// See the module.
pub(super) struct Driver {
    run: Arc<Run>,
    coordinator: Option<Coordinator>,
    for_clock: VecDeque<Signalled>,
    clock: Activator,
    results: (Sender<Event>, Receiver<Event>),
    /// Wakes the completion, which takes up results.
    completion: Option<SyncActivator>,
    writing: Option<CheckpointMetadata>,
    /// What happened before the first epoch began.
    early: Vec<Event>,
    /// Operators of the checkpoint whose state is not taken over.
    dropped: BTreeSet<String>,
}

impl Driver {
    pub(super) fn new(run: Arc<Run>, clock: Activator) -> Driver {
        let (for_clock, results) = (VecDeque::new(), channel());
        Driver {
            run,
            coordinator: None,
            for_clock,
            clock,
            results,
            completion: None,
            writing: None,
            early: Vec::new(),
            dropped: BTreeSet::new(),
        }
    }

    pub(super) fn completion(&mut self, waker: SyncActivator) {
        self.completion = Some(waker);
    }

    /// The state of these operators of the checkpoint is not taken over.
    pub(super) fn drop_state_of(&mut self, uids: BTreeSet<String>) {
        self.dropped = uids;
    }

    /// Begins the first epoch.
    pub(super) fn start(&mut self) {
        let options = self.run.options();
        let config = CoordinatorConfig {
            job: options.job.clone(),
            generation: self.run.generation(),
            workers: options.workers,
            key_groups: options.key_groups.count(),
            policy: options.policy.clone(),
        };
        let start = Start {
            checkpoint: self.run.start().clone(),
            retained: self.run.retained().to_vec(),
            dropped: std::mem::take(&mut self.dropped),
            now_ms: self.run.now_ms(),
        };
        let coordinator = Coordinator::new(config, start);
        self.run.status().begun(coordinator.epoch());
        self.coordinator = Some(coordinator);
        self.run.serve_requests(self.feeder());
        for event in std::mem::take(&mut self.early) {
            self.feed(event);
        }
    }

    pub(super) fn has_started(&self) -> bool {
        self.coordinator.is_some()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.coordinator.as_ref().is_some_and(Coordinator::is_closing)
    }

    /// When the next epoch is to begin, if time decides on that.
    pub(super) fn next_begin_ms(&self) -> Option<u64> {
        self.coordinator.as_ref().and_then(Coordinator::next_begin_ms)
    }

    pub(super) fn next_signal(&mut self) -> Option<Signalled> {
        self.for_clock.pop_front()
    }

    /// Takes up what tasks have done meanwhile.
    pub(super) fn poll(&mut self) {
        while let Ok(event) = self.results.1.try_recv() {
            self.feed(event);
        }
    }

    pub(super) fn feed(&mut self, event: Event) {
        if self.coordinator.is_none() {
            self.early.push(event);
            return;
        }
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.note(&event);
            let Some(coordinator) = &mut self.coordinator else { return };
            for action in coordinator.step(event) {
                events.extend(self.perform(action));
            }
        }
    }

    /// Keeps the status that people see.
    fn note(&mut self, event: &Event) {
        let status = self.run.status();
        match event {
            Event::Acknowledged(acknowledgement) => status.stalled(acknowledgement.stall_us),
            // The first thing that ends a run is what it ends of.
            Event::InputEnded { .. } if !self.is_closing() => self.run.control().set_input_ended(),
            Event::DrainRequested { .. } if !self.is_closing() => self.run.control().set_drained(),
            Event::Written { epoch, .. } => {
                let Some(metadata) = self.writing.take_if(|metadata| metadata.epoch == *epoch)
                else {
                    return;
                };
                if !self.run.is_durable() {
                    return;
                }
                let report = CheckpointReport::from(&metadata);
                status.completed_one(report);
                tracing::info!(
                    checkpoint = report.id.0,
                    epoch = report.epoch.0,
                    duration_ms = report.duration_ms,
                    bytes_written = report.bytes_written,
                    bytes_folded = report.bytes_folded,
                    bytes_total = report.bytes_total,
                    "checkpoint complete"
                );
            }
            _ => {}
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Begin(epoch) => {
                if self.is_closing() {
                    // Before any source can see that the epoch has begun.
                    self.run.control().emit_until(Epoch(epoch.0 - 1));
                }
                self.run.status().begun(epoch);
                self.signal(Signalled::Begin(epoch));
            }
            Action::End => {
                let last = self.coordinator.as_ref().map(Coordinator::epoch);
                if let Some(last) = last {
                    self.run.control().emit_until(last);
                }
                self.signal(Signalled::End);
            }
            Action::Commit(epoch) => self.signal(Signalled::Commit(epoch)),
            // The capabilities stay: to drop them would be the end of input, and windows would fire.
            Action::Finish => self.run.control().set_finished(),
            Action::Write(metadata) => return self.write(*metadata),
            Action::Fold { uid, segments } => {
                let run = Arc::clone(&self.run);
                let replaced = segments.iter().map(|segment| segment.object.clone()).collect();
                let name = uid.clone();
                self.spawn(async move {
                    let _turn = run.turn_to_fold().await;
                    let reader = Arc::clone(&run);
                    let folding = run.spawn_heavy(async move {
                        let folded = reader.fold(&name, &segments).await;
                        if let Err(error) = &folded {
                            tracing::warn!(uid = name, %error, "segments are not folded yet");
                        }
                        folded.ok()
                    });
                    // A fold that panicked has failed like any other.
                    Event::Folded { uid, replaced, with: folding.await.ok().flatten() }
                });
            }
            Action::Delete { checkpoints, segments } => {
                if self.run.is_durable() {
                    let run = Arc::clone(&self.run);
                    self.run.spawn(async move { run.delete(&checkpoints, &segments).await });
                }
            }
            Action::Savepoint { requests, metadata } => {
                let pinned = Pinned { metadata: *metadata, feed: self.feeder() };
                self.run.hand_over(&requests, pinned);
            }
            Action::Abandon { newer } => {
                let ours = self.run.generation();
                self.run.control().fail(Error::Fenced { ours, newer });
            }
            Action::Failed { epoch, cause } => {
                self.run.status().failed_one();
                tracing::warn!(epoch = epoch.0, %cause, "a checkpoint has failed; its changes go into the next one");
            }
            Action::GiveUp { failures, cause } => {
                let tolerable = self.run.options().policy.tolerable_failures;
                let cause = cause.to_string();
                self.run.control().fail(Error::TooManyFailures { failures, tolerable, cause });
            }
        }
        None
    }

    fn write(&mut self, metadata: CheckpointMetadata) -> Option<Event> {
        self.writing = Some(metadata.clone());
        if !self.run.is_durable() {
            return Some(Event::Written { id: metadata.id, epoch: metadata.epoch });
        }
        let run = Arc::clone(&self.run);
        self.spawn(async move { run.write_metadata(&metadata).await });
        None
    }

    fn spawn(&self, task: impl Future<Output = Event> + Send + 'static) {
        let (results, completion) = (self.results.0.clone(), self.completion.clone());
        self.run.spawn(async move {
            // Nobody listens once the dataflow is dropped.
            let _ = results.send(task.await);
            completion.map(|completion| completion.activate());
        });
    }

    /// Feeds this driver from any thread.
    fn feeder(&self) -> Feed {
        let (results, completion) = (self.results.0.clone(), self.completion.clone());
        Arc::new(move |event| {
            // Nobody listens once the dataflow is dropped.
            let _ = results.send(event);
            completion.as_ref().map(SyncActivator::activate);
        })
    }

    fn signal(&mut self, signal: Signalled) {
        self.for_clock.push_back(signal);
        self.clock.activate();
    }
}
