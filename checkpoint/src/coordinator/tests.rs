//! Scripts of events, and the actions that must follow; random interleavings are in `simulation.rs`.

mod folding;
mod knobs;
mod simulation;

use std::collections::BTreeSet;

use super::*;
use crate::metadata::{OperatorStateMetadata, Origin, SegmentKind, SplitMetadata, StateSchema};
use crate::policy::CheckpointPolicy;
use crate::time::EventTime;

const INTERVAL_MS: u64 = 100;

/// The empty copy with which a job's first run begins.
fn empty(id: u64) -> CheckpointMetadata {
    CheckpointMetadata {
        format: crate::metadata::FORMAT_VERSION,
        job: "job".into(),
        id: CheckpointId(id),
        epoch: Epoch(0),
        generation: Generation(1),
        origin: Origin::Restore { from: None },
        input_ended: false,
        workers: 2,
        key_groups: 8,
        started_ms: 0,
        completed_ms: 0,
        duration_ms: 0,
        bytes_written: 0,
        bytes_folded: 0,
        bytes_total: 0,
        operators: Vec::new(),
        crc32: 0,
    }
}

fn config() -> CoordinatorConfig {
    CoordinatorConfig {
        job: "job".into(),
        generation: Generation(1),
        workers: 2,
        key_groups: 8,
        policy: policy(),
    }
}

/// That of Flink's users, but fast, and without a limit of failures.
fn policy() -> CheckpointPolicy {
    CheckpointPolicy {
        interval: Duration::from_millis(INTERVAL_MS),
        retain: 2,
        tolerable_failures: u32::MAX,
        // Of segments of 10 bytes: more than two for each worker.
        fold_bytes_min: 40,
        ..CheckpointPolicy::default()
    }
}

fn with(policy: CheckpointPolicy) -> CoordinatorConfig {
    CoordinatorConfig { policy, ..config() }
}

/// A job's first run, with 2 workers, begun at 0 ms, that retains 2 checkpoints.
fn job() -> Script {
    Script::new(config(), Vec::new(), empty(1))
}

/// A coordinator whose actions are compared as text.
struct Script {
    coordinator: Coordinator,
    written: Option<CheckpointMetadata>,
}

impl Script {
    fn new(
        config: CoordinatorConfig,
        retained: Vec<CheckpointMetadata>,
        checkpoint: CheckpointMetadata,
    ) -> Script {
        let start = Start { checkpoint, retained, dropped: BTreeSet::new(), now_ms: 0 };
        Script { coordinator: Coordinator::new(config, start), written: None }
    }

    fn step(&mut self, event: Event) -> Vec<String> {
        let actions = self.coordinator.step(event);
        for action in &actions {
            if let Action::Write(metadata) = action {
                self.written = Some((**metadata).clone());
            }
        }
        actions.iter().map(show).collect()
    }

    fn time(&mut self, now_ms: u64) -> Vec<String> {
        self.step(Event::Time { now_ms })
    }

    fn acknowledge(&mut self, epoch: u64, worker: usize, segments: &[SegmentMetadata]) {
        let state = OperatorStateMetadata {
            uid: "count".into(),
            segments: segments.to_vec(),
            ..OperatorStateMetadata::default()
        };
        let acknowledgement = Acknowledgement { epoch: Epoch(epoch), worker, state, stall_us: 0 };
        assert_eq!(self.step(Event::Acknowledged(Box::new(acknowledgement))), [""; 0]);
    }

    fn durable(&mut self, before: u64, now_ms: u64) -> Vec<String> {
        self.step(Event::Durable { before: Some(Epoch(before)), now_ms })
    }

    fn all_durable(&mut self, now_ms: u64) -> Vec<String> {
        self.step(Event::Durable { before: None, now_ms })
    }

    fn not_written(&mut self) -> Vec<String> {
        self.step(Event::NotWritten { reason: "refused".into() })
    }

    fn written(&mut self, id: u64, epoch: u64) -> Vec<String> {
        self.step(Event::Written { id: CheckpointId(id), epoch: Epoch(epoch) })
    }

    fn folded(&mut self, replaced: &[&str], with: Option<Vec<SegmentMetadata>>) {
        let replaced = replaced.iter().map(ToString::to_string).collect();
        let event = Event::Folded { uid: "count".into(), replaced, with };
        assert_eq!(self.step(event), [""; 0]);
    }

