//! Windows: records of a key by their times, and what they have come to when a watermark is there.
//!
//! ```text
//!   record --Grid--> window or slice --Fold--> state by (key, its end)     whole.rs, sliced.rs
//!          --gap---> session of its key                                    merging.rs
//!          --------> the n-th of its key                                   counted.rs, counted_sliding.rs
//!   batch ----> Part by slice, on its way to the worker of its key, where that pays        partial.rs
//!   watermark ------> what is due fires: Agenda, TimerQueue
//! ```
//!
//! # Invariants
//!
//! * **A1** A record is judged by the watermark up to which windows have fired, or do just now: none is
//!   taken for a window that is forgotten, before a restart or after it ([`floors`]).
//! * **A2** State is removed when the watermark has come to the end of its last window and the allowed
//!   lateness.
//! * **A3** What is due when is in memory alone, and found out again from the state.

mod agenda;
mod counted;
mod counted_sliding;
mod days;
mod evolved;
mod floors;
mod fold;
mod gate;
mod grid;
mod merging;
mod partial;
mod running;
mod sessions;
mod sliced;
mod whole;

use std::hash::Hash;
use std::rc::Rc;

use highwater_checkpoint::EventTime;
use highwater_checkpoint::dataflow::Redistribution;
use highwater_checkpoint::state::typed::Element;
use highwater_checkpoint::state::{Codec, KeyedTable, stable_hash};

pub(crate) use days::Days;
pub(crate) use evolved::Evolved;
pub(crate) use fold::{Aggregated, Collected, Counted, Fold, Folded, Merge, Ranked, Reduced};
pub(crate) use gate::Clock;
pub(crate) use grid::{Grid, OVERLAP_MAX, SPAN_MAX, clamp};

use self::agenda::Agenda;
use self::fold::Replayed;
use self::gate::Gate;
use self::partial::{Combiner, OfParts, clock_of_parts};
use super::process_by_hash;
use crate::state::Declarations;
use crate::stream::{Data, Key, Stream};
use crate::window::{Plan, TriggerPlan, Windowed};

/// Due entries whose slots are prefetched before the first of them is looked at.
const DUE_AHEAD: usize = 64;

/// Bytes of a [light](is_light) value at the most: a cache line.
const LIGHT_BYTES_MAX: usize = 64;

/// The state of a window operator, and the one in which it says what it has acted on.
const WINDOWS: &str = "windows";
const ACTED_ON: &str = "acted-on";

/// A window operator that is to be.
pub(crate) struct Windowing<T> {
    pub(crate) plan: Plan,
    pub(crate) trigger: TriggerPlan,
    pub(crate) clock: Clock<T>,
    /// Milliseconds.
    pub(crate) lateness: i64,
    /// Whether late records go to a stream of their own.
    pub(crate) is_late_kept: bool,
    pub(crate) evolved: Evolved,
}

/// Results, and late records if they are kept.
pub(crate) type Streams<'scope, K, V, R> =
    (Stream<'scope, Windowed<K, R>>, Option<Stream<'scope, (K, V)>>);

impl<T> Windowing<T> {
    fn gate<'scope, K: Key, V: Data>(
        self,
        declarations: &mut Declarations<'_, 'scope>,
        aside: &mut Option<Stream<'scope, (K, V)>>,
    ) -> Gate<K, V, T>
    where
        T: Fn(&V) -> EventTime,
    {
        let late_to = self.is_late_kept.then(|| {
            let (late_to, stream) = declarations.side_output();
            *aside = Some(stream);
            late_to
        });
        let acted_on = declarations.list(ACTED_ON, Redistribution::Broadcast);
        let (key_groups, late) = (declarations.key_groups(), declarations.late());
        Gate::new((self.clock, self.lateness), acted_on, key_groups, late_to, late)
    }
}

/// Adds windows whose contents need not merge: of a plan with [`Plan::Grid`] or [`Plan::Count`].
pub(crate) fn fold_windows<'scope, K, V, F, T>(
    uid: &str,
    stream: Stream<'scope, (K, V)>,
    windowing: Windowing<T>,
    fold: F,
) -> Streams<'scope, K, V, F::Said>
where
    K: Key,
    V: Data + Clone,
    F: Fold<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    match windowing.plan.clone() {
        Plan::Grid(grid) => whole_windows(uid, stream, windowing, grid.0, fold),
        Plan::SlidingCount { size, slide } => {
            sliding_counts(uid, stream, windowing, (size, slide), Replayed(fold))
        }
        Plan::Count { records } => counts(uid, stream, windowing, records, fold),
        Plan::Session { .. } | Plan::Refused(_) => {
            unreachable!("sessions are not `Aligned`, and what is refused was replaced")
        }
    }
}

