//! q3, q8, q20: people and what they sell, bids and what they are for.

use std::time::Duration;

use highwater::prelude::*;
use highwater::stream::Either;
use highwater::window::{Tumbling, Windowed};
use serde::{Deserialize, Serialize};

use super::super::event::{Auction, Bid, Event};
use super::super::text::Text;
use super::{auctions_and_bids, people_and_auctions};

/// Local item suggestion: name, city, state, auction.
///
/// ```sql
/// SELECT P.name, P.city, P.state, A.id FROM auction AS A INNER JOIN person AS P ON A.seller = P.id
/// WHERE A.category = 10 AND (P.state = 'OR' OR P.state = 'ID' OR P.state = 'CA')
/// ```
pub(crate) fn q3(events: Stream<'_, Event>) -> Stream<'_, (Text, Text, Text, u64)> {
    let (people, auctions) = people_and_auctions(events);
    let people = people
        .filter(|person| matches!(person.state.as_str(), "OR" | "ID" | "CA"))
        .map(|person| (person.id, (person.name, person.city, person.state)));
    let auctions = auctions
        .filter(|auction| auction.category == 10)
        .map(|auction| (auction.seller, auction.id));
    people
        .keyed()
        .connect(auctions.keyed())
        .unbounded_join("local-items")
        .inner(|_, (name, city, state), auction| (*name, *city, *state, *auction))
}

/// Monitor new users: id, name, and when the window began in which they came and opened an auction.
///
/// Both sides group by the key of the join, so that one window of both says it: nothing but the name is
/// kept, and whether there was an auction.
///
/// ```sql
/// SELECT P.id, P.name, P.starttime
/// FROM (SELECT id, name, window_start AS starttime, window_end AS endtime
///       FROM TABLE(TUMBLE(TABLE person, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
///       GROUP BY id, name, window_start, window_end) P
/// JOIN (SELECT seller, window_start AS starttime, window_end AS endtime
///       FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR(dateTime), INTERVAL '10' SECOND))
///       GROUP BY seller, window_start, window_end) A
/// ON P.id = A.seller AND P.starttime = A.starttime AND P.endtime = A.endtime
/// ```
pub(crate) fn q8(events: Stream<'_, Event>) -> Stream<'_, (u64, Text, EventTime)> {
    let seen = events.filter_map(|event| match event {
        Event::Person(person) => Some((person.id, (person.date_time, Some(person.name)))),
        Event::Auction(auction) => Some((auction.seller, (auction.date_time, None))),
        Event::Bid(_) => None,
    });
    seen.keyed()
        .window(Tumbling::of(Duration::from_secs(10)), |(at, _)| *at)
        .fold("new-sellers", (None, false), |(known, has_sold), (_, name)| match name {
            Some(name) => *known = Some(name),
            None => *has_sold = true,
        })
        .filter_map(|Windowed { key: id, window, value: (name, has_sold) }| {
            name.filter(|_| has_sold).map(|name| (id, name, window.start))
        })
}

/// What is known of an auction so far.
#[derive(Default, Serialize, Deserialize)]
enum Known {
    /// Not itself, only bids that came before it.
    #[default]
    Nothing,
    Bids(Vec<Bid>),
    /// It is of another category: its bids are of no interest.
    Other,
    Wanted(Auction),
}

/// Expand bid with auction: the bid and the auction, if that is of category 10.
///
/// An auction comes once, so that a bid need not be kept any more once its auction is known.
///
/// ```sql
/// SELECT auction, bidder, price, channel, url, B.dateTime, B.extra, itemName, description, initialBid,
///   reserve, A.dateTime, expires, seller, category, A.extra
/// FROM bid AS B INNER JOIN auction AS A ON B.auction = A.id WHERE A.category = 10
/// ```
pub(crate) fn q20(events: Stream<'_, Event>) -> Stream<'_, (Bid, Auction)> {
    let (auctions, bids) = auctions_and_bids(events);
    let (auctions, bids) = (auctions.key_by(|auction| auction.id), bids.key_by(|bid| bid.auction));
    auctions.connect(bids).process("expanded-bids", |state| {
        let known = state.value::<Known>("known");
        move |ctx, arrived| match arrived {
            Either::Left(auction) => {
                let is_wanted = auction.category == 10;
                let now = if is_wanted { Known::Wanted(auction) } else { Known::Other };
                if let (true, Some(Known::Bids(bids))) = (is_wanted, known.set(ctx, now)) {
                    for bid in bids {
                        ctx.emit((bid, auction));
                    }
                }
            }
            Either::Right(bid) => {
                let auction = known.read(ctx, |known| match known {
                    Some(Known::Wanted(auction)) => Some(Some(*auction)),
                    Some(Known::Other) => Some(None),
                    Some(Known::Bids(_) | Known::Nothing) | None => None,
                });
                match auction {
                    Some(Some(auction)) => ctx.emit((bid, auction)),
                    Some(None) => {}
                    None => known.update(ctx, |known| match known {
                        Known::Bids(bids) => bids.push(bid),
                        _ => *known = Known::Bids(vec![bid]),
                    }),
                }
            }
        }
    })
}
