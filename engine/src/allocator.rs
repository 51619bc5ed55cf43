//! The allocator of a job's program, and the one thing that it is told.

use std::ffi::{c_int, c_long};
use std::sync::Once;

/// Keyed state of 10 million keys is 3.5 times as fast with it as with the system's: its large
/// pages are what a table of that size needs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` of mimalloc's own header, in milliseconds. The crate does not name it.
const PURGE_DELAY: c_int = 15;

/// How long memory that was freed is kept before the system has it back.
///
/// After mimalloc's own second a table that grows is put on pages that have just been given back, and are
/// cleared anew: of a job with maps of millions of elements that took a fifth of all CPU time. However long
/// it is, all memory that is free then is given back at once, and may be cleared anew.
const KEPT_MS: c_long = 10_000;

/// Has memory that is freed stay with the process for ten seconds, rather than one.
///
/// Every job does so when it begins; it is for a program that wants what comes before its job to be under
/// the same rule. What the environment says (`MIMALLOC_PURGE_DELAY`, in milliseconds; -1 for ever) goes before.
pub fn keep_freed_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: an option of this number exists in all versions of mimalloc that the crate can be built
        // with, which check the number, and it may be set at any time.
        #[expect(unsafe_code, reason = "C; a fifth of the time of q16 of Nexmark")]
        unsafe {
            libmimalloc_sys::mi_option_set_default(PURGE_DELAY, KEPT_MS);
        }
    });
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn delay() -> c_long {
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "C")]
        unsafe {
            libmimalloc_sys::mi_option_get(PURGE_DELAY)
        }
    }

    /// In a process of its own, which says by the option's name what its number must read.
    #[test]
    fn memory_is_kept_for_as_long_as_is_said() {
        const NAME: &str = "MIMALLOC_PURGE_DELAY";
        if let Some(said) = std::env::var_os(NAME) {
            keep_freed_memory();
            assert_eq!(said, delay().to_string().as_str());
            return;
        }
        keep_freed_memory();
        assert_eq!(delay(), KEPT_MS);
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "allocator::tests::memory_is_kept_for_as_long_as_is_said"]);
        let output = again.env(NAME, "4711").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
    }
}
