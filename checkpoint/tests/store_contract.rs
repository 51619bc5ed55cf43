//! The promises of `BlobStore` hold on every kind of store, and while requests fail.
//!
//! One contract runs over memory, a directory, a store that takes each object in one piece, and
//! over scripts of faults: requests that are refused, that take effect but are answered with an
//! error, that take longer than an attempt may. The oracle is the list of what was reported done.

#![expect(clippy::disallowed_methods, reason = "measures how long retries take")]

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater_checkpoint::metadata::Generation;
use highwater_checkpoint::store::faulty::{Faults, FaultyStore, Side};
use highwater_checkpoint::store::{BlobStore, Location, PART_BYTES, PutIfAbsent, RetryPolicy};
use highwater_checkpoint::store::{Tail, layout};
use highwater_checkpoint::{Error, ErrorKind};
use object_store::memory::InMemory;

/// The job of all tests; its name needs encoding.
const JOB: &str = "word count/\u{e9}";

/// Long enough for the pauses after several failures in a row, however slow the machine.
const PATIENT: RetryPolicy =
    RetryPolicy { deadline: Duration::from_secs(30), attempt_timeout: Duration::from_secs(10) };
/// For requests that must fail.
const HASTY: RetryPolicy = RetryPolicy {
    deadline: Duration::from_millis(100),
    attempt_timeout: Duration::from_millis(50),
};

fn run<T>(test: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_time().build().expect("a runtime").block_on(test)
}

/// One attempt each.
const ONCE: RetryPolicy =
    RetryPolicy { deadline: Duration::from_millis(15), attempt_timeout: Duration::from_secs(1) };

struct Case {
    name: &'static str,
    location: Location,
    policy: RetryPolicy,
    faults: Faults,
    /// Deleted when the case is over.
    _directory: Option<tempfile::TempDir>,
}

impl Case {
    fn store(&self) -> BlobStore {
        BlobStore::new(self.location.clone(), JOB).retry_policy(self.policy)
    }
}

fn plain(name: &'static str, location: Location) -> Case {
    Case { name, location, policy: PATIENT, faults: Faults::default(), _directory: None }
}

fn faulty(name: &'static str, faults: Faults) -> Case {
    let location = FaultyStore::wrap(Location::memory(), faults.clone());
    Case { faults, ..plain(name, location) }
}

fn directory() -> Case {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().to_str().expect("a path in UTF-8");
    let location = Location::parse(path).expect("a directory that can be written");
    Case { _directory: Some(directory), ..plain("directory", location) }
}

fn directory_with_faults() -> Case {
    let case = directory();
    let faults = Faults::default().refuse_every(3).lose_reply_every(4);
    let location = FaultyStore::wrap(case.location, faults.clone());
    Case { name: "directory with faults", location, faults, ..case }
}

fn cases() -> Vec<Case> {
    let slow = Faults::default().slow_every(3, Duration::from_secs(60));
    let attempt_timeout = Duration::from_millis(100);
    vec![
        plain("memory", Location::memory()),
        plain("one piece", Location::single_put(Arc::new(InMemory::new()))),
        directory(),
        directory_with_faults(),
        faulty("every 3rd refused", Faults::default().refuse_every(3)),
        faulty("every 3rd reply lost", Faults::default().lose_reply_every(3)),
        faulty("both", Faults::default().refuse_every(4).lose_reply_every(3)),
        Case {
            policy: RetryPolicy { attempt_timeout, ..PATIENT },
            ..faulty("every 3rd too slow", slow)
        },
    ]
}

/// Runs `test` on all cases at once: most of their time is pauses between attempts.
async fn on_all<T: Future<Output = ()> + Send + 'static>(test: impl Fn(Case) -> T) {
    let tests: Vec<_> = cases().into_iter().map(|case| tokio::spawn(test(case))).collect();
    for test in tests {
        test.await.expect("the failure is printed above");
    }
}

fn bytes_of(text: impl std::fmt::Display) -> Bytes {
    text.to_string().into()
}

