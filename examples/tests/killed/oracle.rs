//! What each operator has to say of the whole input, by plain loops; where that depends on the order in
//! which records come, what must hold of it.

use std::collections::{BTreeMap, BTreeSet};

use super::input::{self, RIGHT, Record, Side, is_straggler, split_of};
use super::program::{
    EARLY, FULL, GAP, LOOKED_UP, MANY, PACKET, REACH, SHARE, SIZE, SLIDE, STEP, TOP,
};

/// What is known beforehand of the rows of an operator.
pub(crate) enum Right {
    /// They are these, in any order.
    Rows(Vec<String>),
    /// This finds nothing wrong with the rows, part file by part file.
    Holds(fn(&Input, &[Vec<String>]) -> Result<(), String>),
    /// They are those of a run that was not killed, and this holds.
    Repeats(fn(&Input, &[Vec<String>]) -> Result<(), String>),
}

/// All records.
pub(crate) struct Input {
    pub lefts: Vec<Record>,
    pub rights: Vec<Record>,
    /// Sorted by key and time.
    pub all: Vec<Record>,
}

/// All operators, in the order of the table.
pub(crate) const OPERATORS: [&str; 31] = [
    "tumbling",
    "sliding",
    "cumulating",
    "session",
    "global",
    "count",
    "late",
    "by_day",
    "window_all",
    "top",
    "join inner",
    "join left",
    "join right",
    "join full",
    "join interval",
    "join unbounded",
    "join as_of",
    "join co_group",
    "join connected",
    "broadcast",
    "timers",
    "map_async ordered",
    "map_async unordered",
    "iterate",
    "deduplicate",
    "distinct",
    "sort",
    "sample",
    "zip_with_index",
    "rate_limit",
    "plain",
];

fn show(ids: &[u64]) -> String {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    format!("{ids:?}")
}

/// The numbers of the records of a key from one time to just before another.
fn between(records: &[Record], key: u64, from: i64, to: i64) -> Vec<u64> {
    let is_in = |(of, at, _): &&Record| *of == key && from <= *at && *at < to;
    records.iter().filter(is_in).map(|record| record.2).collect()
}

/// The numbers in a row, whatever stands between them.
fn numbers(row: &str) -> Vec<u64> {
    let digits = row.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty());
    digits.map(|digits| digits.parse().unwrap()).collect()
}

/// What is in the brackets of a row.
fn listed(row: &str) -> Vec<u64> {
    numbers(row.split_once('[').map_or("", |(_, list)| list))
}

fn check(is_right: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if is_right { Ok(()) } else { Err(what()) }
}

/// Whether `found` are these numbers, each once.
fn once(
    found: impl IntoIterator<Item = u64>,
    right: impl IntoIterator<Item = u64>,
) -> Result<(), String> {
    let (mut found, mut right): (Vec<_>, Vec<_>) =
        (found.into_iter().collect(), right.into_iter().collect());
    found.sort_unstable();
    right.sort_unstable();
    check(found == right, || {
        let twice = found.windows(2).find(|two| two[0] == two[1]).map(|two| two[0]);
        let missing = right.iter().find(|id| found.binary_search(id).is_err());
        format!("{} for {}, twice: {twice:?}, missing: {missing:?}", found.len(), right.len())
    })
}

impl Input {
    pub(crate) fn of(operator: &str, records: u64) -> Input {
        let left = if operator == "late" { Side::Stragglers } else { Side::Left };
        let (lefts, rights) = (input::all(left, records), input::all(Side::Right, records));
        let mut all = [lefts.clone(), rights.clone()].concat();
        all.sort_unstable();
        Input { lefts, rights, all }
    }

