//! Typed state of each kind, in jobs that stop or die and go on with other numbers of workers.
//!
//! The keys of a split are its own, so that the records of a key have an order; a plain loop over
//! the input says what comes out of them. What checkpoints hold is read from their metadata and
//! from the tables that a run loads.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::checkpoint::metadata::SegmentKind;
use highwater::checkpoint::run::Run;
use highwater::checkpoint::state::Bincode;
use highwater::checkpoint::state::typed::Timed;
use highwater::checkpoint::store::Location;
use highwater::job::Outcome;
use highwater::prelude::*;
use highwater::state::{Context, States, Ttl};
use highwater::testing::{CollectSink, Random, VecSource};
use highwater::{RestartStrategy, Summary};

use super::trickle::Trickle;

const SPLITS: usize = 5;

/// A key, and what is done with its state.
type Record = (String, u64);

fn input(seed: u64, records: usize) -> Vec<Vec<Record>> {
    let mut random = Random::new(seed);
    let mut splits = vec![Vec::new(); SPLITS];
    for _ in 0..records {
        let key = random.below(40);
        splits[key % SPLITS].push((format!("key {key}"), random.next_u64() % 1000));
    }
    splits
}

/// Everything that the states of a key say after a record, one kind after the other.
type Said = (u64, Vec<u64>, Vec<(u8, u64)>, Option<u64>, Option<(u64, u64)>, Option<bool>);

struct Sum;

impl Aggregator for Sum {
    type Input = u64;
    type Accumulator = (u64, u64);
    type Output = (u64, u64);

    fn init(&self) -> (u64, u64) {
        (0, 0)
    }
    fn add(&self, (sum, count): &mut (u64, u64), n: u64) {
        *sum += n;
        *count += 1;
    }
    fn output(&self, accumulator: &(u64, u64)) -> (u64, u64) {
        *accumulator
    }
}

/// Uses all kinds of state, with and without a time to live that does not end.
fn all_kinds(
    state: &mut States<'_, '_, '_, String>,
) -> impl FnMut(&Context<'_, String, (String, Said)>, u64) + use<> {
    let day = Ttl::on_read_and_write(Duration::from_secs(86_400));
    let total = state.value::<u64>("total");
    let recent = state.list::<u64>("recent");
    let classes = state.time_to_live(day).map::<u8, u64>("classes");
    let most = state.reducing::<u64>("most", u64::max);
    let sum = state.aggregating("sum", Sum);
    let flag = state.time_to_live(day).value::<bool>("flag");
    move |ctx, n| {
        total.update(ctx, |total| *total = total.wrapping_mul(31) + n);
        recent.push(ctx, n);
        if recent.len(ctx) > 6 {
            recent.pop_front(ctx);
        }
        classes.update(ctx, (n % 10) as u8, |count| *count += n);
        match n % 50 {
            0 => recent.clear(ctx),
            1 => recent.retain(ctx, |n| n % 2 == 0),
            2 => drop(classes.pop_first(ctx)),
            3 => drop(classes.remove(ctx, &5)),
            4 => classes.clear(ctx),
            5 => most.clear(ctx),
            6 => sum.clear(ctx),
            7 => drop(flag.set(ctx, n % 3 == 0)),
            8 => drop(flag.remove(ctx)),
            _ => {
                most.add(ctx, n);
                sum.add(ctx, n);
            }
        }
        let said = (
            total.get(ctx).unwrap(),
            recent.to_vec(ctx),
            classes.to_vec(ctx),
            most.get(ctx),
            sum.get(ctx),
            flag.get(ctx),
        );
        ctx.emit((ctx.key().clone(), said));
    }
}

/// What `all_kinds` should say of each key, in order.
fn expected(input: &[Vec<Record>]) -> BTreeMap<String, Vec<Said>> {
    #[derive(Default)]
    struct Of {
        total: u64,
        recent: VecDeque<u64>,
        classes: BTreeMap<u8, u64>,
        most: Option<u64>,
        sum: Option<(u64, u64)>,
        flag: Option<bool>,
    }
    let (mut all, mut said) = (BTreeMap::<&str, Of>::new(), BTreeMap::<String, Vec<Said>>::new());
    for (key, n) in input.iter().flatten() {
        let (of, n) = (all.entry(key).or_default(), *n);
        of.total = of.total.wrapping_mul(31) + n;
        of.recent.push_back(n);
        if of.recent.len() > 6 {
            of.recent.pop_front();
        }
        *of.classes.entry((n % 10) as u8).or_default() += n;
        match n % 50 {
            0 => of.recent.clear(),
            1 => of.recent.retain(|n| n % 2 == 0),
            2 => drop(of.classes.pop_first()),
            3 => drop(of.classes.remove(&5)),
            4 => of.classes.clear(),
            5 => of.most = None,
            6 => of.sum = None,
            7 => of.flag = Some(n % 3 == 0),
            8 => of.flag = None,
            _ => {
                of.most = of.most.max(Some(n));
                let (sum, count) = of.sum.unwrap_or_default();
                of.sum = Some((sum + n, count + 1));
            }
        }
        let recent = of.recent.iter().copied().collect();
        let classes = of.classes.iter().map(|(class, n)| (*class, *n)).collect();
        let now = (of.total, recent, classes, of.most, of.sum, of.flag);
        said.entry(key.clone()).or_default().push(now);
    }
    said
}

