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

/// So many times its bytes is the memory of a buffer at most, once it is handed on: who counts bytes
/// under way must not be wrong by more. Below that they are copied, which is less than a quarter of
/// what would be held; above it, a segment that compresses well would be.
const HELD_PER_BYTE_MAX: usize = 4;

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

    /// The bytes; their memory, which is not much more than they are, is used again when nobody holds
    /// them any more.
    pub(crate) fn into_bytes(self) -> Bytes {
        if self.capacity() / HELD_PER_BYTE_MAX > self.len() {
            Bytes::copy_from_slice(&self)
        } else if self.is_empty() {
            Bytes::new()
        } else {
            Bytes::from_owner(self)
        }
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
    fn few_bytes_do_not_hold_the_memory_of_many() {
        for (len, is_held) in [((1 << 20) - 1, false), (1 << 20, true)] {
            let mut buffer = Buffer(Vec::with_capacity(4 << 20));
            buffer.resize(len, 7);
            let (memory, capacity) = (buffer.as_ptr(), buffer.capacity());
            assert_eq!(capacity, 4 << 20);
            let bytes = buffer.into_bytes();
            assert_eq!(bytes.as_ptr() == memory, is_held, "{len} bytes");
            assert!(bytes.len() == len && bytes.iter().all(|byte| *byte == 7));
        }
        assert!(Buffer(Vec::with_capacity(1 << 20)).into_bytes().is_empty());
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
