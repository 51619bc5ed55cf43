//! Bytes of snapshots that are in memory on their way to the store, and who has to wait for them.
//!
//! ```text
//!   captured, not handed out     held      leaves only when a scan goes on
//!   handed out to compress       moving    leaves by itself
//!   compressed, less than a part held      leaves when its segment has more, or ends
//!   in a part, or in a bundle    moving    leaves when the store answers
//! ```
//!
//! # Invariants
//!
//! * **F1** What is moving never waits for room, so whenever the store answers it becomes less.
//! * **F2** A scan waits only while something is moving. So there is no deadlock, whatever is held;
//!   beyond the limit there is at most a slice of each seal, and less than a part of each segment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes are in flight, of all operators and workers of a process.
#[derive(Debug)]
pub struct InFlight {
    max: usize,
    held: AtomicUsize,
    moving: AtomicUsize,
    peak: AtomicUsize,
}

impl InFlight {
    /// A count that is full at `max` bytes.
    pub fn new(max: usize) -> Arc<InFlight> {
        let [held, moving, peak] = Default::default();
        Arc::new(InFlight { max, held, moving, peak })
    }

    /// Whether what would add to the bytes in flight should wait.
    pub fn is_full(&self) -> bool {
        self.bytes() >= self.max
    }

    /// Whether a scan has to wait: there is no room, and there will be without it (F2).
    pub fn must_wait(&self) -> bool {
        self.is_full() && self.moving.load(Ordering::SeqCst) > 0
    }

    /// Bytes in flight now.
    pub fn bytes(&self) -> usize {
        self.held.load(Ordering::SeqCst).saturating_add(self.moving.load(Ordering::SeqCst))
    }

    /// The most bytes that have been in flight at once.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Counts `bytes` that are held.
    pub(crate) fn held(self: &Arc<Self>, bytes: usize) -> Load {
        self.load(bytes, false)
    }

    /// Counts `bytes` that leave by themselves.
    pub(crate) fn moving(self: &Arc<Self>, bytes: usize) -> Load {
        self.load(bytes, true)
    }

    fn load(self: &Arc<Self>, bytes: usize, is_moving: bool) -> Load {
        let mut load = Load { in_flight: Arc::clone(self), bytes: 0, is_moving };
        load.resize(bytes);
        load
    }

    fn counter(&self, is_moving: bool) -> &AtomicUsize {
        if is_moving { &self.moving } else { &self.held }
    }
}

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
pub(crate) struct Load {
    in_flight: Arc<InFlight>,
    bytes: usize,
    is_moving: bool,
}

impl Load {
    /// There are `bytes` of it now.
    pub(crate) fn resize(&mut self, bytes: usize) {
        let counter = self.in_flight.counter(self.is_moving);
        if bytes >= self.bytes {
            counter.fetch_add(bytes - self.bytes, Ordering::SeqCst);
            self.in_flight.peak.fetch_max(self.in_flight.bytes(), Ordering::Relaxed);
        } else {
            counter.fetch_sub(self.bytes - bytes, Ordering::SeqCst);
        }
        self.bytes = bytes;
    }

    /// `bytes` more.
    pub(crate) fn grow(&mut self, bytes: usize) {
        self.resize(self.bytes + bytes);
    }

    /// From now on `bytes` of it leave by themselves.
    pub(crate) fn set_moving(&mut self, bytes: usize) -> Load {
        let bytes = bytes.min(self.bytes);
        // The new count first: a moment of too many is harmless, one of too few is not. But it is no
        // peak, so this does not go by way of `resize`.
        self.in_flight.moving.fetch_add(bytes, Ordering::SeqCst);
        self.resize(self.bytes - bytes);
        Load { in_flight: Arc::clone(&self.in_flight), bytes, is_moving: true }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.resize(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_waits_only_for_what_leaves_without_it() {
        let in_flight = InFlight::new(100);
        let mut held = in_flight.held(120);
        assert!(in_flight.is_full() && !in_flight.must_wait());
        let moving = held.set_moving(50);
        assert!(in_flight.is_full() && in_flight.must_wait());
        assert_eq!(in_flight.bytes(), 120);
        drop(moving);
        assert_eq!((in_flight.bytes(), in_flight.is_full()), (70, false));
        held.grow(30);
        assert!(in_flight.is_full());
        drop(held);
        assert_eq!(in_flight.bytes(), 0);
        assert_eq!(in_flight.peak(), 120, "what changes its kind was not there twice");
    }
}
