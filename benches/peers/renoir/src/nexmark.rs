//! The queries that Renoir's own benchmark has, q0 to q8, with the results of ours.
//!
//! Its event-time windows begin with the first record of each key, where those of Nexmark begin at
//! multiples of their length. A window is part of the key here, and is closed by the watermark as a
//! transaction is. What is left to do for few records is done when all have come.

use std::error::Error;
use std::sync::Arc;

use peers_events::{Arguments, Bid, Digest, Event, Job, Shared, Text, events, hash_of_key};
use renoir::operator::window::{TransactionOp, TransactionWindow};
use renoir::operator::{Operator, Timestamp};
use renoir::{Stream, StreamContext};
use serde::{Deserialize, Serialize};

use crate::batches;

/// Events in a row that one replica reads, as in the project's own benchmarks.
const BLOCK: usize = 5_000;

/// Records between watermarks. Each looks at all open windows: with more of them, all is slower.
const WATERMARK_EACH: usize = 1 << 17;

const WINDOW_MS: u64 = 10_000;
const SLIDE_MS: u64 = 2_000;

pub(crate) fn query(
    arguments: &Arguments,
    context: impl Fn() -> StreamContext + 'static,
) -> Result<Job, Box<dyn Error>> {
    let (name, events) = (arguments.get("case")?, events(arguments.get("file")?)?);
    macro_rules! job {
        ($query:ident) => {
            Box::new(move |shared: &Arc<Shared>| {
                let context = context();
                $query(read(&context, events), Digest::new(shared));
                context.execute_blocking();
            })
        };
    }
    Ok(match name {
        "q0" => job!(q0),
        "q1" => job!(q1),
        "q2" => job!(q2),
        "q3" => job!(q3),
        "q4" => job!(q4),
        "q5" => job!(q5),
        "q6" => job!(q6),
        "q7" => job!(q7),
        "q8" => job!(q8),
        name => return Err(format!("there is no job for {name}").into()),
    })
}

fn read(
    context: &StreamContext,
    events: &'static [Event],
) -> Stream<impl Operator<Out = Event> + 'static> {
    let share = move |index: u64, peers: u64| {
        events.chunks(BLOCK).skip(index as usize).step_by(peers as usize).flatten().copied()
    };
    context.stream_par_iter(share).batch_mode(batches())
}

/// With the timestamp of each record, and a watermark now and then.
fn timed<T: Clone + Send + 'static>(
    records: Stream<impl Operator<Out = T> + 'static>,
    time_of: fn(&T) -> u64,
) -> Stream<impl Operator<Out = T> + 'static> {
    let mut count = 0;
    records.add_timestamps(
        move |record| time_of(record) as Timestamp,
        move |_, at| {
            count = (count + 1) % WATERMARK_EACH;
            (count == 0).then_some(*at)
        },
    )
}

fn q0(events: Stream<impl Operator<Out = Event> + 'static>, mut digest: Digest) {
    events.filter_map(Event::bid).for_each(move |bid| {
        digest.row((bid.auction, bid.bidder, bid.price, bid.date_time, bid.extra));
    });
}

fn q1(events: Stream<impl Operator<Out = Event> + 'static>, mut digest: Digest) {
    events
        .filter_map(Event::bid)
        .map(|bid| (bid.auction, bid.bidder, 908 * bid.price, bid.date_time, bid.extra))
        .for_each(move |row| digest.row(row));
}

fn q2(events: Stream<impl Operator<Out = Event> + 'static>, mut digest: Digest) {
    events
        .filter_map(Event::bid)
        .filter(|bid| bid.auction % 123 == 0)
        .map(|bid| (bid.auction, bid.price))
        .for_each(move |row| digest.row(row));
}

