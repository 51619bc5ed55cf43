//! The live entries of an operator, one key group after the other, in bounded memory.

use std::collections::VecDeque;
use std::ops::Range;

use serde::Serialize;

use crate::error::Result;
use crate::metadata::{OperatorStateMetadata, SegmentMetadata};
use crate::recovery::{index, last_in_memory, read_chains};
use crate::segment::{EntryBlock, Removed, SegmentIndex, fold};
use crate::state::StateDigest;
use crate::store::BlobStore;

/// Reads what holds now of keyed state: of each key the newest value, and no key that was removed.
///
/// Takes the memory of one key group, or of some MiB of entries if groups are smaller, twice.
#[derive(Debug)]
pub struct LiveEntries<'a> {
    store: &'a BlobStore,
    segments: &'a [SegmentMetadata],
    indexes: Vec<SegmentIndex>,
    groups: Range<u16>,
    ready: VecDeque<(u16, Vec<EntryBlock>)>,
}

/// What the live entries of an operator are, together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LiveState {
    /// How many there are.
    pub entries: u64,
    /// Their digest.
    pub digest: StateDigest,
}

impl<'a> LiveEntries<'a> {
    /// Opens the entries of `operator` in the key groups `groups`: reads the indexes.
    ///
    /// # Errors
    ///
    /// `Corrupt` or `Missing` if a segment is damaged; else as [`BlobStore::get_tail`].
    pub async fn open(
        store: &'a BlobStore,
        operator: &'a OperatorStateMetadata,
        groups: Range<u16>,
    ) -> Result<LiveEntries<'a>> {
        let segments = &operator.segments[..];
        let mut indexes = Vec::with_capacity(segments.len());
        for segment in segments {
            indexes.push(index(store, segment).await?);
        }
        Ok(LiveEntries { store, segments, indexes, groups, ready: VecDeque::new() })
    }

    /// The next key group and its entries in the order of their key's bytes, none of which is a
    /// tombstone; a group without entries comes too. None after the last.
    ///
    /// # Errors
    ///
    /// As [`open`](LiveEntries::open).
    pub async fn next_group(&mut self) -> Result<Option<(u16, Vec<EntryBlock>)>> {
        if let Some(group) = self.ready.pop_front() {
            return Ok(Some(group));
        }
        if self.groups.is_empty() {
            return Ok(None);
        }
        let (first, last_group) = (self.groups.start, self.groups.end - 1);
        let last = last_in_memory(self.segments, &self.indexes, first, last_group);
        let now = first..last + 1;
        self.groups.start = now.end;
        let mut chains = read_chains(self.store, self.segments, &self.indexes, now.clone()).await?;
        for group in now {
            let chain = chains.remove(&group).unwrap_or_default();
            let mut blocks = Vec::with_capacity(chain.len());
            for frames in &chain {
                let decoded = frames.iter().map(|frame| frame.decode().map(Into::into));
                blocks.push(decoded.collect::<Result<Vec<EntryBlock>>>()?);
            }
            self.ready.push_back((group, fold(&blocks, Removed::Drop)));
        }
        Ok(self.ready.pop_front())
    }

    /// Reads what is left, and says what it is together.
    ///
    /// # Errors
    ///
    /// As [`open`](LiveEntries::open).
    pub async fn summarize(mut self) -> Result<LiveState> {
        let mut state = LiveState::default();
        while let Some((_, blocks)) = self.next_group().await? {
            for (key, value) in blocks.iter().flatten() {
                state.entries += 1;
                state.digest += StateDigest::of_entry(key, value.unwrap_or_default());
            }
        }
        Ok(state)
    }
}
