//! Loads the key groups of one worker from the segments of a checkpoint.
//!
//! ```text
//!   groups     0 1 2       3 4       5 ..        some at a time: their tables stay in the cache
//!   newest     [ 1 ]      [ 3 ]     [ 5 ]        what the newest segment says of a key counts:
//!   older      [ 2 ]        .       [ 6 ]        the others are only compared with it
//!   base         .        [ 4 ]     [ 7 ]        read and taken in the order of the numbers
//! ```

use std::ops::{Range, RangeInclusive};

use futures::stream::{self, FuturesOrdered, StreamExt, TryStreamExt};

use super::read::{RANGE_BYTES_MAX, index, within};
use crate::error::{Error, Result};
use crate::metadata::{SegmentKind, SegmentMetadata};
use crate::segment::{BlockRun, SegmentIndex, VerifiedBlock};
use crate::store::BlobStore;

/// Bytes, packed, of the groups that are loaded together: few, so that what one segment has brought
/// into the cache is there when the next says the same keys; many beside what a request costs.
const BATCH_BYTES: u64 = 4 << 20;

/// The same where a read is cheap.
const FILE_BATCH_BYTES: u64 = 1 << 20;

/// Bytes that are asked for ahead of those that are decoded.
const BYTES_AHEAD: u64 = 32 << 20;

/// Requests for them: a long chain makes small ones.
const REQUESTS_AHEAD: usize = 16;

/// Some entries of a key group, as [`load`] hands them out.
pub(crate) struct LoadedBlock<'a> {
    pub(crate) object: &'a str,
    pub(crate) group: u16,
    pub(crate) block: &'a VerifiedBlock,
    /// Entries that the group is likely to have in the end.
    pub(crate) group_entries: usize,
    /// Whether no newer segment has entries of the group: no key was there before.
    pub(crate) is_newest: bool,
    /// Whether no older segment has entries of the group: no key will come again.
    pub(crate) is_oldest: bool,
}

/// Hands out the blocks of `owned`, for each group in the order newest first; blocks that a newer
/// base hides are not read. `live` is how many entries all groups have together, if it is known.
pub(crate) async fn load(
    store: &BlobStore,
    segments: &[SegmentMetadata],
    live: Option<u64>,
    owned: Range<u16>,
    mut take: impl FnMut(LoadedBlock<'_>) -> Result<()>,
) -> Result<()> {
    let store = &store.read_here();
    let indexes = stream::iter(visible_newest_first(segments, &owned))
        .map(|(segment, parts)| async move {
            let index = index(store, segment).await?;
            Ok::<_, Error>(Source { segment, parts, index })
        })
        .buffered(REQUESTS_AHEAD);
    let sources: Vec<Source<'_>> = indexes.try_collect().await?;
    let chains = Chains::of(&sources, &owned);
    // A file is read by this thread, and not before it is needed: the kernel is told what comes.
    let is_here = store.is_directory();
    let (batch_bytes, bytes_ahead) =
        if is_here { (FILE_BATCH_BYTES, 0) } else { (BATCH_BYTES, BYTES_AHEAD) };
    let reads = plan(&sources, &chains.batches(batch_bytes))?;
    let (mut next, mut bytes) = (0, 0);
    let (mut announced, mut bytes_announced) = (0, 0);
    let mut under_way = FuturesOrdered::new();
    for (at, read) in reads.iter().enumerate() {
        while let Some(coming) = reads.get(next)
            && (next == at
                || (bytes + coming.bytes() <= bytes_ahead && under_way.len() < REQUESTS_AHEAD))
        {
            bytes += coming.bytes();
            under_way.push_back(store.get_range(coming.object, coming.range.clone()));
            next += 1;
        }
        while let Some(coming) = reads.get(announced)
            && is_here
            && bytes_announced < BYTES_AHEAD
        {
            bytes_announced += coming.bytes();
            store.announce(coming.object, &coming.range);
            announced += 1;
        }
        let fetched = under_way.next().await.expect("one fetch for each read")?;
        (bytes, bytes_announced) =
            (bytes - read.bytes(), bytes_announced.saturating_sub(read.bytes()));
        let object = &sources[read.source].segment.object;
        for block in read.run.decode(object, &fetched) {
            let (group, block) = block?;
            let chain = chains.chain(group);
            take(LoadedBlock {
                object,
                group,
                block: &block,
                group_entries: chain.likely(live, sources[read.source].index.header().key_groups),
                is_newest: chain.newest == read.source,
                is_oldest: chain.oldest == read.source,
            })?;
        }
    }
    Ok(())
}

/// A segment to read from.
struct Source<'a> {
    segment: &'a SegmentMetadata,
    /// Groups that are wanted, and that no newer base covers.
    parts: Vec<RangeInclusive<u16>>,
    index: SegmentIndex,
}

