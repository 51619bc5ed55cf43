//! What happens at the auction house.

use serde::{Deserialize, Serialize};

use crate::text::Text;

/// One event of the stream. Times are milliseconds, prices are cents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Event {
    /// Somebody has come who will sell or bid.
    Person(Person),
    /// Something is to be sold.
    Auction(Auction),
    /// Somebody offers a price.
    Bid(Bid),
}

/// What is looked at of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(C)]
pub struct Person {
    pub date_time: u64,
    pub id: u64,
    pub name: Text,
    pub email_address: Text,
    pub credit_card: Text,
    pub city: Text,
    pub state: Text,
    pub extra: Text,
}

/// The fields are in the order in which they are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(C)]
pub struct Auction {
    pub date_time: u64,
    pub id: u64,
    pub item_name: Text,
    pub description: Text,
    pub initial_bid: u64,
    pub reserve: u64,
    pub expires: u64,
    pub seller: u64,
    pub category: u64,
    pub extra: Text,
}

/// The fields are in the order in which they are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(C)]
pub struct Bid {
    pub date_time: u64,
    pub auction: u64,
    pub bidder: u64,
    pub price: u64,
    pub channel: Text,
    pub url: Text,
    pub extra: Text,
}

impl Event {
    /// When it happened.
    pub fn date_time(&self) -> u64 {
        match self {
            Event::Person(person) => person.date_time,
            Event::Auction(auction) => auction.date_time,
            Event::Bid(bid) => bid.date_time,
        }
    }

    /// The bid, if it is one.
    pub fn bid(self) -> Option<Bid> {
        match self {
            Event::Bid(bid) => Some(bid),
            _ => None,
        }
    }
}
