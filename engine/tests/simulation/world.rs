//! One simulation from a seed: processes that come, fail, die and overlap, over a store and sinks
//! that stay, until the job has finished; and whether that was right.

use std::time::Duration;

use highwater::checkpoint::ErrorKind;
use highwater::checkpoint::store::Location;
use highwater::checkpoint::store::faulty::Side;
use highwater::job::Outcome;

use super::chance::{Dice, Log};
use super::fate::{Cut, Death, Fate, Rates};
use super::job::{Shape, Targets};
use super::oracle;
use super::process::Process;
use super::watch;

/// Turns after which a job that has not finished never will: a hundred times what one needs.
const TURNS_MAX: usize = 300_000;

/// Turns without a line in the log after which none will come: who is suspended is for 5,000 turns at most,
/// and a job that works is silent for some hundreds.
const SILENCE_MAX: usize = 60_000;

/// Processes after which nothing goes wrong any more, so that a simulation ends.
const TROUBLED: usize = 6;

/// Processes after which checkpoints have all the time that they need: with a timeout that is too short for
/// any of them a job goes on for ever, as it would outside a simulation, until a person sees to it.
const HURRIED: usize = 100;

/// What one simulation came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub lines: u64,
    pub digest: u64,
    pub turns: usize,
    pub processes: usize,
    pub deaths: usize,
    pub fenced: usize,
    pub stopped: usize,
    /// Turns in a row in which nothing was logged, at most.
    pub silence_max: usize,
    /// Half of an object was in the store, and the job has refused to start from it.
    pub refused: bool,
}

struct World {
    dice: Dice,
    log: Log,
    shape: Shape,
    targets: Targets,
    store: Location,
    processes: Vec<Process>,
    has_finished: bool,
    /// Half of an object is in the store for good.
    is_damaged: bool,
    told: Told,
}

/// Simulates `seed`; the error says what went wrong.
pub(crate) fn simulate(seed: u64, prints: bool) -> Result<Told, String> {
    watch::begin(seed);
    let (dice, log) = (Dice::new(seed), Log::new(prints));
    let (shape, targets) = (Shape::of(&dice), Targets::new());
    log.say(format_args!("{shape:?}"));
    let mut world = World {
        dice,
        log,
        shape,
        targets,
        store: Location::memory(),
        processes: Vec::new(),
        has_finished: false,
        is_damaged: false,
        told: Told::default(),
    };
    world.run()?;
    world.check()?;
    (world.told.lines, world.told.digest) = world.log.digest();
    Ok(world.told)
}

impl World {
    fn run(&mut self) -> Result<(), String> {
        let overlaps = self.dice.percent(40);
        let (mut lines, mut heard) = (0, 0);
        while !(self.told.refused || self.has_finished && self.processes.is_empty()) {
            self.told.turns += 1;
            if self.told.turns > TURNS_MAX {
                return Err(format!("not finished after {TURNS_MAX} turns"));
            }
            if self.log.digest().0 > lines {
                (lines, heard) = (self.log.digest().0, self.told.turns);
            }
            let silence = self.told.turns - heard;
            self.told.silence_max = self.told.silence_max.max(silence);
            if silence > SILENCE_MAX {
                return Err(format!("nothing has happened for {SILENCE_MAX} turns"));
            }
            watch::turn();
            let can_overlap = overlaps && self.processes.len() == 1 && !self.has_finished;
            if self.processes.is_empty() || (can_overlap && self.dice.below(400) == 0) {
                self.start()?;
            } else {
                self.turn()?;
            }
            if let Some(breach) = self.targets.breaches().first() {
                return Err(breach.clone());
            }
        }
        Ok(())
    }

    fn start(&mut self) -> Result<(), String> {
        self.told.processes += 1;
        let number = self.told.processes;
        let (death, rates) = self.trouble(number);
        let workers = self.dice.among(1..=4);
        self.log.say(format_args!("p{number} starts, {workers} workers, {death:?}, {rates:?}"));
        for older in &mut self.processes {
            // Suspended, as if its machine were: it goes on when the newer run has long begun.
            older.suspended = self.dice.one_of(&[0, 20, 500, 5000]);
        }
        let fate = Fate::new(number, &self.dice, &self.log, death, rates);
        if number > HURRIED {
            self.shape.timeout = Duration::from_secs(600);
        }
        let (world, told) = ((&self.shape, &self.targets), (number, fate.clone()));
        match Process::start(told, world, &self.store, workers, &self.dice) {
            Ok(process) => self.processes.push(process),
            Err(error) => self.ended(number, &fate, &error)?,
        }
        Ok(())
    }