    /// From the end of `epoch` to its checkpoint `id`: worker 0 adds `segments`.
    fn checkpoint(&mut self, id: u64, epoch: u64, segments: &[SegmentMetadata]) -> Vec<String> {
        let now_ms = epoch * INTERVAL_MS;
        assert_eq!(self.time(now_ms), [format!("begin e{}", epoch + 1)]);
        self.acknowledge(epoch, 0, segments);
        let actions = self.durable(epoch + 1, now_ms);
        assert!(actions.len() == 1 && actions[0].starts_with("write"), "{actions:?}");
        self.written(id, epoch)
    }
}

fn show(action: &Action) -> String {
    let names = |segments: &[SegmentMetadata]| -> String {
        segments.iter().flat_map(|segment| [" ", segment.object.as_str()]).collect()
    };
    match action {
        Action::Begin(epoch) => format!("begin {epoch}"),
        Action::End => "end".into(),
        Action::Write(metadata) => {
            let operators = metadata.operators.iter();
            let segments: String = operators.map(|operator| names(&operator.segments)).collect();
            format!("write {} of {}:{segments}", metadata.id, metadata.epoch)
        }
        Action::Commit(epoch) => format!("commit {epoch}"),
        Action::Fold { uid, segments } => format!("fold {uid}:{}", names(segments)),
        Action::Delete { checkpoints, segments } => {
            let ids: Vec<_> = checkpoints.iter().map(ToString::to_string).collect();
            format!("delete {:?}: {}", ids, segments.join(" "))
        }
        Action::Savepoint { requests, metadata } => {
            format!("copy {} of {} for {requests:?}", metadata.id, metadata.epoch)
        }
        Action::Finish => "finish".into(),
        Action::Abandon { newer } => format!("abandon to {newer}"),
        Action::Failed { epoch, cause } => format!("{epoch} failed: {cause}"),
        Action::GiveUp { failures, cause } => format!("give up after {failures}: {cause}"),
    }
}

/// A segment over all groups, of 10 bytes.
fn segment(kind: SegmentKind, object: &str, epoch: u64) -> SegmentMetadata {
    SegmentMetadata {
        object: object.into(),
        offset: None,
        kind,
        first_group: 0,
        last_group: 7,
        epoch: Epoch(epoch),
        entries: 1,
        bytes: 10,
        crc32: 0,
    }
}

fn delta(object: &str, epoch: u64) -> SegmentMetadata {
    segment(SegmentKind::Delta, object, epoch)
}

fn base(object: &str, epoch: u64) -> SegmentMetadata {
    segment(SegmentKind::Base, object, epoch)
}

const NOTHING: [&str; 0] = [];

#[test]
fn an_epoch_ends_when_the_interval_has_passed() {
    let mut job = job();
    assert_eq!(job.coordinator.epoch(), Epoch(1));
    assert_eq!(job.coordinator.next_begin_ms(), Some(100));
    assert_eq!(job.time(99), NOTHING);
    assert_eq!(job.time(100), ["begin e2"]);
    assert_eq!(job.coordinator.epoch(), Epoch(2));
}

#[test]
fn a_checkpoint_is_written_when_all_is_durable_and_committed_when_it_is_written() {
    let mut job = job();
    job.time(100);
    job.acknowledge(1, 0, &[delta("a", 1)]);
    assert_eq!(job.durable(1, 110), NOTHING);
    job.acknowledge(1, 1, &[delta("b", 1)]);
    assert_eq!(job.durable(2, 130), ["write 2 of e1: a b"]);
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: "]);

    let metadata = job.written.expect("it was written");
    assert_eq!(metadata.origin, Origin::Interval);
    assert_eq!((metadata.started_ms, metadata.completed_ms, metadata.duration_ms), (100, 130, 30));
    assert_eq!((metadata.bytes_written, metadata.bytes_total), (20, 20));
}

#[test]
fn one_checkpoint_at_a_time() {
    let mut job = job();
    job.time(100);
    assert_eq!(job.coordinator.next_begin_ms(), None);
    assert_eq!(job.time(500), NOTHING, "its snapshots are under way");
    job.durable(2, 500);
    assert_eq!(job.time(600), NOTHING, "its metadata is under way");
    job.written(2, 1);
    // The interval counts from one beginning to the next, so this one is overdue.
    assert_eq!(job.coordinator.next_begin_ms(), Some(600));
    assert_eq!(job.time(600), ["begin e3"]);
}