#[test]
fn what_was_reported_done_is_there() {
    run(async {
        on_all(|case| async move {
            let (store, name) = (case.store(), case.name);
            let object = |i: u64| format!("segments/a%2Fb/{i:02}.seg");
            for i in 0..12 {
                store.put(&object(i), bytes_of(i)).await.unwrap();
            }
            store.delete(&object(3)).await.unwrap();
            store.delete(&object(3)).await.unwrap();

            let listed = store.list("segments").await.unwrap();
            let kept: Vec<u64> = (0..12).filter(|i| *i != 3).collect();
            let expected: Vec<_> =
                kept.iter().map(|i| (object(*i), if *i < 10 { 1 } else { 2 })).collect();
            assert_eq!(listed, expected, "{name}");
            assert_eq!(store.list("nothing/here").await.unwrap(), [], "{name}");
            for i in kept {
                assert_eq!(store.get(&object(i)).await.unwrap(), bytes_of(i), "{name}, {i}");
            }
            let gone = store.get(&object(3)).await.unwrap_err();
            assert!(matches!(gone, Error::Missing { .. }), "{name}: {gone:?}");
            let stats = store.stats();
            assert_eq!(stats.retries > 0, case.faults.calls() > 0, "{name}: {stats:?}");
        })
        .await;
    });
}

#[test]
fn parts_of_objects_are_read() {
    run(async {
        on_all(|case| async move {
            let (store, name) = (case.store(), case.name);
            store.put("segments/x", bytes_of("0123456789")).await.unwrap();
            assert_eq!(store.size("segments/x").await.unwrap(), 10, "{name}");
            assert_eq!(store.get_range("segments/x", 2..5).await.unwrap(), "234", "{name}");
            assert_eq!(store.get_range("segments/x", 5..5).await.unwrap(), "", "{name}");
            for (length, expected) in [(4, "6789"), (10, "0123456789"), (99, "0123456789")] {
                let tail = store.get_tail("segments/x", length).await.unwrap();
                assert_eq!(tail, Tail { bytes: expected.into(), object_bytes: 10 }, "{name}");
            }
            // An object that is shorter than its metadata says is damaged, not worth waiting for.
            for range in [8..12, 20..30] {
                let short = store.get_range("segments/x", range).await.unwrap_err();
                assert_eq!(short.kind(), ErrorKind::Data, "{name}: {short:?}");
                assert!(short.to_string().contains("segments/x"), "{name}: {short}");
            }
        })
        .await;
    });
}

#[test]
fn of_racers_for_a_name_exactly_one_creates_it() {
    run(async {
        on_all(|case| async move {
            for round in 0..4 {
                let object = format!("checkpoints/{round}");
                let race = |racer: u64| {
                    let (store, object) = (case.store(), object.clone());
                    let put = async move { store.put_if_absent(&object, bytes_of(racer)).await };
                    (racer, tokio::spawn(put))
                };
                let racers: Vec<_> = (0..6).map(race).collect();
                let (mut winners, mut seen) = (Vec::new(), Vec::new());
                for (racer, outcome) in racers {
                    match outcome.await.unwrap().unwrap() {
                        PutIfAbsent::Created => winners.push(bytes_of(racer)),
                        PutIfAbsent::Exists(bytes) => seen.push(bytes),
                    }
                }
                assert_eq!(winners.len(), 1, "{}: {winners:?}", case.name);
                assert!(seen.iter().all(|bytes| *bytes == winners[0]), "{}: {seen:?}", case.name);
                assert_eq!(case.store().get(&object).await.unwrap(), winners[0], "{}", case.name);
            }
        })
        .await;
    });
}

/// The first attempt of a put-if-absent is answered with each class of error, applied and not.
#[test]
fn a_put_if_absent_is_settled_whatever_the_first_answer_was() {
    run(async {
        for call in 2..=5 {
            for lost in [Side::Before, Side::After] {
                let faults = match lost {
                    Side::Before => Faults::default().down_for_calls(call..call + 1),
                    Side::After => Faults::default().lose_replies_to_calls(call..call + 1),
                };
                let case = faulty("one fault", faults.clone());
                let store = case.store();
                for _ in 1..call {
                    store.list("x").await.unwrap();
                }
                let put = store.put_if_absent("generations/x", bytes_of("ours")).await;
                assert_eq!(put.unwrap(), PutIfAbsent::Created, "{lost:?} {call}");
                assert!(store.stats().requests > call, "{lost:?} {call}: no fault met the put");
                let other = store.put_if_absent("generations/x", bytes_of("theirs")).await;
                assert_eq!(other.unwrap(), PutIfAbsent::Exists("ours".into()), "{lost:?} {call}");
            }
        }
    });
}