    /// When and how often things go wrong in a process.
    fn trouble(&self, number: usize) -> (Death, Rates) {
        let dice = &self.dice;
        if number > TROUBLED {
            return (Death::Never, Rates::default());
        }
        let death = match dice.below(8) {
            0 | 1 => {
                let cut =
                    dice.one_of(&[Cut::Before, Cut::Before, Cut::After, Cut::After, Cut::Torn]);
                Death::Request(dice.among(1..=80) as u64, cut)
            }
            2 | 3 => Death::Seal(dice.among(1..=60) as u64),
            4 | 5 => {
                let side = dice.one_of(&[Side::Before, Side::After]);
                Death::Sink(dice.among(1..=30) as u64, side)
            }
            6 => Death::Turn(dice.among(1..=2000) as u64),
            _ => Death::Never,
        };
        let rate = |most: usize| if dice.percent(30) { dice.below(most) } else { 0 };
        let (refused, lost, slow) = (rate(15), rate(15), rate(15));
        (death, Rates { refused, lost, slow, torn: rate(3), sink: rate(4) })
    }

    fn turn(&mut self) -> Result<(), String> {
        let at = self.dice.below(self.processes.len());
        let is_alone = self.processes.len() == 1;
        let process = &mut self.processes[at];
        if process.suspended > 0 && !is_alone {
            process.suspended -= 1;
            return Ok(());
        }
        process.turn(&self.dice);
        if self.dice.below(2000) == 0 {
            process.stop();
        }
        if process.fate.is_dead() {
            let process = self.processes.remove(at);
            self.log.say(format_args!("p{} is dead", process.number));
            self.is_damaged |= process.fate.befell().damaged;
            self.told.deaths += 1;
            return Ok(());
        }
        if !process.is_over() {
            return Ok(());
        }
        let process = self.processes.remove(at);
        let (number, fate) = (process.number, process.fate.clone());
        match process.finish()? {
            Ok(outcome) => {
                self.log.say(format_args!("p{number} ends: {outcome:?}"));
                let has_stopped = outcome == Outcome::Stopped;
                self.has_finished |= !has_stopped;
                self.told.stopped += usize::from(has_stopped);
                Ok(())
            }
            Err(error) => self.ended(number, &fate, &error),
        }
    }

    /// A process has ended with an error: there must be a reason for it.
    fn ended(
        &mut self,
        number: usize,
        fate: &Fate,
        error: &highwater::Error,
    ) -> Result<(), String> {
        self.log.say(format_args!("p{number} ends: {:?}", error.kind()));
        let befell = fate.befell();
        self.is_damaged |= befell.damaged;
        if fate.is_dead() {
            self.told.deaths += 1;
            return Ok(());
        }
        let is_newest = number == self.told.processes;
        let kind = error.kind();
        self.told.fenced += usize::from(kind == ErrorKind::Stop);
        let is_explained = match kind {
            ErrorKind::Stop => !is_newest,
            ErrorKind::Retry | ErrorKind::Reconcile => befell.failed > 0 || befell.sink > 0,
            // More checkpoints in a row have failed, or came late, than are tolerable.
            ErrorKind::Restart => {
                matches!(error, highwater::Error::Checkpoint(_)) && self.shape.tolerable < 1000
            }
            // Nobody but a person can go on from here.
            ErrorKind::Data if self.is_damaged && befell.torn == 0 => {
                self.told.refused = is_newest;
                true
            }
            _ => false,
        };
        if is_explained || befell.torn > 0 || !is_newest {
            return Ok(());
        }
        Err(format!("p{number} has ended, and nothing explains it: {error:?}"))
    }

    /// The output, and whether one more run finds that nothing is left to do.
    fn check(&mut self) -> Result<(), String> {
        if self.told.refused {
            return Ok(());
        }
        if let Some(complaint) = oracle::complaint(&self.shape, &self.targets) {
            return Err(complaint);
        }
        let number = self.told.processes + 1;
        let fate = Fate::new(number, &self.dice, &self.log, Death::Never, Rates::default());
        let world = (&self.shape, &self.targets);
        let process = Process::start((number, fate), world, &self.store, 2, &self.dice);
        let mut process = match process {
            Ok(process) => process,
            Err(error) if self.is_damaged && error.kind() == ErrorKind::Data => return Ok(()),
            Err(error) => return Err(format!("the last checkpoint cannot be read: {error:?}")),
        };
        for _ in 0..TURNS_MAX {
            if process.is_over() {
                break;
            }
            watch::turn();
            process.turn(&self.dice);
        }
        match process.finish()? {
            Ok(Outcome::HadFinished) => {}
            Err(error) if self.is_damaged && error.kind() == ErrorKind::Data => {}
            other => return Err(format!("one more run was not needed, and came to {other:?}")),
        }
        oracle::complaint(&self.shape, &self.targets).map_or(Ok(()), Err)
    }
}
