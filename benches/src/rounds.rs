//! The sides of a case alternate, so that what the machine does to one of them it does to all; and must
//! come to the same result.
//!
//! What goes wrong in a case is said, and is the end of that case alone: the others are run, and what
//! was measured is kept. The program fails in the end.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use highwater::Summary;
use serde_json::Value;

use crate::digest::Totals;
use crate::lines::{self, Side};
use crate::measure::Measured;
use crate::record::{Fields, Head, Journal};
use crate::recorded::{Recorded, Size};
use crate::sides::{CHECKPOINTS, ENGINE};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Flags of all suites that compare.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Flags {
    /// Worker threads
    #[arg(short, long, default_value_t = 2)]
    pub(crate) workers: usize,

    /// Alternating runs of each side
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,

    /// Run the engine with checkpoints as well, one each such time
    #[arg(long, value_name = "INTERVAL", value_parser = highwater::job::parse_duration)]
    pub(crate) checkpoints: Option<Duration>,

    /// Run only this side: for a profile, or for peak memory
    #[arg(long, value_name = "SIDE")]
    pub(crate) only: Option<String>,

    /// Run once for each line on standard input, and print the record of each run: for programs that
    /// alternate with others
    #[arg(long, hide = true, conflicts_with = "rounds")]
    pub(crate) on_request: bool,

    /// Append a line of JSON to this file for each run
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Put the results on record, for runs of this size to be compared with
    #[arg(long)]
    pub(crate) record: bool,

    /// Results on record, rather than those of the repository
    #[arg(long, value_name = "FILE")]
    pub(crate) recorded: Option<PathBuf>,
}

#[cfg(test)]
impl Flags {
    /// One round without checkpoints.
    pub(crate) fn on_workers(workers: usize) -> Flags {
        Flags {
            workers,
            rounds: 1,
            checkpoints: None,
            only: None,
            on_request: false,
            json: None,
            record: false,
            recorded: None,
        }
    }
}

/// What came of one run of one side.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) measured: Measured,
    /// Threads that did the work.
    pub(crate) threads: usize,
    /// From one checkpoint to the next, if there were any.
    pub(crate) interval: Option<Duration>,
    pub(crate) totals: Totals,
    /// What the engine says, if it was the engine.
    pub(crate) summary: Option<Summary>,
    /// Fields of the suite for its record.
    pub(crate) more: Fields,
}

impl Run {
    pub(crate) fn new(measured: Measured, threads: usize, totals: Totals) -> Run {
        Run { measured, threads, interval: None, totals, summary: None, more: Fields::new() }
    }
}

/// The same work, done in several ways.
pub(crate) struct Case<'a> {
    name: String,
    more: Fields,
    /// Fields whose medians are printed, and what is printed after them.
    shown: Vec<(&'static str, &'static str)>,
    ways: Vec<Way<'a>>,
}

struct Way<'a> {
    name: &'static str,
    interval: Option<Duration>,
    run: Rc<dyn Fn(Option<Duration>) -> Result<Run> + 'a>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(name: impl Into<String>) -> Case<'a> {
        Case { name: name.into(), more: Fields::new(), shown: Vec::new(), ways: Vec::new() }
    }

    /// Adds a field to the records of its runs.
    pub(crate) fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Prints, for each side, the median of a number that its runs have in their own fields.
    pub(crate) fn shown(mut self, name: &'static str, unit: &'static str) -> Self {
        self.shown.push((name, unit));
        self
    }

    /// Adds a side. It is compared with those that were added before it.
    pub(crate) fn side(mut self, name: &'static str, run: impl Fn() -> Result<Run> + 'a) -> Self {
        self.ways.push(Way { name, interval: None, run: Rc::new(move |_| run()) });
        self
    }

    /// Adds the engine without checkpoints, and with them if they were asked for.
    pub(crate) fn engine(
        mut self,
        flags: &Flags,
        run: impl Fn(Option<Duration>) -> Result<Run> + 'a,
    ) -> Self {
        let run: Rc<dyn Fn(Option<Duration>) -> Result<Run> + 'a> = Rc::new(run);
        self.ways.push(Way { name: ENGINE, interval: None, run: Rc::clone(&run) });
        if flags.checkpoints.is_some() {
            self.ways.push(Way { name: CHECKPOINTS, interval: flags.checkpoints, run });
        }
        self
    }
}

/// The cases of a suite, one after the other.
pub(crate) struct Comparison<'f> {
    flags: &'f Flags,
    head: Head,
    journal: Journal,
    /// Results on record, and the size of this run.
    recorded: Option<(Recorded, Size)>,
    wrong: Vec<String>,
}