fn q3(events: Stream<impl Operator<Out = Event> + 'static>, mut digest: Digest) {
    let routes = events
        .route()
        .add_route(|event| {
            matches!(event, Event::Person(person) if matches!(&*person.state, "OR" | "ID" | "CA"))
        })
        .add_route(|event| matches!(event, Event::Auction(auction) if auction.category == 10))
        .build();
    let [people, auctions]: [_; 2] = routes.try_into().unwrap_or_else(|_| unreachable!());
    let people = people.filter_map(|event| match event {
        Event::Person(person) => Some((person.id, (person.name, person.city, person.state))),
        _ => None,
    });
    let auctions = auctions.filter_map(|event| match event {
        Event::Auction(auction) => Some((auction.seller, auction.id)),
        _ => None,
    });
    people
        .join(auctions, |(id, _)| *id, |(seller, _)| *seller)
        .drop_key()
        .map(|((_, (name, city, state)), (_, auction))| (name, city, state, auction))
        .for_each(move |row| digest.row(row));
}

/// What is looked at of an auction or a bid.
#[derive(Clone, Copy, Serialize, Deserialize)]
enum Arrival {
    Auction { at: u64, expires: u64, category: u64, seller: u64 },
    Bid { price: u64, at: u64 },
}

/// An auction, and the best bid so far; bids that came before it.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Lot {
    /// Opens, expires, category, seller.
    auction: Option<(u64, u64, u64, u64)>,
    /// Price, time.
    best: Option<(u64, u64)>,
    early: Vec<(u64, u64)>,
}

impl Lot {
    fn arrive(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Auction { at, expires, category, seller } => {
                self.auction = Some((at, expires, category, seller));
                for (price, at) in std::mem::take(&mut self.early) {
                    self.bid(price, at);
                }
            }
            Arrival::Bid { price, at } => self.bid(price, at),
        }
    }

    fn bid(&mut self, price: u64, at: u64) {
        let Some((opens, expires, ..)) = self.auction else { return self.early.push((price, at)) };
        let is_better =
            self.best.is_none_or(|(best, since)| price > best || price == best && at < since);
        if is_better && (opens..=expires).contains(&at) {
            self.best = Some((price, at));
        }
    }
}

/// Category, seller, expiry, auction, price.
type Won = (u64, u64, u64, u64, u64);

fn winning_bids(
    events: Stream<impl Operator<Out = Event> + 'static>,
) -> Stream<impl Operator<Out = Won> + 'static> {
    let arrivals = events.filter_map(|event| match event {
        Event::Auction(auction) => {
            let (at, expires) = (auction.date_time, auction.expires);
            let (category, seller) = (auction.category, auction.seller);
            Some((auction.id, Arrival::Auction { at, expires, category, seller }))
        }
        Event::Bid(bid) => {
            Some((bid.auction, Arrival::Bid { price: bid.price, at: bid.date_time }))
        }
        Event::Person(_) => None,
    });
    let time_of = |(_, arrival): &(u64, Arrival)| match arrival {
        Arrival::Auction { at, .. } | Arrival::Bid { at, .. } => *at,
    };
    timed(arrivals, time_of)
        .group_by(|(id, _)| *id)
        .window(TransactionWindow::new(|(_, arrival): &(u64, Arrival)| match arrival {
            Arrival::Auction { expires, .. } => TransactionOp::CommitAfter(*expires as Timestamp),
            Arrival::Bid { .. } => TransactionOp::Continue,
        }))
        .fold(Lot::default(), |lot: &mut Lot, (_, arrival): &(u64, Arrival)| lot.arrive(*arrival))
        .unkey()
        .filter_map(|(id, lot)| {
            let (_, expires, category, seller) = lot.auction?;
            Some((category, seller, expires, id, lot.best?.0))
        })
}

fn q4(events: Stream<impl Operator<Out = Event> + 'static>, mut digest: Digest) {
    winning_bids(events)
        .group_by_fold(
            |(category, ..)| *category,
            (0, 0),
            |(sum, count), (.., price)| {
                *sum += price;
                *count += 1;
            },
            |(sum, count), (more, others): (u64, u64)| {
                *sum += more;
                *count += others;
            },
        )
        .for_each(move |(category, (sum, count))| {
            digest.add(1, hash_of_key(&category, &(sum / count)))
        });
}