#[test]
fn large_objects_are_written_in_parts() {
    let pattern: Vec<u8> = (0..20_u32 << 20).map(|i| (i % 251) as u8).collect();
    let pattern = Bytes::from(pattern);
    run(on_all(|case| {
        let pattern = pattern.clone();
        async move {
            let (store, name) = (case.store(), case.name);
            for (object, size) in [("small", 17), ("full", PART_BYTES), ("large", pattern.len())] {
                let object = format!("segments/count/{object}.seg");
                let mut upload = store.writer(&object);
                for at in (0..size).step_by(700_001) {
                    upload.write(pattern.slice(at..size.min(at + 700_001))).await.unwrap();
                }
                assert_eq!(store.list("segments/count").await.unwrap(), [], "{name}");
                assert_eq!(upload.finish().await.unwrap(), size as u64, "{name}, {object}");
                let read = store.get(&object).await.unwrap();
                assert!(read == pattern.slice(..size), "{name}, {object}: other bytes");
                store.delete(&object).await.unwrap();
            }
            let empty = store.writer("segments/empty.seg").finish().await.unwrap();
            assert_eq!((empty, store.size("segments/empty.seg").await.unwrap()), (0, 0), "{name}");
        }
    }));
}

/// One fault at each request of an upload in parts, before and after it takes effect.
#[test]
fn an_upload_survives_a_fault_at_any_of_its_requests() {
    let pattern: Vec<u8> = (0..PART_BYTES as u32 * 2 + 5).map(|i| (i % 251) as u8).collect();
    let pattern = Bytes::from(pattern);
    run(async {
        for lost in [Side::Before, Side::After] {
            // Start, three parts, complete.
            for call in 1..=5 {
                for case in [plain("memory", Location::memory()), directory()] {
                    let faults = match lost {
                        Side::Before => Faults::default().down_for_calls(call..call + 1),
                        Side::After => Faults::default().lose_replies_to_calls(call..call + 1),
                    };
                    let location = FaultyStore::wrap(case.location.clone(), faults.clone());
                    let store = BlobStore::new(location, JOB).retry_policy(PATIENT);
                    let mut upload = store.writer("segments/x.seg");
                    upload.write(pattern.clone()).await.unwrap();
                    upload.finish().await.unwrap();
                    let context = format!("{lost:?} call {call}, {}", case.name);
                    assert!(faults.calls() > 5, "{context}: no fault met the upload");
                    assert_eq!(
                        faults.log()[call as usize - 1].operation,
                        match call {
                            1 => "start_upload",
                            5 => "complete",
                            _ => "put_part",
                        }
                    );
                    let read = case.store().get("segments/x.seg").await.unwrap();
                    assert!(read == pattern, "{context}: other bytes");
                }
            }
        }
    });
}

#[test]
fn an_upload_that_fails_or_is_given_up_leaves_nothing_to_see() {
    run(async {
        let part = Bytes::from(vec![7; PART_BYTES + 1]);
        for case in [plain("memory", Location::memory()), directory()] {
            let store = case.store();
            let mut upload = store.writer("segments/given-up.seg");
            upload.write(part.clone()).await.unwrap();
            upload.abort().await;
            let mut upload = store.writer("segments/dropped.seg");
            upload.write(part.clone()).await.unwrap();
            drop(upload);
            assert_eq!(store.list("segments").await.unwrap(), [], "{}", case.name);
        }

        let faults = Faults::default();
        let case = faulty("down", faults.clone());
        let store = case.store().retry_policy(HASTY);
        let mut hasty = store.writer("segments/hasty.seg");
        let down = faults.down_for_calls(0..u64::MAX);
        let failed = hasty.write(part.clone()).await.unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::Reconcile, "{failed:?}");
        down.heal();
        // The part that failed is not in the object: finishing would leave a hole.
        let unfinished = hasty.finish().await.unwrap_err();
        assert!(unfinished.to_string().contains("segments/hasty.seg"), "{unfinished}");
        assert_eq!(store.list("segments").await.unwrap(), []);
    });
}

