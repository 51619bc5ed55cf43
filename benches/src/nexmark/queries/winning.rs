//! q4, q6, q9: who wins an auction, and at what price.

use std::collections::BTreeMap;

use highwater::prelude::*;
use highwater::state::Event as Arrived;
use highwater::stream::{Data, Either};
use serde::{Deserialize, Serialize};

use super::super::event::{Auction, Bid, Event};

/// An auction, as far as a query looks at it.
#[derive(Clone, Serialize, Deserialize)]
struct Opened<A> {
    at: EventTime,
    expires: EventTime,
    auction: A,
}

/// A bid, as far as a query looks at it.
#[derive(Clone, Serialize, Deserialize)]
struct Offer<B> {
    price: u64,
    at: EventTime,
    bid: B,
}

/// An auction of which not all bids have come.
#[derive(Serialize, Deserialize)]
struct Lot<A, B> {
    opened: Option<Opened<A>>,
    best: Option<Offer<B>>,
    /// Bids that came before the auction: other workers' events are not in order with ours.
    early: Vec<Offer<B>>,
}

impl<A, B> Lot<A, B> {
    fn new() -> Self {
        Lot { opened: None, best: None, early: Vec::new() }
    }

    /// Takes in the auction itself.
    fn open(&mut self, opened: Opened<A>) {
        self.opened = Some(opened);
        for offer in std::mem::take(&mut self.early) {
            self.offer(offer);
        }
    }

    /// Takes in a bid. The dearest wins; of equal ones that which came first.
    fn offer(&mut self, offer: Offer<B>) {
        let Some(opened) = &self.opened else { return self.early.push(offer) };
        let is_in_time = (opened.at..=opened.expires).contains(&offer.at);
        let is_better = |best: &Offer<B>| {
            offer.price > best.price || (offer.price == best.price && offer.at < best.at)
        };
        if is_in_time && self.best.as_ref().is_none_or(is_better) {
            self.best = Some(offer);
        }
    }

    /// When all bids have come, if the auction has. Of bids alone: when those are known to be in vain,
    /// because the auction would have come.
    fn is_over_at(&self) -> Option<EventTime> {
        let last = match &self.opened {
            Some(opened) => Some(opened.expires),
            None => self.early.iter().map(|offer| offer.at).max(),
        };
        last.map(|last| EventTime(last.0 + 1))
    }
}

/// The winning bid of each auction that has one, once the watermark has passed its expiry.
///
/// ```sql
/// SELECT * FROM (
///   SELECT *, ROW_NUMBER() OVER (PARTITION BY A.id ORDER BY B.price DESC, B.dateTime ASC) AS rownum
///   FROM auction A, bid B WHERE A.id = B.auction AND B.dateTime BETWEEN A.dateTime AND A.expires)
/// WHERE rownum <= 1
/// ```
fn winning_bids<A: Data, B: Data>(
    events: Stream<'_, Event>,
    of_auction: fn(&Auction) -> A,
    of_bid: fn(&Bid) -> B,
) -> Stream<'_, (A, u64, B)> {
    let arrivals = events.filter_map(move |event| match event {
        Event::Auction(auction) => {
            let Auction { id, date_time: at, expires, .. } = auction;
            Some((id, Either::Left(Opened { at, expires, auction: of_auction(&auction) })))
        }
        Event::Bid(bid) => {
            let Bid { auction, date_time: at, price, .. } = bid;
            Some((auction, Either::Right(Offer { price, at, bid: of_bid(&bid) })))
        }
        Event::Person(_) => None,
    });
    arrivals.keyed().process_timed("winning-bids", |state| {
        let lots = state.value::<Lot<A, B>>("lots");
        let over = state.event_timers();
        move |ctx, event| match event {
            Arrived::Record(Either::Left(opened)) => {
                let expires = opened.expires;
                lots.update_or_else(ctx, Lot::new, |lot| lot.open(opened));
                over.set(ctx, (), EventTime(expires.0 + 1));
            }
            Arrived::Record(Either::Right(offer)) => {
                let at = offer.at;
                let is_early = lots.update_or_else(ctx, Lot::new, |lot| {
                    lot.offer(offer);
                    lot.early.len() == 1
                });
                if is_early {
                    over.set(ctx, (), EventTime(at.0 + 1));
                }
            }
            Arrived::Timer { at, .. } => {
                let over_at = lots.read(ctx, |lot| lot.and_then(Lot::is_over_at));
                match over_at.filter(|over_at| *over_at > at) {
                    Some(later) => over.set(ctx, (), later),
                    None => {
                        if let Some(Lot { opened: Some(opened), best: Some(best), .. }) =
                            lots.remove(ctx)
                        {
                            ctx.emit((opened.auction, best.price, best.bid));
                        }
                    }
                }
            }
            Arrived::Alarm { .. } => {}
        }
    })
}

