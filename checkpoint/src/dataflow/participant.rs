//! What an operator holds to take part in checkpoints: written once, used by every stateful
//! operator, source and sink.
//!
//! ```text
//!   running epoch e --frontier passes e--> seal(e): work elsewhere --done--> ack(e), capability to e+1
//! ```
//!
//! # Invariants
//!
//! * **P1** The acknowledgement capability stays at the oldest epoch whose snapshot is not durable:
//!   that it has moved on *is* the acknowledgement.
//! * **P2** Acknowledgements are sent in the order of epochs.
//! * **P3** The data output is never held back by a snapshot.
//! * **P4** An acknowledgement is of the epoch that was running, the first that its snapshot is of:
//!   with the last, a checkpoint of one before it would be complete without what changed in it.
//!
//! At least once, what the snapshot of an epoch is of may be more than the epoch: [`Participant::admits`].

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use timely::container::CapacityContainerBuilder;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::OutputBuilder;
use timely::progress::Timestamp;
use timely::progress::frontier::AntichainRef;
use timely::scheduling::SyncActivator;
use tokio::sync::oneshot;

use crate::error::{BoxError, Result};
use crate::metadata::{Acknowledgement, OperatorStateMetadata, StateSchema};
use crate::policy::CheckpointMode;
use crate::run::Run;
use crate::time::{Epoch, EpochTime};

/// The output on which a participant acknowledges.
pub type AckOutput<T> = OutputBuilder<T, CapacityContainerBuilder<Vec<Acknowledgement>>>;

/// See the module.
pub struct Participant<T: Timestamp> {
    uid: String,
    schema: StateSchema,
    worker: usize,
    run: Arc<Run>,
    acks: AckOutput<T>,
    /// None when the last epoch is acknowledged.
    capability: Option<Capability<T>>,
    running: Epoch,
    admits_early: bool,
    sealed_last: bool,
    pending: VecDeque<Pending>,
    waker: SyncActivator,
}

struct Pending {
    sealed: Sealed,
    stall_us: u64,
    outcome: oneshot::Receiver<Result<OperatorStateMetadata>>,
}

/// The epochs that one snapshot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    /// The one that was running: what the snapshot adds belongs to it, and it is named by it.
    pub(super) epoch: Epoch,
    /// The last one: in those between nothing arrived, so the snapshot is theirs as well.
    through: Epoch,
    /// No epoch follows.
    is_last: bool,
}

/// What [`Participant::next_epoch`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The running epoch goes on.
    No,
    /// Everything up to this epoch has arrived, and more will follow.
    Through(Epoch),
    /// Nothing will ever arrive again.
    Last(Epoch),
}

/// The least epoch that a frontier can still bring; none, if it is empty.
pub fn frontier_epoch<T: EpochTime>(frontier: AntichainRef<'_, T>) -> Option<Epoch> {
    frontier.iter().map(EpochTime::epoch).min()
}

impl<T: Timestamp + EpochTime> Participant<T> {
    pub(super) fn new(
        (uid, schema): (String, StateSchema),
        worker: usize,
        run: Arc<Run>,
        acks: AckOutput<T>,
        mut capability: Capability<T>,
        waker: SyncActivator,
    ) -> Self {
        let running = run.first_epoch();
        let admits_early = run.options().policy.mode == CheckpointMode::AtLeastOnce;
        capability.downgrade(&T::first_of(running));
        Participant {
            uid,
            schema,
            worker,
            run,
            acks,
            capability: Some(capability),
            running,
            admits_early,
            sealed_last: false,
            pending: VecDeque::new(),
            waker,
        }
    }

    /// The running epoch: records of later ones are stashed, unless they are
    /// [admitted](Participant::admits).
    pub fn running(&self) -> Epoch {
        self.running
    }

    /// Whether records of `epoch` may be applied now; if not, they are stashed.
    ///
    /// At least once, all may: those that are early are part of the snapshot of the running epoch,
    /// and are read again by who restores that.
    #[inline]
    pub fn admits(&self, epoch: Epoch) -> bool {
        epoch <= self.running || self.admits_early
    }

    /// Whether no epoch follows the running one. Also true when nobody has said which epoch is the
    /// last, as in a program whose sources just end.
    pub fn is_last_epoch(&self) -> bool {
        self.run.control().last_epoch().is_none_or(|last| self.running >= last)
    }

    /// The operator's uid.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The run that this operator takes part in.
    pub fn run(&self) -> &Arc<Run> {
        &self.run
    }

    /// Wakes this operator from any thread.
    pub fn waker(&self) -> SyncActivator {
        self.waker.clone()
    }