fn q6(events: Stream<impl Operator<Out = Event> + 'static>, mut digest: Digest) {
    winning_bids(events)
        .group_by(|(_, seller, ..)| *seller)
        .fold(Vec::new(), |sold, (_, _, expires, id, price)| sold.push((expires, id, price)))
        .for_each(move |(seller, mut sold)| {
            sold.sort_unstable();
            for last in 1..=sold.len() {
                let prices = sold[last.saturating_sub(11)..last].iter().map(|(.., price)| *price);
                let count = prices.len() as u64;
                digest.row((seller, prices.sum::<u64>() / count));
            }
        });
}

/// Those that rank highest.
type Best<T> = (u64, Vec<T>);

fn add_best<T>(best: &mut Best<T>, rank: u64, records: impl IntoIterator<Item = T>) {
    if rank > best.0 {
        best.0 = rank;
        best.1.clear();
    }
    if rank == best.0 {
        best.1.extend(records);
    }
}

fn q5(events: Stream<impl Operator<Out = Event> + 'static>, mut digest: Digest) {
    let bids = events.filter_map(|event| {
        let bid = event.bid()?;
        Some((bid.auction, bid.date_time))
    });
    // Counts in panes that windows share.
    timed(bids, |(_, at)| *at)
        .map(|(auction, at)| (auction, at / SLIDE_MS))
        .group_by(|pane| *pane)
        .window(TransactionWindow::new(|(_, pane): &(u64, u64)| {
            TransactionOp::CommitAfter(((pane + 1) * SLIDE_MS) as Timestamp)
        }))
        .fold(0, |count: &mut u64, _: &(u64, u64)| *count += 1)
        .unkey()
        .drop_timestamps()
        .flat_map(|((auction, pane), count)| {
            let ends = pane + 1..=pane + WINDOW_MS / SLIDE_MS;
            ends.map(move |end| ((auction, end), count))
        })
        .group_by_fold(
            |(of, _)| *of,
            0,
            |sum, (_, count)| *sum += count,
            |sum, count| *sum += count,
        )
        .unkey()
        .group_by_fold(
            |((_, end), _)| *end,
            Best::default(),
            |best, ((auction, _), count)| add_best(best, count, [auction]),
            |best, (count, auctions)| add_best(best, count, auctions),
        )
        .for_each(move |(_, (count, auctions))| {
            auctions.into_iter().for_each(|auction| digest.row((auction, count)));
        });
}

fn q7(events: Stream<impl Operator<Out = Event> + 'static>, mut digest: Digest) {
    events
        .filter_map(Event::bid)
        .group_by_fold(
            |bid| bid.date_time / WINDOW_MS,
            Best::default(),
            |best, bid: Bid| add_best(best, bid.price, [bid]),
            |best, (price, bids)| add_best(best, price, bids),
        )
        .for_each(move |(_, (_, bids))| bids.into_iter().for_each(|bid| digest.row(bid)));
}

/// Id, time, and the name if they came, or none if they sold.
type Seen = (u64, u64, Option<Text>);

fn q8(events: Stream<impl Operator<Out = Event> + 'static>, mut digest: Digest) {
    let seen = events.filter_map(|event| match event {
        Event::Person(person) => Some((person.id, person.date_time, Some(person.name))),
        Event::Auction(auction) => Some((auction.seller, auction.date_time, None)),
        Event::Bid(_) => None,
    });
    timed(seen, |(_, at, _)| *at)
        .group_by(|(id, at, _)| (*id, at / WINDOW_MS))
        .window(TransactionWindow::new(|(_, at, _): &Seen| {
            TransactionOp::CommitAfter(((at / WINDOW_MS + 1) * WINDOW_MS) as Timestamp)
        }))
        .fold((None, false), |(name, has_sold): &mut (Option<Text>, bool), (.., seen): &Seen| {
            match seen {
                Some(seen) => *name = Some(*seen),
                None => *has_sold = true,
            }
        })
        .for_each(move |((id, window), (name, has_sold))| {
            if let (Some(name), true) = (name, has_sold) {
                digest.row((id, name, window * WINDOW_MS));
            }
        });
}