#[test]
fn a_stop_ends_the_epoch_at_once_and_the_job_with_its_checkpoint() {
    let mut job = job();
    assert_eq!(job.step(Event::StopRequested { now_ms: 7 }), ["begin e2"]);
    assert!(job.coordinator.is_closing());
    assert_eq!(job.step(Event::StopRequested { now_ms: 8 }), NOTHING, "asked again");
    assert_eq!(job.step(Event::InputEnded { now_ms: 8 }), NOTHING, "too late to matter");
    assert_eq!(job.time(1000), NOTHING);
    job.acknowledge(1, 0, &[delta("a", 1)]);
    assert_eq!(job.durable(2, 9), ["write 2 of e1: a"]);
    assert_eq!(job.written.as_ref().map(|m| m.origin), Some(Origin::Stop));
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: ", "finish"]);
    assert_eq!(job.time(2000), NOTHING, "finished");
}

#[test]
fn a_stop_during_a_checkpoint_waits_for_both() {
    let mut job = job();
    job.time(100);
    assert_eq!(job.step(Event::StopRequested { now_ms: 110 }), ["begin e3"]);
    assert_eq!(job.durable(2, 120), ["write 2 of e1:"]);
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: "]);
    assert_eq!(job.durable(3, 130), ["write 3 of e2:"]);
    assert_eq!(job.written(3, 2), ["commit e2", "finish"]);
}

#[test]
fn the_end_of_input_ends_the_job_with_a_checkpoint_of_everything() {
    let mut job = job();
    assert_eq!(job.step(Event::InputEnded { now_ms: 5 }), ["end"]);
    assert_eq!(job.step(Event::InputEnded { now_ms: 6 }), NOTHING, "said again");
    assert_eq!(job.step(Event::StopRequested { now_ms: 6 }), NOTHING, "it ends anyway");
    job.acknowledge(1, 0, &[delta("a", 1)]);
    assert_eq!(job.all_durable(7), ["write 2 of e1: a"]);
    assert_eq!(job.written.as_ref().map(|m| m.origin), Some(Origin::EndOfInput));
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: ", "finish"]);
}

#[test]
fn a_drain_ends_the_job_as_the_end_of_input_does() {
    let mut job = job();
    assert_eq!(job.step(Event::DrainRequested { now_ms: 5 }), ["end"]);
    assert_eq!(job.step(Event::StopRequested { now_ms: 6 }), NOTHING, "it ends anyway");
    assert_eq!(job.step(Event::InputEnded { now_ms: 6 }), NOTHING, "because of the drain");
    assert_eq!(job.all_durable(7), ["write 2 of e1:"]);
    let metadata = job.written.clone().expect("it is being written");
    assert_eq!((metadata.origin, metadata.input_ended), (Origin::Drain, false), "more may come");
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: ", "finish"]);
}

fn savepoint(request: u64, now_ms: u64) -> Event {
    Event::SavepointRequested { request, now_ms }
}

#[test]
fn a_savepoint_ends_the_epoch_at_once_and_is_of_its_checkpoint() {
    let mut job = job();
    assert_eq!(job.step(savepoint(7, 3)), ["begin e2"]);
    assert_eq!(job.coordinator.next_begin_ms(), None, "one checkpoint at a time");
    assert_eq!(job.durable(2, 9), ["write 2 of e1:"]);
    assert_eq!(job.written.as_ref().map(|m| m.origin), Some(Origin::Savepoint));
    assert_eq!(job.written(2, 1), ["commit e1", "copy 2 of e1 for [7]", "delete [\"1\"]: "]);
    assert_eq!(job.coordinator.next_begin_ms(), Some(103), "the job goes on");
}

#[test]
fn a_savepoint_during_a_checkpoint_is_of_the_next_one() {
    let mut job = job();
    job.time(100);
    assert_eq!(job.step(savepoint(1, 110)), ["begin e3"]);
    assert_eq!(job.durable(2, 120), ["write 2 of e1:"]);
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: "]);
    assert_eq!(job.durable(3, 130), ["write 3 of e2:"]);
    assert_eq!(job.written(3, 2), ["commit e2", "copy 3 of e2 for [1]"]);
}

