//! Segments (stand-in until the format lands).
#![allow(missing_docs, missing_debug_implementations)]
pub const BLOCK_BYTES_MAX: usize = 1 << 20;
#[derive(Default)]
pub struct EntryBlock {
    entries: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    bytes: usize,
}
impl EntryBlock {
    pub fn new() -> Self {
        Self::default()
    }
    pub fn raw_bytes(&self) -> usize {
        self.bytes
    }
    pub fn len(&self) -> usize {
        self.entries.len()
    }
    pub fn push<E>(
        &mut self,
        key: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
        value: Option<impl FnOnce(&mut Vec<u8>) -> Result<(), E>>,
    ) -> Result<(), E> {
        let mut k = Vec::new();
        key(&mut k)?;
        let mut v = None;
        if let Some(f) = value {
            let mut b = Vec::new();
            f(&mut b)?;
            v = Some(b);
        }
        self.bytes += k.len();
        self.entries.push((k, v));
        Ok(())
    }
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.entries.iter().map(|(k, v)| (k.as_slice(), v.as_deref()))
    }
}
