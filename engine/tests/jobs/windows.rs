//! Windows say what a plain loop over the records says, for every kind of them, on any number of
//! workers, whatever the order in which records come, and whenever a run ends.
//!
//! Records of several splits are out of order by less than the watermarks allow, so that none is late
//! and the output is one and the same. The oracle tries every window there could be against every
//! record. Late records wait, in the source, for a window to have fired.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::checkpoint::run::Run;
use highwater::checkpoint::store::Location;
use highwater::prelude::*;
use highwater::source::{NamedSplit, ReadLimit, ReadStatus, SplitReader};
use highwater::testing::{CollectSink, Random, VecSource};
use highwater::window::{
    Count, Cumulating, Global, Session, Sliding, Trigger, Tumbling, Window, Windowed,
};
use highwater::{BoxError, RestartStrategy, Summary};
use proptest::prelude::*;

use super::trickle::Trickle;

/// A key, a time and a number of its own.
pub(crate) type Record = (u64, i64, u64);
pub(crate) type Row = Windowed<u64, Vec<u64>>;

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How records may be out of order within a split.
const DISORDER: i64 = 40;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Tumbling(u64, u64),
    Sliding(u64, u64, u64),
    Cumulating(u64, u64, u64),
    Session(u64),
    Global,
    /// The input has one split, in which the order is one and the same.
    Count(u64, u64),
}

/// What is kept: all numbers, merged where windows merge, or folded in each window alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum How {
    Aggregate,
    Fold,
    Process,
    /// Of all records, whatever their keys: in the rows that is 0.
    All,
}

/// The numbers of the records.
pub(crate) struct Numbers;

impl Aggregator for Numbers {
    type Input = Record;
    type Accumulator = Vec<u64>;
    type Output = Vec<u64>;

    fn init(&self) -> Vec<u64> {
        Vec::new()
    }
    fn add(&self, numbers: &mut Vec<u64>, record: Record) {
        numbers.push(record.2);
    }
    fn output(&self, numbers: &Vec<u64>) -> Vec<u64> {
        sorted(numbers.clone())
    }
}

impl MergeAggregator for Numbers {
    fn merge(&self, numbers: &mut Vec<u64>, later: Vec<u64>) {
        numbers.extend(later);
    }
}

/// The numbers of the records as text, in order of arrival.
struct Text;

impl Aggregator for Text {
    type Input = Record;
    type Accumulator = String;
    type Output = String;

    fn init(&self) -> String {
        String::new()
    }
    fn add(&self, text: &mut String, record: Record) {
        text.push_str(&record.2.to_string());
    }
    fn output(&self, text: &String) -> String {
        text.clone()
    }
}

impl MergeAggregator for Text {
    fn merge(&self, text: &mut String, later: String) {
        text.push_str(&later);
    }
}

pub(crate) fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

pub(crate) fn at((_, at, _): &Record) -> EventTime {
    EventTime(*at)
}