    /// What has closed, if the input has come to `frontier` and the stash begins at `stashed`.
    ///
    /// Epochs in which nothing arrived are passed over: at their ends the state was the same.
    ///
    /// An input that has ended goes to its end epoch by epoch: what an operator does at the end of
    /// input belongs to the last epoch of the run, for all operators alike, so that it is in one
    /// checkpoint or in none.
    pub fn next_epoch(&self, frontier: Option<Epoch>, stashed: Option<Epoch>) -> Closed {
        let last = self.run.control().last_epoch().filter(|last| *last > self.running);
        let frontier = frontier.or(last);
        let next = [frontier, stashed].into_iter().flatten().min();
        match next {
            _ if self.sealed_last => Closed::No,
            None => Closed::Last(self.running),
            Some(next) if next > self.running => Closed::Through(Epoch(next.0 - 1)),
            Some(_) => Closed::No,
        }
    }

    /// Ends the running epoch, `closed` says with which: `work` makes its snapshot durable, off the
    /// worker's thread, and returns what the checkpoint will say of it.
    ///
    /// `stall_us` is how long the worker's thread was kept by it at one go.
    pub fn seal<F>(&mut self, closed: Closed, stall_us: u64, work: F)
    where
        F: Future<Output = Result<OperatorStateMetadata>> + Send + 'static,
    {
        let sealed = self.pass(closed);
        self.submit(sealed, stall_us, work);
    }

    /// Moves on to the next epoch; the snapshot of the one that ended is submitted later.
    pub(super) fn pass(&mut self, closed: Closed) -> Sealed {
        let through = match closed {
            Closed::No => unreachable!("an epoch is sealed when it has closed"),
            Closed::Through(epoch) => epoch,
            Closed::Last(epoch) => {
                self.sealed_last = true;
                epoch
            }
        };
        assert!(through >= self.running, "{through} was sealed before");
        self.run.sealing(&self.uid, self.worker, self.running);
        let sealed = Sealed { epoch: self.running, through, is_last: self.sealed_last };
        self.running = through.next();
        sealed
    }

    pub(super) fn submit<F>(&mut self, sealed: Sealed, stall_us: u64, work: F)
    where
        F: Future<Output = Result<OperatorStateMetadata>> + Send + 'static,
    {
        let (sender, outcome) = oneshot::channel();
        let waker = self.waker.clone();
        self.run.spawn(async move {
            // A receiver that is gone belongs to a dataflow that was stopped.
            let _ = sender.send(work.await);
            let _ = waker.activate();
        });
        self.pending.push_back(Pending { sealed, stall_us, outcome });
    }

    /// The state of an operator that has nothing but what `fill` puts in.
    pub fn state(&self, fill: impl FnOnce(&mut OperatorStateMetadata)) -> OperatorStateMetadata {
        let mut state = OperatorStateMetadata {
            uid: self.uid.clone(),
            schema: self.schema.clone(),
            ..OperatorStateMetadata::default()
        };
        fill(&mut state);
        state
    }

    /// Sends the acknowledgements of snapshots that have become durable. To be called whenever the
    /// operator is scheduled.
    ///
    /// Returns whether a snapshot is still on its way.
    ///
    /// # Errors
    ///
    /// If a snapshot cannot be made durable, for ever.
    pub fn acknowledge(&mut self) -> std::result::Result<bool, BoxError> {
        while let Some(pending) = self.pending.front_mut() {
            let state = match pending.outcome.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => return Ok(true),
                Err(oneshot::error::TryRecvError::Closed) => {
                    return Err(format!("the snapshot of {} was abandoned", self.uid).into());
                }
                Ok(outcome) => outcome?,
            };
            let Sealed { epoch, through, is_last } = pending.sealed;
            let stall_us = pending.stall_us;
            self.pending.pop_front();
            let capability = self.capability.as_mut().expect("P1: kept until the last epoch");
            let acknowledgement = Acknowledgement { epoch, worker: self.worker, state, stall_us };
            self.acks.activate().session(&*capability).give(acknowledgement);
            if is_last {
                self.capability = None;
            } else {
                capability.downgrade(&T::first_of(through.next()));
            }
        }
        Ok(false)
    }

    /// Whether the last epoch is sealed and acknowledged.
    pub fn is_done(&self) -> bool {
        self.capability.is_none()
    }
}

