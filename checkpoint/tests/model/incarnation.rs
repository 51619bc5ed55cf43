//! One run of the job: how it begins, what its coordinator and participants do, in the steps that
//! others can see.
//!
//! A step is what happens at one go: a request to the store or the target, or a decision. Between two
//! steps the run may be suspended for as long as one likes, or die. What only the run itself can see
//! (records on their way, acknowledgements, frontiers) happens with the step that brings it about.

use std::collections::VecDeque;
use std::sync::Arc;

use super::flaw::Flaw;
use super::outside::{Checkpoint, Epoch, Generation, Id, Origin, Piece, Store, Target};
use super::protocol::Protocol;

/// What becomes of a put-if-absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The store says which it was.
    Clear,
    /// It was done and the answer lost.
    Lost,
    /// There was no answer, and it is done later or never.
    Late,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Claim the next generation. Part of the start, but with [`Flaw::ChoosesThenClaims`].
    Claim,
    /// List the checkpoints, choose the newest.
    Choose,
    /// Put the copy of what was chosen.
    Append(Answer),
    /// Look for a newer generation: after the copy, or after metadata.
    Look,
    /// Delete the segments of older generations that no checkpoint names.
    Sweep,
    /// Discard what earlier runs have prepared and not committed. The dataflow begins.
    Abort,
    /// Something else cannot start: the run ends before its dataflow begins.
    Withdraw,
    /// The clock ends the running epoch, in which the sources have read so many records.
    EndEpoch(Origin, u8),
    /// A segment of the keyed operator is in the store.
    Upload(Piece),
    /// The sink's output of an epoch is durable.
    Prepare(Piece),
    /// Put metadata.
    Write(Answer),
    /// Commit what is to be committed next.
    Commit,
    /// Delete a checkpoint that is no longer retained; after the last one, segments.
    Delete,
    /// Replace all segments by one.
    Fold,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Incarnation {
    pub(crate) generation: Generation,
    pub(crate) phase: Phase,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Only with [`Flaw::ChoosesThenClaims`].
    Unclaimed {
        chosen: Arc<Checkpoint>,
        retained: Retained,
    },
    /// Has its generation.
    Claimed,
    /// Has chosen a checkpoint.
    Chosen {
        id: Id,
        copy: Arc<Checkpoint>,
        retained: Retained,
    },
    /// Its copy is there.
    Appended {
        id: Id,
        copy: Arc<Checkpoint>,
        retained: Retained,
    },
    /// The dataflow is built; sinks finish what the checkpoint lists.
    SettingUp(Box<Job>),
    Working(Box<Job>),
    /// Could not start, and puts right what it has put into the store.
    Withdrawing {
        id: Id,
    },
    Over,
}

type Retained = Vec<(Id, Arc<Checkpoint>)>;

/// An epoch that was closed and is not durable everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Closed {
    epoch: Epoch,
    origin: Origin,
    /// The source's offset at its end.
    read: u8,
    /// None if no record came in it.
    piece: Option<Piece>,
    keyed_acknowledged: bool,
    /// What the sink's acknowledgement lists.
    sink_acknowledged: Option<Vec<Piece>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Writing {
    /// Only with [`Flaw::LooksTooEarly`].
    Look,
    Put,
    /// The checkpoint of this epoch is there under the id.
    Confirm(Epoch),
}