impl<'f> Comparison<'f> {
    /// Says what is to be run, on what.
    pub(crate) fn begin(
        suite: &'static str,
        flags: &'f Flags,
        what: &str,
    ) -> Result<Comparison<'f>> {
        let (head, journal) = (Head::of(suite), Journal::open(flags.json.as_deref())?);
        println!("{}\n{}, commit {}", head.machine, head.versions, head.commit);
        let checkpoints = match flags.checkpoints {
            Some(interval) => format!("a checkpoint each {interval:?}"),
            None => "no checkpoints".to_owned(),
        };
        let Flags { workers, rounds, .. } = flags;
        println!("{suite}: {what}; {workers} workers, {checkpoints}, {rounds} rounds");
        Ok(Comparison { flags, head, journal, recorded: None, wrong: Vec::new() })
    }

    /// Compares the results with those that are on record for this size, or puts them there. `text` is
    /// what is on record where the repository is not at hand.
    pub(crate) fn on_record(mut self, text: &str, size: &[(&str, u64)]) -> Result<Self> {
        let recorded = match &self.flags.recorded {
            Some(path) => Recorded::read(path)?,
            None => Recorded::of_suite(self.head.suite, text)?,
        };
        let size = size.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        self.recorded = Some((recorded, size));
        Ok(self)
    }

    /// Runs the sides in turn. Returns their common result, if they have one.
    pub(crate) fn run(&mut self, case: &Case<'_>) -> Option<Totals> {
        let only = self.flags.only.as_deref();
        let ways: Vec<_> =
            case.ways.iter().filter(|way| only.is_none_or(|only| way.name == only)).collect();
        if ways.is_empty() {
            self.wrong(no_such_side(&self.head, case, only.unwrap_or_default()));
            return None;
        }
        let mut sides: Vec<_> = ways.iter().map(|way| Side::new(way.name)).collect();
        let outcome = self.alternate(case, &ways, &mut sides);
        lines::print(&case.name, &case.shown, &sides);
        let checked = outcome.map_err(|error| format!("{}: {error}", case.name));
        let checked = checked.and_then(|totals| self.check(case, totals));
        checked.map_err(|error| self.wrong(error)).ok()
    }

    /// Returns the totals, unless others are on record.
    fn check(&mut self, case: &Case<'_>, totals: Totals) -> std::result::Result<Totals, String> {
        let Some((recorded, size)) = &mut self.recorded else { return Ok(totals) };
        if self.flags.record {
            recorded.put(size, &case.name, totals);
            return Ok(totals);
        }
        recorded.check(size, &case.name, totals).map(|()| totals)
    }

    fn alternate(
        &mut self,
        case: &Case<'_>,
        ways: &[&Way<'_>],
        sides: &mut [Side],
    ) -> Result<Totals> {
        let mut common: Option<(&'static str, Totals)> = None;
        let mut round = 0;
        while self.is_asked_for(round)? {
            for (way, side) in ways.iter().zip(&mut *sides) {
                let mut run =
                    (way.run)(way.interval).map_err(|error| format!("{}: {error}", way.name))?;
                run.more.extend(case.more.clone());
                let totals = run.totals;
                let record = self.head.record(&case.name, way.name, round, &run);
                self.journal.append(&record)?;
                if self.flags.on_request {
                    println!("{}", serde_json::to_string(&record)?);
                }
                side.runs.push(run);
                match common {
                    Some((name, before)) if before != totals => {
                        return Err(format!(
                            "the results differ: {name} has {before}, {} has {totals}",
                            way.name
                        )
                        .into());
                    }
                    _ => common = Some((way.name, totals)),
                }
            }
            round += 1;
        }
        common.map(|(_, totals)| totals).ok_or_else(|| "nothing was run".into())
    }

    /// Whether there is to be a round of this number.
    fn is_asked_for(&self, round: usize) -> std::io::Result<bool> {
        if !self.flags.on_request {
            return Ok(round < self.flags.rounds.max(1));
        }
        let mut request = String::new();
        std::io::stdin().read_line(&mut request).map(|bytes| bytes > 0)
    }

    /// Says what is wrong, once, and goes on.
    pub(crate) fn wrong(&mut self, error: String) {
        if !self.wrong.contains(&error) {
            println!("  error: {error}");
            self.wrong.push(error);
        }
    }

    /// Fails if anything was wrong.
    pub(crate) fn end(self) -> Result<()> {
        if let (Some((recorded, _)), true) = (&self.recorded, self.flags.record) {
            recorded.save()?;
        }
        match self.wrong.as_slice() {
            [] => Ok(()),
            [wrong] => Err(wrong.clone().into()),
            wrong => Err(format!("{} errors: {}", wrong.len(), wrong.join("; ")).into()),
        }
    }
}

fn no_such_side(head: &Head, case: &Case<'_>, only: &str) -> String {
    if only == CHECKPOINTS {
        return format!("the side {CHECKPOINTS} needs the flag --checkpoints INTERVAL");
    }
    let names: Vec<_> = case.ways.iter().map(|way| way.name).collect();
    format!("{} has no side {only:?}: they are {}", head.suite, names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    fn flags() -> Flags {
        Flags { rounds: 2, ..Flags::on_workers(2) }
    }

    fn of(digest: u64) -> impl Fn() -> Result<Run> {
        let measured = Measured { records: 6, seconds: 2.0, cpu_seconds: None, peak_memory: None };
        move || Ok(Run::new(measured, 2, Totals { rows: 6, digest }))
    }

    fn records(json: &std::path::Path) -> Vec<Record> {
        let text = std::fs::read_to_string(json).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn sides_alternate_and_each_run_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let json = folder.path().join("runs.json");
        let flags = Flags { json: Some(json.clone()), ..flags() };
        let mut comparison = Comparison::begin("test", &flags, "nothing").unwrap();
        let case = Case::new("1 M keys").field("keys", 1_000_000).side("one", of(7));
        let totals = comparison.run(&case.side("other", of(7)));
        assert_eq!(totals, Some(Totals { rows: 6, digest: 7 }));
        assert!(comparison.end().is_ok());
        let records = records(&json);
        let order: Vec<_> =
            records.iter().map(|record| (record.round, record.side.as_str())).collect();
        assert_eq!(order, [(0, "one"), (0, "other"), (1, "one"), (1, "other")]);
        let Record { suite, case, digest, more, records_per_second_and_core, .. } = &records[0];
        assert_eq!((suite.as_str(), case.as_str()), ("test", "1 M keys"));
        assert_eq!((digest.as_str(), &more["keys"]), ("0000000000000007", &1_000_000.into()));
        assert!((records_per_second_and_core - 1.5).abs() < 1e-9);
    }

    #[test]
    fn what_differs_is_an_error_and_the_other_results_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let json = folder.path().join("runs.json");
        let flags = Flags { json: Some(json.clone()), ..flags() };
        let mut comparison = Comparison::begin("test", &flags, "nothing").unwrap();
        assert_eq!(comparison.run(&Case::new("a").side("one", of(7)).side("other", of(8))), None);
        let failing = Case::new("b").side("one", of(7)).side("other", || Err("no disk".into()));
        assert_eq!(comparison.run(&failing), None);
        assert!(comparison.run(&Case::new("c").side("one", of(7))).is_some());
        let error = comparison.end().unwrap_err().to_string();
        assert!(error.starts_with("2 errors: a: the results differ: one has"), "{error}");
        assert!(error.ends_with("; b: other: no disk"), "{error}");
        let kept: Vec<_> = records(&json).into_iter().map(|record| record.case).collect();
        assert_eq!(kept, ["a", "a", "b", "c", "c"]);
    }

    #[test]
    fn what_is_not_as_on_record_is_an_error_and_may_be_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let recorded = folder.path().join("digests.json");
        std::fs::write(&recorded, "[]").unwrap();
        let run = |record, digest, records: u64| {
            let flags = Flags { record, recorded: Some(recorded.clone()), ..flags() };
            let mut comparison = Comparison::begin("test", &flags, "nothing").unwrap();
            comparison = comparison.on_record("", &[("records", records)]).unwrap();
            comparison.run(&Case::new("a").side("one", of(digest)));
            comparison.end().map_err(|error| error.to_string())
        };
        assert_eq!(run(false, 7, 6), Ok(()));
        assert_eq!(run(true, 7, 6), Ok(()));
        assert_eq!(run(false, 7, 6), Ok(()));
        assert!(run(false, 8, 6).unwrap_err().contains("on record are 6 rows"));
        assert_eq!(run(false, 8, 5), Ok(()), "nothing is on record of that size");
    }

    #[test]
    fn a_side_that_is_not_there_is_said_once() {
        let flags = Flags { only: Some("flink".to_owned()), ..flags() };
        let mut comparison = Comparison::begin("test", &flags, "nothing").unwrap();
        for name in ["a", "b"] {
            let case = Case::new(name).side("one", of(7)).engine(&flags, |_| of(7)());
            assert_eq!(comparison.run(&case), None);
        }
        let error = comparison.end().unwrap_err().to_string();
        assert_eq!(error, "test has no side \"flink\": they are one, engine");
    }

    #[test]
    fn the_engine_runs_with_checkpoints_if_they_are_asked_for() {
        let flags = Flags { checkpoints: Some(Duration::from_secs(1)), rounds: 1, ..flags() };
        let mut comparison = Comparison::begin("test", &flags, "nothing").unwrap();
        let seen = std::cell::RefCell::new(Vec::new());
        let case = Case::new("a").engine(&flags, |interval| {
            seen.borrow_mut().push(interval);
            of(7)()
        });
        comparison.run(&case).unwrap();
        assert_eq!(*seen.borrow(), [None, Some(Duration::from_secs(1))]);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_said_before_anything_runs() {
        let flags = Flags { json: Some("/nowhere/runs.json".into()), ..flags() };
        let error = Comparison::begin("test", &flags, "nothing").err().unwrap();
        assert!(error.to_string().contains("/nowhere/runs.json"));
    }
}