/// The mean of prices, in whole cents.
struct Mean;

impl Aggregator for Mean {
    type Input = u64;
    type Accumulator = (u64, u64);
    type Output = u64;

    fn init(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&self, (sum, count): &mut (u64, u64), price: u64) {
        *sum += price;
        *count += 1;
    }

    fn output(&self, (sum, count): &(u64, u64)) -> u64 {
        sum / count
    }
}

/// Average price for a category: of the auctions that are over so far, anew with each of them.
///
/// ```sql
/// SELECT Q.category, AVG(Q.final) FROM (
///   SELECT MAX(B.price) AS final, A.category FROM auction A, bid B
///   WHERE A.id = B.auction AND B.dateTime BETWEEN A.dateTime AND A.expires
///   GROUP BY A.id, A.category) Q
/// GROUP BY Q.category
/// ```
pub(crate) fn q4(events: Stream<'_, Event>) -> Stream<'_, (u64, u64)> {
    winning_bids(events, |auction| auction.category, |_| ())
        .map(|(category, price, ())| (category, price))
        .keyed()
        .aggregate("average-price", Mean)
}

/// How many auctions of a seller q6 looks at: `BETWEEN 10 PRECEDING AND CURRENT ROW`.
const LAST: usize = 11;

/// Average selling price by seller: of their last auctions, in the order of expiry, anew with each.
///
/// ```sql
/// SELECT Q.seller,
///   AVG(Q.price) OVER (PARTITION BY Q.seller ORDER BY Q.dateTime ROWS BETWEEN 10 PRECEDING AND CURRENT ROW)
/// FROM (winning bids) AS Q
/// ```
///
/// Flink cannot run it. The order is that of expiry and id, so that there is one.
pub(crate) fn q6(events: Stream<'_, Event>) -> Stream<'_, (u64, u64)> {
    winning_bids(events, |auction| (auction.seller, auction.expires, auction.id), |_| ())
        .map(|((seller, expires, id), price, ())| (seller, (expires, id, price)))
        .keyed()
        .process_timed("last-prices", |state| {
            let sales = state.value::<Sales>("sales");
            let in_order = state.event_timers();
            move |ctx, event| match event {
                Arrived::Record((expires, id, price)) => {
                    let is_first = sales.update(ctx, |sales| {
                        sales.coming.insert((expires, id), price);
                        sales
                            .coming
                            .first_key_value()
                            .is_some_and(|(first, _)| *first == (expires, id))
                    });
                    if is_first {
                        in_order.set(ctx, (), EventTime(expires.0 + 1));
                    }
                }
                Arrived::Timer { at: due, .. } => {
                    let next = sales.update(ctx, |sales| {
                        while let Some(sale) = sales.coming.first_entry() {
                            let (expires, _) = *sale.key();
                            if expires >= due {
                                return Some(expires);
                            }
                            let price = sale.remove();
                            ctx.emit((*ctx.key(), mean_of_last(&mut sales.last, price)));
                        }
                        None
                    });
                    if let Some(expires) = next {
                        in_order.set(ctx, (), EventTime(expires.0 + 1));
                    }
                }
                Arrived::Alarm { .. } => {}
            }
        })
}

/// What a seller has sold.
#[derive(Default, Serialize, Deserialize)]
struct Sales {
    /// Those that are over may come in another order than they were over: prices by expiry and auction.
    coming: BTreeMap<(EventTime, u64), u64>,
    /// The last prices before those.
    last: Vec<u64>,
}

fn mean_of_last(last: &mut Vec<u64>, price: u64) -> u64 {
    if last.len() == LAST {
        last.remove(0);
    }
    last.push(price);
    last.iter().sum::<u64>() / last.len() as u64
}

/// Winning bids: the auction and its best bid.
///
/// The SQL is that of `winning_bids`.
pub(crate) fn q9(events: Stream<'_, Event>) -> Stream<'_, (Auction, Bid)> {
    winning_bids(events, |auction| *auction, |bid| *bid).map(|(auction, _, bid)| (auction, bid))
}
