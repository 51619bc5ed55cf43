//! How long entries are kept: for ever, or for a time after their last use.

use std::fmt::Debug;
use std::time::Duration;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::error::BoxError;

/// What can be kept in a checkpoint.
pub trait Persist: Serialize + DeserializeOwned + 'static {}
impl<T: Serialize + DeserializeOwned + 'static> Persist for T {}

/// What is kept of a value: the value, and whatever its retention needs to know.
pub trait Stored<V>: Persist {
    /// The value.
    fn value(&self) -> &V;
    /// The value.
    fn value_mut(&mut self) -> &mut V;
    /// The value.
    fn into_value(self) -> V;
}

/// How long a state keeps its entries: [`Forever`], or [`Ttl`].
pub trait Retention: Copy + Debug + 'static {
    /// What is kept of a value, in memory and in checkpoints.
    type Stored<V: Persist>: Stored<V>;

    /// A value that is written at `now_ms`.
    fn store<V: Persist>(self, value: V, now_ms: u64) -> Self::Stored<V>;

    /// What is kept of the value that `map` makes of the one in `stored`.
    ///
    /// # Errors
    ///
    /// As `map`.
    fn try_map<V: Persist, W: Persist>(
        stored: Self::Stored<V>,
        map: impl FnOnce(V) -> Result<W, BoxError>,
    ) -> Result<Self::Stored<W>, BoxError>;

    /// Notes that the value was written at `now_ms`.
    fn written<V: Persist>(self, stored: &mut Self::Stored<V>, now_ms: u64);

    /// Whether the value must not be seen any more.
    fn is_expired<V: Persist>(self, stored: &Self::Stored<V>, now_ms: u64) -> bool;

    /// Whether a read at `now_ms` is to be noted, by [`written`](Retention::written).
    fn notes_read<V: Persist>(self, stored: &Self::Stored<V>, now_ms: u64) -> bool;

    /// The time to live; none if entries stay for ever.
    fn ttl(self) -> Option<Ttl>;
}

/// Entries stay until they are removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forever;

/// The value alone: `V`'s own encoding, and nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Plain<V>(pub(crate) V);

impl<V: Persist> Stored<V> for Plain<V> {
    #[inline]
    fn value(&self) -> &V {
        &self.0
    }
    #[inline]
    fn value_mut(&mut self) -> &mut V {
        &mut self.0
    }
    #[inline]
    fn into_value(self) -> V {
        self.0
    }
}

impl Retention for Forever {
    type Stored<V: Persist> = Plain<V>;

    #[inline]
    fn store<V: Persist>(self, value: V, _: u64) -> Plain<V> {
        Plain(value)
    }
    fn try_map<V: Persist, W: Persist>(
        stored: Plain<V>,
        map: impl FnOnce(V) -> Result<W, BoxError>,
    ) -> Result<Plain<W>, BoxError> {
        map(stored.0).map(Plain)
    }
    #[inline]
    fn written<V: Persist>(self, _: &mut Plain<V>, _: u64) {}
    #[inline]
    fn is_expired<V: Persist>(self, _: &Plain<V>, _: u64) -> bool {
        false
    }
    #[inline]
    fn notes_read<V: Persist>(self, _: &Plain<V>, _: u64) -> bool {
        false
    }
    fn ttl(self) -> Option<Ttl> {
        None
    }
}

/// What gives an entry a new life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlRefresh {
    /// Writing it.
    OnWrite,
    /// Writing it or reading it.
    OnReadAndWrite,
}

/// A time to live: an entry that was not used for so long is never returned again, and is removed
/// in the background.
///
/// Time is the machine's: what expires may differ when records are read again after a crash. An
/// entry keeps when it was used and not when it expires, so another duration, or another kind of
/// use, takes effect on old entries as well when a job is started again. A state without a time to
/// live cannot be given one, nor one be taken from it: its entries are of another type then, which
/// is refused.
///
/// A read counts as a use only when a sixteenth of the time has passed since the last use:
/// otherwise every read would be a change, and be written to the next checkpoint. So an entry that
/// is only read may expire that much early, never late.
///
/// ```
/// use std::time::Duration;
/// use highwater_checkpoint::state::typed::Ttl;
///
/// let hour = Ttl::on_write(Duration::from_secs(3600));
/// assert_eq!(hour.duration(), Duration::from_secs(3600));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    millis: u64,
    refresh: TtlRefresh,
}

/// Reads are noted when this share of the time to live has passed since the last use.
const READ_NOTED_AFTER: u64 = 16;

impl Ttl {
    /// Entries live for `duration` after they were last written.
    ///
    /// *Unit*: wall time, 1 ms resolution. *Range*: from 1 ms, to which shorter ones are rounded up.
    pub fn on_write(duration: Duration) -> Ttl {
        Ttl::new(duration, TtlRefresh::OnWrite)
    }

    /// Entries live for `duration` after they were last written or read, as [`Ttl`] says.
    pub fn on_read_and_write(duration: Duration) -> Ttl {
        Ttl::new(duration, TtlRefresh::OnReadAndWrite)
    }

    fn new(duration: Duration, refresh: TtlRefresh) -> Ttl {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).max(1);
        Ttl { millis, refresh }
    }

    /// How long entries live.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.millis)
    }

    /// What gives them a new life.
    pub fn refresh(self) -> TtlRefresh {
        self.refresh
    }

    /// A clock that was set back makes entries younger, never older.
    fn age_ms(used_ms: u64, now_ms: u64) -> u64 {
        now_ms.saturating_sub(used_ms)
    }
}

/// A value, and when it was last used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed<V> {
    /// Milliseconds since the Unix epoch.
    pub used_ms: u64,
    /// The value.
    pub value: V,
}

impl<V: Persist> Stored<V> for Timed<V> {
    #[inline]
    fn value(&self) -> &V {
        &self.value
    }
    #[inline]
    fn value_mut(&mut self) -> &mut V {
        &mut self.value
    }
    #[inline]
    fn into_value(self) -> V {
        self.value
    }
}

impl Retention for Ttl {
    type Stored<V: Persist> = Timed<V>;

    #[inline]
    fn store<V: Persist>(self, value: V, now_ms: u64) -> Timed<V> {
        Timed { used_ms: now_ms, value }
    }

    fn try_map<V: Persist, W: Persist>(
        stored: Timed<V>,
        map: impl FnOnce(V) -> Result<W, BoxError>,
    ) -> Result<Timed<W>, BoxError> {
        Ok(Timed { used_ms: stored.used_ms, value: map(stored.value)? })
    }

    #[inline]
    fn written<V: Persist>(self, stored: &mut Timed<V>, now_ms: u64) {
        stored.used_ms = now_ms;
    }

    #[inline]
    fn is_expired<V: Persist>(self, stored: &Timed<V>, now_ms: u64) -> bool {
        Ttl::age_ms(stored.used_ms, now_ms) >= self.millis
    }

    #[inline]
    fn notes_read<V: Persist>(self, stored: &Timed<V>, now_ms: u64) -> bool {
        let age = Ttl::age_ms(stored.used_ms, now_ms);
        self.refresh == TtlRefresh::OnReadAndWrite && age > self.millis / READ_NOTED_AFTER
    }

    fn ttl(self) -> Option<Ttl> {
        Some(self)
    }
}