/// What the sources, newest first, have of one group.
#[derive(Clone, Copy, Default)]
struct Chain {
    bytes: u64,
    /// Altogether, and in the segment that has most of them.
    entries: u64,
    entries_max: u64,
    newest: usize,
    oldest: usize,
}

impl Chain {
    /// Hashes spread keys evenly over groups; where they do not, a table is large or has to grow.
    fn likely(&self, live: Option<u64>, key_groups: u16) -> usize {
        let share = live.unwrap_or_default().div_ceil(u64::from(key_groups.max(1)));
        share.clamp(self.entries_max, self.entries) as usize
    }
}

/// Those of all owned groups.
struct Chains {
    first: u16,
    of_groups: Vec<Chain>,
}

impl Chains {
    fn of(sources: &[Source<'_>], owned: &Range<u16>) -> Chains {
        let mut of_groups = vec![Chain::default(); owned.len()];
        for (at, source) in sources.iter().enumerate() {
            let runs = source.parts.iter().cloned();
            let blocks = runs.flat_map(|part| source.index.blocks_of(part, u64::MAX));
            let mut last = (None, 0);
            for block in blocks.flat_map(|run| run.blocks()) {
                let chain = &mut of_groups[usize::from(block.group - owned.start)];
                if chain.entries == 0 {
                    chain.newest = at;
                }
                chain.oldest = at;
                let before = if last.0 == Some(block.group) { last.1 } else { 0 };
                last = (Some(block.group), before + u64::from(block.entries));
                chain.entries += u64::from(block.entries);
                chain.entries_max = chain.entries_max.max(last.1);
                chain.bytes += u64::from(block.len);
            }
        }
        Chains { first: owned.start, of_groups }
    }

    fn chain(&self, group: u16) -> &Chain {
        &self.of_groups[usize::from(group - self.first)]
    }

    /// As many groups as have at most `bytes_max` together, but at least one; and so on.
    fn batches(&self, bytes_max: u64) -> Vec<RangeInclusive<u16>> {
        let mut batches: Vec<RangeInclusive<u16>> = Vec::new();
        let mut bytes = 0;
        for (group, chain) in (self.first..).zip(&self.of_groups) {
            bytes += chain.bytes;
            match batches.last_mut() {
                Some(batch) if bytes <= bytes_max => *batch = *batch.start()..=group,
                _ => {
                    batches.push(group..=group);
                    bytes = chain.bytes;
                }
            }
        }
        batches
    }
}

/// A range of an object, and what is in it.
struct Read<'a> {
    source: usize,
    object: &'a str,
    range: Range<u64>,
    run: BlockRun<'a>,
}

