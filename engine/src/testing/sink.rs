//! Puts a sink through the contract of [`crate::sink`].
//!
//! Each rule is a short history of runs against a fresh target. A process that dies is a writer and
//! a sink that are forgotten, so that nothing they would do at their end is done.

use std::fmt::{self, Debug};
use std::mem;
use std::sync::Barrier;
use std::thread;

use serde::{Serialize, de::DeserializeOwned};

use crate::Epoch;
use crate::sink::{Prepare, Sink, SinkRun, SinkWriter};

/// Rounds in which two committers meet; each is a new chance to meet in a bad moment.
const RACES: u64 = 20;

/// Records that one worker writes in one epoch of a history.
const RECORDS: u64 = 25;

/// A place to write to, empty at first.
pub struct SinkTarget<S, T> {
    sink: Box<dyn Fn() -> S>,
    visible: Box<dyn Fn() -> Vec<T>>,
}

impl<S, T> SinkTarget<S, T> {
    /// Describes a target: `sink` makes a sink for it, as each run of a job does, and `visible`
    /// reads what somebody else sees in it.
    pub fn new(
        sink: impl Fn() -> S + 'static,
        visible: impl Fn() -> Vec<T> + 'static,
    ) -> SinkTarget<S, T> {
        SinkTarget { sink: Box::new(sink), visible: Box::new(visible) }
    }
}

impl<S, T> fmt::Debug for SinkTarget<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SinkTarget").finish_non_exhaustive()
    }
}

/// Checks a sink against K1 to K4.
///
/// `target` makes a new target each time it is called. `record` makes a different record of each
/// number.
///
/// # Panics
///
/// If the sink breaks the contract, or fails.
pub fn check_sink<T, S>(target: impl Fn() -> SinkTarget<S, T>, record: impl Fn(u64) -> T)
where
    T: Ord + Debug,
    S: Sink<T>,
{
    let case = || Case { target: target(), record: &record };
    case().visible_at_commit_only();
    case().commit_survives_death_after_prepare();
    case().death_before_checkpoint_leaves_nothing();
    case().next_epoch_may_begin_before_finish();
    case().commit_again_changes_nothing();
    case().commits_what_was_committed_in_part();
    for race in 0..RACES {
        case().committers_may_meet(race);
    }
    case().abort_leaves_committed_alone();
    case().empty_epochs_name_nothing();
}

/// One history: a target, and the records to write to it.
struct Case<'a, S, T, R> {
    target: SinkTarget<S, T>,
    record: &'a R,
}

/// The run of `generation` that goes on from epoch `restored`.
fn run(generation: u64, restored: Option<u64>) -> SinkRun {
    SinkRun {
        job: "conformance".to_owned(),
        uid: "sink".to_owned(),
        generation,
        workers: 2,
        restored: restored.map(Epoch),
    }
}