impl<T: Timestamp> std::fmt::Debug for Participant<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Participant")
            .field("uid", &self.uid)
            .field("worker", &self.worker)
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

    use super::*;
    use crate::dataflow::CheckpointScope;
    use crate::policy::CheckpointPolicy;
    use crate::run::{BYTES_IN_FLIGHT_MAX, Restore, RunOptions};
    use crate::state::KeyGroups;

    /// Gives `test` a participant of a run that keeps no checkpoints; its first epoch is 1.
    fn with_participant(test: impl FnOnce(&mut Participant<u64>) + Send + Sync + 'static) {
        let options = RunOptions {
            job: "job".to_owned(),
            workers: 1,
            key_groups: KeyGroups::default(),
            store: None,
            policy: CheckpointPolicy::default(),
            restore: Restore::Latest,
            allow_non_restored_state: false,
            request_interval: std::time::Duration::from_secs(1),
            bytes_in_flight_max: BYTES_IN_FLIGHT_MAX,
        };
        let run = Run::open(options).unwrap();
        timely::execute_directly(move |worker| {
            worker.dataflow::<u64, _, _>(|scope| {
                let checkpoints = CheckpointScope::new(scope, run);
                let mut builder = OperatorBuilder::new("Operator".to_owned(), scope);
                let joined = checkpoints.join(&mut builder, "uid", StateSchema::default());
                builder.build(|capabilities| {
                    test(&mut joined.participant(&capabilities));
                    |_| {}
                });
            });
            for dataflow in worker.installed_dataflows() {
                worker.drop_dataflow(dataflow);
            }
        });
    }

    /// Labelled with the last, a checkpoint of the first would be complete without what changed
    /// in it.
    #[test]
    fn regression_a_snapshot_that_passes_over_epochs_is_of_the_one_that_was_running() {
        with_participant(|participant| {
            let closed = participant.next_epoch(Some(Epoch(4)), None);
            assert_eq!(closed, Closed::Through(Epoch(3)));
            let sealed = participant.pass(closed);
            assert_eq!((sealed.epoch, sealed.through), (Epoch(1), Epoch(3)));
            assert_eq!(participant.running(), Epoch(4));
        });
    }

    /// It was taken for acknowledged with the epoch before, when its seal took longer than that one's
    /// upload: its checkpoint could be complete without it, and its own acknowledgement panicked.
    #[test]
    fn regression_the_last_epoch_is_acknowledged_when_its_own_snapshot_is_durable() {
        with_participant(|participant| {
            participant.run().control().emit_until(Epoch(2));
            let [first, last] = [0, 1].map(|_| {
                let closed = participant.next_epoch(None, None);
                participant.pass(closed)
            });
            for (sealed, is_done) in [(first, false), (last, true)] {
                let state = participant.state(|_| {});
                participant.submit(sealed, 0, async move { Ok(state) });
                while participant.acknowledge().unwrap() {
                    std::thread::yield_now();
                }
                assert_eq!(participant.is_done(), is_done, "{sealed:?}");
            }
        });
    }

    #[test]
    fn what_is_stashed_keeps_its_epoch_from_being_passed_over() {
        with_participant(|participant| {
            assert_eq!(participant.next_epoch(Some(Epoch(1)), None), Closed::No);
            let closed = participant.next_epoch(Some(Epoch(9)), Some(Epoch(2)));
            assert_eq!(closed, Closed::Through(Epoch(1)));
        });
    }

    #[test]
    fn an_input_that_has_ended_goes_to_the_last_epoch_of_the_run() {
        with_participant(|participant| {
            participant.run().control().emit_until(Epoch(3));
            let closed = participant.next_epoch(None, None);
            assert_eq!(closed, Closed::Through(Epoch(2)));
            participant.pass(closed);
            assert!(participant.is_last_epoch());
            assert_eq!(participant.next_epoch(None, None), Closed::Last(Epoch(3)));
        });
    }

    /// Several epochs may be on their way: one that is durable before an earlier one waits for it.
    #[test]
    fn acknowledgements_keep_the_order_of_epochs_whatever_becomes_durable_first() {
        with_participant(|participant| {
            let mut on_their_way = std::collections::BTreeMap::new();
            for epoch in 1..=4 {
                let (durable, wait) = oneshot::channel::<()>();
                on_their_way.insert(Epoch(epoch), durable);
                let (closed, state) = (Closed::Through(Epoch(epoch)), participant.state(|_| {}));
                participant.seal(closed, 0, async move {
                    let _ = wait.await;
                    Ok(state)
                });
            }
            // What becomes durable, and the oldest that is not acknowledged then.
            for (durable, oldest) in [(4, 1), (2, 1), (1, 3), (3, 5)] {
                drop(on_their_way.remove(&Epoch(durable)));
                let is_it = |pending: &Pending| pending.sealed.epoch == Epoch(durable);
                let at = participant.pending.iter().position(is_it).unwrap();
                for turn in 0.. {
                    if !participant.pending[at].outcome.is_empty() {
                        break;
                    }
                    assert!(turn < 100_000_000, "the snapshot of e{durable} does not end");
                    std::thread::yield_now();
                }
                participant.acknowledge().unwrap();
                assert_eq!(*participant.capability.as_ref().unwrap().time(), oldest);
            }
        });
    }
}
