//! q13: a bounded side input.

use std::collections::HashMap;
use std::sync::Arc;

use highwater::prelude::*;

use super::super::event::Event;
use super::super::text::Text;
use super::bids;
use crate::by_hand;

/// Bounded side input join: auction, bidder, price, time, and what the side input has for the auction.
///
/// The side input is a file of ten thousand rows, that is read before the first event.
///
/// ```sql
/// SELECT B.auction, B.bidder, B.price, B.dateTime, S.value
/// FROM (SELECT *, PROCTIME() AS p_time FROM bid) B
/// JOIN side_input FOR SYSTEM_TIME AS OF B.p_time AS S ON mod(B.auction, 10000) = S.key
/// ```
pub(crate) fn q13(
    events: Stream<'_, Event>,
    side_input: Arc<HashMap<u64, Text>>,
) -> Stream<'_, (u64, u64, u64, EventTime, Text)> {
    // With a hash that is as fast as it may be where nobody chooses the keys to do harm.
    let side_input: by_hand::HashMap<u64, Text> =
        side_input.iter().map(|(auction, value)| (*auction, *value)).collect();
    bids(events).filter_map(move |bid| {
        let value = side_input.get(&(bid.auction % 10_000))?;
        Some((bid.auction, bid.bidder, bid.price, bid.date_time, *value))
    })
}