#[test]
fn one_checkpoint_serves_all_who_asked_before_it() {
    let mut job = job();
    job.step(savepoint(1, 1));
    job.step(savepoint(2, 2));
    assert_eq!(job.durable(3, 9), ["write 2 of e2:"]);
    assert_eq!(job.written(2, 2)[..2], ["commit e2", "copy 2 of e2 for [1, 2]"]);
}

#[test]
fn a_savepoint_of_a_job_that_ends_is_of_its_last_checkpoint() {
    for (end, begins) in [
        (Event::StopRequested { now_ms: 5 }, "begin e2"),
        (Event::DrainRequested { now_ms: 5 }, "end"),
        (Event::InputEnded { now_ms: 5 }, "end"),
    ] {
        let mut job = job();
        assert_eq!(job.step(end), [begins]);
        assert_eq!(job.step(savepoint(3, 6)), NOTHING, "no epoch follows");
        assert_eq!(job.all_durable(9), ["write 2 of e1:"]);
        let actions = ["commit e1", "copy 2 of e1 for [3]", "delete [\"1\"]: ", "finish"];
        assert_eq!(job.written(2, 1), actions);
    }
}

#[test]
fn nothing_that_is_copied_is_deleted_before_the_copy_has_ended() {
    let mut job = job();
    job.step(savepoint(1, 0));
    job.acknowledge(1, 0, &[base("a", 1)]);
    job.durable(2, 0);
    assert_eq!(job.written(2, 1)[1], "copy 2 of e1 for [1]");
    // Two checkpoints are retained: the third retires the one that is copied, whose base is void.
    assert_eq!(job.checkpoint(3, 2, &[base("b", 2)]), ["commit e2"]);
    assert_eq!(job.checkpoint(4, 3, &[]), ["commit e3", "delete [\"2\"]: "]);
    assert_eq!(job.step(Event::SavepointEnded { id: CheckpointId(2) }), NOTHING);
    assert_eq!(job.checkpoint(5, 4, &[]), ["commit e4", "delete [\"3\"]: a"]);
}

#[test]
fn operators_may_finish_before_others() {
    let mut job = job();
    // Worker 1 has seen the end of its input in epoch 1; the sources are told of it in epoch 2.
    job.acknowledge(1, 1, &[delta("b", 1)]);
    job.time(100);
    job.acknowledge(1, 0, &[delta("a1", 1)]);
    assert_eq!(job.durable(2, 110), ["write 2 of e1: b a1"]);
    job.written(2, 1);
    assert_eq!(job.step(Event::InputEnded { now_ms: 120 }), ["end"]);
    job.acknowledge(2, 0, &[delta("a2", 2)]);
    assert_eq!(job.all_durable(130), ["write 3 of e2: b a1 a2"]);
    assert_eq!(job.written(3, 2), ["commit e2", "finish"]);
}

/// The frontier moves once; it was forgotten, and the job waited for ever.
#[test]
fn regression_acknowledgements_may_end_before_the_input_is_known_to() {
    let mut job = job();
    job.acknowledge(1, 0, &[delta("a", 1)]);
    assert_eq!(job.all_durable(5), NOTHING);
    assert_eq!(job.step(Event::InputEnded { now_ms: 6 }), ["end", "write 2 of e1: a"]);
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: ", "finish"]);
}

#[test]
fn regression_a_job_without_state_ends() {
    let mut job = job();
    assert_eq!(job.all_durable(0), NOTHING, "nobody will acknowledge anything");
    assert_eq!(job.time(100), ["begin e2", "write 2 of e1:"]);
    job.written(2, 1);
    assert_eq!(job.step(Event::StopRequested { now_ms: 110 }), ["begin e3", "write 3 of e2:"]);
    assert_eq!(job.written(3, 2), ["commit e2", "finish"]);
}

/// It was part of the checkpoint before, and its records were read again after a restore.
#[test]
fn regression_an_epoch_that_is_not_closed_is_not_part_of_a_checkpoint() {
    let mut job = job();
    job.step(Event::StopRequested { now_ms: 5 });
    job.acknowledge(1, 0, &[delta("a1", 1)]);
    job.acknowledge(2, 0, &[delta("a2", 2)]);
    assert_eq!(job.all_durable(6), ["write 2 of e1: a1"]);
}

