//! What each knob does to the order of things: minimum pause, concurrency, timeout, tolerable failures,
//! and state that is dropped. Times are in milliseconds, the interval is 100.

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A job's first run with `policy`.
fn job_with(policy: CheckpointPolicy) -> Script {
    Script::new(with(policy), Vec::new(), empty(1))
}

fn late(epoch: u64) -> String {
    format!("e{epoch} failed: a snapshot was not durable within the timeout of 1s")
}

const REFUSED: &str = "its metadata was not written: refused";

/// A second for a checkpoint.
fn hasty() -> CheckpointPolicy {
    CheckpointPolicy { timeout: ms(1000), ..policy() }
}

#[test]
fn the_pause_counts_from_the_end_of_the_last_checkpoint() {
    let mut job = job_with(CheckpointPolicy { min_pause: ms(70), ..policy() });
    assert_eq!(job.time(99), NOTHING);
    assert_eq!(job.time(100), ["begin e2"], "none was before");
    job.durable(2, 150);
    job.time(160);
    job.written(2, 1);
    assert_eq!(job.time(229), NOTHING, "the interval is over, the pause is not");
    assert_eq!(job.time(230), ["begin e3"]);
    job.durable(3, 240);
    job.written(3, 2);
    assert_eq!(job.time(329), NOTHING, "the pause is over, the interval is not");
    assert_eq!(job.time(330), ["begin e4"]);
}

#[test]
fn the_pause_counts_from_a_failure_as_well() {
    let mut job = job_with(CheckpointPolicy { min_pause: ms(70), ..hasty() });
    job.time(100);
    assert_eq!(job.time(1100), [late(1)]);
    assert_eq!(job.time(1169), NOTHING);
    assert_eq!(job.time(1170), ["begin e3"]);
    job.durable(3, 1180);
    job.not_written();
    assert_eq!(job.time(1249), NOTHING);
    assert_eq!(job.time(1270), ["begin e4"]);
}

#[test]
fn several_epochs_are_under_way_and_no_more() {
    let mut job = job_with(CheckpointPolicy { max_concurrent: 3, ..policy() });
    assert_eq!(job.time(100), ["begin e2"]);
    assert_eq!(job.time(199), NOTHING, "each an interval after the one before");
    assert_eq!(job.time(200), ["begin e3"]);
    assert_eq!(job.time(300), ["begin e4"]);
    assert_eq!(job.time(900), NOTHING, "e1, e2, e3");
    job.acknowledge(1, 0, &[delta("a", 1)]);
    assert_eq!(job.durable(2, 910), ["write 2 of e1: a"]);
    assert_eq!(job.time(920), NOTHING, "being written is not complete");
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: "]);
    assert_eq!(job.time(930), ["begin e5"]);
    // Two become durable at once, and one metadata is of both.
    job.acknowledge(2, 0, &[delta("b", 2)]);
    job.acknowledge(3, 0, &[delta("c", 3)]);
    assert_eq!(job.durable(4, 940), ["write 3 of e3: a b c"]);
    assert_eq!(job.time(1030), ["begin e6"], "e3, e4 are under way, e2 is part of e3");
    assert_eq!(job.time(1130), NOTHING);
}

#[test]
fn an_epoch_that_takes_too_long_fails_and_is_part_of_the_next() {
    let mut job = job_with(hasty());
    assert_eq!(job.time(100), ["begin e2"]);
    assert_eq!(job.time(1099), NOTHING, "one at a time");
    assert_eq!(job.time(1100), [late(1), "begin e3".into()]);
    assert_eq!(job.time(1200), NOTHING, "said once; and e2 is under way");
    job.acknowledge(1, 0, &[delta("a", 1)]);
    assert_eq!(job.durable(2, 1300), NOTHING, "too late");
    job.acknowledge(2, 0, &[delta("b", 2)]);
    assert_eq!(job.durable(3, 1400), ["write 2 of e2: a b"]);
    assert_eq!(job.written.as_ref().map(|m| (m.started_ms, m.bytes_written)), Some((1100, 20)));
    assert_eq!(job.written(2, 2), ["commit e2", "delete [\"1\"]: "]);
}

#[test]
fn a_write_that_takes_too_long_holds_up_nothing_and_is_complete_if_it_is_there() {
    let mut job = job_with(hasty());
    job.time(100);
    assert_eq!(job.durable(2, 100), ["write 2 of e1:"]);
    let failed = "e1 failed: its metadata was not durable within the timeout of 1s";
    assert_eq!(job.time(1100), [failed, "begin e3"]);
    job.acknowledge(2, 0, &[delta("b", 2)]);
    assert_eq!(job.durable(3, 1150), NOTHING, "C2");
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: ", "write 3 of e2: b"]);
    assert_eq!(job.written(3, 2), ["commit e2"]);
}