    fn ids(&self) -> impl Iterator<Item = u64> + '_ {
        self.all.iter().map(|record| record.2)
    }

    fn keys(&self) -> BTreeSet<u64> {
        self.all.iter().map(|record| record.0).collect()
    }

    /// The bounds of all windows that a record may be in.
    fn windows(&self, size: i64, slide: i64) -> Vec<(i64, i64)> {
        let first = self.all.iter().map(|record| record.1).min().unwrap_or(0);
        let last = self.all.iter().map(|record| record.1).max().unwrap_or(0);
        let starts = (first - size).div_euclid(slide)..=last.div_euclid(slide);
        starts.map(|n| (n * slide, n * slide + size)).collect()
    }

    /// A row for each window of each key that has records.
    fn windowed(
        &self,
        windows: &[(i64, i64)],
        row: impl Fn(u64, (i64, i64), Vec<u64>) -> String,
    ) -> Vec<String> {
        let mut rows = Vec::new();
        for key in self.keys() {
            for (from, to) in windows {
                let ids = between(&self.all, key, *from, *to);
                if !ids.is_empty() {
                    rows.push(row(key, (*from, *to), ids));
                }
            }
        }
        rows
    }

    pub(crate) fn right(&self, operator: &str) -> Right {
        let plain =
            |key, (from, _): (i64, i64), ids: Vec<u64>| format!("{key} {from} {}", show(&ids));
        Right::Rows(match operator {
            "tumbling" => self.windowed(&self.windows(SIZE, SIZE), plain),
            "sliding" => self.windowed(&self.windows(SIZE, SLIDE), plain),
            "cumulating" => {
                let longest = self.windows(SIZE, SIZE).into_iter();
                let steps = longest
                    .flat_map(|(from, _)| (1..=SIZE / STEP).map(move |n| (from, from + n * STEP)));
                self.windowed(&steps.collect::<Vec<_>>(), |key, (from, to), ids| {
                    format!("{key} {from} {to} {}", show(&ids))
                })
            }
            "session" => self.sessions(),
            "top" => self.windowed(&self.windows(SIZE, SIZE), |key, (from, _), mut ids| {
                ids.sort_unstable();
                format!("{key} {from} {}", show(&ids[ids.len().saturating_sub(TOP)..]))
            }),
            "window_all" => self.window_all(),
            "global" => self.early(),
            "timers" => self.timers(),
            "iterate" => self.ids().map(|id| format!("{id} {}", id % 5 + 1)).collect(),
            "distinct" => {
                let seen: BTreeSet<i64> = self.all.iter().map(|r| r.1.div_euclid(25)).collect();
                seen.into_iter().map(|n| n.to_string()).collect()
            }
            "map_async ordered" | "map_async unordered" | "rate_limit" => {
                self.ids().map(|id| id.to_string()).collect()
            }
            "join connected" => return Right::Holds(connected),
            "count" => return Right::Holds(count),
            "late" => return Right::Holds(late),
            "by_day" => return Right::Holds(by_day),
            "broadcast" => return Right::Holds(broadcast),
            "deduplicate" => return Right::Holds(deduplicate),
            "sort" => return Right::Holds(sort),
            "zip_with_index" => return Right::Holds(zip),
            "plain" => return Right::Holds(packets),
            "sample" => return Right::Repeats(sample),
            join => self.joined(join.strip_prefix("join ").expect("all others are joins")),
        })
    }

    fn sessions(&self) -> Vec<String> {
        let mut sessions: Vec<(u64, i64, i64, Vec<u64>)> = Vec::new();
        for (key, at, id) in &self.all {
            match sessions.last_mut() {
                Some((of, _, end, ids)) if of == key && at < end => {
                    *end = at + GAP;
                    ids.push(*id);
                }
                _ => sessions.push((*key, *at, at + GAP, vec![*id])),
            }
        }
        sessions.iter().map(|(key, from, _, ids)| format!("{key} {from} {}", show(ids))).collect()
    }

    fn window_all(&self) -> Vec<String> {
        let mut windows = BTreeMap::<i64, Vec<u64>>::new();
        for (_, at, id) in &self.all {
            windows.entry(at.div_euclid(SIZE) * SIZE).or_default().push(*id);
        }
        windows.iter().map(|(from, ids)| format!("{from} {}", show(ids))).collect()
    }

    /// Counts after each few records, and at the end.
    fn early(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for key in self.keys() {
            let count = self.all.iter().filter(|record| record.0 == key).count() as u64;
            let early = (1..=count).filter(|n| n.is_multiple_of(u64::from(EARLY)));
            rows.extend(early.chain([count]).map(|n| format!("{key} {n}")));
        }
        rows
    }

    fn timers(&self) -> Vec<String> {
        let mut counts = BTreeMap::<(u64, i64), u64>::new();
        for (key, at, _) in &self.all {
            *counts.entry((*key, at.div_euclid(SIZE))).or_default() += 1;
        }
        let counts = counts.into_iter().map(|((key, span), n)| format!("{key} {span} {n}"));
        counts.chain(self.ids().map(|id| format!("aside {id}"))).collect()
    }

    fn joined(&self, kind: &str) -> Vec<String> {
        match kind {
            "interval" => self.near(),
            "as_of" => self.as_of(),
            "unbounded" => {
                let pairs = self.lefts.iter().flat_map(|l| self.rights.iter().map(move |r| (l, r)));
                let pairs = pairs.filter(|(l, r)| l.2 % MANY == r.2 % MANY);
                pairs.map(|(l, r)| format!("{} {}", l.2, r.2)).collect()
            }
            _ => self.met(kind),
        }
    }

    fn near(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for (key, at, left) in &self.lefts {
            let partners = between(&self.rights, *key, at + REACH.0, at + REACH.1 + 1);
            if partners.is_empty() {
                rows.push(format!("{left} -"));
            }
            rows.extend(partners.into_iter().map(|right| format!("{left} {right}")));
        }
        for (key, at, right) in &self.rights {
            if between(&self.lefts, *key, at - REACH.1, at - REACH.0 + 1).is_empty() {
                rows.push(format!("- {right}"));
            }
        }
        rows
    }

    fn as_of(&self) -> Vec<String> {
        let row = |(key, at, left): &Record| {
            let valid = self.rights.iter().filter(|(of, from, _)| of == key && from <= at);
            let version = valid.max_by_key(|(_, from, _)| *from);
            let version = version.map_or("-".to_owned(), |(.., right)| right.to_string());
            format!("{left} {version}")
        };
        self.lefts.iter().map(row).collect()
    }

    fn met(&self, kind: &str) -> Vec<String> {
        let mut rows = Vec::new();
        for key in self.keys() {
            for (from, to) in self.windows(SIZE, SIZE) {
                let [lefts, rights] =
                    [&self.lefts, &self.rights].map(|side| between(side, key, from, to));
                if kind == "co_group" {
                    if !(lefts.is_empty() && rights.is_empty()) {
                        rows.push(format!("{key} {from} {} {}", show(&lefts), show(&rights)));
                    }
                    continue;
                }
                for left in &lefts {
                    rows.extend(rights.iter().map(|right| format!("{from} {left} {right}")));
                    if rights.is_empty() && ["left", "full"].contains(&kind) {
                        rows.push(format!("{from} {left} -"));
                    }
                }
                if lefts.is_empty() && ["right", "full"].contains(&kind) {
                    rows.extend(rights.iter().map(|right| format!("{from} - {right}")));
                }
            }
        }
        rows
    }
}

