//! What happens at the auction house: people come, auctions open, bids are made.

use highwater::EventTime;
use serde::{Deserialize, Serialize};

use super::text::Text;

/// One event of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Event {
    Person(Person),
    Auction(Auction),
    Bid(Bid),
}

// The time is the first field of each, so that it is read without looking which of them it is.

/// Somebody has come who will sell or bid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(C)]
pub(crate) struct Person {
    pub(crate) date_time: EventTime,
    pub(crate) id: u64,
    pub(crate) name: Text,
    pub(crate) email_address: Text,
    pub(crate) credit_card: Text,
    pub(crate) city: Text,
    pub(crate) state: Text,
    pub(crate) extra: Text,
}

/// Something is to be sold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(C)]
pub(crate) struct Auction {
    pub(crate) date_time: EventTime,
    pub(crate) id: u64,
    pub(crate) item_name: Text,
    pub(crate) description: Text,
    /// Cents.
    pub(crate) initial_bid: u64,
    /// Cents.
    pub(crate) reserve: u64,
    /// The last time at which a bid counts.
    pub(crate) expires: EventTime,
    pub(crate) seller: u64,
    pub(crate) category: u64,
    pub(crate) extra: Text,
}

/// Somebody offers a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(C)]
pub(crate) struct Bid {
    pub(crate) date_time: EventTime,
    pub(crate) auction: u64,
    pub(crate) bidder: u64,
    /// Cents.
    pub(crate) price: u64,
    pub(crate) channel: Text,
    pub(crate) url: Text,
    pub(crate) extra: Text,
}

impl Event {
    #[inline]
    pub(crate) fn date_time(&self) -> EventTime {
        match self {
            Event::Person(person) => person.date_time,
            Event::Auction(auction) => auction.date_time,
            Event::Bid(bid) => bid.date_time,
        }
    }

    #[inline]
    pub(crate) fn bid(self) -> Option<Bid> {
        match self {
            Event::Bid(bid) => Some(bid),
            _ => None,
        }
    }
}

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

impl Bid {
    /// Days since 1970-01-01: what `DATE_FORMAT(dateTime, 'yyyy-MM-dd')` tells apart.
    #[inline]
    pub(crate) fn day(&self) -> u64 {
        (self.date_time.0 / DAY_MS) as u64
    }

    /// Minutes since midnight: what `DATE_FORMAT(dateTime, 'HH:mm')` tells apart.
    #[inline]
    pub(crate) fn minute(&self) -> u64 {
        (self.date_time.0 % DAY_MS / 60_000) as u64
    }

    /// Which of the three levels of prices of q15 to q17 it is in: below 100, below 10,000, above.
    #[inline]
    pub(crate) fn level(&self) -> usize {
        match self.price {
            0..10_000 => 0,
            10_000..1_000_000 => 1,
            _ => 2,
        }
    }
}
