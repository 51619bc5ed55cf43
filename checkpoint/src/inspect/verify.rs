//! Reads every byte that a checkpoint refers to, and says all that is wrong.
//!
//! Of a segment: the front, every block with its checksum, the index, and the trailer, each byte of
//! the object once; what the metadata, the index and the blocks say of each other; that all is
//! within the job's key groups. Of an operator whose segments are whole: how many entries are live,
//! and their digest, where the metadata says them, for which the segments are read once more.

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use serde::Serialize;

use super::catalog::Stored;
use super::entries::LiveEntries;
use crate::error::{Error, ErrorKind, Result};
use crate::metadata::{OperatorStateMetadata, SegmentMetadata};
use crate::recovery::{index, within};
use crate::segment::{BlockRun, SegmentHeader, SegmentIndex, decode_block, verify};
use crate::store::BlobStore;

/// Largest range that is fetched at once.
const RANGE_BYTES_MAX: u64 = 8 << 20;

/// Ranges that are fetched while one is checked: hides the store's latency, bounds memory.
const RANGES_AHEAD: usize = 4;

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The checkpoint that first refers to it, as messages name it.
    pub checkpoint: String,
    /// The operator, if it is one's.
    pub operator: Option<String>,
    /// What is wrong with which object, in one line.
    pub reason: String,
}

/// How far a verification has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Segments that were read; one that several checkpoints share is read once.
    pub segments: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// Entries that were decoded, tombstones and older values included.
    pub entries: u64,
}

/// Verifies checkpoints, one after the other, and gathers what is wrong with them.
pub struct Verifier<'p> {
    seen: BTreeSet<String>,
    /// Segments with findings.
    damaged: BTreeSet<String>,
    progress: Progress,
    findings: Vec<Finding>,
    report: Box<dyn FnMut(Progress) + 'p>,
}