/// Which record has which number is left open: each key has each total once, and of its lefts as well.
fn connected(input: &Input, parts: &[Vec<String>]) -> Result<(), String> {
    let mut totals = BTreeMap::<u64, (Vec<u64>, Vec<u64>)>::new();
    for row in parts.iter().flatten() {
        let numbers = numbers(row);
        let (all, lefts) = totals.entry(numbers[0]).or_default();
        all.push(numbers[1]);
        lefts.extend(numbers.get(2));
    }
    for key in input.keys() {
        let count = |of: &[Record]| of.iter().filter(|record| record.0 == key).count() as u64;
        let (all, lefts) = totals.remove(&key).unwrap_or_default();
        once(all, 1..=count(&input.all)).map_err(|error| format!("totals of {key}: {error}"))?;
        once(lefts, 1..=count(&input.lefts)).map_err(|error| format!("lefts of {key}: {error}"))?;
    }
    check(totals.is_empty(), || format!("of keys that there are not: {totals:?}"))
}

/// As many windows as are full, of records of their keys, none of them twice.
fn count(input: &Input, parts: &[Vec<String>]) -> Result<(), String> {
    let key_of: BTreeMap<u64, u64> = input.all.iter().map(|record| (record.2, record.0)).collect();
    let (mut windows, mut seen) = (BTreeMap::<u64, u64>::new(), BTreeSet::new());
    for row in parts.iter().flatten() {
        let (key, ids) = (numbers(row)[0], listed(row));
        check(ids.len() as u64 == FULL, || format!("is not of {FULL}: {row}"))?;
        for id in ids {
            check(key_of.get(&id) == Some(&key), || format!("has records of other keys: {row}"))?;
            check(seen.insert(id), || format!("{id} is in two windows: {row}"))?;
        }
        *windows.entry(key).or_default() += 1;
    }
    let mut right = BTreeMap::<u64, u64>::new();
    input.all.iter().for_each(|record| *right.entry(record.0).or_default() += 1);
    let right: BTreeMap<u64, u64> = right.iter().map(|(key, n)| (*key, n / FULL)).collect();
    check(windows == right, || format!("{windows:?} windows, should be {right:?}"))
}

/// Each record is in its window or late, and late is none but a straggler.
fn late(input: &Input, parts: &[Vec<String>]) -> Result<(), String> {
    let record_of: BTreeMap<u64, Record> = input.lefts.iter().map(|r| (r.2, *r)).collect();
    let (mut ids, mut windows, mut late) = (Vec::new(), BTreeSet::new(), 0);
    for row in parts.iter().flatten() {
        if let Some(id) = row.strip_prefix("late ") {
            let id = id.parse().unwrap();
            check(is_straggler(id), || format!("{id} is not late"))?;
            ids.push(id);
            late += 1;
            continue;
        }
        let (bounds, _) = row.split_once(" [").unwrap();
        check(windows.insert(bounds.to_owned()), || format!("a window has fired again: {row}"))?;
        for id in listed(row) {
            let (key, at, _) = record_of[&id];
            let right = format!("{key} {}", at.div_euclid(SIZE) * SIZE);
            check(bounds == right, || format!("{id} is in a window of others: {row}"))?;
            ids.push(id);
        }
    }
    check(late > 0, || "nothing is late".to_owned())?;
    once(ids, input.lefts.iter().map(|record| record.2))
}

