//! What differs between two checkpoints, of one job or of two.
//!
//! Operators are matched by uid. Two that name the same segments, or have the same digest, are
//! equal without reading an entry; else both are read, key group by key group, side by side.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::catalog::Stored;
use super::entries::{LiveEntries, LiveState};
use crate::error::{Error, Result};
use crate::metadata::{OperatorStateMetadata, StateSchema};
use crate::segment::EntryBlock;
use crate::state::StateDigest;

/// How one operator compares.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperatorDiff {
    /// The operator.
    pub uid: String,
    /// How it compares.
    #[serde(flatten)]
    pub compared: Compared,
}

/// How the two states of one operator compare.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Compared {
    /// Nothing differs.
    Equal,
    /// Only the first checkpoint has it.
    OnlyInFirst,
    /// Only the second checkpoint has it.
    OnlyInSecond,
    /// Something differs.
    Different(Box<Changes>),
}

/// What differs between two states of one operator.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Changes {
    /// The two schemas, if they are not the same.
    pub schema: Option<(StateSchema, StateSchema)>,
    /// Live entries and digest of both, if they are not the same.
    pub state: Option<(LiveState, LiveState)>,
    /// Keys that only the second has.
    pub added: u64,
    /// Keys that only the first has.
    pub removed: u64,
    /// Keys whose values differ.
    pub changed: u64,
    /// Splits of a source that are not at the same place.
    pub splits: Vec<SplitMove>,
    /// What a sink is to commit, how many in both, if that is not the same.
    pub committables: Option<(usize, usize)>,
    /// What is kept without keys, how many items in both, if they are not the same.
    pub items: Option<(usize, usize)>,
}

/// How a split of a source has moved.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SplitMove {
    /// The split.
    pub id: String,
    /// Its offset in the first checkpoint, and whether it was read to its end; none if it is not
    /// there.
    pub from: Option<(Option<Value>, bool)>,
    /// As `from`, in the second.
    pub to: Option<(Option<Value>, bool)>,
}

/// A key that is not the same in both: its bytes, and those of its values where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyChange<'a> {
    /// The operator.
    pub uid: &'a str,
    /// The key.
    pub key: &'a [u8],
    /// Its value in the first checkpoint.
    pub first: Option<&'a [u8]>,
    /// Its value in the second checkpoint.
    pub second: Option<&'a [u8]>,
}

/// Compares two checkpoints, by uid; `each_key` is told every key that differs.
///
/// # Errors
///
/// `Invalid` if the numbers of key groups differ, for keys are in other groups then; whatever
/// [`LiveEntries`] says; the error of `each_key`.
pub async fn diff(
    first: &Stored,
    second: &Stored,
    mut each_key: impl FnMut(KeyChange<'_>) -> Result<()>,
) -> Result<Vec<OperatorDiff>> {
    let (a, b) = (&first.metadata, &second.metadata);
    if a.key_groups != b.key_groups {
        return Err(Error::invalid(format!(
            "{first} has {} key groups, {second} has {}: their entries are cut in different ways \
             and cannot be compared",
            a.key_groups, b.key_groups
        )));
    }
    let all = a.operators.iter().chain(&b.operators);
    let uids: BTreeSet<&str> = all.map(|operator| operator.uid.as_str()).collect();
    let mut diffs = Vec::with_capacity(uids.len());
    for uid in uids {
        let compared = match (first.operator(uid), second.operator(uid)) {
            (Ok(a), Ok(b)) => compare((first, a), (second, b), &mut each_key).await?,
            (Ok(_), Err(_)) => Compared::OnlyInFirst,
            _ => Compared::OnlyInSecond,
        };
        diffs.push(OperatorDiff { uid: uid.to_owned(), compared });
    }
    Ok(diffs)
}

async fn compare(
    (first, a): (&Stored, &OperatorStateMetadata),
    (second, b): (&Stored, &OperatorStateMetadata),
    each_key: &mut impl FnMut(KeyChange<'_>) -> Result<()>,
) -> Result<Compared> {
    let is_one_store = first.store.to_string() == second.store.to_string();
    let mut changes = Changes::default();
    let is_same = is_one_store && a.segments == b.segments;
    let is_equal = a.digest.is_some() && a.digest == b.digest;
    if !is_same && !is_equal {
        let groups = 0..first.metadata.key_groups;
        let ours = LiveEntries::open(&first.store, a, groups.clone()).await?;
        let theirs = LiveEntries::open(&second.store, b, groups).await?;
        compare_entries(&a.uid, ours, theirs, &mut changes, each_key).await?;
    }
    if a.schema != b.schema {
        changes.schema = Some((a.schema.clone(), b.schema.clone()));
    }
    changes.splits = moved(a, b);
    if a.committables != b.committables {
        changes.committables = Some((a.committables.len(), b.committables.len()));
    }
    if a.items != b.items {
        changes.items = Some((a.items.len(), b.items.len()));
    }
    if changes == Changes::default() {
        Ok(Compared::Equal)
    } else {
        Ok(Compared::Different(Box::new(changes)))
    }
}

/// The splits that are not at the same place, or in one of the two alone.
fn moved(a: &OperatorStateMetadata, b: &OperatorStateMetadata) -> Vec<SplitMove> {
    let places = |operator: &OperatorStateMetadata| -> BTreeMap<String, (Option<Value>, bool)> {
        let splits = operator.splits.iter();
        splits.map(|split| (split.id.clone(), (split.offset.clone(), split.finished))).collect()
    };
    let (mut from, mut to) = (places(a), places(b));
    let ids: BTreeSet<String> = from.keys().chain(to.keys()).cloned().collect();
    let moves = ids.into_iter().map(|id| {
        let (from, to) = (from.remove(&id), to.remove(&id));
        SplitMove { id, from, to }
    });
    moves.filter(|split| split.from != split.to).collect()
}

/// Merges both, which are in the order of groups and of keys within a group.
async fn compare_entries(
    uid: &str,
    mut ours: LiveEntries<'_>,
    mut theirs: LiveEntries<'_>,
    changes: &mut Changes,
    each_key: &mut impl FnMut(KeyChange<'_>) -> Result<()>,
) -> Result<()> {
    let mut states = (LiveState::default(), LiveState::default());
    while let (Some((_, a)), Some((_, b))) = (ours.next_group().await?, theirs.next_group().await?)
    {
        let (mut a, mut b) = (entries(&a).peekable(), entries(&b).peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((a, _)), Some((b, _))) => a.cmp(b),
            };
            let first = if order == Ordering::Greater { None } else { a.next() };
            let second = if order == Ordering::Less { None } else { b.next() };
            if let Some(entry) = first {
                count(&mut states.0, entry);
            }
            if let Some(entry) = second {
                count(&mut states.1, entry);
            }
            match order {
                Ordering::Less => changes.removed += 1,
                Ordering::Greater => changes.added += 1,
                Ordering::Equal if first == second => continue,
                Ordering::Equal => changes.changed += 1,
            }
            let key = first.or(second).map(|(key, _)| key).unwrap_or_default();
            let (first, second) = (first.map(|(_, value)| value), second.map(|(_, value)| value));
            each_key(KeyChange { uid, key, first, second })?;
        }
    }
    changes.state = (states.0 != states.1).then_some(states);
    Ok(())
}

fn entries(blocks: &[EntryBlock]) -> impl Iterator<Item = (&[u8], &[u8])> {
    blocks.iter().flatten().filter_map(|(key, value)| Some((key, value?)))
}

fn count(state: &mut LiveState, (key, value): (&[u8], &[u8])) {
    state.entries += 1;
    state.digest += StateDigest::of_entry(key, value);
}