fn job(store: &Location, workers: usize, interval: Duration) -> Job {
    // A test starts a job again itself, and with other workers.
    let job = Job::new("typed").quiet().workers(workers).restart_strategy(RestartStrategy::None);
    job.checkpoint_store(store.clone()).checkpoint_interval(interval)
}

const OFTEN: Duration = Duration::from_millis(1);
/// At the end alone.
const NEVER: Duration = Duration::from_secs(3600);

fn run_all_kinds(
    (store, workers): (&Location, usize),
    input: &[Vec<Record>],
    collected: &CollectSink<(String, Said)>,
    each: impl Fn(&Run, u64) + Clone + Send + Sync + 'static,
) -> highwater::Result<Summary> {
    let (source, sink) = (Trickle::new(VecSource::splits(input.to_vec()), 5), collected.clone());
    let seen = Arc::new(AtomicU64::new(0));
    job(store, workers, OFTEN).execute(move |flow| {
        let run = Arc::clone(flow.checkpoints().run());
        let (each, seen) = (each.clone(), Arc::clone(&seen));
        flow.source("records", source.clone())
            .inspect(move |_| each(&run, seen.fetch_add(1, Ordering::Relaxed)))
            .keyed()
            .process("kinds", all_kinds)
            .sink("said", sink.clone());
    })
}

fn check(collected: &CollectSink<(String, Said)>, input: &[Vec<Record>], case: &str) {
    let mut found: BTreeMap<String, Vec<Said>> = BTreeMap::new();
    collected
        .records()
        .into_iter()
        .for_each(|(key, said)| found.entry(key).or_default().push(said));
    // The output of a key comes from several workers' files, in the order of runs and epochs.
    for (key, expected) in expected(input) {
        let found = found.remove(&key).unwrap_or_default();
        let differs = found.iter().zip(&expected).position(|(found, expected)| found != expected);
        assert_eq!(
            differs,
            None,
            "{case}: {key}: {:?}",
            differs.map(|at| (&found[at], &expected[at]))
        );
        assert_eq!(found.len(), expected.len(), "{case}: {key}");
    }
}

#[test]
fn all_kinds_of_state_resume_with_any_number_of_workers() {
    for seed in 0..2 {
        let (mut random, input) = (Random::new(seed), input(seed, 3_000));
        let (store, collected) = (Location::memory(), CollectSink::new());
        let mut chain = Vec::new();
        loop {
            chain.push(1 + random.below(4));
            let case = format!("seed {seed}, workers {chain:?}");
            assert!(chain.len() < 500, "{case}: nothing gets on");
            let stop_at = 200 + random.next_u64() % 900;
            let stop = move |run: &Run, n: u64| {
                if n == stop_at {
                    run.control().request_stop();
                }
            };
            let this = (&store, chain[chain.len() - 1]);
            let summary = run_all_kinds(this, &input, &collected, stop).unwrap();
            if summary.outcome != Outcome::Stopped {
                assert!(chain.len() > 2, "{case}: too few runs to show anything");
                check(&collected, &input, &case);
                break;
            }
        }
    }
}

