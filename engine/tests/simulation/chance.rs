//! Everything that is left to chance in one simulation: one stream of numbers, from one seed, and
//! the log of what came of it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};

use highwater::testing::Random;

/// Dice that all parts of a simulation throw in turn. Clones are the same dice.
#[derive(Clone, Debug)]
pub(crate) struct Dice(Arc<Mutex<Random>>);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(Arc::new(Mutex::new(Random::new(seed))))
    }

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: usize) -> usize {
        self.0.lock().unwrap().below(bound)
    }

    /// A number of `range`.
    pub(crate) fn among(&self, range: std::ops::RangeInclusive<usize>) -> usize {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// True this often.
    pub(crate) fn percent(&self, of_hundred: usize) -> bool {
        self.below(100) < of_hundred
    }

    pub(crate) fn one_of<T: Copy>(&self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// What happened, in order; equal for two runs of a seed. Clones are the same log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Written>>);

#[derive(Debug, Default)]
struct Written {
    lines: u64,
    hash: DefaultHasher,
    prints: bool,
}

impl Log {
    /// `prints` every line as well.
    pub(crate) fn new(prints: bool) -> Log {
        Log(Arc::new(Mutex::new(Written { prints, ..Written::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Written> {
        self.0.lock().unwrap()
    }

    pub(crate) fn say(&self, line: std::fmt::Arguments<'_>) {
        let mut written = self.lock();
        let line = line.to_string();
        written.lines += 1;
        line.hash(&mut written.hash);
        if written.prints {
            println!("{:>6} {line}", written.lines);
        }
    }

    /// Lines, and a hash of them.
    pub(crate) fn digest(&self) -> (u64, u64) {
        let written = self.lock();
        (written.lines, written.hash.finish())
    }
}