/// A run that has opened: clock, participants, coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Job {
    /// The id of its copy.
    first: Id,
    /// The segments that checkpoints named when the run began, until the others are swept.
    unswept: Option<Vec<Piece>>,
    gives_back: bool,
    /// The source's offset at the end of the last closed epoch.
    read: u8,
    /// The running epoch.
    epoch: Epoch,
    /// No further epoch will begin.
    closing: bool,
    /// Segments that are being uploaded.
    uploads: Vec<Piece>,
    /// Output that the sink makes durable.
    prepares: Vec<Piece>,
    /// Prepared and not known to be committed.
    prepared: Vec<Piece>,
    committing: VecDeque<Piece>,
    closed: VecDeque<Closed>,
    /// What the next metadata says: all that is acknowledged of closed, durable epochs.
    state: Checkpoint,
    /// Whether `state` is newer than the last checkpoint and than what is being written.
    is_state_new: bool,
    pub(crate) writing: Option<(Arc<Checkpoint>, Writing)>,
    unsettled: Vec<Arc<Checkpoint>>,
    pub(crate) next_id: Id,
    retained: Retained,
    /// Segments that this run knows of, and has not deleted.
    known: Vec<Piece>,
    /// Checkpoints to delete, and segments to delete after them.
    undeleted: (VecDeque<Id>, Vec<Piece>),
}

/// What a step can see and change, and which protocol it follows.
pub(crate) struct World<'a> {
    pub(crate) store: &'a mut Store,
    pub(crate) target: &'a mut Target,
    /// Number of checkpoints to keep.
    pub(crate) retain: usize,
    pub(crate) flaw: Option<Flaw>,
    /// Set if this step has confirmed a checkpoint.
    pub(crate) confirmed: Option<(Id, Arc<Checkpoint>)>,
}

impl World<'_> {
    pub(crate) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

