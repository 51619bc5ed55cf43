//! q0, q1, q2, q13, q14, q21, q22: one pass over the bids.

use std::sync::Arc;

use highwater::EventTime;
use timely::dataflow::operators::vec::Map;

use super::super::event::Event;
use super::super::queries::{
    BidRow, Calculated, WithChannelId, WithFolders, channel_id, part_of_day,
};
use super::super::text::Text;
use super::Stream;

pub(crate) fn q0(events: Stream<'_, Event>) -> Stream<'_, BidRow> {
    events.flat_map(|event| {
        let bid = event.bid()?;
        Some((bid.auction, bid.bidder, bid.price, bid.date_time, bid.extra))
    })
}

pub(crate) fn q1(events: Stream<'_, Event>) -> Stream<'_, BidRow> {
    events.flat_map(|event| {
        let bid = event.bid()?;
        Some((bid.auction, bid.bidder, bid.price * 908, bid.date_time, bid.extra))
    })
}

pub(crate) fn q2(events: Stream<'_, Event>) -> Stream<'_, (u64, u64)> {
    events.flat_map(|event| {
        let bid = event.bid().filter(|bid| bid.auction % 123 == 0)?;
        Some((bid.auction, bid.price))
    })
}

pub(crate) fn q13(
    events: Stream<'_, Event>,
    side_input: Arc<std::collections::HashMap<u64, Text>>,
) -> Stream<'_, (u64, u64, u64, EventTime, Text)> {
    let side_input: super::HashMap<u64, Text> =
        side_input.iter().map(|(key, value)| (*key, *value)).collect();
    events.flat_map(move |event| {
        let bid = event.bid()?;
        let value = side_input.get(&(bid.auction % 10_000))?;
        Some((bid.auction, bid.bidder, bid.price, bid.date_time, *value))
    })
}

pub(crate) fn q14(events: Stream<'_, Event>) -> Stream<'_, Calculated> {
    events.flat_map(|event| {
        let bid = event.bid()?;
        let price = bid.price * 908;
        if price <= 1_000_000_000 || price >= 50_000_000_000 {
            return None;
        }
        let part = part_of_day(bid.minute() / 60);
        let count = bid.extra.bytes().filter(|byte| *byte == b'c').count() as u64;
        Some((bid.auction, bid.bidder, price, part, bid.date_time, bid.extra, count))
    })
}

pub(crate) fn q21(events: Stream<'_, Event>) -> Stream<'_, WithChannelId> {
    events.flat_map(|event| {
        let bid = event.bid()?;
        let id = channel_id(&bid)?;
        Some((bid.auction, bid.bidder, bid.price, bid.channel, id))
    })
}

pub(crate) fn q22(events: Stream<'_, Event>) -> Stream<'_, WithFolders> {
    events.flat_map(|event| {
        let bid = event.bid()?;
        let mut parts = bid.url.as_str().split('/').skip(3);
        let mut folder = || parts.next().unwrap_or_default();
        Some((bid.auction, bid.bidder, bid.price, bid.channel, folder(), folder(), folder()))
    })
}