#[test]
fn regression_an_endless_interval_is_never_over() {
    let config = with(CheckpointPolicy { interval: Duration::MAX, ..policy() });
    let (checkpoint, dropped) = (empty(1), BTreeSet::new());
    let start = Start { checkpoint, retained: Vec::new(), dropped, now_ms: 1 };
    let mut coordinator = Coordinator::new(config, start);
    assert_eq!(coordinator.step(Event::Time { now_ms: 1_000_000 }), []);
}

#[test]
fn an_acknowledgement_waits_until_its_epoch_is_durable() {
    let mut job = job();
    job.time(100);
    job.acknowledge(1, 0, &[delta("a1", 1)]);
    // A worker that is ahead has passed epoch 2 before epoch 1 is durable.
    job.acknowledge(2, 0, &[delta("a2", 2)]);
    job.acknowledge(1, 1, &[delta("b1", 1)]);
    assert_eq!(job.durable(2, 110), ["write 2 of e1: a1 b1"]);
    job.written(2, 1);
    job.time(200);
    assert_eq!(job.durable(3, 210), ["write 3 of e2: a1 b1 a2"]);
}

#[test]
fn several_epochs_become_durable_at_once_in_their_order() {
    let mut job = job();
    job.time(100);
    job.step(Event::StopRequested { now_ms: 110 });
    job.acknowledge(2, 1, &[delta("b2", 2)]);
    job.acknowledge(1, 0, &[delta("a1", 1)]);
    job.acknowledge(2, 0, &[delta("a2", 2)]);
    assert_eq!(job.durable(3, 120), ["write 2 of e2: a1 b2 a2"]);
    assert_eq!(job.written(2, 2), ["commit e2", "delete [\"1\"]: ", "finish"]);
}

#[test]
fn regression_bytes_that_become_durable_during_a_write_count_for_the_next_one() {
    let mut job = job();
    job.time(100);
    job.step(Event::StopRequested { now_ms: 110 });
    job.acknowledge(1, 0, &[delta("a1", 1)]);
    job.durable(2, 120);
    job.acknowledge(2, 0, &[delta("a2", 2)]);
    assert_eq!(job.durable(3, 130), NOTHING, "C2");
    let actions = job.written(2, 1);
    assert_eq!(actions, ["commit e1", "delete [\"1\"]: ", "write 3 of e2: a1 a2"]);
    assert_eq!(job.written.as_ref().map(|m| m.bytes_written), Some(10), "a1 was in the one before");
    assert_eq!(job.written(3, 2), ["commit e2", "finish"]);
}

#[test]
fn regression_the_watermark_is_what_the_worker_furthest_behind_has_acted_on() {
    let mut job = job();
    let mut checkpoint = |id: u64, epoch: u64, watermarks: [Option<i64>; 2]| {
        job.time(epoch * INTERVAL_MS);
        for (worker, watermark) in watermarks.into_iter().enumerate() {
            let state = OperatorStateMetadata {
                uid: "join/timers".into(),
                watermark: watermark.map(EventTime),
                ..OperatorStateMetadata::default()
            };
            let epoch = Epoch(epoch);
            let acknowledgement = Acknowledgement { epoch, worker, state, stall_us: 0 };
            job.step(Event::Acknowledged(Box::new(acknowledgement)));
        }
        job.durable(epoch + 1, epoch * INTERVAL_MS + 10);
        job.written(id, epoch);
        job.written.as_ref().and_then(|metadata| metadata.operators[0].watermark)
    };
    assert_eq!(checkpoint(2, 1, [Some(100), None]), None, "records at 80 come again to the other");
    assert_eq!(checkpoint(3, 2, [Some(100), Some(80)]), Some(EventTime(80)));
    assert_eq!(checkpoint(4, 3, [Some(100), Some(120)]), Some(EventTime(100)));
}

#[test]
fn sources_and_sinks_say_all_they_have_each_time() {
    let mut job = job();
    for (id, epoch, offset) in [(2, 1, 10), (3, 2, 20)] {
        job.time(epoch * INTERVAL_MS);
        let split = SplitMetadata {
            id: "file".into(),
            split: "file".into(),
            offset: Some(offset.into()),
            finished: false,
            watermark: None,
        };
        let state = OperatorStateMetadata {
            uid: "lines".into(),
            schema: StateSchema { kind: crate::metadata::StateKind::Source, ..Default::default() },
            splits: vec![split],
            committables: vec![offset.into()],
            ..OperatorStateMetadata::default()
        };
        let (epoch_, worker, stall_us) = (Epoch(epoch), 0, 0);
        job.step(Event::Acknowledged(Box::new(Acknowledgement {
            epoch: epoch_,
            worker,
            state,
            stall_us,
        })));
        job.durable(epoch + 1, 0);
        let operators = &job.written.as_ref().expect("it is written").operators;
        assert_eq!(operators.len(), 1);
        assert_eq!(operators[0].splits.len(), 1);
        assert_eq!(operators[0].splits[0].offset, Some(offset.into()));
        assert_eq!(operators[0].committables, [serde_json::Value::from(offset)]);
        job.written(id, epoch);
    }
}

