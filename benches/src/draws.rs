//! Random numbers that are a function of a seed, and keys that are one of a record's number.

use std::sync::LazyLock;

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
pub(crate) struct Draws(u64);

impl Draws {
    #[inline]
    pub(crate) fn new(seed: u64) -> Draws {
        Draws(mix(seed))
    }

    /// The next two numbers of 32 bits.
    #[inline]
    pub(crate) fn pair(&mut self) -> (u32, u32) {
        let bits = mix(self.0);
        self.0 = self.0.wrapping_add(STEP);
        ((bits >> 32) as u32, bits as u32)
    }

    /// The next number below `bound`.
    pub(crate) fn below(&mut self, bound: u32) -> u64 {
        below(self.pair().0, u64::from(bound))
    }
}

/// A number below `bound`, which is at most 2^32, from 32 random bits.
#[inline]
pub(crate) fn below(random: u32, bound: u64) -> u64 {
    (u64::from(random) * bound) >> 32
}

/// Which of so many keys each record has, as a function of its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    count: u64,
    law: Law,
}

#[derive(Clone, Copy, Debug)]
enum Law {
    Uniform,
    /// The logarithm of the number of keys, in units of 2^-26.
    Zipf {
        range: u64,
        powers: &'static [f64],
    },
    Hot,
}

/// Keys that three in four records are of, if some are hot.
const HOT_KEYS: u64 = 100;

impl Keys {
    /// All keys alike.
    pub(crate) fn uniform(count: u64) -> Keys {
        Keys { count, law: Law::Uniform }
    }

    /// The n-th key as often as a number between n and n + 1 is drawn from a density of 1 / x: Zipf's law of
    /// exponent 1, but for the first few keys, which are a little less frequent.
    pub(crate) fn zipf(count: u64) -> Keys {
        let range = (((count + 1) as f64).log2() * f64::from(1u32 << 26)) as u64;
        Keys { count, law: Law::Zipf { range, powers: &POWERS } }
    }

    /// Three in four records of a hundred keys.
    pub(crate) fn hot(count: u64) -> Keys {
        Keys { count, law: Law::Hot }
    }

    /// The key of record `i`, below the number of keys.
    #[inline]
    pub(crate) fn draw(self, i: u64) -> u64 {
        let bits = mix(i);
        match self.law {
            Law::Zipf { range, powers } => {
                let number = power_of_two(powers, ((bits >> 32) * range) >> 26);
                (number as u64).clamp(1, self.count) - 1
            }
            Law::Hot if bits >> 62 != 0 => bits % HOT_KEYS.min(self.count),
            Law::Uniform | Law::Hot => bits % self.count,
        }
    }
}

/// Two to an exponent in units of 2^-32.
#[inline]
fn power_of_two(powers: &[f64], exponent: u64) -> f64 {
    const BETWEEN: u32 = 32 - PARTS.trailing_zeros();
    let index = (exponent >> BETWEEN) as usize % PARTS;
    let between = (exponent & ((1 << BETWEEN) - 1)) as f64 / f64::from(1u32 << BETWEEN);
    let power = powers[index] + between * (powers[index + 1] - powers[index]);
    (1u64 << (exponent >> 32)) as f64 * power
}

/// Powers between 1 and 2.
pub(crate) const PARTS: usize = 1024;

/// Powers of two between 1 and 2, to interpolate between. Made by square roots, which are the same on
/// all machines, as those of the mathematical library are not.
pub(crate) static POWERS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let mut powers = vec![1.0, 2.0];
    while powers.len() <= PARTS {
        let between = powers.windows(2).map(|pair: &[f64]| (pair[0] * pair[1]).sqrt());
        let between: Vec<f64> = between.collect();
        let last = powers.len() - 1;
        powers = (0..last).flat_map(|i| [powers[i], between[i]]).chain([2.0]).collect();
    }
    powers
});

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(keys: Keys) -> Vec<u64> {
        let mut times = vec![0; keys.count as usize];
        (0..1_000_000).for_each(|i| times[keys.draw(i) as usize] += 1);
        times
    }

    #[test]
    fn keys_are_drawn_by_their_law() {
        let near = |times: u64, expected: f64| {
            let bound = 5.0 * expected.sqrt();
            assert!((times as f64 - expected).abs() < bound, "{times} is not near {expected}");
        };
        let uniform = drawn(Keys::uniform(1_000));
        for times in uniform {
            near(times, 1_000.0);
        }
        let zipf = drawn(Keys::zipf(1_000));
        for (n, times) in (1..).zip(zipf) {
            let share = (f64::from(n + 1) / f64::from(n)).ln() / 1_001f64.ln();
            near(times, share * 1_000_000.0);
        }
        let hot = drawn(Keys::hot(1_000));
        for (key, times) in hot.into_iter().enumerate() {
            near(times, if key < 100 { 7_750.0 } else { 250.0 });
        }
    }

    #[test]
    fn the_last_of_many_keys_is_drawn_and_none_beyond() {
        let keys = Keys::zipf(10_000_000);
        let most = (0..10_000_000).map(|i| keys.draw(i)).max();
        assert!(most.is_some_and(|most| (9_999_000..10_000_000).contains(&most)), "{most:?}");
    }
}