pub(crate) fn windows(records: Stream<'_, Record>, kind: Kind, how: How) -> Stream<'_, Row> {
    let all = |row: Windowed<(), Vec<u64>>| {
        let Windowed { key: (), window, value } = row;
        Windowed { key: 0, window, value }
    };
    macro_rules! by {
        ($assigner:expr) => {{
            if how == How::All {
                let windowed = records.window_all($assigner, at);
                return windowed.aggregate("windows", Numbers).map(all);
            }
            let windowed = records.key_by(|record| record.0).window($assigner, at);
            match how {
                How::All => unreachable!("returned above"),
                How::Aggregate => windowed.aggregate("windows", Numbers),
                How::Fold => windowed.fold("windows", Vec::new(), |numbers, record: Record| {
                    numbers.push(record.2);
                    numbers.sort();
                }),
                How::Process => windowed.process("windows", |_, _, records| {
                    sorted(records.iter().map(|record| record.2).collect())
                }),
            }
        }};
    }
    match kind {
        Kind::Tumbling(size, offset) => by!(Tumbling::of(ms(size)).offset(ms(offset))),
        Kind::Sliding(size, slide, offset) => {
            by!(Sliding::of(ms(size), ms(slide)).offset_back(ms(offset)))
        }
        Kind::Cumulating(max, step, offset) => {
            by!(Cumulating::of(ms(max), ms(step)).offset(ms(offset)))
        }
        Kind::Global => by!(Global),
        Kind::Count(size, slide) => by!(Count::sliding(size, slide)),
        Kind::Session(gap) if how == How::All => {
            let windowed = records.window_all(Session::gap(ms(gap)), at);
            windowed.aggregate("windows", Numbers).map(all)
        }
        Kind::Session(gap) => {
            let windowed = records.key_by(|record| record.0).window(Session::gap(ms(gap)), at);
            windowed.aggregate("windows", Numbers)
        }
    }
}

/// All windows that could be, by their definitions.
fn candidates(kind: Kind, from: i64, until: i64) -> Vec<(i64, i64)> {
    let starts = |every: u64, offset: i64| {
        let every = every as i64;
        // The offset is within 300.
        let (first, last) =
            ((from - 300).div_euclid(every) - 1, (until + 300).div_euclid(every) + 1);
        (first..=last).map(move |n| n * every + offset)
    };
    match kind {
        Kind::Tumbling(size, offset) => {
            starts(size, offset as i64).map(|start| (start, start + size as i64)).collect()
        }
        Kind::Sliding(size, slide, offset) => {
            let back = (size / slide + 9) as i64 * slide as i64;
            let starts = starts(slide, -(offset as i64));
            let earlier = (-back..0).step_by(slide as usize);
            let first = starts.clone().next().unwrap();
            let all = earlier.map(|by| first + by).chain(starts);
            all.map(|start| (start, start + size as i64)).collect()
        }
        Kind::Cumulating(max, step, offset) => starts(max, offset as i64)
            .flat_map(|start| (1..=max / step).map(move |n| (start, start + (n * step) as i64)))
            .collect(),
        Kind::Global => vec![(i64::MIN, i64::MAX)],
        Kind::Session(_) | Kind::Count(..) => unreachable!("those depend on the records"),
    }
}

pub(crate) fn row(key: u64, (start, end): (i64, i64), value: Vec<u64>) -> Row {
    let window = Window { start: EventTime(start), end: EventTime(end) };
    Windowed { key, window, value: sorted(value) }
}

pub(crate) fn model((kind, how): (Kind, How), splits: &[Vec<Record>]) -> Vec<Row> {
    let mut by_key: BTreeMap<u64, Vec<Record>> = BTreeMap::new();
    for record in splits.iter().flatten() {
        let key = if how == How::All { 0 } else { record.0 };
        by_key.entry(key).or_default().push(*record);
    }
    let mut rows = Vec::new();
    for (key, mut records) in by_key {
        if let Kind::Count(size, slide) = kind {
            for end in (slide as usize..=records.len()).step_by(slide as usize) {
                let of = &records[end.saturating_sub(size as usize)..end];
                let times = || of.iter().map(|record| record.1);
                let bounds = (times().min().unwrap(), times().max().unwrap() + 1);
                rows.push(row(key, bounds, of.iter().map(|record| record.2).collect()));
            }
            continue;
        }
        records.sort_by_key(|record| record.1);
        if let Kind::Session(gap) = kind {
            for of in records.chunk_by(|one, next| next.1 - one.1 < gap as i64) {
                let bounds = (of[0].1, of[of.len() - 1].1 + gap as i64);
                rows.push(row(key, bounds, of.iter().map(|record| record.2).collect()));
            }
            continue;
        }
        for (start, end) in candidates(kind, records[0].1, records[records.len() - 1].1) {
            let within = |record: &&Record| start <= record.1 && record.1 < end;
            let numbers: Vec<u64> = records.iter().filter(within).map(|r| r.2).collect();
            if !numbers.is_empty() {
                rows.push(row(key, (start, end), numbers));
            }
        }
    }
    sorted(rows)
}

pub(crate) fn input(seed: u64, records: u64, splits: usize, keys: usize) -> Vec<Vec<Record>> {
    let mut random = Random::new(seed);
    let mut input = vec![Vec::new(); splits];
    let mut times: Vec<i64> = (0..splits).map(|_| -500 + random.below(200) as i64).collect();
    for number in 0..records {
        let split = random.below(splits);
        // Bursts, and pauses in which sessions end.
        times[split] += if random.below(20) == 0 { 150 } else { random.below(8) as i64 };
        let at = times[split] - random.below(DISORDER as usize) as i64;
        input[split].push((random.below(keys) as u64, at, number));
    }
    input
}

fn source(
    input: &[Vec<Record>],
    few: usize,
    pause: Duration,
) -> impl Source<Item = Record> + Clone {
    let source = Trickle::new(VecSource::splits(input.to_vec()), few).pausing(pause);
    source.with_watermarks(Watermarks::bounded(ms(DISORDER as u64), at))
}

pub(crate) fn job(workers: usize) -> Job {
    Job::new("windows").quiet().workers(workers).restart_strategy(RestartStrategy::None)
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        (1u64..90, 0u64..200).prop_map(|(size, offset)| Kind::Tumbling(size, offset)),
        (1u64..120, 1u64..60, 0u64..100).prop_map(|(one, other, offset)| {
            Kind::Sliding(one.max(other), one.min(other), offset)
        }),
        (1u64..8, 1u64..40, 0u64..100).prop_map(|(steps, step, offset)| Kind::Cumulating(
            steps * step,
            step,
            offset
        )),
        (1u64..60).prop_map(Kind::Session),
        Just(Kind::Global),
        (1u64..40, 1u64..20).prop_map(|(one, other)| Kind::Count(one.max(other), one.min(other))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn they_say_what_a_plain_loop_says(
        kind in kinds(),
        how in prop_oneof![
            Just(How::Aggregate), Just(How::Fold), Just(How::Process), Just(How::All)
        ],
        (seed, records, splits, keys) in (any::<u64>(), 0u64..300, 1usize..4, 1usize..7),
        (workers, few) in (1usize..4, 1usize..60),
    ) {
        let splits = if matches!(kind, Kind::Count(..)) { 1 } else { splits };
        let input = input(seed, records, splits, keys);
        let (source, sink) = (source(&input, few, ms(0)), CollectSink::new());
        let collected: CollectSink<Row> = sink.clone();
        let summary = job(workers).execute(move |flow| {
            let records = flow.source("records", source.clone());
            windows(records, kind, how).sink("rows", sink.clone());
        });
        let late = summary.unwrap().late;
        prop_assert!(late.is_empty(), "{:?}", late);
        prop_assert_eq!(sorted(collected.records()), model((kind, how), &input));
    }
}

/// One run of a job; `each` is called with the number of each record that it reads.
fn run(
    (store, workers): (&Location, usize),
    input: &[Vec<Record>],
    (kind, how): (Kind, How),
    sink: &CollectSink<Row>,
    each: impl Fn(&Run, u64) + Clone + Send + Sync + 'static,
) -> highwater::Result<Summary> {
    let (source, sink) = (source(input, 5, ms(1)), sink.clone());
    let seen = Arc::new(AtomicU64::new(0));
    let job = job(workers).checkpoint_store(store.clone()).checkpoint_interval(ms(2));
    job.execute(move |flow| {
        let run = Arc::clone(flow.checkpoints().run());
        let (each, seen) = (each.clone(), Arc::clone(&seen));
        let records = flow.source("records", source.clone());
        let records = records.inspect(move |_| each(&run, seen.fetch_add(1, Ordering::Relaxed)));
        windows(records, kind, how).sink("rows", sink.clone());
    })
}

/// Stopped or dead, at any record, resumed on another number of workers: nothing is late because of
/// that, nothing fires twice, nothing is lost.
#[test]
fn a_run_that_ends_at_any_time_is_gone_on_with_by_any_number_of_workers() {
    let kinds = [
        Kind::Tumbling(50, 7),
        Kind::Tumbling(3, 0),
        Kind::Sliding(100, 10, 3),
        Kind::Sliding(70, 30, 0),
        Kind::Cumulating(120, 30, 0),
        Kind::Session(25),
        Kind::Count(30, 7),
        Kind::Count(12, 12),
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        for how in [How::Aggregate, How::Fold, How::All] {
            if how == How::Fold && matches!(kind, Kind::Session(_) | Kind::Tumbling(..)) {
                continue;
            }
            let mut random = Random::new(number as u64 * 7 + how as u64);
            let splits = if matches!(kind, Kind::Count(..)) { 1 } else { 3 };
            let input = input(number as u64, 1_500, splits, 9);
            let (store, collected) = (Location::memory(), CollectSink::new());
            let mut case = format!("{kind:?} {how:?}");
            loop {
                let (workers, at) = (1 + random.below(3), 100 + random.below(500) as u64);
                let dies = random.below(2) == 0;
                case = format!("{case}, {workers} workers until {at} (dies: {dies})");
                let end = move |run: &Run, n: u64| {
                    assert!(!dies || n < at, "dies on purpose");
                    if n == at {
                        run.control().request_stop();
                    }
                };
                let outcome = run((&store, workers), &input, (kind, how), &collected, end);
                match outcome {
                    Err(error) => assert!(format!("{error:?}").contains("on purpose"), "{error:?}"),
                    Ok(summary) => {
                        assert!(summary.late.is_empty(), "{case}: {:?}", summary.late);
                        if summary.outcome == highwater::job::Outcome::Finished {
                            break;
                        }
                    }
                }
            }
            assert_eq!(sorted(collected.records()), model((kind, how), &input), "{case}");
        }
    }
}

/// Yields its records one by one; one with a time of [`WAIT`] waits until as many results are there as
/// its number says, and is no record.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub source: VecSource<Record>,
    pub results: Arc<AtomicU64>,
}

pub(crate) const WAIT: i64 = i64::MIN;

pub(crate) struct WaitingReader {
    reader: <VecSource<Record> as Source>::Reader,
    results: Arc<AtomicU64>,
    waits: Option<u64>,
}

impl Source for Waiting {
    type Item = Record;
    type Split = <VecSource<Record> as Source>::Split;
    type Offset = <VecSource<Record> as Source>::Offset;
    type Reader = WaitingReader;

    fn discover(
        &self,
        known: &[NamedSplit<Self::Split>],
    ) -> Result<Vec<NamedSplit<Self::Split>>, BoxError> {
        self.source.discover(known)
    }

    fn open(
        &self,
        split: &Self::Split,
        at: Option<Self::Offset>,
    ) -> Result<WaitingReader, BoxError> {
        let results = Arc::clone(&self.results);
        Ok(WaitingReader { reader: self.source.open(split, at)?, results, waits: None })
    }
}

impl SplitReader for WaitingReader {
    type Item = Record;
    type Offset = <VecSource<Record> as Source>::Offset;

    fn read(&mut self, limit: ReadLimit, out: &mut Vec<Record>) -> Result<ReadStatus, BoxError> {
        let again = ReadStatus::Idle { retry_after: ms(1) };
        if self.waits.is_some_and(|results| self.results.load(Ordering::Relaxed) < results) {
            return Ok(again);
        }
        self.waits = None;
        let status = self.reader.read(ReadLimit { records: 1, ..limit }, out)?;
        if let Some((_, _, results)) = out.pop_if(|record| record.1 == WAIT) {
            self.waits = Some(results);
            return Ok(again);
        }
        Ok(status)
    }

    fn offset(&self) -> Self::Offset {
        self.reader.offset()
    }
}

/// Runs the steps on one worker; returns the rows in order, and the numbers of late records.
pub(crate) fn in_order(
    steps: &[Record],
    build: impl for<'scope> Fn(
        KeyedStream<'scope, u64, Record>,
    ) -> (Stream<'scope, Row>, Stream<'scope, (u64, Record)>)
    + Send
    + Sync
    + 'static,
) -> (Vec<Row>, Vec<u64>, Summary) {
    in_order_unkeyed(steps, move |records| build(records.key_by(|record| record.0)))
}