impl<T, S, R> Case<'_, S, T, R>
where
    T: Ord + Debug,
    S: Sink<T>,
    R: Fn(u64) -> T,
{
    /// Starts a run, as the runtime does.
    fn start(&self, run: &SinkRun, restored: Vec<S::Committable>) -> S {
        let sink = (self.target.sink)();
        sink.begin(run).unwrap_or_else(|error| panic!("begin failed in {run:?}: {error:?}"));
        if !restored.is_empty() {
            commit(&sink, run, restored);
        }
        sink.abort(run).unwrap_or_else(|error| panic!("abort failed in {run:?}: {error:?}"));
        sink
    }

    /// Writes the records of one block in two batches.
    fn write(&self, writer: &mut S::Writer, block: u64) {
        let mut first = block * RECORDS;
        for size in [RECORDS / 2, RECORDS - RECORDS / 2] {
            let mut batch: Vec<T> = (first..first + size).map(self.record).collect();
            writer.write(&mut batch).unwrap_or_else(|error| panic!("write failed: {error:?}"));
            assert!(batch.is_empty(), "write left {} records in its batch", batch.len());
            first += size;
        }
    }

    /// Asserts that what is visible is exactly these blocks.
    fn assert_visible(&self, blocks: &[u64], rule: &str) {
        let mut expected: Vec<T> = blocks
            .iter()
            .flat_map(|block| (block * RECORDS..(block + 1) * RECORDS).map(self.record))
            .collect();
        let mut visible = (self.target.visible)();
        expected.sort();
        visible.sort();
        assert_eq!(visible, expected, "{rule}");
    }

    fn visible_at_commit_only(&self) {
        let run = run(1, None);
        let sink = self.start(&run, Vec::new());
        let mut writers = [open(&sink, &run, 0), open(&sink, &run, 1)];
        self.write(&mut writers[0], 0);
        self.write(&mut writers[1], 1);
        self.assert_visible(&[], "K1: records are visible when they were only written");
        let prepared: Vec<_> = writers.iter_mut().map(|writer| prepare(writer, Epoch(1))).collect();
        self.assert_visible(&[], "K1: records are visible before `finish`");
        let committables: Vec<_> = prepared.into_iter().flat_map(finish).collect();
        self.assert_visible(&[], "K1: records are visible when they are only prepared");
        commit(&sink, &run, committables);
        self.assert_visible(&[0, 1], "what was committed is not what is visible");
    }

    fn commit_survives_death_after_prepare(&self) {
        let first = run(1, None);
        let sink = self.start(&first, Vec::new());
        let mut writer = open(&sink, &first, 0);
        self.write(&mut writer, 0);
        let committables = finish(prepare(&mut writer, Epoch(1)));
        // Written after the checkpoint, so lost with the process.
        self.write(&mut writer, 1);
        die(sink, writer);

        let second = run(2, Some(1));
        let sink = self.start(&second, committables);
        self.assert_visible(&[0], "K2: the next run commits what a run that died had prepared");
        let mut writer = open(&sink, &second, 0);
        self.write(&mut writer, 2);
        commit(&sink, &second, finish(prepare(&mut writer, Epoch(2))));
        self.assert_visible(&[0, 2], "K2: the run after a death goes on");
    }

    fn death_before_checkpoint_leaves_nothing(&self) {
        for generation in 1..4 {
            let run = run(generation, None);
            let sink = self.start(&run, Vec::new());
            self.assert_visible(&[], "K4: records of a run that died are visible");
            let mut writer = open(&sink, &run, 0);
            self.write(&mut writer, 0);
            // The first dies while it writes, the second between the two halves of `prepare`, the
            // third before its checkpoint is complete.
            if generation > 1 {
                let prepared = prepare(&mut writer, Epoch(1));
                if generation == 2 {
                    mem::forget(prepared);
                } else {
                    finish(prepared);
                }
            }
            die(sink, writer);
        }
        let run = run(4, None);
        let sink = self.start(&run, Vec::new());
        self.assert_visible(&[], "K4: records that were prepared and aborted are visible");
        let mut writer = open(&sink, &run, 0);
        self.write(&mut writer, 0);
        commit(&sink, &run, finish(prepare(&mut writer, Epoch(1))));
        self.assert_visible(&[0], "records that were written again are there more than once");
    }

    fn next_epoch_may_begin_before_finish(&self) {
        let run = run(1, None);
        let sink = self.start(&run, Vec::new());
        let mut writer = open(&sink, &run, 0);
        self.write(&mut writer, 0);
        let first = prepare(&mut writer, Epoch(1));
        self.write(&mut writer, 1);
        let second = prepare(&mut writer, Epoch(2));
        let second = finish(second);
        let first = thread::scope(|scope| {
            // JSON, since committables need not be `Send` on their way to the checkpoint.
            scope.spawn(move || finish_encoded(first)).join().expect("finish does not panic")
        });
        commit(&sink, &run, decoded(&first));
        self.assert_visible(&[0], "a record belongs to the epoch that ends after it was written");
        commit(&sink, &run, second);
        self.assert_visible(&[0, 1], "both epochs are committed");
    }

    fn commit_again_changes_nothing(&self) {
        let first = run(1, None);
        let sink = self.start(&first, Vec::new());
        let mut writer = open(&sink, &first, 0);
        self.write(&mut writer, 0);
        let committables = finish(prepare(&mut writer, Epoch(1)));
        commit(&sink, &first, committables.clone());
        commit(&sink, &first, committables.clone());
        self.assert_visible(&[0], "K3: a second commit changed something");
        die(sink, writer);
        drop(self.start(&run(2, Some(1)), committables));
        self.assert_visible(&[0], "K3: a commit by the next run changed something");
    }

    fn commits_what_was_committed_in_part(&self) {
        let first = run(1, None);
        let sink = self.start(&first, Vec::new());
        let mut writers = [open(&sink, &first, 0), open(&sink, &first, 1)];
        self.write(&mut writers[0], 0);
        self.write(&mut writers[1], 1);
        let done = finish(prepare(&mut writers[0], Epoch(1)));
        let mut all = finish(prepare(&mut writers[1], Epoch(1)));
        commit(&sink, &first, done.clone());
        die(sink, writers);
        all.extend(done);
        drop(self.start(&run(2, Some(1)), all));
        self.assert_visible(&[0, 1], "K3: a commit that was interrupted is not completed");
    }

    fn committers_may_meet(&self, race: u64) {
        let first = run(1, None);
        let sink = self.start(&first, Vec::new());
        let mut writers = [open(&sink, &first, 0), open(&sink, &first, 1)];
        let mut committables = Vec::new();
        for epoch in 1..=3 {
            for (worker, writer) in writers.iter_mut().enumerate() {
                self.write(writer, epoch * 2 + worker as u64);
                committables.extend(finish(prepare(writer, Epoch(epoch))));
            }
        }
        let other = (self.target.sink)();
        let second = run(2, Some(3));
        let ready = Barrier::new(2);
        thread::scope(|scope| {
            for (sink, run) in [(&sink, &first), (&other, &second)] {
                let (ready, committables) = (&ready, committables.clone());
                scope.spawn(move || {
                    ready.wait();
                    if let Err(error) = sink.commit(run, committables) {
                        panic!("K3: of two committers in round {race}, one failed: {error:?}");
                    }
                });
            }
        });
        self.assert_visible(&[2, 3, 4, 5, 6, 7], "K3: two committers at the same time");
    }

    fn abort_leaves_committed_alone(&self) {
        let first = run(1, None);
        let sink = self.start(&first, Vec::new());
        let mut writer = open(&sink, &first, 0);
        self.write(&mut writer, 0);
        commit(&sink, &first, finish(prepare(&mut writer, Epoch(1))));
        self.write(&mut writer, 1);
        die(sink, writer);

        let second = run(2, Some(1));
        let sink = self.start(&second, Vec::new());
        self.assert_visible(&[0], "K4: abort takes what was not committed, and nothing else");
        let again = sink.abort(&second);
        again.unwrap_or_else(|error| panic!("K4: a second abort failed: {error:?}"));
        self.assert_visible(&[0], "K4: a second abort changed something");
    }

    fn empty_epochs_name_nothing(&self) {
        let run = run(1, None);
        let sink = self.start(&run, Vec::new());
        let mut writer = open(&sink, &run, 0);
        writer.write(&mut Vec::new()).unwrap_or_else(|error| panic!("write failed: {error:?}"));
        let nothing = finish(prepare(&mut writer, Epoch(1))).len();
        assert_eq!(nothing, 0, "an epoch without records names {nothing} committables");
        self.write(&mut writer, 0);
        commit(&sink, &run, finish(prepare(&mut writer, Epoch(2))));
        self.assert_visible(&[0], "an epoch after one without records");
    }
}

