//! What an operator of event time has to say of the whole input, by plain loops: every window there
//! could be is tried against every record.

use std::collections::{BTreeMap, BTreeSet};

use super::job::{Shape, time_of};
use super::timed::{NONE, Row, Timed};

/// A key, a time and a serial.
type Record = (u64, i64, u64);

pub(crate) struct Input {
    lefts: Vec<Record>,
    rights: Vec<Record>,
    /// Sorted.
    all: Vec<Record>,
    keys: BTreeSet<u64>,
    /// The serials of the first split are up to this.
    first: u64,
}

/// The serials of the records of a key from one time to just before another.
fn between(key: u64, records: &[Record], from: i64, to: i64) -> Vec<u64> {
    let is_in = |(of, at, _): &&Record| *of == key && from <= *at && *at < to;
    let mut serials: Vec<_> = records.iter().filter(is_in).map(|(.., serial)| *serial).collect();
    serials.sort_unstable();
    serials
}

impl Input {
    pub(crate) fn of(shape: &Shape) -> Input {
        let records = |splits: &[Vec<(u64, u64)>]| -> Vec<Record> {
            let records = splits.iter().flatten();
            records.map(|(key, serial)| (*key, time_of(*serial).0, *serial)).collect()
        };
        let (lefts, rights) = (records(&shape.left), records(&shape.right));
        let mut all = [lefts.clone(), rights.clone()].concat();
        all.sort_unstable();
        let keys = all.iter().map(|(key, ..)| *key).collect();
        Input { lefts, rights, all, keys, first: shape.left[0].len() as u64 }
    }

    pub(crate) fn rows(&self, timed: Timed) -> Vec<Row> {
        match timed {
            Timed::Tumbling(size) => self.windowed(&self.sliding(size, size)),
            Timed::Sliding(size, slide) => self.windowed(&self.sliding(size, slide)),
            Timed::Cumulating(max, step) => {
                let longest = self.sliding(max, max).into_iter();
                let steps = longest
                    .flat_map(|(from, _)| (1..=max / step).map(move |n| (from, from + n * step)));
                self.windowed(&steps.collect::<Vec<_>>())
            }
            Timed::Global => self.windowed(&[(i64::MIN, i64::MAX)]),
            Timed::All(size, slide) => {
                let mut rows: BTreeMap<(i64, i64), Vec<u64>> = BTreeMap::new();
                for (_, from, to, serials) in self.windowed(&self.sliding(size, slide)) {
                    rows.entry((from, to)).or_default().extend(serials);
                }
                let row = |((from, to), mut serials): ((i64, i64), Vec<u64>)| {
                    serials.sort_unstable();
                    (0, from, to, serials)
                };
                rows.into_iter().map(row).collect()
            }
            Timed::Session(gap) => self.sessions(gap),
            Timed::Count(size, slide) => self.counted(size as usize, slide as usize),
            Timed::IntervalJoin(lower, upper) => self.near(lower, upper),
            Timed::WindowJoin(size, slide) => self.met(|_| self.sliding(size, slide)),
            Timed::SessionJoin(gap) => {
                let sessions = self.sessions(gap);
                let of_key = |key| sessions.iter().filter(move |session| session.0 == key);
                self.met(|key| of_key(key).map(|(_, from, to, _)| (*from, *to)).collect())
            }
            Timed::AsOfJoin => self.as_of(),
            Timed::UnboundedJoin => {
                self.near(i64::MIN / 4, i64::MAX / 4).into_iter().filter(is_pair).collect()
            }
            Timed::Distinct => self.keys.iter().map(|key| (*key, 0, 0, Vec::new())).collect(),
            Timed::Sorted => {
                let row = |(key, _, serial): &Record| (*key, *serial as i64, 0, Vec::new());
                self.all.iter().map(row).collect()
            }
        }
    }

    /// All windows that a record may be in.
    fn sliding(&self, size: i64, slide: i64) -> Vec<(i64, i64)> {
        let first = self.all.iter().map(|record| record.1).min().unwrap_or(0);
        let last = self.all.iter().map(|record| record.1).max().unwrap_or(-1);
        let starts = (first - size).div_euclid(slide)..=last.div_euclid(slide);
        starts.map(|n| (n * slide, n * slide + size)).collect()
    }

