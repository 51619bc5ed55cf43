//! Which event has which number: the standard's generator, as a pure function.
//!
//! The rules and constants are those of Apache Beam's and Flink's generators in their default
//! configuration: of 50 events one is a person, three are auctions, 46 are bids; half of the bids
//! are for a hot auction, three in four by a hot bidder, three auctions in four by a hot seller;
//! about 100 auctions are open; prices are log-uniform. What differs is which random numbers there are (each
//! event has its own, so that any worker can make any event), and that texts come from pools.

use std::ops::Range;

use highwater::EventTime;

use super::event::{Auction, Bid, Event, Person};
use super::text::{self, CHANNELS, HOT_CHANNELS, POOLS, Pools, pick};
use crate::draws::{Draws, PARTS, POWERS, below, mix};

const FIRST_PERSON_ID: u64 = 1000;
const FIRST_AUCTION_ID: u64 = 1000;
const FIRST_CATEGORY_ID: u64 = 10;
const CATEGORIES: u64 = 5;

/// Of how many events one is a person.
const ROUND: u64 = 50;
const AUCTIONS_OF_ROUND: u64 = 3;

/// Ids that may be named before they exist.
const LEAD: u64 = 10;
const ACTIVE_PEOPLE: u64 = 1000;
const OPEN_AUCTIONS: u64 = 100;

/// Of so many ids in a row one is hot: the first auction and seller, the second bidder.
const HOT_OF: u64 = 100;

/// 2015-07-15 00:00 UTC, as in Beam.
const FIRST_TIME_MS: i64 = 1_436_918_400_000;

/// Makes events of their numbers.
#[derive(Clone)]
pub(crate) struct Generator {
    seed: u64,
    events_per_second: u64,
    pools: &'static Pools,
    powers: &'static [f64],
}

impl Generator {
    /// Events of a seed, so many a second of event time.
    pub(crate) fn new(seed: u64, events_per_second: u64) -> Generator {
        let (pools, powers) = (&*POOLS, &*POWERS);
        Generator { seed: mix(seed), events_per_second: events_per_second.max(1), pools, powers }
    }

    /// Appends the events with these numbers.
    pub(crate) fn fill(&self, numbers: Range<u64>, events: &mut Vec<Event>) {
        // The time changes at every tenth event or so, and a division takes as long as half an event.
        let (mut at, mut changes) = (EventTime(0), 0);
        events.extend(numbers.map(|number| {
            if number >= changes {
                (at, changes) = self.time_of(number);
            }
            self.event(number, at)
        }));
    }

    /// The time of an event, and the first event that is later.
    fn time_of(&self, number: u64) -> (EventTime, u64) {
        let ms = u128::from(number) * 1000 / u128::from(self.events_per_second);
        let changes = ((ms + 1) * u128::from(self.events_per_second)).div_ceil(1000);
        (EventTime(FIRST_TIME_MS + ms as i64), changes as u64)
    }

    #[inline]
    fn event(&self, number: u64, at: EventTime) -> Event {
        let (round, place) = (number / ROUND, number % ROUND);
        let draws = Draws::new(self.seed.wrapping_add(number));
        match place {
            0 => Event::Person(self.person(round, at, draws)),
            1..=AUCTIONS_OF_ROUND => {
                Event::Auction(self.auction(number, round, place - 1, at, draws))
            }
            _ => Event::Bid(self.bid(round, at, draws)),
        }
    }

    fn person(&self, round: u64, at: EventTime, mut draws: Draws) -> Person {
        let (name, email_address) = draws.pair();
        let (credit_card, city) = draws.pair();
        let (state, extra) = draws.pair();
        Person {
            date_time: at,
            id: FIRST_PERSON_ID + round,
            name: pick(self.pools.names, name),
            email_address: pick(self.pools.email_addresses, email_address),
            credit_card: pick(self.pools.credit_cards, credit_card),
            city: pick(self.pools.cities, city),
            state: pick(self.pools.states, state),
            extra: pick(self.pools.person_extras, extra),
        }
    }

