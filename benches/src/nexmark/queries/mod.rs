//! The queries of Nexmark, as programs of the engine: from a stream of events to one of rows.
//!
//! Each says the SQL of the benchmark that it answers. Where SQL leaves open which of equal rows is
//! meant, or when a row is said, the query says what it does.

mod best;
mod files;
mod hot_items;
mod joins;
mod reports;
mod sessions;
mod side_input;
mod stateless;
mod top;
mod winning;

use highwater::prelude::*;

use super::event::{Auction, Bid, Event, Person};

pub(super) use files::{Logged, q10};
pub(super) use hot_items::{q5, q7};
pub(super) use joins::{q3, q8, q20};
pub(super) use reports::{Counts, Prices, Statistics, bits_of, q15, q16, q17, seen_first};
pub(super) use sessions::{q11, q12};
pub(super) use side_input::q13;
pub(super) use stateless::{
    BidRow, Calculated, WithChannelId, WithFolders, channel_id, part_of_day, q0, q1, q2, q14, q21,
    q22,
};
pub(super) use top::{q18, q19};
pub(super) use winning::{q4, q6, q9};

/// `FROM bid`
fn bids(events: Stream<'_, Event>) -> Stream<'_, Bid> {
    events.filter_map(Event::bid)
}

/// `FROM person`, `FROM auction`
fn people_and_auctions(events: Stream<'_, Event>) -> (Stream<'_, Person>, Stream<'_, Auction>) {
    events.split(|event, people, auctions| match event {
        Event::Person(person) => people.push(person),
        Event::Auction(auction) => auctions.push(auction),
        Event::Bid(_) => {}
    })
}

/// `FROM auction`, `FROM bid`
fn auctions_and_bids(events: Stream<'_, Event>) -> (Stream<'_, Auction>, Stream<'_, Bid>) {
    events.split(|event, auctions, bids| match event {
        Event::Auction(auction) => auctions.push(auction),
        Event::Bid(bid) => bids.push(bid),
        Event::Person(_) => {}
    })
}
