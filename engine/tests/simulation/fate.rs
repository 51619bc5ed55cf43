//! What befalls one process: which of its requests go wrong and how, and when it dies.
//!
//! A process that is dead may still run a few lines of code. Nothing that these do reaches the
//! store or a sink, which is all that there is to see of it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use highwater::Epoch;
use highwater::checkpoint::store::faulty::{Call, Fault, Side};

use super::chance::{Dice, Log};

/// Where a process dies, and at the how manyth of these, from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Death {
    Never,
    /// At a request to the store: not made, made, or, at the next write, cut off in the middle.
    Request(u64, Cut),
    /// When a participant ends an epoch.
    Seal(u64),
    /// At what a sink does: on either side of taking effect.
    Sink(u64, Side),
    /// Between two turns.
    Turn(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Before,
    After,
    Torn,
}

impl Cut {
    fn can_be(self, operation: &str) -> bool {
        self != Cut::Torn || matches!(operation, "put" | "create")
    }
}

/// How often what goes wrong, of a hundred.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    pub refused: usize,
    pub lost: usize,
    pub slow: usize,
    pub torn: usize,
    pub sink: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Fate {
    number: usize,
    dice: Dice,
    log: Log,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    death: Death,
    rates: Rates,
    is_dead: bool,
    requests: u64,
    seals: u64,
    sinks: u64,
    turns: u64,
    befell: Befell,
}

/// What has gone wrong so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Befell {
    /// A request failed that can be made again.
    pub failed: u64,
    /// Half of an object was read.
    pub torn: u64,
    /// A sink failed.
    pub sink: u64,
    /// Half of an object is in the store for good.
    pub damaged: bool,
}

/// What becomes of something that a sink does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Done,
    /// It fails, and has changed nothing.
    Refused,
    /// It fails, and is done.
    DoneInVain,
}

impl Fate {
    pub(crate) fn new(number: usize, dice: &Dice, log: &Log, death: Death, rates: Rates) -> Fate {
        let state = State {
            death,
            rates,
            is_dead: false,
            requests: 0,
            seals: 0,
            sinks: 0,
            turns: 0,
            befell: Befell::default(),
        };
        let state = Arc::new(Mutex::new(state));
        Fate { number, dice: dice.clone(), log: log.clone(), state }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.lock().is_dead
    }

    pub(crate) fn befell(&self) -> Befell {
        self.lock().befell
    }

    /// The process has made a turn.
    pub(crate) fn turn(&self) {
        let mut state = self.lock();
        state.turns += 1;
        if matches!(state.death, Death::Turn(at) if at <= state.turns) {
            state.is_dead = true;
        }
    }

    /// What becomes of a request to the store.
    pub(crate) fn request(&self, call: &Call) -> Fault {
        let mut state = self.lock();
        if state.is_dead {
            return Fault::Deny;
        }
        state.requests += 1;
        let fault = match state.death {
            Death::Request(at, cut) if at <= state.requests && cut.can_be(call.operation) => {
                state.is_dead = true;
                state.befell.damaged |= cut == Cut::Torn;
                match cut {
                    Cut::Before => Fault::Deny,
                    Cut::After => Fault::LoseReply,
                    Cut::Torn => Fault::Tear,
                }
            }
            _ => self.strike(&mut state, call),
        };
        // The name of a probe is another one each time.
        let path = call.path.split("probes/").next().unwrap_or_default();
        self.log.say(format_args!("p{} {} {path}: {fault:?}", self.number, call.operation));
        fault
    }

    fn strike(&self, state: &mut State, call: &Call) -> Fault {
        let Rates { refused, lost, slow, torn, .. } = state.rates;
        let (thrown, is_get) = (self.dice.below(100), call.operation == "get");
        let fault = match thrown {
            _ if thrown < refused => Fault::Refuse,
            _ if thrown < refused + lost => Fault::LoseReply,
            _ if thrown < refused + lost + slow => {
                let side = self.dice.one_of(&[Side::Before, Side::After]);
                Fault::Slow(side, Duration::from_millis(self.dice.one_of(&[1, 30, 500])))
            }
            _ if is_get && thrown < refused + lost + slow + torn => Fault::Tear,
            _ => Fault::None,
        };
        state.befell.failed += u64::from(!matches!(fault, Fault::None | Fault::Tear));
        state.befell.torn += u64::from(fault == Fault::Tear);
        fault
    }

    /// A participant ends an epoch.
    pub(crate) fn seal(&self, uid: &str, worker: usize, epoch: Epoch) {
        let mut state = self.lock();
        state.seals += 1;
        state.is_dead |= matches!(state.death, Death::Seal(at) if at == state.seals);
        self.log.say(format_args!("p{} {uid}/{worker} seals {epoch}", self.number));
    }

    /// A sink does something that takes effect.
    pub(crate) fn sink(&self, what: std::fmt::Arguments<'_>) -> Act {
        let mut state = self.lock();
        if state.is_dead {
            return Act::Refused;
        }
        state.sinks += 1;
        let act = match state.death {
            Death::Sink(at, side) if at == state.sinks => {
                state.is_dead = true;
                if side == Side::Before { Act::Refused } else { Act::DoneInVain }
            }
            _ if self.dice.percent(state.rates.sink) => {
                state.befell.sink += 1;
                self.dice.one_of(&[Act::Refused, Act::DoneInVain])
            }
            _ => Act::Done,
        };
        self.log.say(format_args!("p{} {what}: {act:?}", self.number));
        act
    }
}