    fn auction(
        &self,
        number: u64,
        round: u64,
        nth: u64,
        at: EventTime,
        mut draws: Draws,
    ) -> Auction {
        let (is_hot, seller) = draws.pair();
        let (category, length) = draws.pair();
        let (initial_bid, reserve) = draws.pair();
        let (item_name, description) = draws.pair();
        let (extra, _) = draws.pair();
        let seller = match below(is_hot, 4) {
            0 => some_person(round, seller),
            _ => round / HOT_OF * HOT_OF,
        };
        // As long on average as it takes until there are as many more auctions as are open.
        let ahead = OPEN_AUCTIONS * ROUND / AUCTIONS_OF_ROUND;
        let horizon_ms = (self.time_of(number + ahead).0.0 - at.0) as u64;
        let length_ms = 1 + below(length, (horizon_ms * 2).max(1));
        let initial_bid = price_of(self.powers, initial_bid);
        Auction {
            date_time: at,
            id: FIRST_AUCTION_ID + round * AUCTIONS_OF_ROUND + nth,
            item_name: pick(self.pools.item_names, item_name),
            description: pick(self.pools.descriptions, description),
            initial_bid,
            reserve: initial_bid + price_of(self.powers, reserve),
            expires: EventTime(at.0 + length_ms as i64),
            seller: FIRST_PERSON_ID + seller,
            category: FIRST_CATEGORY_ID + below(category, CATEGORIES),
            extra: pick(self.pools.auction_extras, extra),
        }
    }

    #[inline]
    fn bid(&self, round: u64, at: EventTime, mut draws: Draws) -> Bid {
        let (is_hot_auction, auction) = draws.pair();
        let (is_hot_bidder, bidder) = draws.pair();
        let (price, channel) = draws.pair();
        let (extra, _) = draws.pair();
        let last = round * AUCTIONS_OF_ROUND + AUCTIONS_OF_ROUND - 1;
        let auction = match below(is_hot_auction, 2) {
            0 => {
                let first = last.saturating_sub(OPEN_AUCTIONS);
                first + below(auction, last - first + 1 + LEAD)
            }
            _ => last / HOT_OF * HOT_OF,
        };
        let bidder = match below(is_hot_bidder, 4) {
            0 => some_person(round, bidder),
            _ => round / HOT_OF * HOT_OF + 1,
        };
        // Half of the numbers are of channels that are not hot.
        let channel = below(channel, 2 * CHANNELS as u64) as usize;
        let channel = match channel {
            0..CHANNELS => channel,
            _ => CHANNELS + channel % HOT_CHANNELS.len(),
        };
        Bid {
            date_time: at,
            auction: FIRST_AUCTION_ID + auction,
            bidder: FIRST_PERSON_ID + bidder,
            price: price_of(self.powers, price),
            channel: text::at(self.pools.channels, channel),
            url: text::at(self.pools.urls, channel),
            extra: pick(self.pools.bid_extras, extra),
        }
    }
}

/// One of the people that are active, or are so soon.
#[inline]
fn some_person(last: u64, random: u32) -> u64 {
    let people = last + 1;
    let active = people.min(ACTIVE_PEOPLE);
    people - active + below(random, active + LEAD)
}