#[test]
fn after_the_deadline_an_error_says_what_may_have_changed() {
    run(async {
        let faults = Faults::default();
        let case = faulty("down", faults.clone());
        let store = case.store().retry_policy(HASTY);
        let down = faults.clone().down_for_calls(0..u64::MAX);

        let put = store.put("a", bytes_of("x")).await.unwrap_err();
        let create = store.put_if_absent("a", bytes_of("x")).await.unwrap_err();
        let get = store.get("a").await.unwrap_err();
        let list = store.list("segments").await.unwrap_err();
        assert!(matches!(&put, Error::Indeterminate { object, .. } if object == "a"), "{put:?}");
        assert!(matches!(create, Error::Indeterminate { .. }), "{create:?}");
        assert!(matches!(get, Error::Refused { .. }), "{get:?}");
        assert!(matches!(list, Error::Refused { .. }), "{list:?}");

        down.heal();
        // Denied is final, and says at once that nothing changed.
        let denied = faults.deny();
        let (started, calls) = (Instant::now(), denied.calls());
        let put = case.store().put("a", bytes_of("x")).await.unwrap_err();
        assert!(matches!(put, Error::Refused { .. }), "{put:?}");
        assert_eq!(denied.calls(), calls + 1, "not tried again");
        assert!(started.elapsed() < PATIENT.deadline);
    });
}

#[test]
fn a_store_that_is_down_for_a_while_is_waited_for() {
    run(async {
        let faults = Faults::default().down_during(Duration::ZERO..Duration::from_millis(150));
        let case = faulty("down for a while", faults);
        case.store().put("a", bytes_of("x")).await.unwrap();
        assert_eq!(case.store().get("a").await.unwrap(), "x");
    });
}

#[test]
fn the_probe_accepts_stores_that_keep_the_promise() {
    run(async {
        on_all(|case| async move {
            case.store().probe().await.unwrap_or_else(|error| panic!("{}: {error}", case.name));
            let left = case.store().list(layout::PROBES).await.unwrap();
            assert_eq!(left, [], "{}", case.name);
        })
        .await;
    });
}

#[test]
fn the_probe_refuses_a_store_that_ignores_the_condition() {
    run(async {
        for script in [Faults::default(), Faults::default().lose_reply_every(3)] {
            let case = faulty("ignores the condition", script.ignore_create());
            let refused = case.store().probe().await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused:?}");
            let text = refused.to_string();
            assert!(text.contains("existed already") && text.contains("Two runs"), "{text}");
            assert_eq!(case.store().list(layout::PROBES).await.unwrap(), []);
        }
    });
}

#[test]
fn concurrent_runs_claim_different_generations() {
    run(async {
        on_all(|case| async move {
            let claim = |_| {
                let store = case.store();
                tokio::spawn(async move { store.claim_generation().await.unwrap() })
            };
            let claims: Vec<_> = (0..8).map(claim).collect();
            let mut claimed = Vec::new();
            for claim in claims {
                claimed.push(claim.await.unwrap());
            }
            claimed.sort_unstable();
            let expected: Vec<_> = (1..=8).map(Generation).collect();
            assert_eq!(claimed, expected, "{}", case.name);
        })
        .await;
    });
}

#[test]
fn a_newer_run_fences_the_older_ones() {
    run(async {
        on_all(|case| async move {
            let (store, name) = (case.store(), case.name);
            assert_eq!(store.newest_generation().await.unwrap(), None, "{name}");
            let first = store.claim_generation().await.unwrap();
            store.check_fence(first).await.unwrap();
            let second = store.claim_generation().await.unwrap();
            store.check_fence(second).await.unwrap();
            let fenced = store.check_fence(first).await.unwrap_err();
            let Error::Fenced { ours, newer } = fenced else { panic!("{name}: {fenced:?}") };
            assert_eq!((ours, newer), (first, second), "{name}");
            assert_eq!(store.newest_generation().await.unwrap(), Some(second), "{name}");
        })
        .await;
    });
}