impl Incarnation {
    /// Somebody starts a run.
    pub(crate) fn start(world: &mut World) -> Incarnation {
        if world.has(Flaw::ChoosesThenClaims) {
            let (chosen, retained) = choice(world.store);
            return Incarnation { generation: 0, phase: Phase::Unclaimed { chosen, retained } };
        }
        world.store.newest += 1;
        Incarnation { generation: world.store.newest, phase: Phase::Claimed }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// The steps that this run may take. `may_end`: whether another may still finish the job.
    pub(crate) fn steps(
        &self,
        bounds: &Protocol,
        may_end: bool,
        answers: &[Answer],
        steps: &mut Vec<Step>,
    ) {
        match &self.phase {
            Phase::Unclaimed { .. } => steps.push(Step::Claim),
            Phase::Claimed => steps.push(Step::Choose),
            Phase::Chosen { .. } => {
                steps.push(Step::Append(Answer::Clear));
                // A start that gets no answer fails. If it was done, that is a crash after it.
                if may_end && answers.contains(&Answer::Late) {
                    steps.push(Step::Append(Answer::Late));
                }
            }
            Phase::Appended { .. } => steps.push(Step::Look),
            Phase::SettingUp(job) => {
                job.background(steps);
                steps.push(if job.committing.is_empty() { Step::Abort } else { Step::Commit });
                if may_end && job.gives_back {
                    steps.push(Step::Withdraw);
                }
            }
            Phase::Working(job) => {
                job.background(steps);
                job.work(bounds, may_end, answers, steps);
            }
            Phase::Withdrawing { .. } => steps.push(Step::Delete),
            Phase::Over => {}
        }
    }

    pub(crate) fn step(&mut self, step: Step, world: &mut World) {
        let phase = std::mem::replace(&mut self.phase, Phase::Over);
        self.phase = match (phase, step) {
            (Phase::Unclaimed { chosen, retained }, Step::Claim) => {
                world.store.newest += 1;
                self.generation = world.store.newest;
                let id = world.store.head().map_or(0, |(id, _)| id) + 1;
                Phase::Chosen { id, copy: self.copy(&chosen), retained }
            }
            (Phase::Claimed, Step::Choose) => self.choose(world),
            (Phase::Chosen { id, copy, retained }, Step::Append(answer)) => {
                self.append(id, copy, retained, answer, world)
            }
            (Phase::Appended { id, copy, retained }, Step::Look) => {
                if world.store.newest > self.generation {
                    Phase::Over
                } else {
                    Job::open(self.generation, (id, copy), retained, world)
                }
            }
            (Phase::SettingUp(job), Step::Withdraw) => {
                let is_fenced = world.store.newest > self.generation;
                if is_fenced { Phase::Over } else { Phase::Withdrawing { id: job.first } }
            }
            (Phase::Withdrawing { id }, Step::Delete) => {
                world.store.checkpoints.remove(&id);
                Phase::Over
            }
            (Phase::SettingUp(job), Step::Abort) => {
                abort(self.generation, world);
                if job.state.input_ended { Phase::Over } else { Phase::Working(job) }
            }
            (Phase::SettingUp(mut job), step) => match job.step(self.generation, step, world) {
                Outcome::GoesOn => Phase::SettingUp(job),
                Outcome::IsOver => Phase::Over,
            },
            (Phase::Working(mut job), step) => match job.step(self.generation, step, world) {
                Outcome::GoesOn => Phase::Working(job),
                Outcome::IsOver => Phase::Over,
            },
            (phase, step) => unreachable!("{step:?} in {phase:?}"),
        };
    }

    fn choose(&self, world: &mut World) -> Phase {
        let head = world.store.head().map_or(0, |(id, _)| id);
        let (chosen, retained) = choice(world.store);
        if chosen.generation > self.generation && !world.has(Flaw::IgnoresHead) {
            return Phase::Over;
        }
        let copy = self.copy(&chosen);
        if world.has(Flaw::AppendsNoCopy) {
            return Job::open(self.generation, (head, copy), retained, world);
        }
        Phase::Chosen { id: head + 1, copy, retained }
    }

    fn copy(&self, chosen: &Checkpoint) -> Arc<Checkpoint> {
        let (generation, origin) = (self.generation, Origin::Restore);
        Arc::new(Checkpoint { generation, origin, ..chosen.clone() })
    }

    fn append(
        &self,
        id: Id,
        copy: Arc<Checkpoint>,
        retained: Retained,
        answer: Answer,
        world: &mut World,
    ) -> Phase {
        match answer {
            Answer::Clear => {
                let there = world.store.put_if_absent(id, &copy).generation;
                match there.cmp(&self.generation) {
                    std::cmp::Ordering::Equal => Phase::Appended { id, copy, retained },
                    std::cmp::Ordering::Greater => Phase::Over,
                    // An older run was quicker.
                    std::cmp::Ordering::Less => Phase::Claimed,
                }
            }
            Answer::Lost | Answer::Late => {
                world.store.late.insert((id, copy));
                Phase::Over
            }
        }
    }
}

/// Discards what this run and older ones have staged.
fn abort(generation: Generation, world: &mut World) {
    let newer_too = world.has(Flaw::AbortsNewer);
    world.target.staged.retain(|piece| piece.generation > generation && !newer_too);
}

/// The newest checkpoint, and all that are there.
fn choice(store: &Store) -> (Arc<Checkpoint>, Retained) {
    let newest = store.head().map(|(_, newest)| Arc::clone(newest));
    let all = store.checkpoints.iter().map(|(id, checkpoint)| (*id, Arc::clone(checkpoint)));
    (newest.unwrap_or_else(|| Arc::new(Checkpoint::empty())), all.collect())
}

enum Outcome {
    GoesOn,
    /// Fenced, failed, or finished.
    IsOver,
}

impl Job {
    fn open(
        generation: Generation,
        (first, copy): (Id, Arc<Checkpoint>),
        mut retained: Retained,
        world: &mut World,
    ) -> Phase {
        let listed = if world.has(Flaw::RestoresWithoutCommit) {
            VecDeque::new()
        } else {
            copy.committables.iter().copied().collect()
        };
        let state = Checkpoint { generation, committables: Vec::new(), ..Checkpoint::clone(&copy) };
        let mut known: Vec<Piece> =
            retained.iter().flat_map(|(_, checkpoint)| checkpoint.segments.clone()).collect();
        known.sort_unstable();
        known.dedup();
        if retained.last().is_none_or(|(id, _)| *id != first) && first > 0 {
            retained.push((first, copy));
        }
        // The first run finds none.
        let finds_garbage = generation > 1 || world.has(Flaw::SweepsNewer);
        let job = Job {
            first,
            unswept: finds_garbage.then(|| known.clone()),
            gives_back: world.has(Flaw::GivesBackId),
            read: state.read,
            epoch: state.epoch + 1,
            closing: false,
            uploads: Vec::new(),
            prepares: Vec::new(),
            prepared: Vec::new(),
            committing: listed,
            closed: VecDeque::new(),
            state,
            is_state_new: false,
            writing: None,
            unsettled: Vec::new(),
            next_id: first + 1,
            retained,
            known,
            undeleted: (VecDeque::new(), Vec::new()),
        };
        if world.has(Flaw::AbortsThenCommits) {
            abort(generation, world);
        }
        Phase::SettingUp(Box::new(job))
    }