/// Windows by the time of day: each record is in one.
fn by_day(input: &Input, parts: &[Vec<String>]) -> Result<(), String> {
    once(parts.iter().flatten().flat_map(|row| listed(row)), input.ids())
}

/// Each record once, with a version that is not older than what a record of its split before it has seen.
fn broadcast(input: &Input, parts: &[Vec<String>]) -> Result<(), String> {
    let mut seen: Vec<(u64, u64)> =
        parts.iter().flatten().map(|row| (numbers(row)[0], numbers(row)[1])).collect();
    seen.sort_unstable();
    once(seen.iter().map(|(id, _)| *id), input.lefts.iter().map(|record| record.2))?;
    let mut newest = BTreeMap::<(u64, u64), u64>::new();
    for (id, version) in &seen {
        let key = id % LOOKED_UP;
        let there = newest.entry((split_of(*id), key)).or_default();
        check(version >= there, || format!("{id} has seen {version}, one before it {there}"))?;
        *there = *version;
        let is_of_key = *version == 0 || *version >= RIGHT && version % LOOKED_UP == key;
        check(is_of_key, || format!("{id} has seen {version}, of another key"))?;
    }
    check(newest.values().any(|version| *version > 0), || "nothing was looked up".to_owned())
}

/// One record of each key.
fn deduplicate(input: &Input, parts: &[Vec<String>]) -> Result<(), String> {
    let rows: Vec<Vec<u64>> = parts.iter().flatten().map(|row| numbers(row)).collect();
    let wrong = rows.iter().find(|row| !input.all.iter().any(|r| (r.0, r.2) == (row[0], row[1])));
    check(wrong.is_none(), || format!("no record: {wrong:?}"))?;
    once(rows.iter().map(|row| row[0]), input.keys())
}

/// Each record once, and in each part file, which one worker has written, a key in the order of time.
fn sort(input: &Input, parts: &[Vec<String>]) -> Result<(), String> {
    let mut ids = Vec::new();
    for part in parts {
        let mut last = BTreeMap::<&str, i64>::new();
        for row in part {
            let [key, at, id] = row.split(' ').collect::<Vec<_>>()[..] else {
                return Err(format!("is no row: {row}"));
            };
            let at: i64 = at.parse().unwrap();
            let before = last.insert(key, at);
            check(before <= Some(at), || format!("{row} comes after {before:?}"))?;
            ids.push(id.parse().unwrap());
        }
    }
    once(ids, input.ids())
}

/// Each record once, with a number that no other has.
fn zip(input: &Input, parts: &[Vec<String>]) -> Result<(), String> {
    let rows: Vec<Vec<u64>> = parts.iter().flatten().map(|row| numbers(row)).collect();
    let distinct: BTreeSet<u64> = rows.iter().map(|row| row[0]).collect();
    check(distinct.len() == rows.len(), || format!("{} of {}", distinct.len(), rows.len()))?;
    once(rows.iter().map(|row| row[1]), input.ids())
}

/// Each record is in one packet, and but for those at the end they are full.
fn packets(input: &Input, parts: &[Vec<String>]) -> Result<(), String> {
    let packets: Vec<Vec<u64>> = parts.iter().flatten().map(|row| listed(row)).collect();
    let full = packets.iter().filter(|packet| packet.len() >= PACKET).count();
    check(packets.len() - full <= 4, || format!("{full} of {} are full", packets.len()))?;
    once(packets.into_iter().flatten(), input.ids())
}

/// Records of the input, none twice, as large a share as was asked for.
fn sample(input: &Input, parts: &[Vec<String>]) -> Result<(), String> {
    let ids: Vec<u64> = parts.iter().flatten().map(|row| numbers(row)[0]).collect();
    let all: BTreeSet<u64> = input.ids().collect();
    let distinct: BTreeSet<u64> = ids.iter().copied().collect();
    check(distinct.len() == ids.len() && distinct.is_subset(&all), || format!("{ids:?}"))?;
    let share = ids.len() as f64 / all.len() as f64;
    check((share - SHARE).abs() < 0.1, || format!("a share of {share}"))
}
