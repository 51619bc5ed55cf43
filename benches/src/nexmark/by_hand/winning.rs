//! q4, q6, q9: auctions that are open in a table, and when they will be over in a heap.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use hashbrown::hash_map::Entry;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Map;

use super::super::event::{Auction, Bid, Event};
use super::{Batches, HashMap, Stream, by_key};

/// What is known of an auction: itself, by when it expires, and the best bid so far; and bids that came
/// before it.
struct Open<A, B> {
    auction: Option<(u64, u64, A)>,
    best: Option<(u64, u64, B)>,
    early: Vec<(u64, u64, B)>,
}

impl<A, B> Open<A, B> {
    fn bid(&mut self, price: u64, at: u64, bid: B) {
        match &self.auction {
            None => self.early.push((price, at, bid)),
            Some((opens, expires, _)) => {
                let wins = match &self.best {
                    None => true,
                    Some((best, since, _)) => price > *best || price == *best && at < *since,
                };
                if wins && at >= *opens && at <= *expires {
                    self.best = Some((price, at, bid));
                }
            }
        }
    }
}

/// An auction or a bid, with the id of the auction.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
enum Arrival<A, B> {
    Auction(u64, u64, u64, A),
    Bid(u64, u64, u64, B),
}

/// All auctions of a worker that are open.
struct Auctions<A, B> {
    open: HashMap<u64, Open<A, B>>,
    /// When something may be over, and what.
    over: BinaryHeap<Reverse<(u64, u64)>>,
}

impl<A, B> Auctions<A, B> {
    fn new() -> Self {
        Auctions { open: HashMap::default(), over: BinaryHeap::new() }
    }

    fn arrive(&mut self, arrival: Arrival<A, B>) {
        let new = || Open { auction: None, best: None, early: Vec::new() };
        match arrival {
            Arrival::Auction(id, at, expires, auction) => {
                self.over.push(Reverse((expires + 1, id)));
                let open = self.open.entry(id).or_insert_with(new);
                open.auction = Some((at, expires, auction));
                for (price, at, bid) in std::mem::take(&mut open.early) {
                    open.bid(price, at, bid);
                }
            }
            Arrival::Bid(id, price, at, bid) => {
                let open = self.open.entry(id).or_insert_with(new);
                open.bid(price, at, bid);
                if open.early.len() == 1 {
                    self.over.push(Reverse((at + 1, id)));
                }
            }
        }
    }

    /// Lets go of what is over when no event before `due` can come any more.
    fn close(&mut self, id: u64, due: u64) -> Option<(A, u64, B)> {
        let Entry::Occupied(mut entry) = self.open.entry(id) else { return None };
        let state = entry.get_mut();
        match &state.auction {
            Some((_, expires, _)) if *expires < due => {
                let over = entry.remove();
                let ((.., auction), (price, _, bid)) = over.auction.zip(over.best)?;
                return Some((auction, price, bid));
            }
            // It will be over later.
            Some(_) => {}
            None => {
                state.early.retain(|(_, at, _)| *at >= due);
                match state.early.iter().map(|(_, at, _)| *at).max() {
                    Some(last) => self.over.push(Reverse((last + 1, id))),
                    None => drop(entry.remove()),
                }
            }
        }
        None
    }
}