/// Ends a process without anything that happens at an end.
fn die<S, W>(sink: S, writers: W) {
    mem::forget(sink);
    mem::forget(writers);
}

fn open<T, S: Sink<T>>(sink: &S, run: &SinkRun, worker: usize) -> S::Writer {
    sink.open(run, worker)
        .unwrap_or_else(|error| panic!("open failed for worker {worker} in {run:?}: {error:?}"))
}

fn prepare<T, W: SinkWriter<T>>(writer: &mut W, epoch: Epoch) -> Prepare<W::Committable> {
    writer.prepare(epoch).unwrap_or_else(|error| panic!("prepare of {epoch} failed: {error:?}"))
}

/// The second half of `prepare`, and what the checkpoint makes of its result.
fn finish<C: Serialize + DeserializeOwned>(prepared: Prepare<C>) -> Vec<C> {
    decoded(&finish_encoded(prepared))
}

fn finish_encoded<C: Serialize>(prepared: Prepare<C>) -> String {
    let committables = prepared().unwrap_or_else(|error| panic!("finish failed: {error:?}"));
    serde_json::to_string(&committables).expect("committables can be written as JSON")
}

fn decoded<C: DeserializeOwned>(text: &str) -> Vec<C> {
    serde_json::from_str(text)
        .unwrap_or_else(|error| panic!("{text} cannot be read back from JSON: {error}"))
}

fn commit<T, S: Sink<T>>(sink: &S, run: &SinkRun, committables: Vec<S::Committable>) {
    sink.commit(run, committables)
        .unwrap_or_else(|error| panic!("commit failed in {run:?}: {error:?}"));
}