impl Read<'_> {
    fn bytes(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// All that is to be read, in the order in which it is to be taken.
fn plan<'a>(sources: &'a [Source<'_>], batches: &[RangeInclusive<u16>]) -> Result<Vec<Read<'a>>> {
    let mut reads = Vec::new();
    for batch in batches {
        for (at, Source { segment, parts, index }) in sources.iter().enumerate() {
            for part in parts {
                let groups = *part.start().max(batch.start())..=*part.end().min(batch.end());
                if groups.is_empty() {
                    continue;
                }
                for run in index.blocks_of(groups, RANGE_BYTES_MAX) {
                    let (object, range) = (&segment.object, within(segment, run.bytes())?);
                    reads.push(Read { source: at, object, range, run });
                }
            }
        }
    }
    Ok(reads)
}

/// The parts of `segments`, newest first, within `owned` that no newer base covers.
fn visible_newest_first<'a>(
    segments: &'a [SegmentMetadata],
    owned: &Range<u16>,
) -> Vec<(&'a SegmentMetadata, Vec<RangeInclusive<u16>>)> {
    let mut is_hidden = vec![false; owned.len()];
    let mut all = Vec::new();
    for segment in segments.iter().rev() {
        let first = segment.first_group.max(owned.start);
        let end = segment.last_group.saturating_add(1).min(owned.end);
        let mut parts: Vec<RangeInclusive<u16>> = Vec::new();
        for group in first..end {
            let is_hidden = &mut is_hidden[usize::from(group - owned.start)];
            if *is_hidden {
                continue;
            }
            *is_hidden = segment.kind == SegmentKind::Base;
            match parts.last_mut() {
                Some(last) if *last.end() + 1 == group => *last = *last.start()..=group,
                _ => parts.push(group..=group),
            }
        }
        if !parts.is_empty() {
            all.push((segment, parts));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::metadata::Generation;
    use crate::recovery::visible;
    use crate::segment::{EntryBlock, SegmentHeader, SegmentWriter};
    use crate::store::Location;
    use crate::time::Epoch;

    const GROUPS: u16 = 8;

    /// A segment that says its epoch of so many keys in each group.
    async fn put(
        store: &BlobStore,
        (kind, epoch): (SegmentKind, u64),
        groups: RangeInclusive<u16>,
        keys: u32,
    ) -> SegmentMetadata {
        let mut writer = SegmentWriter::new(SegmentHeader {
            job: "job".into(),
            uid: "count".into(),
            kind,
            generation: Generation(1),
            worker: 0,
            epoch: Epoch(epoch),
            key_groups: GROUPS,
            first_group: *groups.start(),
            last_group: *groups.end(),
        });
        for group in groups {
            let mut block = EntryBlock::new();
            for key in 0..keys {
                block.push_bytes(&key.to_le_bytes(), Some(&epoch.to_le_bytes())).unwrap();
            }
            writer.block(group, &block);
        }
        let (bytes, summary) = writer.finish();
        let object = format!("segments/count/{epoch}");
        store.put(&object, bytes).await.unwrap();
        summary.metadata(object)
    }

    /// A base that hides some of another, and deltas above both.
    async fn segments(store: &BlobStore) -> Vec<SegmentMetadata> {
        let (base, delta) = (SegmentKind::Base, SegmentKind::Delta);
        vec![
            put(store, (base, 1), 0..=7, 1000).await,
            put(store, (delta, 2), 0..=3, 10).await,
            put(store, (base, 3), 2..=5, 500).await,
            put(store, (delta, 4), 3..=7, 20).await,
        ]
    }

    fn wait<F: Future>(task: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(task)
    }

    /// Group, object, is newest, is oldest, likely entries.
    type Seen = Vec<(u16, String, bool, bool, usize)>;

    fn load_all(store: &BlobStore, owned: Range<u16>, live: Option<u64>) -> Result<Seen> {
        wait(async {
            let segments = segments(store).await;
            let mut seen = Vec::new();
            let take = |loaded: LoadedBlock<'_>| {
                let LoadedBlock { object, group, is_newest, is_oldest, .. } = loaded;
                let object = object.rsplit('/').next().unwrap_or_default().to_owned();
                seen.push((group, object, is_newest, is_oldest, loaded.group_entries));
                Ok(())
            };
            load(store, &segments, live, owned, take).await.map(|()| seen)
        })
    }

    fn meant(owned: Range<u16>) -> Seen {
        let chains: [&[&str]; 8] = [
            &["2", "1"],
            &["2", "1"],
            &["3"],
            &["4", "3"],
            &["4", "3"],
            &["4", "3"],
            &["4", "1"],
            &["4", "1"],
        ];
        let mut all = Vec::new();
        for group in owned {
            let chain = chains[usize::from(group)];
            let entries = if chain.contains(&"1") { 1000 } else { 500 };
            for (at, object) in chain.iter().enumerate() {
                let (is_newest, is_oldest) = (at == 0, at + 1 == chain.len());
                all.push((group, (*object).to_owned(), is_newest, is_oldest, entries));
            }
        }
        all
    }

    #[test]
    fn each_group_comes_newest_first_and_without_what_a_base_hides() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Location::parse(&directory.path().to_string_lossy()).unwrap();
        for location in [Location::memory(), folder] {
            let store = BlobStore::new(location, "job");
            for owned in [0..8, 1..6, 7..8] {
                let mut seen = load_all(&store, owned.clone(), None).unwrap();
                seen.sort_by_key(|loaded| loaded.0);
                assert_eq!(seen, meant(owned));
            }
        }
    }

    /// Of a file that is not what it should be, as of any object.
    #[test]
    fn an_object_that_is_cut_off_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let location = Location::parse(&directory.path().to_string_lossy()).unwrap();
        let store = BlobStore::new(location, "job");
        let segments = wait(segments(&store));
        let file = directory.path().join("job").join(&segments[2].object);
        let whole = std::fs::read(&file).unwrap();
        let load = || wait(load(&store, &segments, None, 0..8, |_| Ok(())));
        assert!(load().is_ok());
        std::fs::write(&file, &whole[..whole.len() - 1]).unwrap();
        let error = load().expect_err("it is shorter").to_string();
        assert!(error.contains(&segments[2].object), "{error}");
        let mut damaged = whole.clone();
        damaged[whole.len() / 2] ^= 1;
        std::fs::write(&file, &damaged).unwrap();
        let error = load().expect_err("it is damaged").to_string();
        assert!(error.contains(&segments[2].object), "{error}");
        std::fs::remove_file(&file).unwrap();
        let error = load().expect_err("it is gone").to_string();
        assert!(error.contains(&segments[2].object), "{error}");
    }

    /// Room is made for the live entries, as far as segments bear it out.
    #[test]
    fn a_group_is_expected_to_have_its_share() {
        let chain = Chain { entries: 300, entries_max: 100, ..Chain::default() };
        for (live, likely) in [(None, 100), (Some(8), 100), (Some(1600), 200), (Some(1 << 40), 300)]
        {
            assert_eq!(chain.likely(live, 8), likely, "{live:?}");
        }
    }

    #[test]
    fn groups_are_batched_by_their_bytes_and_none_is_left_out() {
        let bytes = [5, 1, 0, 4, 20, 3, 3, 4];
        let chain = |bytes: &u64| Chain { bytes: *bytes, ..Chain::default() };
        let chains = Chains { first: 10, of_groups: bytes.iter().map(chain).collect() };
        assert_eq!(chains.batches(10), [10..=13, 14..=14, 15..=17]);
        assert_eq!(chains.batches(0).len(), 8);
        assert_eq!(chains.batches(u64::MAX), [10..=17]);
        assert!(Chains { first: 0, of_groups: Vec::new() }.batches(1).is_empty());
    }

    /// As many reads as a batch needs: one a segment, of the groups that count.
    #[test]
    fn what_is_planned_is_read_once_and_in_few_ranges() {
        let store = BlobStore::new(Location::memory(), "job");
        let segments = wait(segments(&store));
        let sources: Vec<_> = visible_newest_first(&segments, &(0..8))
            .into_iter()
            .map(|(segment, parts)| {
                let index = wait(index(&store, segment)).unwrap();
                Source { segment, parts, index }
            })
            .collect();
        let chains = Chains::of(&sources, &(0..8));
        for (batches, reads) in [(chains.batches(u64::MAX), 5), (chains.batches(1), 15)] {
            let plan = plan(&sources, &batches).unwrap();
            assert_eq!(plan.len(), reads);
            let blocks: Vec<_> = plan
                .iter()
                .flat_map(|read| read.run.blocks().iter().map(|block| (read.object, block.group)))
                .collect();
            let once: BTreeSet<_> = blocks.iter().collect();
            assert_eq!((blocks.len(), once.len()), (15, 15));
        }
    }

    #[test]
    fn what_is_visible_is_what_each_segment_says_of_itself() {
        let store = BlobStore::new(Location::memory(), "job");
        let segments = wait(segments(&store));
        for owned in [0..8, 3..4, 1..7] {
            let all = visible_newest_first(&segments, &owned);
            let each = segments.iter().enumerate().rev();
            let each = each.map(|(at, one)| (one, visible(one, &segments[at + 1..], &owned)));
            let each: Vec<_> = each.filter(|(_, parts)| !parts.is_empty()).collect();
            assert_eq!(all, each);
        }
    }
}
