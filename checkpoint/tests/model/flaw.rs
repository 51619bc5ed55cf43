//! Ways in which the protocol could be wrong. The checker has to find each.

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// The fence is not looked at when metadata was written.
    NeverLooks,
    /// The fence is looked at before the metadata is written, and not after.
    LooksTooEarly,
    /// Metadata is put in place of what is there.
    PutsOver,
    /// Sinks commit when their output is durable, before the metadata is written.
    CommitsDurable,
    /// Snapshots are acknowledged when they are cut, while they are still uploaded and prepared.
    AcknowledgesSealed,
    /// A commit that is repeated shows the output once more.
    CommitsAgain,
    /// A checkpoint lists what its own epoch has prepared, though that of the one before may not be
    /// committed.
    ListsOneEpoch,
    /// When an earlier write of the run's own is found under the id, its newest is taken for it.
    TakesEarlierForNewest,
    /// A run that begins chooses a checkpoint, and claims its generation after that.
    ChoosesThenClaims,
    /// A run that begins does not look whose the newest checkpoint is.
    IgnoresHead,
    /// A run that begins does not append a copy of what it restores.
    AppendsNoCopy,
    /// A run that begins does not commit what the checkpoint lists.
    RestoresWithoutCommit,
    /// A run that begins discards what is not committed, and commits what the checkpoint lists then.
    AbortsThenCommits,
    /// A run that begins discards what newer runs have prepared, too.
    AbortsNewer,
    /// A run that begins sweeps what newer runs have uploaded, too.
    SweepsNewer,
    /// What a checkpoint makes superfluous is deleted before the fence is looked at.
    RetiresUnconfirmed,
    /// A run that cannot start gives back the id of its copy.
    GivesBackId,
}