impl<'p> Verifier<'p> {
    /// `report` is told how far it has come after each range of at most 8 MiB.
    pub fn new(report: impl FnMut(Progress) + 'p) -> Verifier<'p> {
        Verifier {
            seen: BTreeSet::new(),
            damaged: BTreeSet::new(),
            progress: Progress::default(),
            findings: Vec::new(),
            report: Box::new(report),
        }
    }

    /// How much was read.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// What was wrong so far.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Adds what was found wrong elsewhere: a metadata that could not be read.
    pub fn found(&mut self, checkpoint: String, operator: Option<&str>, error: &Error) {
        let (operator, reason) = (operator.map(str::to_owned), error.to_string());
        self.findings.push(Finding { checkpoint, operator, reason });
    }

    /// Reads all that `checkpoint` refers to and was not read for another.
    ///
    /// # Errors
    ///
    /// `Refused` if the store gives no answer. What is damaged or missing is a [`Finding`].
    pub async fn verify(&mut self, checkpoint: &Stored) -> Result<()> {
        let Stored { store, metadata, .. } = checkpoint;
        for operator in &metadata.operators {
            for segment in &operator.segments {
                if !self.seen.insert(id(store, segment)) {
                    continue;
                }
                let before = self.findings.len();
                let place = (checkpoint.to_string(), operator.uid.as_str());
                let groups = metadata.key_groups;
                self.segment(store, &place, segment, groups).await?;
                self.progress.segments += 1;
                if self.findings.len() > before {
                    self.damaged.insert(id(store, segment));
                }
            }
            self.live(checkpoint, operator).await?;
        }
        Ok(())
    }

    /// Reads what is live, and compares it with what the checkpoint says of it.
    async fn live(&mut self, checkpoint: &Stored, operator: &OperatorStateMetadata) -> Result<()> {
        let Stored { store, metadata, .. } = checkpoint;
        let OperatorStateMetadata { uid, entries, digest, segments, .. } = operator;
        let is_damaged = segments.iter().any(|segment| self.damaged.contains(&id(store, segment)));
        let is_seen =
            !self.seen.insert(format!("{entries:?} {digest:?} in {segments:?} of {store}"));
        let is_said = entries.is_some() || digest.is_some();
        if is_damaged || is_seen || !is_said {
            return Ok(());
        }
        let place = (checkpoint.to_string(), uid.as_str());
        let live = match LiveEntries::open(store, operator, 0..metadata.key_groups).await {
            Ok(entries) => entries.summarize().await,
            Err(error) => Err(error),
        };
        let bytes = segments.iter().map(|segment| segment.bytes).sum();
        let found = match live {
            Ok(live) => live,
            Err(error) => return self.judge(&place, error),
        };
        self.read(bytes, 0);
        let mut differs = |reason: String| {
            let error = Error::corrupt(format!("the metadata of {checkpoint}"), reason);
            self.found(checkpoint.to_string(), Some(uid), &error);
        };
        match *entries {
            Some(meant) if meant != found.entries => {
                differs(format!("{} entries are live, it says {meant}", found.entries));
            }
            _ => {}
        }
        match *digest {
            Some(meant) if meant != found.digest => {
                differs(format!("its entries have digest {}, it says {meant}", found.digest));
            }
            _ => {}
        }
        Ok(())
    }

    async fn segment(
        &mut self,
        store: &BlobStore,
        place: &(String, &str),
        segment: &SegmentMetadata,
        key_groups: u16,
    ) -> Result<()> {
        let index = match index(store, segment).await {
            Ok(index) => index,
            Err(error) => return self.judge(place, error),
        };
        if let Err(error) = check_header(segment, index.header(), place.1, key_groups) {
            self.judge(place, error)?;
        }
        let Some(first) = index.blocks().first() else {
            // Without blocks it is small.
            let checked = match get_range(store, segment, 0..segment.bytes).await {
                Ok(bytes) => verify(&segment.object, &bytes).map(drop),
                Err(error) => Err(error),
            };
            self.read(segment.bytes, 0);
            return checked.or_else(|error| self.judge(place, error));
        };
        if let Err(error) = check_front(store, segment, &index, 0..first.offset).await {
            self.judge(place, error)?;
        }
        self.read(segment.bytes.saturating_sub(blocks_bytes(&index)), 0);
        let runs = index.blocks_of(0..=u16::MAX, RANGE_BYTES_MAX);
        let fetches = runs.iter().map(|run| get_range(store, segment, run.bytes()));
        let fetches: Vec<_> = fetches.collect();
        let mut ahead = stream::iter(fetches).buffered(RANGES_AHEAD);
        for run in &runs {
            match ahead.next().await.expect("one fetch for each run") {
                Ok(bytes) => self.blocks(place, segment, *run, &bytes)?,
                Err(error) => self.judge(place, error)?,
            }
        }
        Ok(())
    }

    /// Checks every block of `run`, also after one that is damaged.
    fn blocks(
        &mut self,
        place: &(String, &str),
        segment: &SegmentMetadata,
        run: BlockRun<'_>,
        bytes: &Bytes,
    ) -> Result<()> {
        let (start, mut entries) = (run.bytes().start, 0);
        for block in run.blocks() {
            let from = (block.offset - start) as usize;
            let frame = bytes.get(from..from + block.len as usize).unwrap_or_default();
            match decode_block(&segment.object, block, frame) {
                Ok(block) => entries += block.len() as u64,
                Err(error) => self.judge(place, error)?,
            }
        }
        self.read(bytes.len() as u64, entries);
        Ok(())
    }

    fn read(&mut self, bytes: u64, entries: u64) {
        self.progress.bytes += bytes;
        self.progress.entries += entries;
        (self.report)(self.progress);
    }

    /// Notes an error that is about the object; hands back one that is about the store.
    fn judge(&mut self, (checkpoint, uid): &(String, &str), error: Error) -> Result<()> {
        match error.kind() {
            ErrorKind::Data | ErrorKind::Invalid => {
                self.found(checkpoint.clone(), Some(uid), &error);
                Ok(())
            }
            _ => Err(error),
        }
    }
}

/// Reads the bytes `range` of a segment, which may be a part of an object.
async fn get_range(
    store: &BlobStore,
    segment: &SegmentMetadata,
    range: Range<u64>,
) -> Result<Bytes> {
    store.get_range(&segment.object, within(segment, range)?).await
}

/// What a segment is, to tell it from all others: a bundle holds several.
fn id(store: &BlobStore, segment: &SegmentMetadata) -> String {
    format!("{segment:?} of {store}")
}

fn blocks_bytes(index: &SegmentIndex) -> u64 {
    index.blocks().iter().map(|block| u64::from(block.len)).sum()
}

/// What no checksum covers: whether the segment is of this operator and of a job cut like this.
fn check_header(
    segment: &SegmentMetadata,
    header: &SegmentHeader,
    uid: &str,
    key_groups: u16,
) -> Result<()> {
    let object = &segment.object;
    if header.uid != uid {
        let reason = format!("it is of operator {:?}, not {uid:?}", header.uid);
        return Err(Error::corrupt(object, reason));
    }
    if header.key_groups != key_groups {
        let theirs = header.key_groups;
        let reason =
            format!("it is of a job of {theirs} key groups, the checkpoint has {key_groups}");
        return Err(Error::corrupt(object, reason));
    }
    Ok(())
}

/// Checks the part of a segment before its first block.
async fn check_front(
    store: &BlobStore,
    segment: &SegmentMetadata,
    index: &SegmentIndex,
    range: Range<u64>,
) -> Result<()> {
    let object = &segment.object;
    let front = SegmentHeader::parse(object, &get_range(store, segment, range).await?)?;
    if front == *index.header() {
        return Ok(());
    }
    let reason = format!("it begins as {front:?}, its index is of {:?}", index.header());
    Err(Error::corrupt(object, reason))
}

impl std::fmt::Debug for Verifier<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("progress", &self.progress)
            .field("findings", &self.findings)
            .finish_non_exhaustive()
    }
}