/// Adds windows of any kind, whose contents merge. If the keys `are_few`, nearly all records of a batch are
/// of one of them.
pub(crate) fn merge_windows<'scope, K, V, F, T>(
    uid: &str,
    stream: Stream<'scope, (K, V)>,
    windowing: Windowing<T>,
    fold: F,
    are_few: bool,
) -> Streams<'scope, K, V, F::Said>
where
    K: Key,
    V: Data + Clone,
    F: Merge<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    match windowing.plan.clone() {
        Plan::Session { gap } => sessions(uid, stream, windowing, gap, fold),
        Plan::SlidingCount { size, slide } => {
            sliding_counts(uid, stream, windowing, (size, slide), fold)
        }
        Plan::Count { records } => counts(uid, stream, windowing, records, fold),
        Plan::Grid(grid) => {
            // Late records are judged one by one, and go on as they are; `count` is of records.
            let is_each_needed = windowing.is_late_kept || windowing.trigger.count < u32::MAX;
            let is_merged = if are_few { fold.is_small() } else { is_light::<F::Kept>() };
            if is_merged && !is_each_needed {
                combined_windows(uid, stream, windowing, grid.0, fold)
            } else {
                grid_windows(uid, stream, windowing, grid.0, fold)
            }
        }
        Plan::Refused(_) => unreachable!("what is refused was replaced"),
    }
}

/// Whether to make, send and merge a value of this type costs no more than it does for a record, so that
/// it pays if only some records are merged.
fn is_light<A>() -> bool {
    size_of::<A>() <= LIGHT_BYTES_MAX && !std::mem::needs_drop::<A>()
}

/// As [`grid_windows`]: workers merge what they have before they send it, where they find that some
/// records can be.
fn combined_windows<'scope, K, V, F, T>(
    uid: &str,
    stream: Stream<'scope, (K, V)>,
    windowing: Windowing<T>,
    grid: Grid,
    fold: F,
) -> Streams<'scope, K, V, F::Said>
where
    K: Key,
    V: Data + Clone,
    F: Merge<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    let Windowing { plan, trigger, clock, lateness, is_late_kept, evolved } = windowing;
    let (clock, fold) = (clock.shared(), Rc::new(fold));
    let mut combiner = Combiner::new(grid.clone(), clock.clone(), Rc::clone(&fold));
    let parts = stream.mapped_at("Combine", move |watermark, batch, made| {
        combiner.combine(watermark, batch, made);
    });
    let clock = clock_of_parts::<V, F::Kept, T>(clock);
    let windowing = Windowing { plan, trigger, clock, lateness, is_late_kept, evolved };
    let (results, _) = grid_windows(uid, parts, windowing, grid, OfParts(fold));
    (results, None)
}

/// Adds windows whose bounds do not depend on the records, and whose contents merge.
fn grid_windows<'scope, K, V, F, T>(
    uid: &str,
    stream: Stream<'scope, (K, V)>,
    windowing: Windowing<T>,
    grid: Grid,
    fold: F,
) -> Streams<'scope, K, V, F::Said>
where
    K: Key,
    V: Data + Clone,
    F: Merge<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    if grid.is_disjoint() || !windowing.trigger.is_plain() {
        return whole_windows(uid, stream, windowing, grid, fold);
    }
    let flow = stream.flow().clone();
    let (stream, hash, mut aside) = (stream.into_timely(), hash_of::<K, V>, None);
    let made = process_by_hash(&flow, uid, stream, hash, |declarations| {
        let evolution = &windowing.evolved.slices;
        let slices = declarations.table(WINDOWS, evolution, |groups, owned| {
            KeyedTable::placed_by(groups, owned, Element::table_hash)
        });
        let gate = windowing.gate(declarations, &mut aside);
        sliced::Sliced::new(slices, grid, fold, gate)
    });
    (Stream::built(flow, made), aside)
}

