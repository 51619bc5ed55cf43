//! Random numbers that are a function of a seed.

/// What splitmix64 adds at each draw (Steele, Lea, Flood 2014).
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finisher of splitmix64: well-mixed bits of each `i`.
#[inline]
pub(crate) fn mix(i: u64) -> u64 {
    let mut z = i.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

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