fn in_order_unkeyed(
    steps: &[Record],
    build: impl for<'scope> Fn(
        Stream<'scope, Record>,
    ) -> (Stream<'scope, Row>, Stream<'scope, (u64, Record)>)
    + Send
    + Sync
    + 'static,
) -> (Vec<Row>, Vec<u64>, Summary) {
    let results = Arc::new(AtomicU64::new(0));
    let source = Waiting { source: VecSource::new(steps.to_vec()), results: Arc::clone(&results) };
    let source = source.with_watermarks(Watermarks::ascending(at));
    let (rows, late) = (CollectSink::new(), CollectSink::new());
    let (to_rows, to_late) = (rows.clone(), late.clone());
    let summary = job(1).execute(move |flow| {
        let results = Arc::clone(&results);
        let (rows, late) = build(flow.source("records", source.clone()));
        let rows = rows.inspect(move |_| {
            results.fetch_add(1, Ordering::Relaxed);
        });
        rows.sink("rows", to_rows.clone());
        late.map(|(_, record)| record.2).sink("late", to_late.clone());
    });
    (rows.records(), late.records(), summary.unwrap())
}

/// 100 to 200 has fired when the late ones come.
pub(crate) const LATE: [Record; 7] =
    [(1, 150, 0), (1, 200, 1), (1, WAIT, 1), (1, 199, 2), (1, 100, 3), (1, 250, 4), (1, 320, 5)];

