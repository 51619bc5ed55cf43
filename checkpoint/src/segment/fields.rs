//! Little-endian fields, read from bytes that may be anything.
//!
//! Every read is bounded by what is left, so a parser made of these cannot panic and cannot
//! allocate for bytes that are not there.

use crate::error::{Error, Result};

/// Reads one part of an object from its front.
pub(super) struct Fields<'a> {
    object: &'a str,
    part: &'static str,
    len: usize,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads `bytes`, which are the part of `object` that errors will call `part`.
    pub(super) fn new(object: &'a str, part: &'static str, bytes: &'a [u8]) -> Fields<'a> {
        Fields { object, part, len: bytes.len(), rest: bytes }
    }

    /// The next `count` bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8]> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else {
            let at = self.len - self.rest.len();
            let needed = at as u128 + count as u128;
            return Err(self.corrupt(format!("needs {needed} bytes, has {}", self.len)));
        };
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Result<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A UTF-8 string behind its `u32` length.
    pub(super) fn string(&mut self) -> Result<String> {
        let len = self.u32()? as usize;
        let bytes = self.bytes(len)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(self.corrupt(format!("holds a name that is not UTF-8: {error}"))),
        }
    }

    /// Number of bytes that have not been read.
    pub(super) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Ends the part: nothing may be left.
    pub(super) fn end(self) -> Result<()> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let read = self.len - self.rest.len();
        Err(self.corrupt(format!("ends after {read} bytes, has {}", self.len)))
    }

    /// An error about this part.
    pub(super) fn corrupt(&self, reason: impl AsRef<str>) -> Error {
        Error::corrupt(self.object, format!("its {} {}", self.part, reason.as_ref()))
    }
}
