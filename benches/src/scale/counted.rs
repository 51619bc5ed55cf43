//! A keyed count whose state is filled first, in the engine and by hand, on any number of workers.

use std::time::Duration;

use highwater::Job;
use highwater_connectors::generator::GeneratorSource;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::Result;
use super::meter::{Meter, Total};
use crate::by_hand::numbered;
use crate::draws::mix;
use crate::keyed_count::counted;

/// What is counted: each key once, and then as many records of keys that are drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    pub(crate) keys: u64,
    pub(crate) records: u64,
}

impl Work {
    fn all(self) -> u64 {
        self.keys + self.records
    }

    #[inline]
    fn key(self, i: u64) -> u64 {
        if i < self.keys { i } else { mix(i) % self.keys }
    }

    fn meter(self, workers: usize, total: &Total) -> Meter {
        Meter::new(self.keys / workers as u64, total.clone())
    }

    fn rate(self, total: &Total) -> Result<f64> {
        match total.records() {
            records if records == self.all() => Ok(total.rate()),
            records => Err(format!("{records} records came, not {}", self.all()).into()),
        }
    }
}

/// Where checkpoints go, and how often.
#[derive(Clone, Debug)]
pub(crate) struct Checkpoints {
    pub(crate) interval: Duration,
    pub(crate) dir: std::path::PathBuf,
}

/// What a run has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    /// Records a second once the state was filled.
    pub(crate) rate: f64,
    /// How many were complete.
    pub(crate) checkpoints: u64,
}

pub(crate) fn engine(
    work: Work,
    workers: usize,
    checkpoints: Option<&Checkpoints>,
) -> Result<Counted> {
    let folder = checkpoints.map(|at| tempfile::tempdir_in(&at.dir)).transpose()?;
    let mut job = Job::new("scale").workers(workers).quiet();
    if let (Some(at), Some(folder)) = (checkpoints, &folder) {
        job = job.checkpoint_interval(at.interval).checkpoint_dir(folder.path().to_string_lossy());
    }
    let total = Total::default();
    let for_job = total.clone();
    let summary = job.execute(move |flow| {
        let mut meter = work.meter(flow.scope().peers(), &for_job);
        // A worker reads a split to its end before the next: of more splits it would fill a part.
        let source = GeneratorSource::new(work.all(), move |i| work.key(i));
        flow.source("keys", source.splits(flow.scope().peers() as u64))
            .key_by(|key| *key)
            .count("count")
            .for_each(move |_| meter.record());
    })?;
    Ok(Counted { rate: work.rate(&total)?, checkpoints: summary.checkpoints })
}

/// On all workers of one process.
pub(crate) fn by_hand(work: Work, workers: usize) -> Result<f64> {
    let config = match workers {
        1 => timely::Config::thread(),
        workers => timely::Config::process(workers),
    };
    work.rate(&by_hand_on(work, config)?)
}

/// On the workers of this process, of several perhaps.
pub(crate) fn by_hand_on(work: Work, config: timely::Config) -> Result<Total> {
    let total = Total::default();
    let for_workers = total.clone();
    let guards = timely::execute(config, move |worker| {
        let mut meter = work.meter(worker.peers(), &for_workers);
        worker.dataflow::<u64, _, _>(|scope| {
            let counts = counted(numbered(scope, work.all(), move |i| work.key(i)));
            counts.sink(Pipeline, "Meter", move |(input, _)| {
                input.for_each(|_, batch| batch.drain(..).for_each(|_| meter.record()));
            });
        });
    })?;
    for outcome in guards.join() {
        outcome?;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_count_all_records() {
        let work = Work { keys: 10_000, records: 40_000 };
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_owned();
        let checkpoints = Checkpoints { interval: Duration::from_millis(10), dir };
        assert!(by_hand(work, 2).unwrap() > 0.0);
        assert!(engine(work, 2, None).unwrap().rate > 0.0);
        let durable = engine(work, 2, Some(&checkpoints)).unwrap();
        assert!(durable.rate > 0.0 && durable.checkpoints > 0, "{durable:?}");
    }

    #[test]
    fn the_state_is_filled_before_keys_are_drawn() {
        let work = Work { keys: 100, records: 1_000 };
        assert!((0..100).all(|i| work.key(i) == i) && (100..1_100).all(|i| work.key(i) < 100));
    }
}