#[test]
fn a_record_that_is_late_by_a_millisecond_goes_aside_and_is_counted() {
    let (rows, late, summary) = in_order(&LATE, |records| {
        records.window(Tumbling::of(ms(100)), at).late_output().aggregate("windows", Numbers)
    });
    let right = [((100, 200), vec![0]), ((200, 300), vec![1, 4]), ((300, 400), vec![5])];
    assert_eq!(rows, right.map(|(bounds, value)| row(1, bounds, value)));
    assert_eq!(late, [2, 3]);
    let counts = summary.late["windows"];
    assert_eq!((counts.taken, counts.dropped, counts.sent_aside), (0, 0, 2));
    assert!(summary.to_string().contains("late  2 sent aside at \"windows\""), "{summary}");
}

/// Records that the workers merge first are counted one by one nevertheless.
#[test]
fn late_records_of_windows_on_all_records_are_counted() {
    let by_lateness =
        [(0, [vec![0]].into(), (0, 2)), (50, vec![vec![0], vec![0, 2], vec![0, 2, 3]], (2, 0))];
    for (lateness, first, counts) in by_lateness {
        let (rows, _, summary) = in_order_unkeyed(&LATE, move |records| {
            let none = records.clone().filter(|_| false).map(|record| (0, record));
            let windows = records.window_all(Tumbling::of(ms(100)), at);
            let rows = windows.allowed_lateness(ms(lateness)).aggregate("windows", Numbers);
            let rows = rows.map(|row| Windowed { key: 1, window: row.window, value: row.value });
            (rows, none)
        });
        let rest = [((200, 300), vec![1, 4]), ((300, 400), vec![5])];
        let first = first.into_iter().map(|value| ((100, 200), value));
        let right = first.chain(rest).map(|(bounds, value)| row(1, bounds, value));
        assert_eq!(rows, right.collect::<Vec<Row>>());
        let late = summary.late["windows"];
        assert_eq!((late.taken, late.dropped), counts);
    }
}