    /// What goes on beside the dataflow.
    fn background(&self, steps: &mut Vec<Step>) {
        if self.unswept.is_some() {
            steps.push(Step::Sweep);
        }
        if self.undeleted != Default::default() {
            steps.push(Step::Delete);
        }
    }

    fn work(&self, bounds: &Protocol, may_end: bool, answers: &[Answer], steps: &mut Vec<Step>) {
        let left = bounds.records - self.read;
        if !self.closing {
            if self.closed.is_empty() && self.writing.is_none() {
                steps.extend((1..=left).map(|records| Step::EndEpoch(Origin::Interval, records)));
            }
            // Whoever is stopped is to be started again.
            if may_end && bounds.stops {
                steps.push(Step::EndEpoch(Origin::Stop, left.min(1)));
            }
            steps.push(Step::EndEpoch(Origin::EndOfInput, left));
        }
        steps.extend(self.uploads.iter().copied().map(Step::Upload));
        steps.extend(self.prepares.iter().copied().map(Step::Prepare));
        match self.writing {
            Some((_, Writing::Put)) => steps.extend(answers.iter().copied().map(Step::Write)),
            Some(_) => steps.push(Step::Look),
            None => {}
        }
        if !self.committing.is_empty() {
            steps.push(Step::Commit);
        }
        if bounds.folds && self.state.segments.len() > 1 {
            steps.push(Step::Fold);
        }
    }

    fn step(&mut self, generation: Generation, step: Step, world: &mut World) -> Outcome {
        match step {
            Step::EndEpoch(origin, records) => self.end_epoch(generation, origin, records, world),
            Step::Upload(piece) => {
                world.store.segments.insert(piece);
                self.uploads.retain(|upload| *upload != piece);
                self.acknowledge(world);
            }
            Step::Prepare(piece) => {
                world.target.staged.insert(piece);
                self.prepares.retain(|prepare| *prepare != piece);
                self.acknowledge(world);
            }
            Step::Write(answer) => return self.write(generation, answer, world),
            Step::Look if world.store.newest > generation => return Outcome::IsOver,
            Step::Look => match &mut self.writing {
                Some((_, Writing::Confirm(epoch))) => {
                    let epoch = *epoch;
                    self.written(epoch, world);
                }
                Some((_, writing)) => *writing = Writing::Put,
                None => {}
            },
            Step::Commit => {
                let Some(piece) = self.committing.pop_front() else { return Outcome::GoesOn };
                if !world.target.commit(piece, world.has(Flaw::CommitsAgain)) {
                    return Outcome::IsOver;
                }
                self.prepared.retain(|prepared| *prepared != piece);
            }
            Step::Sweep => {
                let named = self.unswept.take().unwrap_or_default();
                let is_older = |piece: &Piece| {
                    piece.generation < generation
                        || piece.generation != generation && world.flaw == Some(Flaw::SweepsNewer)
                };
                world.store.segments.retain(|piece| !is_older(piece) || named.contains(piece));
            }
            Step::Delete => self.delete(world.store),
            Step::Fold => self.fold(generation, world),
            Step::Claim | Step::Choose | Step::Append(_) | Step::Abort | Step::Withdraw => {
                unreachable!("{step:?} is of a run that has not begun")
            }
        }
        let is_settled = self.closed.is_empty() && self.writing.is_none();
        if self.closing && is_settled && self.committing.is_empty() {
            return Outcome::IsOver;
        }
        Outcome::GoesOn
    }

