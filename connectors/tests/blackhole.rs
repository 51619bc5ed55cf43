//! The black hole counts, and blocks as long as its rate says.

#![expect(clippy::disallowed_methods, reason = "measures the rate")]
// Functions that tests share are tests as well.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use highwater::Epoch;
use highwater::sink::{Sink, SinkRun, SinkWriter};
use highwater_connectors::blackhole::{BlackholeSink, BlackholeWriter};

fn open(sink: &BlackholeSink, workers: usize, worker: usize) -> BlackholeWriter {
    let (job, uid) = ("job".to_owned(), "sink".to_owned());
    let run = SinkRun { job, uid, generation: 0, workers, restored: None };
    Sink::<u64>::open(sink, &run, worker).unwrap()
}

#[test]
fn counts_over_all_workers_and_names_nothing() {
    let sink = BlackholeSink::new();
    for worker in 0..2 {
        let mut writer = open(&sink.clone(), 2, worker);
        writer.write(&mut vec![1u64, 2, 3]).unwrap();
        let prepared = SinkWriter::<u64>::prepare(&mut writer, Epoch(1)).unwrap();
        assert!(prepared().unwrap().is_empty());
    }
    assert_eq!(sink.records(), 6);
}

#[test]
fn blocks_for_a_worker_s_share_of_the_rate() {
    let sink = BlackholeSink::new().rate(10_000.0);
    let mut writer = open(&sink, 2, 0);
    let begun = Instant::now();
    for _ in 0..5 {
        writer.write(&mut vec![0u64; 50]).unwrap();
    }
    // 250 records at 5,000 a second.
    assert!(begun.elapsed() >= Duration::from_millis(50), "{:?}", begun.elapsed());
}