/// Records of an epoch that had not begun must not be in the state that is restored.
#[test]
fn all_kinds_of_state_are_taken_over_from_runs_that_died() {
    for seed in 0..3 {
        let (mut random, input) = (Random::new(seed), input(seed + 10, 2_000));
        let (store, collected) = (Location::memory(), CollectSink::new());
        let mut chain = Vec::new();
        loop {
            chain.push(1 + random.below(4));
            let case = format!("seed {seed}, workers {chain:?}");
            assert!(chain.len() < 500, "{case}: nothing gets on");
            // The first dies, and all others get on, however slow the machine is.
            let (dies_after, is_first) = (1 + random.next_u64() % 3, chain.len() == 1);
            let dies = move |run: &Run, n: u64| {
                let is_far = is_first && n >= 1_500 || run.status().completed() >= dies_after;
                assert!(!is_far, "dies on purpose");
            };
            let this = (&store, chain[chain.len() - 1]);
            if run_all_kinds(this, &input, &collected, dies).is_ok() {
                assert!(chain.len() > 1, "{case}: too few runs to show anything");
                check(&collected, &input, &case);
                break;
            }
        }
    }
}

/// Appends every record to the list of one key, until `stop_at` are read.
fn append(store: &Location, records: u64, stop_at: u64) -> (Summary, Vec<(SegmentKind, u64)>) {
    let input: Vec<Record> = (0..records).map(|n| ("one".to_owned(), n)).collect();
    let seen = Arc::new(AtomicU64::new(0));
    let segments: Arc<Mutex<Vec<(SegmentKind, u64)>>> = Arc::default();
    let restored = Arc::clone(&segments);
    let summary = job(store, 1, NEVER).execute(move |flow| {
        let run = Arc::clone(flow.checkpoints().run());
        let seen = Arc::clone(&seen);
        let operators = run.start().operators.iter().filter(|state| state.uid == "lists/all");
        let list = operators.flat_map(|state| &state.segments).map(|s| (s.kind, s.entries));
        *restored.lock().unwrap() = list.collect();
        flow.source("records", Trickle::new(VecSource::new(input.clone()), 50))
            .inspect(move |_| {
                if seen.fetch_add(1, Ordering::Relaxed) + 1 >= stop_at {
                    run.control().request_stop();
                }
            })
            .keyed()
            .process("lists", |state| {
                let all = state.list::<u64>("all");
                move |ctx, n| {
                    all.push(ctx, n);
                    ctx.emit(all.len(ctx) as u64);
                }
            })
            .for_each(drop);
    });
    let segments = segments.lock().unwrap().clone();
    (summary.unwrap(), segments)
}

#[test]
fn appending_to_a_long_list_writes_what_was_appended() {
    let store = Location::memory();
    let (first, _) = append(&store, 11_000, 10_000);
    assert!(first.records_in >= 10_000);
    let (second, restored) = append(&store, 11_000, 1);
    assert_eq!(restored, [(SegmentKind::Base, first.records_in)]);
    assert!((1..300).contains(&second.records_in), "{second:?}");
    let (_, restored) = append(&store, 11_000, 1);
    let delta = (SegmentKind::Delta, second.records_in);
    assert_eq!(restored, [(SegmentKind::Base, first.records_in), delta]);
}

/// Keys that come once and then nothing but `tick`, for longer than the time to live.
#[test]
fn what_has_expired_is_removed_from_checkpoints() {
    const KEYS: u64 = 500;
    let store = Location::memory();
    let ids = (0..KEYS).map(|n| (format!("key {n}"), n));
    let ticks = (0..400_000).map(|_| ("tick".to_owned(), 0));
    let input: Vec<Record> = ids.chain(ticks).collect();
    let left: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut peak = 0;
    for round in 0..2 {
        let (source, left) = (Trickle::new(VecSource::new(input.clone()), 5), Arc::clone(&left));
        let summary = job(&store, 1, Duration::from_millis(20)).execute(move |flow| {
            let checkpoints = flow.checkpoints();
            let run = Arc::clone(checkpoints.run());
            let there = checkpoints.load::<String, Timed<u64>, Bincode>("once/seen");
            *left.lock().unwrap() = there.iter().map(|(key, _)| key.clone()).collect();
            let (mut began, stop) = (None, round == 1);
            flow.source("records", source.clone())
                .keyed()
                .process("once", move |state| {
                    let ttl = Ttl::on_write(Duration::from_millis(300));
                    let seen = state.time_to_live(ttl).value::<u64>("seen");
                    move |ctx, n| {
                        let began = *began.get_or_insert(ctx.processing_time_ms());
                        // A pass takes a second, and begins anew a second later.
                        if stop || ctx.processing_time_ms() > began + 3_500 {
                            run.control().request_stop();
                        }
                        seen.set(ctx, n);
                        ctx.emit(());
                    }
                })
                .for_each(drop);
        });
        let summary = summary.unwrap();
        assert_eq!(summary.outcome, Outcome::Stopped, "the input is long enough");
        if round == 0 {
            assert!(summary.records_in > KEYS);
            peak = summary.records_in;
        }
    }
    assert!(peak > KEYS);
    assert_eq!(*left.lock().unwrap(), ["tick"]);
}

