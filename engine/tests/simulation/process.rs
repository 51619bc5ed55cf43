//! One process: a run of the job, its tasks and its clock, which turn by turn do something.

use std::time::Duration;

use highwater::checkpoint::run::simulated::Simulated;
use highwater::checkpoint::store::faulty::{Faults, FaultyStore};
use highwater::checkpoint::store::{Location, RetryPolicy};
use highwater::job::{Job, Outcome, SteppedJob};

use super::chance::Dice;
use super::fate::Fate;
use super::job::{Shape, Targets, build};

pub(crate) const JOB: &str = "simulated";

const POLICY: RetryPolicy = RetryPolicy {
    deadline: Duration::from_millis(600),
    attempt_timeout: Duration::from_millis(200),
};

/// Turns within which what is left over when a run has ended is done.
const TURNS_TO_SETTLE: usize = 20_000;

pub(crate) struct Process {
    pub number: usize,
    pub fate: Fate,
    workers: usize,
    // Before the tasks, which its dataflows hold on to.
    job: SteppedJob,
    simulated: Simulated,
    /// Turns for which it is not scheduled.
    pub suspended: usize,
}

impl Process {
    pub(crate) fn start(
        (number, fate): (usize, Fate),
        (shape, targets): (&Shape, &Targets),
        store: &Location,
        workers: usize,
        dice: &Dice,
    ) -> highwater::Result<Process> {
        let chooses = dice.clone();
        let simulated = Simulated::new(move |possibilities| chooses.below(possibilities));
        let seals = fate.clone();
        simulated.on_seal(move |uid, worker, epoch| seals.seal(uid, worker, epoch));
        let requests = fate.clone();
        let faults = Faults::default().decide(move |call| requests.request(call));
        let job = Job::new(JOB)
            .quiet()
            .workers(workers)
            .key_groups(shape.key_groups)
            .retain(shape.retain)
            .checkpoint_interval(shape.interval)
            .max_concurrent_checkpoints(shape.concurrent)
            .checkpoint_timeout(shape.timeout)
            .tolerable_failed_checkpoints(shape.tolerable)
            .store_retries(POLICY)
            .checkpoint_store(FaultyStore::wrap(store.clone(), faults));
        let (shape, targets) = (shape.clone(), targets.clone());
        let (sinks, sources) = (fate.clone(), dice.clone());
        let job = job.stepped(simulated.executor(), move |flow| {
            build(flow, &shape, &targets, &sinks, &sources);
        })?;
        Ok(Process { number, fate, workers, job, simulated, suspended: 0 })
    }

    /// Does one thing: a step of a worker, one of a task, or waiting a little.
    pub(crate) fn turn(&mut self, dice: &Dice) {
        self.fate.turn();
        match dice.below(8) {
            0..4 => self.job.step(dice.below(self.workers)),
            4..7 if self.simulated.step() => {}
            _ => self.wait(dice),
        }
    }

    fn wait(&self, dice: &Dice) {
        let time =
            Duration::from_micros(dice.one_of(&[50, 300, 1000, 1000, 8000, 50_000, 700_000]));
        if dice.percent(20) {
            self.simulated.advance(time);
        } else {
            self.simulated.advance_until_ready(time);
        }
    }

    /// Asks the job to stop, as a person would.
    pub(crate) fn stop(&self) {
        self.job.run().control().request_stop();
    }

    pub(crate) fn is_over(&self) -> bool {
        self.job.is_over()
    }

    /// Ends a run that is over, and waits for what it still does in the background.
    pub(crate) fn finish(self) -> Result<highwater::Result<Outcome>, String> {
        let Process { number, fate, job, simulated, .. } = self;
        let outcome = job.finish();
        for _ in 0..TURNS_TO_SETTLE {
            if simulated.alive() == 0 || fate.is_dead() {
                return Ok(outcome);
            }
            if !simulated.step() {
                simulated.advance_until_ready(Duration::from_secs(1));
            }
        }
        Err(format!("p{number} is over and has {} tasks left for ever", simulated.alive()))
    }
}
