//! Random numbers that are a function of a seed.

use crate::mix::{STEP, mix};

/// A sequence of random numbers.
#[derive(Debug)]
pub(super) struct Draws(u64);

impl Draws {
    #[inline]
    pub(super) fn new(seed: u64) -> Draws {
        Draws(mix(seed))
    }

    /// The next two numbers of 32 bits.
    #[inline]
    pub(super) fn pair(&mut self) -> (u32, u32) {
        let bits = mix(self.0);
        self.0 = self.0.wrapping_add(STEP);
        ((bits >> 32) as u32, bits as u32)
    }

    /// The next number below `bound`.
    pub(super) fn below(&mut self, bound: u32) -> u64 {
        below(self.pair().0, u64::from(bound))
    }
}

/// A number below `bound`, which is at most 2^32, from 32 random bits.
#[inline]
pub(super) fn below(random: u32, bound: u64) -> u64 {
    (u64::from(random) * bound) >> 32
}
