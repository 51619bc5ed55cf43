//! q15, q16, q17: statistics of a day, which change with each bid.

use highwater::prelude::*;
use highwater::stream::Arrival;
use serde::{Deserialize, Serialize};

use super::super::event::{Bid, Event};
use super::super::text::Text;
use super::bids;

/// A total, and of that what belongs to each level of prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) total: u64,
    pub(crate) of_level: [u64; 3],
}

impl Counts {
    /// Counts what bits of [`seen_first`] say.
    pub(crate) fn of_bits(bits: u8) -> Counts {
        let bit = |at: u8| u64::from(bits >> at & 1);
        Counts { total: bit(3), of_level: [bit(0), bit(1), bit(2)] }
    }

    pub(crate) fn add(&mut self, other: Counts) {
        self.total += other.total;
        let both = self.of_level.iter_mut().zip(other.of_level);
        both.for_each(|(count, more)| *count += more);
    }
}

/// Counts of bids, of distinct bidders and of distinct auctions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Statistics {
    pub(crate) bids: Counts,
    pub(crate) bidders: Counts,
    pub(crate) auctions: Counts,
}

impl Statistics {
    pub(crate) fn add(&mut self, other: Statistics) {
        self.bids.add(other.bids);
        self.bidders.add(other.bidders);
        self.auctions.add(other.auctions);
    }
}

/// The bit of a level, and that of all levels.
pub(crate) fn bits_of(level: usize) -> u8 {
    1 << level | 1 << 3
}

/// Marks a level as seen; the bits are those that were not seen before.
pub(crate) fn seen_first(seen: &mut u8, level: usize) -> u8 {
    let new = bits_of(level) & !*seen;
    *seen |= new;
    new
}

/// Bidding statistics report of each day: bids, bidders, auctions.
///
/// Who is new is found out by bidder and by auction, on all workers; one adds it up, and says the sums
/// each millisecond or so in which they have changed.
///
/// ```sql
/// SELECT DATE_FORMAT(dateTime, 'yyyy-MM-dd') AS day, count(*) AS total_bids,
///   count(*) FILTER (WHERE price < 10000) AS rank1_bids,
///   count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
///   count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
///   count(DISTINCT bidder) AS total_bidders, (the same three of bidders),
///   count(DISTINCT auction) AS total_auctions, (the same three of auctions)
/// FROM bid GROUP BY DATE_FORMAT(dateTime, 'yyyy-MM-dd')
/// ```
pub(crate) fn q15(events: Stream<'_, Event>) -> Stream<'_, (u64, Statistics)> {
    let bids = bids(events).map(|bid| (bid.day(), bid.level(), bid.bidder, bid.auction));
    let bidders = bids.clone().map(|(day, level, bidder, _)| ((day, bidder), level));
    let auctions = bids.clone().map(|(day, level, _, auction)| ((day, auction), level));
    let counted = counted_here(bids.map(|(day, level, ..)| (day, level)))
        .map(|(day, bids)| (day, Statistics { bids, ..Statistics::default() }));
    let bidders = new_ones(bidders, "new-bidders")
        .map(|((day, _), bidders)| (day, Statistics { bidders, ..Statistics::default() }));
    let auctions = new_ones(auctions, "new-auctions")
        .map(|((day, _), auctions)| (day, Statistics { auctions, ..Statistics::default() }));
    counted.union(bidders).union(auctions).keyed().emit(Emit::LastPerStep).fold(
        "statistics-of-day",
        Statistics::default(),
        Statistics::add,
    )
}

/// How many records of each day and level this worker has got, since it has said so last.
fn counted_here(levels: Stream<'_, (u64, usize)>) -> Stream<'_, (u64, Counts)> {
    levels.process_watermarks("bids-here", |state| {
        let counts = state.split_list::<(u64, Counts)>("counts");
        move |ctx, arrival| match arrival {
            Arrival::Record((day, level)) => counts.with(|counts| {
                let one = Counts::of_bits(bits_of(level));
                match counts.iter_mut().find(|(of, _)| *of == day) {
                    Some((_, counts)) => counts.add(one),
                    None => counts.push((day, one)),
                }
            }),
            Arrival::Watermark(_) => {
                counts.with(|counts| counts.drain(..).for_each(|counts| ctx.emit(counts)));
            }
        }
    })
}

/// Keys that are seen the first time, or the first time in a level.
fn new_ones<'s, K: highwater::Key>(
    levels: Stream<'s, (K, usize)>,
    uid: &str,
) -> Stream<'s, (K, Counts)> {
    levels.keyed().process(uid, |state| {
        let seen = state.value::<u8>("seen");
        move |ctx, level| {
            let known = seen.read(ctx, |seen| seen.copied().unwrap_or_default());
            if bits_of(level) & !known != 0 {
                let new = seen.update(ctx, |seen| seen_first(seen, level));
                ctx.emit((ctx.key().clone(), Counts::of_bits(new)));
            }
        }
    })
}

