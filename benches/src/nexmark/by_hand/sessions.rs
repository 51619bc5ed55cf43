//! q11, q12: sessions of each bidder in a table, with a heap of when they may end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use highwater::EventTime;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Map;

use super::super::event::Event;
use super::{Batches, HashMap, Stream, by_key};

const GAP_MS: u64 = 10_000;

const WINDOW: Duration = Duration::from_secs(10);

struct Session {
    start: u64,
    last: u64,
    count: u64,
}

/// Puts a bid into the session it belongs to, or makes one; of two that it joins one is left.
fn add(sessions: &mut Vec<Session>, at: u64) -> bool {
    let is_near = |session: &Session| at < session.last + GAP_MS && session.start < at + GAP_MS;
    let Some(near) = sessions.iter().position(is_near) else {
        sessions.push(Session { start: at, last: at, count: 1 });
        return true;
    };
    let mut session = sessions.swap_remove(near);
    session.start = session.start.min(at);
    session.last = session.last.max(at);
    session.count += 1;
    if let Some(other) = sessions.iter().position(is_near) {
        let other = sessions.swap_remove(other);
        session.start = session.start.min(other.start);
        session.last = session.last.max(other.last);
        session.count += other.count;
    }
    sessions.push(session);
    false
}

pub(crate) fn q11(events: Stream<'_, Event>) -> Stream<'_, (u64, u64, EventTime, EventTime)> {
    let bids = events.flat_map(|event| event.bid().map(|bid| (bid.bidder, bid.date_time.0 as u64)));
    bids.unary_frontier::<Batches<(u64, u64, EventTime, EventTime)>, _, _, _>(
        by_key(|(bidder, _): &(u64, u64)| *bidder),
        "Sessions",
        |_, _| {
            let mut bidders: HashMap<u64, Vec<Session>> = HashMap::default();
            let mut ends: BinaryHeap<Reverse<(u64, u64)>> = BinaryHeap::new();
            let mut held: Option<Capability<u64>> = None;
            move |(input, frontier), output| {
                input.for_each(|time, batch| {
                    if held.as_ref().is_none_or(|held| time.time() < held.time()) {
                        held = Some(time.retain(0));
                    }
                    for (bidder, at) in batch.drain(..) {
                        if add(bidders.entry(bidder).or_default(), at) {
                            ends.push(Reverse((at + GAP_MS, bidder)));
                        }
                    }
                });
                let Some(capability) = &mut held else { return };
                let mut session = output.session(&*capability);
                while let Some(Reverse((due, bidder))) = ends.peek().copied()
                    && !frontier.less_than(&due)
                {
                    ends.pop();
                    let hashbrown::hash_map::Entry::Occupied(mut entry) = bidders.entry(bidder)
                    else {
                        continue;
                    };
                    for over in
                        entry.get_mut().extract_if(.., |session| session.last + GAP_MS <= due)
                    {
                        let times = [over.start, over.last + GAP_MS].map(|at| EventTime(at as i64));
                        session.give((bidder, over.count, times[0], times[1]));
                    }
                    match entry.get().iter().map(|session| session.last + GAP_MS).min() {
                        Some(next) => ends.push(Reverse((next, bidder))),
                        None => drop(entry.remove()),
                    }
                }
                drop(session);
                match ends.peek() {
                    Some(Reverse((due, _))) => capability.downgrade(due),
                    None => held = None,
                }
            }
        },
    )
}

pub(crate) fn q12(events: Stream<'_, Event>) -> Stream<'_, (u64, u64)> {
    let bidders = events.flat_map(|event| event.bid().map(|bid| bid.bidder));
    bidders.unary_frontier::<Batches<(u64, u64)>, _, _, _>(
        by_key(|bidder: &u64| *bidder),
        "PerWindow",
        |_, _| {
            let mut counts: HashMap<u64, u64> = HashMap::default();
            let mut held: Option<Capability<u64>> = None;
            let mut window = 0;
            move |(input, frontier), output| {
                let mut flush = |held: &mut Option<Capability<u64>>, counts: &mut HashMap<_, _>| {
                    if let Some(capability) = held.take() {
                        let mut session = output.session(&capability);
                        counts.drain().for_each(|count| session.give(count));
                    }
                };
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                if now.as_secs() / WINDOW.as_secs() != window {
                    window = now.as_secs() / WINDOW.as_secs();
                    flush(&mut held, &mut counts);
                }
                input.for_each(|time, batch| {
                    if held.is_none() {
                        held = Some(time.retain(0));
                    }
                    batch.drain(..).for_each(|bidder| *counts.entry(bidder).or_default() += 1);
                });
                if frontier.is_empty() {
                    flush(&mut held, &mut counts);
                }
            }
        },
    )
}
