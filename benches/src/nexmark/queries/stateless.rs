//! q0, q1, q2, q14, q21, q22: what can be said of each bid by itself.

use highwater::prelude::*;

use super::super::event::{Bid, Event};
use super::super::text::Text;
use super::bids;

/// Auction, bidder, price, time, extra.
pub(crate) type BidRow = (u64, u64, u64, EventTime, Text);

/// Pass through.
///
/// ```sql
/// SELECT auction, bidder, price, dateTime, extra FROM bid
/// ```
pub(crate) fn q0(events: Stream<'_, Event>) -> Stream<'_, BidRow> {
    bids(events).map(|bid| (bid.auction, bid.bidder, bid.price, bid.date_time, bid.extra))
}

/// Currency conversion, to thousandths of a cent.
///
/// ```sql
/// SELECT auction, bidder, 0.908 * price AS price, dateTime, extra FROM bid
/// ```
pub(crate) fn q1(events: Stream<'_, Event>) -> Stream<'_, BidRow> {
    bids(events).map(|bid| (bid.auction, bid.bidder, 908 * bid.price, bid.date_time, bid.extra))
}

/// Selection.
///
/// ```sql
/// SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0
/// ```
pub(crate) fn q2(events: Stream<'_, Event>) -> Stream<'_, (u64, u64)> {
    bids(events).filter(|bid| bid.auction % 123 == 0).map(|bid| (bid.auction, bid.price))
}

/// Auction, bidder, thousandths of a cent, part of the day, time, extra, how often it has a `c`.
pub(crate) type Calculated = (u64, u64, u64, &'static str, EventTime, Text, u64);

/// Calculation.
///
/// ```sql
/// SELECT auction, bidder, 0.908 * price AS price,
///   CASE WHEN HOUR(dateTime) >= 8 AND HOUR(dateTime) <= 18 THEN 'dayTime'
///        WHEN HOUR(dateTime) <= 6 OR HOUR(dateTime) >= 20 THEN 'nightTime'
///        ELSE 'otherTime' END AS bidTimeType,
///   dateTime, extra, count_char(extra, 'c') AS c_counts
/// FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000
/// ```
pub(crate) fn q14(events: Stream<'_, Event>) -> Stream<'_, Calculated> {
    bids(events)
        .map(|bid| (908 * bid.price, bid))
        .filter(|(price, _)| (1_000_000_001..50_000_000_000).contains(price))
        .map(|(price, bid)| {
            let Bid { auction, bidder, date_time, extra, .. } = bid;
            let part = part_of_day(bid.minute() / 60);
            let count = extra.bytes().filter(|byte| *byte == b'c').count() as u64;
            (auction, bidder, price, part, date_time, extra, count)
        })
}

/// The `CASE` of q14.
pub(crate) fn part_of_day(hour: u64) -> &'static str {
    match hour {
        8..=18 => "dayTime",
        0..=6 | 20.. => "nightTime",
        _ => "otherTime",
    }
}

/// Auction, bidder, price, channel, and its id.
pub(crate) type WithChannelId = (u64, u64, u64, Text, &'static str);

/// Add channel id.
///
/// ```sql
/// SELECT auction, bidder, price, channel,
///   CASE WHEN lower(channel) = 'apple' THEN '0' WHEN lower(channel) = 'google' THEN '1'
///        WHEN lower(channel) = 'facebook' THEN '2' WHEN lower(channel) = 'baidu' THEN '3'
///        ELSE REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) END AS channel_id
/// FROM bid
/// WHERE REGEXP_EXTRACT(url, '(&|^)channel_id=([^&]*)', 2) IS NOT NULL
///   OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')
/// ```
pub(crate) fn q21(events: Stream<'_, Event>) -> Stream<'_, WithChannelId> {
    bids(events).filter_map(|bid| {
        let id = channel_id(&bid)?;
        Some((bid.auction, bid.bidder, bid.price, bid.channel, id))
    })
}

/// The `CASE` of q21.
pub(crate) fn channel_id(bid: &Bid) -> Option<&'static str> {
    const KNOWN: [(&str, &str); 4] =
        [("apple", "0"), ("google", "1"), ("facebook", "2"), ("baidu", "3")];
    let known = KNOWN.iter().find(|(channel, _)| bid.channel.eq_ignore_ascii_case(channel));
    known.map(|(_, id)| *id).or_else(|| {
        let mut parameters = bid.url.as_str().split('&');
        parameters.find_map(|parameter| parameter.strip_prefix("channel_id="))
    })
}

/// Auction, bidder, price, channel, and three folders of the address.
pub(crate) type WithFolders = (u64, u64, u64, Text, &'static str, &'static str, &'static str);

/// Get URL directories.
///
/// ```sql
/// SELECT auction, bidder, price, channel, SPLIT_INDEX(url, '/', 3) AS dir1,
///   SPLIT_INDEX(url, '/', 4) AS dir2, SPLIT_INDEX(url, '/', 5) AS dir3 FROM bid
/// ```
pub(crate) fn q22(events: Stream<'_, Event>) -> Stream<'_, WithFolders> {
    bids(events).map(|bid| {
        let mut parts = bid.url.as_str().split('/').skip(3);
        let mut folder = || parts.next().unwrap_or_default();
        (bid.auction, bid.bidder, bid.price, bid.channel, folder(), folder(), folder())
    })
}
