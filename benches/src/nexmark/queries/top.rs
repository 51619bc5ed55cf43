//! q18, q19: the last bid, and the ten best.

use std::cmp::Reverse;

use highwater::prelude::*;

use super::super::event::{Bid, Event};
use super::bids;
use crate::digest::Change;

/// Find last bid: of each bidder for each auction.
///
/// Of bids at the same time the dearest is taken for the last.
///
/// ```sql
/// SELECT auction, bidder, price, channel, url, dateTime, extra
/// FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY dateTime DESC) AS rank_number
///       FROM bid)
/// WHERE rank_number <= 1
/// ```
pub(crate) fn q18(events: Stream<'_, Event>) -> Stream<'_, Change<Bid>> {
    bids(events).key_by(|bid| (bid.bidder, bid.auction)).process("last-bid", |state| {
        let last = state.value::<Option<Bid>>("last");
        move |ctx, bid| {
            let in_order = |bid: &Bid| (bid.date_time, bid.price);
            let replaced = last.update(ctx, |last| match last {
                Some(last) if in_order(last) >= in_order(&bid) => None,
                _ => Some(last.replace(bid)),
            });
            if let Some(before) = replaced {
                if let Some(before) = before {
                    ctx.emit(Change::Retract(before));
                }
                ctx.emit(Change::Insert(bid));
            }
        }
    })
}

/// How many bids q19 ranks.
const TOP: usize = 10;

/// Auction top ten: the dearest bids of each auction, with their ranks.
///
/// Of equal prices the earlier bid ranks higher.
///
/// ```sql
/// SELECT * FROM (
///   SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS rank_number FROM bid)
/// WHERE rank_number <= 10
/// ```
pub(crate) fn q19(events: Stream<'_, Event>) -> Stream<'_, Change<(Bid, u64)>> {
    bids(events).key_by(|bid| bid.auction).process("top-ten", |state| {
        let top = state.value::<Vec<Bid>>("top");
        let worst_first = |bid: &Bid| (bid.price, Reverse(bid.date_time), Reverse(bid.bidder));
        move |ctx, bid| {
            let rank = top.read(ctx, |top| {
                let top = top.map_or(&[][..], Vec::as_slice);
                top.partition_point(|there| worst_first(there) > worst_first(&bid))
            });
            if rank == TOP {
                return;
            }
            top.update(ctx, |top| {
                for (at, moved) in top.iter().enumerate().skip(rank) {
                    let rank = at as u64 + 1;
                    ctx.emit(Change::Retract((*moved, rank)));
                    if at + 1 < TOP {
                        ctx.emit(Change::Insert((*moved, rank + 1)));
                    }
                }
                top.truncate(TOP - 1);
                top.insert(rank, bid);
            });
            ctx.emit(Change::Insert((bid, rank as u64 + 1)));
        }
    })
}