/// What q16 looks at of a bid: minute, level of the price, bidder, auction.
type OfBid = (u64, usize, u64, u64);

/// Channel statistics report of each channel and day: the last minute of a bid, bids, bidders,
/// auctions; said with each bid.
///
/// ```sql
/// SELECT channel, DATE_FORMAT(dateTime, 'yyyy-MM-dd') AS day,
///   max(DATE_FORMAT(dateTime, 'HH:mm')) AS minute, (the counts of q15)
/// FROM bid GROUP BY channel, DATE_FORMAT(dateTime, 'yyyy-MM-dd')
/// ```
pub(crate) fn q16(events: Stream<'_, Event>) -> Stream<'_, ((Text, u64), (u64, Statistics))> {
    bids(events)
        .map(|bid| ((bid.channel, bid.day()), (bid.minute(), bid.level(), bid.bidder, bid.auction)))
        .keyed()
        .process("statistics-of-channel", |state| {
            let report = state.value::<(u64, Statistics)>("report");
            let bidders = state.map::<u64, u8>("bidders");
            let auctions = state.map::<u64, u8>("auctions");
            state.look_ahead(&bidders, |(_, _, bidder, _): &OfBid| Some(*bidder));
            state.look_ahead(&auctions, |(_, _, _, auction): &OfBid| Some(*auction));
            move |ctx, (minute, level, bidder, auction)| {
                let bidder = bidders.update(ctx, bidder, |seen| seen_first(seen, level));
                let auction = auctions.update(ctx, auction, |seen| seen_first(seen, level));
                let report = report.update(ctx, |(last, statistics)| {
                    *last = minute.max(*last);
                    statistics.bids.add(Counts::of_bits(bits_of(level)));
                    statistics.bidders.add(Counts::of_bits(bidder));
                    statistics.auctions.add(Counts::of_bits(auction));
                    (*last, *statistics)
                });
                ctx.emit((*ctx.key(), report));
            }
        })
}

/// Bids of an auction, and what they say of its price.
#[derive(Clone, Copy, Debug, Hash, Serialize, Deserialize)]
pub(crate) struct Prices {
    pub(crate) bids: Counts,
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) sum: u64,
}

/// Auction statistics report of each auction and day, said with each bid. The average is the sum by the
/// count.
///
/// ```sql
/// SELECT auction, DATE_FORMAT(dateTime, 'yyyy-MM-dd') AS day, count(*) AS total_bids,
///   count(*) FILTER (WHERE price < 10000) AS rank1_bids,
///   count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
///   count(*) FILTER (WHERE price >= 1000000) AS rank3_bids,
///   min(price) AS min_price, max(price) AS max_price, avg(price) AS avg_price, sum(price) AS sum_price
/// FROM bid GROUP BY auction, DATE_FORMAT(dateTime, 'yyyy-MM-dd')
/// ```
pub(crate) fn q17(events: Stream<'_, Event>) -> Stream<'_, ((u64, u64), (Prices, u64))> {
    let none = Prices { bids: Counts::default(), min: u64::MAX, max: 0, sum: 0 };
    bids(events)
        .map(|bid: Bid| ((bid.auction, bid.day()), (bid.level(), bid.price)))
        .keyed()
        .fold("statistics-of-auction", none, |prices, (level, price)| {
            prices.bids.add(Counts::of_bits(bits_of(level)));
            prices.min = prices.min.min(price);
            prices.max = prices.max.max(price);
            prices.sum += price;
        })
        .map(|(key, prices)| (key, (prices, prices.sum / prices.bids.total)))
}
