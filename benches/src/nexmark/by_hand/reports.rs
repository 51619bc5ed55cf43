//! q15, q16, q17: statistics in tables; those of q15 in two stages, or one worker would do it all.

use timely::dataflow::channels::pact::{Exchange, Pipeline};
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::generic::operator::Operator;
use timely::dataflow::operators::vec::Map;

use super::super::event::Event;
use super::super::queries::{Counts, Prices, Statistics, bits_of, seen_first};
use super::super::text::Text;
use super::{Batches, HashMap, Stream, by_key};

/// What is new in a batch, for each day of which there is something.
type OfDays = Vec<(u64, Statistics)>;

fn of_day(days: &mut OfDays, day: u64) -> &mut Statistics {
    let known = days.iter().position(|(known, _)| *known == day);
    let at = known.unwrap_or_else(|| {
        days.push((day, Statistics::default()));
        days.len() - 1
    });
    &mut days[at].1
}

pub(crate) fn q15(events: Stream<'_, Event>) -> Stream<'_, (u64, Statistics)> {
    let bids = events
        .flat_map(|event| event.bid().map(|bid| (bid.day(), bid.level(), bid.bidder, bid.auction)));
    let counted =
        bids.clone().unary::<Batches<(u64, Statistics)>, _, _, _>(Pipeline, "Count", |_, _| {
            move |input, output| {
                input.for_each(|time, batch| {
                    let mut days = OfDays::new();
                    for (day, level, ..) in batch.drain(..) {
                        of_day(&mut days, day).bids.add(Counts::of_bits(bits_of(level)));
                    }
                    output.session(&time).give_iterator(days.into_iter());
                });
            }
        });
    let bidders = bids.clone().map(|(day, level, bidder, _)| (day, level, bidder));
    let bidders = new_ones(bidders, |statistics, new| statistics.bidders.add(new));
    let auctions = bids.map(|(day, level, _, auction)| (day, level, auction));
    let auctions = new_ones(auctions, |statistics, new| statistics.auctions.add(new));
    counted
        .scope()
        .concatenate([counted, bidders, auctions])
        .unary::<Batches<(u64, Statistics)>, _, _, _>(
            Exchange::new(|(day, _): &(u64, Statistics)| *day),
            "OfDay",
            |_, _| {
                let mut days = OfDays::new();
                move |input, output| {
                    input.for_each(|time, batch| {
                        let mut session = output.session(&time);
                        let mut last = None;
                        for (day, new) in batch.drain(..) {
                            of_day(&mut days, day).add(new);
                            if last.is_some_and(|last| last != day) {
                                session.give_iterator(days.iter().copied());
                            }
                            last = Some(day);
                        }
                        if let Some(day) = last {
                            session.give((day, *of_day(&mut days, day)));
                        }
                    });
                }
            },
        )
}

/// Keys of a day that are seen the first time, or the first time in a level.
fn new_ones(
    levels: Stream<'_, (u64, usize, u64)>,
    add: fn(&mut Statistics, Counts),
) -> Stream<'_, (u64, Statistics)> {
    levels.unary::<Batches<(u64, Statistics)>, _, _, _>(
        by_key(|(.., key): &(u64, usize, u64)| *key),
        "New",
        move |_, _| {
            let mut seen: HashMap<(u64, u64), u8> = HashMap::default();
            move |input, output| {
                input.for_each(|time, batch| {
                    let mut days = OfDays::new();
                    for (day, level, key) in batch.drain(..) {
                        let new = seen_first(seen.entry((day, key)).or_default(), level);
                        if new != 0 {
                            add(of_day(&mut days, day), Counts::of_bits(new));
                        }
                    }
                    output.session(&time).give_iterator(days.into_iter());
                });
            }
        },
    )
}

#[derive(Default)]
struct Report {
    minute: u64,
    statistics: Statistics,
    bidders: HashMap<u64, u8>,
    auctions: HashMap<u64, u8>,
}

pub(crate) fn q16(events: Stream<'_, Event>) -> Stream<'_, ((Text, u64), (u64, Statistics))> {
    type Bid = ((Text, u64), u64, usize, u64, u64);
    let bids = events.flat_map(|event| {
        let bid = event.bid()?;
        Some(((bid.channel, bid.day()), bid.minute(), bid.level(), bid.bidder, bid.auction))
    });
    bids.unary::<Batches<((Text, u64), (u64, Statistics))>, _, _, _>(
        by_key(|(key, ..): &Bid| *key),
        "OfChannel",
        |_, _| {
            let mut reports: HashMap<(Text, u64), Report> = HashMap::default();
            move |input, output| {
                input.for_each(|time, batch| {
                    let mut session = output.session(&time);
                    for (key, minute, level, bidder, auction) in batch.drain(..) {
                        let report = reports.entry(key).or_default();
                        report.minute = report.minute.max(minute);
                        let bidder = seen_first(report.bidders.entry(bidder).or_default(), level);
                        let auction =
                            seen_first(report.auctions.entry(auction).or_default(), level);
                        report.statistics.bids.add(Counts::of_bits(bits_of(level)));
                        report.statistics.bidders.add(Counts::of_bits(bidder));
                        report.statistics.auctions.add(Counts::of_bits(auction));
                        session.give((key, (report.minute, report.statistics)));
                    }
                });
            }
        },
    )
}

pub(crate) fn q17(events: Stream<'_, Event>) -> Stream<'_, ((u64, u64), (Prices, u64))> {
    type Bid = ((u64, u64), usize, u64);
    let bids = events.flat_map(|event| {
        event.bid().map(|bid| ((bid.auction, bid.day()), bid.level(), bid.price))
    });
    bids.unary::<Batches<((u64, u64), (Prices, u64))>, _, _, _>(
        by_key(|((auction, _), ..): &Bid| *auction),
        "OfAuction",
        |_, _| {
            let none = Prices { bids: Counts::default(), min: u64::MAX, max: 0, sum: 0 };
            let mut auctions: HashMap<(u64, u64), Prices> = HashMap::default();
            move |input, output| {
                input.for_each(|time, batch| {
                    let mut session = output.session(&time);
                    for (key, level, price) in batch.drain(..) {
                        let prices = auctions.entry(key).or_insert(none);
                        prices.bids.add(Counts::of_bits(bits_of(level)));
                        prices.min = prices.min.min(price);
                        prices.max = prices.max.max(price);
                        prices.sum += price;
                        session.give((key, (*prices, prices.sum / prices.bids.total)));
                    }
                });
            }
        },
    )
}