#[test]
fn a_write_that_was_late_and_then_fails_is_counted_once() {
    let mut job = job_with(CheckpointPolicy { tolerable_failures: 1, ..hasty() });
    job.time(100);
    job.durable(2, 100);
    assert_eq!(job.time(1100).len(), 2);
    assert_eq!(job.not_written(), NOTHING);
}

#[test]
fn the_last_checkpoint_has_no_timeout() {
    let mut job = job_with(CheckpointPolicy { tolerable_failures: 0, ..hasty() });
    job.step(Event::StopRequested { now_ms: 50 });
    assert_eq!(job.time(1_000_000), NOTHING);
    assert_eq!(job.durable(2, 1_000_000), ["write 2 of e1:"]);
    let again = [format!("e1 failed: {REFUSED}"), "write 2 of e1:".into()];
    assert_eq!(job.not_written(), again, "nothing would make up for it");
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: ", "finish"]);
}

#[test]
fn a_stop_takes_in_what_was_late() {
    let mut job = job_with(hasty());
    job.time(100);
    assert_eq!(job.time(1100), [late(1), "begin e3".into()]);
    assert_eq!(job.step(Event::StopRequested { now_ms: 1110 }), ["begin e4"]);
    job.acknowledge(1, 0, &[delta("a", 1)]);
    job.acknowledge(3, 0, &[delta("c", 3)]);
    assert_eq!(job.durable(4, 1200), ["write 2 of e3: a c"]);
    assert_eq!(job.written(2, 3), ["commit e3", "delete [\"1\"]: ", "finish"]);
}

#[test]
fn more_failures_in_a_row_than_tolerable_end_the_run() {
    let mut job = job_with(CheckpointPolicy { tolerable_failures: 2, ..policy() });
    let fails = |job: &mut Script, epoch: u64| {
        job.time(epoch * INTERVAL_MS);
        job.durable(epoch + 1, epoch * INTERVAL_MS);
        job.not_written()
    };
    assert_eq!(fails(&mut job, 1), [format!("e1 failed: {REFUSED}")]);
    assert_eq!(fails(&mut job, 2), [format!("e2 failed: {REFUSED}")]);
    job.checkpoint(2, 3, &[]);
    assert_eq!(fails(&mut job, 4).len(), 1, "a complete one sets the count back");
    assert_eq!(fails(&mut job, 5).len(), 1);
    let end = [format!("e6 failed: {REFUSED}"), format!("give up after 3: {REFUSED}")];
    assert_eq!(fails(&mut job, 6), end);
    assert!(job.coordinator.is_closing());
    assert_eq!(job.time(10_000), NOTHING, "C4");
    assert_eq!(job.all_durable(10_000), NOTHING);
}

#[test]
fn timeouts_count_like_refusals() {
    let mut job = job_with(CheckpointPolicy { tolerable_failures: 1, ..hasty() });
    job.time(100);
    assert_eq!(job.time(1100), [late(1), "begin e3".into()]);
    let actions = job.time(2100);
    assert_eq!(actions[0], late(2));
    assert!(actions[1].starts_with("give up after 2: a snapshot"), "{actions:?}");
    assert_eq!(actions.len(), 2);
}

#[test]
fn while_too_many_late_epochs_are_in_memory_none_begins() {
    let mut job = job_with(CheckpointPolicy { max_concurrent: 2, ..hasty() });
    let mut begun = 0;
    for now in (0..60_000).step_by(50) {
        begun += job.time(now).iter().filter(|action| action.starts_with("begin")).count();
    }
    assert_eq!(begun, 8 + 1, "eight late ones, and one that began before the last was late");
    // What is durable is out of memory, though it waits for one that is in time.
    assert_eq!(job.durable(9, 60_000), NOTHING);
    assert_eq!(job.time(60_000), ["begin e11"]);
    assert_eq!(job.durable(11, 60_100), ["write 2 of e10:"]);
}

#[test]
fn dropped_state_is_in_no_checkpoint_and_its_segments_go() {
    let operator = |uid: &str, object| OperatorStateMetadata {
        uid: uid.into(),
        segments: vec![base(object, 1)],
        ..OperatorStateMetadata::default()
    };
    let operators = vec![operator("count", "a"), operator("gone", "b")];
    let checkpoint = CheckpointMetadata { operators, ..empty(1) };
    let dropped = BTreeSet::from(["gone".to_owned()]);
    let start = Start { checkpoint, retained: Vec::new(), dropped, now_ms: 0 };
    let mut job = Script { coordinator: Coordinator::new(config(), start), written: None };
    job.time(100);
    assert_eq!(job.durable(2, 100), ["write 2 of e1: a"]);
    assert_eq!(job.written(2, 1), ["commit e1", "delete [\"1\"]: b"]);
}