/// The auction and its winning bid, when the auction is over.
fn winning_bids<A, B>(
    events: Stream<'_, Event>,
    of_auction: fn(&Auction) -> A,
    of_bid: fn(&Bid) -> B,
) -> Stream<'_, (A, u64, B)>
where
    A: timely::ExchangeData + Clone,
    B: timely::ExchangeData + Clone,
{
    let arrivals = events.flat_map(move |event| match event {
        Event::Auction(auction) => {
            let (at, expires) = (auction.date_time.0 as u64, auction.expires.0 as u64);
            Some(Arrival::Auction(auction.id, at, expires, of_auction(&auction)))
        }
        Event::Bid(bid) => {
            Some(Arrival::Bid(bid.auction, bid.price, bid.date_time.0 as u64, of_bid(&bid)))
        }
        Event::Person(_) => None,
    });
    let id = |arrival: &Arrival<A, B>| match arrival {
        Arrival::Auction(id, ..) | Arrival::Bid(id, ..) => *id,
    };
    arrivals.unary_frontier::<Batches<(A, u64, B)>, _, _, _>(by_key(id), "Winning", |_, _| {
        let mut auctions = Auctions::new();
        let mut held: Option<Capability<u64>> = None;
        move |(input, frontier), output| {
            input.for_each(|time, batch| {
                if held.as_ref().is_none_or(|held| time.time() < held.time()) {
                    held = Some(time.retain(0));
                }
                batch.drain(..).for_each(|arrival| auctions.arrive(arrival));
            });
            let Some(capability) = &mut held else { return };
            let mut session = output.session(&*capability);
            while let Some(Reverse((due, id))) = auctions.over.peek().copied()
                && !frontier.less_than(&due)
            {
                auctions.over.pop();
                session.give_iterator(auctions.close(id, due).into_iter());
            }
            drop(session);
            match auctions.over.peek() {
                Some(Reverse((due, _))) => capability.downgrade(due),
                None => held = None,
            }
        }
    })
}

pub(crate) fn q4(events: Stream<'_, Event>) -> Stream<'_, (u64, u64)> {
    winning_bids(events, |auction| auction.category, |_| ()).unary::<Batches<(u64, u64)>, _, _, _>(
        Exchange::new(|(category, ..): &(u64, u64, ())| *category),
        "Average",
        |_, _| {
            let mut sums: HashMap<u64, (u64, u64)> = HashMap::default();
            move |input, output| {
                input.for_each(|time, batch| {
                    let mut session = output.session(&time);
                    for (category, price, ()) in batch.drain(..) {
                        let (sum, count) = sums.entry(category).or_default();
                        *sum += price;
                        *count += 1;
                        session.give((category, *sum / *count));
                    }
                });
            }
        },
    )
}

pub(crate) fn q6(events: Stream<'_, Event>) -> Stream<'_, (u64, u64)> {
    type Sold = (u64, u64, u64);
    let won = winning_bids(
        events,
        |auction| (auction.seller, auction.expires.0 as u64, auction.id),
        |_| (),
    );
    won.unary_frontier::<Batches<(u64, u64)>, _, _, _>(
        by_key(|((seller, ..), ..): &(Sold, u64, ())| *seller),
        "LastPrices",
        |_, _| {
            let mut sold: BTreeMap<(u64, u64), (u64, u64)> = BTreeMap::new();
            let mut last: HashMap<u64, VecDeque<u64>> = HashMap::default();
            let mut held: Option<Capability<u64>> = None;
            move |(input, frontier), output| {
                input.for_each(|time, batch| {
                    if held.as_ref().is_none_or(|held| time.time() < held.time()) {
                        held = Some(time.retain(0));
                    }
                    for ((seller, expires, id), price, ()) in batch.drain(..) {
                        sold.insert((expires, id), (seller, price));
                    }
                });
                let Some(capability) = &held else { return };
                let mut session = output.session(capability);
                while let Some(first) = sold.first_entry()
                    && !frontier.less_than(&(first.key().0 + 2))
                {
                    let (seller, price) = first.remove();
                    let last = last.entry(seller).or_default();
                    if last.len() == 11 {
                        last.pop_front();
                    }
                    last.push_back(price);
                    session.give((seller, last.iter().sum::<u64>() / last.len() as u64));
                }
                drop(session);
                if sold.is_empty() {
                    held = None;
                }
            }
        },
    )
}

pub(crate) fn q9(events: Stream<'_, Event>) -> Stream<'_, (Auction, Bid)> {
    winning_bids(events, |auction| *auction, |bid| *bid).map(|(auction, _, bid)| (auction, bid))
}