#[test]
fn a_run_whose_token_is_gone_stops() {
    run(async {
        let store = plain("memory", Location::memory()).store();
        let ours = store.claim_generation().await.unwrap();
        store.delete(&layout::generation(ours)).await.unwrap();
        let gone = store.check_fence(ours).await.unwrap_err();
        assert!(matches!(gone, Error::Missing { .. }), "{gone:?}");
    });
}

#[test]
fn tokens_do_not_pile_up_and_say_whose_they_are() {
    run(async {
        let store = plain("memory", Location::memory()).store();
        for expected in 1..=40 {
            assert_eq!(store.claim_generation().await.unwrap(), Generation(expected));
        }
        let tokens = store.list(layout::GENERATIONS).await.unwrap();
        assert_eq!(tokens.len(), 17);
        assert_eq!(tokens[0].0, "generations/0000000024");

        let token = store.get("generations/0000000040").await.unwrap();
        let token: serde_json::Value = serde_json::from_slice(&token).unwrap();
        assert_eq!(token["generation"], 40);
        assert_eq!(token["pid"], std::process::id());
        assert!(token["host"].is_string() && token["started_ms"].as_u64() > Some(0), "{token}");
    });
}

/// A starter that listed long ago finds its number free again, since the token was deleted as old.
#[test]
fn a_number_that_was_used_before_is_not_claimed_again() {
    run(async {
        let inner = Location::memory();
        let others = BlobStore::new(inner.clone(), JOB).retry_policy(PATIENT);
        for expected in 1..=2 {
            assert_eq!(others.claim_generation().await.unwrap(), Generation(expected));
        }
        // The starter's first request lists two tokens; its second, the put of the third, waits
        // until the others have gone on.
        let (resume, wait) = mpsc::channel();
        let (reached, wait) = (Arc::new(AtomicBool::new(false)), Mutex::new(wait));
        let at_put = Arc::clone(&reached);
        let faults = Faults::default().crash_at(2, Side::Before, move || {
            at_put.store(true, Ordering::SeqCst);
            wait.lock().unwrap().recv().unwrap();
        });
        let late = BlobStore::new(FaultyStore::wrap(inner, faults), JOB).retry_policy(PATIENT);
        let starter = tokio::spawn(async move { late.claim_generation().await.unwrap() });
        while !reached.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        for expected in 3..=32 {
            assert_eq!(others.claim_generation().await.unwrap(), Generation(expected));
        }
        resume.send(()).unwrap();
        assert_eq!(starter.await.unwrap(), Generation(33));
    });
}

#[test]
fn a_crash_comes_on_the_side_that_the_script_says() {
    run(async {
        for (side, expected) in [(Side::Before, None), (Side::After, Some("x"))] {
            let inner = Location::memory();
            let faults = Faults::default().crash_at(2, side, || panic!("crash of the script"));
            let location = FaultyStore::wrap(inner.clone(), faults.clone());
            let store = BlobStore::new(location, JOB).retry_policy(PATIENT);
            let crashed = tokio::spawn(async move {
                store.put("first", bytes_of("x")).await.unwrap();
                store.put("second", bytes_of("x")).await.unwrap();
            });
            assert!(crashed.await.unwrap_err().is_panic());
            let survivors = BlobStore::new(inner, JOB);
            assert_eq!(survivors.get("first").await.unwrap(), "x");
            assert_eq!(survivors.get("second").await.ok().as_deref(), expected.map(str::as_bytes));
            let log = faults.log();
            assert_eq!((log.len(), log[1].operation), (2, "put"));
            assert!(log[1].path.ends_with("second"), "{log:?}");
        }
    });
}