#[test]
fn what_was_not_written_is_part_of_the_next_checkpoint() {
    let mut job = job();
    job.time(100);
    job.acknowledge(1, 0, &[delta("a1", 1)]);
    job.durable(2, 110);
    assert_eq!(job.not_written(), ["e1 failed: its metadata was not written: refused"]);
    assert_eq!(job.time(200), ["begin e3"]);
    job.acknowledge(2, 0, &[delta("a2", 2)]);
    assert_eq!(job.durable(3, 210), ["write 2 of e2: a1 a2"], "under the id that is free");
    assert_eq!(job.written.as_ref().map(|m| m.bytes_written), Some(20));
    assert_eq!(job.written(2, 2), ["commit e2", "delete [\"1\"]: "]);
}

#[test]
fn an_own_earlier_write_is_complete_and_what_is_newer_follows() {
    let mut job = job();
    job.time(100);
    job.acknowledge(1, 0, &[delta("a1", 1)]);
    job.durable(2, 110);
    job.not_written();
    job.time(200);
    job.acknowledge(2, 0, &[delta("a2", 2)]);
    assert_eq!(job.durable(3, 210), ["write 2 of e2: a1 a2"]);
    // The first write had taken effect after all.
    let actions = job.written(2, 1);
    assert_eq!(actions, ["commit e1", "delete [\"1\"]: ", "write 3 of e2: a1 a2"]);
    let metadata = job.written.as_ref().expect("it is written");
    assert_eq!((metadata.started_ms, metadata.completed_ms), (200, 210));
    assert_eq!(metadata.bytes_written, 10, "a1 came with the one before");
    assert_eq!(job.written(3, 2), ["commit e2"]);
}

/// It was forgotten: its metadata stayed for ever, and its segments were deleted.
#[test]
fn regression_an_own_earlier_write_is_retained_like_any_other() {
    let mut job = job();
    job.time(100);
    job.acknowledge(1, 0, &[base("a", 1)]);
    job.durable(2, 110);
    job.not_written();
    job.time(200);
    job.acknowledge(2, 0, &[base("b", 2)]);
    assert_eq!(job.durable(3, 210), ["write 2 of e2: b"]);
    let actions = job.written(2, 1);
    assert_eq!(actions, ["commit e1", "delete [\"1\"]: ", "write 3 of e2: b"]);
    assert_eq!(job.written(3, 2), ["commit e2"], "checkpoint 2 needs a");
    job.time(300);
    assert_eq!(job.durable(4, 310), ["write 4 of e3: b"]);
    assert_eq!(job.written(4, 3), ["commit e3", "delete [\"2\"]: a"]);
}

#[test]
fn after_many_attempts_under_an_id_the_last_one_is_tried_on() {
    let mut job = job();
    for epoch in 1..=9 {
        job.time(epoch * INTERVAL_MS);
        assert_eq!(job.durable(epoch + 1, 0), [format!("write 2 of e{epoch}:")]);
        let actions = job.not_written();
        assert!(actions[0].starts_with(&format!("e{epoch} failed")), "{actions:?}");
        assert_eq!(actions[1..], ["write 2 of e9:"][..usize::from(epoch == 9)]);
    }
    assert_eq!(job.coordinator.next_begin_ms(), None);
    let actions = job.written(2, 4);
    assert_eq!(actions, ["commit e4", "delete [\"1\"]: ", "write 3 of e9:"]);
    assert_eq!(job.written(3, 9), ["commit e9"]);
}

