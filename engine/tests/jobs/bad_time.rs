//! Times and keys that are not as they should be: what becomes of them is defined, and said where it
//! is an error.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::stream::Flow;
use highwater::testing::{CollectSink, VecSource, collect_one};
use highwater::window::{Days, Sliding, Tumbling};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The error that a job ends with, on all of its three workers.
fn failure(build: impl for<'scope> Fn(&Flow<'scope>) + Send + Sync + 'static) -> String {
    format!("{:?}", Job::new("times").quiet().workers(3).run(build).expect_err("it must fail"))
}

fn assert_says(text: &str, parts: &[&str]) {
    println!("Error: {text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

fn numbers() -> VecSource<(u64, i64)> {
    VecSource::new((0..100).map(|n| (n % 7, n as i64)).collect::<Vec<_>>())
}

fn time(at: i64) -> EventTime {
    assert_ne!(at, 42, "no time can be made of this record");
    EventTime(at)
}

#[test]
fn a_timestamp_that_panics_ends_all_workers_and_says_why() {
    let at_the_source = failure(|flow| {
        let by_time = Watermarks::ascending(|(_, at): &(u64, i64)| time(*at));
        flow.source("numbers", numbers().with_watermarks(by_time)).for_each(drop);
    });
    assert_says(&at_the_source, &["worker ", " panicked: ", "no time can be made of this record"]);
    let at_the_window = failure(|flow| {
        let windows = Tumbling::of(Duration::from_millis(10));
        let numbers = flow.source("numbers", numbers()).keyed();
        numbers.window(windows, |at| time(*at)).count("count").for_each(drop);
    });
    assert_says(&at_the_window, &["worker ", " panicked: ", "no time can be made of this record"]);
}

#[test]
fn a_time_zone_that_is_not_there_is_refused() {
    let text = failure(|flow| {
        let numbers = flow.source("numbers", numbers()).keyed();
        let days = Days::of("America/Atlantis");
        numbers.window(days, |at| EventTime(*at)).count("days").for_each(drop);
    });
    let hint = "use a name of the IANA database";
    assert_says(&text, &["operator \"days\"", "no time zone is named \"America/Atlantis\"", hint]);
}

#[test]
fn times_before_1970_and_far_from_it_are_in_windows_like_any_others() {
    const FAR: i64 = 1 << 62;
    let times = [i64::MIN, -FAR, -FAR + 1, -11, -10, -1, 0, 9, 10, FAR - 1, FAR, i64::MAX];
    for overlap in [1, 2] {
        let counts = collect_one(move |flow| {
            let records = VecSource::new(times.map(|at| ((), at)));
            let windows =
                Sliding::of(Duration::from_millis(10 * overlap), Duration::from_millis(10));
            let records = flow.source("records", records).keyed();
            let counts = records.window(windows, |at| EventTime(*at)).count("count");
            counts.map(|said| (said.window.start.0, said.window.end.0, said.value))
        });
        // Every window there could be, of each time: those beyond the ends count as the ends.
        let mut expected = BTreeMap::new();
        for at in times.map(|at| i128::from(at.clamp(-FAR, FAR))) {
            for n in 0..i128::from(overlap) {
                let start = at.div_euclid(10) * 10 - n * 10;
                *expected.entry((start, start + 10 * i128::from(overlap))).or_insert(0) += 1;
            }
        }
        let widened = counts.into_iter().map(|(start, end, n)| ((start.into(), end.into()), n));
        assert_eq!(widened.collect::<BTreeMap<(i128, i128), u64>>(), expected);
    }
}

/// A key that is never written twice alike. Like a set that is written in the order of its hashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Fickle(u64);

impl Serialize for Fickle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        (self.0, WRITTEN.fetch_add(1, Ordering::Relaxed)).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Fickle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (key, _) = <(u64, u64)>::deserialize(deserializer)?;
        Ok(Fickle(key))
    }
}

/// It is what it decodes to: only the digest cannot be known of it, and is not held against it.
#[test]
#[expect(clippy::disallowed_methods, reason = "a source that takes its time")]
fn a_key_that_is_written_in_two_ways_is_restored_like_any_other() {
    let directory = tempfile::tempdir().unwrap();
    let counted = CollectSink::new();
    for stop_at in [5_000, 9_000, u64::MAX] {
        let sink = counted.clone();
        let job =
            Job::new("fickle").quiet().workers(2).checkpoint_interval(Duration::from_millis(5));
        let job = job.checkpoint_dir(directory.path().display().to_string());
        let summary = job.execute(move |flow| {
            let run = flow.checkpoints().run().clone();
            let records = VecSource::new((0..12_000_u64).collect::<Vec<_>>());
            let keys = flow.source("records", records).map(move |n| {
                // So that keys change in several epochs, and a stop comes before the end.
                if n.is_multiple_of(64) {
                    std::thread::sleep(Duration::from_micros(500));
                }
                if n == stop_at {
                    run.control().request_stop();
                }
                // Deltas have few of the keys, bases all.
                Fickle(if n < 500 { n } else { n % 20 })
            });
            keys.key_by(Clone::clone).emit(Emit::AtEnd).count("count").sink("counts", sink.clone());
        });
        let is_stopped = matches!(summary.unwrap().outcome, Outcome::Stopped);
        assert_eq!(is_stopped, stop_at < u64::MAX);
    }
    let mut expected = BTreeMap::new();
    for n in 0..12_000 {
        *expected.entry(Fickle(if n < 500 { n } else { n % 20 })).or_insert(0) += 1;
    }
    let mut counted = counted.records();
    counted.sort();
    assert!(counted.iter().cloned().eq(expected), "{counted:?}");
}
