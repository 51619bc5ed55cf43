//! q5, q7: counts in panes that windows share, and maxima that each worker finds first.

use std::collections::BTreeMap;

use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Map;

use super::super::event::{Bid, Event};
use super::{Batches, HashMap, Stream, by_key};

const SLIDE_MS: u64 = 2_000;
const WINDOW_MS: u64 = 10_000;

pub(crate) fn q5(events: Stream<'_, Event>) -> Stream<'_, (u64, u64)> {
    let bids =
        events.flat_map(|event| event.bid().map(|bid| (bid.auction, bid.date_time.0 as u64)));
    let best = bids.unary_frontier::<Batches<(u64, u64, u64)>, _, _, _>(
        by_key(|(auction, _): &(u64, u64)| *auction),
        "Count",
        |_, _| {
            let mut panes: BTreeMap<u64, HashMap<u64, u64>> = BTreeMap::new();
            let mut windows: BTreeMap<u64, Capability<u64>> = BTreeMap::new();
            let mut totals: HashMap<u64, u64> = HashMap::default();
            move |(input, frontier), output| {
                input.for_each(|time, batch| {
                    for (auction, at) in batch.drain(..) {
                        let pane = at / SLIDE_MS * SLIDE_MS + SLIDE_MS;
                        let counts = panes.entry(pane).or_insert_with(|| {
                            for end in (pane..pane + WINDOW_MS).step_by(SLIDE_MS as usize) {
                                windows.entry(end).or_insert_with(|| time.delayed(&end, 0));
                            }
                            HashMap::default()
                        });
                        *counts.entry(auction).or_default() += 1;
                    }
                });
                while let Some(first) = windows.first_entry()
                    && !frontier.less_than(first.key())
                {
                    let (end, capability) = first.remove_entry();
                    let oldest = end + SLIDE_MS - WINDOW_MS;
                    totals.clear();
                    for (_, counts) in panes.range(oldest..=end) {
                        for (auction, count) in counts {
                            *totals.entry(*auction).or_default() += count;
                        }
                    }
                    panes.retain(|pane, _| *pane > oldest);
                    let most = totals.values().copied().max().unwrap_or_default();
                    let mut session = output.session(&capability);
                    for (auction, count) in totals.iter().filter(|(_, count)| **count == most) {
                        session.give((end, *count, *auction));
                    }
                }
            }
        },
    );
    best_of_windows(best).map(|(_, count, auction)| (auction, count))
}

pub(crate) fn q7(events: Stream<'_, Event>) -> Stream<'_, Bid> {
    let bids = events.flat_map(Event::bid);
    let best =
        bids.unary_frontier::<Batches<(u64, u64, Bid)>, _, _, _>(Pipeline, "BestHere", |_, _| {
            let mut windows: BTreeMap<u64, (Capability<u64>, Vec<Bid>)> = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each(|time, batch| {
                    for bid in batch.drain(..) {
                        let end = bid.date_time.0 as u64 / WINDOW_MS * WINDOW_MS + WINDOW_MS;
                        let (_, best) = windows
                            .entry(end)
                            .or_insert_with(|| (time.delayed(&end, 0), Vec::new()));
                        let price = best.first().map_or(0, |best| best.price);
                        if bid.price > price {
                            best.clear();
                        }
                        if bid.price >= price {
                            best.push(bid);
                        }
                    }
                });
                while let Some(first) = windows.first_entry()
                    && !frontier.less_than(first.key())
                {
                    let (end, (capability, best)) = first.remove_entry();
                    let mut session = output.session(&capability);
                    for bid in best {
                        session.give((end, bid.price, bid));
                    }
                }
            }
        });
    best_of_windows(best).map(|(.., bid)| bid)
}

/// Of the best of each worker, those that are the best of all.
fn best_of_windows<T: timely::ExchangeData + Clone>(
    best: Stream<'_, (u64, u64, T)>,
) -> Stream<'_, (u64, u64, T)> {
    best.unary_frontier::<Batches<(u64, u64, T)>, _, _, _>(
        Exchange::new(|(end, ..): &(u64, u64, T)| *end / SLIDE_MS),
        "Best",
        |_, _| {
            let mut windows = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each(|time, batch| {
                    for (end, rank, record) in batch.drain(..) {
                        let (_, best) = windows
                            .entry(end)
                            .or_insert_with(|| (time.retain(0), Vec::<(u64, u64, T)>::new()));
                        let highest = best.first().map_or(0, |(_, rank, _)| *rank);
                        if rank > highest {
                            best.clear();
                        }
                        if rank >= highest {
                            best.push((end, rank, record));
                        }
                    }
                });
                while let Some(first) = windows.first_entry()
                    && !frontier.less_equal(first.key())
                {
                    let (capability, best) = first.remove();
                    let mut session = output.session(&capability);
                    for best in best {
                        session.give(best);
                    }
                }
            }
        },
    )
}