fn whole_windows<'scope, K, V, F, T>(
    uid: &str,
    stream: Stream<'scope, (K, V)>,
    windowing: Windowing<T>,
    grid: Grid,
    fold: F,
) -> Streams<'scope, K, V, F::Said>
where
    K: Key,
    V: Data + Clone,
    F: Fold<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    let flow = stream.flow().clone();
    let (stream, hash, mut aside) = (stream.into_timely(), hash_of::<K, V>, None);
    let made = process_by_hash(&flow, uid, stream, hash, |declarations| {
        let evolution = &windowing.evolved.panes;
        let panes = declarations.table(WINDOWS, evolution, |groups, owned| {
            KeyedTable::placed_by(groups, owned, Element::table_hash)
        });
        let trigger = windowing.trigger;
        let gate = windowing.gate(declarations, &mut aside);
        whole::Whole { panes, grid, fold, trigger, gate, agendas: <_>::default() }
    });
    (Stream::built(flow, made), aside)
}

fn sessions<'scope, K, V, F, T>(
    uid: &str,
    stream: Stream<'scope, (K, V)>,
    windowing: Windowing<T>,
    gap: i64,
    fold: F,
) -> Streams<'scope, K, V, F::Said>
where
    K: Key,
    V: Data + Clone,
    F: Merge<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    let flow = stream.flow().clone();
    let (stream, hash, mut aside) = (stream.into_timely(), hash_of::<K, V>, None);
    let made = process_by_hash(&flow, uid, stream, hash, |declarations| {
        let evolution = &windowing.evolved.sessions;
        let sessions = declarations.table(WINDOWS, evolution, KeyedTable::new);
        let trigger = windowing.trigger;
        let gate = windowing.gate(declarations, &mut aside);
        merging::SessionWindows::new(sessions, gap, fold, trigger, gate)
    });
    (Stream::built(flow, made), aside)
}

fn counts<'scope, K, V, F, T>(
    uid: &str,
    stream: Stream<'scope, (K, V)>,
    windowing: Windowing<T>,
    records: u64,
    fold: F,
) -> Streams<'scope, K, V, F::Said>
where
    K: Key,
    V: Data + Clone,
    F: Fold<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    let flow = stream.flow().clone();
    let (stream, hash, mut aside) = (stream.into_timely(), hash_of::<K, V>, None);
    let made = process_by_hash(&flow, uid, stream, hash, |declarations| {
        let evolution = &windowing.evolved.partials;
        let windows = declarations.table(WINDOWS, evolution, KeyedTable::new);
        let gate = windowing.gate(declarations, &mut aside);
        counted::CountWindows { windows, records, fold, gate }
    });
    (Stream::built(flow, made), aside)
}

fn sliding_counts<'scope, K, V, F, T>(
    uid: &str,
    stream: Stream<'scope, (K, V)>,
    windowing: Windowing<T>,
    bounds: (i64, i64),
    fold: F,
) -> Streams<'scope, K, V, F::Said>
where
    K: Key,
    V: Data + Clone,
    F: Merge<K, V>,
    T: Fn(&V) -> EventTime + 'static,
{
    let flow = stream.flow().clone();
    let (stream, hash, mut aside) = (stream.into_timely(), hash_of::<K, V>, None);
    let made = process_by_hash(&flow, uid, stream, hash, |declarations| {
        let evolution = &windowing.evolved.counted_slices;
        let slices = declarations.table(WINDOWS, evolution, |groups, owned| {
            KeyedTable::placed_by(groups, owned, Element::table_hash)
        });
        let gate = windowing.gate(declarations, &mut aside);
        counted_sliding::SlidingCount::new(slices, bounds, fold, gate)
    });
    (Stream::built(flow, made), aside)
}

fn hash_of<K: Key, V>((key, _): &(K, V)) -> u64 {
    stable_hash(key)
}

/// The first multiple of `every` after `at`.
fn next_multiple(at: i64, every: i64) -> i64 {
    let at = grid::clamp(at);
    at - at.rem_euclid(every) + every
}

/// Does what is on an agenda for `until` and before, as long as the budget lasts: their slots are on
/// their way when it comes to them.
fn each_due<K: Eq + Hash, V, C: Codec<K> + Codec<V>>(
    agenda: &mut Agenda,
    until: i64,
    budget: &mut usize,
    table: &mut KeyedTable<K, V, C>,
    mut each: impl FnMut(&mut KeyedTable<K, V, C>, i64, u64),
) {
    let mut taken = Vec::new();
    while *budget > 0
        && let Some(at) = agenda.take(until, DUE_AHEAD.min(*budget), &mut taken)
    {
        *budget -= taken.len();
        table.ask_for(taken.iter().copied());
        for hash in taken.drain(..) {
            each(table, at, hash);
        }
    }
}