#[test]
fn the_last_checkpoint_is_issued_again_until_it_is_written() {
    let mut job = job();
    job.step(Event::InputEnded { now_ms: 5 });
    job.acknowledge(1, 0, &[delta("a", 1)]);
    assert_eq!(job.all_durable(6), ["write 2 of e1: a"]);
    let first = job.written.clone();
    for _ in 0..3 {
        let failed = "e1 failed: its metadata was not written: refused";
        assert_eq!(job.not_written(), [failed, "write 2 of e1: a"]);
        assert_eq!(job.written, first, "never with other contents: it may have taken effect");
    }
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: ", "finish"]);
}

#[test]
fn a_fenced_run_does_nothing_more() {
    let mut job = job();
    job.time(100);
    job.acknowledge(1, 0, &[delta("a", 1)]);
    job.durable(2, 110);
    let newer = Generation(2);
    assert_eq!(job.step(Event::Fenced { newer }), ["abandon to generation 2"]);
    assert!(job.coordinator.is_closing());
    assert_eq!(job.step(Event::Fenced { newer }), NOTHING);
    assert_eq!(job.written(2, 1), NOTHING);
    assert_eq!(job.not_written(), NOTHING);
    assert_eq!(job.time(1000), NOTHING);
    assert_eq!(job.step(Event::InputEnded { now_ms: 1000 }), NOTHING);
    assert_eq!(job.all_durable(1000), NOTHING);
}

#[test]
fn the_oldest_checkpoints_go_and_the_copy_a_run_begins_with_does_not_count() {
    let older = |id: u64, epoch: u64| CheckpointMetadata {
        epoch: Epoch(epoch),
        origin: Origin::Interval,
        ..empty(id)
    };
    let copy = CheckpointMetadata {
        epoch: Epoch(5),
        origin: Origin::Restore { from: Some(CheckpointId(4)) },
        ..empty(5)
    };
    // Retains 2: 4 and 6 stay. The copy in between only takes up a place.
    let mut job = Script::new(config(), vec![older(3, 4), older(4, 5)], copy);
    assert_eq!(job.coordinator.epoch(), Epoch(6));
    job.time(100);
    assert_eq!(job.durable(7, 100), ["write 6 of e6:"]);
    assert_eq!(job.written(6, 6), ["commit e6", "delete [\"5\", \"3\"]: "]);
    job.time(200);
    job.durable(8, 200);
    assert_eq!(job.written(7, 7), ["commit e7", "delete [\"4\"]: "]);
}

#[test]
fn a_segment_goes_with_the_last_checkpoint_that_needs_it() {
    let mut job = job();
    assert_eq!(job.checkpoint(2, 1, &[base("a", 1)]), ["commit e1", "delete [\"1\"]: "]);
    // From here on a newer base hides `a`, but checkpoint 2 is retained.
    assert_eq!(job.checkpoint(3, 2, &[base("b", 2)]), ["commit e2"]);
    assert_eq!(job.checkpoint(4, 3, &[delta("c", 3)]), ["commit e3", "delete [\"2\"]: a"]);
}

#[test]
fn a_segment_that_only_the_running_state_refers_to_stays() {
    let config = with(CheckpointPolicy { retain: 1, ..policy() });
    let mut job = Script::new(config, Vec::new(), empty(1));
    job.time(100);
    job.step(Event::StopRequested { now_ms: 110 });
    job.acknowledge(1, 0, &[base("a", 1)]);
    job.durable(2, 120);
    job.acknowledge(2, 0, &[delta("b", 2)]);
    job.durable(3, 130);
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: ", "write 3 of e2: a b"]);
    assert_eq!(job.written(3, 2), ["commit e2", "delete [\"2\"]: ", "finish"]);
}

#[test]
fn many_deltas_are_folded_and_the_base_replaces_them() {
    let mut job = job();
    job.checkpoint(2, 1, &[base("a", 1)]);
    job.checkpoint(3, 2, &[delta("b", 2)]);
    job.checkpoint(4, 3, &[delta("c", 3)]);
    job.checkpoint(5, 4, &[]);
    // More bytes in deltas than in bases, and more segments than two for each worker.
    let actions = job.checkpoint(6, 5, &[delta("d", 5), delta("e", 5)]);
    assert_eq!(actions, ["commit e5", "fold count: a b c d e", "delete [\"4\"]: "]);
    // One at a time, however many come meanwhile.
    assert_eq!(job.checkpoint(7, 6, &[delta("f", 6)]), ["commit e6", "delete [\"5\"]: "]);
    job.folded(&["a", "b", "c", "d", "e"], Some(vec![base("fold", 5)]));
    assert_eq!(job.checkpoint(8, 7, &[delta("g", 7)]), ["commit e7", "delete [\"6\"]: "]);
    let metadata = job.written.clone().expect("it is written");
    assert_eq!(show(&Action::Write(Box::new(metadata.clone()))), "write 8 of e7: fold f g");
    assert_eq!((metadata.bytes_written, metadata.bytes_folded), (10, 10), "{metadata:?}");
    // 7 is the last that needs what was folded.
    assert_eq!(job.checkpoint(9, 8, &[]), ["commit e8", "delete [\"7\"]: a b c d e"]);
}

