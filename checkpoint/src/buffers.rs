//! Buffers whose memory is used again.
//!
//! A segment comes into being once an epoch, and the memory that it took goes back to the kernel in
//! between. To touch that anew takes up to 4 ms a megabyte on a virtual machine, in the kernel, which
//! does not stop for a worker that waits for its core.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// Bytes that are kept for later, in the whole process: what is under way to a store that keeps up.
const KEPT_BYTES_MAX: usize = 32 << 20;

static KEPT: Mutex<Kept> = Mutex::new(Kept { buffers: Vec::new(), bytes: 0 });

struct Kept {
    buffers: Vec<Vec<u8>>,
    bytes: usize,
}

/// Bytes that are written, front to end; empty to begin with.
#[derive(Debug)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    pub(crate) fn new() -> Buffer {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = kept.buffers.pop().unwrap_or_default();
        kept.bytes -= buffer.capacity();
        Buffer(buffer)
    }

    /// The bytes; their memory is used again when nobody holds them any more.
    pub(crate) fn into_bytes(self) -> Bytes {
        if self.is_empty() { Bytes::new() } else { Bytes::from_owner(self) }
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Buffer::new()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        buffer.clear();
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if buffer.capacity() > 0 && kept.bytes + buffer.capacity() <= KEPT_BYTES_MAX {
            kept.bytes += buffer.capacity();
            kept.buffers.push(buffer);
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_empty_and_what_is_held_stays_as_it_is() {
        let mut first = Buffer::new();
        first.extend_from_slice(b"first");
        let held = first.into_bytes();
        let part = held.slice(1..3);
        drop(held);
        // Nobody may write where somebody still reads.
        let mut others: Vec<_> = (0..100).map(|_| Buffer::new()).collect();
        for other in &mut others {
            assert!(other.is_empty());
            other.extend_from_slice(b"XXXXXXXXXX");
        }
        assert_eq!(&part[..], b"ir");
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        for _ in 0..3 {
            let many: Vec<_> = (0..40)
                .map(|_| {
                    let mut buffer = Buffer::new();
                    buffer.reserve(1 << 20);
                    buffer
                })
                .collect();
            drop(many);
            assert!(KEPT.lock().unwrap().bytes <= KEPT_BYTES_MAX);
        }
    }
}
