//! Writes events to a file, for programs that are not this one.
//!
//! Numbers are big-endian. First come the texts: how many there are, and of each its length and its bytes.
//! Then the events: how many, and of each a byte (0 a person, 1 an auction, 2 a bid) and its fields in
//! their order, eight bytes for a number, four for the place of a text among the texts.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use super::Result;
use super::event::{Auction, Bid, Event, Person};
use super::generator::Generator;
use super::text::Text;

/// Writes the first events to a file.
pub(crate) fn write(generator: &Generator, total: u64, path: &Path) -> Result<()> {
    const AT_ONCE: u64 = 10_000;
    let (mut encoded, mut events) = (Encoded::default(), Vec::new());
    for start in (0..total).step_by(AT_ONCE as usize) {
        generator.fill(start..total.min(start + AT_ONCE), &mut events);
        events.drain(..).for_each(|event| encoded.event(&event));
    }
    let mut file = File::create(path)
        .map_err(|error| format!("could not write {}: {error}", path.display()))?;
    file.write_all(&encoded.texts())?;
    file.write_all(&u32::try_from(total)?.to_be_bytes())?;
    Ok(file.write_all(&encoded.events)?)
}

/// Events, and the texts that they name.
#[derive(Default)]
struct Encoded {
    events: Vec<u8>,
    texts: Vec<&'static str>,
    places: HashMap<&'static str, u32>,
}

impl Encoded {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Person(person) => self.person(person),
            Event::Auction(auction) => self.auction(auction),
            Event::Bid(bid) => self.bid(bid),
        }
    }

    fn person(&mut self, person: &Person) {
        let Person { date_time, id, name, email_address, credit_card, city, state, extra } =
            *person;
        self.events.push(0);
        self.numbers([date_time.0.cast_unsigned(), id]);
        self.texts_of([name, email_address, credit_card, city, state, extra]);
    }

    fn auction(&mut self, auction: &Auction) {
        let Auction { date_time, id, item_name, description, initial_bid, reserve, .. } = *auction;
        let Auction { expires, seller, category, extra, .. } = *auction;
        self.events.push(1);
        self.numbers([date_time.0.cast_unsigned(), id]);
        self.texts_of([item_name, description]);
        self.numbers([initial_bid, reserve, expires.0.cast_unsigned(), seller, category]);
        self.texts_of([extra]);
    }

    fn bid(&mut self, bid: &Bid) {
        let Bid { date_time, auction, bidder, price, channel, url, extra } = *bid;
        self.events.push(2);
        self.numbers([date_time.0.cast_unsigned(), auction, bidder, price]);
        self.texts_of([channel, url, extra]);
    }

    fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        self.events.extend(numbers.into_iter().flat_map(u64::to_be_bytes));
    }

    fn texts_of<const N: usize>(&mut self, texts: [Text; N]) {
        for text in texts.map(Text::as_str) {
            let place = *self.places.entry(text).or_insert_with(|| {
                self.texts.push(text);
                self.texts.len() as u32 - 1
            });
            self.events.extend(place.to_be_bytes());
        }
    }

    fn texts(&self) -> Vec<u8> {
        let mut bytes = (self.texts.len() as u32).to_be_bytes().to_vec();
        for text in &self.texts {
            bytes.extend((text.len() as u32).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bid_is_as_the_header_says() {
        let mut events = Vec::new();
        Generator::new(1, 10_000).fill(7..8, &mut events);
        let Event::Bid(bid) = events[0] else { panic!("of each fifty the first four are others") };
        let mut encoded = Encoded::default();
        encoded.event(&events[0]);
        assert_eq!(encoded.events.len(), 1 + 4 * 8 + 3 * 4);
        assert_eq!(encoded.events[25..33], bid.price.to_be_bytes());
        assert_eq!(encoded.events[33..], [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2]);
        let channel = bid.channel.as_str();
        assert_eq!(encoded.texts()[3..8], [3, 0, 0, 0, channel.len() as u8]);
        assert_eq!(encoded.texts()[8..8 + channel.len()], *channel.as_bytes());
    }
}
