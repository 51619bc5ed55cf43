//! The state space: which runs there are, what may happen next, and what must never.

use std::sync::Arc;

use stateright::{Model, Property};

use super::flaw::Flaw;
use super::incarnation::{Answer, Incarnation, Phase, Step, World, Writing};
use super::outside::{Checkpoint, Generation, Id, Origin, Piece, Store, Target};

/// Bounds, and the protocol that is followed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Protocol {
    /// How many runs are started. All may be alive at once, and all but one may die.
    pub(crate) runs: u8,
    /// How many records there are to be read.
    pub(crate) records: u8,
    /// How many puts get no answer.
    pub(crate) faults: u8,
    pub(crate) retain: usize,
    pub(crate) stops: bool,
    pub(crate) folds: bool,
    pub(crate) flaw: Option<Flaw>,
    pub(crate) question: Question,
}

/// What is to be found out. Apart, for the checker takes a note of each state that is an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    /// What must hold in every state: is there one in which it does not?
    Safe,
    /// What makes the above worth anything: is there a state in which this holds?
    Reachable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) store: Store,
    pub(crate) target: Target,
    /// Those that are alive, in the order of their generations.
    pub(crate) alive: Vec<Arc<Incarnation>>,
    started: u8,
    faults: u8,
    /// What some run has found to be complete, and its own to commit.
    confirmed: Confirmed,
}

/// For the properties alone: no run sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Confirmed {
    /// The newest, and whose it was.
    newest: (Id, Generation),
    /// All records that were in one.
    read: u8,
    /// A run confirmed one after a newer run had, or under an id that another run had confirmed.
    is_split: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Somebody starts another run; its generation is the next.
    Start,
    /// A process dies.
    Crash(Generation),
    /// A put without an answer takes effect: this one of those that are late.
    Land(usize),
    Step(Generation, Step),
}

impl Protocol {
    /// A copy of what is outside, for a step to change.
    fn world<'a>(&self, store: &'a mut Store, target: &'a mut Target) -> World<'a> {
        let Protocol { retain, flaw, .. } = *self;
        World { store, target, retain, flaw, confirmed: None }
    }

    /// Whether the job can still be finished if this run ends.
    fn may_end(&self, state: &State, run: &Incarnation) -> bool {
        let has_claimed = |run: &Incarnation| run.generation > 0;
        let is_newer = |other: &Arc<Incarnation>| {
            has_claimed(run) && (!has_claimed(other) || other.generation > run.generation)
        };
        state.started < self.runs || state.alive.iter().any(is_newer)
    }

