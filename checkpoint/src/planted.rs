//! Bugs on purpose, one at a time: a simulation that does not find them would not find others.
//!
//! Nothing is planted but between `plant` and the end of what it runs, and on the thread that
//! called it. Without the feature `planted-bugs`, which only tests of this workspace ask for, there
//! is nothing that could be planted.

/// What may be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A keyed operator acknowledges while its segment is on its way.
    AcknowledgesBeforeUpload,
    /// A metadata that was written is believed to be a checkpoint of the run that owns the job.
    DoesNotLookAtTheFence,
    /// What comes of the next epoch is applied to the running one.
    AppliesTheNextEpoch,
    /// What the restored checkpoint lists is not committed.
    ForgetsRestoredOutput,
    /// An entry that changes during a seal is left out of it.
    SkipsWhatIsTouched,
    /// A source says how far it has read when it has emitted in the next epoch already.
    RecordsOffsetsLate,
    /// A sink commits what it has prepared without waiting for the checkpoint.
    CommitsBeforeCompletion,
    /// A delta does not say what was removed.
    LosesTombstones,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 8] = [
        Bug::AcknowledgesBeforeUpload,
        Bug::DoesNotLookAtTheFence,
        Bug::AppliesTheNextEpoch,
        Bug::ForgetsRestoredOutput,
        Bug::SkipsWhatIsTouched,
        Bug::RecordsOffsetsLate,
        Bug::CommitsBeforeCompletion,
        Bug::LosesTombstones,
    ];
}

#[cfg(feature = "planted-bugs")]
mod ground {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants `bug`, if there is one, in what `run` does on this thread.
    pub fn plant<R>(bug: Option<Bug>, run: impl FnOnce() -> R) -> R {
        struct Remove(Option<Bug>);
        impl Drop for Remove {
            fn drop(&mut self) {
                PLANTED.set(self.0);
            }
        }
        let _remove = Remove(PLANTED.replace(bug));
        run()
    }

    /// Whether this one is planted here.
    pub fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(not(feature = "planted-bugs"))]
mod ground {
    use super::Bug;

    /// Never.
    #[inline]
    pub const fn is(_: Bug) -> bool {
        false
    }
}

#[cfg(feature = "planted-bugs")]
pub use ground::plant;

pub use ground::is;

#[cfg(all(feature = "planted-bugs", not(feature = "testing")))]
compile_error!("`planted-bugs` is for tests: ask for `testing` as well");