/// Counts the calls, and on which threads records are added.
struct Watched(Arc<Mutex<Calls>>);

#[derive(Default)]
struct Calls {
    adds: BTreeMap<String, u64>,
    merges: u64,
}

impl Aggregator for Watched {
    type Input = Record;
    type Accumulator = u64;
    type Output = u64;

    fn init(&self) -> u64 {
        0
    }
    fn add(&self, count: &mut u64, _: Record) {
        *count += 1;
        let thread = format!("{:?}", std::thread::current().id());
        *self.0.lock().unwrap().adds.entry(thread).or_default() += 1;
    }
    fn output(&self, count: &u64) -> u64 {
        *count
    }
}

impl MergeAggregator for Watched {
    fn merge(&self, count: &mut u64, later: u64) {
        *count += later;
        self.0.lock().unwrap().merges += 1;
    }
}

#[test]
fn windows_on_all_records_are_merged_where_the_records_are() {
    let records = (0..8).map(|split| (0..1_000).map(|n| (split, n, n as u64)).collect());
    let (source, calls) = (VecSource::splits(records.collect()), Arc::<Mutex<Calls>>::default());
    let (sink, watched) = (CollectSink::<u64>::new(), Arc::clone(&calls));
    let collected = sink.clone();
    let summary = job(2).execute(move |flow| {
        let watched = Watched(Arc::clone(&watched));
        let windows = flow.source("records", source.clone()).window_all(Global, at);
        windows.aggregate("windows", watched).map(|row| row.value).sink("counts", sink.clone());
    });
    summary.unwrap();
    assert_eq!(collected.records(), [8_000]);
    let Calls { adds, merges } = &*calls.lock().unwrap();
    assert_eq!(adds.values().sum::<u64>(), 8_000);
    assert!(adds.len() == 2 && adds.values().all(|count| *count >= 1_000), "{adds:?}");
    assert!((2..=800).contains(merges), "{merges} values of 8000 records");
}