fn refusal(outcome: highwater::Result<()>) -> String {
    format!("{:?}", outcome.expect_err("the job must not run"))
}

#[test]
fn names_that_do_not_tell_states_apart_are_refused() {
    let run = |uid: &'static str, names: [&'static str; 2]| {
        Job::new("names").quiet().workers(2).run(move |flow| {
            let words =
                flow.source("words", VecSource::new(["a".to_owned()])).key_by(String::clone);
            let processed = words.process(uid, |state| {
                let [first, second] = names.map(|name| state.value::<u64>(name));
                move |ctx, _| {
                    first.update(ctx, |n| *n += 1);
                    second.update(ctx, |n| *n += 1);
                    ctx.emit(());
                }
            });
            processed.for_each(drop);
        })
    };
    run("op", ["a", "b"]).unwrap();
    let text = refusal(run("op", ["a", "a"]));
    assert!(text.contains(r#"operator "op" has two states with the name "a""#), "{text}");
    let text = refusal(run("op", ["a", ""]));
    assert!(text.contains(r#"a state of operator "op" has no name"#), "{text}");
    let text = refusal(run("op/a", ["a", "b"]));
    assert!(text.contains(r#"the uid "op/a" has a slash"#), "{text}");
    let text = refusal(run("words", ["a", "b"]));
    assert!(text.contains(r#"two operators have the uid "words""#), "{text}");
}

/// Runs once with state that `declare` makes, until one record was read.
fn with_state(
    store: &Location,
    declare: impl Fn(&mut States<'_, '_, '_, u64>) + Clone + Send + Sync + 'static,
) -> highwater::Result<()> {
    let source = Trickle::new(VecSource::new((0..10_000u64).collect::<Vec<_>>()), 1);
    job(store, 2, NEVER).run(move |flow| {
        let (run, declare) = (Arc::clone(flow.checkpoints().run()), declare.clone());
        let numbers = flow.source("numbers", source.clone()).key_by(|n| n % 10);
        let processed = numbers.process("op", move |state| {
            declare(state);
            let count = state.value::<u64>("count");
            move |ctx, _| {
                count.update(ctx, |n| *n += 1);
                run.control().request_stop();
                ctx.emit(());
            }
        });
        processed.for_each(drop);
    })
}

#[test]
fn state_of_another_kind_or_type_is_refused_and_another_duration_is_not() {
    let store = Location::memory();
    let ttl = |ms| Ttl::on_write(Duration::from_millis(ms));
    with_state(&store, move |state| drop(state.time_to_live(ttl(1000)).list::<u8>("s"))).unwrap();
    with_state(&store, move |state| drop(state.time_to_live(ttl(99)).list::<u8>("s"))).unwrap();
    let refused: [(&str, fn(&mut States<'_, '_, '_, u64>)); 4] = [
        ("no time to live", |state| drop(state.list::<u8>("s"))),
        ("another type", |state| {
            drop(state.time_to_live(Ttl::on_write(Duration::from_secs(1))).list::<u16>("s"));
        }),
        ("another kind", |state| {
            drop(state.time_to_live(Ttl::on_write(Duration::from_secs(1))).map::<u64, u8>("s"));
        }),
        ("it is gone", |_| {}),
    ];
    let mut texts = BTreeSet::new();
    for (case, declare) in refused {
        let text = refusal(with_state(&store, declare));
        assert!(text.contains(r#"operator "op/s""#), "{case}: {text}");
        texts.insert(text);
    }
    assert_eq!(texts.len(), 4, "each says what is wrong: {texts:?}");
}

/// An operator that owns states by their names has none by its own.
#[test]
fn state_of_an_operator_that_now_has_named_states_is_not_dropped_silently() {
    let store = Location::memory();
    let source = Trickle::new(VecSource::new((0..10_000u64).collect::<Vec<_>>()), 1);
    let outcome = job(&store, 1, NEVER).run(move |flow| {
        let run = Arc::clone(flow.checkpoints().run());
        let numbers = flow.source("numbers", source.clone());
        let numbers = numbers.inspect(move |_| run.control().request_stop()).key_by(|n| n % 10);
        numbers.count("op").for_each(drop);
    });
    outcome.unwrap();
    let text = refusal(with_state(&store, |_| {}));
    assert!(text.contains(r#"state of operator "op""#), "{text}");
    assert!(text.contains("which the program lacks"), "{text}");
}