    fn delete(&mut self, store: &mut Store) {
        if let Some(id) = self.undeleted.0.pop_front() {
            store.checkpoints.remove(&id);
        } else {
            let gone = std::mem::take(&mut self.undeleted.1);
            store.segments.retain(|piece| !gone.contains(piece));
        }
    }

    fn end_epoch(&mut self, generation: Generation, origin: Origin, records: u8, world: &World) {
        let (epoch, from, to) = (self.epoch, self.read, self.read + records);
        let piece = (records > 0).then_some(Piece { generation, epoch, from, to });
        self.uploads.extend(piece);
        self.prepares.extend(piece);
        self.closed.push_back(Closed {
            epoch,
            origin,
            read: to,
            piece,
            keyed_acknowledged: false,
            sink_acknowledged: None,
        });
        self.read = to;
        self.epoch += 1;
        self.closing = origin != Origin::Interval;
        self.acknowledge(world);
    }

    /// What is durable is acknowledged, epoch by epoch; what all have acknowledged is written.
    fn acknowledge(&mut self, world: &World) {
        let is_done = |under_way: &[Piece], piece: Option<Piece>| {
            piece.is_none_or(|piece| !under_way.contains(&piece))
                || world.has(Flaw::AcknowledgesSealed)
        };
        for closed in &mut self.closed {
            if !is_done(&self.uploads, closed.piece) {
                break;
            }
            closed.keyed_acknowledged = true;
        }
        for closed in &mut self.closed {
            if closed.sink_acknowledged.is_some() {
                continue;
            }
            if !is_done(&self.prepares, closed.piece) {
                break;
            }
            self.prepared.extend(closed.piece);
            let lists_one = world.has(Flaw::ListsOneEpoch);
            let listed = self.prepared.iter().filter(|p| !lists_one || Some(**p) == closed.piece);
            closed.sink_acknowledged = Some(listed.copied().collect());
        }
        let is_durable = |c: &Closed| c.keyed_acknowledged && c.sink_acknowledged.is_some();
        while self.closed.front().is_some_and(is_durable) {
            let durable = self.closed.pop_front().expect("there is a front");
            let state = &mut self.state;
            (state.epoch, state.origin, state.read) = (durable.epoch, durable.origin, durable.read);
            state.input_ended = durable.origin == Origin::EndOfInput;
            state.segments.extend(durable.piece);
            state.committables = durable.sink_acknowledged.unwrap_or_default();
            self.known.extend(durable.piece);
            self.is_state_new = true;
            if world.has(Flaw::CommitsDurable) {
                self.may_commit(durable.epoch);
            }
        }
        self.write_next(world);
    }

    /// One metadata write at a time.
    fn write_next(&mut self, world: &World) {
        if self.writing.is_none() && std::mem::take(&mut self.is_state_new) {
            let first = if world.has(Flaw::LooksTooEarly) { Writing::Look } else { Writing::Put };
            self.writing = Some((Arc::new(self.state.clone()), first));
        }
    }