#[test]
fn jobs_with_awkward_names_keep_apart() {
    run(async {
        for case in [plain("memory", Location::memory()), directory()] {
            let jobs = ["a", "a/b", "a%2Fb", "..", ".", "", " ", "\u{e9}", "a#1", "%"];
            let store_of = |job| BlobStore::new(case.location.clone(), job).retry_policy(PATIENT);
            for job in jobs {
                store_of(job).put("generations/0000000001", bytes_of(job)).await.unwrap();
            }
            for job in jobs {
                let store = store_of(job);
                let listed = store.list(layout::GENERATIONS).await.unwrap();
                let size = job.len() as u64;
                assert_eq!(listed, [("generations/0000000001".to_owned(), size)], "{job:?}");
                assert_eq!(store.get("generations/0000000001").await.unwrap(), job, "{job:?}");
            }
        }
    });
}

/// Completing an upload and looking for its object took turns, and so did reading a range and looking
/// for its size: a store that refused every second request held them up for ever.
#[test]
fn regression_a_fault_in_a_rhythm_holds_nothing_up() {
    let pattern = Bytes::from(vec![7; PART_BYTES + 5]);
    run(async {
        for every in [2, 3] {
            for lead in 0..every {
                let faults = Faults::default().refuse_every(every);
                let store = faulty("rhythm", faults.clone()).store();
                let impatient = store.clone().retry_policy(ONCE);
                for _ in 0..lead {
                    let _ = impatient.size("nothing").await;
                }
                assert_eq!(faults.calls(), lead);
                let mut upload = store.writer("segments/x.seg");
                upload.write(pattern.clone()).await.unwrap();
                upload.finish().await.unwrap();
                let range = store.get_range("segments/x.seg", 3..9).await.unwrap();
                assert_eq!(range, pattern.slice(3..9), "every {every}, lead {lead}");
                let put = store.put_if_absent("generations/x", bytes_of("ours")).await;
                assert_eq!(put.unwrap(), PutIfAbsent::Created, "every {every}, lead {lead}");
            }
        }
    });
}

/// The second part is not sent before the first one's reply by an upload that puts one at a time.
#[test]
fn several_parts_are_under_way_at_once() {
    let pattern: Vec<u8> = (0..PART_BYTES as u32 * 3).map(|i| (i % 251) as u8).collect();
    let pattern = Bytes::from(pattern);
    run(async {
        let faults = Faults::default();
        let log = faults.clone();
        // The start of the upload is the first request, its first part the second.
        let _ = faults.clone().crash_at(2, Side::Before, move || {
            let deadline = Instant::now() + Duration::from_secs(20);
            while log.calls() < 3 {
                assert!(Instant::now() < deadline, "the second part waits for the first");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let location = FaultyStore::wrap(Location::memory(), faults.clone());
        let store = BlobStore::new(location, JOB).retry_policy(PATIENT);
        let mut upload = store.writer("segments/x.seg");
        upload.write(pattern.clone()).await.unwrap();
        upload.finish().await.unwrap();
        assert!(store.get("segments/x.seg").await.unwrap() == pattern, "other bytes");
        assert_eq!(store.stats().retries, 0, "a part has panicked");
    });
}

/// Parts that were sent are dropped, so each request must be made again by itself.
#[test]
fn an_upload_goes_on_after_requests_that_were_given_up() {
    let pattern: Vec<u8> = (0..PART_BYTES as u32 * 2 + 5).map(|i| (i % 251) as u8).collect();
    let pattern = Bytes::from(pattern);
    run(async {
        let inner = Location::memory();
        for call in [1, 3, 5] {
            let faults = Faults::default().down_for_calls(call..u64::MAX);
            let location = FaultyStore::wrap(inner.clone(), faults.clone());
            let store = BlobStore::new(location, JOB).retry_policy(HASTY);
            let object = format!("segments/{call}.seg");
            let mut upload = store.writer(&object).while_so(|| true);
            let uploaded = tokio::spawn({
                let pattern = pattern.clone();
                async move {
                    upload.write(pattern).await?;
                    upload.finish().await
                }
            });
            // Long past the deadline of a request.
            tokio::time::sleep(HASTY.deadline * 4).await;
            assert!(!uploaded.is_finished(), "given up at call {call}");
            faults.heal();
            assert_eq!(uploaded.await.unwrap().unwrap(), pattern.len() as u64, "call {call}");
            let healthy = BlobStore::new(inner.clone(), JOB);
            assert!(healthy.get(&object).await.unwrap() == pattern, "call {call}: other bytes");
        }
    });
}