#[test]
fn late_records_that_are_allowed_fire_their_window_again() {
    for how in [Trigger::watermark(), Trigger::watermark().purge()] {
        let is_purging = format!("{how:?}").contains("is_purging: true");
        let (rows, late, summary) = in_order(&LATE, move |records| {
            let windows = records.window(Tumbling::of(ms(100)), at).trigger(how);
            windows.allowed_lateness(ms(50)).late_output().aggregate("windows", Numbers)
        });
        let again = if is_purging {
            [vec![0], vec![2], vec![3]]
        } else {
            [vec![0], vec![0, 2], vec![0, 2, 3]]
        };
        let rest = [((200, 300), vec![1, 4]), ((300, 400), vec![5])];
        let right: Vec<Row> = again.map(|value| row(1, (100, 200), value)).into();
        let rest = rest.map(|(bounds, value)| row(1, bounds, value));
        assert_eq!(rows, [right, rest.into()].concat());
        assert_eq!((late.len(), summary.late["windows"].taken), (0, 2));
    }
}

#[test]
fn sliding_windows_that_share_a_late_record_fire_again_and_the_next_has_it() {
    let (rows, late, _) = in_order(&LATE, |records| {
        let windows = records.window(Sliding::of(ms(100), ms(50)), at).allowed_lateness(ms(50));
        windows.late_output().aggregate("windows", Numbers)
    });
    // 150 to 250 is open when 199 comes. 100 to 150 is open to nobody: 100 is late for its first window.
    let right = [
        ((100, 200), vec![0]),
        ((100, 200), vec![0, 2]),
        ((100, 200), vec![0, 2, 3]),
        ((150, 250), vec![0, 1, 2]),
        ((200, 300), vec![1, 4]),
        ((250, 350), vec![4, 5]),
        ((300, 400), vec![5]),
    ];
    assert_eq!(rows, right.map(|(bounds, value)| row(1, bounds, value)));
    assert_eq!(late, [] as [u64; 0]);
}

#[test]
fn a_late_record_makes_two_sessions_that_have_fired_one() {
    let steps =
        [(1, 0, 0), (1, 60, 1), (1, 120, 2), (1, WAIT, 2), (1, 45, 3), (1, 75, 4), (1, 999, 5)];
    let (rows, late, _) = in_order(&steps, |records| {
        let sessions = records.window(Session::gap(ms(50)), at).allowed_lateness(ms(100));
        sessions.late_output().aggregate("windows", Numbers)
    });
    let right = [
        ((0, 50), vec![0]),
        ((60, 110), vec![1]),
        ((0, 110), vec![0, 1, 3]),
        // With the one that is open it is one whose end is to come.
        ((0, 170), vec![0, 1, 2, 3, 4]),
        ((999, 1049), vec![5]),
    ];
    assert_eq!(rows, right.map(|(bounds, value)| row(1, bounds, value)));
    assert_eq!(late, [] as [u64; 0]);
}

#[test]
fn early_firings_say_what_is_there_and_the_last_says_all() {
    let steps = [(1, 10, 0), (1, 20, 1), (1, 60, 2), (1, WAIT, 1), (1, 70, 3), (1, 130, 4)];
    let (rows, _, _) = in_order(&steps, |records| {
        let early = Trigger::watermark().early_every(ms(50));
        let windows = records.window(Tumbling::of(ms(100)), at).trigger(early);
        windows.late_output().aggregate("windows", Numbers)
    });
    let last = rows.iter().rfind(|row| row.window.end == EventTime(100)).unwrap();
    assert_eq!(*last, row(1, (0, 100), vec![0, 1, 2, 3]));
    assert!(rows.len() >= 3 && rows[0].value.len() < 4, "{rows:?}");
    let (rows, _, _) = in_order(&steps[..3], |records| {
        let early = Trigger::watermark().early_after(2).purge();
        let windows = records.window(Tumbling::of(ms(100)), at).trigger(early);
        windows.late_output().aggregate("windows", Numbers)
    });
    assert_eq!(rows, [vec![0, 1], vec![2]].map(|value| row(1, (0, 100), value)));
}

#[test]
fn count_windows_are_of_as_many_records_and_say_nothing_of_fewer() {
    let steps = [(1, 30, 0), (2, 5, 1), (1, 10, 2), (1, 20, 3), (1, 40, 4), (1, 50, 5)];
    let (rows, _, _) = in_order(&steps, |records| {
        records.window(Count::of(2), at).late_output().aggregate("windows", Numbers)
    });
    assert_eq!(rows, [row(1, (10, 31), vec![0, 2]), row(1, (20, 41), vec![3, 4])]);
}