#[test]
fn a_long_list_is_folded_however_small_its_deltas() {
    let mut job = job();
    let huge = SegmentMetadata { bytes: 1_000_000, ..base("huge", 1) };
    job.checkpoint(2, 1, &[huge]);
    let deltas: Vec<_> = (0..31).map(|n| delta(&format!("d{n}"), 2)).collect();
    assert_eq!(job.checkpoint(3, 2, &deltas), ["commit e2"], "16 for each worker");
    let actions = job.checkpoint(4, 3, &[delta("d31", 3)]);
    assert!(actions[1].starts_with("fold count: huge d0"), "{actions:?}");
}

#[test]
fn a_fold_that_failed_changes_nothing_and_is_tried_again() {
    let mut job = job();
    let deltas: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| delta(name, 1)).to_vec();
    let actions = job.checkpoint(2, 1, &deltas);
    assert_eq!(actions, ["commit e1", "fold count: a b c d e", "delete [\"1\"]: "]);
    job.folded(&["a", "b", "c", "d", "e"], None);
    assert_eq!(job.checkpoint(3, 2, &[]), ["commit e2", "fold count: a b c d e"]);
}

#[test]
fn what_is_being_folded_is_not_deleted() {
    let config = with(CheckpointPolicy { retain: 1, ..policy() });
    let mut job = Script::new(config, Vec::new(), empty(1));
    let deltas: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| delta(name, 1)).to_vec();
    let actions = job.checkpoint(2, 1, &deltas);
    assert_eq!(actions[1], "fold count: a b c d e");
    // A base of the worker itself hides them all, and no retained checkpoint refers to them.
    assert_eq!(job.checkpoint(3, 2, &[base("own", 2)]), ["commit e2", "delete [\"2\"]: "]);
    job.folded(&["a", "b", "c", "d", "e"], Some(vec![base("fold", 1)]));
    // What the fold made is hidden by the worker's base as well.
    assert_eq!(job.checkpoint(4, 3, &[]), ["commit e3", "delete [\"3\"]: a b c d e fold"]);
}

#[test]
fn a_fold_of_an_operator_that_nobody_knows_is_ignored() {
    job().folded(&["a"], Some(vec![base("fold", 1)]));
}

#[test]
fn the_digest_of_an_operator_is_the_sum_of_what_its_workers_have() {
    let mut job = job();
    let digest = |n: u8| crate::state::StateDigest::of_entry(&[n], &[n]);
    let mut checkpoint = |id, epoch, parts: &[Option<u8>]| {
        job.time(epoch * INTERVAL_MS);
        for (worker, part) in parts.iter().enumerate() {
            let state = OperatorStateMetadata {
                uid: "count".into(),
                digest: part.map(digest),
                ..OperatorStateMetadata::default()
            };
            let (epoch, stall_us) = (Epoch(epoch), 0);
            job.step(Event::Acknowledged(Box::new(Acknowledgement {
                epoch,
                worker,
                state,
                stall_us,
            })));
        }
        job.durable(epoch + 1, 0);
        let found = job.written.as_ref().expect("it is written").operators[0].digest;
        job.written(id, epoch);
        found
    };
    let sum = |parts: &[u8]| Some(parts.iter().map(|n| digest(*n)).sum());
    assert_eq!(checkpoint(2, 1, &[Some(1), Some(2)]), sum(&[1, 2]));
    // Each says what it has, not what is new.
    assert_eq!(checkpoint(3, 2, &[Some(3), Some(2)]), sum(&[3, 2]));
    assert_eq!(checkpoint(4, 3, &[Some(3), None]), None, "one part is not known");
    assert_eq!(checkpoint(5, 4, &[Some(3), Some(5)]), sum(&[3, 5]));
}
