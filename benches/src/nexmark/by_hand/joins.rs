//! q3, q8, q20: both sides of a join come in one stream, for one exchange.

use std::collections::BTreeMap;

use highwater::EventTime;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Map;

use super::super::event::{Auction, Bid, Event};
use super::super::text::Text;
use super::{Batches, HashMap, Stream, by_key};

type Place = (Text, Text, Text);

#[derive(Clone, Copy, serde::Serialize, serde::Deserialize)]
enum Side<L, R> {
    Left(L),
    Right(R),
}

pub(crate) fn q3(events: Stream<'_, Event>) -> Stream<'_, (Text, Text, Text, u64)> {
    let sides = events.flat_map(|event| match event {
        Event::Person(person) if matches!(person.state.as_str(), "OR" | "ID" | "CA") => {
            Some((person.id, Side::Left((person.name, person.city, person.state))))
        }
        Event::Auction(auction) if auction.category == 10 => {
            Some((auction.seller, Side::Right(auction.id)))
        }
        _ => None,
    });
    sides.unary::<Batches<(Text, Text, Text, u64)>, _, _, _>(
        by_key(|(id, _): &(u64, Side<Place, u64>)| *id),
        "LocalItems",
        |_, _| {
            let mut people: HashMap<u64, Place> = HashMap::default();
            let mut auctions: HashMap<u64, Vec<u64>> = HashMap::default();
            move |input, output| {
                input.for_each(|time, batch| {
                    let mut session = output.session(&time);
                    for (id, side) in batch.drain(..) {
                        match side {
                            Side::Left((name, city, state)) => {
                                for auction in auctions.get(&id).into_iter().flatten() {
                                    session.give((name, city, state, *auction));
                                }
                                people.insert(id, (name, city, state));
                            }
                            Side::Right(auction) => {
                                if let Some((name, city, state)) = people.get(&id) {
                                    session.give((*name, *city, *state, auction));
                                }
                                auctions.entry(id).or_default().push(auction);
                            }
                        }
                    }
                });
            }
        },
    )
}

const WINDOW_MS: u64 = 10_000;

pub(crate) fn q8(events: Stream<'_, Event>) -> Stream<'_, (u64, Text, EventTime)> {
    type Seen = (Option<Text>, bool);
    let sides = events.flat_map(|event| match event {
        Event::Person(person) => Some((person.id, person.date_time.0 as u64, Some(person.name))),
        Event::Auction(auction) => Some((auction.seller, auction.date_time.0 as u64, None)),
        Event::Bid(_) => None,
    });
    sides.unary_frontier::<Batches<(u64, Text, EventTime)>, _, _, _>(
        by_key(|(id, ..): &(u64, u64, Option<Text>)| *id),
        "NewSellers",
        |_, _| {
            let mut windows = BTreeMap::new();
            move |(input, frontier), output| {
                input.for_each(|time, batch| {
                    for (id, at, name) in batch.drain(..) {
                        let end = at / WINDOW_MS * WINDOW_MS + WINDOW_MS;
                        let (_, seen) = windows.entry(end).or_insert_with(|| {
                            (time.delayed(&end, 0), HashMap::<u64, Seen>::default())
                        });
                        let seen = seen.entry(id).or_default();
                        match name {
                            Some(name) => seen.0 = Some(name),
                            None => seen.1 = true,
                        }
                    }
                });
                while let Some(first) = windows.first_entry()
                    && !frontier.less_than(first.key())
                {
                    let (end, (capability, seen)) = first.remove_entry();
                    let start = EventTime((end - WINDOW_MS) as i64);
                    let mut session = output.session(&capability);
                    for (id, seen) in seen {
                        if let (Some(name), true) = seen {
                            session.give((id, name, start));
                        }
                    }
                }
            }
        },
    )
}

enum Known {
    Bids(Vec<Bid>),
    Other,
    Wanted(Auction),
}

pub(crate) fn q20(events: Stream<'_, Event>) -> Stream<'_, (Bid, Auction)> {
    let sides = events.flat_map(|event| match event {
        Event::Auction(auction) => Some(Side::Left(auction)),
        Event::Bid(bid) => Some(Side::Right(bid)),
        Event::Person(_) => None,
    });
    let key = |side: &Side<Auction, Bid>| match side {
        Side::Left(auction) => auction.id,
        Side::Right(bid) => bid.auction,
    };
    sides.unary::<Batches<(Bid, Auction)>, _, _, _>(by_key(key), "Expand", |_, _| {
        let mut known: HashMap<u64, Known> = HashMap::default();
        move |input, output| {
            input.for_each(|time, batch| {
                let mut session = output.session(&time);
                for side in batch.drain(..) {
                    match side {
                        Side::Left(auction) if auction.category == 10 => {
                            let before = known.insert(auction.id, Known::Wanted(auction));
                            if let Some(Known::Bids(bids)) = before {
                                for bid in bids {
                                    session.give((bid, auction));
                                }
                            }
                        }
                        Side::Left(auction) => drop(known.insert(auction.id, Known::Other)),
                        Side::Right(bid) => {
                            match known.entry(bid.auction).or_insert(Known::Bids(Vec::new())) {
                                Known::Wanted(auction) => session.give((bid, *auction)),
                                Known::Bids(bids) => bids.push(bid),
                                Known::Other => {}
                            }
                        }
                    }
                }
            });
        }
    })
}