#[test]
fn sliding_count_windows_are_of_the_last_records_in_their_order() {
    let numbers = [9, 8, 7, 6, 5, 4, 3, 2];
    let steps = numbers.map(|number| (1, 100 - number as i64, number));
    let text = |number: u64| number.to_string();
    let right = ["98", "9876", "87654", "65432"];
    let bounds = [(91, 93), (91, 95), (92, 97), (94, 99)];
    for how in [How::Aggregate, How::Fold, How::Process] {
        let (rows, late, _) = in_order(&steps, move |records| {
            let windows = records.window(Count::sliding(5, 2), at).late_output();
            let (texts, late) = match how {
                How::Aggregate | How::All => windows.aggregate("windows", Text),
                How::Fold => windows.fold("windows", String::new(), move |all, record| {
                    all.push_str(&text(record.2));
                }),
                How::Process => windows.process("windows", move |_, _, records| {
                    records.iter().map(|record| text(record.2)).collect()
                }),
            };
            let digits = |text: String| text.bytes().map(|digit| u64::from(digit - b'0')).collect();
            let rows = texts.map(move |row: Windowed<u64, String>| Windowed {
                key: row.key,
                window: row.window,
                value: digits(row.value),
            });
            (rows, late)
        });
        let rows = rows.into_iter().map(|row: Row| {
            let text: String = row.value.iter().map(ToString::to_string).collect();
            ((row.window.start.0, row.window.end.0), text)
        });
        let right = bounds.into_iter().zip(right.map(str::to_owned));
        assert_eq!(rows.collect::<Vec<_>>(), right.collect::<Vec<_>>(), "{how:?}");
        assert_eq!(late, [] as [u64; 0]);
    }
}

/// A window fires over several turns of the operator if it has many keys. What comes late meanwhile, for
/// windows that nobody had a record in, is said as well.
#[test]
fn regression_windows_of_late_records_are_said_while_a_later_window_fires() {
    const KEYS: u64 = 12_000;
    // So large that the source has turns of its own between those of the operator.
    let padded = |record: (u64, i64, u64)| (record, [0u64; 29]);
    let in_time = (0..KEYS).map(|key| (key, 95, key));
    // More than the source says at once: the watermark comes after that.
    let later = (0..2048).map(|n| (KEYS, 250, n));
    let late = (0..KEYS).map(|key| (key, 52, KEYS + key));
    let records = in_time.chain(later).chain(late).map(padded);
    let time = |((_, at, _), _): &((u64, i64, u64), [u64; 29])| EventTime(*at);
    // From before the late ones to behind those in time at once.
    let by_time = Watermarks::bounded(ms(100), time);
    let source = VecSource::new(records.collect::<Vec<_>>()).with_watermarks(by_time);
    let sink = CollectSink::<Row>::new();
    let collected = sink.clone();
    let summary = job(1).execute(move |flow| {
        let records = flow.source("records", source.clone()).map(|(record, _)| record);
        let windows = records.key_by(|record| record.0).window(Sliding::of(ms(10), ms(5)), at);
        windows.allowed_lateness(ms(200)).aggregate("windows", Numbers).sink("rows", sink.clone());
    });
    summary.unwrap();
    let mut last = BTreeMap::new();
    for row in collected.records() {
        last.insert((row.key, row.window.end.0), row.value);
    }
    for key in 0..KEYS {
        for (end, number) in [(55, KEYS + key), (60, KEYS + key), (100, key), (105, key)] {
            assert_eq!(last.get(&(key, end)), Some(&vec![number]), "key {key}, window to {end}");
        }
    }
}

#[test]
fn times_at_the_ends_of_time_are_in_windows_like_others() {
    let records = vec![vec![(1, i64::MIN, 0), (1, -1, 1), (1, 0, 2), (1, i64::MAX, 3)]];
    for kind in [Kind::Tumbling(10, 0), Kind::Cumulating(10, 5, 0), Kind::Session(10)] {
        let (source, sink) = (VecSource::splits(records.clone()), CollectSink::<Row>::new());
        let collected = sink.clone();
        let summary = job(1).execute(move |flow| {
            windows(flow.source("records", source.clone()), kind, How::Aggregate)
                .sink("rows", sink.clone());
        });
        assert!(summary.unwrap().late.is_empty());
        let mut numbers: Vec<u64> =
            collected.records().into_iter().flat_map(|row| row.value).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers, [0, 1, 2, 3], "{kind:?}");
    }
}

