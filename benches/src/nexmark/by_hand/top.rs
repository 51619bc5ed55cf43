//! q18, q19: the last bid, and the ten best, in a table.

use std::cmp::Reverse;

use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Map;

use super::super::event::{Bid, Event};
use super::{Batches, HashMap, Stream, by_key};
use crate::digest::Change;

pub(crate) fn q18(events: Stream<'_, Event>) -> Stream<'_, Change<Bid>> {
    events.flat_map(Event::bid).unary::<Batches<Change<Bid>>, _, _, _>(
        by_key(|bid: &Bid| (bid.bidder, bid.auction)),
        "LastBid",
        |_, _| {
            let mut last: HashMap<(u64, u64), Bid> = HashMap::default();
            move |input, output| {
                input.for_each(|time, batch| {
                    let mut session = output.session(&time);
                    for bid in batch.drain(..) {
                        use hashbrown::hash_map::Entry;
                        match last.entry((bid.bidder, bid.auction)) {
                            Entry::Vacant(entry) => {
                                entry.insert(bid);
                                session.give(Change::Insert(bid));
                            }
                            Entry::Occupied(mut entry) => {
                                let last = entry.get_mut();
                                if (bid.date_time, bid.price) > (last.date_time, last.price) {
                                    session.give(Change::Retract(std::mem::replace(last, bid)));
                                    session.give(Change::Insert(bid));
                                }
                            }
                        }
                    }
                });
            }
        },
    )
}

pub(crate) fn q19(events: Stream<'_, Event>) -> Stream<'_, Change<(Bid, u64)>> {
    events.flat_map(Event::bid).unary::<Batches<Change<(Bid, u64)>>, _, _, _>(
        by_key(|bid: &Bid| bid.auction),
        "TopTen",
        |_, _| {
            let mut tops: HashMap<u64, Vec<Bid>> = HashMap::default();
            let order = |bid: &Bid| (Reverse(bid.price), bid.date_time, bid.bidder);
            move |input, output| {
                input.for_each(|time, batch| {
                    let mut session = output.session(&time);
                    for bid in batch.drain(..) {
                        let top = tops.entry(bid.auction).or_default();
                        let place = top.partition_point(|other| order(other) < order(&bid));
                        if place == 10 {
                            continue;
                        }
                        if top.len() == 10
                            && let Some(tenth) = top.pop()
                        {
                            session.give(Change::Retract((tenth, 10)));
                        }
                        for (moved, rank) in top[place..].iter().zip(place as u64 + 1..) {
                            session.give(Change::Retract((*moved, rank)));
                            session.give(Change::Insert((*moved, rank + 1)));
                        }
                        session.give(Change::Insert((bid, place as u64 + 1)));
                        top.insert(place, bid);
                    }
                });
            }
        },
    )
}