    fn windowed(&self, windows: &[(i64, i64)]) -> Vec<Row> {
        let mut rows = Vec::new();
        for key in &self.keys {
            for (from, to) in windows {
                let serials = between(*key, &self.all, *from, *to);
                if !serials.is_empty() {
                    rows.push((*key, *from, *to, serials));
                }
            }
        }
        rows
    }

    fn sessions(&self, gap: i64) -> Vec<Row> {
        let mut sessions: Vec<Row> = Vec::new();
        for (key, at, serial) in &self.all {
            match sessions.last_mut() {
                Some((of, _, end, serials)) if of == key && at < end => {
                    *end = at + gap;
                    serials.push(*serial);
                    serials.sort_unstable();
                }
                _ => sessions.push((*key, *at, at + gap, vec![*serial])),
            }
        }
        sessions
    }

    /// The records of the first split come in the order of their serials.
    fn counted(&self, size: usize, slide: usize) -> Vec<Row> {
        let mut rows = Vec::new();
        for key in &self.keys {
            let is_in = |(of, _, serial): &&Record| of == key && *serial <= self.first;
            let mut records: Vec<_> = self.all.iter().filter(is_in).collect();
            records.sort_unstable_by_key(|(.., serial)| *serial);
            for end in (slide..=records.len()).step_by(slide) {
                let of = &records[end.saturating_sub(size)..end];
                let times: BTreeSet<i64> = of.iter().map(|(_, at, _)| *at).collect();
                let (from, until) = (*times.first().unwrap(), *times.last().unwrap() + 1);
                rows.push((*key, from, until, of.iter().map(|(.., serial)| *serial).collect()));
            }
        }
        rows
    }

    /// A full join of records near each other.
    fn near(&self, lower: i64, upper: i64) -> Vec<Row> {
        let mut rows = Vec::new();
        for (key, at, left) in &self.lefts {
            let partners = between(*key, &self.rights, at + lower, at + upper + 1);
            if partners.is_empty() {
                rows.push((*key, *left as i64, NONE, Vec::new()));
            }
            let pair = |right| (*key, *left as i64, right as i64, Vec::new());
            rows.extend(partners.into_iter().map(pair));
        }
        for (key, at, right) in &self.rights {
            if between(*key, &self.lefts, at - upper, at - lower + 1).is_empty() {
                rows.push((*key, NONE, *right as i64, Vec::new()));
            }
        }
        rows
    }

    /// A full join of records in the same windows.
    fn met(&self, windows: impl Fn(u64) -> Vec<(i64, i64)>) -> Vec<Row> {
        let mut rows = Vec::new();
        for key in &self.keys {
            for (from, to) in &windows(*key) {
                let [lefts, rights] =
                    [&self.lefts, &self.rights].map(|side| between(*key, side, *from, *to));
                let or_none = |serials: Vec<u64>| match serials.len() {
                    0 => vec![None],
                    _ => serials.into_iter().map(Some).collect(),
                };
                let (lefts, rights) = (or_none(lefts), or_none(rights));
                for (left, right) in lefts.iter().flat_map(|l| rights.iter().map(move |r| (*l, *r)))
                {
                    let both: Vec<u64> = [left, right].into_iter().flatten().collect();
                    if !both.is_empty() {
                        rows.push((*key, *from, left.map_or(NONE, |left| left as i64), both));
                    }
                }
            }
        }
        rows
    }

    fn as_of(&self) -> Vec<Row> {
        let row = |(key, at, left): &Record| {
            let valid = self.rights.iter().filter(|(of, from, _)| of == key && from <= at);
            let version = valid.max_by_key(|(_, from, _)| *from);
            let version = version.map_or(NONE, |(.., serial)| *serial as i64);
            (*key, *left as i64, version, Vec::new())
        };
        self.lefts.iter().map(row).collect()
    }
}

fn is_pair(row: &Row) -> bool {
    row.1 != NONE && row.2 != NONE
}