    fn write(&mut self, generation: Generation, answer: Answer, world: &mut World) -> Outcome {
        let Some((checkpoint, writing)) = &mut self.writing else { return Outcome::GoesOn };
        if world.has(Flaw::PutsOver) && answer != Answer::Late {
            world.store.checkpoints.remove(&self.next_id);
        }
        if answer == Answer::Late {
            world.store.late.insert((self.next_id, Arc::clone(checkpoint)));
            self.not_written(world);
            return Outcome::GoesOn;
        }
        let there = world.store.put_if_absent(self.next_id, checkpoint);
        if answer == Answer::Lost {
            self.not_written(world);
        } else if there.generation != generation {
            // Of a newer run, which has fenced this one; or of an older, which should not be.
            return Outcome::IsOver;
        } else {
            let epoch = there.epoch;
            *writing = Writing::Confirm(epoch);
            if world.has(Flaw::RetiresUnconfirmed) && epoch == checkpoint.epoch {
                let complete = Arc::clone(checkpoint);
                self.retire(self.next_id, complete, world);
            }
            if world.has(Flaw::NeverLooks) || world.has(Flaw::LooksTooEarly) {
                self.written(epoch, world);
            }
        }
        Outcome::GoesOn
    }

    /// The id stays, and what is newer by now is tried under it.
    fn not_written(&mut self, world: &World) {
        let Some((checkpoint, _)) = self.writing.take() else { return };
        if self.closing && !self.is_state_new {
            self.is_state_new = true;
        } else {
            self.unsettled.push(checkpoint);
        }
        self.write_next(world);
    }

    /// Under the next id there is the checkpoint of this epoch, and no newer run was there after.
    fn written(&mut self, epoch: Epoch, world: &mut World) {
        let Some((newest, _)) = self.writing.take() else { return };
        let earlier = std::mem::take(&mut self.unsettled);
        let complete = if epoch == newest.epoch || world.has(Flaw::TakesEarlierForNewest) {
            newest
        } else {
            self.is_state_new = true;
            let own = earlier.into_iter().find(|checkpoint| checkpoint.epoch == epoch);
            own.expect("what this run wrote is what it tried")
        };
        let id = self.next_id;
        self.next_id += 1;
        self.may_commit(complete.epoch);
        world.confirmed = Some((id, Arc::clone(&complete)));
        if !world.has(Flaw::RetiresUnconfirmed) || epoch != complete.epoch {
            self.retire(id, complete, world);
        }
        self.write_next(world);
    }

    fn may_commit(&mut self, epoch: Epoch) {
        for piece in self.prepared.iter().filter(|piece| piece.epoch <= epoch) {
            if !self.committing.contains(piece) {
                self.committing.push_back(*piece);
            }
        }
    }

    /// Copies go, and checkpoints beyond the number retained, then the segments that nothing names.
    fn retire(&mut self, id: Id, complete: Arc<Checkpoint>, world: &World) {
        let all = std::mem::take(&mut self.retained);
        let (copies, mut kept): (Retained, Retained) =
            all.into_iter().partition(|(_, checkpoint)| checkpoint.origin == Origin::Restore);
        kept.push((id, complete));
        let excess = kept.len().saturating_sub(world.retain);
        self.retained = kept.split_off(excess);
        self.undeleted.0.extend(copies.into_iter().chain(kept).map(|(id, _)| id));
        let retained = self.retained.iter().map(|(_, checkpoint)| checkpoint);
        let written = self.writing.iter().map(|(checkpoint, _)| checkpoint);
        let mut needed = self.state.segments.clone();
        needed.extend(retained.chain(written).flat_map(|checkpoint| checkpoint.segments.clone()));
        let (known, garbage) =
            std::mem::take(&mut self.known).into_iter().partition(|piece| needed.contains(piece));
        self.known = known;
        let garbage: Vec<Piece> = garbage;
        self.undeleted.1.extend(garbage);
    }

    fn fold(&mut self, generation: Generation, world: &mut World) {
        let (from, to) = (0, self.state.read);
        let base = Piece { generation, epoch: self.state.epoch, from, to };
        world.store.segments.insert(base);
        self.known.push(base);
        self.state.segments = vec![base];
    }
}
