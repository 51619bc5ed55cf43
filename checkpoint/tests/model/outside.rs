//! What outlives every run: the objects in the store, and what the sink's target holds and shows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) type Id = u8;
pub(crate) type Generation = u8;
pub(crate) type Epoch = u8;

/// What one epoch of one run has done: the records `from..to` of the source. As a segment it is the
/// keyed operator's delta, as a committable the sink's output. Generation and epoch are its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Piece {
    pub(crate) generation: Generation,
    pub(crate) epoch: Epoch,
    pub(crate) from: u8,
    pub(crate) to: u8,
}

impl Piece {
    pub(crate) fn has(self, record: u8) -> bool {
        (self.from..self.to).contains(&record)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Origin {
    /// A copy of the checkpoint that a run has restored, its first one.
    Restore,
    Interval,
    Stop,
    EndOfInput,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Checkpoint {
    pub(crate) generation: Generation,
    pub(crate) epoch: Epoch,
    pub(crate) origin: Origin,
    pub(crate) input_ended: bool,
    /// The source's offset: the next record to read.
    pub(crate) read: u8,
    /// The keyed operator's state.
    pub(crate) segments: Vec<Piece>,
    /// What the sink has prepared and is not known to be committed.
    pub(crate) committables: Vec<Piece>,
}

impl Checkpoint {
    /// The state of a job that has seen nothing.
    pub(crate) fn empty() -> Checkpoint {
        Checkpoint {
            generation: 0,
            epoch: 0,
            origin: Origin::Restore,
            input_ended: false,
            read: 0,
            segments: Vec::new(),
            committables: Vec::new(),
        }
    }
}

/// Objects by name. Requests take effect at once and one after the other, but for those that are
/// `late`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    /// The newest fencing token: a run claims the next.
    pub(crate) newest: Generation,
    pub(crate) checkpoints: BTreeMap<Id, Arc<Checkpoint>>,
    pub(crate) segments: BTreeSet<Piece>,
    /// Puts-if-absent of metadata that got no answer and may take effect at any time from now on.
    pub(crate) late: BTreeSet<(Id, Arc<Checkpoint>)>,
}

impl Store {
    /// Whoever's object is there afterwards.
    pub(crate) fn put_if_absent(
        &mut self,
        id: Id,
        checkpoint: &Arc<Checkpoint>,
    ) -> &Arc<Checkpoint> {
        self.checkpoints.entry(id).or_insert_with(|| Arc::clone(checkpoint))
    }

    /// The head: what a run that begins restores.
    pub(crate) fn head(&self) -> Option<(Id, &Arc<Checkpoint>)> {
        self.checkpoints.last_key_value().map(|(id, checkpoint)| (*id, checkpoint))
    }
}

/// Where the sink writes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    /// Prepared, not visible.
    pub(crate) staged: BTreeSet<Piece>,
    /// Visible, with how many times it was made so.
    pub(crate) committed: BTreeMap<Piece, u8>,
}

impl Target {
    /// Idempotent, unless it is to be `again`. False if there is nothing to commit: it was aborted,
    /// or never prepared.
    pub(crate) fn commit(&mut self, piece: Piece, again: bool) -> bool {
        if let Some(times) = self.committed.get_mut(&piece) {
            *times += u8::from(again && *times < 2);
            return true;
        }
        let is_staged = self.staged.remove(&piece);
        if is_staged {
            self.committed.insert(piece, 1);
        }
        is_staged
    }

    /// How many times a reader sees this record.
    pub(crate) fn seen(&self, record: u8) -> u32 {
        let showing = self.committed.iter().filter(|(piece, _)| piece.has(record));
        showing.map(|(_, times)| u32::from(*times)).sum()
    }
}
