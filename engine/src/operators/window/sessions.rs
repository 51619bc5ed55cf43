//! The sessions of one key: spans of activity that grow, and merge when a record comes between them.

use highwater_checkpoint::BoxError;
use serde::{Deserialize, Serialize, Serializer};

/// A session that has not been forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session<A> {
    pub(super) start: i64,
    /// The gap after its last record: one at that time is of another session.
    pub(super) end: i64,
    pub(super) value: A,
    /// Records since it was said last.
    pub(super) unsaid: u32,
    /// It was said since its end came; not if it has grown beyond that.
    pub(super) has_fired: bool,
}

/// The sessions of a key, in order, none of which overlaps another.
#[derive(Debug, Deserialize)]
#[serde(from = "Vec<Session<A>>")]
pub(crate) struct Sessions<A> {
    pub(super) open: Vec<Session<A>>,
    /// When the key is looked at: it is queued once at this time, which is not after the next time at
    /// which something is to be done.
    pub(super) queued: i64,
}

impl<A> From<Vec<Session<A>>> for Sessions<A> {
    fn from(open: Vec<Session<A>>) -> Self {
        let queued = open.iter().map(|session| session.end).min().unwrap_or(i64::MAX);
        Sessions { open, queued }
    }
}

impl<A: Serialize> Serialize for Sessions<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.open.serialize(serializer)
    }
}

impl<A> Sessions<A> {
    pub(super) fn try_map<B>(
        self,
        map: impl Fn(A) -> Result<B, BoxError>,
    ) -> Result<Sessions<B>, BoxError> {
        let mapped = self.open.into_iter().map(|session| {
            let Session { start, end, value, unsaid, has_fired } = session;
            Ok(Session { start, end, value: map(value)?, unsaid, has_fired })
        });
        Ok(Sessions::from(mapped.collect::<Result<Vec<_>, BoxError>>()?))
    }

    /// Which sessions overlap one of `start` to `end`.
    fn overlapping(&self, start: i64, end: i64) -> std::ops::Range<usize> {
        let first = self.open.partition_point(|session| session.end <= start);
        first..self.open.partition_point(|session| session.start < end).max(first)
    }

    /// The end of the session that a record would be in, whose own are `start` and `end`.
    pub(super) fn end_with(&self, start: i64, end: i64) -> i64 {
        let last = self.open[self.overlapping(start, end)].last();
        last.map_or(end, |session| session.end.max(end))
    }

    /// The session that a record is in, whose own are `start` and `end`: one that is there and now
    /// reaches as far, with those that it touches merged into it, or one that begins as `new`, whose end
    /// may have come already.
    pub(super) fn of(
        &mut self,
        start: i64,
        end: i64,
        (new, has_fired): (impl FnOnce() -> A, bool),
        merge: impl Fn(&mut A, A),
    ) -> &mut Session<A> {
        // Nearly all records are of the last session.
        let of_last = |last: &Session<A>| (last.start..last.end).contains(&start);
        if self.open.last().is_some_and(of_last) {
            let last = self.open.len() - 1;
            let session = &mut self.open[last];
            session.end = session.end.max(end);
            return session;
        }
        let which = self.overlapping(start, end);
        let at = which.start;
        if which.is_empty() {
            let session = Session { start, end, value: new(), unsaid: 0, has_fired };
            self.open.insert(at, session);
            return &mut self.open[at];
        }
        let mut others = self.open.drain(at + 1..which.end).collect::<Vec<_>>().into_iter();
        let session = &mut self.open[at];
        for other in others.by_ref() {
            merge(&mut session.value, other.value);
            session.end = session.end.max(other.end);
            session.unsaid = session.unsaid.saturating_add(other.unsaid);
            session.has_fired &= other.has_fired;
        }
        session.start = session.start.min(start);
        session.end = session.end.max(end);
        session
    }

    /// When the next thing is to be done, if sessions are kept for `lateness` after their ends.
    pub(super) fn next(&self, lateness: i64) -> Option<i64> {
        let next = |session: &Session<A>| {
            session.end.saturating_add(if session.has_fired { lateness } else { 0 })
        };
        self.open.iter().map(next).min()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_nearer_than_the_gap_share_a_session(
            times in prop::collection::vec(-300i64..300, 1..60),
            gap in 1i64..40,
        ) {
            let mut sessions: Sessions<Vec<i64>> = Sessions::from(Vec::new());
            for at in &times {
                let end = sessions.end_with(*at, at + gap);
                let session = sessions.of(*at, at + gap, (Vec::new, false), |to: &mut Vec<_>, other| {
                    to.extend(other);
                });
                prop_assert_eq!(session.end, end);
                session.value.push(*at);
                session.unsaid += 1;
            }
            let mut sorted = times.clone();
            sorted.sort_unstable();
            let right = sorted.chunk_by(|one, next| next - one < gap);
            let right: Vec<(i64, i64, Vec<i64>)> = right
                .map(|of| (of[0], of[of.len() - 1] + gap, of.to_vec()))
                .collect();
            let found: Vec<_> = sessions.open.iter().map(|session| {
                let mut value = session.value.clone();
                value.sort_unstable();
                (session.start, session.end, value)
            }).collect();
            prop_assert_eq!(found, right);
            let unsaid: u32 = sessions.open.iter().map(|session| session.unsaid).sum();
            prop_assert_eq!(unsaid as usize, times.len());
        }
    }
}
