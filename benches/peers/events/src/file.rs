//! Reads the files that the project's benchmarks write for their peers.

use std::io;

use crate::event::{Auction, Bid, Event, Person};
use crate::text::Text;

/// The events of a file, all in memory.
///
/// # Errors
///
/// The file cannot be read, or ends early.
pub fn events(path: &str) -> io::Result<&'static [Event]> {
    let bytes = std::fs::read(path)?;
    let mut file = File { rest: &bytes, texts: Vec::new() };
    for _ in 0..file.small()? {
        let length = file.small()?;
        let text = file.take(length)?.to_vec();
        let text = String::from_utf8(text).map_err(io::Error::other)?;
        file.texts.push(Text::of(text));
    }
    let total = file.small()?;
    let events: io::Result<Vec<Event>> = (0..total).map(|_| file.event()).collect();
    Ok(events?.leak())
}

/// The lines of a file.
///
/// # Errors
///
/// The file cannot be read.
pub fn lines(path: &str) -> io::Result<&'static [String]> {
    Ok(std::fs::read_to_string(path)?.lines().map(String::from).collect::<Vec<_>>().leak())
}

struct File<'a> {
    rest: &'a [u8],
    texts: Vec<Text>,
}

impl<'a> File<'a> {
    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        self.rest = rest;
        Ok(taken)
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many were taken"))
    }

    fn small(&mut self) -> io::Result<usize> {
        Ok(u32::from_be_bytes(self.bytes()?) as usize)
    }

    fn number(&mut self) -> io::Result<u64> {
        Ok(u64::from_be_bytes(self.bytes()?))
    }

    fn text(&mut self) -> io::Result<Text> {
        let place = self.small()?;
        self.texts.get(place).copied().ok_or_else(|| io::Error::other("no such text"))
    }

    fn event(&mut self) -> io::Result<Event> {
        let [kind] = self.bytes()?;
        let date_time = self.number()?;
        Ok(match kind {
            0 => Event::Person(Person {
                date_time,
                id: self.number()?,
                name: self.text()?,
                email_address: self.text()?,
                credit_card: self.text()?,
                city: self.text()?,
                state: self.text()?,
                extra: self.text()?,
            }),
            1 => Event::Auction(Auction {
                date_time,
                id: self.number()?,
                item_name: self.text()?,
                description: self.text()?,
                initial_bid: self.number()?,
                reserve: self.number()?,
                expires: self.number()?,
                seller: self.number()?,
                category: self.number()?,
                extra: self.text()?,
            }),
            _ => Event::Bid(Bid {
                date_time,
                auction: self.number()?,
                bidder: self.number()?,
                price: self.number()?,
                channel: self.text()?,
                url: self.text()?,
                extra: self.text()?,
            }),
        })
    }
}
