//! The dataflow under construction on one worker.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use highwater_checkpoint::Moment;
use highwater_checkpoint::dataflow::CheckpointScope;
use highwater_checkpoint::run::Run;
use timely::dataflow::{Scope, StreamVec};

use super::Stream;
use crate::error::{Error, Result};
use crate::job::Shared;
use crate::source::Source;

/// What a program builds its dataflow on: made by [`Job::run`](crate::Job::run), once per worker.
///
/// The same dataflow must be built on every worker: nothing in the closure may depend on which one
/// it runs on.
#[derive(Clone)]
pub struct Flow<'scope> {
    inner: Rc<Inner<'scope>>,
}

/// Something that has to be done once, on worker 0, before the first record.
pub(crate) type Setup = Box<dyn FnOnce() -> Result<()>>;

struct Inner<'scope> {
    checkpoints: CheckpointScope<'scope, Moment>,
    shared: Arc<Shared>,
    setup: RefCell<Vec<Setup>>,
    setup_last: RefCell<Vec<Setup>>,
    sinks: RefCell<usize>,
    /// Loops whose bodies are being built.
    loops: Cell<usize>,
    /// The first thing that the program asked for and cannot have.
    refused: RefCell<Option<Error>>,
}

impl<'scope> Flow<'scope> {
    pub(crate) fn new(scope: Scope<'scope, Moment>, shared: Arc<Shared>) -> Self {
        let checkpoints = CheckpointScope::new(scope, Arc::clone(&shared.run));
        let inner = Inner {
            checkpoints,
            shared,
            setup: RefCell::default(),
            setup_last: RefCell::default(),
            sinks: RefCell::default(),
            loops: Cell::default(),
            refused: RefCell::default(),
        };
        Flow { inner: Rc::new(inner) }
    }

    /// Reads a source.
    ///
    /// `uid` names it in checkpoints and in messages; it must be unique in the job, and stay the
    /// same from one run to the next.
    pub fn source<S: Source>(&self, uid: &str, source: S) -> Stream<'scope, S::Item> {
        let stream = crate::operators::source(self, uid, source);
        Stream::built(self.clone(), stream)
    }

    /// Takes a timely stream into the engine: the way in of the escape hatch.
    ///
    /// The stream must follow [`Flow::checkpoints`]' `begin` as the engine's own sources do, or
    /// come from a stream of the engine: what is emitted without regard to epochs holds up the
    /// checkpoints.
    pub fn from_timely<T: 'static>(
        &self,
        stream: StreamVec<'scope, Moment, T>,
    ) -> Stream<'scope, T> {
        Stream::built(self.clone(), stream)
    }

    /// The checkpointing of this dataflow, for operators written against timely itself.
    pub fn checkpoints(&self) -> &CheckpointScope<'scope, Moment> {
        &self.inner.checkpoints
    }

    /// The timely scope of the dataflow.
    pub fn scope(&self) -> Scope<'scope, Moment> {
        self.inner.checkpoints.scope()
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    pub(crate) fn run(&self) -> &Arc<Run> {
        &self.inner.shared.run
    }

    /// Counts the late records of operator `uid`.
    pub(crate) fn late_of(&self, uid: &str) -> Arc<crate::metrics::LateCell> {
        self.shared().metrics.late_of(uid)
    }

    pub(crate) fn setup(&self, setup: impl FnOnce() -> Result<()> + 'static) {
        self.inner.setup.borrow_mut().push(Box::new(setup));
    }

    /// As [`setup`](Flow::setup), after all of that: what cannot be taken back if the start fails.
    pub(crate) fn setup_last(&self, setup: impl FnOnce() -> Result<()> + 'static) {
        self.inner.setup_last.borrow_mut().push(Box::new(setup));
    }

    pub(crate) fn count_sink(&self) {
        *self.inner.sinks.borrow_mut() += 1;
    }

    /// Notes that the program asks for what it cannot have. The construction goes on, and then the job's
    /// `run` returns the first of these.
    pub(crate) fn refuse(&self, reason: String) {
        self.inner.refused.borrow_mut().get_or_insert(Error::Invalid(reason));
    }

    /// Builds the body of a loop.
    pub(crate) fn within_loop<R>(&self, body: impl FnOnce() -> R) -> R {
        self.inner.loops.set(self.inner.loops.get() + 1);
        let built = body();
        self.inner.loops.set(self.inner.loops.get() - 1);
        built
    }

    /// Refuses an operator that waits for `what` within a loop, where it would wait for itself.
    pub(crate) fn not_within_loop(&self, uid: &str, what: &str) {
        if self.inner.loops.get() > 0 {
            self.refuse(format!(
                "operator {uid:?} waits for {what}, and within a loop it would wait for itself: put it \
                 before the loop or after it"
            ));
        }
    }

    /// Ends the construction; what is returned is to be done on worker 0 before the first record.
    pub(crate) fn finish(self) -> Result<Vec<Setup>> {
        let Ok(inner) = Rc::try_unwrap(self.inner) else {
            return Err(Error::Invalid(
                "the dataflow's closure kept a stream or the flow beyond its end".to_owned(),
            ));
        };
        if inner.sinks.into_inner() == 0 {
            return Err(Error::Invalid(
                "the dataflow has no sink: end at least one stream with `sink` or `for_each`"
                    .to_owned(),
            ));
        }
        if let Some(refused) = inner.refused.into_inner() {
            return Err(refused);
        }
        inner.checkpoints.finish()?;
        let (mut setup, last) = (inner.setup.into_inner(), inner.setup_last.into_inner());
        setup.extend(last);
        Ok(setup)
    }
}

impl std::fmt::Debug for Flow<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").field("checkpoints", &self.inner.checkpoints).finish_non_exhaustive()
    }
}