/// A price in cents, of powers between 1 and 2: `10^(6 u)` times 100, for `u` from 0 to 1.
#[inline]
fn price_of(powers: &[f64], random: u32) -> u64 {
    // 6 log2(10)
    let exponent = f64::from(random) / 4_294_967_296.0 * 19.931_568_569_324_174;
    let (whole, part) = (exponent as u32, exponent.fract() * PARTS as f64);
    let (index, between) = (part as usize, part.fract());
    let power = powers[index] + between * (powers[index + 1] - powers[index]);
    (f64::from(1u32 << whole) * power * 100.0 + 0.5) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(count: u64) -> Vec<Event> {
        let mut events = Vec::new();
        Generator::new(7, 10_000).fill(0..count, &mut events);
        events
    }

    #[test]
    fn the_mix_is_one_person_three_auctions_and_46_bids() {
        let counts =
            events(5_000).iter().fold((0, 0, 0), |(people, auctions, bids), event| match event {
                Event::Person(_) => (people + 1, auctions, bids),
                Event::Auction(_) => (people, auctions + 1, bids),
                Event::Bid(_) => (people, auctions, bids + 1),
            });
        assert_eq!(counts, (100, 300, 4_600));
    }

    #[test]
    fn an_event_is_the_same_whoever_makes_it() {
        let all = events(10_000);
        let generator = Generator::new(7, 10_000);
        let mut parts = Vec::new();
        for start in (0..10_000).step_by(77) {
            generator.fill(start..(start + 77).min(10_000), &mut parts);
        }
        assert_eq!(parts, all);
        let mut others = Vec::new();
        Generator::new(8, 10_000).fill(0..10_000, &mut others);
        assert_ne!(others, all);
    }

    #[test]
    fn times_follow_the_rate() {
        let all = events(20_000);
        assert_eq!(all[0].date_time(), EventTime(FIRST_TIME_MS));
        assert_eq!(all[9].date_time(), EventTime(FIRST_TIME_MS));
        assert_eq!(all[10].date_time(), EventTime(FIRST_TIME_MS + 1));
        assert_eq!(all[19_999].date_time(), EventTime(FIRST_TIME_MS + 1_999));
        let slow = Generator::new(7, 3);
        assert_eq!(slow.time_of(4), (EventTime(FIRST_TIME_MS + 1_333), 5));
    }

    /// Within a few standard deviations of what the constants say.
    #[test]
    fn shares_and_spans_are_those_of_the_standard() {
        let all = events(500_000);
        let bids: Vec<Bid> = all.iter().filter_map(|event| event.bid()).collect();
        let share = |count: usize, of: usize| count as f64 / of as f64;
        let near = |value: f64, expected: f64| {
            assert!((value - expected).abs() < 0.01, "{value} is not near {expected}");
        };
        let is_hot = |id: u64, nth: u64| id % HOT_OF == nth;
        near(share(bids.iter().filter(|bid| is_hot(bid.auction, 0)).count(), bids.len()), 0.505);
        near(share(bids.iter().filter(|bid| is_hot(bid.bidder, 1)).count(), bids.len()), 0.7525);
        let hot_channels =
            bids.iter().filter(|bid| HOT_CHANNELS.contains(&bid.channel.as_str())).count();
        near(share(hot_channels, bids.len()), 0.5);
        // Log-uniform from one dollar to a million.
        near(share(bids.iter().filter(|bid| bid.level() == 0).count(), bids.len()), 1.0 / 3.0);
        near(share(bids.iter().filter(|bid| bid.level() == 1).count(), bids.len()), 1.0 / 3.0);
        assert!(bids.iter().all(|bid| (100..=100_000_001).contains(&bid.price)));

        let auctions = all.iter().filter_map(|event| match event {
            Event::Auction(auction) => Some(auction),
            _ => None,
        });
        let lengths: Vec<i64> =
            auctions.map(|auction| auction.expires.0 - auction.date_time.0).collect();
        let mean = lengths.iter().sum::<i64>() as f64 / lengths.len() as f64;
        assert!((mean - 167.0).abs() < 3.0, "auctions are open for {mean} ms on average");
    }

    #[test]
    fn prices_are_powers_of_ten() {
        let exact = |random: u32| 10f64.powf(f64::from(random) / 4_294_967_296.0 * 6.0) * 100.0;
        for random in (0..u32::MAX).step_by(1_000_003) {
            let (price, exact) = (price_of(&POWERS, random) as f64, exact(random));
            assert!((price - exact).abs() <= 0.51 + exact * 1e-7, "{price} is not {exact}");
        }
    }
}
