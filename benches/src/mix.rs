//! Numbers that look random and are a function of another: splitmix64 (Steele, Lea, Flood 2014).

/// What splitmix64 adds at each draw.
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// A well-mixed number for each `i`.
#[inline]
pub(crate) fn mix(i: u64) -> u64 {
    let mut z = i.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