    fn is_finished(&self, state: &State) -> bool {
        let has_ended = state.store.head().is_some_and(|(_, head)| head.input_ended);
        has_ended && (0..self.records).all(|record| state.target.seen(record) == 1)
    }
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            store: Store::default(),
            target: Target::default(),
            alive: Vec::new(),
            started: 0,
            faults: 0,
            confirmed: Confirmed::default(),
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.started < self.runs {
            actions.push(Action::Start);
        }
        actions.extend((0..state.store.late.len()).map(Action::Land));
        let answers = [Answer::Clear, Answer::Lost, Answer::Late];
        let answers = if state.faults < self.faults { &answers[..] } else { &answers[..1] };
        let mut steps = Vec::new();
        for run in &state.alive {
            let may_end = self.may_end(state, run);
            if may_end {
                actions.push(Action::Crash(run.generation));
            }
            run.steps(self, may_end, answers, &mut steps);
            actions.extend(steps.drain(..).map(|step| Action::Step(run.generation, step)));
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        let State { store, target, alive, .. } = &mut state;
        let mut world = self.world(store, target);
        match action {
            Action::Start => {
                alive.push(Arc::new(Incarnation::start(&mut world)));
                state.started += 1;
            }
            Action::Crash(generation) => alive.retain(|run| run.generation != generation),
            Action::Land(which) => {
                let put = world.store.late.iter().nth(which).cloned()?;
                world.store.late.remove(&put);
                world.store.put_if_absent(put.0, &put.1);
            }
            Action::Step(generation, step) => {
                let run = alive.iter_mut().find(|run| run.generation == generation)?;
                Arc::make_mut(run).step(step, &mut world);
                let confirmed = world.confirmed.take();
                alive.retain(|run| !run.is_over());
                alive.sort_by_key(|run| run.generation);
                if let Some((id, checkpoint)) = confirmed {
                    state.confirmed.note(id, &checkpoint);
                }
                let is_fault = matches!(
                    step,
                    Step::Append(Answer::Late) | Step::Write(Answer::Lost | Answer::Late)
                );
                state.faults += u8::from(is_fault);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        if self.question == Question::Reachable {
            return reachable(self.faults > 0);
        }
        vec![
            Property::always("no output twice", |model: &Protocol, state: &State| {
                (0..model.records).all(|record| state.target.seen(record) <= 1)
            }),
            Property::always("no output lost", no_output_lost),
            Property::always("what is committed is restored", committed_is_restored),
            Property::always("what is restored is whole", restored_is_whole),
            Property::always("one run completes", |_, state: &State| !state.confirmed.is_split),
            Property::always("the last run finishes the job", last_finishes),
        ]
    }
}

impl Confirmed {
    fn note(&mut self, id: Id, checkpoint: &Checkpoint) {
        let (newest, by) = self.newest;
        let is_next = id > newest && checkpoint.generation >= by;
        self.is_split |= !is_next;
        self.newest = (id, checkpoint.generation);
        self.read = self.read.max(checkpoint.read);
    }
}

/// Whatever is in the newest checkpoint is visible, or listed there to be committed.
fn no_output_lost(_: &Protocol, state: &State) -> bool {
    let Some((_, head)) = state.store.head() else { return true };
    let is_listed = |record: &u8| head.committables.iter().any(|piece| piece.has(*record));
    (0..head.read).all(|record| state.target.seen(record) > 0 || is_listed(&record))
}

/// A run that begins now does not read again what is visible, or what a run was to make visible.
fn committed_is_restored(model: &Protocol, state: &State) -> bool {
    let read = state.store.head().map_or(0, |(_, head)| head.read);
    read >= state.confirmed.read
        && (read..model.records).all(|record| state.target.seen(record) == 0)
}

/// A run that begins now finds what the newest checkpoint refers to.
fn restored_is_whole(_: &Protocol, state: &State) -> bool {
    let Some((_, head)) = state.store.head() else { return true };
    let covers = |to: u8, piece: &Piece| (piece.from == to).then_some(piece.to);
    let covered = head.segments.iter().try_fold(0, covers);
    let target = &state.target;
    let is_there =
        |piece: &Piece| target.staged.contains(piece) || target.committed.contains_key(piece);
    covered == Some(head.read)
        && head.segments.iter().all(|segment| state.store.segments.contains(segment))
        && head.committables.iter().all(is_there)
}

/// The last run that is started can always go on, whatever became of the others, until all is done.
fn last_finishes(model: &Protocol, state: &State) -> bool {
    let can_go_on = |run: &Arc<Incarnation>| {
        let mut steps = Vec::new();
        run.steps(model, false, &[Answer::Clear], &mut steps);
        !steps.is_empty()
    };
    let last = state.alive.iter().find(|run| !model.may_end(state, run));
    match last {
        Some(last) => can_go_on(last),
        None => state.started < model.runs || model.is_finished(state),
    }
}

/// The scenes that the protocol is made for.
fn reachable(with_faults: bool) -> Vec<Property<Protocol>> {
    let mut all = vec![
        Property::sometimes("the job finishes", Protocol::is_finished),
        Property::sometimes("two runs work", |_, state: &State| {
            let is_working = |run: &&Arc<Incarnation>| matches!(run.phase, Phase::Working(_));
            state.alive.iter().filter(is_working).count() > 1
        }),
        Property::sometimes("an older run completes below the head", |_, state: &State| {
            has_written(state, |state, id| state.store.head().is_some_and(|(head, _)| head > id))
        }),
        Property::sometimes("an older run's metadata is the head", |_, state: &State| {
            has_written(state, |state, id| state.store.head().is_some_and(|(head, _)| head == id))
        }),
        Property::sometimes("an older run is quicker than the copy", |_, state: &State| {
            let is_late = |run: &Arc<Incarnation>| match &run.phase {
                Phase::Chosen { id, .. } => {
                    let there = state.store.checkpoints.get(id);
                    there.is_some_and(|there| there.generation < run.generation)
                }
                _ => false,
            };
            state.alive.iter().any(is_late)
        }),
        Property::sometimes("a slow start meets a newer run", |_, state: &State| {
            let is_claimed = |run: &Arc<Incarnation>| run.phase == Phase::Claimed;
            let head = state.store.head().map_or(0, |(_, head)| head.generation);
            state.alive.iter().any(|run| is_claimed(run) && head > run.generation)
        }),
        Property::sometimes("a run finds output to commit", |_, state: &State| {
            let is_staged = |piece: &Piece| state.target.staged.contains(piece);
            let finds = |run: &Arc<Incarnation>| match &run.phase {
                Phase::Appended { copy, .. } => copy.committables.iter().any(is_staged),
                _ => false,
            };
            state.alive.iter().any(finds)
        }),
        Property::sometimes("a stopped job goes on", |_, state: &State| {
            let is_stopped = |(_, c): &(Id, Arc<Checkpoint>)| c.origin == Origin::Stop;
            let resumes = |run: &Arc<Incarnation>| match &run.phase {
                Phase::Appended { retained, .. } => retained.last().is_some_and(is_stopped),
                _ => false,
            };
            state.alive.iter().any(resumes)
        }),
    ];
    if with_faults {
        all.extend(reachable_with_faults());
    }
    all
}

/// Whether a run has put metadata after a newer run had begun, under an id for which this holds.
fn has_written(state: &State, holds: impl Fn(&State, Id) -> bool) -> bool {
    state.alive.iter().any(|run| match &run.phase {
        Phase::Working(job) if state.store.newest > run.generation => {
            matches!(job.writing, Some((_, Writing::Confirm(_)))) && holds(state, job.next_id)
        }
        _ => false,
    })
}

/// Reachable only if a put may get no answer.
fn reachable_with_faults() -> Vec<Property<Protocol>> {
    vec![
        Property::sometimes("an earlier write is found", |_, state: &State| {
            let finds_earlier = |run: &Arc<Incarnation>| match &run.phase {
                Phase::Working(job) => match &job.writing {
                    Some((checkpoint, Writing::Confirm(epoch))) => checkpoint.epoch != *epoch,
                    _ => false,
                },
                _ => false,
            };
            state.alive.iter().any(finds_earlier)
        }),
        Property::sometimes("a put may land after a newer run has begun", |_, state: &State| {
            state.store.late.iter().any(|(_, put)| put.generation < state.store.newest)
        }),
    ]
}
