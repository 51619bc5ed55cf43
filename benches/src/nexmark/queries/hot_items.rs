//! q5, q7: the auctions with the most bids, and the highest bids.

use std::time::Duration;

use highwater::prelude::*;
use highwater::window::Sliding;

use super::super::event::{Bid, Event};
use super::best::best_of_windows;
use super::bids;

/// Hot items: the auctions with the most bids in the last ten seconds, every two seconds, and their
/// number.
///
/// ```sql
/// SELECT AuctionBids.auction, AuctionBids.num FROM (
///   SELECT auction, count(*) AS num, window_start AS starttime, window_end AS endtime
///   FROM TABLE(HOP(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
///   GROUP BY auction, window_start, window_end) AS AuctionBids
/// JOIN (SELECT max(CountBids.num) AS maxn, CountBids.starttime, CountBids.endtime
///       FROM (the same) AS CountBids GROUP BY CountBids.starttime, CountBids.endtime) AS MaxBids
/// ON AuctionBids.starttime = MaxBids.starttime AND AuctionBids.endtime = MaxBids.endtime
///   AND AuctionBids.num >= MaxBids.maxn
/// ```
pub(crate) fn q5(events: Stream<'_, Event>) -> Stream<'_, (u64, u64)> {
    let (size, slide) = (Duration::from_secs(10), Duration::from_secs(2));
    let counts = bids(events)
        .map(|bid| (bid.auction, bid.date_time))
        .keyed()
        .window(Sliding::of(size, slide), |at| *at)
        .count("bids-of-auction");
    // One window ends with each slide.
    best_of_windows(counts, slide, |count| EventTime(count.window.end.0 - 1), |count| count.value)
        .map(|count| (count.key, count.value))
}

/// Highest bid of each ten seconds; all of them if there are several.
///
/// ```sql
/// SELECT B.auction, B.price, B.bidder, B.dateTime, B.extra FROM bid B
/// JOIN (SELECT MAX(price) AS maxprice, window_end AS dateTime
///       FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
///       GROUP BY window_start, window_end) B1
/// ON B.price = B1.maxprice
/// WHERE B.dateTime BETWEEN B1.dateTime - INTERVAL '10' SECOND AND B1.dateTime
/// ```
///
/// The SQL also takes a bid of the same price that comes just when the window has ended; here it belongs
/// to the next window alone.
pub(crate) fn q7(events: Stream<'_, Event>) -> Stream<'_, Bid> {
    best_of_windows(bids(events), Duration::from_secs(10), |bid| bid.date_time, |bid| bid.price)
}
