//! Asks for memory before it is needed: the one use of `unsafe` in this crate.
//!
//! The cost of a record on a large state is one cache miss. With the slots of a batch asked for
//! first, the misses overlap: keyed count of 500 k and 5 M keys a worker runs 1.5 and 2 times as
//! fast as without. Reading the slots instead does not help: a core has room for the instructions
//! of some ten records, and stops there to wait; a prefetch leaves at once.

#![allow(unsafe_code)]

/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the first two cache lines, or all if it is less, of `slice[index]`.
#[inline]
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(super) fn prefetch<T>(slice: &[T], index: usize) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

    let Some(element) = slice.get(index) else { return };
    let first = std::ptr::from_ref(element).cast::<i8>();
    // Where the element ends, or the next line: an element of 24 bytes lies across two lines as
    // often as one time in four.
    let second = first.wrapping_add((size_of::<T>().saturating_sub(1)).min(LINE));
    // SAFETY: a prefetch reads nothing that the program can see and cannot fault, whatever the
    // address; both addresses are within the element anyway. SSE is part of x86-64.
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(first);
        _mm_prefetch::<_MM_HINT_T0>(second);
    }
}

/// Does nothing where there is no stable intrinsic for it.
#[inline]
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(super) fn prefetch<T>(_slice: &[T], _index: usize) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_index_is_fine() {
        let slice = [0u64; 3];
        (0..10).for_each(|index| prefetch(&slice, index));
        prefetch::<u64>(&[], 0);
        prefetch(&[(), ()], 1);
    }
}