/// What is said when depends on the clock; that each record is in one window does not, whenever the run
/// was stopped.
#[test]
fn by_processing_time_each_record_is_in_one_window_that_fires_by_itself() {
    let records = input(3, 400, 2, 5);
    let (store, collected) = (Location::memory(), CollectSink::<Row>::new());
    for (workers, stops) in [(2, true), (3, true), (1, false)] {
        let (source, sink) = (source(&records, 5, ms(1)), collected.clone());
        let (seen, fired) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let is_fired = Arc::clone(&fired);
        let job = job(workers).checkpoint_store(store.clone()).checkpoint_interval(ms(2));
        let summary = job.execute(move |flow| {
            let (run, seen) = (Arc::clone(flow.checkpoints().run()), Arc::clone(&seen));
            let fired = Arc::clone(&fired);
            let records = flow.source("records", source.clone()).inspect(move |_| {
                if seen.fetch_add(1, Ordering::Relaxed) == 120 && stops {
                    run.control().request_stop();
                }
            });
            let windows = records.key_by(|record| record.0);
            let windows = windows.window_by_processing_time(Tumbling::of(ms(5)));
            let rows = windows.aggregate("windows", Numbers).inspect(move |_| {
                fired.fetch_add(1, Ordering::Relaxed);
            });
            rows.sink("rows", sink.clone());
        });
        let summary = summary.unwrap();
        assert!(summary.late.is_empty(), "{:?}", summary.late);
        assert!(is_fired.load(Ordering::Relaxed) > 0, "nothing fires before the end");
    }
    let numbers = collected.records().into_iter().flat_map(|row| row.value).collect();
    assert_eq!(sorted(numbers), (0..400).collect::<Vec<u64>>());
}

#[test]
fn the_top_of_a_window_is_that_of_a_sorted_list() {
    let records = input(5, 300, 2, 3);
    let (source, sink) = (source(&records, 50, ms(0)), CollectSink::<Windowed<u64, _>>::new());
    let collected = sink.clone();
    let summary = job(2).execute(move |flow| {
        let keyed = flow.source("records", source.clone()).key_by(|record| record.0);
        let windows = keyed.window(Sliding::of(ms(90), ms(30)), at);
        windows.top("top", 3, |record| record.2).sink("rows", sink.clone());
    });
    summary.unwrap();
    let right =
        model((Kind::Sliding(90, 30, 0), How::Aggregate), &records).into_iter().map(|row| {
            let top: Vec<u64> = row.value.iter().rev().take(3).copied().collect();
            Windowed { key: row.key, window: row.window, value: top }
        });
    let found = collected.records().into_iter().map(|row: Windowed<u64, Vec<Record>>| {
        let value: Vec<u64> = row.value.iter().map(|record| record.2).collect();
        Windowed { key: row.key, window: row.window, value }
    });
    assert_eq!(sorted(found.collect()), right.collect::<Vec<_>>());
}

#[track_caller]
fn refused<W: highwater::window::Assigner + Copy + Send + Sync>(windows: W, parts: &[&str]) {
    let outcome = job(2).run(move |flow| {
        let records = flow.source("records", VecSource::new([(1u64, 1i64, 1u64)]));
        records.window_all(windows, at).count("windows").for_each(drop);
    });
    let text = format!("{:?}", outcome.unwrap_err());
    for part in [&["operator \"windows\": "], parts].concat() {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

#[test]
fn windows_that_cannot_be_are_refused_with_both_numbers() {
    refused(Tumbling::of(ms(0)), &["size of the tumbling windows is 0ns", "at least 1 ms"]);
    refused(Tumbling::of(Duration::from_micros(999)), &["999\u{b5}s", "at least 1 ms"]);
    refused(Tumbling::of(Duration::MAX), &["at most a million years"]);
    refused(Sliding::of(ms(10), ms(0)), &["slide of the sliding windows is 0ns"]);
    refused(Sliding::of(ms(10), ms(11)), &["11 ms, is longer than their size, 10 ms"]);
    refused(Sliding::of(ms(1_000_000), ms(1)), &["1000000 times", "at most 100000"]);
    refused(Session::gap(ms(0)), &["gap of the session windows is 0ns"]);
    refused(Cumulating::of(ms(10), ms(3)), &["up to 10 ms in steps of 3 ms"]);
    refused(Count::of(0), &["0 records"]);
    refused(Count::sliding(5, 0), &["of 5 records each 0 records"]);
    refused(Count::sliding(2, 3), &["windows, 3, is longer than their size, 2"]);
    refused(Count::sliding(u64::MAX, 1), &["of 18446744073709551615 records: at most"]);
}
